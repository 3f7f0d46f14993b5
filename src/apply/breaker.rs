//! The circuit breaker: while the secondary is away nobody waits for it.
//!
//! ```text
//! closed ──failures in a row──▶ open ──probe reaches the secondary──▶ closed, and a drain begins
//! ```
//!
//! Invariant: while it is open, jobs are answered `Deferred` at once and their images dropped; only
//! the probe talks to the secondary.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::watch;
use tracing::{info, warn};

use super::databases::Databases;
use super::metrics::ApplyMetrics;
use super::{Shared, stopping};
use crate::backend::mysql::{Connection as _, WriteError};
use crate::backend::pauses::Pauses;

/// Failures in a row that open the breaker.
const FAILURES_MAX: u32 = 3;

pub(super) struct Breaker {
    failures: AtomicU32,
    open: watch::Sender<bool>,
    metrics: ApplyMetrics,
}

impl Breaker {
    pub(super) fn new(metrics: ApplyMetrics) -> Self {
        Self { failures: AtomicU32::new(0), open: watch::Sender::new(false), metrics }
    }

    pub(super) fn is_open(&self) -> bool {
        *self.open.borrow()
    }

    /// A connection failed, broke, or did not answer in time.
    pub(super) fn failed(&self) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures >= FAILURES_MAX && !self.open.send_replace(true) {
            self.metrics.breaker(true);
            warn!(failures, "secondary is away, writes are left to the outbox");
        }
    }

    pub(super) fn succeeded(&self) {
        self.failures.store(0, Ordering::Relaxed);
    }

    fn close(&self) {
        self.succeeded();
        self.metrics.breaker(false);
        self.open.send_replace(false);
        info!("secondary is back");
    }

    /// Nobody writes to the secondary now, so nobody looks for it.
    fn rest(&self) {
        self.succeeded();
        self.metrics.breaker(false);
        self.open.send_replace(false);
    }

    async fn opened(&self) {
        let _ = self.open.subscribe().wait_for(|open| *open).await;
    }
}

/// Looks for a secondary that is away, with growing pauses.
pub(super) async fn probe<D: Databases>(
    shared: Arc<Shared<D>>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut pauses = Pauses::up_to(shared.limits.backoff_max);
    loop {
        let look = async {
            shared.breaker.opened().await;
            pauses.wait().await;
            if shared.follows() { reach(&shared).await.map(Some) } else { Ok(None) }
        };
        let reached = tokio::select! {
            biased;
            () = stopping(&mut stopped) => return,
            reached = look => reached,
        };
        match reached {
            Ok(None) => shared.breaker.rest(),
            Ok(Some(())) => {
                pauses.reset();
                shared.breaker.close();
                shared.bell.ring(None);
            }
            Err(_) => {}
        }
    }
}

/// Reaches the secondary as a write would: login, settings, our own tables.
async fn reach<D: Databases>(shared: &Shared<D>) -> Result<(), WriteError> {
    let mut connection = shared.databases.connect(&shared.limits.link).await?;
    let read = connection.epoch();
    match tokio::time::timeout(shared.limits.link.connect_timeout, read).await {
        Ok(epoch) => epoch.map(drop),
        Err(_) => Err(WriteError::TimedOut),
    }
}
