//! The two databases as the applier uses them.
//!
//! ```text
//! worker, strict, drain ──connect──▶ Connection ─▶ secondary
//! drain, settle, upkeep ──outbox───▶ Outbox ─────▶ primary
//! drain ──────────────────reader───▶ Reader ─────▶ primary
//! ```
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
use crate::outbox::{self, Backlog, Entry, Moment, Reading};

/// How both are reached.
pub(super) trait Databases: Send + Sync + 'static {
    type Outbox: Outbox;
    type Reader: Reader;
    type Connection: Connection;

    fn outbox(&self) -> impl Future<Output = Result<Self::Outbox, Lost>> + Send;
    fn reader(&self) -> impl Future<Output = Result<Self::Reader, Lost>> + Send;
    fn connect(
        &self,
        limits: &LinkLimits,
    ) -> impl Future<Output = Result<Self::Connection, WriteError>> + Send;
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
        except: &str,
    ) -> impl Future<Output = Result<Vec<Entry>, Lost>> + Send;
    fn settle(&self, ids: &[i64]) -> impl Future<Output = Result<(), Lost>> + Send;
    fn fail(&self, ids: &[i64], error: &str) -> impl Future<Output = Result<(), Lost>> + Send;
    fn release(
        &self,
        ids: &[i64],
        pause: Duration,
    ) -> impl Future<Output = Result<(), Lost>> + Send;
    fn flush(&self) -> impl Future<Output = Result<(), Lost>> + Send;
    fn note(&self) -> impl Future<Output = Result<Moment, Lost>> + Send;
    fn ended(&self, moment: Moment) -> impl Future<Output = Result<bool, Lost>> + Send;
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
}

/// PostgreSQL and MySQL.
pub(super) struct Servers {
    pub(super) primary: Connector,
    pub(super) secondary: ToUrl,
}

impl Databases for Servers {
    type Outbox = outbox::Outbox;
    type Reader = outbox::Reader;
    type Connection = Link;

    async fn outbox(&self) -> Result<outbox::Outbox, Lost> {
        Ok(outbox::Outbox::open(self.primary.connect().await?).await?)
    }

    async fn reader(&self) -> Result<outbox::Reader, Lost> {
        Ok(outbox::Reader::open(self.primary.connect().await?).await?)
    }

    async fn connect(&self, limits: &LinkLimits) -> Result<Link, WriteError> {
        Link::connect(&self.secondary, limits).await
    }
}

impl Outbox for outbox::Outbox {
    fn is_closed(&self) -> bool {
        self.is_closed()
    }

    async fn claim(&self, limit: i64, grace: Duration, except: &str) -> Result<Vec<Entry>, Lost> {
        Ok(self.claim(limit, grace, except).await?)
    }

    async fn settle(&self, ids: &[i64]) -> Result<(), Lost> {
        Ok(self.settle(ids).await.map(drop)?)
    }

    async fn fail(&self, ids: &[i64], error: &str) -> Result<(), Lost> {
        Ok(self.fail(ids, error).await.map(drop)?)
    }

    async fn release(&self, ids: &[i64], pause: Duration) -> Result<(), Lost> {
        Ok(self.release(ids, pause).await.map(drop)?)
    }

    async fn flush(&self) -> Result<(), Lost> {
        Ok(self.flush().await?)
    }

    async fn note(&self) -> Result<Moment, Lost> {
        Ok(self.note().await?)
    }

    async fn ended(&self, moment: Moment) -> Result<bool, Lost> {
        Ok(self.ended(moment).await?)
    }

    async fn backlog(&self) -> Result<Backlog, Lost> {
        Ok(self.backlog().await?)
    }
}

impl Reader for outbox::Reader {
    fn is_closed(&self) -> bool {
        self.is_closed()
    }

    async fn read(
        &mut self,
        keys: &[(Arc<Table>, Key)],
        version: u64,
    ) -> Result<Vec<Reading>, Lost> {
        Ok(self.read(keys, version).await?)
    }
}

impl Lost {
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
