//! Statements: which kind each is, and writes within WITH.
//!
//! ```text
//! WITH gone AS (DELETE … RETURNING …) INSERT … SELECT … FROM gone
//!   ──▶ the steps of the DELETE, its rows kept in a set; then those of the INSERT, `gone` being that set
//! ```
//!
//! Invariant: the parts of a statement see the tables as they were before it. A part that reads what
//! another writes is refused, but for rows inserted by WITH, which it leaves out.

use std::sync::Arc;

use sqlparser::ast::{Query, SetExpr, Statement, Truncate, With};

use crate::catalog::Table;
use crate::change::Operation;
use crate::dialect::delete::cast_of;
use crate::dialect::insert::plain_fields;
use crate::dialect::names::{fold, parts};
use crate::dialect::program::{Answer, Keys, Piece, Program, Step, TableColumn, Text, Write};
use crate::dialect::refuse::{Refused, unsupported};
use crate::dialect::scope::{Cte, Field};
use crate::dialect::translator::{Hidden, Translator};
use crate::dialect::typed::{Node, Repr, Typed};
use crate::dialect::types::Type;
use crate::dialect::{ResultColumn, Tag, Translated};
use crate::names::quote_mysql;

/// A write, translated.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) table: Arc<Table>,
    pub(super) steps: Vec<Step>,
    pub(super) direct: Option<Text>,
    /// RETURNING's.
    pub(super) columns: Vec<Field>,
    pub(super) hidden: Hidden,
}

impl Written {
    pub(super) fn new(table: &Arc<Table>) -> Self {
        Self {
            table: Arc::clone(table),
            steps: Vec::new(),
            direct: None,
            columns: Vec::new(),
            hidden: Hidden::Changed,
        }
    }

    pub(super) fn answer(&mut self, columns: Vec<Field>, answer: Answer) {
        self.columns = columns;
        self.steps.push(Step::Answer(answer));
    }
}

