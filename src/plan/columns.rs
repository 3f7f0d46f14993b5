//! The SQL of the columns that a captured statement returns besides the client's.
//!
//! Invariant: every function and operator is qualified, so that no search path and no function of the
//! application's can stand in for it; names begin with `cf_`.

use crate::catalog::Table;
use crate::change::Operation;
use crate::names::quote_pg;
use crate::phase::Situation;
use crate::plan::Added;

const LSN: &str =
    "pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), '0/0')::pg_catalog.int8";

/// For INSERT and UPDATE.
pub(super) const IMAGE: &[Added] = &[Added::Entry, Added::Lsn, Added::Key, Added::Row];
/// For an UPDATE that assigns key columns.
pub(super) const MOVE: &[Added] =
    &[Added::Entry, Added::Lsn, Added::Key, Added::Row, Added::OldEntry, Added::OldKey];
/// For MERGE.
pub(super) const MERGE: &[Added] =
    &[Added::Entry, Added::Lsn, Added::Key, Added::Row, Added::Operation];
/// For a table with triggers, which write the entries: images alone.
pub(super) const TRACED: &[Added] = &[Added::Lsn, Added::Key, Added::Row];
/// The same for an UPDATE that assigns key columns.
pub(super) const TRACED_MOVE: &[Added] = &[Added::Lsn, Added::Key, Added::Row, Added::OldKey];
/// For a table with `outbox: false`: images alone, under the guard.
pub(super) const LOOSE: &[Added] = &[Added::Guard, Added::Lsn, Added::Key, Added::Row];
/// The same for an UPDATE that assigns key columns.
pub(super) const LOOSE_MOVE: &[Added] =
    &[Added::Guard, Added::Lsn, Added::Key, Added::Row, Added::OldKey];
/// Where only the entry is written and nothing comes back.
pub(super) const ENTRY: &[Added] = &[Added::Entry];

/// The select list for `columns` of a statement that does `operation`; `qualifier` names the target.
/// A deleted row has no image. The entry is written while the row's lock is held, after the row's
/// own change is in the log.
pub(super) fn list(
    table: &Table,
    qualifier: &str,
    columns: &[Added],
    operation: Operation,
    situation: &Situation,
) -> String {
    let deleted = operation == Operation::Delete;
    let sent = format!("pg_catalog.record_send({})", key(table, qualifier));
    let letter = |letter: char| format!("'{letter}'");
    let merged = "pg_catalog.substr(merge_action(), 1, 1)::pg_catalog.\"char\"".to_owned();
    let column = |added: &Added| match added {
        Added::Entry if columns.contains(&Added::Operation) => {
            format!("{} AS cf_id", enter(table, &merged, &sent, situation))
        }
        Added::Entry => {
            let entered = enter(table, &letter(operation.letter()), &sent, situation);
            format!("{entered} AS cf_id")
        }
        Added::Guard => format!("{} AS cf_guard", guard(situation)),
        Added::Lsn => format!("{LSN} AS cf_lsn"),
        Added::Key => format!("{sent} AS cf_key"),
        Added::Row if deleted => {
            format!("pg_catalog.record_send(ROW({qualifier}.tableoid, NULL)) AS cf_row")
        }
        Added::Row => format!(
            "pg_catalog.record_send(ROW({qualifier}.tableoid, ROW({qualifier}.*))) AS cf_row"
        ),
        Added::OldEntry => format!(
            "CASE WHEN cf_prev.cf_old OPERATOR(pg_catalog.<>) {sent} THEN {} END AS cf_old_id",
            enter(table, &letter('D'), "cf_prev.cf_old", situation)
        ),
        Added::OldKey => "cf_prev.cf_old".to_owned(),
        Added::Operation => "pg_catalog.substr(merge_action(), 1, 1) AS cf_op".to_owned(),
    };
    columns.iter().map(column).collect::<Vec<_>>().join(", ")
}

/// `ROW(q."a", q."b")`, the key in its own order.
pub(super) fn key(table: &Table, qualifier: &str) -> String {
    let columns =
        table.key_columns().map(|column| format!("{qualifier}.{}", quote_pg(&column.name)));
    format!("ROW({})", columns.collect::<Vec<_>>().join(", "))
}

/// The call that writes one outbox entry and returns its number; raises unless this sidecar's epoch
/// and timeline are the primary's.
fn enter(table: &Table, operation: &str, key: &str, situation: &Situation) -> String {
    let id = table.id.map_or(0, |id| id.0);
    let Situation { epoch, timeline, .. } = situation;
    format!("crossfade.enter({id}, {operation}, {key}, {epoch}, '{timeline}')")
}

/// The entries of a TRUNCATE, as a statement that follows it.
pub(super) fn enter_truncate(ids: &[i32], situation: &Situation) -> String {
    let ids = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    format!(
        "SELECT entered, entry, lsn FROM crossfade.truncated(ARRAY[{ids}], {}, '{}')",
        situation.epoch, situation.timeline
    )
}

/// Takes the lock, and raises unless this sidecar's epoch and timeline are the primary's.
fn guard(situation: &Situation) -> String {
    format!("crossfade.guard({}, '{}')", situation.epoch, situation.timeline)
}
