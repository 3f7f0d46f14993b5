//! sqlparser behind a guard: what could overflow its stack never reaches it.
//!
//! Invariant: no input aborts the process. Size, nesting and the length of operator chains (which
//! become a tree as deep as they are long) are measured on tokens first.

use std::borrow::Cow;
use std::ops::Range;

use sqlparser::ast::Statement;
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::{Parser, ParserOptions};

use crate::sql::lexer::{Kind, Token};

/// Nesting of brackets past which a statement is not parsed.
pub const NESTING_MAX: u32 = 64;
/// Operators in one statement past which it is not parsed: a chain of them is a tree that deep.
pub const OPERATORS_MAX: usize = 1_000;
/// Recursion that the parser itself allows.
const RECURSION_MAX: usize = 200;

/// Why a statement has no tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unparsed {
    #[error("statement is too large or nested too deeply to be parsed")]
    TooLarge,
    #[error("statement is not understood")]
    NotUnderstood,
}

/// Parses one statement of the text `sql`; `tokens` are that statement's.
///
/// # Errors
/// [`Unparsed`] where it cannot; such a statement is passed on as it is.
pub fn parse(sql: &str, tokens: &[Token]) -> Result<Statement, Unparsed> {
    if NESTING_MAX < nesting(tokens) || OPERATORS_MAX < operators(sql.as_bytes(), tokens) {
        return Err(Unparsed::TooLarge);
    }
    let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else {
        return Err(Unparsed::NotUnderstood);
    };
    let names = row_names(sql.as_bytes(), tokens).map(|names| (names, " "));
    let joined = tokens.iter().filter(|token| token.is_joined(sql.as_bytes()));
    let mut others: Vec<(Range<usize>, &str)> =
        names.into_iter().chain(joined.map(|token| (token.start..token.end, "''"))).collect();
    others.sort_by_key(|(range, _)| range.start);
    let statement = match others.is_empty() {
        true => Cow::Borrowed(&sql[first.start..last.end]),
        false => Cow::Owned(with_others(sql, first.start..last.end, &others)),
    };
    // Without `unescape` a literal keeps its escapes, so that no quote can break out of it.
    let options = ParserOptions::new().with_unescape(false).with_trailing_commas(false);
    let mut parser = Parser::new(&PostgreSqlDialect {})
        .with_options(options)
        .with_recursion_limit(RECURSION_MAX)
        .try_with_sql(&statement)
        .map_err(|_| Unparsed::NotUnderstood)?;
    let mut statements = parser.parse_statements().map_err(|_| Unparsed::NotUnderstood)?;
    match (statements.pop(), statements.is_empty()) {
        (Some(statement), true) => Ok(statement),
        _ => Err(Unparsed::NotUnderstood),
    }
}

/// The text with these ranges of it written otherwise.
fn with_others(sql: &str, whole: Range<usize>, others: &[(Range<usize>, &str)]) -> String {
    let (mut text, mut done) = (String::new(), whole.start);
    for (range, other) in others {
        text += &sql[done..range.start.max(done)];
        text += other;
        done = range.end.max(done);
    }
    text + &sql[done..whole.end]
}

/// Where `WITH (OLD AS o, NEW AS n)` stands after RETURNING: PostgreSQL 18's, which sqlparser does
/// not know. It names rows that exist anyway, so without it the statement reads the same.
fn row_names(sql: &[u8], tokens: &[Token]) -> Option<Range<usize>> {
    let with = tokens.windows(3).position(|three| {
        three[0].is(sql, "RETURNING")
            && three[1].is(sql, "WITH")
            && three[2].kind == Kind::Symbol(b'(')
    })? + 1;
    let rest = &tokens[with..];
    let close = rest.iter().find(|token| token.kind == Kind::Symbol(b')'))?;
    Some(rest[0].start..close.end)
}

fn nesting(tokens: &[Token]) -> u32 {
    tokens.iter().map(|token| token.depth).max().unwrap_or(0)
}

/// Counts what may chain: symbol operators, and the words between terms.
fn operators(sql: &[u8], tokens: &[Token]) -> usize {
    let chains = |token: &&Token| match token.kind {
        Kind::Symbol(byte) => !matches!(byte, b'(' | b')' | b'[' | b']' | b',' | b'.' | b';'),
        Kind::Word => ["AND", "OR", "NOT", "UNION", "EXCEPT", "INTERSECT", "JOIN", "IS", "LIKE"]
            .iter()
            .any(|word| token.is(sql, word)),
        _ => false,
    };
    tokens.iter().filter(chains).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::lexer::Lexer;

    fn check(sql: &str) -> Result<Statement, Unparsed> {
        parse(sql, &Lexer::new(sql.as_bytes()).collect::<Vec<_>>())
    }

    #[test]
    fn forty_thousand_terms_and_ten_thousand_brackets_are_passed_on() {
        let terms = vec!["a = 1"; 40_000].join(" OR ");
        assert_eq!(check(&format!("SELECT {terms}")).unwrap_err(), Unparsed::TooLarge);
        let deep = format!("SELECT {}1{}", "(".repeat(10_000), ")".repeat(10_000));
        assert_eq!(check(&deep).unwrap_err(), Unparsed::TooLarge);
    }

    #[test]
    fn names_for_the_old_and_the_new_row_are_understood() {
        let names = "UPDATE t SET a = 1 RETURNING WITH (OLD AS o, NEW AS \"N\") o.a, \"N\".a";
        assert!(check(names).is_ok());
        assert!(check("UPDATE t SET a = 1 RETURNING WITH (OLD AS o").is_err());
    }

    #[test]
    fn what_is_just_within_the_caps_is_parsed_on_a_small_stack() {
        let terms = vec!["a"; OPERATORS_MAX].join(" OR ");
        let deep = format!("SELECT {}1{}", "(".repeat(60), ")".repeat(60));
        let run = move || check(&format!("SELECT {terms}")).is_ok() && check(&deep).is_ok();
        let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap();
        assert!(thread.join().unwrap());
    }
}
