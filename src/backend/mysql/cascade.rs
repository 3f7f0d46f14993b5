//! What a delete (or a change of key) would take along: rows that reference the row, and are newer.
//!
//! ```text
//! row (locked) ─▶ its children, a chunk of keys at a time (locked) ─▶ their fence: newer? ─▶ theirs …
//! ```
//!
//! A parent was deleted and inserted again, and a child with it; the child's image was faster than
//! both of the parent's, and went onto the row that the delete is still to remove. InnoDB's cascade
//! asks no fence: it would remove the child too, and nobody would bring it back.
//!
//! Invariant: a cascade changes no row that is newer than the change that causes it. Memory holds
//! one chunk of keys for each level of tables. A child that is written meanwhile has its lock: we
//! wait for it, or it finds its row gone and inserts it.

use std::collections::HashSet;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Params, Row, Value as Param};

use super::connect::Link;
use super::error::WriteError;
use super::execute::Failed;
use super::{rows, truncate};
use crate::catalog::{Action, Catalog, Column, ForeignKey, Table};
use crate::change::{Key, KeyHash, Version};
use crate::names::quote_mysql;

/// Which of a foreign key's actions would fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    Delete,
    Move,
}

impl Cause {
    fn action(self, key: &ForeignKey) -> Action {
        match self {
            Self::Delete => key.on_delete,
            Self::Move => key.on_update,
        }
    }
}

/// Whether a row that would change with this one is newer than `version`, by the stored fence: what
/// this transaction does itself it does in the primary's order.
pub(super) async fn has_newer(
    link: &mut Link,
    catalog: &Catalog,
    (table, key): (&Table, &Key),
    version: Version,
    cause: Cause,
) -> Result<bool, Failed> {
    if !is_referenced(catalog, table, cause) {
        return Ok(false);
    }
    let mut seen = HashSet::from([(table.oid, key.hash)]);
    let mut left = vec![(table, rows::key_params(table, key, link.flavor())?)];
    while let Some((parent, params)) = left.pop() {
        for (child, foreign) in children(catalog, parent, cause) {
            let Some(values) = referenced(link, parent, foreign, &params).await? else { continue };
            let mut after: Vec<Param> = Vec::new();
            loop {
                let found = page(link, child, foreign, &values, &after).await?;
                let Some(last) = found.last() else { break };
                after.clone_from(&last.place);
                if is_any_newer(link, child, &found, version).await? {
                    return Ok(true);
                }
                // A key that changed does not change the keys of those that follow it.
                let goes_on = cause == Cause::Delete && is_referenced(catalog, child, cause);
                let fresh = found.into_iter().filter(|one| seen.insert((child.oid, one.hash)));
                left.extend(fresh.filter(|_| goes_on).map(|one| (child, one.key)));
            }
        }
    }
    Ok(false)
}

fn is_referenced(catalog: &Catalog, table: &Table, cause: Cause) -> bool {
    children(catalog, table, cause).next().is_some()
}

/// The tables that reference this one by a key whose action writes.
fn children<'c>(
    catalog: &'c Catalog,
    table: &Table,
    cause: Cause,
) -> impl Iterator<Item = (&'c Table, &'c ForeignKey)> {
    let oid = table.oid;
    let tables = catalog.tables.values().filter(|child| child.id.is_some());
    tables.flat_map(move |child| {
        let keys = child.foreign_keys.iter();
        let writing = keys.filter(move |key| key.references == oid && cause.action(key).writes());
        writing.map(move |key| (&**child, key))
    })
}

/// The values that children name this row by; the row is locked. Nothing where it is not there.
async fn referenced(
    link: &mut Link,
    parent: &Table,
    foreign: &ForeignKey,
    key: &[Param],
) -> Result<Option<Vec<Param>>, Failed> {
    let names: Vec<String> = foreign.referenced.iter().map(|name| quote_mysql(name)).collect();
    let sql = format!(
        "SELECT {} FROM {} WHERE {} FOR UPDATE",
        names.join(", "),
        quote_mysql(&parent.target),
        rows::by_key(parent)
    );
    let row: Option<Row> = link.conn().exec_first(sql, Params::Positional(key.to_vec())).await?;
    let values = row.map(Row::unwrap);
    Ok(values.filter(|values| !values.contains(&Param::NULL)))
}

/// A row that references the one in question.
struct Child {
    key: Vec<Param>,
    place: Vec<Param>,
    hash: KeyHash,
}

/// The next of them, in key order, locked.
async fn page(
    link: &mut Link,
    child: &Table,
    foreign: &ForeignKey,
    values: &[Param],
    after: &[Param],
) -> Result<Vec<Child>, Failed> {
    let key: Vec<&Column> = child.key_columns().collect();
    let columns = foreign.columns.iter().map(|at| &child.columns[*at]);
    let mut conditions: Vec<String> = columns
        .map(|column| format!("{} = {}", quote_mysql(&column.name), rows::operand(column)))
        .collect();
    let mut params = values.to_vec();
    if !after.is_empty() {
        conditions.push(truncate::after(&key));
        params.extend(truncate::after_params(after));
    }
    let names: Vec<String> = key.iter().map(|column| quote_mysql(&column.name)).collect();
    let places: Vec<String> = key.iter().map(|column| truncate::place(column)).collect();
    let sql = format!(
        "SELECT {}, {} FROM {} WHERE {} ORDER BY {} LIMIT {} FOR UPDATE",
        names.join(", "),
        places.join(", "),
        quote_mysql(&child.target),
        conditions.join(" AND "),
        names.join(", "),
        truncate::CHUNK_ROWS
    );
    let found: Vec<Row> = link.conn().exec(sql, Params::Positional(params)).await?;
    let read = |row: Row| -> Result<Child, WriteError> {
        let mut values = row.unwrap();
        let place = values.split_off(key.len());
        let hash = truncate::hash(child, &values)?;
        Ok(Child { key: values, place, hash })
    };
    Ok(found.into_iter().map(read).collect::<Result<_, _>>()?)
}

async fn is_any_newer(
    link: &mut Link,
    table: &Table,
    found: &[Child],
    version: Version,
) -> Result<bool, Failed> {
    let Some(id) = table.id else { return Ok(false) };
    let sql = format!(
        "SELECT 1 FROM `crossfade_fence` WHERE `table_id` = ? AND `key_hash` IN ({}) AND {} LIMIT 1",
        vec!["?"; found.len()].join(", "),
        truncate::NEWER
    );
    let mut params = vec![Param::Int(id.0.into())];
    params.extend(found.iter().map(|one| Param::Bytes(one.hash.0.to_vec())));
    params.extend(truncate::newer_params(version));
    let newer: Option<u8> = link.conn().exec_first(sql, Params::Positional(params)).await?;
    Ok(newer.is_some())
}
