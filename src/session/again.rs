//! A write that fell to the epoch: repeated by us, or an error that applications repeat.
//!
//! ```text
//! CF001, CF002, 25006 of ours ─┬─ alone, outside a block ──▶ wait for the new situation ──▶ the same again
//!                              └─ in the client's transaction ──▶ 40001
//! ```
//!
//! Invariant: a statement is repeated only if nothing of its answer has reached the client, and only
//! if its whole transaction is that statement: the primary has rolled it back, so it is run once.
//! Rows that it returned are held back until its end is known; past [`HELD_BYTES_MAX`] they are let
//! go, and it is not repeated.

use std::sync::Arc;

use bytes::{BufMut as _, BytesMut};

use crate::backend::postgres::control::{STALE_EPOCH, STALE_TIMELINE};
use crate::backend::postgres::refuse::SQLSTATE as NOT_PRIMARY;
use crate::plan::Step;
use crate::plan::cache::Planner;
use crate::session::pending::Expect;
use crate::session::pipe::Pipe;
use crate::session::state::{State, Work};
use crate::session::strict::Say;
use crate::wire::{Body, Header, write};

/// How often one statement is repeated; then the client gets the error.
const REPEATS_MAX: u32 = 3;
/// Rows of one statement that are held back until it has ended.
const HELD_BYTES_MAX: usize = 64 << 10;

/// What SQLSTATE 40001 says in place of ours.
pub(super) const MESSAGE: &str = "could not serialize access: the migration has moved on";
const HINT: &str = "The transaction might succeed if retried.";

/// The statement that is repeated, as messages of the client's.
#[derive(Debug)]
pub(super) struct Again {
    messages: BytesMut,
    /// The client has the BindComplete already.
    bound: bool,
}

/// How a statement of the session is repeated.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    /// Statements of the transaction under way that have ended.
    done: usize,
    /// Who planned the last one that was sent.
    planner: Option<Arc<Planner>>,
    /// Repeats of the statement at hand.
    count: u32,
    /// Waits for the end of the failed transaction, then for the situation.
    again: Option<Again>,
    /// So many of the next answers to Bind, and to Close of a portal, are to messages that are repeated.
    bound: usize,
    /// Rows of the statement at hand have reached the client.
    shown: bool,
}

impl State {
    /// A statement that was planned by `planner` is about to leave.
    pub(super) fn note_planner(&mut self, planner: &Arc<Planner>) {
        self.repeats.planner = Some(Arc::clone(planner));
    }

    /// A statement has ended well.
    pub(super) fn note_done(&mut self) {
        self.repeats.done += 1;
    }

    /// Holds the answer back while the statement may have to be repeated.
    pub(super) fn hold_answer(&mut self, pipe: &mut Pipe) {
        if self.repeats.shown || !self.is_alone() {
            return;
        }
        if pipe.hold() > HELD_BYTES_MAX {
            pipe.release();
            self.repeats.shown = true;
        }
    }

    /// True while the transaction under way is the one statement whose answer comes.
    fn is_alone(&self) -> bool {
        !self.block && self.repeats.done == 0 && self.repeats.count < REPEATS_MAX
    }

    /// Takes an error of the guard: the client does not hear of it, or hears one that it knows.
    pub(super) fn stale(&mut self, pipe: &mut Pipe, header: Header) {
        // Whatever follows, the store has something to look at.
        self.flow.handoff.notices().reload();
        match self.repeatable() {
            Some(again) => {
                pipe.take(header);
                pipe.drop_held();
                self.repeats.again = Some(again);
                self.repeats.count += 1;
            }
            None => {
                if let Some(Expect::Entries(_)) = self.pending.front() {
                    // The TRUNCATE itself has succeeded, but not the Execute that it came with.
                    pipe.drop_held();
                }
                pipe.release();
                pipe.take(header);
                let fields = [
                    (b'S', "ERROR"),
                    (b'V', "ERROR"),
                    (b'C', "40001"),
                    (b'M', MESSAGE),
                    (b'H', HINT),
                ];
                write::error_fields(&mut pipe.output, &fields);
            }
        }
    }

