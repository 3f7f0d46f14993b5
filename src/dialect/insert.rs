//! INSERT, with RETURNING and ON CONFLICT.
//!
//! ```text
//! VALUES (…), (…) RETURNING id ──▶ Write (keys known, or counted) ─▶ Answer by key, in their order
//! SELECT …                     ──▶ Keep the rows ─▶ Write them      ─▶ …
//! ON CONFLICT                  ──▶ for each row: Upsert             ─▶ …
//! ```
//!
//! Invariant: every column that MySQL's own definition gives another value than PostgreSQL's default is
//! written; the conflict is that of the target, whatever other unique keys there are.

use std::sync::Arc;

use sqlparser::ast::{
    Expr, Insert, ObjectName, OnConflict, OnInsert, Query, SelectItem, SetExpr, TableObject,
};

use crate::catalog::{Column, Table};
use crate::change::Operation;
use crate::dialect::assign::{Cell, is_counter};
use crate::dialect::names::{fold, parts};
use crate::dialect::program::{Answer, Keys, Piece, Rows, Set, Slot, Source, Step, Text, Write};
use crate::dialect::query::Want;
use crate::dialect::refuse::{Refused, unsupported};
use crate::dialect::scope::{Field, Relation, Scope, xmax};
use crate::dialect::statement::Written;
use crate::dialect::translator::{Hidden, Translator};
use crate::dialect::typed::{Node, Repr, Typed, around, join};
use crate::dialect::types::Type;
use crate::names::quote_mysql;

/// The columns that a row's cells are for, and the cells.
pub(super) struct Row {
    /// By position of the column; `None` for one that is left to MySQL.
    pub(super) cells: Vec<Option<Cell>>,
}

