//! A value as a parameter of MySQL, exact or refused.
//!
//! ```text
//! Value ──to_mysql(TargetType, Flavor)──▶ mysql_async::Value, or Unrepresentable
//! ```
//!
//! Invariant: reading the column back gives the very value. What strict SQL mode would change with
//! no more than a note (decimals cut, trailing blanks dropped) is refused here; what it refuses
//! itself (ranges of integers) is left to it.

use mysql_async::Value as Param;

use super::json;
use super::text;
use crate::value::{Flavor, Numeric, PgType, TargetType, Unrepresentable, Value};

impl Value {
    /// The parameter that stores this value in a column of type `target`.
    pub fn to_mysql(&self, target: &TargetType, flavor: Flavor) -> Result<Param, Unrepresentable> {
        let kind = self.kind();
        let refuse = |reason| Err(Unrepresentable { kind, reason });
        match self {
            Self::Null => Ok(Param::NULL),
            Self::Bool(value) => Ok(Param::Int((*value).into())),
            Self::Int(value) => integer(*value, target),
            Self::Float4(value) => float(f64::from(*value), kind),
            Self::Float8(value) => float(*value, kind),
            Self::Numeric(value) => numeric(value, target),
            Self::Text(value) => character(value, target),
            Self::Bytes(value) => match target {
                TargetType::VarBinary { length } if value.len() > *length as usize => {
                    refuse("longer than its column")
                }
                _ => Ok(Param::Bytes(value.to_vec())),
            },
            Self::Uuid(value) if *target == TargetType::UuidBinary => {
                Ok(Param::Bytes(value.to_vec()))
            }
            Self::Uuid(value) => bounded(text::uuid(value), target, kind),
            Self::Date(days) => text::civil_from_days(*days, kind).map(|civil| datetime(&civil)),
            Self::Timestamp(micros) | Self::TimestampTz(micros) => {
                text::civil_from_micros(*micros, kind).map(|civil| datetime(&civil))
            }
            Self::Time(micros) => Ok(time(*micros)),
            Self::TimeTz(micros, west) => bounded(text::timetz(*micros, *west), target, kind),
            Self::Interval { months, days, micros } => match (*months, *days, *micros) {
                // PostgreSQL 17's infinite intervals.
                (i32::MAX, i32::MAX, i64::MAX) | (i32::MIN, i32::MIN, i64::MIN) => {
                    refuse("infinite")
                }
                (months, days, micros) => {
                    bounded(text::interval(months, days, micros), target, kind)
                }
            },
            Self::Json(value) | Self::Jsonb(value) => document(value, target, flavor, kind),
            Self::Array(array) => {
                let value = json::from_array(array)?;
                document(&value, target, flavor, kind)
            }
        }
    }
}

/// The target's own range is checked by the server: an integer past it is an error there.
fn integer(value: i64, target: &TargetType) -> Result<Param, Unrepresentable> {
    match target {
        TargetType::Bool if !(0..=1).contains(&value) => {
            Err(Unrepresentable { kind: "integer", reason: "neither 0 nor 1" })
        }
        _ => Ok(Param::Int(value)),
    }
}

/// A real is exact as a double; the binary protocol carries all bits.
fn float(value: f64, kind: &'static str) -> Result<Param, Unrepresentable> {
    match value {
        nan if nan.is_nan() => Err(Unrepresentable { kind, reason: "not a number" }),
        infinite if infinite.is_infinite() => Err(Unrepresentable { kind, reason: "infinite" }),
        finite => Ok(Param::Double(finite)),
    }
}

fn numeric(value: &Numeric, target: &TargetType) -> Result<Param, Unrepresentable> {
    let kind = "numeric";
    let refuse = |reason| Err(Unrepresentable { kind, reason });
    let text = match value {
        Numeric::Finite(text) => text,
        Numeric::NaN => return refuse("not a number"),
        Numeric::PositiveInfinity | Numeric::NegativeInfinity => return refuse("infinite"),
    };
    let TargetType::Decimal { precision, scale } = target else {
        return bounded(text.clone(), target, kind);
    };
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, decimals) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let decimals = decimals.trim_end_matches('0').len();
    let whole = whole.trim_start_matches('0').len();
    if decimals > *scale as usize {
        return refuse("more decimals than its column");
    }
    if whole > precision.saturating_sub(*scale) as usize {
        return refuse("more digits than its column");
    }
    Ok(Param::Bytes(text.clone().into_bytes()))
}

fn character(value: &str, target: &TargetType) -> Result<Param, Unrepresentable> {
    match target {
        // MySQL's char drops trailing blanks, which PostgreSQL's char(n) does not count either.
        TargetType::Char { .. } => bounded(value.trim_end_matches(' ').to_owned(), target, "text"),
        TargetType::Enum(labels) if !labels.iter().any(|label| label == value) => {
            Err(Unrepresentable { kind: "text", reason: "label the column does not have" })
        }
        _ => bounded(value.to_owned(), target, "text"),
    }
}

/// MySQL counts characters as PostgreSQL does. It cuts trailing blanks past the length with a note
/// only, hence the check here.
fn bounded(
    text: String,
    target: &TargetType,
    kind: &'static str,
) -> Result<Param, Unrepresentable> {
    check_length(&text, target, kind)?;
    Ok(Param::Bytes(text.into_bytes()))
}

