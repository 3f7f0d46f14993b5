//! One column of MySQL: its type, its default, AUTO_INCREMENT, its comment.
//!
//! Invariant: a default is written only where MySQL would store exactly the value that PostgreSQL
//! would. Leaving one out is safe: every row that Crossfade writes carries every column.

use crate::catalog::ddl::{Flavor, quote_text};
use crate::catalog::{Column, Table, TargetType};
use crate::names::quote_mysql;
use crate::value::PgType;

/// MySQL's longest column comment, in characters.
pub(super) const COMMENT_CHARS_MAX: usize = 1024;

/// `name type [NOT NULL] [DEFAULT …] [AUTO_INCREMENT] [COMMENT …]`.
pub(super) fn definition(table: &Table, column: &Column, flavor: Flavor) -> String {
    let mut sql = format!("{} {}", quote_mysql(&column.name), type_name(&column.target, flavor));
    sql += if column.not_null { " NOT NULL" } else { " NULL" };
    if increments(table, column) {
        sql += " AUTO_INCREMENT";
    } else if let Some(default) = default(column) {
        sql += &format!(" DEFAULT {default}");
    }
    if let Some(comment) = &column.comment {
        let comment: String = comment.chars().take(COMMENT_CHARS_MAX).collect();
        sql += &format!(" COMMENT {}", quote_text(&comment));
    }
    sql
}

/// The type as CREATE TABLE has it.
#[must_use]
pub fn type_name(target: &TargetType, flavor: Flavor) -> String {
    let citext = match flavor {
        Flavor::MySql => "utf8mb4_0900_as_ci",
        Flavor::MariaDb => "uca1400_nopad_as_ci",
    };
    match target {
        TargetType::Bool => "tinyint(1)".to_owned(),
        TargetType::SmallInt => "smallint".to_owned(),
        TargetType::Int => "int".to_owned(),
        TargetType::BigInt => "bigint".to_owned(),
        TargetType::Double => "double".to_owned(),
        TargetType::Decimal { precision, scale } => format!("decimal({precision},{scale})"),
        TargetType::VarChar { length } => format!("varchar({length})"),
        TargetType::Char { length } => format!("char({length}) COLLATE utf8mb4_bin"),
        TargetType::LongText | TargetType::None => "longtext".to_owned(),
        TargetType::VarBinary { length } => format!("varbinary({length})"),
        TargetType::LongBlob => "longblob".to_owned(),
        TargetType::Uuid => "char(36) CHARACTER SET ascii COLLATE ascii_bin".to_owned(),
        TargetType::UuidBinary => "binary(16)".to_owned(),
        TargetType::Date => "date".to_owned(),
        TargetType::Time => "time(6)".to_owned(),
        TargetType::DateTime => "datetime(6)".to_owned(),
        TargetType::Json => "json".to_owned(),
        TargetType::Enum(labels) => {
            let labels: Vec<String> = labels.iter().map(|label| quote_text(label)).collect();
            format!("enum({})", labels.join(","))
        }
        TargetType::CitextVarChar { length } => format!("varchar({length}) COLLATE {citext}"),
        TargetType::CitextLongText => format!("longtext COLLATE {citext}"),
    }
}

/// MySQL wants the column to be the first of an index, and allows one a table.
pub(super) fn increments(table: &Table, column: &Column) -> bool {
    let integer =
        matches!(column.target, TargetType::SmallInt | TargetType::Int | TargetType::BigInt);
    let first = table.key.first().is_some_and(|at| table.columns[*at].name == column.name);
    column.serial && integer && first
}

