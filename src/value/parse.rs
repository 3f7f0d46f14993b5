//! PostgreSQL's text format, read as its input functions read it.
//!
//! ```text
//! 'yes' ──PgType::parse──▶ Value::Bool(true)       'not-a-uuid' ──▶ 22P02
//!                                                  'next tuesday' ──▶ Unclear: refused, never guessed
//! ```
//!
//! Invariant: a value that comes out is the one PostgreSQL would read, with DateStyle ISO and in the zone
//! given; an [`InputError::Bad`] is one that PostgreSQL raises as well. What only PostgreSQL's own
//! parser could decide is [`InputError::Unclear`].

use super::parse_date as date;
use super::parse_json as json;
use super::text::parse_uuid;
use crate::value::{Array, Numeric, PgType, Value};

/// Digits before or after the point past which a numeric is not read: it has no equal in MySQL.
const NUMERIC_DIGITS_MAX: usize = 1_000;

/// Why a text is no value of the type. Never holds the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    #[error("{message}")]
    Bad { code: &'static str, message: String },
    /// PostgreSQL may well read it.
    #[error("{0} written in this form is not supported")]
    Unclear(&'static str),
}

impl InputError {
    pub(super) fn syntax(name: &str) -> Self {
        Self::Bad { code: "22P02", message: format!("invalid input syntax for type {name}") }
    }

    pub(super) fn range(name: &str) -> Self {
        Self::Bad { code: "22003", message: format!("value is out of range for type {name}") }
    }
}

/// What the session's TimeZone makes of a time without a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zone {
    Utc,
    /// A time without a zone is then not read.
    Other,
}

impl PgType {
    /// Reads the text format.
    ///
    /// # Errors
    /// [`InputError`] where it is no value of the type, or may be one that is not understood here.
    pub fn parse(&self, text: &str, zone: Zone) -> Result<Value, InputError> {
        let name = self.name();
        let trimmed = text.trim_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
        Ok(match self {
            Self::Bool => Value::Bool(boolean(trimmed).ok_or_else(|| InputError::syntax(name))?),
            Self::Int2 => Value::Int(integer(trimmed, name, i16::MIN.into(), i16::MAX.into())?),
            Self::Int4 => Value::Int(integer(trimmed, name, i32::MIN.into(), i32::MAX.into())?),
            Self::Int8 => Value::Int(integer(trimmed, name, i64::MIN, i64::MAX)?),
            Self::Oid => Value::Int(integer(trimmed, name, 0, u32::MAX.into())?),
            Self::Float4 => {
                let value = float(trimmed, name)?;
                #[expect(clippy::cast_possible_truncation, reason = "that is what a real is")]
                let short = trimmed.parse().unwrap_or(value as f32);
                if short.is_infinite() && value.is_finite() {
                    return Err(InputError::range(name));
                }
                Value::Float4(short)
            }
            Self::Float8 => Value::Float8(float(trimmed, name)?),
            Self::Numeric => Value::Numeric(numeric(trimmed)?),
            Self::Text | Self::Bpchar | Self::Citext | Self::Name => Value::Text(text.to_owned()),
            Self::Enum(labels) if labels.iter().any(|label| label == text) => {
                Value::Text(text.to_owned())
            }
            Self::Enum(_) => {
                let message = "invalid input value for enum".to_owned();
                return Err(InputError::Bad { code: "22P02", message });
            }
            Self::Bytea => Value::Bytes(bytea(text)?.into()),
            Self::Uuid => Value::Uuid(uuid(text).ok_or_else(|| InputError::syntax(name))?),
            Self::Date => date::date(trimmed)?,
            Self::Time => date::time(trimmed)?,
            Self::TimeTz => date::time_tz(trimmed, zone)?,
            Self::Timestamp => date::timestamp(trimmed)?,
            Self::TimestampTz => date::timestamp_tz(trimmed, zone)?,
            Self::Interval => date::interval(trimmed)?,
            Self::Json => Value::Json(json::check(text)?),
            Self::Jsonb => Value::Jsonb(json::binary(text)?),
            Self::Inet | Self::Cidr => Value::Text(address(trimmed, *self == Self::Cidr)?),
            Self::Macaddr => Value::Text(macaddr(trimmed)?),
            Self::Array(element) => Value::Array(array(text, element, zone)?),
            Self::Unsupported(_) => return Err(InputError::Unclear("a value of this type")),
        })
    }
}

/// Any unambiguous beginning of the six words, and the two digits.
fn boolean(text: &str) -> Option<bool> {
    let text = text.to_ascii_lowercase();
    let begins = |word: &str, least: usize| least <= text.len() && word.starts_with(&text);
    if begins("true", 1) || begins("yes", 1) || text == "on" || text == "1" {
        return Some(true);
    }
    (begins("false", 1) || begins("no", 1) || begins("off", 2) || text == "0").then_some(false)
}

