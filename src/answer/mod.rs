//! Answers PostgreSQL's clients from MySQL, in the phases `switched` and `complete`.
//!
//! ```text
//! client ⇄ [`login`] ⇄ [`session`]: simple, extended ──▶ [`plan`]: verb │ known │ program of the dialect
//!                          │                                          │         │
//!                          ├──[`block`], [`settings`], [`statements`]◀┘         ▼
//!                          └──[`rows`], [`error`] ◀── [`backend`] ◀── [`walk`]: steps on MySQL, one transaction
//! ```
//!
//! The proxy ends PostgreSQL's protocol itself here: nothing of what a client says reaches a server of its
//! own language. Each session has one connection to MySQL, from its login to its end.
//!
//! Invariant: what a client is told is what PostgreSQL would have told it, or an error that says what is
//! not served. What cannot be carried out exactly is refused before anything of it is done.
//!
//! Not here: what a statement becomes in MySQL (`dialect`), when this phase begins and ends (`control`).

mod backend;
pub(crate) mod batch;
mod bind;
mod block;
mod cancel;
mod captured;
mod cascades;
mod confirm;
mod ends;
mod error;
mod execute;
mod extended;
mod judge;
mod known;
mod known_columns;
mod known_types;
mod login;
mod obeyed;
mod place;
mod plan;
mod prepared;
mod rows;
mod session;
mod setting_values;
mod settings;
mod simple;
mod statements;
mod verbs;
mod walk;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::sync::{Notify, watch};

use crate::backend::mysql::ToUrl;
use crate::backend::stream::Stream;
use crate::backend::tls::ServerTls;
use crate::door::CancelKey;
use crate::door::credential::Credential;
use crate::door::peer::Peer;
use crate::handoff::Handoff;
use crate::hold::Hold;
use crate::lease::Lease;
use crate::names::Oid;
use crate::phase::{Phase, Situation};
use crate::plan::seen::Seen;
use crate::served::SessionMetrics;

pub use self::cancel::Cancels;
pub use self::error::{About, Named, PgError};
pub use self::judge::judge;
pub use self::login::Users;
pub use self::plan::Plans;
pub use self::prepared::{Shelf, ShelfMetrics};
pub use self::session::Ended;
pub(crate) use self::setting_values::startup_settings;

/// What a login needs to know; replaced by a reload.
#[derive(Debug)]
pub struct AnswerConfig {
    /// TLS for clients, if any.
    pub tls: Option<ServerTls>,
    pub users: Users,
    /// The one database that is served, as clients name it.
    pub database: String,
    pub url: ToUrl,
    /// From the accepted connection to ReadyForQuery.
    pub login_timeout: Duration,
    /// To reach MySQL.
    pub connect_timeout: Duration,
    /// Largest message of a client that has not logged in.
    pub login_bytes_max: usize,
    pub limits: AnswerLimits,
}

/// Bounds of one session.
#[derive(Clone, Copy, Debug)]
pub struct AnswerLimits {
    /// `limits.message_bytes`: largest message, in bytes.
    pub message_bytes_max: usize,
    /// `limits.portal_bytes`: rows of a portal that is read in parts, as they wait for the next Execute, in bytes.
    pub portal_bytes_max: usize,
    /// `limits.hold`: longest pause of a statement while the lease does not hold.
    pub hold: Duration,
}

impl Default for AnswerLimits {
    fn default() -> Self {
        Self {
            message_bytes_max: 64 << 20,
            portal_bytes_max: 64 << 20,
            hold: Duration::from_secs(30),
        }
    }
}

/// What every session shares.
#[derive(Clone, Debug)]
pub struct Services {
    pub config: watch::Receiver<Arc<AnswerConfig>>,
    pub situation: watch::Receiver<Arc<Situation>>,
    pub lease: Lease,
    pub hold: Hold,
    /// What the old primary reported to its clients, by name: `server_version`, `TimeZone`, … The version
    /// is made of its major number where that is all that is known.
    pub reported: watch::Receiver<Arc<BTreeMap<String, String>>>,
    pub plans: Arc<Plans>,
    /// Room for what sessions keep prepared on MySQL.
    pub shelf: Shelf,
    pub cancels: Cancels,
    /// Where what was written goes to PostgreSQL; absent where nobody carries it.
    pub handoff: Option<Handoff>,
    /// Where statements are counted; absent where no client sent them.
    pub metrics: Option<SessionMetrics>,
    /// Where what is refused is listed; absent where nobody asks.
    pub seen: Option<Arc<Seen>>,
    /// Turns true when sessions are to end.
    pub shutdown: watch::Receiver<bool>,
}

