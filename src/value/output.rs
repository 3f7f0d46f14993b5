//! A value as PostgreSQL's output functions print it, and in binary for every type.
//!
//! ```text
//! Value ──[`Value::print`](PgType, Style)──▶ text format
//!      └──[`Value::send`](PgType, Oid)─────▶ binary format
//! ```
//!
//! Invariant: byte for byte what PostgreSQL itself would send for the value under the same settings.

use std::fmt::Write as _;

use super::style::{ByteaOutput, IntervalStyle, Style};
use super::text::{self, MICROS_PER_DAY};
use crate::names::Oid;
use crate::value::{Array, Numeric, PgType, Value};

impl Value {
    /// Appends the text format; NULL has none and appends nothing.
    pub fn print(&self, style: &Style, out: &mut String) {
        match self {
            Self::Null => {}
            Self::Bool(value) => out.push(if *value { 't' } else { 'f' }),
            Self::Int(value) => push(out, format_args!("{value}")),
            Self::Float4(value) => float((*value).into(), 6, &shortest4(*value), out),
            Self::Float8(value) => float(*value, 15, &shortest8(*value), out),
            Self::Numeric(Numeric::Finite(text))
            | Self::Text(text)
            | Self::Json(text)
            | Self::Jsonb(text) => out.push_str(text),
            Self::Numeric(Numeric::NaN) => out.push_str("NaN"),
            Self::Numeric(Numeric::PositiveInfinity) => out.push_str("Infinity"),
            Self::Numeric(Numeric::NegativeInfinity) => out.push_str("-Infinity"),
            Self::Bytes(bytes) => bytea(bytes, style.bytea, out),
            Self::Uuid(bytes) => out.push_str(&text::uuid(bytes)),
            Self::Date(days) => date(*days, out),
            Self::Time(micros) => time(*micros, out),
            Self::TimeTz(micros, west) => out.push_str(&text::timetz(*micros, *west)),
            Self::Timestamp(micros) => {
                timestamp(*micros, None, out);
            }
            Self::TimestampTz(micros) => timestamp(*micros, Some(style), out),
            Self::Interval { months, days, micros } => {
                interval((*months, *days, *micros), style.interval, out);
            }
            Self::Array(array) => print_array(array, style, out),
        }
    }

    /// The binary format; `element` is the OID of an array's elements. `None` where the value is not
    /// one of the type.
    #[must_use]
    pub fn send(&self, pg_type: &PgType, element: Oid) -> Option<Vec<u8>> {
        match (self, pg_type) {
            (Self::Json(text), PgType::Json) => Some(text.as_bytes().to_vec()),
            (Self::Jsonb(text), PgType::Jsonb) => Some([&[1], text.as_bytes()].concat()),
            (Self::Interval { months, days, micros }, PgType::Interval) => Some(
                [&micros.to_be_bytes()[..], &days.to_be_bytes(), &months.to_be_bytes()].concat(),
            ),
            (Self::Array(array), PgType::Array(of)) => send_array(array, of, element),
            (Self::Text(text), PgType::Unsupported(_)) => Some(text.as_bytes().to_vec()),
            _ => self.encode(pg_type),
        }
    }
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = out.write_fmt(text);
}