fn integer(text: &str, name: &str, least: i64, most: i64) -> Result<i64, InputError> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(InputError::syntax(name));
    }
    let value = text.parse::<i64>().map_err(|_| InputError::range(name))?;
    if (least..=most).contains(&value) { Ok(value) } else { Err(InputError::range(name)) }
}

fn float(text: &str, name: &str) -> Result<f64, InputError> {
    let plain =
        text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'));
    if !plain {
        let (sign, word) = match text.strip_prefix('-') {
            Some(word) => (-1.0, word),
            None => (1.0, text.strip_prefix('+').unwrap_or(text)),
        };
        return match word.to_ascii_lowercase().as_str() {
            "infinity" | "inf" => Ok(sign * f64::INFINITY),
            "nan" if word.len() == text.len() => Ok(f64::NAN),
            _ => Err(InputError::syntax(name)),
        };
    }
    let value: f64 = text.parse().map_err(|_| InputError::syntax(name))?;
    let zero =
        !text.bytes().take_while(|b| !matches!(b, b'e' | b'E')).any(|b| matches!(b, b'1'..=b'9'));
    if value.is_infinite() || value == 0.0 && !zero {
        return Err(InputError::range(name));
    }
    Ok(value)
}

/// Plain decimal text with the scale that was written: `1e2` is `100`, `.50` is `0.50`.
pub(super) fn numeric(text: &str) -> Result<Numeric, InputError> {
    let bad = || InputError::syntax("numeric");
    match text.to_ascii_lowercase().as_str() {
        "nan" => return Ok(Numeric::NaN),
        "infinity" | "+infinity" | "inf" | "+inf" => return Ok(Numeric::PositiveInfinity),
        "-infinity" | "-inf" => return Ok(Numeric::NegativeInfinity),
        _ => {}
    }
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().map_err(|_| bad())?),
        None => (unsigned, 0),
    };
    let (whole, decimals) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() + decimals.len() == 0 || !digits(whole) || !digits(decimals) {
        return Err(bad());
    }
    decimal(negative, whole, decimals, exponent)
        .map(Numeric::Finite)
        .ok_or(InputError::Unclear("a numeric of so many digits"))
}

/// The digits moved by a power of ten; `None` where they would be too many.
fn decimal(negative: bool, whole: &str, decimals: &str, exponent: i64) -> Option<String> {
    let (mut whole, mut decimals) = (whole.to_owned(), decimals.to_owned());
    let moved = usize::try_from(exponent.unsigned_abs()).ok()?;
    if whole.len().max(decimals.len()) + moved > NUMERIC_DIGITS_MAX {
        return None;
    }
    if exponent > 0 {
        let taken = decimals.len().min(moved);
        whole += &decimals[..taken];
        whole += &"0".repeat(moved - taken);
        decimals.drain(..taken);
    } else {
        let padded = format!("{}{whole}", "0".repeat(moved));
        let (left, right) = padded.split_at(padded.len() - moved);
        (whole, decimals) = (left.to_owned(), format!("{right}{decimals}"));
    }
    let whole = whole.trim_start_matches('0');
    let zero = whole.is_empty() && decimals.bytes().all(|byte| byte == b'0');
    let sign = if negative && !zero { "-" } else { "" };
    let whole = if whole.is_empty() { "0" } else { whole };
    let point = if decimals.is_empty() { "" } else { "." };
    Some(format!("{sign}{whole}{point}{decimals}"))
}

/// `\x00ff`, or the escape format: `\\` and `\ooo`.
fn bytea(text: &str) -> Result<Vec<u8>, InputError> {
    let bad = || InputError::syntax("bytea");
    if let Some(digits) = text.strip_prefix("\\x") {
        let digits: Vec<u8> =
            digits.bytes().filter(|byte| !matches!(byte, b' ' | b'\n' | b'\t' | b'\r')).collect();
        let wrong =
            || InputError::Bad { code: "22023", message: "invalid hexadecimal data".to_owned() };
        if digits.len() % 2 != 0 {
            return Err(wrong());
        }
        let pair = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
        return digits.chunks(2).map(|two| pair(two).ok_or_else(wrong)).collect();
    }
    let (mut out, bytes) = (Vec::new(), text.as_bytes());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'\\' {
            out.push(bytes[at]);
            at += 1;
        } else if bytes.get(at + 1) == Some(&b'\\') {
            out.push(b'\\');
            at += 2;
        } else {
            let octal = text.get(at + 1..at + 4).ok_or_else(bad)?;
            out.push(u8::from_str_radix(octal, 8).map_err(|_| bad())?);
            at += 4;
        }
    }
    Ok(out)
}

