//! Reads PostgreSQL's binary form of every carried type.
//!
//! ```text
//! bytes of one field ──PgType::decode──▶ Value
//! ```
//!
//! Invariant: what is decoded is all that the bytes say; bytes left over are an error.
//!
//! Text arrives in the session's client encoding, so a session of ours, and one whose images are
//! used, must have `client_encoding` UTF8.

use bytes::Bytes;

use super::network;
use super::record::Reader;
use super::text::MICROS_PER_DAY;
use crate::value::{Array, DecodeError, Numeric, PgType, Value};

/// PostgreSQL's own limit (MAXDIM).
const DIMENSIONS_MAX: usize = 6;

impl PgType {
    /// Decodes one field that is not NULL.
    pub fn decode(&self, raw: &Bytes) -> Result<Value, DecodeError> {
        let mut reader = Reader::new(raw, self.name());
        let value = match self {
            Self::Bool => Value::Bool(boolean(&mut reader)?),
            Self::Int2 => Value::Int(reader.i16()?.into()),
            Self::Int4 => Value::Int(reader.i32()?.into()),
            Self::Int8 => Value::Int(reader.i64()?),
            Self::Oid => Value::Int(reader.u32()?.into()),
            Self::Float4 => Value::Float4(f32::from_bits(reader.u32()?)),
            Self::Float8 => Value::Float8(f64::from_bits(reader.i64()?.cast_unsigned())),
            Self::Numeric => Value::Numeric(numeric(&mut reader)?),
            Self::Text | Self::Bpchar | Self::Citext | Self::Name | Self::Enum(_) => {
                Value::Text(text(&mut reader)?)
            }
            Self::Bytea => {
                reader.rest();
                Value::Bytes(raw.clone())
            }
            Self::Uuid => Value::Uuid(uuid(&mut reader)?),
            Self::Date => Value::Date(reader.i32()?),
            Self::Time => Value::Time(time_of_day(&mut reader)?),
            Self::TimeTz => Value::TimeTz(time_of_day(&mut reader)?, reader.i32()?),
            Self::Timestamp => Value::Timestamp(reader.i64()?),
            Self::TimestampTz => Value::TimestampTz(reader.i64()?),
            Self::Interval => {
                let (micros, days, months) = (reader.i64()?, reader.i32()?, reader.i32()?);
                Value::Interval { months, days, micros }
            }
            Self::Json => Value::Json(text(&mut reader)?),
            Self::Jsonb => match reader.u8()? {
                1 => Value::Jsonb(text(&mut reader)?),
                _ => return Err(reader.malformed()),
            },
            Self::Inet | Self::Cidr => Value::Text(network::address(&mut reader)?),
            Self::Macaddr => Value::Text(network::macaddr(reader.take(6)?)),
            Self::Array(element) => Value::Array(array(&mut reader, element, raw)?),
            Self::Unsupported(_) => return Err(reader.malformed()),
        };
        reader.end()?;
        Ok(value)
    }

    /// The type's name, for errors.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Bool => "boolean",
            Self::Int2 => "smallint",
            Self::Int4 => "integer",
            Self::Int8 => "bigint",
            Self::Oid => "oid",
            Self::Float4 => "real",
            Self::Float8 => "double precision",
            Self::Numeric => "numeric",
            Self::Text => "text",
            Self::Bpchar => "char",
            Self::Citext => "citext",
            Self::Name => "name",
            Self::Enum(_) => "enum",
            Self::Bytea => "bytea",
            Self::Uuid => "uuid",
            Self::Date => "date",
            Self::Time => "time",
            Self::TimeTz => "timetz",
            Self::Timestamp => "timestamp",
            Self::TimestampTz => "timestamptz",
            Self::Interval => "interval",
            Self::Json => "json",
            Self::Jsonb => "jsonb",
            Self::Inet => "inet",
            Self::Cidr => "cidr",
            Self::Macaddr => "macaddr",
            Self::Array(_) => "array",
            Self::Unsupported(_) => "unsupported type",
        }
    }
}

