//! Writes while PostgreSQL follows: each is noted in MySQL's own transaction, so that it is carried there.
//!
//! ```text
//! Write ──keys──▶ epoch (FOR SHARE) ─▶ fence entries raised by one ─▶ crossfade_outbox ─▶ the row itself
//!                                                                          │
//! COMMIT ──▶ [`Captured::carry`]: a drain, waited for where the table's mode says so ◀┘
//! ```
//!
//! A fence entry's counter is the row's version: it is raised under its own lock, in the transaction that
//! changes the row, so for one row a later change has a larger one. A TRUNCATE is newer than every row
//! before it, and older than every row after it: the table's own entry is raised past all counters, and a
//! row's goes on from the table's, which each writer holds shared. The outbox has keys only; rows are read
//! again when they are carried.
//!
//! Invariant: a row that is written here has an entry in the outbox or the write fails. Rows that a foreign
//! key's action changes along with it are locked and noted before it.

use std::collections::BTreeMap;
use std::time::Duration;

use mysql_async::Value as Param;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::answer::backend::Backend;
use crate::answer::error::{About, PgError};
use crate::answer::place::Rows;
use crate::catalog::{Action, Capture, Catalog, ForeignKey, Table};
use crate::change::{Key, KeyHash, Operation};
use crate::handoff::Handoff;
use crate::names::{TableId, quote_mysql};
use crate::phase::{Phase, Situation};
use crate::policy::Mode;
use crate::value::Value;

/// Keys of one statement to MySQL.
const KEYS_AT_ONCE: usize = 1000;
/// How far actions of foreign keys are followed.
const DEPTH_MAX: usize = 16;
/// Rows that one statement may change through actions of foreign keys.
const CHILDREN_MAX: usize = 100_000;

/// What one transaction has noted.
#[derive(Debug, Default)]
pub(super) struct Captured {
    /// MySQL has confirmed this epoch in this transaction.
    epoch: Option<u64>,
    /// With the counter of each table's own entry, below which no row's counter may stay.
    tables: BTreeMap<TableId, i64>,
    /// The longest that a table's mode has the client wait for PostgreSQL.
    patience: Option<Duration>,
    /// PostgreSQL is left for good, and this sidecar has not heard of it: nothing is noted.
    left: bool,
}

/// Whether writes are noted at all.
pub(super) fn captures(situation: &Situation) -> bool {
    situation.phase == Phase::Switched
}

/// Whether this table's are.
fn is_captured(table: &Table) -> bool {
    table.id.is_some()
        && !table.key.is_empty()
        && matches!(table.capture, Capture::Returning | Capture::Trigger)
}

/// What PostgreSQL would not get is not written: it could not be taken back to it.
fn must_be_captured(table: &Table) -> Result<(), PgError> {
    if is_captured(table) {
        return Ok(());
    }
    let text = format!("table \"{}\" is not carried to PostgreSQL", table.name);
    Err(PgError::new("0A000", text).hint("It can be written after `crossfade complete`."))
}

/// One statement's writes, as they are noted.
pub(super) struct Notes<'a> {
    pub(super) captured: &'a mut Captured,
    pub(super) situation: &'a Situation,
    pub(super) backend: &'a mut Backend,
}

impl Captured {
    /// After the commit: has what was noted carried over, and waits where a mode says so. That it takes
    /// longer is no error: the outbox has it.
    pub(super) async fn carry(&mut self, handoff: Option<&Handoff>) {
        let Self { tables, patience, .. } = std::mem::take(self);
        let Some(handoff) = handoff.filter(|_| !tables.is_empty()) else { return };
        match patience {
            None => handoff.drain(None),
            Some(patience) => {
                let (done, settled) = oneshot::channel();
                handoff.drain(Some(done));
                drop(timeout(patience, settled).await);
            }
        }
    }

    /// MySQL has confirmed the epoch in the transaction under way, and keeps it to its end.
    pub(super) fn is_confirmed(&self) -> bool {
        self.epoch.is_some()
    }

    /// After a rollback.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

impl Notes<'_> {
    /// Notes rows before they change, or right after they were inserted.
    pub(super) async fn note(
        &mut self,
        table: &Table,
        operation: Operation,
        keys: &Rows,
    ) -> Result<(), PgError> {
        if keys.is_empty() && is_captured(table) {
            return Ok(());
        }
        must_be_captured(table)?;
        if !self.confirm().await? {
            return Ok(());
        }
        let keys = keys.iter().map(|row| key(table, row)).collect::<Result<Vec<_>, _>>()?;
        self.children(table, operation, false, &keys, 0).await?;
        self.enter(table, operation, &keys).await
    }

