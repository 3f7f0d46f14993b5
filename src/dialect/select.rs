//! One SELECT: its list, conditions, groups, DISTINCT ON, order, locks.
//!
//! ```text
//! DISTINCT ON (a) … ORDER BY a, b ──▶ SELECT … FROM (SELECT …, ROW_NUMBER() OVER (PARTITION BY a
//!                                     ORDER BY a, b) AS n …) WHERE n = 1 ORDER BY …
//! ```
//!
//! Invariant: the columns of the result are those of PostgreSQL, in number, order, name and type.

use sqlparser::ast::{
    Distinct, Expr, GroupByExpr, Query, Select, SelectItem, SelectItemQualifiedWildcardKind,
};

use crate::dialect::aggregate::has_aggregate;
use crate::dialect::label::label;
use crate::dialect::names::{fold, parts};
use crate::dialect::program::{Form, Slot, Source, Text};
use crate::dialect::query::{OutColumn, Output, Want};
use crate::dialect::refuse::{Refused, unsupported};
use crate::dialect::scope::{Field, Scope};
use crate::dialect::translator::{Grouping, Translator};
use crate::dialect::typed::{Node, Repr, Typed, around, fill, join};
use crate::names::quote_mysql;
use crate::value::{PgType, TargetType};

impl Translator<'_> {
    pub(super) fn select(
        &mut self,
        select: &Select,
        query: &Query,
        want: Want<'_>,
    ) -> Result<Output, Refused> {
        check_plain(select)?;
        self.scopes.push(Scope::default());
        let result = self.select_in_scope(select, query, want);
        self.scopes.pop();
        self.grouping = None;
        result
    }

    fn select_in_scope(
        &mut self,
        select: &Select,
        query: &Query,
        want: Want<'_>,
    ) -> Result<Output, Refused> {
        let from = self.from(&select.from)?;
        let mut conditions = from.conditions;
        if let Some(selection) = &select.selection {
            let condition = self.condition(selection, "WHERE")?;
            conditions.push(self.text(&condition)?);
        }
        let groups = self.group_by(select)?;
        let fields = self.items(&select.projection, want)?;
        let having = match &select.having {
            None => None,
            Some(having) => {
                let condition = self.condition(having, "HAVING")?;
                Some(self.text(&condition)?)
            }
        };
        let windows = self.named_windows(&select.named_window)?;
        let order = self.order_by(query.order_by.as_ref(), &fields, false)?;
        let on = match &select.distinct {
            None | Some(Distinct::All) => None,
            Some(Distinct::Distinct) => {
                for field in &fields {
                    self.check_distinct(&field.typed)?;
                }
                Some(Vec::new())
            }
            Some(Distinct::On(keys)) => Some(self.distinct_on(keys, &fields)?),
        };
        let columns = columns(&fields);
        let rest = clauses(from.text, conditions, groups, having, windows);
        let mut list = Vec::new();
        for (field, column) in fields.iter().zip(&columns) {
            let text = self.text(&field.typed)?;
            list.push(around("", text, &format!(" AS {}", quote_mysql(&column.sql_name))));
        }
        let limit = self.limit(query)?;
        let lock = self.locks(&query.locks, select)?;
        let limited = !limit.0.is_empty();
        let text = match on {
            Some(keys) if !keys.is_empty() => {
                if !lock.is_empty() {
                    return Err(Refused::error(
                        "0A000",
                        "FOR UPDATE is not allowed with DISTINCT clause",
                    ));
                }
                self.first_of_each(list, &columns, rest, keys, order, limit)
            }
            on => {
                let word = if on.is_some() { "SELECT DISTINCT " } else { "SELECT " };
                let list = if list.is_empty() { Text::sql("1") } else { join(list, ", ") };
                let mut text = around(word, list, "");
                text.append(rest);
                if !order.is_empty() {
                    text.append(around(" ORDER BY ", join(order, ", "), ""));
                }
                text.append(limit);
                text.push(&lock);
                text
            }
        };
        Ok(Output { text, columns, limited })
    }

    /// DISTINCT ON: the first row of each partition.
    fn first_of_each(
        &mut self,
        mut list: Vec<Text>,
        columns: &[OutColumn],
        rest: Text,
        keys: Vec<Text>,
        order: Vec<Text>,
        limit: Text,
    ) -> Text {
        let mut outer_order = Vec::new();
        let mut window = around("PARTITION BY ", join(keys, ", "), "");
        if !order.is_empty() {
            window.append(around(" ORDER BY ", join(order.clone(), ", "), ""));
        }
        for (at, key) in order.into_iter().enumerate() {
            let (key, direction) = without_direction(key);
            outer_order.push(Text::sql(format!("`cf_d`.`cf_o{at}`{direction}")));
            list.push(around("", key, &format!(" AS `cf_o{at}`")));
        }
        list.push(around("ROW_NUMBER() OVER (", window, ") AS `cf_n`"));
        let names: Vec<String> = columns
            .iter()
            .map(|column| format!("`cf_d`.{}", quote_mysql(&column.sql_name)))
            .collect();
        let mut text = Text::sql(format!("SELECT {} FROM (SELECT ", names.join(", ")));
        text.append(join(list, ", "));
        text.append(rest);
        text.push(") AS `cf_d` WHERE `cf_d`.`cf_n` = 1");
        if !outer_order.is_empty() {
            text.append(around(" ORDER BY ", join(outer_order, ", "), ""));
        }
        text.append(limit);
        text
    }

    fn distinct_on(&mut self, keys: &[Expr], fields: &[Field]) -> Result<Vec<Text>, Refused> {
        let mut texts = Vec::new();
        for key in keys {
            let typed = match self.named_output(key, fields)? {
                Some(typed) => typed,
                None => self.expr(key)?,
            };
            texts.push(self.distinct_text(&typed)?);
        }
        Ok(texts)
    }

    fn group_by(&mut self, select: &Select) -> Result<Vec<Text>, Refused> {
        let GroupByExpr::Expressions(expressions, modifiers) = &select.group_by else {
            return Err(unsupported("GROUP BY ALL"));
        };
        if !modifiers.is_empty() {
            return Err(unsupported("GROUP BY with such words"));
        }
        let exprs = select.projection.iter().filter_map(|item| match item {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
            _ => None,
        });
        let aggregates = exprs.chain(&select.having).any(has_aggregate);
        if expressions.is_empty() && !aggregates && select.having.is_none() {
            return Ok(Vec::new());
        }
        let mut grouping = Grouping {
            expressions: Vec::new(),
            texts: Vec::new(),
            depth: self.scopes.len(),
            inside: false,
        };
        let mut texts = Vec::new();
        for expression in expressions {
            if matches!(expression, Expr::GroupingSets(_) | Expr::Cube(_) | Expr::Rollup(_)) {
                return Err(unsupported("GROUPING SETS"));
            }
            let expression = self.grouped_expression(expression, select)?;
            let typed = self.expr(&expression)?;
            let typed = self.settle(typed)?;
            texts.push(self.distinct_text(&typed)?);
            grouping.texts.push(self.text(&typed)?);
            grouping.expressions.push(expression);
        }
        self.grouping = Some(grouping);
        Ok(texts)
    }

    /// A position or a name of the result stands for its expression; a column goes before such a name.
    fn grouped_expression(&mut self, expression: &Expr, select: &Select) -> Result<Expr, Refused> {
        match expression {
            Expr::Value(value) => {
                let sqlparser::ast::Value::Number(digits, _) = &value.value else {
                    return Ok(expression.clone());
                };
                let item = digits
                    .parse::<usize>()
                    .ok()
                    .and_then(|at| select.projection.get(at.checked_sub(1)?));
                match item {
                    Some(
                        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. },
                    ) => Ok(expr.clone()),
                    _ => Err(unsupported("GROUP BY of this position")),
                }
            }
            Expr::Identifier(ident) => {
                let name = fold(ident);
                if self.bare_column(&name).is_ok() {
                    return Ok(expression.clone());
                }
                let alias = select.projection.iter().find_map(|item| match item {
                    SelectItem::ExprWithAlias { expr, alias } if fold(alias) == name => {
                        Some(expr.clone())
                    }
                    _ => None,
                });
                Ok(alias.unwrap_or_else(|| expression.clone()))
            }
            _ => Ok(expression.clone()),
        }
    }

    /// The select list, `*` written out.
    pub(super) fn items(
        &mut self,
        items: &[SelectItem],
        want: Want<'_>,
    ) -> Result<Vec<Field>, Refused> {
        let mut fields: Vec<Field> = Vec::new();
        for item in items {
            match item {
                SelectItem::UnnamedExpr(expr) => {
                    let field = self.item(expr, label(expr))?;
                    fields.push(field);
                }
                SelectItem::ExprWithAlias { expr, alias } => {
                    let field = self.item(expr, fold(alias))?;
                    fields.push(field);
                }
                SelectItem::Wildcard(options) if options.to_string().is_empty() => {
                    let scope = self.scopes.last().cloned().unwrap_or_default();
                    if scope.relations.is_empty() {
                        return Err(Refused::error(
                            "42601",
                            "SELECT * with no tables specified is not valid",
                        ));
                    }
                    let merged: Vec<&str> =
                        scope.merged.iter().map(|field| field.name.as_str()).collect();
                    fields.extend(scope.merged.clone());
                    for relation in &scope.relations {
                        let own = relation
                            .fields
                            .iter()
                            .filter(|field| !merged.contains(&field.name.as_str()));
                        fields.extend(own.cloned());
                    }
                }
                SelectItem::QualifiedWildcard(
                    SelectItemQualifiedWildcardKind::ObjectName(name),
                    options,
                ) if options.to_string().is_empty() => {
                    let names = parts(name)?;
                    let alias = names.last().cloned().unwrap_or_default();
                    let found = self.scopes.iter().rev().find_map(|scope| {
                        scope.relations.iter().find(|relation| relation.alias == alias)
                    });
                    let missing = || {
                        let message = format!("missing FROM-clause entry for table \"{alias}\"");
                        Refused::error("42P01", message)
                    };
                    fields.extend(found.ok_or_else(missing)?.fields.clone());
                }
                _ => return Err(unsupported("a select list of such items")),
            }
        }
        for field in &fields {
            self.check_grouped_star(field)?;
        }
        let fields = fields.into_iter().enumerate();
        fields.map(|(at, field)| self.wanted(field, at, want)).collect()
    }

    fn check_grouped_star(&self, field: &Field) -> Result<(), Refused> {
        if field.origin.is_some() { self.check_grouped(&field.typed, &field.name) } else { Ok(()) }
    }

    fn item(&mut self, expr: &Expr, name: String) -> Result<Field, Refused> {
        let origin = match expr {
            Expr::Identifier(ident) => {
                self.bare_column(&fold(ident)).ok().and_then(|field| field.origin)
            }
            Expr::CompoundIdentifier(idents) => {
                let names = super::scope::folded(idents);
                self.qualified_column(&names).ok().and_then(|field| field.origin)
            }
            _ => None,
        };
        let typed = self.expr(expr)?;
        if let Node::Row(_) = typed.node {
            return Err(unsupported("a row as a result"));
        }
        Ok(Field { name, typed, origin })
    }

    fn wanted(&mut self, field: Field, at: usize, want: Want<'_>) -> Result<Field, Refused> {
        let typed = match want {
            Want::Text => self.settle(field.typed)?,
            Want::Answer => {
                let typed = self.settle(field.typed)?;
                returned(typed)
            }
            Want::Raw => field.typed,
            Want::Types(types) => match types.get(at) {
                // Assignments convert between kinds of times, and to text.
                Some(ty)
                    if ty.is_time()
                        && field.typed.ty.is_time()
                        && ty.kind != field.typed.ty.kind =>
                {
                    self.cast(field.typed, &ty.clone().plain())?
                }
                Some(ty) => self.implicit(field.typed, ty).map_err(|error| match error.code {
                    // An assignment may convert more than that.
                    "42804" => unsupported("a SELECT of other types than the columns have"),
                    _ => error,
                })?,
                None => self.settle(field.typed)?,
            },
        };
        let typed = self.presentable(typed)?;
        Ok(Field { typed, ..field })
    }

    /// An interval that MySQL has as a number leaves as text.
    fn presentable(&self, typed: Typed) -> Result<Typed, Refused> {
        if typed.ty.kind != PgType::Interval || typed.source().is_some() {
            return Ok(typed);
        }
        let template = match typed.repr {
            Repr::Micros => "CONCAT('PT', CAST({0} / 1000000 AS DECIMAL(24,6)), 'S')",
            Repr::Span => {
                "CONCAT('P', {0} DIV 86400000000, 'DT', CAST(({0} % 86400000000) / 1000000 AS DECIMAL(24,6)), 'S')"
            }
            Repr::Days => "CONCAT('P', {0}, 'D')",
            Repr::Months => "CONCAT('P', {0}, 'M')",
            _ => return Ok(typed),
        };
        let text = self.text(&typed)?;
        Ok(Typed::sql(fill(template, &[text]), typed.ty, typed.nullable).with_repr(Repr::Kept))
    }
}

