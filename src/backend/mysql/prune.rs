//! Forgets fence entries that nothing can still be older than.
//!
//! ```text
//! entries of a table, in key order, a batch a transaction:
//!     floor locked ─▶ entries below the bound deleted, floor raised to the highest of them
//! ```
//!
//! Invariant: the floor is never below a version that was forgotten, and writers hold the floor in
//! share mode; so an image at or below it, without an entry of its own, is known to be too old to
//! judge, and is read again.
//!
//! Not here: the bound. Whoever calls knows what is still under way (`outbox`); only what the copying of
//! the table's old rows still needs ([`super::progress`]) is looked up here.

use mysql_async::prelude::Queryable as _;
use mysql_async::{Params, Value as Param};

use super::connect::Link;
use super::error::WriteError;
use super::progress;
use crate::change::{KeyHash, Version};
use crate::names::TableId;

/// Entries looked at in one transaction.
const BATCH_ROWS: usize = 1000;

/// How far a pass has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pruned {
    /// Entries deleted by this batch.
    pub entries: usize,
    /// Where the next batch begins; `None` at the end of the table.
    pub next: Option<KeyHash>,
}

/// Deletes the entries below `bound` among the next batch after `from`. Entry 0, the table's own, stays.
pub async fn prune(
    link: &mut Link,
    table: TableId,
    bound: Version,
    from: KeyHash,
) -> Result<Pruned, WriteError> {
    link.conn().query_drop("BEGIN").await?;
    let result = batch(link, table, bound, from).await;
    let end = if result.is_ok() { "COMMIT" } else { "ROLLBACK" };
    link.conn().query_drop(end).await?;
    result
}

async fn batch(
    link: &mut Link,
    table: TableId,
    bound: Version,
    from: KeyHash,
) -> Result<Pruned, WriteError> {
    let sql =
        "SELECT `epoch`, `counter`, `n` FROM `crossfade_floor` WHERE `table_id` = ? FOR UPDATE";
    let floor: Option<(u64, u64, u32)> = link.conn().exec_first(sql, (table.0,)).await?;
    // With the floor locked, no copying of the table can begin or move its bound back.
    let held = progress::bound(link, table).await?;
    let bound = held.map_or(bound, |held| held.min(bound));
    let (epoch, counter, n) = floor.ok_or(WriteError::NotSetUp)?;
    let sql = format!(
        "SELECT `key_hash`, `epoch`, `counter`, `n` FROM `crossfade_fence` FORCE INDEX (PRIMARY) \
         WHERE `table_id` = ? AND `key_hash` > ? ORDER BY `key_hash` LIMIT {BATCH_ROWS} FOR UPDATE"
    );
    let rows: Vec<(Vec<u8>, u64, u64, u32)> = link.conn().exec(sql, (table.0, &from.0[..])).await?;
    let last = rows.last().and_then(|(hash, ..)| <[u8; 16]>::try_from(&hash[..]).ok());
    let next = last.filter(|_| rows.len() == BATCH_ROWS).map(KeyHash);
    let version = |epoch, counter, n| Version { epoch, counter, n };
    let old: Vec<_> = rows.into_iter().filter(|(_, e, c, n)| version(*e, *c, *n) < bound).collect();
    let highest = old.iter().map(|(_, e, c, n)| version(*e, *c, *n)).max();
    if let Some(highest) = highest {
        let floor = highest.max(version(epoch, counter, n));
        let sql =
            "UPDATE `crossfade_floor` SET `epoch` = ?, `counter` = ?, `n` = ? WHERE `table_id` = ?";
        link.conn().exec_drop(sql, (floor.epoch, floor.counter, floor.n, table.0)).await?;
        let places = vec!["?"; old.len()].join(", ");
        let sql = format!(
            "DELETE FROM `crossfade_fence` WHERE `table_id` = ? AND `key_hash` IN ({places})"
        );
        let params = std::iter::once(Param::Int(table.0.into()))
            .chain(old.iter().map(|(hash, ..)| Param::Bytes(hash.clone())));
        // Its text differs with the number of entries: not worth a place among the prepared ones.
        let statement = link.conn().prep(sql).await?;
        let params = Params::Positional(params.collect());
        link.conn().exec_drop(&statement, params).await?;
        link.conn().close(statement).await?;
    }
    Ok(Pruned { entries: old.len(), next })
}

/// Entries of all tables, for `fence_entries`; the tables' own are not counted.
pub async fn count(link: &mut Link) -> Result<u64, WriteError> {
    let sql = "SELECT COUNT(*) FROM `crossfade_fence` WHERE `key_hash` <> ?";
    let count: Option<u64> = link.conn().exec_first(sql, (&KeyHash::TABLE.0[..],)).await?;
    Ok(count.unwrap_or(0))
}
