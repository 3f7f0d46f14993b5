//! What the applier counts.
//!
//! Labels are of closed sets: the tables of the catalogue, the operations, the modes, and the
//! numbers of MySQL's errors.

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

/// The applier's metrics; cheap to clone.
#[derive(Clone, Debug)]
pub struct ApplyMetrics {
    errors: IntCounterVec,
    writes: IntCounterVec,
    latency: HistogramVec,
    oldest: Gauge,
    entries: IntGaugeVec,
    pub(super) breaker_open: IntGauge,
    pub(super) failover_keys: IntCounter,
    parents: IntCounter,
    pub(super) fence_entries: IntGauge,
    pub(super) queue_bytes: IntGauge,
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
        registry.register(Box::new(metrics.fence_entries.clone()))?;
        registry.register(Box::new(metrics.queue_bytes.clone()))?;
        metrics.backlog(&Backlog::default());
        Ok(metrics)
    }

    /// Starts the series of every captured table at zero, so that the first failure is a rise.
    pub fn start_at_zero(&self, catalog: &Catalog) {
        for table in catalog.captured() {
            let (name, mode) = (table.name.to_string(), table.policy.mode.as_str());
            self.latency.with_label_values(&[&name]);
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
        self.oldest.set(backlog.oldest_seconds.max(0.0));
        self.entries.with_label_values(&["pending"]).set(backlog.pending);
        self.entries.with_label_values(&["stuck"]).set(backlog.stuck);
    }
}
