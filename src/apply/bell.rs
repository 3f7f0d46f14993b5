//! Asks the drain for a pass now, and waits for the end of one.
//!
//! Invariant: whoever waits is answered by a pass that began after it asked.

use std::sync::{Mutex, PoisonError};

use tokio::sync::{Notify, oneshot};

use crate::handoff::Settled;

#[derive(Default)]
pub(super) struct Bell {
    rung: Notify,
    asked: Mutex<Asked>,
}

/// What was asked for since the last pass began. Waiters are bounded by the sessions: those that have
/// had their timeout are let go.
#[derive(Default)]
pub(super) struct Asked {
    /// A pass over young entries too; otherwise only those past the grace period.
    pub(super) now: bool,
    pub(super) waiting: Vec<oneshot::Sender<Settled>>,
}

impl Bell {
    /// Asks for a pass over everything, old or young.
    pub(super) fn ring(&self, waiting: impl IntoIterator<Item = oneshot::Sender<Settled>>) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.now = true;
        asked.waiting.retain(|waiting| !waiting.is_closed());
        asked.waiting.extend(waiting);
        drop(asked);
        self.rung.notify_one();
    }

    pub(super) async fn rung(&self) {
        self.rung.notified().await;
    }

    pub(super) fn take(&self) -> Asked {
        std::mem::take(&mut self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Asked {
    pub(super) fn answer(self, settled: Settled) {
        for waiting in self.waiting {
            // A session that no longer waits has had its timeout.
            let _ = waiting.send(settled);
        }
    }
}
