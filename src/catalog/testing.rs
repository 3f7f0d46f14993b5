//! A catalogue written as text, for tests and benches of the parts that only read one.
//!
//! ```text
//! Catalog::for_test(&[("users", "id:int4*,email:varchar(255),tags:text[]?")])
//! ```
//!
//! `*` marks a key column, `?` one that may be null; columns are NOT NULL otherwise. Tables get
//! `TableId`s from 1 in the order given, OIDs from 16384 in steps of 10, capture by RETURNING and
//! mode `blocking`. The search path is `public`.
//!
//! Invariant: the result is as `backend::postgres` would fill it in from a server.

use std::sync::Arc;
use std::time::Duration;

use crate::catalog::{Capture, Catalog, Column, Relation, RelationKind, Table, TargetType, map};
use crate::names::{Oid, TableId, TableName};
use crate::policy::{CaptureChoice, Mode, Policy, TypeChoices};
use crate::value::{PgType, TypeRef};

impl Catalog {
    /// Builds a catalogue from `(table, columns)`; panics at a type that it does not know, since
    /// that is a mistake in the test.
    #[must_use]
    pub fn for_test(tables: &[(&str, &str)]) -> Self {
        Self::for_test_choosing(tables, TypeChoices::default())
    }

    /// As [`Self::for_test`], with a `types:` section.
    #[must_use]
    pub fn for_test_choosing(tables: &[(&str, &str)], choices: TypeChoices) -> Self {
        let mut catalog = Self { version: 1, orders_by_bytes: true, ..Self::default() };
        for (at, (name, columns)) in (0..).zip(tables) {
            catalog.add(table(at, &TableName::parse(name), columns, choices));
        }
        catalog.search_paths.insert(String::new(), vec!["public".to_owned()]);
        catalog
    }

    fn add(&mut self, table: Table) {
        let relation = Relation {
            oid: table.oid,
            schema: table.name.schema().to_owned(),
            kind: RelationKind::Table,
        };
        self.relations.entry(table.name.name().to_owned()).or_default().push(relation);
        self.tables.insert(table.oid, Arc::new(table));
    }
}

fn table(at: i32, name: &TableName, columns: &str, choices: TypeChoices) -> Table {
    let (mut parsed, mut key) = (Vec::new(), Vec::new());
    for (number, text) in (1..).zip(split(columns)) {
        let bare = text.trim_end_matches(['*', '?']);
        if text.ends_with('*') {
            key.push(parsed.len());
        }
        parsed.push(column(number, bare, !text.ends_with('?')));
    }
    let mut table = Table {
        id: Some(TableId(at + 1)),
        oid: 16384 + 10 * at.unsigned_abs(),
        target: crate::catalog::naming::Naming::default().target(name),
        name: name.clone(),
        columns: parsed,
        key,
        uniques: Vec::new(),
        foreign_keys: Vec::new(),
        checks: Vec::new(),
        indexes: Vec::new(),
        comment: None,
        policy: Policy {
            mode: Mode::Blocking,
            timeout: Duration::from_secs(2),
            capture: CaptureChoice::Auto,
            outbox: true,
        },
        capture: Capture::Returning,
    };
    map::assign(&mut table, &[], choices);
    table
}

fn column(number: i16, text: &str, not_null: bool) -> Column {
    let (name, type_name) = text.split_once(':').expect("a column is written name:type");
    let (oid, pg_type) = type_of(type_name);
    let inside =
        |text: &str| text.split_once('(').map(|(_, end)| end.trim_end_matches(')').to_owned());
    let numbers: Vec<i32> = inside(type_name)
        .map(|list| list.split(',').filter_map(|number| number.trim().parse().ok()).collect())
        .unwrap_or_default();
    let is_text = matches!(pg_type, PgType::Text | PgType::Bpchar);
    Column {
        name: name.trim().to_owned(),
        number,
        type_ref: TypeRef { oid, base_oid: oid, pg_type },
        type_name: type_name.to_owned(),
        length: numbers.first().filter(|_| is_text).map(|length| length.unsigned_abs()),
        precision: match numbers[..] {
            [precision, scale] => Some((precision.unsigned_abs(), scale)),
            _ => None,
        },
        not_null,
        default: None,
        identity: false,
        serial: false,
        generated: None,
        domain_checks: Vec::new(),
        collation: None,
        nondeterministic: false,
        comment: None,
        target: TargetType::None,
    }
}

/// Knows `enum(a|b)` beside the built-in names; `[]` makes an array.
fn type_of(text: &str) -> (Oid, PgType) {
    if let Some(element) = text.strip_suffix("[]") {
        let (oid, kind) = type_of(element);
        let array = if oid == 25 { 1009 } else { oid + 100_000 };
        return (array, PgType::Array(Box::new(kind)));
    }
    let (name, rest) = text.split_once('(').unwrap_or((text, ""));
    match name {
        "enum" => {
            let labels = rest.trim_end_matches(')').split('|').map(str::to_owned).collect();
            (90_001, PgType::Enum(labels))
        }
        "citext" => (90_000, PgType::Citext),
        _ => {
            let (oid, kind) =
                PgType::named(name).unwrap_or_else(|| panic!("unknown type in a test: {name}"));
            (oid, kind)
        }
    }
}

/// Splits at commas outside parentheses.
fn split(columns: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_i32;
    columns
        .split(move |letter| {
            depth += i32::from(letter == '(') - i32::from(letter == ')');
            letter == ',' && depth == 0
        })
        .map(str::trim)
        .filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_read_with_types_keys_and_nullability() {
        let text = "id:int4*,name:varchar(20),price:numeric(12,2)?,tags:text[]";
        let catalog = Catalog::for_test(&[("a", "id:int4*"), ("auth.users", text)]);
        let table = catalog.by_id(TableId(2)).unwrap();
        assert_eq!((table.oid, table.target.as_str()), (16394, "auth_users"));
        assert_eq!(table.key, [0]);
        assert_eq!(table.columns[1].length, Some(20));
        assert_eq!(table.columns[2].precision, Some((12, 2)));
        assert!(!table.columns[2].not_null && table.columns[3].not_null);
        assert_eq!(table.columns[3].type_ref.oid, 1009);
    }
}
