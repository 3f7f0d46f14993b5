//! WITH: common table expressions, recursive ones too.
//!
//! ```text
//! WITH a AS (…) SELECT …   ──▶ the same        before a write, which MariaDB allows none ──▶ derived tables
//! WITH RECURSIVE           ──▶ the first branch's columns widened, since MySQL takes their width from it
//! ```
//!
//! Invariant: a name means its query from there to the end of the statement that WITH stands before.

use sqlparser::ast::{Cte as CteNode, Query, SetExpr, SetOperator, SetQuantifier, With};

use crate::dialect::names::fold;
use crate::dialect::program::Text;
use crate::dialect::query::{Output, Want, fields};
use crate::dialect::refuse::{Refused, unsupported};
use crate::dialect::scope::Cte;
use crate::dialect::translator::Translator;
use crate::dialect::typed::{around, fill, join};
use crate::dialect::types::Type;
use crate::names::quote_mysql;

impl Translator<'_> {
    /// `WITH …`, each name known to what follows.
    pub(super) fn with(&mut self, with: &With) -> Result<Text, Refused> {
        let mut texts = Vec::new();
        for cte in &with.cte_tables {
            let (name, output, columns) = self.cte_query(cte, with.recursive)?;
            let names: Vec<String> = columns.iter().map(|name| quote_mysql(name)).collect();
            texts.push(around(
                &format!("{} ({}) AS (", quote_mysql(&name), names.join(", ")),
                output.text.clone(),
                ")",
            ));
            let fields = fields(&name, &output, &columns);
            self.ctes.push(Cte { name, fields, derived: None });
        }
        let word = if with.recursive { "WITH RECURSIVE " } else { "WITH " };
        Ok(around(word, join(texts, ", "), ""))
    }

    /// The same for a statement that MySQL or MariaDB allows no WITH before: names stand for derived
    /// tables.
    pub(super) fn with_inline(&mut self, cte: &CteNode, recursive: bool) -> Result<(), Refused> {
        let (name, output, columns) = self.cte_query(cte, recursive)?;
        let names: Vec<String> = columns.iter().map(|name| quote_mysql(name)).collect();
        let quoted = quote_mysql(&name);
        let word = if recursive { "WITH RECURSIVE" } else { "WITH" };
        let head = format!("{word} {quoted} ({}) AS (", names.join(", "));
        let text = around(&head, output.text.clone(), &format!(") SELECT * FROM {quoted}"));
        let fields = fields(&name, &output, &columns);
        self.ctes.push(Cte { name, fields, derived: Some(text) });
        Ok(())
    }

    fn cte_query(
        &mut self,
        cte: &CteNode,
        recursive: bool,
    ) -> Result<(String, Output, Vec<String>), Refused> {
        let name = fold(&cte.alias.name);
        let given: Vec<String> =
            cte.alias.columns.iter().map(|column| fold(&column.name)).collect();
        let output = match &*cte.query.body {
            SetExpr::SetOperation { left, op: SetOperator::Union, set_quantifier, right }
                if recursive && refers(right, &name) =>
            {
                self.recursive(&name, &given, left, right, *set_quantifier, &cte.query)?
            }
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) => {
                return Err(unsupported("a write within WITH of a query"));
            }
            _ => self.query(&cte.query)?,
        };
        let mut columns: Vec<String> = output.columns.iter().map(|c| c.sql_name.clone()).collect();
        for (column, given) in columns.iter_mut().zip(given) {
            *column = given;
        }
        Ok((name, output, columns))
    }

    /// `WITH RECURSIVE`: the first branch's types are the columns', and MySQL takes their width from it.
    fn recursive(
        &mut self,
        name: &str,
        given: &[String],
        left: &SetExpr,
        right: &SetExpr,
        quantifier: SetQuantifier,
        query: &Query,
    ) -> Result<Output, Refused> {
        if query.order_by.is_some() || query.limit_clause.is_some() || query.with.is_some() {
            return Err(unsupported("ORDER BY or LIMIT in a recursive query"));
        }
        let first = self.branch(left, Want::Text)?;
        let mut names: Vec<String> = first.columns.iter().map(|c| c.sql_name.clone()).collect();
        for (name, given) in names.iter_mut().zip(given) {
            name.clone_from(given);
        }
        let alias = quote_mysql("cf_first");
        let widened: Vec<String> = first
            .columns
            .iter()
            .map(|column| {
                let own = format!("{alias}.{}", quote_mysql(&column.sql_name));
                match &column.typed.ty.kind {
                    kind if column.typed.ty.is_text() => {
                        let _ = kind;
                        format!("CAST({own} AS CHAR(16000)) COLLATE {}", self.collation())
                    }
                    _ if column.typed.ty.is_integer() => format!("CAST({own} AS SIGNED)"),
                    _ => own,
                }
            })
            .collect();
        let mut fields = fields(name, &first, &names);
        fields.iter_mut().for_each(|field| field.typed.nullable = true);
        self.ctes.push(Cte { name: name.to_owned(), fields, derived: None });
        let types: Vec<Type> = first.columns.iter().map(|column| column.typed.ty.clone()).collect();
        let rest = self.branch(right, Want::Types(&types));
        self.ctes.pop();
        let rest = rest?;
        let word = match quantifier {
            SetQuantifier::All => "UNION ALL",
            SetQuantifier::None | SetQuantifier::Distinct => "UNION",
            _ => return Err(unsupported("a set operation by name")),
        };
        let template =
            format!("SELECT {} FROM ({{0}}) AS {alias} {word} {{1}}", widened.join(", "));
        let text = fill(&template, &[first.text, rest.text]);
        let mut columns = first.columns;
        columns.iter_mut().for_each(|column| {
            column.typed.nullable = true;
            column.origin = None;
        });
        Ok(Output { text, columns, limited: false })
    }
}

/// True where a branch names the relation in its FROM.
fn refers(body: &SetExpr, name: &str) -> bool {
    use std::ops::ControlFlow;
    struct Finder<'a>(&'a str);
    impl sqlparser::ast::Visitor for Finder<'_> {
        type Break = ();
        fn pre_visit_relation(&mut self, relation: &sqlparser::ast::ObjectName) -> ControlFlow<()> {
            let parts = super::names::parts(relation).unwrap_or_default();
            if parts.len() == 1 && parts[0] == self.0 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        }
    }
    sqlparser::ast::Visit::visit(body, &mut Finder(name)).is_break()
}
