//! Reads both sides of a table whole, at once, each in its own order.
//!
//! ```text
//! COPY (SELECT … FROM t) TO STDOUT (FORMAT binary) ─┐
//!                                                   ├──▶ Digest a side, or keys of some buckets
//! SELECT … FROM `t`  (binary protocol) ─────────────┘
//! ```
//!
//! The columns of the COPY carry no types. So the statement is described first, in the same
//! transaction, whose lock on the table keeps its columns as they are until the COPY has ended.
//!
//! Invariant: one row a side is held at a time. No row is locked; each side has one snapshot, for as
//! long as it takes.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mysql_async::Value as Param;
use tokio_postgres::{Client, Transaction};

use super::VerifyError;
use super::digest::{Digest, Scheme};
use super::pace::Pace;
use crate::backend::mysql::look::carried;
use crate::backend::mysql::{Columns, Link};
use crate::backend::postgres::copy::{BinaryRows, CopyError, RawRow};
use crate::catalog::{Column, Table};
use crate::change::{Key, KeyHash};
use crate::names::quote_pg;
use crate::value::{Flavor, RawError, Value, push_normal, take_normal};

/// How far the comparison of a table has come: for a progress bar, and to tell a slow one from one that
/// hangs.
#[derive(Debug, Default)]
pub struct Progress {
    primary: AtomicU64,
    secondary: AtomicU64,
    pub(super) looked: AtomicU64,
}

/// What [`Progress`] was at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Rows read so far; those that have to be read again for their keys count again.
    pub postgres: u64,
    pub mysql: u64,
    /// Looks at rows that differed in the scan; each is looked at until it settles.
    pub looked: u64,
}

impl Progress {
    #[must_use]
    pub fn now(&self) -> Moment {
        Moment {
            postgres: self.primary.load(Ordering::Relaxed),
            mysql: self.secondary.load(Ordering::Relaxed),
            looked: self.looked.load(Ordering::Relaxed),
        }
    }
}

impl Moment {
    /// Rows read on both sides.
    #[must_use]
    pub fn read(self) -> u64 {
        self.postgres + self.mysql
    }
}

/// What a scan reads, and how.
#[derive(Clone)]
pub(super) struct Scan {
    pub(super) table: Arc<Table>,
    pub(super) scheme: Scheme,
    pub(super) flavor: Flavor,
    /// Rows a second on each side.
    pub(super) rate: Option<u64>,
    pub(super) progress: Arc<Progress>,
}

/// The sums of the primary's rows.
pub(super) async fn primary_digest(
    client: &mut Client,
    scan: &Scan,
) -> Result<Digest, VerifyError> {
    let table = &*scan.table;
    let columns: Vec<(usize, &Column)> = carried(table).collect();
    let key = key_positions(table, &columns).ok_or(VerifyError::Key)?;
    let read: Vec<&Column> = columns.iter().map(|(_, column)| *column).collect();
    let mut digest = Digest::new(scan.scheme.clone());
    let (mut normal, mut named) = (Vec::new(), Vec::new());
    copy(client, scan, &read, |row| {
        normal.clear();
        for (n, column) in read.iter().enumerate() {
            push_field(row.get(n), column, scan.flavor, &mut normal)?;
        }
        named.clear();
        for (at, column) in key.iter().zip(table.key_columns()) {
            push_field(row.get(*at), column, scan.flavor, &mut named)?;
        }
        digest.add(&KeyHash::of(&key_values(table, &key, row)?, table), &named, &normal);
        scan.progress.primary.fetch_add(1, Ordering::Relaxed);
        Ok(())
    })
    .await?;
    Ok(digest)
}

