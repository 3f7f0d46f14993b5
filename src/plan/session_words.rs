//! Statements that change what later names mean: SET search_path, SET SCHEMA, CREATE TEMP TABLE.
//!
//! Invariant: a search path that cannot be read from the text is [`SearchPath::Unknown`], never the
//! one before.

use crate::plan::Step;
use crate::plan::clause::Reader;
use crate::plan::resolve::SearchPath;
use crate::sql::lexer::Kind;

/// The step of a SET, RESET or DISCARD.
pub(super) fn set(reader: Reader<'_>) -> Step {
    if reader.is_any(0, &["RESET", "DISCARD"]) {
        let touches = reader.is_any(1, &["SEARCH_PATH", "ALL"]);
        return if touches { Step::SearchPath(None) } else { Step::Other };
    }
    let mut at = 1;
    let local = reader.is(at, "LOCAL");
    at += usize::from(reader.is_any(at, &["LOCAL", "SESSION"]));
    let role = reader.is_any(at, &["ROLE", "AUTHORIZATION"]);
    let schema = reader.is(at, "SCHEMA");
    if !role && !schema && reader.identifier(at).as_deref() != Some("search_path") {
        return Step::Other;
    }
    if role || local {
        // What LOCAL sets is undone at the end of the transaction; `$user` follows the role.
        return Step::SearchPath(Some(SearchPath::Unknown));
    }
    let values = at + if schema { 1 } else { 2 };
    Step::SearchPath(Some(path(reader, values)))
}

/// `a, "B", 'c'` from token `start` on.
fn path(reader: Reader<'_>, start: usize) -> SearchPath {
    let mut schemas = Vec::new();
    for at in start..reader.tokens.len() {
        if reader.symbol(at) == Some(b',') {
            continue;
        }
        let text = reader.text(at);
        let schema = match reader.tokens[at].kind {
            Kind::String if text.starts_with('\'') => text.trim_matches('\'').replace("''", "'"),
            Kind::Word | Kind::Quoted => match reader.identifier(at) {
                Some(name) => name,
                None => return SearchPath::Unknown,
            },
            _ => return SearchPath::Unknown,
        };
        if schema.is_empty() || schema.eq_ignore_ascii_case("default") || schema.contains('$') {
            return SearchPath::Unknown;
        }
        schemas.push(schema);
    }
    if schemas.is_empty() { SearchPath::Unknown } else { SearchPath::Known(schemas) }
}

/// The name of a temporary table that `CREATE [LOCAL] TEMP[ORARY] TABLE` makes.
pub(super) fn temporary(reader: Reader<'_>) -> Option<String> {
    let mut at = 1 + usize::from(reader.is_any(1, &["LOCAL", "GLOBAL"]));
    if !reader.is_any(at, &["TEMP", "TEMPORARY"]) {
        return None;
    }
    at += 1;
    if !reader.is_any(at, &["TABLE", "VIEW"]) {
        return None;
    }
    at += 1;
    if reader.is(at, "IF") {
        at += 3;
    }
    reader.name(at).map(|(written, _)| written.name)
}
