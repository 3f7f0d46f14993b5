//! One client, answered from MySQL: its messages in their order, and what each leaves behind.
//!
//! ```text
//! frame ──▶ simple │ extended ──▶ execute ──▶ out ──(at Sync, Flush, or when nothing more has come)──▶ client
//!                        └─error──▶ skip to Sync
//! ```
//!
//! Invariant: between two messages the session is whole: whoever takes it over at such a point (another
//! phase, a shutdown) loses nothing. A transaction is never cut for that; it is waited for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::debug;

use crate::answer::backend::Backend;
use crate::answer::batch::Batch;
use crate::answer::block::Block;
use crate::answer::captured::Captured;
use crate::answer::error::PgError;
use crate::answer::plan::{Ground, Planned};
use crate::answer::rows::Stop;
use crate::answer::settings::Settings;
use crate::answer::statements::{Prepared, Statements};
use crate::answer::{Handover, Part, Services, serves};
use crate::door::CancelKey;
use crate::door::credential::Credential;
use crate::door::peer::{Frame, Peer, PeerError};
use crate::hold::Guest;
use crate::names::Oid;
use crate::phase::Situation;
use crate::wire::write;

/// How long a client may take to read why its session ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// How a session ended.
#[derive(Debug)]
pub enum Ended {
    /// The client or the process wanted it.
    Over,
    /// Another phase has begun: the client is to be served by somebody else.
    Moved(Box<Handover>),
}

pub(super) struct Session {
    pub(super) client: Peer,
    /// What the client cancels with.
    pub(super) key: CancelKey,
    pub(super) out: BytesMut,
    pub(super) services: Services,
    pub(super) situation: Arc<Situation>,
    pub(super) ground: Arc<Ground>,
    pub(super) user: String,
    pub(super) database: String,
    pub(super) settings: Settings,
    pub(super) block: Block,
    pub(super) statements: Statements,
    pub(super) backend: Backend,
    /// An error has come; everything up to Sync is skipped.
    pub(super) skipping: bool,
    /// Messages of the extended protocol have come since the last Sync.
    pub(super) unsynced: bool,
    /// These messages, as far as somebody else needs them.
    pub(super) batch: Batch,
    /// So many of the next answers to Bind and Close the client has had from somebody else.
    pub(super) answered: usize,
    /// The lease was waited for in vain, for what is to be answered up to the next ReadyForQuery.
    pub(super) denied: bool,
    /// The transaction's time: microseconds since 2000-01-01 UTC.
    pub(super) started: i64,
    /// What the transaction has written, for PostgreSQL to follow.
    pub(super) captured: Captured,
    /// Advisory locks to the end of the transaction, by MySQL's names.
    pub(super) locks: Vec<String>,
    /// Advisory locks to the end of the session.
    pub(super) kept_locks: usize,
    pub(super) guest: Guest,
    pub(super) credential: Credential,
    pub(super) part: Option<Arc<Part>>,
}

/// What there is to do next.
enum Next {
    Frame(Frame),
    Gone,
    Shutdown,
    Moved,
    /// There may be a hold.
    Again,
}

impl Session {
    /// Serves the client to the end of its session, or of the phase.
    pub(super) async fn run(mut self) -> Ended {
        loop {
            let next = match self.next().await {
                Ok(next) => next,
                Err(stop) => {
                    self.end(stop).await;
                    return Ended::Over;
                }
            };
            let done = match next {
                Next::Frame(frame) if frame.tag == b'X' => return Ended::Over,
                Next::Frame(frame) => self.frame(frame).await,
                Next::Gone => return Ended::Over,
                Next::Shutdown => {
                    let text = "terminating connection due to administrator command";
                    Err(PgError::new("57P01", text).fatal().into())
                }
                Next::Again => Ok(()),
                Next::Moved => return self.hand_over().await,
            };
            if let Err(stop) = done {
                self.end(stop).await;
                return Ended::Over;
            }
        }
    }

    /// Says why, if somebody can still read it.
    async fn end(&mut self, stop: Stop) {
        let error = match stop {
            Stop::Error(error) => error,
            Stop::Client(error) => return debug!(%error, "client connection broke"),
        };
        error.fatal().encode(&mut self.out);
        let said = async {
            self.client.stream.write_all(&self.out.split()).await?;
            self.client.stream.shutdown().await;
            std::io::Result::Ok(())
        };
        drop(timeout(FAREWELL, said).await);
    }

    async fn hand_over(mut self) -> Ended {
        if self.flush().await.is_err() {
            return Ended::Over;
        }
        let (again, more) = self.batch.take();
        self.client.put_back(&again);
        let (settings, set) = self.settings.carried();
        Ended::Moved(Box::new(Handover {
            statements: self.statements.texts(),
            settings,
            set,
            client: self.client,
            key: Some(self.key),
            user: self.user,
            database: self.database,
            credential: self.credential,
            answered: self.answered + more,
            part: None,
        }))
    }

