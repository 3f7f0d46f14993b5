//! The two databases as the applier uses them.
//!
//! ```text
//! worker, strict, drain ──connect──▶ Connection ─▶ secondary
//! drain, settle, upkeep ──outbox───▶ Outbox ─────▶ primary
//! drain ──────────────────reader───▶ Reader ─────▶ primary
//! ```
//!
//! An answer of the primary's is waited for as long as `limits.primary_timeout` says: a server that
//! hangs closes nothing, and would otherwise hold the drain and the settling for ever.
//!
//! Invariant: the applier reaches neither database but through here, so that all of its decisions run
//! the same over servers in memory, whose clock, order and faults a test chooses.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::mysql::connect::LinkLimits;
use crate::backend::mysql::{Connection, Link, ToUrl, WriteError};
use crate::backend::postgres::connect::{ConnectError, Connector};
use crate::catalog::Table;
use crate::change::Key;
use crate::names::Oid;
use crate::outbox::{self, Backlog, Entry, Moment, Reading, Reference};
use crate::phase::{Phase, Situation};

use super::ApplyLimits;

/// How both are reached.
pub(super) trait Databases: Send + Sync + 'static {
    type Outbox: Outbox;
    type Reader: Reader;
    type Connection: Connection;
    /// When the one leads and the other follows.
    const PHASE: Phase = Phase::DualWrite;

    fn outbox(&self) -> impl Future<Output = Result<Self::Outbox, Lost>> + Send;
    fn reader(&self) -> impl Future<Output = Result<Self::Reader, Lost>> + Send;
    fn connect(
        &self,
        limits: &LinkLimits,
    ) -> impl Future<Output = Result<Self::Connection, WriteError>> + Send;

    /// Enters what a failover to this epoch took from the primary; says how many keys, or `None` where
    /// it is too early to say. See [`super::lost`].
    fn look_for_lost(
        &self,
        _now: &Situation,
        _limits: &ApplyLimits,
    ) -> impl Future<Output = Result<Option<u64>, Lost>> + Send {
        std::future::ready(Ok(Some(0)))
    }
}

/// The primary did not do it. Most often the connection is gone; in any case it is given up.
#[derive(Debug)]
pub(super) struct Lost {
    text: String,
    /// The SQLSTATE, where the server named one.
    pub(super) code: Option<String>,
}

/// See [`outbox::Outbox`].
pub(super) trait Outbox: Send + Sync {
    fn is_closed(&self) -> bool;
    fn claim(
        &self,
        limit: i64,
        grace: Duration,
        except: &[(i64, i64)],
        epoch: u64,
    ) -> impl Future<Output = Result<Vec<Entry>, Lost>> + Send;
    fn settle(&self, ids: &[i64], epoch: u64) -> impl Future<Output = Result<(), Lost>> + Send;
    fn fail(&self, ids: &[i64], error: &str) -> impl Future<Output = Result<(), Lost>> + Send;
    fn release(
        &self,
        ids: &[i64],
        pause: Duration,
    ) -> impl Future<Output = Result<(), Lost>> + Send;
    fn flush(&self) -> impl Future<Output = Result<(), Lost>> + Send;
    fn note(&self) -> impl Future<Output = Result<Moment, Lost>> + Send;
    /// A counter that none is past.
    fn log_end(&self) -> impl Future<Output = Result<u64, Lost>> + Send {
        async { Ok(self.note().await?.lsn) }
    }
    /// A counter below which fence entries may go once it is old.
    fn prunable(&self) -> impl Future<Output = Result<u64, Lost>> + Send {
        async { Ok(self.note().await?.lsn) }
    }
    fn ended(&self, moment: Moment) -> impl Future<Output = Result<bool, Lost>> + Send;
    /// The same, of those who write to one of these tables. Whoever waits for all is right as well.
    fn ended_on(
        &self,
        moment: Moment,
        _tables: &[Oid],
    ) -> impl Future<Output = Result<bool, Lost>> + Send {
        self.ended(moment)
    }
    fn backlog(&self) -> impl Future<Output = Result<Backlog, Lost>> + Send;
}

/// See [`outbox::Reader`].
pub(super) trait Reader: Send {
    fn is_closed(&self) -> bool;
    fn read(
        &mut self,
        keys: &[(Arc<Table>, Key)],
        version: u64,
    ) -> impl Future<Output = Result<Vec<Reading>, Lost>> + Send;
    /// None of them where rows are referenced by their keys alone.
    fn find(
        &mut self,
        wanted: &[Reference],
        _version: u64,
    ) -> impl Future<Output = Result<Vec<Option<Key>>, Lost>> + Send {
        std::future::ready(Ok(vec![None; wanted.len()]))
    }
}

