//! `crossfade backfill` and `POST /backfill`: which tables, in which order, and again after trouble.
//!
//! ```text
//! situation ─▶ captured tables, parents first ─▶ [`Backfill`] ─┬─▶ done, or stopped
//!      ▲──────────── a growing pause ◀── a database went away ─┘
//! ```
//!
//! Invariant: a run goes on where it was, whatever happened meanwhile; it ends early only where a person
//! has to do something, or nothing was reached for [`PATIENCE`].

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_postgres::{Client, Error};

use super::{Ends, layout, store};
use crate::backend::mysql::ranks;
use crate::backfill::{Activity, Backfill, BackfillError, Options, Progress};
use crate::catalog::naming::Naming;
use crate::catalog::{Catalog, Table};
use crate::names::TableName;
use crate::phase::Phase;
use crate::policy::Policies;

/// How long a database may be away.
const PATIENCE: Duration = Duration::from_secs(600);
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(10);
const SET_PAUSED: &str = "INSERT INTO crossfade.settings (key, value) VALUES ('backfill', $1) \
     ON CONFLICT (key) DO UPDATE SET value = excluded.value";

/// Why nothing (more) was copied.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("there is no table \"{0}\" that is migrated")]
    Table(TableName),
    #[error("nothing to copy in phase {0}: dual writes have not begun")]
    Phase(&'static str),
    #[error(transparent)]
    Layout(#[from] layout::UnknownLayout),
    #[error(transparent)]
    Backfill(#[from] BackfillError),
}

impl Failure {
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Backfill(error) if error.is_unreachable())
    }
}

/// Copies these tables (all that are captured, where none is named) until done or told to stop.
pub async fn backfill(
    ends: &Ends,
    policies: &Policies,
    names: &[TableName],
    options: Options,
    progress: &Progress,
    stop: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let limits = ends.limits;
    let mut run = Backfill::new(
        ends.from.clone(),
        ends.to.clone(),
        limits,
        options,
        progress.clone(),
        stop.clone(),
    );
    let (mut pause, mut well, mut stop) = (PAUSE_MIN, Instant::now(), stop);
    let mut rows = 0;
    loop {
        let error = match once(&mut run, ends, policies, names).await {
            Ok(()) => return Ok(()),
            Err(Failure::Backfill(error)) if error.may_pass() => error,
            Err(other) => return Err(other),
        };
        let snapshot = progress.snapshot();
        let copied: u64 = snapshot.tables.iter().map(|table| table.rows).sum();
        if rows < copied {
            (rows, well, pause) = (copied, Instant::now(), PAUSE_MIN);
        }
        // Both databases were never reached: most likely they are not where proxy.yaml says.
        let first = snapshot.tables.is_empty() && error.is_unreachable();
        if first || PATIENCE <= well.elapsed() || *stop.borrow() {
            return Err(error.into());
        }
        progress.activity(Activity::Reconnects(error.to_string()));
        tokio::select! {
            // Then the next round ends at once, as it was stopped.
            _ = stop.wait_for(|stop| *stop) => {}
            () = sleep(pause) => {}
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn once(
    run: &mut Backfill,
    ends: &Ends,
    policies: &Policies,
    names: &[TableName],
) -> Result<(), Failure> {
    let client = ends.from.connect().await.map_err(BackfillError::from)?;
    let situation = store::observe(&client, policies, &Naming::default()).await;
    let situation = situation.map_err(BackfillError::from)?;
    if let Some(unknown) = layout::check(&client).await.map_err(BackfillError::from)? {
        return Err(unknown.into());
    }
    if situation.phase != Phase::DualWrite {
        return Err(Failure::Phase(situation.phase.as_str()));
    }
    let tables = tables(&situation.catalog, names)?;
    drop(client);
    Ok(run.run(&tables, situation.epoch).await?)
}

/// Parents before children; in a circle by name.
fn tables(catalog: &Catalog, names: &[TableName]) -> Result<Vec<Arc<Table>>, Failure> {
    let captured = || catalog.captured().filter(|table| table.id.is_some());
    for name in names {
        if !captured().any(|table| table.name == *name) {
            return Err(Failure::Table(name.clone()));
        }
    }
    let mut tables: Vec<Arc<Table>> = captured()
        .filter(|table| names.is_empty() || names.contains(&table.name))
        .cloned()
        .collect();
    let ranks = ranks(captured().map(|table| &**table));
    tables.sort_by_key(|table| (ranks.get(&table.oid).copied(), table.name.clone()));
    Ok(tables)
}

/// Has whoever copies wait, or go on; asked over any connection of ours to the primary.
pub async fn set_paused(client: &Client, paused: bool) -> Result<(), Error> {
    let value = if paused { "paused" } else { "running" };
    client.execute(SET_PAUSED, &[&value]).await.map(drop)
}