impl Translator<'_> {
    pub(super) fn insert(&mut self, insert: &Insert, counts: bool) -> Result<Written, Refused> {
        check_plain(insert)?;
        let TableObject::TableName(name) = &insert.table else {
            return Err(unsupported("INSERT into what is no table"));
        };
        let table = self.insertable(name, insert.on.is_some())?;
        let alias = match &insert.table_alias {
            Some(alias) => fold(&alias.alias),
            None => table.name.name().to_owned(),
        };
        let conflict = match &insert.on {
            None => None,
            Some(OnInsert::OnConflict(conflict)) => Some(conflict),
            Some(_) => return Err(unsupported("ON DUPLICATE KEY")),
        };
        let columns = target_columns(&table, &insert.columns)?;
        let returning = insert.returning.as_deref();
        match &insert.source {
            None => {
                // DEFAULT VALUES
                let row = self.row(&table, &[], &[])?;
                self.insert_rows(&table, &alias, vec![row], conflict, returning, counts)
            }
            Some(source) => match (&*source.body, plain_values(source)) {
                (SetExpr::Values(values), true) => {
                    let mut rows = Vec::new();
                    for row in &values.rows {
                        rows.push(self.row(&table, &columns, &row.content)?);
                    }
                    self.insert_rows(&table, &alias, rows, conflict, returning, counts)
                }
                _ => self
                    .insert_select(&table, &alias, &columns, source, conflict, returning, counts),
            },
        }
    }

    /// A table that may be inserted into: also one whose rows WITH updates, as a token is used up and
    /// the next one made.
    fn insertable(&mut self, name: &ObjectName, conflict: bool) -> Result<Arc<Table>, Refused> {
        let table = self.table(&parts(name)?)?;
        let mut earlier = self.hidden.iter().filter(|(oid, _)| *oid == table.oid).peekable();
        if !conflict && earlier.peek().is_some() && earlier.all(|(_, how)| *how == Hidden::Updated)
        {
            return without_generated(table);
        }
        self.writable(name)
    }

    /// A table that may be written.
    pub(super) fn writable(&mut self, name: &ObjectName) -> Result<Arc<Table>, Refused> {
        let table = self.table(&parts(name)?)?;
        if self.hidden.iter().any(|(oid, _)| *oid == table.oid) {
            return Err(unsupported("writing a table twice in one statement"));
        }
        without_generated(table)
    }

    /// One row of VALUES with its defaults.
    fn row(
        &mut self,
        table: &Arc<Table>,
        columns: &[usize],
        exprs: &[Expr],
    ) -> Result<Row, Refused> {
        if columns.len() < exprs.len() {
            return Err(Refused::error("42601", "INSERT has more expressions than target columns"));
        }
        let mut cells: Vec<Option<Cell>> = vec![None; table.columns.len()];
        let mut given = vec![false; table.columns.len()];
        self.slots = true;
        for (at, expr) in columns.iter().zip(exprs) {
            let is_default = matches!(expr, Expr::Identifier(ident) if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("DEFAULT"));
            if is_default {
                continue;
            }
            let typed = self.expr(expr)?;
            cells[*at] = Some(self.assigned(typed, &table.columns[*at])?);
            given[*at] = true;
        }
        self.defaults(table, &mut cells, &given)?;
        self.slots = false;
        Ok(Row { cells })
    }

    /// Fills in the defaults of what is not given.
    fn defaults(
        &mut self,
        table: &Arc<Table>,
        cells: &mut [Option<Cell>],
        given: &[bool],
    ) -> Result<(), Refused> {
        for (at, column) in table.columns.iter().enumerate() {
            if given[at] || is_counter(table, column) {
                continue;
            }
            if column.serial || column.identity {
                return Err(unsupported("a sequence that MySQL has no AUTO_INCREMENT for"));
            }
            cells[at] = self.default_of(column)?;
        }
        Ok(())
    }

    fn insert_rows(
        &mut self,
        table: &Arc<Table>,
        alias: &str,
        rows: Vec<Row>,
        conflict: Option<&OnConflict>,
        returning: Option<&[SelectItem]>,
        counts: bool,
    ) -> Result<Written, Refused> {
        if let Some(conflict) = conflict {
            return self.upsert_rows(table, alias, rows, conflict, returning, counts);
        }
        let mut written = Written::new(table);
        let set = self.new_set();
        let keys = known_keys(table, &rows, set)?;
        let text = insert_text(table, &rows)?;
        written.steps.push(Step::Write(Write {
            table: Arc::clone(table),
            operation: Operation::Insert,
            text: text.clone(),
            keys,
            counts,
        }));
        written.direct = returning.is_none().then_some(text);
        written.hidden = Hidden::Inserted(set);
        if let Some(items) = returning {
            self.returning(&mut written, table, alias, items, set, Some(Text::sql("0")))?;
        }
        Ok(written)
    }

    /// INSERT … SELECT: the rows are read first, so that their keys are known.
    #[expect(clippy::too_many_arguments, reason = "the parts of one statement")]
    fn insert_select(
        &mut self,
        table: &Arc<Table>,
        alias: &str,
        columns: &[usize],
        source: &Query,
        conflict: Option<&OnConflict>,
        returning: Option<&[SelectItem]>,
        counts: bool,
    ) -> Result<Written, Refused> {
        let types: Vec<Type> = columns.iter().map(|at| Type::of(&table.columns[*at])).collect();
        let output = self.query_with(source, Want::Types(&types))?;
        if columns.len() < output.columns.len() {
            return Err(Refused::error("42601", "INSERT has more expressions than target columns"));
        }
        let columns = &columns[..output.columns.len()];
        for (at, column) in columns.iter().zip(&output.columns) {
            self.check_copied(&table.columns[*at], &column.typed)?;
        }
        let mut written = Written::new(table);
        let kept = self.new_set();
        let mut query = output.text;
        let mut given = vec![false; table.columns.len()];
        columns.iter().for_each(|at| given[*at] = true);
        let mut cells: Vec<Option<Cell>> = vec![None; table.columns.len()];
        self.defaults(table, &mut cells, &given)?;
        let mut own: Vec<usize> = columns.to_vec();
        query = self.with_defaults(query, &mut cells, &mut own, source.order_by.is_some())?;
        written.steps.push(Step::Keep { set: kept, query });
        if let Some(conflict) = conflict {
            let row_set = self.new_set();
            for (column, at) in own.iter().enumerate() {
                cells[*at] = Some(copied(&table.columns[*at], row_set, column));
            }
            let inner =
                self.upsert_rows(table, alias, vec![Row { cells }], conflict, returning, counts)?;
            written.steps.push(Step::Each { set: kept, row: row_set, steps: inner.steps });
            written.columns = inner.columns;
            written.hidden = Hidden::Changed;
            return Ok(written);
        }
        let mut names: Vec<String> =
            own.iter().map(|at| quote_mysql(&table.columns[*at].name)).collect();
        let mut extra = Text::default();
        for (at, cell) in cells.iter().enumerate() {
            if let Some(cell) = cell {
                extra.push(", ");
                extra.append(cell.text.clone());
                names.push(quote_mysql(&table.columns[at].name));
            }
        }
        let head =
            format!("INSERT INTO {} ({}) VALUES ", quote_mysql(&table.target), names.join(", "));
        let mut text = Text::sql(head);
        text.0.push(Piece::Rows { set: kept, extra: Box::new(extra) });
        let into = self.new_set();
        let keys = copied_keys(table, &own, kept, into)?;
        written.steps.push(Step::Write(Write {
            table: Arc::clone(table),
            operation: Operation::Insert,
            text,
            keys,
            counts,
        }));
        written.hidden = Hidden::Inserted(into);
        if let Some(items) = returning {
            self.returning(&mut written, table, alias, items, into, Some(Text::sql("0")))?;
        }
        Ok(written)
    }

    /// A default of its own for each row is worked out with the rows, so that keys of it are known.
    fn with_defaults(
        &mut self,
        mut query: Text,
        cells: &mut [Option<Cell>],
        own: &mut Vec<usize>,
        ordered: bool,
    ) -> Result<Text, Refused> {
        let per_row = (0..cells.len())
            .filter(|at| cells[*at].as_ref().is_some_and(|cell| cell.slot.is_none()));
        let per_row: Vec<usize> = per_row.collect();
        if !per_row.is_empty() {
            if ordered {
                return Err(unsupported("INSERT … SELECT … ORDER BY with such defaults"));
            }
            let mut list = Vec::new();
            for at in &per_row {
                if let Some(cell) = cells[*at].take() {
                    list.push(cell.text);
                }
                own.push(*at);
            }
            let outer = self.new_alias();
            let mut text = around(&format!("SELECT `{outer}`.*, "), join(list, ", "), "");
            text.append(around(" FROM (", query, &format!(") AS `{outer}`")));
            query = text;
        }
        Ok(query)
    }

    /// What a SELECT yields is stored as MySQL gave it.
    fn check_copied(&self, column: &Column, typed: &Typed) -> Result<(), Refused> {
        let ty = Type::of(column);
        let digits =
            ty.precision() < 6 && ty.precision() < typed.ty.precision() && typed.source().is_none();
        let numeric = ty.kind == crate::value::PgType::Numeric
            && !matches!(column.target, crate::catalog::TargetType::Decimal { .. })
            && !matches!(typed.repr, Repr::Kept | Repr::Scaled);
        let uuid = ty.kind == crate::value::PgType::Uuid
            && (column.target == crate::catalog::TargetType::UuidBinary)
                != (typed.repr == Repr::Binary);
        let same = typed.ty.kind == ty.kind || typed.ty.is_number() && ty.is_number();
        if digits || numeric || uuid || !same {
            return Err(unsupported(&format!(
                "INSERT … SELECT into a column of type {}",
                ty.name()
            )));
        }
        Ok(())
    }

    /// Reads rows back by the keys in a set.
    pub(super) fn returning(
        &mut self,
        written: &mut Written,
        table: &Arc<Table>,
        alias: &str,
        items: &[SelectItem],
        keys: Set,
        replaced: Option<Text>,
    ) -> Result<(), Refused> {
        if table.key.is_empty() {
            return Err(unsupported("RETURNING from a table without a key"));
        }
        let system = replaced.map(xmax).into_iter().collect();
        let relation = Relation::of(table, alias);
        self.scopes.push(Scope { relations: vec![relation], system, ..Scope::default() });
        let fields = self.items(items, Want::Text);
        self.scopes.pop();
        let fields = fields?;
        let mut list: Vec<Text> =
            fields.iter().map(|f| self.text(&f.typed)).collect::<Result<_, _>>()?;
        list.extend(table.key_columns().map(|column| {
            Text::sql(format!("{}.{}", quote_mysql(alias), quote_mysql(&column.name)))
        }));
        let mut text = around("SELECT ", join(list, ", "), &from_alias(table, alias));
        text.push(&format!(" WHERE {} IN (", key_tuple(table, alias)));
        text.0.push(Piece::Keys { set: keys, at: (0..table.key.len()).collect() });
        text.push(")");
        written.answer(fields, Answer { query: text, order: Some(keys), hidden: table.key.len() });
        Ok(())
    }
}

