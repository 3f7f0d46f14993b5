//! Where the flow of clients meets the flow to the secondary: a bounded hand-over of transactions.
//!
//! ```text
//! session ──Job──▶ [`Handoff`] ──(bounded)──▶ apply, outbox
//!    ▲    └─dirty, reload─▶ [`Notices`] ─────────────▶ control
//!    └───────────────── Settled (oneshot) ────────────────┘
//! ```
//!
//! Invariant: giving a job up is always safe. The outbox has an entry for every change; an image
//! that finds the queue full is dropped and counted, and the drain carries the row. What waits is
//! bounded: images by bytes, drains are one however many ask, and of those who wait for one only
//! they who still do are kept.

mod notices;
mod pace;
mod reads;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::{IntCounterVec, Opts, Registry};
use tokio::sync::{mpsc, oneshot};

use crate::change::Transaction;

pub use notices::{Gathered, Notices};
use pace::Pace;
pub use reads::{Reads, ShadowRead, Shown, Statement};

/// Below this many nobody looks for those that have given up.
const KEPT_MIN: usize = 64;

/// Work for the side that faces the secondary.
#[derive(Debug)]
pub enum Job {
    /// Committed on the primary; apply it. `done` is answered for `blocking`.
    Apply { transaction: Transaction, bytes: usize, done: Option<oneshot::Sender<Settled>> },
    /// Executed on the primary and not yet committed (`strict`).
    Strict(StrictJob),
    /// Committed transactions wrote tables with trigger capture, or their images were dropped:
    /// start a drain pass now. `waiting` is answered when a pass that began after this job has ended.
    Drain { waiting: Vec<oneshot::Sender<Settled>> },
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
    /// Its bytes, given back with it.
    pub reserved: Reserved,
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

/// Why a table with `outbox: false` is dirty: an image was dropped, and nothing else stood for it.
pub const LOST: &str = "outbox_off";

/// The sending half, one per process, shared by all sessions.
#[derive(Clone, Debug)]
pub struct Handoff {
    /// Its length is bounded by the level, and by the one drain asked for.
    sender: mpsc::UnboundedSender<Job>,
    level: Arc<Level>,
}

/// What is under way, and its bounds.
#[derive(Debug)]
struct Level {
    /// Of images, without the strict ones.
    bytes: AtomicUsize,
    /// Of strict transactions: as many again, so that neither fails for the other's sake.
    strict_bytes: AtomicUsize,
    bytes_max: AtomicUsize,
    drain: Mutex<Drain>,
    notices: Arc<Notices>,
    full: IntCounterVec,
    pace: Pace,
    reads: Reads,
}

/// A drain that was asked for and is not begun.
#[derive(Debug, Default)]
struct Drain {
    asked: bool,
    waiting: Vec<oneshot::Sender<Settled>>,
}

/// The receiving half.
#[derive(Debug)]
pub struct Jobs {
    receiver: mpsc::UnboundedReceiver<Job>,
    level: Arc<Level>,
}

/// Makes both halves; at most `bytes_max` bytes of images are under way at once.
#[must_use]
pub fn channel(bytes_max: usize) -> (Handoff, Jobs) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let help = "Transactions that found limits.queue_bytes reached: images left to the outbox, strict refused.";
    let full = IntCounterVec::new(Opts::new("queue_full_total", help), &["what"])
        .expect("a counter with a valid name");
    for what in ["images", "strict"] {
        full.with_label_values(&[what]);
    }
    let level = Arc::new(Level {
        bytes: AtomicUsize::new(0),
        strict_bytes: AtomicUsize::new(0),
        bytes_max: AtomicUsize::new(bytes_max),
        drain: Mutex::default(),
        notices: Arc::default(),
        full,
        pace: Pace::default(),
        reads: Reads::default(),
    });
    (Handoff { sender, level: Arc::clone(&level) }, Jobs { receiver, level })
}

