//! The fence on the wire: locked and read in one round trip, written in another.
//!
//! ```text
//! BEGIN; epoch row, each table's fence and floor (share); the rows' entries, in key order (update)
//!        ──▶ [`Fence`] ──plan──▶ rows ──▶ entries that moved; COMMIT
//! ```
//!
//! These statements hold numbers and hashes only, so they are sent as text, several at once: a round
//! trip costs more than parsing them.
//!
//! Invariant: everyone locks in this order, so that writers wait for one another and seldom die of it.
//! An entry that is not there cannot be locked: it is inserted plainly, and a duplicate says that
//! another writer was faster.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use mysql_async::Row;
use mysql_async::prelude::Queryable as _;

use super::connect::Link;
use super::error::WriteError;
use super::fence::{Entry, Fence, Place, TableFence};
use crate::change::{Change, Effect, KeyHash, Version};
use crate::names::TableId;
use crate::value::Flavor;

/// Hashes or entries of one statement; some 40 and 80 bytes of text each.
const ENTRIES_AT_ONCE: usize = 2000;

/// `epoch` of the state, then table, fence and floor; all but the first missing where unregistered.
type TableRow = (
    u64,
    Option<i32>,
    Option<u64>,
    Option<u64>,
    Option<u32>,
    Option<u64>,
    Option<u64>,
    Option<u32>,
);
type EntryRow = (Vec<u8>, u64, u64, u32, i8);

/// Begins a transaction, locks what the batch depends on, and reads it.
pub(super) async fn begin(
    link: &mut Link,
    batch: &[&[Change]],
    epoch: u64,
) -> Result<Fence, WriteError> {
    let tables = tables(batch);
    let emptied: Vec<TableId> =
        tables.iter().filter(|(_, emptied)| **emptied).map(|(id, _)| *id).collect();
    let keys = keys(batch);
    let parts: Vec<(TableId, &[KeyHash])> = keys
        .iter()
        .flat_map(|(table, hashes)| hashes.chunks(ENTRIES_AT_ONCE).map(|part| (*table, part)))
        .collect();
    let mut fence = Fence::default();
    let (first, rest) = parts.split_at(parts.len().min(1));
    let mut texts = vec![begin_text(&emptied), tables_text(tables.keys())];
    texts.extend(first.iter().map(|(table, part)| entries_text(*table, part)));
    let mut result = link.conn().query_iter(texts.join("; ")).await?;
    for _ in 0..=emptied.len() {
        let _locked: Vec<Row> = result.collect().await?;
    }
    let found: Vec<TableRow> = result.collect().await?;
    for (table, _) in first {
        read_entries(*table, result.collect().await?, &mut fence)?;
    }
    result.drop_result().await?;
    read_tables(found, epoch, &mut fence)?;
    for (table, part) in rest {
        let rows = link.conn().query(entries_text(*table, part)).await?;
        read_entries(*table, rows, &mut fence)?;
    }
    if tables.keys().all(|id| fence.tables.contains_key(id)) {
        Ok(fence)
    } else {
        Err(WriteError::NotSetUp)
    }
}

/// Writes the entries that moved; the last of the text may be a COMMIT.
pub(super) async fn write(link: &mut Link, fence: &Fence, commit: bool) -> Result<(), WriteError> {
    let mut moved: Vec<_> = fence.entries.iter().filter(|(_, entry)| entry.moved).collect();
    moved.sort_unstable_by_key(|(place, _)| **place);
    let (stored, new): (Vec<_>, Vec<_>) = moved.into_iter().partition(|(_, entry)| entry.stored);
    let tail = update_clause(link.flavor());
    let mut texts: Vec<String> = Vec::new();
    for (list, tail) in [(stored, tail), (new, "")] {
        texts.extend(list.chunks(ENTRIES_AT_ONCE).map(|part| values_text(part) + tail));
    }
    // The first ones alone, so that no text is large; the last goes with the COMMIT.
    let last = texts.pop();
    for text in texts {
        link.conn().query_drop(text).await.map_err(race)?;
    }
    let parts = [last.as_deref(), commit.then_some("COMMIT")];
    let text = parts.into_iter().flatten().collect::<Vec<_>>().join("; ");
    match text.is_empty() {
        true => Ok(()),
        false => link.conn().query_drop(text).await.map_err(race),
    }
}

/// The tables of a batch; true where it empties one.
pub(super) fn tables(batch: &[&[Change]]) -> BTreeMap<TableId, bool> {
    let mut tables = BTreeMap::new();
    for change in batch.iter().copied().flatten() {
        if let Some(id) = change.table.id {
            *tables.entry(id).or_default() |= matches!(change.effect, Effect::Empty);
        }
    }
    tables
}

fn keys(batch: &[&[Change]]) -> BTreeMap<TableId, Vec<KeyHash>> {
    let mut keys: BTreeMap<TableId, BTreeSet<KeyHash>> = BTreeMap::new();
    for change in batch.iter().copied().flatten() {
        let Some(id) = change.table.id else { continue };
        keys.entry(id).or_default().extend(change.keys().map(|key| key.hash));
    }
    let keys = keys.into_iter().filter(|(_, hashes)| !hashes.is_empty());
    keys.map(|(id, hashes)| (id, hashes.into_iter().collect())).collect()
}

/// TRUNCATE waits for all who apply to these tables, and they for it.
fn begin_text(emptied: &[TableId]) -> String {
    let mut text = "BEGIN".to_owned();
    for table in emptied {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "; SELECT `n` FROM `crossfade_fence` FORCE INDEX (PRIMARY) \
             WHERE `table_id` = {table} AND `key_hash` = {} FOR UPDATE",
            literal(KeyHash::TABLE)
        );
    }
    text
}

