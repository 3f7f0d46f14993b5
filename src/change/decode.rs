//! Keys and row images from the binary records that the primary returned.
//!
//! ```text
//! record_send(ROW(key))  ──Key::decode──────▶ values, and the hash that names the row in the fence
//! record_send(ROW(t.*))  ──RowImage::decode─▶ values in the order of Table::columns
//! ```
//!
//! Invariant: a record is read with the catalogue it was written under. Another number of columns
//! or another type is [`DecodeError::Stale`]: the image is dropped and the row read again.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::catalog::Column;
use crate::catalog::Table;
use crate::change::{Key, KeyHash, RowImage};
use crate::value::{DecodeError, Field, Value, decode_record};

impl RowImage {
    /// Reads `record_send(ROW(t.*))`.
    pub fn decode(raw: &Bytes, table: &Table) -> Result<Self, DecodeError> {
        let values = decode_fields(decode_record(raw)?, table.columns.iter())?;
        Ok(Self { values })
    }
}

impl Key {
    /// Reads `record_send(ROW(key columns))`, the columns in the order of [`Table::key`].
    pub fn decode(raw: Bytes, table: &Table) -> Result<Self, DecodeError> {
        let values = decode_fields(decode_record(&raw)?, table.key_columns())?;
        if values.is_empty() || values.iter().any(|value| matches!(value, Value::Null)) {
            return Err(DecodeError::Stale);
        }
        let hash = KeyHash::of(&values, table);
        Ok(Self { values, hash, raw })
    }
}

/// Reads `record_send(ROW(t.*))`, and the row's key with it, in the form the outbox has it.
pub fn decode_row(raw: &Bytes, table: &Table) -> Result<(Key, RowImage), DecodeError> {
    let fields = decode_record(raw)?;
    let mut key = Vec::with_capacity(64);
    let columns = i32::try_from(table.key.len()).map_err(|_| DecodeError::Stale)?;
    key.extend_from_slice(&columns.to_be_bytes());
    for at in &table.key {
        let Some((oid, Some(field))) = fields.get(*at) else { return Err(DecodeError::Stale) };
        let length = i32::try_from(field.len()).map_err(|_| DecodeError::Stale)?;
        key.extend_from_slice(&oid.to_be_bytes());
        key.extend_from_slice(&length.to_be_bytes());
        key.extend_from_slice(field);
    }
    let image = RowImage { values: decode_fields(fields, table.columns.iter())? };
    let values: Vec<Value> = table.key.iter().map(|at| image.values[*at].clone()).collect();
    let hash = KeyHash::of(&values, table);
    Ok((Key { values, hash, raw: key.into() }, image))
}

impl Key {
    /// From the values, as they were read from the secondary; `None` where one of them is NULL or of
    /// a type that cannot be written.
    #[must_use]
    pub fn encode(values: Vec<Value>, table: &Table) -> Option<Self> {
        let columns = values.iter().zip(table.key_columns());
        let fields: Vec<Vec<u8>> = columns
            .map(|(value, column)| value.encode(&column.type_ref.pg_type))
            .collect::<Option<_>>()?;
        let fields: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
        Self::from_fields(values, &fields, table)
    }

    /// From the values, and the same in PostgreSQL's binary form.
    #[must_use]
    pub fn from_fields(values: Vec<Value>, fields: &[&[u8]], table: &Table) -> Option<Self> {
        let mut raw = Vec::with_capacity(64);
        raw.extend_from_slice(&i32::try_from(fields.len()).ok()?.to_be_bytes());
        for (field, column) in fields.iter().zip(table.key_columns()) {
            raw.extend_from_slice(&column.type_ref.base_oid.to_be_bytes());
            raw.extend_from_slice(&i32::try_from(field.len()).ok()?.to_be_bytes());
            raw.extend_from_slice(field);
        }
        let hash = KeyHash::of(&values, table);
        Some(Self { values, hash, raw: raw.into() })
    }
}

impl KeyHash {
    /// Hashes the canonical form of a key's values, which are in the order of [`Table::key`].
    #[must_use]
    pub fn of(values: &[Value], table: &Table) -> Self {
        let mut canonical = Vec::with_capacity(64);
        for (value, column) in values.iter().zip(table.key_columns()) {
            value.push_canonical(&column.type_ref.pg_type, &mut canonical);
        }
        let digest = Sha256::digest(&canonical);
        let mut hash = [0; 16];
        hash.copy_from_slice(&digest[..16]);
        Self(hash)
    }
}

fn decode_fields<'a>(
    fields: Vec<Field>,
    columns: impl Iterator<Item = &'a Column>,
) -> Result<Vec<Value>, DecodeError> {
    let mut columns = columns;
    let mut values = Vec::with_capacity(fields.len());
    for (oid, bytes) in fields {
        let column = columns.next().ok_or(DecodeError::Stale)?;
        let expected = &column.type_ref;
        if oid != expected.oid && oid != expected.base_oid {
            return Err(DecodeError::Stale);
        }
        values.push(match bytes {
            None => Value::Null,
            Some(bytes) => expected.pg_type.decode(&bytes)?,
        });
    }
    if columns.next().is_some() { Err(DecodeError::Stale) } else { Ok(values) }
}
