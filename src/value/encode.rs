//! Writes PostgreSQL's binary form of the types that keys are commonly made of: the inverse of
//! [`super::decode`].
//!
//! Invariant: what is encoded decodes to the same value; a type that is not written here is `None`.

use super::network;
use crate::value::{Numeric, PgType, Value};

impl Value {
    /// The field as the type's `recv` reads it; `None` for NULL and for types that are not written.
    #[must_use]
    pub fn encode(&self, pg_type: &PgType) -> Option<Vec<u8>> {
        Some(match (self, pg_type) {
            (Self::Bool(value), PgType::Bool) => vec![u8::from(*value)],
            (Self::Int(value), PgType::Int2) => i16::try_from(*value).ok()?.to_be_bytes().into(),
            (Self::Int(value), PgType::Int4) => i32::try_from(*value).ok()?.to_be_bytes().into(),
            (Self::Int(value), PgType::Int8) => value.to_be_bytes().into(),
            (Self::Int(value), PgType::Oid) => u32::try_from(*value).ok()?.to_be_bytes().into(),
            (Self::Float4(value), PgType::Float4) => value.to_be_bytes().into(),
            (Self::Float8(value), PgType::Float8) => value.to_be_bytes().into(),
            (
                Self::Text(text),
                PgType::Text | PgType::Bpchar | PgType::Citext | PgType::Name | PgType::Enum(_),
            ) => text.as_bytes().into(),
            (Self::Bytes(bytes), PgType::Bytea) => bytes.to_vec(),
            (Self::Uuid(bytes), PgType::Uuid) => bytes.to_vec(),
            (Self::Date(days), PgType::Date) => days.to_be_bytes().into(),
            (Self::Time(micros), PgType::Time) => micros.to_be_bytes().into(),
            (Self::Timestamp(micros), PgType::Timestamp)
            | (Self::TimestampTz(micros), PgType::TimestampTz) => micros.to_be_bytes().into(),
            (Self::TimeTz(micros, west), PgType::TimeTz) => {
                [&micros.to_be_bytes()[..], &west.to_be_bytes()].concat()
            }
            (Self::Numeric(value), PgType::Numeric) => numeric(value)?,
            (Self::Text(text), PgType::Inet | PgType::Cidr) => {
                network::encode_address(text, *pg_type == PgType::Cidr)?
            }
            (Self::Text(text), PgType::Macaddr) => network::encode_macaddr(text)?,
            _ => return None,
        })
    }
}

/// Base-10000 digits around the point, without zeros at either end.
fn numeric(value: &Numeric) -> Option<Vec<u8>> {
    let text = match value {
        Numeric::Finite(text) => text,
        Numeric::NaN => return Some(header(0, 0, 0xC000, 0)),
        Numeric::PositiveInfinity => return Some(header(0, 0, 0xD000, 0x20)),
        Numeric::NegativeInfinity => return Some(header(0, 0, 0xF000, 0x20)),
    };
    let (sign, text) = text.strip_prefix('-').map_or((0, text.as_str()), |rest| (0x4000, rest));
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let groups = whole.len().div_ceil(4);
    let padded = format!(
        "{whole:0>left$}{decimals:0<right$}",
        left = groups * 4,
        right = decimals.len().div_ceil(4) * 4
    );
    let digits = padded.as_bytes().chunks(4).map(|group| str::from_utf8(group).ok()?.parse().ok());
    let digits: Vec<u16> = digits.collect::<Option<_>>()?;
    let first = digits.iter().position(|digit| *digit != 0);
    let last = digits.iter().rposition(|digit| *digit != 0);
    let scale = u16::try_from(decimals.len()).ok()?;
    let (Some(first), Some(last)) = (first, last) else { return Some(header(0, 0, 0, scale)) };
    let digits = &digits[first..=last];
    let weight = i16::try_from(groups).ok()? - 1 - i16::try_from(first).ok()?;
    let mut out = header(u16::try_from(digits.len()).ok()?, weight, sign, scale);
    out.extend(digits.iter().flat_map(|digit| digit.to_be_bytes()));
    Some(out)
}

fn header(count: u16, weight: i16, sign: u16, scale: u16) -> Vec<u8> {
    let [count, sign, scale] = [count, sign, scale].map(u16::to_be_bytes);
    [count, weight.to_be_bytes(), sign, scale].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    /// As PostgreSQL itself wrote them.
    #[test]
    fn fields_of_keys_come_out_as_they_came_in() {
        for (pg_type, field) in crate::value::tests::fixture_fields() {
            let value = pg_type.decode(&field).unwrap();
            if let Some(encoded) = value.encode(&pg_type) {
                assert!(encoded == field, "{}", pg_type.name());
            } else {
                let written = !matches!(pg_type, PgType::Numeric | PgType::Inet | PgType::TimeTz);
                assert!(written, "{}", pg_type.name());
            }
        }
    }

    #[test]
    fn what_is_encoded_decodes_to_the_same_value() {
        for (value, pg_type) in [
            (Value::Bool(true), PgType::Bool),
            (Value::Int(-7), PgType::Int2),
            (Value::Int(i32::MIN.into()), PgType::Int4),
            (Value::Int(i64::MAX), PgType::Int8),
            (Value::Int(u32::MAX.into()), PgType::Oid),
            (Value::Float4(-0.0), PgType::Float4),
            (Value::Float8(1e300), PgType::Float8),
            (Value::Text("é".to_owned()), PgType::Citext),
            (Value::Bytes(Bytes::from_static(&[0, 255])), PgType::Bytea),
            (Value::Uuid([9; 16]), PgType::Uuid),
            (Value::Date(-1), PgType::Date),
            (Value::Time(86_400_000_000), PgType::Time),
            (Value::Timestamp(-5), PgType::Timestamp),
            (Value::TimestampTz(5), PgType::TimestampTz),
        ] {
            let encoded = Bytes::from(value.encode(&pg_type).unwrap());
            assert!(pg_type.decode(&encoded).unwrap() == value, "{}", pg_type.name());
        }
        assert_eq!(Value::Int(70_000).encode(&PgType::Int2), None);
        assert_eq!(Value::Null.encode(&PgType::Int4), None);
    }
}
