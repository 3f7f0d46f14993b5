//! Whether MySQL may be answered from now.
//!
//! Invariant: nothing that was read is told without the lease, or once the epoch has moved since it was read.

use std::time::Instant;

use tokio::time::timeout;

use crate::answer::error::PgError;
use crate::answer::session::Session;

impl Session {
    /// Waits for the lease, without which nothing is answered.
    pub(super) async fn confirmed(&self) -> Result<(), PgError> {
        let lease = &self.services.lease;
        if lease.holds(Instant::now()) {
            return Ok(());
        }
        let in_block = self.block.is_explicit();
        let waits = !in_block && !self.denied;
        if waits && timeout(self.services.limits().hold, lease.held()).await.is_ok() {
            return Ok(());
        }
        Err(self.unconfirmed(if in_block { "57P01" } else { "57P03" }))
    }

    /// What was read is answered only if MySQL was still the primary when it was: the lease holds after it
    /// too, and in the epoch in which it was asked. Who has written holds the epoch.
    pub(super) async fn still_confirmed(&self) -> Result<(), PgError> {
        if self.captured.is_confirmed() {
            return Ok(());
        }
        let lease = &self.services.lease;
        let held = lease.holds(Instant::now())
            || timeout(self.services.limits().hold, lease.held()).await.is_ok();
        // In this order: a lease that holds for a later epoch is confirmed after that was published.
        if held && self.services.situation.borrow().epoch == self.situation.epoch {
            return Ok(());
        }
        Err(self.unconfirmed("57P01").fatal())
    }

    fn unconfirmed(&self, code: &'static str) -> PgError {
        let text = "Crossfade cannot confirm on MySQL that it may still answer";
        match self.services.lease.why_not() {
            Some(why) => PgError::new(code, text).detail(why),
            None => PgError::new(code, text),
        }
    }
}