impl Services {
    fn limits(&self) -> AnswerLimits {
        self.config.borrow().limits
    }

    /// A statement of this kind has completed.
    fn count(&self, kind: Option<&'static str>, took: Duration) {
        if let (Some(metrics), Some(kind)) = (&self.metrics, kind) {
            metrics.statement(kind, took);
        }
    }

    /// A statement has failed; what is not served is counted by its text.
    fn failed(&self, sql: &str, error: &PgError) {
        if let (Some(seen), Some(construct)) = (&self.seen, error.construct()) {
            seen.refused(sql, construct, Instant::now());
        }
    }

    /// The one database that is served.
    pub(crate) fn database(&self) -> String {
        self.config.borrow().database.clone()
    }
}

/// A client on its way from one who served it to another: whole, and between two transactions. A batch of
/// which no statement has begun may be under way.
#[derive(Debug)]
pub struct Handover {
    pub(crate) client: Peer,
    /// What the client was given to cancel with; it keeps it.
    pub key: Option<CancelKey>,
    pub user: String,
    pub database: String,
    /// Settings that it began with, by name, in lower case: what RESET goes back to.
    pub settings: Vec<(String, String)>,
    /// Those that it has set since.
    pub set: Vec<(String, String)>,
    /// Prepared statements: name, text, declared types.
    pub statements: Vec<(String, Arc<str>, Vec<Oid>)>,
    /// What it has shown of its password.
    pub(crate) credential: Credential,
    /// Of what is to be read first, so many answers are not for the client: it has them.
    pub(crate) answered: usize,
    /// It is one of the two sessions of a client whose tables the databases lead apart.
    pub part: Option<Arc<Part>>,
}

/// What such a session is told beside its client's messages.
#[derive(Debug, Default)]
pub struct Part {
    continues: AtomicBool,
    told: Notify,
}

impl Part {
    /// The transaction that begins next goes on with one that is under way: no hold keeps it back.
    pub fn continues(&self) {
        self.continues.store(true, Ordering::Release);
        self.told.notify_waiters();
    }

    /// It has begun, or does not begin any more.
    pub fn over(&self) {
        self.continues.store(false, Ordering::Release);
    }

    fn does_continue(&self) -> bool {
        self.continues.load(Ordering::Acquire)
    }
}

impl Handover {
    /// A client with what was read from it and not looked at yet.
    #[must_use]
    pub fn new(client: Stream, unread: BytesMut, user: String, database: String) -> Self {
        let client = Peer { stream: client, buffer: unread };
        let (settings, set, statements) = (Vec::new(), Vec::new(), Vec::new());
        let credential = Credential::default();
        let (key, answered, part) = (None, 0, None);
        Self { client, key, user, database, settings, set, statements, credential, answered, part }
    }

    /// The client's connection, and what was read from it and not looked at yet.
    #[must_use]
    pub fn into_client(self) -> (Stream, BytesMut) {
        self.client.into_parts()
    }
}

/// Whether MySQL answers in this situation.
#[must_use]
pub fn serves(situation: &Situation) -> bool {
    matches!(situation.phase, Phase::Switched | Phase::Complete)
}

/// Serves one accepted connection to its end, or to that of the phase.
pub async fn run(stream: Stream, services: &Services) -> Ended {
    match Box::pin(login::enter(stream, services)).await {
        Some((mut session, guard)) => {
            login::welcome(&mut session, &guard);
            let ended = session.run().await;
            drop(guard);
            ended
        }
        None => Ended::Over,
    }
}

/// Serves a client that somebody else has served before.
pub async fn go_on(handover: Handover, services: &Services) -> Ended {
    match Box::pin(login::take_over(handover, services)).await {
        Some((session, guard)) => {
            let ended = session.run().await;
            drop(guard);
            ended
        }
        None => Ended::Over,
    }
}
