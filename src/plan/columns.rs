//! The SQL of the columns that a captured statement returns besides the client's.
//!
//! Invariant: every function is qualified, so that no search path and no function of the
//! application's can stand in for it; names begin with `cf_`.

use crate::catalog::Table;
use crate::names::quote_pg;
use crate::phase::Situation;
use crate::plan::Added;

const LSN: &str =
    "pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), '0/0')::pg_catalog.int8";
const NEXT: &str = "pg_catalog.nextval('crossfade.outbox_id'::pg_catalog.regclass)";

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
/// Where only the entry is written and nothing comes back.
pub(super) const ENTRY: &[Added] = &[Added::Entry, Added::Lsn, Added::Key];

/// The select list for `columns`; `qualifier` names the target. A deleted row has no image.
pub(super) fn list(table: &Table, qualifier: &str, columns: &[Added], deleted: bool) -> String {
    let column = |added: &Added| match added {
        Added::Entry => format!("{NEXT} AS cf_id"),
        Added::Lsn => format!("{LSN} AS cf_lsn"),
        Added::Key => format!("pg_catalog.record_send({}) AS cf_key", key(table, qualifier)),
        Added::Row if deleted => {
            format!("pg_catalog.record_send(ROW({qualifier}.tableoid, NULL)) AS cf_row")
        }
        Added::Row => format!(
            "pg_catalog.record_send(ROW({qualifier}.tableoid, ROW({qualifier}.*))) AS cf_row"
        ),
        Added::OldEntry => format!("{NEXT} AS cf_old_id"),
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

/// The statement that writes the outbox entries of the rows in `source`.
pub(super) fn enter(
    table: &Table,
    source: &str,
    columns: &[Added],
    letter: char,
    situation: &Situation,
) -> String {
    let id = table.id.map_or(0, |id| id.0);
    let guard = guard(situation);
    let operation = if columns.contains(&Added::Operation) {
        format!("{source}.cf_op::pg_catalog.\"char\"")
    } else {
        format!("'{letter}'")
    };
    let into = "INSERT INTO crossfade.outbox (id, table_id, op, key, epoch, counter)";
    let new = format!(
        "{into} SELECT {source}.cf_id, {id}, {operation}, {source}.cf_key, (SELECT {guard}), {source}.cf_lsn FROM {source}"
    );
    if !columns.contains(&Added::OldKey) {
        return new;
    }
    format!(
        "{new} UNION ALL SELECT {source}.cf_old_id, {id}, 'D', {source}.cf_old, (SELECT {guard}), {source}.cf_lsn FROM {source} WHERE {source}.cf_old <> {source}.cf_key"
    )
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
