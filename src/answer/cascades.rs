//! Rows of other tables that change along with those of a captured write.
//!
//! ```text
//! DELETE of a parent ──foreign keys that act──▶ its children, locked (FOR UPDATE) ──▶ theirs … ──▶ noted
//! ```
//!
//! Invariant: they are locked and noted before the write: after it nobody could tell which they were.

use std::sync::Arc;

use crate::answer::captured::{Notes, is_captured, key};
use crate::answer::error::{About, PgError};
use crate::answer::place::Rows;
use crate::catalog::{Action, Catalog, ForeignKey, Table};
use crate::change::{Key, Operation};
use crate::names::quote_mysql;

/// Keys of one statement to MySQL.
const KEYS_AT_ONCE: usize = 1000;
/// How far actions of foreign keys are followed.
const DEPTH_MAX: usize = 16;
/// Rows that one statement may change through actions of foreign keys.
const CHILDREN_MAX: usize = 100_000;

impl Notes<'_> {
    /// Rows of other tables that MySQL will change along with these.
    pub(super) async fn children(
        &mut self,
        table: &Table,
        operation: Operation,
        moves: bool,
        keys: &[Key],
        depth: usize,
    ) -> Result<(), PgError> {
        let catalog = Arc::clone(&self.situation.catalog);
        for (child, foreign, action) in acting(&catalog, table, operation, moves) {
            if DEPTH_MAX <= depth {
                return Err(PgError::unsupported("a cascade over so many tables"));
            }
            let found = self.find(table, &child, &foreign, keys).await?;
            if found.is_empty() {
                continue;
            }
            let follows = match (operation, action) {
                (Operation::Delete, Action::Cascade) => Operation::Delete,
                _ => Operation::Update,
            };
            let in_key = foreign.columns.iter().any(|at| child.is_key(*at));
            if is_captured(&child) && in_key && follows == Operation::Update {
                return Err(PgError::unsupported(
                    "a change of a key that other tables' keys follow",
                ));
            }
            if is_captured(&child) {
                let keys: Vec<Key> =
                    found.iter().map(|row| key(&child, row)).collect::<Result<_, _>>()?;
                Box::pin(self.children(&child, follows, false, &keys, depth + 1)).await?;
                self.enter(&child, follows, &keys).await?;
            }
        }
        Ok(())
    }

    /// Locks the children of some rows, and reads their keys.
    async fn find(
        &mut self,
        parent: &Table,
        child: &Table,
        foreign: &ForeignKey,
        keys: &[Key],
    ) -> Result<Rows, PgError> {
        let quoted = |side: &str, name: &str| format!("{side}.{}", quote_mysql(name));
        let own: Vec<String> =
            child.key_columns().map(|column| quoted("c", &column.name)).collect();
        let joined: Vec<String> = foreign
            .columns
            .iter()
            .zip(&foreign.referenced)
            .map(|(at, of)| {
                format!("{} = {}", quoted("c", &child.columns[*at].name), quoted("p", of))
            })
            .collect();
        let by: Vec<String> =
            parent.key_columns().map(|column| quoted("p", &column.name)).collect();
        let mut found = Rows::new();
        let flavor = self.backend.flavor();
        for part in keys.chunks(KEYS_AT_ONCE) {
            let place = format!("({})", vec!["?"; by.len()].join(", "));
            let sql = format!(
                "SELECT {} FROM {} p JOIN {} c ON {} WHERE ({}) IN ({}) FOR UPDATE",
                own.join(", "),
                quote_mysql(&parent.target),
                quote_mysql(&child.target),
                joined.join(" AND "),
                by.join(", "),
                vec![place; part.len()].join(", ")
            );
            let mut params = Vec::new();
            for key in part {
                for (value, column) in key.values.iter().zip(parent.key_columns()) {
                    params.push(value.to_mysql(&column.target, flavor)?);
                }
            }
            let about = About { catalog: &self.situation.catalog, table: None };
            let rest = CHILDREN_MAX.saturating_sub(found.len());
            let (rows, _) = self.backend.rows(&sql, params, rest, about).await?;
            found.extend(rows);
        }
        Ok(found)
    }
}

/// Foreign keys through which a change of this table's rows changes others; without `moves` the rows
/// keep their keys.
pub(super) fn acting(
    catalog: &Catalog,
    table: &Table,
    operation: Operation,
    moves: bool,
) -> Vec<(Arc<Table>, ForeignKey, Action)> {
    let mut found = Vec::new();
    for child in catalog.tables.values() {
        for foreign in child.foreign_keys.iter().filter(|key| key.references == table.oid) {
            let action = match operation {
                Operation::Delete => foreign.on_delete,
                Operation::Update if moves || !names_key(table, foreign) => foreign.on_update,
                Operation::Update => Action::NoAction,
                Operation::Insert | Operation::Truncate => Action::NoAction,
            };
            if action.writes() {
                found.push((Arc::clone(child), foreign.clone(), action));
            }
        }
    }
    found
}

/// Whether a foreign key refers to columns of the primary key alone.
fn names_key(table: &Table, foreign: &ForeignKey) -> bool {
    let is_key = |name: &String| table.key_columns().any(|column| column.name == *name);
    foreign.referenced.iter().all(is_key)
}
