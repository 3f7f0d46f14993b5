//! What PostgreSQL said about a statement: the types of its parameters, and its columns.
//!
//! ```text
//! ParameterDescription, RowDescription ──▶ [`Described`], by [`Shape`], once a catalogue ──▶ table
//! text, types, search path ──[`Shape`]──▶ the same, for whoever has to answer instead of PostgreSQL
//! ```
//!
//! Invariant: within one fingerprint PostgreSQL's answer depends on the kinds of the literals, on the
//! parameter types that the client gave, and on the search path: all three are the [`Shape`]. So what
//! was said about one text is never taken for another's. Bounded by [`SHAPES_MAX`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::names::Oid;
use crate::sql::normal::{START, mix};
use crate::wire::Body;

/// Shapes kept of one statement; more are counted, and the client's own are passed on all the same.
pub const SHAPES_MAX: usize = 16;

/// What of a statement's execution its types depend on, beside its fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shape(u64);

impl Shape {
    /// `types` is what follows the text in Parse: a count and that many type OIDs, 0 for those that
    /// the client left open; empty for a query string.
    pub(in crate::plan) fn new(literals: u64, types: &[u8], path: u64) -> Self {
        let given = types.get(2..).unwrap_or_default();
        let open = given.rchunks_exact(4).take_while(|oid| **oid == [0; 4]).count();
        let given = &given[..given.len().saturating_sub(4 * open)];
        let hash = mix(mix(START, &literals.to_be_bytes()), &path.to_be_bytes());
        Self(mix(hash, given))
    }

    /// As it is written down.
    #[must_use]
    pub fn number(self) -> i64 {
        self.0.cast_signed()
    }
}

impl From<i64> for Shape {
    fn from(number: i64) -> Self {
        Self(number.cast_unsigned())
    }
}

/// PostgreSQL's description of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// `None` where nobody has asked for them.
    pub parameters: Option<Vec<Oid>>,
    /// `None` where it returns no rows.
    pub columns: Option<Vec<Column>>,
}

/// One column of RowDescription, but for its format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// The table and the column that it is, or 0.
    pub table: Oid,
    pub number: i16,
    pub type_oid: Oid,
    pub type_size: i16,
    pub type_modifier: i32,
}

/// Reads a ParameterDescription.
#[must_use]
pub fn parameters(body: &[u8]) -> Option<Vec<Oid>> {
    let mut parts = Body::new(body);
    let count = parts.u16()?;
    (0..count).map(|_| parts.i32().map(i32::cast_unsigned)).collect()
}

/// Reads the first columns of a RowDescription, without the last `ours`.
#[must_use]
pub fn columns(body: &[u8], ours: usize) -> Option<Vec<Column>> {
    let mut parts = Body::new(body);
    let count = usize::from(parts.u16()?).checked_sub(ours)?;
    (0..count).map(|_| column(&mut parts)).collect()
}

fn column(parts: &mut Body<'_>) -> Option<Column> {
    let name = std::str::from_utf8(parts.text()?).ok()?.to_owned();
    let (table, number) = (parts.i32()?.cast_unsigned(), parts.u16()?.cast_signed());
    let (type_oid, type_size) = (parts.i32()?.cast_unsigned(), parts.u16()?.cast_signed());
    let type_modifier = parts.i32()?;
    parts.u16()?;
    Some(Column { name, table, number, type_oid, type_size, type_modifier })
}

/// All that is known about one statement's shapes.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    known: Mutex<Vec<Known>>,
    /// Shape and catalogue of the last description, with and without parameters: what a statement of
    /// one shape costs is one of these comparisons.
    whole: AtomicU64,
    part: AtomicU64,
}

#[derive(Debug)]
struct Known {
    shape: Shape,
    /// 0 for what was read from the table: it may be of an older catalogue.
    catalog: u64,
    described: Arc<Described>,
    /// The table does not have it yet.
    news: bool,
}

