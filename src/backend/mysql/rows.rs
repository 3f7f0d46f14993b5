//! The text and parameters of the statements that write rows, always by primary key.
//!
//! ```text
//! INSERT INTO `t` (…) VALUES (…), (…)      UPDATE `t` SET … WHERE `key` = ?      DELETE … WHERE …
//! ```
//!
//! Invariant: no statement here can touch a row of another key: no REPLACE, no IGNORE, and ON
//! DUPLICATE KEY only with the whole key compared, see [`upsert`].

use std::fmt::Write as _;

use mysql_async::Value as Param;

use super::error::WriteError;
use crate::catalog::{Column, Table, TargetType};
use crate::change::{Key, RowImage};
use crate::names::quote_mysql;
use crate::value::{Flavor, Value};

/// `INSERT` of so many rows, with every carried column.
pub(super) fn insert(table: &Table, rows: usize) -> String {
    let names: Vec<String> = carried(table).map(|(_, column)| quote_mysql(&column.name)).collect();
    let row = format!("({})", vec!["?"; names.len()].join(", "));
    format!(
        "INSERT INTO {} ({}) VALUES {}",
        quote_mysql(&table.target),
        names.join(", "),
        vec![row.as_str(); rows].join(", ")
    )
}

/// `INSERT` of so many rows, each of which updates the row of its own key where there is one.
///
/// MySQL takes the clause for a duplicate in *any* unique key. Where the row that it found has another
/// key than ours, the first assignment sets that key to NULL, which no key can be: the statement fails
/// as a whole, and the rows go one by one.
pub(super) fn upsert(table: &Table, rows: usize, flavor: Flavor) -> String {
    let target = quote_mysql(&table.target);
    let new = |column: &Column| match flavor {
        Flavor::MariaDb => format!("VALUES({})", quote_mysql(&column.name)),
        Flavor::MySql => format!("cf_new.{}", quote_mysql(&column.name)),
    };
    let own = |column: &Column| format!("{target}.{}", quote_mysql(&column.name));
    let same: Vec<String> =
        table.key_columns().map(|column| format!("{} = {}", own(column), new(column))).collect();
    let guard = table.key_columns().take(1).map(|column| {
        let kept = if column.type_ref.pg_type.has_spellings() { new(column) } else { own(column) };
        format!("{} = IF({}, {kept}, NULL)", quote_mysql(&column.name), same.join(" AND "))
    });
    let first = table.key.first();
    let others = in_place(table).filter(|(at, _)| Some(at) != first);
    let set = others.map(|(_, column)| format!("{} = {}", quote_mysql(&column.name), new(column)));
    let alias = match flavor {
        Flavor::MariaDb => "",
        Flavor::MySql => " AS cf_new",
    };
    let set: Vec<String> = guard.chain(set).collect();
    format!("{}{alias} ON DUPLICATE KEY UPDATE {}", insert(table, rows), set.join(", "))
}

pub(super) fn insert_params(
    table: &Table,
    image: &RowImage,
    flavor: Flavor,
) -> Result<Vec<Param>, WriteError> {
    carried(table).map(|(at, column)| param(table, column, &image.values[at], flavor)).collect()
}

/// `UPDATE` of one row in place. Columns of the key are set only where equal keys may be spelled
/// differently.
pub(super) fn update(table: &Table) -> String {
    let set = assignments(in_place(table));
    // A table that is all key has nothing to set; the statement still says whether the row is there.
    let set = if set.is_empty() {
        let name = table.key_columns().next().map(|column| quote_mysql(&column.name));
        let name = name.unwrap_or_default();
        format!("{name} = {name}")
    } else {
        set
    };
    format!("UPDATE {} SET {set} WHERE {}", quote_mysql(&table.target), by_key(table))
}

pub(super) fn update_params(
    table: &Table,
    key: &Key,
    image: &RowImage,
    flavor: Flavor,
) -> Result<Vec<Param>, WriteError> {
    let mut params = in_place(table)
        .map(|(at, column)| param(table, column, &image.values[at], flavor))
        .collect::<Result<Vec<_>, _>>()?;
    params.append(&mut key_params(table, key, flavor)?);
    Ok(params)
}

/// `UPDATE` that also gives the row its new key.
pub(super) fn relocate(table: &Table) -> String {
    let set = assignments(carried(table));
    format!("UPDATE {} SET {set} WHERE {}", quote_mysql(&table.target), by_key(table))
}

pub(super) fn relocate_params(
    table: &Table,
    old: &Key,
    image: &RowImage,
    flavor: Flavor,
) -> Result<Vec<Param>, WriteError> {
    let mut params = insert_params(table, image, flavor)?;
    params.append(&mut key_params(table, old, flavor)?);
    Ok(params)
}

pub(super) fn delete(table: &Table) -> String {
    format!("DELETE FROM {} WHERE {}", quote_mysql(&table.target), by_key(table))
}

/// `DELETE` of so many rows, by their keys one after the other.
pub(super) fn delete_many(table: &Table, rows: usize) -> String {
    let row = format!("({})", by_key(table));
    let any = vec![row.as_str(); rows].join(" OR ");
    format!("DELETE FROM {} WHERE {any}", quote_mysql(&table.target))
}

pub(super) fn key_params(
    table: &Table,
    key: &Key,
    flavor: Flavor,
) -> Result<Vec<Param>, WriteError> {
    let pairs = table.key_columns().zip(&key.values);
    pairs.map(|(column, value)| param(table, column, value, flavor)).collect()
}

/// `` `a` = ? AND `b` = ? `` over the key.
pub(super) fn by_key(table: &Table) -> String {
    let mut text = String::new();
    for column in table.key_columns() {
        let glue = if text.is_empty() { "" } else { " AND " };
        // Writing to a String cannot fail.
        let _ = write!(text, "{glue}{} = {}", quote_mysql(&column.name), operand(column));
    }
    text
}

/// A parameter to compare a column with. MySQL compares a decimal with text as doubles.
pub(super) fn operand(column: &Column) -> String {
    match column.target {
        TargetType::Decimal { precision, scale } => {
            format!("CAST(? AS DECIMAL({precision}, {scale}))")
        }
        _ => "?".to_owned(),
    }
}

pub(super) fn param(
    table: &Table,
    column: &Column,
    value: &Value,
    flavor: Flavor,
) -> Result<Param, WriteError> {
    value.to_mysql(&column.target, flavor).map_err(|cause| WriteError::Unrepresentable {
        table: table.name.clone(),
        column: column.name.clone(),
        cause,
    })
}

/// The columns that MySQL has, with their positions in an image.
pub(super) fn carried(table: &Table) -> impl Iterator<Item = (usize, &Column)> {
    let columns = table.columns.iter().enumerate();
    columns.filter(|(_, column)| column.target != TargetType::None)
}

fn in_place(table: &Table) -> impl Iterator<Item = (usize, &Column)> {
    carried(table)
        .filter(|(at, column)| !table.is_key(*at) || column.type_ref.pg_type.has_spellings())
}

/// Whether an UPDATE in place sets this column.
pub(super) fn sets_in_place(table: &Table, name: &str) -> bool {
    in_place(table).any(|(_, column)| column.name == name)
}

fn assignments<'a>(columns: impl Iterator<Item = (usize, &'a Column)>) -> String {
    let parts: Vec<String> =
        columns.map(|(_, column)| format!("{} = ?", quote_mysql(&column.name))).collect();
    parts.join(", ")
}
