//! Throwaway servers, and the story of a migration told on them.
//!
//! ```text
//! servers ─▶ schema, 100,000 users ─▶ setup ─▶ proxy ◀── load (an auth service's clients)
//!                  └──▶ a live table per second ─▶ backfill, verify, repair ─▶ drain ─▶ compare row by row
//!                       ─▶ switchover under load ─▶ compare ─▶ rollback under load ─▶ compare
//!                       ─▶ switchover under load ─▶ compare ─▶ complete
//! ```
//!
//! Invariant: nothing outlives the demo: servers and files end with it, however it ends.

pub mod compare;
mod flip;
mod load;
mod old;
mod screen;
pub mod servers;
mod stage;

use std::collections::HashMap;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use crate::control::switchover::Direction;
use load::Load;
use screen::Screen;
use servers::{Product, ServerError};
use stage::Stage;

/// Between two looks at the counters.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// How long the secondary may take to catch up once the load has ended.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(30);

/// What the demo is asked to do.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub target: Product,
    /// Clients of the application.
    pub clients: u64,
    /// How long they work.
    pub duration: Duration,
}

/// Why the demo could not be told to its end.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error("could not {action}")]
    Stage { action: &'static str, source: anyhow::Error },
    #[error("an application's client failed")]
    Client(#[source] tokio_postgres::Error),
    #[error("the secondary had not caught up {} s after the load", DRAIN_TIME_MAX.as_secs())]
    Behind,
    #[error("could not compare")]
    Compare(#[from] compare::CompareError),
    #[error("could not write")]
    Output(#[from] io::Error),
}

/// Tells the whole story; true if both databases are equal at its end.
pub async fn run(options: &Options, out: &mut impl Write) -> Result<bool, DemoError> {
    let began = Instant::now();
    let target = options.target;
    writeln!(
        out,
        "Starting PostgreSQL and {target}, with an auth service and its 100,000 users …"
    )?;
    let mut stage = Stage::set(options.target).await?;
    writeln!(out, "Crossfade is set up and runs on port {}.", stage.port())?;
    let clients = options.clients;
    writeln!(out, "{clients} clients sign up, log in, refresh, change and leave through it:\n")?;
    let mut load = Load::start(&stage.application(), options.clients).await;
    let load = load.as_mut().map_err(|error| DemoError::Stage {
        action: "connect the application's clients",
        source: anyhow::anyhow!("{error}"),
    })?;
    play(options, &stage, load, out).await?;
    writeln!(out, "\nThe clients go on. What was there before is copied:\n")?;
    old::copy(&stage, out).await?;
    writeln!(out)?;
    let repaired = old::verify_and_repair(&stage, out).await?;
    if let Some(error) = load.failed() {
        return Err(DemoError::Client(error));
    }
    load.rest().await.map_err(DemoError::Client)?;
    let waited = drain(&stage).await?;
    writeln!(out, "\nThe clients rest; MySQL's side had caught up after {waited:.1?}.")?;
    let mut equal = compare_all(&stage, out).await? && repaired;
    writeln!(
        out,
        "\nThe clients go on, over the connections they have; an error would end this. MySQL is to answer them:\n"
    )?;
    equal &= flip::flip(&stage, load, Direction::Switchover, options.duration, out).await?;
    writeln!(out, "\nThe clients go on. PostgreSQL is to answer them again:\n")?;
    equal &= flip::flip(&stage, load, Direction::Rollback, options.duration, out).await?;
    writeln!(out, "\nThe clients go on. MySQL is to answer them for good:\n")?;
    equal &= flip::flip(&stage, load, Direction::Switchover, options.duration, out).await?;
    writeln!(out, "\nThe clients go on, and PostgreSQL is left:\n")?;
    flip::complete(&mut stage, load, options.duration, out).await?;
    stage.strike().await;
    let verdict = match equal {
        true => "Every row is the same on both sides",
        false => "The two sides differ",
    };
    writeln!(out, "\n{verdict}. ({:.0?} in all)", began.elapsed())?;
    Ok(equal)
}

/// Watches the load for a while, and shows what becomes of it.
async fn play(
    options: &Options,
    stage: &Stage,
    load: &mut Load,
    out: &mut impl Write,
) -> Result<(), DemoError> {
    let mut screen = Screen::new();
    let ends = Instant::now() + options.duration;
    while Instant::now() < ends {
        tokio::time::sleep(LOOK_AGAIN.min(ends.saturating_duration_since(Instant::now()))).await;
        if let Some(error) = load.failed() {
            return Err(DemoError::Client(error));
        }
        screen.show(stage.published(), load.done(), out)?;
    }
    screen.end(stage.published(), load.done(), out)?;
    Ok(())
}

/// Waits until the outbox is empty: all that was captured has been applied.
async fn drain(stage: &Stage) -> Result<Duration, DemoError> {
    let began = Instant::now();
    while !stage.is_drained().await? {
        if began.elapsed() > DRAIN_TIME_MAX {
            return Err(DemoError::Behind);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(began.elapsed())
}

async fn compare_all(stage: &Stage, out: &mut impl Write) -> Result<bool, DemoError> {
    let (postgres, mut secondary) = stage.administrators().await?;
    let tables = compare::tables(&postgres).await?;
    let dirty: HashMap<String, String> = stage.dirty().await?;
    let width = tables.iter().map(String::len).max().unwrap_or(0);
    writeln!(out, "Comparing both databases, row by row:\n")?;
    let mut all = true;
    for table in &tables {
        let compared = compare::compare(&postgres, &mut secondary, table).await?;
        let dirty = dirty.get(table);
        all &= compared.is_equal();
        let verdict = match (compared.is_equal(), dirty) {
            (true, None) => "equal".to_owned(),
            (true, Some(reason)) => format!("equal (marked dirty: {reason})"),
            (false, _) => format!(
                "DIFFERENT: {} rows on PostgreSQL alone, {} on the secondary alone",
                compared.only_postgres.len(),
                compared.only_secondary.len()
            ),
        };
        writeln!(out, "  {table:width$}  {:>7} rows  {verdict}", compared.rows)?;
    }
    Ok(all)
}
