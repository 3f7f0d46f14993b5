//! What is answered without MySQL's tables: functions of the session, and what drivers ask of the catalogue.
//!
//! ```text
//! SELECT version(), current_setting('x')   ──▶ [`What::Functions`]
//! SELECT … FROM pg_catalog.pg_type …       ──▶ [`What::Catalogue`], recognised word by word
//! ```
//!
//! Invariant: a statement is recognised as a whole or not at all; what is like it but for a word goes to
//! the translator, which refuses what it does not know.

use crate::answer::known_types::Query;
use crate::answer::verbs::plain_string;
use crate::catalog::Catalog;
use crate::dialect::{ResultColumn, Type};
use crate::sql::lexer::{Kind, Token};
use crate::value::{PgType, Value};

#[derive(Debug)]
pub(super) struct Known {
    pub(super) columns: Vec<ResultColumn>,
    pub(super) parameters: Vec<Type>,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    /// One row, one function a column.
    Functions(Vec<Function>),
    Catalogue(Query),
}

/// An argument: what was written, or a parameter.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Argument {
    Text(String),
    Parameter(usize),
}

/// A function of the session's.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Function {
    Version,
    Schema,
    /// With the implicit ones, if true.
    Schemas(Argument),
    Database,
    User,
    BackendPid,
    InRecovery,
    /// `current_setting`; missing ones are NULL where the second says so.
    Setting(Argument, Option<Argument>),
    /// `set_config`: name, value, local.
    SetConfig(Argument, Argument, Argument),
    Advisory(Advisory, Vec<Argument>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Advisory {
    Lock,
    TryLock,
    /// To the end of the transaction.
    LockInTransaction,
    TryLockInTransaction,
    Unlock,
    UnlockAll,
}

/// What catalogue queries are answered from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around<'a> {
    pub(super) catalog: &'a Catalog,
    /// Schemas of the search path.
    pub(super) path: &'a [String],
}

impl Known {
    pub(super) fn of(sql: &str, tokens: &[Token]) -> Option<Self> {
        if let Some(query) = Query::of(sql, tokens) {
            let (columns, parameters) = (query.columns(), query.parameters());
            return Some(Self { columns, parameters, what: What::Catalogue(query) });
        }
        let mut reader = Reader { sql: sql.as_bytes(), tokens, parameters: Vec::new() };
        let (columns, functions) = reader.select()?;
        let parameters = reader.parameters.into_iter().map(|ty| ty.unwrap_or_else(text)).collect();
        Some(Self { columns, parameters, what: What::Functions(functions) })
    }
}

fn ty(name: &str) -> Type {
    let (oid, kind) = PgType::named(name).unwrap_or((25, PgType::Text));
    Type { oid, typmod: -1, kind }
}

fn text() -> Type {
    ty("text")
}

/// A type that PostgreSQL has and values of ours never are.
pub(super) fn special(oid: u32, name: &str) -> Type {
    Type { oid, typmod: -1, kind: PgType::Unsupported(name.to_owned()) }
}

pub(super) fn column(name: &str, ty: Type) -> ResultColumn {
    ResultColumn { name: name.to_owned(), ty, origin: None }
}

pub(super) fn column_of(name: &str, type_name: &str) -> ResultColumn {
    column(name, ty(type_name))
}

struct Reader<'a> {
    sql: &'a [u8],
    tokens: &'a [Token],
    parameters: Vec<Option<Type>>,
}

