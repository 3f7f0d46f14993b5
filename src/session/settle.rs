//! How statements and transactions end, and what is handed over then.
//!
//! ```text
//! COMMIT's tag, or ReadyForQuery after an implicit transaction ──▶ Transaction ──▶ handoff
//! ROLLBACK, an error outside a block                           ──▶ images dropped
//! ```
//!
//! Invariant: only what the primary has committed is handed over, once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::capture::Handed;
use crate::handoff::{Decision, LOST, Settled};
use crate::plan::{Plan, Step, Touches};
use crate::policy::Mode;
use crate::session::state::{State, Wait, Work};
use crate::session::statements::Prepared;

impl State {
    /// A statement has ended with this tag.
    pub(super) fn completed(&mut self, step: Step, tag: &[u8]) {
        match (&step, tag) {
            (_, b"BEGIN" | b"START TRANSACTION") => self.block = true,
            (_, b"COMMIT") => {
                self.block = false;
                self.committed();
            }
            (Step::RollbackTo(name), b"ROLLBACK") => {
                self.buffer.rollback_to(name);
                self.paths.rollback_to(name);
            }
            (_, b"ROLLBACK" | b"PREPARE TRANSACTION") => {
                self.block = false;
                if tag == b"PREPARE TRANSACTION" {
                    // What the session has set is committed with it.
                    self.paths.commit();
                }
                self.rolled_back();
            }
            _ => self.effect(step, tag),
        }
    }

    /// What a statement that is not about transactions leaves behind.
    fn effect(&mut self, step: Step, tag: &[u8]) {
        match step {
            Step::Savepoint(name) => {
                self.paths.savepoint(&name);
                self.buffer.savepoint(name);
            }
            Step::Release(name) => {
                self.paths.release(&name);
                self.buffer.release(&name);
            }
            Step::Entered(tables) => self.buffer.enter(&tables),
            Step::Truncate(truncate) if !truncate.others.is_empty() => {
                self.buffer.enter(&truncate.others);
            }
            Step::Capture(capture) if !capture.entered.is_empty() => {
                self.buffer.enter(&capture.entered);
            }
            Step::Uncaptured { tables, reason } => {
                self.flow.metrics.uncaptured(&tables, reason);
            }
            Step::Ddl => self.ddl = true,
            Step::Prepare { name, step } => {
                let plan = Arc::new(Plan::of(*step));
                let planner = Arc::clone(&self.planner);
                let path = Arc::clone(self.paths.now());
                let (source, applied, shape, statement, unnamed) = (None, None, None, None, None);
                let prepared =
                    Prepared { plan, planner, path, source, applied, shape, statement, unnamed };
                self.statements.put(name.as_bytes(), Arc::new(prepared));
            }
            Step::Deallocate(Some(name)) => {
                self.statements.remove(name.as_bytes());
            }
            Step::Deallocate(None) => self.statements.clear(),
            Step::SearchPath(change) => {
                if tag == b"DISCARD ALL" {
                    self.statements.clear();
                    self.temporary.clear();
                }
                self.paths.change(change);
            }
            Step::Temporary(name) => {
                self.temporary.insert(name);
            }
            _ => {}
        }
    }

    /// The server waits for the next statement: an implicit transaction has ended.
    pub(super) fn at_rest(&mut self, status: u8) {
        self.status = status;
        self.block = status != b'I';
        self.flushed = false;
        if status == b'T' && self.pending.is_empty() {
            self.paths.settled();
        }
        if status == b'I' {
            self.wrote = false;
            self.touched = Touches::default();
            self.shade.ended();
            if self.pending.is_empty() {
                self.pen.rest();
                self.paths.settled();
            }
            self.forget_repeats();
            self.ended_strict();
            self.committed();
            self.statements.close_portals();
            if std::mem::take(&mut self.ddl) {
                self.flow.handoff.notices().reload();
            }
        }
        self.follow();
    }

    /// An error: what an implicit transaction did is undone. In a block the images wait for the
    /// ROLLBACK, or the ROLLBACK TO, that has to follow.
    pub(super) fn failed(&mut self) {
        self.pen.doubt_all();
        if !self.block {
            self.rolled_back();
        }
    }

    fn rolled_back(&mut self) {
        self.buffer.clear();
        self.held = None;
        self.paths.rollback();
    }

    /// Hands over what the transaction wrote.
    fn committed(&mut self) {
        self.paths.commit();
        if self.buffer.is_empty() {
            return;
        }
        let situation = Arc::clone(&self.planner.situation);
        let handed = self.buffer.take(&situation.catalog, situation.epoch);
        if let Some(held) = self.held.take() {
            // The secondary holds it: a closed channel there leaves it to the outbox.
            let _ = held.decision.send(Decision::Commit);
            if handed.drain.is_some() {
                self.flow.handoff.drain(None);
            }
            self.work = Some(Work::Wait(Wait {
                settled: vec![held.done],
                bound: held.timeout,
                mode: Mode::Strict,
                before: held.waited,
            }));
            return;
        }
        let (waits, timeout) = self.hand_over(handed);
        if !waits.is_empty() {
            self.work = Some(Work::Wait(Wait {
                settled: waits,
                bound: timeout,
                mode: Mode::Blocking,
                before: Duration::ZERO,
            }));
        }
    }

    fn hand_over(&mut self, handed: Handed) -> (Vec<oneshot::Receiver<Settled>>, Duration) {
        let mut waits = Vec::new();
        let mut timeout = Duration::ZERO;
        let mut wait = |mode: Mode, bound: Duration| {
            if mode < Mode::Blocking {
                return None;
            }
            let (done, receiver) = oneshot::channel();
            waits.push(receiver);
            timeout = timeout.max(bound);
            Some(done)
        };
        if let Some(transaction) = handed.transaction {
            let done = wait(transaction.mode, transaction.timeout);
            self.flow.handoff.apply(transaction, done);
        }
        if let Some((mode, bound)) = handed.drain {
            let done = wait(mode, bound);
            self.flow.handoff.drain(done);
        }
        if !handed.lost.is_empty() {
            self.flow.handoff.notices().dirty(handed.lost, LOST, None);
        }
        if !handed.astray.is_empty() {
            self.flow.metrics.uncaptured(&handed.astray, "other_table");
            self.flow.handoff.notices().dirty(handed.astray, "other_table", None);
        }
        (waits, timeout)
    }
}
