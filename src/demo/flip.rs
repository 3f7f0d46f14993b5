//! The end of the story: MySQL becomes the primary under the clients' hands, and PostgreSQL again.
//!
//! ```text
//! load ─▶ switchover ─▶ load ─▶ rest, drain, compare ─▶ rollback ─▶ load ─▶ rest, drain, compare
//!      ─▶ switchover ─▶ … ─▶ complete: PostgreSQL is ended, and the clients go on
//! ```
//!
//! Invariant: the clients keep their connections from beginning to end, and an error that one of them
//! did not provoke ends the demo.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::bail;

use super::load::{Done, Load};
use super::stage::Stage;
use super::{DemoError, compare_all, drain};
use crate::control::switchover::{self, Completion, Direction, Ended};

/// How long clients work on either side of a change.
const SIDE_TIME_MAX: Duration = Duration::from_secs(8);
/// The login loop's counters are shown so often.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Past it a change is undone.
const HOLD_TIME_MAX: Duration = Duration::from_secs(30);

/// Changes the primary while the clients work, lets them go on for a while, and compares; true if both
/// sides are equal.
pub(super) async fn flip(
    stage: &Stage,
    load: &mut Load,
    direction: Direction,
    side: Duration,
    out: &mut impl Write,
) -> Result<bool, DemoError> {
    let side = side.min(SIDE_TIME_MAX);
    let (verb, to) = match direction {
        Direction::Switchover => ("switchover", "MySQL"),
        Direction::Rollback => ("rollback", "PostgreSQL"),
    };
    load.go_on();
    logins(load, side / 4, out).await?;
    let before = load.done().logins.load(Ordering::Relaxed);
    let held = change(stage, direction).await;
    let held = held.map_err(|source| DemoError::Stage { action: "change the primary", source })?;
    let during = load.done().logins.load(Ordering::Relaxed) - before;
    writeln!(
        out,
        "  crossfade {verb}: {to} is the primary; clients were held for {:.0} ms, {during} logins meanwhile",
        held.as_secs_f64() * 1000.0
    )?;
    logins(load, side, out).await?;
    load.rest().await.map_err(DemoError::Client)?;
    let waited = drain(stage).await?;
    writeln!(out, "  The clients rest; the other side had caught up after {waited:.1?}.\n")?;
    compare_all(stage, out).await
}

/// Leaves PostgreSQL for good while the clients work, and ends its server.
pub(super) async fn complete(
    stage: &mut Stage,
    load: &mut Load,
    side: Duration,
    out: &mut impl Write,
) -> Result<(), DemoError> {
    let side = side.min(SIDE_TIME_MAX);
    load.go_on();
    logins(load, side / 4, out).await?;
    let left = leave(stage).await;
    left.map_err(|source| DemoError::Stage { action: "complete the migration", source })?;
    stage.end_postgres().await;
    writeln!(out, "  crossfade complete: PostgreSQL is left, and its server is ended")?;
    logins(load, side / 2, out).await?;
    load.rest().await.map_err(DemoError::Client)
}

async fn leave(stage: &Stage) -> anyhow::Result<()> {
    let wanted = Completion { dry_run: false, force: false, timeout: HOLD_TIME_MAX };
    let left = switchover::complete(stage.ends(), &BTreeMap::new(), &wanted).await?;
    match left.outcome {
        Ended::Done => Ok(()),
        _ => bail!("PostgreSQL stays: {}", left.reasons.join("; ")),
    }
}

/// Shows the logins of some seconds, a line each.
async fn logins(load: &mut Load, lasts: Duration, out: &mut impl Write) -> Result<(), DemoError> {
    let done: Arc<Done> = Arc::clone(load.done());
    let ends = Instant::now() + lasts;
    done.take_longest_login();
    let mut before = done.logins.load(Ordering::Relaxed);
    while Instant::now() < ends {
        let began = Instant::now();
        tokio::time::sleep(LOOK_AGAIN.min(ends - began)).await;
        if let Some(error) = load.failed() {
            return Err(DemoError::Client(error));
        }
        let now = done.logins.load(Ordering::Relaxed);
        let rate = (now - before) as f64 / began.elapsed().as_secs_f64();
        let longest = done.take_longest_login().as_secs_f64() * 1000.0;
        writeln!(
            out,
            "  {now:>7} logins   {rate:>5.0} a second   the longest took {longest:.0} ms"
        )?;
        before = now;
    }
    Ok(())
}

/// What `crossfade switchover` and `crossfade rollback` do. How long clients were held.
async fn change(stage: &Stage, direction: Direction) -> anyhow::Result<Duration> {
    let options = switchover::Options {
        direction,
        group: None,
        dry_run: false,
        timeout: HOLD_TIME_MAX,
        accept: Vec::new(),
        terminate: false,
    };
    let (ends, tables) = (stage.ends(), &stage.config().tables);
    let changed = switchover::run(ends, tables, &BTreeMap::new(), &options, &|_| ()).await?;
    match changed.outcome {
        Ended::Done => Ok(Duration::from_secs_f64(changed.hold_seconds)),
        _ => bail!("the primary stays where it is: {}", changed.reasons.join("; ")),
    }
}
