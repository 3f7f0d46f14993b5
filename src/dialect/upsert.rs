//! INSERT … ON CONFLICT, a row at a time.
//!
//! ```text
//! find the row in conflict (FOR UPDATE) ─┬─ found ──▶ DO UPDATE by its key, or nothing
//!                                        └─ none ───▶ insert; 1062 by the target's index: once more
//! ```
//!
//! Invariant: only the target decides. Another unique key that clashes is an error, as in PostgreSQL;
//! MySQL's own ON DUPLICATE KEY would update that other row.

use std::sync::Arc;

use sqlparser::ast::{ConflictTarget, OnConflict, OnConflictAction, SelectItem};

use crate::catalog::Table;
use crate::catalog::naming::shorten;
use crate::change::Operation;
use crate::dialect::insert::{Row, from_alias, has_select, insert_text, key_tuple, known_keys};
use crate::dialect::names::{fold, parts};
use crate::dialect::program::{Keys, Piece, Set, Slot, Source, Step, Text, Update, Upsert, Write};
use crate::dialect::refuse::{Refused, unsupported};
use crate::dialect::scope::{Relation, Scope};
use crate::dialect::statement::Written;
use crate::dialect::translator::{Hidden, Translator};
use crate::dialect::typed::{Typed, around, join};
use crate::dialect::types::Type;
use crate::names::quote_mysql;

impl Translator<'_> {
    pub(super) fn upsert_rows(
        &mut self,
        table: &Arc<Table>,
        alias: &str,
        rows: Vec<Row>,
        conflict: &OnConflict,
        returning: Option<&[SelectItem]>,
        counts: bool,
    ) -> Result<Written, Refused> {
        if table.key.is_empty() {
            return Err(unsupported("ON CONFLICT on a table without a key"));
        }
        let mut written = Written::new(table);
        let several = rows.len() > 1;
        for row in rows {
            let found = self.new_set();
            let into = self.new_set();
            let upsert = self.upsert_row(table, alias, row, conflict, found, into, counts)?;
            let updates = upsert.update.is_some();
            written.steps.push(Step::Upsert(Box::new(upsert)));
            written.hidden =
                if several || updates { Hidden::Changed } else { Hidden::Inserted(into) };
            if let Some(items) = returning {
                let replaced = Slot {
                    source: Source::Replaced(found),
                    ty: Type::int8(),
                    form: super::program::Form::Column(crate::catalog::TargetType::BigInt),
                };
                self.returning(
                    &mut written,
                    table,
                    alias,
                    items,
                    into,
                    Some(Text::value(replaced)),
                )?;
            }
        }
        Ok(written)
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one statement")]
    fn upsert_row(
        &mut self,
        table: &Arc<Table>,
        alias: &str,
        row: Row,
        conflict: &OnConflict,
        found: Set,
        into: Set,
        counts: bool,
    ) -> Result<Upsert, Refused> {
        let target = Relation::of(table, alias);
        let excluded = excluded(table, &row);
        let (find, arbiters) = match &conflict.conflict_target {
            None => match conflict.action {
                OnConflictAction::DoNothing => (None, Vec::new()),
                OnConflictAction::DoUpdate(_) => {
                    let message =
                        "ON CONFLICT DO UPDATE requires inference specification or constraint name";
                    return Err(Refused::error("42601", message));
                }
            },
            Some(target_) => {
                let (find, arbiter) = self.find(table, &target, &excluded, target_)?;
                (Some(find), vec![arbiter])
            }
        };
        let rows = vec![row];
        let keys = known_keys(table, &rows, into)?;
        let insert = Write {
            table: Arc::clone(table),
            operation: Operation::Insert,
            text: insert_text(table, &rows)?,
            keys,
            counts,
        };
        let update = match &conflict.action {
            OnConflictAction::DoNothing => None,
            OnConflictAction::DoUpdate(update) => {
                self.scopes.push(Scope { relations: vec![target, excluded], ..Scope::default() });
                let result = self.do_update(table, alias, update, found, counts);
                self.scopes.pop();
                Some(result?)
            }
        };
        Ok(Upsert { find, found, insert, arbiters, update, written: into })
    }

    fn do_update(
        &mut self,
        table: &Arc<Table>,
        alias: &str,
        update: &sqlparser::ast::DoUpdate,
        found: Set,
        counts: bool,
    ) -> Result<Update, Refused> {
        let by_key = |text: &mut Text| {
            text.push(&format!(" WHERE {} IN (", key_tuple(table, alias)));
            text.0.push(Piece::Keys { set: found, at: (0..table.key.len()).collect() });
            text.push(")");
        };
        let condition = match &update.selection {
            None => None,
            Some(selection) => {
                let typed = self.condition(selection, "WHERE")?;
                let mut text = around("SELECT ", self.text(&typed)?, &from_alias(table, alias));
                by_key(&mut text);
                Some(text)
            }
        };
        let set = self.assignments(table, &update.assignments)?;
        if set.iter().any(|(at, _)| table.is_key(*at)) {
            return Err(unsupported("ON CONFLICT DO UPDATE of a key column"));
        }
        let Some(list) = self.in_order(table, alias, &set) else {
            return Err(unsupported("assignments that read one another"));
        };
        if set.iter().any(|(_, cell)| has_select(&cell.text)) {
            return Err(unsupported("a subquery in ON CONFLICT DO UPDATE"));
        }
        let head = format!("UPDATE {} AS {} SET ", quote_mysql(&table.target), quote_mysql(alias));
        let mut text = around(&head, list, "");
        by_key(&mut text);
        let write = Write {
            table: Arc::clone(table),
            operation: Operation::Update,
            text,
            keys: Keys::Kept(found),
            counts,
        };
        Ok(Update { condition, write })
    }

    /// How the row in conflict is found, and the index that says so.
    fn find(
        &mut self,
        table: &Arc<Table>,
        target: &Relation,
        excluded: &Relation,
        conflict: &ConflictTarget,
    ) -> Result<(Text, String), Refused> {
        let (columns, name) = match conflict {
            ConflictTarget::Columns(idents) => {
                let mut columns = Vec::new();
                for ident in idents {
                    let name = fold(ident);
                    let at = table.columns.iter().position(|column| column.name == name);
                    columns.push(at.ok_or_else(|| {
                        Refused::error("42703", format!("column \"{name}\" does not exist"))
                    })?);
                }
                unique_of(table, &columns)?
            }
            ConflictTarget::OnConstraint(name) => {
                let name = parts(name)?.pop().unwrap_or_default();
                constraint(table, &name)?
            }
        };
        let mut texts = Vec::new();
        for at in columns {
            let (left, right) =
                (target.fields[at].typed.clone(), excluded.fields[at].typed.clone());
            let equal = self.compare(left, &sqlparser::ast::BinaryOperator::Eq, right)?;
            texts.push(self.text(&equal)?);
        }
        let keys: Vec<String> =
            table.key_columns().map(|column| quote_mysql(&column.name)).collect();
        let mut text = Text::sql(format!(
            "SELECT {}{} WHERE ",
            keys.join(", "),
            from_alias(table, &target.alias)
        ));
        text.append(join(texts, " AND "));
        text.push(" FOR UPDATE");
        Ok((text, name))
    }
}