    /// A key that changes: the old one goes, the new one comes.
    pub(super) async fn note_move(
        &mut self,
        table: &Table,
        old: &Rows,
        new: &Rows,
    ) -> Result<(), PgError> {
        must_be_captured(table)?;
        if !self.confirm().await? {
            return Ok(());
        }
        let read =
            |rows: &Rows| rows.iter().map(|row| key(table, row)).collect::<Result<Vec<_>, _>>();
        let (old, new) = (read(old)?, read(new)?);
        let moved: Vec<Key> = old
            .iter()
            .zip(&new)
            .filter(|(a, b)| a.hash != b.hash)
            .map(|(a, _)| a.clone())
            .collect();
        self.children(table, Operation::Update, true, &moved, 0).await?;
        self.enter(table, Operation::Delete, &moved).await?;
        self.enter(table, Operation::Update, &new).await
    }

    /// TRUNCATE: the table's own entry.
    pub(super) async fn note_truncate(&mut self, table: &Table) -> Result<(), PgError> {
        must_be_captured(table)?;
        if !self.confirm().await? {
            return Ok(());
        }
        let Some(id) = table.id else { return Ok(()) };
        // Whoever writes a row holds the entry shared: none of them is under way afterwards.
        self.table_counter(id, "FOR UPDATE").await?;
        let sql = "SELECT MAX(`counter`) FROM `crossfade_fence` \
             WHERE `table_id` = ? AND `epoch` = ? LOCK IN SHARE MODE";
        let highest = self.backend.number(sql, self.place(id)).await?.unwrap_or(0);
        self.captured.tables.insert(id, highest);
        self.raise(table, &[KeyHash::TABLE], false).await?;
        self.captured.tables.insert(id, highest + 1);
        self.append(table, Operation::Truncate, &[(KeyHash::TABLE, None)]).await
    }

    /// Raises the fence entries, and appends to the outbox.
    async fn enter(
        &mut self,
        table: &Table,
        operation: Operation,
        keys: &[Key],
    ) -> Result<(), PgError> {
        let mut hashes: Vec<KeyHash> = keys.iter().map(|key| key.hash).collect();
        // In one order, so that two of us do not wait for each other.
        hashes.sort_unstable();
        hashes.dedup();
        self.raise(table, &hashes, operation == Operation::Delete).await?;
        let entries: Vec<(KeyHash, Option<Vec<u8>>)> =
            keys.iter().map(|key| (key.hash, Some(key.raw.to_vec()))).collect();
        self.append(table, operation, &entries).await
    }

    /// The epoch, once in a transaction: MySQL must still be the one that leads, and stay so to its end.
    /// False where PostgreSQL was left for good. A transaction that was told otherwise goes on noting:
    /// what it notes in is dropped after its end.
    async fn confirm(&mut self) -> Result<bool, PgError> {
        let epoch = self.situation.epoch;
        if self.captured.epoch == Some(epoch) {
            return Ok(!self.captured.left);
        }
        // One number: negative where nothing follows any more.
        let sql = "SELECT IF(c.`id` IS NULL, 1, -1) * CAST(s.`epoch` AS SIGNED) FROM `crossfade_state` s \
                   LEFT JOIN `crossfade_state` c ON c.`id` = 3 AND c.`epoch` = s.`epoch` \
                   WHERE s.`id` = 1 LOCK IN SHARE MODE";
        let found = self.backend.number(sql, Vec::new()).await?;
        let wanted = i64::try_from(epoch).ok();
        if found.map(i64::abs) != wanted {
            let text = "Crossfade's epoch has changed: this transaction cannot write any more";
            return Err(PgError::new("40001", text).hint("Repeat the transaction."));
        }
        self.captured.left = found != wanted;
        self.captured.epoch = Some(epoch);
        Ok(!self.captured.left)
    }

    fn place(&self, id: TableId) -> Vec<Param> {
        vec![Param::Int(id.0.into()), Param::UInt(self.situation.epoch)]
    }

