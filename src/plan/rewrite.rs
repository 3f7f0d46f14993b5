//! Rewrites a captured statement: its own text, a few columns more, and the outbox in one.
//!
//! ```text
//! UPDATE t SET a = 1 RETURNING b
//!   ▼
//! WITH cf_w AS (UPDATE t SET a = 1 RETURNING b, <id, lsn, key, row>),
//!      cf_o AS (INSERT INTO crossfade.outbox … FROM cf_w)
//! SELECT cf_w.* FROM cf_w
//! ```
//!
//! Invariant: `cf_w.*` begins with exactly the client's columns, names and order included, since a
//! star over a CTE keeps even names that occur twice.

use std::sync::Arc;

use crate::catalog::Table;
use crate::change::Operation;
use crate::phase::Situation;
use crate::plan::clause::{Dml, Reader, Verb};
use crate::plan::columns;
use crate::plan::edit::{Edit, Piece, Place};
use crate::plan::moves;
use crate::plan::{Added, Capture};

/// The edits that make `dml` return its images, and how to read them. `nested`: the statement begins
/// with a WITH of its own, before the body. `first` is the number of the statement's first token.
pub(super) fn capture(
    reader: Reader<'_>,
    dml: &Dml,
    table: &Arc<Table>,
    situation: &Situation,
    nested: bool,
) -> (Capture, Vec<Edit>) {
    let (operation, tag, columns) = shape(dml, table);
    let mut edits = Vec::new();
    if columns.contains(&Added::OldKey) {
        edits.extend(moves::join_old(reader, dml, table));
    }
    let open = if nested { ", cf_w AS (" } else { "WITH cf_w AS (" };
    edits.push(text(Place::Before(dml.body.start), open.to_owned()));
    let list = columns::list(table, &dml.qualifier, columns, operation == Operation::Delete);
    let lead = if dml.returning.is_some() { ", " } else { " RETURNING " };
    let enter = columns::enter(table, "cf_w", columns, operation.letter(), situation);
    let close = format!("{lead}{list}), cf_o AS ({enter}) SELECT cf_w.* FROM cf_w");
    edits.push(text(Place::After(dml.body.end - 1), close));
    let returning = dml.returning.is_some();
    let table = Arc::clone(table);
    let (upserts, entered) = (dml.conflict, Vec::new());
    (Capture { table, operation, tag, returning, upserts, columns, entered }, edits)
}

/// The edits that make a write of a table with triggers return its images. The triggers enter the
/// keys, so the statement stays what it is, but for its columns.
pub(super) fn trace(reader: Reader<'_>, dml: &Dml, table: &Arc<Table>) -> (Capture, Vec<Edit>) {
    let (operation, tag, columns) = shape(dml, table);
    let columns = if columns == columns::MOVE { columns::TRACED_MOVE } else { columns::TRACED };
    let mut edits = Vec::new();
    if columns.contains(&Added::OldKey) {
        edits.extend(moves::join_old(reader, dml, table));
    }
    let list = columns::list(table, &dml.qualifier, columns, operation == Operation::Delete);
    let lead = if dml.returning.is_some() { ", " } else { " RETURNING " };
    edits.push(text(Place::After(dml.body.end - 1), format!("{lead}{list}")));
    let (table, returning) = (Arc::clone(table), dml.returning.is_some());
    let (upserts, entered) = (dml.conflict, Vec::new());
    (Capture { table, operation, tag, returning, upserts, columns, entered }, edits)
}

fn shape(dml: &Dml, table: &Table) -> (Operation, &'static str, &'static [Added]) {
    match dml.verb {
        Verb::Insert => (Operation::Insert, "INSERT 0 ", columns::IMAGE),
        Verb::Delete => (Operation::Delete, "DELETE ", columns::IMAGE),
        Verb::Merge => (Operation::Update, "MERGE ", columns::MERGE),
        Verb::Update if assigns_key(dml, table) => (Operation::Update, "UPDATE ", columns::MOVE),
        Verb::Update => (Operation::Update, "UPDATE ", columns::IMAGE),
    }
}

/// True where the statement assigns a column of the table's key.
pub(super) fn assigns_key(dml: &Dml, table: &Table) -> bool {
    table.key_columns().any(|column| dml.assigned.contains(&column.name))
}

pub(super) fn text(place: Place, text: String) -> Edit {
    Edit { place, pieces: vec![Piece::Text(text)] }
}
