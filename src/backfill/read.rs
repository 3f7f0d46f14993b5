//! Reads a table on the primary, a chunk a snapshot, in the order of its key.
//!
//! ```text
//! the last key ──▶ LSN ─▶ SELECT record_send(ROW(t.*)) … WHERE key > last ORDER BY key LIMIT n
//!                            └─ fetched a few rows at a time ──▶ Chunk, bounded in rows and in bytes
//! ```
//!
//! Invariant: what a chunk holds was committed and is in the primary's flushed log when it is handed out.
//! No lock outlives the chunk's snapshot, and no snapshot is held while anything is written.

use std::pin::pin;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};

use super::BackfillError;
use crate::backend::mysql::copy::Row;
use crate::backend::postgres::connect::Connector;
use crate::backend::postgres::session::unhurried;
use crate::catalog::{Column, Table};
use crate::change::{Version, decode_row};
use crate::names::quote_pg;
use crate::outbox::flush;
use crate::outbox::reader::{Raw, operator_schema};
use crate::value::{PgType, decode_record};

/// Rows are read along the key's index, however the planner would count: a sort a chunk would read the
/// table as often as it has chunks.
const SETTINGS: &str =
    "SET enable_sort = off; SET enable_seqscan = off; SET enable_bitmapscan = off; SET jit = off";
const LSN: &str =
    "SELECT pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), '0/0')::bigint";
/// Rows of a table's first fetch: they may be large.
const FIRST_FETCH: usize = 16;

/// Rows of one snapshot.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) rows: Vec<Row>,
    /// The epoch, and an LSN from before the snapshot.
    pub(super) since: Version,
    /// There is nothing behind it.
    pub(super) last: bool,
}

/// Most of one chunk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) rows: usize,
    /// As the rows travel; one more fetch may be held.
    pub(super) bytes: usize,
}

/// One table, as it is read on.
pub(super) struct Source<'a> {
    client: Client,
    table: &'a Table,
    first: Statement,
    next: Statement,
    size: Size,
    /// Bytes of the largest row so far.
    largest: usize,
}

impl<'a> Source<'a> {
    pub(super) async fn open(
        from: &Connector,
        table: &'a Table,
        size: Size,
    ) -> Result<Self, BackfillError> {
        let client = from.connect().await?;
        unhurried(&client).await?;
        client.batch_execute(SETTINGS).await?;
        let after = after(&client, table).await?;
        let first = client.prepare(&sql(table, "", size.rows)).await?;
        let next = client.prepare(&sql(table, &format!(" WHERE {after}"), size.rows)).await?;
        Ok(Self { client, table, first, next, size, largest: 0 })
    }

    /// The rows after a key.
    pub(super) async fn chunk(
        &mut self,
        after: Option<&Bytes>,
        epoch: u64,
    ) -> Result<Chunk, BackfillError> {
        let fields = match after {
            Some(key) => decode_record(key).map_err(|_| BackfillError::Stale)?,
            None => Vec::new(),
        };
        let parts: Vec<Raw> = fields.into_iter().filter_map(|(_, field)| field.map(Raw)).collect();
        let params: Vec<&(dyn ToSql + Sync)> = parts.iter().map(|part| part as _).collect();
        let statement = if after.is_some() { &self.next } else { &self.first };
        if params.len() != statement.params().len() {
            return Err(BackfillError::Stale);
        }
        let transaction = self.client.transaction().await?;
        let lsn: i64 = transaction.query_one(LSN, &[]).await?.try_get(0)?;
        let portal = transaction.bind(statement, &params).await?;
        let (mut rows, mut bytes, mut last) = (Vec::new(), 0, false);
        while rows.len() < self.size.rows && bytes < self.size.bytes && !last {
            let wanted = fetch(self.size, rows.len(), bytes, self.largest);
            let fetched = transaction
                .query_portal_raw(&portal, i32::try_from(wanted).unwrap_or(i32::MAX))
                .await?;
            let (mut fetched, before) = (pin!(fetched), rows.len());
            while let Some(row) = fetched.try_next().await? {
                let record: &[u8] = row.try_get(0)?;
                self.largest = self.largest.max(record.len());
                bytes += record.len();
                let record = Bytes::copy_from_slice(record);
                let decoded = decode_row(&record, self.table);
                let (key, image) = decoded.map_err(|_| BackfillError::Stale)?;
                rows.push(Row { key, image });
            }
            last = rows.len() - before < wanted;
        }
        transaction.rollback().await?;
        // A commit that did not wait for the log is seen before a crash could take it back.
        flush(&self.client).await?;
        let since = Version { epoch, counter: lsn.unsigned_abs(), n: 0 };
        // The portal ends after as many rows as a chunk may have, which says nothing of the table.
        let last = last && rows.len() < self.size.rows;
        Ok(Chunk { rows, since, last })
    }
}

/// How many rows to ask for: as many as would fit if all were as large as the largest.
fn fetch(size: Size, rows: usize, bytes: usize, largest: usize) -> usize {
    let left = size.rows.saturating_sub(rows);
    let fit = match largest {
        0 => FIRST_FETCH,
        largest => size.bytes.saturating_sub(bytes) / largest,
    };
    left.min(fit).max(1)
}

fn sql(table: &Table, condition: &str, rows: usize) -> String {
    let order: Vec<String> =
        table.key_columns().map(|column| format!("t.{}", quote_pg(&column.name))).collect();
    format!(
        "SELECT pg_catalog.record_send(ROW(t.*)) FROM {} t{condition} ORDER BY {} LIMIT {rows}",
        table.name.quoted(),
        order.join(", ")
    )
}

/// What comes after a key. One comparison of rows goes along the index; an extension's type has its
/// operator in a schema of its own, which a comparison of rows cannot name for each column.
async fn after(client: &Client, table: &Table) -> Result<String, BackfillError> {
    let columns: Vec<&Column> = table.key_columns().collect();
    let name = |column: &Column| format!("t.{}", quote_pg(&column.name));
    if !columns.iter().any(|column| column.type_ref.pg_type == PgType::Citext) {
        let names: Vec<String> = columns.iter().map(|column| name(column)).collect();
        let params: Vec<String> = (1..=columns.len()).map(|at| format!("${at}")).collect();
        return Ok(format!("({}) > ({})", names.join(", "), params.join(", ")));
    }
    let mut schemas = Vec::new();
    for column in &columns {
        schemas.push(operator_schema(client, column).await?);
    }
    let compare = |at: usize, sign: &str| {
        let operator = match &schemas[at] {
            Some(schema) => format!("OPERATOR({}.{sign})", quote_pg(schema)),
            None => sign.to_owned(),
        };
        format!("{} {operator} ${}", name(columns[at]), at + 1)
    };
    let term = |at: usize| {
        let mut parts: Vec<String> = (0..at).map(|before| compare(before, "=")).collect();
        parts.push(compare(at, ">"));
        format!("({})", parts.join(" AND "))
    };
    let terms: Vec<String> = (0..columns.len()).map(term).collect();
    Ok(format!("{} AND ({})", compare(0, ">="), terms.join(" OR ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_fetched_by_the_size_of_the_largest() {
        let size = Size { rows: 5000, bytes: 8 << 20 };
        for (rows, bytes, largest, expected) in [
            (0, 0, 0, 16),
            (16, 16_000, 1000, 4984),
            (16, 16 << 20, 1000, 1),
            (1, 6 << 20, 1 << 20, 2),
            (0, 0, 10 << 20, 1),
            (4999, 0, 1, 1),
        ] {
            assert_eq!(fetch(size, rows, bytes, largest), expected, "{rows} {bytes} {largest}");
        }
    }
}