impl Reader<'_> {
    fn word(&mut self, word: &str) -> bool {
        let there = self.tokens.first().is_some_and(|token| token.is(self.sql, word));
        if there {
            self.tokens = &self.tokens[1..];
        }
        there
    }

    fn symbol(&mut self, symbol: u8) -> bool {
        let there = self.tokens.first().is_some_and(|token| token.kind == Kind::Symbol(symbol));
        if there {
            self.tokens = &self.tokens[1..];
        }
        there
    }

    fn identifier(&mut self) -> Option<String> {
        let (first, rest) = self.tokens.split_first()?;
        let name = first.identifier(self.sql)?;
        self.tokens = rest;
        Some(name)
    }

    /// `SELECT f(…) [AS x], …` and nothing else; or `SELECT * FROM f()`.
    fn select(&mut self) -> Option<(Vec<ResultColumn>, Vec<Function>)> {
        if !self.word("SELECT") {
            return None;
        }
        let star = self.symbol(b'*');
        if star && !self.word("FROM") {
            return None;
        }
        let (mut columns, mut functions) = (Vec::new(), Vec::new());
        loop {
            let (name, ty, function) = self.function()?;
            let alias = match self.word("AS") {
                true => Some(self.identifier()?),
                false => self.identifier(),
            };
            columns.push(column(alias.as_deref().unwrap_or(&name), ty));
            functions.push(function);
            if star || !self.symbol(b',') {
                break;
            }
        }
        self.tokens.is_empty().then_some((columns, functions))
    }

    fn function(&mut self) -> Option<(String, Type, Function)> {
        let mut name = self.identifier()?;
        if self.symbol(b'.') {
            if name != "pg_catalog" {
                return None;
            }
            name = self.identifier()?;
        }
        let called = self.symbol(b'(');
        let arguments = if called { self.arguments(&name)? } else { Vec::new() };
        let (mut ty, function) = function(&name, called, &arguments)?;
        if self.symbol(b':') {
            // `::text`, `::text[]`: what it is already.
            let cast = self.symbol(b':').then(|| self.identifier())??;
            let array = self.symbol(b'[') && self.symbol(b']');
            ty = match (cast.as_str(), array, function == Function::BackendPid) {
                ("text", false, false) if ty.oid != 16 => text(),
                ("text", true, false) => special_array(),
                _ => return None,
            };
        }
        Some((name, ty, function))
    }

    fn arguments(&mut self, name: &str) -> Option<Vec<Argument>> {
        let mut arguments = Vec::new();
        if self.symbol(b')') {
            return Some(arguments);
        }
        loop {
            let minus = self.symbol(b'-');
            let (token, rest) = self.tokens.split_first()?;
            let written = str::from_utf8(token.text(self.sql)).ok()?;
            self.tokens = rest;
            let argument = match token.kind {
                Kind::String => Argument::Text(plain_string(written)?),
                Kind::Number if minus => Argument::Text(format!("-{written}")),
                Kind::Number => Argument::Text(written.to_owned()),
                Kind::Word if token.is(self.sql, "TRUE") || token.is(self.sql, "FALSE") => {
                    Argument::Text(written.to_ascii_lowercase())
                }
                Kind::Parameter => {
                    let at = written.get(1..)?.parse::<usize>().ok()?.checked_sub(1)?;
                    self.parameter(at, argument_type(name, arguments.len()))?;
                    Argument::Parameter(at)
                }
                _ => return None,
            };
            if minus && !matches!(token.kind, Kind::Number) {
                return None;
            }
            self.cast(&argument)?;
            arguments.push(argument);
            if self.symbol(b')') {
                return Some(arguments);
            }
            if !self.symbol(b',') {
                return None;
            }
        }
    }

    /// `$1::bigint` gives the parameter its type; of a literal it changes nothing here.
    fn cast(&mut self, argument: &Argument) -> Option<()> {
        if !self.symbol(b':') {
            return Some(());
        }
        let name = self.symbol(b':').then(|| self.identifier())??;
        let (oid, kind) = PgType::named(&name)?;
        if let Argument::Parameter(at) = argument {
            self.parameters[*at] = Some(Type { oid, typmod: -1, kind });
        }
        Some(())
    }

    fn parameter(&mut self, at: usize, ty: Type) -> Option<()> {
        if 16 < at {
            return None;
        }
        if self.parameters.len() <= at {
            self.parameters.resize(at + 1, None);
        }
        self.parameters[at].get_or_insert(ty);
        Some(())
    }
}

/// `text[]`
fn special_array() -> Type {
    Type { oid: 1009, typmod: -1, kind: PgType::Array(Box::new(PgType::Text)) }
}

fn argument_type(name: &str, at: usize) -> Type {
    match (name, at) {
        ("current_schemas", _) | ("set_config", 2) | ("current_setting", 1) => ty("bool"),
        (name, _) if name.contains("advisory") => ty("int8"),
        _ => text(),
    }
}

