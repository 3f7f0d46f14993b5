//! An error that ends a connection, as PostgreSQL would say it.
//!
//! Invariant: a message holds names and numbers, never a password, a value or the text of a
//! statement.

use bytes::{BufMut, BytesMut};

use crate::wire::write;

/// An ErrorResponse of severity FATAL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fatal {
    code: &'static str,
    message: String,
    detail: Option<String>,
    hint: Option<&'static str>,
}

impl Fatal {
    #[must_use]
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), detail: None, hint: None }
    }

    /// Bytes that are not PostgreSQL's protocol.
    #[must_use]
    pub fn protocol(message: &str) -> Self {
        Self::new("08P01", message)
    }

    /// A whole sentence.
    #[must_use]
    pub fn detail(self, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }

    /// A whole sentence.
    #[must_use]
    pub fn hint(self, hint: &'static str) -> Self {
        Self { hint: Some(hint), ..self }
    }

    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }

    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The message as the client gets it.
    #[must_use]
    pub fn encode(&self) -> BytesMut {
        let detail = self.detail.as_deref().unwrap_or_default();
        let fields = [
            (b'S', "FATAL"),
            (b'V', "FATAL"),
            (b'C', self.code),
            (b'M', &self.message),
            (b'D', detail),
            (b'H', self.hint.unwrap_or_default()),
        ];
        let mut out = BytesMut::with_capacity(256);
        write::error_fields(&mut out, &fields);
        out
    }
}

/// Frames what `write` appends: tag, length, body.
pub(crate) fn message(tag: u8, write: impl FnOnce(&mut BytesMut)) -> BytesMut {
    let mut frame = BytesMut::with_capacity(256);
    frame.put_u8(tag);
    frame.put_u32(0);
    write(&mut frame);
    let length = u32::try_from(frame.len() - 1).unwrap_or(u32::MAX);
    frame[1..5].copy_from_slice(&length.to_be_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_those_of_postgresql() {
        let fatal = Fatal::new("53300", "sorry, too many clients already").hint("Wait.");
        assert_eq!(
            &fatal.encode()[..],
            b"E\0\0\0\x42SFATAL\0VFATAL\0C53300\0Msorry, too many clients already\0HWait.\0\0"
        );
    }
}
