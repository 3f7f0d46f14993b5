//! `strict`: held open on the secondary until the primary has committed.
//!
//! ```text
//! StrictJob ──▶ prepare (transaction open) ──prepared──▶ session commits ──decision──▶ COMMIT
//!                     └─refused, or too slow──▶ session rolls back
//! ```
//!
//! Invariant: without a decision to commit nothing is kept: a session that went away, and a sidecar
//! that died, end in the secondary's ROLLBACK. If the last COMMIT fails the outbox has the change.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as Turns, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::warn;

use super::Shared;
use super::databases::{Databases, Lost, Outbox as _, Reader as _};
use super::metrics::Written;
use super::parents::Parents;
use crate::backend::mysql::{Outcome, Reaction, Refused, WriteError, Writer};
use crate::change::Change;
use crate::handoff::{Decision, Failure, Settled, StrictJob};

/// Between attempts at a transaction that clashes with one on its way.
const PAUSE: Duration = Duration::from_millis(10);
/// This part of the timeout is left for the reason to reach the session, which counts by itself.
const LAST_PART: u32 = 8;

/// How often parents are brought along for one transaction: once for each table that lacks some. More
/// often, they go again as fast as they come.
const BRINGS_MAX: usize = 8;

/// Connections that wait for the next transaction, each with the time of its last use.
type Idle<D> = Arc<Mutex<Vec<(Writer<<D as Databases>::Connection>, Instant)>>>;

/// How parents are read: by one transaction at a time.
type Primary<D> = Arc<Turns<Option<(<D as Databases>::Outbox, <D as Databases>::Reader)>>>;

/// Strict transactions under way, each with a connection of its own.
pub(super) struct Pool<D: Databases> {
    shared: Arc<Shared<D>>,
    permits: Arc<Semaphore>,
    idle: Idle<D>,
    primary: Primary<D>,
    tasks: JoinSet<()>,
}

impl<D: Databases> Pool<D> {
    pub(super) fn new(shared: Arc<Shared<D>>) -> Self {
        let permits = Arc::new(Semaphore::new(shared.limits.strict.max(1)));
        let (idle, primary) = (Arc::default(), Primary::<D>::default());
        Self { shared, permits, idle, primary, tasks: JoinSet::new() }
    }

    /// Begins at once, or when one of the others has ended.
    pub(super) fn start(&mut self, job: StrictJob) {
        while self.tasks.try_join_next().is_some() {}
        let one = One {
            shared: Arc::clone(&self.shared),
            idle: Arc::clone(&self.idle),
            primary: Arc::clone(&self.primary),
        };
        let permits = Arc::clone(&self.permits);
        self.tasks.spawn(async move {
            let timeout = job.transaction.timeout;
            match tokio::time::timeout(timeout, permits.acquire_owned()).await {
                Ok(Ok(_permit)) => one.run(job).await,
                _ => {
                    let _ = job.prepared.send(Err(failure(&WriteError::TimedOut)));
                }
            }
        });
    }

