//! One connection to the secondary in memory.
//!
//! Invariant: a statement that fails undoes what it did, a deadlock undoes the transaction, and a
//! connection that is lost, or dropped by its client, undoes it some time later: unless a COMMIT was
//! on its way.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::Flaw;
use super::chance::Fault;
use super::locks::NoLock;
use super::schema::{self, Cells, SCHEMA, USERS, cells, id, index, of_id};
use super::secondary::{LOCK_WAIT, LOWEST, Lock, Secondary};
use crate::backend::mysql::connection::Connection;
use crate::backend::mysql::prune::Pruned;
use crate::backend::mysql::{Cause, Failed, Fence, FenceEntry, Place, TableFence, WriteError};
use crate::catalog::{Catalog, ForeignKey, Table};
use crate::change::{Change, Effect, Key, KeyHash, RowImage, Version};
use crate::names::TableId;

/// Longer than any timeout of the applier.
const SILENCE: Duration = Duration::from_secs(30);

pub(super) struct Session {
    pub(super) secondary: Arc<Secondary>,
    incarnation: u64,
    /// Holds the locks; a number for each transaction.
    pub(super) owner: u64,
    pub(super) undo: Vec<Undo>,
    moved: Vec<(Place, Version)>,
    pub(super) checks: bool,
    broken: bool,
    /// A COMMIT is on its way.
    committing: bool,
}

pub(super) enum Undo {
    Row(schema::Place, Option<Cells>),
    Fence(Place, Option<(Version, bool)>),
    Table(TableId, (Version, Version)),
}

pub(super) fn server(code: u16) -> WriteError {
    WriteError::Server { code, state: "HY000".to_owned() }
}

impl Session {
    pub(super) fn new(secondary: Arc<Secondary>) -> Self {
        let owner = secondary.owner();
        let incarnation = secondary.state().incarnation;
        let (undo, moved) = (Vec::new(), Vec::new());
        Self {
            secondary,
            incarnation,
            owner,
            undo,
            moved,
            checks: true,
            broken: false,
            committing: false,
        }
    }

    /// The request is on its way. An error here has had no effect.
    async fn arrive(&mut self, name: &str) -> Result<Option<Fault>, WriteError> {
        let chance = Arc::clone(&self.secondary.chance);
        chance.travel().await;
        self.alive()?;
        let fault = chance.fault();
        match fault {
            Some(Fault::Before) => return Err(self.lose()),
            Some(Fault::Silence) => {
                sleep(SILENCE).await;
                return Err(self.lose());
            }
            _ => {}
        }
        for (code, name) in [(1213, "deadlock"), (1205, "lock wait"), (1290, "read-only")] {
            if chance.bad_luck(4) {
                chance.count(name);
                if code == 1213 {
                    self.undo_to(0);
                    self.release();
                }
                return Err(server(code));
            }
        }
        chance.note(format_args!("secondary {} {name}", self.owner));
        Ok(fault)
    }

    /// The reply is on its way.
    async fn reply(&mut self, fault: Option<Fault>) -> Result<(), WriteError> {
        let chance = Arc::clone(&self.secondary.chance);
        chance.travel().await;
        match fault {
            Some(Fault::SilenceAfter) => sleep(SILENCE).await,
            Some(Fault::After) => {}
            _ => return self.alive(),
        }
        Err(self.lose())
    }

    fn alive(&mut self) -> Result<(), WriteError> {
        if self.broken || self.secondary.state().incarnation != self.incarnation {
            return Err(self.lose());
        }
        Ok(())
    }

    fn lose(&mut self) -> WriteError {
        self.broken = true;
        self.undo_to(0);
        self.release();
        WriteError::Disconnected
    }

    pub(super) async fn lock(&mut self, lock: Lock, exclusive: bool) -> Result<(), WriteError> {
        let taken = self.secondary.locks.take(self.owner, lock, exclusive, LOCK_WAIT).await;
        self.alive()?;
        match taken {
            Ok(()) => Ok(()),
            Err(NoLock::TimedOut) => Err(server(1205)),
            Err(NoLock::Deadlock) => {
                self.undo_to(0);
                self.release();
                Err(server(1213))
            }
        }
    }

