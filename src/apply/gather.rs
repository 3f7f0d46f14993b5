//! From claimed entries to what has to be done about each key, once.
//!
//! ```text
//! entries ──by key──▶ Task::Read    an insert or update among them, or an epoch of before
//!                                   (if the row is gone, a delete's tombstone has its own version)
//!                     Task::Empty   TRUNCATE
//!                     later         an epoch that is not ours yet
//! ```
//!
//! Invariant: every entry is in exactly one task, or among the unknown, or the later ones. Whoever may
//! write a captured table may also forge an entry: a delete is believed only once the row was seen to be
//! gone, and again after whoever was writing to the table then has ended; and no version is past the
//! log's end. So a forged entry causes its key to be read again, and no more.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::catalog::{Capture, Catalog, Table};
use crate::change::{Change, Effect, Key, KeyHash, Operation, Version};
use crate::names::TableId;
use crate::outbox::Entry;

/// What to do, and for which entries.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) table: Arc<Table>,
    /// Of the newest entry.
    pub(super) operation: Operation,
    pub(super) ids: Vec<i64>,
    pub(super) need: Need,
    /// It was absent once, and whoever might have been inserting it has ended.
    pub(super) waited: bool,
}

#[derive(Debug)]
pub(super) enum Need {
    /// Read the row; if it is gone and the newest entry is a delete, that is its version.
    Read {
        key: Key,
        gone_at: Option<Version>,
    },
    Empty {
        version: Version,
    },
}

/// Claimed entries, sorted out.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) tasks: Vec<Task>,
    /// Entries of tables that are not captured (any more), or that cannot be read.
    pub(super) unknown: Vec<i64>,
    /// Entries of an epoch that this sidecar has not heard of: carried under its own, their changes
    /// would be older than images that another sidecar still has, and settled.
    pub(super) later: Vec<i64>,
}

/// One key's entries, while they are collected.
struct Collected {
    table: Arc<Table>,
    key: Key,
    ids: Vec<i64>,
    newest: (Version, Operation),
    foreign_epoch: bool,
}

/// `log_end` is an LSN read after the entries were claimed.
pub(super) fn gather(entries: Vec<Entry>, catalog: &Catalog, epoch: u64, log_end: u64) -> Gathered {
    let mut gathered = Gathered::default();
    let mut keys: BTreeMap<(TableId, KeyHash), Collected> = BTreeMap::new();
    for mut entry in entries {
        entry.version.counter = entry.version.counter.min(log_end);
        if epoch < entry.version.epoch {
            gathered.later.push(entry.id.0);
            continue;
        }
        let Some(table) = captured(catalog, entry.table) else {
            gathered.unknown.push(entry.id.0);
            continue;
        };
        if entry.key.is_none() && entry.operation != Operation::Truncate {
            // Only a TRUNCATE has none, and only our own function writes one: this is forged.
            gathered.unknown.push(entry.id.0);
            continue;
        }
        let Some(raw) = entry.key else {
            let need = Need::Empty { version: entry.version };
            let (operation, ids) = (Operation::Truncate, vec![entry.id.0]);
            gathered.tasks.push(Task::new(Arc::clone(table), operation, ids, need));
            continue;
        };
        let Ok(key) = Key::decode(raw, table) else {
            gathered.unknown.push(entry.id.0);
            continue;
        };
        let newest = (entry.version, entry.operation);
        let collected = keys.entry((entry.table, key.hash)).or_insert_with(|| Collected {
            table: Arc::clone(table),
            key,
            ids: Vec::new(),
            newest,
            foreign_epoch: false,
        });
        collected.ids.push(entry.id.0);
        if collected.newest.0 <= entry.version {
            collected.newest = newest;
        }
        collected.foreign_epoch |= entry.version.epoch != epoch;
    }
    gathered.tasks.extend(keys.into_values().map(Collected::task));
    gathered
}

impl Collected {
    fn task(self) -> Task {
        let (version, operation) = self.newest;
        let gone_at = (operation == Operation::Delete && !self.foreign_epoch).then_some(version);
        let need = Need::Read { key: self.key, gone_at };
        Task::new(self.table, operation, self.ids, need)
    }
}

