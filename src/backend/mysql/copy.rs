//! Rows that were there before dual writes, written to the secondary without a version: a live write
//! always wins.
//!
//! ```text
//! chunk   BEGIN; fence entries of its keys ─▶ rows with one are a live write's, and left alone
//!           INSERT the others ─▶ epoch, TRUNCATE (share) ─▶ our run, one chunk more to sweep ─▶ COMMIT
//! sweep   the table's fence entry locked and let go: every apply that began before has ended
//!           BEGIN; tombstones of the chunk's keys (share) ─▶ DELETE ─▶ our run, how far it came ─▶ COMMIT
//! ```
//!
//! Invariant: a row is inserted only while there is none with its key, and one that a live delete has
//! met is gone after the sweep. An apply writes its rows before the entries that are new to the fence:
//! a delete that found no row yet may show its tombstone only after the chunk was committed. That is
//! what the sweep waits for.
//!
//! The shared locks are taken at a chunk's end. Held from its beginning, they would let every live
//! write wait that comes behind a sweep.
//!
//! Foreign keys are not checked here: what the primary's snapshot holds is whole, parents may come
//! later, and no cascade may fire when a sweep deletes.
//!
//! Not here: what is read, and how far (`backfill`); whose turn it is ([`super::progress`]).

use std::collections::HashSet;
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Params, Row as Found, Value as Param};
use tokio::time::Instant;

use super::connect::{Link, LinkLimits, ToUrl};
use super::error::{Reaction, WriteError};
use super::execute::Failed;
use super::progress::{self, Run};
use super::{lock, rows, statements};
use crate::catalog::Table;
use crate::change::{Key, KeyHash, RowImage, Version};
use crate::names::quote_mysql;
use crate::value::Value;

/// Rows of one INSERT, largest first.
const ROWS_AT_ONCE: [usize; 5] = [512, 128, 32, 8, 1];
/// MySQL's limit on placeholders is 65,535.
const PLACEHOLDERS_MAX: usize = 60_000;
/// Image bytes of one INSERT; a single row may be larger.
const BYTES_AT_ONCE: usize = 1 << 20;
/// Hashes of one statement.
const HASHES_AT_ONCE: usize = 2000;
/// Deadlocks and lock waits in a row before the caller hears of it.
const ATTEMPTS_MAX: u32 = 20;
/// Whoever waits for a lock here has live writes wait behind it.
const LOCK_WAIT: Duration = Duration::from_secs(1);

/// One row as the primary has it.
#[derive(Clone, Debug)]
pub struct Row {
    pub key: Key,
    pub image: RowImage,
}

/// Rows of one snapshot.
#[derive(Debug)]
pub struct Chunk<'a> {
    pub table: &'a Table,
    pub rows: &'a [Row],
    /// The epoch, and the primary's LSN from before the snapshot.
    pub since: Version,
}

/// A row that could not be inserted.
#[derive(Clone, Debug)]
pub struct Refused {
    pub key: Key,
    pub error: WriteError,
    /// The column, where the server named it.
    pub column: Option<String>,
    /// Whose unique value it would take, where that is so and the key can be read back.
    pub owner: Option<Key>,
}

/// What became of a chunk's rows.
#[derive(Debug, Default)]
pub struct Copied {
    pub inserted: u64,
    /// The secondary had a row of this key, or a live write has settled what it has.
    pub present: u64,
    pub refused: Vec<Refused>,
}

/// What a sweep writes down.
#[derive(Clone, Debug)]
pub struct Note {
    pub reached: progress::Reached,
    /// Chunks that were inserted and are swept by this: 1, or 0 where the chunk was thrown away.
    pub chunks: u32,
}

/// Why a chunk was not copied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    #[error(transparent)]
    Secondary(#[from] WriteError),
    /// The table was emptied after the chunk was read: it has to be read again.
    #[error("the table was emptied meanwhile")]
    Emptied,
    /// Another process has taken the table over.
    #[error("another process copies this table now")]
    TakenOver,
}

impl From<mysql_async::Error> for CopyError {
    fn from(error: mysql_async::Error) -> Self {
        Self::Secondary(error.into())
    }
}

impl CopyError {
    fn may_pass(&self) -> bool {
        matches!(self, Self::Secondary(error) if error.reaction() == Reaction::Now)
    }
}

