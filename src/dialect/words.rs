//! Brings what sqlparser cannot read, or misreads, into words that it reads; refuses the rest.
//!
//! ```text
//! FOR NO KEY UPDATE ──▶ FOR UPDATE        FROM ONLY t ──▶ FROM t        BETWEEN SYMMETRIC a ──▶ BETWEEN !! a
//! INSERT … SELECT $1 ON CONFLICT ──▶ … WHERE true ON CONFLICT          a ISNULL, U&"…", 0x1F ──▶ refused
//! ```
//!
//! Invariant: the text that comes out means what the client's did. Tokens are our own lexer's, so that no
//! literal is taken for words.

use sqlparser::ast::Statement;

use crate::dialect::Surroundings;
use crate::dialect::refuse::{Refused, unsupported};
use crate::sql::lexer::{Kind, Lexer, Token};
use crate::sql::parse::{Unparsed, parse};

/// Parses one statement.
pub(super) fn statement(sql: &str, around: Surroundings<'_>) -> Result<Statement, Refused> {
    let tokens: Vec<Token> = Lexer::new(sql.as_bytes()).collect();
    let tokens: Vec<Token> =
        match tokens.iter().position(|t| t.kind == Kind::Symbol(b';') && t.depth == 0) {
            Some(end) if tokens[end..].iter().all(|t| t.kind == Kind::Symbol(b';')) => {
                tokens[..end].to_vec()
            }
            Some(_) => return Err(unsupported("several statements at once")),
            None => tokens,
        };
    if tokens.is_empty() {
        return Err(Refused::error("42601", "syntax error at end of input"));
    }
    let rewritten = Words { sql, tokens: &tokens, around }.rewritten()?;
    let tokens: Vec<Token> = Lexer::new(rewritten.as_bytes()).collect();
    parse(&rewritten, &tokens).map_err(|unparsed| match unparsed {
        Unparsed::TooLarge => Refused::error("54001", unparsed.to_string()),
        Unparsed::NotUnderstood => unsupported("a statement that is not understood"),
    })
}

struct Words<'a> {
    sql: &'a str,
    tokens: &'a [Token],
    around: Surroundings<'a>,
}

