//! Which chunks of a table are done, when they end in any order.
//!
//! ```text
//! opened 0 1 2 3 ──▶ done 0 · 2 ──▶ reached: the end of 0      done 1 ──▶ reached: the end of 2
//! ```
//!
//! Invariant: `reached` is never past a chunk that is not done, and its bound is never past the bound of
//! one that is open. Pure.

use std::collections::BTreeMap;

use crate::backend::mysql::progress::Reached;
use crate::change::Version;

/// What a chunk that is done adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The last key; `None` for a chunk without rows.
    pub(super) key: Option<Vec<u8>>,
    pub(super) copied: u64,
    pub(super) refused: u64,
}

/// The chunks of one table, numbered in the order of their keys.
#[derive(Debug)]
pub(super) struct Tracker {
    open: BTreeMap<u64, Version>,
    done: BTreeMap<u64, Part>,
    /// The first chunk that is not part of `reached`.
    next: u64,
    reached: Reached,
}

impl Tracker {
    pub(super) fn new(reached: Reached) -> Self {
        Self { open: BTreeMap::new(), done: BTreeMap::new(), next: 0, reached }
    }

    pub(super) fn open(&mut self, number: u64, bound: Version) {
        self.open.insert(number, bound);
    }

    /// What is reached once this chunk is done too; nothing changes yet.
    pub(super) fn reached_with(&self, number: u64, part: &Part) -> Reached {
        let mut reached = self.reached.clone();
        let own = |at: &u64| (*at == number).then_some(part);
        let mut next = self.next;
        while let Some(part) = own(&next).or_else(|| self.done.get(&next)) {
            add(&mut reached, part);
            next += 1;
        }
        let others = self.open.iter().filter(|(at, _)| **at != number).map(|(_, bound)| *bound);
        let held = others.min().or_else(|| self.open.get(&number).copied());
        reached.bound = held.unwrap_or(reached.bound).max(reached.bound);
        reached
    }

    /// That is written down.
    pub(super) fn done(&mut self, number: u64, part: Part) {
        let bound = self.reached_with(number, &part).bound;
        self.open.remove(&number);
        self.done.insert(number, part);
        while let Some(part) = self.done.remove(&self.next) {
            add(&mut self.reached, &part);
            self.next += 1;
        }
        self.reached.bound = bound;
    }
}

fn add(reached: &mut Reached, part: &Part) {
    if part.key.is_some() {
        reached.key.clone_from(&part.key);
    }
    reached.copied += part.copied;
    reached.refused += part.refused;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(key: u8) -> Part {
        Part { key: Some(vec![key]), copied: 10, refused: 1 }
    }

    fn bound(counter: u64) -> Version {
        Version { epoch: 1, counter, n: 0 }
    }

    /// Ends four chunks in this order; after each, the last key reached, rows, and the bound's counter.
    fn check(order: [u64; 4], expected: [(Option<u8>, u64, u64); 4]) {
        let mut tracker = Tracker::new(Reached { bound: bound(1), ..Reached::default() });
        (0..4).for_each(|number| tracker.open(number, bound(10 + number)));
        for (number, expected) in order.into_iter().zip(expected) {
            let part = part(u8::try_from(number).unwrap());
            let reached = tracker.reached_with(number, &part);
            tracker.done(number, part);
            assert_eq!(tracker.reached, reached, "{order:?} {number}");
            let key = reached.key.map(|key| key[0]);
            assert_eq!(
                (key, reached.copied, reached.bound.counter),
                expected,
                "{order:?} {number}"
            );
        }
    }

    #[test]
    fn nothing_is_reached_past_a_chunk_that_is_open() {
        check(
            [0, 1, 2, 3],
            [(Some(0), 10, 11), (Some(1), 20, 12), (Some(2), 30, 13), (Some(3), 40, 13)],
        );
        check([3, 1, 2, 0], [(None, 0, 10), (None, 0, 10), (None, 0, 10), (Some(3), 40, 10)]);
        check(
            [1, 0, 3, 2],
            [(None, 0, 10), (Some(1), 20, 12), (Some(1), 20, 12), (Some(3), 40, 12)],
        );
    }

    #[test]
    fn a_chunk_without_rows_keeps_the_last_key() {
        let mut tracker = Tracker::new(Reached { key: Some(vec![7]), ..Reached::default() });
        tracker.open(0, bound(1));
        let none = Part { key: None, copied: 0, refused: 0 };
        assert_eq!(tracker.reached_with(0, &none).key, Some(vec![7]));
    }
}
