//! DELETE; and RETURNING of a write that names other tables.
//!
//! ```text
//! DELETE … USING u … RETURNING t.a, u.b ──▶ Keep keys and u.b ─▶ Answer, joined with the kept rows ─▶ Write
//! ```
//!
//! Invariant: a row is written once, however many rows of other tables it matches; of these the first one
//! is what RETURNING shows.

use std::sync::Arc;

use sqlparser::ast::{Delete, FromTable, SelectItem, TableWithJoins};

use crate::catalog::Table;
use crate::change::Operation;
use crate::dialect::insert::{from_alias, has_select};
use crate::dialect::pinned::where_of;
use crate::dialect::program::{Answer, Keys, Piece, Set, Step, TableColumn, Text, Write};
use crate::dialect::query::Want;
use crate::dialect::refuse::{Refused, unsupported};
use crate::dialect::scope::{Field, Relation, Scope};
use crate::dialect::statement::Written;
use crate::dialect::translator::{Hidden, Translator};
use crate::dialect::typed::{Node, Repr, Typed, around, join};
use crate::dialect::types::Type;
use crate::dialect::update::Rows;
use crate::names::quote_mysql;
use crate::value::PgType;

impl Translator<'_> {
    /// Fields of other relations that RETURNING names.
    pub(super) fn outer_fields(
        &mut self,
        items: Option<&[SelectItem]>,
        rows: &Rows<'_>,
    ) -> Result<Vec<Field>, Refused> {
        let Some(items) = items else { return Ok(Vec::new()) };
        if !rows.others {
            return Ok(Vec::new());
        }
        let written: Vec<String> = items.iter().map(ToString::to_string).collect();
        if written.iter().any(|item| item == "*") {
            return Err(unsupported("RETURNING * beside other tables"));
        }
        let scope = self.scope().clone();
        let mut fields = Vec::new();
        for relation in &scope.relations[1..] {
            let used = |name: &str| {
                let lower: Vec<String> =
                    written.iter().map(|item| item.to_lowercase().replace('"', "")).collect();
                lower.iter().any(|item| item.contains(&name.to_lowercase()))
            };
            for field in relation.fields.iter().filter(|field| used(&field.name)) {
                fields.push(Field {
                    name: format!("{}.{}", relation.alias, field.name),
                    ..field.clone()
                });
            }
        }
        Ok(fields)
    }

    /// RETURNING of a statement with other tables: what it names of them was kept with the keys.
    #[expect(clippy::too_many_arguments, reason = "the parts of one statement")]
    pub(super) fn returning_with(
        &mut self,
        written: &mut Written,
        rows: &Rows<'_>,
        items: &[SelectItem],
        kept: Set,
        to: &[usize],
        outer: &[Field],
        first_outer: usize,
    ) -> Result<(), Refused> {
        let (table, alias) = (rows.table, rows.alias);
        let mut relations = vec![Relation::of(table, alias)];
        let names: Vec<String> = (0..to.len()).map(|at| format!("k{at}")).collect();
        let mut columns: Vec<TableColumn> = Vec::new();
        // The kept rows as a derived table: keys first, then what was kept of others.
        for column in table.key_columns() {
            columns.push(TableColumn {
                name: format!("k{}", columns.len()),
                cast: cast_of(&Type::of(column))?,
            });
        }
        for (at, field) in outer.iter().enumerate() {
            columns.push(TableColumn { name: format!("o{at}"), cast: cast_of(&field.typed.ty)? });
            let (relation, name) = field.name.split_once('.').unwrap_or(("", &field.name));
            let own = kept_field(field, name, at);
            match relations.iter_mut().find(|known| known.alias == relation) {
                Some(known) => known.fields.push(own),
                None => relations.push(Relation {
                    alias: relation.to_owned(),
                    schema: None,
                    fields: vec![own],
                    table: None,
                }),
            }
        }
        self.scopes.push(Scope { relations, ..Scope::default() });
        let fields = self.items(items, Want::Text);
        self.scopes.pop();
        let fields = fields?;
        let mut list: Vec<Text> =
            fields.iter().map(|f| self.text(&f.typed)).collect::<Result<_, _>>()?;
        list.extend(table.key_columns().map(|column| {
            Text::sql(format!("{}.{}", quote_mysql(alias), quote_mysql(&column.name)))
        }));
        let mut text = around("SELECT ", join(list, ", "), &from_alias(table, alias));
        // Which of a set's columns: the new keys, then the others.
        let mut at: Vec<usize> = to.to_vec();
        at.extend(first_outer..first_outer + outer.len());
        text.push(" JOIN (");
        text.0.push(Piece::Table { set: kept, at, columns });
        text.push(") AS `cf_r` ON ");
        let mut on = Vec::new();
        for (name, column) in names.iter().zip(table.key_columns()) {
            let own = format!("{}.{}", quote_mysql(alias), quote_mysql(&column.name));
            on.push(format!("{own} = `cf_r`.`{name}`"));
        }
        text.push(&on.join(" AND "));
        written.answer(fields, Answer { query: text, order: None, hidden: table.key.len() });
        Ok(())
    }

    pub(super) fn delete(&mut self, delete: &Delete, counts: bool) -> Result<Written, Refused> {
        if delete.output.is_some()
            || delete.limit.is_some()
            || !delete.order_by.is_empty()
            || !delete.tables.is_empty()
        {
            return Err(unsupported("DELETE with such clauses"));
        }
        let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
        let [target] = &from[..] else { return Err(unsupported("DELETE from several tables")) };
        let (table, alias) = self.target(target)?;
        let others = delete.using.as_deref().unwrap_or_default();
        self.scopes
            .push(Scope { relations: vec![Relation::of(&table, &alias)], ..Scope::default() });
        let result = self.delete_in_scope(delete, &table, &alias, others, counts);
        self.scopes.pop();
        result
    }

    /// One statement that deletes all rows, where nothing is returned of them.
    fn direct_delete(delete: &Delete, rows: &Rows<'_>) -> Option<Text> {
        // Only in this form does MariaDB take an alias.
        let head =
            format!("DELETE {}{}", quote_mysql(rows.alias), from_alias(rows.table, rows.alias));
        let text = where_of(Text::sql(head), rows.condition.as_ref());
        let plain = delete.returning.is_none() && !rows.others && !has_select(&text);
        plain.then_some(text)
    }

    fn delete_in_scope(
        &mut self,
        delete: &Delete,
        table: &Arc<Table>,
        alias: &str,
        others: &[TableWithJoins],
        counts: bool,
    ) -> Result<Written, Refused> {
        let rows = self.rows(table, alias, others, delete.selection.as_ref())?;
        let mut written = Written::new(table);
        written.hidden = Hidden::Changed;
        let operation = Operation::Delete;
        let head = format!("DELETE FROM {}", quote_mysql(&table.target));
        if table.key.is_empty() {
            if rows.others || delete.returning.is_some() || rows.condition.is_some() {
                return Err(unsupported("DELETE from a table without a key"));
            }
            let write = Write {
                table: Arc::clone(table),
                operation,
                text: Text::sql(head),
                keys: Keys::None,
                counts,
            };
            written.steps.push(Step::Write(write));
            return Ok(written);
        }
        written.direct = Self::direct_delete(delete, &rows);
        if let Some(text) = &written.direct {
            let selection = delete.selection.as_ref();
            if let Some((write, _)) = self.pinned(&rows, selection, operation, text, counts) {
                written.steps.push(Step::Write(write));
                return Ok(written);
            }
        }
        let kept = self.new_set();
        let outer = self.outer_fields(delete.returning.as_deref(), &rows)?;
        let values =
            outer.iter().map(|field| self.text(&field.typed)).collect::<Result<Vec<_>, _>>()?;
        written.steps.push(Step::Keep { set: kept, query: self.keys_query(&rows, values) });
        let width = table.key.len();
        if rows.others {
            written.steps.push(Step::FirstOfEach { set: kept, width });
        }
        if let Some(items) = &delete.returning {
            let to: Vec<usize> = (0..width).collect();
            if rows.others {
                self.returning_with(&mut written, &rows, items, kept, &to, &outer, width)?;
            } else {
                self.returning(&mut written, table, alias, items, kept, None)?;
            }
        }
        let names: Vec<String> =
            table.key_columns().map(|column| quote_mysql(&column.name)).collect();
        let tuple = if width == 1 { names[0].clone() } else { format!("({})", names.join(", ")) };
        let mut text = Text::sql(format!("{head} WHERE {tuple} IN ("));
        text.0.push(Piece::Keys { set: kept, at: (0..width).collect() });
        text.push(")");
        written.steps.push(Step::Write(Write {
            table: Arc::clone(table),
            operation,
            text,
            keys: Keys::Kept(kept),
            counts,
        }));
        Ok(written)
    }
}