fn without_generated(table: Arc<Table>) -> Result<Arc<Table>, Refused> {
    match table.columns.iter().any(|column| column.generated.is_some()) {
        true => Err(unsupported("writing a table with generated columns")),
        false => Ok(table),
    }
}

/// A cell that an earlier step read.
fn copied(column: &Column, set: Set, at: usize) -> Cell {
    let ty = Type::of(column);
    let source = Source::Cell { set, column: at };
    let form = super::program::Form::Column(column.target.clone());
    let slot = Slot { source: source.clone(), ty: ty.clone(), form };
    let typed = Typed { node: Node::Source(source), ty, nullable: true, repr: Repr::Plain };
    Cell { text: Text::value(slot.clone()), slot: Some(slot), typed }
}

/// ` FROM table AS alias`
pub(super) fn from_alias(table: &Table, alias: &str) -> String {
    format!(" FROM {} AS {}", quote_mysql(&table.target), quote_mysql(alias))
}

/// The key as IN takes it.
pub(super) fn key_tuple(table: &Table, alias: &str) -> String {
    let names: Vec<String> = table
        .key_columns()
        .map(|column| format!("{}.{}", quote_mysql(alias), quote_mysql(&column.name)))
        .collect();
    if names.len() == 1 { names[0].clone() } else { format!("({})", names.join(", ")) }
}

