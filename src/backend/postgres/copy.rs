//! Rows as `COPY … TO STDOUT (FORMAT binary)` sends them.
//!
//! ```text
//! PGCOPY\n\xff\r\n\0 · flags · extension · rows × ( i16 fields · fields × ( i32 length · bytes ) ) · −1
//! ```
//!
//! Invariant: at most one row, and what arrived with it, is held. Where messages end says nothing
//! about where rows do.

use std::ops::Range;
use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt as _;
use tokio_postgres::{Client, CopyOutStream};

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error(transparent)]
    Postgres(#[from] tokio_postgres::Error),
    #[error("malformed COPY data")]
    Malformed,
}

/// A COPY that is under way.
pub struct BinaryRows {
    stream: Pin<Box<CopyOutStream>>,
    /// What has arrived, from `at` on unread.
    chunk: Bytes,
    at: usize,
    headed: bool,
    fields: Vec<Option<Range<usize>>>,
}

impl std::fmt::Debug for BinaryRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BinaryRows")
    }
}

/// One row's fields, in place.
#[derive(Clone, Copy)]
pub struct RawRow<'a> {
    chunk: &'a Bytes,
    fields: &'a [Option<Range<usize>>],
}

impl std::fmt::Debug for RawRow<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RawRow")
    }
}

impl RawRow<'_> {
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The n-th field; `None` for NULL.
    #[must_use]
    pub fn get(&self, n: usize) -> Option<&[u8]> {
        self.fields.get(n)?.clone().map(|range| &self.chunk[range])
    }

    /// As [`Self::get`], sharing the memory.
    #[must_use]
    pub fn shared(&self, n: usize) -> Option<Bytes> {
        self.fields.get(n)?.clone().map(|range| self.chunk.slice(range))
    }
}

impl BinaryRows {
    /// `sql` is the whole statement.
    pub async fn open(client: &Client, sql: &str) -> Result<Self, CopyError> {
        let stream = Box::pin(client.copy_out(sql).await?);
        Ok(Self { stream, chunk: Bytes::new(), at: 0, headed: false, fields: Vec::new() })
    }

    /// The next row; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<RawRow<'_>>, CopyError> {
        loop {
            match cut(&self.chunk, self.at, self.headed, &mut self.fields)? {
                Cut::Row(end) => {
                    (self.at, self.headed) = (end, true);
                    return Ok(Some(RawRow { chunk: &self.chunk, fields: &self.fields }));
                }
                Cut::End => {
                    // The server says so in a message of its own as well.
                    while self.stream.try_next().await?.is_some() {}
                    return Ok(None);
                }
                Cut::More => {
                    let more = self.stream.try_next().await?.ok_or(CopyError::Malformed)?;
                    let rest = self.chunk.split_off(self.at);
                    self.chunk = if rest.is_empty() { more } else { joined(&rest, &more) };
                    self.at = 0;
                }
            }
        }
    }
}

fn joined(head: &[u8], tail: &[u8]) -> Bytes {
    let mut both = BytesMut::with_capacity(head.len() + tail.len());
    both.extend_from_slice(head);
    both.extend_from_slice(tail);
    both.freeze()
}

enum Cut {
    /// Where it ends.
    Row(usize),
    End,
    /// What there is ends within it.
    More,
}

/// Finds the fields of the row that begins at `at`, after the header where that was not `headed`.
fn cut(
    chunk: &[u8],
    mut at: usize,
    headed: bool,
    fields: &mut Vec<Option<Range<usize>>>,
) -> Result<Cut, CopyError> {
    if !headed {
        let Some(extension) = chunk.get(SIGNATURE.len() + 4..SIGNATURE.len() + 8) else {
            return Ok(Cut::More);
        };
        if !chunk.starts_with(SIGNATURE) || extension != [0; 4] {
            return Err(CopyError::Malformed);
        }
        at = SIGNATURE.len() + 8;
    }
    let Some((count, _)) = chunk[at..].split_first_chunk() else { return Ok(Cut::More) };
    let count = i16::from_be_bytes(*count);
    at += 2;
    fields.clear();
    if count == -1 {
        return Ok(Cut::End);
    }
    for _ in 0..count {
        let Some((length, rest)) = chunk[at..].split_first_chunk() else { return Ok(Cut::More) };
        at += 4;
        fields.push(match i32::from_be_bytes(*length) {
            -1 => None,
            length => {
                let length = usize::try_from(length).map_err(|_| CopyError::Malformed)?;
                if rest.len() < length {
                    return Ok(Cut::More);
                }
                at += length;
                Some(at - length..at)
            }
        });
    }
    if count < 0 { Err(CopyError::Malformed) } else { Ok(Cut::Row(at)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two rows: `a` and NULL; nothing and an empty text.
    const ROWS: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x02\0\0\0\x01a\xff\xff\xff\xff\
        \0\0\0\x01\0\0\0\0\xff\xff";

    #[test]
    fn rows_are_cut_wherever_what_arrived_ends() {
        let mut fields = Vec::new();
        let first = ROWS.iter().position(|byte| *byte == b'a').unwrap() + 5;
        for end in 0..first {
            let found = cut(&ROWS[..end], 0, false, &mut fields);
            assert!(matches!(found, Ok(Cut::More)), "at {end}");
        }
        assert!(matches!(cut(ROWS, 0, false, &mut fields), Ok(Cut::Row(at)) if at == first));
        assert_eq!(fields, [Some(first - 5..first - 4), None]);
        // A row of no fields, then one of one: not ours, but COPY's.
        assert!(matches!(cut(ROWS, first, true, &mut fields), Ok(Cut::Row(_))));
        assert!(matches!(cut(b"\xff\xff", 0, true, &mut fields), Ok(Cut::End)));
    }

    #[test]
    fn what_is_no_copy_is_malformed() {
        let mut fields = Vec::new();
        let header = [b'x'; 30];
        assert!(matches!(cut(&header, 0, false, &mut fields), Err(CopyError::Malformed)));
        for row in [&b"\xff\xfe"[..], b"\0\x01\xff\xff\xff\xfe"] {
            assert!(matches!(cut(row, 0, true, &mut fields), Err(CopyError::Malformed)));
        }
    }
}
