//! Cuts the columns that a rewrite added off a DataRow.
//!
//! ```text
//! [count][client's columns …][ours …]  ──▶  where the client's end, and a Row
//! ```
//!
//! Invariant: ours are the last columns, in the order of [`Capture::columns`], each in the one format
//! that holds for all of ours.

use std::sync::Arc;

use bytes::Bytes;

use crate::capture::Row;
use crate::change::Operation;
use crate::names::EntryId;
use crate::plan::{Added, Capture};

/// A row, taken apart.
#[derive(Debug)]
pub struct Cut {
    /// The number of columns that are the client's.
    pub columns: u16,
    /// Where they end in the payload.
    pub end: usize,
    pub row: Row,
}

/// The row is not as the rewrite must have made it.
#[derive(Debug, thiserror::Error)]
#[error("row of a captured statement is malformed")]
pub struct Malformed;

/// Takes the payload of a DataRow apart; `binary` is the format of our columns.
///
/// # Errors
/// [`Malformed`] where the payload does not hold our columns at its end.
pub fn cut(payload: &[u8], capture: &Arc<Capture>, binary: bool) -> Result<Cut, Malformed> {
    let count =
        u16::from_be_bytes(payload.get(..2).ok_or(Malformed)?.try_into().map_err(|_| Malformed)?);
    let columns = count.checked_sub(u16::try_from(capture.columns.len()).map_err(|_| Malformed)?);
    let columns = columns.ok_or(Malformed)?;
    let mut at = 2;
    for _ in 0..columns {
        let (_, next) = field(payload, at)?;
        at = next;
    }
    let end = at;
    let mut row = Row {
        capture: Arc::clone(capture),
        entry: None,
        lsn: 0,
        key: Bytes::new(),
        row: Bytes::new(),
        old: None,
        operation: capture.operation,
    };
    let mut old_entry = None;
    for added in capture.columns {
        let (value, next) = field(payload, at)?;
        at = next;
        let value = match (value, added) {
            (None, Added::OldEntry) => continue,
            (value, _) => value.ok_or(Malformed)?,
        };
        match added {
            Added::Entry => row.entry = Some(EntryId(integer(value, binary)?)),
            Added::Guard => {}
            Added::Lsn => {
                row.lsn = u64::try_from(integer(value, binary)?).map_err(|_| Malformed)?;
            }
            Added::Key => row.key = bytea(value, binary)?,
            Added::Row => row.row = bytea(value, binary)?,
            Added::OldEntry => old_entry = Some(EntryId(integer(value, binary)?)),
            Added::OldKey => row.old = Some((old_entry, bytea(value, binary)?)),
            Added::Operation => {
                let letter = value.first().copied().map(char::from).ok_or(Malformed)?;
                row.operation = Operation::from_letter(letter).ok_or(Malformed)?;
            }
        }
    }
    Ok(Cut { columns, end, row })
}

/// One column at `at`, and where the next begins.
fn field(payload: &[u8], at: usize) -> Result<(Option<&[u8]>, usize), Malformed> {
    let start = at + 4;
    let length = payload.get(at..start).ok_or(Malformed)?;
    let length = i32::from_be_bytes(length.try_into().map_err(|_| Malformed)?);
    let Ok(length) = usize::try_from(length) else { return Ok((None, start)) };
    let value = payload.get(start..start + length).ok_or(Malformed)?;
    Ok((Some(value), start + length))
}

fn integer(value: &[u8], binary: bool) -> Result<i64, Malformed> {
    if binary {
        return value.try_into().map(i64::from_be_bytes).map_err(|_| Malformed);
    }
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).ok_or(Malformed)
}

/// A bytea: raw in binary format; `\x…`, or the older escape form, in text.
fn bytea(value: &[u8], binary: bool) -> Result<Bytes, Malformed> {
    if binary {
        return Ok(Bytes::copy_from_slice(value));
    }
    if let Some(digits) = value.strip_prefix(b"\\x") {
        let pairs = digits.chunks(2).map(|pair| match pair {
            [high, low] => Some(hex(*high)? << 4 | hex(*low)?),
            _ => None,
        });
        return pairs.collect::<Option<Vec<u8>>>().map(Bytes::from).ok_or(Malformed);
    }
    unescape(value).map(Bytes::from).ok_or(Malformed)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// `\\` is a backslash, `\ooo` a byte in octal.
fn unescape(value: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((first, after)) = rest.split_first() {
        rest = match (first, after) {
            (b'\\', [b'\\', after @ ..]) => {
                bytes.push(b'\\');
                after
            }
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                after
            }
            (b'\\', _) => return None,
            (byte, after) => {
                bytes.push(*byte);
                after
            }
        };
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_output_form_of_bytea_is_read() {
        for (text, expected) in [
            (&b"\\x00fF"[..], &[0, 255][..]),
            (b"\\x", b""),
            (b"a\\\\b\\001\\377", b"a\\b\x01\xff"),
        ] {
            assert_eq!(bytea(text, false).unwrap(), expected);
        }
        assert!(bytea(b"\\x0", false).is_err());
        assert!(bytea(b"\\9", false).is_err());
    }
}
