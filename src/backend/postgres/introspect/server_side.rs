//! Which tables the server itself may write: through trigger functions, what those call, and rules.
//!
//! ```text
//! trigger ─▶ function ─mentions─▶ function ─mentions─▶ table
//! ```
//!
//! Sources are searched for names, as words and without regard to case. A word may be a comment or a
//! column, so the answer errs on the side of yes; a function that builds its SQL as text, or is not
//! in SQL or PL/pgSQL, may write any table. Functions of C are the exception: those that come with
//! PostgreSQL or its extensions and can be triggers change the row at hand, nothing else.
//!
//! Invariant: a table that is not named here is written by no trigger function of the database.

use std::collections::{HashMap, HashSet};

use crate::names::Oid;

/// A function that a trigger may reach.
pub(super) struct Function {
    pub(super) oid: Oid,
    pub(super) name: String,
    pub(super) language: String,
    pub(super) source: String,
}

/// The tables that trigger functions may write.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// Tables with one of these names, in whatever schema.
    Names(HashSet<String>),
    Any,
}

impl Written {
    pub(super) fn may_be(&self, table: &str) -> bool {
        match self {
            Self::Names(names) => names.contains(&table.to_lowercase()),
            Self::Any => true,
        }
    }
}

/// Follows trigger functions to everything that they mention.
pub(super) fn written(triggers: &[Oid], functions: &[Function]) -> Written {
    let mut by_name: HashMap<String, Vec<&Function>> = HashMap::new();
    for function in functions {
        by_name.entry(function.name.to_lowercase()).or_default().push(function);
    }
    let mut open: Vec<&Function> =
        functions.iter().filter(|function| triggers.contains(&function.oid)).collect();
    let (mut seen, mut names) = (HashSet::new(), HashSet::new());
    while let Some(function) = open.pop() {
        if !seen.insert(function.oid) {
            continue;
        }
        match function.language.as_str() {
            "c" | "internal" => continue,
            "plpgsql" | "sql" => {}
            _ => return Written::Any,
        }
        for word in words(&function.source) {
            if word == "execute" {
                return Written::Any;
            }
            open.extend(by_name.get(&word).into_iter().flatten());
            names.insert(word);
        }
    }
    Written::Names(names)
}

fn words(source: &str) -> impl Iterator<Item = String> {
    source
        .split(|letter: char| !letter.is_alphanumeric() && !matches!(letter, '_' | '$'))
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(oid: Oid, name: &str, language: &str, source: &str) -> Function {
        let [name, language, source] = [name, language, source].map(str::to_owned);
        Function { oid, name, language, source }
    }

    #[test]
    fn a_table_is_found_through_what_a_trigger_calls() {
        let functions = [
            function(1, "on_user", "plpgsql", "BEGIN PERFORM auth.Audit(NEW.id); RETURN NEW; END"),
            function(2, "audit", "sql", "INSERT INTO audit_log VALUES ($1)"),
            function(3, "unrelated", "plpgsql", "EXECUTE 'DELETE FROM users'"),
        ];
        let written = written(&[1], &functions);
        assert!(written.may_be("audit_log"));
        assert!(!written.may_be("users"));
    }

    #[test]
    fn sql_built_as_text_may_write_anything() {
        let functions = [function(1, "f", "plpgsql", "EXECUTE format('DELETE FROM %I', x)")];
        assert_eq!(written(&[1], &functions), Written::Any);
        let functions = [function(1, "f", "plv8", "plv8.run(q)")];
        assert_eq!(written(&[1], &functions), Written::Any);
    }

    #[test]
    fn functions_of_extensions_write_nothing_else() {
        let functions = [function(1, "moddatetime", "c", "moddatetime")];
        assert!(!written(&[1], &functions).may_be("users"));
    }
}
