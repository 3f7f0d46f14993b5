//! What PostgreSQL's catalogue says about the tables that are migrated, and how they look in MySQL.
//!
//! ```text
//! backend::postgres (queries) ──facts──▶ [`Catalog`] ──▶ plan, capture, apply, backfill, verify
//!                                            │
//!                                            ├──[`ddl`]───▶ CREATE TABLE … for MySQL
//!                                            └──[`check`]─▶ obstacles, with what to do
//! ```
//!
//! Invariant: a `Catalog` is immutable; a change of the schema makes a new one with a higher
//! version. Images are decoded with the very catalogue they were captured under, or dropped.

pub mod check;
pub mod choose;
pub mod ddl;
pub mod map;
pub mod naming;
pub mod testing;

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::names::{Oid, TableId, TableName};
use crate::policy::Policy;
use crate::value::TypeRef;

pub use crate::value::TargetType;

/// All tables of the database, as of one moment.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Catalog {
    /// Raised by each change of the schema that was noticed.
    pub version: u64,
    /// Root tables and plain tables by OID, captured or not.
    pub tables: HashMap<Oid, Arc<Table>>,
    /// Partitions and inheritance children, to their root.
    pub roots: HashMap<Oid, Oid>,
    /// Every relation name that exists, tables and views alike, so that a name that could mean two
    /// things is noticed.
    pub relations: HashMap<String, Vec<Relation>>,
    /// Views by OID, with the relations below them. A view that is not here may write any table.
    pub views: HashMap<Oid, Vec<Oid>>,
    /// `search_path` of a fresh session, by role name; the entry `""` is for every other role.
    /// `$user` is already resolved where it can be.
    pub search_paths: HashMap<String, Vec<String>>,
    /// The database's collation orders text by its bytes (C, C.UTF-8), as MySQL's binary ones do.
    pub orders_by_bytes: bool,
    /// The groups of proxy.yaml that have tables: names, and root tables by OID.
    #[serde(default)]
    pub groups: Vec<Group>,
    /// The databases lead different tables: this is what one of them sees of it ([`Catalog::without`]).
    #[serde(default)]
    pub parted: bool,
}

/// Tables that move together, and without the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    pub name: String,
    pub tables: Vec<Oid>,
}

/// One relation that a name may mean.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relation {
    pub oid: Oid,
    pub schema: String,
    pub kind: RelationKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RelationKind {
    Table,
    View,
    /// Foreign tables, materialized views, sequences, indexes.
    Other,
}

/// One table and its image in MySQL.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Table {
    /// `crossfade.tables.id`; `None` until `setup` has registered it.
    pub id: Option<TableId>,
    pub oid: Oid,
    pub name: TableName,
    /// The table's name in MySQL, unquoted.
    pub target: String,
    /// Live columns in `attnum` order: exactly those of `ROW(t.*)`.
    pub columns: Vec<Column>,
    /// Positions in `columns` of the primary key, in the key's order; empty if there is none.
    pub key: Vec<usize>,
    pub uniques: Vec<Unique>,
    pub foreign_keys: Vec<ForeignKey>,
    pub checks: Vec<CheckConstraint>,
    pub indexes: Vec<Index>,
    pub comment: Option<String>,
    pub policy: Policy,
    pub capture: Capture,
}

impl Table {
    pub fn key_columns(&self) -> impl Iterator<Item = &Column> {
        self.key.iter().map(|at| &self.columns[*at])
    }

    #[must_use]
    pub fn is_key(&self, position: usize) -> bool {
        self.key.contains(&position)
    }
}

/// How this table's writes are seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub enum Capture {
    /// By RETURNING, added to each statement.
    Returning,
    /// By a row trigger that `setup` has installed.
    Trigger,
    /// Not migrated (`mode: off`).
    Off,
    /// The other database leads it: nothing is done with it here.
    Elsewhere,
    /// Migration was asked for and is not possible: the reason is a metric label and an obstacle.
    Impossible(&'static str),
}

/// As it is kept: a reason that is only for people is not.
impl From<Capture> for String {
    fn from(capture: Capture) -> Self {
        match capture {
            Capture::Returning => "returning",
            Capture::Trigger => "trigger",
            Capture::Off => "off",
            Capture::Elsewhere => "elsewhere",
            Capture::Impossible(_) => "impossible",
        }
        .to_owned()
    }
}

