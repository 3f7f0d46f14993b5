//! After a failover: keys of which the secondary may know more than the new primary are read again.
//!
//! ```text
//! settings 'lost_after' ──▶ fence entries past it ──hashes──▶ keys, from either side ──▶ outbox
//!                                                                       (a drain does the rest)
//! ```
//!
//! Invariant: it begins once the secondary has the new epoch, so that no image of the old one comes
//! after the look. Dying half-way costs the work: the next sidecar begins anew, and a key that is
//! entered twice is read twice. The tables stay dirty whatever is found: that takes a verify pass.
//!
//! Memory: [`HASHES_MAX`] hashes and as many keys. A table with more is read once for each so many.

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{info, warn};

use super::databases::{Databases, Lost as Failed, Servers};
use super::{ApplyLimits, Shared, stopping};
use crate::backend::mysql::{Link, WriteError, control, past};
use crate::backend::pauses::Pauses;
use crate::catalog::{Catalog, Table};
use crate::change::KeyHash;
use crate::outbox::lost::{self, Found, Lost};
use crate::phase::{Phase, Situation};

/// Keys looked for at once, some megabytes.
const HASHES_MAX: usize = 100_000;
/// Entries written by one statement.
const ENTRIES_AT_ONCE: usize = 1000;

impl From<WriteError> for Failed {
    fn from(error: WriteError) -> Self {
        Self::new(format!("secondary: {}", error.code()))
    }
}

/// Looks once for each epoch, until there is nothing left to look for.
pub(super) async fn run<D: Databases>(shared: Arc<Shared<D>>, mut stopped: watch::Receiver<bool>) {
    let mut situation = shared.situation.clone();
    let mut pauses = Pauses::up_to(shared.limits.backoff_max);
    let mut looked = None;
    loop {
        let now = Arc::clone(&situation.borrow_and_update());
        if now.phase == Phase::DualWrite && looked != Some(now.epoch) {
            let done = tokio::select! {
                biased;
                () = stopping(&mut stopped) => return,
                done = shared.databases.look_for_lost(&now, &shared.limits) => done,
            };
            match done {
                Ok(Some(keys)) => {
                    if keys > 0 {
                        shared.metrics.failover_keys.inc_by(keys);
                        shared.bell.ring(None);
                    }
                    looked = Some(now.epoch);
                    pauses.reset();
                    continue;
                }
                Ok(None) => {}
                Err(error) => {
                    warn!(%error, "what the failover lost is not known yet, will retry");
                }
            }
            tokio::select! {
                biased;
                () = stopping(&mut stopped) => return,
                () = pauses.wait() => {}
            }
            continue;
        }
        tokio::select! {
            biased;
            () = stopping(&mut stopped) => return,
            changed = situation.changed() => if changed.is_err() { return },
        }
    }
}

/// How many keys were entered, once nothing is left to do in this epoch.
pub(super) async fn look(
    servers: &Servers,
    now: &Situation,
    limits: &ApplyLimits,
) -> Result<Option<u64>, Failed> {
    let client = servers.primary.connect().await?;
    let lost = match in_time(servers.answer, Lost::find(client)).await? {
        Found::Nothing => return Ok(Some(0)),
        Found::Taken => return Ok(None),
        Found::Lost(lost) => lost,
    };
    let mut link = Link::connect(&servers.secondary, &limits.link).await?;
    if control::epoch(link.conn()).await? != Some(now.epoch) {
        return Ok(None);
    }
    let mut entered = 0;
    for table in tables(&now.catalog) {
        entered += enter(servers, &lost, &mut link, table, now.epoch).await?;
    }
    if !in_time(servers.answer, lost.done(now.epoch)).await? {
        return Ok(None);
    }
    info!(keys = entered, "what the old primary had last is read again on the new one");
    Ok(Some(entered))
}

fn tables(catalog: &Catalog) -> impl Iterator<Item = &Arc<Table>> {
    catalog.captured().filter(|table| table.id.is_some() && !table.key.is_empty())
}

/// Enters a table's keys; says how many.
async fn enter(
    servers: &Servers,
    lost: &Lost,
    link: &mut Link,
    table: &Table,
    epoch: u64,
) -> Result<u64, Failed> {
    let Some(id) = table.id else { return Ok(0) };
    let gaps = past::gaps(link, id, lost.after).await?;
    if gaps.emptied || gaps.forgotten {
        let (name, truncated) = (&table.name, gaps.emptied);
        warn!(table = %name, truncated, "it is not known which rows the failover concerns");
    }
    let (mut from, mut entered) = (KeyHash::TABLE, 0);
    loop {
        let hashes = past::hashes(link, id, lost.after, epoch, from, HASHES_MAX).await?;
        let Some(last) = hashes.last() else { return Ok(entered) };
        from = *last;
        let mut wanted: HashSet<KeyHash> = hashes.into_iter().collect();
        let mut keys = past::find_keys(link, table, &mut wanted, servers.answer).await?;
        if !wanted.is_empty() {
            // Deleted on the secondary, and there again since the delete was lost.
            let reader = servers.primary.connect().await?;
            let found = lost::find_keys(&reader, table, &mut wanted, servers.answer).await?;
            let late = || Failed::new("PostgreSQL did not answer in time");
            keys.extend(found.ok_or_else(late)?);
        }
        for part in keys.chunks(ENTRIES_AT_ONCE) {
            in_time(servers.answer, lost.enter(table, part, epoch)).await?;
        }
        entered += keys.len() as u64;
    }
}

async fn in_time<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Failed> {
    let late = |_| Failed::new("PostgreSQL did not answer in time");
    Ok(timeout(limit, answer).await.map_err(late)??)
}
