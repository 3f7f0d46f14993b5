//! What every part of the proxy is told of where things stand.
//!
//! ```text
//! what was seen + the catalogue whole ──[`Store::publish`]──▶ what PostgreSQL's end goes by, what MySQL's does
//! ```
//!
//! Invariant: both are of one look; where the databases lead different tables, MySQL's end is told first.

use std::sync::Arc;

use tokio::sync::watch;
use tracing::{info, warn};

use super::Store;
use super::look::{Seen, State, situation};
use crate::catalog::Catalog;
use crate::lease::Lease;
use crate::phase::{Phase, Situation};

/// Where the store says what it knows.
#[derive(Debug)]
pub struct Published {
    pub situation: watch::Sender<Arc<Situation>>,
    pub beyond: watch::Sender<Arc<Situation>>,
    pub part_lease: Lease,
}

impl Store {
    /// MySQL leads the tables that are published to be its: not those of an epoch since.
    pub(super) fn confirm_part(&mut self) {
        if let Some((epoch, asked)) = self.part_asked.take()
            && epoch == self.situation.borrow().epoch
        {
            self.part_lease.confirm(asked);
        }
    }

    pub(super) fn publish(&mut self, seen: Seen, mut catalog: Arc<Catalog>) {
        let before = Arc::clone(&self.situation.borrow());
        if catalog.version == before.catalog.version
            && (before.is_parted() || !seen.moved().is_empty())
        {
            // What an end sees is another catalogue then.
            self.version += 1;
            Arc::make_mut(&mut catalog).version = self.version;
        }
        self.catalog = Arc::clone(&catalog);
        let now = situation(&seen, catalog);
        let Situation { phase, epoch, timeline, catalog, .. } = &now;
        let (phase, epoch) = (*phase, *epoch);
        if (before.phase, before.epoch) != (phase, epoch) {
            info!(phase = phase.as_str(), epoch, timeline, "phase");
            if seen.state == State::NotSetUp && before.phase == Phase::DualWrite {
                warn!("Crossfade's schema is gone from the primary, writes are not carried over");
            }
        }
        if seen.moved().len() != self.known.as_ref().map_or(0, |known| known.moved().len()) {
            info!(tables = seen.moved().len(), "tables that MySQL leads by themselves");
        }
        if before.catalog.version != catalog.version {
            info!(version = catalog.version, tables = catalog.captured().count(), "catalogue read");
        }
        if phase == Phase::DualWrite {
            // Idle until MySQL leads again, it would be ended by the server, and found so when it matters.
            self.home = None;
        }
        self.metrics.set_phase(phase);
        self.metrics.epoch.set(i64::try_from(epoch).unwrap_or(i64::MAX));
        self.metrics.catalog_version.set(i64::try_from(catalog.version).unwrap_or(i64::MAX));
        let is_new = before.catalog.version != now.catalog.version || before.phase != phase;
        let views = now.views(seen.moved());
        self.beyond.send_replace(views.mysql);
        self.situation.send_replace(views.postgres);
        self.known = Some(seen);
        if is_new && phase != Phase::Setup {
            self.keep();
        }
    }
}
