//! `crossfade setup`: starts dual writes, or shows what it would take.

use std::io::Write;

use anyhow::anyhow;

use crate::catalog::check::Wanted;
use crate::catalog::naming::Naming;
use crate::config::Config;
use crate::control::setup::{Extent, Report, Step, setup};
use crate::control::{ControlError, Ends};

use super::{Failure, Format, Outcome};

/// Create the schema on the new database and Crossfade's own tables on both; start dual writes.
#[derive(Debug, clap::Args)]
pub(super) struct Setup {
    /// Print the SQL instead of running it.
    #[arg(long)]
    dry_run: bool,
    /// Run the changes of existing tables that lose nothing; without it they are only shown.
    #[arg(long, conflicts_with = "dry_run")]
    apply: bool,
}

impl Setup {
    /// Exits 0 when both databases are as they should be, 1 when changes are left to make or a
    /// database refused, 3 when one of them could not be reached.
    pub(super) async fn run(
        self,
        config: &Config,
        format: Format,
        out: &mut impl Write,
    ) -> Result<Outcome, Failure> {
        let extent = match (self.dry_run, self.apply) {
            (true, _) => Extent::DryRun,
            (false, true) => Extent::Apply,
            (false, false) => Extent::Create,
        };
        let ends = ends(config)?;
        let report = setup(&ends, &config.tables, &Naming::default(), extent).await;
        let report = report.map_err(failure)?;
        match format {
            Format::Text => print(&report, out)?,
            Format::Json => writeln!(out, "{}", json(&report))?,
        }
        let left = extent != Extent::DryRun && report.pending().next().is_some();
        Ok(if left { Outcome::Found } else { Outcome::Well })
    }
}

/// Both databases of `config`, not yet connected to.
pub(super) fn ends(config: &Config) -> Result<Ends, Failure> {
    config.ends().map_err(|error| Failure::Unreachable(anyhow!(error)))
}

/// What `config` asks of the servers' limits.
pub(super) fn wanted(config: &Config) -> Wanted {
    Wanted {
        connections: config.limits.max_connections,
        workers: config.limits.workers,
        strict: config.limits.strict,
        types: config.tables.types(),
    }
}

/// A database that says no is a finding; one that does not answer is not reachable.
pub(super) fn failure(error: ControlError) -> Failure {
    match error.is_unreachable() {
        true => Failure::Unreachable(anyhow!(error)),
        false => Failure::Refused(anyhow!(error)),
    }
}

fn print(report: &Report, out: &mut impl Write) -> std::io::Result<()> {
    if report.extent == Extent::DryRun {
        return write!(out, "{}{}", warnings(report), report.plan.script(&report.database));
    }
    write!(out, "{}", warnings(report))?;
    for Step { table, sql } in report.pending() {
        let table = table.as_ref().map(ToString::to_string).unwrap_or_default();
        writeln!(out, "not run ({table}): {sql};")?;
    }
    for (Step { table, .. }, code) in &report.refused {
        let table = table.as_ref().map(ToString::to_string).unwrap_or_default();
        writeln!(out, "MySQL refused a change of {table} with error {code}")?;
    }
    writeln!(out, "{} tables are set up for dual writes", report.tables.len())
}

/// As comments, so that a script stays a script.
fn warnings(report: &Report) -> String {
    let warnings = report.plan.warnings.iter();
    warnings.map(|(table, warning)| format!("-- {table}: {warning}\n")).collect()
}

fn json(report: &Report) -> serde_json::Value {
    let sql =
        |steps: Vec<&Step>| steps.into_iter().map(|step| step.sql.clone()).collect::<Vec<_>>();
    let warnings = report.plan.warnings.iter();
    serde_json::json!({
        "tables": report.tables.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "mysql": sql(report.plan.mysql.iter().collect()),
        "postgres": report.plan.postgres,
        "pending": sql(report.pending().collect()),
        "warnings": warnings
            .map(|(table, warning)| serde_json::json!({"table": table.to_string(), "what": warning}))
            .collect::<Vec<_>>(),
    })
}
