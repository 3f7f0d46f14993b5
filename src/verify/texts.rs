//! SQL by which both servers write a value as text, for hashing there.
//!
//! ```text
//! column ─▶ (PostgreSQL's expression, MySQL's expression), or None: then the table is read whole
//! row    ─▶ secret · for each column: N, or length : text ─▶ SHA-256, in hex
//! ```
//!
//! Invariant: two texts are the same only where MySQL holds what would be written to it now. So only types
//! are taken of which this is plain: whole numbers, decimals with the column's own scale, booleans, text,
//! documents that are kept as text, uuid, bytes, and dates and times written out in full, with what MySQL
//! has no value for marked by a `!`. Left out are floating point, MySQL's own JSON, and what is text on
//! MySQL only (arrays, intervals, addresses): both write these each in its own way, and a common form would
//! be a guess. Texts that differ for equal values cost a look and do no harm.

use std::fmt;

use crate::backend::mysql::look::carried;
use crate::catalog::{Column, Table, TargetType};
use crate::names::{quote_mysql, quote_pg};
use crate::value::{Flavor, PgType};

/// Text of PostgreSQL, bytes of MySQL; NULL is NULL on both.
struct Texts {
    postgres: String,
    mysql: String,
}

/// A row's and a key's hash, as hex digits, on each server. PostgreSQL's table is called `t`.
pub(super) struct Hashes {
    pub(super) row: [String; 2],
    pub(super) key: [String; 2],
}

/// The names of columns that cannot be hashed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unhashable(pub(super) Vec<String>);

impl fmt::Display for Unhashable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no text is the same on both sides for {}", self.0.join(", "))
    }
}

impl Hashes {
    /// `secret` is of hex digits.
    pub(super) fn of(table: &Table, flavor: Flavor, secret: &str) -> Result<Self, Unhashable> {
        let columns: Vec<&Column> = carried(table).map(|(_, column)| column).collect();
        let unhashable = columns.iter().filter(|column| texts(column, flavor).is_none());
        let unhashable: Vec<String> = unhashable.map(|column| column.name.clone()).collect();
        if !unhashable.is_empty() {
            return Err(Unhashable(unhashable));
        }
        let hash = |columns: &mut dyn Iterator<Item = &Column>| {
            let (mut postgres, mut mysql) = (format!("'{secret}'"), format!("'{secret}'"));
            for (column, texts) in columns.filter_map(|c| Some((c, texts(c, flavor)?))) {
                let (p, m) = (quote_pg(&column.name), quote_mysql(&column.name));
                let Texts { postgres: text, mysql: bytes } = texts;
                // A text that is too long for MySQL is NULL there, and so is the hash. It must not be
                // taken for a NULL in the column; and PostgreSQL's hash never is NULL.
                postgres += &format!(
                    " || CASE WHEN t.{p} IS NULL THEN 'N' \
                     ELSE coalesce(pg_catalog.octet_length({text})::text || ':' || ({text}), '?') END"
                );
                mysql += &format!(", IF({m} IS NULL, 'N', CONCAT(LENGTH({bytes}), ':', {bytes}))");
            }
            let bytes = format!("pg_catalog.sha256(pg_catalog.convert_to({postgres}, 'UTF8'))");
            [format!("pg_catalog.encode({bytes}, 'hex')"), format!("SHA2(CONCAT({mysql}), 256)")]
        };
        let row = hash(&mut columns.into_iter());
        Ok(Self { row, key: hash(&mut table.key_columns()) })
    }
}

fn texts(column: &Column, flavor: Flavor) -> Option<Texts> {
    use TargetType as To;
    let (p, m) = (format!("t.{}", quote_pg(&column.name)), quote_mysql(&column.name));
    let written = format!("CAST(CAST({m} AS CHAR) AS BINARY)");
    let stored = format!("CAST({m} AS BINARY)");
    let hex = format!("CAST(LOWER(HEX({m})) AS BINARY)");
    let plain = format!("{p}::text");
    let (postgres, mysql) = match (&column.type_ref.pg_type, &column.target) {
        (PgType::Bool, To::Bool) => {
            (format!("CASE {p} WHEN true THEN '1' WHEN false THEN '0' END"), written)
        }
        (
            PgType::Int2 | PgType::Int4 | PgType::Int8 | PgType::Oid,
            To::SmallInt | To::Int | To::BigInt,
        )
        | (PgType::Enum(_), To::Enum(_))
        | (PgType::Date, To::Date) => (plain, written),
        (PgType::Numeric, To::Decimal { scale, .. })
            if column.precision.is_some_and(|(_, own)| i64::from(own) == i64::from(*scale)) =>
        {
            (plain, written)
        }
        (PgType::Text | PgType::Name, To::VarChar { .. } | To::LongText)
        | (PgType::Numeric, To::VarChar { .. } | To::LongText)
        | (
            PgType::Citext,
            To::CitextVarChar { .. } | To::CitextLongText | To::VarChar { .. } | To::LongText,
        )
        // Neither server counts the blanks at the end of a char(n), nor gives them out here.
        | (PgType::Bpchar, To::Char { .. })
        | (PgType::Json | PgType::Jsonb, To::LongText)
        | (PgType::Uuid, To::Uuid) => (plain, stored),
        (PgType::Json | PgType::Jsonb, To::Json) if flavor == Flavor::MariaDb => (plain, stored),
        (PgType::Uuid, To::UuidBinary) => (format!("pg_catalog.replace({p}::text, '-', '')"), hex),
        (PgType::Bytea, To::VarBinary { .. } | To::LongBlob) => {
            (format!("pg_catalog.encode({p}, 'hex')"), hex)
        }
        (PgType::Timestamp, To::DateTime) => (moment(&p), written),
        (PgType::TimestampTz, To::DateTime) => {
            (moment(&format!("({p} AT TIME ZONE 'UTC')")), written)
        }
        (PgType::Time, To::Time) => {
            (format!("pg_catalog.to_char({p}::interval, 'HH24:MI:SS.US')"), written)
        }
        _ => return None,
    };
    Some(Texts { postgres, mysql })
}

/// `to_char` says nothing of infinity, and not on which side of the year 1 a date is.
fn moment(p: &str) -> String {
    format!(
        "CASE WHEN {p} BETWEEN timestamp '0001-01-01' AND timestamp '9999-12-31 23:59:59.999999' \
         THEN pg_catalog.to_char({p}, 'YYYY-MM-DD HH24:MI:SS.US') ELSE '!' || {p}::text END"
    )
}
