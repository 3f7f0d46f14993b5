//! Publishes where the migration stands: phase, epoch and catalogue, together.
//!
//! ```text
//! every limits.poll, or at once when asked:
//!   [`look`] ─changed?─▶ [`epoch`] (another server?) ─▶ introspect ─▶ watch<Arc<Situation>>
//!                                                          └─[`drift`]─▶ dirty marks
//!   rows that PostgreSQL and all sidecars have counted ─[`unseen`]─▶ dirty marks
//! ```
//!
//! A look that fails leaves the last situation standing: sessions go on with it, and the guard on the
//! primary refuses what it must.
//!
//! Invariant: a catalogue is published only if the schema's digest was the same before and after it
//! was read; a table is marked dirty before the catalogue that made it so is published.

mod drift;
mod epoch;
mod look;
mod metrics;
mod unseen;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tracing::{error, info, warn};

use crate::backend::mysql::WriteError;
use crate::backend::postgres::connect::{ConnectError, Link};
use crate::backend::postgres::{control, introspect};
use crate::catalog::Catalog;
use crate::catalog::naming::Naming;
use crate::control::Ends;
use crate::names::TableName;
use crate::phase::{Phase, Situation};
use crate::policy::Policies;
use crate::session::Flow;

use look::{Looker, Seen, State};
pub use metrics::StoreMetrics;
use unseen::Judge;

/// Readings of a catalogue in a row that DDL may spoil before we wait for the next look.
const READINGS_MAX: u32 = 5;
/// Longest time for one look, readings included.
const LOOK_TIME_MAX: Duration = Duration::from_secs(30);
/// Between two attempts to tell the secondary the epoch.
const SECONDARY_AGAIN: Duration = Duration::from_secs(5);

/// Asks the store to look now instead of at its next turn.
#[derive(Clone, Debug)]
pub struct Nudge(mpsc::Sender<()>);

impl Nudge {
    /// Never waits: one look that has not begun serves all who asked before it.
    pub fn look_now(&self) {
        let _full = self.0.try_send(());
    }
}

/// Who this sidecar is, in `crossfade.sidecars`.
#[derive(Clone, Debug)]
pub struct Sidecar {
    /// Chosen at random at each start.
    pub id: String,
    /// Where clients reach it.
    pub address: String,
    /// How long others count it as there without hearing of it.
    pub lease: Duration,
    /// How often it looks.
    pub poll: Duration,
}

/// The task that knows where things stand.
#[derive(Debug)]
pub struct Store {
    ends: Ends,
    naming: Naming,
    policies: watch::Receiver<Arc<Policies>>,
    situation: watch::Sender<Arc<Situation>>,
    nudges: mpsc::Receiver<()>,
    sidecar: Sidecar,
    metrics: StoreMetrics,
    /// What the sessions count, and where writes that none of them saw are counted.
    flow: Arc<Flow>,
    judge: Judge,
    link: Link,
    looker: Option<Looker>,
    /// What the published situation was made of.
    known: Option<Seen>,
    /// Policies have changed since.
    reread: bool,
    version: u64,
    /// The epoch that the secondary is known to have.
    secondary_epoch: Option<u64>,
    asked_secondary: Option<Instant>,
    lease_renewed: Option<Instant>,
}

impl std::fmt::Debug for Looker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Looker")
    }
}

