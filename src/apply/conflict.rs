//! Which transactions must keep their order: those that touch a row, a parent or a unique value in
//! common.
//!
//! ```text
//! Transaction ──[`keys`]──▶ numbers ──[`Lockset`]──▶ the one worker that holds any of them
//! ```
//!
//! Invariant: two transactions that share a number are never under way in two workers at once; a
//! worker keeps the order in which it got them. Two unrelated values that share a number by chance
//! only cost a wait.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher as _};

use crate::catalog::Table;
use crate::change::{Change, Effect, RowImage};
use crate::names::Oid;
use crate::value::Value;

/// The numbers of everything that a transaction depends on, each once.
pub(super) fn keys(changes: &[Change]) -> Vec<u64> {
    let mut keys = Vec::with_capacity(changes.len() * 2);
    for change in changes {
        let table = &change.table;
        let names = || table.key_columns().map(|column| column.name.as_str());
        for key in change.keys() {
            keys.extend(number(table, table.oid, names(), &key.values, &table.key));
        }
        if let Effect::Put { image, .. } | Effect::Move { image, .. } = &change.effect {
            push_image(table, image, &mut keys);
        }
    }
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Unique values of the row, and the parents it names.
fn push_image(table: &Table, image: &RowImage, keys: &mut Vec<u64>) {
    let values =
        |columns: &[usize]| columns.iter().map(|at| image.values[*at].clone()).collect::<Vec<_>>();
    for unique in table.uniques.iter().filter(|unique| !unique.columns.is_empty()) {
        let names = unique.columns.iter().map(|at| table.columns[*at].name.as_str());
        keys.extend(number(table, table.oid, names, &values(&unique.columns), &unique.columns));
    }
    for key in &table.foreign_keys {
        let names = key.referenced.iter().map(String::as_str);
        keys.extend(number(table, key.references, names, &values(&key.columns), &key.columns));
    }
}

/// `owner` and `names` say whose values these are, `columns` where in `table` their types are;
/// nothing where a value is NULL, which equals nothing. Names go by their order in the text, so that
/// both ends of a foreign key agree.
fn number<'a>(
    table: &Table,
    owner: Oid,
    names: impl Iterator<Item = &'a str>,
    values: &[Value],
    columns: &[usize],
) -> Option<u64> {
    let mut parts: Vec<(&str, &Value, usize)> =
        names.zip(values).zip(columns).map(|((name, value), at)| (name, value, *at)).collect();
    if parts.iter().any(|(_, value, _)| matches!(value, Value::Null)) {
        return None;
    }
    parts.sort_unstable_by_key(|(name, ..)| *name);
    let mut canonical = Vec::with_capacity(64);
    let mut hasher = DefaultHasher::new();
    hasher.write_u32(owner);
    for (name, value, at) in parts {
        hasher.write(name.as_bytes());
        hasher.write_u8(0);
        value.push_canonical(&table.columns[at].type_ref.pg_type, &mut canonical);
    }
    hasher.write(&canonical);
    Some(hasher.finish())
}

/// Which worker holds which number, and how often.
#[derive(Debug, Default)]
pub(super) struct Lockset {
    held: HashMap<u64, (usize, usize)>,
}

/// Where a transaction may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Anywhere,
    /// Behind what this worker has.
    Only(usize),
    /// Several workers hold something of it: not yet.
    Nowhere,
}

impl Lockset {
    pub(super) fn place(&self, keys: &[u64]) -> Place {
        let mut place = Place::Anywhere;
        for (worker, _) in keys.iter().filter_map(|key| self.held.get(key)) {
            place = match place {
                Place::Anywhere => Place::Only(*worker),
                Place::Only(other) if other == *worker => place,
                Place::Only(_) | Place::Nowhere => return Place::Nowhere,
            };
        }
        place
    }

    pub(super) fn take(&mut self, keys: &[u64], worker: usize) {
        for key in keys {
            self.held.entry(*key).or_insert((worker, 0)).1 += 1;
        }
    }

    pub(super) fn release(&mut self, keys: &[u64]) {
        for key in keys {
            if let Some((_, count)) = self.held.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    self.held.remove(key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_conflicts_with_two_workers_waits_for_one_of_them() {
        let mut set = Lockset::default();
        assert_eq!(set.place(&[1, 2]), Place::Anywhere);
        set.take(&[1, 2], 0);
        set.take(&[3], 1);
        assert_eq!(set.place(&[2, 9]), Place::Only(0));
        assert_eq!(set.place(&[2, 3]), Place::Nowhere);
        set.take(&[2], 0);
        set.release(&[1, 2]);
        assert_eq!(set.place(&[2]), Place::Only(0), "held twice, released once");
        set.release(&[2]);
        assert_eq!(set.place(&[2, 3]), Place::Only(1));
    }
}
