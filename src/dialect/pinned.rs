//! A write of one row whose key is written out: `WHERE id = $1`, `WHERE id = 7 AND version = $2`.
//!
//! Its key is known without asking MySQL for it, so that the row is found, locked and written by one
//! statement, and is noted by whoever must once MySQL has said that it was there.
//!
//! Invariant: the values are those of the row itself and not only equal to them: the hash of the key is made
//! of them. So only types are taken of which equal values are the same, and no row of another table may
//! change along with this one, since such rows have to be known before.

use std::sync::Arc;

use sqlparser::ast::{BinaryOperator as Op, Expr};

use crate::catalog::{ForeignKey, Table, TargetType};
use crate::change::Operation;
use crate::dialect::insert::has_select;
use crate::dialect::program::{Form, Keys, Set, Slot, Source, Text, Write};
use crate::dialect::scope::Relation;
use crate::dialect::translator::Translator;
use crate::dialect::typed::{Node, Repr, Typed};
use crate::dialect::update::Rows;
use crate::value::PgType;

impl Translator<'_> {
    /// The write by its own WHERE, where that names the whole key, and the set that it keeps the key in.
    /// `text` is all of the statement.
    pub(super) fn pinned(
        &mut self,
        rows: &Rows<'_>,
        selection: Option<&Expr>,
        operation: Operation,
        text: &Text,
        counts: bool,
    ) -> Option<(Write, Set)> {
        let table = rows.table;
        if rows.others || has_select(text) || self.takes_others_along(table, operation) {
            return None;
        }
        let key = self.key_of(table, rows.alias, selection?)?;
        let into = self.new_set();
        let keys = Keys::Pinned { key, into };
        let (table, text) = (Arc::clone(table), text.clone());
        Some((Write { table, operation, text, keys, counts }, into))
    }

    /// Each key column's value, from the conditions that all have to hold.
    fn key_of(&mut self, table: &Arc<Table>, alias: &str, selection: &Expr) -> Option<Vec<Slot>> {
        let own = Relation::of(table, alias);
        let mut key: Vec<Option<Slot>> = vec![None; table.key.len()];
        let mut left = vec![selection];
        while let Some(expr) = left.pop() {
            match expr {
                Expr::Nested(inner) => left.push(inner),
                Expr::BinaryOp { left: a, op: Op::And, right: b } => left.extend([&**a, &**b]),
                Expr::BinaryOp { left: a, op: Op::Eq, right: b } => {
                    let sides = if is_name(a) { (a, b) } else { (b, a) };
                    if !is_name(sides.0) || !is_value(sides.1) {
                        continue;
                    }
                    // Both were translated before, as parts of the whole: nothing is learnt of them here.
                    let (Ok(column), Ok(value)) = (self.expr(sides.0), self.expr(sides.1)) else {
                        continue;
                    };
                    let Ok((column, value)) = self.matched(column, value, "=") else { continue };
                    let is_it = |at: &&usize| same_column(&own.fields[**at].typed, &column);
                    let Some(at) = table.key.iter().find(is_it) else { continue };
                    let place = table.key.iter().position(|key| key == at)?;
                    key[place] = slot(&own.fields[*at].typed, &value, &table.columns[*at].target);
                }
                _ => {}
            }
        }
        key.into_iter().collect()
    }

    /// Whether MySQL may change rows of other tables along with this one's.
    fn takes_others_along(&self, table: &Table, operation: Operation) -> bool {
        let is_key = |name: &String| table.key_columns().any(|column| column.name == *name);
        let acts = |foreign: &ForeignKey| match operation {
            Operation::Delete => foreign.on_delete.writes(),
            // The key itself stays.
            _ => foreign.on_update.writes() && !foreign.referenced.iter().all(is_key),
        };
        let mut all = self.around.catalog.tables.values().flat_map(|other| &other.foreign_keys);
        all.any(|foreign| foreign.references == table.oid && acts(foreign))
    }
}

fn is_name(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
}

fn is_value(expr: &Expr) -> bool {
    match expr {
        Expr::Value(_) => true,
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => is_value(inner),
        _ => false,
    }
}

fn same_column(own: &Typed, found: &Typed) -> bool {
    matches!((&own.node, &found.node), (Node::Sql(own), Node::Sql(found)) if own == found)
}

/// The value as the column has it.
fn slot(column: &Typed, value: &Typed, target: &TargetType) -> Option<Slot> {
    let source @ (Source::Parameter(_) | Source::Constant(_)) = value.source()? else {
        return None;
    };
    let is_integer = |kind: &PgType| matches!(kind, PgType::Int2 | PgType::Int4 | PgType::Int8);
    let exact = match (&column.ty.kind, &value.ty.kind) {
        (of_column, of_value) if is_integer(of_column) => is_integer(of_value),
        (PgType::Uuid, PgType::Uuid) => true,
        (PgType::Text, PgType::Text) => column.repr == Repr::Plain,
        _ => false,
    };
    // A modifier would change the value once more.
    let exact = exact && value.ty.typmod < 0;
    exact.then(|| Slot { source, ty: value.ty.clone(), form: Form::Column(target.clone()) })
}

/// Appends a condition.
pub(super) fn where_of(mut text: Text, condition: Option<&Text>) -> Text {
    if let Some(condition) = condition {
        text.push(" WHERE ");
        text.append(condition.clone());
    }
    text
}
