//! From the rows that captured statements return to the changes of one transaction.
//!
//! ```text
//! DataRow ──[`cut`]──▶ client's columns
//!             └─Row──▶ [`Buffer`] (savepoints) ──COMMIT seen──▶ [`Handed`]: Transaction, or drain
//! ```
//!
//! Invariant: nothing leaves the buffer before the primary has committed it (or, for `strict`, is
//! about to), and an image that might have been rolled back is dropped: its outbox entry, which
//! PostgreSQL itself keeps or drops with the row, is enough.

mod cut;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::catalog::{Catalog, Table};
use crate::change::{Change, Effect, Key, Operation, RowImage, Transaction, Version};
use crate::names::{EntryId, TableName};
use crate::plan::Capture;
use crate::policy::Mode;
use crate::value::{DecodeError, decode_record};

pub use cut::{Cut, Malformed, cut};

/// What one captured row brought, not yet decoded.
#[derive(Clone, Debug)]
pub struct Row {
    pub capture: Arc<Capture>,
    /// `None` where a trigger has written the entry: the drain settles it.
    pub entry: Option<EntryId>,
    pub lsn: u64,
    pub key: Bytes,
    pub row: Bytes,
    pub old: Option<(Option<EntryId>, Bytes)>,
    /// For MERGE; the statement's own otherwise.
    pub operation: Operation,
}

/// A table that a TRUNCATE has emptied, with its entry.
#[derive(Clone, Debug)]
pub struct Emptied {
    pub table: Arc<Table>,
    pub entry: EntryId,
    pub lsn: u64,
}

/// One thing that a transaction did.
#[derive(Clone, Debug)]
enum Deed {
    Row(Row),
    Emptied(Emptied),
}

impl Deed {
    fn table(&self) -> &Arc<Table> {
        match self {
            Self::Row(row) => &row.capture.table,
            Self::Emptied(emptied) => &emptied.table,
        }
    }

    fn is_loose(&self) -> bool {
        matches!(self, Self::Row(row) if row.capture.is_loose())
    }
}

/// The captured rows of the transaction under way.
#[derive(Debug)]
pub struct Buffer {
    rows: Vec<Deed>,
    /// Name, and the number of rows before it.
    savepoints: Vec<(String, usize)>,
    bytes: usize,
    /// `limits.images_per_transaction_bytes`: past it the outbox serves alone.
    bytes_max: usize,
    /// Entries were written whose images are not here.
    entered: bool,
    /// Triggers have written entries whose images are here: the drain settles them, nobody waits.
    traced: bool,
    /// Tables with `outbox: false` whose images were dropped: nothing else stands for them.
    lost: Vec<TableName>,
    /// The strictest mode of what was entered without images.
    mode: Mode,
    timeout: Duration,
}

/// What a committed transaction leaves to be done.
#[derive(Debug, Default)]
pub struct Handed {
    pub transaction: Option<Transaction>,
    /// Entries were written whose images are not in `transaction`: `(mode, timeout)` of the strictest.
    pub drain: Option<(Mode, Duration)>,
    /// Rows were written to other tables than the plan took them for.
    pub astray: Vec<TableName>,
    /// Tables with `outbox: false` of which images were dropped.
    pub lost: Vec<TableName>,
}

