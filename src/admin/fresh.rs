//! `GET /migration-status?fresh=true`: what is shown is looked at again before it is shown.
//!
//! ```text
//! request ──[`Fresh::look`]──▶ store (phase, epoch), watch (outbox, marks) ──looked──▶ request, or its time is up
//! ```
//!
//! Invariant: whoever asks waits for [`TIME_MAX`] at most, and is then shown what was published last. Any
//! number of requests at once cost one look.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use crate::lease::Lease;

/// Longest wait; a database that hangs does not hang its monitoring.
const TIME_MAX: Duration = Duration::from_secs(2);

/// Those who look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looker {
    PostgreSql,
    /// Has something to say while it is its turn.
    MySql,
}

/// Where those who ask and those who look meet; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Fresh(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    phase: Notify,
    wanted: [Notify; 2],
    /// When the last look began that was published.
    looked: [watch::Sender<Option<Instant>>; 2],
}

impl Fresh {
    /// Has all look that matter, and waits until they have.
    pub(super) async fn look(&self, lease: &Lease, mysql_leads: impl Fn() -> bool) {
        let looked = async {
            // First who is the primary, which says whose numbers count.
            let asked = Instant::now();
            self.0.phase.notify_one();
            lease.confirmed_since(asked).await;
            self.looked(Looker::PostgreSql).await;
            if mysql_leads() {
                self.looked(Looker::MySql).await;
            }
        };
        drop(tokio::time::timeout(TIME_MAX, looked).await);
    }

    async fn looked(&self, looker: Looker) {
        let asked = Instant::now();
        let mut looked = self.0.looked[looker as usize].subscribe();
        self.0.wanted[looker as usize].notify_one();
        // The sender lives as long as we do.
        drop(looked.wait_for(|at| at.is_some_and(|at| asked <= at)).await);
    }

    /// Waits until somebody asks where the migration stands.
    pub async fn phase_wanted(&self) {
        self.0.phase.notified().await;
    }

    /// Waits until somebody asks for another look. One that asks while nobody waits is heard afterwards.
    pub async fn wanted(&self, looker: Looker) {
        self.0.wanted[looker as usize].notified().await;
    }

    /// A look that began then is published.
    pub fn published(&self, looker: Looker, began: Instant) {
        self.0.looked[looker as usize].send_replace(Some(began));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn has_ended(asks: &mut (impl Future<Output = ()> + Unpin)) -> bool {
        tokio::select! { biased; () = asks => true, () = std::future::ready(()) => false }
    }

    #[tokio::test]
    async fn a_look_that_began_before_the_question_is_none() {
        let fresh = Fresh::default();
        let early = Instant::now();
        let mut asks = std::pin::pin!(fresh.looked(Looker::PostgreSql));
        assert!(!has_ended(&mut asks).await);
        fresh.wanted(Looker::PostgreSql).await;
        fresh.published(Looker::PostgreSql, early);
        assert!(!has_ended(&mut asks).await);
        fresh.published(Looker::PostgreSql, Instant::now());
        assert!(has_ended(&mut asks).await);
    }
}
