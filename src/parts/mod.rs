//! One client while the databases lead different tables: two sessions behind it, and what is for which.
//!
//! ```text
//!                          ┌─ a pipe within the process ─▶ session ─▶ PostgreSQL
//! client ⇄ [`router`] ⇄────┤        [`sort`]: which tables does it name?
//!                          └─ a pipe within the process ─▶ answer ──▶ MySQL
//! ```
//!
//! Both are the very sessions that serve clients elsewhere, and know nothing of each other. A transaction is of
//! one of them, from the first statement that names a table; what would need both is refused by the one that
//! gets it. What a client sets, both are told. MySQL's begins with the first thing that it has to do: whoever
//! uses PostgreSQL's tables alone does not need MySQL.
//!
//! Invariant: a statement is sent to one of them, and nothing else is sent to the other one before that has
//! answered, so the client is answered in order. When the parts end, both hand the client over between two
//! transactions, and whatever it had sent and neither has looked at goes along.

mod batch;
mod cancel;
mod end;
mod metrics;
mod note;
mod router;
mod scan;
mod sort;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::duplex;
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::answer::{self, Ended, Handover, Part};
use crate::backend::stream::{CHUNK, Stream};
use crate::door::peer::Peer;
use crate::session;
use crate::wire::write;

use cancel::Cancelling;
use end::{End, Side};
pub use metrics::PartsMetrics;
use router::{Router, Turned};

/// Bytes on their way to one of the sessions, or from it.
const PIPE_BYTES: usize = 64 * 1024;
const UNREACHED: &str =
    "terminating connection: MySQL, which leads tables of this database, does not answer";
/// How long a client may take to read why its session ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// Both ends, where a client goes on that somebody else has served.
#[derive(Clone, Debug)]
pub struct Services {
    pub session: session::Services,
    /// Its lease is that of the tables which MySQL leads by themselves.
    pub answer: answer::Services,
    pub metrics: PartsMetrics,
}

/// One of the two sessions: it ends with the client handed over, or with nothing.
type Session<'a> = Pin<Box<dyn Future<Output = Option<Box<Handover>>> + Send + 'a>>;

/// Serves a client until it leaves, or until somebody else has to go on.
pub async fn serve(handover: Handover, services: &Services) -> Option<Box<Handover>> {
    let part = Arc::new(Part::default());
    let flow = Arc::clone(&services.session.flow);
    let metrics = services.metrics.clone();
    let mut router = Router::new(flow, Arc::clone(&part), metrics, &handover.statements);
    let cancelling = Cancelling::new(services, handover.key.clone());
    let answered = handover.answered;
    let (for_postgres, postgres) = duplex(PIPE_BYTES);
    let (for_mysql, mysql) = duplex(PIPE_BYTES);
    let (first, mut second, client) = split(handover, (for_postgres, for_mysql), part);
    second.statements = router.of_mysql(second.statements);
    router.input = client.buffer;
    router.answered = answered;
    let ends = [postgres, mysql].map(|pipe| End::new(Stream::Inner(Box::new(pipe))));
    let mut both = Both {
        client: client.stream,
        services,
        sessions: [Some(Box::pin(session::go_on(first, services.session.clone()))), None],
        handed: [None, None],
        later: Some(Box::new(second)),
        router,
        ends,
        cancelling,
    };
    match poll_fn(|cx| both.poll(cx)).await {
        Over::Moves => both.hand_over(),
        Over::Ends => None,
        Over::Broken(why) => {
            warn!(why, "a client's session ends");
            both.farewell(why).await;
            None
        }
    }
}

fn moved(ended: Ended) -> Option<Box<Handover>> {
    match ended {
        Ended::Moved(handover) => Some(handover),
        Ended::Over => None,
    }
}

/// Two that bring the same, each at the end of a pipe; and the client itself.
fn split(
    handover: Handover,
    (for_postgres, for_mysql): (tokio::io::DuplexStream, tokio::io::DuplexStream),
    part: Arc<Part>,
) -> (Handover, Handover, Peer) {
    let piped = |pipe| Peer::new(Stream::Inner(Box::new(pipe)));
    let second = Handover {
        client: piped(for_mysql),
        key: handover.key.clone(),
        user: handover.user.clone(),
        database: handover.database.clone(),
        settings: handover.settings.clone(),
        set: handover.set.clone(),
        statements: handover.statements.clone(),
        credential: Default::default(),
        answered: 0,
        part: Some(Arc::clone(&part)),
    };
    let Handover { client, .. } = handover;
    let first = Handover {
        client: piped(for_postgres),
        key: handover.key,
        user: handover.user,
        database: handover.database,
        settings: handover.settings,
        set: handover.set,
        statements: handover.statements,
        credential: handover.credential,
        answered: 0,
        part: Some(part),
    };
    (first, second, client)
}

/// How it is over.
enum Over {
    /// Both have handed the client over.
    Moves,
    /// The client or one of the sessions has ended, and the client was told all there was.
    Ends,
    Broken(&'static str),
}

struct Both<'a> {
    client: Stream,
    services: &'a Services,
    sessions: [Option<Session<'a>>; 2],
    handed: [Option<Box<Handover>>; 2],
    /// What MySQL's session begins with.
    later: Option<Box<Handover>>,
    router: Router,
    ends: [End; 2],
    cancelling: Cancelling,
}

impl Both<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Over> {
        loop {
            self.begin();
            for (session, handed) in self.sessions.iter_mut().zip(&mut self.handed) {
                if let Some(running) = session
                    && let Poll::Ready(ended) = running.as_mut().poll(cx)
                {
                    (*session, *handed) = (None, ended);
                }
            }
            match self.poll_bytes(cx) {
                Ok(true) => {}
                Ok(false) => return self.poll_over(),
                Err(over) => return Poll::Ready(over),
            }
        }
    }

