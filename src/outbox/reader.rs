//! Reads rows again on the primary, each under its lock and with the LSN that versions it.
//!
//! ```text
//! SELECT lsn, record_send(ROW(s.*)) FROM (SELECT * FROM t WHERE key FOR SHARE) s
//!        └── evaluated in the outer query: after the lock is taken
//! ```
//!
//! Invariant: one row a transaction, and it ends before anyone talks to the secondary; an
//! application never waits for a lock of ours longer than one round trip here.
//!
//! The reading commits without waiting for the log; [`super::Outbox::flush`] does that once for many.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::future::join_all;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Error, Statement};

use crate::catalog::{Column, Table};
use crate::change::{Key, RowImage};
use crate::names::{Oid, quote_pg};
use crate::value::{DecodeError, PgType, Value, decode_record};

/// A row lock that takes longer is left for later; so is a deadlock. A row is read by its key, whatever
/// the table's size was when the plan was made.
const SETTINGS: &str =
    "SET lock_timeout = '1s'; SET synchronous_commit = off; SET enable_seqscan = off";
/// `lock_not_available`, `serialization_failure`, `deadlock_detected`.
const LATER: [&str; 3] = ["55P03", "40001", "40P01"];
/// The schema of a type's equality; `search_path` is empty, and an extension's operators are elsewhere.
const EQUALITY: &str = "SELECT n.nspname FROM pg_catalog.pg_operator o \
     JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace \
     WHERE o.oprname = '=' AND o.oprleft = $1 AND o.oprright = $1 LIMIT 1";

/// What reading one key brought.
#[derive(Debug)]
pub enum Reading {
    /// The row, at this LSN.
    Present { image: RowImage, lsn: u64 },
    /// No row that this transaction can see.
    Absent,
    /// No row, as of this counter: on MySQL the fence says so.
    Gone { counter: u64 },
    /// Somebody holds the row's lock.
    Busy,
    /// The table is not as the catalogue has it.
    Stale,
}

/// What looking at one key without a lock brought.
#[derive(Debug)]
pub enum Peek {
    /// The row; `identity` is another one after every write to it.
    Present {
        image: RowImage,
        identity: String,
    },
    Absent,
    /// The table is not as the catalogue has it.
    Stale,
}

/// A row by other columns than its key: those of a unique constraint, which a foreign key references.
#[derive(Clone, Debug)]
pub struct Reference {
    pub table: Arc<Table>,
    /// Positions in the table's columns, and their values.
    pub columns: Vec<usize>,
    pub values: Vec<Value>,
}

/// Reads keys over one connection of Crossfade's own; many at once, pipelined.
pub struct Reader {
    client: Client,
    /// By table; valid for the catalogue they were prepared under.
    statements: HashMap<Oid, Statement>,
    /// The same, without the lock.
    peeks: HashMap<Oid, Statement>,
    /// Keys by other columns.
    finds: HashMap<(Oid, Vec<usize>), Statement>,
    version: u64,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reader")
    }
}

