//! Comparisons, whatever they look like: `=`, IN, BETWEEN, ANY, IS DISTINCT FROM, rows, LIKE.
//!
//! ```text
//! enum < 'x'   ──▶ FIELD(e, …) < 3            citext = 'X' ──▶ both by collation and by LOWER()
//! (a,b) < (c,d) ──▶ a < c OR a = c AND b < d    jsonb = … ──▶ JSON_EQUALS on MariaDB
//! ```
//!
//! Invariant: two values are compared only where MySQL's order or equality of them is PostgreSQL's.

use sqlparser::ast::{BinaryOperator as Op, Expr};

use crate::catalog::ddl::quote_text;
use crate::dialect::program::{Form, Slot, Text};
use crate::dialect::refuse::{Refused, unsupported};
use crate::dialect::translator::{Translator, is_null};
use crate::dialect::typed::{Node, Repr, Typed, around, fill, join};
use crate::dialect::types::{TID, Type, XID};
use crate::value::{PgType, TargetType, Value};

impl Translator<'_> {
    /// A comparison of two values.
    pub(super) fn compare(&mut self, left: Typed, op: &Op, right: Typed) -> Result<Typed, Refused> {
        let sign = sign(op).ok_or_else(|| unsupported(&format!("operator {op}")))?;
        if let (Node::Row(left), Node::Row(right)) = (&left.node, &right.node) {
            let (left, right) = (left.clone(), right.clone());
            return self.compare_rows(left, sign, right);
        }
        let (left, right) = self.matched(left, right, sign)?;
        let nullable = left.nullable || right.nullable;
        let text = self.comparison(&left, sign, &right)?;
        Ok(Typed::sql(text, Type::bool(), nullable))
    }

    /// Gives both sides types that can be compared.
    pub(super) fn matched(
        &mut self,
        left: Typed,
        right: Typed,
        sign: &str,
    ) -> Result<(Typed, Typed), Refused> {
        let no_operator = |a: &Typed, b: &Typed| {
            let (a, b) = (a.ty.name(), b.ty.name());
            Refused::error("42883", format!("operator does not exist: {a} {sign} {b}"))
        };
        let (left, right) = match (left.is_unknown(), right.is_unknown()) {
            (true, true) => (self.settle(left)?, self.settle(right)?),
            (true, false) => (self.resolve(left, &right.ty.clone().plain())?, right),
            (false, true) => {
                let ty = left.ty.clone().plain();
                (left, self.resolve(right, &ty)?)
            }
            (false, false) => (left, right),
        };
        let kinds = (&left.ty.kind, &right.ty.kind);
        if left.ty.kind == right.ty.kind || left.ty.is_number() && right.ty.is_number() {
            return Ok((left, right));
        }
        // char(n) with varchar is compared as char(n), with text as text.
        let padded = |a: &Typed, b: &Typed| a.ty.kind == PgType::Bpchar && b.ty.oid == 1043;
        if padded(&left, &right) {
            let right = self.padded(right)?;
            return Ok((left, right));
        }
        if padded(&right, &left) {
            let left = self.padded(left)?;
            return Ok((left, right));
        }
        if left.ty.is_text() && right.ty.is_text() {
            // char(n) with text, citext with text: as text.
            return Ok((self.as_text(left)?, self.as_text(right)?));
        }
        match kinds {
            (PgType::Date, PgType::Timestamp) | (PgType::Timestamp, PgType::Date) => {
                Ok((left, right))
            }
            _ if left.ty.is_time() && right.ty.is_time() => {
                self.needs_utc("a comparison of timestamp and timestamptz")?;
                Ok((left, right))
            }
            (PgType::Inet, PgType::Cidr) | (PgType::Cidr, PgType::Inet) => {
                Err(unsupported("a comparison of inet and cidr"))
            }
            (PgType::Oid, _) if right.ty.is_integer() => Ok((left, right)),
            (_, PgType::Oid) if left.ty.is_integer() => Ok((left, right)),
            _ if left.ty.oid == XID && right.ty.is_integer() => Ok((left, right)),
            _ => Err(no_operator(&left, &right)),
        }
    }

    /// Text that compares without regard to blanks at its end.
    fn padded(&mut self, typed: Typed) -> Result<Typed, Refused> {
        let ty = Type::builtin("bpchar");
        if typed.source().is_some() {
            return Ok(Typed { ty, ..typed });
        }
        let text = around("(", self.text(&typed)?, " COLLATE utf8mb4_bin)");
        Ok(Typed::sql(text, ty, typed.nullable))
    }

    fn comparison(&mut self, left: &Typed, sign: &str, right: &Typed) -> Result<Text, Refused> {
        let equality = matches!(sign, "=" | "<>");
        if let Some(text) = self.with_infinity(left, sign, right)? {
            return Ok(text);
        }
        if is_null(left) || is_null(right) {
            return Ok(Text::sql("NULL"));
        }
        if let Some(holds) = constant_floats(left, sign, right) {
            return Ok(Text::sql(if holds { "TRUE" } else { "FALSE" }));
        }
        let repr = |typed: &Typed| if typed.source().is_some() { Repr::Plain } else { typed.repr };
        let (a, b) = (repr(left), repr(right));
        if a == Repr::Kept || b == Repr::Kept {
            return Err(unsupported(&format!("comparing {} values", left.ty.name())));
        }
        if a == Repr::Binary || b == Repr::Binary {
            return self.compare_binary(left, sign, right);
        }
        let texts = |this: &Self| Ok::<_, Refused>([this.text(left)?, this.text(right)?]);
        let plain = |this: &Self| {
            let [left, right] = texts(this)?;
            Ok(fill(&format!("({{0}} {sign} {{1}})"), &[left, right]))
        };
        match &left.ty.kind {
            PgType::Citext => {
                let texts = texts(self)?;
                self.compare_citext(texts, sign)
            }
            PgType::Enum(_) if !equality => {
                let (left, right) = (self.position(left)?, self.position(right)?);
                Ok(fill(&format!("({{0}} {sign} {{1}})"), &[left, right]))
            }
            PgType::Text | PgType::Bpchar | PgType::Name if !equality => {
                self.needs_binary_order()?;
                plain(self)
            }
            PgType::Json => {
                Err(Refused::error("42883", format!("operator does not exist: json {sign} json")))
            }
            PgType::Jsonb | PgType::Array(_) if equality && self.is_mysql() => plain(self),
            PgType::Jsonb | PgType::Array(_) if equality => {
                let wanted = if sign == "=" { "1" } else { "0" };
                Ok(fill(&format!("(JSON_EQUALS({{0}}, {{1}}) = {wanted})"), &texts(self)?))
            }
            PgType::Interval => self.compare_intervals(left, sign, right),
            PgType::Jsonb | PgType::Array(_) | PgType::Inet | PgType::Cidr if !equality => {
                Err(unsupported(&format!("the order of {} values", left.ty.name())))
            }
            PgType::TimeTz => Err(unsupported("comparing timetz values")),
            PgType::Unsupported(_) if left.ty.oid != TID && left.ty.oid != XID => {
                Err(unsupported(&format!("comparing {} values", left.ty.name())))
            }
            _ => plain(self),
        }
    }

    /// Text is ordered by its bytes only in a database whose collation does so.
    pub(super) fn needs_binary_order(&self) -> Result<(), Refused> {
        if self.around.catalog.orders_by_bytes {
            return Ok(());
        }
        Err(unsupported("an order of text by the database's collation"))
    }

    fn compare_binary(&mut self, left: &Typed, sign: &str, right: &Typed) -> Result<Text, Refused> {
        let side = |typed: &Typed| match typed.source() {
            Some(source) => Ok(Text::value(Slot {
                source,
                ty: typed.ty.clone(),
                form: Form::Column(TargetType::UuidBinary),
            })),
            None if typed.repr == Repr::Binary => self.text(typed),
            None => Err(unsupported("a uuid of 16 bytes beside one of text")),
        };
        Ok(fill(&format!("({{0}} {sign} {{1}})"), &[side(left)?, side(right)?]))
    }

    /// citext compares by LOWER(); the column's own collation is there for its index.
    fn compare_citext(&mut self, texts: [Text; 2], sign: &str) -> Result<Text, Refused> {
        let bin = self.collation();
        let lower = format!("LOWER({{0}} COLLATE {bin}) {sign} LOWER({{1}} COLLATE {bin})");
        match sign {
            "=" => Ok(fill(&format!("({{0}} = {{1}} AND {lower})"), &texts)),
            "<>" => Ok(fill(&format!("({lower})"), &texts)),
            _ => {
                self.needs_binary_order()?;
                Ok(fill(&format!("({lower})"), &texts))
            }
        }
    }

    /// The position of an enum's label, counted from 1.
    pub(super) fn position(&mut self, typed: &Typed) -> Result<Text, Refused> {
        let PgType::Enum(labels) = &typed.ty.kind else { return self.text(typed) };
        if let Some(Value::Text(label)) = typed.value() {
            let at = labels.iter().position(|known| known == label).unwrap_or(0) + 1;
            return Ok(Text::sql(at.to_string()));
        }
        let labels: Vec<String> = labels.iter().map(|label| quote_text(label)).collect();
        let text = self.text(typed)?;
        Ok(around("NULLIF(FIELD(", text, &format!(", {}), 0)", labels.join(", "))))
    }

    /// MySQL holds no infinite times, so what is compared with one is known.
    fn with_infinity(
        &mut self,
        left: &Typed,
        sign: &str,
        right: &Typed,
    ) -> Result<Option<Text>, Refused> {
        let infinite = |typed: &Typed| match typed.value() {
            Some(
                Value::Timestamp(i64::MAX) | Value::TimestampTz(i64::MAX) | Value::Date(i32::MAX),
            ) => Some(1),
            Some(
                Value::Timestamp(i64::MIN) | Value::TimestampTz(i64::MIN) | Value::Date(i32::MIN),
            ) => Some(-1),
            _ => None,
        };
        let (edge, other, sign) = match (infinite(left), infinite(right)) {
            (_, Some(edge)) => (edge, left, sign),
            (Some(edge), None) => (edge, right, flipped(sign)),
            (None, None) => return Ok(None),
        };
        if other.source().is_some() {
            return Err(unsupported("an infinite time beside another constant"));
        }
        let holds = match sign {
            "<" | "<=" => edge == 1,
            ">" | ">=" => edge == -1,
            "<>" => true,
            _ => false,
        };
        let text = self.text(other)?;
        // `coalesce(x, 'infinity') = 'infinity'` is how NULL is told.
        let known = if holds { "TRUE" } else { "FALSE" };
        Ok(Some(around("IF(", text, &format!(" IS NULL, NULL, {known})"))))
    }

    fn compare_intervals(
        &mut self,
        left: &Typed,
        sign: &str,
        right: &Typed,
    ) -> Result<Text, Refused> {
        let side = |typed: &Typed| -> Result<Text, Refused> {
            match (typed.source(), typed.repr) {
                (Some(source), _) => {
                    let ty = typed.ty.clone();
                    Ok(Text::value(Slot { source, ty, form: Form::Micros }))
                }
                (None, Repr::Micros | Repr::Span) => self.text(typed),
                (None, Repr::Days) => Ok(around("(", self.text(typed)?, " * 86400000000)")),
                (None, Repr::Months) => Ok(around("(", self.text(typed)?, " * 2592000000000)")),
                _ => Err(unsupported("comparing interval values")),
            }
        };
        let (left, right) = (side(left)?, side(right)?);
        Ok(fill(&format!("({{0}} {sign} {{1}})"), &[left, right]))
    }

    fn compare_rows(
        &mut self,
        left: Vec<Typed>,
        sign: &str,
        right: Vec<Typed>,
    ) -> Result<Typed, Refused> {
        if left.len() != right.len() {
            return Err(Refused::error("42601", "unequal number of entries in row expressions"));
        }
        let nullable = left.iter().chain(&right).any(|item| item.nullable);
        let pairs: Vec<(Typed, Typed)> = left
            .into_iter()
            .zip(right)
            .map(|(a, b)| self.matched(a, b, sign))
            .collect::<Result<_, _>>()?;
        let text = match sign {
            "=" | "<>" => {
                let word = if sign == "=" { " AND " } else { " OR " };
                let texts = pairs.iter().map(|(a, b)| self.comparison(a, sign, b));
                around("(", join(texts.collect::<Result<_, _>>()?, word), ")")
            }
            _ => self.lexical(&pairs, sign)?,
        };
        Ok(Typed::sql(text, Type::bool(), nullable))
    }

    /// `a < c OR (a = c AND …)`
    fn lexical(&mut self, pairs: &[(Typed, Typed)], sign: &str) -> Result<Text, Refused> {
        let Some(((a, b), rest)) = pairs.split_first() else { return Ok(Text::sql("FALSE")) };
        if rest.is_empty() {
            return self.comparison(a, sign, b);
        }
        let strict = &sign[..1];
        let first = self.comparison(a, strict, b)?;
        let equal = self.comparison(a, "=", b)?;
        let rest = self.lexical(rest, sign)?;
        Ok(fill("({0} OR ({1} AND {2}))", &[first, equal, rest]))
    }

    pub(super) fn distinct(
        &mut self,
        a: &Expr,
        b: &Expr,
        distinct: bool,
    ) -> Result<Typed, Refused> {
        let (a, b) = (self.expr(a)?, self.expr(b)?);
        let (a, b) = self.matched(a, b, "=")?;
        let simple = !matches!(
            a.ty.kind,
            PgType::Citext
                | PgType::Json
                | PgType::Jsonb
                | PgType::Array(_)
                | PgType::Interval
                | PgType::TimeTz
        );
        let text = if is_null(&a) || is_null(&b) {
            let other = if is_null(&a) { &b } else { &a };
            around("(", self.text(other)?, " IS NULL)")
        } else if simple
            && a.repr != Repr::Kept
            && b.repr != Repr::Kept
            && a.repr != Repr::Binary
            && b.repr != Repr::Binary
        {
            fill("({0} <=> {1})", &[self.text(&a)?, self.text(&b)?])
        } else {
            let equal = self.comparison(&a, "=", &b)?;
            let texts = [equal, self.text(&a)?, self.text(&b)?];
            fill("COALESCE({0}, ({1} IS NULL AND {2} IS NULL))", &texts)
        };
        let text = if distinct { around("(NOT ", text, ")") } else { text };
        Ok(Typed::sql(text, Type::bool(), false))
    }

    pub(super) fn between(
        &mut self,
        expr: &Expr,
        low: &Expr,
        high: &Expr,
        negated: bool,
    ) -> Result<Typed, Refused> {
        let value = self.expr(expr)?;
        let symmetric = match low {
            Expr::UnaryOp { op: sqlparser::ast::UnaryOperator::PGPrefixFactorial, expr } => {
                Some(expr)
            }
            _ => None,
        };
        let (low, high) = (self.expr(symmetric.map_or(low, |low| low))?, self.expr(high)?);
        let inside = |this: &mut Self, low: &Typed, high: &Typed| {
            let over = this.compare(value.clone(), &Op::GtEq, low.clone())?;
            let under = this.compare(value.clone(), &Op::LtEq, high.clone())?;
            let nullable = over.nullable || under.nullable;
            let text = fill("({0} AND {1})", &[this.text(&over)?, this.text(&under)?]);
            Ok::<_, Refused>(Typed::sql(text, Type::bool(), nullable))
        };
        let mut found = inside(self, &low, &high)?;
        if symmetric.is_some() {
            let other = inside(self, &high, &low)?;
            let text = fill("({0} OR {1})", &[self.text(&found)?, self.text(&other)?]);
            found = Typed::sql(text, Type::bool(), found.nullable);
        }
        if negated {
            let text = around("(NOT ", self.text(&found)?, ")");
            return Ok(Typed::sql(text, Type::bool(), found.nullable));
        }
        Ok(found)
    }

    pub(super) fn like(
        &mut self,
        expr: &Expr,
        pattern: &Expr,
        escape: Option<&Expr>,
        any_case: bool,
        negated: bool,
    ) -> Result<Typed, Refused> {
        let (value, pattern) = (self.expr(expr)?, self.expr(pattern)?);
        let escape = match escape {
            None => None,
            Some(escape) => Some(self.expr(escape)?),
        };
        self.matches(value, pattern, escape.as_ref(), any_case, negated)
    }

    pub(super) fn matches(
        &mut self,
        value: Typed,
        pattern: Typed,
        escape: Option<&Typed>,
        any_case: bool,
        negated: bool,
    ) -> Result<Typed, Refused> {
        let (value, pattern) = (self.settle(value)?, self.settle(pattern)?);
        if value.ty.kind == PgType::Bpchar {
            return Err(unsupported("LIKE of a char(n)"));
        }
        let folds = any_case || value.ty.kind == PgType::Citext;
        let escape = match escape.map(|escape| &escape.node) {
            None => "\\".to_owned(),
            Some(Node::Unknown(escape))
                if escape.chars().count() == 1 && escape.is_ascii() && escape != "'" =>
            {
                escape.clone()
            }
            _ => return Err(unsupported("LIKE with this ESCAPE")),
        };
        let (value, pattern) = (self.text_argument(value)?, self.text_argument(pattern)?);
        let nullable = value.nullable || pattern.nullable;
        let texts = [self.text(&value)?, self.text(&pattern)?];
        let not = if negated { "NOT LIKE" } else { "LIKE" };
        let template = if folds {
            format!("(LOWER({{0}}) {not} LOWER({{1}}) ESCAPE '{escape}')")
        } else {
            format!("({{0}} {not} {{1}} ESCAPE '{escape}')")
        };
        Ok(Typed::sql(fill(&template, &texts), Type::bool(), nullable))
    }
}

