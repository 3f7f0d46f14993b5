//! A client's transaction on the primary in memory: its own view, locks, entries and images.
//!
//! Invariant: rows and entries come into being together, at the commit, or not at all; a savepoint
//! that is rolled back takes both along.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::chance::Fault;
use super::primary::{Committed, Line, Lock, Primary};
use super::schema::{
    Cells, ORDERS, Place, Rows, SCHEMA, TABLES, USERS, children, holder, image, parent, unique,
};
use crate::change::{Change, Effect, Operation, Version};
use crate::names::EntryId;

/// Longest wait for a row lock.
const LOCK_WAIT: Duration = Duration::from_millis(500);

/// The statement failed, and the transaction with it.
#[derive(Debug)]
pub(super) struct Failed;

pub(super) struct Tx {
    primary: Arc<Primary>,
    incarnation: u64,
    owner: u64,
    xid: Option<i64>,
    epoch: u64,
    /// Images of trigger tables too, without an entry: the secondary has to hold all of it.
    pub(super) strict: bool,
    view: View,
    committing: bool,
    over: bool,
}

/// What a savepoint keeps.
#[derive(Clone, Default)]
struct View {
    rows: BTreeMap<Place, Option<Cells>>,
    entries: Vec<(i64, Line)>,
    changes: Vec<Change>,
    entered: bool,
    n: u32,
}

/// What a commit leaves to be handed over.
pub(super) struct Handed {
    pub(super) changes: Vec<Change>,
    pub(super) drain: bool,
}

impl Tx {
    /// `epoch` is the sidecar's: a write under another than the primary's fails.
    pub(super) fn begin(primary: &Arc<Primary>, epoch: u64, strict: bool) -> Self {
        let mut state = primary.state();
        state.owners += 1;
        let (incarnation, owner) = (state.incarnation, state.owners);
        drop(state);
        let (primary, view) = (Arc::clone(primary), View::default());
        Self {
            primary,
            incarnation,
            owner,
            xid: None,
            epoch,
            strict,
            view,
            committing: false,
            over: false,
        }
    }

    /// Rows as this transaction sees them.
    fn rows(&self) -> Rows {
        let mut rows = self.primary.state().rows.clone();
        for (place, cells) in &self.view.rows {
            match cells {
                Some(cells) => drop(rows.insert(*place, cells.clone())),
                None => drop(rows.remove(place)),
            }
        }
        rows
    }

    pub(super) fn row(&self, place: Place) -> Option<Cells> {
        match self.view.rows.get(&place) {
            Some(cells) => cells.clone(),
            None => self.primary.state().rows.get(&place).cloned(),
        }
    }

    async fn lock(&self, lock: Lock, exclusive: bool) -> Result<(), Failed> {
        let taken = self.primary.locks.take(self.owner, lock, exclusive, LOCK_WAIT).await;
        if taken.is_err() || self.primary.state().incarnation != self.incarnation {
            return Err(Failed);
        }
        Ok(())
    }

    async fn lock_row(&self, place: Place, becomes: Option<&Cells>) -> Result<(), Failed> {
        let (table, _) = place;
        self.lock(Lock::Table(table), false).await?;
        self.lock(Lock::Row(place), true).await?;
        if let Some(column) = unique(table) {
            let before = self.row(place).and_then(|cells| cells[column]);
            let after = becomes.and_then(|cells| cells[column]);
            for value in [before, after].into_iter().flatten() {
                self.lock(Lock::Unique(table, value), true).await?;
            }
        }
        let named = becomes.and_then(|cells| cells[1]).filter(|_| parent(table).is_some());
        if let Some(user) = named {
            self.lock(Lock::Table(USERS), false).await?;
            self.lock(Lock::Row((USERS, user)), true).await?;
            self.row((USERS, user)).ok_or(Failed)?;
        }
        let taken = becomes.and_then(|cells| holder(&self.rows(), table, place.1, cells));
        if taken.is_some() { Err(Failed) } else { Ok(()) }
    }

