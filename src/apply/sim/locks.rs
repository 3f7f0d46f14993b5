//! Row locks as both servers have them: shared or exclusive, held to the transaction's end.
//!
//! Invariant: who waits in a circle is told so at once, everyone else after a bound.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

pub(super) struct Locks<K> {
    table: Mutex<Table<K>>,
    released: Notify,
}

struct Table<K> {
    /// Holders; true where exclusive.
    held: BTreeMap<K, BTreeMap<u64, bool>>,
    /// Who waits for whom.
    waits: BTreeMap<u64, u64>,
}

#[derive(Debug)]
pub(super) enum NoLock {
    Deadlock,
    TimedOut,
}

impl<K> Default for Locks<K> {
    fn default() -> Self {
        let table = Table { held: BTreeMap::new(), waits: BTreeMap::new() };
        Self { table: Mutex::new(table), released: Notify::new() }
    }
}

impl<K: Ord + Clone> Locks<K> {
    pub(super) async fn take(
        &self,
        owner: u64,
        key: K,
        exclusive: bool,
        limit: Duration,
    ) -> Result<(), NoLock> {
        let deadline = Instant::now() + limit;
        loop {
            match self.table.lock().unwrap().try_take(owner, &key, exclusive) {
                Ok(()) => return Ok(()),
                Err(true) => return Err(NoLock::Deadlock),
                Err(false) => {}
            }
            if timeout_at(deadline, self.released.notified()).await.is_err() {
                self.table.lock().unwrap().waits.remove(&owner);
                return Err(NoLock::TimedOut);
            }
        }
    }

    /// Waits until nobody else holds it exclusively; takes nothing. False if that took too long.
    pub(super) async fn free(&self, key: &K, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while self.is_exclusive(key) {
            if timeout_at(deadline, self.released.notified()).await.is_err() {
                return false;
            }
        }
        true
    }

    pub(super) fn is_exclusive(&self, key: &K) -> bool {
        let table = self.table.lock().unwrap();
        table.held.get(key).is_some_and(|holders| holders.values().any(|exclusive| *exclusive))
    }

    /// Whether no transaction is open.
    pub(super) fn are_free(&self) -> bool {
        self.table.lock().unwrap().held.values().all(BTreeMap::is_empty)
    }

    pub(super) fn release(&self, owner: u64) {
        let mut table = self.table.lock().unwrap();
        table.waits.remove(&owner);
        table.held.retain(|_, holders| {
            holders.remove(&owner);
            !holders.is_empty()
        });
        drop(table);
        self.released.notify_waiters();
    }
}

impl<K: Ord + Clone> Table<K> {
    /// The error says whether waiting would be in a circle.
    fn try_take(&mut self, owner: u64, key: &K, exclusive: bool) -> Result<(), bool> {
        let holders = self.held.entry(key.clone()).or_default();
        let in_the_way =
            holders.iter().find(|(other, theirs)| **other != owner && (exclusive || **theirs));
        let Some((blocker, _)) = in_the_way else {
            *holders.entry(owner).or_default() |= exclusive;
            self.waits.remove(&owner);
            return Ok(());
        };
        let blocker = *blocker;
        let mut next = Some(blocker);
        while let Some(other) = next {
            if other == owner {
                self.waits.remove(&owner);
                return Err(true);
            }
            next = self.waits.get(&other).copied();
        }
        self.waits.insert(owner, blocker);
        Err(false)
    }
}