/// The shortest digits that read back as the same number, with an exponent from `digits` places on,
/// or below 0.0001.
fn float(value: f64, digits: i32, shortest: &str, out: &mut String) {
    if !value.is_finite() {
        let text = match value {
            nan if nan.is_nan() => "NaN",
            positive if positive > 0.0 => "Infinity",
            _ => "-Infinity",
        };
        out.push_str(text);
        return;
    }
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if value == 0.0 || (-4..digits).contains(&exponent) {
        out.push_str(&positional(mantissa, exponent));
        return;
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    push(out, format_args!("{mantissa}e{sign}{:02}", exponent.abs()));
}

/// The shortest digits that are nearer to the number than to any other. Rust also takes those that lie
/// halfway and are read as this one because it is even; PostgreSQL does not.
fn shortest8(value: f64) -> String {
    let bits = value.to_bits();
    let mantissa = (bits & ((1 << 52) - 1)) | u64::from(bits >> 52 & 0x7ff != 0) << 52;
    let power = i32::try_from(bits >> 52 & 0x7ff).unwrap_or_default().max(1) - 1075;
    let fits = |text: &str| text.parse() == Ok(value) && !is_halfway(text, mantissa, power, 52);
    let text = format!("{value:e}");
    if fits(&text) || !value.is_finite() {
        return text;
    }
    let longer = (1..17).map(|digits| format!("{value:.digits$e}")).find(|text| fits(text));
    longer.unwrap_or(text)
}

fn shortest4(value: f32) -> String {
    let bits = value.to_bits();
    let mantissa = (bits & ((1 << 23) - 1)) | u32::from(bits >> 23 & 0xff != 0) << 23;
    let power = i32::try_from(bits >> 23 & 0xff).unwrap_or_default().max(1) - 150;
    let fits =
        |text: &str| text.parse() == Ok(value) && !is_halfway(text, mantissa.into(), power, 23);
    let text = format!("{value:e}");
    if fits(&text) || !value.is_finite() {
        return text;
    }
    let longer = (1..9).map(|digits| format!("{value:.digits$e}")).find(|text| fits(text));
    longer.unwrap_or(text)
}

/// Whether digits lie exactly halfway between `mantissa · 2^power` and a neighbour of it.
fn is_halfway(text: &str, mantissa: u64, power: i32, bits: u32) -> bool {
    let (digits, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let digits = digits.trim_start_matches('-');
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    let count = i32::try_from(decimals.len()).unwrap_or_default();
    let (Ok(digits), Ok(exponent)) =
        (format!("{whole}{decimals}").parse::<u128>(), exponent.parse::<i32>())
    else {
        return false;
    };
    let exponent = exponent - count;
    // digits · 10^exponent = half · 2^of, both sides without their twos.
    let is = |half: u128, of: i32| {
        let fives = 5_u128.checked_pow(exponent.unsigned_abs());
        let twos = i32::try_from(digits.trailing_zeros()).unwrap_or_default();
        let odd = digits >> digits.trailing_zeros().min(127);
        let (left, right) = match exponent < 0 {
            false => (fives.and_then(|fives| odd.checked_mul(fives)), Some(half)),
            true => (Some(odd), fives.and_then(|fives| half.checked_mul(fives))),
        };
        digits != 0 && twos + exponent == of && left.is_some() && left == right
    };
    let mantissa = u128::from(mantissa);
    let below = mantissa == 1 << bits;
    is(2 * mantissa + 1, power - 1)
        || (mantissa > 0 && is(2 * mantissa - 1, power - 1))
        || (below && is(4 * mantissa - 1, power - 2))
}

/// `-1.25`, `2` → `-125`.
pub(super) fn positional(mantissa: &str, exponent: i32) -> String {
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let (whole, decimals) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{decimals}");
    let point = i64::try_from(whole.len()).unwrap_or(i64::MAX).saturating_add(exponent.into());
    let length = i64::try_from(digits.len()).unwrap_or(i64::MAX);
    let size = |count: i64| usize::try_from(count).unwrap_or_default();
    if point <= 0 {
        format!("{sign}0.{}{digits}", "0".repeat(size(-point)))
    } else if length <= point {
        format!("{sign}{digits}{}", "0".repeat(size(point - length)))
    } else {
        let (whole, decimals) = digits.split_at(size(point));
        format!("{sign}{whole}.{decimals}")
    }
}

fn bytea(bytes: &[u8], output: ByteaOutput, out: &mut String) {
    if output == ByteaOutput::Hex {
        out.push_str("\\x");
        bytes.iter().for_each(|byte| push(out, format_args!("{byte:02x}")));
        return;
    }
    for byte in bytes {
        match byte {
            b'\\' => out.push_str("\\\\"),
            0x20..=0x7e => out.push(char::from(*byte)),
            byte => push(out, format_args!("\\{byte:03o}")),
        }
    }
}

/// Day numbers that no calendar of ours has are infinite; PostgreSQL's own range is within.
fn date(days: i32, out: &mut String) {
    match days {
        i32::MAX => out.push_str("infinity"),
        i32::MIN => out.push_str("-infinity"),
        days => {
            let before_christ = day(days, out);
            out.push_str(if before_christ { " BC" } else { "" });
        }
    }
}

/// Appends `2024-02-29`; true where the year is before Christ, which is said at the end of it all.
fn day(days: i32, out: &mut String) -> bool {
    let (year, month, day) = text::civil(days);
    let before_christ = year < 1;
    let shown = if before_christ { 1 - year } else { year };
    push(out, format_args!("{shown:04}-{month:02}-{day:02}"));
    before_christ
}

fn time(micros: i64, out: &mut String) {
    out.push_str(&text::time(&text::clock(micros)));
}

fn timestamp(micros: i64, zoned: Option<&Style>, out: &mut String) {
    match micros {
        i64::MAX => return out.push_str("infinity"),
        i64::MIN => return out.push_str("-infinity"),
        _ => {}
    }
    let east = zoned.map(|style| style.zone.east_at(micros));
    let local = micros.saturating_add(i64::from(east.unwrap_or(0)) * 1_000_000);
    let days = i32::try_from(local.div_euclid(MICROS_PER_DAY)).unwrap_or(i32::MAX);
    let before_christ = day(days, out);
    out.push(' ');
    time(local.rem_euclid(MICROS_PER_DAY), out);
    if let Some(east) = east {
        out.push_str(&text::offset(-east));
    }
    out.push_str(if before_christ { " BC" } else { "" });
}

fn interval((months, days, micros): (i32, i32, i64), style: IntervalStyle, out: &mut String) {
    if style == IntervalStyle::Iso8601 {
        return out.push_str(&text::interval(months, days, micros));
    }
    let start = out.len();
    let mut before = false;
    for (amount, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if amount == 0 {
            continue;
        }
        let space = if out.len() > start { " " } else { "" };
        let plus = if before && amount > 0 { "+" } else { "" };
        let plural = if amount == 1 { "" } else { "s" };
        push(out, format_args!("{space}{plus}{amount} {unit}{plural}"));
        before = amount < 0;
    }
    let is_empty = out.len() == start;
    if is_empty || micros != 0 {
        let space = if is_empty { "" } else { " " };
        let sign = match micros {
            negative if negative < 0 => "-",
            _ if before => "+",
            _ => "",
        };
        let whole = micros.unsigned_abs();
        let (seconds, micro) = (whole / 1_000_000, whole % 1_000_000);
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        push(out, format_args!("{space}{sign}{hours:02}:{minutes:02}:{seconds:02}"));
        out.push_str(&text::fraction(u32::try_from(micro).unwrap_or_default()));
    }
}

fn print_array(array: &Array, style: &Style, out: &mut String) {
    if array.dimensions.is_empty() {
        return out.push_str("{}");
    }
    if array.dimensions.iter().any(|(_, lower)| *lower != 1) {
        for (length, lower) in &array.dimensions {
            push(out, format_args!("[{lower}:{}]", lower + length - 1));
        }
        out.push('=');
    }
    let lengths: Vec<i32> = array.dimensions.iter().map(|(length, _)| *length).collect();
    level(&lengths, &mut array.elements.iter(), style, out);
}

fn level<'a>(
    lengths: &[i32],
    elements: &mut impl Iterator<Item = &'a Value>,
    style: &Style,
    out: &mut String,
) {
    let Some((length, inner)) = lengths.split_first() else { return };
    out.push('{');
    for at in 0..*length {
        if at > 0 {
            out.push(',');
        }
        if inner.is_empty() {
            element(elements.next().unwrap_or(&Value::Null), style, out);
        } else {
            level(inner, elements, style, out);
        }
    }
    out.push('}');
}

fn element(value: &Value, style: &Style, out: &mut String) {
    if *value == Value::Null {
        return out.push_str("NULL");
    }
    let mut text = String::new();
    value.print(style, &mut text);
    let special = |letter: char| {
        matches!(letter, '{' | '}' | ',' | '"' | '\\' | ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
    };
    if !text.is_empty() && !text.eq_ignore_ascii_case("null") && !text.contains(special) {
        return out.push_str(&text);
    }
    out.push('"');
    for letter in text.chars() {
        if matches!(letter, '"' | '\\') {
            out.push('\\');
        }
        out.push(letter);
    }
    out.push('"');
}

fn send_array(array: &Array, of: &PgType, oid: Oid) -> Option<Vec<u8>> {
    let nulls = array.elements.contains(&Value::Null);
    let mut out = i32::try_from(array.dimensions.len()).ok()?.to_be_bytes().to_vec();
    out.extend(i32::from(nulls).to_be_bytes());
    out.extend(oid.to_be_bytes());
    for (length, lower) in &array.dimensions {
        out.extend(length.to_be_bytes());
        out.extend(lower.to_be_bytes());
    }
    for value in &array.elements {
        if *value == Value::Null {
            out.extend((-1_i32).to_be_bytes());
            continue;
        }
        let field = value.send(of, 0)?;
        out.extend(i32::try_from(field.len()).ok()?.to_be_bytes());
        out.extend(field);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As PostgreSQL 15 prints them.
    #[test]
    fn a_number_halfway_to_its_neighbour_is_printed_with_one_digit_more() {
        for (value, expected) in [
            (-52_444_418_747_754_016.0, "-5.2444418747754016e+16"),
            (0.1, "0.1"),
            (1e15, "1e+15"),
            (9_007_199_254_740_993.0, "9.007199254740992e+15"),
            (5e-324, "5e-324"),
            (1e22, "1e+22"),
            (1e23, "1e+23"),
            (100_000.0, "100000"),
            (-0.0, "-0"),
        ] {
            let mut text = String::new();
            Value::Float8(value).print(&Style::default(), &mut text);
            assert_eq!(text, expected);
        }
    }
}