/// Writes chunks, over one connection at a time.
#[derive(Debug)]
pub struct Copier {
    url: ToUrl,
    limits: LinkLimits,
    link: Link,
    used: Instant,
    run: Run,
}

impl Copier {
    pub async fn connect(url: &ToUrl, limits: &LinkLimits, run: Run) -> Result<Self, WriteError> {
        let limits = LinkLimits { lock_wait: LOCK_WAIT, ..*limits };
        let link = connected(url, &limits).await?;
        Ok(Self { url: url.clone(), limits, link, used: Instant::now(), run })
    }

    /// A copying that is paused says nothing for long, and the server ends such a session.
    async fn fresh(&mut self) -> Result<(), WriteError> {
        if self.limits.idle / 2 < self.used.elapsed() {
            self.link = connected(&self.url, &self.limits).await?;
        }
        self.used = Instant::now();
        Ok(())
    }

    /// Inserts the rows whose keys are absent. Nothing is left of an attempt that fails.
    pub async fn copy(&mut self, chunk: &Chunk<'_>) -> Result<Copied, CopyError> {
        self.fresh().await?;
        let mut attempt = 1;
        loop {
            let result = self.attempt(chunk).await;
            let Err(error) = result else { return result };
            self.roll_back(&error).await?;
            if !error.may_pass() || attempt == ATTEMPTS_MAX {
                return Err(error);
            }
            attempt += 1;
        }
    }

    async fn roll_back(&mut self, error: &CopyError) -> Result<(), CopyError> {
        let broken = matches!(error, CopyError::Secondary(error) if error.breaks_connection());
        if !broken && self.link.conn().query_drop("ROLLBACK").await.is_err() {
            return Err(WriteError::Disconnected.into());
        }
        Ok(())
    }

    async fn attempt(&mut self, chunk: &Chunk<'_>) -> Result<Copied, CopyError> {
        self.link.conn().query_drop("BEGIN").await?;
        let hashes: Vec<KeyHash> = chunk.rows.iter().map(|row| row.key.hash).collect();
        let fenced = self.fenced(chunk.table, &hashes, "").await?;
        let absent: Vec<&Row> =
            chunk.rows.iter().filter(|row| !fenced.contains(&row.key.hash)).collect();
        let mut copied = Copied { present: fenced.len() as u64, ..Copied::default() };
        for piece in pieces(chunk.table, &absent) {
            self.insert(chunk.table, piece, &mut copied).await?;
        }
        let emptied = self.emptied(chunk.table, chunk.since.epoch).await?;
        if chunk.since <= emptied {
            return Err(CopyError::Emptied);
        }
        if !progress::inserted(&mut self.link, chunk.table, &self.run).await? {
            return Err(CopyError::TakenOver);
        }
        self.link.conn().query_drop("COMMIT").await?;
        Ok(copied)
    }

    /// One statement for many rows; where it is refused, those that are there are left out, and the
    /// rest is halved until the culprit stands alone.
    async fn insert(
        &mut self,
        table: &Table,
        rows: &[&Row],
        copied: &mut Copied,
    ) -> Result<(), CopyError> {
        let mut left = vec![rows.to_vec()];
        while let Some(rows) = left.pop() {
            let Some(failed) = self.insert_all(table, &rows, copied).await? else { continue };
            let present = self.present(table, &rows).await?;
            copied.present += present.len() as u64;
            let absent = (0..).zip(rows).filter(|(at, _)| !present.contains(at));
            let absent: Vec<&Row> = absent.map(|(_, row)| row).collect();
            if !present.is_empty() {
                left.push(absent);
                continue;
            }
            match &absent[..] {
                [row] => {
                    let owner = self.owner(table, row, &failed).await?;
                    let Failed { error, column } = failed;
                    copied.refused.push(Refused { key: row.key.clone(), error, column, owner });
                }
                _ => {
                    let (first, second) = absent.split_at(absent.len() / 2);
                    left.extend([second.to_vec(), first.to_vec()]);
                }
            }
        }
        Ok(())
    }

