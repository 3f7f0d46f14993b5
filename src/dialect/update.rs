//! UPDATE and DELETE, by key.
//!
//! ```text
//! UPDATE t SET a = a + 1 WHERE …           Keep keys FOR UPDATE ─▶ Write by key
//! … SET a = b, b = a; FROM u; (SELECT …)   Keep keys and new values ─▶ for each row: Write
//! ```
//!
//! Invariant: every new value is worked out from the row as it was: MySQL assigns from left to right, so
//! assignments are put into an order in which none reads what another has written, or are values.

use std::sync::Arc;

use sqlparser::ast::{
    Assignment, AssignmentTarget, Expr, SelectItem, TableFactor, TableWithJoins, Update,
    UpdateTableFromKind,
};

use crate::catalog::{Column, Table, Unique};
use crate::change::Operation;
use crate::dialect::assign::Cell;
use crate::dialect::insert::{from_alias, has_select, key_tuple};
use crate::dialect::names::{fold, parts};
use crate::dialect::pinned::where_of;
use crate::dialect::program::{Form, Keys, Piece, Set, Slot, Source, Step, Text, Write};
use crate::dialect::refuse::{Refused, unsupported};
use crate::dialect::scope::{Relation, Scope};
use crate::dialect::statement::Written;
use crate::dialect::translator::{Hidden, Translator};
use crate::dialect::typed::{Typed, around, join};
use crate::dialect::types::Type;
use crate::names::quote_mysql;

/// The rows that a statement writes: FROM's text, the condition, and what of other tables is returned.
pub(super) struct Rows<'a> {
    pub(super) table: &'a Arc<Table>,
    pub(super) alias: &'a str,
    pub(super) from: Text,
    pub(super) others: bool,
    pub(super) condition: Option<Text>,
}

