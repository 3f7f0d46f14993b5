//! What a session knows, and what it waits for.
//!
//! Invariant: `State` never touches a socket; it reads and writes pipes. When it needs something that
//! takes time (a mark on the primary, the secondary's answer), it says so in `work`, stops looking
//! at messages, and goes on when the driver (`session::serve`) has done it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::answer::batch::Batch;
use crate::capture::{Buffer, Handed};
use crate::handoff::{Decision, Settled};
use crate::hold::Guest;
use crate::names::{TableId, TableName};
use crate::plan::Touches;
use crate::plan::cache::{Planner, Scratch};
use crate::policy::Mode;
use crate::session::again::Repeats;
use crate::session::own::Own;
use crate::session::path::Paths;
use crate::session::pending::{Pending, Refusal};
use crate::session::serve::{Flow, FlowLimits};
use crate::session::shadow::Shade;
use crate::session::statements::Statements;
use crate::session::strict::Say;
use crate::session::tally::Pen;
use crate::wire::BadLength;

/// Why a session ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("client: {0}")]
    Client(#[source] std::io::Error),
    #[error("primary: {0}")]
    Primary(#[source] std::io::Error),
    /// A length that no message has: the stream cannot be followed any more.
    #[error("protocol violation: invalid message length")]
    BadLength,
    /// The primary's answers are not those that were expected.
    #[error("protocol violation: unexpected answer {0:?}")]
    Unexpected(char),
    /// What the primary has answered could not be passed on: the lease has run out.
    #[error("the epoch could not be confirmed")]
    Unconfirmed,
}

impl From<BadLength> for Broken {
    fn from(_: BadLength) -> Self {
        Self::BadLength
    }
}

/// Something that takes time.
#[derive(Debug)]
pub(super) enum Work {
    /// Mark these tables dirty before the statement goes on.
    Dirty(Vec<(Vec<TableName>, &'static str)>),
    /// The primary has committed; the client is answered when the secondary has it.
    Wait(Wait),
    /// The primary is about to commit; the secondary has to hold it first.
    Prepare(Handed, Then),
    /// A statement fell to the epoch: the situation has to be another than this planner's.
    Renew(Arc<Planner>),
    /// The lease has run out: this waits until it holds again.
    Confirm(Awaits),
}

/// The secondary's answers to what a transaction has written.
#[derive(Debug)]
pub(super) struct Wait {
    pub(super) settled: Vec<oneshot::Receiver<Settled>>,
    /// The client is answered after this in any case.
    pub(super) bound: Duration,
    pub(super) mode: Mode,
    /// What was waited for already, before the primary committed.
    pub(super) before: Duration,
}

/// What the lease is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaits {
    /// The message at hand, which begins a statement.
    Statement,
    /// What the primary has answered to a read.
    Answer,
}

/// What follows once the secondary holds a strict transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// The client's own message (COMMIT, Sync) may pass.
    Pass,
    /// Our COMMIT ends the transaction that we have put around a single statement.
    Commit,
}

/// A strict transaction that the secondary holds.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) decision: oneshot::Sender<Decision>,
    pub(super) done: oneshot::Receiver<Settled>,
    pub(super) timeout: Duration,
    /// How long it took to hold it.
    pub(super) waited: Duration,
}

/// How the session writes and reads texts, as the server reports it.
#[derive(Clone, Copy, Debug)]
pub(super) struct TextForm {
    /// `standard_conforming_strings`: a backslash in a plain literal is a backslash.
    plain_strings: bool,
    utf8: bool,
}

impl TextForm {
    /// True where what statements return is what the table holds.
    pub(super) fn is_utf8(self) -> bool {
        self.utf8
    }

    /// True where statements can be read, and what they return is what the table holds.
    pub(super) fn is_known(self) -> bool {
        self.plain_strings && self.utf8
    }
}