impl Buffer {
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            rows: Vec::new(),
            savepoints: Vec::new(),
            bytes: 0,
            bytes_max,
            entered: false,
            traced: false,
            lost: Vec::new(),
            mode: Mode::Off,
            timeout: Duration::ZERO,
        }
    }

    /// True while nothing was captured or entered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && !self.entered && self.lost.is_empty()
    }

    /// The strictest mode among the tables written so far.
    #[must_use]
    pub fn mode(&self) -> Mode {
        let rows = self.rows.iter().map(|row| row.table().policy.mode);
        rows.fold(self.mode, Mode::max)
    }

    pub fn push(&mut self, row: Row) {
        self.bytes += row.key.len() + row.row.len() + size_of::<Row>();
        self.traced |= row.entry.is_none() && !row.capture.is_loose();
        if self.bytes_max < self.bytes {
            self.give_up(&row.capture);
            self.drop_images();
        } else {
            self.rows.push(Deed::Row(row));
        }
    }

    /// Notes a TRUNCATE.
    pub fn emptied(&mut self, emptied: Emptied) {
        self.rows.push(Deed::Emptied(emptied));
    }

    /// Notes that the entries of these tables were written without images coming back.
    pub fn enter(&mut self, tables: &[Arc<Table>]) {
        self.entered = true;
        for table in tables {
            self.note(table.policy.mode, table.policy.timeout);
        }
    }

    /// Notes that rows of a captured statement have no image here: their entries serve, if they have
    /// any.
    pub fn give_up(&mut self, capture: &Capture) {
        if capture.is_loose() {
            self.lost.push(capture.table.name.clone());
        } else {
            self.enter(&[Arc::clone(&capture.table)]);
        }
    }

    fn note(&mut self, mode: Mode, timeout: Duration) {
        if self.mode <= mode {
            self.timeout = if self.mode < mode { timeout } else { self.timeout.max(timeout) };
            self.mode = mode;
        }
    }

    /// Gives the images up: the drain will carry the rows.
    pub fn drop_images(&mut self) {
        for row in std::mem::take(&mut self.rows) {
            match row {
                Deed::Row(row) => self.give_up(&row.capture),
                Deed::Emptied(emptied) => self.enter(&[emptied.table]),
            }
        }
        self.savepoints.iter_mut().for_each(|(_, rows)| *rows = 0);
    }

    pub fn savepoint(&mut self, name: String) {
        self.savepoints.push((name, self.rows.len()));
    }

    pub fn release(&mut self, name: &str) {
        if let Some(at) = self.position(name) {
            self.savepoints.truncate(at);
        }
    }

    pub fn rollback_to(&mut self, name: &str) {
        match self.position(name) {
            Some(at) => {
                self.rows.truncate(self.savepoints[at].1);
                self.savepoints.truncate(at + 1);
            }
            None => self.drop_images(),
        }
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.savepoints.iter().rposition(|(known, _)| known == name)
    }

    /// Forgets everything: the transaction was rolled back.
    pub fn clear(&mut self) {
        *self = Self::new(self.bytes_max);
    }

    /// The images so far as a transaction, without giving them up: for `strict`.
    #[must_use]
    pub fn peek(&self, catalog: &Catalog, epoch: u64) -> Handed {
        hand(self.rows.clone(), self.drain(), self.lost.clone(), catalog, epoch)
    }

    fn drain(&self) -> Option<(Mode, Duration)> {
        let entered = self.entered.then_some((self.mode, self.timeout));
        entered.or(self.traced.then_some((Mode::Async, Duration::ZERO)))
    }

    /// Takes what the primary has committed.
    pub fn take(&mut self, catalog: &Catalog, epoch: u64) -> Handed {
        let rows = std::mem::take(&mut self.rows);
        let (entered, lost) = (self.drain(), std::mem::take(&mut self.lost));
        self.clear();
        hand(rows, entered, lost, catalog, epoch)
    }
}

fn hand(
    rows: Vec<Deed>,
    entered: Option<(Mode, Duration)>,
    lost: Vec<TableName>,
    catalog: &Catalog,
    epoch: u64,
) -> Handed {
    let mut handed = Handed { drain: entered, lost, ..Handed::default() };
    let mut changes = Vec::with_capacity(rows.len());
    let mut mode = Mode::Off;
    let mut timeout = Duration::ZERO;
    for (n, row) in (0..).zip(rows) {
        let policy = row.table().policy;
        let loose = row.is_loose().then(|| row.table().name.clone());
        match row.changes(catalog, epoch, n) {
            Ok(found) => {
                if mode <= policy.mode {
                    timeout = if mode < policy.mode {
                        policy.timeout
                    } else {
                        timeout.max(policy.timeout)
                    };
                    mode = policy.mode;
                }
                changes.extend(found);
            }
            Err(Lost::Stale) if loose.is_some() => handed.lost.extend(loose),
            Err(Lost::Stale) => {
                let drain = handed.drain.get_or_insert((policy.mode, policy.timeout));
                *drain = (*drain).max((policy.mode, policy.timeout));
            }
            Err(Lost::Astray(table)) => handed.astray.extend(table),
        }
    }
    if !changes.is_empty() {
        handed.transaction = Some(Transaction { changes, mode, timeout });
    }
    handed
}

/// Why a row has no change.
enum Lost {
    /// The table changed since; the row is read again.
    Stale,
    /// The name meant another table.
    Astray(Option<TableName>),
}

impl From<DecodeError> for Lost {
    fn from(_: DecodeError) -> Self {
        Self::Stale
    }
}

