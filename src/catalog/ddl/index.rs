//! Unique constraints and indexes of MySQL, and the hidden columns that some of them need.
//!
//! ```text
//! UNIQUE (a, b)                    ──▶ UNIQUE KEY (a, b)
//! … on long text                   ──▶ hidden column SHA2(text), in the text's place
//! … WHERE predicate                ──▶ hidden column CASE WHEN predicate THEN 1 END, added
//! … NULLS NOT DISTINCT             ──▶ hidden columns in which NULL is a value
//! … (lower(email))                 ──▶ hidden column SHA2(LOWER(email))
//! INDEX (lower(email))             ──▶ hidden column LOWER(email)
//! ```
//!
//! Hidden columns are generated, virtual (a stored one could not be under a foreign key that
//! cascades) and invisible. The index keeps PostgreSQL's name, since errors name it.
//!
//! Invariant: an index here never refuses rows that PostgreSQL accepts, but for letters that MySQL
//! takes for equal where case is ignored (warned of). Where that cannot be had the constraint is
//! left out with a warning: PostgreSQL enforces it while it is the primary.

use crate::catalog::ddl::expression::{Typed, split_list, translate, translate_typed};
use crate::catalog::ddl::shape::MARK;
use crate::catalog::map::{KEY_BYTES_MAX, index_bytes};
use crate::catalog::naming::shorten;
use crate::catalog::{Column, Index, Table, TargetType, Unique};
use crate::names::quote_mysql;
use crate::value::PgType;

/// Characters of a long column that a plain index holds.
const PREFIX_CHARS: u32 = 191;
/// A hash written in hexadecimal, with room for nothing else.
const HASH_TYPE: &str = "char(64) CHARACTER SET ascii COLLATE ascii_bin";
const HASH_BYTES: u32 = 64;

/// Lines of a CREATE TABLE.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) columns: Vec<String>,
    pub(super) keys: Vec<String>,
    pub(super) warnings: Vec<String>,
}

impl Lines {
    fn hidden(&mut self, name: &str, kind: &str, expression: &str) -> String {
        let name = quote_mysql(&hidden_name(name));
        self.columns
            .push(format!("{name} {kind} GENERATED ALWAYS AS ({expression}) VIRTUAL INVISIBLE"));
        name
    }
}

fn hidden_name(name: &str) -> String {
    shorten(&format!("cf_{name}"))
}

/// Adds a unique constraint or unique index.
pub(super) fn unique(table: &Table, unique: &Unique, lines: &mut Lines) {
    match unique_parts(table, unique, lines) {
        Ok(parts) => {
            let name = quote_mysql(&shorten(&unique.name));
            lines.keys.push(format!("UNIQUE KEY {name} ({})", parts.join(", ")));
            if folds_case(table, unique) {
                lines.warnings.push(format!(
                    "unique index \"{}\" ignores case by MySQL's rules, which fold some letters \
                     (as ß and ss) that PostgreSQL tells apart",
                    unique.name
                ));
            }
            if unique.deferrable {
                lines.warnings.push(format!(
                    "unique constraint \"{}\" is deferrable in PostgreSQL, and checked row by row in MySQL",
                    unique.name
                ));
            }
        }
        Err(reason) => {
            lines.warnings.push(format!("unique index \"{}\" is left out: {reason}", unique.name));
        }
    }
}

/// The one place where MySQL may refuse what PostgreSQL took; hence the warning.
fn folds_case(table: &Table, unique: &Unique) -> bool {
    let citext = |at: &usize| table.columns[*at].type_ref.pg_type == PgType::Citext;
    unique.columns.iter().any(citext)
        || unique
            .expressions
            .as_ref()
            .is_some_and(|text| text.contains("lower(") || text.contains("upper("))
}

fn unique_parts(
    table: &Table,
    unique: &Unique,
    lines: &mut Lines,
) -> Result<Vec<String>, &'static str> {
    let expressions = match &unique.expressions {
        None => Vec::new(),
        Some(list) => split_list(list).ok_or("its expressions cannot be read")?,
    };
    let translated: Option<Vec<String>> =
        expressions.iter().map(|text| translate(text, &table.columns)).collect();
    let translated = translated.ok_or("MySQL has no equal for its expression")?;
    let predicate = match &unique.predicate {
        None => None,
        Some(text) => {
            Some(translate(text, &table.columns).ok_or("MySQL has no equal for its predicate")?)
        }
    };
    let hashed = hashed(table, unique, translated.len())?;
    let mut parts = Vec::new();
    for at in &unique.columns {
        let column = &table.columns[*at];
        let name = quote_mysql(&column.name);
        parts.push(if hashed.contains(at) {
            let folded = if is_folded(table, *at) { format!("LOWER({name})") } else { name };
            let hash = if unique.nulls_not_distinct {
                format!("COALESCE(SHA2({folded}, 256), 'null')")
            } else {
                format!("SHA2({folded}, 256)")
            };
            lines.hidden(&format!("{}_{}", unique.name, column.name), HASH_TYPE, &hash)
        } else {
            name
        });
    }
    for (number, expression) in (1..).zip(&translated) {
        let name = format!("{}_{number}", unique.name);
        parts.push(lines.hidden(&name, HASH_TYPE, &format!("SHA2({expression}, 256)")));
    }
    if let Some(predicate) = predicate {
        let when = format!("CASE WHEN {predicate} THEN 1 END");
        parts.push(lines.hidden(&format!("{}_when", unique.name), "tinyint(1)", &when));
    }
    Ok(parts)
}

