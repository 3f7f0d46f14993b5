//! Cancel requests of a client of both databases: each goes to the one that runs its statement, or to none.
//!
//! ```text
//! CancelRequest ──key──▶ [`Intercepted`] ──▶ [`Cancelling`] ──whose statement?──┬─▶ PostgreSQL, past its session
//!                                                 │                             └─▶ KILL QUERY, past MySQL's
//!                                                 └── meanwhile nothing of ours is begun
//! ```
//!
//! Invariant: while something of ours is under way a request waits, and while a request is under way nothing of
//! ours is begun. So it hits what the client runs, or nothing.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::Services;
use super::end::{End, Side};
use super::router::{Router, Runs};
use crate::door::CancelKey;
use crate::session::{Asked, Intercepted};

/// The requests of one client.
pub(super) struct Cancelling {
    services: Services,
    /// A client without a key cannot ask.
    requests: Option<(CancelKey, Intercepted)>,
    /// Waits for what of ours is under way.
    asked: Option<Asked>,
    under_way: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Cancelling {
    pub(super) fn new(services: &Services, key: Option<CancelKey>) -> Self {
        let requests = key.map(|key| (key.clone(), services.session.cancels.intercept(key)));
        Self { services: services.clone(), requests, asked: None, under_way: None }
    }

    /// True where the router may go on with what it has kept back.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        router: &mut Router,
        ends: &[End; 2],
    ) -> bool {
        let was_calm = router.is_calm;
        loop {
            if let Some(running) = &mut self.under_way {
                match running.as_mut().poll(cx) {
                    Poll::Ready(()) => self.under_way = None,
                    Poll::Pending => break,
                }
            }
            let Some((key, requests)) = &mut self.requests else { break };
            if self.asked.is_none() {
                let Poll::Ready(Some(asked)) = requests.poll(cx) else { break };
                self.asked = Some(asked);
            }
            match router.runs(ends) {
                Runs::Ours => break,
                // Whoever asked has come too late, or too early.
                Runs::Nothing => self.asked = None,
                Runs::Clients(side) => {
                    self.under_way = self
                        .asked
                        .take()
                        .map(|asked| carry(&self.services, key.clone(), side, asked));
                }
            }
        }
        router.is_calm = self.under_way.is_none();
        router.is_calm && !was_calm
    }
}

/// Whoever has asked is answered at the end.
fn carry(
    services: &Services,
    key: CancelKey,
    side: Side,
    asked: Asked,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    match side {
        Side::Postgres => {
            let cancels = services.session.cancels.clone();
            let config = Arc::clone(&services.session.login.borrow());
            Box::pin(async move {
                cancels.carry(&key, &config.dialer).await;
                drop(asked);
            })
        }
        Side::MySql => {
            let cancels = services.answer.cancels.clone();
            let config = Arc::clone(&services.answer.config.borrow());
            Box::pin(async move {
                cancels.cancel(&key, &config.url).await;
                drop(asked);
            })
        }
    }
}
