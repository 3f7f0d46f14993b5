//! Rows that the secondary still lacks are brought along with the child that references them.
//!
//! ```text
//! child refused: no parent ──its foreign keys' values──▶ parents' keys ──row lock, LSN, flush──▶ changes
//!        ▲                                                                                    │
//!        └───── a parent is refused in its turn: one level more, up to [`LEVELS_MAX`] ◀────────┘
//! ```
//!
//! Before a backfill has copied them, every old row is such a parent: in an auth service, of each login.
//!
//! Invariant: a parent is read and versioned like any row that the drain reads. So one that is there
//! already, or that another brings as well, is brought in vain, and nothing else.

use std::collections::HashSet;
use std::sync::Arc;

use super::databases::{Lost, Outbox, Reader};
use crate::backend::mysql::Refused;
use crate::catalog::{Capture, Catalog, ForeignKey, Table};
use crate::change::{Change, Effect, Key, KeyHash, Operation, RowImage, Version};
use crate::names::Oid;
use crate::outbox::{Reading, Reference};
use crate::phase::Situation;
use crate::value::Value;

/// Parents of parents: a deeper line waits for the backfill.
const LEVELS_MAX: usize = 8;
/// Rows brought along with one transaction.
const ROWS_MAX: usize = 200;
/// Children that may ask for their parents together: leaves room for a level or two above them.
pub(super) const CHILDREN_MAX: usize = 100;

/// The parents that some changes were found to need.
pub(super) struct Parents {
    /// Uppermost first.
    changes: Vec<Change>,
    known: HashSet<(Oid, KeyHash)>,
    levels: usize,
}

impl Parents {
    pub(super) fn of<'a>(children: impl Iterator<Item = &'a Change>) -> Self {
        let known = children.flat_map(|change| {
            change.keys().map(|key| (change.table.oid, key.hash)).collect::<Vec<_>>()
        });
        Self { changes: Vec::new(), known: known.collect(), levels: 0 }
    }

    pub(super) fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// The table whose row was refused for want of a parent: `at` counts parents, then children.
    pub(super) fn wanting<'a>(
        &self,
        refused: &Refused,
        children: impl Iterator<Item = &'a Change>,
    ) -> Option<Oid> {
        if !refused.error.lacks_parent() {
            return None;
        }
        let mut children = children;
        match refused.at.checked_sub(self.changes.len()) {
            Some(at) => children.nth(at).map(|change| change.table.oid),
            None => self.changes.get(refused.at).map(|change| change.table.oid),
        }
    }

    /// One level more: what the rows of a table reference, whether they are children or parents
    /// themselves. False where there is nothing more to bring, or a bound is reached.
    pub(super) async fn climb<'a, O: Outbox, R: Reader>(
        &mut self,
        (outbox, reader): &mut (O, R),
        children: impl Iterator<Item = &'a Change>,
        table: Oid,
        situation: &Situation,
    ) -> Result<bool, Lost> {
        if LEVELS_MAX <= self.levels {
            return Ok(false);
        }
        self.levels += 1;
        let (mut keys, references) = {
            let mut rows: Vec<&Change> = children.collect();
            rows.extend(&self.changes);
            named(rows.into_iter().filter(|row| row.table.oid == table), &situation.catalog)
        };
        if !references.is_empty() {
            let version = situation.catalog.version;
            let found = reader.find(&references, version).await?;
            let tables = references.into_iter().map(|reference| reference.table);
            keys.extend(tables.zip(found).filter_map(|(table, key)| Some((table, key?))));
        }
        let room = ROWS_MAX.saturating_sub(self.changes.len());
        keys.retain(|(table, key)| self.known.insert((table.oid, key.hash)));
        keys.truncate(room);
        if keys.is_empty() {
            return Ok(false);
        }
        let readings = reader.read(&keys, situation.catalog.version).await?;
        let read = keys.into_iter().zip(readings);
        let mut above: Vec<Change> =
            read.filter_map(|(row, reading)| put(row, reading, situation.epoch)).collect();
        if above.is_empty() {
            return Ok(false);
        }
        outbox.flush().await?;
        above.append(&mut self.changes);
        self.changes = above;
        Ok(true)
    }
}

type Row = (Arc<Table>, Key);

/// The rows that these reference: their keys, or what finds them.
fn named<'a>(
    rows: impl Iterator<Item = &'a Change>,
    catalog: &Catalog,
) -> (Vec<Row>, Vec<Reference>) {
    let (mut keys, mut references) = (Vec::new(), Vec::new());
    for change in rows {
        let (Effect::Put { image, .. } | Effect::Move { image, .. }) = &change.effect else {
            continue;
        };
        for foreign_key in &change.table.foreign_keys {
            let Some(reference) = reference(foreign_key, image, catalog) else { continue };
            match by_key(&reference) {
                Some(key) => keys.push((reference.table, key)),
                None => references.push(reference),
            }
        }
    }
    (keys, references)
}

/// Nothing where a value is NULL, or the parent is not carried over.
fn reference(foreign_key: &ForeignKey, image: &RowImage, catalog: &Catalog) -> Option<Reference> {
    let parent = catalog.table(foreign_key.references)?;
    let carried = matches!(parent.capture, Capture::Returning | Capture::Trigger);
    if !carried || parent.id.is_none() || parent.key.is_empty() {
        return None;
    }
    let position = |name: &String| parent.columns.iter().position(|column| column.name == *name);
    let columns = foreign_key.referenced.iter().map(position).collect::<Option<Vec<_>>>()?;
    let values: Vec<Value> =
        foreign_key.columns.iter().map(|at| image.values[*at].clone()).collect();
    let complete = !values.iter().any(|value| matches!(value, Value::Null));
    complete.then(|| Reference { table: Arc::clone(parent), columns, values })
}

/// The parent's key, where that is what is referenced.
fn by_key(reference: &Reference) -> Option<Key> {
    let Reference { table, columns, values } = reference;
    if columns.len() != table.key.len() {
        return None;
    }
    let value = |at: &usize| {
        let place = columns.iter().position(|column| column == at)?;
        values.get(place).cloned()
    };
    Key::encode(table.key.iter().map(value).collect::<Option<Vec<_>>>()?, table)
}

/// A row that is locked, or gone, is left to the child's next try.
fn put((table, key): Row, reading: Reading, epoch: u64) -> Option<Change> {
    let Reading::Present { image, lsn } = reading else { return None };
    let version = Version { epoch, counter: lsn, n: 0 };
    let effect = Effect::Put { key, image };
    Some(Change { table, operation: Operation::Insert, version, entry: None, effect })
}
