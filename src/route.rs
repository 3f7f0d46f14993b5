//! One client, from whoever answers to whoever answers next.
//!
//! ```text
//! listener ──▶ [`serve`] ─┬─ PostgreSQL's turn ─▶ session ─┐
//!                 ▲       ├─ MySQL's turn ──────▶ answer ──┤
//!                 │       └─ each leads some ───▶ parts ───┤
//!                 └────────────── [`Handover`] ◀───────────┘   the connection stays
//! ```
//!
//! Invariant: whose turn it is, is asked anew for each step of the way; both ends ask it again before they
//! begin a transaction, so that an answer that is old here costs one step more and nothing else.

use std::time::Duration;

use tokio::time::timeout;

use crate::answer::{self, Ended, Handover, serves};
use crate::backend::stream::Stream;
use crate::lease::Lease;
use crate::parts::{self, PartsMetrics};
use crate::session::{self, Admission};

/// How long a client that comes early waits to know who answers.
const SITUATION_WAIT: Duration = Duration::from_secs(5);

/// What both ends need.
#[derive(Clone, Debug)]
pub struct Services {
    pub session: session::Services,
    /// Absent where only PostgreSQL can answer.
    pub answer: Option<answer::Services>,
    /// Of clients whose tables the two lead by parts.
    pub parts: Option<PartServices>,
}

#[derive(Clone, Debug)]
pub struct PartServices {
    /// Whether MySQL may answer for tables that it leads by themselves.
    pub lease: Lease,
    pub metrics: PartsMetrics,
}

impl Services {
    /// MySQL's end, if it is its turn.
    fn mysql(&self) -> Option<&answer::Services> {
        self.answer.as_ref().filter(|answer| {
            let now = answer.situation.borrow();
            serves(&now) && !now.is_parted()
        })
    }

    /// Both ends, if each leads some tables.
    fn parted(&self) -> Option<parts::Services> {
        let answer = self.answer.as_ref().filter(|answer| answer.situation.borrow().is_parted())?;
        let PartServices { lease, metrics } = self.parts.clone()?;
        let answer = answer::Services { lease, ..answer.clone() };
        Some(parts::Services { session: self.session.clone(), answer, metrics })
    }
}

/// Where nobody but PostgreSQL answers.
impl From<session::Services> for Services {
    fn from(session: session::Services) -> Self {
        Self { session, answer: None, parts: None }
    }
}

/// Serves one accepted connection to its end.
pub async fn serve(stream: Stream, admission: Admission, services: Services) {
    if let Some(answer) = &services.answer {
        let mut situation = answer.situation.clone();
        // In vain it is told so after its login.
        drop(timeout(SITUATION_WAIT, situation.wait_for(|now| 0 < now.server)).await);
    }
    let seat = || services.session.flow.metrics.enter();
    let mut next = match services.mysql().filter(|_| admission == Admission::Admitted) {
        Some(answer) => {
            let _seat = seat();
            // Boxed, as all that is not PostgreSQL's end: the others' clients would hold room for it.
            moved(Box::pin(answer::run(stream, answer)).await)
        }
        None => session::run(stream, admission, services.session.clone()).await,
    };
    while let Some(handover) = next {
        if let Some(parts) = services.parted() {
            next = Box::pin(parts::serve(*handover, &parts)).await;
            continue;
        }
        next = match services.mysql() {
            Some(answer) => {
                let _seat = seat();
                moved(Box::pin(answer::go_on(*handover, answer)).await)
            }
            None => Box::pin(session::go_on(*handover, services.session.clone())).await,
        };
    }
}

fn moved(ended: Ended) -> Option<Box<Handover>> {
    match ended {
        Ended::Moved(handover) => Some(handover),
        Ended::Over => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<A, B, C, F: Future>(_: fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    /// An idle client holds this much for as long as it stays, whoever might serve it one day.
    #[test]
    fn an_idle_client_is_small() {
        let (session, all) = (size(session::run), size(serve));
        assert!(session < 8192, "{session} bytes");
        assert!(all - session < 2048, "{all} bytes, of which PostgreSQL's end takes {session}");
    }
}
