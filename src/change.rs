//! What a write did: keys, row images, and the transaction they belong to.
//!
//! ```text
//! capture ──Transaction──▶ apply          outbox re-read ──Change──▶ apply
//! ```
//!
//! Invariant: a [`Transaction`] holds only what the primary has committed (or, for `strict`, what it
//! has executed and the session is about to commit), in statement order.

mod decode;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::catalog::{Capture as Means, Table};
use crate::names::{EntryId, TableName};
use crate::policy::Mode;
use crate::value::Value;

pub use decode::decode_row;

/// Says which of two images of one row is newer: compared field by field, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version {
    /// Grows with each switchover, rollback and change of the primary's identity.
    pub epoch: u64,
    /// The LSN in bytes, with PostgreSQL as primary.
    pub counter: u64,
    /// The statement's number within its transaction.
    pub n: u32,
}

/// First 128 bits of SHA-256 over a key's canonical form; names the row in the fence.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyHash(pub [u8; 16]);

impl KeyHash {
    /// The table itself: its entry in the fence is raised by TRUNCATE. No key hashes to it in practice.
    pub const TABLE: Self = Self([0; 16]);
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash")
    }
}

/// A primary key's values, in the order of [`Table::key`].
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    pub values: Vec<Value>,
    pub hash: KeyHash,
    /// `record_send(ROW(key columns))`, as the outbox keeps it.
    pub raw: Bytes,
}

impl Key {
    /// The key for a person who asked to see it: its text, or a JSON array of several columns' texts.
    #[must_use]
    pub fn show(&self) -> String {
        match &self.values[..] {
            [value] => value.show(),
            values => serde_json::Value::from_iter(values.iter().map(Value::show)).to_string(),
        }
    }
}

/// A whole row, one value for each of [`Table::columns`], in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct RowImage {
    pub values: Vec<Value>,
}

/// The kind of write, as metrics name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    Insert,
    Update,
    Delete,
    Truncate,
}

impl Operation {
    pub const ALL: [Self; 4] = [Self::Insert, Self::Update, Self::Delete, Self::Truncate];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Truncate => "truncate",
        }
    }

    /// The letter kept in `crossfade.outbox.op`.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Self::Insert => 'I',
            Self::Update => 'U',
            Self::Delete => 'D',
            Self::Truncate => 'T',
        }
    }

    #[must_use]
    pub fn from_letter(letter: char) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.letter() == letter)
    }
}

/// One row's (or, for TRUNCATE, one table's) change.
#[derive(Clone, Debug)]
pub struct Change {
    pub table: Arc<Table>,
    pub operation: Operation,
    pub version: Version,
    /// The outbox entry that stands for this change; settled once the secondary has it.
    pub entry: Option<EntryId>,
    pub effect: Effect,
}

/// What the secondary has to look like afterwards.
#[derive(Clone, Debug)]
pub enum Effect {
    /// The row is there with exactly this image.
    Put { key: Key, image: RowImage },
    /// The row moved from one key to another: two fence entries, one UPDATE.
    Move { old: Key, new: Key, image: RowImage },
    /// The row is gone; the fence keeps a tombstone.
    Gone { key: Key },
    /// Every row is gone; the fence is raised for the whole table.
    Empty,
}

impl Change {
    /// The keys this change touches: none for TRUNCATE, two for a move.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        let (first, second) = match &self.effect {
            Effect::Put { key, .. } | Effect::Gone { key } => (Some(key), None),
            Effect::Move { old, new, .. } => (Some(old), Some(new)),
            Effect::Empty => (None, None),
        };
        first.into_iter().chain(second)
    }

    /// Memory this change holds, in bytes, near enough to bound a queue with.
    #[must_use]
    pub fn size(&self) -> usize {
        let image = match &self.effect {
            Effect::Put { image, .. } | Effect::Move { image, .. } => image.size(),
            Effect::Gone { .. } | Effect::Empty => 0,
        };
        size_of::<Self>() + image + self.keys().map(|key| key.raw.len() * 2 + 64).sum::<usize>()
    }
}

impl RowImage {
    /// Memory held, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.values.iter().map(Value::size).sum()
    }
}

/// What one client transaction did to captured tables, in statement order.
#[derive(Debug)]
pub struct Transaction {
    pub changes: Vec<Change>,
    /// The strictest of the tables' modes.
    pub mode: Mode,
    /// Longest wait for the secondary, of the strictest table.
    pub timeout: Duration,
}

impl Transaction {
    /// Tables with `outbox: false` among those written: their images are all there is.
    #[must_use]
    pub fn loose(&self) -> Vec<TableName> {
        let loose = |change: &&Change| {
            let table = &change.table;
            change.entry.is_none() && !table.policy.outbox && table.capture == Means::Returning
        };
        let mut names: Vec<TableName> =
            self.changes.iter().filter(loose).map(|change| change.table.name.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Memory held, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.changes.iter().map(Change::size).sum()
    }
}
