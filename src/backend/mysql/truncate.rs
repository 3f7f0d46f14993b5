//! TRUNCATE on the secondary: every row goes that is not newer than it.
//!
//! ```text
//! fence of the table raised (locked: nobody else applies to it)
//!   └─ nothing newer ──▶ DELETE in chunks
//!   └─ else: keys in key order, a chunk at a time ─▶ their fence entries ─▶ DELETE of those not newer
//! ```
//!
//! Invariant: a row that another sidecar wrote after the TRUNCATE survives it, whichever of the two
//! reached the secondary first. Memory holds one chunk. Children are truncated by changes of their
//! own, so no cascade may fire.

use std::collections::HashSet;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Params, Row, Value as Param};

use super::connect::Link;
use super::error::WriteError;
use super::rows;
use super::write::at_once;
use crate::catalog::{Column, Table, TargetType};
use crate::change::{KeyHash, Version};
use crate::names::quote_mysql;
use crate::value::Value;

/// Keys read, and rows deleted, at a time.
pub(super) const CHUNK_ROWS: usize = 500;

pub(super) async fn empty(
    link: &mut Link,
    table: &Table,
    version: Version,
) -> Result<(), WriteError> {
    raise(link, table, version).await?;
    let newer = is_any_newer(link, table, version).await?;
    link.conn().query_drop("SET SESSION foreign_key_checks = 0").await?;
    let result = match newer {
        false => delete_all(link, table).await,
        true => delete_older(link, table, version).await,
    };
    // Without its checks the connection must not live on.
    let restored = link.conn().query_drop("SET SESSION foreign_key_checks = 1").await;
    restored.map_err(|_| WriteError::Disconnected)?;
    result
}

async fn raise(link: &mut Link, table: &Table, version: Version) -> Result<(), WriteError> {
    let id = table.id.ok_or_else(|| WriteError::NoKey(table.name.clone()))?;
    let sql = "UPDATE `crossfade_fence` SET `epoch` = ?, `counter` = ?, `n` = ?, \
               `at` = CURRENT_TIMESTAMP(6) WHERE `table_id` = ? AND `key_hash` = ?";
    let params = (version.epoch, version.counter, version.n, id.0, &KeyHash::TABLE.0[..]);
    link.conn().exec_drop(sql, params).await?;
    Ok(())
}

/// Entries of rows that were written after a version.
pub(super) const NEWER: &str = "`deleted` = 0 AND (`epoch` > ? OR (`epoch` = ? AND (`counter` > ? OR \
                     (`counter` = ? AND `n` > ?))))";

pub(super) fn newer_params(Version { epoch, counter, n }: Version) -> [Param; 5] {
    [epoch.into(), epoch.into(), counter.into(), counter.into(), n.into()]
}

/// Whether some row was written after the TRUNCATE: usually none.
async fn is_any_newer(
    link: &mut Link,
    table: &Table,
    version: Version,
) -> Result<bool, WriteError> {
    let sql = format!(
        "SELECT 1 FROM `crossfade_fence` WHERE `table_id` = ? AND `key_hash` <> ? AND {NEWER} LIMIT 1"
    );
    let mut params: Vec<Param> = vec![id(table), KeyHash::TABLE.0.to_vec().into()];
    params.extend(newer_params(version));
    let found: Option<u8> = link.conn().exec_first(sql, Params::Positional(params)).await?;
    Ok(found.is_some())
}

fn id(table: &Table) -> Param {
    table.id.map_or(0, |id| id.0).into()
}

async fn delete_all(link: &mut Link, table: &Table) -> Result<(), WriteError> {
    let sql = format!("DELETE FROM {} LIMIT {CHUNK_ROWS}", quote_mysql(&table.target));
    loop {
        link.conn().query_drop(&sql).await?;
        if link.conn().affected_rows() == 0 {
            return Ok(());
        }
    }
}

async fn delete_older(link: &mut Link, table: &Table, version: Version) -> Result<(), WriteError> {
    let key: Vec<&Column> = table.key_columns().collect();
    let (first, next) =
        (chunk(table, &key, false, CHUNK_ROWS), chunk(table, &key, true, CHUNK_ROWS));
    let mut found: Vec<Row> = link.conn().exec(first, ()).await?;
    while !found.is_empty() {
        let last = found.len() < CHUNK_ROWS;
        let mut rows: Vec<Vec<Param>> = found.into_iter().map(Row::unwrap).collect();
        // The first half of each row is the key as a value, the second as a place in the order.
        let places: Vec<Vec<Param>> = rows.iter_mut().map(|row| row.split_off(key.len())).collect();
        delete_chunk(link, table, &rows, version).await?;
        let (Some(place), false) = (places.last(), last) else { break };
        let params = Params::Positional(after_params(place));
        found = link.conn().exec(&next, params).await?;
    }
    Ok(())
}

/// The statement for the next keys, each as a value and as a place in the order, and its parameters.
pub(super) fn page(table: &Table, place: Option<&[Param]>, rows: usize) -> (String, Vec<Param>) {
    let key: Vec<&Column> = table.key_columns().collect();
    let params = place.map(after_params).unwrap_or_default();
    (chunk(table, &key, place.is_some(), rows), params)
}

