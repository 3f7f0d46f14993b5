//! Compares a table by hashes that the servers make, for when the way between is narrow.
//!
//! ```text
//! each server: rows ──SHA-256──▶ sums by bucket of keys ──▶ buckets that differ
//!                                                             │ each server: their keys, a hash a row
//!                         keys of rows that differ ◀──────────┘
//! ```
//!
//! It costs the servers two to three times the processor time of sending the rows, and sends a few dozen
//! bytes for 256 rows instead of the rows.
//!
//! Invariant: 120 bits of each row's hash are added up, with a secret that is new for each comparison, and
//! rows are named by 256; what is named is looked at like any candidate. The secondary's hash of a row that
//! is too long for it is NULL: such a row is always named.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use mysql_async::Value as Param;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Transaction};

use super::VerifyError;
use super::scan::{is_as_known, values};
use super::texts::{Hashes, Unhashable};
use crate::backend::mysql::Link;
use crate::catalog::Table;
use crate::change::{Key, KeyHash};
use crate::names::{quote_mysql, quote_pg};
use crate::value::Flavor;

/// Rows that one bucket stands for.
const ROWS_A_BUCKET: u64 = 256;
/// Buckets are told apart by so many hex digits at most: 65,536.
const DIGITS_MAX: u32 = 4;
/// PostgreSQL writes dates as MySQL does.
const SETTINGS: &str = "SET LOCAL datestyle = 'ISO, YMD'";

/// What is asked of both servers for one table.
pub(super) struct Checksum {
    hashes: Hashes,
    digits: u32,
}

/// One bucket on one side: rows, and both sums.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Bucket {
    rows: u64,
    sums: [String; 2],
}

/// One side's buckets, by their digits.
#[derive(Debug, Default)]
pub(super) struct Sums(HashMap<String, Bucket>);

impl Sums {
    pub(super) fn rows(&self) -> u64 {
        self.0.values().map(|bucket| bucket.rows).sum()
    }

    /// The buckets in which the two differ, as many as hold up to `rows_max` rows together, and whether
    /// these are all.
    pub(super) fn differing(&self, other: &Self, rows_max: u64) -> (Vec<String>, bool) {
        let empty = Bucket::default();
        let all: HashSet<&String> = self.0.keys().chain(other.0.keys()).collect();
        let (mut chosen, mut rows) = (Vec::new(), 0);
        for digits in all {
            let left = self.0.get(digits).unwrap_or(&empty);
            let right = other.0.get(digits).unwrap_or(&empty);
            if left == right {
                continue;
            }
            rows += left.rows + right.rows;
            if rows_max < rows && !chosen.is_empty() {
                return (chosen, false);
            }
            chosen.push(digits.clone());
        }
        (chosen, true)
    }
}

impl Checksum {
    /// For a table of about so many rows; or the columns that stand in the way.
    pub(super) fn of(table: &Table, flavor: Flavor, rows: u64) -> Result<Self, Unhashable> {
        let mut secret = String::new();
        for byte in rand::random::<[u8; 16]>() {
            // A String takes everything.
            let _ = write!(secret, "{byte:02x}");
        }
        let digits = (rows / ROWS_A_BUCKET).max(1).ilog2() / 4 + 1;
        let hashes = Hashes::of(table, flavor, &secret)?;
        Ok(Self { hashes, digits: digits.min(DIGITS_MAX) })
    }

    pub(super) async fn primary_sums(
        &self,
        client: &mut Client,
        table: &Table,
    ) -> Result<Sums, VerifyError> {
        let [row, key] = [&self.hashes.row[0], &self.hashes.key[0]];
        let sum = |from: u32| {
            format!(
                "pg_catalog.sum(('x' || pg_catalog.substr(r.h, {from}, 15))::bit(60)::int8)::text"
            )
        };
        // Without the OFFSET each sum would make the hash anew.
        let sql = format!(
            "SELECT pg_catalog.left(r.k, {}), pg_catalog.count(*), {}, {} \
             FROM (SELECT {row} AS h, {key} AS k FROM {} t OFFSET 0) r GROUP BY 1",
            self.digits,
            sum(1),
            sum(16),
            table.name.quoted()
        );
        let transaction = begin(client, table).await?;
        let mut sums = Sums::default();
        for row in transaction.query(&sql, &[]).await? {
            let rows = row.try_get::<_, i64>(1)?.unsigned_abs();
            let bucket = Bucket { rows, sums: [row.try_get(2)?, row.try_get(3)?] };
            sums.0.insert(row.try_get(0)?, bucket);
        }
        transaction.commit().await?;
        Ok(sums)
    }

