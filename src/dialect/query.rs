//! Queries: WITH, set operations, VALUES, and what surrounds a SELECT.
//!
//! ```text
//! a UNION b ORDER BY x ──▶ SELECT … FROM ((a) UNION (b)) AS u ORDER BY u.x IS NULL, u.x
//! ```
//!
//! Invariant: the branches of a set operation are given their common types before they are written.

use sqlparser::ast::{
    Expr, LimitClause, OrderBy, OrderByKind, Query, SetExpr, SetOperator, SetQuantifier, Values,
};

use crate::dialect::names::fold;
use crate::dialect::program::{Form, Slot, Text};
use crate::dialect::refuse::{Refused, unsupported};
use crate::dialect::scope::{Field, Relation, Scope, folded};
use crate::dialect::translator::{BRANCHES_MAX, QUERY_DEPTH, Translator};
use crate::dialect::typed::{Node, Typed, around, fill, join};
use crate::dialect::types::{Type, common};
use crate::names::{Oid, quote_mysql};

/// A query's text and its columns.
#[derive(Clone, Debug)]
pub(super) struct Output {
    pub(super) text: Text,
    pub(super) columns: Vec<OutColumn>,
    /// It ends in LIMIT, so that it cannot stand within IN.
    pub(super) limited: bool,
}

#[derive(Clone, Debug)]
pub(super) struct OutColumn {
    pub(super) name: String,
    /// Its name in MySQL: unique within the query.
    pub(super) sql_name: String,
    /// Type, nullability and form; the text is the expression's.
    pub(super) typed: Typed,
    pub(super) origin: Option<(Oid, i16)>,
}

/// What becomes of columns that have no type.
#[derive(Clone, Copy, Debug)]
pub(super) enum Want<'a> {
    /// They are text.
    Text,
    /// They are text, and all rows go to the client: nothing else reads them.
    Answer,
    /// All columns are brought to these.
    Types(&'a [Type]),
    /// They stay without: the text is not used.
    Raw,
}

