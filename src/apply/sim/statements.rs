//! What the secondary's statements do to rows: unique values, foreign keys, cascades.
//!
//! Invariant: a row is locked before it is looked at, and a value or a parent too, so that nothing
//! that another transaction has not committed is ever seen.

use super::Flaw;
use super::schema::{
    Cells, NOTES, ORDERS, Place, SCHEMA, TABLES, USERS, cells, children, holder, index, parent,
    unique,
};
use super::secondary::Lock;
use super::session::{Session, Undo, server};
use crate::backend::mysql::prune::Pruned;
use crate::backend::mysql::{Failed, Place as FencePlace, WriteError};
use crate::catalog::Table;
use crate::change::{KeyHash, RowImage, Version};
use crate::names::TableId;

/// Entries looked at by one batch of pruning.
const BATCH: usize = 4;
const DUPLICATE: u16 = 1062;
const NOT_NULL: u16 = 1048;
const NO_PARENT: u16 = 1452;
const HAS_CHILD: u16 = 1451;

fn failed<T>(code: u16) -> Result<T, Failed> {
    Err(server(code).into())
}

impl Session {
    fn row(&self, place: Place) -> Option<Cells> {
        self.secondary.state().rows.get(&place).cloned()
    }

    /// Locks a row and the unique values that it gives up or takes; says who else has the value.
    async fn lock_row(
        &mut self,
        place: Place,
        becomes: Option<&Cells>,
    ) -> Result<Option<i64>, WriteError> {
        self.lock(Lock::Row(place), true).await?;
        let (table, id) = place;
        let Some(column) = unique(table) else { return Ok(None) };
        let before = self.row(place).and_then(|cells| cells[column]);
        let after = becomes.and_then(|cells| cells[column]);
        for value in [before, after].into_iter().flatten() {
            self.lock(Lock::Unique(table, value), true).await?;
        }
        Ok(becomes.and_then(|cells| holder(&self.secondary.state().rows, table, id, cells)))
    }

    async fn require_parent(&mut self, table: usize, cells: &Cells) -> Result<(), Failed> {
        let (Some(_), true, Some(user)) = (parent(table), self.checks, cells[1]) else {
            return Ok(());
        };
        self.lock(Lock::Row((USERS, user)), false).await?;
        match self.row((USERS, user)) {
            Some(_) => Ok(()),
            None => failed(NO_PARENT),
        }
    }

    pub(super) async fn insert_all(
        &mut self,
        table: &Table,
        images: &[&RowImage],
        upsert: bool,
    ) -> Result<u64, Failed> {
        let at = index(table);
        for image in images {
            let cells = cells(image);
            let id = cells[0].unwrap();
            let holder = self.lock_row((at, id), Some(&cells)).await?;
            match (self.row((at, id)), holder) {
                (Some(_), _) if upsert => drop(self.update_row(at, id, cells).await?),
                (Some(_), _) => return failed(DUPLICATE),
                // The clause found another's row, and is not to change it.
                (None, Some(_)) if upsert => return failed(NOT_NULL),
                (None, Some(_)) => return failed(DUPLICATE),
                (None, None) => {
                    self.require_parent(at, &cells).await?;
                    self.set((at, id), Some(cells));
                }
            }
        }
        Ok(images.len().try_into().unwrap())
    }

    pub(super) async fn update_row(
        &mut self,
        table: usize,
        id: i64,
        cells: Cells,
    ) -> Result<u64, Failed> {
        let holder = self.lock_row((table, id), Some(&cells)).await?;
        let Some(before) = self.row((table, id)) else { return Ok(0) };
        if holder.is_some() {
            return failed(DUPLICATE);
        }
        if before[1] != cells[1] {
            self.require_parent(table, &cells).await?;
        }
        self.set((table, id), Some(cells));
        Ok(1)
    }

