//! MySQL as the primary and PostgreSQL as the secondary, as the applier uses them.
//!
//! ```text
//! worker, strict, drain ──connect──▶ Follower ─▶ PostgreSQL
//! drain, settle, upkeep ──outbox───▶ mysql::outbox ─▶ MySQL
//! drain ──────────────────reader───▶ mysql::outbox::read ─▶ MySQL
//! ```
//!
//! Counters are of each row here, not of a log: a row that is not there has a counter in the fence, so
//! nobody has to be waited out; and no counter says of all rows that they are old, so that fence entries
//! of this epoch are kept.
//!
//! Invariant: a connection on which something went wrong is not used again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;

use super::databases::{Databases, Lost, Outbox, Reader, within};
use crate::backend::mysql::connect::LinkLimits;
use crate::backend::mysql::outbox::{self, Claimed, Read};
use crate::backend::mysql::{Link, ToUrl, WriteError};
use crate::backend::postgres::connect::Connector;
use crate::backend::postgres::follow::{FollowLimits, Follower};
use crate::catalog::Table;
use crate::change::Key;
use crate::outbox::{Backlog, Entry, Moment, Reading, STUCK_ATTEMPTS};
use crate::phase::Phase;

/// MySQL and PostgreSQL.
pub(super) struct Reversed {
    pub(super) primary: ToUrl,
    pub(super) secondary: Connector,
    /// Longest wait for one answer of the primary's.
    pub(super) answer: Duration,
    pub(super) link: LinkLimits,
}

/// A connection to the primary whose answers come in time, or not at all.
pub(super) struct Kept<T> {
    inner: Mutex<T>,
    closed: AtomicBool,
    limit: Duration,
}

impl<T> Kept<T> {
    fn new(inner: T, limit: Duration) -> Self {
        Self { inner: Mutex::new(inner), closed: AtomicBool::new(false), limit }
    }

    /// Closed for good where it fails: a transaction may be open, or an answer under way.
    async fn ask<R>(
        &self,
        what: impl AsyncFnOnce(&mut T) -> Result<R, WriteError> + Send,
    ) -> Result<R, Lost> {
        let mut inner = self.inner.lock().await;
        let answer = within(self.limit, what(&mut inner)).await;
        if answer.is_err() {
            self.closed.store(true, Ordering::Relaxed);
        }
        answer
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }
}

impl Reversed {
    async fn connect_primary(&self) -> Result<Link, Lost> {
        Ok(Link::connect(&self.primary, &self.link).await?)
    }
}

impl Databases for Reversed {
    type Outbox = Kept<outbox::Outbox>;
    type Reader = Kept<Link>;
    type Connection = Follower;
    const PHASE: Phase = Phase::Switched;

    async fn outbox(&self) -> Result<Self::Outbox, Lost> {
        let link = self.connect_primary().await?;
        Ok(Kept::new(outbox::Outbox::new(link), self.answer))
    }

    async fn reader(&self) -> Result<Self::Reader, Lost> {
        Ok(Kept::new(self.connect_primary().await?, self.answer))
    }

    async fn connect(&self, limits: &LinkLimits) -> Result<Follower, WriteError> {
        let limits = FollowLimits { lock: limits.lock_wait, idle: limits.idle };
        Follower::connect(&self.secondary, limits).await
    }
}

impl Outbox for Kept<outbox::Outbox> {
    fn is_closed(&self) -> bool {
        self.is_closed()
    }

    async fn claim(
        &self,
        limit: i64,
        grace: Duration,
        except: &[(i64, i64)],
        epoch: u64,
    ) -> Result<Vec<Entry>, Lost> {
        let claimed = self.ask(async |outbox| outbox.claim(limit, grace, except, epoch).await);
        Ok(claimed.await?.into_iter().map(entry).collect())
    }

    async fn settle(&self, ids: &[i64], epoch: u64) -> Result<(), Lost> {
        self.ask(async |outbox| outbox.settle(ids, epoch).await).await
    }

    async fn fail(&self, ids: &[i64], error: &str) -> Result<(), Lost> {
        self.ask(async |outbox| outbox.fail(ids, error).await).await
    }

    async fn release(&self, ids: &[i64], pause: Duration) -> Result<(), Lost> {
        self.ask(async |outbox| outbox.release(ids, pause).await).await
    }

    async fn flush(&self) -> Result<(), Lost> {
        self.ask(async |outbox| outbox.flush().await).await
    }

    /// Nobody asks: no row is merely absent here.
    async fn note(&self) -> Result<Moment, Lost> {
        std::future::ready(Ok(Moment { lsn: 0, next_transaction: 0 })).await
    }

    async fn ended(&self, _: Moment) -> Result<bool, Lost> {
        std::future::ready(Ok(true)).await
    }

    /// Only we write entries there.
    async fn log_end(&self) -> Result<u64, Lost> {
        std::future::ready(Ok(u64::MAX)).await
    }

    async fn prunable(&self) -> Result<u64, Lost> {
        std::future::ready(Ok(0)).await
    }

    async fn backlog(&self) -> Result<Backlog, Lost> {
        let left = self.ask(async |outbox| outbox.left(STUCK_ATTEMPTS).await).await?;
        let outbox::Left { pending, stuck, oldest_seconds, lowest } = left;
        Ok(Backlog { pending, stuck, oldest_seconds, lowest })
    }
}

impl Reader for Kept<Link> {
    fn is_closed(&self) -> bool {
        self.is_closed()
    }

    async fn read(
        &mut self,
        keys: &[(Arc<Table>, Key)],
        _version: u64,
    ) -> Result<Vec<Reading>, Lost> {
        let keys: Vec<(&Table, &Key)> = keys.iter().map(|(table, key)| (&**table, key)).collect();
        let found = self.ask(async |link| outbox::read(link, &keys).await).await?;
        Ok(found.into_iter().map(reading).collect())
    }
}

fn entry(claimed: Claimed) -> Entry {
    let Claimed { id, table, operation, key, version } = claimed;
    Entry { id, table, operation, key, version }
}

fn reading(read: Read) -> Reading {
    match read {
        Read::Present { image, counter } => Reading::Present { image, lsn: counter },
        Read::Gone { counter } => Reading::Gone { counter },
        Read::Busy => Reading::Busy,
        Read::Stale => Reading::Stale,
    }
}
