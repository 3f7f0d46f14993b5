//! Publishes where the migration stands: phase, epoch and catalogue, together.
//!
//! ```text
//! every limits.poll, or at once when asked:
//!   [`look`] ─changed?─▶ [`epoch`] (another server?) ─▶ introspect ─▶ watch<Arc<Situation>>
//!                                                          └─[`drift`]─▶ dirty marks
//!   rows that PostgreSQL and all sidecars have counted ─[`unseen`]─▶ dirty marks
//! ```
//!
//! A look that fails leaves the last situation standing: sessions go on with it, the guard on the
//! primary refuses what it must, and once the lease has run out nobody is answered.
//!
//! Invariant: a catalogue is published only if the schema's digest was the same before and after it
//! was read; a table is marked dirty before the catalogue that made it so is published; the lease is
//! confirmed only by a look that found the published phase and epoch, and from before that look.

mod abandoned;
mod drift;
mod epoch;
mod failure;
mod follow;
mod look;
mod metrics;
mod publish;
mod settling;
mod sidecar;
mod turn;
mod unseen;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tracing::{debug, error, info, warn};

use crate::backend::mysql::{self, WriteError};
use crate::backend::postgres::connect::Link;
use crate::backend::postgres::{control, introspect};
use crate::catalog::Catalog;
use crate::catalog::naming::Naming;
use crate::control::Ends;
use crate::lease::Lease;
use crate::names::TableName;
use crate::phase::{Phase, Situation};
use crate::policy::Policies;
use crate::session::Flow;

use failure::{LookError, chain, told};
use follow::{Followed, Follower};
use look::{Looker, Seen, State};
pub use look::{observe, observe_both};
pub use metrics::StoreMetrics;
pub use publish::Published;
use settling::Settling;
pub use sidecar::Sidecar;
use turn::Home;
pub use turn::observe_alone;
use unseen::Judge;

/// Readings of a catalogue in a row that DDL may spoil before we wait for the next look.
const READINGS_MAX: u32 = 5;
/// Longest time for one look, readings included.
const LOOK_TIME_MAX: Duration = Duration::from_secs(30);
/// Nobody who holds a lock of the primary's keeps us from confirming the lease for longer.
const LOCK_WAIT: &str = "SET lock_timeout = '1s'";
/// Longest time for the last statement of all.
const LEAVE_TIME_MAX: Duration = Duration::from_secs(2);

/// Asks the store to look now instead of at its next turn.
#[derive(Clone, Debug)]
pub struct Nudge(mpsc::Sender<()>);

impl Nudge {
    /// Never waits: one look that has not begun serves all who asked before it.
    pub fn look_now(&self) {
        let _full = self.0.try_send(());
    }
}

/// The task that knows where things stand.
#[derive(Debug)]
pub struct Store {
    ends: Ends,
    naming: Naming,
    policies: watch::Receiver<Arc<Policies>>,
    /// What PostgreSQL's end goes by, and what MySQL's does.
    situation: watch::Sender<Arc<Situation>>,
    beyond: watch::Sender<Arc<Situation>>,
    /// Whether MySQL may answer for the tables that it leads while PostgreSQL leads the rest.
    part_lease: Lease,
    /// MySQL said that it leads them, in this epoch, in answer to a question that was sent after this.
    part_asked: Option<(u64, std::time::Instant)>,
    /// The catalogue whole, whoever leads what.
    catalog: Arc<Catalog>,
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
    follower: Follower,
    nudge: Nudge,
    lease_renewed: Option<Instant>,
    /// The same of its line on MySQL, which it has while PostgreSQL has none.
    noted: Option<Instant>,
    tended: Option<Instant>,
    settling: Option<Settling>,
    /// A connection to MySQL, while it is its turn.
    home: Option<mysql::Link>,
    /// What finishes a change of the primary that is half done.
    finishing: Option<tokio::task::JoinHandle<()>>,
    /// Clients are held because the migration is given up.
    holds_until: Option<Instant>,
}

impl std::fmt::Debug for Looker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Looker")
    }
}

impl Store {
    /// The store, and the handle that nudges it.
    #[must_use]
    pub fn new(
        ends: Ends,
        naming: Naming,
        policies: watch::Receiver<Arc<Policies>>,
        published: Published,
        sidecar: Sidecar,
        metrics: StoreMetrics,
        flow: Arc<Flow>,
    ) -> (Self, Nudge) {
        let (sender, nudges) = mpsc::channel(1);
        let nudge = Nudge(sender);
        let link = Link::new(ends.from.clone());
        let store = Self {
            ends,
            naming,
            policies,
            situation: published.situation,
            beyond: published.beyond,
            part_lease: published.part_lease,
            part_asked: None,
            catalog: Arc::default(),
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
            follower: Follower::default(),
            nudge: nudge.clone(),
            lease_renewed: None,
            noted: None,
            tended: None,
            settling: None,
            home: None,
            finishing: None,
            holds_until: None,
        };
        (store, nudge)
    }

