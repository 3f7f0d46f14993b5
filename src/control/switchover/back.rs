//! MySQL gives the lead back to PostgreSQL.
//!
//! ```text
//! outbox empty ─▶ crossfade_state alone, still empty ─▶ the attempt's line locked ─▶ MySQL's epoch
//! ```
//!
//! Invariant: MySQL's epoch moves while its state's row is locked, so no captured write is under way, and
//! while the attempt's line on PostgreSQL is locked, so nobody undoes what happens.

use std::sync::Arc;

use tokio::time::{Instant, sleep};

use super::forward::Given;
use super::hold::{POLL, ended};
use super::stall::{self, STEP};
use super::{Run, SwitchError, Told, others, standing};
use crate::backend::mysql::switch::{self, Alone};
use crate::backend::mysql::{Link, WriteError, outbox};
use crate::backend::postgres::attempts::STILL_HELD;
use crate::catalog::Table;
use crate::outbox::STUCK_ATTEMPTS;

const DIRTY: &str = "SELECT t.schema || '.' || t.name FROM crossfade.tables t \
     WHERE t.dirty_reason IS NOT NULL AND t.id = ANY ($1)";

/// Moves MySQL's epoch to `next`, and the turn with it.
pub(super) async fn give(
    run: &Run<'_>,
    tables: &[&Arc<Table>],
    id: i64,
    next: u64,
) -> Result<Given, SwitchError> {
    let ids: Vec<i32> = tables.iter().filter_map(|table| Some(table.id?.0)).collect();
    let mut link = Link::connect(&run.ends.to, &run.ends.limits).await?;
    // Its lock keeps whoever writes waiting, but not past the attempt.
    stall::mysql(link.conn(), run.left()).await?;
    let mut left = outbox::Outbox::new(Link::connect(&run.ends.to, &run.ends.limits).await?);
    // What has failed, or was claimed by a sidecar that is gone, would be waited for longer than need be.
    left.recall().await?;
    loop {
        let found = left.left(STUCK_ATTEMPTS).await?;
        if 0 < found.stuck {
            let stuck = found.stuck;
            return Ok(Given::No(vec![format!(
                "{stuck} entries are stuck: run `crossfade repair`"
            )]));
        }
        if found.pending == 0 {
            let dirty = run.client.query(DIRTY, &[&ids]).await?;
            if !dirty.is_empty() {
                let reason = |row: &tokio_postgres::Row| {
                    format!("table {} is dirty", row.get::<_, String>(0))
                };
                return Ok(Given::No(dirty.iter().map(reason).collect()));
            }
            match switch::alone(link.conn(), next - 1).await? {
                Alone::Yes => return flip(run, link, id, next).await,
                Alone::Busy | Alone::Pending => {}
                Alone::Moved(found) => {
                    return Ok(Given::No(vec![format!("MySQL is at epoch {found} meanwhile")]));
                }
                Alone::Complete => return Ok(Given::No(vec![standing::COMPLETE.to_owned()])),
            }
        }
        if let Some(reason) = ended(&run.client, id).await? {
            let (waiting, who) = match found.pending {
                0 => {
                    let waiting = "a transaction that has written did not end".to_owned();
                    (waiting, others::open_on_mysql(run.ends).await)
                }
                pending => (format!("{pending} writes were still on their way"), Vec::new()),
            };
            let reason = format!("{reason}: {waiting}");
            return Ok(Given::No([reason].into_iter().chain(who).collect()));
        }
        sleep(POLL).await;
    }
}

/// With the state's row locked: the moment from which there is no way back but forward.
async fn flip(run: &Run<'_>, mut link: Link, id: i64, next: u64) -> Result<Given, SwitchError> {
    (run.tell)(&Told::Alone);
    (run.tell)(&Told::Empty);
    let guard = run.ends.from.connect().await?;
    stall::postgres(&guard, STEP).await?;
    guard.batch_execute("BEGIN").await?;
    if guard.query_opt(STILL_HELD, &[&id]).await?.is_none() {
        switch::keep(link.conn()).await?;
        let reason = ended(&run.client, id).await?;
        return Ok(Given::No(vec![reason.unwrap_or_else(|| "the attempt is over".to_owned())]));
    }
    let given: Result<(), WriteError> = switch::give_back(link.conn(), next).await;
    guard.batch_execute("ROLLBACK").await?;
    given?;
    Ok(Given::Yes(None, Instant::now()))
}
