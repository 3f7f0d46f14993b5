//! Aggregates and window functions.
//!
//! ```text
//! count(*) FILTER (WHERE p) ──▶ COUNT(CASE WHEN p THEN 1 END)     bool_or ──▶ MAX
//! string_agg(x, ',' ORDER BY y) ──▶ GROUP_CONCAT(x ORDER BY y SEPARATOR ',')
//! ```
//!
//! Invariant: a column that is neither grouped nor aggregated is PostgreSQL's error 42803; MySQL would
//! take any row's.

use sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause,
    FunctionArgumentList, OrderByExpr, WindowType,
};

use crate::dialect::compare::strip;
use crate::dialect::program::Text;
use crate::dialect::refuse::{Refused, unsupported};
use crate::dialect::translator::Translator;
use crate::dialect::typed::{Node, Repr, Typed, around, fill, join};
use crate::dialect::types::{Type, array_of};
use crate::value::PgType;

const AGGREGATES: &[&str] = &[
    "count",
    "sum",
    "avg",
    "min",
    "max",
    "bool_or",
    "bool_and",
    "every",
    "string_agg",
    "array_agg",
    "json_agg",
    "jsonb_agg",
    "json_object_agg",
    "jsonb_object_agg",
    "any_value",
    "percentile_cont",
    "percentile_disc",
    "mode",
    "stddev",
    "variance",
    "stddev_pop",
    "stddev_samp",
    "var_pop",
    "var_samp",
    "corr",
    "bit_and",
    "bit_or",
];

pub(super) fn is_aggregate(name: &str) -> bool {
    AGGREGATES.contains(&name)
}

/// True where an expression holds an aggregate of its own query.
pub(super) fn has_aggregate(expr: &Expr) -> bool {
    use std::ops::ControlFlow;
    let mut depth = 0_u32;
    struct Finder<'a>(&'a mut u32);
    impl sqlparser::ast::Visitor for Finder<'_> {
        type Break = ();
        fn pre_visit_query(&mut self, _: &sqlparser::ast::Query) -> ControlFlow<()> {
            *self.0 += 1;
            ControlFlow::Continue(())
        }
        fn post_visit_query(&mut self, _: &sqlparser::ast::Query) -> ControlFlow<()> {
            *self.0 -= 1;
            ControlFlow::Continue(())
        }
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Function(function) if *self.0 == 0 && function.over.is_none() => {
                    let name = function.name.0.last().map(ToString::to_string).unwrap_or_default();
                    if is_aggregate(&name.to_ascii_lowercase()) {
                        return ControlFlow::Break(());
                    }
                    ControlFlow::Continue(())
                }
                _ => ControlFlow::Continue(()),
            }
        }
    }
    sqlparser::ast::Visit::visit(expr, &mut Finder(&mut depth)).is_break()
}