    /// Writes log, then reads where it ends: with the lock held, and after the change.
    fn version(&mut self) -> Result<Version, Failed> {
        let mut state = self.primary.state();
        if state.incarnation != self.incarnation || state.epoch != self.epoch {
            return Err(Failed);
        }
        if self.xid.is_none() {
            let xid = state.next_xid;
            state.next_xid += 1;
            state.running.insert(xid);
            self.xid = Some(xid);
        }
        state.lsn += 1 + self.primary.chance.below(20);
        Ok(Version { epoch: self.epoch, counter: state.lsn, n: self.view.n })
    }

    fn enter(
        &mut self,
        table: usize,
        operation: Operation,
        key: Option<i64>,
        version: Version,
    ) -> EntryId {
        let mut state = self.primary.state();
        let number = state.next_entry;
        state.next_entry += 1;
        drop(state);
        self.view.entries.push((number, Line::new(table, operation, key, version)));
        EntryId(number)
    }

    /// One row's change: its entries, and an image where one comes back.
    fn record(
        &mut self,
        table: usize,
        operation: Operation,
        old: Option<i64>,
        effect: Effect,
        by_server: bool,
    ) -> Result<(), Failed> {
        let version = self.version()?;
        let key = effect_key(&effect);
        let entry = self.enter(table, operation, key, version);
        let left = old.map(|old| self.enter(table, Operation::Delete, Some(old), version));
        let traced = table == ORDERS && !matches!(effect, Effect::Empty);
        self.view.entered |= traced;
        if by_server || (traced && !self.strict) {
            return Ok(());
        }
        let of = Arc::clone(&SCHEMA.tables[table]);
        let entry = Some(entry).filter(|_| !traced);
        self.view.changes.push(Change {
            table: Arc::clone(&of),
            operation,
            version,
            entry,
            effect,
        });
        if let Some(old) = old {
            let effect = Effect::Gone { key: SCHEMA.key(table, old).clone() };
            let (operation, entry) = (Operation::Delete, left);
            self.view.changes.push(Change { table: of, operation, version, entry, effect });
        }
        self.view.n += 1;
        Ok(())
    }

    /// INSERT, or UPDATE in place.
    pub(super) async fn put(&mut self, table: usize, cells: Cells) -> Result<(), Failed> {
        let id = cells[0].unwrap();
        self.lock_row((table, id), Some(&cells)).await?;
        let operation = match self.row((table, id)) {
            Some(_) => Operation::Update,
            None => Operation::Insert,
        };
        let key = SCHEMA.key(table, id).clone();
        let effect = Effect::Put { key, image: image(&cells) };
        self.view.rows.insert((table, id), Some(cells));
        self.record(table, operation, None, effect, false)
    }

    pub(super) async fn delete(&mut self, table: usize, id: i64) -> Result<(), Failed> {
        self.lock_row((table, id), None).await?;
        if self.row((table, id)).is_none() {
            return Ok(());
        }
        self.gone(table, id, false)?;
        if table == USERS { self.follow(id, None).await } else { Ok(()) }
    }

    fn gone(&mut self, table: usize, id: i64, by_server: bool) -> Result<(), Failed> {
        self.view.rows.insert((table, id), None);
        let effect = Effect::Gone { key: SCHEMA.key(table, id).clone() };
        self.record(table, Operation::Delete, None, effect, by_server)
    }

    /// UPDATE of a key.
    pub(super) async fn relocate(
        &mut self,
        table: usize,
        old: i64,
        new: i64,
    ) -> Result<(), Failed> {
        self.lock_row((table, old), None).await?;
        let Some(mut cells) = self.row((table, old)) else { return Ok(()) };
        cells[0] = Some(new);
        self.lock(Lock::Row((table, new)), true).await?;
        if old == new || table == ORDERS || self.row((table, new)).is_some() {
            return Err(Failed);
        }
        let (from, to) = (SCHEMA.key(table, old).clone(), SCHEMA.key(table, new).clone());
        let effect = Effect::Move { old: from, new: to, image: image(&cells) };
        self.view.rows.insert((table, old), None);
        self.view.rows.insert((table, new), Some(cells));
        self.record(table, Operation::Update, Some(old), effect, false)?;
        if table == USERS { self.follow(old, Some(new)).await } else { Ok(()) }
    }

