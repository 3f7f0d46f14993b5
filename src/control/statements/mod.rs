//! Keeps the list of statements on the primary, and judges what is new in it.
//!
//! ```text
//! plan::seen ──untold──▶ crossfade.statements, .descriptions ──lines of all sidecars──▶ plan::seen
//!      └──unjudged──▶ shadow::ready ──readiness──┘
//! ```
//!
//! What is new (a statement, a description, a verdict) is told within `limits.poll`, counts every
//! [`COUNTS_EVERY`], and all of it once more at the end. A crash loses counts of that long, no more.
//!
//! Invariant: no session waits for any of this, and nothing that is written holds a literal.

mod table;

use std::sync::Arc;
use std::time::Duration;

use prometheus::{IntCounter, IntGauge, Registry};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::warn;

use crate::backend::mysql;
use crate::backend::postgres::connect::{ConnectError, Link};
use crate::control::Ends;
use crate::phase::{Phase, Situation};
use crate::plan::seen::Seen;
use crate::shadow::ready;
use crate::value::Flavor;

use table::Table;
pub use table::{crossings, forget, read};

/// Between two tellings of counts alone.
const COUNTS_EVERY: Duration = Duration::from_secs(10);
/// Statements told in one transaction.
const BATCH_MAX: usize = 500;
/// Longest time for one telling, and for the last one.
const TELL_TIME_MAX: Duration = Duration::from_secs(20);
const LAST_TIME_MAX: Duration = Duration::from_secs(2);
/// Between two attempts to learn what product the secondary is.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// How the telling goes.
#[derive(Clone, Debug)]
pub struct StatementMetrics {
    recorded: IntGauge,
    failures: IntCounter,
}

impl StatementMetrics {
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let recorded = IntGauge::new(
            "statements_recorded",
            "Statements that the primary's list holds, of all sidecars.",
        )?;
        let failures = IntCounter::new(
            "statement_record_failures_total",
            "Times that the list on the primary could not be written.",
        )?;
        registry.register(Box::new(recorded.clone()))?;
        registry.register(Box::new(failures.clone()))?;
        Ok(Self { recorded, failures })
    }
}

/// Why a telling came to nothing.
#[derive(Debug, thiserror::Error)]
enum TellError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server's own words could quote a text; its code cannot.
    #[error("PostgreSQL refused: {}", .0.code().map_or("lost the connection", |code| code.code()))]
    Postgres(#[from] tokio_postgres::Error),
    #[error("PostgreSQL did not answer in time")]
    TimedOut,
}

/// The task.
#[derive(Debug)]
pub struct Recorder {
    seen: Arc<Seen>,
    situation: watch::Receiver<Arc<Situation>>,
    ends: Ends,
    poll: Duration,
    metrics: StatementMetrics,
    link: Link,
    table: Table,
    told: Option<Instant>,
    flavor: Option<Flavor>,
    asked: Option<Instant>,
}

impl Recorder {
    #[must_use]
    pub fn new(
        seen: Arc<Seen>,
        situation: watch::Receiver<Arc<Situation>>,
        ends: Ends,
        poll: Duration,
        metrics: StatementMetrics,
    ) -> Self {
        let link = Link::new(ends.from.clone());
        let (table, told, flavor, asked) = (Table::default(), None, None, None);
        Self { seen, situation, ends, poll, metrics, link, table, told, flavor, asked }
    }

    /// Tells and judges until `stop` says so.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut failed = false;
        while !*stop.borrow() {
            self.judge().await;
            match self.tell_in_time(TELL_TIME_MAX, false).await {
                Ok(()) => failed = false,
                Err(error) => {
                    self.metrics.failures.inc();
                    // Once per outage.
                    if !failed {
                        warn!(%error, "the list of statements could not be kept, will retry");
                    }
                    failed = true;
                }
            }
            let pause = async {
                match failed {
                    true => self.link.back_off().await,
                    false => tokio::time::sleep(self.poll).await,
                }
            };
            tokio::select! {
                () = pause => {}
                _ = stop.changed() => {}
            }
        }
        // What it cannot tell any more was counts only.
        drop(self.tell_in_time(LAST_TIME_MAX, true).await);
    }

    async fn tell_in_time(&mut self, bound: Duration, last: bool) -> Result<(), TellError> {
        let told = timeout(bound, self.tell(last)).await.unwrap_or(Err(TellError::TimedOut));
        if told.is_err() {
            self.link.discard();
        }
        told
    }

    async fn tell(&mut self, last: bool) -> Result<(), TellError> {
        if self.situation.borrow().phase != Phase::DualWrite {
            self.link.discard();
            if self.table.forget() {
                self.seen.forgotten();
            }
            return Ok(());
        }
        let due = last || self.told.is_none_or(|told| COUNTS_EVERY <= told.elapsed());
        loop {
            let untold = self.seen.untold(BATCH_MAX);
            let crossed = self.seen.uncrossed();
            if !due && crossed.is_empty() && !untold.iter().any(|untold| untold.news) {
                return Ok(());
            }
            let more = untold.len() == BATCH_MAX;
            self.link.get().await?;
            let generation = self.link.generation();
            let client = self.link.get().await?;
            if self.table.ensure(client, generation).await? {
                self.seen.forgotten();
                continue;
            }
            let (lines, shapes) = self.table.tell(client, &untold, self.seen.max()).await?;
            self.seen.told(untold, lines, shapes);
            table::tell_crossings(client, &crossed).await?;
            self.seen.told_crossed(&crossed);
            self.link.settled();
            self.told = Some(Instant::now());
            self.metrics.recorded.set(self.table.lines());
            if !more {
                return Ok(());
            }
        }
    }

    /// Says of what is new whether the secondary could answer it.
    async fn judge(&mut self) {
        let situation = Arc::clone(&self.situation.borrow());
        // A part of the catalogue would say of its tables that they are elsewhere.
        if situation.phase == Phase::Setup || situation.is_parted() {
            return;
        }
        let Some(flavor) = self.flavor().await else { return };
        for (tally, sample) in self.seen.unjudged() {
            tally.judge(ready::readiness(&sample, &situation.catalog, flavor));
            // A translation takes its time, and there may be thousands.
            tokio::task::yield_now().await;
        }
    }

    async fn flavor(&mut self) -> Option<Flavor> {
        if self.flavor.is_none() && self.asked.is_none_or(|asked| ASK_EVERY <= asked.elapsed()) {
            self.asked = Some(Instant::now());
            // Whether it answers is shown elsewhere.
            let link = mysql::Link::connect(&self.ends.to, &self.ends.limits).await;
            self.flavor = link.ok().map(|link| link.flavor());
        }
        self.flavor
    }
}