    /// Looks until `stop` says so.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let (mut failed, mut reported) = (false, false);
        while !*stop.borrow() {
            self.release_in_time();
            match self.look_in_time().await {
                Ok(()) => {
                    self.link.settled();
                    (failed, reported) = (false, false);
                }
                Err(failure) => {
                    let error = told(&failure);
                    // Once per outage; `/health/readiness` shows the rest of it.
                    reported = reported || failure.report(&error, failed);
                    self.sidecar.lease.doubted(error);
                    failed = true;
                }
            }
            tokio::select! {
                () = self.pause(failed) => {}
                _ = stop.changed() => {}
            }
        }
        self.leave().await;
    }

    /// Nobody has to wait out the lease of one that ended in good order.
    async fn leave(&mut self) {
        self.leave_home().await;
        if self.lease_renewed.is_none() {
            return;
        }
        let gone = async {
            let client = self.link.get().await?;
            Ok::<_, LookError>(self.sidecar.remove(client).await?)
        };
        // Its line expires all the same.
        drop(timeout(LEAVE_TIME_MAX, gone).await);
    }

    /// PostgreSQL is none of ours any more: nobody has to wait for this sidecar there.
    async fn leave_postgres(&mut self) {
        self.leave().await;
        self.lease_renewed = None;
        (self.looker, self.known) = (None, None);
        self.link.discard();
        self.metrics.dirty_tables.set(0);
        self.metrics.sidecars.set(0);
    }

    /// Until the next turn, a nudge, or other policies.
    async fn pause(&mut self, failed: bool) {
        if failed {
            return self.link.back_off().await;
        }
        tokio::select! {
            () = tokio::time::sleep(self.pace()) => {}
            _ = self.nudges.recv() => {}
            Ok(()) = self.policies.changed() => self.reread = true,
        }
    }

    /// The look came to nothing on PostgreSQL, and that is bearable.
    fn without_postgres(&mut self, error: &LookError) -> Result<(), LookError> {
        debug!(error = told(error), "PostgreSQL could not be asked");
        self.link.discard();
        Ok(())
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
        let home = self.confirm_at_home().await;
        if home == Home::Alone {
            self.leave_postgres().await;
            return Ok(());
        }
        let mut seen = match self.see().await {
            // PostgreSQL follows now; clients are served without it.
            Err(error) if home == Home::Confirmed => return self.without_postgres(&error),
            Err(error) if home == Home::Unasked => {
                self.link.discard();
                return self.start_alone().await.map_err(|_| error);
            }
            seen => seen?,
        };
        // It may have been cleared away since it was left, or be of a backup from before.
        if self.known.is_none() && self.was_left().await {
            return self.start_alone().await;
        }
        if self.give_up(&seen).await? {
            return Ok(());
        }
        if let State::SetUp(state) = &seen.state
            && !state.same_primary
            && !state.mysql_is_primary
        {
            warn!("the primary is not the server it was, the epoch is raised");
            self.raise(None).await?;
            seen = self.see().await?;
        }
        if let State::SetUp(state) = &seen.state
            && self.agreed(&state.clone()).await? == Home::Alone
        {
            return self.start_alone().await;
        }
        if self.known.as_ref().is_some_and(|known| known.state.turn() == seen.state.turn()) {
            // Before the catalogue, which may take its time.
            self.confirm(&seen).await?;
        }
        match &self.known {
            Some(known) if !self.reread && known.same_catalogue(&seen) => {
                if known.state.turn() == seen.state.turn() {
                    self.known = Some(seen);
                } else {
                    self.publish(seen, Arc::clone(&self.catalog));
                }
            }
            _ => self.read(seen).await?,
        }
        let Some(seen) = self.known.clone() else { return Ok(()) };
        self.confirm(&seen).await?;
        if let State::SetUp(state) = &seen.state {
            self.metrics.dirty_tables.set(state.dirty);
            self.metrics.sidecars.set(state.sidecars);
            if !state.mysql_is_primary {
                self.tend(state.epoch).await?;
                // A later epoch of MySQL's is then half of a rollback, and none to go past.
                if state.moved.is_empty() {
                    self.agree(state.epoch).await?;
                }
            }
            self.look_for_unseen(state.mysql_is_primary).await?;
        }
        Ok(())
    }

    /// The published phase and epoch are the primary's: clients may be answered for one lease more.
    async fn confirm(&mut self, seen: &Seen) -> Result<(), LookError> {
        if let State::SetUp(state) = &seen.state {
            self.renew_lease(state.epoch).await?;
        }
        self.sidecar.lease.confirm(seen.asked);
        self.confirm_part();
        Ok(())
    }

    /// One look. One that takes as long as the lease could confirm nothing.
    async fn see(&mut self) -> Result<Seen, LookError> {
        let parts = if self.situation.borrow().phase == Phase::Switched { 3 } else { 1 };
        let length = self.sidecar.lease.length() / parts;
        timeout(length, self.see_all()).await.unwrap_or(Err(LookError::TimedOut))
    }

    async fn see_all(&mut self) -> Result<Seen, LookError> {
        self.link.get().await?;
        let generation = self.link.generation();
        let client = self.link.get().await?;
        let mut looker = match self.looker.take() {
            Some(looker) if looker.fits(generation) => looker,
            _ => {
                client.batch_execute(LOCK_WAIT).await?;
                Looker::new(client, generation).await?
            }
        };
        let seen = looker.look(client).await?;
        self.looker = Some(looker);
        match seen.state {
            State::Standby => Err(LookError::Standby),
            State::Damaged(missing) => Err(LookError::Damaged(missing)),
            State::Foreign(owner) => Err(LookError::Foreign(owner)),
            State::Unknown(layout) => Err(layout.into()),
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
        let published = Arc::clone(&self.catalog);
        // Before the first reading no session of ours was served by an older catalogue.
        let before = if self.known.is_some() { &*published } else { &none };
        let mut marks: BTreeMap<&str, Vec<TableName>> = BTreeMap::new();
        for (table, reason) in drift::dirtied(before, now) {
            match reason {
                // What every setup of a table with rows begins with.
                drift::LATE => info!(%table, "old rows are to be copied, then verified"),
                _ => warn!(%table, reason, "table is dirty: the two sides may differ"),
            }
            marks.entry(reason).or_default().push(table);
        }
        for (reason, tables) in marks {
            control::mark_dirty(self.link.get().await?, &tables, reason).await?;
        }
        Ok(())
    }

    async fn raise(&mut self, past: Option<u64>) -> Result<(), LookError> {
        match epoch::raise(self.link.get().await?, past).await? {
            true => Ok(()),
            false => Err(LookError::Held),
        }
    }

    /// Both sides get the higher epoch. A secondary that is down is asked again later.
    async fn agree(&mut self, epoch: u64) -> Result<(), LookError> {
        match self.follower.agree(&self.ends, &self.nudge, epoch) {
            None => {}
            Some(Followed::Higher(found)) => self.raise(Some(found)).await?,
            Some(Followed::Failed(WriteError::NotSetUp)) => {
                error!("the secondary has no tables of Crossfade's, run `crossfade setup`");
            }
            Some(Followed::Failed(error)) => {
                warn!(error = chain(&error), "secondary does not know the epoch yet, will retry");
            }
        }
        Ok(())
    }

    async fn renew_lease(&mut self, epoch: u64) -> Result<(), LookError> {
        if !self.sidecar.is_due(self.lease_renewed) {
            return Ok(());
        }
        // Idle backends of earlier servers keep their counts to themselves.
        let idle_reports = 15 <= self.situation.borrow().server;
        let counts = self.flow.tally.counts(std::time::Instant::now(), idle_reports);
        let written = unseen::encode(&counts);
        let client = self.link.get().await?;
        self.sidecar.renew(client, epoch, &written).await?;
        self.lease_renewed = Some(Instant::now());
        self.leave_home().await;
        Ok(())
    }

    /// What is done for others as often as the lease is renewed, and may wait for their locks.
    async fn tend(&mut self, epoch: u64) -> Result<(), LookError> {
        if !self.sidecar.is_due(self.tended) {
            return Ok(());
        }
        let loose = self.situation.borrow().catalog.loose();
        self.sidecar.bury_others(self.link.get().await?, &loose).await?;
        self.settling = Some(Settling::go_on(self.settling, &mut self.link, epoch).await?);
        self.tended = Some(Instant::now());
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
        let found = self.judge.unseen(&look, catalog.version, self.sidecar.lease.length());
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