impl Words<'_> {
    fn is(&self, at: usize, word: &str) -> bool {
        self.tokens.get(at).is_some_and(|token| token.is(self.sql.as_bytes(), word))
    }

    fn symbol(&self, at: usize) -> Option<u8> {
        match self.tokens.get(at)?.kind {
            Kind::Symbol(byte) => Some(byte),
            _ => None,
        }
    }

    fn text(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| &self.sql[token.start..token.end])
    }

    fn rewritten(&self) -> Result<String, Refused> {
        let mut out = String::with_capacity(self.sql.len() + 16);
        let mut at = 0;
        while at < self.tokens.len() {
            self.check(at)?;
            let (taken, words) = self.replacement(at)?;
            if taken == 0 {
                out.push_str(self.text(at));
                at += 1;
            } else {
                out.push_str(&words);
                at += taken;
            }
            // Tokens that touched still do; others are one blank apart.
            let touches = at > 0
                && self.tokens.get(at).is_some_and(|next| next.start == self.tokens[at - 1].end);
            if !touches || taken > 0 {
                out.push(' ');
            }
        }
        Ok(out)
    }

    /// How many tokens are replaced, and by what.
    fn replacement(&self, at: usize) -> Result<(usize, String), Refused> {
        let replace = |taken: usize, words: &str| Ok((taken, words.to_owned()));
        if self.is(at, "FOR") {
            if self.is(at + 1, "NO") && self.is(at + 2, "KEY") && self.is(at + 3, "UPDATE") {
                return replace(4, "FOR UPDATE");
            }
            if self.is(at + 1, "KEY") && self.is(at + 2, "SHARE") {
                return replace(3, "FOR SHARE");
            }
        }
        if self.is(at, "ONLY")
            && at > 0
            && ["FROM", "JOIN", "UPDATE", "INTO"].iter().any(|w| self.is(at - 1, w))
        {
            if !self.around.catalog.roots.is_empty() {
                return Err(unsupported("ONLY"));
            }
            return replace(1, "");
        }
        if self.is(at, "BETWEEN") && self.is(at + 1, "SYMMETRIC") {
            return replace(2, "BETWEEN !!");
        }
        if self.is(at, "OVERRIDING") && self.is(at + 2, "VALUE") {
            if self.is(at + 1, "USER") {
                return Err(unsupported("OVERRIDING USER VALUE"));
            }
            return replace(3, "");
        }
        if self.is(at, "OPERATOR") && self.symbol(at + 1) == Some(b'(') {
            return self.named_operator(at);
        }
        if self.is(at, "ON") && self.is(at + 1, "CONFLICT") && self.bare_select_before(at) {
            return replace(2, "WHERE true ON CONFLICT");
        }
        Ok((0, String::new()))
    }

    /// `OPERATOR(pg_catalog.=)` is the operator.
    fn named_operator(&self, at: usize) -> Result<(usize, String), Refused> {
        let close = (at..self.tokens.len())
            .find(|end| self.symbol(*end) == Some(b')'))
            .ok_or_else(|| unsupported("OPERATOR(…)"))?;
        let schema = self.is(at + 2, "pg_catalog") && self.symbol(at + 3) == Some(b'.');
        let first = if schema { at + 4 } else { at + 2 };
        let sign: String = (first..close).map(|at| self.text(at)).collect();
        match sign.as_str() {
            "=" | "<>" | "<" | ">" | "<=" | ">=" => Ok((close + 1 - at, sign)),
            _ => Err(unsupported("OPERATOR(…)")),
        }
    }

    /// True where the SELECT that ends here has neither FROM nor WHERE.
    fn bare_select_before(&self, at: usize) -> bool {
        let depth = self.tokens[at].depth;
        for before in (0..at).rev() {
            let token = &self.tokens[before];
            if token.depth < depth {
                return false;
            }
            if token.depth > depth {
                continue;
            }
            if ["FROM", "WHERE", "VALUES", "GROUP", "LIMIT"]
                .iter()
                .any(|word| self.is(before, word))
            {
                return false;
            }
            if self.is(before, "SELECT") {
                return true;
            }
        }
        false
    }

    /// What the parser would read without complaint, and wrongly.
    fn check(&self, at: usize) -> Result<(), Refused> {
        let token = &self.tokens[at];
        let text = self.text(at);
        let lower = |prefix: &str| text.to_ascii_lowercase().starts_with(prefix);
        match token.kind {
            Kind::Word
                if (self.is(at, "ISNULL") || self.is(at, "NOTNULL")) && self.operand_before(at) =>
            {
                Err(unsupported("ISNULL and NOTNULL"))
            }
            Kind::Word if self.is(at, "UESCAPE") => Err(unsupported("UESCAPE")),
            Kind::Quoted if lower("u&") => Err(unsupported("a name with escapes")),
            Kind::Number
                if text
                    .bytes()
                    .any(|byte| matches!(byte, b'x' | b'X' | b'o' | b'O' | b'b' | b'B' | b'_')) =>
            {
                Err(unsupported("a number that is not decimal"))
            }
            Kind::String if lower("b'") || lower("x'") => Err(unsupported("a bit string")),
            Kind::String if lower("n'") => Err(unsupported("a national string")),
            Kind::String if is_continued(text) => Err(unsupported("a string in several parts")),
            Kind::Symbol(b':') if self.symbol(at + 1) == Some(b'=') => {
                Err(unsupported("an argument by :="))
            }
            Kind::Symbol(b'|') if self.symbol(at + 1) == Some(b'/') => {
                Err(unsupported("operator |/"))
            }
            Kind::Symbol(b'!') if self.symbol(at + 1) == Some(b'!') => {
                Err(unsupported("operator !!"))
            }
            _ => Ok(()),
        }
    }

    fn operand_before(&self, at: usize) -> bool {
        at > 0
            && !self.is(at - 1, "AS")
            && match self.tokens[at - 1].kind {
                Kind::Symbol(byte) => matches!(byte, b')' | b']'),
                _ => true,
            }
    }
}

/// `'a'` newline `'b'`: one literal of two parts.
fn is_continued(text: &str) -> bool {
    let Some(body) = text.find('\'').map(|at| &text[at + 1..]) else { return false };
    if text.starts_with('$') {
        return false;
    }
    let escapes = text.starts_with(['e', 'E']);
    let bytes = body.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if escapes => at += 2,
            b'\'' if bytes.get(at + 1) == Some(&b'\'') => at += 2,
            b'\'' => return at + 1 < bytes.len(),
            _ => at += 1,
        }
    }
    false
}
