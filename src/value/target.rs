//! What a value is written into: the server's kind and the column's type in MySQL.
//!
//! ```text
//! catalog ──TargetType──▶ [`mysql`](super::mysql) ◀──Flavor── backend::mysql (SELECT VERSION())
//! ```
//!
//! Invariant: a `TargetType` says all that decides how a value is written; no other property of the
//! column does.

use serde::{Deserialize, Serialize};

/// MySQL and MariaDB differ in how they keep JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flavor {
    MySql,
    MariaDb,
}

/// The MySQL type a column becomes; says how a [`Value`](crate::value::Value) is written to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TargetType {
    /// tinyint(1)
    Bool,
    SmallInt,
    Int,
    BigInt,
    Double,
    /// decimal(p,s), p ≤ 65, s ≤ 30
    Decimal {
        precision: u32,
        scale: u32,
    },
    /// varchar(n), NO PAD binary collation; also numeric without a scale, intervals, timetz, inet
    VarChar {
        length: u32,
    },
    /// char(n) PAD SPACE binary collation
    Char {
        length: u32,
    },
    LongText,
    VarBinary {
        length: u32,
    },
    LongBlob,
    /// char(36) ascii
    Uuid,
    /// binary(16)
    UuidBinary,
    Date,
    Time,
    DateTime,
    /// json on MySQL, longtext with a check on MariaDB
    Json,
    Enum(Vec<String>),
    /// varchar(n), case-insensitive, accent-sensitive
    CitextVarChar {
        length: u32,
    },
    /// longtext, case-insensitive, accent-sensitive
    CitextLongText,
    /// Not carried.
    None,
}
