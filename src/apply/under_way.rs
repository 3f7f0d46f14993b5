//! The outbox entries whose images are on their way here, so that a drain leaves them alone.
//!
//! Invariant: forgetting one is harmless (its row is read again, and the fence knows it); hence the
//! set is bounded, and what does not fit is not remembered.

use std::collections::BTreeSet;
use std::fmt::Write as _;
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

    /// All of them as the text of an `int8multirange`: numbers follow one another, so that a long
    /// queue is a short text.
    pub(super) fn ranges(&self) -> String {
        ranges(self.set().iter().copied())
    }

    fn set(&self) -> MutexGuard<'_, BTreeSet<i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ranges(ascending: impl Iterator<Item = i64>) -> String {
    let mut text = "{".to_owned();
    let mut open: Option<(i64, i64)> = None;
    // Writing to a String cannot fail.
    let mut close = |open: Option<(i64, i64)>| {
        if let Some((first, last)) = open {
            let comma = if text.len() > 1 { "," } else { "" };
            let _ = write!(text, "{comma}[{first},{last}]");
        }
    };
    for id in ascending {
        open = match open {
            Some((first, last)) if last + 1 == id => Some((first, id)),
            other => {
                close(other);
                Some((id, id))
            }
        };
    }
    close(open);
    text + "}"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_follow_one_another_are_one_range() {
        assert_eq!(ranges([].into_iter()), "{}");
        assert_eq!(ranges([7].into_iter()), "{[7,7]}");
        assert_eq!(ranges([1, 2, 3, 5, 8, 9].into_iter()), "{[1,3],[5,5],[8,9]}");
    }
}
