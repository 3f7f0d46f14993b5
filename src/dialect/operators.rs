//! Binary operators: by the types of both sides, as PostgreSQL chooses them.
//!
//! ```text
//! 7 / 2 ──▶ DIV      a || b ──▶ CONCAT, or a JSON merge      ts + interval ──▶ + INTERVAL … DAY
//! ```
//!
//! Invariant: an operator whose result MySQL computes in another type is cast, or refused.

use sqlparser::ast::{BinaryOperator as Op, Expr};

use crate::dialect::expression::strict;
use crate::dialect::refuse::{Refused, unsupported};
use crate::dialect::translator::{Translator, is_null};
use crate::dialect::typed::{Repr, Typed, around, fill};
use crate::dialect::types::{Type, common};
use crate::value::{Numeric, PgType, Value};

impl Translator<'_> {
    pub(super) fn binary(&mut self, left: &Expr, op: &Op, right: &Expr) -> Result<Typed, Refused> {
        match op {
            Op::And | Op::Or => {
                return self.chain(left, op, right);
            }
            // The parser binds `a ~ b || c` otherwise than PostgreSQL.
            Op::PGRegexMatch | Op::PGRegexIMatch | Op::PGRegexNotMatch | Op::PGRegexNotIMatch => {
                if matches!(right, Expr::BinaryOp { .. }) {
                    return Err(unsupported("a regular expression from an operator"));
                }
                let (value, pattern) = (self.expr(left)?, self.expr(right)?);
                let any_case = matches!(op, Op::PGRegexIMatch | Op::PGRegexNotIMatch);
                let negated = matches!(op, Op::PGRegexNotMatch | Op::PGRegexNotIMatch);
                return self.regex_match(value, &pattern, any_case, negated);
            }
            _ => {}
        }
        if *op == Op::Eq
            && let Some(typed) = self.null_as_infinity(left, right)?
        {
            return Ok(typed);
        }
        let (a, b) = (self.expr(left)?, self.expr(right)?);
        self.apply(a, op, b)
    }

    /// `coalesce(x, 'infinity') = 'infinity'` asks whether x is NULL: no stored time is infinite.
    fn null_as_infinity(&mut self, left: &Expr, right: &Expr) -> Result<Option<Typed>, Refused> {
        let Expr::Function(function) = super::compare::strip(left) else { return Ok(None) };
        let sqlparser::ast::FunctionArguments::List(list) = &function.args else { return Ok(None) };
        if !function.name.to_string().eq_ignore_ascii_case("coalesce") || list.args.len() != 2 {
            return Ok(None);
        }
        if !super::compare::strip(right).to_string().to_lowercase().contains("infinity") {
            return Ok(None);
        }
        let args = super::function::plain_arguments(list, "coalesce")?;
        let value = self.expr(&args[0])?;
        let ty = value.ty.clone().plain();
        let (otherwise, wanted) = (self.expr(&args[1])?, self.expr(right)?);
        let (otherwise, wanted) = (self.resolve(otherwise, &ty)?, self.resolve(wanted, &ty)?);
        let infinite = |typed: &Typed| {
            matches!(typed.value(), Some(Value::TimestampTz(i64::MAX) | Value::Timestamp(i64::MAX)))
        };
        if !value.ty.is_time() || !infinite(&otherwise) || !infinite(&wanted) {
            return Ok(None);
        }
        let text = around("(", self.text(&value)?, " IS NULL)");
        Ok(Some(Typed::sql(text, Type::bool(), false)))
    }

    /// `a AND b AND c`, however long.
    fn chain(&mut self, left: &Expr, op: &Op, right: &Expr) -> Result<Typed, Refused> {
        let word = if *op == Op::And { "AND" } else { "OR" };
        let mut terms = vec![right];
        let mut rest = left;
        while let Expr::BinaryOp { left, op: inner, right } = rest {
            if inner != op {
                break;
            }
            terms.push(right);
            rest = left;
        }
        terms.push(rest);
        let (mut texts, mut nullable) = (Vec::new(), false);
        for term in terms.into_iter().rev() {
            let term = self.condition(term, word)?;
            nullable |= term.nullable;
            texts.push(self.text(&term)?);
        }
        let text = around("(", super::typed::join(texts, &format!(" {word} ")), ")");
        Ok(Typed::sql(text, Type::bool(), nullable))
    }

    fn apply(&mut self, a: Typed, op: &Op, b: Typed) -> Result<Typed, Refused> {
        let json = a.ty.is_json();
        let array = |typed: &Typed| matches!(typed.ty.kind, PgType::Array(_));
        match op {
            Op::Eq | Op::NotEq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq => self.compare(a, op, b),
            Op::PGCustomBinaryOperator(names) => match names.last().map(String::as_str) {
                Some("=" | "<>" | "<" | "<=" | ">" | ">=") => self.compare(a, op, b),
                Some("~~") => self.matches(a, b, None, false, false),
                Some("!~~") => self.matches(a, b, None, false, true),
                Some("~~*") => self.matches(a, b, None, true, false),
                Some("+") => self.apply(a, &Op::Plus, b),
                Some("-") => self.apply(a, &Op::Minus, b),
                Some("||") => self.apply(a, &Op::StringConcat, b),
                _ => Err(unsupported("OPERATOR(…)")),
            },
            Op::PGLikeMatch => self.matches(a, b, None, false, false),
            Op::PGILikeMatch => self.matches(a, b, None, true, false),
            Op::PGNotLikeMatch => self.matches(a, b, None, false, true),
            Op::PGNotILikeMatch => self.matches(a, b, None, true, true),
            Op::StringConcat => self.concat(a, b),
            Op::Arrow if json => self.json_step(a, b, false),
            Op::LongArrow if json => self.json_step(a, b, true),
            Op::HashArrow if json => self.json_path(a, &b, false),
            Op::HashLongArrow if json => self.json_path(a, &b, true),
            Op::AtArrow if array(&a) || array(&b) => self.array_contains(a, b),
            Op::ArrowAt if array(&a) || array(&b) => self.array_contains(b, a),
            Op::PGOverlap if array(&a) || array(&b) => self.array_overlaps(a, b),
            Op::AtArrow if json => self.json_contains(&a, b),
            Op::ArrowAt if b.ty.is_json() => self.json_contains(&b, a),
            Op::Question | Op::QuestionPipe | Op::QuestionAnd if json => {
                self.json_exists(&a, op, b)
            }
            Op::HashMinus if json => Err(unsupported("#- of jsonb")),
            Op::AtQuestion | Op::AtAt => Err(unsupported("a jsonpath or text search operator")),
            Op::PGBitwiseShiftLeft if a.ty.kind == PgType::Inet => self.within(&a, b, true),
            Op::Custom(sign) if sign == "<<=" => self.within(&a, b, false),
            Op::Custom(sign) if sign == "<<" => self.within(&a, b, true),
            Op::Custom(sign) if matches!(sign.as_str(), ">>=" | ">>") => {
                Err(unsupported("containment of networks"))
            }
            Op::Plus | Op::Minus | Op::Multiply | Op::Divide | Op::Modulo => {
                self.arithmetic(a, op, b)
            }
            Op::PGExp => self.power(a, b),
            _ => Err(unsupported(&format!("operator {op}"))),
        }
    }

    /// `address <<= network`, of a constant network of IPv4.
    fn within(
        &mut self,
        address: &Typed,
        network: Typed,
        strictly: bool,
    ) -> Result<Typed, Refused> {
        let odd = || unsupported("containment of networks");
        let network = self.resolve(network, &Type::builtin("inet"))?;
        let Some(Value::Text(network)) = network.value() else { return Err(odd()) };
        let (host, bits) = network.split_once('/').unwrap_or((network, "32"));
        let host: core::net::Ipv4Addr = host.parse().map_err(|_| odd())?;
        let bits: u32 = bits.parse().map_err(|_| odd())?;
        let mask = u32::MAX.checked_shl(32 - bits.min(32)).unwrap_or(0);
        let first = u32::from(host) & mask;
        let last = first | !mask;
        let more = if strictly { ">" } else { ">=" };
        let template = format!(
            "IF({{0}} IS NULL, NULL, {{0}} NOT LIKE '%:%' AND INET_ATON(SUBSTRING_INDEX({{0}}, '/', 1)) \
             BETWEEN {first} AND {last} AND IF({{0}} LIKE '%/%', CAST(SUBSTRING_INDEX({{0}}, '/', -1) AS SIGNED), 32) {more} {bits})"
        );
        let text = self.text(address)?;
        Ok(Typed::sql(fill(&template, &[text]), Type::bool(), address.nullable))
    }

    fn arithmetic(&mut self, a: Typed, op: &Op, b: Typed) -> Result<Typed, Refused> {
        if *op == Op::Minus && a.ty.kind == PgType::Jsonb {
            return self.json_minus(a, b);
        }
        let timely = |typed: &Typed| {
            typed.ty.is_time() || matches!(typed.ty.kind, PgType::Time | PgType::Interval)
        };
        if timely(&a) || timely(&b) {
            return self.time_arithmetic(a, op, b);
        }
        let (a, b) = self.numbers(a, op, b)?;
        let ty = common(&a.ty, &b.ty)?.plain();
        if let Some(constant) = constant(&a, op, &b, &ty)? {
            return Ok(constant);
        }
        if a.repr == Repr::Kept || b.repr == Repr::Kept {
            return Err(unsupported("arithmetic with a numeric that is kept as text"));
        }
        if ty.kind == PgType::Float4 {
            return Err(unsupported("arithmetic of real"));
        }
        let (a, b) = (self.implicit(a, &ty)?, self.implicit(b, &ty)?);
        let texts = [self.text(&a)?, self.text(&b)?];
        let scaled = ty.kind == PgType::Numeric
            && [&a, &b].iter().all(|side| side.repr == Repr::Scaled || side.value().is_some());
        let repr = if scaled && *op != Op::Divide { Repr::Scaled } else { Repr::Plain };
        let sign = match (op, ty.is_integer()) {
            (Op::Divide, true) => "DIV",
            (Op::Divide, false) if ty.kind == PgType::Numeric => {
                return Err(unsupported("division of numeric"));
            }
            (Op::Modulo, false) if ty.is_float() => {
                return Err(unsupported("% of double precision"));
            }
            (Op::Plus, _) => "+",
            (Op::Minus, _) => "-",
            (Op::Multiply, _) => "*",
            (Op::Divide, _) => "/",
            _ => "%",
        };
        Ok(strict(&format!("({{0}} {sign} {{1}})"), &[&a, &b], &texts, ty).with_repr(repr))
    }

    /// Both sides as numbers; what has no type takes the other's.
    fn numbers(&mut self, a: Typed, op: &Op, b: Typed) -> Result<(Typed, Typed), Refused> {
        let none = |a: &Type, b: &Type| {
            let message = format!("operator does not exist: {} {op} {}", a.name(), b.name());
            Refused::error("42883", message)
        };
        let (a, b) = match (a.is_unknown(), b.is_unknown()) {
            (true, true) => {
                return Err(Refused::error(
                    "42725",
                    format!("operator is not unique: unknown {op} unknown"),
                ));
            }
            (true, false) => (self.resolve(a, &b.ty.clone().plain())?, b),
            (false, true) => {
                let ty = a.ty.clone().plain();
                (a, self.resolve(b, &ty)?)
            }
            (false, false) => (a, b),
        };
        if a.ty.is_number() && b.ty.is_number() {
            return Ok((a, b));
        }
        Err(none(&a.ty, &b.ty))
    }

    fn power(&mut self, a: Typed, b: Typed) -> Result<Typed, Refused> {
        let (a, b) = self.numbers(a, &Op::PGExp, b)?;
        if a.ty.kind == PgType::Numeric || b.ty.kind == PgType::Numeric {
            return Err(unsupported("a power of numeric"));
        }
        let texts = [self.text(&a)?, self.text(&b)?];
        Ok(strict("POW({0}, {1})", &[&a, &b], &texts, Type::builtin("float8")))
    }

    /// `||`: of texts, arrays, or jsonb.
    fn concat(&mut self, a: Typed, b: Typed) -> Result<Typed, Refused> {
        let is_array = |typed: &Typed| matches!(typed.ty.kind, PgType::Array(_));
        if is_array(&a) || is_array(&b) {
            return self.array_concat(a, b);
        }
        if a.ty.kind == PgType::Jsonb || b.ty.kind == PgType::Jsonb {
            return self.json_concat(a, b);
        }
        if a.ty.kind == PgType::Bytea || b.ty.kind == PgType::Bytea {
            let ty = Type::builtin("bytea");
            let (a, b) = (self.resolve(a, &ty)?, self.resolve(b, &ty)?);
            let texts = [self.text(&a)?, self.text(&b)?];
            return Ok(strict("CONCAT({0}, {1})", &[&a, &b], &texts, ty));
        }
        let text_like = |typed: &Typed| typed.is_unknown() || typed.ty.is_text();
        if !text_like(&a) && !text_like(&b) {
            let message = format!("operator does not exist: {} || {}", a.ty.name(), b.ty.name());
            return Err(Refused::error("42883", message));
        }
        let mut texts = Vec::new();
        let nullable = a.nullable || b.nullable;
        for side in [a, b] {
            let side = self.settle(side)?;
            if is_null(&side) {
                return Ok(Typed::null(Type::text()));
            }
            texts.push(self.text_of(&side)?);
        }
        Ok(Typed::sql(fill("CONCAT({0}, {1})", &texts), Type::text(), nullable))
    }

    /// `interval '1 day' * n` and the like.
    pub(super) fn scaled_interval(
        &mut self,
        interval: Typed,
        number: Typed,
    ) -> Result<Typed, Refused> {
        let number = self.resolve(number, &Type::builtin("float8"))?;
        let ty = Type::builtin("interval");
        let Some(Value::Interval { months, days, micros }) = interval.value() else {
            return Err(unsupported("a multiple of an interval that is not a constant"));
        };
        let (unit, repr) = match (*months, *days, *micros) {
            (0, 0, micros) => (micros, Repr::Micros),
            (0, days, 0) if number.ty.is_integer() => (i64::from(days), Repr::Days),
            (months, 0, 0) if number.ty.is_integer() => (i64::from(months), Repr::Months),
            _ => return Err(unsupported("a multiple of an interval of days or months")),
        };
        let text = self.text(&number)?;
        let text = around("ROUND(", text, &format!(" * {unit})"));
        Ok(Typed::sql(text, ty, number.nullable).with_repr(repr))
    }
}

/// Arithmetic of two numeric constants of which one is a division's, as PostgreSQL scales it.
fn constant(a: &Typed, op: &Op, b: &Typed, ty: &Type) -> Result<Option<Typed>, Refused> {
    let (Some(left), Some(right)) = (a.value(), b.value()) else { return Ok(None) };
    if *op != Op::Divide || ty.kind != PgType::Numeric {
        return Ok(None);
    }
    let text = |value: &Value| match value {
        Value::Int(value) => Some(value.to_string()),
        Value::Numeric(Numeric::Finite(text)) => Some(text.clone()),
        _ => None,
    };
    let (Some(left), Some(right)) = (text(left), text(right)) else { return Ok(None) };
    let quotient = super::decimal::divide(&left, &right)?;
    Ok(quotient.map(|text| Typed::constant(Value::Numeric(Numeric::Finite(text)), ty.clone())))
}
