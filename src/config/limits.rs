//! The `limits:` section: every bound has a name and a default here.

use std::time::Duration;

use prometheus::{GaugeVec, Opts, Registry};

use super::reader::Section;
use super::unit;

/// What Crossfade may use. A reload changes all of it but what [`Self::keep_fixed`] names; a changed
/// bound holds for what begins after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Client connections at once; one more is refused with 53300.
    pub max_connections: usize,
    /// From the first byte of a client to a finished login.
    pub login_timeout: Duration,
    /// Largest message of a client that has not logged in.
    pub login_bytes: usize,
    /// To reach either database, login included.
    pub connect_timeout: Duration,
    /// Longest statement, or Bind of a captured one, that is held whole to be understood; longer
    /// ones are streamed through (and count as uncaptured where they may write).
    pub statement_bytes: usize,
    /// Largest message of a client that MySQL answers: there it is read whole.
    pub message_bytes: usize,
    /// Rows of one portal that wait for the client to ask for them, while MySQL answers.
    pub portal_bytes: usize,
    /// Distinct statements whose plan is kept, in all sessions together.
    pub plans: usize,
    /// Statements kept prepared on MySQL for clients that it answers, in all sessions together.
    pub prepared: usize,
    /// Distinct statements that are listed, in all sessions together.
    pub statements: usize,
    /// Images of one transaction held in memory; beyond, the outbox alone carries it.
    pub transaction_bytes: usize,
    /// Images held in memory before the outbox serves alone. Bounds memory, not the lag.
    pub queue_bytes: usize,
    /// Connections to the secondary that apply at the same time.
    pub workers: usize,
    /// Row changes sent to the secondary in one transaction.
    pub batch_rows: usize,
    /// Strict transactions held open on the secondary at the same time, each on its connection.
    pub strict: usize,
    /// Longest time for one transaction on the secondary.
    pub write_timeout: Duration,
    /// Longest wait for one answer of PostgreSQL's to Crossfade itself; clients' statements have none.
    pub primary_timeout: Duration,
    /// Longest pause between two attempts; the pause doubles from 50 ms up to this.
    pub backoff_max: Duration,
    /// An outbox entry this old belongs to whoever claims it.
    pub grace: Duration,
    /// Fence entries are kept at least this long.
    pub fence_keep: Duration,
    /// How often phase, epoch and catalogue are read again.
    pub poll: Duration,
    /// A sidecar that could not confirm its epoch for this long stops answering.
    pub lease: Duration,
    /// Longest pause of the clients while the lease does not hold, or the databases swap places.
    pub hold: Duration,
    /// How long open transactions may take to end after SIGTERM.
    pub shutdown: Duration,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            max_connections: 1000,
            login_timeout: Duration::from_secs(15),
            login_bytes: 64 << 10,
            connect_timeout: Duration::from_secs(5),
            statement_bytes: 16 << 20,
            message_bytes: 64 << 20,
            portal_bytes: 64 << 20,
            plans: 4096,
            prepared: 8192,
            statements: 4096,
            transaction_bytes: 16 << 20,
            queue_bytes: 64 << 20,
            workers: 4,
            batch_rows: 500,
            strict: 16,
            write_timeout: Duration::from_secs(15),
            primary_timeout: Duration::from_secs(30),
            backoff_max: Duration::from_secs(5),
            grace: Duration::from_secs(2),
            fence_keep: Duration::from_secs(600),
            poll: Duration::from_secs(1),
            lease: Duration::from_secs(5),
            hold: Duration::from_secs(30),
            shutdown: Duration::from_secs(30),
        }
    }
}