impl Handoff {
    /// Shows how often the bound was met.
    pub fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        self.level.pace.register(registry)?;
        registry.register(Box::new(self.level.reads.outcomes()))?;
        registry.register(Box::new(self.level.full.clone()))
    }

    /// Reads to be tried on the secondary.
    #[must_use]
    pub fn reads(&self) -> &Reads {
        &self.level.reads
    }

    /// Hands a committed transaction over. Never waits: past the bound the images are dropped, a
    /// drain is asked for instead, and the answer is that of the drain. While the secondary is slow,
    /// nobody waits.
    pub fn apply(&self, transaction: Transaction, done: Option<oneshot::Sender<Settled>>) {
        let done = self.level.pace.worth_waiting(done);
        let bytes = transaction.size();
        if self.level.reserve(&self.level.bytes, bytes) {
            self.send(Job::Apply { transaction, bytes, done });
        } else {
            self.level.full.with_label_values(&["images"]).inc();
            self.level.lost(&transaction);
            self.drain(done);
        }
    }

    /// Hands over a transaction that the primary has executed and not committed. The secondary
    /// answers on the first channel, hears the primary's outcome on the second, and says on the
    /// third that it has committed.
    pub fn strict(
        &self,
        transaction: Transaction,
        prepared: oneshot::Sender<Result<(), Failure>>,
        decision: oneshot::Receiver<Decision>,
        done: oneshot::Sender<Settled>,
    ) -> Result<(), Failure> {
        let bytes = transaction.size();
        if !self.level.reserve(&self.level.strict_bytes, bytes) {
            self.level.full.with_label_values(&["strict"]).inc();
            let message = "too much is waiting for it (limits.queue_bytes)".to_owned();
            return Err(Failure { code: "53400", message });
        }
        let reserved = Reserved { level: Arc::clone(&self.level), bytes };
        self.send(Job::Strict(StrictJob { transaction, prepared, decision, done, reserved }));
        Ok(())
    }

    /// Asks for a drain pass; one that has not begun serves all who ask before it does.
    pub fn drain(&self, done: Option<oneshot::Sender<Settled>>) {
        let done = self.level.pace.worth_waiting(done);
        let mut drain = self.level.drain.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(done) = done {
            keep(&mut drain.waiting, done);
        }
        if !std::mem::replace(&mut drain.asked, true) {
            self.send(Job::Drain { waiting: Vec::new() });
        }
    }

    /// A client has waited for so long in vain (`blocking`).
    pub fn waited_in_vain(&self, bound: Duration) {
        self.level.pace.late(bound);
    }

    /// For what only `control` can act on.
    #[must_use]
    pub fn notices(&self) -> &Notices {
        &self.level.notices
    }

    /// A closed channel means shutdown: the reply's sender is dropped with the job, and the waiting
    /// session sees that.
    fn send(&self, job: Job) {
        drop(self.sender.send(job));
    }

    /// Bytes of images under way.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.level.bytes.load(Ordering::Relaxed)
    }

    /// Bytes of strict transactions under way.
    #[cfg(test)]
    pub(crate) fn strict_bytes(&self) -> usize {
        self.level.strict_bytes.load(Ordering::Relaxed)
    }

    /// Takes a changed `limits.queue_bytes`.
    pub fn set_bytes_max(&self, bytes_max: usize) {
        self.level.bytes_max.store(bytes_max, Ordering::Release);
    }
}

impl Level {
    /// A transaction is given up: what has no entry in the outbox is gone, and its table dirty.
    fn lost(&self, transaction: &Transaction) {
        let tables = transaction.loose();
        if !tables.is_empty() {
            self.notices.dirty(tables, LOST, None);
        }
    }

    fn reserve(&self, counter: &AtomicUsize, bytes: usize) -> bool {
        let before = counter.fetch_add(bytes, Ordering::AcqRel);
        let fits = before + bytes <= self.bytes_max.load(Ordering::Acquire);
        if !fits {
            counter.fetch_sub(bytes, Ordering::AcqRel);
        }
        fits
    }
}

/// Keeps who waits, and lets go of those that have given up before there are twice as many.
fn keep<T>(waiting: &mut Vec<oneshot::Sender<T>>, done: oneshot::Sender<T>) {
    if KEPT_MIN <= waiting.len() && waiting.len() == waiting.capacity() {
        waiting.retain(|waiting| !waiting.is_closed());
        let room = waiting.len().max(KEPT_MIN);
        waiting.shrink_to(2 * room);
        waiting.reserve_exact(room);
    }
    waiting.push(done);
}

impl Jobs {
    /// The next job; `None` once the sending half is gone, or [`Self::close`] was called and all is
    /// taken.
    pub async fn recv(&mut self) -> Option<Job> {
        match self.receiver.recv().await? {
            Job::Drain { .. } => {
                let mut drain = self.level.drain.lock().unwrap_or_else(PoisonError::into_inner);
                Some(Job::Drain { waiting: std::mem::take(&mut *drain).waiting })
            }
            job => Some(job),
        }
    }

    /// Takes no more jobs than there are.
    pub fn close(&mut self) {
        self.receiver.close();
    }

    /// What was noticed for `control`.
    #[must_use]
    pub fn notices(&self) -> Arc<Notices> {
        Arc::clone(&self.level.notices)
    }

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

/// A strict transaction's bytes.
#[derive(Debug)]
pub struct Reserved {
    level: Arc<Level>,
    bytes: usize,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.level.strict_bytes.fetch_sub(self.bytes, Ordering::AcqRel);
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

    /// Something took so long to reach the secondary, whether or not anyone waited for it.
    pub fn took(&self, time: Duration) {
        self.0.pace.took(time);
    }

    pub fn release(&self, bytes: usize) {
        self.0.bytes.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// The secondary will not get this transaction's images: its entries serve, where it has any.
    pub fn give_up(&self, transaction: &Transaction) {
        self.0.lost(transaction);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn drains_that_are_not_begun_are_one_and_answer_all_who_still_wait() {
        let (handoff, mut jobs) = channel(1 << 20);
        for _ in 0..10_000 {
            handoff.drain(None);
            // Its receiver is gone at once: the session had its timeout.
            handoff.drain(Some(oneshot::channel().0));
        }
        let (done, waits) = oneshot::channel();
        handoff.drain(Some(done));
        assert_eq!(jobs.receiver.len(), 1);
        let Some(Job::Drain { waiting }) = jobs.recv().await else { panic!("no drain") };
        assert!(waiting.len() <= 2 * KEPT_MIN, "{}", waiting.len());
        for waiting in waiting {
            let _ = waiting.send(Settled::Applied);
        }
        assert_eq!(waits.await, Ok(Settled::Applied));
        // The next one is for a pass of its own.
        handoff.drain(None);
        assert_eq!(jobs.receiver.len(), 1);
    }
}
