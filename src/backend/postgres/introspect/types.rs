//! Column types: from `pg_type`'s rows to how a value is read and how long it may be.
//!
//! Invariant: a type that is not known to be carried is `Unsupported`, with its name; never a guess
//! by its looks.

use std::collections::HashMap;

use tokio_postgres::Row;

use crate::names::Oid;
use crate::value::{PgType, TypeRef};

/// Domains over domains over …; PostgreSQL has no limit, and nobody goes this deep.
const DEPTH_MAX: usize = 32;
/// `varchar` and `bpchar`.
const WITH_LENGTH: [Oid; 2] = [1042, 1043];
const NUMERIC: Oid = 1700;
/// PostgreSQL adds the size of a header to every modifier.
const MODIFIER_OFFSET: i32 = 4;

/// One row of `pg_type`.
struct Entry {
    name: String,
    base: Oid,
    modifier: i32,
    element: Oid,
    labels: Option<Vec<String>>,
    citext: bool,
}

/// All types in use, by OID.
pub(super) struct Types(HashMap<Oid, Entry>);

/// A column's type with its modifiers taken apart.
pub(super) struct Resolved {
    pub(super) type_ref: TypeRef,
    pub(super) length: Option<u32>,
    pub(super) precision: Option<(u32, i32)>,
}

impl Types {
    pub(super) fn read(rows: &[Row]) -> Self {
        let entry = |row: &Row| Entry {
            name: row.get(1),
            base: row.get(2),
            modifier: row.get(3),
            element: row.get(4),
            labels: row.get(5),
            citext: row.get(6),
        };
        Self(rows.iter().map(|row| (row.get(0), entry(row))).collect())
    }

    pub(super) fn resolve(&self, oid: Oid, modifier: i32) -> Resolved {
        let (base_oid, modifier) = self.base(oid, modifier);
        let pg_type = self.kind(base_oid, DEPTH_MAX);
        let length = (WITH_LENGTH.contains(&base_oid) && MODIFIER_OFFSET <= modifier)
            .then(|| (modifier - MODIFIER_OFFSET).unsigned_abs());
        let precision = (base_oid == NUMERIC && MODIFIER_OFFSET <= modifier)
            .then(|| numeric_modifier(modifier - MODIFIER_OFFSET));
        Resolved { type_ref: TypeRef { oid, base_oid, pg_type }, length, precision }
    }

    /// Follows a domain to its base; the domain nearest to the column that has a modifier decides.
    fn base(&self, mut oid: Oid, mut modifier: i32) -> (Oid, i32) {
        for _ in 0..DEPTH_MAX {
            match self.0.get(&oid) {
                Some(entry) if entry.base != 0 => {
                    oid = entry.base;
                    modifier = if modifier < 0 { entry.modifier } else { modifier };
                }
                _ => break,
            }
        }
        (oid, modifier)
    }

    fn kind(&self, oid: Oid, depth: usize) -> PgType {
        if let Some(kind) = PgType::builtin(oid) {
            return kind;
        }
        let Some(entry) = self.0.get(&oid) else { return PgType::Unsupported(oid.to_string()) };
        match entry {
            _ if depth == 0 => PgType::Unsupported(entry.name.clone()),
            Entry { base, .. } if *base != 0 => self.kind(*base, depth - 1),
            Entry { element, .. } if *element != 0 => {
                PgType::Array(Box::new(self.kind(*element, depth - 1)))
            }
            Entry { labels: Some(labels), .. } => PgType::Enum(labels.clone()),
            Entry { citext: true, name, .. } if name == "citext" => PgType::Citext,
            _ => PgType::Unsupported(entry.name.clone()),
        }
    }
}

/// Precision in the upper half; scale in eleven signed bits.
fn numeric_modifier(modifier: i32) -> (u32, i32) {
    let scale = ((modifier & 0x7ff) ^ 0x400) - 0x400;
    ((modifier >> 16 & 0xffff).unsigned_abs(), scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negative_scale_is_read() {
        assert_eq!(numeric_modifier((12 << 16) | 2), (12, 2));
        assert_eq!(numeric_modifier((5 << 16) | (-2 & 0x7ff)), (5, -2));
    }
}
