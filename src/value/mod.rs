//! One SQL value: from PostgreSQL's binary form, to MySQL's parameters, to a key's canonical form.
//!
//! ```text
//! record_send(ROW(t.*)) ──[`record`]──▶ Value ──[`mysql`]──▶ mysql_async::Value
//!                                         └────[`canonical`]──▶ bytes that are hashed into the fence
//! ```
//!
//! Invariant: nothing is approximated. A value that MySQL has no equal for is an
//! [`Unrepresentable`], never a neighbour of it.
//!
//! Binary forms are read, not text: they do not depend on the session's DateStyle, TimeZone,
//! IntervalStyle, bytea_output or extra_float_digits.

mod builtin;
mod canonical;
mod decode;
mod encode;
pub mod input;
mod json;
mod mysql;
mod network;
mod normal;
mod output;
mod raw;
mod record;
mod result;
mod show;
mod size;
pub mod style;
mod target;
mod text;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::names::Oid;

pub use builtin::{builtins, element_of};
pub use normal::{push_normal, take_normal};
pub use raw::RawError;
pub use record::{Field, decode_record};
pub use target::{Flavor, TargetType};

/// A value of a column, decoded.
///
/// `Debug` prints the kind and never the content: values are the users' secrets.
#[derive(Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    /// smallint, integer, bigint, oid.
    Int(i64),
    Float4(f32),
    Float8(f64),
    Numeric(Numeric),
    /// text, varchar, bpchar, citext, name, enum labels; and inet, cidr, macaddr in canonical text.
    Text(String),
    Bytes(Bytes),
    Uuid([u8; 16]),
    /// Days since 2000-01-01; `i32::MAX`/`i32::MIN` are ±infinity.
    Date(i32),
    /// Microseconds since midnight; 24:00:00 is legal.
    Time(i64),
    /// Microseconds since midnight, and seconds *west* of UTC.
    TimeTz(i64, i32),
    /// Microseconds since 2000-01-01 00:00, without a zone; `i64::MAX`/`i64::MIN` are ±infinity.
    Timestamp(i64),
    /// Microseconds since 2000-01-01 00:00 UTC; `i64::MAX`/`i64::MIN` are ±infinity.
    TimestampTz(i64),
    Interval {
        months: i32,
        days: i32,
        micros: i64,
    },
    Json(String),
    Jsonb(String),
    Array(Array),
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.kind())
    }
}

impl Value {
    /// The kind's name, for messages that must not hold the content.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Int(_) => "integer",
            Self::Float4(_) => "real",
            Self::Float8(_) => "double precision",
            Self::Numeric(_) => "numeric",
            Self::Text(_) => "text",
            Self::Bytes(_) => "bytea",
            Self::Uuid(_) => "uuid",
            Self::Date(_) => "date",
            Self::Time(_) => "time",
            Self::TimeTz(..) => "timetz",
            Self::Timestamp(_) => "timestamp",
            Self::TimestampTz(_) => "timestamptz",
            Self::Interval { .. } => "interval",
            Self::Json(_) => "json",
            Self::Jsonb(_) => "jsonb",
            Self::Array(_) => "array",
        }
    }
}

/// An exact decimal as PostgreSQL keeps it.
#[derive(Clone, PartialEq, Eq)]
pub enum Numeric {
    /// Plain decimal text (`-12.50`), with the display scale PostgreSQL had.
    Finite(String),
    NaN,
    PositiveInfinity,
    NegativeInfinity,
}

/// An array with its dimensions; elements in row-major order.
#[derive(Clone, PartialEq)]
pub struct Array {
    /// Length and lower bound of each dimension; empty for `'{}'`.
    pub dimensions: Vec<(i32, i32)>,
    pub elements: Vec<Value>,
}

/// How a column's binary form is read. Domains are resolved to their base type by the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PgType {
    Bool,
    Int2,
    Int4,
    Int8,
    Oid,
    Float4,
    Float8,
    Numeric,
    /// text and varchar.
    Text,
    /// char(n): comparison ignores trailing blanks.
    Bpchar,
    /// The citext extension: comparison ignores case.
    Citext,
    Name,
    /// An enum with its labels in PostgreSQL's order.
    Enum(Vec<String>),
    Bytea,
    Uuid,
    Date,
    Time,
    TimeTz,
    Timestamp,
    TimestampTz,
    Interval,
    Json,
    Jsonb,
    Inet,
    Cidr,
    Macaddr,
    Array(Box<Self>),
    /// Known to PostgreSQL, not carried: `check` names the column and the table is not captured.
    Unsupported(String),
}

impl PgType {
    /// Whether two values may be equal as keys and yet not the same.
    #[must_use]
    pub fn has_spellings(&self) -> bool {
        matches!(self, Self::Citext | Self::Numeric | Self::Float4 | Self::Float8)
    }
}

/// A column's type: what the record says (`oid`), and how it is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeRef {
    /// `pg_type.oid` as a record carries it. For a domain the record carries the domain's base type
    /// or the domain itself depending on the path; both are accepted.
    pub oid: Oid,
    /// The base type's OID where `oid` is a domain, else the same.
    pub base_oid: Oid,
    pub pg_type: PgType,
}

/// Why PostgreSQL's bytes could not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    /// The table is not as the catalogue has it: another number of columns or another type.
    #[error("row image does not fit the catalogue")]
    Stale,
    #[error("malformed binary {0}")]
    Malformed(&'static str),
}

/// MySQL has no value that means the same. No retry will help.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{kind} value has no equal in MySQL: {reason}")]
pub struct Unrepresentable {
    pub kind: &'static str,
    /// A fixed text, never content: `infinite`, `not a number`, `year past 9999`, …
    pub reason: &'static str,
}

#[cfg(test)]
mod tests;
