//! A table's content as sums that do not depend on the order of its rows.
//!
//! ```text
//! row ──▶ bucket, by its key ──▶ sum of 128-bit hashes, count      two tables: which buckets differ
//!   └───▶ [`Sieve`]                                                             which rows, if few
//! ```
//!
//! Invariant: hashes are SHA-256 with a secret that is new for each comparison, cut to 128 bits and
//! added up. Two sides with equal sums and counts hold the same rows; that they hold others has a
//! chance of 2⁻¹²⁸, and nobody can prepare rows for it. So each side is read in the order that is
//! cheapest for it, and no order of keys has to be the same in both databases.

use std::collections::HashSet;

use sha2::{Digest as _, Sha256};

use super::sieve::{Sieve, Single};
use crate::change::KeyHash;

/// Few rows in a bucket make few candidates for each difference.
const ROWS_A_BUCKET: u64 = 8;
/// 2^12 to 2^20 buckets: 100 KiB to 32 MiB a side.
const BITS: std::ops::RangeInclusive<u32> = 12..=20;

/// How rows are hashed and spread; the same for both sides.
#[derive(Clone)]
pub(super) struct Scheme {
    secret: [u8; 32],
    bits: u32,
}

impl Scheme {
    /// For a table of about so many rows.
    pub(super) fn new(rows: u64) -> Self {
        let bits = (rows / ROWS_A_BUCKET).max(1).ilog2() + 1;
        Self { secret: rand::random(), bits: bits.clamp(*BITS.start(), *BITS.end()) }
    }

    pub(super) fn bucket(&self, key: &KeyHash) -> u32 {
        let [a, b, c, d, ..] = key.0;
        u32::from_be_bytes([a, b, c, d]) >> (32 - self.bits)
    }

    fn hash(&self, row: &[u8]) -> u128 {
        let digest = Sha256::new().chain_update(self.secret).chain_update(row).finalize();
        let mut half = [0; 16];
        half.copy_from_slice(&digest[..16]);
        u128::from_be_bytes(half)
    }
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Bucket {
    sum: u128,
    rows: u64,
}

/// One side's sums.
pub(super) struct Digest {
    scheme: Scheme,
    buckets: Vec<Bucket>,
    sieve: Sieve,
    pub(super) rows: u64,
}

impl Digest {
    pub(super) fn new(scheme: Scheme) -> Self {
        let buckets = vec![Bucket::default(); 1 << scheme.bits];
        Self { scheme, buckets, sieve: Sieve::new(), rows: 0 }
    }

    /// `row` is the normal form of the whole row, `columns` that of its key's columns.
    pub(super) fn add(&mut self, key: &KeyHash, columns: &[u8], row: &[u8]) {
        let hash = self.scheme.hash(row);
        self.sieve.add(hash, columns);
        let at = self.scheme.bucket(key) as usize;
        if let Some(bucket) = self.buckets.get_mut(at) {
            bucket.sum = bucket.sum.wrapping_add(hash);
            bucket.rows += 1;
        }
        self.rows += 1;
    }

    /// The rows that only one of the two has, as far as the sieve can tell; it is used up by that.
    pub(super) fn singles(&mut self, other: &Self) -> Vec<Single> {
        Sieve::singles(std::mem::take(&mut self.sieve), &other.sieve)
    }

    /// Takes a row out of the sums again that is looked at by itself.
    pub(super) fn take(&mut self, key: &KeyHash, hash: u128) {
        let at = self.scheme.bucket(key) as usize;
        if let Some(bucket) = self.buckets.get_mut(at) {
            bucket.sum = bucket.sum.wrapping_sub(hash);
            bucket.rows = bucket.rows.wrapping_sub(1);
        }
    }

