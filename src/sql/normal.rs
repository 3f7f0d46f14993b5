//! A statement's text with the literals lifted out: what statements that differ only in their
//! literals have in common.
//!
//! Invariant: two texts have the same normal form only if they have the same tokens but for
//! literals, so token positions found in one are those of the other.

use crate::sql::lexer::Lexer;

/// Stands for a literal. No token holds it: a statement's text ends at its first NUL.
const LITERAL: u8 = 0;
/// Ends a token. PostgreSQL takes it for white space nowhere, so no token holds it outside quotes.
const END: u8 = 1;

/// Appends the normal form of `sql` to `out`, and returns the number of tokens.
pub fn append(sql: &[u8], out: &mut Vec<u8>) -> usize {
    let mut count = 0;
    for token in Lexer::new(sql) {
        if token.is_literal() {
            out.push(LITERAL);
        } else {
            out.extend_from_slice(token.text(sql));
        }
        out.push(END);
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(sql: &str) -> Vec<u8> {
        let mut out = Vec::new();
        append(sql.as_bytes(), &mut out);
        out
    }

    #[test]
    fn literals_and_blanks_do_not_count_and_everything_else_does() {
        assert_eq!(normal("SELECT 1 , 'a'"), normal("SELECT  22,E'b\\'' -- x"));
        assert_ne!(normal("SELECT a"), normal("SELECT b"));
        assert_ne!(normal("SELECT \"a\""), normal("SELECT a"));
        assert_ne!(normal("SELECT $1"), normal("SELECT 1"));
        assert_ne!(normal("SELECT 1, 2"), normal("SELECT 1"));
    }
}
