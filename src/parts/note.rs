//! What of a client's batch has to be known later: statements, portals, and what is to be said again elsewhere.
//!
//! ```text
//! a message that is passed on ──[`Router::note`]──▶ names, portals │ [`Told`]: for the other side, after it
//! ```
//!
//! Invariant: only what both have to know is kept, and of a transaction's beginning what can be said again.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::batch::{
    Named, PRELUDE_BYTES_MAX, Told, deallocates, has_no_parameters, parse, parsed, query, text,
};
use super::end::Side;
use super::router::{Router, UNLIKE};
use crate::wire::{Body, write};

/// As pools send it between two clients of theirs.
const DISCARD_ALL: &[u8] = b"DISCARD ALL";

impl Router {
    /// Remembers what a message of the batch does.
    pub(super) fn note(&mut self, tag: u8, body: &[u8], whole: bool) {
        let mut parts = Body::new(body);
        match tag {
            b'Q' => {
                let sql = text(&mut parts);
                let sets = self.sort(&sql).sets;
                let Some(batch) = &mut self.batch else { return };
                if sets {
                    batch
                        .tells
                        .push(Told { message: query(sql.as_bytes()), must: !deallocates(&sql) });
                }
                batch.too_long |= PRELUDE_BYTES_MAX < sql.len();
                match &mut batch.texts {
                    Some(texts) if !batch.too_long => texts.push(Bytes::from(sql.into_bytes())),
                    texts => *texts = None,
                }
            }
            b'P' => {
                let name = Bytes::copy_from_slice(parts.text().unwrap_or_default());
                let rest = Bytes::copy_from_slice(parts.rest());
                let sql = text(&mut parts);
                let named = Named { sorted: self.sort(&sql), rest };
                if named.sorted.side.is_none() && !name.is_empty() {
                    // Either may be asked to run it.
                    let message = parse(&name, &named.rest);
                    self.tell(Told { message, must: false });
                }
                self.names.insert(name, named);
            }
            b'B' => {
                let portal = Bytes::copy_from_slice(parts.text().unwrap_or_default());
                let name = Bytes::copy_from_slice(parts.text().unwrap_or_default());
                // What is long was not said to be repeated, unless both have to know it.
                let sets = self.names.get(&name).is_some_and(|named| named.sorted.sets);
                let kept = whole && (sets || parts.rest().len() <= PRELUDE_BYTES_MAX);
                let rest = if kept { Bytes::copy_from_slice(parts.rest()) } else { Bytes::new() };
                self.portals.insert(portal, (name, rest));
            }
            b'E' => self.executes(parts.text().unwrap_or_default()),
            b'C' if parts.byte() == Some(b'S') => {
                let name = parts.text().unwrap_or_default();
                let known = self.names.remove(name).and_then(|named| named.sorted.side);
                if known == Some(Side::Postgres) {
                    // MySQL's was never told of it.
                    return;
                }
                let mut message = BytesMut::new();
                write::close_statement(&mut message, name);
                write::empty(&mut message, b'S');
                self.tell(Told { message: message.freeze(), must: false });
            }
            _ => {}
        }
    }

    /// The transaction is over: what it has set and prepared is due for the other side.
    pub(super) fn carry(&mut self, undone: bool) -> Result<(), &'static str> {
        let held = std::mem::take(&mut self.held);
        // Which of its settings a savepoint has taken back is not known here.
        let gone_back = std::mem::take(&mut self.gone_back) && !undone;
        if gone_back && held.iter().any(|told| told.must) {
            return Err(UNLIKE);
        }
        // Statements stay prepared whatever becomes of the transaction.
        for told in held.into_iter().filter(|told| !told.must || !undone) {
            if told.message == query(DISCARD_ALL) {
                // Nothing is left of what was set or prepared before.
                self.due.clear();
            }
            self.due.push(told);
        }
        Ok(())
    }

    fn tell(&mut self, told: Told) {
        if let Some(batch) = &mut self.batch {
            batch.tells.push(told);
        }
    }

    /// A portal is run: what it does may have to be said again elsewhere.
    fn executes(&mut self, portal: &[u8]) {
        let Some((name, bound)) = self.portals.get(portal).cloned() else { return };
        let Some(Named { sorted, rest }) = self.names.get(&name).cloned() else { return };
        let Some(batch) = &mut self.batch else { return };
        let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
        if sorted.sets {
            let mut message = BytesMut::new();
            message.extend_from_slice(&parsed(b"", &rest));
            write::message(&mut message, b'B', |out| {
                out.put_slice(&[0, 0]);
                out.put_slice(&bound);
            });
            write::execute(&mut message, b"");
            write::empty(&mut message, b'S');
            let must = !deallocates(&String::from_utf8_lossy(&rest[..end]));
            batch.tells.push(Told { message: message.freeze(), must });
        }
        match &mut batch.texts {
            Some(texts) if has_no_parameters(&bound) => texts.push(rest.slice(..end)),
            texts => *texts = None,
        }
    }
}
