//! A value as a person reads it, and as PostgreSQL takes it back: for keys that somebody asked to see.

use super::text;
use crate::value::{Numeric, Value};

impl Value {
    /// The text that PostgreSQL's input function of the value's type reads. Never for logs or errors.
    #[must_use]
    pub fn show(&self) -> String {
        match self {
            Self::Null => String::new(),
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Float4(value) => value.to_string(),
            Self::Float8(value) => value.to_string(),
            Self::Numeric(Numeric::Finite(value))
            | Self::Text(value)
            | Self::Json(value)
            | Self::Jsonb(value) => value.clone(),
            Self::Numeric(Numeric::NaN) => "NaN".to_owned(),
            Self::Numeric(Numeric::PositiveInfinity) => "Infinity".to_owned(),
            Self::Numeric(Numeric::NegativeInfinity) => "-Infinity".to_owned(),
            Self::Bytes(bytes) => {
                let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
                format!("\\x{}", digits.collect::<String>())
            }
            Self::Uuid(bytes) => text::uuid(bytes),
            Self::Date(days) => text::civil_from_days(*days, "date")
                .map_or_else(|_| unreadable(), |civil| text::date(&civil)),
            Self::Timestamp(micros) => text::civil_from_micros(*micros, "timestamp")
                .map_or_else(|_| unreadable(), |civil| text::timestamp(&civil)),
            Self::TimestampTz(micros) => text::civil_from_micros(*micros, "timestamptz")
                .map_or_else(|_| unreadable(), |civil| text::timestamp(&civil) + "+00"),
            Self::Time(micros) => text::time(&text::clock(*micros)),
            Self::TimeTz(micros, west) => text::timetz(*micros, *west),
            Self::Interval { months, days, micros } => text::interval(*months, *days, *micros),
            Self::Array(_) => unreadable(),
        }
    }
}

/// No key of such a value is carried.
fn unreadable() -> String {
    "?".to_owned()
}