fn boolean(reader: &mut Reader<'_>) -> Result<bool, DecodeError> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(reader.malformed()),
    }
}

fn text(reader: &mut Reader<'_>) -> Result<String, DecodeError> {
    let bytes = reader.rest();
    str::from_utf8(bytes).map(str::to_owned).map_err(|_| reader.malformed())
}

/// Midnight to 24:00:00, both included.
fn time_of_day(reader: &mut Reader<'_>) -> Result<i64, DecodeError> {
    match reader.i64()? {
        micros @ 0..=MICROS_PER_DAY => Ok(micros),
        _ => Err(reader.malformed()),
    }
}

fn uuid(reader: &mut Reader<'_>) -> Result<[u8; 16], DecodeError> {
    let bytes = reader.take(16)?;
    bytes.try_into().map_err(|_| reader.malformed())
}

/// Base-10000 digits; `weight` is the power of 10000 of the first; `scale` counts decimal digits
/// after the point as PostgreSQL displays them.
fn numeric(reader: &mut Reader<'_>) -> Result<Numeric, DecodeError> {
    let (count, weight) = (reader.u16()?, i32::from(reader.i16()?));
    let (sign, scale) = (reader.u16()?, usize::from(reader.u16()?));
    let mut digits = Vec::with_capacity(usize::from(count).min(1024));
    for _ in 0..count {
        match reader.u16()? {
            digit @ 0..=9999 => digits.push(digit),
            _ => return Err(reader.malformed()),
        }
    }
    match sign {
        0x0000 => Ok(Numeric::Finite(decimal(&digits, weight, scale))),
        0x4000 => Ok(Numeric::Finite(format!("-{}", decimal(&digits, weight, scale)))),
        0xC000 => Ok(Numeric::NaN),
        0xD000 => Ok(Numeric::PositiveInfinity),
        0xF000 => Ok(Numeric::NegativeInfinity),
        _ => Err(reader.malformed()),
    }
}

fn decimal(digits: &[u16], weight: i32, scale: usize) -> String {
    // Group `at` counts from the first one before the point, downwards: 0 is the units.
    let group = |power: i32| {
        let at = usize::try_from(weight - power).ok();
        at.and_then(|at| digits.get(at)).copied().unwrap_or(0)
    };
    let mut text = String::new();
    for power in (0..=weight.max(0)).rev() {
        if text.is_empty() {
            if group(power) != 0 || power == 0 {
                text = group(power).to_string();
            }
        } else {
            text.push_str(&format!("{:04}", group(power)));
        }
    }
    if scale > 0 {
        text.push('.');
        let end = text.len() + scale;
        let mut power = -1;
        while text.len() < end {
            text.push_str(&format!("{:04}", group(power)));
            power -= 1;
        }
        text.truncate(end);
    }
    text
}

fn array(reader: &mut Reader<'_>, element: &PgType, raw: &Bytes) -> Result<Array, DecodeError> {
    let count = usize::try_from(reader.i32()?).map_err(|_| reader.malformed())?;
    if count > DIMENSIONS_MAX {
        return Err(reader.malformed());
    }
    let (_has_null, _element_oid) = (reader.i32()?, reader.u32()?);
    let mut dimensions = Vec::with_capacity(count);
    let mut total = usize::from(count > 0);
    for _ in 0..count {
        let (length, lower) = (reader.i32()?, reader.i32()?);
        let length_here = usize::try_from(length).map_err(|_| reader.malformed())?;
        total = total.checked_mul(length_here).ok_or_else(|| reader.malformed())?;
        dimensions.push((length, lower));
    }
    // Each element takes four bytes at least, so a length that lies cannot make us reserve much.
    let mut elements = Vec::with_capacity(total.min(raw.len() / 4));
    for _ in 0..total {
        elements.push(match reader.sized()? {
            None => Value::Null,
            Some(part) => element.decode(&raw.slice_ref(part))?,
        });
    }
    Ok(Array { dimensions, elements })
}
