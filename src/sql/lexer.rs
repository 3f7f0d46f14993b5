//! Cuts PostgreSQL's SQL into tokens with their positions, without allocating per token.
//!
//! ```text
//! "SELECT 'a' -- x" ──▶ Word 0..6, String 7..10
//! ```
//!
//! Invariant: the lexical rules are those of PostgreSQL's scanner (nested comments, dollar quotes,
//! `E''`, `U&""`), so no literal can be mistaken for code, nor code for a literal. Malformed input
//! (an unterminated string) ends the text; the server will say so itself.

use crate::names::shortened;

/// What a token is. Positions are bytes into the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    pub kind: Kind,
    pub start: usize,
    pub end: usize,
    /// Number of `(` and `[` that are open at this token; a bracket itself counts as outside.
    pub depth: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An unquoted identifier or keyword.
    Word,
    /// `"x"` or `U&"x"`.
    Quoted,
    /// Any string literal, dollar-quoted ones included.
    String,
    Number,
    /// `$1`
    Parameter,
    /// One byte of an operator or punctuation.
    Symbol(u8),
}

impl Token {
    /// Whether it is an `E''` string of several parts, whose later ones sqlparser reads by themselves, and
    /// without their escapes.
    pub fn is_joined(&self, sql: &[u8]) -> bool {
        let text = self.text(sql);
        if self.kind != Kind::String || !matches!(text, [b'e' | b'E', b'\'', ..]) {
            return false;
        }
        let mut first = Lexer::new(text);
        first.at = 1;
        first.skip_quoted(b'\'', true);
        first.at < text.len()
    }

    #[must_use]
    pub fn text<'a>(&self, sql: &'a [u8]) -> &'a [u8] {
        &sql[self.start..self.end]
    }

    /// True for the unquoted word `keyword` (given in upper case), whatever its case.
    #[must_use]
    pub fn is(&self, sql: &[u8], keyword: &str) -> bool {
        self.kind == Kind::Word && self.text(sql).eq_ignore_ascii_case(keyword.as_bytes())
    }

    #[must_use]
    pub fn is_literal(&self) -> bool {
        matches!(self.kind, Kind::String | Kind::Number)
    }

    /// The identifier as PostgreSQL stores it: ASCII letters of unquoted words in lower case, and no
    /// longer than a name can be. `None` for what is none, or has an escape character of its own.
    #[must_use]
    pub fn identifier(&self, sql: &[u8]) -> Option<String> {
        let text = std::str::from_utf8(self.text(sql)).ok()?;
        let inner =
            |text: &str| Some(text.get(1..text.len().checked_sub(1)?)?.replace("\"\"", "\""));
        let name = match self.kind {
            Kind::Word => text.to_ascii_lowercase(),
            Kind::Quoted if text.starts_with('"') => inner(text)?,
            Kind::Quoted => {
                let next = Lexer::new(&sql[self.end..]).next();
                let escape = next.is_some_and(|next| next.is(&sql[self.end..], "UESCAPE"));
                unescape(&inner(&text[2..])?).filter(|_| !escape)?
            }
            _ => return None,
        };
        Some(shortened(name)).filter(|name| !name.is_empty())
    }

    /// True for a name that [`Self::identifier`] cannot read.
    #[must_use]
    pub fn is_obscure(&self, sql: &[u8]) -> bool {
        self.kind == Kind::Quoted && self.identifier(sql).is_none()
    }
}

/// The text of `U&"…"`: `\\` is a backslash, `\XXXX` and `\+XXXXXX` a character by its number.
fn unescape(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut parts = text.split('\\');
    out += parts.next()?;
    while let Some(part) = parts.next() {
        if part.is_empty() {
            out.push('\\');
            out += parts.next()?;
            continue;
        }
        let (digits, length) = part.strip_prefix('+').map_or((part, 4), |rest| (rest, 6));
        let number =
            digits.get(..length).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
        // Halves of a surrogate pair are left to the server.
        out.push(char::from_u32(u32::from_str_radix(number, 16).ok()?).filter(|c| *c != '\0')?);
        out += &digits[length..];
    }
    Some(out)
}

/// An iterator over the tokens of a text.
#[derive(Clone, Debug)]
pub struct Lexer<'a> {
    sql: &'a [u8],
    at: usize,
    depth: u32,
}