    pub(super) fn mark(&self) -> usize {
        self.undo.len()
    }

    pub(super) fn undo_to(&mut self, mark: usize) {
        let mut state = self.secondary.state();
        for undo in self.undo.drain(mark.min(self.undo.len())..).rev() {
            match undo {
                Undo::Row(place, Some(cells)) => drop(state.rows.insert(place, cells)),
                Undo::Row(place, None) => drop(state.rows.remove(&place)),
                Undo::Fence(place, Some(entry)) => drop(state.fence.insert(place, entry)),
                Undo::Fence(place, None) => drop(state.fence.remove(&place)),
                Undo::Table(table, fence) => drop(state.tables.insert(table, fence)),
            }
        }
        if mark == 0 {
            self.moved.clear();
        }
    }

    fn release(&mut self) {
        self.secondary.locks.release(self.owner);
        self.owner = self.secondary.owner();
    }

    /// The moment of the commit.
    fn take_effect(&mut self) {
        if self.secondary.has(Flaw::CommitsNothing) && self.secondary.chance.one_in(3) {
            self.undo_to(0);
        }
        self.undo.clear();
        for (place, version) in std::mem::take(&mut self.moved) {
            self.secondary.committed(place, version);
        }
        let owner = self.owner;
        self.release();
        self.secondary.chance.note(format_args!("secondary {owner} committed"));
    }

    /// A row becomes this, or goes.
    pub(super) fn set(&mut self, place: schema::Place, cells: Option<Cells>) {
        let mut state = self.secondary.state();
        let before = match cells {
            Some(cells) => state.rows.insert(place, cells),
            None => state.rows.remove(&place),
        };
        self.undo.push(Undo::Row(place, before));
    }

    fn set_fence(&mut self, place: Place, version: Version, deleted: bool) {
        let before = self.secondary.state().fence.insert(place, (version, deleted));
        self.undo.push(Undo::Fence(place, before));
        self.moved.push((place, version));
    }

    async fn lock_fence(&mut self, batch: &[&[Change]], epoch: u64) -> Result<Fence, WriteError> {
        if !self.undo.is_empty() {
            self.secondary.chance.violated("BEGIN committed what was half done".to_owned());
            self.take_effect();
        }
        let changes = || batch.iter().copied().flatten();
        let mut tables: Vec<TableId> = changes().filter_map(|change| change.table.id).collect();
        tables.sort_unstable();
        tables.dedup();
        for table in &tables {
            let empties = |change: &Change| {
                change.table.id == Some(*table) && matches!(change.effect, Effect::Empty)
            };
            if changes().any(empties) {
                self.lock(Lock::Fence((*table, KeyHash::TABLE)), true).await?;
            }
        }
        self.lock(Lock::State, false).await?;
        for table in &tables {
            self.lock(Lock::Fence((*table, KeyHash::TABLE)), false).await?;
            self.lock(Lock::Floor(*table), false).await?;
        }
        let mut fence = Fence::default();
        self.read_tables(&tables, epoch, &mut fence)?;
        let mut places: Vec<Place> = changes()
            .flat_map(|change| change.keys().map(|key| (change.table.id.unwrap(), key.hash)))
            .collect();
        places.sort_unstable();
        places.dedup();
        for place in places {
            if self.secondary.has(Flaw::ForgetsFence) || !self.is_stored(place) {
                continue;
            }
            self.lock(Lock::Fence(place), true).await?;
            if let Some((version, deleted)) = self.secondary.state().fence.get(&place) {
                let entry =
                    FenceEntry { version: *version, deleted: *deleted, stored: true, moved: false };
                fence.entries.insert(place, entry);
            }
        }
        Ok(fence)
    }

    fn is_stored(&self, place: Place) -> bool {
        self.secondary.state().fence.contains_key(&place)
    }

