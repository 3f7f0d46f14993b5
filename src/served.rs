//! What is counted of clients and their statements, whichever database answers.
//!
//! ```text
//! session, answer ──statement, its time──▶ [`SessionMetrics`] ─▶ /metrics
//! ```
//!
//! Invariant: a statement counts once, when its primary has completed it.

use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};

use crate::names::TableName;
use crate::policy::Mode;

/// Upper bounds in seconds, from 50 µs up.
const BUCKETS: &[f64] =
    &[5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 5.0];

/// Counters and durations of all sessions.
#[derive(Clone, Debug)]
pub struct SessionMetrics {
    connections: IntGauge,
    read: Kind,
    write: Kind,
    other: Kind,
    uncaptured: IntCounterVec,
    timeouts: IntCounter,
    overhead: Histogram,
    blocking: Histogram,
    strict: Histogram,
    unconfirmed: IntCounterVec,
}

#[derive(Clone, Debug)]
struct Kind {
    count: IntCounter,
    duration: Histogram,
}

/// Counts a session while it lives.
#[derive(Debug)]
pub struct Seat(IntGauge);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl SessionMetrics {
    /// Starts what has a closed set of labels at zero.
    ///
    /// # Errors
    /// Where a name is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let connections = IntGauge::new("client_connections", "Clients that are logged in.")?;
        registry.register(Box::new(connections.clone()))?;
        let timeouts = IntCounter::new(
            "blocking_timeouts_total",
            "Clients answered before the secondary had their write.",
        )?;
        registry.register(Box::new(timeouts.clone()))?;
        let overhead = Histogram::with_opts(
            HistogramOpts::new("proxy_overhead_seconds", OVERHEAD).buckets(BUCKETS.to_vec()),
        )?;
        registry.register(Box::new(overhead.clone()))?;
        let counts = counters(
            registry,
            ("statements_total", "Statements that the primary completed."),
            &["kind"],
        )?;
        let durations = histograms(
            registry,
            (
                "statement_duration_seconds",
                "From a statement's arrival to its completion on the primary.",
            ),
            "kind",
        )?;
        let kind = |name: &str| Kind {
            count: counts.with_label_values(&[name]),
            duration: durations.with_label_values(&[name]),
        };
        let waits = histograms(
            registry,
            (
                "secondary_wait_seconds",
                "Time that a write waited for the secondary before the client was answered.",
            ),
            "mode",
        )?;
        let wait = |mode: Mode| waits.with_label_values(&[mode.as_str()]);
        Ok(Self {
            connections,
            read: kind("read"),
            write: kind("write"),
            other: kind("other"),
            uncaptured: uncaptured(registry)?,
            timeouts,
            overhead,
            blocking: wait(Mode::Blocking),
            strict: wait(Mode::Strict),
            unconfirmed: unconfirmed(registry)?,
        })
    }

    /// Counts a client that is connected, as long as the seat lives.
    #[must_use]
    pub fn enter(&self) -> Seat {
        self.connections.inc();
        Seat(self.connections.clone())
    }

    pub(crate) fn statement(&self, kind: &str, duration: Duration) {
        let kind = match kind {
            "read" => &self.read,
            "write" => &self.write,
            _ => &self.other,
        };
        kind.count.inc();
        kind.duration.observe(duration.as_secs_f64());
    }

    /// A write of this mode has waited for the secondary.
    pub(crate) fn waited(&self, mode: Mode, duration: Duration) {
        let wait = if mode == Mode::Strict { &self.strict } else { &self.blocking };
        wait.observe(duration.as_secs_f64());
    }

    /// What was added to this many statements together.
    pub(crate) fn added(&self, statements: u32, duration: Duration) {
        let each = duration.as_secs_f64() / f64::from(statements);
        (0..statements).for_each(|_| self.overhead.observe(each));
    }

    /// Counts under each table, or under `unknown` where none could be named.
    pub fn uncaptured(&self, tables: &[TableName], reason: &str) {
        if tables.is_empty() {
            self.uncaptured.with_label_values(&["unknown", reason]).inc();
        }
        for table in tables {
            self.uncaptured.with_label_values(&[&table.to_string()[..], reason]).inc();
        }
    }

    pub(crate) fn unconfirmed(&self, what: &str) {
        self.unconfirmed.with_label_values(&[what]).inc();
    }

    pub(crate) fn timed_out(&self) {
        self.timeouts.inc();
    }
}

const OVERHEAD: &str = "What Crossfade added to a statement that ended: from the moment a session woke \
     up for bytes of either side until it had passed on all that it made of them, there and back, and \
     every wait of its own (secondary, dirty marks, lease). What came in one batch is shared equally.";

fn uncaptured(registry: &Registry) -> prometheus::Result<IntCounterVec> {
    let help = "Statements that wrote, or may have written, a table without being carried over.";
    counters(registry, ("uncaptured_writes_total", help), &["table", "reason"])
}

fn unconfirmed(registry: &Registry) -> prometheus::Result<IntCounterVec> {
    let help = "Statements, transactions and answers refused because limits.lease had run out.";
    let refusals = counters(registry, ("lease_refusals_total", help), &["what"])?;
    for what in ["statement", "transaction", "answer"] {
        refusals.with_label_values(&[what]);
    }
    Ok(refusals)
}

fn counters(
    registry: &Registry,
    (name, help): (&str, &str),
    labels: &[&str],
) -> prometheus::Result<IntCounterVec> {
    let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(counters.clone()))?;
    Ok(counters)
}

fn histograms(
    registry: &Registry,
    (name, help): (&str, &str),
    label: &str,
) -> prometheus::Result<HistogramVec> {
    let opts = HistogramOpts::new(name, help).buckets(BUCKETS.to_vec());
    let histograms = HistogramVec::new(opts, &[label])?;
    registry.register(Box::new(histograms.clone()))?;
    Ok(histograms)
}