fn function(name: &str, called: bool, arguments: &[Argument]) -> Option<(Type, Function)> {
    let name_array = Type { oid: 1003, typmod: -1, kind: PgType::Array(Box::new(PgType::Name)) };
    let void = special(2278, "void");
    let advisory = |ty: Type, advisory| {
        matches!(arguments.len(), 1 | 2)
            .then(|| (ty, Function::Advisory(advisory, arguments.to_vec())))
    };
    match (name, called, arguments) {
        ("version", true, []) => Some((text(), Function::Version)),
        ("current_schema", _, []) => Some((ty("name"), Function::Schema)),
        ("current_schemas", true, [all]) => Some((name_array, Function::Schemas(all.clone()))),
        ("current_database", true, []) | ("current_catalog", false, []) => {
            Some((ty("name"), Function::Database))
        }
        ("current_user" | "session_user" | "user" | "current_role", false, []) => {
            Some((ty("name"), Function::User))
        }
        ("pg_backend_pid", true, []) => Some((ty("int4"), Function::BackendPid)),
        ("pg_is_in_recovery", true, []) => Some((ty("bool"), Function::InRecovery)),
        ("current_setting", true, [name]) => Some((text(), Function::Setting(name.clone(), None))),
        ("current_setting", true, [name, missing]) => {
            Some((text(), Function::Setting(name.clone(), Some(missing.clone()))))
        }
        ("set_config", true, [name, value, local]) => {
            Some((text(), Function::SetConfig(name.clone(), value.clone(), local.clone())))
        }
        ("pg_advisory_lock", true, _) => advisory(void, Advisory::Lock),
        ("pg_advisory_xact_lock", true, _) => advisory(void, Advisory::LockInTransaction),
        ("pg_try_advisory_lock", true, _) => advisory(ty("bool"), Advisory::TryLock),
        ("pg_try_advisory_xact_lock", true, _) => {
            advisory(ty("bool"), Advisory::TryLockInTransaction)
        }
        ("pg_advisory_unlock", true, _) => advisory(ty("bool"), Advisory::Unlock),
        ("pg_advisory_unlock_all", true, []) => {
            Some((void, Function::Advisory(Advisory::UnlockAll, Vec::new())))
        }
        _ => None,
    }
}

impl Argument {
    /// Its text; `None` for NULL.
    pub(super) fn text(&self, values: &[Value]) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Parameter(at) => match values.get(*at)? {
                Value::Null => None,
                Value::Bool(value) => Some(value.to_string()),
                value => Some(value.show()),
            },
        }
    }

    pub(super) fn is_true(&self, values: &[Value]) -> bool {
        matches!(self.text(values).as_deref(), Some("true" | "t" | "on" | "1" | "yes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::lexer::Lexer;

    fn known(sql: &str) -> Option<(Vec<String>, Vec<Function>)> {
        let tokens: Vec<Token> = Lexer::new(sql.as_bytes()).collect();
        let known = Known::of(sql, &tokens)?;
        let What::Functions(functions) = known.what else { return None };
        let names = known.columns.into_iter().map(|column| column.name).collect();
        Some((names, functions))
    }

    #[test]
    fn functions_of_the_session_are_known_with_their_names() {
        let (names, functions) = known("select pg_catalog.version(), current_user AS me").unwrap();
        assert_eq!(names, ["version", "me"]);
        assert_eq!(functions, [Function::Version, Function::User]);
        let (names, _) = known("SELECT * FROM current_schema()").unwrap();
        assert_eq!(names, ["current_schema"]);
        let (_, functions) = known("SELECT set_config('a.b', $1, false)").unwrap();
        let text = |text: &str| Argument::Text(text.to_owned());
        let set = Function::SetConfig(text("a.b"), Argument::Parameter(0), text("false"));
        assert_eq!(functions, [set]);
        let (_, functions) = known("select pg_advisory_unlock(-7)").unwrap();
        assert_eq!(functions, [Function::Advisory(Advisory::Unlock, vec![text("-7")])]);
    }

    #[test]
    fn what_is_more_than_that_is_not_known() {
        for sql in [
            "SELECT version() FROM t",
            "SELECT version() WHERE false",
            "SELECT a.version()",
            "SELECT upper(version())",
            "SELECT version() || 'x'",
            "SELECT id, version() FROM t",
            "SELECT 1",
            "SELECT count(*) FROM t",
            "SELECT current_setting('a' || 'b')",
        ] {
            assert!(known(sql).is_none(), "{sql}");
        }
    }
}