impl Translator<'_> {
    /// True where the expression is one of GROUP BY: what is in it needs no grouping of its own.
    pub(super) fn grouped(&self, expr: &Expr) -> Result<bool, Refused> {
        Ok(self.grouping.as_ref().is_some_and(|grouping| {
            !grouping.inside
                && self.scopes.len() == grouping.depth
                && grouping.expressions.iter().any(|grouped| strip(grouped) == strip(expr))
        }))
    }

    pub(super) fn inside_aggregate<T>(
        &mut self,
        run: impl FnOnce(&mut Self) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        let before =
            self.grouping.as_mut().map(|grouping| std::mem::replace(&mut grouping.inside, true));
        let result = run(self);
        if let (Some(grouping), Some(before)) = (self.grouping.as_mut(), before) {
            grouping.inside = before;
        }
        result
    }

    /// Fails for a column of a grouped query that is not grouped.
    pub(super) fn check_grouped(&self, typed: &Typed, name: &str) -> Result<(), Refused> {
        let Some(grouping) = &self.grouping else { return Ok(()) };
        let Node::Sql(text) = &typed.node else { return Ok(()) };
        if grouping.inside || grouping.texts.contains(text) {
            return Ok(());
        }
        let Some(scope) = self.scopes.get(grouping.depth - 1) else { return Ok(()) };
        for relation in &scope.relations {
            let own = relation
                .fields
                .iter()
                .any(|field| matches!(&field.typed.node, Node::Sql(own) if own == text));
            if !own {
                continue;
            }
            let Some(table) = &relation.table else { break };
            // The rest of a row depends on its key.
            let keyed = !table.key.is_empty()
                && table.key.iter().all(|at| match &relation.fields[*at].typed.node {
                    Node::Sql(key) => grouping.texts.contains(key),
                    _ => false,
                });
            if keyed {
                return Ok(());
            }
            break;
        }
        let inner =
            scope.relations.iter().flat_map(|relation| &relation.fields).chain(&scope.merged);
        let is_own = inner
            .into_iter()
            .any(|field| matches!(&field.typed.node, Node::Sql(own) if own == text));
        if !is_own {
            return Ok(());
        }
        let message = format!(
            "column \"{name}\" must appear in the GROUP BY clause or be used in an aggregate function"
        );
        Err(Refused::error("42803", message))
    }

    pub(super) fn aggregate(
        &mut self,
        name: &str,
        function: &Function,
        list: &FunctionArgumentList,
    ) -> Result<Typed, Refused> {
        let over = match &function.over {
            None => None,
            Some(WindowType::WindowSpec(spec)) => Some(self.window(spec)?),
            Some(WindowType::NamedWindow(name)) => {
                Some(Text::sql(crate::names::quote_mysql(&super::names::fold(name))))
            }
        };
        if !function.within_group.is_empty() {
            return Err(unsupported(&format!("{name} WITHIN GROUP")));
        }
        let is_window = over.is_some();
        let inner = |this: &mut Self| {
            let filter = match &function.filter {
                None => None,
                Some(filter) => {
                    let condition = this.condition(filter, "FILTER")?;
                    Some(this.text(&condition)?)
                }
            };
            if is_window && !is_aggregate(name) {
                if filter.is_some() {
                    return Err(unsupported("FILTER of a window function"));
                }
                return this.window_function(name, list, function);
            }
            this.aggregate_call(name, list, filter, is_window)
        };
        let call = if is_window { inner(self)? } else { self.inside_aggregate(inner)? };
        let Some(over) = over else { return Ok(call.0) };
        // What surrounds the aggregate surrounds its window too.
        let (typed, before, after) = call;
        let Node::Sql(own) = typed.node.clone() else { return Err(unsupported(name)) };
        let text = fill("{0}{1} OVER {2}{3}", &[before, own, over, after]);
        Ok(Typed { node: Node::Sql(text), ..typed })
    }

    /// An aggregate, and what stands around it where it has a window.
    fn aggregate_call(
        &mut self,
        name: &str,
        list: &FunctionArgumentList,
        filter: Option<Text>,
        is_window: bool,
    ) -> Result<Call, Refused> {
        let distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
        let order = order_of(list)?;
        let filtered = |text: Text| match &filter {
            None => text,
            Some(filter) => fill("CASE WHEN {0} THEN {1} END", &[filter.clone(), text]),
        };
        if name == "count" {
            let text = self.count(list, distinct, &filtered)?;
            return bare(Typed::sql(text, Type::int8(), false));
        }
        let args = super::function::plain_arguments(list, name)?;
        let mut args: Vec<Typed> =
            args.iter().map(|arg| self.expr(arg)).collect::<Result<_, _>>()?;
        if args.is_empty() {
            return Err(Refused::error("42883", format!("function {name}() does not exist")));
        }
        let first = self.settle(args.remove(0))?;
        if distinct && !matches!(name, "min" | "max" | "sum" | "avg" | "string_agg") {
            return Err(unsupported(&format!("{name}(DISTINCT …)")));
        }
        let text = filtered(self.text(&first)?);
        let word = if distinct { "DISTINCT " } else { "" };
        let kept = matches!(first.repr, Repr::Kept | Repr::Binary);
        let result = |function: &str, ty: Type, repr: Repr| {
            let text = around(&format!("{function}({word}"), text.clone(), ")");
            Typed::sql(text, ty, true).with_repr(repr)
        };
        match (name, &first.ty.kind) {
            ("sum", PgType::Int2 | PgType::Int4) => {
                cast_around(result("SUM", Type::int8(), Repr::Plain), is_window)
            }
            ("sum", PgType::Int8) => bare(result("SUM", Type::numeric(), Repr::Scaled)),
            ("sum", PgType::Numeric) if !kept => bare(result("SUM", Type::numeric(), first.repr)),
            ("sum", PgType::Float8) => bare(result("SUM", Type::builtin("float8"), Repr::Plain)),
            ("avg", PgType::Float8) => bare(result("AVG", Type::builtin("float8"), Repr::Plain)),
            ("avg", PgType::Int2 | PgType::Int4 | PgType::Int8) if !is_window => {
                bare(average(&text, word))
            }
            ("min" | "max", _) => {
                self.extreme_aggregate(&first)?;
                let function = if name == "min" { "MIN" } else { "MAX" };
                bare(result(function, first.ty.clone(), first.repr))
            }
            ("bool_or", PgType::Bool) => bare(result("MAX", Type::bool(), Repr::Plain)),
            ("bool_and" | "every", PgType::Bool) => bare(result("MIN", Type::bool(), Repr::Plain)),
            _ if !is_window => self.list_aggregate(name, &first, &args, &filter, word, &order),
            _ => Err(unsupported(&format!("{name} of {}", first.ty.name()))),
        }
    }

    /// Aggregates that put values side by side.
    fn list_aggregate(
        &mut self,
        name: &str,
        first: &Typed,
        args: &[Typed],
        filter: &Option<Text>,
        word: &str,
        order: &[OrderByExpr],
    ) -> Result<Call, Refused> {
        match (name, &first.ty.kind) {
            ("string_agg", _) => {
                let separator = args.first().cloned().ok_or_else(|| unsupported(name))?;
                let text = self.string_agg(first, &separator, filter, word, order)?;
                bare(Typed::sql(text, Type::text(), true))
            }
            ("array_agg", _) => {
                let ty = array_of(&first.ty.clone().plain(), self.around.catalog)?;
                let text = self.json_aggregate(first, filter, order, true)?;
                bare(Typed::sql(text, ty, true))
            }
            ("json_agg" | "jsonb_agg", _) => {
                let ty = Type::builtin(if name == "json_agg" { "json" } else { "jsonb" });
                let text = self.json_aggregate(first, filter, order, false)?;
                bare(Typed::sql(text, ty, true))
            }
            ("json_object_agg" | "jsonb_object_agg", _) if filter.is_none() => {
                let ty = Type::builtin(if name == "json_object_agg" { "json" } else { "jsonb" });
                let key = self.text_of(first)?;
                let value = self.settle(args.first().cloned().ok_or_else(|| unsupported(name))?)?;
                let value = super::json::document_value(&value, self.flavor())?;
                bare(Typed::sql(fill("JSON_OBJECTAGG({0}, {1})", &[key, value]), ty, true))
            }
            _ => Err(unsupported(&format!("{name} of {}", first.ty.name()))),
        }
    }

    fn count(
        &mut self,
        list: &FunctionArgumentList,
        distinct: bool,
        filtered: &dyn Fn(Text) -> Text,
    ) -> Result<Text, Refused> {
        match &list.args[..] {
            [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)] => {
                Ok(match filtered(Text::sql("1")) {
                    text if text == Text::sql("1") => Text::sql("COUNT(*)"),
                    text => around("COUNT(", text, ")"),
                })
            }
            [FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))] => {
                let typed = self.expr(expr)?;
                let typed = self.settle(typed)?;
                if !distinct {
                    if let Node::Row(_) = typed.node {
                        return Ok(around("COUNT(", filtered(Text::sql("1")), ")"));
                    }
                    let text = self.text(&typed)?;
                    return Ok(around("COUNT(", filtered(text), ")"));
                }
                self.count_distinct(typed, filtered)
            }
            _ => Err(unsupported("count of several")),
        }
    }

    fn count_distinct(
        &mut self,
        typed: Typed,
        filtered: &dyn Fn(Text) -> Text,
    ) -> Result<Text, Refused> {
        let items = match typed.node {
            // MySQL leaves a row out in which anything is NULL.
            Node::Row(items) if items.iter().all(|item| !item.nullable) => items,
            Node::Row(_) => return Err(unsupported("count(DISTINCT) of a row with NULLs")),
            _ => vec![typed],
        };
        let mut texts = Vec::new();
        for item in &items {
            texts.push(filtered(self.distinct_text(item)?));
        }
        Ok(around("COUNT(DISTINCT ", join(texts, ", "), ")"))
    }

    /// A value that DISTINCT, GROUP BY and UNION tell apart as PostgreSQL does.
    pub(super) fn distinct_text(&mut self, typed: &Typed) -> Result<Text, Refused> {
        let text = self.text(typed)?;
        match &typed.ty.kind {
            PgType::Json | PgType::Jsonb | PgType::Array(_) | PgType::Interval | PgType::TimeTz => {
                Err(unsupported(&format!("distinct values of {}", typed.ty.name())))
            }
            PgType::Citext => {
                let bin = self.collation();
                Ok(fill(&format!("LOWER({{0}} COLLATE {bin})"), &[text]))
            }
            _ if typed.repr == Repr::Kept => {
                Err(unsupported(&format!("distinct values of {}", typed.ty.name())))
            }
            _ => Ok(text),
        }
    }

    fn extreme_aggregate(&mut self, typed: &Typed) -> Result<(), Refused> {
        match &typed.ty.kind {
            PgType::Text | PgType::Bpchar => self.needs_binary_order(),
            PgType::Bool => Err(Refused::error("42883", "function max(boolean) does not exist")),
            _ if matches!(typed.repr, Repr::Kept) => Err(unsupported("min or max of this type")),
            _ if typed.ty.is_number() || typed.ty.is_time() || typed.ty.kind == PgType::Time => {
                Ok(())
            }
            PgType::Interval if matches!(typed.repr, Repr::Micros | Repr::Days) => Ok(()),
            _ => Err(unsupported(&format!("min or max of {}", typed.ty.name()))),
        }
    }

    fn string_agg(
        &mut self,
        first: &Typed,
        separator: &Typed,
        filter: &Option<Text>,
        word: &str,
        order: &[OrderByExpr],
    ) -> Result<Text, Refused> {
        // GROUP_CONCAT takes its separator as a literal only: this one is a plain sign or two.
        let Node::Unknown(separator) = &separator.node else {
            return Err(unsupported("string_agg with a separator that is not a literal"));
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || ", ;:|/-_.+#@&=".contains(c);
        if !separator.chars().all(plain) {
            return Err(unsupported("string_agg with this separator"));
        }
        let value = self.text_argument(first.clone())?;
        let mut text = self.text(&value)?;
        if let Some(filter) = filter {
            text = fill("CASE WHEN {0} THEN {1} END", &[filter.clone(), text]);
        }
        let order = self.aggregate_order(order)?;
        Ok(fill(&format!("GROUP_CONCAT({word}{{0}}{{1}} SEPARATOR '{separator}')"), &[text, order]))
    }

    /// ` ORDER BY …` within an aggregate.
    fn aggregate_order(&mut self, order: &[OrderByExpr]) -> Result<Text, Refused> {
        if order.is_empty() {
            return Ok(Text::default());
        }
        let mut keys = Vec::new();
        for item in order {
            let typed = self.expr(&item.expr)?;
            let typed = self.settle(typed)?;
            keys.extend(self.sort_keys(&typed, item)?);
        }
        Ok(around(" ORDER BY ", join(keys, ", "), ""))
    }

    /// array_agg and json_agg: MySQL's JSON_ARRAYAGG has no order and no condition.
    fn json_aggregate(
        &mut self,
        first: &Typed,
        filter: &Option<Text>,
        order: &[OrderByExpr],
        is_array: bool,
    ) -> Result<Text, Refused> {
        if is_array
            && matches!(
                first.ty.kind,
                PgType::Array(_) | PgType::Bytea | PgType::Json | PgType::Jsonb
            )
        {
            return Err(unsupported(&format!("array_agg of {}", first.ty.name())));
        }
        let element = if is_array {
            super::json::element_text(first, self.flavor())?
        } else {
            super::json::document(first, self.flavor())?
        };
        let element =
            if first.nullable { fill("COALESCE({0}, 'null')", &[element]) } else { element };
        let element = match filter {
            None => element,
            Some(filter) => fill("CASE WHEN {0} THEN {1} END", &[filter.clone(), element]),
        };
        let order = self.aggregate_order(order)?;
        let list = fill("CONCAT('[', GROUP_CONCAT({0}{1} SEPARATOR ', '), ']')", &[element, order]);
        Ok(if self.is_mysql() { around("CAST(", list, " AS JSON)") } else { list })
    }
}

