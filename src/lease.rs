//! Whether this sidecar may answer: it has confirmed phase and epoch on the primary within its lease.
//!
//! ```text
//! control ──confirm(asked)──▶ [`Lease`] ──holds(now)?──▶ session: answer, wait, or refuse
//!                                │  └──────why──────────▶ admin: readiness
//!                                └─[`Lease::watch`]: says aloud that it has run out
//! ```
//!
//! Invariant: it holds for `limits.lease` from the moment *before* the confirming question was sent,
//! by this process's monotonic clock. So whoever waits out one lease after a change of epoch knows
//! that no sidecar answers under the old one; a process that was stopped finds its lease run out when
//! it goes on. (The clock stands still while a whole machine is suspended: a virtual machine that is
//! paused and goes on elsewhere is for its cluster to fence.)

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus::{IntCounter, IntGauge, Registry};
use tokio::sync::watch;
use tokio::time::sleep_until;
use tracing::{info, warn};

/// One per process; cheap to clone.
#[derive(Clone, Debug)]
pub struct Lease(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// What instants are counted from.
    base: Instant,
    /// Nanoseconds.
    length: AtomicU64,
    /// Nanoseconds after `base` up to which it holds; 0 before the first confirmation.
    until: AtomicU64,
    /// Nanoseconds after `base` at which the last question that confirmed it was asked.
    asked: AtomicU64,
    confirmed: watch::Sender<()>,
    /// Why the last attempt to confirm came to nothing; names no secret.
    doubt: Mutex<Option<String>>,
    metrics: LeaseMetrics,
}

/// How often it ran out, and whether it holds.
#[derive(Clone, Debug)]
pub struct LeaseMetrics {
    held: IntGauge,
    lost: IntCounter,
}

impl LeaseMetrics {
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let held = "1 while phase and epoch are confirmed; at 0 clients are not answered.";
        let held = IntGauge::new("lease_held", held)?;
        let lost = IntCounter::new("lease_lost_total", "Times that limits.lease ran out.")?;
        Self { held, lost }.registered(registry)
    }

    /// Of the tables that MySQL leads while PostgreSQL leads the others.
    pub fn register_part(registry: &Registry) -> prometheus::Result<Self> {
        let held = "1 since MySQL has confirmed that it leads a group of tables.";
        let held = IntGauge::new("part_lease_held", held)?;
        let lost = "Times that limits.lease ran out for a group of tables.";
        let lost = IntCounter::new("part_lease_lost_total", lost)?;
        Self { held, lost }.registered(registry)
    }

    fn registered(self, registry: &Registry) -> prometheus::Result<Self> {
        let Self { held, lost } = self;
        registry.register(Box::new(held.clone()))?;
        registry.register(Box::new(lost.clone()))?;
        Ok(Self { held, lost })
    }
}

impl Lease {
    /// One that does not hold yet.
    #[must_use]
    pub fn new(length: Duration, metrics: LeaseMetrics) -> Self {
        Self(Arc::new(Shared {
            base: Instant::now(),
            length: AtomicU64::new(nanos(length)),
            until: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            confirmed: watch::Sender::new(()),
            doubt: Mutex::new(None),
            metrics,
        }))
    }

    /// Whether it holds at `now`. A load and a comparison: this is asked for each statement.
    #[must_use]
    pub fn holds(&self, now: Instant) -> bool {
        self.since_base(now) < self.0.until.load(Ordering::Acquire)
    }

    /// The primary has the published phase and epoch, in answer to a question sent after `asked`.
    pub fn confirm(&self, asked: Instant) {
        let length = self.0.length.load(Ordering::Acquire);
        let asked = self.since_base(asked);
        self.0.until.fetch_max(asked.saturating_add(length), Ordering::AcqRel);
        self.0.asked.fetch_max(asked, Ordering::AcqRel);
        *self.doubt() = None;
        if self.holds(Instant::now()) {
            self.0.metrics.held.set(1);
        }
        self.0.confirmed.send_replace(());
    }

    /// An attempt to confirm has failed.
    pub fn doubted(&self, why: String) {
        *self.doubt() = Some(why);
    }

    /// Why it does not hold now; `None` if it does.
    #[must_use]
    pub fn why_not(&self) -> Option<String> {
        if self.holds(Instant::now()) {
            return None;
        }
        let doubt = self.doubt().clone();
        Some(doubt.unwrap_or_else(|| "the primary has not confirmed the epoch in time".to_owned()))
    }

