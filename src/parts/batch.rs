//! A client's batch (up to a Sync, or a Query), and what of it may have to be said again to the other side.
//!
//! Invariant: what is said again is a text without parameters, or the client's own message under another name.

use std::sync::Arc;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::end::Side;
use super::router::Router;
use super::sort::Sorted;
use crate::names::Oid;
use crate::wire::{Body, write};

/// Prepared statements: name, text, declared types.
pub(super) type Statements = Vec<(String, Arc<str>, Vec<Oid>)>;

/// Statements in front of the first table of a transaction that can be said again, and their bytes.
const PRELUDE_MAX: usize = 32;
pub(super) const PRELUDE_BYTES_MAX: usize = 64 << 10;

/// What is said again to the other side.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) message: Bytes,
    pub(super) must: bool,
}

/// A prepared statement.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) sorted: Sorted,
    /// What follows the name in Parse.
    pub(super) rest: Bytes,
}

/// The batch that is being passed on.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) side: Side,
    /// It names a table.
    pub(super) sided: bool,
    /// What to say again in the same transaction elsewhere; `None` where that is not possible.
    pub(super) texts: Option<Vec<Bytes>>,
    pub(super) tells: Vec<Told>,
    pub(super) failed: bool,
    /// A text was too long to be kept.
    pub(super) too_long: bool,
    /// A Sync has closed it.
    pub(super) synced: bool,
}

impl Batch {
    pub(super) fn new(side: Side, sided: bool) -> Self {
        let (texts, tells) = (Some(Vec::new()), Vec::new());
        Self { side, sided, texts, tells, failed: false, too_long: false, synced: false }
    }
}

/// What has been said in a transaction so far, if all of it can be said again.
pub(super) fn prelude(before: Option<Vec<Bytes>>, texts: Option<Vec<Bytes>>) -> Option<Vec<Bytes>> {
    let mut all = before?;
    all.extend(texts?);
    let bytes: usize = all.iter().map(Bytes::len).sum();
    (all.len() <= PRELUDE_MAX && bytes <= PRELUDE_BYTES_MAX).then_some(all)
}

pub(super) fn text(parts: &mut Body<'_>) -> String {
    String::from_utf8_lossy(parts.text().unwrap_or_default()).into_owned()
}

pub(super) fn query(sql: &[u8]) -> Bytes {
    let mut message = BytesMut::new();
    write::query(&mut message, &String::from_utf8_lossy(sql));
    message.freeze()
}

/// `rest` is what follows the name.
pub(super) fn parsed(name: &[u8], rest: &[u8]) -> Bytes {
    let mut message = BytesMut::new();
    write::message(&mut message, b'P', |out| {
        out.put_slice(name);
        out.put_u8(0);
        out.put_slice(rest);
    });
    message.freeze()
}

pub(super) fn parse(name: &[u8], rest: &[u8]) -> Bytes {
    let mut message = BytesMut::from(&parsed(name, rest)[..]);
    write::empty(&mut message, b'S');
    message.freeze()
}

/// `bound` is what follows the names in Bind: formats, then parameters.
pub(super) fn has_no_parameters(mut bound: &[u8]) -> bool {
    let Ok(formats) = bound.try_get_u16() else { return false };
    let formats = usize::from(formats) * 2;
    bound.get(formats..formats + 2) == Some(&[0, 0])
}

/// The other side may not have what is given up.
pub(super) fn deallocates(sql: &str) -> bool {
    let first = sql.trim_start().get(..10);
    first.is_some_and(|word| word.eq_ignore_ascii_case("DEALLOCATE"))
}

impl Router {
    /// The client's statements that MySQL's side may be asked to run.
    pub(super) fn of_mysql(&self, mut all: Statements) -> Statements {
        all.retain(|(name, ..)| self.side_of_name(name) != Some(Side::Postgres));
        all
    }

    /// The client's statements, as the side has them that they are of.
    pub(super) fn statements(&self, first: Statements, second: Statements) -> Statements {
        let is_there =
            |name: &str| self.side_of_name(name).unwrap_or(self.answered_last()) == Side::MySql;
        let mut all: Statements = first.into_iter().filter(|(name, ..)| !is_there(name)).collect();
        all.extend(second.into_iter().filter(|(name, ..)| is_there(name)));
        all
    }

    fn side_of_name(&self, name: &str) -> Option<Side> {
        self.names.get(name.as_bytes())?.sorted.side
    }
}
