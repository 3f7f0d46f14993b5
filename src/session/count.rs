//! Tells the tally what the messages of one session write.
//!
//! Invariant: a table is touched before the bytes that write it may leave for the primary.

use std::sync::Arc;

use crate::catalog::{Capture as Means, Table};
use crate::names::TableId;
use crate::plan::{Added, Plan, Step, Touches};
use crate::session::pending::Expect;
use crate::session::state::State;

impl State {
    /// The statements of this plan are about to leave.
    pub(super) fn touch(&mut self, plan: &Plan) {
        for planned in &plan.statements {
            for (table, doubtful) in self.written(&planned.step) {
                self.pen.touch(table);
                if doubtful {
                    self.pen.doubt(table);
                }
            }
        }
    }

    /// A statement of the transaction under way is completed: notes where tables of a group were used together
    /// with others.
    pub(super) fn note_named(&mut self) {
        let plan = match self.pending.front() {
            Some(Expect::Query(query)) if !query.hidden => &query.plan,
            Some(Expect::Execute { prepared: Some(prepared), .. }) => &prepared.plan,
            _ => return,
        };
        if plan.touches == Touches::default() {
            return;
        }
        let both = self.touched.and(plan.touches);
        if both.crosses() && both != self.touched {
            self.flow.planners.seen.crossed(plan, both, &self.planner.situation.catalog);
        }
        self.touched = both;
    }

    /// The tables without triggers that a step writes, and whether nobody will say how many rows.
    fn written(&self, step: &Step) -> Vec<(TableId, bool)> {
        let all = |tables: &[Arc<Table>]| -> Vec<_> {
            tables.iter().filter_map(|table| Some((counted(table)?, true))).collect()
        };
        match self.statements.executed(step) {
            Step::Capture(capture) => {
                let mut found = all(&capture.entered);
                // Two upserts of one key at a time: PostgreSQL counts the row that gave way too.
                found.extend(counted(&capture.table).map(|table| (table, capture.upserts)));
                found
            }
            Step::Entered(tables) => all(tables),
            step => {
                let Some((names, _)) = self.flagged(step) else { return Vec::new() };
                let catalog = &self.planner.situation.catalog;
                let tables = names.iter().filter_map(|name| catalog.by_name(name).cloned());
                all(&tables.collect::<Vec<_>>())
            }
        }
    }

    /// A statement has ended with this tag.
    pub(super) fn count(&mut self, step: &Step, tag: &[u8]) {
        if tag == b"PREPARE TRANSACTION" {
            self.pen.lose();
        }
        let Step::Capture(capture) = step else { return };
        let Some(table) = counted(&capture.table) else { return };
        let number = tag.rsplit(|byte| *byte == b' ').next();
        let number = number.and_then(|text| std::str::from_utf8(text).ok()?.parse::<i64>().ok());
        // To another partition a row is deleted and inserted.
        let moves = capture.columns.contains(&Added::OldKey);
        match number {
            Some(rows) => self.pen.wrote(table, rows.saturating_mul(if moves { 2 } else { 1 })),
            None => self.pen.doubt(table),
        }
    }
}

/// The table's number, where its writes are seen by RETURNING alone.
pub(super) fn counted(table: &Table) -> Option<TableId> {
    table.id.filter(|_| table.capture == Means::Returning)
}