/// A field of another table as the derived table of kept rows has it.
fn kept_field(field: &Field, name: &str, at: usize) -> Field {
    let repr = if field.typed.repr == Repr::Enum { Repr::Plain } else { field.typed.repr };
    let node = Node::Sql(Text::sql(format!("`cf_r`.`o{at}`")));
    let typed = Typed { node, repr, ..field.typed.clone() };
    Field { name: name.to_owned(), typed, origin: field.origin }
}

/// What CAST makes of a kept value, so that a derived table of it has the type.
pub(super) fn cast_of(ty: &Type) -> Result<Option<String>, Refused> {
    Ok(match &ty.kind {
        _ if ty.is_integer() => Some("SIGNED".to_owned()),
        PgType::Bool => Some("SIGNED".to_owned()),
        PgType::Text
        | PgType::Name
        | PgType::Uuid
        | PgType::Enum(_)
        | PgType::Inet
        | PgType::Cidr => Some("CHAR".to_owned()),
        PgType::Timestamp | PgType::TimestampTz => Some("DATETIME(6)".to_owned()),
        PgType::Date => Some("DATE".to_owned()),
        PgType::Bytea => Some("BINARY".to_owned()),
        PgType::Float8 => Some("DOUBLE".to_owned()),
        PgType::Numeric => match ty.scale() {
            Some((precision, scale)) => Some(format!("DECIMAL({precision},{scale})")),
            None => return Err(unsupported("a numeric returned within WITH")),
        },
        _ => return Err(unsupported(&format!("{} returned within WITH", ty.name()))),
    })
}
