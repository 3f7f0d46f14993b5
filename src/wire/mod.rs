//! PostgreSQL's frames: a tag, a length, a borrowed body; and the few messages we write ourselves.
//!
//! ```text
//! bytes ──[`header`]──▶ tag, length ──▶ forwarded as they are, or read with [`Body`]
//!                                       written with [`write`]
//! ```
//!
//! Invariant: a length is checked before it is believed, and no frame has to be held whole to be
//! passed on. Messages that must be understood in full and are rare are pgwire's types.

pub mod read;
pub mod write;

pub use read::Body;

/// Tag and length: the bytes in front of a body.
pub const HEADER: usize = 5;

/// Largest message that PostgreSQL takes: its allocations end at 1 GiB.
pub const MESSAGE_MAX: usize = 0x4000_0000;

/// A frame's tag, and the bytes it has in all, tag and length included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub tag: u8,
    pub size: usize,
}

/// The length is one that no message has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid message length")]
pub struct BadLength;

/// Reads the header at the start of `bytes`; `None` where there are too few.
///
/// # Errors
/// [`BadLength`] where the length lies.
#[inline]
pub fn header(bytes: &[u8]) -> Result<Option<Header>, BadLength> {
    let [tag, a, b, c, d, ..] = bytes else { return Ok(None) };
    let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
    if !(4..=MESSAGE_MAX).contains(&length) {
        return Err(BadLength);
    }
    Ok(Some(Header { tag: *tag, size: length + 1 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_that_lies_is_refused() {
        assert_eq!(header(b"Q\0\0\0\x04"), Ok(Some(Header { tag: b'Q', size: 5 })));
        assert_eq!(header(b"Q\0\0\0\x03"), Err(BadLength));
        assert_eq!(header(b"Q\xff\xff\xff\xff"), Err(BadLength));
        assert_eq!(header(b"Q\0\0\0"), Ok(None));
    }
}