/// The new row, as ON CONFLICT names it.
fn excluded(table: &Arc<Table>, row: &Row) -> Relation {
    let mut relation = Relation::of(table, "excluded");
    for ((field, cell), column) in relation.fields.iter_mut().zip(&row.cells).zip(&table.columns) {
        field.typed = match cell {
            Some(cell) => cell.typed.clone(),
            None => Typed::null(Type::of(column)),
        };
        field.origin = None;
    }
    relation.table = None;
    relation
}

/// The unique key of these columns, and its index in MySQL.
fn unique_of(table: &Table, columns: &[usize]) -> Result<(Vec<usize>, String), Refused> {
    let same = |other: &[usize]| {
        other.len() == columns.len() && other.iter().all(|at| columns.contains(at))
    };
    if same(&table.key) {
        return Ok((columns.to_vec(), "PRIMARY".to_owned()));
    }
    let found = table.uniques.iter().find(|unique| {
        same(&unique.columns) && unique.predicate.is_none() && unique.expressions.is_none()
    });
    match found {
        Some(unique) if unique.deferrable || unique.nulls_not_distinct => {
            Err(unsupported("ON CONFLICT on such a unique key"))
        }
        Some(unique) => Ok((columns.to_vec(), shorten(&unique.name))),
        None => {
            let partial = table.uniques.iter().any(|unique| same(&unique.columns));
            if partial {
                return Err(unsupported("ON CONFLICT on a partial index"));
            }
            let message =
                "there is no unique or exclusion constraint matching the ON CONFLICT specification";
            Err(Refused::error("42P10", message))
        }
    }
}

fn constraint(table: &Table, name: &str) -> Result<(Vec<usize>, String), Refused> {
    if let Some(unique) = table.uniques.iter().find(|unique| unique.name == name) {
        return unique_of(table, &unique.columns);
    }
    if name == format!("{}_pkey", table.name.name()) {
        return Ok((table.key.clone(), "PRIMARY".to_owned()));
    }
    let table = table.name.name();
    let message = format!("constraint \"{name}\" for table \"{table}\" does not exist");
    Err(Refused::error("42704", message))
}