impl Translator<'_> {
    pub(super) fn statement(mut self, statement: &Statement) -> Result<Translated, Refused> {
        let (columns, steps, direct, tag) = match statement {
            Statement::Query(query) => self.top_query(query)?,
            Statement::Truncate(truncate) => self.truncate(truncate)?,
            other => self.write(other)?,
        };
        let text = Type::text();
        let untold = |ty: &Type| ty.oid == 0;
        if columns.iter().any(|column| untold(&column.ty))
            || self.parameters.iter().flatten().any(untold)
        {
            return Err(unsupported("an array of a type that no column has"));
        }
        let parameters = self.parameters.into_iter().map(|ty| ty.unwrap_or_else(|| text.clone()));
        let program = Program { steps, direct, uuids: self.uuids, sets: self.sets };
        Ok(Translated { parameters: parameters.collect(), columns, program, tag })
    }

    fn top_query(&mut self, query: &Query) -> Result<Parts, Refused> {
        let mut steps = Vec::new();
        let writes = query.with.as_ref().is_some_and(has_write);
        match &*query.body {
            SetExpr::Insert(statement)
            | SetExpr::Update(statement)
            | SetExpr::Delete(statement) => {
                if let Some(with) = &query.with {
                    self.with_steps(with, &mut steps)?;
                }
                let plain = steps.is_empty();
                let (columns, inner, direct, tag) = self.write(statement)?;
                steps.extend(inner);
                Ok((columns, steps, direct.filter(|_| plain), tag))
            }
            SetExpr::Merge(_) => Err(unsupported("MERGE")),
            _ => {
                let mut query = query.clone();
                if writes && let Some(with) = query.with.take() {
                    self.with_steps(&with, &mut steps)?;
                }
                let output = self.answering(&query)?;
                let columns = output.columns.iter().map(|column| ResultColumn {
                    name: column.name.clone(),
                    ty: column.typed.ty.clone(),
                    origin: column.origin,
                });
                let columns = columns.collect();
                let direct = steps.is_empty().then(|| output.text.clone());
                steps.push(Step::Answer(Answer { query: output.text, order: None, hidden: 0 }));
                Ok((columns, steps, direct, Tag::Select))
            }
        }
    }

    fn write(&mut self, statement: &Statement) -> Result<Parts, Refused> {
        let (written, tag) = match statement {
            Statement::Insert(insert) => (self.insert(insert, true)?, Tag::Insert),
            Statement::Update(update) => (self.update(update, true)?, Tag::Update),
            Statement::Delete(delete) => (self.delete(delete, true)?, Tag::Delete),
            Statement::Merge(_) => return Err(unsupported("MERGE")),
            other => {
                let text = other.to_string();
                let word: Vec<&str> = text.split_whitespace().take(1).collect();
                return Err(unsupported(&format!("statement {}", word.join(" "))));
            }
        };
        Ok((plain_fields(&written.columns), written.steps, written.direct, tag))
    }

    /// WITH before a write, or with writes in it: each name is a derived table, or a kept set.
    fn with_steps(&mut self, with: &With, steps: &mut Vec<Step>) -> Result<(), Refused> {
        for cte in &with.cte_tables {
            let name = fold(&cte.alias.name);
            let (SetExpr::Insert(statement)
            | SetExpr::Update(statement)
            | SetExpr::Delete(statement)) = &*cte.query.body
            else {
                self.with_inline(cte, with.recursive)?;
                continue;
            };
            let written = match statement {
                Statement::Insert(insert) => self.insert(insert, false)?,
                Statement::Update(update) => self.update(update, false)?,
                Statement::Delete(delete) => self.delete(delete, false)?,
                _ => return Err(unsupported("such a write within WITH")),
            };
            let set = self.new_set();
            steps.extend(written.steps.into_iter().map(|step| kept(step, set)));
            let names = crate::dialect::query::alias_columns(&cte.alias);
            let fields = self.set_relation(&name, &written.columns, set, &names)?;
            self.ctes.push(fields);
            self.hidden.push((written.table.oid, written.hidden));
            // What cascades from it is written too.
            let cascades = self.around.catalog.tables.values().filter(|other| {
                other
                    .foreign_keys
                    .iter()
                    .any(|key| key.references == written.table.oid && key.on_delete.writes())
            });
            if matches!(written.hidden, Hidden::Changed | Hidden::Updated) {
                let oids: Vec<_> = cascades.map(|table| (table.oid, Hidden::Changed)).collect();
                self.hidden.extend(oids);
            }
        }
        Ok(())
    }

    fn set_relation(
        &mut self,
        name: &str,
        columns: &[Field],
        set: usize,
        names: &[String],
    ) -> Result<Cte, Refused> {
        let mut fields = Vec::new();
        let mut table = Vec::new();
        for (at, field) in columns.iter().enumerate() {
            let own = names.get(at).unwrap_or(&field.name).clone();
            let sql_name = format!("c{at}");
            let text = Text::sql(format!("{}.{}", quote_mysql(name), quote_mysql(&sql_name)));
            let repr = if field.typed.repr == Repr::Enum { Repr::Plain } else { field.typed.repr };
            let typed = Typed { node: Node::Sql(text), repr, ..field.typed.clone() };
            table.push(TableColumn { name: sql_name, cast: cast_of(&field.typed.ty)? });
            fields.push(Field { name: own, typed, origin: None });
        }
        let at = (0..table.len()).collect();
        let derived = Text(vec![Piece::Table { set, at, columns: table }]);
        Ok(Cte { name: name.to_owned(), fields, derived: Some(derived) })
    }

    fn truncate(&mut self, truncate: &Truncate) -> Result<Parts, Refused> {
        if truncate.identity == Some(sqlparser::ast::TruncateIdentityOption::Restart) {
            return Err(unsupported("TRUNCATE … RESTART IDENTITY"));
        }
        if truncate.partitions.is_some() || truncate.if_exists {
            return Err(unsupported("TRUNCATE with such clauses"));
        }
        let cascade = truncate.cascade == Some(sqlparser::ast::CascadeOption::Cascade);
        let mut tables: Vec<Arc<Table>> = Vec::new();
        for target in &truncate.table_names {
            tables.push(self.table(&parts(&target.name)?)?);
        }
        let mut steps = Vec::new();
        for table in &tables {
            let references = self.around.catalog.tables.values().any(|other| {
                other.foreign_keys.iter().any(|key| key.references == table.oid)
                    && !tables.iter().any(|named| named.oid == other.oid)
            });
            if references && cascade {
                return Err(unsupported("TRUNCATE … CASCADE to other tables"));
            }
            if references {
                let message = "cannot truncate a table referenced in a foreign key constraint";
                return Err(Refused::error("0A000", message));
            }
            let text = Text::sql(format!("DELETE FROM {}", quote_mysql(&table.target)));
            let (table, operation) = (Arc::clone(table), Operation::Truncate);
            steps.push(Step::Write(Write {
                table,
                operation,
                text,
                keys: Keys::None,
                counts: false,
            }));
        }
        Ok((Vec::new(), steps, None, Tag::Truncate))
    }
}

type Parts = (Vec<ResultColumn>, Vec<Step>, Option<Text>, Tag);

/// The rows that the client would have got are kept.
fn kept(step: Step, set: usize) -> Step {
    match step {
        Step::Answer(answer) => Step::Keep { set, query: answer.query },
        Step::Each { set: of, row, steps } => Step::Each {
            set: of,
            row,
            steps: steps.into_iter().map(|step| kept(step, set)).collect(),
        },
        other => other,
    }
}

fn has_write(with: &With) -> bool {
    with.cte_tables.iter().any(|cte| {
        matches!(&*cte.query.body, SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_))
    })
}
