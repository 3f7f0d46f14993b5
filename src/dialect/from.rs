//! FROM: tables, joins, derived tables, functions that return rows.
//!
//! ```text
//! LEFT JOIN LATERAL (SELECT json_agg(…) …) x ON true ──▶ MySQL: the same; MariaDB: x's columns are
//!                                                        scalar subqueries
//! unnest(a) AS t(x) ──▶ JSON_TABLE(a, '$[*]' COLUMNS (…))
//! ```
//!
//! Invariant: columns of the side of an outer join that may be missing are nullable from there on.

use sqlparser::ast::{
    Expr, Join, JoinConstraint, JoinOperator, ObjectName, Query, SetExpr, TableAlias, TableFactor,
    TableWithJoins,
};

use crate::dialect::names::{fold, parts};
use crate::dialect::program::{Piece, Text};
use crate::dialect::query::{alias_columns, fields};
use crate::dialect::refuse::{Refused, unsupported};
use crate::dialect::scope::{Field, Relation, Scope};
use crate::dialect::translator::{Hidden, Translator};
use crate::dialect::typed::{Node, Repr, Typed, around, fill, join};
use crate::names::quote_mysql;

/// FROM's text, and conditions that belong to WHERE.
#[derive(Debug, Default)]
pub(super) struct From {
    pub(super) text: Text,
    pub(super) conditions: Vec<Text>,
}

