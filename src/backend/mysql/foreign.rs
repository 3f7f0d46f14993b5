//! The order of tables that foreign keys ask for: parents before children.
//!
//! Invariant: ranks order any two tables of the set of which one references the other, directly or
//! through others, unless they reference each other in a circle.

use std::collections::HashMap;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Params, Value as Param};

use super::connect::Link;
use super::error::WriteError;
use super::execute::Failed;
use super::rows;
use crate::catalog::{Catalog, ForeignKey, Table};
use crate::change::RowImage;
use crate::names::{Oid, quote_mysql};
use crate::value::{Flavor, Value};

/// A number per table: a parent's is lower than its children's.
#[must_use]
pub fn ranks<'a>(tables: impl Iterator<Item = &'a Table>) -> HashMap<Oid, usize> {
    let tables: HashMap<Oid, &Table> = tables.map(|table| (table.oid, table)).collect();
    let mut ranks: HashMap<Oid, usize> = tables.keys().map(|oid| (*oid, 0)).collect();
    // The longest path has fewer steps than there are tables; a circle just stops rising there.
    for _ in 1..tables.len() {
        for table in tables.values() {
            let parents = table.foreign_keys.iter().map(|key| key.references);
            let above = parents
                .filter(|parent| *parent != table.oid)
                .filter_map(|parent| ranks.get(&parent))
                .max()
                .map_or(0, |rank| rank + 1);
            if let Some(rank) = ranks.get_mut(&table.oid) {
                *rank = above.max(*rank);
            }
        }
    }
    ranks
}

/// The same, or nothing where tables reference each other in a circle.
pub(super) fn order<'a>(
    tables: impl Iterator<Item = &'a Table> + Clone,
) -> Option<HashMap<Oid, usize>> {
    let ranks = ranks(tables.clone());
    let mut tables = tables;
    let rises = |table: &Table| {
        let parents = table.foreign_keys.iter().map(|key| key.references);
        let mut parents = parents.filter(|parent| *parent != table.oid);
        parents.all(|parent| ranks.get(&parent).is_none_or(|rank| *rank < ranks[&table.oid]))
    };
    tables.all(rises).then_some(ranks)
}

/// True where an UPDATE in place of a row of one of the tables may change, by a foreign key, a row of
/// another: the key references something that such an UPDATE sets.
pub(super) fn cascades<'a>(tables: impl Iterator<Item = &'a Table> + Clone) -> bool {
    let by_oid: HashMap<Oid, &Table> = tables.map(|table| (table.oid, table)).collect();
    let is_set = |key: &ForeignKey| {
        let parent = by_oid.get(&key.references);
        parent.is_some_and(|parent| {
            key.referenced.iter().any(|name| rows::sets_in_place(parent, name))
        })
    };
    by_oid.values().any(|table| table.foreign_keys.iter().any(is_set))
}

/// Whether the parent that `image` names through `key` is there; it is locked then.
pub(super) async fn has_parent(
    link: &mut Link,
    catalog: &Catalog,
    table: &Table,
    key: &ForeignKey,
    image: &RowImage,
) -> Result<bool, Failed> {
    let Some((sql, params)) = parent_query(catalog, table, key, image, link.flavor())? else {
        return Ok(true);
    };
    let found: Option<u8> = link.conn().exec_first(sql, Params::Positional(params)).await?;
    Ok(found.is_some())
}

/// A query that finds the parent that `image` names through `key`, locked; nothing to ask for where
/// the reference is NULL or the parent is not carried over.
fn parent_query(
    catalog: &Catalog,
    table: &Table,
    key: &ForeignKey,
    image: &RowImage,
    flavor: Flavor,
) -> Result<Option<(String, Vec<Param>)>, WriteError> {
    let Some(parent) = catalog.table(key.references) else { return Ok(None) };
    if key.columns.iter().any(|at| matches!(image.values[*at], Value::Null)) {
        return Ok(None);
    }
    let (mut conditions, mut params) = (Vec::new(), Vec::new());
    for (at, name) in key.columns.iter().zip(&key.referenced) {
        let column = &table.columns[*at];
        conditions.push(format!("{} = {}", quote_mysql(name), rows::operand(column)));
        params.push(rows::param(table, column, &image.values[*at], flavor)?);
    }
    let sql = format!(
        "SELECT 1 FROM {} WHERE {} LIMIT 1 LOCK IN SHARE MODE",
        quote_mysql(&parent.target),
        conditions.join(" AND ")
    );
    Ok(Some((sql, params)))
}