pub(super) fn check_length(
    text: &str,
    target: &TargetType,
    kind: &'static str,
) -> Result<(), Unrepresentable> {
    let length = match target {
        TargetType::VarChar { length }
        | TargetType::Char { length }
        | TargetType::CitextVarChar { length } => *length as usize,
        TargetType::Uuid => 36,
        _ => usize::MAX,
    };
    if text.len() > length && text.chars().count() > length {
        return Err(Unrepresentable { kind, reason: "longer than its column" });
    }
    Ok(())
}

fn datetime(civil: &text::Civil) -> Param {
    let clock = &civil.clock;
    Param::Date(
        civil.year,
        civil.month,
        civil.day,
        clock.hour,
        clock.minute,
        clock.second,
        clock.micro,
    )
}

/// 24:00:00 is one day to the protocol, and 24:00:00 again in the column.
fn time(micros: i64) -> Param {
    let clock = text::clock(micros);
    let (days, hour) = (clock.hour / 24, clock.hour % 24);
    Param::Time(false, days.into(), hour, clock.minute, clock.second, clock.micro)
}

/// MySQL's json keeps numbers as 64-bit integers and doubles; MariaDB's, and longtext, keep text.
fn document(
    value: &str,
    target: &TargetType,
    flavor: Flavor,
    kind: &'static str,
) -> Result<Param, Unrepresentable> {
    if matches!((target, flavor), (TargetType::Json, Flavor::MySql)) {
        json::check_numbers(value, kind)?;
    }
    bounded(value.to_owned(), target, kind)
}

impl Value {
    /// Reads a value as MySQL's binary protocol returned it: the inverse of [`Self::to_mysql`] for
    /// every type a key can have. `None` for types of which MySQL keeps text only, and for what is
    /// not a value of the type.
    #[must_use]
    pub fn from_mysql(param: &Param, pg_type: &PgType) -> Option<Self> {
        if *param == Param::NULL {
            return Some(Self::Null);
        }
        match pg_type {
            PgType::Bool => whole(param).map(|value| Self::Bool(value != 0)),
            PgType::Int2 | PgType::Int4 | PgType::Int8 | PgType::Oid => whole(param).map(Self::Int),
            #[expect(clippy::cast_possible_truncation, reason = "it was a real when written")]
            PgType::Float4 => double(param).map(|value| Self::Float4(value as f32)),
            PgType::Float8 => double(param).map(Self::Float8),
            PgType::Numeric => {
                string(param).map(|text| Self::Numeric(Numeric::Finite(text.to_owned())))
            }
            PgType::Text
            | PgType::Bpchar
            | PgType::Citext
            | PgType::Name
            | PgType::Enum(_)
            | PgType::Inet
            | PgType::Cidr
            | PgType::Macaddr => string(param).map(|text| Self::Text(text.to_owned())),
            PgType::Bytea => match param {
                Param::Bytes(bytes) => Some(Self::Bytes(bytes.clone().into())),
                _ => None,
            },
            PgType::Uuid => match param {
                Param::Bytes(bytes) if bytes.len() == 16 => {
                    bytes.as_slice().try_into().ok().map(Self::Uuid)
                }
                _ => text::parse_uuid(string(param)?).map(Self::Uuid),
            },
            PgType::Date => {
                let micros = date_micros(param)?;
                i32::try_from(micros / text::MICROS_PER_DAY).ok().map(Self::Date)
            }
            PgType::Timestamp => date_micros(param).map(Self::Timestamp),
            PgType::TimestampTz => date_micros(param).map(Self::TimestampTz),
            PgType::Time => time_micros(param).map(Self::Time),
            PgType::TimeTz => {
                text::parse_timetz(string(param)?).map(|(micros, west)| Self::TimeTz(micros, west))
            }
            PgType::Interval
            | PgType::Json
            | PgType::Jsonb
            | PgType::Array(_)
            | PgType::Unsupported(_) => None,
        }
    }
}

fn whole(param: &Param) -> Option<i64> {
    match param {
        Param::Int(value) => Some(*value),
        Param::UInt(value) => i64::try_from(*value).ok(),
        _ => None,
    }
}

fn double(param: &Param) -> Option<f64> {
    match param {
        Param::Double(value) => Some(*value),
        Param::Float(value) => Some((*value).into()),
        _ => None,
    }
}

fn string(param: &Param) -> Option<&str> {
    match param {
        Param::Bytes(bytes) => str::from_utf8(bytes).ok(),
        _ => None,
    }
}

/// Microseconds since 2000-01-01.
fn date_micros(param: &Param) -> Option<i64> {
    let Param::Date(year, month, day, hour, minute, second, micro) = *param else { return None };
    let days = text::days_from_civil(year, month, day)?;
    let seconds = i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second);
    Some(i64::from(days) * text::MICROS_PER_DAY + seconds * 1_000_000 + i64::from(micro))
}

/// Microseconds since midnight; a negative time is none of PostgreSQL's.
fn time_micros(param: &Param) -> Option<i64> {
    let Param::Time(false, days, hour, minute, second, micro) = *param else { return None };
    let hours = i64::from(days) * 24 + i64::from(hour);
    let seconds = hours * 3600 + i64::from(minute) * 60 + i64::from(second);
    Some(seconds * 1_000_000 + i64::from(micro))
}
