//! Writes that are not captured: their tables are marked dirty before the server hears of them.
//!
//! Invariant: a statement that is flagged is looked at again once the marks are durable, and only then sent.

use crate::names::TableName;
use crate::plan::{ENCODING, Plan, Step};
use crate::session::state::{State, Work};

impl State {
    /// False where tables have to be marked dirty first; the message is looked at again afterwards.
    pub(super) fn is_clear(&mut self, plan: &Plan) -> bool {
        if std::mem::take(&mut self.cleared) {
            return true;
        }
        let flagged = plan.statements.iter().filter_map(|planned| self.flagged(&planned.step));
        let flagged: Vec<_> = flagged.collect();
        if flagged.is_empty() || self.pending.is_skipping() {
            return true;
        }
        self.work = Some(Work::Dirty(flagged));
        false
    }

    pub(super) fn flagged(&self, step: &Step) -> Option<(Vec<TableName>, &'static str)> {
        match step {
            Step::Uncaptured { tables, reason } => Some((tables.clone(), *reason)),
            Step::Execute(name) => {
                let found = self.statements.get(name.as_bytes())?;
                if found.is_early(&self.planner.situation) {
                    return self.flagged(self.early().single()?);
                }
                if !self.text.is_utf8() {
                    return self.flagged(found.plan.given_up(ENCODING).single()?);
                }
                self.flagged(found.step()?)
            }
            _ => None,
        }
    }

    /// A statement that was prepared before `setup` goes on as it was, and may write any table.
    pub(super) fn early(&self) -> Plan {
        Plan::unread(&self.planner.situation, "prepared_before_setup")
    }
}
