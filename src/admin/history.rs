//! `GET /history`: the last hour of this sidecar in numbers, for a page that is opened later.
//!
//! ```text
//! registries, Ledger ──every 5 s──▶ [`Totals`] ──what grew since the last──▶ [`Sample`] ──▶ ring of an hour
//! ```
//!
//! Invariant: at most [`SAMPLES_MAX`] samples are kept, whoever asks; counts are this process's own.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::proto::{Metric, MetricFamily};
use serde::Serialize;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Published;

/// Between two samples.
pub(super) const SAMPLE_EVERY: Duration = Duration::from_secs(5);
/// An hour of them.
pub(super) const SAMPLES_MAX: usize = 720;

/// What has been counted so far.
#[derive(Clone, Debug, Default)]
struct Totals {
    writes: f64,
    carried: f64,
    errors: f64,
    uncaptured: f64,
    /// Upper bounds in seconds with the statements at or below each.
    overhead: Vec<(f64, f64)>,
}

/// What happened within a few seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sample {
    /// Milliseconds since 1970, at its end.
    at: u64,
    /// Writes of clients that the primary completed, a second.
    writes: f64,
    /// Changes that the secondary took, a second.
    carried: f64,
    /// Age of the oldest change that the secondary does not have, in seconds.
    lag: f64,
    pending: u64,
    /// Changes that the secondary refused meanwhile.
    errors: f64,
    /// Writes that were not carried over meanwhile.
    uncaptured: f64,
    /// What was added to a statement, in milliseconds; nothing where there was none.
    median: Option<f64>,
    worst: Option<f64>,
}

/// The ring; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct History(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    samples: VecDeque<Sample>,
    /// Number of the first that is kept.
    first: u64,
}

/// Answer of `GET /history`, a list a column.
#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Columns {
    every_seconds: u64,
    samples_max: usize,
    /// What to ask for with `?after=` the next time.
    next: u64,
    at: Vec<u64>,
    writes: Vec<f64>,
    carried: Vec<f64>,
    lag: Vec<f64>,
    pending: Vec<u64>,
    errors: Vec<f64>,
    uncaptured: Vec<f64>,
    overhead_median: Vec<Option<f64>>,
    #[serde(rename = "overheadP99")]
    overhead_worst: Vec<Option<f64>>,
}

