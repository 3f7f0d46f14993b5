//! Entries that have failed at least once: listed, tried again now, and one entered by hand.
//!
//! ```text
//! failed, next_try in a minute ──[`retry`]──▶ next_try now ──drain──▶ gone, or one attempt more
//! ```
//!
//! Invariant: an entry's state is the drain's own: whoever asks for a retry only moves its time.

use bytes::Bytes;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row};

use crate::change::Operation;
use crate::names::{TableId, TableName};

/// Entries read by one statement.
pub const PAGE: i64 = 1000;

const LIST: &str = "SELECT o.id, o.table_id, t.schema, t.name, o.op::text, o.key, o.attempts, o.last_error, \
     extract(epoch FROM pg_catalog.clock_timestamp() - o.at)::float8 \
     FROM crossfade.outbox o LEFT JOIN crossfade.tables t ON t.id = o.table_id \
     WHERE o.attempts > 0 AND o.id > $1 AND ($2::int4 IS NULL OR o.table_id = $2) ORDER BY o.id LIMIT $3";
const RETRY: &str = "UPDATE crossfade.outbox SET next_try = pg_catalog.clock_timestamp() \
     WHERE id = ANY ($1)";
/// Whoever has one of them locked is at it just now.
const RECALL: &str = "UPDATE crossfade.outbox SET next_try = pg_catalog.clock_timestamp() \
     WHERE id IN (SELECT o.id FROM crossfade.outbox o WHERE pg_catalog.clock_timestamp() < o.next_try \
       ORDER BY o.id LIMIT 100000 FOR UPDATE SKIP LOCKED)";
const ENTER: &str = "INSERT INTO crossfade.outbox (table_id, op, key, epoch, counter, next_try) \
     SELECT $1, 'U', $2, e.last_value / 2, \
       pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), '0/0')::int8, \
       pg_catalog.clock_timestamp() \
     FROM crossfade.epoch e RETURNING id";
/// Keys that a verify pass found different become entries: they are read again like any other.
const ENTER_DIRTY: &str = "WITH page AS (SELECT d.table_id, d.key_hash FROM crossfade.dirty_keys d \
       WHERE ($1::int4 IS NULL OR d.table_id = $1) AND (d.table_id, d.key_hash) > ($3, $4) \
       ORDER BY d.table_id, d.key_hash LIMIT $2 FOR UPDATE SKIP LOCKED), \
     taken AS (DELETE FROM crossfade.dirty_keys k USING page p \
       WHERE k.table_id = p.table_id AND k.key_hash = p.key_hash RETURNING k.table_id, k.key), \
     entered AS (INSERT INTO crossfade.outbox (table_id, op, key, epoch, counter, next_try) \
       SELECT t.table_id, 'U', t.key, e.last_value / 2, \
         pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), '0/0')::int8, \
         pg_catalog.clock_timestamp() \
       FROM taken t CROSS JOIN crossfade.epoch e RETURNING id, table_id, key) \
     SELECT n.id, n.table_id, n.key, l.table_id, l.key_hash FROM entered n CROSS JOIN \
       (SELECT * FROM page p ORDER BY p.table_id DESC, p.key_hash DESC LIMIT 1) l";
const LIST_DIRTY: &str = "SELECT d.table_id, d.key, d.key_hash FROM crossfade.dirty_keys d \
     WHERE ($1::int4 IS NULL OR d.table_id = $1) AND (d.table_id, d.key_hash) > ($3, $4) \
     ORDER BY d.table_id, d.key_hash LIMIT $2";
const FORGET_DIRTY: &str = "DELETE FROM crossfade.dirty_keys d \
     USING unnest($1::int4[], $2::bytea[]) f(table_id, key) \
     WHERE d.table_id = f.table_id AND d.key = f.key";
const COUNT_DIRTY: &str = "SELECT pg_catalog.count(*) FROM crossfade.dirty_keys d \
     WHERE $1::int4 IS NULL OR d.table_id = $1";
const LOOK: &str = "SELECT id, attempts, last_error FROM crossfade.outbox WHERE id = ANY ($1)";

/// An entry that has failed.
#[derive(Clone, Debug)]
pub struct Stuck {
    pub id: i64,
    pub table: TableId,
    /// `None` where the table is registered no more.
    pub name: Option<TableName>,
    pub operation: Option<Operation>,
    pub key: Option<Bytes>,
    pub attempts: i32,
    /// A code and a column's name, never a value.
    pub reason: Option<String>,
    pub seconds: f64,
}

/// The next page of entries after this number.
pub async fn list(
    client: &Client,
    table: Option<TableId>,
    after: i64,
) -> Result<Vec<Stuck>, Error> {
    let table = table.map(|table| table.0);
    let params: [&(dyn ToSql + Sync); 3] = [&after, &table, &PAGE];
    client.query(LIST, &params).await?.iter().map(stuck).collect()
}

