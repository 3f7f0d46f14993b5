//! How fast a scan may read.
//!
//! ```text
//! rows, a hundredth of a second's worth at a time ──▶ how long to wait before the next
//! ```
//!
//! Invariant: over any time longer than that, no more rows than the rate allows; time in which
//! nothing could be read is not made up for.

use std::time::Duration;

use tokio::time::Instant;

/// One side of one scan.
#[derive(Debug)]
pub(super) struct Pace {
    /// Rows a second; `None` is as fast as it goes.
    rate: Option<u32>,
    rows: u32,
    since: Instant,
}

impl Pace {
    pub(super) fn new(rate: Option<u64>) -> Self {
        let rate = rate.map(|rate| u32::try_from(rate.max(1)).unwrap_or(u32::MAX));
        Self { rate, rows: 0, since: Instant::now() }
    }

    /// Counts a row: the pause that is due after it.
    pub(super) fn row(&mut self) -> Duration {
        let Some(rate) = self.rate else { return Duration::ZERO };
        self.rows += 1;
        if self.rows < (rate / 100).max(1) {
            return Duration::ZERO;
        }
        let due = self.since + Duration::from_secs(1) * self.rows / rate;
        let now = Instant::now();
        self.rows = 0;
        self.since = due.max(now);
        self.since - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_more_rows_than_the_rate_and_nothing_is_made_up_for() {
        for rate in [1, 7, 150, 100_000] {
            let (mut pace, start) = (Pace::new(Some(rate)), Instant::now());
            for _ in 0..rate * 2 {
                tokio::time::sleep(pace.row()).await;
            }
            let took = start.elapsed();
            assert!(Duration::from_millis(1900) < took && took < Duration::from_secs(3), "{rate}");
        }
        let mut pace = Pace::new(Some(10));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(pace.row(), Duration::ZERO);
        assert!(pace.row() > Duration::from_millis(90));
        assert_eq!(Pace::new(None).row(), Duration::ZERO);
    }
}
