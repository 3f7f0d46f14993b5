//! What a read's text says about its rows: whether it may be run again, and what of them it fixes.
//!
//! ```text
//! tokens ──▶ volatile, locking? ──▶ never tried
//!        ──▶ ORDER BY, LIMIT, what is open inside ──▶ compare
//! ```
//!
//! Invariant: what is not sure is not held against the secondary. A read whose text leaves open which
//! rows it returns, or in which order, is equal where it is equal, and undetermined where it is not.

use crate::sql::lexer::{Kind, Lexer, Token};

/// A read that may be run again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// What the outermost ORDER BY names, as far as it can be told.
    pub(super) order: Vec<Key>,
    /// The outermost LIMIT, OFFSET or FETCH may leave rows out.
    pub(super) limited: bool,
    /// Something inside does not fix its rows: LIMIT in a subquery, DISTINCT ON, row_number(), an
    /// aggregate that depends on an order that nobody gave.
    pub(super) open: bool,
    /// One FROM with one table, at the outermost level, and no set operation.
    pub(super) single: bool,
    /// The texts of the select list, where no `*` is among them.
    items: Option<Vec<String>>,
}

/// One sort key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// By the column's place, from 0.
    Place(usize),
    /// By a column's name, or by an expression: tokens in lower case where they are not quoted.
    Text { text: String, name: Option<String> },
}

/// Functions that give something else each time, ask the session, or do something.
const VOLATILE: &[&str] = &[
    "age",
    "clock_timestamp",
    "currval",
    "current_database",
    "current_query",
    "current_schema",
    "current_schemas",
    "current_setting",
    "format_type",
    "gen_random_bytes",
    "gen_random_uuid",
    "gen_salt",
    "inet_client_addr",
    "inet_client_port",
    "inet_server_addr",
    "inet_server_port",
    "lastval",
    "nextval",
    "now",
    "random",
    "random_normal",
    "set_config",
    "setseed",
    "setval",
    "statement_timestamp",
    "timeofday",
    "transaction_timestamp",
    "txid_current",
    "uuidv4",
    "uuidv7",
    "version",
];
const VOLATILE_STARTS: &[&str] =
    &["pg_", "lo_", "dblink", "has_", "txid_", "uuid_generate_", "query_to_", "table_to_"];
/// The same, as words without brackets.
const VOLATILE_WORDS: &[&str] = &[
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "localtime",
    "localtimestamp",
    "session_user",
    "system_user",
    "tablesample",
    "user",
];
/// Literals that are the present.
const PRESENT: &[&str] = &["now", "today", "tomorrow", "yesterday", "allballs"];
/// What depends on the order in which rows come, unless one is given.
const ORDERED: &[&str] = &[
    "array_agg",
    "first_value",
    "json_agg",
    "json_object_agg",
    "jsonb_agg",
    "jsonb_object_agg",
    "lag",
    "last_value",
    "lead",
    "nth_value",
    "ntile",
    "row_number",
    "string_agg",
    "xmlagg",
];
/// Of these an order within the brackets is enough.
const AGGREGATES_END: &str = "_agg";

impl Reading {
    /// `None` for what must not be run again.
    pub(super) fn of(sql: &str) -> Option<Self> {
        let tokens: Vec<Token> = Lexer::new(sql.as_bytes()).collect();
        let text = Text { sql, tokens: &tokens };
        if text.is_volatile() || text.locks() {
            return None;
        }
        let outer = |word: &str| text.find(0, word);
        let limited = ["LIMIT", "OFFSET", "FETCH"].iter().any(|word| outer(word).is_some());
        let sets = ["UNION", "INTERSECT", "EXCEPT"].iter().any(|word| outer(word).is_some());
        let with = text.is(0, "WITH");
        let from = outer("FROM").map_or(tokens.len(), |from| from);
        let single = !sets && !with && text.is(0, "SELECT") && text.names_one(from);
        let items = (!sets && text.is(0, "SELECT")).then(|| text.items(from)).flatten();
        Some(Self { order: text.order(), limited, open: text.is_open(), single, items })
    }

