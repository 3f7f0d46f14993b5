//! Applies what the primary has committed to the secondary.
//!
//! ```text
//!                      ┌─[`dispatch`]──by conflict──▶ [`worker`] × N ──one transaction for many──┐
//! handoff ──Job──▶─────┼─[`strict`]    held open until the primary has committed                 ├─▶ secondary
//!                      └─[`drain`]     claimed entries, rows read again ──────────────────────────┘
//!                                          ▲                                  │ applied
//!                     crossfade.outbox ────┴───────────────[`settle`]◀────────┘
//!
//! [`parents`]: brought along, where the secondary lacks them
//! [`breaker`]: open while the secondary is away; everything is then left to the outbox
//! [`lost`]:    after a failover, enters what the secondary has and the primary lost
//! [`upkeep`]:  backlog, fence entries; prunes the fence
//! ```
//!
//! Invariant: an outbox entry outlives its change. A crash between the secondary's commit and the
//! settling repeats one transaction; the fence makes repeating it harmless. Whatever goes wrong
//! here, the entry is still there, and the drain reads the row again.
//!
//! Not here: what to capture (`capture`), how a row is written (`backend::mysql`), when to stop
//! (`control`).

mod bell;
mod breaker;
mod carry;
mod conflict;
mod databases;
mod dispatch;
mod drain;
mod gather;
mod lost;
mod metrics;
mod parents;
mod reversed;
mod settle;
#[cfg(test)]
mod sim;
mod strict;
mod under_way;
mod upkeep;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::backend::mysql::connect::LinkLimits;
use crate::backend::mysql::{ToUrl, WriteError, Writer};
use crate::backend::postgres::connect::Connector;
use crate::handoff::{Jobs, Notices};
use crate::phase::Situation;

use bell::Bell;
use breaker::Breaker;
use databases::{Databases, Servers};
use reversed::Reversed;
use under_way::UnderWay;

pub use metrics::ApplyMetrics;

/// What the applier may use.
#[derive(Clone, Debug)]
pub struct ApplyLimits {
    /// Connections to the secondary that apply at the same time.
    pub workers: usize,
    /// Changes sent to the secondary in one transaction.
    pub batch_rows: usize,
    /// Strict transactions held open on the secondary at the same time.
    pub strict: usize,
    /// An outbox entry this old belongs to whoever claims it.
    pub grace: Duration,
    /// Longest time for one transaction on the secondary.
    pub write_timeout: Duration,
    /// Longest wait for one answer of the primary's.
    pub primary_timeout: Duration,
    /// Longest pause between two looks for a secondary that is away; doubles from 50 ms.
    pub backoff_max: Duration,
    /// How often the outbox is looked at without being asked, and the backlog measured.
    pub poll: Duration,
    /// Fence entries are kept at least this long.
    pub fence_keep: Duration,
    pub link: LinkLimits,
}

impl Default for ApplyLimits {
    fn default() -> Self {
        Self {
            workers: 4,
            batch_rows: 500,
            strict: 16,
            grace: Duration::from_secs(2),
            write_timeout: Duration::from_secs(15),
            primary_timeout: Duration::from_secs(30),
            backoff_max: Duration::from_secs(5),
            poll: Duration::from_secs(1),
            fence_keep: Duration::from_secs(600),
            link: LinkLimits::default(),
        }
    }
}

/// The running tasks.
#[derive(Debug)]
pub struct Applier {
    /// Workers included.
    dispatch: JoinHandle<()>,
    /// Settling, draining, probing, measuring: they end after the workers.
    tasks: JoinSet<()>,
    stop_dispatch: watch::Sender<bool>,
    stop_tasks: watch::Sender<bool>,
}

/// Starts everything, from PostgreSQL to MySQL.
#[must_use]
pub fn start(
    primary: Connector,
    secondary: ToUrl,
    limits: ApplyLimits,
    situation: watch::Receiver<Arc<Situation>>,
    jobs: Jobs,
    metrics: ApplyMetrics,
) -> Applier {
    let servers = Servers { primary, secondary, answer: limits.primary_timeout };
    let (shared, settled) = share(servers, limits, situation, &jobs, metrics);
    Applier::spawn(shared, jobs, settled)
}

