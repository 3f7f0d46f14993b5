//! Pauses between attempts: each about twice the one before, up to a bound.
//!
//! Invariant: no pause is longer than its bound, and the last part of each is random, so that many
//! sidecars that lost the same server do not come back at once.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

/// The first pause between attempts to reach a server.
pub const REACH_MIN: Duration = Duration::from_millis(50);

/// Pauses without end, for what is tried until it succeeds.
#[derive(Debug)]
pub struct Pauses {
    longest: Duration,
    left: ExponentialBackoff,
}

impl Pauses {
    /// From [`REACH_MIN`] up to `longest`.
    #[must_use]
    pub fn up_to(longest: Duration) -> Self {
        Self { longest, left: builder(REACH_MIN, longest).without_max_times().build() }
    }

    /// Says that all is well: the next pause is the shortest again.
    pub fn reset(&mut self) {
        *self = Self::up_to(self.longest);
    }

    /// Waits for the next pause to pass.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.left.next().unwrap_or(self.longest)).await;
    }
}

/// A few pauses, for what is tried so often and then given up.
pub fn few(
    shortest: Duration,
    longest: Duration,
    number: usize,
) -> impl Iterator<Item = Duration> + Send {
    builder(shortest, longest).with_max_times(number).build()
}

/// The library adds a random part of up to as much again.
fn builder(shortest: Duration, longest: Duration) -> ExponentialBuilder {
    ExponentialBuilder::new()
        .with_min_delay(shortest / 2)
        .with_max_delay(longest / 2)
        .with_factor(2.0)
        .with_jitter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_their_bound_and_begin_anew() {
        let bound = Duration::from_secs(5);
        let mut pauses = Pauses::up_to(bound);
        let mut longest = Duration::ZERO;
        for _ in 0..20 {
            let start = Instant::now();
            pauses.wait().await;
            longest = longest.max(start.elapsed());
        }
        // Tokio's clock counts milliseconds.
        assert!(bound / 2 <= longest && longest <= bound + Duration::from_millis(1));
        pauses.reset();
        let start = Instant::now();
        pauses.wait().await;
        assert!(start.elapsed() <= REACH_MIN + Duration::from_millis(1));
    }

    #[test]
    fn a_few_pauses_are_no_more_than_that() {
        let (shortest, longest) = (Duration::from_millis(5), Duration::from_millis(80));
        let pauses: Vec<Duration> = few(shortest, longest, 5).collect();
        assert_eq!(pauses.len(), 5);
        assert!(pauses.iter().all(|pause| shortest / 2 <= *pause && *pause <= longest));
    }
}
