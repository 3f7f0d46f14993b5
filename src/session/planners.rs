//! The planner that sessions share, and the situation that it was made for.
//!
//! ```text
//! watch<Arc<Situation>> ──▶ [`Planners`] ──▶ one Planner a situation ──▶ every session
//! ```
//!
//! Invariant: whoever asks gets the planner of the situation that is published, and of no other.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::phase::Situation;
use crate::plan::cache::Planner;
use crate::plan::seen::Seen;

/// The planner of the present situation, made anew when that changes.
#[derive(Debug)]
pub struct Planners {
    situation: watch::Receiver<Arc<Situation>>,
    current: RwLock<Arc<Planner>>,
    plans_max: AtomicUsize,
    /// Outlives the situations.
    pub(super) seen: Arc<Seen>,
}

impl Planners {
    #[must_use]
    pub fn new(
        situation: watch::Receiver<Arc<Situation>>,
        plans_max: usize,
        seen: Arc<Seen>,
    ) -> Self {
        let now = Arc::clone(&situation.borrow());
        let planner = Planner::new(now, plans_max).listing(Arc::clone(&seen));
        let (current, plans_max) = (RwLock::new(Arc::new(planner)), AtomicUsize::new(plans_max));
        Self { situation, current, plans_max, seen }
    }

    /// Takes a changed `limits.plans`, from the next situation on.
    pub fn set_plans_max(&self, plans_max: usize) {
        self.plans_max.store(plans_max, Ordering::Relaxed);
    }

    /// The statements of all sessions.
    #[must_use]
    pub fn seen(&self) -> Arc<Seen> {
        Arc::clone(&self.seen)
    }

    /// Where things stand, as it is published.
    pub(crate) fn situation(&self) -> watch::Receiver<Arc<Situation>> {
        self.situation.clone()
    }

    /// The published epoch.
    pub(super) fn epoch(&self) -> u64 {
        self.situation.borrow().epoch
    }

    pub(crate) fn current(&self) -> Arc<Planner> {
        let now = Arc::clone(&self.situation.borrow());
        {
            let current = self.current.read().unwrap_or_else(|poison| poison.into_inner());
            if Arc::ptr_eq(&current.situation, &now) {
                return Arc::clone(&current);
            }
        }
        let mut current = self.current.write().unwrap_or_else(|poison| poison.into_inner());
        if !Arc::ptr_eq(&current.situation, &now) {
            let plans_max = self.plans_max.load(Ordering::Relaxed);
            let planner = Planner::new(now, plans_max).listing(Arc::clone(&self.seen));
            *current = Arc::new(planner);
        }
        Arc::clone(&current)
    }

    /// Waits for the first situation, for `patience` at most; true once there is one.
    ///
    /// A sidecar that has just started does not know whether the statement it is given has to be
    /// captured, so it must not pass one on yet.
    pub(super) async fn known(&self, patience: Duration) -> bool {
        let mut situation = self.situation.clone();
        let known = situation.wait_for(|situation| situation.server > 0);
        timeout(patience, known).await.is_ok_and(|known| known.is_ok())
    }

    /// Waits, for `patience` at most, until it is another turn than in `known`; true once it is.
    pub(super) async fn moved_on(&self, known: &Situation, patience: Duration) -> bool {
        let turn = |of: &Situation| (of.phase, of.epoch, of.timeline.clone());
        let mut situation = self.situation.clone();
        let moved = situation.wait_for(|now| turn(now) != turn(known));
        timeout(patience, moved).await.is_ok_and(|moved| moved.is_ok())
    }

    /// The current planner, where it is not `known`.
    pub(super) fn newer(&self, known: &Arc<Planner>) -> Option<Arc<Planner>> {
        let same = Arc::ptr_eq(&self.situation.borrow(), &known.situation);
        (!same).then(|| self.current())
    }

    /// Plans kept.
    #[must_use]
    pub fn plans(&self) -> usize {
        self.current().len()
    }
}
