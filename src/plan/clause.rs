//! Finds the clauses of an INSERT, UPDATE, DELETE or MERGE by its tokens.
//!
//! ```text
//! UPDATE ONLY s.t AS a SET x = 1, (y, z) = … FROM f WHERE c RETURNING r
//!             target qualifier  assigned          from    where_   returning
//! ```
//!
//! Invariant: only words that PostgreSQL reserves mark a clause, outside all brackets of the
//! statement; a name can be one of them only when quoted or after a dot or AS.

use std::ops::Range;

use crate::plan::resolve::Written;
use crate::sql::lexer::{Kind, Token};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Insert,
    Update,
    Delete,
    Merge,
}

/// A data-modifying statement; positions are tokens.
#[derive(Clone, Debug)]
pub(super) struct Dml {
    pub(super) verb: Verb,
    pub(super) body: Range<usize>,
    pub(super) target: Written,
    /// The target's name and all that belongs to it: `ONLY s.t * AS a`.
    pub(super) target_tokens: Range<usize>,
    /// How expressions of the statement name the target: the alias, else the bare name, as written.
    pub(super) qualifier: String,
    /// Columns that are assigned, folded.
    pub(super) assigned: Vec<String>,
    pub(super) from: Option<usize>,
    pub(super) where_: Option<usize>,
    pub(super) returning: Option<usize>,
    /// It has an ON CONFLICT.
    pub(super) conflict: bool,
}

/// A cursor over the tokens of one statement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    pub(super) sql: &'a str,
    pub(super) tokens: &'a [Token],
}

impl<'a> Reader<'a> {
    pub(super) fn is(&self, at: usize, word: &str) -> bool {
        self.tokens.get(at).is_some_and(|token| token.is(self.sql.as_bytes(), word))
    }

    pub(super) fn is_any(&self, at: usize, words: &[&str]) -> bool {
        words.iter().any(|word| self.is(at, word))
    }

    pub(super) fn symbol(&self, at: usize) -> Option<u8> {
        match self.tokens.get(at)?.kind {
            Kind::Symbol(byte) => Some(byte),
            _ => None,
        }
    }

