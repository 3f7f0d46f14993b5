//! The bytes that stand for a key: equal exactly where PostgreSQL's unique index says equal.
//!
//! ```text
//! Value + PgType ──[`push_canonical`]──▶ tag · content        hashed into the fence (`change`)
//! ```
//!
//! Invariant: two values have the same canonical form if and only if PostgreSQL finds them equal,
//! whatever the session's settings: 1.0 and 1.00, 0 and −0, `'a '::char(2)` and `'a'`, and in
//! citext `A` and `a`, are each one key. Collations that are not deterministic, and jsonb, are not
//! accepted as keys by `check`.

use crate::value::{Numeric, PgType, Value};

impl Value {
    /// Appends the canonical form. Every content is preceded by its length, so that the forms of
    /// several values can follow one another without a separator.
    pub fn push_canonical(&self, pg_type: &PgType, out: &mut Vec<u8>) {
        match (self, pg_type) {
            (Self::Text(text), PgType::Bpchar) => push(b'T', trim(text).as_bytes(), out),
            (Self::Text(text), PgType::Citext) => push(b'T', fold(text).as_bytes(), out),
            (Self::Array(array), PgType::Array(element)) => {
                out.push(b'A');
                out.extend_from_slice(&length(array.dimensions.len()));
                for (size, lower) in &array.dimensions {
                    out.extend_from_slice(&size.to_be_bytes());
                    out.extend_from_slice(&lower.to_be_bytes());
                }
                for value in &array.elements {
                    value.push_canonical(element, out);
                }
            }
            _ => self.push_plain(out),
        }
    }

    fn push_plain(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.push(b'N'),
            Self::Bool(value) => push(b'B', &[u8::from(*value)], out),
            Self::Int(value) => push(b'I', &value.to_be_bytes(), out),
            Self::Float4(value) => push(b'F', &float(f64::from(*value)), out),
            Self::Float8(value) => push(b'F', &float(*value), out),
            Self::Numeric(value) => push(b'D', numeric(value).as_bytes(), out),
            Self::Text(text) | Self::Json(text) | Self::Jsonb(text) => {
                push(b'T', text.as_bytes(), out);
            }
            Self::Bytes(bytes) => push(b'X', bytes, out),
            Self::Uuid(bytes) => push(b'U', bytes, out),
            Self::Date(days) => push(b'd', &days.to_be_bytes(), out),
            Self::Time(micros) => push(b't', &micros.to_be_bytes(), out),
            Self::TimeTz(micros, west) => {
                push(b'z', &[&micros.to_be_bytes()[..], &west.to_be_bytes()].concat(), out);
            }
            Self::Timestamp(micros) | Self::TimestampTz(micros) => {
                push(b's', &micros.to_be_bytes(), out);
            }
            Self::Interval { months, days, micros } => {
                push(b'i', &span(*months, *days, *micros).to_be_bytes(), out);
            }
            Self::Array(_) => unreachable_array(self, out),
        }
    }
}

/// An array under a type that is no array: decoding cannot make one, so any distinct form serves.
fn unreachable_array(value: &Value, out: &mut Vec<u8>) {
    let Value::Array(array) = value else { return };
    out.push(b'?');
    out.extend_from_slice(&length(array.elements.len()));
    for element in &array.elements {
        element.push_plain(out);
    }
}

fn push(tag: u8, content: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    out.extend_from_slice(&length(content.len()));
    out.extend_from_slice(content);
}

fn length(length: usize) -> [u8; 8] {
    u64::try_from(length).unwrap_or(u64::MAX).to_be_bytes()
}

/// char(n) is compared without its trailing blanks.
fn trim(text: &str) -> &str {
    text.trim_end_matches(' ')
}

/// citext compares `lower()`, which maps each character to one character.
fn fold(text: &str) -> String {
    text.chars().map(|c| c.to_lowercase().next().unwrap_or(c)).collect()
}

/// −0 equals 0, and every NaN equals every other.
fn float(value: f64) -> [u8; 8] {
    let value = if value.is_nan() {
        f64::NAN
    } else if value == 0.0 {
        0.0
    } else {
        value
    };
    value.to_bits().to_be_bytes()
}

fn numeric(value: &Numeric) -> &str {
    match value {
        Numeric::Finite(text) if text.contains('.') => {
            text.trim_end_matches('0').trim_end_matches('.')
        }
        Numeric::Finite(text) => text,
        Numeric::NaN => "NaN",
        Numeric::PositiveInfinity => "Infinity",
        Numeric::NegativeInfinity => "-Infinity",
    }
}

/// PostgreSQL compares intervals with months of 30 days and days of 24 hours.
fn span(months: i32, days: i32, micros: i64) -> i128 {
    let days = i128::from(months) * 30 + i128::from(days);
    days * i128::from(super::text::MICROS_PER_DAY) + i128::from(micros)
}
