//! What clients were refused while MySQL answers, by statement.
//!
//! ```text
//! answer: 0A000 ──text, construct──▶ [`Seen::refused`] ──[`Seen::list`]──▶ admin
//! ```
//!
//! Invariant: as for every statement that is listed, no literal and no comment. PostgreSQL may never have
//! accepted such a text, so what looks like a name in it need not be one: of a statement that was not seen
//! before, names are listed only if it can be parsed, and quoted ones not at all. Bounded by the number of
//! statements; counts are this process's own, since it started.

use std::sync::atomic::Ordering;
use std::time::Instant;

use std::collections::HashMap;

use super::{Fingerprint, Line, Readiness, Seen, lock, text};
use crate::sql::lexer::{Kind, Lexer, Token};
use crate::sql::parse::parse;

/// How often, and when first and last, in microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusals {
    pub count: u64,
    pub first: i64,
    pub last: i64,
}

/// One statement's.
#[derive(Debug)]
pub(super) struct Refusal {
    text: String,
    /// The construct, as in [`Readiness::Refused`].
    why: String,
    times: Refusals,
}

impl Seen {
    /// A client was refused this statement, for a construct that holds no value.
    pub fn refused(&self, sql: &str, why: &str, now: Instant) {
        self.metrics.refused.inc();
        let fingerprint = Fingerprint::of(sql);
        let at = self.micros(self.nanos(now));
        let mut refusals = lock(&self.refusals);
        if let Some(known) = refusals.get_mut(&fingerprint) {
            known.times.count += 1;
            known.times.last = at;
            why.clone_into(&mut known.why);
            return;
        }
        if self.statements_max.load(Ordering::Relaxed) <= refusals.len() {
            self.metrics.unlisted.inc();
            return;
        }
        let times = Refusals { count: 1, first: at, last: at };
        let refusal = Refusal { text: careful(sql), why: why.to_owned(), times };
        refusals.insert(fingerprint, refusal);
    }

    /// To the lines of the statements that were seen, or beside them.
    pub(super) fn add_refusals(&self, lines: &mut HashMap<Fingerprint, Line>) {
        for (fingerprint, refusal) in lock(&self.refusals).iter() {
            let Refusal { text, why, times } = refusal;
            let readiness = Readiness::Refused(why.clone());
            let line = lines.entry(*fingerprint).or_insert_with(|| Line {
                fingerprint: *fingerprint,
                text: text.clone(),
                kind: "other".to_owned(),
                reason: None,
                count: 0,
                first: times.first,
                last: times.last,
                readiness: readiness.clone(),
                compared: super::Compared::default(),
                refused: None,
            });
            // What has happened counts for more than what was judged of it.
            line.readiness = readiness;
            line.last = line.last.max(times.last);
            line.refused = Some(*times);
        }
    }
}

/// A text that no server has accepted.
fn careful(sql: &str) -> String {
    let tokens: Vec<Token> = Lexer::new(sql.as_bytes()).collect();
    if parse(sql, &tokens).is_err() {
        let first = tokens.first().filter(|token| token.kind == Kind::Word);
        let first = first.map(|token| String::from_utf8_lossy(token.text(sql.as_bytes())));
        let is_keyword = |word: &str| WORDS.iter().any(|known| known.eq_ignore_ascii_case(word));
        let first = first.filter(|word| is_keyword(word));
        return format!("{} …", first.as_deref().unwrap_or("?"));
    }
    let mut hidden = String::with_capacity(sql.len());
    let mut end = 0;
    for token in &tokens {
        hidden.push_str(&sql[end..token.start]);
        match token.kind {
            Kind::Quoted => hidden.push_str("\"…\""),
            _ => hidden.push_str(&sql[token.start..token.end]),
        }
        end = token.end;
    }
    text(&hidden)
}

/// With which statements begin that are not parsed.
const WORDS: [&str; 16] = [
    "SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "TABLE", "VALUES", "MERGE", "CREATE", "ALTER",
    "DROP", "COPY", "DO", "CALL", "LOCK", "SET",
];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus::Registry;

    use super::super::SeenMetrics;
    use super::*;

    #[test]
    fn refusals_are_counted_by_statement_and_hold_no_value() {
        let metrics = SeenMetrics::register(&Registry::new()).unwrap();
        let seen = Seen::new(2, Instant::now(), metrics);
        let later = seen.base + Duration::from_secs(3);
        seen.refused("SELECT nextval(\"bob@example.org\")", "nextval", seen.base);
        seen.refused("SELECT nextval(\"bob@example.org\")", "nextval", later);
        seen.refused("secret words 'x'", "a statement", seen.base);
        // No room, and counted all the same.
        seen.refused("LISTEN news", "LISTEN", seen.base);
        let lines = seen.list();
        let of = |text: &str| lines.iter().find(|line| line.text == text);
        let listen = of("SELECT nextval(\"…\")").unwrap_or_else(|| panic!("{lines:#?}"));
        let times = Refusals { count: 2, first: 0, last: 3_000_000 };
        assert_eq!(listen.refused, Some(times));
        assert_eq!(listen.readiness, Readiness::Refused("nextval".to_owned()));
        assert!(of("? …").is_some(), "{lines:#?}");
        assert_eq!((lines.len(), seen.metrics.refused.get()), (2, 4));
        seen.forget(&[listen.fingerprint]);
        assert_eq!(seen.list().len(), 1);
    }
}