fn captured(catalog: &Catalog, id: TableId) -> Option<&Arc<Table>> {
    let table = catalog.by_id(id)?;
    let carried = matches!(table.capture, Capture::Returning | Capture::Trigger);
    (carried && !table.key.is_empty()).then_some(table)
}

impl Task {
    pub(super) fn new(table: Arc<Table>, operation: Operation, ids: Vec<i64>, need: Need) -> Self {
        Self { table, operation, ids, need, waited: false }
    }

    /// The change that makes a row be gone.
    pub(super) fn gone(&self, key: Key, version: Version) -> Change {
        self.change(version, Operation::Delete, Effect::Gone { key })
    }

    pub(super) fn change(&self, version: Version, operation: Operation, effect: Effect) -> Change {
        let table = Arc::clone(&self.table);
        Change { table, operation, version, entry: None, effect }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::EntryId;
    use bytes::Bytes;

    /// `record_send(ROW(id::int4))`.
    fn raw(id: i32) -> Bytes {
        let id = id.to_be_bytes();
        Bytes::from([&[0, 0, 0, 1, 0, 0, 0, 23, 0, 0, 0, 4][..], &id].concat())
    }

    fn entry(id: i64, key: i32, operation: Operation, epoch: u64) -> Entry {
        let version = Version { epoch, counter: id.unsigned_abs(), n: 0 };
        Entry { id: EntryId(id), table: TableId(1), operation, key: Some(raw(key)), version }
    }

    fn check(entries: Vec<Entry>, expected: &str) {
        let catalog = Catalog::for_test(&[("t", "id:int4*")]);
        let gathered = gather(entries, &catalog, 1, 1_000);
        let mut lines: Vec<String> = gathered
            .tasks
            .into_iter()
            .map(|task| {
                let need = match task.need {
                    Need::Read { gone_at, .. } => {
                        format!("read, gone at {:?}", gone_at.map(|version| version.counter))
                    }
                    Need::Empty { .. } => "empty".to_owned(),
                };
                format!("{:?}: {need}", task.ids)
            })
            .collect();
        lines.sort();
        lines.extend(gathered.unknown.iter().map(|id| format!("unknown {id}")));
        lines.extend(gathered.later.iter().map(|id| format!("later {id}")));
        assert_eq!(lines.join("; "), expected);
    }

    #[test]
    fn many_entries_of_a_key_are_one_task() {
        use Operation::{Delete, Insert, Update};
        check(vec![entry(1, 7, Insert, 1), entry(2, 7, Update, 1)], "[1, 2]: read, gone at None");
        check(vec![entry(1, 7, Delete, 1)], "[1]: read, gone at Some(1)");
        check(
            vec![entry(1, 7, Insert, 1), entry(2, 7, Delete, 1)],
            "[1, 2]: read, gone at Some(2)",
        );
        check(vec![entry(1, 7, Delete, 1), entry(2, 7, Insert, 1)], "[1, 2]: read, gone at None");
    }

    #[test]
    fn no_version_is_past_the_end_of_the_log() {
        check(vec![entry(5_000, 7, Operation::Delete, 1)], "[5000]: read, gone at Some(1000)");
    }

    #[test]
    fn a_delete_of_another_epoch_has_no_version_to_go_by() {
        check(vec![entry(1, 7, Operation::Delete, 0)], "[1]: read, gone at None");
    }

    #[test]
    fn entries_of_an_epoch_not_heard_of_are_left_alone() {
        use Operation::{Insert, Update};
        check(
            vec![entry(1, 7, Insert, 1), entry(2, 7, Update, 2)],
            "[1]: read, gone at None; later 2",
        );
    }

    #[test]
    fn what_cannot_be_read_is_named_and_not_dropped() {
        let mut stray = entry(1, 7, Operation::Update, 1);
        stray.table = TableId(99);
        let mut cut = entry(2, 7, Operation::Update, 1);
        cut.key = Some(raw(7).slice(..9));
        // Only a TRUNCATE stands for a whole table.
        let mut keyless = entry(3, 7, Operation::Delete, 1);
        keyless.key = None;
        check(vec![stray, cut, keyless], "unknown 1; unknown 2; unknown 3");
    }
}
