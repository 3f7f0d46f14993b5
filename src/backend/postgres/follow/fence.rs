//! The fence on PostgreSQL: locked and read in one round trip, written in another.
//!
//! ```text
//! BEGIN; lock of the epoch (shared), epoch; each table's fence and floor (share); the rows' entries,
//!        in key order (update) ──▶ [`Fence`] ──plan──▶ rows ──▶ entries that moved; COMMIT
//! ```
//!
//! Invariant: everyone locks in this order. An entry that is not there cannot be locked: it is inserted
//! plainly, and a duplicate says that another writer was faster.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow};

use super::Follower;
use crate::backend::mysql::{Fence, FenceEntry, Place, TableFence, WriteError};
use crate::backend::postgres::control::{LOCK_CLASS, LOCK_KEY};
use crate::backend::postgres::moved::Moved;
use crate::change::{Change, Effect, KeyHash, Version};
use crate::names::TableId;

/// Hashes or entries of one statement; some 40 and 90 bytes of text each.
const ENTRIES_AT_ONCE: usize = 2000;
/// COMMIT of a transaction that has failed answers ROLLBACK and calls it a success; a SELECT does not.
pub(super) const COMMIT: &str = "SELECT 1; COMMIT";
const INSERT: &str =
    "INSERT INTO crossfade.fence (table_id, key_hash, epoch, counter, n, deleted) VALUES ";
const MOVE: &str = " ON CONFLICT (table_id, key_hash) DO UPDATE SET epoch = excluded.epoch, \
     counter = excluded.counter, n = excluded.n, deleted = excluded.deleted, \
     at = pg_catalog.clock_timestamp()";

/// Begins a transaction, locks what the batch depends on, and reads it.
pub(super) async fn begin(
    link: &mut Follower,
    batch: &[&[Change]],
    epoch: u64,
) -> Result<Fence, WriteError> {
    let (tables, keys) = places(batch);
    let parts: Vec<(TableId, &[KeyHash])> = keys
        .iter()
        .flat_map(|(table, hashes)| hashes.chunks(ENTRIES_AT_ONCE).map(|part| (*table, part)))
        .collect();
    let (first, rest) = parts.split_at(parts.len().min(1));
    let emptied: Vec<TableId> =
        tables.iter().filter(|(_, emptied)| **emptied).map(|(id, _)| *id).collect();
    let mut text = begin_text(&emptied) + &tables_text(tables.keys());
    text.extend(first.iter().map(|(table, part)| format!("; {}", entries_text(*table, part))));
    let mut fence = Fence::default();
    // The answers: BEGIN, the lock, the epoch, each emptied table's lock, the tables, the first entries.
    let mut answers = answers(link, &text).await?.into_iter().skip(2);
    check_epoch(&answers.next().unwrap_or_default(), epoch, tables.keys().copied())?;
    let mut answers = answers.skip(emptied.len());
    read_tables(&answers.next().unwrap_or_default(), &mut fence)?;
    for (table, _) in first {
        read_entries(*table, &answers.next().unwrap_or_default(), &mut fence)?;
    }
    for (table, part) in rest {
        let found = self::answers(link, &entries_text(*table, part)).await?;
        read_entries(*table, &found.into_iter().next().unwrap_or_default(), &mut fence)?;
    }
    match tables.keys().all(|id| fence.tables.contains_key(id)) {
        true => Ok(fence),
        false => Err(WriteError::NotSetUp),
    }
}

/// Writes the entries that moved; the last of the text may be a COMMIT.
pub(super) async fn write(
    link: &mut Follower,
    fence: &Fence,
    commit: bool,
) -> Result<(), WriteError> {
    let mut moved: Vec<_> = fence.entries.iter().filter(|(_, entry)| entry.moved).collect();
    moved.sort_unstable_by_key(|(place, _)| **place);
    let (stored, new): (Vec<_>, Vec<_>) = moved.into_iter().partition(|(_, entry)| entry.stored);
    let mut texts: Vec<String> = Vec::new();
    for (list, tail) in [(stored, MOVE), (new, "")] {
        texts.extend(list.chunks(ENTRIES_AT_ONCE).map(|part| values_text(part) + tail));
    }
    texts.extend(commit.then(|| COMMIT.to_owned()));
    // The first ones alone, so that no text is large; the last goes with the COMMIT.
    let last = texts.split_off(texts.len().saturating_sub(2));
    for text in texts.into_iter().chain([last.join("; ")]).filter(|text| !text.is_empty()) {
        link.plain(&text).await.map_err(race)?;
    }
    Ok(())
}