impl<'a> Lexer<'a> {
    #[must_use]
    pub fn new(sql: &'a [u8]) -> Self {
        Self { sql, at: 0, depth: 0 }
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.sql.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn skip_blanks(&mut self) {
        loop {
            match self.peek(0) {
                b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => self.at += 1,
                b'-' if self.peek(1) == b'-' => self.skip_line(),
                b'/' if self.peek(1) == b'*' => self.skip_comment(),
                _ => return,
            }
        }
    }

    fn skip_line(&mut self) {
        while self.at < self.sql.len() && !matches!(self.sql[self.at], b'\n' | b'\r') {
            self.at += 1;
        }
    }

    fn skip_comment(&mut self) {
        let mut open = 0_u32;
        while self.at < self.sql.len() {
            match (self.peek(0), self.peek(1)) {
                (b'/', b'*') => (open, self.at) = (open + 1, self.at + 2),
                (b'*', b'/') => (open, self.at) = (open - 1, self.at + 2),
                _ => self.at += 1,
            }
            if open == 0 {
                return;
            }
        }
    }

    /// Moves past a string literal that starts at the current position, and past the parts that go on
    /// with it: a newline between two quotes joins them, and the later part is read like the first.
    fn skip_string(&mut self, backslash: bool) {
        self.skip_quoted(b'\'', backslash);
        while let Some(next) = self.continued() {
            self.at = next;
            self.skip_quoted(b'\'', backslash);
        }
    }

    /// Where the next part of the literal that ends here begins. Comments to the end of a line may
    /// stand between, others may not.
    fn continued(&self) -> Option<usize> {
        let mut gap = self.clone();
        let mut newline = false;
        loop {
            match gap.peek(0) {
                b'\n' | b'\r' => {
                    newline = true;
                    gap.at += 1;
                }
                b' ' | b'\t' | 0x0b | 0x0c => gap.at += 1,
                b'-' if gap.peek(1) == b'-' => gap.skip_line(),
                byte => return (newline && byte == b'\'').then_some(gap.at),
            }
        }
    }

    /// Moves past a quoted run that starts at the current position; a doubled quote stays inside.
    fn skip_quoted(&mut self, quote: u8, backslash: bool) {
        self.at += 1;
        while self.at < self.sql.len() {
            let byte = self.sql[self.at];
            self.at += 1;
            if backslash && byte == b'\\' {
                self.at += 1;
            } else if byte == quote {
                if self.peek(0) != quote {
                    return;
                }
                self.at += 1;
            }
        }
        self.at = self.sql.len();
    }

    fn skip_word(&mut self) {
        while self.at < self.sql.len() && is_word(self.sql[self.at]) {
            self.at += 1;
        }
    }

    /// To where the number ends. A word may follow without a blank: `1OR` was two tokens before
    /// PostgreSQL 15, and is an error since; a word that hid in a number would be seen by nobody.
    fn skip_number(&mut self) {
        let skip = |this: &mut Self, of: fn(u8) -> bool| {
            while of(this.peek(0)) {
                this.at += 1;
            }
        };
        let hexadecimal = |byte: u8| byte.is_ascii_hexdigit() || byte == b'_';
        if self.peek(0) == b'0'
            && matches!(self.peek(1), b'x' | b'X' | b'o' | b'O' | b'b' | b'B')
            && hexadecimal(self.peek(2))
        {
            self.at += 2;
            return skip(self, hexadecimal);
        }
        skip(self, |byte| byte.is_ascii_digit() || matches!(byte, b'_' | b'.'));
        let signed = usize::from(matches!(self.peek(1), b'+' | b'-'));
        if matches!(self.peek(0), b'e' | b'E') && self.peek(1 + signed).is_ascii_digit() {
            self.at += 1 + signed;
            skip(self, |byte| byte.is_ascii_digit() || byte == b'_');
        }
    }

    /// `$1`, `$$…$$`, `$tag$…$tag$`, or a lone `$`.
    fn dollar(&mut self) -> Kind {
        let start = self.at;
        self.at += 1;
        if self.peek(0).is_ascii_digit() {
            while self.peek(0).is_ascii_digit() {
                self.at += 1;
            }
            return Kind::Parameter;
        }
        while is_word(self.peek(0)) && self.peek(0) != b'$' {
            self.at += 1;
        }
        if self.peek(0) != b'$' {
            self.at = start + 1;
            return Kind::Symbol(b'$');
        }
        self.at += 1;
        let tag = &self.sql[start..self.at];
        let rest = &self.sql[self.at..];
        let close = rest.windows(tag.len()).position(|window| window == tag);
        self.at = close.map_or(self.sql.len(), |close| self.at + close + tag.len());
        Kind::String
    }

    /// A token that begins with a letter: a word, or a literal with a prefix.
    fn word(&mut self) -> Kind {
        match (self.peek(0) | 0x20, self.peek(1), self.peek(2)) {
            (b'e', b'\'', _) => {
                self.at += 1;
                self.skip_string(true);
                Kind::String
            }
            (b'b' | b'x' | b'n', b'\'', _) => {
                self.at += 1;
                self.skip_string(false);
                Kind::String
            }
            (b'u', b'&', b'\'') => {
                self.at += 2;
                self.skip_string(false);
                Kind::String
            }
            (b'u', b'&', b'"') => {
                self.at += 2;
                self.skip_quoted(b'"', false);
                Kind::Quoted
            }
            _ => {
                self.skip_word();
                Kind::Word
            }
        }
    }
}

impl Iterator for Lexer<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        self.skip_blanks();
        let start = self.at;
        let byte = *self.sql.get(start)?;
        let mut depth = self.depth;
        let kind = match byte {
            b'\'' => {
                self.skip_string(false);
                Kind::String
            }
            b'"' => {
                self.skip_quoted(b'"', false);
                Kind::Quoted
            }
            b'$' => self.dollar(),
            b'0'..=b'9' => {
                self.skip_number();
                Kind::Number
            }
            b'.' if self.peek(1).is_ascii_digit() => {
                self.skip_number();
                Kind::Number
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.. => self.word(),
            b'(' | b'[' => {
                self.at += 1;
                self.depth += 1;
                Kind::Symbol(byte)
            }
            b')' | b']' => {
                self.at += 1;
                self.depth = self.depth.saturating_sub(1);
                depth = self.depth;
                Kind::Symbol(byte)
            }
            _ => {
                self.at += 1;
                Kind::Symbol(byte)
            }
        };
        Some(Token { kind, start, end: self.at.min(self.sql.len()), depth })
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..)
}

