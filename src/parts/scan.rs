//! Reads ahead in what a client has said, to find out whose its next batch is.
//!
//! Invariant: nothing is taken out, and nothing is decided from a part of a message that may say otherwise.

use bytes::Bytes;

use super::batch::text;
use super::end::Side;
use super::router::{GARBLED, LOOK_BYTES, Router, STATEMENT_BYTES_MAX};
use super::sort::Sorted;
use crate::wire::{self, Body};

impl Router {
    /// The side of the first statement in the batch that has one; `None` inside where none has, and outside
    /// where too little has come to know.
    #[allow(clippy::option_option, reason = "two questions")]
    pub(super) fn wanted(&mut self) -> Result<Option<Option<Side>>, &'static str> {
        let mut at = 0;
        // A statement of the batch that is prepared in it.
        let mut prepared: Vec<(Bytes, Sorted)> = Vec::new();
        loop {
            let Some(header) = wire::header(&self.input[at..]).map_err(|_| GARBLED)? else {
                return Ok(None);
            };
            let there = header.size.min(self.input.len() - at);
            let whole = there == header.size;
            let body = &self.input[at + wire::HEADER..at + there];
            let mut parts = Body::new(body);
            let side = match header.tag {
                b'Q' | b'P' if !whole && STATEMENT_BYTES_MAX < header.size => {
                    return Err(self.too_large());
                }
                b'Q' | b'P' if !whole => return Ok(None),
                b'Q' => {
                    let sql = text(&mut parts);
                    return Ok(Some(self.sort(&sql).side));
                }
                b'P' => {
                    let name = Bytes::copy_from_slice(parts.text().unwrap_or_default());
                    let sql = text(&mut parts);
                    let sorted = self.sort(&sql);
                    prepared.push((name, sorted));
                    sorted.side
                }
                b'B' | b'D' | b'C' | b'E' if !whole && body.len() < LOOK_BYTES => return Ok(None),
                b'B' => {
                    let name = parts.text().and_then(|_| parts.text()).unwrap_or_default();
                    self.side_of(name, &prepared)
                }
                b'D' | b'C' if parts.byte() == Some(b'S') => {
                    self.side_of(parts.text().unwrap_or_default(), &prepared)
                }
                // Of a portal whose statement had none, or of one that is somewhere already.
                b'D' | b'C' | b'E' => None,
                b'S' | b'H' => return Ok(Some(None)),
                _ => return Ok(Some(Some(Side::Postgres))),
            };
            if side.is_some() {
                return Ok(Some(side));
            }
            if !whole {
                return Ok(None);
            }
            at += header.size;
        }
    }

    fn side_of(&self, name: &[u8], prepared: &[(Bytes, Sorted)]) -> Option<Side> {
        let here =
            prepared.iter().rev().find(|(known, _)| known == name).map(|(_, sorted)| *sorted);
        here.or_else(|| self.names.get(name).map(|named| named.sorted))?.side
    }
}