impl<'de> Deserialize<'de> for Capture {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

impl From<String> for Capture {
    fn from(kept: String) -> Self {
        match kept.as_str() {
            "returning" => Self::Returning,
            "trigger" => Self::Trigger,
            "off" => Self::Off,
            "elsewhere" => Self::Elsewhere,
            _ => Self::Impossible("kept"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    pub name: String,
    /// `pg_attribute.attnum`.
    pub number: i16,
    pub type_ref: TypeRef,
    /// `format_type()`, for people: `character varying(255)`.
    pub type_name: String,
    /// Declared length of varchar(n) and char(n), in characters.
    pub length: Option<u32>,
    /// Declared precision and scale of numeric(p,s).
    pub precision: Option<(u32, i32)>,
    pub not_null: bool,
    /// `pg_get_expr` of the default, if any.
    pub default: Option<String>,
    pub identity: bool,
    /// Fed by a sequence (serial or identity): AUTO_INCREMENT where MySQL allows one.
    pub serial: bool,
    /// GENERATED ALWAYS AS (…) STORED: MySQL gets the value as a plain column.
    pub generated: Option<String>,
    /// CHECKs of the domains that the type is of: name and `pg_get_constraintdef`.
    pub domain_checks: Vec<CheckConstraint>,
    pub collation: Option<String>,
    /// Its collation takes strings for equal that are not the same.
    pub nondeterministic: bool,
    pub comment: Option<String>,
    /// The column in MySQL.
    pub target: TargetType,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unique {
    pub name: String,
    pub columns: Vec<usize>,
    pub deferrable: bool,
    /// UNIQUE NULLS NOT DISTINCT.
    pub nulls_not_distinct: bool,
    /// The WHERE of a partial unique index, or an index on expressions: text of PostgreSQL.
    pub predicate: Option<String>,
    pub expressions: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignKey {
    pub name: String,
    pub columns: Vec<usize>,
    pub references: Oid,
    /// Names of the referenced columns.
    pub referenced: Vec<String>,
    pub on_delete: Action,
    pub on_update: Action,
    pub deferrable: bool,
}

/// `pg_constraint.confdeltype` and `confupdtype`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    NoAction,
    Restrict,
    Cascade,
    SetNull,
    SetDefault,
}

impl Action {
    /// True where the action changes rows that the statement does not name.
    #[must_use]
    pub fn writes(self) -> bool {
        matches!(self, Self::Cascade | Self::SetNull | Self::SetDefault)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckConstraint {
    pub name: String,
    /// `pg_get_constraintdef`.
    pub definition: String,
}

/// A plain (not unique) index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    pub name: String,
    /// `None` for an expression.
    pub columns: Vec<Option<usize>>,
    /// The expressions in their order: text of PostgreSQL.
    pub expressions: Option<String>,
    /// DESC, by position.
    pub descending: Vec<bool>,
    pub predicate: Option<String>,
    /// `pg_get_indexdef`, for warnings.
    pub definition: String,
}

impl Catalog {
    /// The root table that `oid` is, or is a partition of.
    #[must_use]
    pub fn table(&self, oid: Oid) -> Option<&Arc<Table>> {
        self.tables.get(self.roots.get(&oid).unwrap_or(&oid))
    }

    /// A table and its partitions.
    #[must_use]
    pub fn parts(&self, oid: Oid) -> Vec<Oid> {
        let parts = self.roots.iter().filter(|(_, root)| **root == oid).map(|(part, _)| *part);
        std::iter::once(oid).chain(parts).collect()
    }

    #[must_use]
    pub fn by_id(&self, id: TableId) -> Option<&Arc<Table>> {
        self.tables.values().find(|table| table.id == Some(id))
    }

    #[must_use]
    pub fn by_name(&self, name: &TableName) -> Option<&Arc<Table>> {
        self.tables.values().find(|table| table.name == *name)
    }

    /// Tables whose writes are carried over.
    pub fn captured(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.tables
            .values()
            .filter(|table| matches!(table.capture, Capture::Returning | Capture::Trigger))
    }

    /// The same, and those that the other database leads, where this is what one of them sees.
    pub fn carried(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.tables.values().filter(|table| {
            matches!(table.capture, Capture::Returning | Capture::Trigger | Capture::Elsewhere)
        })
    }

    /// What a database sees that does not lead these tables: they are [`Capture::Elsewhere`].
    #[must_use]
    pub fn without(&self, elsewhere: impl Fn(&Table) -> bool) -> Self {
        let mut part = self.clone();
        part.parted = true;
        for table in part.tables.values_mut() {
            if elsewhere(table) {
                Arc::make_mut(table).capture = Capture::Elsewhere;
            }
        }
        part
    }

    #[must_use]
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// The group of a root table, by its place.
    #[must_use]
    pub fn group_of(&self, oid: Oid) -> Option<usize> {
        self.groups.iter().position(|group| group.tables.contains(&oid))
    }

    /// Tables with `outbox: false`: what is on its way to them is in memory only.
    #[must_use]
    pub fn loose(&self) -> Vec<TableName> {
        let loose =
            |table: &&Arc<Table>| table.capture == Capture::Returning && !table.policy.outbox;
        self.captured().filter(loose).map(|table| table.name.clone()).collect()
    }
}