impl Translator<'_> {
    /// Adds the relations to the innermost scope.
    pub(super) fn from(&mut self, items: &[TableWithJoins]) -> Result<From, Refused> {
        let mut from = From::default();
        for (at, item) in items.iter().enumerate() {
            from.text.push(if at > 0 { ", " } else { "" });
            let text = self.joined(item, &mut from.conditions)?;
            from.text.append(text);
        }
        self.check_aliases()?;
        Ok(from)
    }

    fn check_aliases(&self) -> Result<(), Refused> {
        let Some(scope) = self.scopes.last() else { return Ok(()) };
        for (at, relation) in scope.relations.iter().enumerate() {
            if scope.relations[..at].iter().any(|other| other.alias == relation.alias) {
                let message = format!("table name \"{}\" specified more than once", relation.alias);
                return Err(Refused::error("42712", message));
            }
        }
        Ok(())
    }

    fn joined(
        &mut self,
        item: &TableWithJoins,
        conditions: &mut Vec<Text>,
    ) -> Result<Text, Refused> {
        if let [join] = &item.joins[..]
            && let JoinOperator::FullOuter(JoinConstraint::On(on)) = &join.join_operator
        {
            return self.full_join(&item.relation, &join.relation, on);
        }
        let mut text = self.factor(&item.relation)?;
        for join in &item.joins {
            text = self.join(text, join, conditions)?;
        }
        Ok(text)
    }

    fn join(
        &mut self,
        left: Text,
        join: &Join,
        conditions: &mut Vec<Text>,
    ) -> Result<Text, Refused> {
        let before = self.scope().relations.len();
        let (word, constraint) = match &join.join_operator {
            JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) => {
                ("JOIN", constraint)
            }
            JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => {
                ("LEFT JOIN", constraint)
            }
            JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => {
                ("RIGHT JOIN", constraint)
            }
            JoinOperator::CrossJoin(constraint) => ("CROSS JOIN", constraint),
            _ => return Err(unsupported("this kind of join")),
        };
        if let TableFactor::Derived { lateral: true, subquery, alias, .. } = &join.relation
            && !self.is_mysql()
        {
            return self.scalar_lateral(
                left,
                subquery,
                alias.as_ref(),
                word,
                constraint,
                conditions,
            );
        }
        let right = self.factor(&join.relation)?;
        let nullable = |this: &mut Self, range: std::ops::Range<usize>| {
            let relations = &mut this.scope_mut().relations;
            relations[range].iter_mut().for_each(Relation::set_nullable);
        };
        let after = self.scope().relations.len();
        // The condition sees both sides as they are.
        let on = match constraint {
            JoinConstraint::On(expr) => {
                let condition = self.condition(expr, "JOIN/ON")?;
                Some(self.text(&condition)?)
            }
            JoinConstraint::Using(names) => Some(self.using(names, before, word)?),
            JoinConstraint::None if word == "CROSS JOIN" => None,
            JoinConstraint::None => return Err(unsupported("a join without a condition")),
            JoinConstraint::Natural => return Err(unsupported("NATURAL JOIN")),
        };
        match word {
            "LEFT JOIN" => nullable(self, before..after),
            "RIGHT JOIN" => nullable(self, 0..before),
            _ => {}
        }
        Ok(match on {
            Some(on) => fill(&format!("{{0}} {word} {{1}} ON {{2}}"), &[left, right, on]),
            None => fill(&format!("{{0}} {word} {{1}}"), &[left, right]),
        })
    }

    /// `USING (a, b)`: each name means one column from there on.
    fn using(&mut self, names: &[ObjectName], before: usize, word: &str) -> Result<Text, Refused> {
        let mut texts = Vec::new();
        for name in names {
            let name = parts(name)?.pop().unwrap_or_default();
            let find = |relations: &[Relation]| {
                let mut found =
                    relations.iter().flat_map(|r| r.fields.iter()).filter(|f| f.name == name);
                let first = found.next().cloned();
                if found.next().is_some() { None } else { first }
            };
            let missing = || {
                let message = format!("column \"{name}\" specified in USING clause does not exist");
                Refused::error("42703", message)
            };
            let scope = self.scope();
            let merged = scope.merged.iter().find(|field| field.name == name).cloned();
            let left = merged.or_else(|| find(&scope.relations[..before])).ok_or_else(missing)?;
            let right = find(&scope.relations[before..]).ok_or_else(missing)?;
            let equal = self.compare(
                left.typed.clone(),
                &sqlparser::ast::BinaryOperator::Eq,
                right.typed.clone(),
            )?;
            texts.push(self.text(&equal)?);
            let field = if word == "RIGHT JOIN" { right } else { left };
            let scope = self.scope_mut();
            scope.merged.retain(|field| field.name != name);
            scope.merged.push(field);
        }
        Ok(join(texts, " AND "))
    }

    pub(super) fn scope(&self) -> &Scope {
        self.scopes.last().expect("a query has a scope")
    }

    pub(super) fn scope_mut(&mut self) -> &mut Scope {
        self.scopes.last_mut().expect("a query has a scope")
    }

    fn factor(&mut self, factor: &TableFactor) -> Result<Text, Refused> {
        match factor {
            TableFactor::Table {
                name,
                alias,
                args: None,
                with_ordinality: false,
                sample: None,
                json_path: None,
                version: None,
                ..
            } => self.named_table(name, alias.as_ref()),
            TableFactor::Table {
                name, alias, args: Some(args), with_ordinality: false, ..
            } => self.row_function(name, &args.args, alias.as_ref()),
            TableFactor::Function { name, args, with_ordinality: false, alias, .. } => {
                self.row_function(name, args, alias.as_ref())
            }
            TableFactor::UNNEST {
                alias,
                array_exprs,
                with_offset: false,
                with_ordinality: false,
                ..
            } => self.unnest(array_exprs, alias.as_ref()),
            TableFactor::Derived { lateral, subquery, alias, sample: None } => {
                self.derived(*lateral, subquery, alias.as_ref())
            }
            TableFactor::NestedJoin { table_with_joins, alias: None } => {
                let mut conditions = Vec::new();
                let text = self.joined(table_with_joins, &mut conditions)?;
                if !conditions.is_empty() {
                    return Err(unsupported("LATERAL within a nested join"));
                }
                Ok(around("(", text, ")"))
            }
            _ => Err(unsupported("such an entry of FROM")),
        }
    }

    fn named_table(
        &mut self,
        name: &ObjectName,
        alias: Option<&TableAlias>,
    ) -> Result<Text, Refused> {
        let names = parts(name)?;
        let own = names.last().cloned().unwrap_or_default();
        let given = alias.map_or_else(|| own.clone(), |alias| fold(&alias.name));
        if names.len() == 1
            && let Some(cte) = self.cte(&own).cloned()
        {
            let mut relation =
                Relation { alias: given.clone(), schema: None, fields: cte.fields, table: None };
            for field in &mut relation.fields {
                requalify(field, &cte.name, &given);
            }
            rename(&mut relation, alias);
            self.scope_mut().relations.push(relation);
            let quoted = quote_mysql(&given);
            return Ok(match cte.derived {
                Some(text) => around("(", text, &format!(") AS {quoted}")),
                None if given == cte.name => Text::sql(quoted),
                None => Text::sql(format!("{} AS {quoted}", quote_mysql(&cte.name))),
            });
        }
        let table = self.table(&names)?;
        let hidden =
            self.hidden.iter().find(|(oid, _)| *oid == table.oid).map(|(_, hidden)| *hidden);
        let mut relation = Relation::of(&table, &given);
        rename(&mut relation, alias);
        self.scope_mut().relations.push(relation);
        let (target, quoted) = (quote_mysql(&table.target), quote_mysql(&given));
        match hidden {
            None if table.target == given => Ok(Text::sql(target)),
            None => Ok(Text::sql(format!("{target} AS {quoted}"))),
            Some(Hidden::Changed | Hidden::Updated) => {
                Err(unsupported("reading a table that the statement's WITH writes"))
            }
            // The rows inserted by WITH are not there yet, as the rest of the statement sees it.
            Some(Hidden::Inserted(set)) => {
                let key: Vec<String> = table.key_columns().map(|c| quote_mysql(&c.name)).collect();
                if key.is_empty() {
                    return Err(unsupported("reading a table that the statement's WITH writes"));
                }
                let left = Box::new(Text::sql(format!("({})", key.join(", "))));
                let mut text = Text::sql(format!("(SELECT * FROM {target} WHERE "));
                text.0.push(Piece::Outside { left, set, width: key.len() });
                text.push(&format!(") AS {quoted}"));
                Ok(text)
            }
        }
    }

    fn derived(
        &mut self,
        lateral: bool,
        query: &Query,
        alias: Option<&TableAlias>,
    ) -> Result<Text, Refused> {
        let alias_name = match alias {
            Some(alias) => fold(&alias.name),
            None => self.new_alias(),
        };
        if lateral && !self.is_mysql() {
            return Err(unsupported("LATERAL on MariaDB"));
        }
        let output = self.hidden_unless(lateral, |this| this.query(query))?;
        let names: Vec<String> = output.columns.iter().map(|c| c.sql_name.clone()).collect();
        let fields = fields(&alias_name, &output, &names);
        let mut relation =
            Relation { alias: alias_name.clone(), schema: None, fields, table: None };
        rename(&mut relation, alias);
        self.scope_mut().relations.push(relation);
        let word = if lateral { "LATERAL " } else { "" };
        Ok(around(&format!("{word}("), output.text, &format!(") AS {}", quote_mysql(&alias_name))))
    }

    /// A derived table does not see its neighbours unless it is lateral.
    fn hidden_unless<T>(
        &mut self,
        lateral: bool,
        run: impl FnOnce(&mut Self) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        if lateral {
            return run(self);
        }
        let saved = std::mem::take(self.scope_mut());
        let result = run(self);
        *self.scope_mut() = saved;
        result
    }

    /// LATERAL on MariaDB: where the subquery has one row at most, its columns are scalar subqueries.
    fn scalar_lateral(
        &mut self,
        left: Text,
        query: &Query,
        alias: Option<&TableAlias>,
        word: &str,
        constraint: &JoinConstraint,
        conditions: &mut Vec<Text>,
    ) -> Result<Text, Refused> {
        let odd = || unsupported("LATERAL on MariaDB");
        let always = match constraint {
            JoinConstraint::None => true,
            JoinConstraint::On(Expr::Value(value)) => {
                value.value == sqlparser::ast::Value::Boolean(true)
            }
            _ => false,
        };
        let SetExpr::Select(select) = &*query.body else { return Err(odd()) };
        if !always || word == "RIGHT JOIN" || query.with.is_some() || select.projection.is_empty() {
            return Err(odd());
        }
        let alias = alias.ok_or_else(odd)?;
        let one_row = select.group_by
            == sqlparser::ast::GroupByExpr::Expressions(Vec::new(), Vec::new())
            && select.having.is_none()
            && query.limit_clause.is_none()
            && select.projection.iter().all(|item| match item {
                sqlparser::ast::SelectItem::UnnamedExpr(expr)
                | sqlparser::ast::SelectItem::ExprWithAlias { expr, .. } => {
                    super::aggregate::has_aggregate(expr)
                }
                _ => false,
            });
        let first = self.query(query)?;
        let limited = is_limit_one(query) && first.columns.len() == 1;
        if !one_row && !limited {
            return Err(odd());
        }
        let mut fields = Vec::new();
        for (at, column) in first.columns.iter().enumerate() {
            let text = if first.columns.len() == 1 {
                around("(", first.text.clone(), ")")
            } else {
                let mut single = query.clone();
                let SetExpr::Select(select) = &mut *single.body else { return Err(odd()) };
                select.projection = vec![select.projection[at].clone()];
                around("(", self.query(&single)?.text, ")")
            };
            let typed = Typed { node: Node::Sql(text), nullable: true, ..column.typed.clone() };
            fields.push(Field { name: column.name.clone(), typed, origin: None });
        }
        if limited && !one_row && word != "LEFT JOIN" {
            conditions.push(around("EXISTS (", first.text, ")"));
        }
        let mut relation = Relation { alias: fold(&alias.name), schema: None, fields, table: None };
        rename(&mut relation, Some(alias));
        self.scope_mut().relations.push(relation);
        Ok(left)
    }

    /// FULL JOIN of two relations: the left join, and what is left of the right one.
    fn full_join(
        &mut self,
        left: &TableFactor,
        right: &TableFactor,
        on: &Expr,
    ) -> Result<Text, Refused> {
        if !self.scope().relations.is_empty() {
            return Err(unsupported("FULL JOIN beside other tables"));
        }
        let (a, b) = (self.factor(left)?, self.factor(right)?);
        let condition = self.condition(on, "JOIN/ON")?;
        let condition = self.text(&condition)?;
        let alias = self.new_alias();
        let mut relations = std::mem::take(&mut self.scope_mut().relations);
        let (mut both, mut alone) = (Vec::new(), Vec::new());
        let mut number = 0;
        for (at, relation) in relations.iter_mut().enumerate() {
            for field in &mut relation.fields {
                let text = self.text(&field.typed)?;
                both.push(around("", text.clone(), &format!(" AS `c{number}`")));
                alone.push(if at == 0 { Text::sql("NULL") } else { text });
                field.typed.node = Node::Sql(Text::sql(format!("`{alias}`.`c{number}`")));
                if field.typed.repr == Repr::Enum {
                    field.typed.repr = Repr::Plain;
                }
                field.typed.nullable = true;
                number += 1;
            }
            relation.table = None;
        }
        self.scope_mut().relations = relations;
        let texts = [join(both, ", "), a, b, condition, join(alone, ", ")];
        let template = format!(
            "(SELECT {{0}} FROM {{1}} LEFT JOIN {{2}} ON {{3}} UNION ALL SELECT {{4}} FROM {{2}} \
             WHERE NOT EXISTS (SELECT 1 FROM {{1}} WHERE {{3}})) AS `{alias}`"
        );
        Ok(fill(&template, &texts))
    }
}

/// Whether a query ends in `LIMIT 1`.
fn is_limit_one(query: &Query) -> bool {
    match &query.limit_clause {
        Some(sqlparser::ast::LimitClause::LimitOffset {
            limit: Some(Expr::Value(value)),
            offset: None,
            ..
        }) => {
            matches!(&value.value, sqlparser::ast::Value::Number(digits, _) if digits == "1")
        }
        _ => false,
    }
}

/// The names of an alias with a list: `AS t(a, b)`.
pub(super) fn rename(relation: &mut Relation, alias: Option<&TableAlias>) {
    let Some(alias) = alias else { return };
    for (field, name) in relation.fields.iter_mut().zip(alias_columns(alias)) {
        field.name = name;
    }
}

/// A CTE's column under another alias.
fn requalify(field: &mut Field, from: &str, to: &str) {
    if let Node::Sql(text) = &mut field.typed.node
        && let [Piece::Sql(sql)] = &mut text.0[..]
        && let Some(rest) = sql.strip_prefix(&format!("{}.", quote_mysql(from)))
    {
        *sql = format!("{}.{rest}", quote_mysql(to));
    }
}
