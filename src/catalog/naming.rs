//! What a table of PostgreSQL is called in MySQL, where a database has no schemas inside it.
//!
//! ```text
//! public.users ──▶ users        auth.users ──▶ auth_users
//! ```
//!
//! Invariant: the rule is a pure function of the two names, so every sidecar finds the same table.
//! That two tables may get one name is not hidden here: [`crate::catalog::check`] reports it.

use crate::names::TableName;

/// MySQL's longest identifier, in characters.
pub const IDENTIFIER_CHARS_MAX: usize = 64;

/// The schema rule of proxy.yaml.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naming {
    /// Tables of this schema keep their bare name; every other schema becomes a prefix.
    pub plain_schema: String,
}

impl Default for Naming {
    fn default() -> Self {
        Self { plain_schema: "public".to_owned() }
    }
}

impl Naming {
    /// The table's name in MySQL, unquoted.
    #[must_use]
    pub fn target(&self, table: &TableName) -> String {
        if table.schema() == self.plain_schema {
            return shorten(table.name());
        }
        shorten(&format!("{}_{}", table.schema(), table.name()))
    }
}

/// Cuts a name to MySQL's length; what was cut lives on as a number, so that two long names with
/// one beginning stay two names.
#[must_use]
pub fn shorten(name: &str) -> String {
    if name.chars().count() <= IDENTIFIER_CHARS_MAX {
        return name.to_owned();
    }
    let suffix = format!("_{:08x}", fnv(name));
    let kept: String = name.chars().take(IDENTIFIER_CHARS_MAX - suffix.len()).collect();
    kept + &suffix
}

/// FNV-1a: short, stable over versions and platforms; nothing depends on its being hard to guess.
fn fnv(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_other_than_the_plain_one_becomes_a_prefix() {
        let naming = Naming::default();
        assert_eq!(naming.target(&TableName::parse("users")), "users");
        assert_eq!(naming.target(&TableName::parse("auth.users")), "auth_users");
    }

    #[test]
    fn long_names_stay_distinct_and_fit() {
        let long = |end: &str| shorten(&("x".repeat(70) + end));
        assert_eq!(long("a").chars().count(), IDENTIFIER_CHARS_MAX);
        assert_ne!(long("a"), long("b"));
    }
}
