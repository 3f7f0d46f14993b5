//! When the next chunk may be copied: not faster than allowed, and not while production suffers.
//!
//! ```text
//! rate: rows ──▶ the moment from which the next ones may go
//! Pulse (paused? entries waiting, age of the oldest, answer time) + Bounds ──[`Bounds::judge`]──▶ Hold │ go
//! ```
//!
//! Invariant: a hold begins no chunk; those under way end. It ends by itself once nothing is over its
//! bound.

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// What production may suffer; over any of these, copying waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Outbox entries that nobody has tried yet.
    pub outbox: usize,
    /// Age of the oldest of these.
    pub lag: Duration,
    /// The primary's answer to a statement that does nothing.
    pub latency: Duration,
}

/// How the databases are.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Pulse {
    pub(super) paused: bool,
    pub(super) outbox: usize,
    pub(super) lag: Duration,
    pub(super) latency: Duration,
}

/// Why copying waits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Hold {
    /// Somebody asked for it.
    Paused,
    Outbox {
        bound: usize,
    },
    Lag {
        age: Duration,
        bound: Duration,
    },
    Latency {
        found: Duration,
        bound: Duration,
    },
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paused => f.write_str("paused"),
            Self::Outbox { bound } => {
                write!(f, "waits: more than {bound} live changes have not been carried yet")
            }
            Self::Lag { age, bound } => write!(
                f,
                "waits: live changes are {:.1} s behind, more than {:.1} s",
                age.as_secs_f64(),
                bound.as_secs_f64()
            ),
            Self::Latency { found, bound } => write!(
                f,
                "waits: PostgreSQL takes {} ms for a statement that does nothing, more than {} ms",
                found.as_millis(),
                bound.as_millis()
            ),
        }
    }
}

impl Bounds {
    pub(super) fn judge(&self, pulse: &Pulse) -> Option<Hold> {
        if pulse.paused {
            return Some(Hold::Paused);
        }
        if self.outbox < pulse.outbox {
            return Some(Hold::Outbox { bound: self.outbox });
        }
        if self.lag < pulse.lag {
            return Some(Hold::Lag { age: pulse.lag, bound: self.lag });
        }
        (self.latency < pulse.latency)
            .then_some(Hold::Latency { found: pulse.latency, bound: self.latency })
    }
}

/// Rows a second over all workers.
#[derive(Debug)]
pub(super) struct Rate {
    rows_per_second: Option<u64>,
    /// From when on the next rows may go.
    free: Mutex<Instant>,
}

impl Rate {
    pub(super) fn new(rows_per_second: Option<u64>) -> Self {
        Self { rows_per_second, free: Mutex::new(Instant::now()) }
    }

    /// Waits until so many rows more may go.
    pub(super) async fn admit(&self, rows: usize) {
        let Some(rate) = self.rows_per_second else { return };
        let due = {
            let mut free = self.free.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let due = (*free).max(Instant::now());
            *free = due + Duration::from_secs_f64(rows as f64 / rate.max(1) as f64);
            due
        };
        sleep_until(due).await;
    }
}

/// Waits while there is a hold; false if it is time to stop.
pub(super) async fn go(
    hold: &mut watch::Receiver<Option<Hold>>,
    stop: &mut watch::Receiver<bool>,
) -> bool {
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => false,
        free = hold.wait_for(Option::is_none) => free.is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn whatever_is_over_its_bound_holds() {
        let bounds = Bounds { outbox: 10, lag: SECOND, latency: SECOND };
        let well = Pulse { outbox: 10, lag: SECOND, latency: SECOND, paused: false };
        assert_eq!(bounds.judge(&well), None);
        let over = SECOND * 2;
        for (pulse, expected) in [
            (Pulse { paused: true, ..well }, Hold::Paused),
            (Pulse { outbox: 11, ..well }, Hold::Outbox { bound: 10 }),
            (Pulse { lag: over, ..well }, Hold::Lag { age: over, bound: SECOND }),
            (Pulse { latency: over, ..well }, Hold::Latency { found: over, bound: SECOND }),
        ] {
            assert_eq!(bounds.judge(&pulse), Some(expected));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn rows_go_at_the_rate_and_not_faster() {
        let (rate, start) = (Rate::new(Some(1000)), Instant::now());
        for _ in 0..5 {
            rate.admit(500).await;
        }
        assert_eq!(start.elapsed().as_millis(), 2000);
        let free = Rate::new(None);
        free.admit(usize::MAX).await;
        assert_eq!(start.elapsed().as_millis(), 2000);
    }
}