/// Two constants of which one is a double: NaN, which MySQL does not have, equals itself and is more
/// than anything else.
fn constant_floats(left: &Typed, sign: &str, right: &Typed) -> Option<bool> {
    let number = |typed: &Typed| match typed.value()? {
        Value::Float8(value) => Some(*value),
        #[expect(clippy::cast_precision_loss, reason = "as PostgreSQL widens it")]
        Value::Int(value) => Some(*value as f64),
        Value::Numeric(crate::value::Numeric::Finite(text)) => text.parse().ok(),
        _ => None,
    };
    if !left.ty.is_float() && !right.ty.is_float() {
        return None;
    }
    let (a, b) = (number(left)?, number(right)?);
    let order = match (a.is_nan(), b.is_nan()) {
        (false, false) => a.partial_cmp(&b)?,
        (a, b) => a.cmp(&b),
    };
    Some(match sign {
        "=" => order.is_eq(),
        "<>" => order.is_ne(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        _ => order.is_ge(),
    })
}

pub(super) fn sign(op: &Op) -> Option<&'static str> {
    Some(match op {
        Op::Eq => "=",
        Op::NotEq => "<>",
        Op::Lt => "<",
        Op::LtEq => "<=",
        Op::Gt => ">",
        Op::GtEq => ">=",
        Op::PGCustomBinaryOperator(names) => match names.last()?.as_str() {
            "=" => "=",
            "<>" | "!=" => "<>",
            "<" => "<",
            "<=" => "<=",
            ">" => ">",
            ">=" => ">=",
            _ => return None,
        },
        _ => return None,
    })
}

fn flipped(sign: &str) -> &'static str {
    match sign {
        "<" => ">",
        "<=" => ">=",
        ">" => "<",
        ">=" => "<=",
        "<>" => "<>",
        _ => "=",
    }
}

/// Without parentheses.
pub(super) fn strip(expr: &Expr) -> &Expr {
    match expr {
        Expr::Nested(inner) => strip(inner),
        other => other,
    }
}
