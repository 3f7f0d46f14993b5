//! The outbox entries whose images are on their way here, so that a drain leaves them alone.
//!
//! Invariant: forgetting one is harmless (its row is read again, and the fence knows it); hence the
//! set is bounded, and what does not fit is not remembered.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::change::Change;

/// Entries remembered; beyond, a drain may do work twice.
const ENTRIES_MAX: usize = 8192;

#[derive(Default)]
pub(super) struct UnderWay(Mutex<HashSet<i64>>);

impl UnderWay {
    pub(super) fn add(&self, changes: &[Change]) {
        let mut set = self.set();
        for entry in changes.iter().filter_map(|change| change.entry) {
            if set.len() < ENTRIES_MAX {
                set.insert(entry.0);
            }
        }
    }

    pub(super) fn remove(&self, ids: impl Iterator<Item = i64>) {
        let mut set = self.set();
        for id in ids {
            set.remove(&id);
        }
    }

    pub(super) fn ids(&self) -> Vec<i64> {
        self.set().iter().copied().collect()
    }

    fn set(&self) -> MutexGuard<'_, HashSet<i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
