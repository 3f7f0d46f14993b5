//! Which of the two sessions gets what the client says, and when.
//!
//! ```text
//! batch (up to Sync, or a Query) ──first statement that names a table──▶ its side
//! BEGIN and what names none ──▶ PostgreSQL's; the first table of MySQL's ──▶ said again there, rolled back here
//! SET, Parse ──▶ one side ──once its transaction is over──▶ said again to the other, to MySQL's when it is needed
//! ```
//!
//! Invariant: nothing is sent to one side while the other still owes the client an answer, and no batch is begun
//! while something of ours is unanswered. A transaction of the client's is open on one side at every moment, so
//! a hold waits for it.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};

use super::batch::{Batch, Named, Statements, Told, prelude, query};
use super::end::{End, Heard, Side};
use super::metrics::{Bound, PartsMetrics};
use super::sort::{Sorted, sort};
use crate::answer::Part;
use crate::plan::SearchPath;
use crate::plan::cache::{PathKey, Scratch};
use crate::session::Flow;
use crate::wire::{self, Header};

/// Bytes that may wait for the client before nothing more is read from the sessions.
const BACKLOG_MAX: usize = 256 * 1024;
/// What has to have come of a message that is large, for its names to be read.
pub(super) const LOOK_BYTES: usize = 64 * 1024;
/// Largest statement; longer ones end the session.
pub(super) const STATEMENT_BYTES_MAX: usize = 64 << 20;
/// Settings and statements to be told the other side at the end of a transaction.
const CARRIED_MAX: usize = 256;

pub(super) const GARBLED: &str = "invalid message length";
const TOO_LARGE: &str = "the statement is too large";
pub(super) const UNLIKE: &str =
    "terminating connection: a setting could not be made on both databases";
const TOO_MANY: &str = "terminating connection: too many settings in one transaction";

/// What came of a turn.
#[derive(Debug)]
pub(super) enum Turned {
    GoesOn,
}

/// What is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Runs {
    Nothing,
    Clients(Side),
    Ours,
}

/// The client's transaction.
#[derive(Debug)]
enum Block {
    None,
    /// Open at PostgreSQL's, and no table was named yet; what was said in it, if that can be said again.
    Open(Option<Vec<Bytes>>),
    Of(Side),
}

/// Something of ours that is under way.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    None,
    /// MySQL's is told how the transaction began.
    Begins,
    /// And PostgreSQL's that it is not there any more.
    Leaves,
    /// The other side is told what was set, or a transaction is given up there.
    Tells(Side),
}

pub(super) struct Router {
    flow: Arc<Flow>,
    part: Arc<Part>,
    metrics: PartsMetrics,
    /// No cancel request is under way; while one is, nothing of ours is begun.
    pub(super) is_calm: bool,
    /// The client is not read from just now, and the sessions are not.
    is_full: bool,
    is_choked: bool,
    /// A COPY takes the client's data, and no Sync.
    copying: bool,
    /// From the client.
    pub(super) input: BytesMut,
    /// To the client.
    pub(super) output: BytesMut,
    /// So many acknowledgements of what is read first are not for the client, which has them.
    pub(super) answered: usize,
    block: Block,
    step: Step,
    /// Up to its Sync.
    pub(super) batch: Option<Batch>,
    /// Those whose ReadyForQuery is still to come, the oldest first.
    closed: std::collections::VecDeque<Batch>,
    pub(super) names: HashMap<Bytes, Named>,
    /// The portals of this transaction, by their statements, and their Binds without the names.
    pub(super) portals: HashMap<Bytes, (Bytes, Bytes)>,
    /// For the end of the transaction, and now.
    pub(super) held: Vec<Told>,
    pub(super) due: Vec<Told>,
    due_for: Side,
    /// MySQL's gets the next batch.
    needs_mysql: bool,
    rolled_back: bool,
    /// So has some of the transaction under way, or all of one that it followed upon at once.
    pub(super) gone_back: bool,
    /// Bytes still to come of a message whose head has gone there.
    rest: usize,
    /// Where the last message went.
    last: Side,
    leaving: bool,
    path: PathKey,
    scratch: Scratch,
}