    /// What the server says of the rows, if it refused them; errors that do not concern them end
    /// the chunk.
    async fn insert_all(
        &mut self,
        table: &Table,
        rows: &[&Row],
        copied: &mut Copied,
    ) -> Result<Option<Failed>, CopyError> {
        let mut rest = rows;
        while !rest.is_empty() {
            let (part, tail) = rest.split_at(at_once(table, rest.len()));
            let images: Vec<&RowImage> = part.iter().map(|row| &row.image).collect();
            match statements::insert(&mut self.link, table, &images).await {
                Ok(inserted) => copied.inserted += inserted,
                Err(failed) => match failed.error.reaction() {
                    // What went before is inserted, and found present.
                    Reaction::Soon | Reaction::Stuck if part.len() == rows.len() => {
                        return Ok(Some(failed));
                    }
                    Reaction::Soon | Reaction::Stuck => {
                        Box::pin(self.insert(table, part, copied)).await?;
                    }
                    Reaction::Now | Reaction::ReadAgain | Reaction::Down => {
                        return Err(failed.error.into());
                    }
                },
            }
            rest = tail;
        }
        Ok(None)
    }

    /// Which of these rows the secondary has, by their position.
    async fn present(&mut self, table: &Table, rows: &[&Row]) -> Result<HashSet<usize>, CopyError> {
        let one = format!(
            "SELECT CAST(? AS UNSIGNED) FROM {} WHERE {}",
            quote_mysql(&table.target),
            rows::by_key(table)
        );
        let (mut present, mut from) = (HashSet::new(), 0);
        while from < rows.len() {
            let size = at_once(table, (rows.len() - from).min(128));
            let mut params: Vec<Param> = Vec::new();
            for (at, row) in (from..).zip(&rows[from..from + size]) {
                params.push(Param::UInt(at as u64));
                match rows::key_params(table, &row.key, self.link.flavor()) {
                    Ok(mut key) => params.append(&mut key),
                    // What MySQL cannot hold is not there.
                    Err(_) => params.extend(table.key.iter().map(|_| Param::NULL)),
                }
            }
            let sql = vec![one.as_str(); size].join(" UNION ALL ");
            let found: Vec<u64> = self.link.conn().exec(sql, Params::Positional(params)).await?;
            present.extend(found.into_iter().filter_map(|at| usize::try_from(at).ok()));
            from += size;
        }
        Ok(present)
    }

    async fn owner(
        &mut self,
        table: &Table,
        row: &Row,
        failed: &Failed,
    ) -> Result<Option<Key>, CopyError> {
        let WriteError::Server { code: 1062, .. } = failed.error else { return Ok(None) };
        let owners = super::owners::owners(&mut self.link, table, &row.key, &row.image).await?;
        Ok(owners.into_iter().next())
    }

    /// The keys among these that the fence has an entry for; `what` narrows it, or locks.
    async fn fenced(
        &mut self,
        table: &Table,
        hashes: &[KeyHash],
        what: &str,
    ) -> Result<HashSet<KeyHash>, CopyError> {
        let id = table.id.ok_or_else(|| WriteError::NoKey(table.name.clone()))?;
        let mut fenced = HashSet::new();
        for part in hashes.chunks(HASHES_AT_ONCE) {
            let list: Vec<String> = part.iter().map(|hash| lock::literal(*hash)).collect();
            let sql = format!(
                "SELECT `key_hash` FROM `crossfade_fence` FORCE INDEX (PRIMARY) \
                 WHERE `table_id` = {id} AND `key_hash` IN ({}){what}",
                list.join(", ")
            );
            let found: Vec<Vec<u8>> = self.link.conn().query(sql).await?;
            fenced
                .extend(found.into_iter().filter_map(|hash| Some(KeyHash(hash.try_into().ok()?))));
        }
        Ok(fenced)
    }

    /// The version of the newest TRUNCATE; both it and the epoch stay until the transaction ends.
    async fn emptied(&mut self, table: &Table, epoch: u64) -> Result<Version, CopyError> {
        let id = table.id.ok_or_else(|| WriteError::NoKey(table.name.clone()))?;
        let fence = lock::table(&mut self.link, id, epoch).await?;
        Ok(fence.emptied)
    }

    /// Takes rows away that a live delete has met. With `note`, which holds the table's progress, that is
    /// written down in the same transaction.
    pub async fn sweep(
        &mut self,
        table: &Table,
        keys: &[&Key],
        epoch: u64,
        note: Option<&Note>,
    ) -> Result<u64, CopyError> {
        self.fresh().await?;
        let mut attempt = 1;
        loop {
            let result = self.sweep_once(table, keys, epoch, note).await;
            let Err(error) = result else { return result };
            self.roll_back(&error).await?;
            if !error.may_pass() || attempt == ATTEMPTS_MAX {
                return Err(error);
            }
            attempt += 1;
        }
    }

