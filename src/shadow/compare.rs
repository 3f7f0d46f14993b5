//! Whether two answers to one read are the same.
//!
//! ```text
//! columns: names, types ─▶ rows in any order ─▶ the order, as far as ORDER BY fixes it
//!                                 └─ not the same: does the text leave open which rows these are?
//! ```
//!
//! Fields are compared as the bytes that a client would get in binary. Only computed floating point
//! numbers are compared by 12 digits: a sum depends on the order in which PostgreSQL adds, too.
//!
//! Invariant: [`Verdict::Different`] means that no order of work on the primary could have given the
//! secondary's answer.

use std::cmp::Ordering;

use bytes::Bytes;

use super::reading::Reading;
use super::sides::{Column, Rows};
use crate::catalog::Catalog;
use crate::names::Oid;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Same,
    Different,
    /// Different, but within what the text leaves open.
    Open,
}

const FLOAT4: Oid = 700;
const FLOAT8: Oid = 701;
/// Types in which two values that sort alike are the same bytes: bool, bytea, name, int8, int2, int4,
/// text, oid, varchar, date, time, timestamp, timestamptz, uuid.
const DISTINCT: &[Oid] = &[16, 17, 19, 20, 21, 23, 25, 26, 1043, 1082, 1083, 1114, 1184, 2950];

pub(super) fn compare(
    reading: &Reading,
    catalog: &Catalog,
    primary: &Rows,
    secondary: &Rows,
) -> Verdict {
    let same = |(a, b): (&Column, &Column)| a.name == b.name && a.type_oid == b.type_oid;
    if primary.columns.len() != secondary.columns.len()
        || !primary.columns.iter().zip(&secondary.columns).all(same)
    {
        return Verdict::Different;
    }
    let columns = &primary.columns;
    let (ours, theirs) = (normal(primary), normal(secondary));
    let keys = order(reading, catalog, columns);
    let all: Vec<usize> = (0..columns.len()).collect();
    let ordered = picked(&ours, &keys) == picked(&theirs, &keys);
    if sorted(&ours, &all) == sorted(&theirs, &all) {
        return if ordered { Verdict::Same } else { Verdict::Different };
    }
    if reading.open {
        return Verdict::Open;
    }
    if !reading.limited || ours.len() != theirs.len() || !ordered {
        return Verdict::Different;
    }
    // The text may leave open which rows were picked, but not what is in them.
    match identity(reading, catalog, columns) {
        Some(key) if sorted(&ours, &key) == sorted(&theirs, &key) => Verdict::Different,
        _ => Verdict::Open,
    }
}

type Row = Vec<Option<Bytes>>;

fn normal(side: &Rows) -> Vec<Row> {
    let float =
        |column: &Column| column.origin.0 == 0 && matches!(column.type_oid, FLOAT4 | FLOAT8);
    let floats: Vec<usize> =
        (0..side.columns.len()).filter(|at| float(&side.columns[*at])).collect();
    let mut rows = side.rows.clone();
    for row in rows.iter_mut().filter(|_| !floats.is_empty()) {
        for at in &floats {
            if let Some(Some(field)) = row.get_mut(*at) {
                *field = rounded(field);
            }
        }
    }
    rows
}

/// As many digits as two ways of adding agree in.
fn rounded(field: &Bytes) -> Bytes {
    let (value, digits) = match (<[u8; 8]>::try_from(&field[..]), <[u8; 4]>::try_from(&field[..])) {
        (Ok(bytes), _) => (f64::from_be_bytes(bytes), 12),
        (_, Ok(bytes)) => (f64::from(f32::from_be_bytes(bytes)), 5),
        _ => return field.clone(),
    };
    format!("{value:.digits$e}").into()
}

/// The columns that the rows are sorted by, as long as no two rows that sort alike can differ in them.
fn order(reading: &Reading, catalog: &Catalog, columns: &[Column]) -> Vec<usize> {
    let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
    let exact = |at: &usize| {
        let column = &columns[*at];
        let of_table = catalog
            .table(column.origin.0)
            .and_then(|table| table.columns.iter().find(|known| known.number == column.origin.1));
        DISTINCT.contains(&column.type_oid) && of_table.is_none_or(|known| !known.nondeterministic)
    };
    reading.sorted_by(&names).into_iter().take_while(exact).collect()
}

/// The primary key's columns, where the rows are those of one table.
fn identity(reading: &Reading, catalog: &Catalog, columns: &[Column]) -> Option<Vec<usize>> {
    let table = columns.iter().map(|column| column.origin.0).find(|table| *table != 0)?;
    if !reading.single || columns.iter().any(|column| ![0, table].contains(&column.origin.0)) {
        return None;
    }
    let table = catalog.table(table).filter(|table| !table.key.is_empty())?;
    let place = |number: i16| columns.iter().position(|column| column.origin.1 == number);
    table.key_columns().map(|key| place(key.number)).collect()
}

fn picked<'a>(rows: &'a [Row], columns: &[usize]) -> Vec<Vec<Option<&'a Bytes>>> {
    let pick =
        |row: &'a Row| columns.iter().map(|at| row.get(*at).and_then(Option::as_ref)).collect();
    rows.iter().map(pick).collect()
}