impl Router {
    pub(super) fn new(
        flow: Arc<Flow>,
        part: Arc<Part>,
        metrics: PartsMetrics,
        statements: &Statements,
    ) -> Self {
        let mut router = Self {
            flow,
            part,
            metrics,
            is_calm: true,
            is_full: false,
            is_choked: false,
            copying: false,
            input: BytesMut::new(),
            output: BytesMut::new(),
            answered: 0,
            block: Block::None,
            step: Step::None,
            batch: None,
            closed: std::collections::VecDeque::new(),
            names: HashMap::new(),
            portals: HashMap::new(),
            held: Vec::new(),
            due: Vec::new(),
            due_for: Side::MySql,
            needs_mysql: false,
            rolled_back: false,
            gone_back: false,
            rest: 0,
            last: Side::Postgres,
            leaving: false,
            path: PathKey::from(SearchPath::Unknown),
            scratch: Scratch::default(),
        };
        for (name, sql, types) in statements {
            let mut rest = BytesMut::from(sql.as_bytes());
            rest.put_u8(0);
            rest.put_u16(u16::try_from(types.len()).unwrap_or(u16::MAX));
            types.iter().for_each(|oid| rest.put_u32(*oid));
            let sorted = router.sort(sql);
            let named = Named { sorted, rest: rest.freeze() };
            router.names.insert(Bytes::copy_from_slice(name.as_bytes()), named);
        }
        router
    }

    /// Whether the sessions are read from.
    pub(super) fn has_room(&mut self) -> bool {
        let full = BACKLOG_MAX <= self.output.len();
        if full && !self.is_choked {
            self.metrics.met(Bound::Answers);
        }
        self.is_choked = full;
        !full
    }

    /// Whether the client is read from.
    pub(super) fn wants_more(&mut self, ends: &[End; 2]) -> bool {
        let full = ends.iter().any(End::is_full) || STATEMENT_BYTES_MAX < self.input.len();
        if full && !self.is_full {
            self.metrics.met(Bound::Backlog);
        }
        self.is_full = full;
        !self.leaving && !full
    }

    pub(super) fn runs(&self, ends: &[End; 2]) -> Runs {
        if self.step != Step::None {
            return Runs::Ours;
        }
        let sides = [Side::Postgres, Side::MySql];
        let side = sides.into_iter().find(|side| ends[*side as usize].runs_clients());
        side.map_or(Runs::Nothing, Runs::Clients)
    }

    pub(super) fn client_has_ended(&mut self) {
        self.leaving = true;
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// Whose the last transaction was: what it has set and prepared, the other may not have been told.
    pub(super) fn answered_last(&self) -> Side {
        self.due_for.other()
    }

    /// Does all there is to do with what has come.
    pub(super) fn turn(&mut self, ends: &mut [End; 2]) -> Result<Turned, &'static str> {
        // Whoever is within a message goes on first, and the other waits for the end of it.
        let first = match ends[Side::MySql as usize].is_within() {
            true => Side::MySql,
            false => Side::Postgres,
        };
        for side in [first, first.other()] {
            if !ends[side.other() as usize].is_within() {
                self.answers(side, &mut ends[side as usize])?;
            }
        }
        loop {
            self.advance(ends)?;
            if self.step != Step::None || !self.message(ends)? {
                return Ok(Turned::GoesOn);
            }
        }
    }