impl Reader {
    pub async fn open(client: Client) -> Result<Self, Error> {
        client.batch_execute(SETTINGS).await?;
        let (statements, peeks, finds) = (HashMap::new(), HashMap::new(), HashMap::new());
        Ok(Self { client, statements, peeks, finds, version: 0 })
    }

    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Reads each key in a transaction of its own. `version` is the catalogue's.
    pub async fn read(
        &mut self,
        keys: &[(Arc<Table>, Key)],
        version: u64,
    ) -> Result<Vec<Reading>, Error> {
        self.forget_all_but(version);
        for (table, _) in keys {
            if !self.statements.contains_key(&table.oid) {
                match self.prepare(table).await {
                    Ok(statement) => drop(self.statements.insert(table.oid, statement)),
                    // Below, the table's keys are answered as stale.
                    Err(error) if error.as_db_error().is_some() => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let readings = join_all(keys.iter().map(|(table, key)| self.read_one(table, key))).await;
        readings.into_iter().collect()
    }

    /// Looks at each key of one table, locking nothing. `version` is the catalogue's.
    pub async fn peek(
        &mut self,
        table: &Table,
        keys: &[Key],
        version: u64,
    ) -> Result<Vec<Peek>, Error> {
        self.forget_all_but(version);
        if !self.peeks.contains_key(&table.oid) {
            let sql = format!(
                "SELECT t.tableoid::text || ' ' || t.ctid::text || ' ' || t.xmin::text, \
                 pg_catalog.record_send(ROW(t.*)) FROM {} t WHERE {}",
                table.name.quoted(),
                self.by_key(table).await?
            );
            let statement = self.client.prepare(&sql).await?;
            self.peeks.insert(table.oid, statement);
        }
        let Some(statement) = self.peeks.get(&table.oid) else { return Ok(Vec::new()) };
        let peeks = join_all(keys.iter().map(|key| self.peek_one(statement, table, key))).await;
        peeks.into_iter().collect()
    }

    async fn peek_one(
        &self,
        statement: &Statement,
        table: &Table,
        key: &Key,
    ) -> Result<Peek, Error> {
        let Some(parts) = parts(table, key) else { return Ok(Peek::Stale) };
        let params: Vec<&(dyn ToSql + Sync)> = parts.iter().map(|part| part as _).collect();
        let Some(row) = self.client.query_opt(statement, &params).await? else {
            return Ok(Peek::Absent);
        };
        let (identity, record): (String, Vec<u8>) = (row.try_get(0)?, row.try_get(1)?);
        Ok(match RowImage::decode(&Bytes::from(record), table) {
            Ok(image) => Peek::Present { image, identity },
            Err(DecodeError::Stale | DecodeError::Malformed(_)) => Peek::Stale,
        })
    }

    /// The key of each row that is there and can be asked for; locks nothing. `version` is the
    /// catalogue's.
    pub async fn find(
        &mut self,
        wanted: &[Reference],
        version: u64,
    ) -> Result<Vec<Option<Key>>, Error> {
        self.forget_all_but(version);
        for Reference { table, columns, .. } in wanted {
            let place = (table.oid, columns.clone());
            if !self.finds.contains_key(&place) {
                let sql = format!(
                    "SELECT pg_catalog.record_send(ROW({})) FROM {} t WHERE {} LIMIT 1",
                    keys(table),
                    table.name.quoted(),
                    self.by_columns(columns.iter().map(|at| &table.columns[*at])).await?
                );
                match self.client.prepare(&sql).await {
                    Ok(statement) => drop(self.finds.insert(place, statement)),
                    // Not as the catalogue has it: nothing is found.
                    Err(error) if error.as_db_error().is_some() => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let found = join_all(wanted.iter().map(|reference| self.find_one(reference))).await;
        found.into_iter().collect()
    }

    async fn find_one(&self, wanted: &Reference) -> Result<Option<Key>, Error> {
        let Reference { table, columns, values } = wanted;
        let place = (table.oid, columns.clone());
        let Some(statement) = self.finds.get(&place) else { return Ok(None) };
        let typed = values.iter().zip(columns);
        let raw = typed.map(|(value, at)| {
            value.encode(&table.columns[*at].type_ref.pg_type).map(|bytes| Raw(bytes.into()))
        });
        let Some(raw) = raw.collect::<Option<Vec<Raw>>>() else { return Ok(None) };
        let params: Vec<&(dyn ToSql + Sync)> = raw.iter().map(|raw| raw as _).collect();
        let Some(row) = self.client.query_opt(statement, &params).await? else { return Ok(None) };
        let raw = Bytes::from(row.try_get::<_, Vec<u8>>(0)?);
        Ok(Key::decode(raw, table).ok())
    }

    fn forget_all_but(&mut self, version: u64) {
        if self.version != version {
            self.statements.clear();
            self.peeks.clear();
            self.finds.clear();
            self.version = version;
        }
    }

    async fn read_one(&self, table: &Table, key: &Key) -> Result<Reading, Error> {
        let Some(statement) = self.statements.get(&table.oid) else { return Ok(Reading::Stale) };
        let Some(parts) = parts(table, key) else { return Ok(Reading::Stale) };
        let params: Vec<&(dyn ToSql + Sync)> = parts.iter().map(|part| part as _).collect();
        let row = match self.client.query_opt(statement, &params).await {
            Ok(row) => row,
            Err(error) => return later(error),
        };
        let Some(row) = row else { return Ok(Reading::Absent) };
        let (lsn, record): (i64, Vec<u8>) = (row.try_get(0)?, row.try_get(1)?);
        match RowImage::decode(&Bytes::from(record), table) {
            Ok(image) => Ok(Reading::Present { image, lsn: lsn.unsigned_abs() }),
            Err(DecodeError::Stale | DecodeError::Malformed(_)) => Ok(Reading::Stale),
        }
    }

    async fn prepare(&self, table: &Table) -> Result<Statement, Error> {
        let sql = format!(
            "SELECT pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), \
             '0/0')::bigint, pg_catalog.record_send(ROW(s.*)) \
             FROM (SELECT t.* FROM {} t WHERE {} FOR SHARE) s",
            table.name.quoted(),
            self.by_key(table).await?
        );
        self.client.prepare(&sql).await
    }

    /// `t."a" = $1 AND t."b" = $2` over the key.
    async fn by_key(&self, table: &Table) -> Result<String, Error> {
        self.by_columns(table.key_columns()).await
    }

    async fn by_columns(&self, columns: impl Iterator<Item = &Column>) -> Result<String, Error> {
        let mut conditions = Vec::new();
        for (at, column) in (1..).zip(columns) {
            let equals = self.equality(column).await?;
            conditions.push(format!("t.{} {equals} ${at}", quote_pg(&column.name)));
        }
        Ok(conditions.join(" AND "))
    }

    /// `=`, or the operator of an extension's type with its schema.
    async fn equality(&self, column: &Column) -> Result<String, Error> {
        Ok(match operator_schema(&self.client, column).await? {
            Some(schema) => format!("OPERATOR({}.=)", quote_pg(&schema)),
            None => "=".to_owned(),
        })
    }
}

/// The schema of an extension's operators; `None` for PostgreSQL's own types.
pub async fn operator_schema(client: &Client, column: &Column) -> Result<Option<String>, Error> {
    if column.type_ref.pg_type != PgType::Citext {
        return Ok(None);
    }
    let row = client.query_opt(EQUALITY, &[&column.type_ref.base_oid]).await?;
    row.map(|row| row.try_get(0)).transpose()
}

/// Locks and deadlocks are "later"; what else the server says of one row concerns its table.
fn later(error: Error) -> Result<Reading, Error> {
    match error.code().map(tokio_postgres::error::SqlState::code) {
        Some(code) if LATER.contains(&code) => Ok(Reading::Busy),
        Some(code) if !code.starts_with("57") && !code.starts_with("08") => Ok(Reading::Stale),
        _ => Err(error),
    }
}

/// `t."a", t."b"`: the key's columns.
fn keys(table: &Table) -> String {
    let names: Vec<String> =
        table.key_columns().map(|column| format!("t.{}", quote_pg(&column.name))).collect();
    names.join(", ")
}

/// The key's fields; `None` where they are not those of the table's key.
fn parts(table: &Table, key: &Key) -> Option<Vec<Raw>> {
    let fields = decode_record(&key.raw).ok()?;
    let parts: Vec<Raw> = fields.into_iter().filter_map(|(_, bytes)| bytes.map(Raw)).collect();
    (parts.len() == table.key.len()).then_some(parts)
}

/// A field as `record_send` wrote it: what the type's `recv` reads.
#[derive(Debug)]
pub struct Raw(pub Bytes);

impl ToSql for Raw {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
