//! Statements that change what later names mean: SET search_path, set_config, CREATE TEMP TABLE.
//!
//! Invariant: a search path that cannot be read from the text is [`SearchPath::Unknown`], never the
//! one before.

use crate::names::split_path;
use crate::plan::clause::Reader;
use crate::plan::resolve::SearchPath;
use crate::plan::{PathChange, Step};
use crate::sql::lexer::{Kind, Lexer, Token};

/// The step of a SET, RESET or DISCARD.
pub(super) fn set(reader: Reader<'_>) -> Step {
    if reader.is_any(0, &["RESET", "DISCARD"]) {
        let touches = reader.is_any(1, &["SEARCH_PATH", "ALL"]);
        return if touches { Step::SearchPath(PathChange::Reset) } else { Step::Other };
    }
    let mut at = 1;
    let local = reader.is(at, "LOCAL");
    at += usize::from(reader.is_any(at, &["LOCAL", "SESSION"]));
    let role = reader.is_any(at, &["ROLE", "AUTHORIZATION"]);
    let schema = reader.is(at, "SCHEMA");
    if !role && !schema && reader.identifier(at).as_deref() != Some("search_path") {
        return Step::Other;
    }
    if role {
        // `$user` follows the role.
        return change(SearchPath::Unknown, local);
    }
    let values = at + if schema { 1 } else { 2 };
    if values + 1 == reader.tokens.len() && reader.is(values, "DEFAULT") {
        return if local {
            change(SearchPath::Unknown, true)
        } else {
            Step::SearchPath(PathChange::Reset)
        };
    }
    change(path(reader, values), local)
}

fn change(path: SearchPath, local: bool) -> Step {
    Step::SearchPath(if local { PathChange::Local(path) } else { PathChange::Set(path) })
}

/// `a, "B", 'c'` from token `start` on.
fn path(reader: Reader<'_>, start: usize) -> SearchPath {
    let mut schemas = Vec::new();
    for at in start..reader.tokens.len() {
        if reader.symbol(at) == Some(b',') {
            continue;
        }
        let schema = match reader.tokens[at].kind {
            Kind::String => literal(reader, at),
            Kind::Word | Kind::Quoted => reader.identifier(at).filter(|name| name != "default"),
            _ => None,
        };
        let Some(schema) = schema else { return SearchPath::Unknown };
        schemas.push(schema);
    }
    if schemas.is_empty() {
        return SearchPath::Unknown;
    }
    // The empty name is that of no schema: `SET search_path = ''`.
    schemas.retain(|schema| !schema.is_empty());
    SearchPath::Known(schemas)
}

/// What a plain literal says; `None` for one with escapes of its own (`E''`, `U&''`, `$$`).
fn literal(reader: Reader<'_>, at: usize) -> Option<String> {
    let token = reader.tokens.get(at).filter(|token| token.kind == Kind::String)?;
    let text = &reader.sql[token.start..token.end];
    let inner = text.strip_prefix('\'')?.strip_suffix('\'')?;
    // A quote that is not doubled: it goes on after a newline.
    let plain = !inner.contains('\\') && !inner.replace("''", "").contains('\'');
    plain.then(|| inner.replace("''", "'"))
}

/// The step of a query that calls `set_config`; `None` where it does not.
///
/// A select list of nothing but such calls is followed, as far as they are given literals. A path
/// that comes from an expression, or a call that may not be reached, is not guessed at.
pub(super) fn set_config(reader: Reader<'_>) -> Option<Step> {
    let calls = || (0..reader.tokens.len()).filter(|at| is_call(reader, *at));
    calls().next()?;
    let others = || calls().all(|at| literal(reader, at + 2).is_some_and(|name| !moves(&name)));
    let change = select_list(reader).or_else(|| others().then_some(PathChange::Kept));
    Some(Step::SearchPath(change.unwrap_or(PathChange::Set(SearchPath::Unknown))))
}

fn is_call(reader: Reader<'_>, at: usize) -> bool {
    let name = reader.identifier(at).as_deref() == Some("set_config");
    name && reader.symbol(at + 1) == Some(b'(')
}

/// True where this setting decides what names mean; `$user` follows the role.
fn moves(setting: &str) -> bool {
    ["search_path", "role", "session_authorization"]
        .iter()
        .any(|name| setting.eq_ignore_ascii_case(name))
}