/// The sums of the secondary's rows.
pub(super) async fn secondary_digest(link: &mut Link, scan: &Scan) -> Result<Digest, VerifyError> {
    let table = &*scan.table;
    let columns: Vec<(usize, &Column)> = carried(table).collect();
    let key = key_positions(table, &columns).ok_or(VerifyError::Key)?;
    let mut digest = Digest::new(scan.scheme.clone());
    let mut pace = Pace::new(scan.rate);
    let (mut row, mut named, mut unreadable) = (Vec::new(), Vec::new(), None);
    let each = |params: Vec<Param>| {
        let Some(values) = values(table, key.iter().map(|at| params.get(*at))) else {
            unreadable = Some(VerifyError::Key);
            return ControlFlow::Break(());
        };
        row.clear();
        for ((_, column), param) in columns.iter().zip(&params) {
            push_normal(param, &column.target, scan.flavor, &mut row);
        }
        named.clear();
        for (at, column) in key.iter().zip(table.key_columns()) {
            if let Some(param) = params.get(*at) {
                push_normal(param, &column.target, scan.flavor, &mut named);
            }
        }
        digest.add(&KeyHash::of(&values, table), &named, &row);
        scan.progress.secondary.fetch_add(1, Ordering::Relaxed);
        ControlFlow::Continue(pace.row())
    };
    link.scan(table, Columns::All, each).await?;
    unreadable.map_or(Ok(digest), Err)
}

/// Where the key's columns are among those that are read.
fn key_positions(table: &Table, read: &[(usize, &Column)]) -> Option<Vec<usize>> {
    table.key.iter().map(|at| read.iter().position(|(column, _)| column == at)).collect()
}

fn push_field(
    field: Option<&[u8]>,
    column: &Column,
    flavor: Flavor,
    out: &mut Vec<u8>,
) -> Result<(), VerifyError> {
    let Some(field) = field else {
        push_normal(&Param::NULL, &column.target, flavor, out);
        return Ok(());
    };
    match column.type_ref.pg_type.push_normal(field, &column.target, flavor, out) {
        Ok(()) => {}
        // Nothing that MySQL could hold: different from whatever is there.
        Err(RawError::Unrepresentable(_)) => out.push(b'?'),
        Err(RawError::Decode(_)) => return Err(VerifyError::Stale),
    }
    Ok(())
}

/// The key's values; `at` says where its columns are in the row.
fn key_values(table: &Table, at: &[usize], row: RawRow<'_>) -> Result<Vec<Value>, VerifyError> {
    let columns = table.key_columns().zip(at);
    columns
        .map(|(column, at)| {
            let field = row.shared(*at).ok_or(VerifyError::Stale)?;
            column.type_ref.pg_type.decode(&field).map_err(|_| VerifyError::Stale)
        })
        .collect()
}

/// Takes the rows that the sums name one by one out of them: these rows' keys. What cannot be read as a
/// key stays where it is.
pub(super) fn named(
    table: &Table,
    primary: &mut Digest,
    secondary: &mut Digest,
) -> HashMap<KeyHash, Key> {
    let mut keys = HashMap::new();
    for single in primary.singles(secondary) {
        let mut rest = &*single.key;
        let params: Vec<Param> = std::iter::from_fn(|| take_normal(&mut rest)).collect();
        let read = params.len() == table.key.len() && rest.is_empty();
        let values = read.then(|| values(table, params.iter().map(Some))).flatten();
        let Some(key) = values.and_then(|values| Key::encode(values, table)) else { continue };
        let side = if single.on_primary { &mut *primary } else { &mut *secondary };
        side.take(&key.hash, single.hash);
        keys.insert(key.hash, key);
    }
    keys
}

/// The primary's keys in these buckets.
pub(super) async fn primary_keys(
    client: &mut Client,
    scan: &Scan,
    buckets: &HashSet<u32>,
) -> Result<HashMap<KeyHash, Key>, VerifyError> {
    let table = &*scan.table;
    let read: Vec<&Column> = table.key_columns().collect();
    let at: Vec<usize> = (0..read.len()).collect();
    let mut keys = HashMap::new();
    copy(client, scan, &read, |row| {
        scan.progress.primary.fetch_add(1, Ordering::Relaxed);
        let values = key_values(table, &at, row)?;
        let hash = KeyHash::of(&values, table);
        if buckets.contains(&scan.scheme.bucket(&hash)) {
            let fields: Option<Vec<&[u8]>> = at.iter().map(|at| row.get(*at)).collect();
            let key = Key::from_fields(values, &fields.ok_or(VerifyError::Stale)?, table);
            keys.insert(hash, key.ok_or(VerifyError::Key)?);
        }
        Ok(())
    })
    .await?;
    Ok(keys)
}

