//! Writes while PostgreSQL follows: each is noted in MySQL's own transaction, so that it is carried there.
//!
//! ```text
//! epoch, tables' entries (FOR SHARE) ─▶ the row itself ──key──▶ due: its fence entry raised by one, the outbox
//!                                                                    │
//! COMMIT, what is due before it ──▶ [`Captured::carry`]: a drain, ◀──┘ waited for where the table's mode says so
//! ```
//!
//! Locks come in this order: the epoch, tables' own entries, rows, entries of rows. An entry is raised by
//! who holds its row (whoever reads rows for PostgreSQL takes the entry first, and never a row's lock), and
//! as late as can be: with the COMMIT, or at a savepoint. What is due costs no round trip but the COMMIT's.
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

use mysql_async::{Row, Value as Param, from_row_opt};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::answer::backend::Backend;
use crate::answer::cascades::acting;
use crate::answer::error::PgError;
use crate::answer::place::Rows;
use crate::backend::mysql::note;
use crate::catalog::{Capture, Table};
use crate::change::{Key, KeyHash, Operation};
use crate::dialect::program::{Keys, Write};
use crate::handoff::Handoff;
use crate::names::TableId;
use crate::phase::{Phase, Situation};
use crate::policy::Mode;
use crate::value::Value;

/// Keys of one statement to MySQL.
const KEYS_AT_ONCE: usize = 1000;
/// Bytes of statements that wait for the COMMIT. One statement is a few bytes more at most than
/// [`KEYS_AT_ONCE`] keys, of which InnoDB takes none over 3 KB.
const DUE_BYTES_MAX: usize = 256 << 10;

/// What one transaction has noted.
#[derive(Debug, Default)]
pub(super) struct Captured {
    /// MySQL has confirmed this epoch in this transaction.
    epoch: Option<u64>,
    /// With the counter of each table's own entry, below which no row's counter may stay.
    tables: BTreeMap<TableId, i64>,
    /// Statements that note what was written. They are run with the COMMIT, or before it where they are too
    /// many or what comes next has to come after them.
    due: Vec<String>,
    due_bytes: usize,
    /// There is, or was, something due.
    noted: bool,
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
pub(super) fn is_captured(table: &Table) -> bool {
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
        let Self { noted, patience, .. } = std::mem::take(self);
        let Some(handoff) = handoff.filter(|_| noted) else { return };
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

    /// After a rollback to a savepoint: what is due was written since the last one.
    pub(super) fn forget_due(&mut self) {
        self.due.clear();
        self.due_bytes = 0;
    }

    /// What is still to be run, before a savepoint or with the COMMIT.
    pub(super) fn take_due(&mut self) -> Vec<String> {
        self.due_bytes = 0;
        std::mem::take(&mut self.due)
    }
}

impl Notes<'_> {
    /// Before the first step of a statement that writes these tables: begins the transaction with `begin`,
    /// and confirms the epoch in it. MySQL must still be the one that leads, and stay so to its end.
    ///
    /// Tables' own entries come before any row: a TRUNCATE takes them in that order, too.
    pub(super) async fn stand(
        &mut self,
        mut begin: Vec<String>,
        tables: &[TableId],
    ) -> Result<(), PgError> {
        let epoch = self.situation.epoch;
        let mut new: Vec<TableId> = tables.to_vec();
        new.retain(|id| !self.captured.left && !self.captured.tables.contains_key(id));
        new.sort_unstable();
        new.dedup();
        let confirmed = self.captured.epoch == Some(epoch);
        let asks = !confirmed || !new.is_empty();
        if asks {
            begin.push(note::stand(&new, epoch));
        }
        let found = self.backend.batch(begin, &self.situation.catalog).await;
        match found {
            Ok(rows) if asks => self.learn(rows, &new),
            // The fence is dropped once PostgreSQL is left for good. What begins the transaction has run.
            Err(error) if error.code == "42P01" => {
                let state = vec![note::stand(&[], epoch)];
                let rows = self.backend.batch(state, &self.situation.catalog).await?;
                self.learn(rows, &[])?;
                if self.captured.left { Ok(()) } else { Err(error) }
            }
            found => found.map(drop),
        }
    }

    /// What [`note::stand`] has found.
    fn learn(&mut self, rows: Vec<Row>, tables: &[TableId]) -> Result<(), PgError> {
        type Found = (i64, Option<i32>, Option<i64>);
        let rows: Vec<Found> = rows.into_iter().filter_map(|row| from_row_opt(row).ok()).collect();
        let found = rows.first().map(|row| row.0);
        let epoch = self.situation.epoch;
        let wanted = i64::try_from(epoch).ok();
        if found.map(i64::abs) != wanted {
            let text = "Crossfade's epoch has changed: this transaction cannot write any more";
            return Err(PgError::new("40001", text).hint("Repeat the transaction."));
        }
        // A transaction that was told otherwise goes on noting: what it notes in is dropped after its end.
        self.captured.left = found != wanted;
        self.captured.epoch = Some(epoch);
        self.captured.tables.extend(tables.iter().map(|id| (*id, 0)));
        for (_, id, counter) in rows {
            if let (Some(id), Some(counter)) = (id, counter) {
                self.captured.tables.insert(TableId(id), counter);
            }
        }
        Ok(())
    }