    async fn next(&mut self) -> Result<Next, Stop> {
        let bytes_max = self.services.limits().message_bytes_max;
        let idle = self.block.is_none() && !self.skipping;
        let whole = idle && (!self.unsynced || self.batch.is_movable());
        if whole {
            if self.is_held() && !self.rest().await? {
                return Ok(Next::Shutdown);
            }
            self.look_around();
            if !self.is_home(&self.situation) {
                return Ok(Next::Moved);
            }
        }
        let buffered = self.client.buffered(bytes_max).map_err(|error| lost(&error))?;
        if let Some(frame) = buffered {
            return Ok(self.begins(frame, whole).await);
        }
        self.flush().await?;
        let mut situation = self.services.situation.clone();
        situation.mark_unchanged();
        let mut shutdown = self.services.shutdown.clone();
        let mut hold = self.services.hold.watch();
        if whole && self.is_held() {
            return Ok(Next::Again);
        }
        let patience = self.patience();
        let mut late = std::pin::pin!(async {
            match patience {
                Some((patience, error)) => {
                    tokio::time::sleep(patience).await;
                    error
                }
                None => std::future::pending().await,
            }
        });
        let frame = loop {
            tokio::select! {
                error = late.as_mut() => return Err(error.into()),
                frame = self.client.frame(bytes_max) => match frame {
                    Ok(frame) => break frame,
                    Err(PeerError::Closed) => return Ok(Next::Gone),
                    Err(error) => return Err(lost(&error)),
                },
                () = hold.changed(), if whole => return Ok(Next::Again),
                _ = shutdown.wait_for(|ends| *ends), if idle => return Ok(Next::Shutdown),
                changed = situation.changed(), if whole && changes(&situation) => {
                    if changed.is_ok() && !self.is_home(&situation.borrow()) {
                        self.look_around();
                        return Ok(Next::Moved);
                    }
                }
            }
        };
        Ok(self.begins(frame, whole).await)
    }

    /// Before a transaction begins, waits for the lease. With it another may have become the primary, whom
    /// the message is left to then.
    async fn begins(&mut self, frame: Frame, whole: bool) -> Next {
        let lease = &self.services.lease;
        if !whole || self.denied || frame.tag == b'X' || lease.holds(Instant::now()) {
            return Next::Frame(frame);
        }
        self.denied = timeout(self.services.limits().hold, lease.held()).await.is_err();
        self.look_around();
        if self.denied || self.is_home(&self.situation) && !self.is_held() {
            return Next::Frame(frame);
        }
        self.client.unread(&frame);
        Next::Again
    }

    /// Whether it is this session that answers in that situation.
    fn is_home(&self, situation: &Situation) -> bool {
        serves(situation) && situation.is_parted() == self.part.is_some()
    }

    /// Whether a transaction must not begin now.
    fn is_held(&self) -> bool {
        self.guest.is_held() && !self.part.as_ref().is_some_and(|part| part.does_continue())
    }

    /// Waits between two transactions for the end of a hold; false where the session is to end.
    async fn rest(&mut self) -> Result<bool, Stop> {
        self.flush().await?;
        let obstacles = match 0 < self.kept_locks {
            true => vec!["a session's advisory lock"],
            false => Vec::new(),
        };
        let ends = !obstacles.is_empty();
        self.guest.rests(obstacles);
        let mut shutdown = self.services.shutdown.clone();
        let part = self.part.clone();
        while self.is_held() {
            let told = async {
                match &part {
                    Some(part) => part.told.notified().await,
                    None => std::future::pending().await,
                }
            };
            if ends && self.guest.is_to_end() {
                return Ok(false);
            }
            tokio::select! {
                () = self.guest.changed() => {}
                () = told => {}
                Ok(_) = shutdown.wait_for(|ends| *ends) => return Ok(false),
            }
        }
        self.guest.goes_on();
        Ok(true)
    }

    /// How long the client may say nothing, and what it is told then.
    fn patience(&self) -> Option<(Duration, PgError)> {
        let obeyed = self.settings.obeyed();
        let (millis, code, what) = match self.block.is_explicit() {
            true => (obeyed.idle_in_transaction_timeout, "25P03", "idle-in-transaction"),
            false => (obeyed.idle_timeout, "57P05", "idle-session"),
        };
        let text = || format!("terminating connection due to {what} timeout");
        (0 < millis).then(|| (Duration::from_millis(millis), PgError::new(code, text()).fatal()))
    }

