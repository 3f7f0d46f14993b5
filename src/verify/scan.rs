//! Reads both sides of a table whole, at once, each in its own order.
//!
//! ```text
//! COPY (SELECT record_send(ROW(t.*)) …) TO STDOUT ─┐
//!                                                  ├──▶ Digest a side, or keys of some buckets
//! SELECT … FROM `t`  (binary protocol) ────────────┘
//! ```
//!
//! Invariant: one row a side is held at a time. Neither scan locks anything; each has one snapshot,
//! for as long as it takes.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use mysql_async::Value as Param;
use tokio_postgres::Client;
use tokio_postgres::binary_copy::BinaryCopyOutStream;
use tokio_postgres::types::Type;

use super::VerifyError;
use super::digest::{Digest, Scheme};
use crate::backend::mysql::look::carried;
use crate::backend::mysql::{Columns, Link};
use crate::catalog::Table;
use crate::change::{Key, KeyHash, RowImage};
use crate::names::quote_pg;
use crate::value::{Flavor, Value, push_normal};

/// Rows read so far, on both sides: for a progress bar.
#[derive(Debug, Default)]
pub struct Progress {
    pub primary: AtomicU64,
    pub secondary: AtomicU64,
}

/// The sums of the primary's rows.
pub(super) async fn primary_digest(
    client: &Client,
    table: &Table,
    scheme: Scheme,
    flavor: Flavor,
    progress: &Progress,
) -> Result<Digest, VerifyError> {
    let mut digest = Digest::new(scheme);
    let mut row = Vec::new();
    copy(client, table, "t.*", |record| {
        let image = RowImage::decode(&record, table).map_err(|_| VerifyError::Stale)?;
        let values: Vec<Value> = table.key.iter().map(|at| image.values[*at].clone()).collect();
        row.clear();
        for (at, column) in carried(table) {
            if image.values[at].push_normal(&column.target, flavor, &mut row).is_err() {
                // Nothing that MySQL could hold: different from whatever is there.
                row.push(b'?');
            }
        }
        digest.add(&KeyHash::of(&values, table), &row);
        progress.primary.fetch_add(1, Ordering::Relaxed);
        Ok(())
    })
    .await?;
    Ok(digest)
}

/// The sums of the secondary's rows.
pub(super) async fn secondary_digest(
    link: &mut Link,
    table: &Table,
    scheme: Scheme,
    progress: &Progress,
) -> Result<Digest, VerifyError> {
    let mut digest = Digest::new(scheme);
    let flavor = link.flavor();
    let columns: Vec<_> = carried(table).collect();
    let key: Vec<Option<usize>> =
        table.key.iter().map(|at| columns.iter().position(|(column, _)| column == at)).collect();
    let (mut row, mut unreadable) = (Vec::new(), None);
    let each = |params: Vec<Param>| {
        let fields = key.iter().map(|at| at.and_then(|at| params.get(at)));
        let Some(values) = values(table, fields) else {
            unreadable = Some(VerifyError::Key);
            return ControlFlow::Break(());
        };
        row.clear();
        for ((_, column), param) in columns.iter().zip(&params) {
            push_normal(param, &column.target, flavor, &mut row);
        }
        digest.add(&KeyHash::of(&values, table), &row);
        progress.secondary.fetch_add(1, Ordering::Relaxed);
        ControlFlow::Continue(())
    };
    link.scan(table, Columns::All, each).await?;
    unreadable.map_or(Ok(digest), Err)
}

/// The primary's keys in these buckets.
pub(super) async fn primary_keys(
    client: &Client,
    table: &Table,
    scheme: &Scheme,
    buckets: &HashSet<u32>,
) -> Result<HashMap<KeyHash, Key>, VerifyError> {
    let names: Vec<String> =
        table.key_columns().map(|column| format!("t.{}", quote_pg(&column.name))).collect();
    let mut keys = HashMap::new();
    copy(client, table, &names.join(", "), |record| {
        let key = Key::decode(record, table).map_err(|_| VerifyError::Stale)?;
        if buckets.contains(&scheme.bucket(&key.hash)) {
            keys.insert(key.hash, key);
        }
        Ok(())
    })
    .await?;
    Ok(keys)
}

/// The secondary's keys in these buckets, and how many cannot be written in PostgreSQL's form.
pub(super) async fn secondary_keys(
    link: &mut Link,
    table: &Table,
    scheme: &Scheme,
    buckets: &HashSet<u32>,
) -> Result<(HashMap<KeyHash, Key>, HashSet<KeyHash>), VerifyError> {
    let (mut keys, mut unwritten) = (HashMap::new(), HashSet::new());
    let each = |params: Vec<Param>| {
        if let Some(values) = values(table, params.iter().map(Some)) {
            let hash = KeyHash::of(&values, table);
            if buckets.contains(&scheme.bucket(&hash)) {
                match Key::encode(values, table) {
                    Some(key) => drop(keys.insert(hash, key)),
                    None => drop(unwritten.insert(hash)),
                }
            }
        }
        ControlFlow::Continue(())
    };
    link.scan(table, Columns::Key, each).await?;
    Ok((keys, unwritten))
}

/// The key's values as PostgreSQL has them; `None` where one cannot be read back.
fn values<'a>(
    table: &Table,
    params: impl Iterator<Item = Option<&'a Param>>,
) -> Option<Vec<Value>> {
    let columns = table.key_columns().zip(params);
    columns.map(|(column, param)| Value::from_mysql(param?, &column.type_ref.pg_type)).collect()
}

async fn copy(
    client: &Client,
    table: &Table,
    fields: &str,
    mut each: impl FnMut(Bytes) -> Result<(), VerifyError>,
) -> Result<(), VerifyError> {
    let sql = format!(
        "COPY (SELECT pg_catalog.record_send(ROW({fields})) FROM {} t) TO STDOUT (FORMAT binary)",
        table.name.quoted()
    );
    let stream = client.copy_out(&sql).await?;
    let mut rows = pin!(BinaryCopyOutStream::new(stream, &[Type::BYTEA]));
    while let Some(row) = rows.try_next().await? {
        each(Bytes::copy_from_slice(row.try_get(0)?))?;
    }
    Ok(())
}