    /// The counter of the table's own entry, locked; 0 where nothing has emptied it in this epoch.
    async fn table_counter(&mut self, id: TableId, lock: &str) -> Result<i64, PgError> {
        let sql = format!(
            "SELECT IF(`epoch` = ?, `counter`, 0) FROM `crossfade_fence` FORCE INDEX (PRIMARY) \
             WHERE `table_id` = ? AND `key_hash` = ? {lock}"
        );
        let mut params = self.place(id);
        params.reverse();
        params.push(Param::Bytes(KeyHash::TABLE.0.to_vec()));
        Ok(self.backend.number(&sql, params).await?.unwrap_or(0))
    }

    async fn raise(
        &mut self,
        table: &Table,
        hashes: &[KeyHash],
        deleted: bool,
    ) -> Result<(), PgError> {
        let Some(id) = table.id else { return Ok(()) };
        let base = match self.captured.tables.get(&id) {
            Some(base) => *base,
            None => {
                let base = self.table_counter(id, "LOCK IN SHARE MODE").await?;
                self.captured.tables.insert(id, base);
                base
            }
        };
        if matches!(table.policy.mode, Mode::Blocking | Mode::Strict) {
            let patience = self.captured.patience.unwrap_or_default();
            self.captured.patience = Some(patience.max(table.policy.timeout));
        }
        let epoch = self.situation.epoch;
        for part in hashes.chunks(KEYS_AT_ONCE) {
            let row = format!("({}, ?, {epoch}, {base} + 1, 0, {})", id.0, u8::from(deleted));
            // Addressed by its only key, so the clause cannot meet another row.
            let sql = format!(
                "INSERT INTO `crossfade_fence` (`table_id`, `key_hash`, `epoch`, `counter`, `n`, `deleted`) \
                 VALUES {} ON DUPLICATE KEY UPDATE \
                 `counter` = GREATEST(IF(`epoch` = VALUES(`epoch`), `counter`, 0), {base}) + 1, \
                 `epoch` = VALUES(`epoch`), `n` = 0, `deleted` = VALUES(`deleted`), \
                 `at` = CURRENT_TIMESTAMP(6)",
                vec![row; part.len()].join(", ")
            );
            let params = part.iter().map(|hash| Param::Bytes(hash.0.to_vec())).collect();
            self.run(&sql, params).await?;
        }
        Ok(())
    }

    async fn append(
        &mut self,
        table: &Table,
        operation: Operation,
        entries: &[(KeyHash, Option<Vec<u8>>)],
    ) -> Result<(), PgError> {
        let Some(id) = table.id else { return Ok(()) };
        let (letter, epoch) = (operation.letter(), self.situation.epoch);
        for part in entries.chunks(KEYS_AT_ONCE) {
            // The counter is the one that was just raised; without one the column refuses. Each key goes
            // straight into its column: a union of several would take them for text of the connection's
            // character set, and put question marks for what is none.
            let one = format!(
                "({}, '{letter}', ?, {epoch}, (SELECT `counter` FROM `crossfade_fence` \
                 WHERE `table_id` = {} AND `key_hash` = ?), 0)",
                id.0, id.0
            );
            let sql = format!(
                "INSERT INTO `crossfade_outbox` (`table_id`, `op`, `key`, `epoch`, `counter`, `n`) VALUES {}",
                vec![one; part.len()].join(", ")
            );
            let mut params = Vec::with_capacity(2 * part.len());
            for (hash, raw) in part {
                params.push(raw.clone().map_or(Param::NULL, Param::Bytes));
                params.push(Param::Bytes(hash.0.to_vec()));
            }
            if self.run(&sql, params).await? != part.len() as u64 {
                return Err(PgError::internal(
                    "an entry of the fence is not there after it was raised",
                ));
            }
        }
        Ok(())
    }

    async fn run(&mut self, sql: &str, params: Vec<Param>) -> Result<u64, PgError> {
        let about = About { catalog: &self.situation.catalog, table: None };
        let (_, done) = self.backend.rows(sql, params, 0, about).await?;
        Ok(done.count)
    }

