//! `crossfade verify`: compares the schema, every row and every column of every captured table.
//!
//! ```text
//! catalogue ──tables, one by one──▶ [`Pass`] ──Report──▶ a line each, then the sum
//! ```

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::anyhow;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::time::Instant;

use crate::catalog::Table;
use crate::config::Config;
use crate::control::verify::{self, Pass};
use crate::names::TableName;
use crate::verify::{Options, Progress, Report, VerifyError};

use super::setup::ends;
use super::{Failure, Format, Outcome};

/// Between two draws of the bar.
const DRAW: Duration = Duration::from_millis(200);
/// Least pause between two tables of `--watch`; as long as the table took, where that is longer, so
/// that comparing takes half of one connection's time at most.
const WATCH_PAUSE_MIN: Duration = Duration::from_secs(1);

/// Compare every row of both databases, while they are written to; list missing, extra, different.
#[derive(Debug, clap::Args)]
pub(super) struct Verify {
    /// Only this table (`users`, or `auth.users`); may be given several times.
    #[arg(long, value_name = "T")]
    table: Vec<String>,
    /// Go round for ever, until interrupted.
    #[arg(long)]
    watch: bool,
    /// List the keys of the rows that differ. Keys are values of the application.
    #[arg(long)]
    show_values: bool,
    /// How long rows that are on their way are waited for, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    patience: u64,
    /// Read no more than so many rows a second on each side.
    #[arg(long, value_name = "ROWS")]
    max_rate: Option<u32>,
}

impl Verify {
    /// Exits 0 when every row is equal, 1 when one differs, is still on its way or could not be
    /// compared, or a schema differs, 3 when a database cannot be reached.
    pub(super) async fn run(
        self,
        config: &Config,
        format: Format,
        out: &mut impl Write,
    ) -> Result<Outcome, Failure> {
        loop {
            let outcome = self.round(config, format, out).await?;
            if !self.watch {
                return Ok(outcome);
            }
        }
    }

    async fn round(
        &self,
        config: &Config,
        format: Format,
        out: &mut impl Write,
    ) -> Result<Outcome, Failure> {
        let ends = ends(config)?;
        let options =
            Options { patience: Duration::from_secs(self.patience), max_rate: self.max_rate };
        let names: Vec<TableName> = self.table.iter().map(|name| TableName::parse(name)).collect();
        let mut pass =
            Pass::begin(&ends, &config.tables, &names, options).await.map_err(refused)?;
        let mut outcome = Outcome::Well;
        for table in pass.tables() {
            let start = Instant::now();
            let report = one(&mut pass, &table).await;
            let report = match report {
                Err(error) if error.is_unreachable() => return Err(refused(error.into())),
                other => other,
            };
            if !report.as_ref().is_ok_and(Report::is_equal) {
                outcome = Outcome::Found;
            }
            let schema = pass.schema(&table);
            self.print(&table, schema, &report, format, out)?;
            out.flush()?;
            if self.watch {
                tokio::time::sleep(start.elapsed().max(WATCH_PAUSE_MIN)).await;
            }
        }
        Ok(outcome)
    }

    fn print(
        &self,
        table: &Table,
        schema: &[String],
        report: &Result<Report, VerifyError>,
        format: Format,
        out: &mut impl Write,
    ) -> std::io::Result<()> {
        if format == Format::Text && !schema.is_empty() {
            writeln!(out, "{}: schema differs: {}", table.name, schema.join(", "))?;
        }
        match (format, report) {
            (Format::Json, report) => {
                writeln!(out, "{}", line(table, schema, report, self.show_values))
            }
            (Format::Text, Err(error)) => {
                writeln!(out, "{}: not compared: {error}", table.name)
            }
            (Format::Text, Ok(report)) => {
                writeln!(out, "{}: {}", table.name, sentence(report))?;
                if self.show_values {
                    for (key, kind) in &report.differences {
                        writeln!(out, "  {} {}", kind.as_str(), key.show())?;
                    }
                }
                Ok(())
            }
        }
    }
}

/// One table, with a bar on a terminal.
async fn one(pass: &mut Pass, table: &Arc<Table>) -> Result<Report, VerifyError> {
    let progress = Arc::new(Progress::default());
    let rows = pass.estimate(table).await? * 2;
    let bar = match std::io::stderr().is_terminal() {
        true => ProgressBar::new(rows),
        false => ProgressBar::hidden(),
    };
    let template = "{msg} {wide_bar} {human_pos} rows {per_sec} {eta}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(table.name.to_string());
    let mut work = std::pin::pin!(pass.table(table, &progress));
    loop {
        tokio::select! {
            report = &mut work => {
                bar.finish_and_clear();
                return report;
            }
            () = tokio::time::sleep(DRAW) => {
                let read = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
                let read = read(&progress.primary) + read(&progress.secondary);
                bar.set_length(rows.max(read));
                bar.set_position(read);
            }
        }
    }
}

fn sentence(report: &Report) -> String {
    let seconds = report.elapsed.as_secs_f64();
    let mut text = format!("{} rows, {} equal", report.rows, report.equal());
    for (count, what) in [
        (report.missing, "missing"),
        (report.extra, "extra"),
        (report.different, "different"),
        (report.unsettled, "still on their way"),
        (report.unjudged, "only on the secondary, with a key that could not be looked up"),
    ] {
        if count > 0 {
            text += &format!(", {count} {what}");
        }
    }
    if !report.columns.is_empty() {
        let columns = report.columns.iter().map(|(name, rows)| format!("{name} in {rows}"));
        text += &format!(" ({})", columns.collect::<Vec<_>>().join(", "));
    }
    if !report.complete {
        text += "; more rows differ than one pass looks at";
    }
    match (report.cleared, report.dirty) {
        (true, _) => text += "; not dirty any more",
        (false, true) => text += "; dirty",
        (false, false) => {}
    }
    format!("{text}; {seconds:.1} s")
}

fn line(
    table: &Table,
    schema: &[String],
    report: &Result<Report, VerifyError>,
    show_values: bool,
) -> serde_json::Value {
    let name = table.name.to_string();
    let report = match report {
        Ok(report) => report,
        Err(error) => {
            return json!({ "table": name, "schema": schema, "error": error.to_string() });
        }
    };
    let mut line = json!({
        "table": name,
        "rows": report.rows,
        "rowsSecondary": report.rows_secondary,
        "equal": report.equal(),
        "missing": report.missing,
        "extra": report.extra,
        "different": report.different,
        "columns": report.columns,
        "unsettled": report.unsettled,
        "unjudged": report.unjudged,
        "schema": schema,
        "complete": report.complete,
        "dirty": report.dirty,
        "seconds": report.elapsed.as_secs_f64(),
    });
    if show_values {
        let keys = report.differences.iter();
        line["differences"] =
            keys.map(|(key, kind)| json!({ "kind": kind.as_str(), "key": key.show() })).collect();
    }
    line
}

fn refused(error: verify::Failure) -> Failure {
    match error.is_unreachable() {
        true => Failure::Unreachable(anyhow!(error)),
        false => Failure::Refused(anyhow!(error)),
    }
}