/// Starts everything, from MySQL to PostgreSQL: after a switchover.
#[must_use]
pub fn start_reversed(
    primary: ToUrl,
    secondary: Connector,
    limits: ApplyLimits,
    situation: watch::Receiver<Arc<Situation>>,
    jobs: Jobs,
    metrics: ApplyMetrics,
) -> Applier {
    let answer = limits.primary_timeout;
    let servers = Reversed { primary, secondary, answer, link: limits.link };
    let (shared, settled) = share(servers, limits, situation, &jobs, metrics);
    Applier::spawn(shared, jobs, settled)
}

/// What the tasks will have in common, and the settler's queue.
fn share<D: Databases>(
    databases: D,
    limits: ApplyLimits,
    situation: watch::Receiver<Arc<Situation>>,
    jobs: &Jobs,
    metrics: ApplyMetrics,
) -> (Arc<Shared<D>>, settle::Queue) {
    let (settler, settled) = settle::channel();
    let shared = Shared {
        databases,
        breaker: Breaker::new(metrics.clone()),
        bell: Bell::default(),
        under_way: UnderWay::default(),
        releaser: jobs.releaser(),
        settler,
        limits,
        situation,
        notices: jobs.notices(),
        metrics,
    };
    (Arc::new(shared), settled)
}

impl Applier {
    fn spawn<D: Databases>(shared: Arc<Shared<D>>, jobs: Jobs, settled: settle::Queue) -> Self {
        let (stop_dispatch, dispatch_stopped) = watch::channel(false);
        let (stop_tasks, stopped) = watch::channel(false);
        let dispatch = tokio::spawn(dispatch::run(Arc::clone(&shared), jobs, dispatch_stopped));
        let mut tasks = JoinSet::new();
        tasks.spawn(settle::run(Arc::clone(&shared), settled, stopped.clone()));
        tasks.spawn(drain::run(Arc::clone(&shared), stopped.clone()));
        tasks.spawn(breaker::probe(Arc::clone(&shared), stopped.clone()));
        tasks.spawn(lost::run(Arc::clone(&shared), stopped.clone()));
        tasks.spawn(upkeep::run(shared, stopped));
        Self { dispatch, tasks, stop_dispatch, stop_tasks }
    }

    /// Applies what was handed over so far, then ends; gives up after `patience`, since the outbox
    /// has everything. Call it after the last [`crate::handoff::Handoff`] is gone or quiet.
    ///
    /// True where nothing was given up so: tables with `outbox: false` have no other witness.
    pub async fn finish(mut self, patience: Duration) -> bool {
        let all = async {
            // A task that has ended already needs no telling; one that panicked has logged it.
            let _ = self.stop_dispatch.send(true);
            let _ = (&mut self.dispatch).await;
            let _ = self.stop_tasks.send(true);
            while self.tasks.join_next().await.is_some() {}
        };
        let in_time = tokio::time::timeout(patience, all).await.is_ok();
        if !in_time {
            self.dispatch.abort();
            self.tasks.abort_all();
        }
        in_time
    }
}

/// What all tasks of the applier use.
struct Shared<D> {
    databases: D,
    limits: ApplyLimits,
    situation: watch::Receiver<Arc<Situation>>,
    breaker: Breaker,
    bell: Bell,
    under_way: UnderWay,
    releaser: crate::handoff::Releaser,
    settler: settle::Settler,
    notices: Arc<Notices>,
    metrics: ApplyMetrics,
}

impl<D: Databases> Shared<D> {
    fn situation(&self) -> Arc<Situation> {
        Arc::clone(&self.situation.borrow())
    }

    /// Whether these databases lead and follow in this order now: only then is anything applied.
    fn follows(&self) -> bool {
        self.situation.borrow().phase == D::PHASE
    }

    /// A new connection; the breaker hears how it went.
    async fn connect(&self) -> Result<Writer<D::Connection>, WriteError> {
        match self.databases.connect(&self.limits.link).await {
            Ok(link) => Ok(Writer::new(link)),
            Err(error) => {
                self.breaker.failed();
                Err(error)
            }
        }
    }
}

/// Resolves once the applier is to end.
async fn stopping(stopped: &mut watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _ = stopped.wait_for(|stop| *stop).await;
}
