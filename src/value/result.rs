//! A value from a result of MySQL's, by the type that PostgreSQL would give the column.
//!
//! ```text
//! column of a table ─┐
//! SUM, CAST, IF, … ──┴─▶ mysql_async::Value ──[`Value::of_result`](PgType)──▶ Value
//! ```
//!
//! Unlike [`Value::from_mysql`], which reads what a key's column holds, this takes what expressions come
//! to: a boolean that is a bigint, a sum that is a decimal, a timestamp that is text.
//!
//! Invariant: a value that is not one of the type is `None`, never bent to fit.

use mysql_async::Value as Param;
use serde_json::Value as Document;

use super::input::jsonb_normal;
use super::style::Style;
use super::{output, text};
use crate::value::{Array, Numeric, PgType, Value};

impl Value {
    /// Reads one field of a result.
    #[must_use]
    pub fn of_result(param: Param, pg_type: &PgType) -> Option<Self> {
        if param == Param::NULL {
            return Some(Self::Null);
        }
        match pg_type {
            PgType::Bool => boolean(&param).map(Self::Bool),
            PgType::Int2 => whole(&param).filter(|n| i16::try_from(*n).is_ok()).map(Self::Int),
            PgType::Int4 => whole(&param).filter(|n| i32::try_from(*n).is_ok()).map(Self::Int),
            PgType::Oid => whole(&param).filter(|n| u32::try_from(*n).is_ok()).map(Self::Int),
            PgType::Int8 => whole(&param).map(Self::Int),
            #[expect(clippy::cast_possible_truncation, reason = "a real, kept as a double")]
            PgType::Float4 => double(&param).map(|value| Self::Float4(value as f32)),
            PgType::Float8 => double(&param).map(Self::Float8),
            PgType::Numeric => decimal(&param).map(|text| Self::Numeric(Numeric::Finite(text))),
            PgType::Text
            | PgType::Bpchar
            | PgType::Citext
            | PgType::Name
            | PgType::Enum(_)
            | PgType::Inet
            | PgType::Cidr
            | PgType::Macaddr
            | PgType::Unsupported(_) => string(param).map(Self::Text),
            PgType::Json => string(param).map(Self::Json),
            PgType::Jsonb => jsonb_normal(utf8(&param)?).ok().map(Self::Jsonb),
            PgType::Bytea => match param {
                Param::Bytes(bytes) => Some(Self::Bytes(bytes.into())),
                _ => None,
            },
            PgType::Uuid | PgType::TimeTz => Self::from_mysql(&param, pg_type),
            PgType::Date | PgType::Timestamp | PgType::TimestampTz | PgType::Time => {
                let read = Self::from_mysql(&param, pg_type);
                read.or_else(|| moment(utf8(&param)?, pg_type))
            }
            PgType::Interval => interval(&param),
            PgType::Array(element) => {
                let document: Document = serde_json::from_str(utf8(&param)?).ok()?;
                array(&document, element).map(Self::Array)
            }
        }
    }
}

fn utf8(param: &Param) -> Option<&str> {
    match param {
        Param::Bytes(bytes) => str::from_utf8(bytes).ok(),
        _ => None,
    }
}

fn string(param: Param) -> Option<String> {
    match param {
        Param::Bytes(bytes) => String::from_utf8(bytes).ok(),
        Param::Int(value) => Some(value.to_string()),
        Param::UInt(value) => Some(value.to_string()),
        _ => None,
    }
}

fn boolean(param: &Param) -> Option<bool> {
    match param {
        Param::Bytes(bytes) if bytes == b"true" => Some(true),
        Param::Bytes(bytes) if bytes == b"false" => Some(false),
        Param::Double(value) => Some(*value != 0.0),
        param => whole(param).map(|value| value != 0),
    }
}

fn whole(param: &Param) -> Option<i64> {
    match param {
        Param::Int(value) => Some(*value),
        Param::UInt(value) => i64::try_from(*value).ok(),
        Param::Bytes(bytes) => {
            let text = str::from_utf8(bytes).ok()?;
            let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
            whole.parse().ok().filter(|_| decimals.bytes().all(|digit| digit == b'0'))
        }
        #[expect(clippy::cast_possible_truncation, reason = "exact within 2^53")]
        Param::Double(value) => {
            (value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0).then_some(*value as i64)
        }
        _ => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "PostgreSQL casts integers likewise")]
fn double(param: &Param) -> Option<f64> {
    match param {
        Param::Double(value) => Some(*value),
        Param::Float(value) => Some((*value).into()),
        Param::Int(value) => Some(*value as f64),
        Param::UInt(value) => Some(*value as f64),
        param => utf8(param)?.parse().ok(),
    }
}

fn decimal(param: &Param) -> Option<String> {
    match param {
        Param::Int(value) => Some(value.to_string()),
        Param::UInt(value) => Some(value.to_string()),
        Param::Double(value) if value.is_finite() => {
            let shortest = format!("{value:e}");
            let (mantissa, exponent) = shortest.split_once('e')?;
            Some(output::positional(mantissa, exponent.parse().ok()?))
        }
        param => {
            let text = utf8(param)?;
            let digits = text.strip_prefix('-').unwrap_or(text);
            let plain = digits.bytes().all(|letter| letter.is_ascii_digit() || letter == b'.');
            (plain && !digits.is_empty()).then(|| text.to_owned())
        }
    }
}

