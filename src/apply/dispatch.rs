//! Hands jobs to workers: side by side where they are independent, one after the other where not.
//!
//! ```text
//! Job ──▶ breaker open? ──▶ Deferred
//!    └──▶ conflict keys ──▶ a free worker, or the one that holds a key, or wait
//! ```
//!
//! Invariant: a transaction that conflicts with one under way goes behind it, in the same worker. A
//! TRUNCATE conflicts with everything: it goes alone.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::conflict::{self, Lockset, Place};
use super::databases::Databases;
use super::metrics::Written;
use super::worker::{self, Finished, Item};
use super::{Shared, stopping, strict};
use crate::change::{Effect, Transaction};
use crate::handoff::{Job, Jobs, Settled};

/// Items queued at one worker beyond which nothing more is handed to it. Images waiting before it are
/// bounded by `limits.queue_bytes`.
const QUEUE_MAX: usize = 10_000;

/// Items that one worker is given before the next one is, where nobody waits for them: few workers
/// with full batches cost the secondary less than many with one row each.
const PACKED_MAX: usize = 128;

struct Dispatch<D: Databases> {
    shared: Arc<Shared<D>>,
    lockset: Lockset,
    workers: Vec<mpsc::Sender<Item>>,
    /// Items under way, by worker.
    loads: Vec<usize>,
    finished: mpsc::UnboundedReceiver<Finished>,
    strict: strict::Pool<D>,
}

/// Runs until the hand-over is closed or the applier is told to stop; what was received is finished.
pub(super) async fn run<D: Databases>(
    shared: Arc<Shared<D>>,
    jobs: Jobs,
    mut stopped: watch::Receiver<bool>,
) {
    let mut jobs = jobs;
    let (report, finished) = mpsc::unbounded_channel();
    let (mut tasks, mut workers) = (JoinSet::new(), Vec::new());
    for index in 0..shared.limits.workers.max(1) {
        let (sender, items) = mpsc::channel(QUEUE_MAX);
        tasks.spawn(worker::run(Arc::clone(&shared), index, items, report.clone()));
        workers.push(sender);
    }
    let loads = vec![0; workers.len()];
    let strict = strict::Pool::new(Arc::clone(&shared));
    let mut dispatch =
        Dispatch { shared, lockset: Lockset::default(), workers, loads, finished, strict };
    loop {
        tokio::select! {
            biased;
            () = stopping(&mut stopped) => break,
            Some(finished) = dispatch.finished.recv() => dispatch.release(&finished),
            job = jobs.recv() => match job {
                Some(job) => dispatch.job(job).await,
                None => break,
            },
        }
    }
    jobs.close();
    while let Some(job) = jobs.recv().await {
        dispatch.job(job).await;
    }
    dispatch.strict.finish().await;
    drop(dispatch.workers);
    while tasks.join_next().await.is_some() {}
}

impl<D: Databases> Dispatch<D> {
    async fn job(&mut self, job: Job) {
        match job {
            Job::Apply { transaction, bytes, done } => {
                if self.shared.breaker.is_open() || !self.shared.follows() {
                    self.defer(&transaction, bytes, done);
                } else {
                    self.apply(transaction, bytes, done).await;
                }
            }
            Job::Strict(job) => self.strict.start(job),
            Job::Drain { waiting } => self.shared.bell.ring(waiting),
        }
    }

    async fn apply(
        &mut self,
        transaction: Transaction,
        bytes: usize,
        done: Option<oneshot::Sender<Settled>>,
    ) {
        self.shared.under_way.add(&transaction.changes);
        let keys = conflict::keys(&transaction.changes);
        let empties =
            transaction.changes.iter().any(|change| matches!(change.effect, Effect::Empty));
        if empties {
            self.idle().await;
        }
        let worker = self.worker(&keys, done.is_some()).await;
        self.lockset.take(&keys, worker);
        self.loads[worker] += 1;
        let item = Item { transaction, bytes, done, keys, arrived: Instant::now() };
        if let Err(mpsc::error::SendError(item)) = self.workers[worker].send(item).await {
            // The worker's task is gone: it panicked. The outbox has the change.
            self.defer(&item.transaction, item.bytes, item.done);
            self.release(&Finished { worker, keys: item.keys });
        }
        if empties {
            self.idle().await;
        }
    }

    /// The worker that may take these keys; waits while two hold some of them.
    async fn worker(&mut self, keys: &[u64], waited_for: bool) -> usize {
        loop {
            match self.lockset.place(keys) {
                Place::Only(worker) => return worker,
                Place::Anywhere => return choose(&self.loads, waited_for),
                Place::Nowhere => self.wait().await,
            }
        }
    }

    async fn idle(&mut self) {
        while self.loads.iter().any(|load| *load > 0) {
            self.wait().await;
        }
    }

    /// Waits for one item to end.
    async fn wait(&mut self) {
        if let Some(finished) = self.finished.recv().await {
            self.release(&finished);
        }
    }

    fn release(&mut self, finished: &Finished) {
        self.lockset.release(&finished.keys);
        self.loads[finished.worker] -= 1;
    }

    /// Leaves a transaction to the outbox.
    fn defer(
        &self,
        transaction: &Transaction,
        bytes: usize,
        done: Option<oneshot::Sender<Settled>>,
    ) {
        for change in &transaction.changes {
            self.shared.metrics.wrote(change, Written::Deferred);
        }
        self.shared.releaser.give_up(transaction);
        let ids = transaction.changes.iter().filter_map(|change| change.entry);
        self.shared.under_way.remove(ids.map(|entry| entry.0));
        self.shared.releaser.release(bytes);
        if let Some(done) = done {
            // A session that no longer waits has had its timeout.
            let _ = done.send(Settled::Deferred);
        }
    }
}

/// Who is waited for goes to the worker with the least to do, others to the first with room.
fn choose(loads: &[usize], waited_for: bool) -> usize {
    let room = loads.iter().position(|load| !waited_for && *load < PACKED_MAX);
    let lightest = || loads.iter().enumerate().min_by_key(|(_, load)| **load);
    room.or_else(|| lightest().map(|(worker, _)| worker)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_waits_for_is_packed_and_the_rest_spread() {
        assert_eq!(choose(&[3, 0, 1], true), 1);
        assert_eq!(choose(&[3, 0, 1], false), 0);
        assert_eq!(choose(&[PACKED_MAX, PACKED_MAX - 1, 0], false), 1);
        assert_eq!(choose(&[PACKED_MAX + 2, PACKED_MAX, PACKED_MAX + 1], false), 1);
    }
}
