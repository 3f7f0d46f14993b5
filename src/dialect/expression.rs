//! Expressions: each kind of node to the module that knows it.
//!
//! Invariant: a node that no arm names is refused; nothing is printed as it was parsed.

use sqlparser::ast::{AccessExpr, BinaryOperator, CastKind, Expr, Subscript, UnaryOperator};

use crate::dialect::compare::strip;
use crate::dialect::literal::{self, literal};
use crate::dialect::names::{fold, parts};
use crate::dialect::program::Text;
use crate::dialect::refuse::{Refused, unsupported};
use crate::dialect::translator::{Translator, is_null};
use crate::dialect::typed::{Node, Repr, Typed, around, fill, join};
use crate::dialect::types::{self, Type, common};
use crate::value::{Numeric, PgType, Value};

impl Translator<'_> {
    /// Translates an expression. What has no type of its own may come back without one.
    pub(super) fn expr(&mut self, expr: &Expr) -> Result<Typed, Refused> {
        if self.grouped(expr)? {
            return self.deeper(1, |this| this.inside_aggregate(|this| this.node(expr)));
        }
        self.deeper(1, |this| this.node(expr))
    }

    fn node(&mut self, expr: &Expr) -> Result<Typed, Refused> {
        match expr {
            Expr::Identifier(ident) => {
                let name = fold(ident);
                if ident.quote_style.is_none()
                    && let Some(special) = self.special_name(&name)?
                {
                    return Ok(special);
                }
                let field = self.bare_column(&name)?;
                self.check_grouped(&field.typed, &field.name)?;
                Ok(field.typed)
            }
            Expr::CompoundIdentifier(idents) => {
                let names = crate::dialect::scope::folded(idents);
                let field = self.qualified_column(&names)?;
                self.check_grouped(&field.typed, &field.name)?;
                Ok(field.typed)
            }
            Expr::Value(value) => match literal(&value.value)? {
                Some(typed) => Ok(typed),
                None => self.parameter(&value.value.to_string()),
            },
            Expr::Nested(inner) => {
                let typed = self.expr(inner)?;
                Ok(parenthesized(typed))
            }
            Expr::Tuple(items) => {
                let items = items.iter().map(|item| self.expr(item)).collect::<Result<_, _>>()?;
                Ok(row(items))
            }
            Expr::UnaryOp { op, expr } => self.unary(op, expr),
            Expr::Cast {
                kind: CastKind::Cast | CastKind::DoubleColon, expr, data_type, ..
            } => {
                let to = types::named(data_type, self.around.catalog)?;
                if let (Expr::Array(array), Some(element)) = (strip(expr), to.element()) {
                    return self.cast_items(&array.elem, &element, &to);
                }
                let typed = self.expr(expr)?;
                self.cast(typed, &to)
            }
            Expr::TypedString(string) => {
                let to = types::named(&string.data_type, self.around.catalog)?;
                match literal(&string.value.value)? {
                    Some(typed) => self.cast(typed, &to),
                    None => Err(unsupported("a literal of this kind")),
                }
            }
            Expr::Interval(interval) => self.interval_literal(interval),
            _ => self.predicate(expr),
        }
    }

    /// `ARRAY['a', 'b']::t[]`: the literals are read as the cast's own elements.
    fn cast_items(&mut self, items: &[Expr], element: &Type, to: &Type) -> Result<Typed, Refused> {
        let mut cast = Vec::new();
        for item in items {
            let item = self.expr(item)?;
            cast.push(self.cast(item, element)?);
        }
        Ok(Typed { node: Node::List(cast), ty: to.clone(), nullable: false, repr: Repr::Plain })
    }

    /// What is true or false.
    fn predicate(&mut self, expr: &Expr) -> Result<Typed, Refused> {
        match expr {
            Expr::IsTrue(inner) => self.truth(inner, "IS TRUE"),
            Expr::IsNotTrue(inner) => self.truth(inner, "IS NOT TRUE"),
            Expr::IsFalse(inner) => self.truth(inner, "IS FALSE"),
            Expr::IsNotFalse(inner) => self.truth(inner, "IS NOT FALSE"),
            Expr::IsUnknown(inner) => self.truth(inner, "IS NULL"),
            Expr::IsNotUnknown(inner) => self.truth(inner, "IS NOT NULL"),
            Expr::IsNull(inner) => self.null_test(inner, "IS NULL"),
            Expr::IsNotNull(inner) => self.null_test(inner, "IS NOT NULL"),
            Expr::IsDistinctFrom(left, right) => self.distinct(left, right, true),
            Expr::IsNotDistinctFrom(left, right) => self.distinct(left, right, false),
            Expr::InList { expr, list, negated } => self.in_list(expr, list, *negated),
            Expr::InSubquery { expr, subquery, negated } => {
                self.in_subquery(expr, subquery, *negated)
            }
            Expr::Between { expr, negated, low, high } => self.between(expr, low, high, *negated),
            Expr::BinaryOp { left, op, right } => self.binary(left, op, right),
            Expr::Like { negated, any: false, expr, pattern, escape_char } => {
                self.like(expr, pattern, escape_char.as_deref(), false, *negated)
            }
            Expr::ILike { negated, any: false, expr, pattern, escape_char } => {
                self.like(expr, pattern, escape_char.as_deref(), true, *negated)
            }
            Expr::AnyOp { left, compare_op, right, .. } => {
                self.quantified(left, compare_op, right, false)
            }
            Expr::AllOp { left, compare_op, right } => {
                self.quantified(left, compare_op, right, true)
            }
            _ => self.construct(expr),
        }
    }

    /// Words with a grammar of their own.
    fn construct(&mut self, expr: &Expr) -> Result<Typed, Refused> {
        match expr {
            Expr::AtTimeZone { timestamp, time_zone } => self.at_time_zone(timestamp, time_zone),
            Expr::Extract { field, expr, .. } => {
                let typed = self.expr(expr)?;
                self.extract(&field.to_string().to_ascii_lowercase(), typed, true)
            }
            Expr::Ceil { expr, .. } => self.call("ceil", &[(**expr).clone()]),
            Expr::Floor { expr, .. } => self.call("floor", &[(**expr).clone()]),
            Expr::Position { expr, r#in } => {
                self.call("strpos", &[(**r#in).clone(), (**expr).clone()])
            }
            Expr::Substring { expr, substring_from, substring_for, .. } => {
                self.substring(expr, substring_from.as_deref(), substring_for.as_deref())
            }
            Expr::Trim { trim_where, trim_what, expr, trim_characters } => {
                self.trim(*trim_where, trim_what.as_deref(), expr, trim_characters.as_deref())
            }
            Expr::Collate { expr, collation } => self.collate(expr, &parts(collation)?),
            Expr::Function(function) => self.function(function),
            Expr::Case { operand, conditions, else_result, .. } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref())
            }
            Expr::Exists { subquery, negated } => {
                let text = self.subquery_text(subquery)?;
                let not = if *negated { "NOT " } else { "" };
                Ok(Typed::sql(around(&format!("{not}EXISTS ("), text, ")"), Type::bool(), false))
            }
            Expr::Subquery(query) => self.scalar_subquery(query),
            Expr::Array(array) => {
                let items: Vec<Typed> =
                    array.elem.iter().map(|item| self.expr(item)).collect::<Result<_, _>>()?;
                self.array_constructor(items)
            }
            Expr::CompoundFieldAccess { root, access_chain } => {
                let typed = self.expr(root)?;
                match &access_chain[..] {
                    [AccessExpr::Subscript(Subscript::Index { index })] => {
                        let index = self.expr(index)?;
                        self.subscript(typed, index)
                    }
                    [
                        AccessExpr::Subscript(Subscript::Slice {
                            lower_bound,
                            upper_bound,
                            stride: None,
                        }),
                    ] => self.slice(&typed, lower_bound.as_ref(), upper_bound.as_ref()),
                    _ => Err(unsupported("access to a field")),
                }
            }
            _ => Err(unsupported(&format!("expression {}", kind(expr)))),
        }
    }

    /// A boolean.
    pub(super) fn condition(&mut self, expr: &Expr, what: &str) -> Result<Typed, Refused> {
        let typed = self.expr(expr)?;
        let typed = self.resolve(typed, &Type::bool())?;
        if typed.ty.kind != PgType::Bool {
            let name = typed.ty.name();
            let message = format!("argument of {what} must be type boolean, not type {name}");
            return Err(Refused::error("42804", message));
        }
        Ok(typed)
    }

    fn truth(&mut self, inner: &Expr, test: &str) -> Result<Typed, Refused> {
        let typed = self.condition(inner, test)?;
        let text = around("(", self.text(&typed)?, &format!(" {test})"));
        Ok(Typed::sql(text, Type::bool(), false))
    }

    fn null_test(&mut self, inner: &Expr, test: &str) -> Result<Typed, Refused> {
        let typed = self.expr(inner)?;
        let typed = self.settle(typed)?;
        if let Node::Row(items) = &typed.node {
            // A row is null if all its fields are, and not null if none is.
            let mut texts = Vec::new();
            for item in items {
                let item = self.settle(item.clone())?;
                texts.push(around("", self.text(&item)?, &format!(" {test}")));
            }
            return Ok(Typed::sql(around("(", join(texts, " AND "), ")"), Type::bool(), false));
        }
        let text = around("(", self.text(&typed)?, &format!(" {test})"));
        Ok(Typed::sql(text, Type::bool(), false))
    }

    fn unary(&mut self, op: &UnaryOperator, expr: &Expr) -> Result<Typed, Refused> {
        match op {
            UnaryOperator::Not => {
                let typed = self.condition(expr, "NOT")?;
                let text = around("(NOT ", self.text(&typed)?, ")");
                Ok(Typed::sql(text, Type::bool(), typed.nullable))
            }
            UnaryOperator::Minus => {
                // The parser binds `-a ^ 2` otherwise than PostgreSQL.
                if matches!(expr, Expr::BinaryOp { op: BinaryOperator::PGExp, .. }) {
                    return Err(unsupported("a negated power without parentheses"));
                }
                let typed = self.expr(expr)?;
                self.negated(&typed)
            }
            UnaryOperator::Plus => self.expr(expr),
            _ => Err(unsupported(&format!("prefix operator {op}"))),
        }
    }

    fn negated(&mut self, typed: &Typed) -> Result<Typed, Refused> {
        match typed.value() {
            Some(Value::Int(value)) if typed.ty.is_integer() => {
                return Ok(Typed::constant(Value::Int(-value), typed.ty.clone()));
            }
            Some(Value::Numeric(Numeric::Finite(text))) => {
                // 9223372036854775808 is a numeric, and its negative a bigint in PostgreSQL neither.
                let zero = text.bytes().all(|byte| matches!(byte, b'0' | b'.'));
                let text = match text.strip_prefix('-') {
                    Some(rest) => rest.to_owned(),
                    None if zero => text.clone(),
                    None => format!("-{text}"),
                };
                let value = Value::Numeric(Numeric::Finite(text));
                return Ok(Typed::constant(value, typed.ty.clone()));
            }
            Some(Value::Float8(value)) => {
                return Ok(Typed::constant(Value::Float8(-value), typed.ty.clone()));
            }
            _ => {}
        }
        if !typed.ty.is_number() || typed.repr == Repr::Kept {
            return Err(unsupported("a minus in front of this type"));
        }
        let text = around("(-", self.text(typed)?, ")");
        Ok(Typed::sql(text, typed.ty.clone().plain(), typed.nullable).with_repr(typed.repr))
    }

    fn collate(&mut self, expr: &Expr, name: &[String]) -> Result<Typed, Refused> {
        let typed = self.expr(expr)?;
        let typed = self.settle(typed)?;
        let known = ["C", "POSIX", "default", "C.UTF-8", "C.utf8", "ucs_basic"];
        if !name.last().is_some_and(|name| known.contains(&name.as_str())) {
            return Err(unsupported("COLLATE other than \"C\""));
        }
        self.as_text(typed)
    }

    fn case(
        &mut self,
        operand: Option<&Expr>,
        conditions: &[sqlparser::ast::CaseWhen],
        otherwise: Option<&Expr>,
    ) -> Result<Typed, Refused> {
        let mut whens = Vec::new();
        let mut results = Vec::new();
        for when in conditions {
            let condition = match operand {
                None => self.condition(&when.condition, "CASE/WHEN")?,
                Some(operand) => {
                    let left = self.expr(operand)?;
                    let right = self.expr(&when.condition)?;
                    self.compare(left, &BinaryOperator::Eq, right)?
                }
            };
            whens.push(self.text(&condition)?);
            results.push(self.expr(&when.result)?);
        }
        // The type is found as PostgreSQL finds it, ELSE first; that only matters to what is not one.
        if let Some(otherwise) = otherwise {
            results.push(self.expr(otherwise)?);
        }
        let (results, ty) = self.unify(results, "CASE")?;
        let nullable = otherwise.is_none() || results.iter().any(|result| result.nullable);
        let repr = shared_repr(&results);
        let mut text = Text::sql("CASE");
        for (when, result) in whens.into_iter().zip(&results) {
            text.push(" WHEN ");
            text.append(when);
            text.push(" THEN ");
            text.append(self.text(result)?);
        }
        if otherwise.is_some() {
            text.push(" ELSE ");
            text.append(self.text(&results[results.len() - 1])?);
        }
        text.push(" END");
        Ok(Typed::sql(around("(", text, ")"), ty, nullable).with_repr(repr))
    }

    /// Brings values to one type, as UNION, CASE, COALESCE and the like do.
    pub(super) fn unify(
        &mut self,
        items: Vec<Typed>,
        what: &str,
    ) -> Result<(Vec<Typed>, Type), Refused> {
        let mut ty = Type::unknown();
        for item in &items {
            ty = common(&ty, &item.ty).map_err(|error| match error.code {
                "42804" => Refused::error("42804", format!("{what} {}", error.message)),
                _ => error,
            })?;
        }
        if ty.is_unknown() {
            ty = Type::text();
        }
        let items: Vec<Typed> =
            items.into_iter().map(|item| self.implicit(item, &ty)).collect::<Result<_, _>>()?;
        let spans = |item: &&Typed| ty.kind == PgType::Interval && !is_null(item);
        if items.iter().filter(spans).any(|item| item.repr != shared_repr(&items)) {
            return Err(unsupported("intervals of several forms in one expression"));
        }
        let binary = |item: &Typed| item.repr == Repr::Binary;
        if items.iter().any(binary) && !items.iter().all(|item| binary(item) || is_null(item)) {
            return Err(unsupported("a uuid of 16 bytes beside one of text"));
        }
        Ok((items, ty))
    }

    /// As PostgreSQL's implicit casts: what has no type gets this one, numbers widen, text stays text.
    pub(super) fn implicit(&mut self, typed: Typed, ty: &Type) -> Result<Typed, Refused> {
        if typed.is_unknown() {
            return self.resolve(typed, &ty.clone().plain());
        }
        if typed.ty.kind == ty.kind {
            return Ok(typed);
        }
        if let Some(value) = typed.value()
            && let Some(value) = literal::convert(value, &typed.ty, &ty.clone().plain())?
            && (typed.ty.is_number() || typed.ty.is_text())
        {
            return Ok(Typed::constant(value, ty.clone().plain()));
        }
        let wider = typed.ty.is_number() && ty.is_number();
        if wider && ty.is_float() {
            let text = around("(", self.text(&typed)?, " + 0E0)");
            return Ok(Typed::sql(text, ty.clone().plain(), typed.nullable));
        }
        if wider && typed.repr != Repr::Kept {
            return Ok(Typed { ty: ty.clone().plain(), ..typed });
        }
        if typed.ty.is_text() && ty.is_text() {
            if matches!(ty.kind, PgType::Bpchar | PgType::Citext) && typed.source().is_none() {
                return Err(unsupported(&format!("{} beside other text", ty.name())));
            }
            let text = self.as_text(typed)?;
            return Ok(Typed { ty: ty.clone().plain(), ..text });
        }
        match (&typed.ty.kind, &ty.kind) {
            (PgType::Date, PgType::Timestamp) => self.cast(typed, ty),
            (PgType::Date | PgType::Timestamp, PgType::TimestampTz) => self.cast(typed, ty),
            _ => Err(Refused::error(
                "42804",
                format!("types {} and {} cannot be matched", typed.ty.name(), ty.name()),
            )),
        }
    }
}

