//! Forgets fence entries that nothing can still be older than, as [`crate::backend::mysql::prune`] does.
//!
//! Invariant: the floor is never below a version that was forgotten, and writers hold the floor in share
//! mode; so an image at or below it, without an entry of its own, is known to be too old to judge.

use super::Follower;
use crate::backend::mysql::WriteError;
use crate::backend::mysql::prune::Pruned;
use crate::change::{KeyHash, Version};
use crate::names::TableId;

/// Entries looked at in one transaction.
const BATCH_ROWS: usize = 1000;
const LOCK_FLOOR: &str = "SELECT FROM crossfade.floor WHERE table_id = $1 FOR UPDATE";
const LOOK: &str = "SELECT key_hash, (epoch, counter, n) < ($3, $4, $5) \
     FROM crossfade.fence WHERE table_id = $1 AND key_hash > $2 ORDER BY key_hash LIMIT $6 FOR UPDATE";
const RAISE: &str = "WITH gone AS (DELETE FROM crossfade.fence \
         WHERE table_id = $1 AND key_hash = ANY ($2) RETURNING epoch, counter, n), \
       highest AS (SELECT epoch, counter, n FROM gone ORDER BY epoch DESC, counter DESC, n DESC LIMIT 1) \
     UPDATE crossfade.floor f SET epoch = h.epoch, counter = h.counter, n = h.n FROM highest h \
     WHERE f.table_id = $1 AND (f.epoch, f.counter, f.n) < (h.epoch, h.counter, h.n)";

pub(super) async fn prune(
    link: &mut Follower,
    table: TableId,
    bound: Version,
    from: KeyHash,
) -> Result<Pruned, WriteError> {
    // Dropped half-way, it is rolled back.
    let transaction = link.client.transaction().await?;
    if transaction.execute(LOCK_FLOOR, &[&table.0]).await? == 0 {
        return Err(WriteError::NotSetUp);
    }
    let (epoch, counter, n) = (signed(bound.epoch), signed(bound.counter), i64::from(bound.n));
    let limit = i64::try_from(BATCH_ROWS).unwrap_or(i64::MAX);
    let rows =
        transaction.query(LOOK, &[&table.0, &&from.0[..], &epoch, &counter, &n, &limit]).await?;
    let last = rows.last().map(|row| row.try_get::<_, &[u8]>(0)).transpose()?;
    let last = last.and_then(|hash| <[u8; 16]>::try_from(hash).ok());
    let next = last.filter(|_| rows.len() == BATCH_ROWS).map(KeyHash);
    let mut old: Vec<&[u8]> = Vec::new();
    for row in &rows {
        if row.try_get(1)? {
            old.push(row.try_get(0)?);
        }
    }
    if !old.is_empty() {
        transaction.execute(RAISE, &[&table.0, &old]).await?;
    }
    transaction.commit().await?;
    Ok(Pruned { entries: old.len(), next })
}

/// Entries of all tables; the tables' own are not counted.
pub(super) async fn count(link: &mut Follower) -> Result<u64, WriteError> {
    let sql = "SELECT pg_catalog.count(*) FROM crossfade.fence WHERE key_hash <> $1";
    let count: i64 = link.client.query_one(sql, &[&&KeyHash::TABLE.0[..]]).await?.try_get(0)?;
    Ok(count.unsigned_abs())
}

/// PostgreSQL's numbers have a sign; no version gets that far.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
