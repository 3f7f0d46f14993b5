//! The one fenced writer: every change of a user's row on the secondary goes through here.
//!
//! ```text
//! BEGIN
//!   epoch row, each table's fence and floor     LOCK IN SHARE MODE
//!   the rows' fence entries, in key order       FOR UPDATE
//!   fence::plan                                 which changes are news
//!   fence entries, then rows                    by primary key only
//! COMMIT
//! ```
//!
//! Invariant: fence and rows move in one transaction, so an apply can be repeated, doubled and
//! reordered, by any number of sidecars. After any error comes a ROLLBACK: MySQL undoes the
//! statement only.
//!
//! Not here: how often to try again (`apply`, `outbox`); a future that was dropped half-way leaves
//! the connection in the middle of a transaction, so its writer must be dropped too.

use std::collections::{BTreeMap, BTreeSet};

use mysql_async::prelude::Queryable as _;
use mysql_async::{Params, Value as Param};

use super::connect::Link;
use super::control;
use super::error::{Reaction, WriteError};
use super::execute::Run;
use super::fence::{self, Entry, Fence, TableFence};
use crate::catalog::Catalog;
use crate::change::{Change, Effect, KeyHash, Version};
use crate::names::TableId;
use crate::value::Flavor;

pub use super::fence::Outcome;

/// Deadlocks, races and lock waits in a row before the caller hears of it.
const ATTEMPTS_MAX: u32 = 5;
/// Rows of one multi-row statement, largest first: few texts, so that they stay prepared.
pub(super) const ROWS_AT_ONCE: [usize; 4] = [128, 32, 8, 1];
/// MySQL's limit on placeholders is 65,535.
pub(super) const PLACEHOLDERS_MAX: usize = 60_000;

/// Writes to the secondary over one connection.
#[derive(Debug)]
pub struct Writer {
    pub(super) link: Link,
}

/// Nothing of the batch was written; this change is why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct Refused {
    /// Position of the change in the whole batch.
    pub at: usize,
    /// The column, where the server named it.
    pub column: Option<String>,
    pub error: WriteError,
}

impl Writer {
    #[must_use]
    pub fn new(link: Link) -> Self {
        Self { link }
    }

    /// The connection, for reading and for Crossfade's own tables.
    pub fn link(&mut self) -> &mut Link {
        &mut self.link
    }

    /// Applies transactions in order, all of them or none; answers with one outcome per change.
    /// Deadlocks and races are repeated here.
    pub async fn write(
        &mut self,
        batch: &[&[Change]],
        epoch: u64,
        catalog: &Catalog,
    ) -> Result<Vec<Outcome>, Refused> {
        let mut attempt = 1;
        loop {
            let result = match self.prepare(batch, epoch, catalog).await {
                Ok(outcomes) => self.commit().await.map(|()| outcomes).map_err(|error| Refused {
                    at: 0,
                    column: None,
                    error,
                }),
                Err(refused) => Err(refused),
            };
            match result {
                Err(refused)
                    if attempt < ATTEMPTS_MAX && refused.error.reaction() == Reaction::Now =>
                {
                    attempt += 1;
                }
                other => return other,
            }
        }
    }

    /// The same without the COMMIT: the transaction stays open until [`Self::commit`] or
    /// [`Self::rollback`]. After an error it is already rolled back.
    pub async fn prepare(
        &mut self,
        batch: &[&[Change]],
        epoch: u64,
        catalog: &Catalog,
    ) -> Result<Vec<Outcome>, Refused> {
        let result = self.apply(batch, epoch, catalog).await;
        if let Err(refused) = &result {
            // Where even this fails the connection is gone, and the server rolls back.
            if !refused.error.breaks_connection() {
                let _ = self.rollback().await;
            }
            if refused.error == WriteError::NotSetUp {
                self.register(batch).await.map_err(|error| Refused { error, ..refused.clone() })?;
                return self.apply_registered(batch, epoch, catalog).await;
            }
        }
        result
    }

    pub async fn commit(&mut self) -> Result<(), WriteError> {
        Ok(self.link.conn().query_drop("COMMIT").await?)
    }

    pub async fn rollback(&mut self) -> Result<(), WriteError> {
        Ok(self.link.conn().query_drop("ROLLBACK").await?)
    }

    /// After the tables were registered; a second "not set up" is one.
    async fn apply_registered(
        &mut self,
        batch: &[&[Change]],
        epoch: u64,
        catalog: &Catalog,
    ) -> Result<Vec<Outcome>, Refused> {
        let result = self.apply(batch, epoch, catalog).await;
        if result.as_ref().is_err_and(|refused| !refused.error.breaks_connection()) {
            let _ = self.rollback().await;
        }
        result
    }