impl Translator<'_> {
    pub(super) fn update(&mut self, update: &Update, counts: bool) -> Result<Written, Refused> {
        if update.output.is_some()
            || update.or.is_some()
            || update.limit.is_some()
            || !update.order_by.is_empty()
        {
            return Err(unsupported("UPDATE with such clauses"));
        }
        let (table, alias) = self.target(&update.table)?;
        let others = match &update.from {
            None => &[][..],
            Some(UpdateTableFromKind::AfterSet(from)) => from,
            Some(UpdateTableFromKind::BeforeSet(_)) => {
                return Err(unsupported("UPDATE FROM before SET"));
            }
        };
        self.scopes
            .push(Scope { relations: vec![Relation::of(&table, &alias)], ..Scope::default() });
        let result = self.update_in_scope(update, &table, &alias, others, counts);
        self.scopes.pop();
        result
    }

    /// The table that UPDATE or DELETE names.
    pub(super) fn target(
        &mut self,
        target: &TableWithJoins,
    ) -> Result<(Arc<Table>, String), Refused> {
        let TableFactor::Table { name, alias, args: None, .. } = &target.relation else {
            return Err(unsupported("writing what is no table"));
        };
        if !target.joins.is_empty() {
            return Err(unsupported("a join as the table to be written"));
        }
        let table = self.writable(name)?;
        let alias = match alias {
            Some(alias) => fold(&alias.name),
            None => table.name.name().to_owned(),
        };
        Ok((table, alias))
    }

    pub(super) fn rows<'a>(
        &mut self,
        table: &'a Arc<Table>,
        alias: &'a str,
        others: &[TableWithJoins],
        selection: Option<&Expr>,
    ) -> Result<Rows<'a>, Refused> {
        let from = self.from(others)?;
        let mut conditions = from.conditions;
        if let Some(selection) = selection {
            let condition = self.condition(selection, "WHERE")?;
            conditions.push(self.text(&condition)?);
        }
        let condition = if conditions.is_empty() { None } else { Some(join(conditions, " AND ")) };
        Ok(Rows { table, alias, from: from.text, others: !others.is_empty(), condition })
    }

    fn update_in_scope(
        &mut self,
        update: &Update,
        table: &Arc<Table>,
        alias: &str,
        others: &[TableWithJoins],
        counts: bool,
    ) -> Result<Written, Refused> {
        let rows = self.rows(table, alias, others, update.selection.as_ref())?;
        let set = self.assignments(table, &update.assignments)?;
        let mut written = Written::new(table);
        written.hidden = match frees_keys(table, &set) {
            true => Hidden::Changed,
            false => Hidden::Updated,
        };
        if table.key.is_empty() {
            return self.without_key(rows, set, update.returning.is_some(), written, counts);
        }
        let moves = set.iter().any(|(at, _)| table.is_key(*at));
        let ordered = self.in_order(table, alias, &set);
        let direct = !rows.others && !moves && !set.iter().any(|(_, cell)| has_select(&cell.text));
        let items = update.returning.as_deref();
        match ordered {
            Some(list) if direct => {
                self.update_directly(&rows, list, update, &mut written, counts)?;
            }
            _ => self.update_by_values(&rows, set, items, &mut written, counts)?,
        }
        Ok(written)
    }

    /// One UPDATE of all rows by their keys.
    fn update_directly(
        &mut self,
        rows: &Rows<'_>,
        list: Text,
        update: &Update,
        written: &mut Written,
        counts: bool,
    ) -> Result<(), Refused> {
        let (table, alias) = (rows.table, rows.alias);
        let items = update.returning.as_deref();
        let head = format!("UPDATE {} AS {} SET ", quote_mysql(&table.target), quote_mysql(alias));
        let set = around(&head, list, "");
        let direct = where_of(set.clone(), rows.condition.as_ref());
        let (operation, selection) = (Operation::Update, update.selection.as_ref());
        let keys = match self.pinned(rows, selection, operation, &direct, counts) {
            Some((write, into)) => {
                written.steps.push(Step::Write(write));
                into
            }
            None => {
                let keys = self.new_set();
                let query = self.keys_query(rows, Vec::new());
                written.steps.push(Step::Keep { set: keys, query });
                let mut text = set;
                by_key(&mut text, table, alias, keys);
                let (table, keys_kept) = (Arc::clone(table), Keys::Kept(keys));
                written.steps.push(Step::Write(Write {
                    table,
                    operation,
                    text,
                    keys: keys_kept,
                    counts,
                }));
                keys
            }
        };
        if items.is_none() && !has_select(&direct) {
            written.direct = Some(direct);
        }
        match items {
            Some(items) => self.returning(written, table, alias, items, keys, None),
            None => Ok(()),
        }
    }

    /// Keys and new values are read first, and written row by row.
    fn update_by_values(
        &mut self,
        rows: &Rows<'_>,
        set: Vec<(usize, Cell)>,
        items: Option<&[SelectItem]>,
        written: &mut Written,
        counts: bool,
    ) -> Result<(), Refused> {
        let table = rows.table;
        let (kept, row) = (self.new_set(), self.new_set());
        let width = table.key.len();
        let mut values = Vec::new();
        let mut list = Vec::new();
        let mut to: Vec<usize> = (0..width).collect();
        for (at, cell) in set {
            let name = quote_mysql(&table.columns[at].name);
            let text = match cell.slot {
                Some(slot) if !table.is_key(at) => Text::value(slot),
                slot => {
                    values.push(match slot {
                        // A bare place in a select list has no type of its own.
                        Some(_) => self.text(&cell.typed)?,
                        None => cell.text,
                    });
                    let column = width + values.len() - 1;
                    if let Some(part) = table.key.iter().position(|key| *key == at) {
                        to[part] = column;
                    }
                    cell_text(row, column, &table.columns[at])
                }
            };
            list.push(around(&format!("{name} = "), text, ""));
        }
        let moved = to.iter().enumerate().any(|(at, to)| at != *to);
        let outer = self.outer_fields(items, rows)?;
        let first_outer = width + values.len();
        values.extend(
            outer.iter().map(|field| self.text(&field.typed)).collect::<Result<Vec<_>, _>>()?,
        );
        written.steps.push(Step::Keep { set: kept, query: self.keys_query(rows, values) });
        if rows.others {
            written.steps.push(Step::FirstOfEach { set: kept, width });
        }
        let mut text =
            around(&format!("UPDATE {} SET ", quote_mysql(&table.target)), join(list, ", "), "");
        let names: Vec<String> =
            table.key_columns().map(|column| quote_mysql(&column.name)).collect();
        for (at, (name, column)) in names.iter().zip(table.key_columns()).enumerate() {
            text.push(&format!(" {} {name} = ", if at == 0 { "WHERE" } else { "AND" }));
            text.append(cell_text(row, at, column));
        }
        let keys = if moved { Keys::Moved { set: row, to: to.clone() } } else { Keys::Kept(row) };
        let operation = Operation::Update;
        let write = Write { table: Arc::clone(table), operation, text, keys, counts };
        written.steps.push(Step::Each { set: kept, row, steps: vec![Step::Write(write)] });
        match items {
            Some(items) => {
                self.returning_with(written, rows, items, kept, &to, &outer, first_outer)
            }
            None => Ok(()),
        }
    }

    /// A table without a key is written as the client says.
    fn without_key(
        &mut self,
        rows: Rows<'_>,
        set: Vec<(usize, Cell)>,
        returning: bool,
        mut written: Written,
        counts: bool,
    ) -> Result<Written, Refused> {
        let list = self.in_order(rows.table, rows.alias, &set);
        let (Some(list), false, false) = (list, returning, rows.others) else {
            return Err(unsupported("UPDATE of a table without a key"));
        };
        let head = format!(
            "UPDATE {} AS {} SET ",
            quote_mysql(&rows.table.target),
            quote_mysql(rows.alias)
        );
        let mut text = around(&head, list, "");
        text = where_of(text, rows.condition.as_ref());
        written.direct = Some(text.clone());
        let table = Arc::clone(rows.table);
        written.steps.push(Step::Write(Write {
            table,
            operation: Operation::Update,
            text,
            keys: Keys::None,
            counts,
        }));
        Ok(written)
    }

    /// `SELECT key, … FROM … WHERE … FOR UPDATE`
    pub(super) fn keys_query(&self, rows: &Rows<'_>, values: Vec<Text>) -> Text {
        let mut list: Vec<Text> = rows
            .table
            .key_columns()
            .map(|column| {
                Text::sql(format!("{}.{}", quote_mysql(rows.alias), quote_mysql(&column.name)))
            })
            .collect();
        list.extend(values);
        let mut text = around("SELECT ", join(list, ", "), &from_alias(rows.table, rows.alias));
        if rows.others {
            text.append(around(", ", rows.from.clone(), ""));
        }
        text = where_of(text, rows.condition.as_ref());
        text.push(" FOR UPDATE");
        if rows.others && self.is_mysql() {
            text.push(&format!(" OF {}", quote_mysql(rows.alias)));
        }
        text
    }

    /// SET: which columns, and their new values.
    pub(super) fn assignments(
        &mut self,
        table: &Arc<Table>,
        assignments: &[Assignment],
    ) -> Result<Vec<(usize, Cell)>, Refused> {
        let mut set: Vec<(usize, Cell)> = Vec::new();
        for assignment in assignments {
            let (names, values): (Vec<_>, Vec<&Expr>) =
                match (&assignment.target, &assignment.value) {
                    (AssignmentTarget::ColumnName(name), value) => (vec![name], vec![value]),
                    (AssignmentTarget::Tuple(names), Expr::Tuple(values))
                        if names.len() == values.len() =>
                    {
                        (names.iter().collect(), values.iter().collect())
                    }
                    (AssignmentTarget::Tuple(names), Expr::Nested(value)) if names.len() == 1 => {
                        (names.iter().collect(), vec![&**value])
                    }
                    _ => return Err(unsupported("SET (…) = (SELECT …)")),
                };
            for (name, value) in names.into_iter().zip(values) {
                let name = parts(name)?.pop().unwrap_or_default();
                let at = table.columns.iter().position(|column| column.name == name).ok_or_else(
                    || {
                        let table = table.name.name();
                        let message =
                            format!("column \"{name}\" of relation \"{table}\" does not exist");
                        Refused::error("42703", message)
                    },
                )?;
                if set.iter().any(|(other, _)| *other == at) {
                    let message = format!("multiple assignments to same column \"{name}\"");
                    return Err(Refused::error("42601", message));
                }
                let cell = self.assigned_value(&table.columns[at], value)?;
                set.push((at, cell));
            }
        }
        Ok(set)
    }

    fn assigned_value(&mut self, column: &Column, value: &Expr) -> Result<Cell, Refused> {
        let is_default = matches!(value, Expr::Identifier(ident) if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("DEFAULT"));
        if !is_default {
            let typed = self.expr(value)?;
            return self.assigned(typed, column);
        }
        if column.serial || column.identity {
            return Err(unsupported("SET … = DEFAULT of a sequence"));
        }
        match self.default_of(column)? {
            Some(cell) => Ok(cell),
            None => self.assigned(Typed::null(Type::of(column)), column),
        }
    }

    /// `a = …, b = …` in an order in which none reads what is written before it; `None` if there is
    /// no such order.
    pub(super) fn in_order(
        &self,
        table: &Table,
        alias: &str,
        set: &[(usize, Cell)],
    ) -> Option<Text> {
        let reads = |cell: &Cell, at: usize| {
            let name = format!("{}.{}", quote_mysql(alias), quote_mysql(&table.columns[at].name));
            contains(&cell.text, &name)
        };
        let mut left: Vec<&(usize, Cell)> = set.iter().collect();
        let mut list = Vec::new();
        while !left.is_empty() {
            // One whose column no other of the rest reads.
            let next = left.iter().position(|(at, _)| {
                left.iter().all(|(other, cell)| other == at || !reads(cell, *at))
            })?;
            let (at, cell) = left.remove(next);
            let name = format!("{}.{}", quote_mysql(alias), quote_mysql(&table.columns[*at].name));
            list.push(around(&format!("{name} = "), cell.text.clone(), ""));
        }
        Some(join(list, ", "))
    }
}

