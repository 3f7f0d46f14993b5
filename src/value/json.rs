//! Which JSON survives MySQL, and how an array becomes JSON.
//!
//! ```text
//! jsonb text ──numbers_survive──▶ yes / no     MySQL keeps integers of 64 bits, all else as double
//! array ──from_array──▶ ["a",null,[1,2]]
//! ```
//!
//! Invariant: every number of an accepted text is, as MySQL gives it back, numerically the same.
//! MariaDB keeps JSON as text, so every text is accepted there.

use crate::value::text;
use crate::value::{Array, Numeric, Unrepresentable, Value};

/// Fails where MySQL would give a number of `text` back as another number.
pub(super) fn check_numbers(text: &str, kind: &'static str) -> Result<(), Unrepresentable> {
    let survive = numbers(text).all(survives);
    if survive { Ok(()) } else { Err(Unrepresentable { kind, reason: "number past a double" }) }
}

/// The number tokens of valid JSON: what stands outside strings and begins with a digit or minus.
fn numbers(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let at = rest.find(|c: char| c == '"' || c == '-' || c.is_ascii_digit())?;
            rest = &rest[at..];
            if let Some(string) = rest.strip_prefix('"') {
                rest = after_string(string);
                continue;
            }
            let part = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
            let end = rest.find(|c| !part(c)).unwrap_or(rest.len());
            let (number, tail) = rest.split_at(end);
            rest = tail;
            return Some(number);
        }
    })
}

/// What follows the closing quote.
fn after_string(string: &str) -> &str {
    let mut escaped = false;
    for (at, byte) in string.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return &string[at + 1..],
            _ => {}
        }
    }
    ""
}

/// True if MySQL's form of the number (64-bit integer, or the shortest text of a double) is equal.
fn survives(number: &str) -> bool {
    if number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok() {
        return true;
    }
    match number.parse::<f64>() {
        Ok(double) if double.is_finite() => parts(&format!("{double:e}")) == parts(number),
        _ => false,
    }
}

/// Sign, digits without zeros at either end, and the power of ten of the last digit.
fn parts(number: &str) -> Option<(bool, String, i64)> {
    let (negative, number) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number),
    };
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, decimals) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{decimals}");
    let trimmed = digits.trim_end_matches('0');
    if trimmed.is_empty() {
        return Some((false, String::new(), 0));
    }
    let mut power: i64 = exponent.trim_start_matches('+').parse().ok()?;
    power = power.checked_sub(i64::try_from(decimals.len()).ok()?)?;
    power = power.checked_add(i64::try_from(digits.len() - trimmed.len()).ok()?)?;
    Some((negative, trimmed.trim_start_matches('0').to_owned(), power))
}

/// One form for all spellings of a document: fields in order, numbers by their value. What is not
/// JSON stays as it is.
pub(super) fn normal(document: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(document.len());
    match serde_json::from_slice(document) {
        Ok(document) => push_document(&document, &mut out),
        Err(_) => out.extend_from_slice(document),
    }
    out
}

fn push_document(document: &serde_json::Value, out: &mut Vec<u8>) {
    match document {
        serde_json::Value::Number(number) => {
            let text = number.to_string();
            match parts(&text) {
                Some((negative, digits, power)) => {
                    let sign = if negative { "-" } else { "" };
                    out.extend_from_slice(format!("{sign}{digits}e{power}").as_bytes());
                }
                None => out.extend_from_slice(text.as_bytes()),
            }
        }
        serde_json::Value::Array(items) => {
            out.push(b'[');
            for item in items {
                push_document(item, out);
                out.push(b',');
            }
            out.push(b']');
        }
        serde_json::Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| *name);
            out.push(b'{');
            for (name, value) in fields {
                out.extend_from_slice(
                    serde_json::Value::from(name.as_str()).to_string().as_bytes(),
                );
                out.push(b':');
                push_document(value, out);
                out.push(b',');
            }
            out.push(b'}');
        }
        other => out.extend_from_slice(other.to_string().as_bytes()),
    }
}

/// Nested JSON arrays. Numbers of numeric, and JSON inside, become strings: they keep their scale and
/// spelling, and a JSON `null` stays apart from NULL.
pub(super) fn from_array(array: &Array) -> Result<String, Unrepresentable> {
    if array.dimensions.iter().any(|(_, lower)| *lower != 1) {
        return Err(Unrepresentable { kind: "array", reason: "lower bound other than 1" });
    }
    let mut text = String::new();
    let mut elements = array.elements.iter();
    let lengths: Vec<i32> = array.dimensions.iter().map(|(length, _)| *length).collect();
    push_level(&lengths, &mut elements, &mut text)?;
    Ok(text)
}

fn push_level<'a>(
    lengths: &[i32],
    elements: &mut impl Iterator<Item = &'a Value>,
    text: &mut String,
) -> Result<(), Unrepresentable> {
    text.push('[');
    if let Some((length, inner)) = lengths.split_first() {
        for at in 0..*length {
            if at > 0 {
                text.push_str(", ");
            }
            if inner.is_empty() {
                push_element(elements.next().unwrap_or(&Value::Null), text)?;
            } else {
                push_level(inner, elements, text)?;
            }
        }
    }
    text.push(']');
    Ok(())
}

fn push_element(value: &Value, out: &mut String) -> Result<(), Unrepresentable> {
    let kind = value.kind();
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Int(value) => out.push_str(&value.to_string()),
        Value::Float4(value) => push_float(f64::from(*value), &format!("{value:e}"), kind, out)?,
        Value::Float8(value) => push_float(*value, &format!("{value:e}"), kind, out)?,
        Value::Numeric(Numeric::Finite(value)) => push_string(value, out),
        Value::Numeric(Numeric::NaN) => push_string("NaN", out),
        Value::Numeric(Numeric::PositiveInfinity) => push_string("Infinity", out),
        Value::Numeric(Numeric::NegativeInfinity) => push_string("-Infinity", out),
        Value::Text(value) | Value::Json(value) | Value::Jsonb(value) => push_string(value, out),
        Value::Bytes(bytes) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            push_string(&format!("\\x{hex}"), out);
        }
        Value::Uuid(bytes) => push_string(&text::uuid(bytes), out),
        Value::Date(days) => push_string(&text::date(&text::civil_from_days(*days, kind)?), out),
        Value::Time(micros) => push_string(&text::time(&text::clock(*micros)), out),
        Value::TimeTz(micros, west) => push_string(&text::timetz(*micros, *west), out),
        Value::Timestamp(micros) | Value::TimestampTz(micros) => {
            push_string(&text::timestamp(&text::civil_from_micros(*micros, kind)?), out);
        }
        Value::Interval { months, days, micros } => {
            push_string(&text::interval(*months, *days, *micros), out);
        }
        Value::Array(array) => out.push_str(&from_array(array)?),
    }
    Ok(())
}

/// `exact` is the shortest text of the value in its own width.
fn push_float(
    value: f64,
    exact: &str,
    kind: &'static str,
    out: &mut String,
) -> Result<(), Unrepresentable> {
    if !value.is_finite() {
        let reason = if value.is_nan() { "not a number" } else { "infinite" };
        return Err(Unrepresentable { kind, reason });
    }
    out.push_str(exact);
    Ok(())
}

fn push_string(value: &str, out: &mut String) {
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}
