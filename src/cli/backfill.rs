//! `crossfade backfill`: copies the rows that were there before, while the application writes.
//!
//! ```text
//! config, arguments ──▶ `control::backfill` ──Progress──▶ a bar a table (terminal), or lines
//!      Ctrl-C, SIGTERM ──▶ chunks under way end, the rest is left for the next time
//! ```

use std::io::{IsTerminal, Write};
use std::time::Duration;

use anyhow::anyhow;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::backfill::{Activity, Progress, Snapshot, State, TableProgress};
use crate::config::Config;
use crate::control::backfill::{self, backfill};
use crate::names::TableName;

use super::setup::ends;
use super::{Failure, Format, Outcome};

/// Between two draws, and between two lines.
const DRAW: Duration = Duration::from_millis(200);
const LINE: Duration = Duration::from_secs(5);
const JSON_LINE: Duration = Duration::from_secs(1);

/// Copy the rows that were there before dual writes began. Can be stopped at any time and goes on.
#[derive(Debug, clap::Args)]
pub(super) struct Backfill {
    /// Only this table (`users`, or `auth.users`); may be given several times.
    #[arg(long, value_name = "T")]
    table: Vec<String>,
    /// Rows per second over all workers; proxy.yaml's `backfill.max_rate` otherwise.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_rate: Option<u64>,
    /// Chunks written at the same time; proxy.yaml's `backfill.workers` otherwise.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    workers: Option<u8>,
    /// Also copy tables that were copied before; rows that are there are left as they are.
    #[arg(long)]
    again: bool,
}

impl Backfill {
    /// Exits 0 when every row was copied, 1 when some were refused (they are in the outbox then) or it
    /// was stopped, 3 when a database could not be reached.
    pub(super) async fn run(
        self,
        config: &Config,
        format: Format,
        out: &mut impl Write,
    ) -> Result<Outcome, Failure> {
        let ends = ends(config)?;
        let mut options = config.backfill.options();
        options.max_rate = self.max_rate.or(options.max_rate);
        options.workers = self.workers.map_or(options.workers, usize::from);
        options.again = self.again;
        let names: Vec<TableName> = self.table.iter().map(|name| TableName::parse(name)).collect();
        let (progress, (stop, stopped)) = (Progress::default(), watch::channel(false));
        let mut show = Show::new(format);
        let mut work =
            std::pin::pin!(backfill(&ends, &config.tables, &names, options, &progress, stopped));
        let mut signals = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let result = loop {
            tokio::select! {
                result = &mut work => break result,
                _ = signals.0.recv() => drop(stop.send_replace(true)),
                _ = signals.1.recv() => drop(stop.send_replace(true)),
                () = tokio::time::sleep(DRAW) => show.step(&progress.snapshot(), out)?,
            }
        };
        let snapshot = progress.snapshot();
        show.end(&snapshot, out)?;
        result.map_err(|error| match &error {
            backfill::Failure::Table(_) => Failure::Usage(error.to_string()),
            _ if error.is_unreachable() => Failure::Unreachable(anyhow!(error)),
            _ => Failure::Refused(anyhow!(error)),
        })?;
        let whole = |table: &TableProgress| {
            matches!(table.state, State::Done | State::DoneBefore) && table.refused == 0
        };
        Ok(if snapshot.tables.iter().all(whole) { Outcome::Well } else { Outcome::Found })
    }
}

/// What is printed while it runs.
struct Show {
    format: Format,
    bars: Option<MultiProgress>,
    /// The bar of the table that is copied.
    bar: Option<(TableName, ProgressBar)>,
    /// Tables whose end was printed.
    ended: usize,
    said: String,
    lined: tokio::time::Instant,
}

impl Show {
    fn new(format: Format) -> Self {
        let terminal = format == Format::Text && std::io::stderr().is_terminal();
        let bars = terminal.then(MultiProgress::new);
        let lined = tokio::time::Instant::now();
        Self { format, bars, bar: None, ended: 0, said: String::new(), lined }
    }

    fn step(&mut self, snapshot: &Snapshot, out: &mut impl Write) -> std::io::Result<()> {
        self.ended(snapshot, out)?;
        let pause = if self.format == Format::Json { JSON_LINE } else { LINE };
        let due = pause <= self.lined.elapsed();
        if due {
            self.lined = tokio::time::Instant::now();
        }
        let current = snapshot.tables.iter().find(|table| is_under_way(table));
        match (&self.bars, self.format) {
            (Some(_), _) => self.draw(snapshot, current),
            (None, Format::Json) if due => {
                let waits = waits(&snapshot.activity);
                match current {
                    Some(table) => writeln!(out, "{}", line(table, &snapshot.activity))?,
                    None if waits.is_empty() => {}
                    None => writeln!(out, "{}", serde_json::json!({ "waits": waits }))?,
                }
            }
            (None, Format::Text) if due => {
                let text = current.map(|table| under_way(table, &snapshot.activity));
                let text = text.unwrap_or_else(|| waits(&snapshot.activity));
                if !text.is_empty() && text != self.said {
                    writeln!(std::io::stderr(), "{text}")?;
                    self.said = text;
                }
            }
            (None, _) => {}
        }
        out.flush()
    }