    pub(super) fn text(&self, at: usize) -> &'a str {
        let token = &self.tokens[at];
        &self.sql[token.start..token.end]
    }

    pub(super) fn identifier(&self, at: usize) -> Option<String> {
        self.tokens.get(at)?.identifier(self.sql.as_bytes())
    }

    /// Reads `a`, `a.b` or `a.b.c` at `at`; returns it with the position after it.
    pub(super) fn name(&self, at: usize) -> Option<(Written, usize)> {
        let mut parts = vec![self.identifier(at)?];
        let mut next = at + 1;
        while self.symbol(next) == Some(b'.') {
            parts.push(self.identifier(next + 1)?);
            next += 2;
        }
        let name = parts.pop()?;
        Some((Written { schema: parts.pop(), name }, next))
    }

    /// Words of `words` at bracket depth `depth` in `range`, used as keywords.
    pub(super) fn find(&self, range: Range<usize>, depth: u32, words: &[&str]) -> Option<usize> {
        range.into_iter().find(|at| {
            self.tokens[*at].depth == depth && self.is_any(*at, words) && !self.is_label(*at)
        })
    }

    /// True where a reserved word is no keyword of a clause: as a name after a dot or AS, and in
    /// `IS DISTINCT FROM`.
    fn is_label(&self, at: usize) -> bool {
        at.checked_sub(1).is_some_and(|before| {
            let operator = self.is(before, "DISTINCT") && self.is(at, "FROM");
            operator || self.symbol(before) == Some(b'.') || self.is(before, "AS")
        })
    }

    pub(super) fn verb(&self, at: usize) -> Option<Verb> {
        let verbs = [
            ("INSERT", Verb::Insert),
            ("UPDATE", Verb::Update),
            ("DELETE", Verb::Delete),
            ("MERGE", Verb::Merge),
        ];
        verbs.into_iter().find(|(word, _)| self.is(at, word)).map(|(_, verb)| verb)
    }

    /// Reads the statement that `body` holds; `None` where it is not one that is understood.
    pub(super) fn dml(&self, body: Range<usize>) -> Option<Dml> {
        let verb = self.verb(body.start)?;
        let depth = self.tokens[body.start].depth;
        let mut at = body.start + 1;
        if verb != Verb::Update {
            at += usize::from(self.is_any(at, &["INTO", "FROM"]));
        }
        let start = at;
        at += usize::from(self.is(at, "ONLY"));
        let (target, after) = self.name(at)?;
        let mut end = after + usize::from(self.symbol(after) == Some(b'*'));
        let mut qualifier = self.text(after - 1);
        if let Some((alias, next)) = self.alias(verb, end) {
            (qualifier, end) = (alias, next);
        }
        let find = |words: &[&str]| self.find(end..body.end, depth, words);
        let returning = find(&["RETURNING"]);
        let stop = returning.unwrap_or(body.end);
        let set = match verb {
            Verb::Update => find(&["SET"]),
            // `ON CONFLICT … DO UPDATE SET`: SET is not reserved, but follows UPDATE there alone.
            Verb::Insert => (end..stop).find(|at| {
                self.is(*at, "SET") && self.is(at - 1, "UPDATE") && self.tokens[*at].depth == depth
            }),
            Verb::Delete | Verb::Merge => None,
        };
        let after_set = set.unwrap_or(end);
        let from = match verb {
            Verb::Update => self.find(after_set..stop, depth, &["FROM"]),
            Verb::Delete => self.find(end..stop, depth, &["USING"]),
            Verb::Insert | Verb::Merge => None,
        };
        let where_ = self.find(after_set..stop, depth, &["WHERE"]);
        let conflict = (end..stop).any(|at| {
            self.is(at, "CONFLICT") && self.is(at - 1, "ON") && self.tokens[at].depth == depth
        });
        let assigned = match (verb, set) {
            (Verb::Merge, _) => self.merge_assigned(end..stop),
            (_, Some(set)) => self.assigned(set + 1, from.or(where_).unwrap_or(stop), depth),
            _ => Vec::new(),
        };
        Some(Dml {
            verb,
            target,
            target_tokens: start..end,
            qualifier: qualifier.to_owned(),
            assigned,
            from,
            where_,
            returning,
            conflict,
            body,
        })
    }

    /// `AS a`, or for all but INSERT a bare `a`.
    fn alias(&self, verb: Verb, at: usize) -> Option<(&'a str, usize)> {
        if self.is(at, "AS") {
            self.identifier(at + 1)?;
            return Some((self.text(at + 1), at + 2));
        }
        let bare = verb != Verb::Insert
            && self.identifier(at).is_some()
            && !self.is_any(at, &["SET", "USING", "WHERE", "RETURNING"]);
        bare.then(|| (self.text(at), at + 1))
    }

    /// The columns assigned in `a = …, b.c = …, d[1] = …, (e, f) = …`.
    fn assigned(&self, start: usize, end: usize, depth: u32) -> Vec<String> {
        let mut columns = Vec::new();
        let mut expected = true;
        for at in start..end {
            let token = &self.tokens[at];
            if token.depth == depth && self.symbol(at) == Some(b',') {
                expected = true;
            } else if expected && token.depth == depth && self.symbol(at) == Some(b'(') {
                let close = (at + 1..end).find(|at| self.tokens[*at].depth == depth);
                columns.extend((at + 1..close.unwrap_or(end)).filter_map(|at| self.identifier(at)));
                expected = false;
            } else if expected {
                columns.extend(self.identifier(at));
                expected = false;
            }
        }
        columns
    }

    /// The columns assigned by any `UPDATE SET` of a MERGE.
    fn merge_assigned(&self, range: Range<usize>) -> Vec<String> {
        let Some(depth) = self.tokens.get(range.start).map(|token| token.depth) else {
            return Vec::new();
        };
        let sets = range.clone().filter(|at| {
            self.is(*at, "SET") && at.checked_sub(1).is_some_and(|at| self.is(at, "UPDATE"))
        });
        sets.flat_map(|set| {
            let end = self.find(set..range.end, depth, &["WHEN"]).unwrap_or(range.end);
            self.assigned(set + 1, end, depth)
        })
        .collect()
    }
}