/// Text in parentheses; everything else as it is.
fn parenthesized(typed: Typed) -> Typed {
    match typed.node {
        Node::Sql(text) if !matches!(&text.0[..], [_]) => {
            Typed { node: Node::Sql(around("(", text, ")")), ..typed }
        }
        node => Typed { node, ..typed },
    }
}

pub(super) fn row(items: Vec<Typed>) -> Typed {
    let nullable = items.iter().any(|item| item.nullable);
    let ty = Type::special(types::RECORD, "record");
    Typed { node: Node::Row(items), ty, nullable, repr: Repr::Plain }
}

/// The form that several values have in common.
pub(super) fn shared_repr(items: &[Typed]) -> Repr {
    let reprs: Vec<Repr> = items
        .iter()
        .filter(|item| !is_null(item))
        .map(|item| if item.repr == Repr::Enum { Repr::Plain } else { item.repr })
        .collect();
    match reprs.first() {
        None => Repr::Plain,
        Some(_) if reprs.contains(&Repr::Kept) => Repr::Kept,
        Some(first) if reprs.iter().all(|repr| repr == first) => *first,
        Some(_) => Repr::Plain,
    }
}

/// A template with arguments, NULL if any of them is.
pub(super) fn strict(template: &str, args: &[&Typed], texts: &[Text], ty: Type) -> Typed {
    let nullable = args.iter().any(|arg| arg.nullable);
    Typed::sql(fill(template, texts), ty, nullable)
}

/// The kind of an expression in a word or two, for a refusal.
fn kind(expr: &Expr) -> String {
    let text = format!("{expr:?}");
    text.split(['(', ' ', '{']).next().unwrap_or_default().to_owned()
}
