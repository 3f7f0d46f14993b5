//! Brings the secondary to the primary's epoch, beside the looks.
//!
//! ```text
//! look ──the primary's epoch──▶ [`Follower::agree`] ──a task──▶ secondary
//!   ▲                                                  │
//!   └──────────nudge, answer at the next look──────────┘
//! ```
//!
//! Invariant: no look waits for the secondary. One that hangs would otherwise keep the lease from
//! being confirmed, and clients from being answered.

use std::time::Duration;

use tokio::sync::oneshot::{self, error::TryRecvError};
use tokio::time::{Instant, timeout};

use super::{Nudge, epoch};
use crate::backend::mysql::WriteError;
use crate::control::Ends;

/// Between two attempts to tell the secondary the epoch.
const AGAIN: Duration = Duration::from_secs(5);
/// Longest time for one attempt, after `limits.connect_timeout`.
const TIME_MAX: Duration = Duration::from_secs(30);

/// What the secondary is known to have, and what it was asked.
#[derive(Debug, Default)]
pub(super) struct Follower {
    has: Option<u64>,
    asked: Option<Instant>,
    answer: Option<oneshot::Receiver<Result<u64, WriteError>>>,
}

/// What came of an attempt.
#[derive(Debug)]
pub(super) enum Followed {
    /// The secondary has a higher epoch: the primary has to follow.
    Higher(u64),
    /// It is the first in a row.
    Failed(WriteError),
}

impl Follower {
    /// Sees to it that the secondary gets this epoch; returns what an earlier attempt came to, if a
    /// word has to be said about it.
    pub(super) fn agree(&mut self, ends: &Ends, nudge: &Nudge, epoch: u64) -> Option<Followed> {
        let followed = self.heard(epoch);
        let rested = self.asked.is_none_or(|at| AGAIN <= at.elapsed());
        if self.has != Some(epoch) && rested && self.answer.is_none() {
            let (answer, heard) = oneshot::channel();
            let (ends, nudge) = (ends.clone(), nudge.clone());
            tokio::spawn(async move {
                let limit = ends.limits.connect_timeout + TIME_MAX;
                let followed = timeout(limit, epoch::follow(&ends, epoch)).await;
                // A store that has ended wants no answer.
                let _ = answer.send(followed.unwrap_or(Err(WriteError::TimedOut)));
                nudge.look_now();
            });
            self.answer = Some(heard);
        }
        followed
    }

    fn heard(&mut self, epoch: u64) -> Option<Followed> {
        let answer = match self.answer.as_mut()?.try_recv() {
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Closed) => Err(WriteError::Disconnected),
            Ok(answer) => answer,
        };
        self.answer = None;
        match answer {
            Ok(found) => {
                self.asked = None;
                self.has = Some(found);
                (epoch < found).then_some(Followed::Higher(found))
            }
            Err(error) => {
                let first = self.asked.replace(Instant::now()).is_none();
                first.then_some(Followed::Failed(error))
            }
        }
    }
}