    /// MySQL's session begins once it owes something.
    fn begin(&mut self) {
        let (at, services) = (Side::MySql as usize, self.services);
        if !self.ends[at].is_quiet()
            && let Some(handover) = self.later.take()
        {
            let session = async move { moved(answer::go_on(*handover, &services.answer).await) };
            self.sessions[at] = Some(Box::pin(session));
        }
    }

    /// Moves what there is; false where nothing has moved.
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Result<bool, Over> {
        match self.router.turn(&mut self.ends) {
            Ok(Turned::GoesOn) => {}
            Err(why) => return Err(Over::Broken(why)),
        }
        let mut moved = false;
        for end in &mut self.ends {
            moved |= end.poll_drain(cx);
            if self.router.has_room() {
                moved |= end.poll_fill(cx);
            }
        }
        let drained = drain(&mut self.client, &mut self.router.output, cx);
        let sent = drained.map_err(|error| gone(&error))?;
        if self.router.wants_more(&self.ends) {
            match self.client.poll_fill(cx, &mut self.router.input, CHUNK) {
                Poll::Ready(Ok(0)) => {
                    self.router.client_has_ended();
                    self.ends.iter_mut().for_each(End::shut);
                    moved = true;
                }
                Poll::Ready(Ok(_)) => moved = true,
                Poll::Ready(Err(error)) => return Err(gone(&error)),
                Poll::Pending => {}
            }
        }
        let goes_on = self.cancelling.poll(cx, &mut self.router, &self.ends);
        Ok(moved | sent | goes_on)
    }

    /// Called with nothing left to be moved.
    fn poll_over(&mut self) -> Poll<Over> {
        let running = |side: Side| self.sessions[side as usize].is_some();
        let all = [Side::Postgres, Side::MySql];
        let waits = |side: Side| side == Side::MySql && self.later.is_some();
        let ended =
            |side: &Side| !running(*side) && !waits(*side) && self.handed[*side as usize].is_none();
        let told = self.router.output.is_empty();
        // A client that was owed an answer was told why.
        let silent = ended(&Side::MySql) && self.ends[Side::MySql as usize].owes_us();
        match () {
            () if !told => Poll::Pending,
            () if silent && !self.router.is_leaving() => Poll::Ready(Over::Broken(UNREACHED)),
            () if all.iter().any(ended) && !self.router.is_leaving() => Poll::Ready(Over::Ends),
            () if all.iter().any(|side| running(*side)) => Poll::Pending,
            () if all.iter().any(ended) => Poll::Ready(Over::Ends),
            () => Poll::Ready(Over::Moves),
        }
    }

    /// The client, with what both have of it.
    fn hand_over(self) -> Option<Box<Handover>> {
        let Self { client, handed: [first, second], later, mut router, ends, .. } = self;
        let (mut first, mut second) = (first?, second.or(later)?);
        let [to_first, to_second] = ends;
        let mut unread = to_first.left(unread_of(&mut first.client));
        unread.extend_from_slice(&to_second.left(unread_of(&mut second.client)));
        unread.extend_from_slice(&router.input.split());
        if router.answered_last() == Side::MySql {
            first.set = second.set;
        }
        first.statements = router.statements(first.statements, second.statements);
        first.client = Peer { stream: client, buffer: unread };
        first.part = None;
        first.answered += second.answered;
        debug!("a client of both databases is one's again");
        Some(first)
    }

    async fn farewell(&mut self, why: &str) {
        write::error(&mut self.router.output, "FATAL", "57P01", why);
        let said = async {
            self.client.write_all(&self.router.output).await?;
            self.client.shutdown().await;
            std::io::Result::Ok(())
        };
        drop(timeout(FAREWELL, said).await);
    }
}

/// What stands in a pipe, and before it, of what its session has not looked at.
fn unread_of(peer: &mut Peer) -> BytesMut {
    let mut context = Context::from_waker(Waker::noop());
    while let Poll::Ready(Ok(1..)) = peer.stream.poll_fill(&mut context, &mut peer.buffer, CHUNK) {}
    peer.buffer.split()
}

/// Writes as far as the stream takes it; true where something was written.
fn drain(
    stream: &mut Stream,
    output: &mut BytesMut,
    cx: &mut Context<'_>,
) -> std::io::Result<bool> {
    let mut moved = false;
    while !output.is_empty() {
        match stream.poll_write(cx, output) {
            Poll::Ready(Ok(0)) => return Err(std::io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(written)) => {
                bytes::Buf::advance(output, written);
                moved = true;
            }
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => return Ok(moved),
        }
    }
    match stream.poll_flush(cx) {
        Poll::Ready(Err(error)) => Err(error),
        _ => Ok(moved),
    }
}

fn gone(error: &std::io::Error) -> Over {
    debug!(%error, "client connection broke");
    Over::Ends
}
