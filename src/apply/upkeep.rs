//! Measures what is left to do, and forgets fence entries that nothing can still be older than.
//!
//! Invariant: a fence entry goes only if it is older than every open outbox entry, and than a position
//! of the primary's log noted at least [`super::ApplyLimits::fence_keep`] ago. An image that is older
//! still meets the floor, and is read again.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::databases::{Databases, Lost, Outbox as _};
use super::{Shared, stopping};
use crate::backend::mysql::{Connection, WriteError};
use crate::change::{KeyHash, Version};
use crate::outbox::Backlog;

/// Batches of fence entries looked at in one round; the next round goes on behind them.
const BATCHES_MAX: usize = 50;
/// Between two batches, so that writers that wait for the floor get in.
const PAUSE: Duration = Duration::from_millis(20);

struct Upkeep<D: Databases> {
    shared: Arc<Shared<D>>,
    outbox: Option<D::Outbox>,
    /// A position of the log, and when it was noted.
    noted: Option<(Version, Instant)>,
    counted: Option<Instant>,
}

pub(super) async fn run<D: Databases>(shared: Arc<Shared<D>>, mut stopped: watch::Receiver<bool>) {
    let mut upkeep =
        Upkeep { shared: Arc::clone(&shared), outbox: None, noted: None, counted: None };
    loop {
        tokio::select! {
            biased;
            () = stopping(&mut stopped) => return,
            () = tokio::time::sleep(shared.limits.poll) => {}
        }
        shared.metrics.queue_bytes(shared.releaser.bytes());
        if !shared.follows() {
            (upkeep.outbox, upkeep.counted) = (None, None);
            shared.metrics.rests();
            continue;
        }
        tokio::select! {
            biased;
            () = stopping(&mut stopped) => return,
            () = upkeep.round() => {}
        }
    }
}

impl<D: Databases> Upkeep<D> {
    async fn round(&mut self) {
        let backlog = match self.backlog().await {
            Ok(backlog) => backlog,
            Err(error) => {
                debug!(%error, "backlog could not be measured");
                self.outbox = None;
                return;
            }
        };
        self.shared.metrics.backlog(&backlog);
        if !self.shared.breaker.is_open()
            && let Err(error) = self.fence(&backlog).await
        {
            debug!(code = error.code(), "fence could not be pruned");
        }
    }

    async fn backlog(&mut self) -> Result<Backlog, Lost> {
        let outbox = match self.outbox.take().filter(|outbox| !outbox.is_closed()) {
            Some(open) => open,
            None => self.shared.databases.outbox().await.inspect_err(|lost| {
                if let Some(code) = &lost.code {
                    warn!(code, "outbox cannot be used");
                }
            })?,
        };
        self.outbox.insert(outbox).backlog().await
    }

    /// Counts the fence, and prunes it when the noted position is old enough.
    async fn fence(&mut self, backlog: &Backlog) -> Result<(), WriteError> {
        let keep = self.shared.limits.fence_keep;
        let epoch = self.shared.situation().epoch;
        let due = match self.noted {
            Some((version, at)) if at.elapsed() >= keep => Some(version),
            _ => None,
        };
        let count_due = self.counted.is_none_or(|at| at.elapsed() >= keep.min(COUNT_EVERY));
        if due.is_none() && !count_due && self.noted.is_some() {
            return Ok(());
        }
        let mut link = self.shared.databases.connect(&self.shared.limits.link).await?;
        if let Some(noted) = due {
            let bound = backlog.lowest.map_or(noted, |lowest| lowest.min(noted));
            self.prune(&mut link, bound).await?;
            self.noted = None;
        }
        if self.noted.is_none() {
            self.note(epoch).await;
        }
        let count = self.in_time(link.fence_entries()).await?;
        self.shared.metrics.fence_entries(count);
        self.counted = Some(Instant::now());
        Ok(())
    }

    async fn note(&mut self, epoch: u64) {
        let Some(outbox) = &self.outbox else { return };
        if let Ok(counter) = outbox.prunable().await {
            let version = Version { epoch, counter, n: 0 };
            self.noted = Some((version, Instant::now()));
        }
    }

    /// A secondary that hangs closes nothing.
    async fn in_time<T>(
        &self,
        answer: impl Future<Output = Result<T, WriteError>>,
    ) -> Result<T, WriteError> {
        let limit = self.shared.limits.write_timeout;
        tokio::time::timeout(limit, answer).await.unwrap_or(Err(WriteError::TimedOut))
    }

    async fn prune(&self, link: &mut D::Connection, bound: Version) -> Result<(), WriteError> {
        let situation = self.shared.situation();
        let mut tables: Vec<_> =
            situation.catalog.captured().filter_map(|table| table.id).collect();
        tables.sort_unstable();
        for table in tables {
            let mut from = KeyHash::TABLE;
            for _ in 0..BATCHES_MAX {
                let pruned = self.in_time(link.prune(table, bound, from)).await?;
                match pruned.next {
                    Some(next) => from = next,
                    None => break,
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(())
    }
}

/// Counting reads the whole fence.
const COUNT_EVERY: Duration = Duration::from_secs(15);