/// FROM, WHERE, GROUP BY, HAVING and WINDOW.
fn clauses(
    from: Text,
    conditions: Vec<Text>,
    groups: Vec<Text>,
    having: Option<Text>,
    windows: Text,
) -> Text {
    let mut rest = Text::default();
    if !from.0.is_empty() {
        rest.append(around(" FROM ", from, ""));
    } else if !conditions.is_empty() || !groups.is_empty() || having.is_some() {
        rest.push(" FROM DUAL");
    }
    if !conditions.is_empty() {
        rest.append(around(" WHERE ", join(conditions, " AND "), ""));
    }
    if !groups.is_empty() {
        rest.append(around(" GROUP BY ", join(groups, ", "), ""));
    }
    if let Some(having) = having {
        rest.append(around(" HAVING ", having, ""));
    }
    rest.append(windows);
    rest
}

/// Columns of the result with names that are unique in MySQL.
fn columns(fields: &[Field]) -> Vec<OutColumn> {
    let mut taken = std::collections::HashSet::new();
    let unique = |name: &str, taken: &mut std::collections::HashSet<String>| {
        let mut sql_name = crate::catalog::naming::shorten(name.trim_end());
        let mut number = 2;
        while sql_name.is_empty() || !taken.insert(sql_name.to_lowercase()) {
            sql_name = crate::catalog::naming::shorten(&format!("{name}_{number}"));
            number += 1;
        }
        sql_name
    };
    fields
        .iter()
        .map(|field| OutColumn {
            name: field.name.clone(),
            sql_name: unique(&field.name, &mut taken),
            typed: field.typed.clone(),
            origin: field.origin,
        })
        .collect()
}

