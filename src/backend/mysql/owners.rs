//! Who holds a unique value on the secondary.
//!
//! ```text
//! image that clashes ──unique columns──▶ SELECT key … ──▶ keys of the rows that have the values now
//! ```
//!
//! Invariant: reads only, outside of any transaction; what it finds may be gone a moment later, so the
//! rows are read again on the primary before anything is done about them.

use mysql_async::prelude::Queryable as _;
use mysql_async::{Params, Row};

use super::connect::Link;
use super::error::WriteError;
use super::rows;
use crate::catalog::Table;
use crate::change::{Key, RowImage};
use crate::names::quote_mysql;
use crate::value::Value;

/// The keys of other rows that hold one of the image's unique values. Keys of types that cannot
/// be written back to PostgreSQL's binary form are left out.
pub(super) async fn owners(
    link: &mut Link,
    table: &Table,
    key: &Key,
    image: &RowImage,
) -> Result<Vec<Key>, WriteError> {
    let mut owners: Vec<Key> = Vec::new();
    let flavor = link.flavor();
    for unique in table.uniques.iter().filter(|unique| !unique.columns.is_empty()) {
        let columns = || unique.columns.iter().map(|at| (&table.columns[*at], *at));
        if columns().any(|(_, at)| matches!(image.values[at], Value::Null)) {
            continue;
        }
        let conditions: Vec<String> = columns()
            .map(|(column, _)| format!("{} = {}", quote_mysql(&column.name), rows::operand(column)))
            .collect();
        let params = columns()
            .map(|(column, at)| rows::param(table, column, &image.values[at], flavor))
            .collect::<Result<Vec<_>, _>>()?;
        let names: Vec<String> =
            table.key_columns().map(|column| quote_mysql(&column.name)).collect();
        let sql = format!(
            "SELECT {} FROM {} WHERE {} LIMIT 1",
            names.join(", "),
            quote_mysql(&table.target),
            conditions.join(" AND ")
        );
        let found: Option<Row> = link.conn().exec_first(sql, Params::Positional(params)).await?;
        let owner = found.and_then(|row| read(table, row));
        owners.extend(owner.filter(|owner| owner.hash != key.hash));
    }
    owners.sort_unstable_by_key(|owner| owner.hash);
    owners.dedup_by_key(|owner| owner.hash);
    Ok(owners)
}

/// The key's columns, as they were selected.
pub(super) fn read(table: &Table, row: Row) -> Option<Key> {
    let params = row.unwrap();
    let columns = table.key_columns().zip(&params);
    let values = columns.map(|(column, param)| Value::from_mysql(param, &column.type_ref.pg_type));
    Key::encode(values.collect::<Option<Vec<_>>>()?, table)
}