    async fn register(&mut self, batch: &[&[Change]]) -> Result<(), WriteError> {
        for table in tables(batch).keys() {
            control::register(self.link.conn(), *table).await?;
        }
        Ok(())
    }

    async fn apply(
        &mut self,
        batch: &[&[Change]],
        epoch: u64,
        catalog: &Catalog,
    ) -> Result<Vec<Outcome>, Refused> {
        let first = |error| Refused { at: 0, column: None, error };
        check_keys(batch)?;
        self.link.conn().query_drop("BEGIN").await.map_err(|error| first(error.into()))?;
        let mut fence = self.lock(batch, epoch).await.map_err(first)?;
        let (steps, outcomes) = fence::plan(batch, &mut fence);
        self.move_fence(&fence).await.map_err(first)?;
        let mut run = Run::new(self, catalog, batch.len() == 1);
        run.all(steps).await?;
        Ok(outcomes)
    }

    /// Locks what the batch depends on, in one order for everyone, and reads it.
    async fn lock(&mut self, batch: &[&[Change]], epoch: u64) -> Result<Fence, WriteError> {
        let tables = tables(batch);
        let emptied: Vec<TableId> =
            tables.iter().filter(|(_, emptied)| **emptied).map(|(id, _)| *id).collect();
        if !emptied.is_empty() {
            self.lock_emptied(&emptied).await?;
        }
        let mut fence = Fence::default();
        self.read_tables(&tables, epoch, &mut fence).await?;
        let mut keys: BTreeMap<TableId, BTreeSet<KeyHash>> = BTreeMap::new();
        for change in batch.iter().copied().flatten() {
            let Some(id) = change.table.id else { continue };
            keys.entry(id).or_default().extend(change.keys().map(|key| key.hash));
        }
        for (table, hashes) in keys {
            let hashes: Vec<KeyHash> = hashes.into_iter().collect();
            for part in hashes.chunks(PLACEHOLDERS_MAX) {
                self.lock_entries(table, part, &mut fence).await?;
            }
        }
        Ok(fence)
    }

    /// TRUNCATE waits for all who apply to these tables, and they for it.
    async fn lock_emptied(&mut self, tables: &[TableId]) -> Result<(), WriteError> {
        let sql = "SELECT `n` FROM `crossfade_fence` FORCE INDEX (PRIMARY) \
                   WHERE `table_id` = ? AND `key_hash` = ? FOR UPDATE";
        for table in tables {
            let params = (table.0, &KeyHash::TABLE.0[..]);
            self.link.conn().exec_drop(sql, params).await?;
        }
        Ok(())
    }

    async fn read_tables(
        &mut self,
        tables: &BTreeMap<TableId, bool>,
        epoch: u64,
        fence: &mut Fence,
    ) -> Result<(), WriteError> {
        let ids: Vec<String> = tables.keys().map(|id| id.0.to_string()).collect();
        let sql = format!(
            "SELECT s.`epoch`, f.`table_id`, f.`epoch`, f.`counter`, f.`n`, \
             o.`epoch`, o.`counter`, o.`n` \
             FROM `crossfade_state` s \
             LEFT JOIN `crossfade_fence` f FORCE INDEX (PRIMARY) \
             ON f.`table_id` IN ({}) AND f.`key_hash` = ? \
             LEFT JOIN `crossfade_floor` o FORCE INDEX (PRIMARY) ON o.`table_id` = f.`table_id` \
             WHERE s.`id` = 1 LOCK IN SHARE MODE",
            ids.join(", ")
        );
        type Row = (
            u64,
            Option<i32>,
            Option<u64>,
            Option<u64>,
            Option<u32>,
            Option<u64>,
            Option<u64>,
            Option<u32>,
        );
        let rows: Vec<Row> = self.link.conn().exec(sql, (&KeyHash::TABLE.0[..],)).await?;
        let found = rows.first().ok_or(WriteError::NotSetUp)?.0;
        if found != epoch {
            return Err(WriteError::Epoch { expected: epoch, found });
        }
        for row in rows {
            let (_, Some(id), Some(e), Some(c), Some(n), Some(fe), Some(fc), Some(fnn)) = row
            else {
                return Err(WriteError::NotSetUp);
            };
            let emptied = Version { epoch: e, counter: c, n };
            let floor = Version { epoch: fe, counter: fc, n: fnn };
            fence.tables.insert(TableId(id), TableFence { emptied, floor });
        }
        if tables.keys().all(|id| fence.tables.contains_key(id)) {
            Ok(())
        } else {
            Err(WriteError::NotSetUp)
        }
    }