    /// Rows of other tables that MySQL will change along with these.
    async fn children(
        &mut self,
        table: &Table,
        operation: Operation,
        moves: bool,
        keys: &[Key],
        depth: usize,
    ) -> Result<(), PgError> {
        let catalog = std::sync::Arc::clone(&self.situation.catalog);
        for (child, foreign, action) in acting(&catalog, table, operation, moves) {
            if DEPTH_MAX <= depth {
                return Err(PgError::unsupported("a cascade over so many tables"));
            }
            let found = self.find(table, &child, &foreign, keys).await?;
            if found.is_empty() {
                continue;
            }
            let follows = match (operation, action) {
                (Operation::Delete, Action::Cascade) => Operation::Delete,
                _ => Operation::Update,
            };
            let in_key = foreign.columns.iter().any(|at| child.is_key(*at));
            if is_captured(&child) && in_key && follows == Operation::Update {
                return Err(PgError::unsupported(
                    "a change of a key that other tables' keys follow",
                ));
            }
            if is_captured(&child) {
                let keys: Vec<Key> =
                    found.iter().map(|row| key(&child, row)).collect::<Result<_, _>>()?;
                Box::pin(self.children(&child, follows, false, &keys, depth + 1)).await?;
                self.enter(&child, follows, &keys).await?;
            }
        }
        Ok(())
    }

    /// Locks the children of some rows, and reads their keys.
    async fn find(
        &mut self,
        parent: &Table,
        child: &Table,
        foreign: &ForeignKey,
        keys: &[Key],
    ) -> Result<Rows, PgError> {
        let quoted = |side: &str, name: &str| format!("{side}.{}", quote_mysql(name));
        let own: Vec<String> =
            child.key_columns().map(|column| quoted("c", &column.name)).collect();
        let joined: Vec<String> = foreign
            .columns
            .iter()
            .zip(&foreign.referenced)
            .map(|(at, of)| {
                format!("{} = {}", quoted("c", &child.columns[*at].name), quoted("p", of))
            })
            .collect();
        let by: Vec<String> =
            parent.key_columns().map(|column| quoted("p", &column.name)).collect();
        let mut found = Rows::new();
        let flavor = self.backend.flavor();
        for part in keys.chunks(KEYS_AT_ONCE) {
            let place = format!("({})", vec!["?"; by.len()].join(", "));
            let sql = format!(
                "SELECT {} FROM {} p JOIN {} c ON {} WHERE ({}) IN ({}) FOR UPDATE",
                own.join(", "),
                quote_mysql(&parent.target),
                quote_mysql(&child.target),
                joined.join(" AND "),
                by.join(", "),
                vec![place; part.len()].join(", ")
            );
            let mut params = Vec::new();
            for key in part {
                for (value, column) in key.values.iter().zip(parent.key_columns()) {
                    params.push(value.to_mysql(&column.target, flavor)?);
                }
            }
            let about = About { catalog: &self.situation.catalog, table: None };
            let rest = CHILDREN_MAX.saturating_sub(found.len());
            let (rows, _) = self.backend.rows(&sql, params, rest, about).await?;
            found.extend(rows);
        }
        Ok(found)
    }
}

/// Foreign keys through which a change of this table's rows changes others; without `moves` the rows
/// keep their keys.
fn acting(
    catalog: &Catalog,
    table: &Table,
    operation: Operation,
    moves: bool,
) -> Vec<(std::sync::Arc<Table>, ForeignKey, Action)> {
    let mut found = Vec::new();
    for child in catalog.tables.values() {
        for foreign in child.foreign_keys.iter().filter(|key| key.references == table.oid) {
            let action = match operation {
                Operation::Delete => foreign.on_delete,
                Operation::Update if moves || !names_key(table, foreign) => foreign.on_update,
                Operation::Update => Action::NoAction,
                Operation::Insert | Operation::Truncate => Action::NoAction,
            };
            if action.writes() {
                found.push((std::sync::Arc::clone(child), foreign.clone(), action));
            }
        }
    }
    found
}

/// Whether a foreign key refers to columns of the primary key alone.
fn names_key(table: &Table, foreign: &ForeignKey) -> bool {
    let is_key = |name: &String| table.key_columns().any(|column| column.name == *name);
    foreign.referenced.iter().all(is_key)
}

/// A key as MySQL gave it.
fn key(table: &Table, row: &[Param]) -> Result<Key, PgError> {
    let values = row.iter().zip(table.key_columns());
    let values: Option<Vec<Value>> = values
        .map(|(param, column)| Value::of_result(param.clone(), &column.type_ref.pg_type))
        .collect();
    let key = values.and_then(|values| Key::encode(values, table));
    key.ok_or_else(|| PgError::internal("a key that was written cannot be read"))
}
