//! Rewrites a captured statement: its own text, with a few columns more to return.
//!
//! ```text
//! UPDATE t SET a = 1 RETURNING b
//!   ▼
//! UPDATE t SET a = 1 RETURNING b, crossfade.enter(…) AS cf_id, <lsn, key, row>
//!                                 └── writes the outbox entry, in the same statement
//! ```
//!
//! Invariant: the client's columns come first, as it wrote them; the statement stays what it was, so
//! its tag, its errors and its row limits are the server's own. The entry is written by a function
//! and not by a second INSERT in a WITH list, since planning that takes longer than running it.

use std::sync::Arc;

use crate::catalog::{Capture as Means, Table};
use crate::change::Operation;
use crate::phase::Situation;
use crate::plan::clause::{Dml, Reader, Verb};
use crate::plan::columns;
use crate::plan::edit::{Edit, Piece, Place};
use crate::plan::moves;
use crate::plan::{Added, Capture};

/// The edits that make `dml` return its images, and how to read them. Where triggers enter the keys
/// the statement does not.
pub(super) fn capture(
    reader: Reader<'_>,
    dml: &Dml,
    table: &Arc<Table>,
    situation: &Situation,
) -> (Capture, Vec<Edit>) {
    let (operation, columns) = shape(dml, table);
    let moves = columns == columns::MOVE;
    let columns = match (&table.capture, table.policy.outbox) {
        (Means::Trigger, _) if moves => columns::TRACED_MOVE,
        (Means::Trigger, _) => columns::TRACED,
        // A row of MERGE may be of any operation, which only its entry tells a drain.
        (_, false) if dml.verb != Verb::Merge && moves => columns::LOOSE_MOVE,
        (_, false) if dml.verb != Verb::Merge => columns::LOOSE,
        _ => columns,
    };
    let mut edits = Vec::new();
    if columns.contains(&Added::OldKey) {
        edits.extend(moves::join_old(reader, dml, table));
    }
    let list = columns::list(table, &dml.qualifier, columns, operation, situation);
    let lead = if dml.returning.is_some() { ", " } else { " RETURNING " };
    edits.push(text(Place::After(dml.body.end - 1), format!("{lead}{list}")));
    let (table, returning) = (Arc::clone(table), dml.returning.is_some());
    let (upserts, entered) = (dml.conflict, Vec::new());
    (Capture { table, operation, returning, upserts, columns, entered }, edits)
}

fn shape(dml: &Dml, table: &Table) -> (Operation, &'static [Added]) {
    match dml.verb {
        Verb::Insert => (Operation::Insert, columns::IMAGE),
        Verb::Delete => (Operation::Delete, columns::IMAGE),
        Verb::Merge => (Operation::Update, columns::MERGE),
        Verb::Update if assigns_key(dml, table) => (Operation::Update, columns::MOVE),
        Verb::Update => (Operation::Update, columns::IMAGE),
    }
}

/// True where the statement assigns a column of the table's key.
pub(super) fn assigns_key(dml: &Dml, table: &Table) -> bool {
    table.key_columns().any(|column| dml.assigned.contains(&column.name))
}

pub(super) fn text(place: Place, text: String) -> Edit {
    Edit { place, pieces: vec![Piece::Text(text)] }
}