    /// Waits until it holds.
    pub async fn held(&self) {
        let mut confirmed = self.0.confirmed.subscribe();
        while !self.holds(Instant::now()) {
            // The sender lives as long as we do.
            drop(confirmed.changed().await);
        }
    }

    /// Waits until a question that was asked after this moment has confirmed it.
    pub async fn confirmed_since(&self, moment: Instant) {
        let moment = self.since_base(moment);
        let mut confirmed = self.0.confirmed.subscribe();
        while self.0.asked.load(Ordering::Acquire) <= moment {
            // The sender lives as long as we do.
            drop(confirmed.changed().await);
        }
    }

    /// Waits until it does not hold.
    pub async fn lost(&self) {
        while let Some(end) = self.end() {
            sleep_until(end.into()).await;
        }
    }

    /// How long it holds from one confirmation.
    #[must_use]
    pub fn length(&self) -> Duration {
        Duration::from_nanos(self.0.length.load(Ordering::Acquire))
    }

    /// Takes a changed `limits.lease`, from the next confirmation on.
    pub fn set_length(&self, length: Duration) {
        self.0.length.store(nanos(length), Ordering::Release);
    }

    /// Logs and counts each time that it runs out, until it is dropped.
    pub async fn watch(self) {
        loop {
            self.held().await;
            self.lost().await;
            self.0.metrics.held.set(0);
            self.0.metrics.lost.inc();
            let why = self.why_not().unwrap_or_default();
            warn!(why, "limits.lease has run out: clients are not answered");
            self.held().await;
            info!("phase and epoch are confirmed again: clients are answered");
        }
    }

    /// When it will have run out; `None` if it has.
    fn end(&self) -> Option<Instant> {
        let until = self.0.until.load(Ordering::Acquire);
        self.holds(Instant::now()).then(|| self.0.base + Duration::from_nanos(until))
    }

    fn since_base(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.0.base))
    }

    fn doubt(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.0.doubt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Five hundred years fit.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(seconds: u64) -> Lease {
        let metrics = LeaseMetrics::register(&Registry::new()).unwrap();
        Lease::new(Duration::from_secs(seconds), metrics)
    }

    #[test]
    fn it_holds_from_before_the_question_and_no_longer() {
        let lease = lease(5);
        let asked = Instant::now();
        assert!(!lease.holds(asked), "nothing is confirmed yet");
        lease.confirm(asked);
        assert!(lease.holds(asked + Duration::from_millis(4999)));
        assert!(!lease.holds(asked + Duration::from_secs(5)));
    }

    #[test]
    fn an_answer_that_took_longer_than_the_lease_confirms_nothing() {
        let lease = lease(5);
        let now = Instant::now() + Duration::from_secs(60);
        lease.confirm(now - Duration::from_secs(6));
        assert!(!lease.holds(now));
    }

    #[test]
    fn an_older_answer_takes_nothing_away() {
        let lease = lease(5);
        let asked = Instant::now() + Duration::from_secs(10);
        lease.confirm(asked);
        lease.confirm(asked - Duration::from_secs(3));
        assert!(lease.holds(asked + Duration::from_secs(4)));
    }

    #[test]
    fn the_last_failure_says_why() {
        let lease = lease(5);
        lease.doubted("the login was refused".to_owned());
        assert_eq!(lease.why_not().as_deref(), Some("the login was refused"));
        lease.confirm(Instant::now());
        assert_eq!(lease.why_not(), None);
    }

    #[tokio::test]
    async fn an_answer_to_an_older_question_is_no_word_of_now() {
        let lease = lease(5);
        let asked = Instant::now();
        lease.confirm(asked);
        let since = |moment| {
            let lease = lease.clone();
            let waits = async move { lease.confirmed_since(moment).await };
            async { tokio::time::timeout(Duration::from_millis(1), waits).await.is_ok() }
        };
        assert!(!since(asked).await);
        lease.confirm(asked + Duration::from_nanos(1));
        assert!(since(asked).await);
    }

    #[tokio::test]
    async fn whoever_waits_goes_on_at_the_confirmation() {
        let lease = lease(5);
        let waits = tokio::spawn({
            let lease = lease.clone();
            async move { lease.held().await }
        });
        lease.confirm(Instant::now());
        waits.await.unwrap();
    }
}