/// A sort key and its ` DESC`.
fn without_direction(key: Text) -> (Text, &'static str) {
    let mut key = key;
    if let Some(super::program::Piece::Sql(last)) = key.0.last_mut()
        && last.ends_with(" DESC")
    {
        last.truncate(last.len() - " DESC".len());
        return (key, " DESC");
    }
    (key, "")
}

fn check_plain(select: &Select) -> Result<(), Refused> {
    let odd = !select.optimizer_hints.is_empty()
        || select.select_modifiers.is_some()
        || select.top.is_some()
        || select.exclude.is_some()
        || select.into.is_some()
        || !select.lateral_views.is_empty()
        || select.prewhere.is_some()
        || !select.connect_by.is_empty()
        || !select.cluster_by.is_empty()
        || !select.distribute_by.is_empty()
        || !select.sort_by.is_empty()
        || select.qualify.is_some()
        || select.value_table_mode.is_some();
    if select.into.is_some() {
        return Err(unsupported("SELECT INTO"));
    }
    if odd { Err(unsupported("a SELECT with such clauses")) } else { Ok(()) }
}

/// A numeric parameter that is only given back keeps the digits that it came with: a decimal of MySQL's has
/// as many as its type.
fn returned(typed: Typed) -> Typed {
    let numeric = typed.ty.kind == PgType::Numeric && typed.ty.scale().is_none();
    match typed.node {
        Node::Parameter(at) if numeric => {
            let form = Form::Column(TargetType::LongText);
            let slot = Slot { source: Source::Parameter(at), ty: typed.ty.clone(), form };
            Typed { node: Node::Sql(Text::value(slot)), repr: Repr::Kept, ..typed }
        }
        _ => typed,
    }
}
