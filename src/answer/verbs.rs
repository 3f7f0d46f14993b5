//! Statements that the session answers itself: transactions, settings, and what is refused by name.
//!
//! ```text
//! tokens ──[`Verb::of`]──▶ Verb        none: it is for the translator
//! ```
//!
//! Invariant: a verb is recognised by all of its words or not at all; one that is not understood in full
//! is refused, never taken for something shorter.

use crate::answer::error::PgError;
use crate::sql::lexer::{Kind, Token};

/// `ISOLATION LEVEL`, with what MySQL makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Isolation {
    ReadUncommitted,
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

impl Isolation {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::ReadUncommitted => "read uncommitted",
            Self::ReadCommitted => "read committed",
            Self::RepeatableRead => "repeatable read",
            Self::Serializable => "serializable",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        let all =
            [Self::ReadUncommitted, Self::ReadCommitted, Self::RepeatableRead, Self::Serializable];
        all.into_iter().find(|level| level.as_str().eq_ignore_ascii_case(name))
    }
}

/// What BEGIN or SET TRANSACTION asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Characteristics {
    pub(super) isolation: Option<Isolation>,
    pub(super) read_only: Option<bool>,
    pub(super) deferrable: Option<bool>,
}

/// Whose value a SET changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Session,
    /// To the end of the transaction.
    Local,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Begin(&'static str, Characteristics),
    Commit {
        chain: bool,
    },
    Rollback {
        chain: bool,
    },
    Savepoint(String),
    Release(String),
    RollbackTo(String),
    SetTransaction(Characteristics),
    SetSessionCharacteristics(Characteristics),
    /// `None` is DEFAULT.
    Set {
        name: String,
        value: Option<String>,
        scope: Scope,
    },
    Reset(String),
    ResetAll,
    Show(String),
    ShowAll,
    /// All, plans, sequences or temporary tables, as the tag says it.
    Discard(&'static str),
    /// A statement's name; `None` for all.
    Deallocate(Option<String>),
    /// Does nothing here, and says so with this tag.
    Nothing(&'static str),
    /// Named in the error.
    Refused(&'static str),
}

/// What is refused by its first words, with the name it has in the error.
const REFUSED: &[(&[&str], &str)] = &[
    (&["COPY"], "COPY"),
    (&["DO"], "DO"),
    (&["CALL"], "CALL"),
    (&["LISTEN"], "LISTEN"),
    (&["NOTIFY"], "NOTIFY"),
    (&["LOCK"], "LOCK TABLE"),
    (&["DECLARE"], "DECLARE CURSOR"),
    (&["FETCH"], "FETCH"),
    (&["MOVE"], "MOVE"),
    (&["PREPARE", "TRANSACTION"], "PREPARE TRANSACTION"),
    (&["COMMIT", "PREPARED"], "COMMIT PREPARED"),
    (&["ROLLBACK", "PREPARED"], "ROLLBACK PREPARED"),
    (&["PREPARE"], "PREPARE as a statement"),
    (&["EXECUTE"], "EXECUTE as a statement"),
    (&["CREATE"], "CREATE"),
    (&["ALTER"], "ALTER"),
    (&["DROP"], "DROP"),
    (&["GRANT"], "GRANT"),
    (&["REVOKE"], "REVOKE"),
    (&["COMMENT"], "COMMENT"),
    (&["SECURITY"], "SECURITY LABEL"),
    (&["REINDEX"], "REINDEX"),
    (&["CLUSTER"], "CLUSTER"),
    (&["REFRESH"], "REFRESH MATERIALIZED VIEW"),
    (&["REASSIGN"], "REASSIGN OWNED"),
    (&["IMPORT"], "IMPORT FOREIGN SCHEMA"),
    (&["LOAD"], "LOAD"),
    (&["EXPLAIN"], "EXPLAIN"),
];

/// What changes no answer: MySQL looks after itself.
const NOTHING: &[(&[&str], &str)] = &[
    (&["UNLISTEN"], "UNLISTEN"),
    (&["CLOSE", "ALL"], "CLOSE CURSOR ALL"),
    (&["CHECKPOINT"], "CHECKPOINT"),
    (&["VACUUM"], "VACUUM"),
    (&["ANALYZE"], "ANALYZE"),
];

impl Verb {
    /// `None` for what is no verb of the session's.
    pub(super) fn of(sql: &str, tokens: &[Token]) -> Result<Option<Self>, PgError> {
        let mut words = Words { sql: sql.as_bytes(), tokens };
        let verb = words.verb()?;
        match (&verb, words.tokens) {
            (Some(Self::Refused(_) | Self::Nothing(_)) | None, _) | (_, []) => Ok(verb),
            (_, [next, ..]) => {
                let text = String::from_utf8_lossy(next.text(sql.as_bytes())).into_owned();
                Err(PgError::new("42601", format!("syntax error at or near \"{text}\"")))
            }
        }
    }
}

struct Words<'a> {
    sql: &'a [u8],
    tokens: &'a [Token],
}

impl Words<'_> {
    fn has(&self, words: &[&str]) -> bool {
        let fits = |(token, word): (&Token, &&str)| token.is(self.sql, word);
        words.len() <= self.tokens.len() && self.tokens.iter().zip(words).all(fits)
    }

    fn take(&mut self, words: &[&str]) -> bool {
        let there = self.has(words);
        if there {
            self.tokens = &self.tokens[words.len()..];
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

    fn verb(&mut self) -> Result<Option<Verb>, PgError> {
        let begins = |words: &Self, list: &[(&[&str], &'static str)]| {
            list.iter().find(|(first, _)| words.has(first)).map(|(_, name)| *name)
        };
        if let Some(name) = begins(self, REFUSED) {
            return Ok(Some(Verb::Refused(name)));
        }
        if let Some(tag) = begins(self, NOTHING) {
            return Ok(Some(Verb::Nothing(tag)));
        }
        let verb = if self.take(&["BEGIN"]) {
            let _ = self.take(&["WORK"]) || self.take(&["TRANSACTION"]);
            Verb::Begin("BEGIN", self.characteristics()?)
        } else if self.take(&["START", "TRANSACTION"]) {
            Verb::Begin("START TRANSACTION", self.characteristics()?)
        } else if self.take(&["COMMIT"]) || self.take(&["END"]) {
            Verb::Commit { chain: self.chain() }
        } else if self.take(&["ROLLBACK"]) || self.take(&["ABORT"]) {
            let _ = self.take(&["WORK"]) || self.take(&["TRANSACTION"]);
            match self.take(&["TO"]) {
                true => {
                    self.take(&["SAVEPOINT"]);
                    Verb::RollbackTo(self.name()?)
                }
                false => Verb::Rollback { chain: self.chain() },
            }
        } else if self.take(&["SAVEPOINT"]) {
            Verb::Savepoint(self.name()?)
        } else if self.take(&["RELEASE"]) {
            self.take(&["SAVEPOINT"]);
            Verb::Release(self.name()?)
        } else if self.take(&["SET"]) {
            self.set()?
        } else if self.take(&["RESET"]) {
            match self.take(&["ALL"]) {
                true => Verb::ResetAll,
                false => Verb::Reset(self.setting()?),
            }
        } else if self.take(&["SHOW"]) {
            match self.take(&["ALL"]) {
                true => Verb::ShowAll,
                false => Verb::Show(self.setting()?),
            }
        } else if self.take(&["DISCARD"]) {
            self.discard()?
        } else if self.take(&["DEALLOCATE"]) {
            self.take(&["PREPARE"]);
            match self.take(&["ALL"]) {
                true => Verb::Deallocate(None),
                false => Verb::Deallocate(Some(self.name()?)),
            }
        } else {
            return Ok(None);
        };
        Ok(Some(verb))
    }

    fn discard(&mut self) -> Result<Verb, PgError> {
        let what = [
            ("ALL", "DISCARD ALL"),
            ("PLANS", "DISCARD PLANS"),
            ("SEQUENCES", "DISCARD SEQUENCES"),
            ("TEMP", "DISCARD TEMP"),
            ("TEMPORARY", "DISCARD TEMP"),
        ];
        let found = what.iter().find(|(word, _)| self.has(&[word]));
        let (word, tag) = found.ok_or_else(|| self.error())?;
        self.take(&[word]);
        Ok(Verb::Discard(tag))
    }

    /// `[WORK | TRANSACTION] [AND [NO] CHAIN]`
    fn chain(&mut self) -> bool {
        let _ = self.take(&["WORK"]) || self.take(&["TRANSACTION"]);
        let _ = self.take(&["AND", "NO", "CHAIN"]);
        self.take(&["AND", "CHAIN"])
    }

    fn characteristics(&mut self) -> Result<Characteristics, PgError> {
        let mut found = Characteristics::default();
        loop {
            if self.take(&["ISOLATION", "LEVEL"]) {
                found.isolation = Some(self.isolation()?);
            } else if self.take(&["READ", "ONLY"]) {
                found.read_only = Some(true);
            } else if self.take(&["READ", "WRITE"]) {
                found.read_only = Some(false);
            } else if self.take(&["NOT", "DEFERRABLE"]) {
                found.deferrable = Some(false);
            } else if self.take(&["DEFERRABLE"]) {
                found.deferrable = Some(true);
            } else {
                return Ok(found);
            }
            self.symbol(b',');
        }
    }

    fn isolation(&mut self) -> Result<Isolation, PgError> {
        for (words, level) in [
            (&["READ", "UNCOMMITTED"][..], Isolation::ReadUncommitted),
            (&["READ", "COMMITTED"], Isolation::ReadCommitted),
            (&["REPEATABLE", "READ"], Isolation::RepeatableRead),
            (&["SERIALIZABLE"], Isolation::Serializable),
        ] {
            if self.take(words) {
                return Ok(level);
            }
        }
        Err(self.error())
    }

    fn set(&mut self) -> Result<Verb, PgError> {
        if self.take(&["TRANSACTION"]) {
            if self.has(&["SNAPSHOT"]) {
                return Ok(Verb::Refused("SET TRANSACTION SNAPSHOT"));
            }
            return self.characteristics().map(Verb::SetTransaction);
        }
        if self.take(&["SESSION", "CHARACTERISTICS", "AS", "TRANSACTION"]) {
            return self.characteristics().map(Verb::SetSessionCharacteristics);
        }
        if self.has(&["CONSTRAINTS"]) {
            // MySQL checks at once, which is the stricter of the two.
            return Ok(Verb::Nothing("SET CONSTRAINTS"));
        }
        let scope = if self.take(&["LOCAL"]) { Scope::Local } else { Scope::Session };
        self.take(&["SESSION"]);
        if self.take(&["ROLE", "NONE"]) || self.take(&["AUTHORIZATION", "DEFAULT"]) {
            // It has no other.
            return Ok(Verb::Nothing("SET"));
        }
        let name = if self.take(&["TIME", "ZONE"]) {
            return self.time_zone(scope);
        } else if self.take(&["NAMES"]) {
            "client_encoding".to_owned()
        } else if self.take(&["SCHEMA"]) {
            "search_path".to_owned()
        } else {
            let name = self.setting()?;
            if !(self.symbol(b'=') || self.take(&["TO"])) {
                return Err(self.error());
            }
            name
        };
        if self.take(&["DEFAULT"]) {
            return Ok(Verb::Set { name, value: None, scope });
        }
        let value = Some(self.values()?);
        Ok(Verb::Set { name, value, scope })
    }

    fn time_zone(&mut self, scope: Scope) -> Result<Verb, PgError> {
        let name = "timezone".to_owned();
        if self.take(&["LOCAL"]) || self.take(&["DEFAULT"]) {
            return Ok(Verb::Set { name, value: None, scope });
        }
        let interval = self.take(&["INTERVAL"]);
        let minus = !interval && self.symbol(b'-');
        let value = self.value()?;
        let value = if minus { format!("-{value}") } else { value };
        if interval {
            self.take(&["HOUR", "TO", "MINUTE"]);
        }
        // A number of hours, or an interval, counts east.
        let value = match interval || value.parse::<f64>().is_ok() {
            true => format!("interval {value}"),
            false => value,
        };
        Ok(Verb::Set { name, value: Some(value), scope })
    }

    /// A list becomes what SHOW prints of it: names in quotes where they need them.
    fn values(&mut self) -> Result<String, PgError> {
        let mut values = vec![self.value()?];
        while self.symbol(b',') {
            values.push(self.value()?);
        }
        let quote = |value: &String| match is_plain_name(value) || value.is_empty() {
            true => value.clone(),
            false => format!("\"{}\"", value.replace('"', "\"\"")),
        };
        Ok(match &values[..] {
            [one] => one.clone(),
            several => several.iter().map(quote).collect::<Vec<_>>().join(", "),
        })
    }

    fn value(&mut self) -> Result<String, PgError> {
        let sign = if self.symbol(b'-') { "-" } else { "" };
        let Some((token, rest)) = self.tokens.split_first() else { return Err(self.error()) };
        let text = String::from_utf8_lossy(token.text(self.sql)).into_owned();
        let value = match token.kind {
            Kind::Number => text,
            Kind::String => plain_string(&text).ok_or_else(|| self.error())?,
            Kind::Word | Kind::Quoted => token.identifier(self.sql).ok_or_else(|| self.error())?,
            _ => return Err(self.error()),
        };
        self.tokens = rest;
        Ok(format!("{sign}{value}"))
    }

    /// `work_mem`, `app.user`, or one of the two that are written in words.
    fn setting(&mut self) -> Result<String, PgError> {
        if self.take(&["TIME", "ZONE"]) {
            return Ok("timezone".to_owned());
        }
        if self.take(&["TRANSACTION", "ISOLATION", "LEVEL"]) {
            return Ok("transaction_isolation".to_owned());
        }
        if self.take(&["SESSION", "AUTHORIZATION"]) {
            return Ok("session_authorization".to_owned());
        }
        let mut name = self.name()?;
        while self.symbol(b'.') {
            name = format!("{name}.{}", self.name()?);
        }
        Ok(name.to_ascii_lowercase())
    }

    fn name(&mut self) -> Result<String, PgError> {
        let first = self.tokens.first();
        let name = first.and_then(|token| token.identifier(self.sql));
        let name = name.ok_or_else(|| self.error())?;
        self.tokens = &self.tokens[1..];
        Ok(name)
    }

    fn error(&self) -> PgError {
        match self.tokens.first() {
            Some(token) => {
                let text = String::from_utf8_lossy(token.text(self.sql));
                PgError::new("42601", format!("syntax error at or near \"{text}\""))
            }
            None => PgError::new("42601", "syntax error at end of input"),
        }
    }
}

/// Whether a name needs no quotes.
pub(super) fn is_plain_name(name: &str) -> bool {
    let rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte == b'_')
        && name.bytes().all(rest)
}

/// The content of `'…'`; escapes and dollar quotes are not what settings are written with.
pub(super) fn plain_string(text: &str) -> Option<String> {
    let inner = text.strip_prefix('\'')?.strip_suffix('\'')?;
    Some(inner.replace("''", "'"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::lexer::Lexer;

    fn verb(sql: &str) -> Result<Option<Verb>, PgError> {
        let tokens: Vec<Token> = Lexer::new(sql.as_bytes()).collect();
        Verb::of(sql, &tokens)
    }

    #[track_caller]
    fn is(sql: &str, expected: Verb) {
        assert_eq!(verb(sql).unwrap().unwrap(), expected, "{sql}");
    }

    fn set(name: &str, value: Option<&str>, scope: Scope) -> Verb {
        Verb::Set { name: name.to_owned(), value: value.map(str::to_owned), scope }
    }

    #[test]
    fn transactions_are_read_with_their_characteristics() {
        let none = Characteristics::default();
        is("begin", Verb::Begin("BEGIN", none));
        is("start transaction", Verb::Begin("START TRANSACTION", none));
        let asked = Characteristics {
            isolation: Some(Isolation::RepeatableRead),
            read_only: Some(true),
            deferrable: None,
        };
        is("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY", Verb::Begin("BEGIN", asked));
        is("END", Verb::Commit { chain: false });
        is("commit work and chain", Verb::Commit { chain: true });
        is("ABORT", Verb::Rollback { chain: false });
        is("ROLLBACK TO SAVEPOINT \"A b\"", Verb::RollbackTo("A b".to_owned()));
        is("rollback transaction to S1", Verb::RollbackTo("s1".to_owned()));
        is("release x", Verb::Release("x".to_owned()));
        is(
            "SET TRANSACTION READ ONLY",
            Verb::SetTransaction(Characteristics { read_only: Some(true), ..none }),
        );
        is("COMMIT PREPARED 'x'", Verb::Refused("COMMIT PREPARED"));
    }

    #[test]
    fn settings_are_read_in_all_their_spellings() {
        is("SET application_name = 'a b'", set("application_name", Some("a b"), Scope::Session));
        is("set local Work_Mem to 7", set("work_mem", Some("7"), Scope::Local));
        is(
            "SET SESSION search_path TO a, \"B\"",
            set("search_path", Some("a, \"B\""), Scope::Session),
        );
        is("SET TIME ZONE 'UTC'", set("timezone", Some("UTC"), Scope::Session));
        is(
            "SET TIME ZONE INTERVAL '+00:00' HOUR TO MINUTE",
            set("timezone", Some("interval +00:00"), Scope::Session),
        );
        is("SET TIME ZONE -5", set("timezone", Some("interval -5"), Scope::Session));
        is("SET statement_timeout = DEFAULT", set("statement_timeout", None, Scope::Session));
        is("SET NAMES 'UTF8'", set("client_encoding", Some("UTF8"), Scope::Session));
        is("RESET ALL", Verb::ResetAll);
        is("show transaction isolation level", Verb::Show("transaction_isolation".to_owned()));
        is("SHOW app.user", Verb::Show("app.user".to_owned()));
        is("DISCARD TEMPORARY", Verb::Discard("DISCARD TEMP"));
        is("DEALLOCATE PREPARE ALL", Verb::Deallocate(None));
    }

    #[test]
    fn what_is_left_over_is_a_syntax_error_and_what_is_no_verb_is_none() {
        for sql in ["BEGIN x", "SET a", "SET a =", "COMMIT 1", "SHOW", "DISCARD x", "SAVEPOINT"] {
            assert_eq!(verb(sql).unwrap_err().code, "42601", "{sql}");
        }
        assert_eq!(verb("SELECT 1").unwrap(), None);
        assert_eq!(verb("INSERT INTO t VALUES (1)").unwrap(), None);
        is("COPY t TO STDOUT", Verb::Refused("COPY"));
        is("UNLISTEN *", Verb::Nothing("UNLISTEN"));
    }
}
