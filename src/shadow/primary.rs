//! A read on PostgreSQL, on a connection of our own.
//!
//! Invariant: the transaction is READ ONLY and rolled back, and bounded in time, rows and bytes.

use std::error::Error as _;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt as _;
use tokio::time::{Instant, timeout};
use tokio_postgres::types::{Format, FromSql, IsNull, Kind, ToSql, Type};
use tokio_postgres::{Client, Error};

use super::sides::{Column, Failure, Parameters, Question, Rows, ShadowLimits, path_text, types};
use crate::backend::postgres::connect::{Connector, Link};
use crate::handoff::Shown;
use crate::outbox::STUCK_ATTEMPTS;

const SET: &str = "SELECT pg_catalog.set_config(n.name, n.value, false) \
     FROM unnest($1::text[], $2::text[]) n (name, value)";
/// Whether something that was committed before is still on its way; so are old rows until a verify has found
/// all of them. What is stuck is not: there the two sides differ for sure.
const PENDING: &str = "SELECT EXISTS (SELECT FROM crossfade.outbox o \
     WHERE o.at <= $1 AND o.attempts < $2) \
     OR EXISTS (SELECT FROM crossfade.tables t WHERE t.dirty_reason = 'backfill')";

pub(super) struct Primary {
    link: Link,
    /// What the connection was set to.
    set: Option<(u64, Arc<Shown>, Vec<String>)>,
}

impl Primary {
    pub(super) fn new(connector: Connector) -> Self {
        Self { link: Link::new(connector), set: None }
    }

    /// Closes the connection; the next read opens another.
    pub(super) fn rest(&mut self) {
        self.link.discard();
    }

    /// The rows, and a moment of the primary's after which nothing of them was written.
    pub(super) async fn read(
        &mut self,
        question: &Question,
        limits: &ShadowLimits,
    ) -> Result<(Rows, SystemTime), Failure> {
        let read = timeout(limits.timeout, self.read_now(question, limits)).await;
        let read = read.unwrap_or(Err(Failure::Lost));
        if let Err(Failure::Lost | Failure::TooLarge) = read {
            self.link.discard();
        }
        read
    }

    async fn read_now(
        &mut self,
        question: &Question,
        limits: &ShadowLimits,
    ) -> Result<(Rows, SystemTime), Failure> {
        self.link.get().await.map_err(|_| Failure::Lost)?;
        let generation = self.link.generation();
        let client = self.link.get().await.map_err(|_| Failure::Lost)?;
        let wanted = (generation, Arc::clone(&question.shown), question.path.clone());
        if self.set.as_ref() != Some(&wanted) {
            set(client, question, limits).await.map_err(failed)?;
            self.set = Some(wanted);
        }
        let rows = rows(client, question, limits).await?;
        let now = client.query_one("SELECT pg_catalog.clock_timestamp()", &[]).await;
        Ok((rows, now.map_err(failed)?.get(0)))
    }

    /// Whether a change from before this moment is still on its way to the secondary.
    pub(super) async fn is_pending(&mut self, before: SystemTime) -> Result<bool, Failure> {
        let client = self.link.get().await.map_err(|_| Failure::Lost)?;
        let row = client.query_one(PENDING, &[&before, &STUCK_ATTEMPTS]).await.map_err(failed)?;
        Ok(row.get(0))
    }
}

async fn set(client: &Client, question: &Question, limits: &ShadowLimits) -> Result<(), Error> {
    let Shown { zone, date_style, interval_style } = &*question.shown;
    let known = [
        ("TimeZone", zone.clone()),
        ("DateStyle", date_style.clone()),
        ("IntervalStyle", interval_style.clone()),
        ("search_path", path_text(&question.path)),
        ("statement_timeout", limits.timeout.as_millis().to_string()),
    ];
    let known = known.iter().filter(|(_, value)| !value.is_empty());
    let (names, values): (Vec<&str>, Vec<&str>) =
        known.map(|(name, value)| (*name, value.as_str())).unzip();
    client.query(SET, &[&names, &values]).await?;
    Ok(())
}

async fn rows(
    client: &mut Client,
    question: &Question,
    limits: &ShadowLimits,
) -> Result<Rows, Failure> {
    let transaction = client.build_transaction().read_only(true).start().await.map_err(failed)?;
    let declared: Vec<Type> = types(&question.statement).into_iter().map(declared).collect();
    let statement = transaction.prepare_typed(&question.statement.text, &declared).await;
    let statement = statement.map_err(failed)?;
    let parameters = &question.parameters;
    if statement.params().len() != parameters.values.len() {
        return Err(Failure::Lost);
    }
    let columns = statement.columns().iter().map(|column| Column {
        name: column.name().to_owned(),
        type_oid: column.type_().oid(),
        origin: (column.table_oid().unwrap_or(0), column.column_id().unwrap_or(0)),
    });
    let columns: Vec<Column> = columns.collect();
    let started = Instant::now();
    let values = raw(parameters);
    let portal = transaction.bind_raw(&statement, values.iter()).await.map_err(failed)?;
    let most = i32::try_from(limits.rows_max + 1).unwrap_or(i32::MAX);
    let stream = transaction.query_portal_raw(&portal, most).await.map_err(failed)?;
    let mut stream = std::pin::pin!(stream);
    let (mut rows, mut bytes) = (Vec::new(), 0);
    while let Some(row) = stream.try_next().await.map_err(failed)? {
        let fields: Vec<Option<Bytes>> = (0..columns.len())
            .map(|at| row.get::<_, Option<Field>>(at).map(|field| field.0))
            .collect();
        bytes += fields.iter().flatten().map(Bytes::len).sum::<usize>() + 8 * fields.len();
        rows.push(fields);
        if limits.rows_max < rows.len() || limits.bytes_max < bytes {
            return Err(Failure::TooLarge);
        }
    }
    let took = started.elapsed();
    transaction.rollback().await.map_err(failed)?;
    Ok(Rows { columns, rows, took })
}

fn failed(error: Error) -> Failure {
    match (error.code(), error.source()) {
        (Some(code), _) => {
            Failure::Refused { code: code.code().to_owned(), message: String::new() }
        }
        (None, _) => Failure::Lost,
    }
}

/// A type by its number alone: nothing here has to know what it is.
fn declared(oid: u32) -> Type {
    Type::from_oid(oid)
        .unwrap_or_else(|| Type::new(String::new(), oid, Kind::Simple, String::new()))
}

fn raw(parameters: &Parameters) -> Vec<Raw> {
    let values = parameters.values.iter().enumerate();
    values
        .map(|(at, value)| Raw { binary: parameters.format(at) == 1, value: value.clone() })
        .collect()
}

/// A parameter as the client sent it.
struct Raw {
    binary: bool,
    value: Option<Bytes>,
}

impl std::fmt::Debug for Raw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Raw")
    }
}

type Wrong = Box<dyn std::error::Error + Sync + Send>;

impl ToSql for Raw {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Wrong> {
        Ok(match &self.value {
            None => IsNull::Yes,
            Some(value) => {
                out.extend_from_slice(value);
                IsNull::No
            }
        })
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn to_sql_checked(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Wrong> {
        self.to_sql(ty, out)
    }

    fn encode_format(&self, _: &Type) -> Format {
        if self.binary { Format::Binary } else { Format::Text }
    }
}

/// A field as it came.
struct Field(Bytes);

impl<'a> FromSql<'a> for Field {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Wrong> {
        Ok(Self(Bytes::copy_from_slice(raw)))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