/// True where an update of these columns can let go of a unique key that an insert could then take.
fn frees_keys(table: &Table, set: &[(usize, Cell)]) -> bool {
    let conditional = |unique: &Unique| unique.predicate.is_some() || unique.expressions.is_some();
    let covers = |at: &usize| table.uniques.iter().any(|unique| unique.columns.contains(at));
    table.uniques.iter().any(conditional)
        || set.iter().any(|(at, _)| table.is_key(*at) || covers(at))
}

fn by_key(text: &mut Text, table: &Table, alias: &str, set: Set) {
    text.push(&format!(" WHERE {} IN (", key_tuple(table, alias)));
    text.0.push(Piece::Keys { set, at: (0..table.key.len()).collect() });
    text.push(")");
}

/// A cell of the row in hand, as it came.
fn cell_text(set: Set, column: usize, of: &Column) -> Text {
    let ty = Type::of(of);
    let form = Form::Column(of.target.clone());
    Text::value(Slot { source: Source::Cell { set, column }, ty, form })
}

/// True where SQL names the column.
fn contains(text: &Text, name: &str) -> bool {
    text.0.iter().any(|piece| match piece {
        Piece::Sql(sql) => sql.contains(name),
        Piece::Any { left, .. } => contains(left, name),
        Piece::WithoutKeys { document, .. } => contains(document, name),
        _ => false,
    })
}
