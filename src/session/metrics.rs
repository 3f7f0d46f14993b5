//! What the sessions count.

use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};

use crate::names::TableName;

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
}

#[derive(Clone, Debug)]
struct Kind {
    count: IntCounter,
    duration: Histogram,
}

/// Counts a session while it lives.
#[derive(Debug)]
pub(super) struct Seat(IntGauge);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl SessionMetrics {
    /// Starts every kind of statement at zero.
    ///
    /// # Errors
    /// Where a name is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let connections = IntGauge::new("sessions", "Clients that are logged in.")?;
        let counts = IntCounterVec::new(
            Opts::new("statements_total", "Statements that the primary completed."),
            &["kind"],
        )?;
        let durations = HistogramVec::new(
            HistogramOpts::new(
                "statement_duration_seconds",
                "From a statement's arrival to its completion on the primary.",
            )
            .buckets(BUCKETS.to_vec()),
            &["kind"],
        )?;
        let uncaptured = IntCounterVec::new(
            Opts::new(
                "uncaptured_writes_total",
                "Statements that wrote, or may have written, a table without being carried over.",
            ),
            &["table", "reason"],
        )?;
        let timeouts = IntCounter::new(
            "blocking_timeouts_total",
            "Clients answered before the secondary had their write.",
        )?;
        let overhead = Histogram::with_opts(
            HistogramOpts::new(
                "proxy_overhead_seconds",
                "Time that a committed write waited for the secondary before the client was answered.",
            )
            .buckets(BUCKETS.to_vec()),
        )?;
        registry.register(Box::new(connections.clone()))?;
        registry.register(Box::new(counts.clone()))?;
        registry.register(Box::new(durations.clone()))?;
        registry.register(Box::new(uncaptured.clone()))?;
        registry.register(Box::new(timeouts.clone()))?;
        registry.register(Box::new(overhead.clone()))?;
        let kind = |name: &str| Kind {
            count: counts.with_label_values(&[name]),
            duration: durations.with_label_values(&[name]),
        };
        let (read, write, other) = (kind("read"), kind("write"), kind("other"));
        Ok(Self { connections, read, write, other, uncaptured, timeouts, overhead })
    }

    pub(super) fn enter(&self) -> Seat {
        self.connections.inc();
        Seat(self.connections.clone())
    }

    pub(super) fn statement(&self, kind: &str, duration: Duration) {
        let kind = match kind {
            "read" => &self.read,
            "write" => &self.write,
            _ => &self.other,
        };
        kind.count.inc();
        kind.duration.observe(duration.as_secs_f64());
    }

    pub(super) fn waited(&self, duration: Duration) {
        self.overhead.observe(duration.as_secs_f64());
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

    pub(super) fn timed_out(&self) {
        self.timeouts.inc();
    }
}
