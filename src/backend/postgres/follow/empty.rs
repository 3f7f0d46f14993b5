//! TRUNCATE on PostgreSQL as the secondary: every row goes that is not newer than it.
//!
//! ```text
//! fence of the table raised (locked: nobody else applies to it)
//!   └─ nothing newer ──▶ DELETE
//!   └─ else: keys in key order, a chunk at a time ─▶ their fence entries ─▶ DELETE of those not newer
//! ```
//!
//! DELETE, since TRUNCATE would be refused where another table references this one.
//!
//! Invariant: a row that another sidecar wrote after the TRUNCATE survives it, whichever of the two
//! reached the secondary first. Memory holds one chunk.

use std::collections::HashSet;

use tokio_postgres::types::ToSql;

use super::Follower;
use super::owners::{key_names, read};
use super::prune::signed;
use super::rows::{by_key, dynamic, key_params};
use crate::backend::mysql::WriteError;
use crate::catalog::Table;
use crate::change::{Key, KeyHash, Version};

const CHUNK_ROWS: usize = 500;
const RAISE: &str = "UPDATE crossfade.fence SET epoch = $1, counter = $2, n = $3, \
     at = pg_catalog.clock_timestamp() WHERE table_id = $4 AND key_hash = $5";
const IS_ANY_NEWER: &str = "SELECT EXISTS (SELECT FROM crossfade.fence WHERE table_id = $4 \
     AND key_hash <> $5 AND NOT deleted AND (epoch, counter, n) > ($1, $2, $3))";
const NEWER: &str = "SELECT key_hash FROM crossfade.fence WHERE table_id = $4 \
     AND key_hash = ANY ($5) AND NOT deleted AND (epoch, counter, n) > ($1, $2, $3)";

pub(super) async fn empty(
    link: &mut Follower,
    table: &Table,
    version: Version,
) -> Result<(), WriteError> {
    let id = table.id.ok_or_else(|| WriteError::NoKey(table.name.clone()))?.0;
    let (epoch, counter) = (signed(version.epoch), signed(version.counter));
    let n = i64::from(version.n);
    let whole = &KeyHash::TABLE.0[..];
    let params: [&(dyn ToSql + Sync); 5] = [&epoch, &counter, &n, &id, &whole];
    link.client.execute(RAISE, &params).await?;
    let newer: bool = link.client.query_one(IS_ANY_NEWER, &params).await?.try_get(0)?;
    if !newer {
        return link.plain(&format!("DELETE FROM {}", table.name.quoted())).await;
    }
    let mut last: Option<Key> = None;
    loop {
        let found = page(link, table, last.as_ref()).await?;
        let hashes: Vec<&[u8]> = found.iter().map(|key| &key.hash.0[..]).collect();
        let params: [&(dyn ToSql + Sync); 5] = [&epoch, &counter, &n, &id, &hashes];
        let newer = link.client.query(NEWER, &params).await?;
        let newer = newer.iter().map(|row| row.try_get::<_, Vec<u8>>(0));
        let newer: HashSet<Vec<u8>> = newer.collect::<Result<_, _>>()?;
        let sql = format!("DELETE FROM {} WHERE {}", table.name.quoted(), by_key(table, 1));
        let statement = link.prepared(sql).await?;
        for key in found.iter().filter(|key| !newer.contains(&key.hash.0[..])) {
            let values = key_params(key);
            link.client.execute(&statement, &dynamic(&values)).await?;
        }
        match found.into_iter().next_back() {
            Some(key) => last = Some(key),
            None => return Ok(()),
        }
    }
}

/// The next keys in key order.
async fn page(
    link: &mut Follower,
    table: &Table,
    after: Option<&Key>,
) -> Result<Vec<Key>, WriteError> {
    let names = key_names(table);
    let slots: Vec<String> = (1..=table.key.len()).map(|number| format!("${number}")).collect();
    let condition = match after {
        Some(_) => format!("WHERE ({names}) > ({})", slots.join(", ")),
        None => String::new(),
    };
    let name = table.name.quoted();
    let sql = format!("SELECT {names} FROM {name} {condition} ORDER BY {names} LIMIT {CHUNK_ROWS}");
    let statement = link.prepared(sql).await?;
    let values = after.map(key_params).unwrap_or_default();
    let rows = link.client.query(&statement, &dynamic(&values)).await?;
    let keys: Option<Vec<Key>> = rows.iter().map(|row| read(table, row)).collect();
    keys.ok_or_else(|| WriteError::NoKey(table.name.clone()))
}
