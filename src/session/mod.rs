//! One client's session: logging in, then everything it says until it leaves.
//!
//! ```text
//! listener ──Stream──▶ [`run`] ──startup, login──▶ [`Established`] ──▶ [`serve`]
//!                         └──CancelRequest──▶ cancel
//! ```
//!
//! Invariant: a session has one server connection of its own from login to the end.

mod auth;
pub mod cancel;
mod fatal;
mod login;
mod packet;
mod peer;
mod scram;
mod startup;

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::sync::watch;
use tracing::debug;

use crate::backend::stream::Stream;

pub use self::cancel::CancelRegistry;
pub use self::fatal::Fatal;
pub use self::login::{Established, LoginConfig};
pub use self::packet::CancelKey;

/// What every session shares.
#[derive(Clone, Debug)]
pub struct Services {
    /// How to log in; replaced by a reload.
    pub login: watch::Receiver<Arc<LoginConfig>>,
    pub cancels: CancelRegistry,
    /// Turns true when sessions are to end.
    pub shutdown: watch::Receiver<bool>,
}

/// Whether there was room for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Admitted,
    /// It is told so, once it has said that it wants to log in; a cancel request still passes.
    Full,
}

/// Serves one accepted connection to its end.
pub async fn run(stream: Stream, admission: Admission, services: Services) {
    // Boxed, so that the memory of a login is given back before the session begins.
    match Box::pin(login::enter(stream, admission, &services)).await {
        Ok(Some(established)) => serve(established, services).await,
        Ok(None) => {}
        Err(error) => debug!(error = format!("{error:#}"), "login ended"),
    }
}

/// Copies both ways until either side ends.
pub async fn serve(established: Established, _services: Services) {
    let Established { client, server, client_buffer, server_buffer, .. } = established;
    if let Err(error) = copy(client, server, client_buffer, server_buffer).await {
        debug!(%error, "session ended");
    }
}

async fn copy(
    mut client: Stream,
    mut server: Stream,
    mut from_client: BytesMut,
    mut from_server: BytesMut,
) -> io::Result<()> {
    loop {
        if !from_client.is_empty() {
            server.write_all(&from_client.split()).await?;
        }
        if !from_server.is_empty() {
            client.write_all(&from_server.split()).await?;
        }
        let read = tokio::select! {
            read = client.fill(&mut from_client) => read?,
            read = server.fill(&mut from_server) => read?,
        };
        if read == 0 {
            client.shutdown().await;
            server.shutdown().await;
            return Ok(());
        }
    }
}
