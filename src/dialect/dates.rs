//! Dates, times and intervals.
//!
//! ```text
//! ts + interval '1 mon 2 days' ──▶ ts + INTERVAL ? MONTH + INTERVAL ? DAY + INTERVAL ? MICROSECOND
//! ts - ts ──▶ TIMESTAMPDIFF(MICROSECOND, …), an interval in microseconds ([`Repr::Span`])
//! ```
//!
//! Invariant: MySQL holds timestamptz in UTC, so fields of one are PostgreSQL's only where the
//! session's TimeZone is UTC; elsewhere they are refused.

use sqlparser::ast::{BinaryOperator as Op, Expr, Interval};

use crate::dialect::expression::strict;
use crate::dialect::literal;
use crate::dialect::program::{Form, Slot, Source, Text};
use crate::dialect::refuse::{Refused, unsupported};
use crate::dialect::translator::Translator;
use crate::dialect::typed::{Node, Repr, Typed, fill};
use crate::dialect::types::Type;
use crate::value::{PgType, Value};

impl Translator<'_> {
    /// The transaction's time.
    pub(super) fn now(&self) -> Typed {
        moment(Source::Now)
    }

    pub(super) fn clock(&self) -> Typed {
        moment(Source::Clock)
    }

    pub(super) fn interval_literal(&mut self, interval: &Interval) -> Result<Typed, Refused> {
        if interval.last_field.is_some()
            || interval.leading_precision.is_some()
            || interval.fractional_seconds_precision.is_some()
        {
            return Err(unsupported("an interval of certain fields"));
        }
        let typed = self.expr(&interval.value)?;
        let ty = Type::builtin("interval");
        match (&typed.node, &interval.leading_field) {
            (Node::Unknown(text), None) => {
                let value = literal::read(text, &ty, &self.around)?;
                Ok(Typed::constant(value, ty))
            }
            (Node::Unknown(text), Some(unit)) => {
                let value = literal::read(&format!("{text} {unit}"), &ty, &self.around)?;
                Ok(Typed::constant(value, ty))
            }
            _ => Err(unsupported("an interval that is not a literal")),
        }
    }

    pub(super) fn time_arithmetic(
        &mut self,
        a: Typed,
        op: &Op,
        b: Typed,
    ) -> Result<Typed, Refused> {
        let interval = Type::builtin("interval");
        let is_interval = |typed: &Typed| typed.ty.kind == PgType::Interval;
        match op {
            Op::Multiply if is_interval(&a) => return self.scaled_interval(a, b),
            Op::Multiply if is_interval(&b) => return self.scaled_interval(b, a),
            Op::Plus | Op::Minus => {}
            _ => return Err(unsupported(&format!("operator {op} of times"))),
        }
        // `ts - '1 day'` is read as the same type by PostgreSQL, `ts + '1 day'` as an interval.
        let (a, b) = match (a.is_unknown(), b.is_unknown()) {
            (false, true) if *op == Op::Plus && a.ty.is_time() => {
                let ty = if a.ty.kind == PgType::Date { Type::int4() } else { interval };
                (a, self.resolve(b, &ty)?)
            }
            (true, false) if *op == Op::Plus && b.ty.is_time() => (self.resolve(a, &interval)?, b),
            (false, true) => {
                let ty = a.ty.clone().plain();
                (a, self.resolve(b, &ty)?)
            }
            (true, false) => (self.resolve(a, &b.ty.clone().plain())?, b),
            _ => (a, b),
        };
        if *op == Op::Plus && is_interval(&a) && b.ty.is_time() {
            return self.shifted(&b, "+", &a);
        }
        let sign = if *op == Op::Plus { "+" } else { "-" };
        match (&a.ty.kind, &b.ty.kind) {
            (_, PgType::Interval) if a.ty.is_time() => self.shifted(&a, sign, &b),
            (PgType::Date, PgType::Date) if sign == "-" => {
                let texts = [self.text(&a)?, self.text(&b)?];
                Ok(strict("DATEDIFF({0}, {1})", &[&a, &b], &texts, Type::int4()))
            }
            (PgType::Date, _) if b.ty.is_integer() => {
                let texts = [self.text(&a)?, self.text(&b)?];
                let template = format!("({{0}} {sign} INTERVAL {{1}} DAY)");
                Ok(strict(&template, &[&a, &b], &texts, a.ty.clone()))
            }
            (_, PgType::Date) if a.ty.is_integer() && sign == "+" => {
                let texts = [self.text(&b)?, self.text(&a)?];
                Ok(strict("({0} + INTERVAL {1} DAY)", &[&a, &b], &texts, b.ty.clone()))
            }
            (left, right) if sign == "-" && a.ty.is_time() && b.ty.is_time() => {
                if left != right {
                    self.needs_utc("a difference of timestamp and timestamptz")?;
                }
                let texts = [self.text(&a)?, self.text(&b)?];
                let template = "TIMESTAMPDIFF(MICROSECOND, {1}, {0})";
                Ok(strict(template, &[&a, &b], &texts, interval_type()).with_repr(Repr::Span))
            }
            _ => Err(unsupported(&format!("{} {sign} {}", a.ty.name(), b.ty.name()))),
        }
    }

    /// A time moved by an interval.
    fn shifted(&mut self, time: &Typed, sign: &str, interval: &Typed) -> Result<Typed, Refused> {
        let ty = match time.ty.kind {
            PgType::Date => Type::builtin("timestamp"),
            _ => time.ty.clone().plain(),
        };
        let is_date = time.ty.kind == PgType::Date;
        let mut text = if is_date {
            fill("CAST({0} AS DATETIME(6))", &[self.text(time)?])
        } else {
            self.text(time)?
        };
        for (unit, amount) in self.amounts(interval)? {
            if unit != "MICROSECOND" && ty.kind == PgType::TimestampTz {
                self.needs_utc("days added to a timestamptz")?;
            }
            text = fill(&format!("({{0}} {sign} INTERVAL {{1}} {unit})"), &[text, amount]);
        }
        Ok(Typed::sql(text, ty, time.nullable || interval.nullable))
    }

    /// An interval as what MySQL adds one after the other.
    fn amounts(&mut self, interval: &Typed) -> Result<Vec<(&'static str, Text)>, Refused> {
        if let Some(source) = interval.source() {
            let slot =
                |form| Text::value(Slot { source: source.clone(), ty: interval_type(), form });
            let all =
                [("MONTH", Form::Months), ("DAY", Form::Days), ("MICROSECOND", Form::ClockMicros)];
            let needed = |unit: &str| match interval.value() {
                Some(Value::Interval { months, days, micros }) => match unit {
                    "MONTH" => *months != 0,
                    "DAY" => *days != 0,
                    _ => *micros != 0 || *months == 0 && *days == 0,
                },
                _ => true,
            };
            return Ok(all
                .into_iter()
                .filter(|(unit, _)| needed(unit))
                .map(|(unit, form)| (unit, slot(form)))
                .collect());
        }
        let text = self.text(interval)?;
        match interval.repr {
            Repr::Micros | Repr::Span => Ok(vec![("MICROSECOND", text)]),
            Repr::Days => Ok(vec![("DAY", text)]),
            Repr::Months => Ok(vec![("MONTH", text)]),
            _ => Err(unsupported("an interval from a column added to a time")),
        }
    }

    /// `extract(field from x)` is numeric, `date_part('field', x)` double precision.
    pub(super) fn extract(
        &mut self,
        field: &str,
        typed: Typed,
        numeric: bool,
    ) -> Result<Typed, Refused> {
        let field = field.trim_matches('\'');
        let ty = if numeric { Type::numeric() } else { Type::builtin("float8") };
        let result = |template: &str, texts: &[Text], typed: &Typed| {
            let text = fill(template, texts);
            let text = if numeric { text } else { fill("({0} + 0E0)", &[text]) };
            Typed::sql(text, ty.clone(), typed.nullable).with_repr(Repr::Scaled)
        };
        if typed.ty.kind == PgType::Interval {
            let text = match (typed.repr, typed.source()) {
                (Repr::Micros | Repr::Span, None) => self.text(&typed)?,
                _ => return Err(unsupported("a field of an interval")),
            };
            return match field {
                "epoch" => Ok(result("CAST({0} / 1000000 AS DECIMAL(30,6))", &[text], &typed)),
                _ => Err(unsupported("a field of an interval")),
            };
        }
        if typed.is_unknown() || !typed.ty.is_time() {
            return Err(unsupported(&format!("a field of {}", typed.ty.name())));
        }
        if typed.ty.kind == PgType::TimestampTz && field != "epoch" {
            self.needs_utc("a field of a timestamptz")?;
        }
        let is_date = typed.ty.kind == PgType::Date;
        let template = match field {
            "epoch" if is_date => "(TIMESTAMPDIFF(DAY, '1970-01-01', {0}) * 86400)",
            "epoch" => {
                "CAST(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', {0}) / 1000000 AS DECIMAL(30,6))"
            }
            "year" => "YEAR({0})",
            "month" => "MONTH({0})",
            "day" => "DAYOFMONTH({0})",
            "hour" if !is_date => "HOUR({0})",
            "minute" if !is_date => "MINUTE({0})",
            "second" if !is_date => {
                "CAST(SECOND({0}) + MICROSECOND({0}) / 1000000 AS DECIMAL(8,6))"
            }
            "dow" => "(DAYOFWEEK({0}) - 1)",
            "isodow" => "(WEEKDAY({0}) + 1)",
            "doy" => "DAYOFYEAR({0})",
            "quarter" => "QUARTER({0})",
            "week" => "WEEK({0}, 3)",
            _ => return Err(unsupported(&format!("field {field} of a time"))),
        };
        let text = self.text(&typed)?;
        Ok(result(template, &[text], &typed))
    }

    pub(super) fn date_trunc(&mut self, field: &Typed, typed: Typed) -> Result<Typed, Refused> {
        let Node::Unknown(field) = &field.node else {
            return Err(unsupported("date_trunc by a field that is not a literal"));
        };
        let (typed, ty) = match typed.ty.kind {
            PgType::Timestamp | PgType::TimestampTz => {
                let ty = typed.ty.clone().plain();
                (typed, ty)
            }
            // A date is taken for a timestamptz.
            PgType::Date => {
                let ty = Type::builtin("timestamptz");
                (self.cast(typed, &ty)?, ty)
            }
            _ => return Err(unsupported("date_trunc of this type")),
        };
        if ty.kind == PgType::TimestampTz {
            self.needs_utc("date_trunc of a timestamptz")?;
        }
        let template = match field.to_ascii_lowercase().as_str() {
            "second" => "CAST(DATE_FORMAT({0}, '%Y-%m-%d %H:%i:%s') AS DATETIME(6))",
            "minute" => "CAST(DATE_FORMAT({0}, '%Y-%m-%d %H:%i:00') AS DATETIME(6))",
            "hour" => "CAST(DATE_FORMAT({0}, '%Y-%m-%d %H:00:00') AS DATETIME(6))",
            "day" => "CAST(DATE({0}) AS DATETIME(6))",
            "week" => "CAST(DATE({0}) - INTERVAL WEEKDAY({0}) DAY AS DATETIME(6))",
            "month" => "CAST(DATE_FORMAT({0}, '%Y-%m-01') AS DATETIME(6))",
            "quarter" => {
                "CAST(MAKEDATE(YEAR({0}), 1) + INTERVAL (QUARTER({0}) - 1) * 3 MONTH AS DATETIME(6))"
            }
            "year" => "CAST(DATE_FORMAT({0}, '%Y-01-01') AS DATETIME(6))",
            _ => return Err(unsupported("date_trunc by this field")),
        };
        let text = self.text(&typed)?;
        Ok(strict(template, &[&typed], &[text], ty))
    }

    pub(super) fn at_time_zone(&mut self, time: &Expr, zone: &Expr) -> Result<Typed, Refused> {
        let (typed, zone) = (self.expr(time)?, self.expr(zone)?);
        let utc = |name: &str| {
            matches!(name.to_ascii_uppercase().as_str(), "UTC" | "GMT" | "Z" | "ETC/UTC")
        };
        match &zone.node {
            Node::Unknown(name) if utc(name) => {}
            Node::Constant(Value::Text(name)) if utc(name) => {}
            _ => return Err(unsupported("AT TIME ZONE other than UTC")),
        }
        let typed = self.resolve(typed, &Type::builtin("timestamptz"))?;
        let to = match typed.ty.kind {
            PgType::TimestampTz => Type { typmod: typed.ty.typmod, ..Type::builtin("timestamp") },
            PgType::Timestamp => Type { typmod: typed.ty.typmod, ..Type::builtin("timestamptz") },
            _ => return Err(unsupported("AT TIME ZONE of this type")),
        };
        let text = self.text(&typed)?;
        Ok(Typed::sql(text, to, typed.nullable))
    }

    /// `char_of(x, 'YYYY-MM-DD HH24:MI:SS.US')`: those fields, and signs between them.
    pub(super) fn char_of(&mut self, typed: &Typed, format: &Typed) -> Result<Typed, Refused> {
        const FIELDS: &[(&str, &str)] = &[
            ("YYYY", "%Y"),
            ("MM", "%m"),
            ("DD", "%d"),
            ("HH24", "%H"),
            ("MI", "%i"),
            ("SS", "%s"),
            ("US", "%f"),
            ("DDD", ""),
            ("Q", ""),
        ];
        let Node::Unknown(format) = &format.node else {
            return Err(unsupported("to_char by a format that is not a literal"));
        };
        match typed.ty.kind {
            PgType::Timestamp => {}
            PgType::TimestampTz => self.needs_utc("to_char of a timestamptz")?,
            _ => return Err(unsupported("to_char of this type")),
        }
        let (mut out, mut rest) = (String::new(), format.as_str());
        while let Some(letter) = rest.chars().next() {
            let field = FIELDS.iter().find(|(name, _)| rest.starts_with(name));
            match field {
                Some((name, code)) if !code.is_empty() && !rest.starts_with("DDD") => {
                    out += code;
                    rest = &rest[name.len()..];
                }
                None if matches!(letter, '-' | ':' | '.' | '/' | ' ' | ',') => {
                    out.push(letter);
                    rest = &rest[1..];
                }
                _ => return Err(unsupported("to_char with this format")),
            }
        }
        let text = self.text(typed)?;
        Ok(strict(&format!("DATE_FORMAT({{0}}, '{out}')"), &[typed], &[text], Type::text()))
    }

    /// `make_interval(days => 1, …)` of constants.
    pub(super) fn make_interval(&self, named: &[(String, Typed)]) -> Result<Typed, Refused> {
        let (mut months, mut days, mut micros) = (0_i64, 0_i64, 0_i64);
        for (name, typed) in named {
            let Some(Value::Int(amount)) = typed.value() else {
                return Err(unsupported("make_interval of what is not a whole constant"));
            };
            match name.as_str() {
                "years" => months += 12 * amount,
                "months" => months += amount,
                "weeks" => days += 7 * amount,
                "days" => days += amount,
                "hours" => micros += amount * 3_600_000_000,
                "mins" => micros += amount * 60_000_000,
                "secs" => micros += amount * 1_000_000,
                _ => return Err(unsupported("make_interval of this field")),
            }
        }
        let narrow = |value: i64| {
            i32::try_from(value).map_err(|_| Refused::error("22008", "interval out of range"))
        };
        let value = Value::Interval { months: narrow(months)?, days: narrow(days)?, micros };
        Ok(Typed::constant(value, interval_type()))
    }
}

fn interval_type() -> Type {
    Type::builtin("interval")
}

fn moment(source: Source) -> Typed {
    Typed {
        node: Node::Source(source),
        ty: Type::builtin("timestamptz"),
        nullable: false,
        repr: Repr::Plain,
    }
}