/// PostgreSQL and MySQL.
pub(super) struct Servers {
    pub(super) primary: Connector,
    pub(super) secondary: ToUrl,
    /// Longest wait for one answer of the primary's.
    pub(super) answer: Duration,
}

/// A connection to the primary whose answers come in time, or not at all.
pub(super) struct InTime<T> {
    pub(super) inner: T,
    pub(super) limit: Duration,
}

/// Whoever gets an error here drops the connection, so a late answer reaches nobody.
pub(super) async fn within<T, E>(
    limit: Duration,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, Lost>
where
    Lost: From<E>,
{
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Lost::new("the primary did not answer in time")),
    }
}

impl Databases for Servers {
    type Outbox = InTime<outbox::Outbox>;
    type Reader = InTime<outbox::Reader>;
    type Connection = Link;

    async fn outbox(&self) -> Result<Self::Outbox, Lost> {
        let client = self.primary.connect().await?;
        let inner = within(self.answer, outbox::Outbox::open(client)).await?;
        Ok(InTime { inner, limit: self.answer })
    }

    async fn reader(&self) -> Result<Self::Reader, Lost> {
        let client = self.primary.connect().await?;
        let inner = within(self.answer, outbox::Reader::open(client)).await?;
        Ok(InTime { inner, limit: self.answer })
    }

    async fn connect(&self, limits: &LinkLimits) -> Result<Link, WriteError> {
        Link::connect(&self.secondary, limits).await
    }

    async fn look_for_lost(
        &self,
        now: &Situation,
        limits: &ApplyLimits,
    ) -> Result<Option<u64>, Lost> {
        super::lost::look(self, now, limits).await
    }
}

impl Outbox for InTime<outbox::Outbox> {
    fn is_closed(&self) -> bool {
        self.inner.is_closed()
    }

    async fn claim(
        &self,
        limit: i64,
        grace: Duration,
        except: &[(i64, i64)],
        epoch: u64,
    ) -> Result<Vec<Entry>, Lost> {
        within(self.limit, self.inner.claim(limit, grace, except, epoch)).await
    }

    async fn settle(&self, ids: &[i64], epoch: u64) -> Result<(), Lost> {
        within(self.limit, self.inner.settle(ids, epoch)).await.map(drop)
    }

    async fn fail(&self, ids: &[i64], error: &str) -> Result<(), Lost> {
        within(self.limit, self.inner.fail(ids, error)).await.map(drop)
    }

    async fn release(&self, ids: &[i64], pause: Duration) -> Result<(), Lost> {
        within(self.limit, self.inner.release(ids, pause)).await.map(drop)
    }

    async fn flush(&self) -> Result<(), Lost> {
        within(self.limit, self.inner.flush()).await
    }

    async fn note(&self) -> Result<Moment, Lost> {
        within(self.limit, self.inner.note()).await
    }

    async fn ended(&self, moment: Moment) -> Result<bool, Lost> {
        within(self.limit, self.inner.ended(moment)).await
    }

    async fn ended_on(&self, moment: Moment, tables: &[Oid]) -> Result<bool, Lost> {
        within(self.limit, self.inner.ended_on(moment, tables)).await
    }

    async fn backlog(&self) -> Result<Backlog, Lost> {
        within(self.limit, self.inner.backlog()).await
    }
}

impl Reader for InTime<outbox::Reader> {
    fn is_closed(&self) -> bool {
        self.inner.is_closed()
    }

    async fn read(
        &mut self,
        keys: &[(Arc<Table>, Key)],
        version: u64,
    ) -> Result<Vec<Reading>, Lost> {
        within(self.limit, self.inner.read(keys, version)).await
    }

    async fn find(&mut self, wanted: &[Reference], version: u64) -> Result<Vec<Option<Key>>, Lost> {
        within(self.limit, self.inner.find(wanted, version)).await
    }
}

impl Lost {
    /// The table is not there: so it is after `complete` and `abandon`, of which this sidecar hears a moment
    /// later. Where it was dropped by somebody, captured writes fail, which is told elsewhere.
    pub(super) fn is_gone(&self) -> bool {
        self.code.as_deref() == Some("42P01") || self.text.ends_with(" 1146")
    }

    /// Without a code of the server's.
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: None }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code.as_ref().unwrap_or(&self.text))
    }
}

impl From<tokio_postgres::Error> for Lost {
    fn from(error: tokio_postgres::Error) -> Self {
        let code = error.code().map(|code| code.code().to_owned());
        Self { text: error.to_string(), code }
    }
}

impl From<ConnectError> for Lost {
    fn from(error: ConnectError) -> Self {
        Self::new(error.to_string())
    }
}
