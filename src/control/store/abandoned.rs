//! The migration is given up: this sidecar becomes transparent, between two transactions of each client.
//!
//! ```text
//! the mark ─▶ clients held ─all rest─▶ Phase::Setup published ─▶ clients go on ─▶ our line removed
//!                 └─ not in time, or the mark is taken away ─▶ clients go on as before
//! ```
//!
//! Invariant: once our line is gone, no statement of ours that calls a function of Crossfade's is under
//! way, and none will be. No hold for it outlives the time that the mark names.

use std::sync::Arc;

use tokio::time::{Duration, Instant, timeout};
use tracing::{info, warn};

use super::look::{Seen, SetUp, State};
use super::{LookError, Store};
use crate::phase::Phase;

/// How often it looks whether all rest.
const QUICK: Duration = Duration::from_millis(20);

impl Store {
    /// Does what the mark asks for, where there is one; true where that is all there is to do.
    pub(super) async fn give_up(&mut self, seen: &Seen) -> Result<bool, LookError> {
        let State::SetUp(SetUp { abandoned: Some(left), epoch, .. }) = seen.state else {
            self.release();
            return Ok(false);
        };
        if self.situation.borrow().phase == Phase::DualWrite {
            self.renew_lease(epoch).await?;
            self.sidecar.lease.confirm(seen.asked);
            let Some(left) = u64::try_from(left).ok().filter(|left| 0 < *left) else {
                self.release();
                return Ok(true);
            };
            if self.holds_until.is_none() {
                info!("the migration is given up: clients are held until all rest");
                self.holds_until = Some(Instant::now() + Duration::from_millis(left));
                self.flow.hold.begin(false);
            }
            let quarter = self.sidecar.lease.length() / 4;
            if timeout(quarter, self.flow.hold.drained()).await.is_err() {
                return Ok(true);
            }
            let catalog = Arc::clone(&self.catalog);
            self.publish(seen.clone(), catalog);
            self.release();
        } else if self.known.is_none() || self.reread {
            self.read(seen.clone()).await?;
        }
        self.sidecar.lease.confirm(seen.asked);
        self.leave().await;
        self.lease_renewed = None;
        self.metrics.dirty_tables.set(0);
        self.metrics.sidecars.set(0);
        Ok(true)
    }

    /// Clients are not held for it any longer.
    pub(super) fn release(&mut self) {
        if self.holds_until.take().is_some() {
            self.flow.hold.end();
        }
    }

    /// However the looks go, the hold ends in time.
    pub(super) fn release_in_time(&mut self) {
        if self.holds_until.is_some_and(|until| until <= Instant::now()) {
            warn!("clients go on as before: not all came to rest in time");
            self.release();
        }
    }

    /// How long until the next look.
    pub(super) fn pace(&self) -> Duration {
        if self.holds_until.is_some() { QUICK } else { self.sidecar.poll }
    }
}
