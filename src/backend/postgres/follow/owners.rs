//! Who holds a unique value, and a row's key as PostgreSQL returns it.
//!
//! Invariant: reads only, outside of any transaction; what it finds may be gone a moment later, so the
//! rows are read again on the primary before anything is done about them.

use bytes::Bytes;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, Type};

use super::Follower;
use super::rows::{Text, dynamic};
use crate::backend::mysql::WriteError;
use crate::catalog::{Column, Table};
use crate::change::{Key, RowImage};
use crate::names::quote_pg;
use crate::value::Value;

pub(super) async fn owners(
    link: &mut Follower,
    table: &Table,
    key: &Key,
    image: &RowImage,
) -> Result<Vec<Key>, WriteError> {
    let mut owners: Vec<Key> = Vec::new();
    for unique in table.uniques.iter().filter(|unique| !unique.columns.is_empty()) {
        let values = || unique.columns.iter().map(|at| &image.values[*at]);
        if values().any(|value| *value == Value::Null) {
            continue;
        }
        let conditions: Vec<String> = unique
            .columns
            .iter()
            .zip(1..)
            .map(|(at, number)| format!("{} = ${number}", quote_pg(&table.columns[*at].name)))
            .collect();
        let sql = format!(
            "SELECT {} FROM {} WHERE {} LIMIT 1",
            key_names(table),
            table.name.quoted(),
            conditions.join(" AND ")
        );
        let statement = link.prepared(sql).await?;
        let values: Vec<Text> = values().map(Text::of).collect();
        let found = link.client.query_opt(&statement, &dynamic(&values)).await?;
        let owner = found.and_then(|row| read(table, &row));
        owners.extend(owner.filter(|owner| owner.hash != key.hash));
    }
    owners.sort_unstable_by_key(|owner| owner.hash);
    owners.dedup_by_key(|owner| owner.hash);
    Ok(owners)
}

pub(super) fn key_names(table: &Table) -> String {
    let names: Vec<String> = table.key_columns().map(|column| quote_pg(&column.name)).collect();
    names.join(", ")
}

/// The key's columns, as they were selected.
pub(super) fn read(table: &Table, row: &Row) -> Option<Key> {
    let value = |(at, column): (usize, &Column)| {
        let Field(bytes) = row.try_get(at).ok()?;
        column.type_ref.pg_type.decode(&bytes).ok()
    };
    let values: Option<Vec<Value>> = table.key_columns().enumerate().map(value).collect();
    Key::encode(values?, table)
}

/// A field in binary, of any type.
struct Field(Bytes);

impl<'a> FromSql<'a> for Field {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(Bytes::copy_from_slice(raw)))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
