//! What the applier counts.
//!
//! Labels are of closed sets: the tables of the catalogue, the operations, the modes, and the
//! numbers of MySQL's errors. What is measured is of both directions together: where the databases lead
//! different tables, both have an outbox.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{
    Gauge, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

use crate::backend::mysql::{Outcome, WriteError};
use crate::catalog::Catalog;
use crate::change::{Change, Operation};
use crate::names::TableName;
use crate::outbox::Backlog;

/// How a change ended, as `writes_total` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    Applied,
    Superseded,
    Retried,
    Deferred,
    Failed,
}

impl Written {
    const ALL: [Self; 5] =
        [Self::Applied, Self::Superseded, Self::Retried, Self::Deferred, Self::Failed];

    fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Superseded => "superseded",
            Self::Retried => "retried",
            Self::Deferred => "deferred",
            Self::Failed => "failed",
        }
    }
}

impl From<Outcome> for Written {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Applied => Self::Applied,
            Outcome::Superseded => Self::Superseded,
            Outcome::ReadAgain => Self::Deferred,
        }
    }
}

/// What one direction has measured last.
#[derive(Clone, Debug, Default)]
struct Measured {
    backlog: Backlog,
    fence_entries: i64,
    queue_bytes: i64,
    breaker_open: bool,
}

/// From PostgreSQL to MySQL, or back.
#[derive(Clone, Copy, Debug)]
enum Way {
    Forth = 0,
    Back = 1,
}

/// The metrics of an applier's one direction; cheap to clone.
#[derive(Clone, Debug)]
pub struct ApplyMetrics {
    way: Way,
    /// By [`Way`].
    measured: Arc<Mutex<[Measured; 2]>>,
    errors: IntCounterVec,
    writes: IntCounterVec,
    latency: HistogramVec,
    oldest: Gauge,
    entries: IntGaugeVec,
    breaker_open: IntGauge,
    pub(super) failover_keys: IntCounter,
    parents: IntCounter,
    removed: IntCounterVec,
    fence_entries: IntGauge,
    queue_bytes: IntGauge,
}

