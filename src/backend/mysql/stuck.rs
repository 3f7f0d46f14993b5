//! Entries of MySQL's outbox that have failed: listed, tried again now, and keys entered by hand.
//!
//! ```text
//! failed, next_try in a minute ──[`retry`]──▶ next_try now ──drain──▶ gone, or one attempt more
//! a key ──[`enter`]──▶ its fence entry raised, an entry of the outbox ──drain──▶ the row read again
//! ```
//!
//! Invariant: a key is entered as a write of its row would be, without the write: its version is above
//! every version before it, so what is read again is applied.

use std::time::Duration;

use bytes::Bytes;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Params, Value as Param};

use super::connect::Link;
use super::error::WriteError;
use crate::change::{Key, KeyHash};
use crate::names::TableId;

/// Numbers of one statement.
const IDS_AT_ONCE: usize = 1000;

/// An entry that has failed.
#[derive(Clone, Debug)]
pub struct Failed {
    pub id: i64,
    pub table: TableId,
    pub operation: char,
    pub key: Option<Bytes>,
    pub attempts: i32,
    pub reason: Option<String>,
    pub seconds: f64,
    /// Until it is tried again by itself.
    pub next_seconds: f64,
}

/// The next page of entries after this number.
pub async fn list(
    link: &mut Link,
    table: Option<TableId>,
    after: i64,
    page: usize,
) -> Result<Vec<Failed>, WriteError> {
    let table = table.map_or("TRUE".to_owned(), |table| format!("`table_id` = {}", table.0));
    let sql = format!(
        "SELECT `id`, `table_id`, `op`, `key`, `attempts`, `last_error`, \
         GREATEST(TIMESTAMPDIFF(MICROSECOND, `at`, NOW(6)), 0), \
         GREATEST(COALESCE(TIMESTAMPDIFF(MICROSECOND, NOW(6), `next_try`), 0), 0) FROM `crossfade_outbox` \
         WHERE 0 < `attempts` AND ? < `id` AND {table} ORDER BY `id` LIMIT {page}"
    );
    type Fields = (i64, i32, String, Option<Vec<u8>>, i32, Option<String>, u64, u64);
    let rows: Vec<Fields> = link.conn().exec(sql, (after,)).await?;
    let seconds = |micros| Duration::from_micros(micros).as_secs_f64();
    let failed = rows.into_iter().map(|row| {
        let (id, table, op, key, attempts, reason, since, next) = row;
        Failed {
            id,
            table: TableId(table),
            operation: op.chars().next().unwrap_or('U'),
            key: key.map(Bytes::from),
            attempts,
            reason,
            seconds: seconds(since),
            next_seconds: seconds(next),
        }
    });
    Ok(failed.collect())
}

/// Has the drain try these as soon as it looks.
pub async fn retry(link: &mut Link, ids: &[i64]) -> Result<(), WriteError> {
    for part in ids.chunks(IDS_AT_ONCE) {
        let sql = format!(
            "UPDATE `crossfade_outbox` SET `next_try` = NOW(6) WHERE `id` IN ({})",
            marks(part.len())
        );
        link.conn().exec_drop(sql, numbers(part)).await?;
    }
    Ok(())
}

/// Attempts and reason of those entries that are still there.
pub async fn look(
    link: &mut Link,
    ids: &[i64],
) -> Result<Vec<(i64, i32, Option<String>)>, WriteError> {
    let mut found = Vec::new();
    for part in ids.chunks(IDS_AT_ONCE) {
        let sql = format!(
            "SELECT `id`, `attempts`, `last_error` FROM `crossfade_outbox` WHERE `id` IN ({})",
            marks(part.len())
        );
        found.extend(
            link.conn().exec::<(i64, i32, Option<String>), _, _>(sql, numbers(part)).await?,
        );
    }
    Ok(found)
}

/// Has rows read again that have no entry; the numbers of the entries, in the order of the keys. Each key
/// in a transaction of its own: it waits for nobody while it holds another's place.
pub async fn enter(
    link: &mut Link,
    epoch: u64,
    keys: &[(TableId, &Key)],
) -> Result<Vec<i64>, WriteError> {
    let mut ids = Vec::with_capacity(keys.len());
    for (table, key) in keys {
        let entered = enter_one(link, epoch, *table, key).await;
        if entered.is_err() {
            // The failure that matters is the first one.
            drop(link.conn().query_drop("ROLLBACK").await);
        }
        ids.push(entered?);
    }
    Ok(ids)
}

async fn enter_one(
    link: &mut Link,
    epoch: u64,
    table: TableId,
    key: &Key,
) -> Result<i64, WriteError> {
    let conn = link.conn();
    conn.query_drop("BEGIN").await?;
    let home = "SELECT `epoch` FROM `crossfade_state` WHERE `id` = 1 LOCK IN SHARE MODE";
    let found: Option<u64> = conn.query_first(home).await?;
    let found = found.ok_or(WriteError::NotSetUp)?;
    if found != epoch {
        return Err(WriteError::Epoch { expected: epoch, found });
    }
    // Above the last TRUNCATE, which whoever writes shares.
    let base = "SELECT IF(`epoch` = ?, `counter`, 0) FROM `crossfade_fence` FORCE INDEX (PRIMARY) \
                WHERE `table_id` = ? AND `key_hash` = ? LOCK IN SHARE MODE";
    let whole = &KeyHash::TABLE.0[..];
    let base: Option<u64> = conn.exec_first(base, (epoch, table.0, whole)).await?;
    let base = base.unwrap_or(0);
    // Addressed by its only key, so the clause cannot meet another row.
    let raise = format!(
        "INSERT INTO `crossfade_fence` (`table_id`, `key_hash`, `epoch`, `counter`, `n`, `deleted`) \
         VALUES (?, ?, ?, {base} + 1, 0, 0) ON DUPLICATE KEY UPDATE \
         `counter` = GREATEST(IF(`epoch` = VALUES(`epoch`), `counter`, 0), {base}) + 1, \
         `epoch` = VALUES(`epoch`), `n` = 0, `at` = CURRENT_TIMESTAMP(6)"
    );
    conn.exec_drop(raise, (table.0, &key.hash.0[..], epoch)).await?;
    // The key goes straight into its column: what is selected would be taken for text.
    let append = "INSERT INTO `crossfade_outbox` \
         (`table_id`, `op`, `key`, `epoch`, `counter`, `n`, `next_try`) \
         VALUES (?, 'U', ?, ?, (SELECT `counter` FROM `crossfade_fence` \
         WHERE `table_id` = ? AND `key_hash` = ?), 0, NOW(6))";
    let values = (table.0, &key.raw[..], epoch, table.0, &key.hash.0[..]);
    conn.exec_drop(append, values).await?;
    let id = conn.last_insert_id().and_then(|id| i64::try_from(id).ok());
    conn.query_drop("COMMIT").await?;
    id.ok_or(WriteError::NotSetUp)
}

fn marks(number: usize) -> String {
    vec!["?"; number].join(", ")
}

fn numbers(ids: &[i64]) -> Params {
    Params::Positional(ids.iter().map(|id| Param::Int(*id)).collect())
}
