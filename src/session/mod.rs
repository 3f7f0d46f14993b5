//! One client's session: logging in, then everything it says until it leaves.
//!
//! ```text
//! listener ──Stream──▶ [`run`] ──startup, login──▶ [`Established`] ──▶ [`serve`]
//!                         └──CancelRequest──▶ cancel
//! ```
//!
//! Invariant: a session has one server connection of its own from login to the end.

mod again;
mod answers;
mod auth;
mod batch;
pub mod cancel;
mod count;
mod described;
mod flags;
mod formats;
mod frontend;
mod function;
#[cfg(test)]
pub(crate) mod fuzz;
mod login;
mod own;
mod path;
mod pending;
mod pipe;
mod planners;
mod refuse;
mod rest;
mod resume;
mod serve;
mod settle;
mod shadow;
mod state;
mod statements;
mod strict;
mod tally;
mod truncate;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{debug, warn};

use crate::answer::Handover;
use crate::backend::stream::Stream;
use crate::door::{fatal, packet, peer, scram, startup};

pub use self::cancel::{Asked, CancelRegistry, Intercepted};
pub use self::fatal::Fatal;
pub use self::login::{Established, LoginConfig};
pub use self::packet::CancelKey;
pub use self::planners::Planners;
pub use self::resume::go_on;
pub use self::serve::{Flow, FlowLimits};
pub use self::tally::{Count, Tally};

/// What every session shares.
#[derive(Clone, Debug)]
pub struct Services {
    /// How to log in; replaced by a reload.
    pub login: watch::Receiver<Arc<LoginConfig>>,
    /// What happens to statements.
    pub flow: Arc<Flow>,
    pub cancels: CancelRegistry,
    /// Turns true when sessions are to end.
    pub shutdown: watch::Receiver<bool>,
}

/// How long a client's first statement may wait for a sidecar that has just started.
const SITUATION_WAIT: Duration = Duration::from_secs(10);

/// Whether there was room for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Admitted,
    /// It is told so, once it has said that it wants to log in; a cancel request still passes.
    Full,
}

/// Serves one accepted connection to its end, or until somebody else has to go on.
pub async fn run(
    stream: Stream,
    admission: Admission,
    services: Services,
) -> Option<Box<Handover>> {
    // Boxed, so that the memory of a login is given back before the session begins.
    match Box::pin(login::enter(stream, admission, &services)).await {
        Ok(Some(mut established)) => {
            if !services.flow.planners.known(SITUATION_WAIT).await {
                warn!("client refused: the migration's state is not known yet");
                let refusal =
                    Fatal::new("57P03", "Crossfade does not know the migration's state yet").hint(
                        "Its own role has to reach PostgreSQL; see its log and /health/readiness.",
                    );
                // The client may have left; there is nothing else to tell it.
                drop(established.client.write_all(&refusal.encode()).await);
                established.client.shutdown().await;
                return None;
            }
            serve::serve(established, services.flow, services.shutdown).await
        }
        Ok(None) => None,
        Err(error) => {
            debug!(error = format!("{error:#}"), "login ended");
            None
        }
    }
}
