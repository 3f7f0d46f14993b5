//! The entries of a TRUNCATE: written by a statement of ours right after it, and never shown.
//!
//! ```text
//! TRUNCATE t ──▶ crossfade.truncated(…) ──(table, entry, LSN)──▶ buffer
//! ```
//!
//! In mode `strict` they are part of the transaction that the secondary holds. Otherwise the drain
//! carries them, as it does what came without an entry.

use std::sync::Arc;

use crate::capture::Emptied;
use crate::names::{EntryId, TableId};
use crate::plan::Truncate;
use crate::policy::Mode;
use crate::session::pending::Expect;
use crate::session::pipe::Pipe;
use crate::session::state::{Broken, State};
use crate::wire::{Body, Header};

impl State {
    /// The TRUNCATE whose entries come next.
    pub(super) fn truncating(&mut self) -> Option<Arc<Truncate>> {
        match self.pending.front()? {
            Expect::Entries(truncate) => Some(Arc::clone(truncate)),
            Expect::Query(query) => query.truncate(),
            _ => None,
        }
    }

    /// A DataRow with one entry.
    pub(super) fn entry(
        &mut self,
        truncate: &Truncate,
        pipe: &mut Pipe,
        header: Header,
    ) -> Result<bool, Broken> {
        if !pipe.is_whole(header) {
            return Ok(false);
        }
        let body = pipe.take(header);
        let [table, entry, lsn] = numbers(&body).ok_or(Broken::Unexpected('D'))?;
        let found = truncate.listed.iter().find(|listed| {
            listed.id.is_some_and(|id| i64::from(id.0) == table)
                && listed.policy.mode == Mode::Strict
        });
        if let Some(listed) = found {
            self.emptied.extend(listed.id);
            let (table, entry, lsn) = (Arc::clone(listed), EntryId(entry), lsn.unsigned_abs());
            self.buffer.emptied(Emptied { table, entry, lsn });
        }
        Ok(true)
    }

    /// All entries are here.
    pub(super) fn entered(&mut self, truncate: &Truncate) {
        let known: Vec<TableId> = std::mem::take(&mut self.emptied);
        let rest = truncate.listed.iter().filter(|t| t.id.is_none_or(|id| !known.contains(&id)));
        let rest: Vec<_> = rest.cloned().collect();
        if !rest.is_empty() {
            self.buffer.enter(&rest);
        }
    }
}

/// A row of three numbers, in text.
fn numbers(body: &[u8]) -> Option<[i64; 3]> {
    let mut parts = Body::new(body);
    let mut numbers = [0; 3];
    if usize::from(parts.u16()?) != numbers.len() {
        return None;
    }
    for number in &mut numbers {
        let length = usize::try_from(parts.i32()?).ok()?;
        *number = std::str::from_utf8(parts.take(length)?).ok()?.parse().ok()?;
    }
    Some(numbers)
}