    pub(super) async fn secondary_sums(
        &self,
        link: &mut Link,
        table: &Table,
    ) -> Result<Sums, VerifyError> {
        let [row, key] = [&self.hashes.row[1], &self.hashes.key[1]];
        let sum = |from: u32| {
            format!("CAST(SUM(CAST(CONV(SUBSTR({row}, {from}, 15), 16, 10) AS UNSIGNED)) AS CHAR)")
        };
        let sql = format!(
            "SELECT LEFT({key}, {}) AS crossfade_bucket, COUNT(*), {}, {} FROM {} GROUP BY crossfade_bucket",
            self.digits,
            sum(1),
            sum(16),
            quote_mysql(&table.target)
        );
        let mut sums = Sums::default();
        let each = |params: Vec<Param>| {
            if let [digits, rows, first, second] = &params[..] {
                // NULL where no row of the bucket could be hashed: equal to no sum of the primary's.
                let bucket = Bucket { rows: number(rows), sums: [text(first), text(second)] };
                sums.0.insert(text(digits), bucket);
            }
            ControlFlow::Continue(Duration::ZERO)
        };
        link.rows(&sql, each).await?;
        Ok(sums)
    }

    /// The keys in these buckets whose rows have not the same hash on both sides, and how many of the
    /// secondary's cannot be written in PostgreSQL's form.
    pub(super) async fn candidates(
        &self,
        client: &mut Client,
        link: &mut Link,
        table: &Table,
        buckets: &[String],
    ) -> Result<(HashMap<KeyHash, Key>, u64), VerifyError> {
        let mut ours = self.primary_rows(client, table, buckets).await?;
        let names: Vec<String> = table.key_columns().map(|c| quote_mysql(&c.name)).collect();
        let among: Vec<String> = buckets.iter().map(|digits| format!("'{digits}'")).collect();
        let sql = format!(
            "SELECT {}, {} FROM {} WHERE LEFT({}, {}) IN ({})",
            names.join(", "),
            self.hashes.row[1],
            quote_mysql(&table.target),
            self.hashes.key[1],
            self.digits,
            among.join(", ")
        );
        let (mut others, mut unwritten) = (HashMap::new(), HashSet::new());
        let each = |params: Vec<Param>| {
            if let Some((hash, key)) = params.split_last()
                && let Some(values) = values(table, key.iter().map(Some))
            {
                let of_key = KeyHash::of(&values, table);
                match ours.get(&of_key) {
                    Some((_, known)) if *known == text(hash) => drop(ours.remove(&of_key)),
                    _ => match Key::encode(values, table) {
                        Some(key) => drop(others.insert(of_key, key)),
                        None => drop(unwritten.insert(of_key)),
                    },
                }
            }
            ControlFlow::Continue(Duration::ZERO)
        };
        link.rows(&sql, each).await?;
        let unjudged = unwritten.iter().filter(|hash| !ours.contains_key(*hash)).count();
        others.extend(ours.into_iter().map(|(hash, (key, _))| (hash, key)));
        Ok((others, unjudged as u64))
    }

    async fn primary_rows(
        &self,
        client: &mut Client,
        table: &Table,
        buckets: &[String],
    ) -> Result<HashMap<KeyHash, (Key, String)>, VerifyError> {
        let names: Vec<String> =
            table.key_columns().map(|column| format!("t.{}", quote_pg(&column.name))).collect();
        let sql = format!(
            "SELECT pg_catalog.record_send(ROW({})), {} FROM {} t \
             WHERE pg_catalog.left({}, {}) = ANY ($1::text[])",
            names.join(", "),
            self.hashes.row[0],
            table.name.quoted(),
            self.hashes.key[0],
            self.digits
        );
        let transaction = begin(client, table).await?;
        let params: [&(dyn ToSql + Sync); 1] = [&buckets];
        let mut found = HashMap::new();
        {
            let rows = transaction.query_raw(&sql, params).await?;
            let mut rows = std::pin::pin!(rows);
            while let Some(row) = rows.try_next().await? {
                let raw: Vec<u8> = row.try_get(0)?;
                let key = Key::decode(Bytes::from(raw), table).map_err(|_| VerifyError::Stale)?;
                found.insert(key.hash, (key, row.try_get(1)?));
            }
        }
        transaction.commit().await?;
        Ok(found)
    }
}

async fn begin<'a>(client: &'a mut Client, table: &Table) -> Result<Transaction<'a>, VerifyError> {
    let transaction = client.build_transaction().read_only(true).start().await?;
    if !is_as_known(&transaction, table).await? {
        return Err(VerifyError::Stale);
    }
    transaction.batch_execute(SETTINGS).await?;
    Ok(transaction)
}

fn text(param: &Param) -> String {
    match param {
        Param::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    }
}

fn number(param: &Param) -> u64 {
    match param {
        Param::Int(number) => number.unsigned_abs(),
        Param::UInt(number) => *number,
        _ => 0,
    }
}
