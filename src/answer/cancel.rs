//! Cancel requests: `KILL QUERY` on a connection of its own, and only while the client's statement runs.
//!
//! ```text
//! CancelRequest ──key──▶ [`Cancels::cancel`] ──▶ Cancellable ──running?──▶ KILL QUERY id
//! ```
//!
//! Invariant: a request hits a statement of the client's or nothing: never a COMMIT, nor what the session
//! does for itself. The session leaves the statement only when no request is on its way.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use mysql_async::prelude::Queryable as _;
use rand::Rng as _;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::backend::mysql::connect::LinkLimits;
use crate::backend::mysql::{Link, ToUrl};
use crate::door::CancelKey;

/// How long one request may take.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(10);

/// The sessions that can be cancelled.
#[derive(Clone, Debug, Default)]
pub struct Cancels(Arc<DashMap<CancelKey, Arc<Cancellable>>>);

/// One session's statement under way.
#[derive(Debug)]
pub(super) struct Cancellable {
    /// MySQL's number of the connection.
    connection: u32,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    running: bool,
    /// A KILL was sent into the statement at hand.
    killed: bool,
}

/// A session's entry; it ends with the session.
#[derive(Debug)]
pub(super) struct Guard {
    pub(super) key: CancelKey,
    cancels: Cancels,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.cancels.0.remove(&self.key);
    }
}

impl Cancels {
    /// Enters a session under a new key.
    pub(super) fn enter(&self, cancellable: Arc<Cancellable>) -> Guard {
        let pid = cancellable.pid();
        let secret = Bytes::copy_from_slice(&rand::rng().random::<[u8; 4]>());
        self.enter_as(CancelKey { pid, secret }, cancellable)
    }

    /// Enters a session under the key that its client has already.
    pub(super) fn enter_as(&self, key: CancelKey, cancellable: Arc<Cancellable>) -> Guard {
        self.0.insert(key.clone(), cancellable);
        Guard { key, cancels: self.clone() }
    }

    /// Carries a request out. It returns when MySQL has acted on it, or will not.
    pub async fn cancel(&self, key: &CancelKey, url: &ToUrl) {
        let found = self.0.get(key).map(|entry| Arc::clone(&entry));
        let Some(cancellable) = found else { return };
        if timeout(CANCEL_TIMEOUT, cancellable.kill(url)).await.is_err() {
            warn!("cancel request was not carried out in time");
        }
    }
}

impl Cancellable {
    pub(super) fn new(connection: u32) -> Arc<Self> {
        Arc::new(Self { connection, state: Mutex::default() })
    }

    pub(super) fn pid(&self) -> i32 {
        i32::try_from(self.connection & 0x7fff_ffff).unwrap_or_default()
    }

    pub(super) async fn begin(&self) {
        *self.state.lock().await = State { running: true, killed: false };
    }

    /// Waits for a request that is on its way; true if one was sent.
    pub(super) async fn end(&self) -> bool {
        std::mem::take(&mut *self.state.lock().await).killed
    }

    /// Sends KILL QUERY if a statement runs.
    pub(super) async fn kill(&self, url: &ToUrl) {
        let mut state = self.state.lock().await;
        if !state.running {
            return;
        }
        let limits = LinkLimits::default();
        let killed = async {
            let mut link = Link::connect(url, &limits).await?;
            link.conn().query_drop(format!("KILL QUERY {}", self.connection)).await?;
            Ok::<_, crate::backend::mysql::WriteError>(())
        };
        match killed.await {
            Ok(()) => {
                state.killed = true;
                debug!("cancel request carried out");
            }
            Err(error) => warn!(%error, "cancel request was not carried out"),
        }
    }
}