impl ApplyMetrics {
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            IntCounterVec::new(Opts::new(name, help), labels)
        };
        let gauge = |name: &str, help: &str| IntGauge::new(name, help);
        let buckets = prometheus::exponential_buckets(0.0005, 2.0, 18)?;
        let latency = HistogramOpts::new(
            "sync_latency_seconds",
            "From the primary's commit to the secondary's, per change.",
        );
        let metrics = Self {
            way: Way::Forth,
            measured: Arc::default(),
            errors: counter(
                "sync_errors_total",
                "Changes that the secondary refused.",
                &["table", "operation", "code"],
            )?,
            writes: counter(
                "writes_total",
                "Changes taken to the secondary, by how they ended.",
                &["table", "operation", "mode", "outcome"],
            )?,
            latency: HistogramVec::new(latency.buckets(buckets), &["table"])?,
            oldest: Gauge::new(
                "oldest_unreplicated_seconds",
                "Age of the oldest change that the secondary does not have.",
            )?,
            entries: IntGaugeVec::new(
                Opts::new("outbox_entries", "Changes that wait in the outbox."),
                &["state"],
            )?,
            breaker_open: gauge("breaker_open", "1 while the secondary is away.")?,
            failover_keys: IntCounter::new(
                "failover_keys_total",
                "Keys entered to be read again since the primary may have lost their last write.",
            )?,
            parents: IntCounter::new(
                "parents_brought_total",
                "Rows taken to the secondary because a change references them and they were not there.",
            )?,
            removed: counter(
                "extra_rows_removed_total",
                "Rows that only the secondary had and that held a unique value which another row needs.",
                &["table"],
            )?,
            fence_entries: gauge("fence_entries", "Rows of the fence on the secondary.")?,
            queue_bytes: gauge("queue_bytes", "Images in memory on their way to the secondary.")?,
        };
        registry.register(Box::new(metrics.errors.clone()))?;
        registry.register(Box::new(metrics.writes.clone()))?;
        registry.register(Box::new(metrics.latency.clone()))?;
        registry.register(Box::new(metrics.oldest.clone()))?;
        registry.register(Box::new(metrics.entries.clone()))?;
        registry.register(Box::new(metrics.breaker_open.clone()))?;
        registry.register(Box::new(metrics.failover_keys.clone()))?;
        registry.register(Box::new(metrics.parents.clone()))?;
        registry.register(Box::new(metrics.removed.clone()))?;
        registry.register(Box::new(metrics.fence_entries.clone()))?;
        registry.register(Box::new(metrics.queue_bytes.clone()))?;
        metrics.backlog(&Backlog::default());
        Ok(metrics)
    }

    /// The same metrics, for the applier that goes the other way.
    #[must_use]
    pub fn back(&self) -> Self {
        Self { way: Way::Back, ..self.clone() }
    }

    /// Starts the series of every captured table at zero, so that the first failure is a rise.
    pub fn start_at_zero(&self, catalog: &Catalog) {
        for table in catalog.captured() {
            let (name, mode) = (table.name.to_string(), table.policy.mode.as_str());
            self.latency.with_label_values(&[&name]);
            self.removed.with_label_values(&[&name]);
            for operation in Operation::ALL {
                for written in Written::ALL {
                    let labels = [&name, operation.as_str(), mode, written.as_str()];
                    self.writes.with_label_values(&labels);
                }
            }
        }
    }

    pub(super) fn wrote(&self, change: &Change, written: Written) {
        let (name, mode) = (change.table.name.to_string(), change.table.policy.mode.as_str());
        let labels = [name.as_str(), change.operation.as_str(), mode, written.as_str()];
        self.writes.with_label_values(&labels).inc();
    }

    pub(super) fn brought(&self, parents: &[Change]) {
        self.parents.inc_by(parents.len() as u64);
    }

    pub(super) fn removed(&self, change: &Change) {
        self.removed.with_label_values(&[&change.table.name.to_string()]).inc();
    }

    pub(super) fn refused(&self, change: &Change, error: &WriteError) {
        self.failed(&change.table.name, change.operation, &error.code());
    }

    pub(super) fn failed(&self, table: &TableName, operation: Operation, code: &str) {
        let labels = [&table.to_string(), operation.as_str(), code];
        self.errors.with_label_values(&labels).inc();
    }

    pub(super) fn took(&self, change: &Change, seconds: f64) {
        self.latency.with_label_values(&[&change.table.name.to_string()]).observe(seconds);
    }

    pub(super) fn backlog(&self, backlog: &Backlog) {
        self.measure(|measured| measured.backlog = *backlog);
    }

    pub(super) fn fence_entries(&self, entries: u64) {
        self.measure(|measured| {
            measured.fence_entries = i64::try_from(entries).unwrap_or(i64::MAX);
        });
    }

    pub(super) fn queue_bytes(&self, bytes: usize) {
        self.measure(|measured| measured.queue_bytes = i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    pub(super) fn breaker(&self, open: bool) {
        self.measure(|measured| measured.breaker_open = open);
    }

    /// Nothing goes this way now, and nothing waits.
    pub(super) fn rests(&self) {
        self.measure(|measured| {
            (measured.backlog, measured.fence_entries) = (Backlog::default(), 0);
        });
    }

    fn measure(&self, change: impl FnOnce(&mut Measured)) {
        let mut both = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut both[self.way as usize]);
        let sum = |of: fn(&Measured) -> i64| both.iter().map(of).fold(0, i64::saturating_add);
        let oldest = both.iter().map(|measured| measured.backlog.oldest_seconds);
        self.oldest.set(oldest.fold(0.0, f64::max));
        self.entries.with_label_values(&["pending"]).set(sum(|measured| measured.backlog.pending));
        self.entries.with_label_values(&["stuck"]).set(sum(|measured| measured.backlog.stuck));
        self.fence_entries.set(sum(|measured| measured.fence_entries));
        self.queue_bytes.set(sum(|measured| measured.queue_bytes));
        self.breaker_open.set(i64::from(both.iter().any(|measured| measured.breaker_open)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_either_way_is_counted_together() {
        let forth = ApplyMetrics::register(&Registry::new()).unwrap();
        let back = forth.back();
        let backlog = |pending, stuck, oldest_seconds| Backlog {
            pending,
            stuck,
            oldest_seconds,
            lowest: None,
        };
        let shown = || {
            let entries = |state| forth.entries.with_label_values(&[state]).get();
            (entries("pending"), entries("stuck"), forth.oldest.get(), forth.breaker_open.get())
        };
        forth.backlog(&backlog(2, 0, 1.5));
        back.backlog(&backlog(3, 1, 9.0));
        back.breaker(true);
        forth.breaker(false);
        assert_eq!(shown(), (5, 1, 9.0, 1));
        back.rests();
        back.breaker(false);
        assert_eq!(shown(), (2, 0, 1.5, 0));
    }
}