    pub(super) async fn move_row(
        &mut self,
        table: usize,
        old: i64,
        cells: Cells,
    ) -> Result<u64, Failed> {
        self.lock_row((table, old), None).await?;
        if self.row((table, old)).is_none() {
            return Ok(0);
        }
        let new = cells[0].unwrap();
        let holder = self.lock_row((table, new), Some(&cells)).await?;
        if (new != old && self.row((table, new)).is_some()) || holder.is_some_and(|id| id != old) {
            return failed(DUPLICATE);
        }
        self.require_parent(table, &cells).await?;
        self.set((table, old), None);
        self.set((table, new), Some(cells));
        if table == USERS && new != old {
            self.follow(old, Some(new)).await?;
        }
        Ok(1)
    }

    pub(super) async fn delete_row(&mut self, table: usize, id: i64) -> Result<u64, Failed> {
        self.lock_row((table, id), None).await?;
        if self.row((table, id)).is_none() {
            return Ok(0);
        }
        self.set((table, id), None);
        if table == USERS {
            self.follow(id, None).await?;
        }
        Ok(1)
    }

    /// Whether a row that goes with this user is newer, by the fence.
    pub(super) async fn newer_child(&mut self, user: i64, than: Version) -> Result<bool, Failed> {
        for table in (0..TABLES).filter(|table| parent(*table) == Some(true)) {
            let found = children(&self.secondary.state().rows, table, user);
            for row in found {
                self.lock_row((table, row), None).await?;
                let place = (SCHEMA.tables[table].id.unwrap(), SCHEMA.key(table, row).hash);
                let fence = self.secondary.state().fence.get(&place).copied();
                if fence.is_some_and(|(newest, _)| than < newest) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// What a user's end, or new key, does to the rows that name it.
    async fn follow(&mut self, user: i64, becomes: Option<i64>) -> Result<(), Failed> {
        if !self.checks {
            return Ok(());
        }
        for table in (0..TABLES).filter(|table| parent(*table).is_some()) {
            // A child that another transaction is about to insert holds the parent's lock.
            let found = children(&self.secondary.state().rows, table, user);
            for child in found {
                self.lock_row((table, child), None).await?;
                let Some(mut cells) = self.row((table, child)) else { continue };
                if cells[1] != Some(user) {
                    continue;
                }
                debug_assert!(table == ORDERS || table == NOTES);
                match (parent(table), becomes) {
                    (Some(true), None) => self.set((table, child), None),
                    (Some(true), Some(_)) => {
                        cells[1] = becomes;
                        self.set((table, child), Some(cells));
                    }
                    _ => return failed(HAS_CHILD),
                }
            }
        }
        Ok(())
    }

    /// Forgets fence entries, and raises the floor.
    pub(super) async fn prune_batch(
        &mut self,
        table: TableId,
        bound: Version,
        from: KeyHash,
    ) -> Result<Pruned, WriteError> {
        self.lock(Lock::Floor(table), true).await?;
        let (emptied, floor) =
            *self.secondary.state().tables.get(&table).ok_or(WriteError::NotSetUp)?;
        let all = (
            std::ops::Bound::Excluded((table, from)),
            std::ops::Bound::Included((table, KeyHash([255; 16]))),
        );
        let places: Vec<FencePlace> =
            self.secondary.state().fence.range(all).take(BATCH).map(|(p, _)| *p).collect();
        let (mut highest, mut entries) = (floor, 0);
        for place in &places {
            self.lock(Lock::Fence(*place), true).await?;
            let entry = self.secondary.state().fence.get(place).copied();
            let Some((version, _)) = entry.filter(|(version, _)| *version < bound) else {
                continue;
            };
            highest = highest.max(version);
            entries += 1;
            self.secondary.chance.reached("fence entry pruned");
            self.secondary.state().fence.remove(place);
            self.undo.push(Undo::Fence(*place, entry));
        }
        if !self.secondary.has(Flaw::NoFloor) {
            self.secondary.state().tables.insert(table, (emptied, highest));
            self.undo.push(Undo::Table(table, (emptied, floor)));
        }
        self.secondary.chance.note(format_args!("pruned {entries} of {table} below {bound:?}"));
        let next = places.last().filter(|_| places.len() == BATCH).map(|(_, hash)| *hash);
        Ok(Pruned { entries, next })
    }
}