    pub(super) async fn finish(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

struct One<D: Databases> {
    shared: Arc<Shared<D>>,
    idle: Idle<D>,
    primary: Primary<D>,
}

impl<D: Databases> One<D> {
    async fn run(&self, job: StrictJob) {
        let StrictJob { transaction, prepared, decision, done, reserved: _reserved } = job;
        let deadline = Instant::now() + transaction.timeout;
        let changes = &transaction.changes;
        let prepare = self.prepare(changes, deadline - transaction.timeout / LAST_PART);
        let result = match tokio::time::timeout_at(deadline, prepare).await {
            Ok(result) => result,
            Err(_) => Err(Refused { at: 0, column: None, error: WriteError::TimedOut }),
        };
        let (writer, outcomes) = match result {
            Ok(held) => held,
            Err(refused) => {
                if let Some(change) = changes.get(refused.at) {
                    self.shared.metrics.refused(change, &refused.error);
                }
                self.count(changes, Written::Failed);
                // The session may have had enough of waiting; then nothing is committed either.
                let _ = prepared.send(Err(failure(&refused.error)));
                return;
            }
        };
        self.shared.under_way.add(changes);
        let settled = match prepared.send(Ok(())) {
            Ok(()) => self.decide(writer, decision.await, changes, &outcomes).await,
            Err(_) => self.decide(writer, Ok(Decision::Rollback), changes, &outcomes).await,
        };
        if settled == Settled::Deferred {
            self.shared.under_way.remove(entries(changes).into_iter());
        }
        let _ = done.send(settled);
    }

    /// Applies in an open transaction; clashes are tried again until then.
    async fn prepare(
        &self,
        changes: &[Change],
        until: Instant,
    ) -> Result<(Writer<D::Connection>, Vec<Outcome>), Refused> {
        let (started, mut brought) = (Instant::now(), 0);
        loop {
            let refused = match self.attempt(changes).await {
                Ok((mut writer, outcomes)) => {
                    if !outcomes.contains(&Outcome::ReadAgain) {
                        self.count_latency(changes, started);
                        return Ok((writer, outcomes));
                    }
                    let _ = writer.rollback().await;
                    Refused { at: 0, column: None, error: WriteError::Race }
                }
                Err(refused) => refused,
            };
            let may_bring = refused.error.lacks_parent() && brought < BRINGS_MAX;
            if may_bring && self.bring_parents(changes, &refused).await {
                brought += 1;
                continue;
            }
            match refused.error.reaction() {
                Reaction::Now | Reaction::Soon if Instant::now() < until => {
                    tokio::time::sleep(PAUSE).await;
                }
                // What it fails of all the while says more than that the time is up.
                Reaction::Now | Reaction::Soon => return Err(refused),
                Reaction::ReadAgain | Reaction::Stuck | Reaction::Down => return Err(refused),
            }
        }
    }

    /// Takes the rows that the changes reference, and the secondary lacks, there in a transaction of
    /// their own: they are committed, whatever becomes of this one.
    async fn bring_parents(&self, changes: &[Change], refused: &Refused) -> bool {
        let mut turn = self.primary.lock().await;
        // Taken out: dropped in the middle of an answer, a connection must not be used again.
        let primary = turn.take().filter(|(o, r)| !o.is_closed() && !r.is_closed());
        match self.bring(primary, changes, refused).await {
            Ok((primary, done)) => {
                *turn = Some(primary);
                done
            }
            Err(error) => {
                warn!(%error, "parents could not be read on the primary");
                false
            }
        }
    }

    async fn bring(
        &self,
        primary: Option<(D::Outbox, D::Reader)>,
        changes: &[Change],
        refused: &Refused,
    ) -> Result<((D::Outbox, D::Reader), bool), Lost> {
        let databases = &self.shared.databases;
        let mut primary = match primary {
            Some(pair) => pair,
            None => (databases.outbox().await?, databases.reader().await?),
        };
        let situation = self.shared.situation();
        let mut parents = Parents::of(changes.iter());
        let mut table = parents.wanting(refused, changes.iter());
        while let Some(wanting) = table {
            if !parents.climb(&mut primary, changes.iter(), wanting, &situation).await? {
                break;
            }
            table = match self.write(parents.changes()).await {
                Ok(()) => {
                    self.shared.metrics.brought(parents.changes());
                    return Ok((primary, true));
                }
                Err(refused) => parents.wanting(&refused, std::iter::empty()),
            };
        }
        Ok((primary, false))
    }

    /// Applies and commits.
    async fn write(&self, changes: &[Change]) -> Result<(), Refused> {
        let none = |error| Refused { at: 0, column: None, error };
        let situation = self.shared.situation();
        let mut writer = self.writer().await.map_err(none)?;
        match writer.write(&[changes], situation.epoch, &situation.catalog).await {
            Err(refused) if refused.error.breaks_connection() => {
                self.shared.breaker.failed();
                Err(refused)
            }
            result => {
                self.put_back(writer);
                result.map(drop)
            }
        }
    }

    async fn attempt(
        &self,
        changes: &[Change],
    ) -> Result<(Writer<D::Connection>, Vec<Outcome>), Refused> {
        let none = |error| Refused { at: 0, column: None, error };
        if self.shared.breaker.is_open() {
            return Err(none(WriteError::Disconnected));
        }
        let situation = self.shared.situation();
        let mut writer = self.writer().await.map_err(none)?;
        let result = writer.prepare(&[changes], situation.epoch, &situation.catalog).await;
        match result {
            Ok(outcomes) => {
                self.shared.breaker.succeeded();
                Ok((writer, outcomes))
            }
            Err(refused) => {
                if refused.error.breaks_connection() {
                    self.shared.breaker.failed();
                } else {
                    self.put_back(writer);
                }
                Err(refused)
            }
        }
    }

    async fn decide(
        &self,
        mut writer: Writer<D::Connection>,
        decision: Result<Decision, tokio::sync::oneshot::error::RecvError>,
        changes: &[Change],
        outcomes: &[Outcome],
    ) -> Settled {
        if decision != Ok(Decision::Commit) {
            self.count(changes, Written::Failed);
            if writer.rollback().await.is_ok() {
                self.put_back(writer);
            }
            return Settled::Deferred;
        }
        let commit = tokio::time::timeout(self.shared.limits.write_timeout, writer.commit()).await;
        if !matches!(commit, Ok(Ok(()))) {
            self.shared.breaker.failed();
            self.count(changes, Written::Deferred);
            return Settled::Deferred;
        }
        for (change, outcome) in changes.iter().zip(outcomes) {
            self.shared.metrics.wrote(change, (*outcome).into());
        }
        let epoch = changes.first().map_or(0, |change| change.version.epoch);
        self.shared.settler.settle(&self.shared.under_way, epoch, entries(changes));
        self.put_back(writer);
        Settled::Applied
    }

    async fn writer(&self) -> Result<Writer<D::Connection>, WriteError> {
        let idle_max = self.shared.limits.link.idle / 2;
        let idle = {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.retain(|(_, used)| used.elapsed() < idle_max);
            idle.pop()
        };
        match idle {
            Some((writer, _)) => Ok(writer),
            None => self.shared.connect().await,
        }
    }

    fn put_back(&self, writer: Writer<D::Connection>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push((writer, Instant::now()));
    }

    fn count(&self, changes: &[Change], written: Written) {
        for change in changes {
            self.shared.metrics.wrote(change, written);
        }
    }

    fn count_latency(&self, changes: &[Change], started: Instant) {
        let seconds = started.elapsed().as_secs_f64();
        for change in changes {
            self.shared.metrics.took(change, seconds);
        }
    }
}

fn entries(changes: &[Change]) -> Vec<i64> {
    changes.iter().filter_map(|change| change.entry).map(|entry| entry.0).collect()
}

fn failure(error: &WriteError) -> Failure {
    Failure { code: error.sqlstate(), message: error.to_string() }
}
