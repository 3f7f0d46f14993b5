//! MySQL in memory: rows with unique values and foreign keys, the fence, transactions that roll back.
//!
//! ```text
//! Session (locks, undo) ──COMMIT──▶ rows and fence        lost connection, killed client ──▶ undone
//! ```
//!
//! Invariant: reacts with the numbers of MySQL's errors. What was ever committed to the fence is kept
//! beside it and never pruned, so that a step backwards is noticed whatever the fence says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::Flaw;
use super::chance::Chance;
use super::locks::Locks;
use super::schema::{self, Rows, SCHEMA};
use super::session::Session;
use crate::backend::mysql::{Place, WriteError};
use crate::change::{KeyHash, Version};
use crate::names::TableId;

/// Far below a write's timeout, so that both happen.
pub(super) const LOCK_WAIT: Duration = Duration::from_millis(400);
pub(super) const LOWEST: Version = Version { epoch: 0, counter: 0, n: 0 };

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lock {
    State,
    Fence(Place),
    Floor(TableId),
    Row(schema::Place),
    Unique(usize, i64),
}

pub(super) struct Secondary {
    pub(super) chance: Arc<Chance>,
    pub(super) locks: Locks<Lock>,
    pub(super) flaw: Option<Flaw>,
    state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) epoch: u64,
    /// Connections of an earlier one are lost.
    pub(super) incarnation: u64,
    pub(super) down: bool,
    pub(super) owners: u64,
    pub(super) rows: Rows,
    pub(super) fence: BTreeMap<Place, (Version, bool)>,
    /// Newest TRUNCATE, and floor.
    pub(super) tables: BTreeMap<TableId, (Version, Version)>,
    /// The newest version ever committed of each key, and of each table.
    seen: BTreeMap<Place, Version>,
}

impl Secondary {
    pub(super) fn new(chance: Arc<Chance>, flaw: Option<Flaw>) -> Self {
        let state = State { epoch: 1, ..State::default() };
        Self { chance, locks: Locks::default(), flaw, state: Mutex::new(state) }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    pub(super) fn owner(&self) -> u64 {
        let mut state = self.state();
        state.owners += 1;
        state.owners
    }

    /// Every connection is lost; while it is down there are no new ones.
    pub(super) fn crash(&self, down: bool) {
        let mut state = self.state();
        state.incarnation += 1;
        state.down = down;
        drop(state);
        self.chance.note(format_args!("secondary crashed, down {down}"));
    }

    pub(super) fn come_back(&self) {
        self.state().down = false;
        self.chance.note(format_args!("secondary is back"));
    }

    pub(super) async fn connect(self: &Arc<Self>) -> Result<Session, WriteError> {
        self.chance.travel().await;
        let unreachable = || WriteError::Unreachable { why: "simulated".to_owned() };
        if self.state().down || self.chance.bad_luck(1) {
            return Err(unreachable());
        }
        Ok(Session::new(Arc::clone(self)))
    }

    /// Raises the epoch; waits for every apply that is under way.
    pub(super) async fn set_epoch(&self, epoch: u64) {
        let owner = self.owner();
        while self.locks.take(owner, Lock::State, true, LOCK_WAIT).await.is_err() {}
        let mut state = self.state();
        state.epoch = state.epoch.max(epoch);
        drop(state);
        self.locks.release(owner);
        self.chance.note(format_args!("secondary is at epoch {epoch}"));
    }

    /// A transaction of ours has committed this entry of the fence.
    pub(super) fn committed(&self, place: Place, version: Version) {
        let mut state = self.state();
        let before = state.seen.insert(place, version).unwrap_or(LOWEST);
        drop(state);
        if version < before {
            self.chance.violated(format!("fence of {place:?} went from {before:?} to {version:?}"));
        }
    }

    /// Whether this change, or a newer one of the same row, is committed.
    pub(super) fn has_change(&self, table: usize, key: Option<i64>, version: Version) -> bool {
        let id = SCHEMA.tables[table].id.unwrap();
        let hash = key.map_or(KeyHash::TABLE, |key| SCHEMA.key(table, key).hash);
        let state = self.state();
        let seen = |hash| state.seen.get(&(id, hash)).is_some_and(|seen| version <= *seen);
        seen(hash) || seen(KeyHash::TABLE)
    }

    /// An entry is deleted: then its change must be here.
    pub(super) fn require(&self, number: i64, table: usize, key: Option<i64>, version: Version) {
        if !self.has_change(table, key, version) {
            self.chance.violated(format!(
                "entry {number} of table {table}, key {key:?} at {version:?} settled before its change"
            ));
        }
    }
}
