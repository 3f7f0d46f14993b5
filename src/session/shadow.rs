//! Which reads of a session are tried on the secondary as well.
//!
//! ```text
//! Parse: text kept ─▶ Bind: sampled? parameters kept ─▶ answered by the primary ─▶ handoff::reads
//! ```
//!
//! Not those that saw what nobody else sees, or that nobody could ask again: after a write of the same
//! transaction, in REPEATABLE READ and SERIALIZABLE, with temporary tables, in part (a limit on rows),
//! under a search path that is not known.
//!
//! Invariant: nothing here holds a message up or changes one. While `shadow.share` is 0, nothing is kept.

use std::sync::Arc;

use bytes::Bytes;

use crate::handoff::{ShadowRead, Shown, Statement};
use crate::plan::seen::Isolates;
use crate::plan::{Plan, SearchPath, Step};
use crate::session::pipe::Pipe;
use crate::session::state::State;
use crate::session::statements::Prepared;
use crate::wire::Header;

/// A read under way that is to be tried.
#[derive(Debug)]
pub(super) struct Sampled {
    statement: Arc<Statement>,
    bind: Option<Bytes>,
}

/// What a session has that concerns it.
#[derive(Debug, Default)]
pub(super) struct Shade {
    shown: Arc<Shown>,
    /// The transaction under way, and those to come, read a snapshot of their own.
    snapshot: bool,
    snapshots: bool,
}

impl Shade {
    /// Takes a ParameterStatus.
    pub(super) fn parameter(&mut self, name: &str, value: &str) {
        let known = match name {
            "TimeZone" => &mut Arc::make_mut(&mut self.shown).zone,
            "DateStyle" => &mut Arc::make_mut(&mut self.shown).date_style,
            "IntervalStyle" => &mut Arc::make_mut(&mut self.shown).interval_style,
            _ => return,
        };
        value.clone_into(known);
    }

    /// A statement is completed that may be about isolation.
    pub(super) fn follow(&mut self, plan: &Plan) {
        match plan.tally().map(|tally| tally.isolates()) {
            None | Some(Isolates::Nothing) => {}
            Some(Isolates::Transaction) => self.snapshot = true,
            Some(Isolates::Session) => self.snapshots = true,
        }
    }

    /// The transaction has ended.
    pub(super) fn ended(&mut self) {
        self.snapshot = false;
    }

    /// The session asks for another isolation from here on.
    pub(super) fn isolates(&mut self) {
        self.snapshots = true;
    }
}

impl State {
    /// The statement of a Parse, where it may be tried.
    pub(super) fn kept(
        &self,
        plan: &Plan,
        text: Option<&str>,
        types: &[u8],
    ) -> Option<Arc<Statement>> {
        let text = text.filter(|_| self.flow.handoff.reads().is_on() && is_read(plan))?;
        Some(Arc::new(Statement { text: text.into(), types: types.into() }))
    }

    /// A Bind, before it is passed on.
    pub(super) fn sampled(
        &mut self,
        pipe: &mut Pipe,
        header: Header,
        prepared: &Prepared,
    ) -> Option<Box<Sampled>> {
        let statement = prepared.statement.as_ref()?;
        let reads = self.flow.handoff.reads();
        if !self.may_be_tried() || !reads.sample(header.size + statement.text.len()) {
            return None;
        }
        if !pipe.is_whole(header) {
            return None;
        }
        let bind = Some(Bytes::copy_from_slice(pipe.body(header)));
        Some(Box::new(Sampled { statement: Arc::clone(statement), bind }))
    }

    /// A query string, before it is passed on.
    pub(super) fn sampled_query(&self, plan: &Plan, body: &[u8]) -> Option<Box<Sampled>> {
        let reads = self.flow.handoff.reads();
        if !reads.is_on() || !is_read(plan) || !self.may_be_tried() || !reads.sample(body.len()) {
            return None;
        }
        let text = str::from_utf8(body.strip_suffix(&[0])?).ok()?;
        let statement = Arc::new(Statement { text: text.into(), types: Box::default() });
        Some(Box::new(Sampled { statement, bind: None }))
    }

    fn may_be_tried(&self) -> bool {
        let shade = &self.shade;
        !self.wrote && !shade.snapshot && !shade.snapshots && self.temporary.is_empty()
    }

    /// The primary has answered it in full.
    pub(super) fn try_elsewhere(&self, plan: &Plan, sampled: Sampled) {
        let (Some(tally), SearchPath::Known(path)) = (plan.tally(), self.paths.now().path()) else {
            return;
        };
        let reads = self.flow.handoff.reads();
        if !self.may_be_tried() {
            return;
        }
        let Some(place) = reads.place() else { return };
        let Sampled { statement, bind } = sampled;
        let (tally, path) = (Arc::clone(tally), path.clone());
        let shown = Arc::clone(&self.shade.shown);
        reads.hand(ShadowRead { tally, statement, bind, shown, path, place });
    }
}

fn is_read(plan: &Plan) -> bool {
    matches!(plan.single(), Some(Step::Read))
        && plan.tally().is_some_and(|tally| tally.is_settled())
}