/// One chunk of keys in key order: all of it, or what comes after a place.
fn chunk(table: &Table, key: &[&Column], continued: bool, rows: usize) -> String {
    let names: Vec<String> = key.iter().map(|column| quote_mysql(&column.name)).collect();
    let places: Vec<String> = key.iter().map(|column| place(column)).collect();
    let after = if continued { format!(" WHERE {}", after(key)) } else { String::new() };
    format!(
        "SELECT {}, {} FROM {}{after} ORDER BY {} LIMIT {rows}",
        names.join(", "),
        places.join(", "),
        quote_mysql(&table.target),
        names.join(", ")
    )
}

/// What a column is ordered by. An enum is by its label's number, but compares with text as text.
pub(super) fn place(column: &Column) -> String {
    let name = quote_mysql(&column.name);
    match column.target {
        TargetType::Enum(_) => format!("{name} + 0"),
        _ => name,
    }
}

/// ``a >= ? AND (a > ? OR (a = ? AND b > ?))``: MariaDB reads the whole table to compare rows as
/// such, and the first term alone bounds what is read where the optimizer makes nothing of the rest.
pub(super) fn after(key: &[&Column]) -> String {
    let compare = |column: &&Column, sign: &str| {
        let operand = match column.target {
            TargetType::Enum(_) => "?".to_owned(),
            _ => rows::operand(column),
        };
        format!("{} {sign} {operand}", place(column))
    };
    let term = |at: usize| {
        let mut parts: Vec<String> = key[..at].iter().map(|column| compare(column, "=")).collect();
        parts.push(compare(&key[at], ">"));
        format!("({})", parts.join(" AND "))
    };
    let terms: Vec<String> = (0..key.len()).map(term).collect();
    format!("{} AND ({})", compare(&key[0], ">="), terms.join(" OR "))
}

/// The parameters of [`after`], in its order.
pub(super) fn after_params(place: &[Param]) -> Vec<Param> {
    let prefixes = (1..=place.len()).flat_map(|length| place[..length].iter().cloned());
    place.first().cloned().into_iter().chain(prefixes).collect()
}

/// Deletes the rows of these keys but for those that are newer than the TRUNCATE.
async fn delete_chunk(
    link: &mut Link,
    table: &Table,
    keys: &[Vec<Param>],
    version: Version,
) -> Result<(), WriteError> {
    let hashes = keys.iter().map(|key| hash(table, key)).collect::<Result<Vec<_>, _>>()?;
    let sql = format!(
        "SELECT `key_hash` FROM `crossfade_fence` WHERE `table_id` = ? AND `key_hash` IN ({}) AND {NEWER}",
        vec!["?"; hashes.len()].join(", ")
    );
    let mut params = vec![id(table)];
    params.extend(hashes.iter().map(|hash| Param::Bytes(hash.0.to_vec())));
    params.extend(newer_params(version));
    let newer: Vec<Vec<u8>> = link.conn().exec(sql, Params::Positional(params)).await?;
    let newer: HashSet<Vec<u8>> = newer.into_iter().collect();
    let pairs = keys.iter().zip(&hashes);
    let gone = pairs.filter(|(_, hash)| !newer.contains(&hash.0[..])).map(|(key, _)| key);
    let gone: Vec<&Vec<Param>> = gone.collect();
    let mut rest = &gone[..];
    while !rest.is_empty() {
        let (part, tail) = rest.split_at(at_once(rest.len()));
        rest = tail;
        let params = part.iter().flat_map(|key| key.iter().cloned()).collect();
        let sql = rows::delete_many(table, part.len());
        link.conn().exec_drop(sql, Params::Positional(params)).await?;
    }
    Ok(())
}

/// The hash of a key as MySQL returned it.
pub(super) fn hash(table: &Table, params: &[Param]) -> Result<KeyHash, WriteError> {
    let values: Option<Vec<Value>> = table
        .key_columns()
        .zip(params)
        .map(|(column, param)| Value::from_mysql(param, &column.type_ref.pg_type))
        .collect();
    let values = values.ok_or_else(|| WriteError::NoKey(table.name.clone()))?;
    Ok(KeyHash::of(&values, table))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;
    use crate::names::TableId;

    #[test]
    fn the_order_of_a_key_is_spelled_out_column_by_column() {
        let catalog = Catalog::for_test(&[("t", "a:int4*,e:enum(x|y)*,n:numeric(8,2)*")]);
        let table = catalog.by_id(TableId(1)).unwrap();
        let key: Vec<&Column> = table.key_columns().collect();
        assert_eq!(
            after(&key),
            "`a` >= ? AND ((`a` > ?) OR (`a` = ? AND `e` + 0 > ?) OR \
             (`a` = ? AND `e` + 0 = ? AND `n` > CAST(? AS DECIMAL(8, 2))))"
        );
        let place = [1, 2, 3].map(Param::from);
        assert_eq!(after_params(&place), [1, 1, 1, 2, 1, 2, 3].map(Param::from));
    }
}
