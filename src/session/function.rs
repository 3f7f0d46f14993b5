//! FunctionCall, the protocol's way past SQL: libpq uses it for large objects, and hardly anyone else.
//!
//! ```text
//! F(function, arguments) ──(may write: tables marked dirty first)──▶ server ──▶ V(result) Z
//! ```
//!
//! Invariant: a function that did not come with PostgreSQL may write any table, so none is called
//! this way without a mark. PostgreSQL's own write none of the application's tables.

use crate::plan::{Plan, Step};
use crate::session::pending::Expect;
use crate::session::pipe::Pipe;
use crate::session::refuse::Admit;
use crate::session::state::State;
use crate::wire::{Body, Header, write};

/// The number of the first function that did not come with the server.
const FUNCTION_FIRST: u32 = 16_384;

impl State {
    pub(super) fn function(&mut self, pipe: &mut Pipe, header: Header) -> bool {
        let number = Body::new(pipe.body(header)).take(4).and_then(|bytes| bytes.try_into().ok());
        if number.is_none() && !pipe.is_whole(header) {
            return false;
        }
        match self.admit(&Plan::of(Step::Other)) {
            Admit::Now => {}
            Admit::Later => return false,
            Admit::Never(denied) => {
                pipe.lose(header);
                write::query(&mut pipe.output, &denied.raise());
                self.pending.push(Expect::Function { flagged: None });
                return true;
            }
        }
        let mut flagged = None;
        if FUNCTION_FIRST <= number.map_or(0, u32::from_be_bytes) {
            let plan = Plan::unread(&self.planner.situation, "function_call");
            if !self.is_clear(&plan) {
                return false;
            }
            flagged = Some(Box::new(plan));
        }
        // It ends an implicit transaction, as a Sync does.
        self.gate_sync() && self.pass(pipe, header, Expect::Function { flagged })
    }

    /// The function has run.
    pub(super) fn function_result(&mut self, pipe: &mut Pipe, header: Header) -> bool {
        let flagged = match self.pending.front() {
            Some(Expect::Function { flagged }) => flagged.take(),
            _ => None,
        };
        for planned in flagged.iter().flat_map(|plan| &plan.statements) {
            self.completed(planned.step.clone(), b"");
        }
        pipe.pass(header);
        true
    }
}