/// The default, where it is a constant with an exact equal; and the time of day in UTC.
pub(super) fn default(column: &Column) -> Option<String> {
    let text = column.default.as_deref()?;
    let now = matches!(text, "now()" | "CURRENT_TIMESTAMP" | "transaction_timestamp()");
    match (&column.target, &column.type_ref.pg_type) {
        // A timestamp without a zone would depend on the session's.
        (TargetType::DateTime, PgType::TimestampTz) if now => Some("(UTC_TIMESTAMP(6))".to_owned()),
        (TargetType::Bool, _) => match text {
            "true" => Some("1".to_owned()),
            "false" => Some("0".to_owned()),
            _ => None,
        },
        (
            TargetType::SmallInt
            | TargetType::Int
            | TargetType::BigInt
            | TargetType::Double
            | TargetType::Decimal { .. },
            _,
        ) => number(text),
        (TargetType::Json, PgType::Array(_)) => {
            text.starts_with("'{}'::").then(|| "('[]')".to_owned())
        }
        (TargetType::Json | TargetType::LongText | TargetType::CitextLongText, kind) => {
            let plain =
                matches!(kind, PgType::Text | PgType::Citext | PgType::Json | PgType::Jsonb);
            // Parentheses make it an expression, in which MySQL misreads its own quotes (`literal`).
            let text =
                string(text).filter(|text| plain && !text.trim_matches('\'').contains('\''))?;
            Some(format!("({text})"))
        }
        (TargetType::VarChar { .. } | TargetType::CitextVarChar { .. }, kind) => {
            string(text).filter(|_| matches!(kind, PgType::Text | PgType::Citext))
        }
        (TargetType::Char { .. } | TargetType::Enum(_) | TargetType::Uuid, _) => string(text),
        _ => None,
    }
}

/// `5`, `'-5'::integer`, `0.5`, `(0)::numeric`.
fn number(text: &str) -> Option<String> {
    let bare = text.split("::").next().unwrap_or(text).trim_matches(['(', ')', '\'']);
    let digits = bare.strip_prefix('-').unwrap_or(bare);
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    (plain && digits.bytes().any(|byte| byte.is_ascii_digit())).then(|| bare.to_owned())
}

/// `'it''s'::text`; nothing with a backslash, and nothing but one literal.
fn string(text: &str) -> Option<String> {
    let rest = text.strip_prefix('\'')?;
    let end = end_of_literal(rest)?;
    let (literal, cast) = rest.split_at(end);
    let cast = &cast[1..];
    let plain_cast = cast.is_empty() || cast.starts_with("::") && !cast.contains(['\'', '+', '|']);
    (plain_cast && !literal.contains(['\\', '\0'])).then(|| format!("'{literal}'"))
}

/// Position of the quote that ends a literal; doubled quotes are part of it.
fn end_of_literal(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1)) {
            (b'\'', Some(b'\'')) => at += 2,
            (b'\'', _) => return Some(at),
            _ => at += 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;
    use crate::names::TableId;

    #[track_caller]
    fn check(type_name: &str, postgres: &str, mysql: &str) {
        let catalog = Catalog::for_test(&[("t", &format!("id:int4*,c:{type_name}?"))]);
        let mut column = catalog.by_id(TableId(1)).unwrap().columns[1].clone();
        column.default = Some(postgres.to_owned());
        assert_eq!(default(&column).as_deref().unwrap_or("none"), mysql);
    }

    #[test]
    fn constants_become_defaults() {
        check("int4", "5", "5");
        check("int4", "'-5'::integer", "-5");
        check("numeric(4,2)", "0.50", "0.50");
        check("bool", "true", "1");
        check("text", "'its'::text", "('its')");
        check("text", "''::text", "('')");
        check("varchar(9)", "'it''s'::character varying", "'it''s'");
        check("enum(on|off)", "'on'::public.state", "'on'");
        check("jsonb", "'{}'::jsonb", "('{}')");
        check("text[]", "'{}'::text[]", "('[]')");
        check("timestamptz", "now()", "(UTC_TIMESTAMP(6))");
    }

    #[test]
    fn everything_else_is_left_out() {
        check("uuid", "gen_random_uuid()", "none");
        check("timestamp", "now()", "none");
        check("text", "('a'::text || 'b'::text)", "none");
        check("text", "'a\\b'::text", "none");
        check("text", "'it''s'::text", "none");
        check("int4", "nextval('s'::regclass)", "none");
        check("timestamptz", "(now() + '1 day'::interval)", "none");
        check("text[]", "'{a}'::text[]", "none");
        check("numeric", "0.5", "none");
        check("int4", "(1 + 2)", "none");
    }
}