/// Has the drain try these as soon as it looks.
pub async fn retry(client: &Client, ids: &[i64]) -> Result<u64, Error> {
    client.execute(RETRY, &[&ids]).await
}

/// Has the drain try what waits for its next try, as soon as it looks: also what somebody has claimed who
/// may be gone. Twice is as good as once.
pub async fn recall(client: &Client) -> Result<u64, Error> {
    client.execute(RECALL, &[]).await
}

/// Has a key read again that has no entry.
pub async fn enter(client: &Client, table: TableId, key: &[u8]) -> Result<i64, Error> {
    client.query_one(ENTER, &[&table.0, &key]).await?.try_get(0)
}

/// How far [`enter_dirty`] has come: a table and the hash of a key.
#[derive(Clone, Debug)]
pub struct Reached(i32, Vec<u8>);

impl Default for Reached {
    fn default() -> Self {
        Self(i32::MIN, Vec::new())
    }
}

/// Has a page of the keys read again that `verify` found different; past those that were reached, so that
/// keys which are noted again meanwhile do not come twice.
pub async fn enter_dirty(
    client: &Client,
    table: Option<TableId>,
    reached: &mut Reached,
) -> Result<Vec<Stuck>, Error> {
    let table = table.map(|table| table.0);
    let params: [&(dyn ToSql + Sync); 4] = [&table, &PAGE, &reached.0, &reached.1];
    let entered = client.query(ENTER_DIRTY, &params).await?;
    if let Some(row) = entered.first() {
        *reached = Reached(row.try_get(3)?, row.try_get(4)?);
    }
    let entered = entered.iter().map(|row| {
        Ok(Stuck {
            id: row.try_get(0)?,
            table: TableId(row.try_get(1)?),
            name: None,
            operation: None,
            key: row.try_get::<_, Option<Vec<u8>>>(2)?.map(Bytes::from),
            attempts: 0,
            reason: None,
            seconds: 0.0,
        })
    });
    entered.collect()
}

/// As [`enter_dirty`], for whoever enters them elsewhere: nothing is entered or forgotten.
pub async fn list_dirty(
    client: &Client,
    table: Option<TableId>,
    reached: &mut Reached,
) -> Result<Vec<(TableId, Bytes)>, Error> {
    let table = table.map(|table| table.0);
    let params: [&(dyn ToSql + Sync); 4] = [&table, &PAGE, &reached.0, &reached.1];
    let found = client.query(LIST_DIRTY, &params).await?;
    if let Some(row) = found.last() {
        *reached = Reached(row.try_get(0)?, row.try_get(2)?);
    }
    let keys = found
        .iter()
        .map(|row| Ok((TableId(row.try_get(0)?), Bytes::from(row.try_get::<_, Vec<u8>>(1)?))));
    keys.collect()
}

/// They are entered elsewhere.
pub async fn forget_dirty(client: &Client, keys: &[(TableId, Bytes)]) -> Result<(), Error> {
    let tables: Vec<i32> = keys.iter().map(|(table, _)| table.0).collect();
    let keys: Vec<&[u8]> = keys.iter().map(|(_, key)| &**key).collect();
    client.execute(FORGET_DIRTY, &[&tables, &keys]).await.map(drop)
}

/// How many keys `verify` has found different that are not repaired yet.
pub async fn dirty(client: &Client, table: Option<TableId>) -> Result<u64, Error> {
    let table = table.map(|table| table.0);
    let count: i64 = client.query_one(COUNT_DIRTY, &[&table]).await?.try_get(0)?;
    Ok(count.unsigned_abs())
}

/// Attempts and reason of those entries that are still there.
pub async fn look(client: &Client, ids: &[i64]) -> Result<Vec<(i64, i32, Option<String>)>, Error> {
    let rows = client.query(LOOK, &[&ids]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))).collect()
}

fn stuck(row: &Row) -> Result<Stuck, Error> {
    let (schema, name): (Option<String>, Option<String>) = (row.try_get(2)?, row.try_get(3)?);
    let letter: String = row.try_get(4)?;
    Ok(Stuck {
        id: row.try_get(0)?,
        table: TableId(row.try_get(1)?),
        name: schema.zip(name).map(|(schema, name)| TableName::new(&schema, &name)),
        operation: letter.chars().next().and_then(Operation::from_letter),
        key: row.try_get::<_, Option<Vec<u8>>>(5)?.map(Bytes::from),
        attempts: row.try_get(6)?,
        reason: row.try_get(7)?,
        seconds: row.try_get(8)?,
    })
}
