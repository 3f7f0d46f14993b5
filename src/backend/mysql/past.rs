//! Which rows the secondary was told of after some version, by the fence, and their keys.
//!
//! ```text
//! fence entries of earlier epochs past a version ──▶ hashes ──the table's own keys──▶ keys
//! ```
//!
//! Invariant: reads only. A hash does not give its key away, so the table is read until all are found.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use mysql_async::prelude::Queryable as _;
use tokio::time::timeout;

use super::connect::Link;
use super::error::WriteError;
use super::owners;
use crate::catalog::Table;
use crate::change::{KeyHash, Version};
use crate::names::{TableId, quote_mysql};

/// What was applied to the table itself past the version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gaps {
    /// A TRUNCATE.
    pub emptied: bool,
    /// Entries past the version may have been forgotten.
    pub forgotten: bool,
}

/// At most `limit` keys after `from`, in their order, whose last version is past `after` and of an epoch
/// before `epoch`.
pub async fn hashes(
    link: &mut Link,
    table: TableId,
    after: Version,
    epoch: u64,
    from: KeyHash,
    limit: usize,
) -> Result<Vec<KeyHash>, WriteError> {
    let sql = format!(
        "SELECT `key_hash` FROM `crossfade_fence` FORCE INDEX (PRIMARY) \
         WHERE `table_id` = ? AND `key_hash` > ? AND `epoch` < ? \
         AND (`epoch` > ? OR (`epoch` = ? AND `counter` > ?)) ORDER BY `key_hash` LIMIT {limit}"
    );
    let params = (table.0, &from.0[..], epoch, after.epoch, after.epoch, after.counter);
    let rows: Vec<Vec<u8>> = link.conn().exec(sql, params).await?;
    Ok(rows.into_iter().filter_map(|hash| hash.try_into().ok().map(KeyHash)).collect())
}

/// What the hashes do not tell.
pub async fn gaps(link: &mut Link, table: TableId, after: Version) -> Result<Gaps, WriteError> {
    let sql = "SELECT f.`epoch`, f.`counter`, o.`epoch`, o.`counter` FROM `crossfade_fence` f \
               JOIN `crossfade_floor` o ON o.`table_id` = f.`table_id` \
               WHERE f.`table_id` = ? AND f.`key_hash` = ?";
    let found: Option<(u64, u64, u64, u64)> =
        link.conn().exec_first(sql, (table.0, &KeyHash::TABLE.0[..])).await?;
    let Some((epoch, counter, floor_epoch, floor_counter)) = found else {
        return Ok(Gaps { emptied: false, forgotten: false });
    };
    let past = |epoch, counter| (after.epoch, after.counter) < (epoch, counter);
    Ok(Gaps { emptied: past(epoch, counter), forgotten: past(floor_epoch, floor_counter) })
}

/// Reads the table's keys until each wanted one is found; those are taken out of the set.
pub async fn find_keys(
    link: &mut Link,
    table: &Table,
    wanted: &mut HashSet<KeyHash>,
    row_time_max: Duration,
) -> Result<Vec<Bytes>, WriteError> {
    let names: Vec<String> = table.key_columns().map(|column| quote_mysql(&column.name)).collect();
    let sql = format!("SELECT {} FROM {}", names.join(", "), quote_mysql(&table.target));
    let statement = link.conn().prep(sql).await?;
    let mut found = Vec::new();
    let mut rows = link.conn().exec_iter(&statement, ()).await?;
    loop {
        let next = timeout(row_time_max, rows.next()).await;
        let Some(row) = next.map_err(|_| WriteError::TimedOut)?? else { break };
        if let Some(key) = owners::read(table, row).filter(|key| wanted.remove(&key.hash)) {
            found.push(key.raw);
        }
        if wanted.is_empty() {
            break;
        }
    }
    rows.drop_result().await?;
    link.conn().close(statement).await?;
    Ok(found)
}