/// The statements of a text: ranges of `tokens` between semicolons outside all brackets.
#[must_use]
pub fn split(sql: &[u8], tokens: &[Token]) -> Vec<std::ops::Range<usize>> {
    let mut statements = Vec::new();
    let mut start = 0;
    // Within the body of a function, `BEGIN ATOMIC … END`: its statements end at semicolons too.
    let mut body = false;
    for (at, token) in tokens.iter().enumerate() {
        let outside = token.depth == 0;
        if !body && outside && token.is(sql, "ATOMIC") && makes_function(sql, &tokens[start..at]) {
            body = true;
        } else if body && token.is(sql, "END") {
            // As the name of a column, or at the end of a CASE, it stands within a statement.
            let before = &tokens[at - 1];
            body = before.kind != Kind::Symbol(b';') && !before.is(sql, "ATOMIC");
        } else if token.kind == Kind::Symbol(b';') && outside && !body {
            statements.push(start..at);
            start = at + 1;
        }
    }
    statements.push(start..tokens.len());
    statements.retain(|range| !range.is_empty());
    statements
}

/// True for `CREATE [OR REPLACE] FUNCTION … BEGIN`. Elsewhere ATOMIC is a name like any other.
fn makes_function(sql: &[u8], before: &[Token]) -> bool {
    let is = |at: usize, words: &[&str]| {
        before.get(at).is_some_and(|token| words.iter().any(|word| token.is(sql, word)))
    };
    let made = if is(1, &["OR"]) { 3 } else { 1 };
    is(0, &["CREATE"])
        && is(made, &["FUNCTION", "PROCEDURE"])
        && before.last().is_some_and(|token| token.is(sql, "BEGIN"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(sql: &str) -> Vec<&str> {
        Lexer::new(sql.as_bytes()).map(|token| &sql[token.start..token.end]).collect()
    }

    #[test]
    fn literals_and_comments_of_every_form_are_one_token_or_none() {
        assert_eq!(texts("a'b''c'd"), ["a", "'b''c'", "d"]);
        assert_eq!(texts(r"E'a\'b' x"), [r"E'a\'b'", "x"]);
        assert_eq!(texts(r"'a\' x"), [r"'a\'", "x"]);
        assert_eq!(texts("$$ ; ' $$ $t$ $$ $t$ $1"), ["$$ ; ' $$", "$t$ $$ $t$", "$1"]);
        assert_eq!(texts("a /* x /* y */ ; */ b -- c\n d"), ["a", "b", "d"]);
        assert_eq!(texts(r#"U&"a" "b""c" U&'x'"#), [r#"U&"a""#, r#""b""c""#, "U&'x'"]);
        assert_eq!(texts("1.5e-3+.5 a$1"), ["1.5e-3", "+", ".5", "a$1"]);
        assert_eq!(texts("'open"), ["'open"]);
        assert_eq!(texts("E'a' -- '\n 'b\\'c' 'd'"), ["E'a' -- '\n 'b\\'c'", "'d'"]);
        assert_eq!(texts("'a'\r'b\\' $$a$$\n'b'"), ["'a'\r'b\\'", "$$a$$", "'b'"]);
        assert_eq!(texts("'a' /*\n*/ 'b' \"a\"\n\"b\""), ["'a'", "'b'", "\"a\"", "\"b\""]);
    }

    #[test]
    fn names_are_what_postgresql_makes_of_them() {
        for (text, name) in [
            ("ÉTAGE_İ", Some("Étage_İ")),
            (r#""a""B""#, Some(r#"a"B"#)),
            (r#"U&"d\0061t\+000061 \\""#, Some(r"data \")),
            (r#"U&"d!0061" uescape '!'"#, None),
            (r#"U&"\D83D\DE00""#, None),
            (r#"u&"\00""#, None),
            (r#""""#, None),
        ] {
            let token = Lexer::new(text.as_bytes()).next().unwrap();
            assert_eq!(token.identifier(text.as_bytes()).as_deref(), name, "{text}");
        }
        let long = format!("{}é{}", "a".repeat(62), "b".repeat(9));
        let token = Lexer::new(long.as_bytes()).next().unwrap();
        assert_eq!(token.identifier(long.as_bytes()), Some("a".repeat(62)));
    }

    #[test]
    fn statements_end_at_semicolons_outside_brackets() {
        let sql = b"; SELECT (1;2) ; COMMIT;;";
        let tokens: Vec<_> = Lexer::new(sql).collect();
        let found: Vec<_> = split(sql, &tokens)
            .into_iter()
            .map(|range| tokens[range.start].text(sql).to_vec())
            .collect();
        assert_eq!(found, [b"SELECT".to_vec(), b"COMMIT".to_vec()]);
    }

    #[test]
    fn the_body_of_a_function_belongs_to_its_statement() {
        let sql =
            b"CREATE FUNCTION f() BEGIN ATOMIC SELECT CASE WHEN a THEN 1 END AS end; SELECT 2 end; END; \
                    BEGIN; SELECT 3; END";
        let tokens: Vec<_> = Lexer::new(sql).collect();
        assert_eq!(split(sql, &tokens).len(), 4);
        let sql = b"SELECT begin atomic FROM t; DELETE FROM u; CREATE TABLE t AS SELECT begin atomic; END";
        let tokens: Vec<_> = Lexer::new(sql).collect();
        assert_eq!(split(sql, &tokens).len(), 4);
    }

    #[test]
    fn any_bytes_are_lexed_to_the_end_without_a_panic() {
        let pieces: [&[u8]; 12] =
            [b"'", b"\"", b"$", b"$a$", b"E'", b"\\", b"/*", b"*/", b"--", b"(", b")", b"\xff1e+"];
        let mut seed = 7_usize;
        for _ in 0..20_000 {
            let mut sql = Vec::new();
            for _ in 0..8 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1442);
                sql.extend_from_slice(pieces[(seed >> 33) % pieces.len()]);
            }
            let mut last = 0;
            for token in Lexer::new(&sql) {
                assert!(last <= token.start && token.start < token.end, "{sql:?}");
                last = token.end;
            }
        }
    }
}