    /// Before a write.
    pub(super) fn admit(&self, write: &Write) -> Result<(), PgError> {
        must_be_captured(&write.table)?;
        let pinned = matches!(write.keys, Keys::Pinned { .. });
        let catalog = &self.situation.catalog;
        // What would change along with its row has to be known before: it was planned without any.
        if pinned && !acting(catalog, &write.table, write.operation, false).is_empty() {
            let text = "the schema has changed under a statement that was planned before";
            return Err(PgError::new("40001", text).hint("Repeat the transaction."));
        }
        Ok(())
    }

    /// Notes rows whose keys are known and whose locks are held, or that were inserted.
    pub(super) async fn note(
        &mut self,
        table: &Table,
        operation: Operation,
        keys: &Rows,
    ) -> Result<(), PgError> {
        if keys.is_empty() || self.captured.left {
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
        if self.captured.left {
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
        let Some(id) = table.id.filter(|_| !self.captured.left) else { return Ok(()) };
        // What was written of it before has to be older.
        self.settle().await?;
        let epoch = self.situation.epoch;
        // Whoever writes a row holds the entry shared: none of them is under way afterwards.
        let lock = "SELECT `counter` FROM `crossfade_fence` FORCE INDEX (PRIMARY) \
             WHERE `table_id` = ? AND `key_hash` = ? FOR UPDATE";
        let whole = Param::Bytes(KeyHash::TABLE.0.to_vec());
        self.backend.number(lock, vec![Param::Int(id.0.into()), whole]).await?;
        let sql = "SELECT MAX(`counter`) FROM `crossfade_fence` \
             WHERE `table_id` = ? AND `epoch` = ? LOCK IN SHARE MODE";
        let place = vec![Param::Int(id.0.into()), Param::UInt(epoch)];
        let highest = self.backend.number(sql, place).await?.unwrap_or(0);
        self.captured.tables.insert(id, highest + 1);
        self.wait_as(table);
        self.due(note::raise(id, epoch, highest, &[KeyHash::TABLE], false)).await?;
        self.due(note::append(id, epoch, Operation::Truncate, &[None])).await
    }

    /// Raises the fence entries, and appends to the outbox.
    pub(super) async fn enter(
        &mut self,
        table: &Table,
        operation: Operation,
        keys: &[Key],
    ) -> Result<(), PgError> {
        let Some(id) = table.id.filter(|_| !keys.is_empty()) else { return Ok(()) };
        // Tables that the statement itself does not name.
        self.stand(Vec::new(), &[id]).await?;
        let base = self.captured.tables.get(&id).copied().unwrap_or(0);
        self.wait_as(table);
        let mut hashes: Vec<KeyHash> = keys.iter().map(|key| key.hash).collect();
        // In one order, so that two of us do not wait for each other.
        hashes.sort_unstable();
        hashes.dedup();
        let (epoch, deleted) = (self.situation.epoch, operation == Operation::Delete);
        for part in hashes.chunks(KEYS_AT_ONCE) {
            self.due(note::raise(id, epoch, base, part, deleted)).await?;
        }
        let keys: Vec<Option<&Key>> = keys.iter().map(Some).collect();
        for part in keys.chunks(KEYS_AT_ONCE) {
            self.due(note::append(id, epoch, operation, part)).await?;
        }
        Ok(())
    }

    /// The client waits for PostgreSQL as the table's mode says.
    fn wait_as(&mut self, table: &Table) {
        if matches!(table.policy.mode, Mode::Blocking | Mode::Strict) {
            let patience = self.captured.patience.unwrap_or_default();
            self.captured.patience = Some(patience.max(table.policy.timeout));
        }
    }

    /// Puts a statement off, as long as it is not too much of it.
    async fn due(&mut self, text: String) -> Result<(), PgError> {
        self.captured.noted = true;
        if DUE_BYTES_MAX < self.captured.due_bytes + text.len() {
            self.settle().await?;
        }
        self.captured.due_bytes += text.len();
        self.captured.due.push(text);
        Ok(())
    }

    /// Runs what is due.
    async fn settle(&mut self) -> Result<(), PgError> {
        let due = self.captured.take_due();
        self.backend.batch(due, &self.situation.catalog).await.map(drop)
    }
}

/// A key as MySQL gave it.
pub(super) fn key(table: &Table, row: &[Param]) -> Result<Key, PgError> {
    let values = row.iter().zip(table.key_columns());
    let values: Option<Vec<Value>> = values
        .map(|(param, column)| Value::of_result(param.clone(), &column.type_ref.pg_type))
        .collect();
    let key = values.and_then(|values| Key::encode(values, table));
    key.ok_or_else(|| PgError::internal("a key that was written cannot be read"))
}