    async fn sweep_once(
        &mut self,
        table: &Table,
        keys: &[&Key],
        epoch: u64,
        note: Option<&Note>,
    ) -> Result<u64, CopyError> {
        const TOMBSTONE: &str = " AND `deleted` = 1";
        let id = table.id.ok_or_else(|| WriteError::NoKey(table.name.clone()))?;
        self.link.conn().query_drop(lock::barrier(id)).await?;
        let hashes: Vec<KeyHash> = keys.iter().map(|key| key.hash).collect();
        let tombs = self.fenced(table, &hashes, TOMBSTONE).await?;
        self.link.conn().query_drop("BEGIN").await?;
        self.emptied(table, epoch).await?;
        let mut deleted = 0;
        if !tombs.is_empty() {
            let mut hashes: Vec<KeyHash> = tombs.into_iter().collect();
            hashes.sort_unstable();
            // One that was inserted again since has no tombstone any more.
            let locked = format!("{TOMBSTONE} LOCK IN SHARE MODE");
            let tombs = self.fenced(table, &hashes, &locked).await?;
            for key in keys.iter().filter(|key| tombs.contains(&key.hash)) {
                deleted += statements::delete(&mut self.link, table, key)
                    .await
                    .map_err(|failed| failed.error)?;
            }
        }
        let noted = match note {
            Some(Note { reached, chunks }) => {
                progress::swept(&mut self.link, table, &self.run, reached, *chunks).await?
            }
            None => true,
        };
        if !noted {
            return Err(CopyError::TakenOver);
        }
        self.link.conn().query_drop("COMMIT").await?;
        Ok(deleted)
    }

    /// The next keys of the secondary's after a place, in its own order, and the place to go on from;
    /// `None` at the end.
    pub async fn keys_after(
        &mut self,
        table: &Table,
        place: Option<&[Param]>,
        rows_max: usize,
    ) -> Result<(Vec<Key>, Option<Vec<Param>>), CopyError> {
        let (sql, params) = super::truncate::page(table, place, rows_max);
        let found: Vec<Found> = self.link.conn().exec(sql, Params::Positional(params)).await?;
        let full = found.len() == rows_max;
        let mut keys = Vec::with_capacity(found.len());
        let mut last = None;
        for row in found {
            let mut params = row.unwrap();
            last = Some(params.split_off(table.key.len()));
            let values: Option<Vec<Value>> = table
                .key_columns()
                .zip(&params)
                .map(|(column, param)| Value::from_mysql(param, &column.type_ref.pg_type))
                .collect();
            let values = values.ok_or_else(|| WriteError::NoKey(table.name.clone()))?;
            let hash = KeyHash::of(&values, table);
            keys.push(Key { values, hash, raw: bytes::Bytes::new() });
        }
        Ok((keys, last.filter(|_| full)))
    }
}

async fn connected(url: &ToUrl, limits: &LinkLimits) -> Result<Link, WriteError> {
    let mut link = Link::connect(url, limits).await?;
    link.conn().query_drop("SET SESSION foreign_key_checks = 0").await?;
    Ok(link)
}

/// Rows that go in one statement, or a few, by number and by size.
fn pieces<'r, 'a>(table: &Table, rows: &'r [&'a Row]) -> Vec<&'r [&'a Row]> {
    let at_most = at_once(table, usize::MAX);
    let (mut pieces, mut from, mut bytes) = (Vec::new(), 0, 0);
    for (at, row) in rows.iter().enumerate() {
        let size = row.image.size();
        if from < at && (at - from == at_most || BYTES_AT_ONCE < bytes + size) {
            pieces.push(&rows[from..at]);
            (from, bytes) = (at, 0);
        }
        bytes += size;
    }
    if from < rows.len() {
        pieces.push(&rows[from..]);
    }
    pieces
}

fn at_once(table: &Table, rows: usize) -> usize {
    let columns = rows::carried(table).count().max(1);
    let fits = |size: &usize| *size <= rows && *size * columns <= PLACEHOLDERS_MAX;
    ROWS_AT_ONCE.into_iter().find(fits).unwrap_or(1)
}
