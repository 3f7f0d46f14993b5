//! What is not passed on, and what the client is told instead.
//!
//! ```text
//! statement ──lease holds?──▶ passes, unless its transaction has begun on what is not the primary now: 40001
//!                 └──no──▶ in a transaction: 57P01
//!                          else waits, for limits.hold at most, then 57P03
//! answer of a read ──lease holds, in the epoch that it was asked in?──▶ passes
//!                        └──no──▶ waits likewise, then the connection ends with 57P01
//! ```
//!
//! A refused statement is replaced by one that makes the server itself raise the error, so that the
//! transaction's state is the one that the client expects after an error.
//!
//! Invariant: no read is answered without the lease, or once the epoch has moved since it was asked: the
//! server may have run it after others had begun to write elsewhere. What ends a transaction passes, and so does the
//! answer of one that has written: its guard holds the lock that every change of epoch waits for, and
//! a client must not get an error for something that was committed.

use bytes::BytesMut;

use crate::plan::{Plan, Step};
use crate::policy::Mode;
use crate::session::again;
use crate::session::pending::Expect;
use crate::session::pipe::Pipe;
use crate::session::state::{Awaits, State, Work};
use crate::session::statements::kind;
use crate::wire::{Header, write};

/// Why a statement does not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Denied {
    code: &'static str,
    message: &'static str,
    detail: Option<String>,
}

/// What becomes of a statement.
#[derive(Debug)]
pub(super) enum Admit {
    Now,
    /// There is something to wait for; then it is looked at again.
    Later,
    Never(Denied),
}

impl Denied {
    /// A statement that raises it.
    pub(super) fn raise(&self) -> String {
        let quoted = |text: &str| text.replace('\\', "/").replace('\'', "''");
        let message = quoted(self.message).replace('%', "%%");
        let detail =
            self.detail.as_deref().map(|detail| format!(", DETAIL = '{}'", quoted(detail)));
        format!(
            "DO $crossfade$ BEGIN RAISE EXCEPTION '{message}' USING ERRCODE = '{}'{}; END $crossfade$",
            self.code,
            detail.unwrap_or_default().replace('$', "_")
        )
    }
}

impl State {
    /// Whether a statement may begin now.
    pub(super) fn admit(&mut self, plan: &Plan) -> Admit {
        if self.flow.lease.holds(self.now) || self.pending.is_skipping() || self.status == b'E' {
            self.denied = false;
            let left_behind = self.is_left_behind() && !ends_transaction(plan);
            return if left_behind { Admit::Never(MOVED_ON) } else { Admit::Now };
        }
        if self.block {
            return match ends_transaction(plan) {
                true => Admit::Now,
                false => self.unconfirmed("transaction"),
            };
        }
        if std::mem::take(&mut self.denied) {
            return self.unconfirmed("statement");
        }
        self.work = Some(Work::Confirm(Awaits::Statement));
        Admit::Later
    }

    fn unconfirmed(&self, what: &'static str) -> Admit {
        self.flow.metrics.unconfirmed(what);
        Admit::Never(Denied {
            code: if what == "transaction" { "57P01" } else { "57P03" },
            message: UNCONFIRMED,
            detail: self.flow.lease.why_not(),
        })
    }

    /// Somebody else answers, or for other tables than when the transaction under way here was begun, which
    /// cannot be left to them.
    fn is_left_behind(&self) -> bool {
        let goes_on = !self.pending.is_skipping() && self.status != b'E';
        goes_on && !self.is_home(&self.planner.situation)
    }

    /// True where what the server has sent has to wait for the lease.
    pub(super) fn withholds(&mut self, pipe: &Pipe) -> bool {
        if !pipe.has_more() || self.wrote {
            return false;
        }
        // In this order: a lease that holds for a later epoch is confirmed after that was published.
        if self.flow.lease.holds(self.now) && !self.is_overtaken() {
            return false;
        }
        let steps = self.pending.plans().flat_map(|plan| &plan.statements);
        let mut reads = false;
        for planned in steps {
            match kind(self.statements.executed(&planned.step)) {
                "read" => reads = true,
                "write" => return false,
                _ => {}
            }
        }
        if reads {
            self.work = Some(Work::Confirm(Awaits::Answer));
        }
        reads
    }

    /// Whether the epoch has moved since the transaction under way was begun.
    pub(super) fn is_overtaken(&self) -> bool {
        let now = self.flow.planners.epoch();
        0 < self.asked_in && 0 < now && self.asked_in != now
    }

    /// Why the plan is refused: `strict` needs to see the commit coming.
    pub(super) fn refusal(&self, plan: &Plan) -> Option<Denied> {
        if plan.touches.elsewhere {
            return Some(ELSEWHERE);
        }
        let strict = |step: &Step| match step {
            Step::Capture(capture) => capture.table.policy.mode == Mode::Strict,
            Step::Truncate(_) => self.is_strict(step),
            _ => false,
        };
        let ends = |step: &Step| matches!(step, Step::Commit | Step::Transaction);
        let any = |test: &dyn Fn(&Step) -> bool| {
            plan.statements.iter().any(|planned| test(&planned.step))
        };
        (1 < plan.statements.len() && any(&strict) && any(&ends)).then_some(Denied {
            code: "0A000",
            message: "a query string that ends its own transaction cannot write tables in mode strict",
            detail: None,
        })
    }

    /// Sends an error in place of the Execute at hand; what follows is skipped up to Sync.
    pub(super) fn deny_execute(&mut self, pipe: &mut Pipe, header: Header, denied: &Denied) {
        pipe.take(header);
        self.say_ours(pipe, &denied.raise());
        self.pending.push(Expect::Ours);
    }
}

/// Whether it does nothing but end a transaction.
fn ends_transaction(plan: &Plan) -> bool {
    let ends = |step: &Step| matches!(step, Step::Commit | Step::Transaction);
    plan.statements.iter().all(|planned| ends(&planned.step))
}

/// What a transaction is told of which a part has happened on the old primary.
const MOVED_ON: Denied = Denied { code: "40001", message: again::MESSAGE, detail: None };

/// A captured statement that was prepared in UTF-8 and is run in another encoding.
pub(super) const OTHER_ENCODING: Denied = Denied {
    code: "0A000",
    message: "a statement beyond ASCII that was prepared in UTF8 cannot write in another client_encoding",
    detail: None,
};

/// A statement that comes here although MySQL leads a table of it: it is about others too, or stands in a
/// transaction with them.
pub(super) const ELSEWHERE: Denied = Denied {
    code: "0A000",
    message: "one statement or transaction cannot use tables that MySQL leads and others",
    detail: None,
};

/// What clients read while the lease does not hold.
pub(super) const UNCONFIRMED: &str =
    "Crossfade cannot confirm on PostgreSQL that it may still answer";

/// The error that ends a session whose answer could not be given.
pub(super) fn farewell(out: &mut BytesMut) {
    write::error(out, "FATAL", "57P01", UNCONFIRMED);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_reason_ends_the_literal_that_holds_it() {
        let denied = Denied {
            code: "57P03",
            message: "100% unsure",
            detail: Some("role \"o'brien\" \\ $crossfade$".to_owned()),
        };
        assert_eq!(
            denied.raise(),
            "DO $crossfade$ BEGIN RAISE EXCEPTION '100%% unsure' USING ERRCODE = '57P03', \
             DETAIL = 'role \"o''brien\" / _crossfade_'; END $crossfade$"
        );
    }
}