/// Which columns have to be hashed to make the key fit; none if it fits as it is.
fn hashed(table: &Table, unique: &Unique, expressions: usize) -> Result<Vec<usize>, &'static str> {
    let mut hashed = Vec::new();
    let mut bytes = u32::from(unique.predicate.is_some())
        + HASH_BYTES * u32::try_from(expressions).unwrap_or(u32::MAX);
    for at in &unique.columns {
        let column = &table.columns[*at];
        let null = unique.nulls_not_distinct && !column.not_null;
        match (&column.target, index_bytes(&column.target)) {
            (TargetType::Json, _) => return Err("MySQL cannot compare JSON documents in an index"),
            (TargetType::CitextVarChar { .. } | TargetType::CitextLongText, _) if null => {
                return Err("a hash would tell upper from lower case");
            }
            (TargetType::CitextLongText | TargetType::None, _) => {
                return Err("a column of it cannot be in an index");
            }
            (TargetType::LongText, _) if is_number(table, *at) => {
                return Err("equal numbers may be written differently");
            }
            (_, Some(own)) if !null && !is_folded(table, *at) => bytes += own,
            _ => hashed.push(*at),
        }
    }
    // Longest first, until the rest fits.
    let own = |at: &usize| index_bytes(&table.columns[*at].target).unwrap_or(0);
    while bytes + HASH_BYTES * u32::try_from(hashed.len()).unwrap_or(u32::MAX) > KEY_BYTES_MAX {
        let open = unique.columns.iter().filter(|at| !hashed.contains(at));
        let longest = open.max_by_key(|at| own(at)).ok_or("it is too long for MySQL")?;
        bytes -= own(longest);
        hashed.push(*longest);
    }
    Ok(hashed)
}

/// citext that is kept as plain text is unique by its lower-case form.
fn is_folded(table: &Table, at: usize) -> bool {
    let column = &table.columns[at];
    column.type_ref.pg_type == PgType::Citext
        && matches!(column.target, TargetType::LongText | TargetType::VarChar { .. })
}

fn is_number(table: &Table, at: usize) -> bool {
    table.columns[at].type_ref.pg_type == PgType::Numeric
}

/// Adds a plain index. A predicate is dropped: the index then holds more rows, and serves as well.
/// An expression becomes a hidden column, which MySQL's optimizer takes for the expression.
pub(super) fn plain(table: &Table, index: &Index, lines: &mut Lines) {
    match plain_parts(table, index) {
        Ok((parts, hidden)) => {
            for (name, Typed { sql, kind, .. }) in hidden {
                lines.hidden(&name, &kind, &sql);
            }
            let name = quote_mysql(&shorten(&index.name));
            lines.keys.push(format!("KEY {name} ({}){MARK}", parts.join(", ")));
        }
        Err(reason) => {
            lines.warnings.push(format!("index \"{}\" is left out: {reason}", index.name));
        }
    }
}

/// Name of a hidden column, and what it holds.
type Hidden = (String, Typed);

fn plain_parts(table: &Table, index: &Index) -> Result<(Vec<String>, Vec<Hidden>), &'static str> {
    let method = index.definition.split(" USING ").nth(1).and_then(|rest| rest.split(' ').next());
    if !matches!(method, Some("btree" | "hash") | None) {
        return Err("MySQL has no index of its kind");
    }
    let expressions = match &index.expressions {
        None => Vec::new(),
        Some(list) => split_list(list).ok_or("its expressions cannot be read")?,
    };
    let mut expressions = expressions.iter();
    let (mut parts, mut hidden) = (Vec::new(), Vec::new());
    let mut left = KEY_BYTES_MAX;
    for (place, at) in index.columns.iter().enumerate() {
        let (mut part, bytes, column) = if let Some(at) = at {
            let (part, bytes) = plain_part(&table.columns[*at])?;
            (part, bytes, None)
        } else {
            let text = expressions.next().ok_or("its expressions cannot be read")?;
            let typed = translate_typed(text, &table.columns)
                .ok_or("MySQL has no equal for its expression, or cannot index it")?;
            let name = format!("{}_{}", index.name, place + 1);
            (quote_mysql(&hidden_name(&name)), typed.bytes, Some((name, typed)))
        };
        // Further columns would only narrow what the first ones have found.
        let Some(rest) = left.checked_sub(bytes) else { break };
        left = rest;
        hidden.extend(column);
        if index.descending.get(place) == Some(&true) {
            part += " DESC";
        }
        parts.push(part);
    }
    Ok((parts, hidden))
}

/// A column in a plain index, and the bytes that it takes there.
fn plain_part(column: &Column) -> Result<(String, u32), &'static str> {
    let name = quote_mysql(&column.name);
    match (&column.target, index_bytes(&column.target)) {
        (TargetType::Json | TargetType::None, _) => Err("MySQL cannot index its column"),
        (_, Some(bytes)) if bytes <= PREFIX_CHARS * 4 => Ok((name, bytes)),
        (TargetType::LongBlob | TargetType::VarBinary { .. }, _) => {
            Ok((format!("{name}({PREFIX_CHARS})"), PREFIX_CHARS))
        }
        _ => Ok((format!("{name}({PREFIX_CHARS})"), PREFIX_CHARS * 4)),
    }
}