    /// The messages that repeat the statement at hand.
    fn repeatable(&mut self) -> Option<Again> {
        if !self.is_alone() || self.repeats.shown {
            return None;
        }
        let (last, followed) = (self.pending.len() == 1, self.pending.ends_with_sync());
        let mut messages = BytesMut::new();
        match self.pending.front()? {
            Expect::Query(query) if last => {
                write::query(&mut messages, query.sql.as_deref()?);
                Some(Again { messages, bound: false })
            }
            Expect::Execute { prepared: Some(prepared), bind: Some(bind), .. } if followed => {
                if !matches!(prepared.step(), Some(Step::Capture(_))) {
                    return None;
                }
                let portal = Body::new(bind).text().unwrap_or_default();
                write::message(&mut messages, b'B', |out| out.put_slice(bind));
                write::execute(&mut messages, portal);
                write::empty(&mut messages, b'S');
                Some(Again { messages, bound: true })
            }
            _ => None,
        }
    }

    /// True while a failed transaction that is to be repeated comes to its end.
    pub(super) fn is_repeating(&self) -> bool {
        self.repeats.again.is_some()
    }

    /// The failed transaction has ended: on to the wait.
    pub(super) fn repeat(&mut self) {
        let planner = self.repeats.planner.as_ref().unwrap_or(&self.planner);
        self.work = Some(Work::Renew(Arc::clone(planner)));
    }

    /// No new situation came in time: the next failure is the client's.
    pub(super) fn repeat_for_the_last_time(&mut self) {
        self.repeats.count = REPEATS_MAX;
    }

    /// It was one of ours around a single statement, which has to be rolled back first.
    pub(super) fn undo_wrapped(&mut self) {
        self.wrapped = false;
        self.say.push(Say::Undo);
    }

    /// Puts the messages of a repeated statement in front of what the client sends.
    pub(super) fn speak_again(&mut self, pipe: &mut Pipe) {
        if self.is_repeating()
            && self.pending.is_empty()
            && let Some(again) = self.repeats.again.take()
        {
            self.repeats.bound = usize::from(again.bound);
            pipe.unread(&again.messages);
        }
    }

    /// So many answers the client has had already.
    pub(super) fn bind_again(&mut self, answers: usize) {
        self.repeats.bound = answers;
    }

    /// How many answers to what is to be said next the client has had already.
    pub(super) fn bound_again(&self) -> usize {
        self.repeats.bound
    }

    /// True for the answer to a repeated Bind.
    pub(super) fn is_bound_again(&mut self) -> bool {
        let left = self.repeats.bound.checked_sub(1);
        self.repeats.bound = left.unwrap_or(0);
        left.is_some()
    }

    /// A transaction has ended.
    pub(super) fn forget_repeats(&mut self) {
        self.repeats.done = 0;
        self.repeats.shown = false;
        if !self.cuts_batch {
            self.repeats.bound = 0;
        }
        if self.repeats.again.is_none() {
            self.repeats.count = 0;
        }
    }
}

/// What the context of an error names that was raised by a function of ours; without the schema where
/// the client has it in its path.
const RAISED_BY: [&str; 3] = ["crossfade.", "enter(", "guard("];
/// The same of what refuses writes to the old primary: PostgreSQL has its own uses of that SQLSTATE.
const REFUSED_BY: [&str; 1] = ["refuse()"];

/// True for an ErrorResponse of [`crate::backend::postgres::control`]'s guard, and of the trigger that
/// refuses writes to the old primary. The client can raise any SQLSTATE, but not in the name of our functions.
pub(super) fn is_stale(body: &[u8]) -> bool {
    let (mut raised_by, mut context) = (&[][..], String::new());
    let mut parts = Body::new(body);
    while let Some(field) = parts.byte().filter(|field| *field != 0) {
        let Some(value) = parts.text() else { return false };
        match field {
            b'C' if value == NOT_PRIMARY.as_bytes() => raised_by = &REFUSED_BY[..],
            b'C' if [STALE_EPOCH, STALE_TIMELINE].iter().any(|of| of.as_bytes() == value) => {
                raised_by = &RAISED_BY[..];
            }
            b'W' => context = String::from_utf8_lossy(value).into_owned(),
            _ => {}
        }
    }
    raised_by.iter().any(|by| context.contains(by))
}
