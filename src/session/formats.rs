//! The result formats of a Bind, with those of our columns.
//!
//! Invariant: what the client asked for its own columns stands as it was.

use bytes::{BufMut as _, BytesMut};

use crate::wire::{Body, write};

/// Writes a Bind with the result formats that our columns need; returns whether ours are binary.
pub(super) fn bind_formats(body: &[u8], returning: bool, added: usize, out: &mut BytesMut) -> bool {
    let Some(tail) = formats(body) else {
        // Malformed: the server will say so.
        write::message(out, b'B', |out| out.put_slice(body));
        return false;
    };
    let codes = &body[tail + 2..];
    let count = codes.len() / 2;
    if returning && count < 2 {
        write::message(out, b'B', |out| out.put_slice(body));
        return codes == [0, 1];
    }
    write::message(out, b'B', |out| {
        out.put_slice(&body[..tail]);
        if returning {
            out.put_u16(u16::try_from(count + added).unwrap_or(u16::MAX));
            out.put_slice(codes);
            (0..added).for_each(|_| out.put_u16(1));
        } else {
            out.put_slice(&[0, 1, 0, 1]);
        }
    });
    true
}

/// Where the count of result formats stands in a Bind's body.
fn formats(body: &[u8]) -> Option<usize> {
    let mut parts = Body::new(body);
    parts.text()?;
    parts.text()?;
    let codes = usize::from(parts.u16()?);
    parts.take(2 * codes)?;
    for _ in 0..parts.u16()? {
        let length = parts.i32()?;
        parts.take(usize::try_from(length).unwrap_or(0))?;
    }
    let tail = body.len() - parts.rest().len();
    let count = usize::from(parts.u16()?);
    (parts.rest().len() == 2 * count).then_some(tail)
}