/// Gives a table its entry 0, and its floor.
pub(super) async fn register(link: &mut Follower, table: TableId) -> Result<(), WriteError> {
    let sql = format!(
        "{INSERT}({table}, {}, 0, 0, 0, false) ON CONFLICT DO NOTHING; \
         INSERT INTO crossfade.floor VALUES ({table}, 0, 0, 0) ON CONFLICT DO NOTHING",
        literal(KeyHash::TABLE)
    );
    link.plain(&sql).await
}

/// The epoch, whoever's turn it is; `None` where nothing is set up.
pub(super) async fn epoch(link: &mut Follower) -> Result<Option<u64>, WriteError> {
    let there = "SELECT pg_catalog.to_regclass('crossfade.epoch') IS NOT NULL \
         AND pg_catalog.to_regclass('crossfade.fence') IS NOT NULL";
    if !link.client.query_one(there, &[]).await?.try_get::<_, bool>(0)? {
        return Ok(None);
    }
    let turn: i64 =
        link.client.query_one("SELECT last_value FROM crossfade.epoch", &[]).await?.try_get(0)?;
    Ok(Some(turn.unsigned_abs() / 2))
}

/// The tables of a batch, true where it empties one; and the keys of each, in order.
fn places(batch: &[&[Change]]) -> (BTreeMap<TableId, bool>, BTreeMap<TableId, Vec<KeyHash>>) {
    let mut tables: BTreeMap<TableId, bool> = BTreeMap::new();
    let mut keys: BTreeMap<TableId, BTreeSet<KeyHash>> = BTreeMap::new();
    for change in batch.iter().copied().flatten() {
        let Some(id) = change.table.id else { continue };
        *tables.entry(id).or_default() |= matches!(change.effect, Effect::Empty);
        keys.entry(id).or_default().extend(change.keys().map(|key| key.hash));
    }
    let keys = keys.into_iter().filter(|(_, hashes)| !hashes.is_empty());
    (tables, keys.map(|(id, hashes)| (id, hashes.into_iter().collect())).collect())
}

/// TRUNCATE waits for all who apply to these tables, and they for it.
fn begin_text(emptied: &[TableId]) -> String {
    let mut text = format!(
        "BEGIN; SELECT pg_catalog.pg_advisory_xact_lock_shared({LOCK_CLASS}, {LOCK_KEY}); \
         SELECT last_value, (SELECT s.value FROM crossfade.settings s WHERE s.key = 'moved') \
         FROM crossfade.epoch; "
    );
    for table in emptied {
        text += &format!(
            "SELECT n FROM crossfade.fence WHERE table_id = {table} AND key_hash = {} FOR UPDATE; ",
            literal(KeyHash::TABLE)
        );
    }
    text
}

fn tables_text<'a>(tables: impl Iterator<Item = &'a TableId>) -> String {
    let ids: Vec<String> = tables.map(ToString::to_string).collect();
    format!(
        "SELECT f.table_id, f.epoch, f.counter, f.n, o.epoch, o.counter, o.n \
         FROM crossfade.fence f JOIN crossfade.floor o USING (table_id) \
         WHERE f.table_id IN ({}) AND f.key_hash = {} ORDER BY f.table_id FOR SHARE",
        ids.join(", "),
        literal(KeyHash::TABLE)
    )
}

fn entries_text(table: TableId, hashes: &[KeyHash]) -> String {
    let list: Vec<String> = hashes.iter().map(|hash| literal(*hash)).collect();
    format!(
        "SELECT key_hash, epoch, counter, n, deleted FROM crossfade.fence \
         WHERE table_id = {table} AND key_hash IN ({}) ORDER BY key_hash FOR UPDATE",
        list.join(", ")
    )
}