impl Translator<'_> {
    pub(super) fn query(&mut self, query: &Query) -> Result<Output, Refused> {
        self.query_with(query, Want::Text)
    }

    /// The query whose rows are the client's.
    pub(super) fn answering(&mut self, query: &Query) -> Result<Output, Refused> {
        self.query_with(query, Want::Answer)
    }

    /// Within a query of its own, grouping of the outer one does not count.
    pub(super) fn query_with(&mut self, query: &Query, want: Want<'_>) -> Result<Output, Refused> {
        let grouping = self.grouping.take();
        let slots = std::mem::replace(&mut self.slots, false);
        let known = self.ctes.len();
        let result = self.deeper(QUERY_DEPTH, |this| this.whole_query(query, want));
        self.ctes.truncate(known);
        self.grouping = grouping;
        self.slots = slots;
        result
    }

    fn whole_query(&mut self, query: &Query, want: Want<'_>) -> Result<Output, Refused> {
        if query.for_clause.is_some()
            || query.settings.is_some()
            || query.format_clause.is_some()
            || !query.pipe_operators.is_empty()
        {
            return Err(unsupported("a query with such clauses"));
        }
        let with = match &query.with {
            None => Text::default(),
            Some(with) => self.with(with)?,
        };
        let mut output = match &*query.body {
            SetExpr::Select(select) => self.select(select, query, want)?,
            SetExpr::Query(inner)
                if query.order_by.is_none()
                    && query.limit_clause.is_none()
                    && query.fetch.is_none()
                    && query.locks.is_empty() =>
            {
                self.query_with(inner, want)?
            }
            body => self.set_query(body, query, want)?,
        };
        if !with.0.is_empty() {
            output.text = fill("{0} {1}", &[with, output.text]);
        }
        Ok(output)
    }

    /// One side of a set operation.
    pub(super) fn branch(&mut self, body: &SetExpr, want: Want<'_>) -> Result<Output, Refused> {
        let empty = empty_query();
        match body {
            SetExpr::Select(select) => self.select(select, &empty, want),
            SetExpr::Query(query) => {
                let mut output = self.query_with(query, want)?;
                let bare = query.order_by.is_none()
                    && query.limit_clause.is_none()
                    && query.with.is_none();
                if !bare {
                    output.text = around("(", output.text, ")");
                }
                Ok(output)
            }
            SetExpr::Values(values) => self.values(values, want),
            SetExpr::SetOperation { .. } => {
                let output = self.set_query(body, &empty, want)?;
                Ok(Output { text: around("(", output.text, ")"), ..output })
            }
            _ => Err(unsupported("a set operation of such parts")),
        }
    }

    fn set_query(
        &mut self,
        body: &SetExpr,
        query: &Query,
        want: Want<'_>,
    ) -> Result<Output, Refused> {
        if !query.locks.is_empty() {
            return Err(Refused::error(
                "0A000",
                "FOR UPDATE is not allowed with UNION/INTERSECT/EXCEPT",
            ));
        }
        if BRANCHES_MAX < branches(body) {
            return Err(unsupported("a set operation of so many branches"));
        }
        let types = match want {
            Want::Types(types) => types.to_vec(),
            Want::Raw => self.common_types(body)?,
            Want::Text | Want::Answer => {
                let known = |ty: Type| if ty.is_unknown() { Type::text() } else { ty };
                self.common_types(body)?.into_iter().map(known).collect()
            }
        };
        let mut output = match body {
            SetExpr::Values(values) => self.values(values, Want::Types(&types))?,
            _ => self.operation(body, &types)?,
        };
        if query.order_by.is_none() && query.limit_clause.is_none() && query.fetch.is_none() {
            return Ok(output);
        }
        // The names of the result can be ordered by, in a query around it.
        let alias = self.new_alias();
        let names: Vec<String> = output.columns.iter().map(|c| c.sql_name.clone()).collect();
        let fields = fields(&alias, &output, &names);
        let list: Vec<String> = fields
            .iter()
            .zip(&names)
            .map(|(_, name)| format!("{}.{}", quote_mysql(&alias), quote_mysql(name)))
            .collect();
        let mut text = fill(
            &format!("SELECT {} FROM ({{0}}) AS {}", list.join(", "), quote_mysql(&alias)),
            &[output.text],
        );
        let relation = Relation { alias, schema: None, fields: fields.clone(), table: None };
        self.scopes.push(Scope { relations: vec![relation], ..Scope::default() });
        let order = self.order_by(query.order_by.as_ref(), &fields, true);
        self.scopes.pop();
        let keys = order?;
        if !keys.is_empty() {
            text.append(around(" ORDER BY ", join(keys, ", "), ""));
        }
        let limit = self.limit(query)?;
        output.limited = !limit.0.is_empty();
        text.append(limit);
        output.text = text;
        Ok(output)
    }

    fn operation(&mut self, body: &SetExpr, types: &[Type]) -> Result<Output, Refused> {
        let SetExpr::SetOperation { left, op, set_quantifier, right } = body else {
            return self.branch(body, Want::Types(types));
        };
        let mut a = self.deeper(1, |this| this.operation(left, types))?;
        let b = self.deeper(1, |this| this.operation(right, types))?;
        if a.columns.len() != b.columns.len() {
            let message = format!("each {op} query must have the same number of columns");
            return Err(Refused::error("42601", message));
        }
        let word = match op {
            SetOperator::Union => "UNION",
            SetOperator::Except => "EXCEPT",
            SetOperator::Intersect => "INTERSECT",
            SetOperator::Minus => return Err(unsupported("MINUS")),
        };
        let all = match set_quantifier {
            SetQuantifier::All => " ALL",
            SetQuantifier::None | SetQuantifier::Distinct => "",
            _ => return Err(unsupported("a set operation by name")),
        };
        for (left, right) in a.columns.iter_mut().zip(&b.columns) {
            if all.is_empty() {
                self.check_distinct(&left.typed)?;
                self.check_distinct(&right.typed)?;
            }
            left.typed.nullable |= right.typed.nullable;
            if left.typed.repr != right.typed.repr {
                left.typed.repr =
                    super::expression::shared_repr(&[left.typed.clone(), right.typed.clone()]);
            }
            left.origin = None;
        }
        a.text = fill(&format!("({{0}}) {word}{all} ({{1}})"), &[a.text, b.text]);
        Ok(a)
    }

    /// Fails for values that MySQL would not tell apart as PostgreSQL does.
    pub(super) fn check_distinct(&mut self, typed: &Typed) -> Result<(), Refused> {
        if typed.ty.kind == crate::value::PgType::Citext {
            return Err(unsupported("distinct values of citext"));
        }
        self.distinct_text(typed).map(|_| ())
    }

    /// The types that all branches have in common.
    fn common_types(&mut self, body: &SetExpr) -> Result<Vec<Type>, Refused> {
        match body {
            SetExpr::SetOperation { left, right, .. } => {
                let (left, right) = (self.common_types(left)?, self.common_types(right)?);
                if left.len() != right.len() {
                    let message = "each UNION query must have the same number of columns";
                    return Err(Refused::error("42601", message));
                }
                left.iter().zip(&right).map(|(a, b)| common(a, b)).collect()
            }
            leaf => {
                let output = self.branch(leaf, Want::Raw)?;
                Ok(output.columns.into_iter().map(|column| column.typed.ty).collect())
            }
        }
    }

    /// `VALUES (…), (…)` as SELECTs.
    pub(super) fn values(&mut self, values: &Values, want: Want<'_>) -> Result<Output, Refused> {
        let mut rows: Vec<Vec<Typed>> = Vec::new();
        for row in &values.rows {
            let row =
                row.content.iter().map(|expr| self.expr(expr)).collect::<Result<Vec<_>, _>>()?;
            if rows.first().is_some_and(|first| first.len() != row.len()) {
                return Err(Refused::error("42601", "VALUES lists must all be the same length"));
            }
            rows.push(row);
        }
        let width = rows.first().map_or(0, Vec::len);
        let mut types = Vec::new();
        for at in 0..width {
            let mut ty = Type::unknown();
            for row in &rows {
                ty = common(&ty, &row[at].ty)?;
            }
            types.push(match want {
                Want::Types(types) => types.get(at).cloned().unwrap_or(ty),
                Want::Raw => ty,
                Want::Text | Want::Answer => {
                    if ty.is_unknown() {
                        Type::text()
                    } else {
                        ty
                    }
                }
            });
        }
        let mut columns: Vec<OutColumn> = Vec::new();
        let mut texts = Vec::new();
        for row in rows {
            let mut items = Vec::new();
            for (at, item) in row.into_iter().enumerate() {
                let ty = if types[at].is_unknown() { Type::text() } else { types[at].clone() };
                let item = self.implicit(item, &ty)?;
                let name = format!("column{}", at + 1);
                let text = self.text(&item)?;
                items.push(if texts.is_empty() {
                    around("", text, &format!(" AS `{name}`"))
                } else {
                    text
                });
                match columns.get_mut(at) {
                    Some(column) => column.typed.nullable |= item.nullable,
                    None => columns.push(OutColumn {
                        name: name.clone(),
                        sql_name: name,
                        typed: Typed { ty: types[at].clone(), ..item },
                        origin: None,
                    }),
                }
            }
            texts.push(around("SELECT ", join(items, ", "), ""));
        }
        Ok(Output { text: join(texts, " UNION ALL "), columns, limited: false })
    }

    /// Keys of ORDER BY. `output` are the result's columns, which a position or a bare name means.
    pub(super) fn order_by(
        &mut self,
        order: Option<&OrderBy>,
        output: &[Field],
        only_output: bool,
    ) -> Result<Vec<Text>, Refused> {
        let Some(order) = order else { return Ok(Vec::new()) };
        let OrderByKind::Expressions(items) = &order.kind else {
            return Err(unsupported("ORDER BY ALL"));
        };
        let mut keys = Vec::new();
        for item in items {
            let typed = match self.named_output(&item.expr, output)? {
                Some(typed) => typed,
                None if only_output => {
                    return Err(unsupported("an expression in ORDER BY of a set operation"));
                }
                None => {
                    let typed = self.expr(&item.expr)?;
                    self.settle(typed)?
                }
            };
            keys.extend(self.sort_keys(&typed, item)?);
        }
        Ok(keys)
    }

    /// A position, or a name of the result.
    pub(super) fn named_output(
        &self,
        expr: &Expr,
        output: &[Field],
    ) -> Result<Option<Typed>, Refused> {
        match expr {
            Expr::Value(value) => match &value.value {
                sqlparser::ast::Value::Number(digits, _) => {
                    let at = digits.parse::<usize>().ok().and_then(|at| at.checked_sub(1));
                    let message = format!("ORDER BY position {digits} is not in select list");
                    let field = at.and_then(|at| output.get(at));
                    field
                        .map(|field| Some(field.typed.clone()))
                        .ok_or_else(|| Refused::error("42P10", message))
                }
                _ => Ok(None),
            },
            Expr::Identifier(ident) => {
                let name = fold(ident);
                let mut found = output.iter().filter(|field| field.name == name);
                let Some(first) = found.next() else { return Ok(None) };
                let same = |other: &Field| match (&first.typed.node, &other.typed.node) {
                    (Node::Sql(a), Node::Sql(b)) => a == b,
                    _ => false,
                };
                if found.all(same) {
                    return Ok(Some(first.typed.clone()));
                }
                Err(Refused::error("42702", format!("ORDER BY \"{name}\" is ambiguous")))
            }
            _ => Ok(None),
        }
    }

    /// LIMIT and OFFSET, in whichever words.
    pub(super) fn limit(&mut self, query: &Query) -> Result<Text, Refused> {
        let (mut limit, mut offset) = (None, None);
        match &query.limit_clause {
            None => {}
            Some(LimitClause::LimitOffset { limit: l, offset: o, limit_by })
                if limit_by.is_empty() =>
            {
                limit = l.as_ref();
                offset = o.as_ref().map(|offset| &offset.value);
            }
            Some(_) => return Err(unsupported("LIMIT in such words")),
        }
        let one = Expr::value(sqlparser::ast::Value::Number("1".to_owned(), false));
        if let Some(fetch) = &query.fetch {
            if fetch.with_ties || fetch.percent || limit.is_some() {
                return Err(unsupported("FETCH FIRST … WITH TIES"));
            }
            limit = Some(fetch.quantity.as_ref().unwrap_or(&one));
        }
        if limit.is_none() && offset.is_none() {
            return Ok(Text::default());
        }
        let mut text = Text::sql(" LIMIT ");
        match limit {
            None => text.push("18446744073709551615"),
            Some(limit) => text.append(self.count_slot(limit, Form::Limit)?),
        }
        if let Some(offset) = offset {
            text.push(" OFFSET ");
            text.append(self.count_slot(offset, Form::Offset)?);
        }
        Ok(text)
    }

    fn count_slot(&mut self, expr: &Expr, form: Form) -> Result<Text, Refused> {
        let typed = self.expr(expr)?;
        let typed = self.implicit(typed, &Type::int8())?;
        let source = typed.source().ok_or_else(|| unsupported("LIMIT of an expression"))?;
        Ok(Text::value(Slot { source, ty: typed.ty, form }))
    }

    /// A scalar subquery.
    pub(super) fn scalar_subquery(&mut self, query: &Query) -> Result<Typed, Refused> {
        let output = self.query(query)?;
        let [column] = &output.columns[..] else {
            return Err(Refused::error("42601", "subquery must return only one column"));
        };
        let typed = column.typed.clone();
        let repr = if typed.repr == super::typed::Repr::Enum {
            super::typed::Repr::Plain
        } else {
            typed.repr
        };
        Ok(Typed::sql(around("(", output.text, ")"), typed.ty, true).with_repr(repr))
    }

    /// A subquery of which only whether it has rows counts.
    pub(super) fn subquery_text(&mut self, query: &Query) -> Result<Text, Refused> {
        self.query(query).map(|output| output.text)
    }
}