    fn read_tables(
        &self,
        tables: &[TableId],
        epoch: u64,
        fence: &mut Fence,
    ) -> Result<(), WriteError> {
        let state = self.secondary.state();
        if state.epoch != epoch && !self.secondary.has(Flaw::AnyEpoch) {
            return Err(WriteError::Epoch { expected: epoch, found: state.epoch });
        }
        for table in tables {
            let (emptied, floor) = *state.tables.get(table).ok_or(WriteError::NotSetUp)?;
            fence.tables.insert(*table, TableFence { emptied, floor });
        }
        Ok(())
    }

    async fn write_fence(&mut self, fence: &Fence) -> Result<(), WriteError> {
        let mut moved: Vec<_> = fence.entries.iter().filter(|(_, entry)| entry.moved).collect();
        moved.sort_unstable_by_key(|(place, _)| **place);
        for (place, entry) in moved {
            self.lock(Lock::Fence(*place), true).await?;
            if !entry.stored && self.is_stored(*place) && !self.secondary.has(Flaw::ForgetsFence) {
                return Err(WriteError::Race);
            }
            self.set_fence(*place, entry.version, entry.deleted);
        }
        Ok(())
    }

    async fn delete_older(&mut self, table: &Table, version: Version) -> Result<(), WriteError> {
        let (at, id) = (index(table), table.id.unwrap());
        let before = self.secondary.state().tables.get(&id).copied().unwrap_or((LOWEST, LOWEST));
        self.secondary.state().tables.insert(id, (version, before.1));
        self.undo.push(Undo::Table(id, before));
        self.moved.push(((id, KeyHash::TABLE), version));
        for key in 0..schema::IDS {
            self.lock(Lock::Row((at, key)), true).await?;
            let place = (id, SCHEMA.key(at, key).hash);
            let newer = self.secondary.state().fence.get(&place).is_some_and(|(v, _)| version < *v);
            let there = self.secondary.state().rows.contains_key(&(at, key));
            if there && !newer {
                self.set((at, key), None);
            }
        }
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.committing && self.alive().is_ok() && self.secondary.chance.one_in(2) {
            self.take_effect();
            return;
        }
        let nothing = self.undo.is_empty();
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if nothing || self.broken || self.secondary.chance.one_in(2) {
            self.undo_to(0);
            self.secondary.locks.release(self.owner);
            return;
        }
        // The server has not noticed yet.
        let mut left = Self::new(Arc::clone(&self.secondary));
        left.owner = self.owner;
        left.undo = std::mem::take(&mut self.undo);
        left.incarnation = self.incarnation;
        runtime.spawn(async move {
            left.secondary.chance.pause(1_500).await;
            left.lose();
        });
    }
}

/// Runs one statement between its way there and its way back; what it did is undone if it fails.
macro_rules! statement {
    ($session:ident, $name:expr, $effect:expr) => {{
        let fault = $session.arrive($name).await?;
        let mark = $session.mark();
        match $effect {
            Ok(value) => {
                $session.reply(fault).await?;
                Ok(value)
            }
            Err(error) => {
                $session.undo_to(mark);
                Err(error)
            }
        }
    }};
}

impl Connection for Session {
    async fn begin(&mut self, batch: &[&[Change]], epoch: u64) -> Result<Fence, WriteError> {
        statement!(self, "begin", self.lock_fence(batch, epoch).await)
    }

    async fn end(&mut self, fence: &Fence, commit: bool) -> Result<(), WriteError> {
        let fault = self.arrive("end").await?;
        self.write_fence(fence).await?;
        if commit {
            self.take_effect();
        }
        self.reply(fault).await
    }

    async fn commit(&mut self) -> Result<(), WriteError> {
        self.committing = true;
        let arrived = self.arrive("commit").await;
        self.committing = false;
        let fault = arrived?;
        self.take_effect();
        self.reply(fault).await
    }

    async fn has_newer_child(
        &mut self,
        _: &Catalog,
        (table, key): (&Table, &Key),
        version: Version,
        _: Cause,
    ) -> Result<bool, Failed> {
        match index(table) {
            USERS => self.newer_child(id(key), version).await,
            _ => Ok(false),
        }
    }

