//! A statement's text with the literals lifted out: what statements that differ only in their
//! literals have in common.
//!
//! Invariant: two texts have the same normal form only if they have the same tokens but for
//! literals, so token positions found in one are those of the other.

use crate::sql::lexer::{Kind, Lexer};

/// Stands for a literal. No token holds it: a statement's text ends at its first NUL.
const LITERAL: u8 = 0;
/// Ends a token. PostgreSQL takes it for white space nowhere, so no token holds it outside quotes.
const END: u8 = 1;

/// Appends the normal form of `sql` to `out`, and returns what kinds of literals it was freed of: two
/// texts of one normal form whose kinds are the same are of the same types.
pub fn append(sql: &[u8], out: &mut Vec<u8>) -> u64 {
    let mut kinds = START;
    for token in Lexer::new(sql) {
        let text = token.text(sql);
        if token.is_literal() {
            out.push(LITERAL);
            kinds = mix(kinds, &[kind(token.kind, text)]);
        } else {
            out.extend_from_slice(text);
        }
        out.push(END);
    }
    kinds
}

/// What [`mix`] begins with.
pub const START: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a. It is written down in databases, so it has to be the same in every version of Crossfade and
/// of the standard library.
#[must_use]
pub fn mix(hash: u64, bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// As far as PostgreSQL gives literals types of their own.
fn kind(kind: Kind, text: &[u8]) -> u8 {
    const INT4_MAX: &[u8] = b"2147483647";
    const INT8_MAX: &[u8] = b"9223372036854775807";
    let whole = text.iter().all(u8::is_ascii_digit);
    let within = |max: &[u8]| text.len() < max.len() || text.len() == max.len() && text <= max;
    match (kind, text.first()) {
        (Kind::Number, _) if whole && within(INT4_MAX) => b'4',
        (Kind::Number, _) if whole && within(INT8_MAX) => b'8',
        (Kind::Number, _) if whole => b'n',
        // 1.5, 1e3, 0xff, 1_000: by their own text's form, as far as that matters here.
        (Kind::Number, _) if text.iter().any(|b| matches!(b, b'x' | b'X' | b'o' | b'O' | b'_')) => {
            if text.len() <= 9 {
                b'h'
            } else {
                b'H'
            }
        }
        (Kind::Number, _) => b'n',
        // B'1', X'f' are bit strings.
        (_, Some(b'b' | b'B' | b'x' | b'X')) => b'b',
        _ => b's',
    }
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
    fn literals_are_told_apart_as_postgresql_types_them() {
        let kinds = |sql: &str| append(sql.as_bytes(), &mut Vec::new());
        for (one, other) in [
            ("SELECT 1", "SELECT 2147483647"),
            ("SELECT 2147483648", "SELECT 9223372036854775807"),
            ("SELECT 9223372036854775808", "SELECT 1.5"),
            ("SELECT 'a'", "SELECT E'b'"),
            ("SELECT a", "SELECT b"),
        ] {
            assert_eq!(kinds(one), kinds(other), "{one} {other}");
        }
        for (one, other) in [
            ("SELECT 1", "SELECT '1'"),
            ("SELECT 1", "SELECT 2147483648"),
            ("SELECT 1", "SELECT 1.0"),
            ("SELECT '1'", "SELECT B'1'"),
            ("SELECT 1, 'a'", "SELECT 'a', 1"),
        ] {
            assert_ne!(kinds(one), kinds(other), "{one} {other}");
        }
    }

    #[test]
    fn literals_and_blanks_do_not_count_and_everything_else_does() {
        assert_eq!(normal("SELECT 1 , 'a'"), normal("SELECT  22,E'b\\'' -- x"));
        assert_ne!(normal("SELECT a"), normal("SELECT b"));
        assert_ne!(normal("SELECT \"a\""), normal("SELECT a"));
        assert_ne!(normal("SELECT $1"), normal("SELECT 1"));
        assert_ne!(normal("SELECT 1, 2"), normal("SELECT 1"));
        assert_eq!(normal("SELECT 1.5e-3, .5"), normal("SELECT 1_000, 0x1F"));
        assert_ne!(normal("SELECT 1FROM a"), normal("SELECT 1INTO a"));
        assert_eq!(normal("SELECT 1OR b"), normal("SELECT 1 OR b"));
    }
}
