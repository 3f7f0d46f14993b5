//! Which rows two sides do not have in common, told without reading them again.
//!
//! ```text
//! row ──▶ three cells: count, and XOR of hashes, checks and keys
//! primary's cells XOR secondary's ──▶ what both have is gone; where one row is left in a cell,
//!          ▲                          its hash and key stand there
//!          └── taken out of its other two cells, so that more are alone ──┘
//! ```
//!
//! (An invertible Bloom lookup table, as Eppstein, Goodrich, Uyeda and Varghese used it in "What's the
//! difference?", 2011. A row that differs is two rows here, one a side, with one key.)
//!
//! Reading the keys of a table again to learn which rows fell into the buckets that differ takes as long
//! as a third of the pass; this takes a fixed memory and a few dozen nanoseconds a row, and yields the
//! keys themselves. It was chosen over sums by ranges of keys, as no order of keys has to be the same in
//! both databases for it, and over remembered places of rows (`ctid`, first keys of blocks), which grow
//! with the table and differ in kind between the two.
//!
//! Invariant: it only ever names rows; whether these are all is said by [`Digest`](super::digest), from
//! which they are taken out. Where too many differ, or a key is too long, it names fewer, or none.

use std::hash::{DefaultHasher, Hasher as _};

/// A third of the cells. Together they tell about 4,900 rows apart.
const CELLS: usize = 2048;
/// Longest normal form of a key that is kept; rows with longer ones are not told apart.
const KEY_BYTES_MAX: usize = 192;

#[derive(Clone)]
struct Cell {
    rows: i64,
    hash: u128,
    check: u64,
    length: u16,
    key: [u8; KEY_BYTES_MAX],
}

const EMPTY: Cell = Cell { rows: 0, hash: 0, check: 0, length: 0, key: [0; KEY_BYTES_MAX] };

/// One side's rows; 1.4 MiB. Once used up it has no cells.
#[derive(Default)]
pub(super) struct Sieve(Vec<Cell>);

/// A row that one side has and the other has not, or not like this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Single {
    pub(super) on_primary: bool,
    /// As it was added.
    pub(super) hash: u128,
    /// The key's normal form.
    pub(super) key: Vec<u8>,
}

impl Sieve {
    pub(super) fn new() -> Self {
        Self(vec![EMPTY; 3 * CELLS])
    }

    pub(super) fn add(&mut self, hash: u128, key: &[u8]) {
        self.change(hash, key, 1);
    }

    fn change(&mut self, hash: u128, key: &[u8], rows: i64) {
        let Ok(length) = u16::try_from(key.len()) else { return };
        if KEY_BYTES_MAX < key.len() {
            return;
        }
        for at in places(hash) {
            let Some(cell) = self.0.get_mut(at) else { continue };
            cell.rows += rows;
            cell.hash ^= hash;
            cell.check ^= check(hash);
            cell.length ^= length;
            cell.key.iter_mut().zip(key).for_each(|(kept, byte)| *kept ^= byte);
        }
    }

    /// The rows that only one of the two has, as far as they can be told apart.
    pub(super) fn singles(mut primary: Self, secondary: &Self) -> Vec<Single> {
        for (cell, other) in primary.0.iter_mut().zip(&secondary.0) {
            cell.rows -= other.rows;
            cell.hash ^= other.hash;
            cell.check ^= other.check;
            cell.length ^= other.length;
            cell.key.iter_mut().zip(other.key).for_each(|(kept, byte)| *kept ^= byte);
        }
        let mut singles = Vec::new();
        let mut unseen: Vec<usize> = (0..primary.0.len()).collect();
        // Each row that is found empties a cell, so there are no more than cells.
        while let Some(at) = unseen.pop() {
            if primary.0.len() <= singles.len() {
                break;
            }
            let Some(single) = primary.0.get(at).and_then(|cell| alone(cell, at)) else { continue };
            primary.change(single.hash, &single.key, if single.on_primary { -1 } else { 1 });
            unseen.extend(places(single.hash));
            singles.push(single);
        }
        singles
    }
}

/// The row in a cell that holds exactly one.
fn alone(cell: &Cell, at: usize) -> Option<Single> {
    let one = cell.rows.abs() == 1 && cell.check == check(cell.hash);
    let key = cell.key.get(..usize::from(cell.length))?;
    (one && places(cell.hash).contains(&at)).then(|| Single {
        on_primary: cell.rows == 1,
        hash: cell.hash,
        key: key.to_vec(),
    })
}

/// One in each third.
fn places(hash: u128) -> [usize; 3] {
    let [a, b, c, d, e, f, ..] = hash.to_le_bytes();
    let within = |low, high| usize::from(u16::from_le_bytes([low, high])) % CELLS;
    [within(a, b), CELLS + within(c, d), 2 * CELLS + within(e, f)]
}

/// The XOR of several rows' hashes has not the XOR of their checks.
fn check(hash: u128) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write_u128(hash);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn side(rows: impl Iterator<Item = (u64, u64)>) -> Sieve {
        let mut sieve = Sieve::new();
        for (key, value) in rows {
            let halves = [key, value].map(|n| check(n.into()));
            let hash = u128::from(halves[0] ^ halves[1].rotate_left(7)) << 64
                | u128::from(check(halves[0].wrapping_add(value).into()));
            sieve.add(hash, &key.to_be_bytes());
        }
        sieve
    }

    /// The keys found, with the side they were found on.
    fn found(primary: Sieve, secondary: &Sieve) -> BTreeSet<(u64, bool)> {
        let singles = Sieve::singles(primary, secondary);
        let all = singles.into_iter().map(|single| {
            let key = single.key.try_into().expect("eight bytes were added");
            (u64::from_be_bytes(key), single.on_primary)
        });
        all.collect()
    }

    #[test]
    fn missing_extra_and_different_rows_are_named_among_any_number_of_equal_ones() {
        let rows = || (0..50_000).map(|key| (key, 1));
        let mut expected = BTreeSet::new();
        let theirs = rows()
            .filter(|(key, _)| key % 1000 != 7)
            .map(|(key, value)| if key % 1000 == 9 { (key, 2) } else { (key, value) });
        let secondary = side(theirs.chain((90_000..90_500).map(|key| (key, 1))));
        expected.extend((0..50).map(|n| (n * 1000 + 7, true)));
        expected.extend((0..50).flat_map(|n| [(n * 1000 + 9, true), (n * 1000 + 9, false)]));
        expected.extend((90_000..90_500).map(|key| (key, false)));
        assert!(found(side(rows()), &secondary) == expected);
        assert!(found(side(rows()), &side(rows())).is_empty());
    }

    #[test]
    fn up_to_four_thousand_are_told_apart_and_of_too_many_none_is_invented() {
        let all: BTreeSet<_> = (0..4000).map(|key| (key, true)).collect();
        assert!(found(side((0..4000).map(|key| (key, 1))), &Sieve::new()) == all);
        let some = found(side((0..30_000).map(|key| (key, 1))), &Sieve::new());
        assert!(some.iter().all(|(key, on_primary)| *key < 30_000 && *on_primary));
    }

    #[test]
    fn a_key_that_is_too_long_is_left_out() {
        let mut sieve = Sieve::new();
        sieve.add(1, &[7; KEY_BYTES_MAX + 1]);
        assert!(Sieve::singles(sieve, &Sieve::new()).is_empty());
        let mut sieve = Sieve::new();
        sieve.add(1, &[7; KEY_BYTES_MAX]);
        assert_eq!(Sieve::singles(sieve, &Sieve::new())[0].key, [7; KEY_BYTES_MAX]);
    }
}