impl History {
    /// Takes samples until it is aborted.
    pub(super) async fn keep(self, published: Published) {
        let mut ticks = interval(SAMPLE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last: Option<(Instant, Totals)> = None;
        loop {
            ticks.tick().await;
            let (now, totals) = (Instant::now(), Totals::new(&published.gather()));
            if let Some((at, before)) = &last {
                let ledger = Arc::clone(&published.ledger.borrow());
                let mut sample = totals.since(before, (now - *at).as_secs_f64());
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                sample.at = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
                sample.lag = rounded(ledger.oldest_seconds());
                sample.pending = ledger.tables.values().map(|line| line.pending).sum();
                self.add(sample);
            }
            last = Some((now, totals));
        }
    }

    fn add(&self, sample: Sample) {
        let mut kept = self.lock();
        if SAMPLES_MAX <= kept.samples.len() {
            kept.samples.pop_front();
            kept.first += 1;
        }
        kept.samples.push_back(sample);
    }

    /// Those from number `after` on that are still kept.
    pub(super) fn columns(&self, after: u64) -> Columns {
        let kept = self.lock();
        let next = kept.first + kept.samples.len() as u64;
        let mut columns = Columns {
            every_seconds: SAMPLE_EVERY.as_secs(),
            samples_max: SAMPLES_MAX,
            next,
            ..Columns::default()
        };
        // A number past the end is of another process: it is told everything.
        let after = if next < after { 0 } else { after };
        let skipped = usize::try_from(after.saturating_sub(kept.first)).unwrap_or(usize::MAX);
        for sample in kept.samples.iter().skip(skipped) {
            columns.at.push(sample.at);
            columns.writes.push(sample.writes);
            columns.carried.push(sample.carried);
            columns.lag.push(sample.lag);
            columns.pending.push(sample.pending);
            columns.errors.push(sample.errors);
            columns.uncaptured.push(sample.uncaptured);
            columns.overhead_median.push(sample.median);
            columns.overhead_worst.push(sample.worst);
        }
        columns
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Totals {
    fn new(gathered: &[MetricFamily]) -> Self {
        let sum = |name: &str, wanted: (&str, &str)| -> f64 {
            let metrics = metrics(gathered, name).filter(|metric| is(metric, wanted));
            metrics.map(|metric| metric.get_counter().get_value()).sum()
        };
        let any = ("", "");
        let overhead = metrics(gathered, "crossfade_proxy_overhead_seconds").next();
        let buckets = overhead.map(|metric| {
            let histogram = metric.get_histogram();
            let bounds = histogram.get_bucket().iter();
            let bounds = bounds.map(|b| (b.upper_bound(), b.cumulative_count() as f64));
            bounds.chain([(f64::INFINITY, histogram.get_sample_count() as f64)]).collect()
        });
        Self {
            writes: sum("crossfade_statements_total", ("kind", "write")),
            carried: sum("crossfade_writes_total", ("outcome", "applied")),
            errors: sum("crossfade_sync_errors_total", any),
            uncaptured: sum("crossfade_uncaptured_writes_total", any),
            overhead: buckets.unwrap_or_default(),
        }
    }

    fn since(&self, before: &Self, seconds: f64) -> Sample {
        let seconds = seconds.max(0.001);
        let earlier = before.overhead.iter().map(|(_, count)| *count).chain(std::iter::repeat(0.0));
        let grown: Vec<(f64, f64)> = self
            .overhead
            .iter()
            .zip(earlier)
            .map(|((bound, count), earlier)| (*bound, count - earlier))
            .collect();
        Sample {
            writes: rounded((self.writes - before.writes) / seconds),
            carried: rounded((self.carried - before.carried) / seconds),
            errors: self.errors - before.errors,
            uncaptured: self.uncaptured - before.uncaptured,
            median: quantile(&grown, 0.5).map(|seconds| rounded(seconds * 1000.0)),
            worst: quantile(&grown, 0.99).map(|seconds| rounded(seconds * 1000.0)),
            ..Sample::default()
        }
    }
}

fn metrics<'g>(gathered: &'g [MetricFamily], name: &str) -> impl Iterator<Item = &'g Metric> {
    let family = gathered.iter().find(|family| family.name() == name);
    family.into_iter().flat_map(MetricFamily::get_metric)
}

/// Whether it has this label; any has the empty one.
fn is(metric: &Metric, (name, value): (&str, &str)) -> bool {
    name.is_empty()
        || metric.get_label().iter().any(|label| label.name() == name && label.value() == value)
}

/// As Prometheus estimates it: straight lines between the bounds.
fn quantile(buckets: &[(f64, f64)], share: f64) -> Option<f64> {
    let total = buckets.last().map(|(_, count)| *count).filter(|total| 0.0 < *total)?;
    let rank = share * total;
    let (mut lower, mut below) = (0.0, 0.0);
    for (bound, count) in buckets {
        if rank <= *count {
            let within = (count - below).max(f64::MIN_POSITIVE);
            let is_last = bound.is_infinite();
            return Some(if is_last {
                lower
            } else {
                lower + (bound - lower) * (rank - below) / within
            });
        }
        (lower, below) = (*bound, *count);
    }
    None
}

/// Three digits after the point are more than a chart shows.
fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_holds_an_hour_and_gives_what_is_new() {
        let history = History::default();
        for at in 0..SAMPLES_MAX as u64 + 10 {
            history.add(Sample { at, ..Sample::default() });
        }
        let all = history.columns(0);
        assert_eq!((all.at.len(), all.at[0], all.next), (SAMPLES_MAX, 10, 730));
        assert_eq!(history.columns(728).at, [728, 729]);
        assert!(history.columns(730).at.is_empty());
        assert_eq!(history.columns(731).at.len(), SAMPLES_MAX, "of a process before this one");
        assert_eq!(SAMPLE_EVERY * SAMPLES_MAX as u32, Duration::from_secs(3600));
    }

    #[test]
    fn a_sample_is_what_grew() {
        let overhead = |counts: [f64; 3]| {
            vec![(0.001, counts[0]), (0.01, counts[1]), (f64::INFINITY, counts[2])]
        };
        let before = Totals {
            writes: 10.0,
            errors: 2.0,
            overhead: overhead([5.0, 5.0, 5.0]),
            ..Totals::default()
        };
        let after = Totals {
            writes: 60.0,
            errors: 3.0,
            overhead: overhead([55.0, 105.0, 105.0]),
            ..Totals::default()
        };
        let sample = after.since(&before, 5.0);
        assert_eq!((sample.writes, sample.errors), (10.0, 1.0));
        assert_eq!((sample.median, sample.worst), (Some(1.0), Some(9.82)));
        assert_eq!(after.since(&after, 5.0).median, None, "nothing was added to nothing");
    }
}
