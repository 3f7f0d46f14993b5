//! The messages around a SCRAM exchange, on the side that asks for it.
//!
//! Invariant: a body is read whole or refused.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::fatal::message;

/// AuthenticationOk, and what asks the client for nothing.
pub(crate) const OK: u32 = 0;
pub(crate) const SASL: u32 = 10;
pub(crate) const SASL_CONTINUE: u32 = 11;
pub(crate) const SASL_FINAL: u32 = 12;

/// AuthenticationSASL, with the mechanisms that are offered.
pub(crate) fn sasl<'a>(mechanisms: impl Iterator<Item = &'a str>) -> BytesMut {
    message(b'R', |body| {
        body.put_u32(SASL);
        for name in mechanisms {
            body.put_slice(name.as_bytes());
            body.put_u8(0);
        }
        body.put_u8(0);
    })
}

/// An authentication message with its data.
pub(crate) fn authentication(code: u32, data: &[u8]) -> BytesMut {
    message(b'R', |body| {
        body.put_u32(code);
        body.put_slice(data);
    })
}

/// Mechanism and first message.
pub(crate) fn read_initial_response(body: &Bytes) -> Option<(String, Bytes)> {
    let end = body.iter().position(|byte| *byte == 0)?;
    let mechanism = String::from_utf8(body[..end].to_vec()).ok()?;
    let mut rest = body.slice(end + 1..);
    let length = usize::try_from(rest.try_get_u32().ok()?).ok()?;
    (rest.len() == length).then_some((mechanism, rest))
}
