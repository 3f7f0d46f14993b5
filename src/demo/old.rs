//! The middle of the story: old rows are copied, both sides compared, differences planted and repaired.
//!
//! ```text
//! backfill (a bar a table) ─▶ verify: clean ─▶ three rows changed on MySQL alone ─▶ verify: those three
//!                                                                        ─▶ repair ─▶ verify: clean
//! ```
//!
//! Invariant: the application's clients work all the while.

use std::io::{IsTerminal as _, Write};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use mysql_async::prelude::Queryable as _;
use tokio::sync::watch;

use super::DemoError;
use super::stage::Stage;
use crate::backfill::{Progress, State};
use crate::control::backfill::backfill;
use crate::control::repair::{Wanted, repair};
use crate::control::verify::Pass;
use crate::phase::Situation;
use crate::verify::Progress as Compared;

const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// One of each kind, on MySQL alone, in rows that the clients leave alone.
const PLANTED: [(&str, &str); 3] = [
    ("missing", "DELETE FROM passwords WHERE user_id = 1001"),
    ("different", "UPDATE users SET login_count = login_count + 1 WHERE id = 1002"),
    (
        "extra",
        "INSERT INTO codes (code, email, purpose, attempts, created_at) \
         VALUES ('planted', 'nobody@example.com', 'login', 0, CURRENT_TIMESTAMP(6))",
    ),
];

/// What passes over all tables found.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    rows: u64,
    missing: u64,
    different: u64,
    extra: u64,
    unsettled: u64,
    /// Tables whose schema differs.
    schema: u64,
}

pub(super) async fn copy(stage: &Stage, out: &mut impl Write) -> Result<(), DemoError> {
    let copied = copy_all(stage, out).await;
    copied.map_err(|source| DemoError::Stage { action: "copy the old rows", source })
}

/// True if just what was planted is found, and nothing is left of it.
pub(super) async fn verify_and_repair(
    stage: &Stage,
    out: &mut impl Write,
) -> Result<bool, DemoError> {
    let verified = planted_and_repaired(stage, out).await;
    verified.map_err(|source| DemoError::Stage { action: "compare and repair", source })
}

async fn copy_all(stage: &Stage, out: &mut impl Write) -> anyhow::Result<()> {
    let config = stage.config();
    let (progress, (_stop, stopped)) = (Progress::default(), watch::channel(false));
    let ends = stage.ends();
    let options = config.backfill.options();
    let mut work = std::pin::pin!(backfill(ends, &config.tables, &[], options, &progress, stopped));
    let (mut ended, mut bar) = (0, None);
    loop {
        let done = tokio::select! {
            result = &mut work => Some(result),
            () = tokio::time::sleep(LOOK_AGAIN) => None,
        };
        let snapshot = progress.snapshot();
        while let Some(table) = snapshot.tables.get(ended).filter(|t| t.state == State::Done) {
            bar = None;
            ended += 1;
            let (rows, seconds) = (table.rows, table.elapsed().as_secs_f64());
            writeln!(out, "  {:15} {rows:>7} rows copied in {seconds:.1} s", table.table)?;
        }
        if let Some(table) = snapshot.tables.get(ended) {
            let bar: &ProgressBar = bar.get_or_insert_with(|| new_bar(&table.table.to_string()));
            bar.set_length(table.expected);
            bar.set_position(table.rows);
        }
        if let Some(result) = done {
            return Ok(result?);
        }
    }
}

fn new_bar(table: &str) -> ProgressBar {
    let bar = match std::io::stderr().is_terminal() {
        true => ProgressBar::new(0),
        false => ProgressBar::hidden(),
    };
    let template = "  {prefix:15} {wide_bar} {human_pos} of {human_len} rows {per_sec} {eta}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.with_prefix(table.to_owned())
}

async fn planted_and_repaired(stage: &Stage, out: &mut impl Write) -> anyhow::Result<bool> {
    let clean = verify(stage, out).await?;
    ensure!(clean.is_clean(), "rows differ after the backfill");
    let (postgres, mut secondary) = stage.administrators().await?;
    for (kind, statement) in PLANTED {
        secondary.query_drop(statement).await.context("plant a difference")?;
        ensure!(secondary.affected_rows() == 1, "there is no row to make {kind}");
    }
    writeln!(
        out,
        "Somebody changes three rows on MySQL alone: one goes, one comes, one is edited."
    )?;
    let found = verify(stage, out).await?;
    let planted = Found { missing: 1, different: 1, extra: 1, ..Found::default() };
    let expected = Found { rows: found.rows, ..planted };
    ensure!(found == expected, "verify found something else than what was planted");
    let views = Situation::clone(&stage.published().situation.borrow()).views(&[]);
    let repaired = repair(stage.ends(), &postgres, &views, &Wanted::default()).await?;
    writeln!(
        out,
        "repair: {} rows found, {} carried over again, {} compared and equal",
        repaired.found,
        repaired.carried,
        repaired.compared.as_ref().map_or(0, |compared| compared.equal)
    )?;
    let left = verify(stage, out).await?;
    Ok(repaired.is_well() && left.is_clean())
}

impl Found {
    fn is_clean(&self) -> bool {
        *self == Self { rows: self.rows, ..Self::default() }
    }
}

/// One pass over every table and its schema, as `crossfade verify` does it.
async fn verify(stage: &Stage, out: &mut impl Write) -> anyhow::Result<Found> {
    let config = stage.config();
    let options = config.verify.options();
    let mut pass = Pass::begin(stage.ends(), &config.tables, &[], options).await?;
    let (mut found, began) = (Found::default(), std::time::Instant::now());
    for table in pass.tables() {
        let report = pass.table(&table, &Arc::new(Compared::default())).await?;
        found.rows += report.rows;
        found.missing += report.missing;
        found.different += report.different;
        found.extra += report.extra;
        found.unsettled += report.unsettled + report.unjudged;
        found.schema += u64::from(!report.schema.is_empty());
    }
    let Found { rows, missing, different, extra, schema, .. } = &found;
    let took = began.elapsed();
    write!(out, "verify: {rows} rows compared in {took:.1?}: ")?;
    write!(out, "{missing} missing, {different} different, {extra} extra")?;
    match schema {
        0 => writeln!(out)?,
        tables => writeln!(out, "; the schema of {tables} tables differs")?,
    }
    Ok(found)
}