/// The secondary's keys in these buckets, and how many cannot be written in PostgreSQL's form.
pub(super) async fn secondary_keys(
    link: &mut Link,
    scan: &Scan,
    buckets: &HashSet<u32>,
) -> Result<(HashMap<KeyHash, Key>, HashSet<KeyHash>), VerifyError> {
    let table = &*scan.table;
    let mut pace = Pace::new(scan.rate);
    let (mut keys, mut unwritten) = (HashMap::new(), HashSet::new());
    let each = |params: Vec<Param>| {
        scan.progress.secondary.fetch_add(1, Ordering::Relaxed);
        if let Some(values) = values(table, params.iter().map(Some)) {
            let hash = KeyHash::of(&values, table);
            if buckets.contains(&scan.scheme.bucket(&hash)) {
                match Key::encode(values, table) {
                    Some(key) => drop(keys.insert(hash, key)),
                    None => drop(unwritten.insert(hash)),
                }
            }
        }
        ControlFlow::Continue(pace.row())
    };
    link.scan(table, Columns::Key, each).await?;
    Ok((keys, unwritten))
}

/// The key's values as PostgreSQL has them; `None` where one cannot be read back.
pub(super) fn values<'a>(
    table: &Table,
    params: impl Iterator<Item = Option<&'a Param>>,
) -> Option<Vec<Value>> {
    let columns = table.key_columns().zip(params);
    columns.map(|(column, param)| Value::from_mysql(param?, &column.type_ref.pg_type)).collect()
}

/// Reads some columns of every row.
async fn copy(
    client: &mut Client,
    scan: &Scan,
    columns: &[&Column],
    mut each: impl FnMut(RawRow<'_>) -> Result<(), VerifyError>,
) -> Result<(), VerifyError> {
    let transaction = client.build_transaction().read_only(true).start().await?;
    if !is_as_known(&transaction, &scan.table).await? {
        return Err(VerifyError::Stale);
    }
    let names: Vec<String> =
        columns.iter().map(|column| format!("t.{}", quote_pg(&column.name))).collect();
    let from = scan.table.name.quoted();
    let sql = format!("COPY (SELECT {} FROM {from} t) TO STDOUT (FORMAT binary)", names.join(", "));
    let mut pace = Pace::new(scan.rate);
    let mut rows = BinaryRows::open(transaction.client(), &sql).await?;
    while let Some(row) = rows.next().await? {
        if row.len() != columns.len() {
            return Err(VerifyError::Stale);
        }
        each(row)?;
        let pause = pace.row();
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
    Ok(transaction.commit().await?)
}

/// Whether the table has the columns, of the types, that the catalogue says; it is locked against
/// having others until the transaction ends.
pub(super) async fn is_as_known(
    transaction: &Transaction<'_>,
    table: &Table,
) -> Result<bool, tokio_postgres::Error> {
    let sql = format!("SELECT t.* FROM {} t", table.name.quoted());
    let described = transaction.prepare(&sql).await?;
    let same = |(found, known): (&tokio_postgres::Column, &Column)| {
        let (oid, wanted) = (found.type_().oid(), &known.type_ref);
        found.name() == known.name && (oid == wanted.oid || oid == wanted.base_oid)
    };
    Ok(described.columns().len() == table.columns.len()
        && described.columns().iter().zip(&table.columns).all(same))
}

impl From<CopyError> for VerifyError {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Postgres(error) => Self::Postgres(error),
            CopyError::Malformed => Self::Stale,
        }
    }
}
