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
use std::sync::Arc;

use tokio::sync::watch;
use tracing::{info, warn};

use super::{Shared, stopping};
use crate::backend::mysql::{Link, control, past};
use crate::backend::pauses::Pauses;
use crate::catalog::{Catalog, Table};
use crate::change::KeyHash;
use crate::outbox::lost::{self, Found, Lost};
use crate::phase::{Phase, Situation};

/// Keys looked for at once, some megabytes.
const HASHES_MAX: usize = 100_000;
/// Entries written by one statement.
const ENTRIES_AT_ONCE: usize = 1000;

/// Why it has to be tried again; codes, never values.
struct Failed(String);

impl From<tokio_postgres::Error> for Failed {
    fn from(error: tokio_postgres::Error) -> Self {
        let code = error.code().map(|code| code.code().to_owned());
        Self(code.unwrap_or_else(|| error.to_string()))
    }
}

impl From<crate::backend::postgres::connect::ConnectError> for Failed {
    fn from(error: crate::backend::postgres::connect::ConnectError) -> Self {
        Self(error.to_string())
    }
}

impl From<crate::backend::mysql::WriteError> for Failed {
    fn from(error: crate::backend::mysql::WriteError) -> Self {
        Self(error.code())
    }
}

/// Looks once for each epoch, until there is nothing left to look for.
pub(super) async fn run(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let mut situation = shared.situation.clone();
    let mut pauses = Pauses::up_to(shared.limits.backoff_max);
    let mut looked = None;
    loop {
        let now = Arc::clone(&situation.borrow_and_update());
        if now.phase == Phase::DualWrite && looked != Some(now.epoch) {
            let done = tokio::select! {
                done = look(&shared, &now) => done,
                () = stopping(&mut stopped) => return,
            };
            match done {
                Ok(true) => {
                    looked = Some(now.epoch);
                    pauses.reset();
                    continue;
                }
                Ok(false) => {}
                Err(Failed(error)) => {
                    warn!(error, "what the failover lost is not known yet, will retry");
                }
            }
            tokio::select! {
                () = pauses.wait() => {}
                () = stopping(&mut stopped) => return,
            }
            continue;
        }
        tokio::select! {
            changed = situation.changed() => if changed.is_err() { return },
            () = stopping(&mut stopped) => return,
        }
    }
}

/// True once nothing is left to do in this epoch.
async fn look(shared: &Shared, now: &Situation) -> Result<bool, Failed> {
    let lost = match Lost::find(shared.primary.connect().await?).await? {
        Found::Nothing => return Ok(true),
        Found::Taken => return Ok(false),
        Found::Lost(lost) => lost,
    };
    let mut link = Link::connect(&shared.secondary, &shared.limits.link).await?;
    if control::epoch(link.conn()).await? != Some(now.epoch) {
        return Ok(false);
    }
    let mut entered = 0;
    for table in tables(&now.catalog) {
        entered += enter(shared, &lost, &mut link, table, now.epoch).await?;
    }
    if !lost.done(now.epoch).await? {
        return Ok(false);
    }
    info!(keys = entered, "what the old primary had last is read again on the new one");
    shared.bell.ring(None);
    Ok(true)
}

fn tables(catalog: &Catalog) -> impl Iterator<Item = &Arc<Table>> {
    catalog.captured().filter(|table| table.id.is_some() && !table.key.is_empty())
}

/// Enters a table's keys; says how many.
async fn enter(
    shared: &Shared,
    lost: &Lost,
    link: &mut Link,
    table: &Table,
    epoch: u64,
) -> Result<usize, Failed> {
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
        let mut keys = past::find_keys(link, table, &mut wanted).await?;
        if !wanted.is_empty() {
            // Deleted on the secondary, and there again since the delete was lost.
            let reader = shared.primary.connect().await?;
            keys.extend(lost::find_keys(&reader, table, &mut wanted).await?);
        }
        for part in keys.chunks(ENTRIES_AT_ONCE) {
            lost.enter(table, part, epoch).await?;
        }
        shared.metrics.failover_keys.inc_by(keys.len() as u64);
        entered += keys.len();
    }
}
