//! Asks the drain for a pass now, and waits for the end of one.
//!
//! Invariant: whoever waits is answered by a pass that began after it asked, and hears that its entries
//! are carried only if that very pass had them: another sidecar may have claimed them.

use std::collections::HashSet;
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
    waiting: Vec<Waiting>,
}

/// Who waits, and for which entries; none where it does not know them (captured by trigger).
type Waiting = (oneshot::Sender<Settled>, Vec<i64>);

impl Bell {
    /// Asks for a pass over everything, old or young.
    pub(super) fn ring(&self, waiting: impl IntoIterator<Item = oneshot::Sender<Settled>>) {
        self.ring_for(waiting.into_iter().map(|waiting| (waiting, Vec::new())));
    }

    /// The same, for entries that are known.
    pub(super) fn ring_for(&self, waiting: impl IntoIterator<Item = Waiting>) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.now = true;
        asked.waiting.retain(|(waiting, _)| !waiting.is_closed());
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
    /// `claimed` are the entries that the pass had.
    pub(super) fn answer(self, settled: Settled, claimed: &HashSet<i64>) {
        for (waiting, entries) in self.waiting {
            let had = entries.iter().all(|entry| claimed.contains(entry));
            // A session that no longer waits has had its timeout.
            let _ = waiting.send(if had { settled } else { Settled::Deferred });
        }
    }
}
