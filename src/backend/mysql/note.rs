//! What notes a write on MySQL as the primary, as text: numbers, hashes and keys in hexadecimal, so that
//! several statements go at once, the COMMIT among them.
//!
//! ```text
//! [`stand`]: epoch and tables' own entries, shared ─▶ the write ─▶ [`raise`], [`append`] ─▶ COMMIT
//! ```
//!
//! Invariant: nothing of a client's is in these texts but the bytes of keys, each as `x'…'`.

use crate::change::{Key, KeyHash, Operation};
use crate::names::TableId;

use super::lock::{hex, literal};

/// Reads and locks (shared) the epoch, negative where nothing follows any more, and of each table its
/// own entry's counter: 0 where nothing has emptied it in this epoch. A row for each table that has an
/// entry, at least one: `(epoch, table or NULL, counter or NULL)`.
#[must_use]
pub fn stand(tables: &[TableId], epoch: u64) -> String {
    let own = "LEFT JOIN `crossfade_state` c ON c.`id` = 3 AND c.`epoch` = s.`epoch`";
    let signed = "IF(c.`id` IS NULL, 1, -1) * CAST(s.`epoch` AS SIGNED)";
    let end = "WHERE s.`id` = 1 LOCK IN SHARE MODE";
    if tables.is_empty() {
        return format!("SELECT {signed}, NULL, NULL FROM `crossfade_state` s {own} {end}");
    }
    let ids: Vec<String> = tables.iter().map(ToString::to_string).collect();
    format!(
        "SELECT {signed}, f.`table_id`, IF(f.`epoch` = {epoch}, CAST(f.`counter` AS SIGNED), 0) \
         FROM `crossfade_state` s {own} \
         LEFT JOIN `crossfade_fence` f FORCE INDEX (PRIMARY) \
         ON f.`table_id` IN ({}) AND f.`key_hash` = {} {end}",
        ids.join(", "),
        literal(KeyHash::TABLE)
    )
}

/// Raises entries by one, above `base`.
#[must_use]
pub fn raise(table: TableId, epoch: u64, base: i64, hashes: &[KeyHash], deleted: bool) -> String {
    let deleted = u8::from(deleted);
    let row = |hash: &KeyHash| {
        format!("({table}, {}, {epoch}, {base} + 1, 0, {deleted})", literal(*hash))
    };
    let rows: Vec<String> = hashes.iter().map(row).collect();
    // Addressed by its only key, so the clause cannot meet another row.
    format!(
        "INSERT INTO `crossfade_fence` (`table_id`, `key_hash`, `epoch`, `counter`, `n`, `deleted`) \
         VALUES {} ON DUPLICATE KEY UPDATE \
         `counter` = GREATEST(IF(`epoch` = VALUES(`epoch`), `counter`, 0), {base}) + 1, \
         `epoch` = VALUES(`epoch`), `n` = 0, `deleted` = VALUES(`deleted`), \
         `at` = CURRENT_TIMESTAMP(6)",
        rows.join(", ")
    )
}

/// Appends keys to the outbox, with the counters that were just raised: without one the column refuses.
/// Without a key it is the table.
#[must_use]
pub fn append(table: TableId, epoch: u64, operation: Operation, keys: &[Option<&Key>]) -> String {
    let letter = operation.letter();
    // Each key goes straight into its column: a union of several would take them for text of the
    // connection's character set, and put question marks for what is none.
    let row = |key: &Option<&Key>| {
        let hash = literal(key.map_or(KeyHash::TABLE, |key| key.hash));
        let raw = key.map_or("NULL".to_owned(), |key| hex(&key.raw));
        format!(
            "({table}, '{letter}', {raw}, {epoch}, (SELECT `counter` FROM `crossfade_fence` \
             WHERE `table_id` = {table} AND `key_hash` = {hash}), 0)"
        )
    };
    let rows: Vec<String> = keys.iter().map(row).collect();
    format!(
        "INSERT INTO `crossfade_outbox` (`table_id`, `op`, `key`, `epoch`, `counter`, `n`) VALUES {}",
        rows.join(", ")
    )
}