/// An aggregate's call, and what goes before it and after its window.
pub(super) type Call = (Typed, Text, Text);

pub(super) fn bare(typed: Typed) -> Result<Call, Refused> {
    Ok((typed, Text::default(), Text::default()))
}

fn cast_around(typed: Typed, is_window: bool) -> Result<Call, Refused> {
    if is_window {
        return Ok((typed, Text::sql("CAST("), Text::sql(" AS SIGNED)")));
    }
    let Node::Sql(text) = typed.node.clone() else { return bare(typed) };
    bare(Typed { node: Node::Sql(around("CAST(", text, " AS SIGNED)")), ..typed })
}

/// avg of integers, at the scale that PostgreSQL's division gives: sixteen digits that count, in groups
/// of four ([`super::decimal`]).
fn average(text: &Text, word: &str) -> Typed {
    let sum = around(&format!("SUM({word}"), text.clone(), ")");
    let count = around(&format!("COUNT({word}"), text.clone(), ")");
    let text = super::scale::quotient(&sum, &count);
    Typed::sql(text, Type::numeric(), true)
}

fn order_of(list: &FunctionArgumentList) -> Result<Vec<OrderByExpr>, Refused> {
    match &list.clauses[..] {
        [] => Ok(Vec::new()),
        [FunctionArgumentClause::OrderBy(order)] => Ok(order.clone()),
        _ => Err(unsupported("an aggregate with such clauses")),
    }
}
