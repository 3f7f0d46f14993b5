//! Reads that were answered and are tried on the secondary too: handed over at once, or given up.
//!
//! ```text
//! session: sampled? ──text, parameters──▶ room? ──Read──▶ shadow
//!                                          └─none─▶ counted as shed
//! ```
//!
//! Invariant: nobody waits. A read holds one of `shadow.pool` places from here until it is compared, so
//! what is under way is bounded in number and in bytes. With `shadow.share: 0` all this is one
//! comparison with 0.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use prometheus::{IntCounterVec, Opts};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::plan::seen::Tally;

/// What `share` is counted in: all reads.
const ALL: f64 = 4_294_967_296.0;
/// What becomes of a read that was sampled.
const OUTCOMES: [&str; 6] = ["match", "mismatch", "undetermined", "untranslated", "error", "shed"];

/// A read that the primary has answered.
#[derive(Debug)]
pub struct ShadowRead {
    pub tally: Arc<Tally>,
    pub statement: Arc<Statement>,
    /// The client's Bind, where there is one.
    pub bind: Option<Bytes>,
    pub shown: Arc<Shown>,
    /// What its names are looked up in.
    pub path: Vec<String>,
    pub place: OwnedSemaphorePermit,
}

/// What was prepared, or sent as a query string.
#[derive(PartialEq, Eq)]
pub struct Statement {
    pub text: Box<str>,
    /// What followed the text in Parse: the count of parameter types, and the types.
    pub types: Box<[u8]>,
}

/// Holds literals.
impl std::fmt::Debug for Statement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Statement")
    }
}

/// Settings of a session that change what an expression comes to, as the primary reports them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    pub zone: String,
    pub date_style: String,
    pub interval_style: String,
}

/// The sending half, shared by all sessions.
#[derive(Clone, Debug)]
pub struct Reads(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Of 2^32.
    share: AtomicU64,
    bytes_max: AtomicUsize,
    room: Arc<Semaphore>,
    sender: mpsc::UnboundedSender<ShadowRead>,
    receiver: Mutex<Option<mpsc::UnboundedReceiver<ShadowRead>>>,
    outcomes: IntCounterVec,
}

impl Default for Reads {
    fn default() -> Self {
        let help = "Reads that were to be run on both sides, by what came of it.";
        let outcomes = IntCounterVec::new(Opts::new("shadow_reads_total", help), &["outcome"])
            .expect("a counter with a valid name");
        OUTCOMES.iter().for_each(|outcome| drop(outcomes.with_label_values(&[*outcome])));
        let (sender, receiver) = mpsc::unbounded_channel();
        Self(Arc::new(Shared {
            share: AtomicU64::new(0),
            bytes_max: AtomicUsize::new(0),
            room: Arc::new(Semaphore::new(0)),
            sender,
            receiver: Mutex::new(Some(receiver)),
            outcomes,
        }))
    }
}

impl Reads {
    /// Opens `pool` places. What comes out is what was sampled; `None` the second time.
    #[must_use]
    pub fn open(&self, pool: usize) -> Option<mpsc::UnboundedReceiver<ShadowRead>> {
        let receiver = self.0.receiver.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        self.0.room.add_permits(pool);
        Some(receiver)
    }

    /// From 0, none, to 1, all; and how long text and parameters of one may be together, in bytes.
    pub fn set(&self, share: f64, bytes_max: usize) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 2^32")]
        let share = (share.clamp(0.0, 1.0) * ALL) as u64;
        self.0.share.store(share, Ordering::Relaxed);
        self.0.bytes_max.store(bytes_max, Ordering::Relaxed);
    }

    /// True where any read is tried.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.share.load(Ordering::Relaxed) != 0
    }

    /// Whether the next read of so many bytes is tried.
    #[must_use]
    pub fn sample(&self, bytes: usize) -> bool {
        let share = self.0.share.load(Ordering::Relaxed);
        share != 0
            && u64::from(rand::random::<u32>()) < share
            && bytes <= self.0.bytes_max.load(Ordering::Relaxed)
    }

    /// One place; `None` where all are taken.
    pub fn place(&self) -> Option<OwnedSemaphorePermit> {
        let place = Arc::clone(&self.0.room).try_acquire_owned().ok();
        if place.is_none() {
            self.count("shed");
        }
        place
    }

    /// Hands a read over; its place bounds how many there are.
    pub fn hand(&self, read: ShadowRead) {
        // Nobody is there any more at the end of the process.
        drop(self.0.sender.send(read));
    }

    pub fn count(&self, outcome: &'static str) {
        self.0.outcomes.with_label_values(&[outcome]).inc();
    }

    pub(super) fn outcomes(&self) -> IntCounterVec {
        self.0.outcomes.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_nothing_samples_nothing_and_of_all_everything() {
        let reads = Reads::default();
        assert!(!reads.is_on() && !reads.sample(0));
        reads.set(1.0, 100);
        assert!((0..1000).all(|_| reads.sample(100)));
        assert!(!reads.sample(101), "too large");
        reads.set(0.5, 100);
        let sampled = (0..10_000).filter(|_| reads.sample(1)).count();
        assert!((4_000..6_000).contains(&sampled), "{sampled}");
        reads.set(0.0, 100);
        assert!(!reads.is_on());
    }

    #[test]
    fn what_finds_no_place_is_shed() {
        let reads = Reads::default();
        assert!(reads.open(2).is_some() && reads.open(2).is_none());
        let places: Vec<_> = (0..3).map(|_| reads.place()).collect();
        assert_eq!(places.iter().filter(|place| place.is_some()).count(), 2);
        assert_eq!(reads.outcomes().with_label_values(&["shed"]).get(), 1);
        drop(places);
        assert!(reads.place().is_some());
    }
}