    /// A line for each table that has ended, in their order.
    fn ended(&mut self, snapshot: &Snapshot, out: &mut impl Write) -> std::io::Result<()> {
        let over = |table: &TableProgress| {
            matches!(table.state, State::Done | State::DoneBefore | State::Stopped)
        };
        while let Some(table) = snapshot.tables.get(self.ended).filter(|table| over(table)) {
            self.bar = None;
            self.ended += 1;
            match self.format {
                Format::Json => writeln!(out, "{}", line(table, &Activity::Ended))?,
                Format::Text => writeln!(out, "{}", sentence(table))?,
            }
        }
        Ok(())
    }

    fn draw(&mut self, snapshot: &Snapshot, current: Option<&TableProgress>) {
        let Some(table) = current else { return };
        let Some(bars) = &self.bars else { return };
        if self.bar.as_ref().is_none_or(|(name, _)| *name != table.table) {
            let bar = bars.add(ProgressBar::new(table.expected));
            let template = "{prefix} {wide_bar} {human_pos} of about {human_len} rows {msg}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_prefix(table.table.to_string());
            self.bar = Some((table.table.clone(), bar));
        }
        if let Some((_, bar)) = &self.bar {
            bar.set_length(table.expected);
            bar.set_position(table.rows);
            let left = table.left().map(|left| format!(", {} left", time(left)));
            let held = match &snapshot.activity {
                Activity::Copies => String::new(),
                other => format!("  {}", waits(other)),
            };
            bar.set_message(format!("{:.0}/s{}{held}", table.rate(), left.unwrap_or_default()));
        }
    }

    fn end(&mut self, snapshot: &Snapshot, out: &mut impl Write) -> std::io::Result<()> {
        self.ended(snapshot, out)?;
        if let Some((_, bar)) = self.bar.take() {
            bar.abandon();
        }
        out.flush()
    }
}

fn is_under_way(table: &TableProgress) -> bool {
    matches!(table.state, State::Sweeping | State::Copying)
}

fn waits(activity: &Activity) -> String {
    match activity {
        Activity::Starting | Activity::Copies | Activity::Ended => String::new(),
        Activity::WaitsFor(who) => format!("waits for transactions that began earlier: {who}"),
        Activity::Holds(hold) => hold.to_string(),
        Activity::Reconnects(why) => format!("{why}; tries again"),
    }
}

fn under_way(table: &TableProgress, activity: &Activity) -> String {
    let left = table.left().map(|left| format!(", {} left", time(left)));
    let waits = waits(activity);
    let waits = if waits.is_empty() { waits } else { format!("; {waits}") };
    format!(
        "{}: {} of about {} rows, {:.0}/s{}{waits}",
        table.table,
        table.rows,
        table.expected,
        table.rate(),
        left.unwrap_or_default()
    )
}

fn sentence(table: &TableProgress) -> String {
    let mut text = format!("{}: {} rows", table.table, table.rows);
    match table.state {
        State::DoneBefore => return format!("{text} were copied before; --again copies it again"),
        State::Stopped => text += " so far; stopped, run it again to go on",
        _ => {}
    }
    for (count, what) in [
        (table.inserted, "inserted"),
        (table.present, "there already"),
        (table.swept, "deleted meanwhile"),
        (table.refused, "refused"),
    ] {
        if count > 0 {
            text += &format!(", {count} {what}");
        }
    }
    text += &format!("; {:.1} s, {:.0}/s", table.elapsed().as_secs_f64(), table.rate());
    if table.refused > 0 {
        text += "; what was refused is in the outbox, see `crossfade repair --dry-run`";
        for row in &table.named {
            text += &format!("\n  {}: {}", row.key.show(), row.reason);
            if let Some(owner) = &row.owner {
                text += &format!(", its value is held by {}", owner.show());
            }
        }
    }
    text
}

fn line(table: &TableProgress, activity: &Activity) -> serde_json::Value {
    let refused = table.named.iter().map(|row| {
        let owner = row.owner.as_ref().map(crate::change::Key::show);
        json!({ "key": row.key.show(), "reason": row.reason, "owner": owner })
    });
    let waits = waits(activity);
    json!({
        "table": table.table.to_string(),
        "state": table.state.as_str(),
        "rows": table.rows,
        "expected": table.expected,
        "inserted": table.inserted,
        "present": table.present,
        "swept": table.swept,
        "refused": table.refused,
        "refusedRows": refused.collect::<Vec<_>>(),
        "rate": table.rate(),
        "seconds": table.elapsed().as_secs_f64(),
        "secondsLeft": table.left().map(|left| left.as_secs_f64()),
        "waits": Some(waits).filter(|text| !text.is_empty()),
    })
}

/// `3 s`, `4 min`, `2 h`.
fn time(left: Duration) -> String {
    match left.as_secs() {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7199 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}