    /// Takes the situation that was published last, between two transactions.
    pub(super) fn look_around(&mut self) {
        let now = Arc::clone(&self.services.situation.borrow());
        if !Arc::ptr_eq(&now, &self.situation) {
            self.situation = now;
        }
        self.stand();
    }

    /// Makes the ground that plans stand on anew, where something of it has changed.
    pub(super) fn stand(&mut self) {
        let (catalog, obeyed) = (&self.situation.catalog, self.settings.obeyed());
        if !self.ground.has(catalog, &obeyed.path, obeyed.style.zone) {
            self.ground = Arc::new(Ground {
                catalog: Arc::clone(catalog),
                path: obeyed.path.clone(),
                zone: obeyed.style.zone,
                flavor: self.backend.flavor(),
            });
        }
    }

    async fn frame(&mut self, frame: Frame) -> Result<(), Stop> {
        let body = frame.body();
        self.unsynced |= matches!(frame.tag, b'P' | b'B' | b'D' | b'E' | b'C');
        let done = match frame.tag {
            tag if self.skipping && tag != b'S' => return Ok(()),
            b'Q' => {
                self.passed(&frame);
                return self.simple(&body).await;
            }
            b'S' => {
                self.skipping = false;
                self.unsynced = false;
                self.passed(&frame);
                return self.ready().await;
            }
            b'H' => return self.flush().await,
            // What is left of a COPY that was refused.
            b'd' | b'c' | b'f' => return Ok(()),
            b'P' => self.parse(&body),
            b'B' => self.bind(&body),
            b'D' => self.describe(&body),
            b'E' => {
                self.passed(&frame);
                self.execute_portal(&body).await
            }
            b'C' => self.close(&body),
            b'F' => {
                self.passed(&frame);
                let refused = PgError::unsupported("a function call message");
                self.fail(refused).await?;
                return self.ready().await;
            }
            tag => {
                let text = format!("invalid frontend message type {tag}");
                return Err(PgError::new("08P01", text).fatal().into());
            }
        };
        match done {
            Err(Stop::Error(error)) => {
                self.skipping = true;
                self.answered = 0;
                self.fail(*error).await
            }
            done => {
                if frame.tag != b'E' {
                    self.passed(&frame);
                }
                done
            }
        }
    }

    /// ParameterStatus.
    pub(super) fn status(&mut self, name: &str, value: &str) {
        write::message(&mut self.out, b'S', |out| {
            for text in [name, value] {
                out.extend_from_slice(text.as_bytes());
                out.extend_from_slice(b"\0");
            }
        });
    }

    /// Takes a statement over that another prepared. Of one that cannot be planned here the client is told
    /// when it uses it, and whoever comes next gets it.
    pub(super) fn adopt(&mut self, name: &str, sql: Arc<str>, declared: Vec<Oid>) {
        let ground = Arc::clone(&self.ground);
        match self.plan(&sql, &declared) {
            Ok(planned) => {
                let prepared = Prepared { sql, declared, planned, ground };
                self.statements.renew(name, prepared);
            }
            Err(_) => self.statements.leave(name, sql, declared),
        }
    }

    pub(super) async fn flush(&mut self) -> Result<(), Stop> {
        if self.out.is_empty() {
            return Ok(());
        }
        self.client.stream.write_all(&self.out.split()).await.map_err(Stop::Client)
    }

    /// A NoticeResponse of severity WARNING.
    pub(super) fn warn(&mut self, code: &str, message: &str) {
        let start = self.out.len();
        write::error(&mut self.out, "WARNING", code, message);
        self.out[start] = b'N';
    }

    /// The plan of one statement, on the ground of now.
    pub(super) fn plan(&self, sql: &str, declared: &[Oid]) -> Result<Arc<Planned>, PgError> {
        self.services.plans.plan(sql, declared, &self.ground)
    }
}

/// Always; a condition of `select!` of its own, so that a closed channel is not asked again and again.
fn changes(situation: &watch::Receiver<Arc<Situation>>) -> bool {
    situation.has_changed().is_ok()
}

fn lost(error: &PeerError) -> Stop {
    match error {
        PeerError::Length => PgError::new("08P01", "invalid message length").fatal().into(),
        PeerError::Closed => Stop::Client(std::io::ErrorKind::UnexpectedEof.into()),
        PeerError::Io(error) => Stop::Client(error.kind().into()),
    }
}

/// The text of a message's body, up to its NUL.
pub(super) fn text_of(bytes: &[u8]) -> Result<String, PgError> {
    crate::answer::bind::text(bytes)
}

/// A query string, without the NUL at its end.
pub(super) fn query_text(body: &Bytes) -> Result<String, PgError> {
    let end = body.iter().position(|byte| *byte == 0);
    let end = end.ok_or_else(|| PgError::new("08P01", "invalid string in message"))?;
    text_of(&body[..end])
}