impl Shapes {
    /// True where nothing is known about this shape under this catalogue, or not its parameters.
    pub(super) fn lack(&self, shape: Shape, catalog: u64, parameters: bool) -> bool {
        let mark = mark(shape, catalog);
        if self.whole.load(Ordering::Relaxed) == mark
            || !parameters && self.part.load(Ordering::Relaxed) == mark
        {
            return false;
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.iter().find(|known| known.shape == shape && known.catalog == catalog);
        match found.map(|known| known.described.parameters.is_some()) {
            Some(true) => self.whole.store(mark, Ordering::Relaxed),
            Some(false) if !parameters => self.part.store(mark, Ordering::Relaxed),
            // Over the bound: it would be turned away again.
            None if SHAPES_MAX <= known.len() => {
                return known.iter().any(|known| known.shape == shape);
            }
            _ => return true,
        }
        false
    }

    /// Takes a description; false where there are too many shapes already.
    pub(super) fn put(&self, shape: Shape, catalog: u64, mut described: Described) -> bool {
        let mut shapes = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = shapes.iter_mut().find(|known| known.shape == shape) else {
            if SHAPES_MAX <= shapes.len() {
                return false;
            }
            let described = Arc::new(described);
            shapes.push(Known { shape, catalog, described, news: true });
            return true;
        };
        if described.parameters.is_none() && described.columns == known.described.columns {
            described.parameters.clone_from(&known.described.parameters);
        }
        known.catalog = catalog;
        if *known.described != described {
            (known.described, known.news) = (Arc::new(described), true);
        }
        true
    }

    /// Takes what the table has, where nothing newer is known.
    pub(super) fn remember(&self, shape: Shape, described: &Arc<Described>) {
        let mut shapes = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if shapes.len() < SHAPES_MAX && shapes.iter().all(|known| known.shape != shape) {
            let described = Arc::clone(described);
            shapes.push(Known { shape, catalog: 0, described, news: false });
        }
    }

    pub(super) fn get(&self, shape: Shape) -> Option<Arc<Described>> {
        let shapes = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = shapes.iter().find(|known| known.shape == shape);
        found.map(|known| Arc::clone(&known.described))
    }

    /// What the table does not have yet.
    pub(super) fn news(&self) -> Vec<(Shape, Arc<Described>)> {
        let shapes = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let news = shapes.iter().filter(|known| known.news);
        news.map(|known| (known.shape, Arc::clone(&known.described))).collect()
    }

    /// The table has none of them any more.
    pub(super) fn untell(&self) {
        let mut shapes = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        shapes.iter_mut().for_each(|known| known.news = true);
    }

    /// The table has these now.
    pub(super) fn told(&self, told: &[(Shape, Arc<Described>)]) {
        let mut shapes = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for known in shapes.iter_mut() {
            let same = |(shape, described): &(Shape, Arc<Described>)| {
                *shape == known.shape && Arc::ptr_eq(described, &known.described)
            };
            known.news &= !told.iter().any(same);
        }
    }
}

/// Never 0, which stands for none.
fn mark(shape: Shape, catalog: u64) -> u64 {
    mix(shape.0, &catalog.to_be_bytes()) | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(parameters: Option<u32>, column: &str) -> Described {
        let column = Column {
            name: column.to_owned(),
            table: 0,
            number: 0,
            type_oid: 23,
            type_size: 4,
            type_modifier: -1,
        };
        Described { parameters: parameters.map(|oid| vec![oid]), columns: Some(vec![column]) }
    }

    #[test]
    fn types_that_a_client_left_open_are_no_types() {
        let shape = |types: &[u8]| Shape::new(1, types, 2);
        assert_eq!(shape(b""), shape(b"\0\0"));
        assert_eq!(shape(b"\0\0"), shape(b"\0\x01\0\0\0\0"));
        assert_eq!(shape(b"\0\x01\0\0\0\x17"), shape(b"\0\x02\0\0\0\x17\0\0\0\0"));
        assert_ne!(shape(b"\0\x01\0\0\0\x17"), shape(b"\0\x02\0\0\0\0\0\0\0\x17"));
        assert_ne!(shape(b""), Shape::new(3, b"", 2));
        assert_ne!(shape(b""), Shape::new(1, b"", 3));
    }

    #[test]
    fn a_statement_is_described_once_a_catalogue_and_its_parameters_are_kept() {
        let (shapes, shape) = (Shapes::default(), Shape(7));
        assert!(shapes.lack(shape, 1, false));
        assert!(shapes.put(shape, 1, described(None, "a")));
        assert!(!shapes.lack(shape, 1, false) && shapes.lack(shape, 1, true));
        assert!(shapes.put(shape, 1, described(Some(25), "a")));
        assert!(!shapes.lack(shape, 1, true) && !shapes.lack(shape, 1, false));
        assert!(shapes.lack(shape, 2, false), "the catalogue is another");
        shapes.told(&shapes.news());
        assert!(shapes.put(shape, 2, described(None, "a")));
        assert!(shapes.news().is_empty(), "nothing has changed");
        assert_eq!(shapes.get(shape).unwrap().parameters, Some(vec![25]));
        assert!(shapes.put(shape, 2, described(None, "b")));
        assert_eq!(shapes.news().len(), 1);
        assert_eq!(shapes.get(shape).unwrap().parameters, None, "of another statement, maybe");
    }

    #[test]
    fn shapes_past_the_bound_are_turned_away_and_not_asked_for_again() {
        let shapes = Shapes::default();
        for n in 0..SHAPES_MAX as u64 {
            assert!(shapes.put(Shape(n), 1, described(None, "a")));
        }
        let more = Shape(SHAPES_MAX as u64);
        assert!(!shapes.put(more, 1, described(None, "a")));
        assert!(!shapes.lack(more, 1, false));
        assert!(shapes.lack(Shape(0), 2, false), "one that has its place is renewed");
    }

    #[test]
    fn ours_are_cut_off_a_row_description() {
        let body = b"\0\x02id\0\0\0\x40\x01\0\x01\0\0\0\x17\0\x04\xff\xff\xff\xff\0\x01\
                     ours\0\0\0\0\0\0\0\0\0\0\x14\0\x08\xff\xff\xff\xff\0\0";
        assert_eq!(columns(body, 0).unwrap().len(), 2);
        let columns = columns(body, 1).unwrap();
        assert_eq!(columns.len(), 1);
        assert_eq!((&columns[0].name[..], columns[0].table, columns[0].number), ("id", 16385, 1));
        assert_eq!((columns[0].type_oid, columns[0].type_modifier), (23, -1));
        assert_eq!(super::columns(&body[..20], 0), None);
        assert_eq!(parameters(b"\0\x02\0\0\0\x17\0\0\0\x19"), Some(vec![23, 25]));
        assert_eq!(parameters(b"\0\x02\0\0\0\x17"), None);
    }
}