/// True where SQL has a query within.
pub(super) fn has_select(text: &Text) -> bool {
    text.0.iter().any(|piece| matches!(piece, Piece::Sql(sql) if sql.contains("(SELECT ")))
}

pub(super) fn insert_text(table: &Table, rows: &[Row]) -> Result<Text, Refused> {
    let used: Vec<usize> = (0..table.columns.len())
        .filter(|at| rows.iter().any(|row| row.cells[*at].is_some()))
        .collect();
    let names: Vec<String> = used.iter().map(|at| quote_mysql(&table.columns[*at].name)).collect();
    let mut texts = Vec::new();
    for row in rows {
        let mut cells = Vec::new();
        for at in &used {
            match &row.cells[*at] {
                Some(cell) => cells.push(cell.text.clone()),
                None if is_counter(table, &table.columns[*at]) => {
                    return Err(unsupported("given and numbered ids in one INSERT"));
                }
                None => cells.push(Text::sql("NULL")),
            }
        }
        texts.push(around("(", join(cells, ", "), ")"));
    }
    let head = format!("INSERT INTO {} ({}) VALUES ", quote_mysql(&table.target), names.join(", "));
    Ok(around(&head, join(texts, ", "), ""))
}

/// The keys of rows of VALUES.
pub(super) fn known_keys(table: &Table, rows: &[Row], into: Set) -> Result<Keys, Refused> {
    if table.key.is_empty() {
        return Ok(Keys::None);
    }
    let counted = |row: &Row| {
        table.key.len() == 1
            && row.cells[table.key[0]].is_none()
            && is_counter(table, &table.columns[table.key[0]])
    };
    if rows.iter().all(counted) {
        return Ok(Keys::Counted { rows: Rows::Number(rows.len()), into });
    }
    let mut keys = Vec::new();
    for row in rows {
        let slots =
            table.key.iter().map(|at| row.cells[*at].as_ref().and_then(|cell| cell.slot.clone()));
        let slots: Option<Vec<Slot>> = slots.collect();
        keys.push(slots.ok_or_else(|| unsupported("INSERT of a key that is an expression"))?);
    }
    Ok(Keys::Given { rows: keys, into })
}

fn copied_keys(table: &Table, columns: &[usize], from: Set, into: Set) -> Result<Keys, Refused> {
    if table.key.is_empty() {
        return Ok(Keys::None);
    }
    let at = table.key.iter().map(|key| columns.iter().position(|at| at == key));
    if let Some(at) = at.collect::<Option<Vec<usize>>>() {
        return Ok(Keys::Copied { from, at, into });
    }
    if table.key.len() == 1 && is_counter(table, &table.columns[table.key[0]]) {
        return Ok(Keys::Counted { rows: Rows::Of(from), into });
    }
    Err(unsupported("INSERT … SELECT without the key"))
}

fn target_columns(table: &Table, names: &[ObjectName]) -> Result<Vec<usize>, Refused> {
    if names.is_empty() {
        return Ok((0..table.columns.len()).collect());
    }
    let mut columns: Vec<usize> = Vec::new();
    for name in names {
        let name = parts(name)?.pop().unwrap_or_default();
        let at = table.columns.iter().position(|column| column.name == name).ok_or_else(|| {
            let table = table.name.name();
            let message = format!("column \"{name}\" of relation \"{table}\" does not exist");
            Refused::error("42703", message)
        })?;
        if columns.contains(&at) {
            let message = format!("column \"{name}\" specified more than once");
            return Err(Refused::error("42701", message));
        }
        columns.push(at);
    }
    Ok(columns)
}

fn plain_values(query: &Query) -> bool {
    query.with.is_none()
        && query.order_by.is_none()
        && query.limit_clause.is_none()
        && query.fetch.is_none()
}

fn check_plain(insert: &Insert) -> Result<(), Refused> {
    let odd = insert.or.is_some()
        || insert.ignore
        || insert.overwrite
        || !insert.assignments.is_empty()
        || insert.partitioned.is_some()
        || !insert.after_columns.is_empty()
        || insert.output.is_some()
        || insert.replace_into
        || insert.insert_alias.is_some();
    if odd { Err(unsupported("INSERT with such clauses")) } else { Ok(()) }
}

/// Fields without their positions in a table, for a result.
pub(super) fn plain_fields(fields: &[Field]) -> Vec<super::ResultColumn> {
    fields
        .iter()
        .map(|field| super::ResultColumn {
            name: field.name.clone(),
            ty: field.typed.ty.clone(),
            origin: field.origin,
        })
        .collect()
}
