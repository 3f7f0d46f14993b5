//! A value from the text that PostgreSQL's input functions read: parameters in text format, and
//! quoted literals.
//!
//! ```text
//! text ──[`PgType::read`]──▶ Value, or the error that PostgreSQL would raise
//! ```
//!
//! Invariant: what is accepted means to us what it means to PostgreSQL. A spelling that PostgreSQL may
//! know and we do not is refused as such (0A000), never guessed at.
//!
//! The message quotes the text, as PostgreSQL's does: it is for the client, and must not be logged.

mod array;
mod calendar;
mod interval;
mod json;
mod moment;
mod number;

use bytes::Bytes;

use super::style::Style;
use super::text;
use crate::value::{PgType, Value};

pub(super) use self::json::normal as jsonb_normal;

/// Why a text is not a value of the type, as PostgreSQL says it. Printed without the message.
#[derive(Clone, PartialEq, Eq)]
pub struct InputError {
    /// SQLSTATE.
    pub code: &'static str,
    pub message: String,
    pub detail: Option<String>,
}

impl std::fmt::Debug for InputError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("InputError").field(&self.code).finish()
    }
}

impl InputError {
    fn new(code: &'static str, message: String) -> Self {
        Self { code, message, detail: None }
    }

    /// `invalid input syntax for type uuid: "x"`
    fn syntax(name: &str, text: &str) -> Self {
        Self::new("22P02", format!("invalid input syntax for type {name}: \"{text}\""))
    }

    fn unknown_spelling(name: &str) -> Self {
        Self::new("0A000", format!("this spelling of a value of type {name} is not supported"))
    }
}

impl PgType {
    /// Reads a text; `name` is what PostgreSQL calls the type in messages where it is an enum.
    pub fn read(&self, text: &str, name: &str, style: &Style) -> Result<Value, InputError> {
        match self {
            Self::Bool => boolean(text),
            Self::Int2 => number::integer(text, "smallint", i16::MIN.into(), i16::MAX.into()),
            Self::Int4 => number::integer(text, "integer", i32::MIN.into(), i32::MAX.into()),
            Self::Int8 => number::integer(text, "bigint", i64::MIN, i64::MAX),
            Self::Oid => number::oid(text),
            Self::Float4 => number::float4(text),
            Self::Float8 => number::float8(text),
            Self::Numeric => number::numeric(text, "numeric").map(Value::Numeric),
            Self::Text | Self::Bpchar | Self::Citext | Self::Name | Self::Unsupported(_) => {
                Ok(Value::Text(text.to_owned()))
            }
            Self::Enum(labels) if labels.iter().any(|label| label == text) => {
                Ok(Value::Text(text.to_owned()))
            }
            Self::Enum(_) => Err(InputError::new(
                "22P02",
                format!("invalid input value for enum {name}: \"{text}\""),
            )),
            Self::Bytea => bytea(text),
            Self::Uuid => uuid(text),
            Self::Date => moment::date(text, style),
            Self::Time => moment::time(text),
            Self::TimeTz => moment::timetz(text, style),
            Self::Timestamp => moment::timestamp(text, style),
            Self::TimestampTz => moment::timestamptz(text, style),
            Self::Interval => interval::read(text),
            Self::Json => json::check(text).map(|()| Value::Json(text.to_owned())),
            Self::Jsonb => json::normal(text).map(Value::Jsonb),
            Self::Inet => address(text, false),
            Self::Cidr => address(text, true),
            Self::Macaddr => macaddr(text),
            Self::Array(element) => array::read(text, element, name, style),
        }
    }
}

fn boolean(text: &str) -> Result<Value, InputError> {
    let word = text.trim_matches(blank).to_ascii_lowercase();
    let starts = |full: &str, least: usize| least <= word.len() && full.starts_with(&word);
    match word.as_str() {
        "1" => Ok(Value::Bool(true)),
        "0" => Ok(Value::Bool(false)),
        _ if starts("true", 1) || starts("yes", 1) || starts("on", 2) => Ok(Value::Bool(true)),
        _ if starts("false", 1) || starts("no", 1) || starts("off", 2) => Ok(Value::Bool(false)),
        _ => Err(InputError::syntax("boolean", text)),
    }
}

