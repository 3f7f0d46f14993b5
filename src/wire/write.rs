//! Writes the messages that Crossfade sends of its own.
//!
//! Invariant: each function appends one whole message whose length is right by construction.

use bytes::{BufMut as _, BytesMut};
use pgwire::messages::Message as _;
use pgwire::messages::response::ErrorResponse;

/// Appends a message: `body` writes what follows the length.
pub fn message(out: &mut BytesMut, tag: u8, body: impl FnOnce(&mut BytesMut)) {
    out.put_u8(tag);
    let start = out.len();
    out.put_u32(0);
    body(out);
    let length = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

fn text(out: &mut BytesMut, text: &[u8]) {
    out.put_slice(text);
    out.put_u8(0);
}

/// Query.
pub fn query(out: &mut BytesMut, sql: &str) {
    message(out, b'Q', |out| text(out, sql.as_bytes()));
}

/// Parse; `types` is what follows the query string: the count and the OIDs.
pub fn parse(out: &mut BytesMut, name: &[u8], sql: &str, types: &[u8]) {
    message(out, b'P', |out| {
        text(out, name);
        text(out, sql.as_bytes());
        out.put_slice(types);
    });
}

/// Bind without parameters; one result format for all columns.
pub fn bind(out: &mut BytesMut, portal: &[u8], statement: &[u8], format: u16) {
    message(out, b'B', |out| {
        text(out, portal);
        text(out, statement);
        out.put_u16(0);
        out.put_u16(0);
        out.put_u16(1);
        out.put_u16(format);
    });
}

/// Execute, all rows.
pub fn execute(out: &mut BytesMut, portal: &[u8]) {
    message(out, b'E', |out| {
        text(out, portal);
        out.put_u32(0);
    });
}

/// Describe a portal.
pub fn describe_portal(out: &mut BytesMut, portal: &[u8]) {
    message(out, b'D', |out| {
        out.put_u8(b'P');
        text(out, portal);
    });
}

/// Close a portal.
pub fn close_portal(out: &mut BytesMut, name: &[u8]) {
    message(out, b'C', |out| {
        out.put_u8(b'P');
        text(out, name);
    });
}

/// Close a statement.
pub fn close_statement(out: &mut BytesMut, name: &[u8]) {
    message(out, b'C', |out| {
        out.put_u8(b'S');
        text(out, name);
    });
}

/// A message without a body: Sync, Flush, NoData, …
pub fn empty(out: &mut BytesMut, tag: u8) {
    message(out, tag, |_| {});
}

/// CommandComplete.
pub fn command_complete(out: &mut BytesMut, tag: &[u8]) {
    message(out, b'C', |out| text(out, tag));
}

/// ReadyForQuery with its transaction status.
pub fn ready(out: &mut BytesMut, status: u8) {
    message(out, b'Z', |out| out.put_u8(status));
}

/// ErrorResponse in PostgreSQL's own form: severity (twice), SQLSTATE, message.
pub fn error(out: &mut BytesMut, severity: &str, code: &str, message: &str) {
    error_fields(out, &[(b'S', severity), (b'V', severity), (b'C', code), (b'M', message)]);
}

/// ErrorResponse with these fields; empty ones are left out.
pub fn error_fields(out: &mut BytesMut, fields: &[(u8, &str)]) {
    let fields = fields.iter().filter(|(_, text)| !text.is_empty());
    let fields = fields.map(|(field, text)| (*field, (*text).to_owned())).collect();
    let start = out.len();
    if ErrorResponse::new(fields).encode(out).is_err() {
        // Half a message would shift all that follow.
        out.truncate(start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_as_postgresql_writes_it() {
        let mut out = BytesMut::new();
        error(&mut out, "ERROR", "0A000", "no");
        assert_eq!(&out[..], b"E\0\0\0\x1eSERROR\0VERROR\0C0A000\0Mno\0\0");
    }

    #[test]
    fn a_message_carries_its_own_length() {
        let mut out = BytesMut::new();
        empty(&mut out, b'S');
        query(&mut out, "x");
        assert_eq!(&out[..], b"S\0\0\0\x04Q\0\0\0\x06x\0");
    }
}