impl Deed {
    fn changes(self, catalog: &Catalog, epoch: u64, n: u32) -> Result<Vec<Change>, Lost> {
        match self {
            Self::Row(row) => row.changes(catalog, epoch, n),
            Self::Emptied(Emptied { table, entry, lsn }) => Ok(vec![Change {
                table,
                operation: Operation::Truncate,
                version: Version { epoch, counter: lsn, n },
                entry: Some(entry),
                effect: Effect::Empty,
            }]),
        }
    }
}

impl Row {
    /// One change, or two where the key moved: the second settles the old key's entry.
    fn changes(self, catalog: &Catalog, epoch: u64, n: u32) -> Result<Vec<Change>, Lost> {
        let table = &self.capture.table;
        let fields = decode_record(&self.row)?;
        let [(_, Some(oid)), (_, image)] = &fields[..] else { return Err(Lost::Stale) };
        let oid = <[u8; 4]>::try_from(&oid[..]).map_err(|_| Lost::Stale)?;
        let written = catalog.table(u32::from_be_bytes(oid));
        if written.is_none_or(|written| written.oid != table.oid) {
            return Err(Lost::Astray(written.map(|table| table.name.clone())));
        }
        let version = Version { epoch, counter: self.lsn, n };
        let change = |operation, entry, effect| Change {
            table: Arc::clone(table),
            operation,
            version,
            entry,
            effect,
        };
        let key = Key::decode(self.key.clone(), table)?;
        if self.operation == Operation::Delete {
            return Ok(vec![change(self.operation, self.entry, Effect::Gone { key })]);
        }
        let image = RowImage::decode(image.as_ref().ok_or(Lost::Stale)?, table)?;
        match self.old {
            Some((entry, old)) if old != self.key => {
                let old = Key::decode(old, table)?;
                let gone = Effect::Gone { key: old.clone() };
                let moved = Effect::Move { old, new: key, image };
                let mut changes = vec![change(self.operation, self.entry, moved)];
                if entry.is_some() {
                    changes.push(change(Operation::Delete, entry, gone));
                }
                Ok(changes)
            }
            _ => Ok(vec![change(self.operation, self.entry, Effect::Put { key, image })]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Added;

    fn row(entry: i64) -> Row {
        let catalog = Catalog::for_test(&[("t", "id:int4*")]);
        let table = Arc::clone(catalog.tables.values().next().unwrap());
        let columns: &'static [Added] = &[];
        let operation = Operation::Insert;
        let capture = Arc::new(Capture {
            table,
            operation,
            returning: false,
            upserts: false,
            columns,
            entered: Vec::new(),
        });
        let (key, row) = (Bytes::new(), Bytes::from_static(&[0; 10]));
        Row { capture, entry: Some(EntryId(entry)), lsn: 1, key, row, old: None, operation }
    }

    fn entries(buffer: &Buffer) -> Vec<i64> {
        let entry = |deed: &Deed| match deed {
            Deed::Row(row) => row.entry.unwrap().0,
            Deed::Emptied(emptied) => emptied.entry.0,
        };
        buffer.rows.iter().map(entry).collect()
    }

    #[test]
    fn rollback_to_drops_what_came_after_the_newest_savepoint_of_that_name() {
        let mut buffer = Buffer::new(1 << 20);
        buffer.push(row(1));
        buffer.savepoint("a".to_owned());
        buffer.push(row(2));
        buffer.savepoint("a".to_owned());
        buffer.push(row(3));
        buffer.rollback_to("a");
        assert_eq!(entries(&buffer), [1, 2]);
        buffer.push(row(4));
        buffer.release("a");
        buffer.rollback_to("a");
        assert_eq!(entries(&buffer), [1]);
    }

    #[test]
    fn an_unknown_savepoint_or_too_many_bytes_leave_the_outbox_alone_to_serve() {
        let mut buffer = Buffer::new(1 << 20);
        buffer.push(row(1));
        buffer.rollback_to("x");
        assert!(entries(&buffer).is_empty() && buffer.entered && buffer.mode() == Mode::Blocking);
        let mut buffer = Buffer::new(10);
        buffer.push(row(1));
        assert!(entries(&buffer).is_empty() && buffer.entered);
    }

    #[test]
    fn a_row_of_a_table_that_is_not_the_plans_is_astray() {
        let mut buffer = Buffer::new(1 << 20);
        buffer.push(Row {
            row: Bytes::from_static(&[
                0, 0, 0, 2, 0, 0, 0, 26, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 23, 255, 255, 255, 255,
            ]),
            ..row(1)
        });
        let handed = buffer.take(&Catalog::default(), 1);
        assert!(handed.transaction.is_none() && handed.drain.is_none() && buffer.is_empty());
    }
}