fn values_text(entries: &[(&Place, &FenceEntry)]) -> String {
    let row = |((table, hash), entry): &(&Place, &FenceEntry)| {
        let Version { epoch, counter, n } = entry.version;
        format!("({table}, {}, {epoch}, {counter}, {n}, {})", literal(*hash), entry.deleted)
    };
    let rows: Vec<String> = entries.iter().map(row).collect();
    format!("{INSERT}{}", rows.join(", "))
}

/// The rows of each statement of a text.
async fn answers(link: &Follower, text: &str) -> Result<Vec<Vec<SimpleQueryRow>>, WriteError> {
    let (mut answers, mut open) = (Vec::new(), Vec::new());
    for message in link.client.simple_query(text).await? {
        match message {
            SimpleQueryMessage::Row(row) => open.push(row),
            SimpleQueryMessage::CommandComplete(_) => answers.push(std::mem::take(&mut open)),
            _ => {}
        }
    }
    Ok(answers)
}

/// Twice the epoch, and one more: it is MySQL's turn. Or it leads these tables by themselves.
fn check_epoch(
    rows: &[SimpleQueryRow],
    epoch: u64,
    tables: impl Iterator<Item = TableId>,
) -> Result<(), WriteError> {
    let row = rows.first().ok_or(WriteError::NotSetUp)?;
    let turn: u64 = number(row, 0).ok_or(WriteError::NotSetUp)?;
    let moved = row.get(1).map(Moved::parse).unwrap_or_default();
    let leads_them = || tables.into_iter().all(|table| moved.at(epoch).contains(&table));
    match turn == epoch * 2 + 1 || turn == epoch * 2 && leads_them() {
        true => Ok(()),
        false => Err(WriteError::Epoch { expected: epoch, found: turn / 2 }),
    }
}

fn read_tables(rows: &[SimpleQueryRow], fence: &mut Fence) -> Result<(), WriteError> {
    for row in rows {
        let id = number(row, 0).ok_or(WriteError::NotSetUp)?;
        let table = version(row, 1).zip(version(row, 4));
        let (emptied, floor) = table.ok_or(WriteError::NotSetUp)?;
        fence.tables.insert(TableId(id), TableFence { emptied, floor });
    }
    Ok(())
}

fn read_entries(
    table: TableId,
    rows: &[SimpleQueryRow],
    fence: &mut Fence,
) -> Result<(), WriteError> {
    for row in rows {
        let hash = row.get(0).and_then(|text| text.strip_prefix("\\x"));
        let hash = hash.and_then(|digits| u128::from_str_radix(digits, 16).ok());
        let (hash, version) = hash.zip(version(row, 1)).ok_or(WriteError::NotSetUp)?;
        let deleted = row.get(4) == Some("t");
        let entry = FenceEntry { version, deleted, stored: true, moved: false };
        fence.entries.insert((table, KeyHash(hash.to_be_bytes())), entry);
    }
    Ok(())
}

/// Three columns from `first` on.
fn version(row: &SimpleQueryRow, first: usize) -> Option<Version> {
    let epoch = number(row, first)?;
    Some(Version { epoch, counter: number(row, first + 1)?, n: number(row, first + 2)? })
}

fn number<T: std::str::FromStr>(row: &SimpleQueryRow, at: usize) -> Option<T> {
    row.get(at)?.parse().ok()
}

/// `'\x…'::bytea`
pub(super) fn literal(hash: KeyHash) -> String {
    format!("'\\x{:032x}'::pg_catalog.bytea", u128::from_be_bytes(hash.0))
}

/// A duplicate in the fence itself is a race, not a clash of the user's values.
fn race(error: WriteError) -> WriteError {
    match error {
        WriteError::Postgres { state } if state == "23505" => WriteError::Race,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_written_with_all_its_digits() {
        let zeros = "0".repeat(32);
        assert_eq!(literal(KeyHash([0; 16])), format!("'\\x{zeros}'::pg_catalog.bytea"));
        let mut hash = [0; 16];
        (hash[1], hash[15]) = (0xA0, 1);
        let digits = "00a00000000000000000000000000001";
        assert_eq!(literal(KeyHash(hash)), format!("'\\x{digits}'::pg_catalog.bytea"));
    }
}