fn tables_text<'a>(tables: impl Iterator<Item = &'a TableId>) -> String {
    let ids: Vec<String> = tables.map(ToString::to_string).collect();
    format!(
        "SELECT s.`epoch`, f.`table_id`, f.`epoch`, f.`counter`, f.`n`, \
         o.`epoch`, o.`counter`, o.`n` \
         FROM `crossfade_state` s \
         LEFT JOIN `crossfade_fence` f FORCE INDEX (PRIMARY) \
         ON f.`table_id` IN ({}) AND f.`key_hash` = {} \
         LEFT JOIN `crossfade_floor` o FORCE INDEX (PRIMARY) ON o.`table_id` = f.`table_id` \
         WHERE s.`id` = 1 LOCK IN SHARE MODE",
        ids.join(", "),
        literal(KeyHash::TABLE)
    )
}

/// Waits until every transaction that has one of the table's fence entries in use has ended.
pub(super) fn barrier(table: TableId) -> String {
    begin_text(&[table]) + "; COMMIT"
}

/// One table's entry and floor, locked (share) with the epoch until the transaction ends.
pub(super) async fn table(
    link: &mut Link,
    table: TableId,
    epoch: u64,
) -> Result<TableFence, WriteError> {
    let found: Vec<TableRow> = link.conn().query(tables_text([table].iter())).await?;
    let mut fence = Fence::default();
    read_tables(found, epoch, &mut fence)?;
    fence.tables.remove(&table).ok_or(WriteError::NotSetUp)
}

fn read_tables(rows: Vec<TableRow>, epoch: u64, fence: &mut Fence) -> Result<(), WriteError> {
    let found = rows.first().ok_or(WriteError::NotSetUp)?.0;
    if found != epoch {
        return Err(WriteError::Epoch { expected: epoch, found });
    }
    for row in rows {
        let (_, Some(id), Some(e), Some(c), Some(n), Some(fe), Some(fc), Some(fnn)) = row else {
            return Err(WriteError::NotSetUp);
        };
        let emptied = Version { epoch: e, counter: c, n };
        let floor = Version { epoch: fe, counter: fc, n: fnn };
        fence.tables.insert(TableId(id), TableFence { emptied, floor });
    }
    Ok(())
}

fn entries_text(table: TableId, hashes: &[KeyHash]) -> String {
    let list: Vec<String> = hashes.iter().map(|hash| literal(*hash)).collect();
    format!(
        "SELECT `key_hash`, `epoch`, `counter`, `n`, `deleted` \
         FROM `crossfade_fence` FORCE INDEX (PRIMARY) \
         WHERE `table_id` = {table} AND `key_hash` IN ({}) ORDER BY `key_hash` FOR UPDATE",
        list.join(", ")
    )
}

fn read_entries(table: TableId, rows: Vec<EntryRow>, fence: &mut Fence) -> Result<(), WriteError> {
    for (hash, epoch, counter, n, deleted) in rows {
        let Ok(hash) = <[u8; 16]>::try_from(hash) else { return Err(WriteError::NotSetUp) };
        let version = Version { epoch, counter, n };
        let entry = Entry { version, deleted: deleted != 0, stored: true, moved: false };
        fence.entries.insert((table, KeyHash(hash)), entry);
    }
    Ok(())
}

fn values_text(entries: &[(&Place, &Entry)]) -> String {
    let row = |((table, hash), entry): &(&Place, &Entry)| {
        let Version { epoch, counter, n } = entry.version;
        let (hash, deleted) = (literal(*hash), u8::from(entry.deleted));
        format!("({table}, {hash}, {epoch}, {counter}, {n}, {deleted})")
    };
    let rows: Vec<String> = entries.iter().map(row).collect();
    format!(
        "INSERT INTO `crossfade_fence` \
         (`table_id`, `key_hash`, `epoch`, `counter`, `n`, `deleted`) VALUES {}",
        rows.join(", ")
    )
}

fn update_clause(flavor: Flavor) -> &'static str {
    match flavor {
        Flavor::MariaDb => {
            " ON DUPLICATE KEY UPDATE `epoch` = VALUES(`epoch`), \
             `counter` = VALUES(`counter`), `n` = VALUES(`n`), \
             `deleted` = VALUES(`deleted`), `at` = CURRENT_TIMESTAMP(6)"
        }
        Flavor::MySql => {
            " AS v ON DUPLICATE KEY UPDATE `epoch` = v.`epoch`, `counter` = v.`counter`, \
             `n` = v.`n`, `deleted` = v.`deleted`, `at` = CURRENT_TIMESTAMP(6)"
        }
    }
}

/// `x'…'`.
pub(super) fn literal(hash: KeyHash) -> String {
    format!("x'{:032x}'", u128::from_be_bytes(hash.0))
}

/// Bytes as SQL has them.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("x'{digits}'")
}

/// A duplicate in the fence itself is a race, not a clash of the user's values.
fn race(error: mysql_async::Error) -> WriteError {
    match WriteError::from(error) {
        WriteError::Server { code: 1062, .. } => WriteError::Race,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_written_with_all_its_digits() {
        assert_eq!(literal(KeyHash([0; 16])), format!("x'{}'", "0".repeat(32)));
        let mut hash = [0; 16];
        (hash[1], hash[15]) = (0xA0, 1);
        assert_eq!(literal(KeyHash(hash)), "x'00a00000000000000000000000000001'");
    }
}
