//! Cancel requests: passed on to the server, but never into a statement of Crossfade's own.
//!
//! ```text
//! client ──CancelRequest──▶ [`CancelRegistry::forward`] ──waits for Hold──▶ PostgreSQL
//!                               │        ▲
//!                               │        └── [`Guard::hold`] ── session, while a statement of ours runs
//!                               └──▶ [`Intercepted`]: whoever serves a client that MySQL may answer as well
//! ```
//!
//! Invariant: while a session has a [`Hold`], no cancel request for it is on its way. It hits what
//! the client runs, or nothing.
//!
//! A key that no session here has is passed on all the same: the session may be with another
//! sidecar, and PostgreSQL ignores keys that it does not know.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use dashmap::DashMap;
use tokio::sync::{Mutex, OwnedMutexGuard, Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use tracing::{debug, warn};

use super::packet::CancelKey;
use crate::backend::dial::Dialer;

/// Cancel requests under way at once; one more is dropped, as PostgreSQL may do, too.
const CANCELS_MAX: usize = 64;
/// Requests of one client that wait for its turn; one more is dropped.
const ASKED_MAX: usize = 4;
/// How long one request may wait for a statement of ours and for the server.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(10);

/// The sessions that can be cancelled, one registry per process.
#[derive(Clone, Debug)]
pub struct CancelRegistry {
    sessions: Arc<DashMap<CancelKey, Arc<Entry>>>,
    intercepted: Arc<DashMap<CancelKey, mpsc::Sender<Asked>>>,
    under_way: Arc<Semaphore>,
}

/// A request that somebody waits for: it is dropped once it is carried out, or will not be.
#[derive(Debug)]
pub struct Asked(#[allow(dead_code, reason = "its end is what counts")] oneshot::Sender<()>);

/// The requests for one client, instead of being passed on; they are passed on again once this is dropped.
#[derive(Debug)]
pub struct Intercepted {
    key: CancelKey,
    sender: mpsc::Sender<Asked>,
    requests: mpsc::Receiver<Asked>,
    intercepted: Arc<DashMap<CancelKey, mpsc::Sender<Asked>>>,
}

impl Intercepted {
    /// The next one.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Asked>> {
        self.requests.poll_recv(cx)
    }
}

impl Drop for Intercepted {
    fn drop(&mut self) {
        // The same client may be served anew by now.
        self.intercepted.remove_if(&self.key, |_, sender| sender.same_channel(&self.sender));
    }
}

impl Default for CancelRegistry {
    fn default() -> Self {
        let under_way = Arc::new(Semaphore::new(CANCELS_MAX));
        Self { sessions: Arc::default(), intercepted: Arc::default(), under_way }
    }
}

/// What is known of a session by the key that its client has.
#[derive(Debug)]
struct Entry {
    calm: Arc<Mutex<()>>,
    /// By which its server knows it.
    server: CancelKey,
}

/// One session's entry; it ends with the session.
#[derive(Debug)]
pub struct Guard {
    key: CancelKey,
    entry: Arc<Entry>,
    sessions: Arc<DashMap<CancelKey, Arc<Entry>>>,
}

/// While this lives, cancel requests for the session wait.
pub type Hold = OwnedMutexGuard<()>;

impl CancelRegistry {
    /// Enters a session under the key that its server gave it.
    #[must_use]
    pub fn register(&self, key: CancelKey) -> Guard {
        self.register_as(key.clone(), key)
    }

    /// Enters a session whose client has a key of an earlier server.
    #[must_use]
    pub fn register_as(&self, key: CancelKey, server: CancelKey) -> Guard {
        let entry = Arc::new(Entry { calm: Arc::default(), server });
        self.sessions.insert(key.clone(), Arc::clone(&entry));
        Guard { key, entry, sessions: Arc::clone(&self.sessions) }
    }

    /// Has the requests under this key come here, for whoever knows where the client's statement runs.
    #[must_use]
    pub fn intercept(&self, key: CancelKey) -> Intercepted {
        let (sender, requests) = mpsc::channel(ASKED_MAX);
        self.intercepted.insert(key.clone(), sender.clone());
        Intercepted { key, sender, requests, intercepted: Arc::clone(&self.intercepted) }
    }

    /// Passes a request on. It returns when the server has acted on it, or will not.
    pub(super) async fn forward(&self, key: &CancelKey, dialer: &Dialer) {
        let Ok(_permit) = self.under_way.try_acquire() else {
            warn!(cancels_max = CANCELS_MAX, "too many cancel requests, one was dropped");
            return;
        };
        let taker = self.intercepted.get(key).map(|taker| taker.clone());
        let Some(taker) = taker else { return self.carry(key, dialer).await };
        let (asked, carried) = oneshot::channel();
        match taker.try_send(Asked(asked)) {
            // It ends without a word.
            Ok(()) => drop(timeout(CANCEL_TIMEOUT, carried).await),
            Err(_) => warn!(asked_max = ASKED_MAX, "too many cancel requests, one was dropped"),
        }
    }

    /// Passes a request on to PostgreSQL.
    pub async fn carry(&self, key: &CancelKey, dialer: &Dialer) {
        // The entry is let go before waiting: a session that ends must not wait for us.
        let entry = self.sessions.get(key).map(|entry| Arc::clone(&entry));
        let passed = timeout(CANCEL_TIMEOUT, async {
            let _calm = match &entry {
                Some(entry) => Some(entry.calm.lock().await),
                None => None,
            };
            send(entry.as_ref().map_or(key, |entry| &entry.server), dialer).await
        });
        match passed.await {
            Ok(Ok(())) => debug!(pid = key.pid, "cancel request passed on"),
            Ok(Err(error)) => {
                warn!(error = format!("{error:#}"), "cancel request was not passed on");
            }
            Err(_) => warn!("cancel request was not passed on in time"),
        }
    }
}

/// The server closes the connection once it has sent the signal.
async fn send(
    key: &CancelKey,
    dialer: &Dialer,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut server = dialer.dial().await?;
    server.write_all(&key.request()).await?;
    // A server that resets the connection instead of closing it has read the request as well.
    drop(server.fill(&mut BytesMut::new()).await);
    Ok(())
}

impl Guard {
    /// The key that the client was given.
    #[must_use]
    pub fn key(&self) -> &CancelKey {
        &self.key
    }

    /// Waits for a request that is on its way, and keeps the next one waiting.
    pub async fn hold(&self) -> Hold {
        Arc::clone(&self.entry.calm).lock_owned().await
    }

    /// The same without waiting; `None` while a request is on its way.
    #[must_use]
    pub fn try_hold(&self) -> Option<Hold> {
        Arc::clone(&self.entry.calm).try_lock_owned().ok()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Another server may have given the same key to a later session: that one stays.
        self.sessions.remove_if(&self.key, |_, entry| Arc::ptr_eq(entry, &self.entry));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn key() -> CancelKey {
        CancelKey { pid: 7, secret: Bytes::from_static(&[1, 2, 3, 4]) }
    }

    #[test]
    fn a_session_is_forgotten_when_it_ends() {
        let registry = CancelRegistry::default();
        let guard = registry.register(key());
        assert!(registry.sessions.contains_key(&key()));
        drop(guard);
        assert!(registry.sessions.is_empty());
    }

    #[test]
    fn a_later_session_with_the_same_key_stays() {
        let registry = CancelRegistry::default();
        let early = registry.register(key());
        let late = registry.register(key());
        drop(early);
        assert!(registry.sessions.contains_key(&key()));
        drop(late);
        assert!(registry.sessions.is_empty());
    }

    #[tokio::test]
    async fn only_one_side_has_the_session_at_a_time() {
        let registry = CancelRegistry::default();
        let guard = registry.register(key());
        let hold = guard.hold().await;
        assert!(guard.try_hold().is_none());
        drop(hold);
        assert!(guard.try_hold().is_some());
    }
}
