//! Whether waiting for the secondary is worth it: one that is slow holds clients up more than a dead one.
//!
//! ```text
//! waits in vain, [`LATE_MAX`] in a row ──▶ slow: `blocking` is answered as `async`
//! applied within that bound, [`EARLY_MAX`] in a row ──▶ worth waiting for again
//! ```
//!
//! Invariant: images go their way all the same; only the waiting ends. So what is applied says when it
//! is over, and nobody has to probe.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use prometheus::{IntGauge, Registry};
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::Settled;

/// Waits in vain in a row, in all sessions together.
const LATE_MAX: u32 = 3;
/// Changes that came in time in a row.
const EARLY_MAX: u32 = 3;

#[derive(Debug)]
pub(super) struct Pace {
    late: AtomicU32,
    early: AtomicU32,
    slow: AtomicBool,
    /// Of the last wait in vain, in nanoseconds.
    bound: AtomicU64,
    gauge: IntGauge,
}

impl Default for Pace {
    fn default() -> Self {
        let help = "1 while the secondary is too slow for blocking writes to wait for it.";
        let gauge = IntGauge::new("secondary_slow", help).expect("a gauge with a valid name");
        let (late, early) = (AtomicU32::new(0), AtomicU32::new(0));
        Self { late, early, slow: AtomicBool::new(false), bound: AtomicU64::new(u64::MAX), gauge }
    }
}

impl Pace {
    pub(super) fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(self.gauge.clone()))
    }

    /// Who waits, or nobody: dropped, it tells the session that there is nothing to wait for.
    pub(super) fn worth_waiting(
        &self,
        done: Option<oneshot::Sender<Settled>>,
    ) -> Option<oneshot::Sender<Settled>> {
        done.filter(|_| !self.slow.load(Ordering::Acquire))
    }

    pub(super) fn late(&self, bound: Duration) {
        let bound = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
        self.bound.store(bound, Ordering::Release);
        self.early.store(0, Ordering::Release);
        let late = self.late.fetch_add(1, Ordering::AcqRel) + 1;
        if LATE_MAX <= late && !self.slow.swap(true, Ordering::AcqRel) {
            self.gauge.set(1);
            warn!(waits = late, "secondary is slow, blocking writes do not wait for it");
        }
    }

    pub(super) fn took(&self, time: Duration) {
        if self.bound.load(Ordering::Acquire) < u64::try_from(time.as_nanos()).unwrap_or(u64::MAX) {
            self.early.store(0, Ordering::Release);
            return;
        }
        self.late.store(0, Ordering::Release);
        if !self.slow.load(Ordering::Acquire) {
            return;
        }
        let early = self.early.fetch_add(1, Ordering::AcqRel) + 1;
        if EARLY_MAX <= early && self.slow.swap(false, Ordering::AcqRel) {
            self.gauge.set(0);
            info!("secondary is quick again, blocking writes wait for it");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_millis(200);

    fn waits(pace: &Pace) -> bool {
        pace.worth_waiting(Some(oneshot::channel().0)).is_some()
    }

    #[test]
    fn a_few_waits_in_vain_in_a_row_are_slow_and_as_many_in_time_are_quick_again() {
        let pace = Pace::default();
        for _ in 0..10 {
            pace.late(BOUND);
            pace.late(BOUND);
            pace.took(BOUND);
        }
        assert!(waits(&pace), "one that is late now and then is not slow");
        for _ in 0..LATE_MAX {
            assert!(waits(&pace));
            pace.late(BOUND);
        }
        assert!(!waits(&pace));
        for _ in 0..10 {
            pace.took(BOUND);
            pace.took(BOUND);
            pace.took(BOUND * 2);
        }
        assert!(!waits(&pace), "one that is quick now and then is not quick");
        for _ in 0..EARLY_MAX {
            pace.took(BOUND);
        }
        assert!(waits(&pace));
    }
}
