//! The names of things: tables, columns, and the numbers Crossfade gives them.
//!
//! Invariant: a name is kept exactly as PostgreSQL stores it (folded, unquoted); quoting happens
//! where SQL is written, with [`quote_pg`] and [`quote_mysql`], and nowhere else.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A table of PostgreSQL, as `pg_namespace.nspname` and `pg_class.relname` have it.
///
/// Printed the way metrics and messages name it: `users`, or `auth.users` outside `public`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableName {
    schema: Arc<str>,
    name: Arc<str>,
}

impl TableName {
    #[must_use]
    pub fn new(schema: &str, name: &str) -> Self {
        Self { schema: schema.into(), name: name.into() }
    }

    #[must_use]
    pub fn schema(&self) -> &str {
        &self.schema
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads `users` or `auth.users`, as a person writes it in proxy.yaml or on the command line.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.split_once('.') {
            Some((schema, name)) => Self::new(schema, name),
            None => Self::new("public", text),
        }
    }

    /// `"schema"."name"` for a statement sent to PostgreSQL.
    #[must_use]
    pub fn quoted(&self) -> String {
        format!("{}.{}", quote_pg(&self.schema), quote_pg(&self.name))
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if &*self.schema != "public" {
            write!(f, "{}.", self.schema)?;
        }
        f.write_str(&self.name)
    }
}

/// `crossfade.tables.id` on the primary: survives renames of the table and changes of its OID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableId(pub i32);

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `crossfade.outbox.id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId(pub i64);

/// An object identifier of PostgreSQL (`pg_class.oid`, `pg_type.oid`).
pub type Oid = u32;

/// Longest identifier of PostgreSQL, in bytes; it cuts what is longer (NAMEDATALEN).
const NAME_BYTES_MAX: usize = 63;

/// An identifier as PostgreSQL keeps it: cut after whole characters.
#[must_use]
pub fn shortened(mut name: String) -> String {
    if NAME_BYTES_MAX < name.len() {
        let ends = (0..=NAME_BYTES_MAX).rev();
        name.truncate(ends.into_iter().find(|end| name.is_char_boundary(*end)).unwrap_or(0));
    }
    name
}

/// Quotes an identifier for PostgreSQL: `a"b` becomes `"a""b"`.
#[must_use]
pub fn quote_pg(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quotes an identifier for MySQL: a backtick is doubled.
#[must_use]
pub fn quote_mysql(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// Reads a list of identifiers as PostgreSQL does: `"$user", public, "Odd, Name"`. `$user` stays.
#[must_use]
pub fn split_path(path: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut letters = path.chars().peekable();
    while let Some(letter) = letters.next() {
        let mut name = String::new();
        match letter {
            ',' => continue,
            letter if letter.is_whitespace() => continue,
            '"' => {
                while let Some(letter) = letters.next() {
                    match letter {
                        '"' if letters.next_if_eq(&'"').is_none() => break,
                        letter => name.push(letter),
                    }
                }
            }
            letter => {
                name.push(letter.to_ascii_lowercase());
                while let Some(letter) = letters.next_if(|l| *l != ',' && !l.is_whitespace()) {
                    name.push(letter.to_ascii_lowercase());
                }
            }
        }
        if !name.is_empty() {
            names.push(shortened(name));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_outside_public_is_printed_with_its_schema() {
        assert_eq!(TableName::parse("users").to_string(), "users");
        assert_eq!(TableName::parse("auth.users").to_string(), "auth.users");
        assert_eq!(TableName::parse("public.users"), TableName::parse("users"));
    }

    #[test]
    fn quotes_inside_a_name_are_doubled() {
        assert_eq!(TableName::new("a", "b\"c").quoted(), r#""a"."b""c""#);
        assert_eq!(quote_mysql("b`c"), "`b``c`");
    }
}
