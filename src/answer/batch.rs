//! What a client has said of a batch (the messages up to a Sync) of which no statement has begun: somebody
//! else can answer the rest of it.
//!
//! ```text
//! Parse, Bind, Describe ──answered by the old primary──┐ the primary changes
//!                                                      ▼
//!          statements are handed over; Bind is said again, its answer swallowed ──▶ Execute ──▶ the new one
//! ```
//!
//! Portals end with the transaction, so they are what is lost with the old primary; statements are not.
//!
//! Invariant: what is said again means what it meant: a batch that has prepared or closed a statement after
//! it had bound one, or of which not every Bind is kept, is not moved.

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::wire::{Body, write};

/// Longest Bind that is kept, and all of a batch together, in bytes.
pub(crate) const KEPT_BYTES_MAX: usize = 64 << 10;

/// The batch under way.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Tags and bodies of what makes and closes portals, in order.
    said: Vec<(u8, Bytes)>,
    bytes: usize,
    /// It cannot be said again.
    lost: bool,
    /// One of its statements was sent, or run.
    begun: bool,
}

impl Batch {
    /// A message of the client's has passed; `body`, where all of it is there and not too long to be kept.
    pub(crate) fn passed(&mut self, tag: u8, body: Option<Bytes>) {
        match tag {
            b'Q' | b'S' | b'F' => self.clear(),
            b'E' => self.begin(),
            b'P' => self.lost |= !self.said.is_empty(),
            b'C' if body.as_ref().is_none_or(|body| body.first() != Some(&b'P')) => {
                self.lost |= !self.said.is_empty();
            }
            b'B' | b'C' => match body {
                Some(body) if self.bytes + body.len() <= KEPT_BYTES_MAX => {
                    self.bytes += body.len();
                    self.said.push((tag, body));
                }
                _ => self.lost = true,
            },
            _ => {}
        }
    }

    fn begin(&mut self) {
        self.clear();
        self.begun = true;
    }

    fn clear(&mut self) {
        self.said.clear();
        (self.bytes, self.lost, self.begun) = (0, false, false);
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    pub(crate) fn is_movable(&self) -> bool {
        !self.begun && !self.lost
    }

    /// Whether the statement without a name was bound.
    pub(crate) fn binds_unnamed(&self) -> bool {
        let statement = |(tag, body): &(u8, Bytes)| {
            let mut parts = Body::new(body);
            *tag == b'B' && parts.text().is_some() && parts.text().is_some_and(<[u8]>::is_empty)
        };
        self.said.iter().any(statement)
    }

    /// The messages to be said again, and how many answers to them the client has, or will have had.
    pub(crate) fn take(&mut self) -> (BytesMut, usize) {
        let mut messages = BytesMut::new();
        for (tag, body) in &self.said {
            write::message(&mut messages, *tag, |out| out.put_slice(body));
        }
        let count = self.said.len();
        self.clear();
        (messages, count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(messages: &[(u8, &'static [u8])]) -> Batch {
        let mut batch = Batch::default();
        for (tag, body) in messages {
            batch.passed(*tag, Some(Bytes::from_static(body)));
        }
        batch
    }

    const BIND: (u8, &[u8]) = (b'B', b"\0s\0\0\0\0\0\0\0");

    #[test]
    fn portals_are_said_again_in_their_order() {
        let mut batch = batch(&[(b'P', b"s\0"), BIND, (b'C', b"P\0"), BIND, (b'D', b"P\0")]);
        assert!(batch.is_movable() && !batch.binds_unnamed());
        let (messages, count) = batch.take();
        let tags: Vec<u8> = messages.iter().copied().filter(|byte| b"BC".contains(byte)).collect();
        assert_eq!((&tags[..], count), (&b"BCB"[..], 3));
        assert_eq!(batch.take().1, 0, "once");
    }

    #[test]
    fn a_batch_is_not_moved_once_it_has_begun_or_its_words_would_mean_another_thing() {
        assert!(!batch(&[BIND, (b'E', b"\0\0\0\0\0")]).is_movable());
        assert!(!batch(&[BIND, (b'P', b"\0")]).is_movable());
        assert!(!batch(&[BIND, (b'C', b"Ss\0")]).is_movable());
        assert!(batch(&[(b'P', b"\0"), (b'P', b"\0"), BIND]).is_movable());
        let mut long = Batch::default();
        long.passed(b'B', None);
        assert!(!long.is_movable());
        long.passed(b'S', None);
        assert!(long.is_movable(), "the next one is another");
        assert!(batch(&[(b'B', b"\0\0\0\0\0\0\0\0")]).binds_unnamed());
    }
}
