//! What changed between two catalogues, as far as it makes the two sides differ.
//!
//! ```text
//! Catalog before, Catalog now ──[`dirtied`]──▶ tables to mark, with the reason
//! ```
//!
//! Invariant: a write that could not have been captured, because this sidecar did not know yet how,
//! is in a table that is marked. What the table's own transaction captured needs no mark.

use crate::catalog::{Capture, Catalog, Column, Table};
use crate::names::TableName;

/// The secondary's table has another shape, until `setup` has been run again.
pub(super) const DDL: &str = "ddl";
/// Writes passed while this sidecar did not capture them yet.
pub(super) const LATE: &str = "backfill";
/// Our trigger is gone or disabled.
pub(super) const TRIGGER_MISSING: &str = "trigger_missing";

/// Tables of `now` that may differ from here on. `before` is what sessions planned with so far.
pub(super) fn dirtied(before: &Catalog, now: &Catalog) -> Vec<(TableName, &'static str)> {
    let mut marks: Vec<(TableName, &'static str)> = now
        .tables
        .values()
        .filter(|table| table.id.is_some())
        .filter_map(|table| reason(before, table).map(|reason| (table.name.clone(), reason)))
        .collect();
    marks.sort();
    marks
}

fn reason(before: &Catalog, table: &Table) -> Option<&'static str> {
    if table.capture == Capture::Impossible(TRIGGER_MISSING) {
        return Some(TRIGGER_MISSING);
    }
    let old = before.by_name(&table.name)?;
    let captured = |table: &Table| {
        table.id.is_some() && matches!(table.capture, Capture::Returning | Capture::Trigger)
    };
    if captured(old) && shape(old) != shape(table) {
        return Some(DDL);
    }
    // A trigger captures from the moment it is there; RETURNING from the moment we know.
    (table.capture == Capture::Returning && !captured(old)).then_some(LATE)
}

/// What a row image and its place in MySQL depend on.
fn shape(table: &Table) -> (Vec<&str>, Vec<String>, &Vec<usize>) {
    let names = table.columns.iter().map(|column| column.name.as_str()).collect();
    let kind = |column: &Column| format!("{:?} {:?}", column.type_ref, column.target);
    (names, table.columns.iter().map(kind).collect(), &table.key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::TableId;
    use std::sync::Arc;

    fn catalog(columns: &str, change: impl FnOnce(&mut Table)) -> Catalog {
        let mut catalog = Catalog::for_test(&[("users", columns)]);
        let mut table = (**catalog.by_id(TableId(1)).unwrap()).clone();
        change(&mut table);
        catalog.tables.insert(table.oid, Arc::new(table));
        catalog
    }

    fn reasons(before: &Catalog, now: &Catalog) -> Vec<&'static str> {
        dirtied(before, now).into_iter().map(|(_, reason)| reason).collect()
    }

    #[test]
    fn the_same_catalogue_marks_nothing() {
        let same = || catalog("id:int4*,name:text", |_| ());
        assert!(reasons(&same(), &same()).is_empty());
        assert!(reasons(&Catalog::default(), &same()).is_empty());
    }

    #[test]
    fn another_column_or_type_is_ddl() {
        let before = catalog("id:int4*", |_| ());
        assert_eq!(reasons(&before, &catalog("id:int4*,name:text", |_| ())), [DDL]);
        assert_eq!(reasons(&before, &catalog("id:int8*", |_| ())), [DDL]);
    }

    #[test]
    fn a_table_that_was_passed_by_so_far_is_marked() {
        let before = catalog("id:int4*", |table| table.id = None);
        assert_eq!(reasons(&before, &catalog("id:int4*", |_| ())), [LATE]);
        let by_trigger = catalog("id:int4*", |table| table.capture = Capture::Trigger);
        assert!(reasons(&before, &by_trigger).is_empty());
    }

    #[test]
    fn a_missing_trigger_is_marked_every_time() {
        let gone = || catalog("id:int4*", |t| t.capture = Capture::Impossible(TRIGGER_MISSING));
        assert_eq!(reasons(&Catalog::default(), &gone()), [TRIGGER_MISSING]);
    }
}
