//! What is made before anybody is held: tables for the way back, the trigger that refuses, counters.
//!
//! ```text
//! MySQL: outbox, sidecars, verifiers      PostgreSQL: fence, each table's entry, [`refuse`] on every table
//! ```
//!
//! All of it is harmless while PostgreSQL leads, and can be made again: a coordinator that dies in here
//! leaves nothing to be undone.
//!
//! Invariant: no lock that is waited for is waited for longer than a second at a time.

use std::sync::Arc;

use mysql_async::prelude::Queryable as _;
use tokio::time::{Duration, Instant, sleep};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::facts::verifiers;
use super::{Run, SwitchError, counters, others};
use crate::backend::mysql::{
    Connection as _, Link, WriteError, outbox, sidecars, verifiers as kept,
};
use crate::backend::postgres::attempts::Direction;
use crate::backend::postgres::control::LOCK_CLASS;
use crate::backend::postgres::follow::{self, FollowLimits, Follower};
use crate::backend::postgres::refuse::{self, When};
use crate::catalog::{Catalog, Table};
use crate::names::Oid;

/// Between two attempts to get a table's lock: those who queued behind us go on meanwhile.
const AGAIN: Duration = Duration::from_millis(250);
/// Number of the advisory lock of those who prepare, in the class of ours.
const ONE_AT_A_TIME: i32 = 3;

/// Makes it all; a reason where somebody was in the way until the time was up.
pub(super) async fn prepare(
    run: &Run<'_>,
    catalog: &Catalog,
    next: u64,
) -> Result<Option<String>, SwitchError> {
    let deadline = Instant::now() + run.options.timeout;
    let tables = run.tables(catalog);
    let mut link = Link::connect(&run.ends.to, &run.ends.limits).await?;
    if run.options.direction == Direction::Rollback {
        // All else is there since the switchover.
        counters::raise_postgres(&run.client, link.conn(), &tables).await?;
        return Ok(None);
    }
    if !one_at_a_time(&run.client).await? {
        return Ok(Some("another run prepares just now".to_owned()));
    }
    let when = refuses(run, next);
    let prepared = prepare_switchover(run, &mut link, catalog, &tables, (deadline, when)).await;
    let_others(&run.client).await?;
    prepared
}

/// Whether nobody else makes the triggers, or takes them off, until [`let_others`].
async fn one_at_a_time(client: &Client) -> Result<bool, SwitchError> {
    let lock = format!("SELECT pg_catalog.pg_try_advisory_lock({LOCK_CLASS}, {ONE_AT_A_TIME})");
    Ok(client.query_one(&lock, &[]).await?.get(0))
}

async fn let_others(client: &Client) -> Result<(), SwitchError> {
    let unlock = format!("SELECT pg_catalog.pg_advisory_unlock({LOCK_CLASS}, {ONE_AT_A_TIME})");
    Ok(client.batch_execute(&unlock).await?)
}

async fn prepare_switchover(
    run: &Run<'_>,
    link: &mut Link,
    catalog: &Catalog,
    tables: &[&Arc<Table>],
    (deadline, when): (Instant, When),
) -> Result<Option<String>, SwitchError> {
    for statement in outbox::CREATE.iter().chain([&sidecars::CREATE]) {
        link.conn().query_drop(*statement).await.map_err(WriteError::from)?;
    }
    let known = verifiers(&run.ends.from, run.users).await?;
    kept::keep(link.conn(), &known).await?;
    fence(run, tables).await?;
    if let Some(reason) = cover_all(&run.client, catalog, tables, deadline, when).await? {
        return Ok(Some(reason));
    }
    // Most of it, so that little is left to do while clients are held.
    counters::raise_mysql(&run.client, link.conn(), tables, deadline).await?;
    Ok(None)
}

/// The fence of PostgreSQL as the secondary.
async fn fence(run: &Run<'_>, tables: &[&Arc<Table>]) -> Result<(), SwitchError> {
    run.client.batch_execute(follow::DDL).await?;
    let mut follower = Follower::connect(&run.ends.from, FollowLimits::default()).await?;
    for id in tables.iter().filter_map(|table| table.id) {
        follower.register(id).await?;
    }
    Ok(())
}

/// When the triggers of this change refuse.
pub(super) fn refuses(run: &Run<'_>, next: u64) -> When {
    if run.part.is_some() { When::From(next) } else { When::AllMoved }
}

/// Tables and partitions that want the trigger.
pub(super) fn covered(catalog: &Catalog, tables: &[&Arc<Table>]) -> Vec<Oid> {
    tables.iter().flat_map(|table| catalog.parts(table.oid)).collect()
}

async fn cover_all(
    client: &Client,
    catalog: &Catalog,
    tables: &[&Arc<Table>],
    deadline: Instant,
    when: When,
) -> Result<Option<String>, SwitchError> {
    refuse::create(client).await?;
    if let When::From(next) = when {
        // An attempt at this epoch that was undone has let everybody pass.
        refuse::expect(client, next).await?;
    }
    let covers = refuse::covers(client, &covered(catalog, tables), when).await?;
    for cover in covers.iter().filter(|cover| !cover.installed) {
        while let Err(error) = refuse::cover(client, cover, when).await {
            let passes = [SqlState::LOCK_NOT_AVAILABLE, SqlState::T_R_DEADLOCK_DETECTED];
            if !error.code().is_some_and(|code| passes.contains(code)) {
                return Err(error.into());
            }
            if deadline <= Instant::now() {
                let table = &cover.table;
                let who = others::writers_of(client, table).await?.join("; ");
                let reason = format!("a transaction that has written to {table} does not end");
                return Ok(Some(if who.is_empty() { reason } else { format!("{reason}: {who}") }));
            }
            sleep(AGAIN).await;
        }
    }
    Ok(None)
}
