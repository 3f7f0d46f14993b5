//! A field of PostgreSQL's, brought to the bytes it is compared by without a value in between.
//!
//! ```text
//! field ──texts, bytes, uuid, documents: copied──▶ normal form     as `decode`, then `push_normal`,
//!     └──everything else: decode ─▶ push_normal ──▶ normal form    would have it
//! ```
//!
//! Invariant: what comes out, and what is refused, is the same both ways; the short way is there
//! because a whole table goes through it.

use bytes::Bytes;

use super::mysql::check_length;
use super::normal::push;
use super::text;
use crate::value::{DecodeError, Flavor, PgType, TargetType, Unrepresentable};

/// Why a field has no normal form.
#[derive(Debug, PartialEq, Eq)]
pub enum RawError {
    Decode(DecodeError),
    Unrepresentable(Unrepresentable),
}

impl From<DecodeError> for RawError {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

impl From<Unrepresentable> for RawError {
    fn from(error: Unrepresentable) -> Self {
        Self::Unrepresentable(error)
    }
}

impl PgType {
    /// Appends the normal form of a field that is not NULL, as a column of type `target` holds it.
    pub fn push_normal(
        &self,
        field: &[u8],
        target: &TargetType,
        flavor: Flavor,
        out: &mut Vec<u8>,
    ) -> Result<(), RawError> {
        let rewritten = match target {
            TargetType::Json => flavor == Flavor::MySql,
            TargetType::Decimal { .. } | TargetType::Enum(_) => true,
            _ => false,
        };
        match self {
            _ if rewritten => self.push_decoded(field, target, flavor, out),
            Self::Text | Self::Bpchar | Self::Citext | Self::Name | Self::Enum(_) => {
                let text = self.utf8(field)?;
                let text = match target {
                    TargetType::Char { .. } => text.trim_end_matches(' '),
                    _ => text,
                };
                Ok(push_text(text, target, "text", out)?)
            }
            Self::Json => Ok(push_text(self.utf8(field)?, target, "json", out)?),
            Self::Jsonb => match field.split_first() {
                Some((1, text)) => Ok(push_text(self.utf8(text)?, target, "jsonb", out)?),
                _ => Err(DecodeError::Malformed(self.name()).into()),
            },
            Self::Bytea if !matches!(target, TargetType::VarBinary { .. }) => {
                push(b'B', field, out);
                Ok(())
            }
            Self::Uuid => self.push_uuid(field, target, flavor, out),
            _ => self.push_decoded(field, target, flavor, out),
        }
    }

    fn push_uuid(
        &self,
        field: &[u8],
        target: &TargetType,
        flavor: Flavor,
        out: &mut Vec<u8>,
    ) -> Result<(), RawError> {
        match (target, <&[u8; 16]>::try_from(field)) {
            (TargetType::UuidBinary, Ok(bytes)) => push(b'B', bytes, out),
            (TargetType::Uuid, Ok(bytes)) => push(b'B', &text::uuid_digits(bytes), out),
            _ => return self.push_decoded(field, target, flavor, out),
        }
        Ok(())
    }

    fn push_decoded(
        &self,
        field: &[u8],
        target: &TargetType,
        flavor: Flavor,
        out: &mut Vec<u8>,
    ) -> Result<(), RawError> {
        let value = self.decode(&Bytes::copy_from_slice(field))?;
        Ok(value.push_normal(target, flavor, out)?)
    }

    fn utf8<'a>(&self, field: &'a [u8]) -> Result<&'a str, DecodeError> {
        str::from_utf8(field).map_err(|_| DecodeError::Malformed(self.name()))
    }
}

fn push_text(
    text: &str,
    target: &TargetType,
    kind: &'static str,
    out: &mut Vec<u8>,
) -> Result<(), Unrepresentable> {
    check_length(text, target, kind)?;
    push(b'B', text.as_bytes(), out);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::tests::fixture_fields;

    /// Every type, short and long, for every target, on both products.
    #[test]
    fn both_ways_come_to_the_same() {
        let targets = [
            TargetType::Bool,
            TargetType::BigInt,
            TargetType::Double,
            TargetType::Decimal { precision: 10, scale: 2 },
            TargetType::VarChar { length: 8 },
            TargetType::VarChar { length: 100 },
            TargetType::Char { length: 4 },
            TargetType::LongText,
            TargetType::VarBinary { length: 3 },
            TargetType::LongBlob,
            TargetType::Uuid,
            TargetType::UuidBinary,
            TargetType::DateTime,
            TargetType::Json,
            TargetType::Enum(vec!["plain".to_owned()]),
            TargetType::CitextVarChar { length: 4 },
            TargetType::CitextLongText,
        ];
        let mut fields = fixture_fields();
        fields.push((PgType::Enum(vec!["plain".to_owned()]), Bytes::from_static(b"plain")));
        fields.push((PgType::Text, Bytes::from_static(b"\xff")));
        fields.push((PgType::Jsonb, Bytes::from_static(b"\x02{}")));
        fields.push((PgType::Uuid, Bytes::from_static(b"short")));
        for (pg_type, field) in fields {
            for target in &targets {
                for flavor in [Flavor::MariaDb, Flavor::MySql] {
                    let (mut short, mut long) = (Vec::new(), Vec::new());
                    let found = pg_type.push_normal(&field, target, flavor, &mut short);
                    let expected = pg_type.push_decoded(&field, target, flavor, &mut long);
                    let about = (pg_type.name(), target, flavor);
                    assert_eq!(found, expected, "{about:?}");
                    assert!(found.is_err() || short == long, "{about:?}");
                }
            }
        }
    }
}
