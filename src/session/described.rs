//! Notes what the primary says about statements, as it passes on its way to the client.
//!
//! ```text
//! server ──▶ ParameterDescription, RowDescription ──▶ client
//!                          └─(news under this catalogue?)─▶ plan::seen
//! ```
//!
//! Invariant: the client gets what it would have got; what is noted is without our own columns. A
//! statement that is known costs a comparison of two numbers.

use std::sync::Arc;

use crate::plan::Plan;
use crate::plan::seen::{Described, Shape, Tally, described};
use crate::session::pending::Expect;
use crate::session::pipe::Pipe;
use crate::session::state::State;
use crate::wire::Header;

impl State {
    /// The shape of the text that was planned last; `types` is what Parse said about parameters. None
    /// while names may mean temporary tables.
    pub(super) fn shape(&self, plan: &Plan, types: &[u8]) -> Option<Shape> {
        if plan.tally().is_none() || !self.temporary.is_empty() {
            return None;
        }
        self.scratch.shape(self.paths.now(), types)
    }

    /// ParameterDescription.
    pub(super) fn parameter_description(&mut self, pipe: &mut Pipe, header: Header) -> bool {
        let wanted = self.wanted(true).is_some();
        if wanted && !pipe.is_whole(header) {
            return false;
        }
        if let (true, Some(Expect::Describe { parameters, .. })) = (wanted, self.pending.front()) {
            *parameters = described::parameters(pipe.body(header));
        }
        pipe.pass(header);
        true
    }

    /// RowDescription or NoData, before it is passed on. False where more of it has to come.
    pub(super) fn note_columns(&mut self, pipe: &mut Pipe, header: Header) -> bool {
        let statement =
            matches!(self.pending.front(), Some(Expect::Describe { statement: true, .. }));
        let Some((tally, shape)) = self.wanted(statement) else { return true };
        if !pipe.is_whole(header) {
            return false;
        }
        let capture = self.capturing().map(|(capture, _)| Arc::clone(capture));
        let columns = match (header.tag, capture) {
            (b'T', None) => described::columns(pipe.body(header), 0).map(Some),
            (b'T', Some(capture)) if capture.returning => {
                described::columns(pipe.body(header), capture.columns.len()).map(Some)
            }
            _ => Some(None),
        };
        let parameters = match self.pending.front() {
            Some(Expect::Describe { parameters, .. }) => parameters.take(),
            _ => None,
        };
        if let Some(columns) = columns {
            let catalog = self.planner.situation.catalog.version;
            let found = Described { parameters, columns };
            self.flow.planners.seen.described(&tally, shape, catalog, found);
        }
        true
    }

    /// The statement that is described now, where that is news.
    fn wanted(&mut self, parameters: bool) -> Option<(Arc<Tally>, Shape)> {
        let catalog = self.planner.situation.catalog.version;
        let (plan, shape) = match self.pending.front()? {
            Expect::Describe { prepared: Some(prepared), .. } => (&prepared.plan, prepared.shape?),
            Expect::Query(query) if !query.hidden => (&query.plan, query.shape?),
            _ => return None,
        };
        let tally = plan.tally()?;
        tally.lacks(shape, catalog, parameters).then(|| (Arc::clone(tally), shape))
    }
}