impl LimitsConfig {
    /// Puts back what only a start can change; returns the keys that differ.
    pub fn keep_fixed(&mut self, old: &Self) -> Vec<&'static str> {
        let mut changed = Vec::new();
        macro_rules! keep {
            ($($key:ident)*) => {
                $(if self.$key != old.$key {
                    self.$key = old.$key;
                    changed.push(concat!("limits.", stringify!($key)));
                })*
            };
        }
        keep!(workers batch_rows strict write_timeout primary_timeout backoff_max grace);
        keep!(fence_keep poll shutdown prepared);
        if self.lease <= self.poll {
            // Right for the new `poll`, and not for the one that stays.
            keep!(lease);
        }
        changed
    }

    /// Each by its key: counts, bytes, seconds.
    fn numbers(&self) -> [(&'static str, f64); 24] {
        let Self { max_connections, login_bytes, statement_bytes, plans, statements, .. } = self;
        let Self { transaction_bytes, queue_bytes, workers, batch_rows, strict, .. } = self;
        let count = |count: &usize| *count as f64;
        let seconds = |duration: &Duration| duration.as_secs_f64();
        [
            ("max_connections", count(max_connections)),
            ("login_timeout", seconds(&self.login_timeout)),
            ("login_bytes", count(login_bytes)),
            ("connect_timeout", seconds(&self.connect_timeout)),
            ("statement_bytes", count(statement_bytes)),
            ("message_bytes", count(&self.message_bytes)),
            ("portal_bytes", count(&self.portal_bytes)),
            ("plans", count(plans)),
            ("prepared", count(&self.prepared)),
            ("statements", count(statements)),
            ("transaction_bytes", count(transaction_bytes)),
            ("queue_bytes", count(queue_bytes)),
            ("workers", count(workers)),
            ("batch_rows", count(batch_rows)),
            ("strict", count(strict)),
            ("write_timeout", seconds(&self.write_timeout)),
            ("primary_timeout", seconds(&self.primary_timeout)),
            ("backoff_max", seconds(&self.backoff_max)),
            ("grace", seconds(&self.grace)),
            ("fence_keep", seconds(&self.fence_keep)),
            ("poll", seconds(&self.poll)),
            ("lease", seconds(&self.lease)),
            ("hold", seconds(&self.hold)),
            ("shutdown", seconds(&self.shutdown)),
        ]
    }
}

/// Each limit as it holds now, beside the metrics that count where it is met.
#[derive(Clone, Debug)]
pub struct LimitMetrics(GaugeVec);

impl LimitMetrics {
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let help = "The bounds of proxy.yaml's limits: counts, bytes, seconds.";
        let gauges = GaugeVec::new(Opts::new("limit", help), &["name"])?;
        registry.register(Box::new(gauges.clone()))?;
        Ok(Self(gauges))
    }

    pub fn show(&self, limits: &LimitsConfig) {
        for (name, value) in limits.numbers() {
            self.0.with_label_values(&[name]).set(value);
        }
    }
}

pub(super) fn read(mut section: Section<'_, '_>) -> LimitsConfig {
    let default = LimitsConfig::default();
    let s = &mut section;
    let limits = LimitsConfig {
        max_connections: s.read(
            "max_connections",
            default.max_connections,
            unit::between(1, 100_000),
        ),
        login_timeout: s.read("login_timeout", default.login_timeout, unit::duration),
        login_bytes: s.read("login_bytes", default.login_bytes, unit::size),
        connect_timeout: s.read("connect_timeout", default.connect_timeout, unit::duration),
        statement_bytes: s.read("statement_bytes", default.statement_bytes, unit::size),
        message_bytes: s.read("message_bytes", default.message_bytes, unit::size),
        portal_bytes: s.read("portal_bytes", default.portal_bytes, unit::size),
        plans: s.read("plans", default.plans, unit::between(1, 1_000_000)),
        prepared: s.read("prepared", default.prepared, unit::between(0, 1_000_000)),
        statements: s.read("statements", default.statements, unit::between(1, 10_000)),
        transaction_bytes: s.read("transaction_bytes", default.transaction_bytes, unit::size),
        queue_bytes: s.read("queue_bytes", default.queue_bytes, unit::size),
        workers: s.read("workers", default.workers, unit::between(1, 256)),
        batch_rows: s.read("batch_rows", default.batch_rows, unit::between(1, 10_000)),
        strict: s.read("strict", default.strict, unit::between(1, 256)),
        write_timeout: s.read("write_timeout", default.write_timeout, unit::duration),
        primary_timeout: s.read("primary_timeout", default.primary_timeout, unit::duration),
        backoff_max: s.read("backoff_max", default.backoff_max, unit::duration),
        grace: s.read("grace", default.grace, unit::duration),
        fence_keep: s.read("fence_keep", default.fence_keep, unit::duration),
        poll: s.read("poll", default.poll, unit::duration),
        lease: s.read("lease", default.lease, unit::duration),
        hold: s.read("hold", default.hold, unit::duration),
        shutdown: s.read("shutdown", default.shutdown, unit::duration),
    };
    if limits.lease <= limits.poll {
        section.mistake("lease", "must be longer than limits.poll");
    }
    section.finish();
    limits
}
