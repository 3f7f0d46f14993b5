//! Where the flow of clients meets the flow to the secondary: a bounded hand-over of transactions.
//!
//! ```text
//! session ──Job──▶ [`Handoff`] ──(bounded by bytes)──▶ apply, outbox
//!    ▲                                                    │
//!    └───────────────── Settled (oneshot) ────────────────┘
//! ```
//!
//! Invariant: giving a job up is always safe. The outbox has an entry for every change; an image
//! that finds the queue full is dropped and counted as `deferred`, and the drain carries the row.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{mpsc, oneshot};

use crate::change::Transaction;
use crate::names::TableName;

/// Work for the side that faces the secondary.
#[derive(Debug)]
pub enum Job {
    /// Committed on the primary; apply it. `done` is answered for `blocking`.
    Apply { transaction: Transaction, bytes: usize, done: Option<oneshot::Sender<Settled>> },
    /// Executed on the primary and not yet committed (`strict`).
    Strict(StrictJob),
    /// A committed transaction wrote tables with trigger capture, or its images were dropped:
    /// start a drain pass now. `done` is answered when a pass that began after this job has ended.
    Drain { done: Option<oneshot::Sender<Settled>> },
    /// A write that is not carried over: the tables may differ from now on. `done` is answered once
    /// the mark is durable on the primary.
    Dirty { tables: Vec<TableName>, reason: &'static str, done: oneshot::Sender<()> },
    /// DDL went through: read the catalogue again.
    Reload,
}

/// A strict transaction: applied in an open transaction on the secondary, then held until decided.
#[derive(Debug)]
pub struct StrictJob {
    pub transaction: Transaction,
    /// The secondary holds it, uncommitted; or why it cannot.
    pub prepared: oneshot::Sender<Result<(), Failure>>,
    /// The primary's outcome; dropping the sender means rollback.
    pub decision: oneshot::Receiver<Decision>,
    /// The secondary has committed. If that fails the outbox has it.
    pub done: oneshot::Sender<Settled>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Commit,
    Rollback,
}

/// How a job ended, as far as the client's wait is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The secondary has it.
    Applied,
    /// It is left to the outbox.
    Deferred,
}

/// Why the secondary refused a strict transaction; names no value.
#[derive(Clone, Debug, thiserror::Error)]
#[error("secondary: {message}")]
pub struct Failure {
    /// SQLSTATE to answer the client with.
    pub code: &'static str,
    pub message: String,
}

/// The sending half, one per process, shared by all sessions.
#[derive(Clone, Debug)]
pub struct Handoff {
    sender: mpsc::UnboundedSender<Job>,
    level: Arc<Level>,
}

/// Bytes of images under way, and their bound.
#[derive(Debug)]
struct Level {
    bytes: AtomicUsize,
    bytes_max: AtomicUsize,
}

/// The receiving half.
#[derive(Debug)]
pub struct Jobs {
    pub receiver: mpsc::UnboundedReceiver<Job>,
    level: Arc<Level>,
}

/// Makes both halves; at most `bytes_max` bytes of images are under way at once.
#[must_use]
pub fn channel(bytes_max: usize) -> (Handoff, Jobs) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let level =
        Arc::new(Level { bytes: AtomicUsize::new(0), bytes_max: AtomicUsize::new(bytes_max) });
    (Handoff { sender, level: Arc::clone(&level) }, Jobs { receiver, level })
}

impl Handoff {
    /// Hands a committed transaction over. Never waits: past the bound the images are dropped, a
    /// drain is asked for instead, and the answer is that of the drain.
    pub fn apply(&self, transaction: Transaction, done: Option<oneshot::Sender<Settled>>) {
        let bytes = transaction.size();
        let before = self.level.bytes.fetch_add(bytes, Ordering::AcqRel);
        let job = if before + bytes > self.level.bytes_max.load(Ordering::Acquire) {
            self.level.bytes.fetch_sub(bytes, Ordering::AcqRel);
            Job::Drain { done }
        } else {
            Job::Apply { transaction, bytes, done }
        };
        self.send(job);
    }

    /// Hands over anything else. A closed channel means shutdown: the reply's sender is dropped
    /// with the job, and the waiting session sees that.
    pub fn send(&self, job: Job) {
        drop(self.sender.send(job));
    }

    /// Bytes of images under way.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.level.bytes.load(Ordering::Relaxed)
    }

    /// Takes a changed `limits.queue_bytes`.
    pub fn set_bytes_max(&self, bytes_max: usize) {
        self.level.bytes_max.store(bytes_max, Ordering::Release);
    }
}

impl Jobs {
    /// Gives the bytes of an applied (or dropped) transaction back.
    pub fn release(&self, bytes: usize) {
        self.level.bytes.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// A handle that can release after the receiver has moved elsewhere.
    #[must_use]
    pub fn releaser(&self) -> Releaser {
        Releaser(Arc::clone(&self.level))
    }
}

/// Gives bytes back from another task.
#[derive(Clone, Debug)]
pub struct Releaser(Arc<Level>);

impl Releaser {
    /// Bytes of images under way.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.bytes.load(Ordering::Relaxed)
    }

    pub fn release(&self, bytes: usize) {
        self.0.bytes.fetch_sub(bytes, Ordering::AcqRel);
    }
}