    async fn lock_entries(
        &mut self,
        table: TableId,
        hashes: &[KeyHash],
        fence: &mut Fence,
    ) -> Result<(), WriteError> {
        let Some(last) = hashes.last() else { return Ok(()) };
        // Padded with repetitions to a power of two: few texts, so that they stay prepared.
        let width = hashes.len().next_power_of_two().min(PLACEHOLDERS_MAX);
        let sql = format!(
            "SELECT `key_hash`, `epoch`, `counter`, `n`, `deleted` \
             FROM `crossfade_fence` FORCE INDEX (PRIMARY) \
             WHERE `table_id` = ? AND `key_hash` IN ({}) ORDER BY `key_hash` FOR UPDATE",
            vec!["?"; width].join(", ")
        );
        let padded = hashes.iter().chain(std::iter::repeat(last)).take(width);
        let params = std::iter::once(Param::Int(table.0.into()))
            .chain(padded.map(|hash| Param::Bytes(hash.0.to_vec())));
        let params = Params::Positional(params.collect());
        let rows: Vec<(Vec<u8>, u64, u64, u32, i8)> = self.link.conn().exec(sql, params).await?;
        for (hash, epoch, counter, n, deleted) in rows {
            let Ok(hash) = <[u8; 16]>::try_from(hash) else { return Err(WriteError::NotSetUp) };
            let version = Version { epoch, counter, n };
            let entry = Entry { version, deleted: deleted != 0, stored: true, moved: false };
            fence.entries.insert((table, KeyHash(hash)), entry);
        }
        Ok(())
    }

    /// Writes the entries that moved: new ones with a plain INSERT, which fails if another writer
    /// was faster; stored ones are locked by us.
    async fn move_fence(&mut self, fence: &Fence) -> Result<(), WriteError> {
        let mut moved: Vec<_> = fence.entries.iter().filter(|(_, entry)| entry.moved).collect();
        moved.sort_unstable_by_key(|(place, _)| **place);
        let (stored, new): (Vec<_>, Vec<_>) = moved.into_iter().partition(|(_, e)| e.stored);
        let update = match self.link.flavor() {
            Flavor::MariaDb => {
                " ON DUPLICATE KEY UPDATE `epoch` = VALUES(`epoch`), \
                 `counter` = VALUES(`counter`), `n` = VALUES(`n`), \
                 `deleted` = VALUES(`deleted`), `at` = CURRENT_TIMESTAMP(6)"
            }
            Flavor::MySql => {
                " AS v ON DUPLICATE KEY UPDATE `epoch` = v.`epoch`, `counter` = v.`counter`, \
                 `n` = v.`n`, `deleted` = v.`deleted`, `at` = CURRENT_TIMESTAMP(6)"
            }
        };
        for (list, tail) in [(stored, update), (new, "")] {
            let mut rest = &list[..];
            while !rest.is_empty() {
                let (part, tail_rest) = rest.split_at(at_once(rest.len()));
                rest = tail_rest;
                let sql = format!(
                    "INSERT INTO `crossfade_fence` \
                     (`table_id`, `key_hash`, `epoch`, `counter`, `n`, `deleted`) VALUES {}{tail}",
                    vec!["(?, ?, ?, ?, ?, ?)"; part.len()].join(", ")
                );
                let params = part.iter().flat_map(|(place, entry)| entry_params(place, entry));
                let params = Params::Positional(params.collect());
                self.link.conn().exec_drop(sql, params).await.map_err(race)?;
            }
        }
        Ok(())
    }
}

fn entry_params((table, hash): &fence::Place, entry: &Entry) -> [Param; 6] {
    let Version { epoch, counter, n } = entry.version;
    [
        Param::Int(table.0.into()),
        Param::Bytes(hash.0.to_vec()),
        Param::UInt(epoch),
        Param::UInt(counter),
        Param::UInt(n.into()),
        Param::Int(entry.deleted.into()),
    ]
}

/// A duplicate in the fence itself is a race, not a clash of the user's values.
fn race(error: mysql_async::Error) -> WriteError {
    match WriteError::from(error) {
        WriteError::Server { code: 1062, .. } => WriteError::Race,
        other => other,
    }
}

pub(super) fn at_once(rows: usize) -> usize {
    ROWS_AT_ONCE.into_iter().find(|size| *size <= rows).unwrap_or(1)
}

/// The tables of a batch; true where it empties one.
fn tables(batch: &[&[Change]]) -> BTreeMap<TableId, bool> {
    let mut tables = BTreeMap::new();
    for change in batch.iter().copied().flatten() {
        if let Some(id) = change.table.id {
            *tables.entry(id).or_default() |= matches!(change.effect, Effect::Empty);
        }
    }
    tables
}

fn check_keys(batch: &[&[Change]]) -> Result<(), Refused> {
    for (at, change) in batch.iter().copied().flatten().enumerate() {
        if change.table.id.is_none() || change.table.key.is_empty() {
            let error = WriteError::NoKey(change.table.name.clone());
            return Err(Refused { at, column: None, error });
        }
    }
    Ok(())
}
