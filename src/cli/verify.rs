//! `crossfade verify`: compares the schema, every row and every column of every captured table.
//!
//! ```text
//! catalogue ──tables, one by one──▶ [`Pass`] ──Report──▶ a line each
//!     ▲                              │ a database went away
//!     └──── --watch: a pause, proxy.yaml read again ◀┘ then on with the next table
//! ```

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::time::Instant;

use crate::catalog::Table;
use crate::config::{Config, ConfigError};
use crate::control::verify::{self, Pass};
use crate::names::TableName;
use crate::verify::{Moment, Options, Progress, Report, VerifyError};

use super::setup::ends;
use super::{Failure, Format, Outcome};

/// Between two draws of the bar.
const DRAW: Duration = Duration::from_millis(200);
/// Between two lines of JSON about a table that is being compared, where something has moved.
const TOLD: Duration = Duration::from_secs(1);
/// Least pause between two tables of `--watch`; as long as the table took, where that is longer, so
/// that comparing takes half of one connection's time at most.
const WATCH_PAUSE_MIN: Duration = Duration::from_secs(1);
/// `--watch` looks for a database that went away after a second, then ever later up to this.
const AWAY_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Compare every row of both databases, while they are written to; list missing, extra, different.
#[derive(Debug, clap::Args)]
pub(super) struct Verify {
    /// Only this table (`users`, or `auth.users`); may be given several times.
    #[arg(long, value_name = "T")]
    table: Vec<String>,
    /// Go round for ever, until interrupted; a database that goes away is waited for.
    #[arg(long)]
    watch: bool,
    /// List the keys of the rows that differ. Keys are values of the application.
    #[arg(long)]
    show_values: bool,
    /// How long rows that are on their way are waited for, in seconds; `verify.patience` of proxy.yaml
    /// where this is not given.
    #[arg(long, value_name = "SECONDS")]
    patience: Option<u64>,
    /// Read no more than so many rows a second on each side; `verify.max_rate` where this is not given.
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u64).range(1..))]
    max_rate: Option<u64>,
    /// Have both servers hash their rows instead of sending them: for thin links, at two to three times
    /// the servers' work. Tables with columns of which that is not exact are read whole, and it is said.
    #[arg(long, conflicts_with = "max_rate")]
    checksum: bool,
}

/// Hashes of a table are made by one statement.
const NO_RATE: &str = "--checksum cannot keep to a rate: proxy.yaml has one (verify.max_rate)";

/// How far `--watch` has come.
#[derive(Default)]
struct Watch {
    /// Both databases were reached once: from then on they are waited for.
    begun: bool,
    /// Where a round that ended early goes on.
    next: usize,
}

impl Verify {
    /// Exits 0 when every row is equal, 1 when one differs, is still on its way or could not be
    /// compared, or a schema differs, 3 when a database cannot be reached.
    pub(super) async fn run(
        self,
        load: impl Fn() -> Result<Config, ConfigError>,
        format: Format,
        out: &mut impl Write,
    ) -> Result<Outcome, Failure> {
        let mut config = load()?;
        if self.checksum && config.verify.max_rate.is_some() {
            return Err(Failure::Usage(NO_RATE.to_owned()));
        }
        let (mut watch, mut pause) = (Watch::default(), WATCH_PAUSE_MIN);
        loop {
            match self.round(&config, format, &mut watch, out).await {
                Err(Failure::Unreachable(error)) if self.watch && watch.begun => {
                    let error = format!("{error:#}");
                    match format {
                        Format::Json => writeln!(out, "{}", json!({ "waitsFor": error }))?,
                        Format::Text => writeln!(std::io::stderr(), "{error}; it is waited for")?,
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(AWAY_PAUSE_MAX);
                    // A database may be elsewhere by now, or have another password.
                    config = load().unwrap_or(config);
                }
                Ok(_) if self.watch => pause = WATCH_PAUSE_MIN,
                ended => return ended,
            }
        }
    }

    async fn round(
        &self,
        config: &Config,
        format: Format,
        watch: &mut Watch,
        out: &mut impl Write,
    ) -> Result<Outcome, Failure> {
        let ends = ends(config)?;
        let names: Vec<TableName> = self.table.iter().map(|name| TableName::parse(name)).collect();
        let pass = Pass::begin(&ends, &config.tables, &names, self.options(config)).await;
        let mut pass = pass.map_err(refused)?;
        watch.begun = true;
        let mut outcome = Outcome::Well;
        for (at, table) in pass.tables().iter().enumerate().skip(watch.next) {
            watch.next = at + 1;
            let start = Instant::now();
            let report = one(&mut pass, table, format, out).await;
            let report = match report {
                Err(error) if error.is_unreachable() => return Err(refused(error.into())),
                other => other,
            };
            if !report.as_ref().is_ok_and(Report::is_equal) {
                outcome = Outcome::Found;
            }
            self.print(table, pass.schema(table), &report, format, out)?;
            out.flush()?;
            if self.watch {
                tokio::time::sleep(start.elapsed().max(WATCH_PAUSE_MIN)).await;
            }
        }
        watch.next = 0;
        Ok(outcome)
    }

    fn options(&self, config: &Config) -> Options {
        let asked = config.verify.options();
        Options {
            patience: self.patience.map_or(asked.patience, Duration::from_secs),
            max_rate: self.max_rate.or(asked.max_rate),
            checksum: self.checksum,
        }
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

/// One table, with a bar on a terminal, and lines of JSON where these are asked for.
async fn one(
    pass: &mut Pass,
    table: &Arc<Table>,
    format: Format,
    out: &mut impl Write,
) -> Result<Report, VerifyError> {
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
    let (start, mut told) = (Instant::now(), (Instant::now(), Moment::default()));
    let mut work = std::pin::pin!(pass.table(table, &progress));
    loop {
        tokio::select! {
            report = &mut work => {
                bar.finish_and_clear();
                return report;
            }
            () = tokio::time::sleep(DRAW) => {
                let now = progress.now();
                bar.set_length(rows.max(now.read()));
                bar.set_position(now.read());
                if format == Format::Json && TOLD <= told.0.elapsed() && now != told.1 {
                    told = (Instant::now(), now);
                    // A reader that has gone is noticed when the report is written.
                    let _ = writeln!(out, "{}", under_way(table, now, start.elapsed()));
                    let _ = out.flush();
                }
            }
        }
    }
}

fn under_way(table: &Table, now: Moment, elapsed: Duration) -> serde_json::Value {
    json!({
        "table": table.name.to_string(),
        "state": "comparing",
        "read": { "postgres": now.postgres, "mysql": now.mysql },
        "looked": now.looked,
        "seconds": elapsed.as_secs_f64(),
    })
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
    if let Some(why) = &report.read_whole {
        text += &format!("; read whole: {why}");
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
            let error = error.to_string();
            return json!({ "table": name, "state": "failed", "schema": schema, "error": error });
        }
    };
    let mut line = json!({
        "table": name,
        "state": "compared",
        "rows": report.rows,
        "rowsSecondary": report.rows_secondary,
        "equal": report.equal(),
        "missing": report.missing,
        "extra": report.extra,
        "different": report.different,
        "columns": report.columns,
        "unsettled": report.unsettled,
        "unjudged": report.unjudged,
        "looked": report.looked,
        "schema": schema,
        "complete": report.complete,
        "dirty": report.dirty,
        "seconds": report.elapsed.as_secs_f64(),
    });
    if let Some(why) = &report.read_whole {
        line["readWhole"] = json!(why);
    }
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
