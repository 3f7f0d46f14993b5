//! One direction of a session: what has come, what may leave.
//!
//! ```text
//! socket ──fill──▶ input ┬─ scanned ─┬─ not yet looked at ─┐
//!                        ▼           ▼
//! socket ◀─drain── output, then input[..scanned]
//! ```
//!
//! Invariant: bytes leave in the order they came. What is passed on as it is leaves from the buffer
//! it was received into; only a message that is changed is copied. A message longer than the buffer
//! streams through: `skip` counts what is still to come of it.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};

use crate::backend::stream::{CHUNK, Stream};
use crate::wire::{self, BadLength, Header};

/// Bytes that may wait to leave before nothing more is read.
const BACKLOG_MAX: usize = 256 * 1024;
/// Largest read; reads grow up to it while they come back full.
const CHUNK_MAX: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Pipe {
    input: BytesMut,
    scanned: usize,
    skip: usize,
    /// Bytes still to come of a message that goes nowhere.
    lost: usize,
    /// Leaves before `input`.
    pub(super) output: BytesMut,
    /// What stands in `output` from here on, and all that follows, may not leave yet.
    held: Option<usize>,
    chunk: usize,
}

impl Pipe {
    /// Starts with what was already received.
    pub(super) fn new(received: BytesMut) -> Self {
        Self {
            input: received,
            scanned: 0,
            skip: 0,
            lost: 0,
            output: BytesMut::new(),
            held: None,
            chunk: CHUNK,
        }
    }

    /// What [`Self::poll_fill`] does, without a socket.
    #[cfg(test)]
    pub(super) fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// Bytes that may leave.
    pub(super) fn backlog(&self) -> usize {
        self.output.len() + self.scanned
    }

    /// True where something has come that was not looked at.
    pub(super) fn has_more(&self) -> bool {
        self.scanned < self.input.len()
    }

    /// Drops what was not looked at. False where it is the rest of a message whose start may have
    /// left: then nothing can follow it.
    pub(super) fn cut(&mut self) -> bool {
        self.settle();
        self.input.clear();
        self.skip == 0
    }

    /// What was not looked at, for somebody else to look at.
    pub(super) fn into_unread(mut self) -> BytesMut {
        let _left = self.input.split_to(self.scanned);
        self.input
    }

    pub(super) fn is_full(&self) -> bool {
        BACKLOG_MAX < self.backlog()
    }

