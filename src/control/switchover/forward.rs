//! PostgreSQL gives the lead to MySQL.
//!
//! ```text
//! lock alone ─▶ outbox empty ─▶ nothing dirty, every table covered, counters ─▶ crossfade.epoch: MySQL's turn
//! ```
//!
//! The lock is polled for, so that nobody queues behind us. Once it is ours, every write is over, or will
//! be refused by the trigger: also those of whoever does not know of Crossfade.
//!
//! Invariant: the epoch moves over the connection that holds the lock, and only while the attempt's line,
//! locked, says that it is still held and in time.

use std::sync::Arc;

use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use super::hold::{POLL, ended};
use super::prepare::{covered, refuses};
use super::{Run, SwitchError, Told, counters, others, stall};
use crate::backend::mysql::{Link, switch};
use crate::backend::postgres::attempts::STILL_HELD;
use crate::backend::postgres::control::{LOCK_CLASS, LOCK_KEY};
use crate::backend::postgres::{moved, refuse};
use crate::catalog::{Catalog, Table};
use crate::control::layout;
use crate::outbox::{STUCK_ATTEMPTS, stuck};

const LEFT: &str = "SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE attempts >= $1) \
     FROM (SELECT attempts FROM crossfade.outbox LIMIT 100000) o";
const DIRTY: &str = "SELECT t.schema || '.' || t.name || ' (' || t.dirty_reason || ')' \
     FROM crossfade.tables t WHERE t.dirty_reason IS NOT NULL AND t.id = ANY ($1)";

/// What came of it.
#[derive(Debug)]
pub(super) enum Given {
    /// The epoch has moved; the connection's lock keeps others waiting until it is dropped.
    Yes(Option<Client>, Instant),
    /// Why it did not.
    No(Vec<String>),
}

/// Moves PostgreSQL's epoch to `next`, and the turn to MySQL.
pub(super) async fn give(
    run: &Run<'_>,
    catalog: &Catalog,
    tables: &[&Arc<Table>],
    id: i64,
    next: u64,
) -> Result<Given, SwitchError> {
    let holder = run.ends.from.connect().await?;
    // Its lock keeps whoever writes waiting, but not past the attempt.
    stall::postgres(&holder, run.left()).await?;
    if let Some(reasons) = alone(run, &holder, id).await? {
        return Ok(Given::No(reasons));
    }
    (run.tell)(&Told::Alone);
    if let Some(reasons) = empty(run, id).await? {
        return Ok(Given::No(reasons));
    }
    (run.tell)(&Told::Empty);
    if let Some(reasons) = look_again(run, catalog, tables, next).await? {
        return Ok(Given::No(reasons));
    }
    let mut link = Link::connect(&run.ends.to, &run.ends.limits).await?;
    // A MySQL that is gone, or is not where it was, is noticed before the epoch moves.
    counters::raise_mysql(&run.client, link.conn(), tables, run.until).await?;
    for table in tables {
        switch::rehearse(link.conn(), table).await?;
    }
    drop(link);
    match flip(run, &holder, id, next).await? {
        true => Ok(Given::Yes(Some(holder), Instant::now())),
        false => Ok(Given::No(vec![match ended(&run.client, id).await? {
            Some(reason) => reason,
            None => "the epoch has moved meanwhile".to_owned(),
        }])),
    }
}

/// Gets the lock, or says who keeps it.
pub(super) async fn alone(
    run: &Run<'_>,
    holder: &Client,
    id: i64,
) -> Result<Option<Vec<String>>, SwitchError> {
    while !try_lock(holder).await? {
        if let Some(reason) = ended(&run.client, id).await? {
            let writers = others::writers(&run.client).await?;
            let writers: Vec<String> = writers
                .into_iter()
                .map(|who| format!("a transaction that has written did not end in time: {who}"))
                .collect();
            return Ok(Some(if writers.is_empty() { vec![reason] } else { writers }));
        }
        sleep(POLL).await;
    }
    Ok(None)
}

pub(super) async fn try_lock(holder: &Client) -> Result<bool, SwitchError> {
    let lock = format!("SELECT pg_catalog.pg_try_advisory_lock({LOCK_CLASS}, {LOCK_KEY})");
    Ok(holder.query_one(&lock, &[]).await?.get(0))
}

/// Waits until MySQL has everything; the sidecars carry it over.
async fn empty(run: &Run<'_>, id: i64) -> Result<Option<Vec<String>>, SwitchError> {
    // What has failed, or was claimed by a sidecar that is gone, would be waited for longer than need be.
    stuck::recall(&run.client).await?;
    loop {
        let row = run.client.query_one(LEFT, &[&STUCK_ATTEMPTS]).await?;
        let (left, stuck): (i64, i64) = (row.get(0), row.get(1));
        if left == 0 {
            return Ok(None);
        }
        if 0 < stuck {
            return Ok(Some(vec![format!("{stuck} entries are stuck: run `crossfade repair`")]));
        }
        if let Some(reason) = ended(&run.client, id).await? {
            return Ok(Some(vec![format!("{reason}: {left} writes were still on their way")]));
        }
        sleep(POLL).await;
    }
}

/// What may have changed since the gates were looked at.
async fn look_again(
    run: &Run<'_>,
    catalog: &Catalog,
    tables: &[&Arc<Table>],
    next: u64,
) -> Result<Option<Vec<String>>, SwitchError> {
    let ids: Vec<i32> = tables.iter().filter_map(|table| Some(table.id?.0)).collect();
    let dirty = run.client.query(DIRTY, &[&ids]).await?;
    let mut reasons: Vec<String> =
        dirty.iter().map(|row| format!("table {} is dirty", row.get::<_, String>(0))).collect();
    let covered = covered(catalog, tables);
    for cover in refuse::covers(&run.client, &covered, refuses(run, next)).await? {
        if !cover.installed {
            reasons.push(format!("table {} was changed meanwhile", cover.table));
        }
    }
    Ok((!reasons.is_empty()).then_some(reasons))
}

/// The moment from which there is no way back but forward. False where the attempt is over, or the epoch
/// is not the one that it began in.
async fn flip(run: &Run<'_>, holder: &Client, id: i64, next: u64) -> Result<bool, SwitchError> {
    let (expected, turn) = (run.turn, next * 2 + u64::from(run.part.is_none()));
    holder.batch_execute("BEGIN").await?;
    let held = holder.query_opt(STILL_HELD, &[&id]).await?.is_some();
    // It comes true with the epoch, and is forgotten if that does not come: by whoever undoes the attempt, which
    // nobody can before this transaction has ended.
    if let Some(ids) = run.part.as_ref().filter(|_| held) {
        moved::plan(&run.client, next, ids).await?;
        layout::keep_out(&run.client).await?;
    }
    let moves = format!(
        "SELECT pg_catalog.setval('crossfade.epoch', {turn}) FROM crossfade.epoch e \
         WHERE e.last_value = {expected}"
    );
    let moved = held && holder.query_opt(&moves, &[]).await?.is_some();
    holder.batch_execute(if moved { "COMMIT" } else { "ROLLBACK" }).await?;
    Ok(moved)
}
