//! The demo's live table: redrawn in place on a terminal, a block now and then elsewhere.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use prometheus::proto::MetricFamily;

use crate::admin::{Published, Report};

use super::load::Done;

/// Between two blocks where there is no terminal to redraw.
const BLOCK_PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Screen {
    began: Instant,
    terminal: bool,
    /// Lines to go back up before the next drawing.
    drawn: usize,
    shown: Option<Instant>,
}

impl Screen {
    pub(super) fn new() -> Self {
        let terminal = io::stdout().is_terminal();
        Self { began: Instant::now(), terminal, drawn: 0, shown: None }
    }

    /// Shows the present state, if it is time to.
    pub(super) fn show(
        &mut self,
        published: &Published,
        done: &Done,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let due = self.shown.is_none_or(|shown| shown.elapsed() >= BLOCK_PAUSE);
        if !self.terminal && !due {
            return Ok(());
        }
        self.end(published, done, out)
    }

    /// Shows the present state, whatever was shown before.
    pub(super) fn end(
        &mut self,
        published: &Published,
        done: &Done,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let text = draw(&published.report(), &published.gather(), done, self.began.elapsed());
        if self.terminal && self.drawn > 0 {
            // Up to where the last drawing began, and clear from there.
            write!(out, "\x1b[{}A\x1b[J", self.drawn)?;
        }
        self.drawn = text.lines().count();
        self.shown = Some(Instant::now());
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

fn draw(report: &Report, gathered: &[MetricFamily], done: &Done, elapsed: Duration) -> String {
    let width = report.tables.keys().map(String::len).max().unwrap_or(0).max("table".len());
    let mut text = format!(
        "{:>5.1} s   {} flows, {} repeated   lag {:.1} s   errors {}\n",
        elapsed.as_secs_f64(),
        done.flows.load(Ordering::Relaxed),
        done.retried.load(Ordering::Relaxed),
        report.lag.seconds,
        report.total_errors,
    );
    let heading = format!("  {:width$}  capture      writes  pending  latency  errors\n", "table");
    text.push_str(&heading);
    for (name, table) in &report.tables {
        let of = |family: &str| total(gathered, family, name);
        let (seconds, count) = latency(gathered, name);
        let latency = match count {
            0 => "–".to_owned(),
            count => format!("{:.1} ms", seconds * 1000.0 / count as f64),
        };
        // A String takes whatever is written to it.
        let _ = writeln!(
            text,
            "  {name:width$}  {:9}  {:>8}  {:>7}  {latency:>7}  {:>6}",
            table.capture,
            of("crossfade_writes_total"),
            table.pending,
            of("crossfade_sync_errors_total"),
        );
    }
    text
}

/// The sum of a counter's series for one table.
fn total(gathered: &[MetricFamily], family: &str, table: &str) -> u64 {
    let series = of_table(gathered, family, table);
    series.map(|metric| metric.get_counter().get_value() as u64).sum()
}

/// Seconds from the primary's commit to the secondary's, in all, and how many there were.
fn latency(gathered: &[MetricFamily], table: &str) -> (f64, u64) {
    of_table(gathered, "crossfade_sync_latency_seconds", table).fold((0.0, 0), |sum, metric| {
        let histogram = metric.get_histogram();
        (sum.0 + histogram.get_sample_sum(), sum.1 + histogram.get_sample_count())
    })
}

fn of_table<'g>(
    gathered: &'g [MetricFamily],
    family: &str,
    table: &str,
) -> impl Iterator<Item = &'g prometheus::proto::Metric> {
    let family = gathered.iter().find(|known| known.name() == family);
    let metrics = family.into_iter().flat_map(MetricFamily::get_metric);
    metrics.filter(move |metric| {
        metric.get_label().iter().any(|label| label.name() == "table" && label.value() == table)
    })
}
