//! Writes PostgreSQL's binary form of the types that keys are commonly made of: the inverse of
//! [`super::decode`].
//!
//! Invariant: what is encoded decodes to the same value; a type that is not written here is `None`.

use crate::value::{PgType, Value};

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
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

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