    /// Reads once. Ready with `false` at the end of the stream.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
    ) -> Poll<io::Result<bool>> {
        let read = ready!(stream.poll_fill(cx, &mut self.input, self.chunk))?;
        self.chunk = if read < self.chunk { CHUNK } else { (self.chunk * 2).min(CHUNK_MAX) };
        Poll::Ready(Ok(0 < read))
    }

    /// Writes what may leave, as far as the stream takes it.
    pub(super) fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
    ) -> Poll<io::Result<()>> {
        while 0 < self.held.unwrap_or(self.output.len()) {
            let leaving = self.held.unwrap_or(self.output.len());
            let written = wrote(ready!(stream.poll_write(cx, &self.output[..leaving]))?)?;
            self.output.advance(written);
            self.held = self.held.map(|held| held - written);
        }
        if self.held.is_some() {
            return stream.poll_flush(cx);
        }
        if self.output.capacity() > 0 {
            self.output = BytesMut::new();
        }
        while 0 < self.scanned {
            let written = ready!(stream.poll_write(cx, &self.input[..self.scanned]))?;
            self.input.advance(wrote(written)?);
            self.scanned -= written;
        }
        stream.poll_flush(cx)
    }

    /// The header of the next message, once it is there.
    pub(super) fn next(&mut self) -> Result<Option<Header>, BadLength> {
        if 0 < self.skip {
            let passed = self.skip.min(self.input.len() - self.scanned);
            self.scanned += passed;
            self.skip -= passed;
            if 0 < self.skip {
                return Ok(None);
            }
        }
        if 0 < self.lost {
            // Nothing in front of it waits in `input`: see `lose`.
            let gone = self.lost.min(self.input.len());
            self.input.advance(gone);
            self.lost -= gone;
            if 0 < self.lost {
                return Ok(None);
            }
        }
        wire::header(&self.input[self.scanned..])
    }

    /// Passes the next message on as it is, whether or not all of it has come.
    pub(super) fn pass(&mut self, header: Header) {
        let there = self.input.len() - self.scanned;
        let passed = header.size.min(there);
        self.scanned += passed;
        self.skip = header.size - passed;
    }

    /// What has come of the next message's body.
    pub(super) fn body(&self, header: Header) -> &[u8] {
        let message = &self.input[self.scanned..];
        &message[wire::HEADER..header.size.min(message.len())]
    }

    /// True once all of the next message has come; otherwise makes room for it.
    pub(super) fn is_whole(&mut self, header: Header) -> bool {
        let missing = (self.scanned + header.size).saturating_sub(self.input.len());
        self.chunk = self.chunk.max(missing.min(CHUNK_MAX));
        missing == 0
    }

    /// Takes the next message out; it has to be whole. What stands before it moves to `output`.
    pub(super) fn take(&mut self, header: Header) -> BytesMut {
        self.settle();
        let mut message = self.input.split_to(header.size);
        message.advance(wire::HEADER);
        message
    }

    /// Drops the next message, whether or not all of it has come, without holding it.
    pub(super) fn lose(&mut self, header: Header) {
        self.settle();
        let gone = header.size.min(self.input.len());
        self.input.advance(gone);
        self.lost = header.size - gone;
    }

    /// Holds back what is written from now on; returns how much is held already.
    pub(super) fn hold(&mut self) -> usize {
        self.settle();
        self.output.len() - *self.held.get_or_insert(self.output.len())
    }

    /// Lets go what is held.
    pub(super) fn release(&mut self) {
        self.held = None;
    }

    /// Forgets what is held.
    pub(super) fn drop_held(&mut self) {
        if let Some(held) = self.held.take() {
            self.settle();
            self.output.truncate(held);
        }
    }

    /// Puts whole messages in front of those that were not looked at yet.
    pub(super) fn unread(&mut self, messages: &[u8]) {
        self.settle();
        let rest = self.input.split();
        self.input.extend_from_slice(messages);
        self.input.extend_from_slice(&rest);
    }

    /// Makes `output` the place to append to: all that may leave stands in it.
    pub(super) fn settle(&mut self) {
        if 0 < self.scanned {
            let passed = self.input.split_to(self.scanned);
            self.scanned = 0;
            if self.output.is_empty() {
                self.output = passed;
            } else {
                self.output.extend_from_slice(&passed);
            }
        }
    }
}

fn wrote(written: usize) -> io::Result<usize> {
    if written == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(written) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_is_changed_keeps_its_place() {
        let mut pipe = Pipe::new(BytesMut::from(&b"A\0\0\0\x04B\0\0\0\x05bC\0\0\0\x04"[..]));
        let a = pipe.next().unwrap().unwrap();
        pipe.pass(a);
        let b = pipe.next().unwrap().unwrap();
        assert!(pipe.is_whole(b));
        assert_eq!(&pipe.take(b)[..], b"b");
        pipe.output.extend_from_slice(b"X");
        let c = pipe.next().unwrap().unwrap();
        pipe.pass(c);
        assert_eq!(&pipe.output[..], b"A\0\0\0\x04X");
        assert_eq!(&pipe.input[..pipe.scanned], b"C\0\0\0\x04");
        assert_eq!(pipe.next(), Ok(None));
    }

    #[test]
    fn a_message_that_is_lost_is_not_held() {
        let mut pipe = Pipe::new(BytesMut::from(&b"A\0\0\0\x04d\0\0\0\x08ab"[..]));
        let a = pipe.next().unwrap().unwrap();
        pipe.pass(a);
        let lost = pipe.next().unwrap().unwrap();
        pipe.lose(lost);
        assert_eq!(pipe.next(), Ok(None));
        pipe.input.extend_from_slice(b"cdZ\0\0\0\x05I");
        assert_eq!(pipe.next().unwrap().unwrap().tag, b'Z');
        assert_eq!((&pipe.output[..], pipe.scanned), (&b"A\0\0\0\x04"[..], 0));
    }

    #[test]
    fn a_message_longer_than_what_has_come_streams_through() {
        let mut pipe = Pipe::new(BytesMut::from(&b"d\0\0\0\x08ab"[..]));
        let header = pipe.next().unwrap().unwrap();
        assert!(!pipe.is_whole(header));
        pipe.pass(header);
        assert_eq!((pipe.scanned, pipe.skip), (7, 2));
        pipe.input.extend_from_slice(b"cdZ\0\0\0\x05I");
        assert_eq!(pipe.next().unwrap().unwrap().tag, b'Z');
        assert_eq!(pipe.scanned, 9);
    }
}