/// Why a look came to nothing.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("could not read the primary's catalogue")]
    Ask(#[from] tokio_postgres::Error),
    #[error("could not bring the secondary to the epoch")]
    Secondary(#[from] WriteError),
    #[error("the server that from.url names is a standby")]
    Standby,
    #[error("the schema keeps changing")]
    Restless,
    #[error("the primary is another server now, and writes still hold the old epoch")]
    Held,
    #[error("the primary did not answer in time")]
    TimedOut,
}

impl Store {
    /// The store, and the handle that nudges it.
    #[must_use]
    pub fn new(
        ends: Ends,
        naming: Naming,
        policies: watch::Receiver<Arc<Policies>>,
        situation: watch::Sender<Arc<Situation>>,
        sidecar: Sidecar,
        metrics: StoreMetrics,
        flow: Arc<Flow>,
    ) -> (Self, Nudge) {
        let (sender, nudges) = mpsc::channel(1);
        let link = Link::new(ends.from.clone());
        let store = Self {
            ends,
            naming,
            policies,
            situation,
            nudges,
            sidecar,
            metrics,
            flow,
            judge: Judge::default(),
            link,
            looker: None,
            known: None,
            reread: false,
            version: 0,
            secondary_epoch: None,
            asked_secondary: None,
            lease_renewed: None,
        };
        (store, Nudge(sender))
    }

    /// Looks until `stop` says so.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut failed = false;
        while !*stop.borrow() {
            match self.look_in_time().await {
                Ok(()) => {
                    self.link.settled();
                    failed = false;
                }
                Err(error) => {
                    // Once per outage; `/health/readiness` shows the rest of it.
                    if !failed {
                        warn!(error = chain(&error), "state not read, the last one stands");
                    }
                    failed = true;
                }
            }
            tokio::select! {
                () = self.pause(failed) => {}
                _ = stop.changed() => {}
            }
        }
    }

    /// Until the next turn, a nudge, or other policies.
    async fn pause(&mut self, failed: bool) {
        if failed {
            return self.link.back_off().await;
        }
        tokio::select! {
            () = tokio::time::sleep(self.sidecar.poll) => {}
            _ = self.nudges.recv() => {}
            Ok(()) = self.policies.changed() => self.reread = true,
        }
    }

    async fn look_in_time(&mut self) -> Result<(), LookError> {
        let looked = timeout(LOOK_TIME_MAX, self.look()).await.unwrap_or(Err(LookError::TimedOut));
        if looked.is_err() {
            // Whatever the connection was in the middle of, nothing waits for its end.
            self.link.discard();
        }
        looked
    }

    async fn look(&mut self) -> Result<(), LookError> {
        let mut seen = self.see().await?;
        if let State::SetUp(state) = &seen.state
            && !state.same_primary
            && !state.mysql_is_primary
        {
            warn!("the primary is not the server it was, the epoch is raised");
            self.raise(None).await?;
            seen = self.see().await?;
        }
        let state = seen.state.clone();
        match &self.known {
            Some(known) if !self.reread && known.same_catalogue(&seen) => {
                if known.state.turn() != seen.state.turn() {
                    let catalog = Arc::clone(&self.situation.borrow().catalog);
                    self.publish(seen, catalog);
                }
            }
            _ => self.read(seen).await?,
        }
        if let State::SetUp(state) = &state {
            self.metrics.dirty_tables.set(state.dirty);
            self.metrics.sidecars.set(state.sidecars);
            self.renew_lease(state.epoch).await?;
            self.agree(state.epoch).await?;
            self.look_for_unseen(state.mysql_is_primary).await?;
        }
        Ok(())
    }

    async fn see(&mut self) -> Result<Seen, LookError> {
        self.link.get().await?;
        let generation = self.link.generation();
        let client = self.link.get().await?;
        let mut looker = match self.looker.take() {
            Some(looker) if looker.fits(generation) => looker,
            _ => Looker::new(client, generation).await?,
        };
        let seen = looker.look(client).await?;
        self.looker = Some(looker);
        match seen.state {
            State::Standby => Err(LookError::Standby),
            State::NotSetUp | State::SetUp(_) => Ok(seen),
        }
    }

    /// Reads the catalogue as of one moment, marks what it makes dirty, and publishes it.
    async fn read(&mut self, mut seen: Seen) -> Result<(), LookError> {
        let policies = self.policies.borrow_and_update().clone();
        for _ in 0..READINGS_MAX {
            let client = self.link.get().await?;
            let mut now = introspect::introspect(client, &policies, &self.naming).await?;
            let after = self.see().await?;
            if !after.same_catalogue(&seen) {
                seen = after;
                continue;
            }
            self.mark(&now).await?;
            self.version += 1;
            now.version = self.version;
            self.reread = false;
            self.publish(after, Arc::new(now));
            return Ok(());
        }
        Err(LookError::Restless)
    }

    /// Marks are durable before the catalogue that they are about is published.
    async fn mark(&mut self, now: &Catalog) -> Result<(), LookError> {
        let none = Catalog::default();
        let published = Arc::clone(&self.situation.borrow().catalog);
        // Before the first reading no session of ours was served by an older catalogue.
        let before = if self.known.is_some() { &*published } else { &none };
        let mut marks: BTreeMap<&str, Vec<TableName>> = BTreeMap::new();
        for (table, reason) in drift::dirtied(before, now) {
            warn!(%table, reason, "table is dirty: the two sides may differ");
            marks.entry(reason).or_default().push(table);
        }
        for (reason, tables) in marks {
            control::mark_dirty(self.link.get().await?, &tables, reason).await?;
        }
        Ok(())
    }

    fn publish(&mut self, seen: Seen, catalog: Arc<Catalog>) {
        let (phase, epoch, timeline) = match &seen.state {
            State::SetUp(state) if state.mysql_is_primary => {
                (Phase::Switched, state.epoch, state.timeline.clone())
            }
            State::SetUp(state) => (Phase::DualWrite, state.epoch, state.timeline.clone()),
            State::NotSetUp | State::Standby => (Phase::Setup, 0, String::new()),
        };
        let before = Arc::clone(&self.situation.borrow());
        if (before.phase, before.epoch) != (phase, epoch) {
            info!(phase = phase.as_str(), epoch, timeline, "phase");
        }
        if before.catalog.version != catalog.version {
            info!(version = catalog.version, tables = catalog.captured().count(), "catalogue read");
        }
        self.metrics.set_phase(phase);
        self.metrics.epoch.set(i64::try_from(epoch).unwrap_or(i64::MAX));
        self.metrics.catalog_version.set(i64::try_from(catalog.version).unwrap_or(i64::MAX));
        let server = seen.server;
        self.situation.send_replace(Arc::new(Situation {
            phase,
            epoch,
            timeline,
            catalog,
            server,
        }));
        self.known = Some(seen);
    }

    async fn raise(&mut self, at_least: Option<u64>) -> Result<(), LookError> {
        match epoch::raise(self.link.get().await?, at_least).await? {
            true => Ok(()),
            false => Err(LookError::Held),
        }
    }

    /// Both sides get the higher epoch. A secondary that is down is asked again later.
    async fn agree(&mut self, epoch: u64) -> Result<(), LookError> {
        let rested = self.asked_secondary.is_none_or(|at| SECONDARY_AGAIN <= at.elapsed());
        if self.secondary_epoch == Some(epoch) || !rested {
            return Ok(());
        }
        let first = self.asked_secondary.replace(Instant::now()).is_none();
        match epoch::follow(&self.ends, epoch).await {
            Ok(found) if epoch < found => self.raise(Some(found)).await,
            Ok(found) => {
                self.secondary_epoch = Some(found);
                self.asked_secondary = None;
                Ok(())
            }
            Err(WriteError::NotSetUp) => {
                if first {
                    error!("the secondary has no tables of Crossfade's, run `crossfade setup`");
                }
                Ok(())
            }
            Err(error) => {
                if first {
                    warn!(
                        error = chain(&error),
                        "secondary does not know the epoch yet, will retry"
                    );
                }
                Ok(())
            }
        }
    }

    async fn renew_lease(&mut self, epoch: u64) -> Result<(), LookError> {
        let due = self.lease_renewed.is_none_or(|at| self.sidecar.lease / 3 <= at.elapsed());
        if !due {
            return Ok(());
        }
        let Sidecar { id, address, lease, .. } = &self.sidecar;
        let epoch = i64::try_from(epoch).unwrap_or(i64::MAX);
        let renew = "INSERT INTO crossfade.sidecars AS s (id, address, epoch, lease_until, beat, written) \
             VALUES ($1, $2, $3, pg_catalog.now() + $4 * interval '1 millisecond', 1, $5) \
             ON CONFLICT (id) DO UPDATE SET epoch = excluded.epoch, \
             lease_until = excluded.lease_until, beat = s.beat + 1, written = excluded.written";
        let lease_ms = lease.as_secs_f64() * 1000.0;
        // Idle backends of earlier servers keep their counts to themselves.
        let idle_reports = 15 <= self.situation.borrow().server;
        let counts = self.flow.tally.counts(std::time::Instant::now(), idle_reports);
        let written = unseen::encode(&counts);
        let client = self.link.get().await?;
        client.execute(renew, &[id, address, &epoch, &lease_ms, &written]).await?;
        self.lease_renewed = Some(Instant::now());
        Ok(())
    }

    /// Marks tables that were written past all sidecars.
    async fn look_for_unseen(&mut self, mysql_is_primary: bool) -> Result<(), LookError> {
        let catalog = Arc::clone(&self.situation.borrow().catalog);
        let client = self.link.get().await?;
        let look = match mysql_is_primary {
            false => unseen::look(client, &catalog, &self.sidecar.id).await?,
            true => None,
        };
        let Some(look) = look else {
            self.judge.rest();
            self.metrics.watched_tables.set(0);
            return Ok(());
        };
        let found = self.judge.unseen(&look, catalog.version, self.sidecar.lease);
        let found = unseen::names(&catalog, &found);
        self.metrics.watched_tables.set(i64::try_from(self.judge.watched()).unwrap_or(i64::MAX));
        if found.is_empty() {
            return Ok(());
        }
        for table in &found {
            error!(%table, reason = unseen::UNSEEN, "table is dirty: it was written past Crossfade");
        }
        self.flow.metrics.uncaptured(&found, unseen::UNSEEN);
        control::mark_dirty(client, &found, unseen::UNSEEN).await?;
        Ok(())
    }
}

/// An error with its causes, once each.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += ": ";
        text += &cause.to_string();
        source = cause.source();
    }
    text
}