    /// The buckets in which the two differ, as many as hold up to `rows_max` rows together, and
    /// whether these are all.
    pub(super) fn differing(&self, other: &Self, rows_max: u64) -> (HashSet<u32>, bool) {
        let pairs = (0..).zip(self.buckets.iter().zip(&other.buckets));
        let (mut chosen, mut rows) = (HashSet::new(), 0);
        for (at, (left, right)) in pairs.filter(|(_, (left, right))| left != right) {
            rows = left.rows.saturating_add(right.rows).saturating_add(rows);
            if rows_max < rows && !chosen.is_empty() {
                return (chosen, false);
            }
            chosen.insert(at);
        }
        (chosen, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u32) -> KeyHash {
        let mut hash = [0; 16];
        hash[..4].copy_from_slice(&n.wrapping_mul(0x9E37_79B9).to_be_bytes());
        KeyHash(hash)
    }

    fn side(scheme: &Scheme, rows: &[(u32, &str)]) -> Digest {
        let mut digest = Digest::new(scheme.clone());
        rows.iter().for_each(|(n, row)| digest.add(&key(*n), &n.to_be_bytes(), row.as_bytes()));
        digest
    }

    #[test]
    fn the_order_of_rows_does_not_count_and_everything_else_does() {
        let scheme = Scheme::new(100);
        let left = side(&scheme, &[(1, "a"), (2, "b"), (3, "c")]);
        let differs = |rows: &[(u32, &str)]| {
            let (buckets, all) = left.differing(&side(&scheme, rows), 1_000);
            assert!(all);
            let mut keys: Vec<u32> =
                (1..=4).filter(|n| buckets.contains(&scheme.bucket(&key(*n)))).collect();
            keys.sort_unstable();
            keys
        };
        assert!(differs(&[(3, "c"), (1, "a"), (2, "b")]).is_empty());
        assert_eq!(differs(&[(1, "a"), (2, "x"), (3, "c")]), [2]);
        assert_eq!(differs(&[(1, "a"), (3, "c")]), [2]);
        assert_eq!(differs(&[(1, "a"), (2, "b"), (3, "c"), (4, "d")]), [4]);
        assert_eq!(differs(&[(1, "b"), (2, "a"), (3, "c")]), [1, 2]);
        assert_eq!(differs(&[(1, "a"), (1, "a"), (2, "b"), (3, "c")]), [1]);
    }

    #[test]
    fn what_the_sieve_names_leaves_the_sums_and_nothing_else_does() {
        let scheme = Scheme::new(100);
        let mut left = side(&scheme, &[(1, "a"), (2, "b"), (3, "c"), (5, "e")]);
        let mut right = side(&scheme, &[(1, "a"), (2, "x"), (4, "d"), (5, "e")]);
        let mut named: Vec<(u32, bool)> = Vec::new();
        for single in left.singles(&right) {
            let n = u32::from_be_bytes(single.key.try_into().expect("four bytes were added"));
            named.push((n, single.on_primary));
            if n != 4 {
                let side = if single.on_primary { &mut left } else { &mut right };
                side.take(&key(n), single.hash);
            }
        }
        named.sort_unstable();
        assert_eq!(named, [(2, false), (2, true), (3, true), (4, false)]);
        let (buckets, _) = left.differing(&right, 1_000);
        assert_eq!(buckets, HashSet::from([scheme.bucket(&key(4))]));
    }

    #[test]
    fn more_than_can_be_looked_at_is_cut_and_said() {
        let scheme = Scheme::new(100);
        let rows: Vec<(u32, &str)> = (0..200).map(|n| (n, "x")).collect();
        let (buckets, all) = side(&scheme, &rows).differing(&side(&scheme, &[]), 50);
        assert!(!all && !buckets.is_empty() && buckets.len() <= 50);
    }

    #[test]
    fn buckets_grow_with_the_table_within_bounds() {
        for (rows, bits) in [(0, 12), (1_000_000, 17), (u64::MAX, 20)] {
            assert_eq!(Scheme::new(rows).bits, bits, "{rows}");
        }
    }
}
