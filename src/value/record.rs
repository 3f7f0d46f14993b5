//! Cuts the binary form of a record into its fields.
//!
//! ```text
//! i32 count · count × ( u32 type OID · i32 length (−1 for NULL) · bytes )
//! ```
//!
//! Invariant: every byte of the input belongs to exactly one field, or it is malformed.

use bytes::Bytes;

use crate::names::Oid;
use crate::value::DecodeError;

/// A field's type and its bytes; `None` is NULL.
pub type Field = (Oid, Option<Bytes>);

/// Reads what `record_send` wrote. The fields share the input's memory.
pub fn decode_record(raw: &Bytes) -> Result<Vec<Field>, DecodeError> {
    let mut reader = Reader::new(raw, "record");
    let count = usize::try_from(reader.i32()?).map_err(|_| DecodeError::Malformed("record"))?;
    // Each field takes eight bytes at least, so a count that lies cannot make us reserve much.
    let mut fields = Vec::with_capacity(count.min(raw.len() / 8));
    for _ in 0..count {
        let oid = reader.u32()?;
        let bytes = reader.sized()?.map(|part| raw.slice_ref(part));
        fields.push((oid, bytes));
    }
    reader.end()?;
    Ok(fields)
}

/// Reads big-endian numbers off the front of a slice; every read is checked.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    /// Names the type in the error.
    what: &'static str,
}

impl<'a> Reader<'a> {
    pub(super) fn new(rest: &'a [u8], what: &'static str) -> Self {
        Self { rest, what }
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or_else(|| self.malformed())?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.malformed())?;
        self.rest = rest;
        Ok(*head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn i16(&mut self) -> Result<i16, DecodeError> {
        self.array().map(i16::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, DecodeError> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, DecodeError> {
        self.array().map(i64::from_be_bytes)
    }

    /// A length and that many bytes; −1 stands for NULL.
    pub(super) fn sized(&mut self) -> Result<Option<&'a [u8]>, DecodeError> {
        match self.i32()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| self.malformed())?;
                self.take(length).map(Some)
            }
        }
    }

    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    pub(super) fn end(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.malformed()) }
    }

    pub(super) fn malformed(&self) -> DecodeError {
        DecodeError::Malformed(self.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `SELECT record_send(ROW(1, 'a'::text, NULL::int))` of PostgreSQL 15.
    const RECORD: &[u8] =
        b"\0\0\0\x03\0\0\0\x17\0\0\0\x04\0\0\0\x01\0\0\0\x19\0\0\0\x01a\0\0\0\x17\xff\xff\xff\xff";

    #[test]
    fn a_record_is_cut_into_types_and_bytes() {
        let fields = decode_record(&Bytes::from_static(RECORD)).unwrap();
        let expected: Vec<Field> = vec![
            (23, Some(Bytes::from_static(b"\0\0\0\x01"))),
            (25, Some(Bytes::from_static(b"a"))),
            (23, None),
        ];
        assert_eq!(fields, expected);
    }

    #[test]
    fn a_record_cut_short_anywhere_or_with_a_tail_is_malformed() {
        for end in 0..RECORD.len() {
            let cut = Bytes::from_static(&RECORD[..end]);
            assert_eq!(decode_record(&cut), Err(DecodeError::Malformed("record")), "at {end}");
        }
        let tail = Bytes::from([RECORD, b"x"].concat());
        assert_eq!(decode_record(&tail), Err(DecodeError::Malformed("record")));
        let lying = Bytes::from_static(b"\x7f\xff\xff\xff");
        assert_eq!(decode_record(&lying), Err(DecodeError::Malformed("record")));
    }
}
