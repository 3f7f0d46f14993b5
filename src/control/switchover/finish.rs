//! The second half: one side has given the lead, and the other takes it.
//!
//! ```text
//! lease waited out ─▶ MySQL: epoch and lead          (switchover)
//!                  ─▶ PostgreSQL: counters, lock, epoch  (rollback)     ─▶ attempt done
//! ```
//!
//! Whoever finds it half done does the same: sidecars, and the next run.
//!
//! Invariant: nobody takes the lead before one lease has passed since the other side gave it, unless all
//! who could still answer by it have said that they do not.

use std::sync::Arc;

use tokio::time::{Duration, Instant, sleep, sleep_until};
use tokio_postgres::Client;

use super::forward::try_lock;
use super::hold::POLL;
use super::stall::{self, STEP};
use super::{Run, SwitchError, Told, counters, facts};
use crate::backend::mysql::switch::{self, Share};
use crate::backend::mysql::{Link, WriteError, sidecars};
use crate::backend::postgres::attempts::{self, Direction};
use crate::backend::postgres::{moved, refuse};
use crate::catalog::Table;
use crate::control::layout;
use crate::outbox;

/// How much longer than the attempt's own time the other side is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two attempts.
const AGAIN: Duration = Duration::from_millis(250);
/// Attempts to take the triggers off; what is left does no harm, and the next switchover needs it.
const UNCOVER_MAX: u32 = 3;

const LEASE: &str = "SELECT coalesce(pg_catalog.max(s.lease_ms), 0) FROM crossfade.sidecars s";

const UNHEARD: &str = "SELECT EXISTS (SELECT FROM crossfade.sidecars s \
     WHERE pg_catalog.clock_timestamp() < s.lease_until AND NOT EXISTS ( \
       SELECT FROM crossfade.attempt_sidecars l WHERE l.sidecar = s.id AND l.drained IS NOT NULL \
         AND l.attempt = $1))";

/// Since when the lead is given, and the attempt for which everybody has stopped answering by it; none
/// where somebody may not have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Since {
    pub(super) given: Instant,
    pub(super) drained: Option<i64>,
}

/// The longest lease of all sidecars that are on record.
pub(super) async fn lease(client: &Client) -> Result<Duration, SwitchError> {
    let lease: i64 = client.query_one(LEASE, &[]).await?.get(0);
    Ok(Duration::from_millis(u64::try_from(lease).unwrap_or(0)))
}

/// Takes the lead in epoch `next`. There is no undoing: what fails is tried again, well past the time.
pub(super) async fn finish(
    run: &Run<'_>,
    tables: &[&Arc<Table>],
    direction: Direction,
    next: u64,
    since: Since,
) -> Result<(), SwitchError> {
    let give_up = Instant::now() + run.options.timeout + PATIENCE;
    loop {
        let failed = match attempt(run, tables, direction, next, since).await {
            Ok(()) => break,
            Err(error) => error,
        };
        if give_up <= Instant::now() {
            return Err(SwitchError::Unfinished {
                direction,
                epoch: next,
                why: failed.to_string(),
            });
        }
        (run.tell)(&Told::Repeats(failed.to_string()));
        sleep(AGAIN).await;
    }
    if direction == Direction::Rollback {
        uncover(run, next * 2).await;
    }
    Ok(())
}

async fn attempt(
    run: &Run<'_>,
    tables: &[&Arc<Table>],
    direction: Direction,
    next: u64,
    since: Since,
) -> Result<(), SwitchError> {
    // The coordinator's own connection may be what broke.
    let client = run.ends.from.connect().await?;
    let mut link = Link::connect(&run.ends.to, &run.ends.limits).await?;
    // One that PostgreSQL does not know answers from MySQL, and has not heard of the attempt.
    let unknown = match direction {
        Direction::Rollback => sidecars::longest_lease(link.conn()).await?,
        Direction::Switchover => None,
    };
    // One that has started since the announcement has its line, and never said that it drained.
    let waits = match since.drained {
        Some(id) => client.query_one(UNHEARD, &[&id]).await?.get(0),
        None => true,
    };
    if waits || unknown.is_some() {
        let lease = lease(&client).await?.max(unknown.unwrap_or_default());
        let until = since.given + lease;
        if Instant::now() < until {
            (run.tell)(&Told::WaitsLease(lease));
            sleep_until(until).await;
        }
    }
    stall::mysql(link.conn(), STEP).await?;
    stall::postgres(&client, STEP).await?;
    match direction {
        Direction::Switchover => {
            // A sequence is seen by others before it is on disk, and MySQL must not go first.
            outbox::flush(&client).await?;
            // The turn says whether all has moved; a plan that somebody was late with says nothing then.
            let all = facts::turn(&client).await? == Some(next * 2 + 1);
            let share = match all || moved::at(&client, next).await?.is_empty() {
                true => Share::All,
                false => Share::Part,
            };
            lead(&mut link, next, share).await?;
        }
        Direction::Rollback => {
            counters::raise_postgres(&client, link.conn(), tables).await?;
            take_back(&client, next).await?;
            layout::let_in(&client).await?;
        }
    }
    attempts::done(&client, next).await?;
    Ok(())
}

async fn lead(link: &mut Link, next: u64, share: Share) -> Result<(), WriteError> {
    match switch::lead(link.conn(), next, share).await {
        // Somebody else has finished it, and gone on from there.
        Err(WriteError::Epoch { found, .. }) if next < found => Ok(()),
        other => other,
    }
}

/// PostgreSQL is the primary from here on; does nothing where it is already.
async fn take_back(client: &Client, next: u64) -> Result<(), SwitchError> {
    let bound = Instant::now() + PATIENCE;
    let turn = next * 2;
    let taken = format!("SELECT {turn} <= e.last_value FROM crossfade.epoch e");
    while !try_lock(client).await? {
        // Somebody else has finished it: whoever writes now is none of its business.
        if client.query_one(&taken, &[]).await?.get(0) {
            return Ok(());
        }
        if bound <= Instant::now() {
            return Err(SwitchError::Locked);
        }
        sleep(POLL).await;
    }
    // Its lock goes with the connection.
    let is_next = facts::turn(client).await?.is_some_and(|now| now < turn);
    if is_next && !moved::now(client).await?.is_empty() {
        // Both come true with the epoch.
        moved::plan(client, next, &[]).await?;
        refuse::returned(client, next).await?;
    }
    let moves = format!(
        "SELECT pg_catalog.setval('crossfade.epoch', {turn}) FROM crossfade.epoch e \
         WHERE e.last_value < {turn}"
    );
    client.batch_execute(&moves).await?;
    Ok(())
}

/// Where nobody is in the way.
async fn uncover(run: &Run<'_>, turn: u64) {
    for _ in 0..UNCOVER_MAX {
        sleep(AGAIN).await;
        if refuse::uncover(&run.client, turn).await.is_ok() {
            return;
        }
    }
}