/// With or without braces, in either case, hyphens after any group of four digits.
fn uuid(text: &str) -> Option<[u8; 16]> {
    let inner = match text.strip_prefix('{') {
        Some(rest) => rest.strip_suffix('}')?,
        None => text,
    };
    let mut digits = 0;
    for (at, byte) in inner.bytes().enumerate() {
        match byte {
            b'-' if digits % 4 == 0
                && digits > 0
                && digits < 32
                && inner.as_bytes()[at - 1] != b'-' => {}
            byte if byte.is_ascii_hexdigit() => digits += 1,
            _ => return None,
        }
    }
    parse_uuid(inner)
}

/// An address in PostgreSQL's canonical text, with its length unless it is a host's.
fn address(text: &str, is_network: bool) -> Result<String, InputError> {
    let bad = || InputError::syntax(if is_network { "cidr" } else { "inet" });
    let (host, bits) = match text.split_once('/') {
        Some((host, bits)) => (host, Some(bits.parse::<u8>().map_err(|_| bad())?)),
        None => (text, None),
    };
    let Ok(host) = host.parse::<core::net::IpAddr>() else {
        // `10.1` is a network to cidr; nothing with a colon or four numbers is left.
        let short = is_network && host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        return Err(if short { InputError::Unclear("a network") } else { bad() });
    };
    let all = if host.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(all);
    if bits > all {
        return Err(bad());
    }
    Ok(match (bits == all, is_network) {
        (true, false) => host.to_string(),
        _ => format!("{host}/{bits}"),
    })
}

fn macaddr(text: &str) -> Result<String, InputError> {
    let parts: Vec<&str> = text.split([':', '-']).collect();
    let two = |part: &&str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
    if parts.len() == 6 && parts.iter().all(two) {
        return Ok(parts.join(":").to_ascii_lowercase());
    }
    Err(InputError::Unclear("a macaddr"))
}

/// `{a,"b c",NULL,{…}}`; bounds in front are not read.
fn array(text: &str, element: &PgType, zone: Zone) -> Result<Array, InputError> {
    let bad = || InputError::Bad { code: "22P02", message: "malformed array literal".to_owned() };
    let text = text.trim();
    if text.starts_with('[') {
        return Err(InputError::Unclear("an array with bounds"));
    }
    let mut reader = Items { rest: text.strip_prefix('{').ok_or_else(bad)?, element, zone };
    let mut array = Array { dimensions: Vec::new(), elements: Vec::new() };
    let count = reader.level(0, &mut array)?;
    if !reader.rest.trim().is_empty() {
        return Err(bad());
    }
    if count == 0 {
        array.dimensions.clear();
    }
    Ok(array)
}

struct Items<'a> {
    rest: &'a str,
    element: &'a PgType,
    zone: Zone,
}

impl Items<'_> {
    /// Reads up to the closing brace; returns how many elements there were.
    fn level(&mut self, depth: usize, array: &mut Array) -> Result<usize, InputError> {
        let bad =
            || InputError::Bad { code: "22P02", message: "malformed array literal".to_owned() };
        if depth >= 6 {
            return Err(bad());
        }
        let known = array.dimensions.len() > depth;
        if !known {
            array.dimensions.push((0, 1));
        }
        let mut count = 0;
        loop {
            self.rest = self.rest.trim_start();
            if count == 0 && self.rest.starts_with('}') {
                self.rest = &self.rest[1..];
                break;
            }
            if let Some(rest) = self.rest.strip_prefix('{') {
                self.rest = rest;
                self.level(depth + 1, array)?;
            } else {
                if array.dimensions.len() > depth + 1 {
                    return Err(bad());
                }
                let value = self.item()?;
                array.elements.push(value);
            }
            count += 1;
            self.rest = self.rest.trim_start();
            let next = self.rest.chars().next();
            self.rest = self.rest.get(1..).ok_or_else(bad)?;
            match next {
                Some(',') => {}
                Some('}') => break,
                _ => return Err(bad()),
            }
        }
        let length = i32::try_from(count).map_err(|_| bad())?;
        if known && array.dimensions[depth].0 != length {
            return Err(bad());
        }
        array.dimensions[depth].0 = length;
        Ok(count)
    }

    fn item(&mut self) -> Result<Value, InputError> {
        let bad =
            || InputError::Bad { code: "22P02", message: "malformed array literal".to_owned() };
        let quoted = self.rest.starts_with('"');
        let (mut text, mut letters) = (String::new(), self.rest.char_indices());
        if quoted {
            letters.next();
        }
        let end = loop {
            match letters.next().ok_or_else(bad)? {
                (_, '\\') => text.push(letters.next().ok_or_else(bad)?.1),
                (at, '"') if quoted => break at + 1,
                (at, ',' | '}') if !quoted => break at,
                (_, '"' | '{') if !quoted => return Err(bad()),
                (_, letter) => text.push(letter),
            }
        };
        self.rest = &self.rest[end..];
        if quoted {
            return self.element.parse(&text, self.zone);
        }
        let text = text.trim_end();
        match text {
            "" => Err(bad()),
            null if null.eq_ignore_ascii_case("null") => Ok(Value::Null),
            text => self.element.parse(text, self.zone),
        }
    }
}