fn sorted<'a>(rows: &'a [Row], columns: &[usize]) -> Vec<Vec<Option<&'a Bytes>>> {
    let mut rows = picked(rows, columns);
    rows.sort_unstable_by(|a, b| a.partial_cmp(b).unwrap_or(Ordering::Equal));
    rows
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn side(columns: &[(&str, Oid, (Oid, i16))], rows: &[&[&str]]) -> Rows {
        let column = |(name, type_oid, origin): &(&str, Oid, (Oid, i16))| Column {
            name: (*name).to_owned(),
            type_oid: *type_oid,
            origin: *origin,
        };
        let field =
            |text: &&str| (*text != "NULL").then(|| Bytes::copy_from_slice(text.as_bytes()));
        let row = |row: &&[&str]| row.iter().map(field).collect();
        Rows {
            columns: columns.iter().map(column).collect(),
            rows: rows.iter().map(row).collect(),
            took: Duration::ZERO,
        }
    }

    const AB: &[(&str, Oid, (Oid, i16))] = &[("a", 25, (0, 0)), ("b", 25, (0, 0))];

    #[track_caller]
    fn check(sql: &str, ours: &[&[&str]], theirs: &[&[&str]], expected: Verdict) {
        let reading = Reading::of(sql).unwrap();
        let (ours, theirs) = (side(AB, ours), side(AB, theirs));
        let found = compare(&reading, &Catalog::default(), &ours, &theirs);
        assert_eq!(found, expected, "{sql}");
    }

    #[test]
    fn the_order_of_rows_counts_where_order_by_fixes_it() {
        let (up, down): (&[&[&str]], &[&[&str]]) =
            (&[&["1", "x"], &["2", "y"]], &[&["2", "y"], &["1", "x"]]);
        check("SELECT a, b FROM t", up, down, Verdict::Same);
        check("SELECT a, b FROM t ORDER BY a", up, down, Verdict::Different);
        check("SELECT a, b FROM t ORDER BY lower(c)", up, down, Verdict::Same);
        let (xy, yx): (&[&[&str]], &[&[&str]]) =
            (&[&["1", "x"], &["1", "y"]], &[&["1", "y"], &["1", "x"]]);
        check("SELECT a, b FROM t ORDER BY a", xy, yx, Verdict::Same);
        check("SELECT a, b FROM t ORDER BY 1, 2", xy, yx, Verdict::Different);
    }

    #[test]
    fn a_row_more_or_another_value_is_a_difference() {
        check("SELECT a, b FROM t", &[&["1", "x"]], &[&["1", "NULL"]], Verdict::Different);
        check("SELECT a, b FROM t", &[&["1", "x"]], &[], Verdict::Different);
        let twice: &[&[&str]] = &[&["1", "x"], &["1", "x"], &["2", "y"]];
        let other: &[&[&str]] = &[&["1", "x"], &["2", "y"], &["2", "y"]];
        check("SELECT a, b FROM t", twice, other, Verdict::Different);
    }

    #[test]
    fn what_the_text_leaves_open_is_not_held_against_anybody() {
        let (one, two): (&[&[&str]], &[&[&str]]) = (&[&["1", "x"]], &[&["2", "y"]]);
        check("SELECT a, b FROM t LIMIT 1", one, two, Verdict::Open);
        check("SELECT a, b FROM t ORDER BY a LIMIT 1", one, two, Verdict::Different);
        check("SELECT a, b FROM t ORDER BY a LIMIT 1", one, &[&["1", "y"]], Verdict::Open);
        check("SELECT a, b FROM t LIMIT 1", one, &[], Verdict::Different);
        check("SELECT DISTINCT ON (a) a, b FROM t", one, &[&["1", "y"]], Verdict::Open);
    }

    #[test]
    fn the_row_that_was_picked_is_known_by_its_key() {
        let catalog = Catalog::for_test(&[("t", "id:int4*,b:text")]);
        let oid = catalog.by_name(&crate::names::TableName::parse("t")).unwrap().oid;
        let columns = [("id", 23, (oid, 1)), ("b", 25, (oid, 2))];
        let reading = Reading::of("SELECT * FROM t LIMIT 1").unwrap();
        let verdict = |theirs: &[&str]| {
            let (ours, theirs) = (side(&columns, &[&["1", "x"]]), side(&columns, &[theirs]));
            compare(&reading, &catalog, &ours, &theirs)
        };
        assert_eq!(verdict(&["1", "x"]), Verdict::Same);
        assert_eq!(verdict(&["1", "y"]), Verdict::Different);
        assert_eq!(verdict(&["2", "y"]), Verdict::Open);
    }

    #[test]
    fn types_and_names_count_and_the_last_digits_of_computed_floats_do_not() {
        let reading = Reading::of("SELECT a FROM t").unwrap();
        let verdict =
            |ours: &Rows, theirs: &Rows| compare(&reading, &Catalog::default(), ours, theirs);
        let text = side(&[("a", 25, (0, 0))], &[&["1"]]);
        assert_eq!(verdict(&text, &side(&[("a", 1043, (0, 0))], &[&["1"]])), Verdict::Different);
        assert_eq!(verdict(&text, &side(&[("A", 25, (0, 0))], &[&["1"]])), Verdict::Different);
        let float = |value: f64, table: Oid| {
            let mut side = side(&[("a", FLOAT8, (table, 1))], &[&["x"]]);
            side.rows[0][0] = Some(Bytes::copy_from_slice(&value.to_be_bytes()));
            side
        };
        let (sum, other) = (0.1 + 0.2, 0.3);
        assert_eq!(verdict(&float(sum, 0), &float(other, 0)), Verdict::Same);
        assert_eq!(verdict(&float(sum, 1), &float(other, 1)), Verdict::Different);
        assert_eq!(verdict(&float(0.3, 0), &float(0.301, 0)), Verdict::Different);
    }
}
