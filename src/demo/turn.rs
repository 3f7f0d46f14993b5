//! The day itself: MySQL becomes the primary under the clients' hands, and PostgreSQL again.
//!
//! ```text
//! gates ─▶ switchover ─▶ the clients go on, on MySQL ─▶ rollback ─▶ the clients go on, on PostgreSQL
//! ```
//!
//! Invariant: a client that sees an error ends the story.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::ensure;

use super::DemoError;
use super::load::Load;
use super::stage::Stage;
use crate::control::switchover::{self, Direction, Ended, Options, TIMEOUT};

/// Flows that the clients end under each primary.
const FLOWS: u64 = 100;
const FLOWS_TIME_MAX: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// There and back.
pub(super) async fn there_and_back(
    stage: &Stage,
    load: &mut Load,
    out: &mut impl Write,
) -> Result<(), DemoError> {
    writeln!(out, "MySQL becomes the primary; PostgreSQL follows, and can be taken back:\n")?;
    for (direction, primary) in
        [(Direction::Switchover, "MySQL"), (Direction::Rollback, "PostgreSQL")]
    {
        let held = change(stage, direction).await;
        let held =
            held.map_err(|source| DemoError::Stage { action: "change the primary", source })?;
        let began = Instant::now();
        let flows = load.done().flows.load(Ordering::Relaxed) + FLOWS;
        while load.done().flows.load(Ordering::Relaxed) < flows {
            if let Some(error) = load.failed() {
                return Err(DemoError::Client(error));
            }
            if FLOWS_TIME_MAX < began.elapsed() {
                let source = anyhow::anyhow!("{primary} answers too slowly");
                return Err(DemoError::Stage { action: "go on after a change", source });
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        let (verb, seconds) = (direction.as_str(), began.elapsed().as_secs_f64());
        writeln!(
            out,
            "  {verb:10} clients waited {held:.1} s and saw no error; {FLOWS} flows on {primary} in {seconds:.1} s"
        )?;
    }
    Ok(())
}

/// How long clients were held, in seconds.
async fn change(stage: &Stage, direction: Direction) -> anyhow::Result<f64> {
    let options = Options {
        direction,
        dry_run: false,
        timeout: TIMEOUT,
        accept: Vec::new(),
        terminate: false,
    };
    let (users, policies) = (BTreeMap::new(), &stage.config().tables);
    let done = switchover::run(stage.ends(), policies, &users, &options, &|_| {}).await?;
    ensure!(done.outcome == Ended::Done, "{:?}: {}", done.outcome, done.reasons.join("; "));
    Ok(done.hold_seconds)
}