/// The columns of a query as fields of a relation.
pub(super) fn fields(alias: &str, output: &Output, names: &[String]) -> Vec<Field> {
    output
        .columns
        .iter()
        .zip(names)
        .enumerate()
        .map(|(at, (column, name))| {
            let text = Text::sql(format!("{}.{}", quote_mysql(alias), quote_mysql(name)));
            let typed = Typed { node: Node::Sql(text), ..column.typed.clone() };
            // A list of names renames the first columns only.
            let own =
                if *name == column.sql_name { column.name.clone() } else { names[at].clone() };
            Field { name: own, typed, origin: column.origin }
        })
        .collect()
}

/// How many queries a chain of set operations has, without going down it.
fn branches(body: &SetExpr) -> usize {
    let (mut count, mut rest) = (1, body);
    while let SetExpr::SetOperation { left, .. } = rest {
        count += 1;
        rest = left;
    }
    count
}

fn empty_query() -> Query {
    Query {
        with: None,
        body: Box::new(SetExpr::Values(Values {
            explicit_row: false,
            value_keyword: false,
            rows: Vec::new(),
        })),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: Vec::new(),
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: Vec::new(),
    }
}

/// Names of a column alias list.
pub(super) fn alias_columns(alias: &sqlparser::ast::TableAlias) -> Vec<String> {
    let idents: Vec<_> = alias.columns.iter().map(|column| column.name.clone()).collect();
    folded(&idents)
}
