//! The outbox entries whose images are on their way here, so that a drain leaves them alone.
//!
//! Invariant: forgetting one is harmless (its row is read again, and the fence knows it); hence the
//! set is bounded, and what does not fit is not remembered.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::change::Change;

/// Entries remembered, some megabytes; beyond, a drain may do work twice.
const ENTRIES_MAX: usize = 128 << 10;

#[derive(Default)]
pub(super) struct UnderWay(Mutex<BTreeSet<i64>>);

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

    /// All of them, first and last of each run: numbers follow one another, so that a long queue is a
    /// short list.
    pub(super) fn ranges(&self) -> Vec<(i64, i64)> {
        ranges(self.set().iter().copied())
    }

    fn set(&self) -> MutexGuard<'_, BTreeSet<i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ranges(ascending: impl Iterator<Item = i64>) -> Vec<(i64, i64)> {
    let mut ranges: Vec<(i64, i64)> = Vec::new();
    for id in ascending {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == id => *last = id,
            _ => ranges.push((id, id)),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_follow_one_another_are_one_range() {
        assert_eq!(ranges([].into_iter()), []);
        assert_eq!(ranges([7].into_iter()), [(7, 7)]);
        assert_eq!(ranges([1, 2, 3, 5, 8, 9].into_iter()), [(1, 3), (5, 5), (8, 9)]);
    }
}