/// What C calls a space.
fn blank(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

/// Digits with a hyphen after any four of them, in braces or not.
fn uuid(text: &str) -> Result<Value, InputError> {
    let wrong = || InputError::syntax("uuid", text);
    let inner = match text.strip_prefix('{') {
        Some(rest) => rest.strip_suffix('}').ok_or_else(wrong)?,
        None => text,
    };
    let mut digits = 0;
    let mut hyphen = true;
    for letter in inner.bytes() {
        match letter {
            b'-' if !hyphen && digits % 4 == 0 => hyphen = true,
            letter if letter.is_ascii_hexdigit() => {
                digits += 1;
                hyphen = digits % 4 != 0;
            }
            _ => return Err(wrong()),
        }
    }
    if inner.ends_with('-') {
        return Err(wrong());
    }
    text::parse_uuid(inner).map(Value::Uuid).ok_or_else(wrong)
}

fn bytea(text: &str) -> Result<Value, InputError> {
    if let Some(digits) = text.strip_prefix("\\x") {
        return hex(digits);
    }
    let wrong = || InputError::new("22P02", "invalid input syntax for type bytea".to_owned());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        match rest {
            [b'\\', after @ ..] => {
                bytes.push(b'\\');
                rest = after;
            }
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] => {
                bytes.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                rest = after;
            }
            _ => return Err(wrong()),
        }
    }
    Ok(Value::Bytes(bytes.into()))
}

fn hex(digits: &str) -> Result<Value, InputError> {
    let mut bytes = Vec::with_capacity(digits.len() / 2);
    let mut half = None;
    for letter in digits.chars() {
        if half.is_none() && matches!(letter, ' ' | '\n' | '\t' | '\r') {
            continue;
        }
        let digit = letter.to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let Some(digit) = digit else {
            let message = format!("invalid hexadecimal digit: \"{letter}\"");
            return Err(InputError::new("22023", message));
        };
        half = match half {
            None => Some(digit),
            Some(high) => {
                bytes.push(high << 4 | digit);
                None
            }
        };
    }
    if half.is_some() {
        let message = "invalid hexadecimal data: odd number of digits".to_owned();
        return Err(InputError::new("22023", message));
    }
    Ok(Value::Bytes(Bytes::from(bytes)))
}

/// An address in PostgreSQL's own spelling; short forms (`10/8`) are refused.
fn address(text: &str, is_cidr: bool) -> Result<Value, InputError> {
    use super::network;
    let (name, kind) = if is_cidr { ("cidr", PgType::Cidr) } else { ("inet", PgType::Inet) };
    let Some(encoded) = network::encode_address(text, is_cidr) else {
        let numbers = text.bytes().all(|letter| matches!(letter, b'0'..=b'9' | b'.' | b'/'));
        return Err(match numbers && !text.is_empty() && is_cidr {
            true => InputError::unknown_spelling(name),
            false => InputError::syntax(name, text),
        });
    };
    if is_cidr && !has_clear_host(&encoded) {
        let mut error = InputError::new("22P02", format!("invalid cidr value: \"{text}\""));
        error.detail = Some("Value has bits set to right of mask.".to_owned());
        return Err(error);
    }
    kind.decode(&encoded.into()).map_err(|_| InputError::syntax(name, text))
}

/// Whether the bits right of the mask are zero: family, bits, flag, length, address.
fn has_clear_host(encoded: &[u8]) -> bool {
    let bits = usize::from(encoded[1]);
    encoded[4..].iter().enumerate().all(|(at, byte)| {
        let kept = bits.saturating_sub(at * 8).min(8);
        kept == 8 || byte << kept == 0 || kept == 0 && *byte == 0
    })
}

fn macaddr(text: &str) -> Result<Value, InputError> {
    let wrong = || InputError::syntax("macaddr", text);
    let bare: String = text.trim_matches(blank).to_ascii_lowercase();
    let digits: String = bare.chars().filter(|letter| !matches!(letter, ':' | '-' | '.')).collect();
    if digits.len() != 12 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let pairs: Vec<&str> = (0..6).map(|at| &digits[2 * at..2 * at + 2]).collect();
    Ok(Value::Text(pairs.join(":")))
}