    fn answers(&mut self, side: Side, end: &mut End) -> Result<(), &'static str> {
        let mut out = std::mem::take(&mut self.output);
        let heard = loop {
            match end.next(&mut out) {
                Ok(Some(Heard::Other)) => {}
                Ok(Some(heard)) => match heard {
                    Heard::Copies => self.copies(),
                    Heard::Failed => {
                        self.copying = false;
                        if let Some(batch) = self.closed.front_mut().or(self.batch.as_mut()) {
                            batch.failed = true;
                        }
                    }
                    Heard::Done { rolled_back } => {
                        self.rolled_back = rolled_back;
                        // A query string is said again whole, with what it takes back.
                        let in_parts = self.closed.front().is_none_or(|batch| batch.synced);
                        let in_parts = in_parts || self.held.iter().any(|told| told.must);
                        self.gone_back |= rolled_back && in_parts;
                    }
                    // The client is told what was answered before its session ends.
                    Heard::Ready(status) => match self.ready(side, status) {
                        Ok(()) => {}
                        Err(why) => break Err(why),
                    },
                    Heard::Other => {}
                },
                Ok(None) => break Ok(()),
                Err(_) => break Err(GARBLED),
            }
        };
        self.output = out;
        heard
    }

    /// A Sync that came before the data counts for nothing: the batch ends with the one that comes after it.
    fn copies(&mut self) {
        if self.batch.is_none() && self.closed.len() == 1 && self.closed[0].synced {
            self.batch = self.closed.pop_front();
            self.copying = true;
        }
    }

    /// A batch is answered.
    fn ready(&mut self, side: Side, status: u8) -> Result<(), &'static str> {
        let Some(batch) = self.closed.pop_front() else { return Ok(()) };
        let Batch { sided, texts, tells, failed, too_long, .. } = batch;
        let begun = std::mem::replace(&mut self.block, Block::None);
        if !failed {
            self.held.extend(tells);
        }
        if CARRIED_MAX < self.held.len() {
            self.metrics.met(Bound::Carried);
            return Err(TOO_MANY);
        }
        self.block = match (status, begun) {
            (b'I', _) => {
                self.portals.clear();
                self.carry(self.rolled_back || failed)?;
                self.due_for = side.other();
                Block::None
            }
            (b'T', Block::None | Block::Open(_)) if sided => Block::Of(side),
            (b'T', begun @ (Block::None | Block::Open(_))) if side == Side::Postgres => {
                let before = match begun {
                    Block::Open(before) => before,
                    _ => Some(Vec::new()),
                };
                let could = !too_long && before.is_some() && texts.is_some();
                let prelude = prelude(before, texts);
                if too_long || could && prelude.is_none() {
                    self.metrics.met(Bound::Prelude);
                }
                Block::Open(prelude)
            }
            _ => Block::Of(side),
        };
        self.rolled_back = false;
        Ok(())
    }

    /// Goes on with what is ours.
    fn advance(&mut self, ends: &mut [End; 2]) -> Result<(), &'static str> {
        let [postgres, mysql] = ends;
        match &self.step {
            Step::None => {}
            Step::Begins if mysql.is_quiet() && mysql.has_failed() => {
                self.part.over();
                mysql.ask(&query(b"ROLLBACK"), false);
                // It is refused there, with the reason.
                self.block = Block::Of(Side::Postgres);
                self.step = Step::Tells(Side::MySql);
            }
            Step::Begins if mysql.is_quiet() => {
                self.part.over();
                postgres.ask(&query(b"ROLLBACK"), false);
                self.step = Step::Leaves;
            }
            Step::Leaves if postgres.is_quiet() => {
                self.block = Block::Of(Side::MySql);
                self.step = Step::None;
            }
            Step::Tells(side) => {
                let end = &mut ends[*side as usize];
                if end.is_quiet() && end.has_failed() {
                    return Err(UNLIKE);
                }
                if end.is_quiet() {
                    self.step = Step::None;
                }
            }
            Step::Begins | Step::Leaves => {}
        }
        // With a transaction open it would keep a hold waiting that waits for that transaction.
        let is_idle = matches!(self.block, Block::None) && self.batch.is_none();
        let is_idle = is_idle && ends.iter().all(End::is_quiet);
        let is_time = self.due_for == Side::Postgres || self.needs_mysql;
        let is_time = is_time || CARRIED_MAX <= self.due.len();
        if self.step == Step::None && !self.due.is_empty() && is_idle && is_time && self.is_calm {
            let side = self.due_for;
            self.needs_mysql = false;
            self.tell_due(&mut ends[side as usize]);
            self.step = Step::Tells(side);
        }
        Ok(())
    }

    fn tell_due(&mut self, end: &mut End) {
        for Told { message, must } in self.due.drain(..) {
            end.ask(&message, must);
        }
    }

    /// Passes the client's next message on; false where it has to wait, or there is none.
    fn message(&mut self, ends: &mut [End; 2]) -> Result<bool, &'static str> {
        if 0 < self.rest {
            let there = self.input.split_to(self.rest.min(self.input.len()));
            self.rest -= there.len();
            ends[self.last as usize].send(&there);
            return Ok(!there.is_empty());
        }
        let Some(header) = wire::header(&self.input).map_err(|_| GARBLED)? else {
            return Ok(false);
        };
        match header.tag {
            b'X' if header.size <= self.input.len() => {
                // Both end by it, once they have answered what was asked before.
                let message = self.input.split_to(header.size);
                ends.iter_mut().for_each(|end| end.send(&message));
                ends.iter_mut().for_each(End::shut);
                self.leaving = true;
                return Ok(false);
            }
            b'd' | b'c' | b'f' => {
                let there = self.input.split_to(header.size.min(self.input.len()));
                self.copying &= header.tag == b'd';
                self.pass(ends, header, &there);
                return Ok(true);
            }
            b'S' if self.copying && header.size <= self.input.len() => {
                let message = self.input.split_to(header.size);
                self.pass(ends, header, &message);
                return Ok(true);
            }
            _ => {}
        }
        if self.batch.is_none() && !self.begin(ends)? {
            return Ok(false);
        }
        self.go_on(ends, header)
    }

    /// Finds out whose the batch at hand is, and begins it there; false where that has to wait.
    fn begin(&mut self, ends: &mut [End; 2]) -> Result<bool, &'static str> {
        let Some(wanted) = self.wanted()? else { return Ok(false) };
        if !self.due.is_empty() && matches!(self.block, Block::None) {
            self.needs_mysql = wanted == Some(Side::MySql);
            if self.due_for == Side::Postgres || self.needs_mysql {
                self.advance(ends)?;
                return Ok(false);
            }
        }
        let side = match (&self.block, wanted) {
            (Block::Of(side), _) => *side,
            (Block::Open(prelude), Some(Side::MySql)) => {
                if !ends.iter().all(End::is_quiet) {
                    return Ok(false);
                }
                match prelude {
                    Some(_) if !self.is_calm => return Ok(false),
                    Some(texts) if !texts.is_empty() => {
                        let begins = query(&texts.join(&b"; "[..]));
                        self.part.continues();
                        let mysql = &mut ends[Side::MySql as usize];
                        if !self.due.is_empty() {
                            // By itself: what fails of it was set before, and is no fault of this transaction.
                            self.tell_due(mysql);
                            self.step = Step::Tells(Side::MySql);
                            return Ok(false);
                        }
                        // What was prepared since it began is PostgreSQL's alone, and stays prepared there.
                        for told in self.held.iter().filter(|told| !told.must) {
                            mysql.ask(&told.message, false);
                        }
                        mysql.ask(&begins, true);
                        self.step = Step::Begins;
                        return Ok(false);
                    }
                    // It is refused there.
                    _ => Side::Postgres,
                }
            }
            (Block::Open(_), _) | (Block::None, None) => Side::Postgres,
            (Block::None, Some(side)) => side,
        };
        // What was said before is answered first, where somebody else answers it.
        if !ends[side.other() as usize].is_quiet() {
            return Ok(false);
        }
        ends[side as usize].begin(std::mem::take(&mut self.answered));
        self.batch = Some(Batch::new(side, wanted.is_some()));
        Ok(true)
    }

    pub(super) fn sort(&mut self, sql: &str) -> Sorted {
        let planner = self.flow.planners.current();
        let plan = planner.plan_unlisted(sql, &self.path, &mut self.scratch);
        sort(sql, &plan)
    }

    /// The next message of the batch under way; false where more of it has to come.
    fn go_on(&mut self, ends: &mut [End; 2], header: Header) -> Result<bool, &'static str> {
        let whole = header.size <= self.input.len();
        let long = LOOK_BYTES < self.input.len();
        match header.tag {
            b'Q' | b'P' if !whole && STATEMENT_BYTES_MAX < header.size => {
                return Err(self.too_large());
            }
            b'Q' | b'P' | b'E' | b'C' | b'D' if !whole => return Ok(false),
            b'B' if !whole && !long => return Ok(false),
            _ => {}
        }
        let there = self.input.split_to(header.size.min(self.input.len()));
        self.note(header.tag, &there[wire::HEADER..], whole);
        self.pass(ends, header, &there);
        if matches!(header.tag, b'Q' | b'S' | b'F') {
            self.batch.iter_mut().for_each(|batch| batch.synced = header.tag == b'S');
            self.closed.extend(self.batch.take());
        }
        Ok(true)
    }

    pub(super) fn too_large(&self) -> &'static str {
        self.metrics.met(Bound::Statement);
        TOO_LARGE
    }

    /// `there`: what has come of the message.
    fn pass(&mut self, ends: &mut [End; 2], header: Header, there: &[u8]) {
        let side = self.batch.as_ref().map_or(self.last, |batch| batch.side);
        self.rest = header.size - there.len();
        ends[side as usize].send(there);
        self.last = side;
    }
}