/// `SELECT set_config('search_path', 'a, b', true) AS x, …` to its end.
fn select_list(reader: Reader<'_>) -> Option<PathChange> {
    let mut found = PathChange::Kept;
    let mut at = 1;
    loop {
        at +=
            if reader.is(at, "PG_CATALOG") && reader.symbol(at + 1) == Some(b'.') { 2 } else { 0 };
        if !is_call(reader, at) {
            return None;
        }
        let depth = reader.tokens[at + 1].depth;
        let close = (at + 2..reader.tokens.len()).find(|at| reader.tokens[*at].depth == depth)?;
        let name = literal(reader, at + 2)?;
        if moves(&name) {
            if !matches!(found, PathChange::Kept) || !name.eq_ignore_ascii_case("search_path") {
                return None;
            }
            found = given(reader, at + 3..close)?;
        }
        at = close + 1;
        at += if reader.is(at, "AS") && reader.identifier(at + 1).is_some() { 2 } else { 0 };
        if at == reader.tokens.len() {
            return reader.is(0, "SELECT").then_some(found);
        }
        if reader.symbol(at) != Some(b',') {
            return None;
        }
        at += 1;
    }
}

/// `, 'a, b', true`
fn given(reader: Reader<'_>, range: std::ops::Range<usize>) -> Option<PathChange> {
    let at = range.start;
    let commas = reader.symbol(at) == Some(b',') && reader.symbol(at + 2) == Some(b',');
    if range.len() != 4 || !commas {
        return None;
    }
    let path = SearchPath::Known(split_path(&literal(reader, at + 1)?));
    match reader.text(at + 3).to_ascii_lowercase().trim_matches('\'') {
        "true" | "t" | "on" | "1" => Some(PathChange::Local(path)),
        "false" | "f" | "off" | "0" => Some(PathChange::Set(path)),
        _ => None,
    }
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

/// Settings of the application's own (`app.user`) that a text may set. No list of the server's has them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct OwnSettings {
    /// In lower case.
    pub names: Vec<String>,
    /// There may be others: a name that is no plain literal, and not only for the transaction.
    pub others: bool,
}

/// Reads SET and `set_config` wherever they stand in a query string.
#[must_use]
pub fn own_settings(sql: &str) -> OwnSettings {
    let tokens: Vec<Token> = Lexer::new(sql.as_bytes()).collect();
    let reader = Reader { sql, tokens: &tokens };
    let mut found = OwnSettings::default();
    for at in 0..tokens.len() {
        let first = at == 0 || reader.symbol(at - 1) == Some(b';');
        if first && reader.is(at, "SET") {
            let at = at + 1 + usize::from(reader.is_any(at + 1, &["LOCAL", "SESSION"]));
            found.take(dotted(reader, at));
        } else if is_call(reader, at) {
            match literal(reader, at + 2) {
                Some(name) => found.take(Some(name)),
                None => found.others |= !is_local(reader, at),
            }
        }
    }
    found
}

impl OwnSettings {
    fn take(&mut self, name: Option<String>) {
        let own = name.filter(|name| name.contains('.'));
        self.names.extend(own.map(|name| name.to_ascii_lowercase()));
    }
}

/// `app.user` at `at`, the parts quoted or not.
fn dotted(reader: Reader<'_>, mut at: usize) -> Option<String> {
    let mut name = reader.identifier(at)?;
    while reader.symbol(at + 1) == Some(b'.') {
        at += 2;
        name = format!("{name}.{}", reader.identifier(at)?);
    }
    Some(name)
}

/// True where the call at `at` is for the transaction alone.
fn is_local(reader: Reader<'_>, at: usize) -> bool {
    let depth = reader.tokens[at + 1].depth;
    let close = (at + 2..reader.tokens.len()).find(|at| reader.tokens[*at].depth == depth);
    close.is_some_and(|close| {
        let word = reader.text(close - 1).to_ascii_lowercase();
        let literal = matches!(word.trim_matches('\''), "true" | "t" | "on" | "1");
        literal && reader.symbol(close - 2) == Some(b',')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(sql: &str, names: &[&str], others: bool) {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(own_settings(sql), OwnSettings { names, others }, "{sql}");
    }

    #[test]
    fn settings_of_the_applications_own_are_found() {
        check("SET app.User = '7'", &["app.user"], false);
        check("set local app.a to 1; SET SESSION \"b\".c.d = 2", &["app.a", "b.c.d"], false);
        check("SET statement_timeout = 1", &[], false);
        check(
            "SELECT set_config('App.x', $1, false), set_config('jit', '', true)",
            &["app.x"],
            false,
        );
        check("SELECT pg_catalog.set_config('app.x', concat('a', 'b'), true)", &["app.x"], false);
        check("SELECT '; SET a.b = 1'", &[], false);
    }

    #[test]
    fn a_name_that_is_no_literal_is_not_guessed_at() {
        check("SELECT set_config($1, $2, true)", &[], false);
        check("SELECT set_config($1, $2, false)", &[], true);
        check("SELECT set_config(E'app.x', $2, $3)", &[], true);
        check("SELECT set_config($1, $2", &[], true);
    }
}
