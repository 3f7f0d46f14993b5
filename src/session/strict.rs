//! `mode: strict`: the secondary holds the transaction before the primary commits it.
//!
//! ```text
//! COMMIT, or the Sync after an autocommitted write
//!    │ all answers are here
//!    ▼
//! images ──▶ secondary (open transaction) ──held──▶ COMMIT on the primary ──▶ COMMIT there
//!                        └─refused──▶ ROLLBACK on the primary, an error to the client
//! ```
//!
//! Invariant: the primary never commits a strict write that the secondary does not hold. Once the
//! primary has committed, the client is told success whatever becomes of the secondary: the outbox
//! has it.

use crate::plan::{Plan, Step};
use crate::policy::Mode;
use crate::session::pending::{Expect, Refusal};
use crate::session::pipe::Pipe;
use crate::session::state::{State, Then, Work};
use crate::wire::{Header, write};

/// What strict has to say to the primary besides the client's messages.
#[derive(Debug)]
pub(super) enum Say {
    /// Bring the answers of a batch whose Sync is held back.
    Flush,
    Begin,
    /// End a batch that somebody else goes on with.
    Sync,
    /// ROLLBACK of a transaction around a statement that is repeated.
    Undo,
    /// COMMIT or ROLLBACK of a transaction that we have put around a single statement.
    End(&'static str),
    /// ROLLBACK, with an error to the client.
    Refuse(Refusal),
}

impl State {
    /// False where the message at hand has to wait: for answers, or for the secondary.
    pub(super) fn gate(&mut self, plan: &Plan, simple: bool) -> bool {
        if std::mem::take(&mut self.passed) {
            return true;
        }
        let commits = plan.statements.iter().any(|planned| matches!(planned.step, Step::Commit));
        if commits && self.strict {
            return self.hold(true);
        }
        if plan.statements.iter().any(|planned| self.is_strict(&planned.step)) {
            let begins = plan.statements.iter().any(|planned| matches!(planned.step, Step::Begin));
            if simple && !self.block && !self.wrapped && !begins {
                return self.wrap();
            }
            self.strict = true;
        }
        // A query string ends the transaction of a batch that had no Sync, and commits it.
        !simple || !self.strict || self.block || self.hold(false)
    }

    /// True while what the client says next would end up in a transaction of ours.
    pub(super) fn is_wrapping(&self) -> bool {
        self.wrapped && !self.copying
    }

    /// True while the primary has yet to hear from us how a transaction ends.
    pub(super) fn owes_an_end(&self) -> bool {
        self.wrapped || self.flushed || !self.say.is_empty()
    }

    /// The same for a Sync, which ends an implicit transaction.
    pub(super) fn gate_sync(&mut self) -> bool {
        std::mem::take(&mut self.passed) || !self.strict || self.hold(false)
    }

    /// A transaction has ended: strict is what is still under way of the next.
    pub(super) fn ended_strict(&mut self) {
        if self.strict {
            let steps = self.pending.plans().flat_map(|plan| &plan.statements);
            self.strict = steps.map(|planned| &planned.step).any(|step| self.is_strict(step));
        }
    }

    pub(super) fn is_strict(&self, step: &Step) -> bool {
        match step {
            Step::Capture(capture) => capture.table.policy.mode == Mode::Strict,
            Step::Truncate(truncate) => {
                truncate.listed.iter().any(|table| table.policy.mode == Mode::Strict)
            }
            Step::Entered(tables) => tables.iter().any(|table| table.policy.mode == Mode::Strict),
            Step::Execute(name) => {
                let found = self.statements.get(name.as_bytes());
                found.and_then(|found| found.step()).is_some_and(|step| self.is_strict(step))
            }
            _ => false,
        }
    }

    /// Waits for all answers, then for the secondary if the message at hand commits.
    fn hold(&mut self, commits: bool) -> bool {
        if !self.pending.is_empty() {
            if !std::mem::replace(&mut self.flushed, true) {
                self.say.push(Say::Flush);
            }
            return false;
        }
        self.flushed = false;
        if self.buffer.mode() != Mode::Strict || (self.block && !commits) {
            return true;
        }
        self.prepare(Then::Pass);
        false
    }

    /// True once nothing is being executed; until then the message at hand waits.
    pub(super) fn is_answered(&mut self) -> bool {
        let executes = self.pending.executes();
        if executes && !std::mem::replace(&mut self.flushed, true) {
            self.say.push(Say::Flush);
        }
        self.flushed &= executes;
        !executes
    }

    fn prepare(&mut self, then: Then) {
        let situation = &self.planner.situation;
        let handed = self.buffer.peek(&situation.catalog, situation.epoch);
        self.work = Some(Work::Prepare(handed, then));
    }

    /// Puts a transaction around a query string that would commit by itself.
    fn wrap(&mut self) -> bool {
        if self.pending.is_empty() {
            self.wrapped = true;
            self.say.push(Say::Begin);
        }
        self.pending.is_empty()
    }

    /// The answers to a wrapped query are here: on to the secondary, or back.
    pub(super) fn unwrap_single(&mut self, status: u8) {
        self.wrapped = false;
        if status == b'T' && self.buffer.mode() == Mode::Strict {
            self.prepare(Then::Commit);
        } else {
            self.say.push(Say::End(if status == b'T' { "COMMIT" } else { "ROLLBACK" }));
        }
    }

    /// The secondary holds a wrapped query's transaction.
    pub(super) fn commit_single(&mut self) {
        self.say.push(Say::End("COMMIT"));
    }

    /// Opens a transaction that waits for the secondary as long as the table's own timeout says: what
    /// the client has set is meant for transactions of its own.
    fn begin(&self) -> &'static str {
        if self.planner.situation.server < 17 {
            "BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0"
        } else {
            "BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0; \
             SET LOCAL transaction_timeout = 0"
        }
    }

    /// Writes what there is to say to the primary.
    pub(super) fn speak(&mut self, pipe: &mut Pipe) {
        for say in std::mem::take(&mut self.say) {
            pipe.settle();
            let (text, expect) = match say {
                Say::Flush => {
                    write::empty(&mut pipe.output, b'H');
                    continue;
                }
                Say::Sync => {
                    write::empty(&mut pipe.output, b'S');
                    self.pending.push(Expect::OurQuery);
                    continue;
                }
                Say::Begin => (self.begin(), Expect::OurQuery),
                Say::Undo => ("ROLLBACK", Expect::OurQuery),
                Say::End(text) => (text, Expect::OurEnd(None)),
                Say::Refuse(refusal) => ("ROLLBACK", Expect::OurEnd(Some(Box::new(refusal)))),
            };
            write::query(&mut pipe.output, text);
            self.pending.push(expect);
        }
    }

    /// The secondary does not hold it: the client's commit becomes a rollback.
    pub(super) fn refuse(&mut self, refusal: Refusal, then: Then) {
        self.buffer.clear();
        match then {
            Then::Pass => self.refusing = Some(refusal),
            Then::Commit => self.say.push(Say::Refuse(refusal)),
        }
    }

    /// Passes over what the client sent with its refused commit, up to where it waits for an answer.
    pub(super) fn refused_message(&mut self, pipe: &mut Pipe, header: Header) -> bool {
        if !pipe.is_whole(header) {
            return false;
        }
        pipe.take(header);
        if matches!(header.tag, b'Q' | b'S')
            && let Some(refusal) = self.refusing.take()
        {
            self.say.push(Say::Refuse(refusal));
            self.speak(pipe);
        }
        true
    }
}