    /// What the server does to the children: seen by their triggers only.
    async fn follow(&mut self, user: i64, becomes: Option<i64>) -> Result<(), Failed> {
        for table in (0..TABLES).filter(|table| parent(*table).is_some()) {
            for child in children(&self.rows(), table, user) {
                if parent(table) == Some(false) {
                    return Err(Failed);
                }
                self.lock(Lock::Table(table), false).await?;
                self.lock(Lock::Row((table, child)), true).await?;
                let Some(mut cells) = self.row((table, child)) else { continue };
                if becomes.is_none() {
                    self.gone(table, child, true)?;
                    continue;
                }
                cells[1] = becomes;
                let key = SCHEMA.key(table, child).clone();
                let effect = Effect::Put { key, image: image(&cells) };
                self.view.rows.insert((table, child), Some(cells));
                self.record(table, Operation::Update, None, effect, true)?;
            }
        }
        Ok(())
    }

    pub(super) async fn truncate(&mut self, tables: &[usize]) -> Result<(), Failed> {
        for table in tables {
            self.lock(Lock::Table(*table), true).await?;
        }
        for table in tables {
            for ((_, id), _) in self.rows().range((*table, 0)..(*table, i64::MAX)) {
                self.view.rows.insert((*table, *id), None);
            }
            self.record(*table, Operation::Truncate, None, Effect::Empty, false)?;
        }
        Ok(())
    }

    /// Does something, and takes it back.
    pub(super) async fn undone(&mut self, table: usize, cells: Cells) {
        let before = self.view.clone();
        let _ = self.put(table, cells).await;
        self.view = before;
    }

    /// What has been done so far, as a strict session gives it to the secondary first.
    pub(super) fn handed(&self) -> Handed {
        Handed { changes: self.view.changes.clone(), drain: self.view.entered }
    }

    /// False where the connection was lost: whether it is committed, the client cannot know.
    pub(super) async fn commit(mut self) -> bool {
        let chance = Arc::clone(&self.primary.chance);
        self.committing = true;
        chance.travel().await;
        let fault = chance.fault();
        if fault == Some(Fault::Before) || fault == Some(Fault::Silence) {
            self.committing = false;
            return false;
        }
        let committed = self.take_effect();
        chance.travel().await;
        committed && fault.is_none()
    }

    fn take_effect(&mut self) -> bool {
        self.committing = false;
        let mut state = self.primary.state();
        if state.incarnation != self.incarnation {
            return false;
        }
        state.lsn += 1;
        state.flushed = state.lsn;
        let mut commit = Committed { log_end: state.lsn, rows: Vec::new(), entries: Vec::new() };
        for (place, cells) in std::mem::take(&mut self.view.rows) {
            let before = match cells {
                Some(cells) => state.rows.insert(place, cells),
                None => state.rows.remove(&place),
            };
            commit.rows.push((place, before));
        }
        for (number, line) in std::mem::take(&mut self.view.entries) {
            commit.entries.push(number);
            state.outbox.insert(number, line);
        }
        let entries = commit.entries.clone();
        if !entries.is_empty() {
            state.history.push(commit);
        }
        drop(state);
        self.end();
        let what: Vec<_> = self
            .view
            .changes
            .iter()
            .map(|change| {
                let keys: Vec<i64> = change.keys().map(super::schema::id).collect();
                (
                    change.table.name.to_string(),
                    change.operation.letter(),
                    keys,
                    change.version.counter,
                    change.version.n,
                )
            })
            .collect();
        self.primary.chance.note(format_args!("client committed {entries:?} {what:?}"));
        true
    }

    fn end(&mut self) {
        self.over = true;
        if let Some(xid) = self.xid.take() {
            self.primary.state().running.remove(&xid);
        }
        self.primary.locks.release(self.owner);
    }
}

impl Drop for Tx {
    /// Rolled back, unless the COMMIT was on its way.
    fn drop(&mut self) {
        if self.committing && self.primary.chance.one_in(2) {
            self.take_effect();
        }
        if !self.over {
            self.end();
        }
    }
}

fn effect_key(effect: &Effect) -> Option<i64> {
    match effect {
        Effect::Put { key, .. } | Effect::Gone { key } | Effect::Move { new: key, .. } => {
            Some(super::schema::id(key))
        }
        Effect::Empty => None,
    }
}