    async fn rollback(&mut self) -> Result<(), WriteError> {
        let fault = self.arrive("rollback").await?;
        let chance = &self.secondary.chance;
        let refuses = self.secondary.has(Flaw::RefusesRollback) && chance.one_in(2);
        if refuses || chance.bad_luck(2) {
            self.secondary.chance.count("rollback refused");
            return Err(server(1317));
        }
        if !self.secondary.has(Flaw::KeepsUndone) {
            self.undo_to(0);
        }
        self.undo.clear();
        self.moved.clear();
        self.release();
        self.reply(fault).await
    }

    async fn insert(&mut self, table: &Table, images: &[&RowImage]) -> Result<u64, Failed> {
        statement!(self, "insert", self.insert_all(table, images, false).await)
    }

    async fn upsert(&mut self, table: &Table, images: &[&RowImage]) -> Result<u64, Failed> {
        statement!(self, "upsert", self.insert_all(table, images, true).await)
    }

    async fn update(&mut self, table: &Table, key: &Key, image: &RowImage) -> Result<u64, Failed> {
        statement!(self, "update", self.update_row(index(table), id(key), cells(image)).await)
    }

    async fn relocate(
        &mut self,
        table: &Table,
        old: &Key,
        image: &RowImage,
    ) -> Result<u64, Failed> {
        statement!(self, "relocate", self.move_row(index(table), id(old), cells(image)).await)
    }

    async fn delete(&mut self, table: &Table, key: &Key) -> Result<u64, Failed> {
        statement!(self, "delete", self.delete_row(index(table), id(key)).await)
    }

    async fn check_keys(&mut self, on: bool) -> Result<(), Failed> {
        let fault = self.arrive("check_keys").await?;
        if !on {
            self.secondary.chance.reached("rows replaced as a set");
        }
        self.checks = on;
        Ok(self.reply(fault).await?)
    }

    async fn has_parent(
        &mut self,
        _: &Catalog,
        _: &Table,
        key: &ForeignKey,
        image: &RowImage,
    ) -> Result<bool, Failed> {
        let fault = self.arrive("has_parent").await?;
        let Some(user) = cells(image)[key.columns[0]] else { return Ok(true) };
        self.lock(Lock::Row((USERS, user)), false).await?;
        let found = self.secondary.state().rows.contains_key(&(USERS, user));
        self.reply(fault).await?;
        Ok(found)
    }

    async fn empty(&mut self, table: &Table, version: Version) -> Result<(), WriteError> {
        statement!(self, "empty", self.delete_older(table, version).await)
    }

    async fn register(&mut self, table: TableId) -> Result<(), WriteError> {
        let fault = self.arrive("register").await?;
        self.secondary.state().tables.entry(table).or_insert((LOWEST, LOWEST));
        self.reply(fault).await
    }

    async fn owners(
        &mut self,
        table: &Table,
        key: &Key,
        of: &RowImage,
    ) -> Result<Vec<Key>, WriteError> {
        let fault = self.arrive("owners").await?;
        self.secondary.chance.reached("owner of a value asked for");
        let (at, key) = (of_id(table.id.unwrap()), id(key));
        let found = schema::holder(&self.secondary.state().rows, at, key, &cells(of));
        self.reply(fault).await?;
        Ok(found.map(|id| SCHEMA.key(at, id).clone()).into_iter().collect())
    }

    async fn epoch(&mut self) -> Result<Option<u64>, WriteError> {
        let fault = self.arrive("epoch").await?;
        let epoch = self.secondary.state().epoch;
        self.reply(fault).await?;
        Ok(Some(epoch))
    }

    async fn prune(
        &mut self,
        table: TableId,
        bound: Version,
        from: KeyHash,
    ) -> Result<Pruned, WriteError> {
        let fault = self.arrive("prune").await?;
        let pruned = self.prune_batch(table, bound, from).await;
        match pruned {
            Ok(_) => self.take_effect(),
            Err(_) => {
                self.undo_to(0);
                self.release();
            }
        }
        self.reply(fault).await?;
        pruned
    }

    async fn fence_entries(&mut self) -> Result<u64, WriteError> {
        let fault = self.arrive("count").await?;
        let count = self.secondary.state().fence.len();
        self.reply(fault).await?;
        Ok(count.try_into().unwrap())
    }
}