/// MySQL's own text of a date or a time.
fn moment(text: &str, pg_type: &PgType) -> Option<Value> {
    pg_type.read(text, "", &Style::default()).ok()
}

/// ISO 8601 as it is stored; a number of microseconds is what two timestamps differ by, of which
/// PostgreSQL makes days and a time of day.
fn interval(param: &Param) -> Option<Value> {
    if let Some(micros) = whole(param) {
        let days = i32::try_from(micros / text::MICROS_PER_DAY).ok()?;
        return Some(Value::Interval { months: 0, days, micros: micros % text::MICROS_PER_DAY });
    }
    PgType::Interval.read(utf8(param)?, "", &Style::default()).ok()
}

/// Nested lists, as `json::from_array` wrote them.
fn array(document: &Document, element: &PgType) -> Option<Array> {
    let (mut dimensions, mut elements) = (Vec::new(), Vec::new());
    level(document, element, 0, &mut dimensions, &mut elements)?;
    if elements.is_empty() {
        dimensions.clear();
    }
    let dimensions = dimensions.into_iter().map(|length| (length, 1)).collect();
    Some(Array { dimensions, elements })
}

fn level(
    document: &Document,
    element: &PgType,
    depth: usize,
    dimensions: &mut Vec<i32>,
    elements: &mut Vec<Value>,
) -> Option<()> {
    let items = document.as_array()?;
    let length = i32::try_from(items.len()).ok()?;
    match dimensions.get(depth) {
        Some(known) if *known != length => return None,
        Some(_) => {}
        None => dimensions.push(length),
    }
    for item in items {
        match item.is_array() {
            true => level(item, element, depth + 1, dimensions, elements)?,
            false => elements.push(member(item, element)?),
        }
    }
    Some(())
}

/// Within a list, JSON and exact decimals are strings.
fn member(item: &Document, element: &PgType) -> Option<Value> {
    let text = match item {
        Document::Null => return Some(Value::Null),
        Document::Bool(value) => value.to_string(),
        Document::Number(value) => value.to_string(),
        Document::String(text) => text.clone(),
        other @ Document::Object(_) => other.to_string(),
        Document::Array(_) => return None,
    };
    let text = match element {
        // MySQL prints a whole double with a decimal, and so it may an integer that was a sum.
        PgType::Int2 | PgType::Int4 | PgType::Int8 => text.strip_suffix(".0").unwrap_or(&text),
        _ => &text,
    };
    // An enum's labels were checked when the value was written.
    let element = if matches!(element, PgType::Enum(_)) { &PgType::Text } else { element };
    element.read(text, "", &Style::default()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Param {
        Param::Bytes(text.as_bytes().to_vec())
    }

    #[track_caller]
    fn prints(param: Param, pg_type: &PgType, expected: &str) {
        let mut text = String::new();
        Value::of_result(param, pg_type).unwrap().print(&Style::default(), &mut text);
        assert_eq!(text, expected);
    }

    #[test]
    fn what_expressions_come_to_is_read_by_the_type_it_has_in_postgresql() {
        prints(Param::Int(1), &PgType::Bool, "t");
        prints(bytes("false"), &PgType::Bool, "f");
        prints(bytes("12.0000"), &PgType::Int8, "12");
        prints(Param::Int(7), &PgType::Numeric, "7");
        prints(Param::Double(1.5e-7), &PgType::Numeric, "0.00000015");
        prints(bytes("0.1"), &PgType::Float8, "0.1");
        prints(Param::Double(1e15), &PgType::Float8, "1e+15");
        prints(bytes("2024-02-29 12:34:56.5"), &PgType::TimestampTz, "2024-02-29 12:34:56.5+00");
        prints(bytes("2024-02-29"), &PgType::Date, "2024-02-29");
        prints(Param::Int(-90_061_000_000), &PgType::Interval, "-1 days -01:01:01");
        prints(bytes("P1DT2H"), &PgType::Interval, "1 day 02:00:00");
        prints(
            bytes("{\"b\": 1e20, \"a\": 1}"),
            &PgType::Jsonb,
            "{\"a\": 1, \"b\": 100000000000000000000}",
        );
        assert!(Value::of_result(bytes("1.5"), &PgType::Int4).is_none());
        assert!(Value::of_result(Param::Int(70_000), &PgType::Int2).is_none());
        assert!(Value::of_result(Param::Double(0.0), &PgType::Text).is_none());
    }

    #[test]
    fn lists_become_arrays_of_their_elements() {
        let of = |element| PgType::Array(Box::new(element));
        prints(bytes("[]"), &of(PgType::Text), "{}");
        prints(bytes("[\"a\", null, \"x,y\"]"), &of(PgType::Text), "{a,NULL,\"x,y\"}");
        prints(bytes("[[1, 2], [3, 4]]"), &of(PgType::Int4), "{{1,2},{3,4}}");
        prints(bytes("[\"1.10\"]"), &of(PgType::Numeric), "{1.10}");
        prints(bytes("[1.0]"), &of(PgType::Float8), "{1}");
        prints(bytes("[\"{\\\"a\\\": 1}\"]"), &of(PgType::Jsonb), "{\"{\\\"a\\\": 1}\"}");
        prints(bytes("[true, false]"), &of(PgType::Bool), "{t,f}");
        assert!(Value::of_result(bytes("[[1], [2, 3]]"), &of(PgType::Int4)).is_none());
        assert!(Value::of_result(bytes("[1.5]"), &of(PgType::Int4)).is_none());
    }
}