/// The state of one session.
#[derive(Debug)]
pub(super) struct State {
    pub(super) flow: Arc<Flow>,
    pub(super) planner: Arc<Planner>,
    pub(super) paths: Paths,
    pub(super) pending: Pending,
    pub(super) statements: Statements,
    pub(super) buffer: Buffer,
    pub(super) pen: Pen,
    pub(super) repeats: Repeats,
    /// Tables of which the TRUNCATE under way has returned the entry.
    pub(super) emptied: Vec<TableId>,
    pub(super) work: Option<Work>,
    /// When the driver last woke up: what is looked at now has come since the time before.
    pub(super) now: Instant,
    /// What the statements since the last measure have cost on our side.
    pub(super) spent: Duration,
    /// How many of them are completed.
    pub(super) ended: u32,
    /// The lease was waited for in vain: the message at hand is refused.
    pub(super) denied: bool,
    /// The epoch in which the transaction under way has begun: nothing read in it is of a later one.
    pub(super) asked_in: u64,
    /// The transaction under way has written.
    pub(super) wrote: bool,
    /// The tables of the message at hand are marked.
    pub(super) cleared: bool,
    /// The secondary holds the transaction that the message at hand commits.
    pub(super) passed: bool,
    pub(super) held: Option<Held>,
    /// The transaction under way has written a table in mode strict, or is about to.
    pub(super) strict: bool,
    /// Flush was sent in front of the message at hand.
    pub(super) flushed: bool,
    /// What strict has to say to the primary next.
    pub(super) say: Vec<Say>,
    /// A BEGIN of ours stands before the query under way.
    pub(super) wrapped: bool,
    /// The client's commit is refused; its messages up to Sync are passed over.
    pub(super) refusing: Option<Refusal>,
    /// Transaction status of the last ReadyForQuery: `I`, `T` or `E`.
    pub(super) status: u8,
    /// A transaction block is open, as far as command tags tell.
    pub(super) block: bool,
    /// The client is sending a COPY's data, and the server takes it.
    pub(super) copying: bool,
    /// DDL was executed and is not committed yet.
    pub(super) ddl: bool,
    /// Names of temporary tables.
    pub(super) temporary: HashSet<String>,
    /// What our own statement and portal are called: no client can have guessed it.
    pub(super) ours: Box<[u8]>,
    /// How texts are written.
    pub(super) text: TextForm,
    /// As of the session's start.
    pub(super) limits: FlowLimits,
    pub(super) scratch: Scratch,
    pub(super) shade: Shade,
    pub(super) guest: Guest,
    /// What the server does not tell.
    pub(super) own: Own,
    /// What the client said last ends a transaction, unless that is in a block.
    pub(super) boundary: bool,
    /// What it has said since, as far as it has to be said again where somebody else answers.
    pub(super) batch: Batch,
    /// The server is told that the batch ends here; it goes on with whoever answers then.
    pub(super) cuts_batch: bool,
    /// The body of the message at hand, where it may have to be said again.
    pub(super) at_hand: Option<Bytes>,
    /// What the statements that were completed in the transaction under way have named.
    pub(super) touched: Touches,
    /// Another session of the client's answers for the tables that MySQL leads ([`crate::parts`]).
    pub(super) part: bool,
}

impl State {
    /// False where the message has to wait: what is being executed may change how its text is read, and
    /// the text is not the same either way (`standard_conforming_strings`, `client_encoding`).
    pub(super) fn is_plain(&mut self, body: &[u8]) -> bool {
        let text = body.split(|byte| *byte == 0).next().unwrap_or_default();
        if self.copying || text.iter().all(|byte| byte.is_ascii() && *byte != b'\\') {
            return true;
        }
        self.is_answered()
    }

    /// `parameters` are those of the startup message, `reported` the server's.
    pub(super) fn new(
        flow: Arc<Flow>,
        limits: FlowLimits,
        planner: Arc<Planner>,
        user: &str,
        parameters: &BTreeMap<String, String>,
        reported: &BTreeMap<String, String>,
    ) -> Self {
        let mut state = Self {
            paths: Paths::new(&planner, user, parameters),
            planner,
            pending: Pending::default(),
            statements: Statements::default(),
            buffer: Buffer::new(limits.images_bytes_max),
            pen: flow.tally.pen(),
            repeats: Repeats::default(),
            emptied: Vec::new(),
            work: None,
            now: Instant::now(),
            spent: Duration::ZERO,
            ended: 0,
            denied: false,
            asked_in: 0,
            wrote: false,
            cleared: false,
            passed: false,
            held: None,
            strict: false,
            flushed: false,
            say: Vec::new(),
            wrapped: false,
            refusing: None,
            status: b'I',
            block: false,
            copying: false,
            ddl: false,
            temporary: HashSet::new(),
            ours: format!("crossfade_{:016x}", rand::random::<u64>()).into_bytes().into(),
            text: TextForm { plain_strings: true, utf8: true },
            limits,
            scratch: Scratch::default(),
            shade: Shade::default(),
            guest: flow.hold.enter(),
            own: Own::new(parameters, &[]),
            boundary: true,
            batch: Batch::default(),
            cuts_batch: false,
            at_hand: None,
            touched: Touches::default(),
            part: false,
            flow,
        };
        for (name, value) in reported {
            state.parameter(name, value);
        }
        if parameters.values().any(|value| value.contains("_isolation"))
            || parameters.keys().any(|name| name.contains("_isolation"))
        {
            state.shade.isolates();
        }
        state
    }

    /// Takes a ParameterStatus.
    pub(super) fn parameter(&mut self, name: &str, value: &str) {
        match name {
            "standard_conforming_strings" => self.text.plain_strings = value == "on",
            // In any other encoding the server would convert keys and images on their way to us.
            "client_encoding" => self.text.utf8 = matches!(value, "UTF8" | "SQL_ASCII"),
            _ => self.shade.parameter(name, value),
        }
    }

    /// Follows a change of the situation: the next statement is planned under the new one.
    pub(super) fn follow(&mut self) {
        if let Some(planner) = self.flow.planners.newer(&self.planner) {
            self.planner = planner;
        }
    }

    /// Adds what the driver has spent since it woke up, and measures what is completed.
    pub(super) fn rested(&mut self) {
        self.spent += self.now.elapsed();
        if 0 < self.ended {
            let ended = std::mem::take(&mut self.ended);
            self.flow.metrics.added(ended, std::mem::take(&mut self.spent));
        }
    }

    /// True while the present planner's situation is the published one.
    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_empty()
            && self.status == b'I'
            && self.work.is_none()
            && !self.is_repeating()
    }
}