    /// The columns that the rows are sorted by, as far as they can be told from the first one on.
    pub(super) fn sorted_by(&self, names: &[String]) -> Vec<usize> {
        let column = |key: &Key| match key {
            Key::Place(at) => Some(*at).filter(|at| *at < names.len()),
            Key::Text { text, name } => self.column(text, name.as_deref(), names),
        };
        self.order.iter().map_while(column).collect()
    }

    fn column(&self, text: &str, name: Option<&str>, names: &[String]) -> Option<usize> {
        let mut named = names.iter().enumerate().filter(|(_, known)| Some(&known[..]) == name);
        let bare = !text.contains('.');
        match (named.next(), named.next()) {
            // A bare name is the result's column first of all; a qualified one is it for sure only
            // where there is one table.
            (Some((at, _)), None) if bare || self.single => Some(at),
            _ => {
                let items = self.items.as_ref().filter(|items| items.len() == names.len())?;
                items.iter().position(|item| item == text)
            }
        }
    }
}

/// A statement and its tokens.
#[derive(Clone, Copy)]
struct Text<'a> {
    sql: &'a str,
    tokens: &'a [Token],
}

impl Text<'_> {
    fn is(&self, at: usize, word: &str) -> bool {
        self.tokens.get(at).is_some_and(|token| token.is(self.sql.as_bytes(), word))
    }

    fn symbol(&self, at: usize) -> Option<u8> {
        match self.tokens.get(at)?.kind {
            Kind::Symbol(byte) => Some(byte),
            _ => None,
        }
    }

    /// The word, outside all brackets, from a token on.
    fn find(&self, from: usize, word: &str) -> Option<usize> {
        (from..self.tokens.len()).find(|at| self.tokens[*at].depth == 0 && self.is(*at, word))
    }

    fn word(&self, at: usize) -> String {
        let token = &self.tokens[at];
        let text = String::from_utf8_lossy(token.text(self.sql.as_bytes()));
        match token.kind {
            Kind::Quoted => text.trim_matches('"').to_owned(),
            _ => text.to_ascii_lowercase(),
        }
    }

    /// After AS or a dot a word is a name.
    fn is_name(&self, at: usize) -> bool {
        0 < at && (self.symbol(at - 1) == Some(b'.') || self.is(at - 1, "AS"))
    }

    fn is_volatile(&self) -> bool {
        (0..self.tokens.len()).any(|at| match self.tokens[at].kind {
            Kind::Word | Kind::Quoted => {
                let word = self.word(at);
                let called = self.symbol(at + 1) == Some(b'(');
                let function = VOLATILE.contains(&&word[..])
                    || VOLATILE_STARTS.iter().any(|start| word.starts_with(start));
                called && function
                    || !called
                        && self.tokens[at].kind == Kind::Word
                        && !self.is_name(at)
                        && self.symbol(at + 1) != Some(b'.')
                        && VOLATILE_WORDS.contains(&&word[..])
            }
            Kind::String => {
                let text = self.word(at);
                let inner = text.trim_start_matches('e').trim_matches('\'').trim();
                PRESENT.contains(&inner)
            }
            _ => false,
        })
    }

    /// FOR UPDATE and its like, at any depth; SELECT INTO.
    fn locks(&self) -> bool {
        (0..self.tokens.len()).any(|at| {
            self.is(at, "INTO")
                || self.is(at, "FOR")
                    && ["UPDATE", "SHARE", "NO", "KEY"].iter().any(|word| self.is(at + 1, word))
        })
    }

    fn is_open(&self) -> bool {
        (0..self.tokens.len()).any(|at| {
            let inner = 0 < self.tokens[at].depth;
            let limits = inner
                && ["LIMIT", "OFFSET", "FETCH"].iter().any(|word| self.is(at, word))
                && !self.is_name(at);
            let distinct = self.is(at, "DISTINCT") && self.is(at + 1, "ON");
            limits || distinct || self.depends_on_order(at)
        })
    }

    fn depends_on_order(&self, at: usize) -> bool {
        if self.symbol(at + 1) != Some(b'(') || self.tokens[at].kind != Kind::Word {
            return false;
        }
        let word = self.word(at);
        ORDERED.contains(&&word[..]) && !(word.ends_with(AGGREGATES_END) && self.orders(at + 1))
    }

    /// ORDER BY right within the brackets that open at a token.
    fn orders(&self, open: usize) -> bool {
        let depth = self.tokens[open].depth;
        let inside = self.tokens[open + 1..].iter().take_while(|token| depth < token.depth);
        inside.enumerate().any(|(n, token)| {
            token.depth == depth + 1
                && token.is(self.sql.as_bytes(), "ORDER")
                && self.is(open + 2 + n, "BY")
        })
    }

    /// One table after FROM: no comma and no JOIN, up to what follows FROM.
    fn names_one(&self, from: usize) -> bool {
        const ENDS: &[&str] = &["WHERE", "GROUP", "HAVING", "WINDOW", "ORDER", "LIMIT", "OFFSET"];
        let rest = (from + 1..self.tokens.len())
            .filter(|at| self.tokens[*at].depth == 0)
            .take_while(|at| !ENDS.iter().any(|word| self.is(*at, word)));
        let mut several =
            rest.clone().any(|at| self.is(at, "JOIN") || self.symbol(at) == Some(b','));
        several |= rest.clone().next().is_none_or(|at| self.symbol(at) == Some(b'('));
        from < self.tokens.len() && !several
    }

    /// The select list's expressions without their names.
    fn items(&self, from: usize) -> Option<Vec<String>> {
        let start = if self.is(1, "DISTINCT") || self.is(1, "ALL") { 2 } else { 1 };
        let parts = self.split(start, from);
        let mut items = Vec::new();
        for (first, end) in parts {
            if (first..end).any(|at| self.tokens[at].depth == 0 && self.symbol(at) == Some(b'*')) {
                return None;
            }
            let named =
                (first..end).rev().find(|at| self.tokens[*at].depth == 0 && self.is(*at, "AS"));
            items.push(self.joined(first, named.unwrap_or(end)));
        }
        Some(items)
    }

    /// Ranges between commas outside all brackets.
    fn split(&self, start: usize, end: usize) -> Vec<(usize, usize)> {
        let mut parts = Vec::new();
        let mut first = start;
        for at in start..end.min(self.tokens.len()) {
            if self.tokens[at].depth == 0 && self.symbol(at) == Some(b',') {
                parts.push((first, at));
                first = at + 1;
            }
        }
        parts.push((first, end.min(self.tokens.len())));
        parts
    }

    fn joined(&self, first: usize, end: usize) -> String {
        (first..end).map(|at| self.word(at)).collect::<Vec<_>>().join(" ")
    }

    fn order(&self) -> Vec<Key> {
        const ENDS: &[&str] = &["LIMIT", "OFFSET", "FETCH", "FOR"];
        // The last one at the outermost level: in front of it there may be others in WITH only.
        let Some(order) = self.find(0, "ORDER").filter(|at| self.is(at + 1, "BY")) else {
            return Vec::new();
        };
        let end = (order + 2..self.tokens.len())
            .find(|at| {
                self.tokens[*at].depth == 0 && ENDS.iter().any(|word| self.is(*at, word))
                    || self.symbol(*at) == Some(b';')
            })
            .unwrap_or(self.tokens.len());
        self.split(order + 2, end).into_iter().map(|(first, end)| self.key(first, end)).collect()
    }

    fn key(&self, first: usize, mut end: usize) -> Key {
        const AFTER: &[&str] = &["ASC", "DESC", "NULLS", "FIRST", "LAST"];
        while first < end && AFTER.iter().any(|word| self.is(end - 1, word)) {
            end -= 1;
        }
        let text = self.joined(first, end);
        match (end - first, self.tokens.get(first).map(|token| token.kind)) {
            (1, Some(Kind::Number)) => {
                match text.parse::<usize>().ok().and_then(|n| n.checked_sub(1)) {
                    Some(at) => Key::Place(at),
                    None => Key::Text { text, name: None },
                }
            }
            (1, Some(Kind::Word | Kind::Quoted)) => Key::Text { name: Some(text.clone()), text },
            // a.b, s.a.b
            (3 | 5, _) if (first + 1..end).step_by(2).all(|at| self.symbol(at) == Some(b'.')) => {
                Key::Text { name: Some(self.word(end - 1)), text }
            }
            _ => Key::Text { text, name: None },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_answer_otherwise_or_do_something_is_never_run_again() {
        for sql in [
            "SELECT random()",
            "SELECT * FROM t WHERE at < now()",
            "SELECT * FROM t WHERE at < CURRENT_TIMESTAMP",
            "SELECT * FROM t WHERE at < 'now'::timestamptz",
            "SELECT * FROM t FOR UPDATE",
            "SELECT * FROM (SELECT * FROM t FOR NO KEY UPDATE SKIP LOCKED) x",
            "SELECT pg_advisory_lock(1)",
            "SELECT \"pg_notify\"('a', 'b')",
            "SELECT nextval('s')",
            "SELECT current_user",
            "SELECT uuid_generate_v4()",
            "SELECT * INTO x FROM t",
            "SELECT * FROM t TABLESAMPLE SYSTEM (1)",
        ] {
            assert_eq!(Reading::of(sql), None, "{sql}");
        }
        for sql in [
            "SELECT now FROM t",
            "SELECT u.user, user.name FROM t AS user",
            "SELECT \"current_date\" FROM t",
            "SELECT substring(a FOR 3) FROM t",
            "SELECT 'today I went out'",
        ] {
            assert!(Reading::of(sql).is_some(), "{sql}");
        }
    }

    #[track_caller]
    fn sorted(sql: &str, names: &[&str], expected: &[usize]) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(Reading::of(sql).unwrap().sorted_by(&names), expected, "{sql}");
    }

    #[test]
    fn sort_keys_are_columns_of_the_result_as_far_as_that_is_sure() {
        sorted("SELECT a, b FROM t ORDER BY b DESC NULLS LAST, 1", &["a", "b"], &[1, 0]);
        sorted("SELECT * FROM \"T\" ORDER BY \"T\".\"Id\" LIMIT 3", &["Id", "b"], &[0]);
        sorted("SELECT x.id FROM x JOIN y ON true ORDER BY y.id", &["id"], &[]);
        sorted("SELECT x.id, y.id AS i FROM x JOIN y ON true ORDER BY y.id, z", &["id", "i"], &[1]);
        sorted("SELECT lower(a) AS l FROM t ORDER BY lower(a)", &["l"], &[0]);
        sorted("SELECT a FROM t ORDER BY b, a", &["a"], &[]);
        sorted("SELECT a, sum(b) OVER (ORDER BY c) FROM t", &["a", "sum"], &[]);
        sorted("SELECT a FROM t UNION SELECT b FROM u ORDER BY a", &["a"], &[0]);
        sorted("SELECT a FROM t ORDER BY a + 1", &["a"], &[]);
    }

    #[test]
    fn what_is_left_open_is_known() {
        let open = |sql: &str| Reading::of(sql).unwrap().open;
        for sql in [
            "SELECT * FROM (SELECT * FROM t LIMIT 1) x",
            "SELECT DISTINCT ON (a) a, b FROM t",
            "SELECT array_agg(a) FROM t",
            "SELECT row_number() OVER (ORDER BY a) FROM t",
        ] {
            assert!(open(sql), "{sql}");
        }
        for sql in [
            "SELECT * FROM t LIMIT 1",
            "SELECT DISTINCT a FROM t",
            "SELECT array_agg(a ORDER BY a) FROM t",
            "SELECT rank() OVER (ORDER BY a) FROM t",
        ] {
            assert!(!open(sql), "{sql}");
        }
        let limited = |sql: &str| Reading::of(sql).unwrap().limited;
        assert!(
            limited("SELECT * FROM t LIMIT $1") && !limited("SELECT * FROM (SELECT 1 LIMIT 1) x")
        );
        let single = |sql: &str| Reading::of(sql).unwrap().single;
        assert!(single("SELECT * FROM a.t AS x WHERE y IN (1, 2)"));
        assert!(!single("SELECT * FROM t, u") && !single("SELECT * FROM t LEFT JOIN u USING (a)"));
        assert!(!single("WITH x AS (SELECT 1) SELECT * FROM x") && !single("SELECT 1"));
    }
}
