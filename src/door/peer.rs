//! One end of a login: a stream and what was read from it too early.
//!
//! Invariant: a message is read whole or not at all, and waiting for one can be given up at any
//! moment without losing bytes. A length over the caller's bound is refused before memory for it is.

use std::io;

use bytes::{Buf, Bytes, BytesMut};

use crate::backend::stream::Stream;

/// Tag and length.
const HEADER_BYTES: usize = 5;

#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) stream: Stream,
    pub(crate) buffer: BytesMut,
}

/// A message with its header.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) tag: u8,
    pub(crate) bytes: Bytes,
}

impl Frame {
    pub(crate) fn body(&self) -> Bytes {
        self.bytes.slice(HEADER_BYTES..)
    }
}

/// Why there is no message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    #[error("connection was closed")]
    Closed,
    #[error("connection failed")]
    Io(#[from] io::Error),
    #[error("invalid message length")]
    Length,
}

impl Peer {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// The next message, of at most `bytes_max` bytes.
    pub(crate) async fn frame(&mut self, bytes_max: usize) -> Result<Frame, PeerError> {
        Self::frame_of(&mut self.stream, &mut self.buffer, bytes_max).await
    }

    /// The next message of a stream whose buffer is elsewhere.
    pub(crate) async fn frame_of(
        stream: &mut Stream,
        buffer: &mut BytesMut,
        bytes_max: usize,
    ) -> Result<Frame, PeerError> {
        loop {
            if let Some(frame) = split(buffer, bytes_max)? {
                return Ok(frame);
            }
            if stream.fill(buffer).await? == 0 {
                return Err(PeerError::Closed);
            }
        }
    }

    /// The next message, if all of it is here already.
    pub(crate) fn buffered(&mut self, bytes_max: usize) -> Result<Option<Frame>, PeerError> {
        split(&mut self.buffer, bytes_max)
    }

    /// Gives a message back: it is for whoever reads next.
    pub(crate) fn unread(&mut self, frame: &Frame) {
        self.put_back(&frame.bytes);
    }

    /// Puts whole messages in front of what was not read yet.
    pub(crate) fn put_back(&mut self, messages: &[u8]) {
        let mut buffer = BytesMut::with_capacity(messages.len() + self.buffer.len());
        buffer.extend_from_slice(messages);
        buffer.extend_from_slice(&self.buffer);
        self.buffer = buffer;
    }

    /// What was read beyond the last message, without the memory around it.
    pub(crate) fn into_parts(mut self) -> (Stream, BytesMut) {
        let mut rest = BytesMut::new();
        if self.buffer.has_remaining() {
            rest.extend_from_slice(&self.buffer.split());
        }
        (self.stream, rest)
    }
}

/// Cuts the first message off, if all of it is there.
fn split(buffer: &mut BytesMut, bytes_max: usize) -> Result<Option<Frame>, PeerError> {
    let Some((tag, length)) = buffer.split_first_chunk::<1>() else { return Ok(None) };
    let tag = tag[0];
    let Some(length) = length.first_chunk::<4>() else { return Ok(None) };
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if !(4..=bytes_max).contains(&length) {
        return Err(PeerError::Length);
    }
    if buffer.len() < length + 1 {
        return Ok(None);
    }
    let bytes = buffer.split_to(length + 1).freeze();
    Ok(Some(Frame { tag, bytes }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::UnixStream;

    async fn read(bytes: &[u8]) -> Result<Vec<u8>, String> {
        let (near, mut far) = UnixStream::pair().unwrap();
        far.write_all(bytes).await.unwrap();
        drop(far);
        let mut peer = Peer::new(Stream::Unix(near));
        peer.frame(100).await.map(|frame| frame.bytes.to_vec()).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_message_is_read_whole_or_not_at_all() {
        assert_eq!(read(b"p\0\0\0\x05a!").await.unwrap(), b"p\0\0\0\x05a");
        assert_eq!(read(b"p\0\0\0\x05").await.unwrap_err(), "connection was closed");
        assert_eq!(read(b"p\0").await.unwrap_err(), "connection was closed");
    }

    #[tokio::test]
    async fn a_length_that_lies_is_refused_at_once() {
        for length in [0, 3, 101, u32::MAX] {
            let header = [&b"p"[..], &length.to_be_bytes()].concat();
            assert_eq!(read(&header).await.unwrap_err(), "invalid message length");
        }
    }
}
