//! Whose a statement is, where the databases lead different tables.
//!
//! ```text
//! text ─▶ plan ──tables, steps, words──▶ [`Sorted`]
//! ```
//!
//! Invariant: a statement is said to be nobody's only if it is sure that either of them would do the same with
//! it; everything else that names no table of MySQL's is PostgreSQL's.

use super::end::Side;
use crate::plan::{PathChange, Plan, Step};
use crate::sql::lexer::{Lexer, Token, split};

/// Functions that answer the same on both sides, or do the same, or only concern the session.
const EITHERS: [&str; 15] = [
    "now",
    "version",
    "random",
    "gen_random_uuid",
    "clock_timestamp",
    "statement_timestamp",
    "transaction_timestamp",
    "timeofday",
    "current_setting",
    "set_config",
    "current_schema",
    "current_database",
    "coalesce",
    "upper",
    "lower",
];

/// What becomes of a statement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sorted {
    /// Nobody's: it names no table, and either would do.
    pub(super) side: Option<Side>,
    /// It sets what both have to know.
    pub(super) sets: bool,
}

impl Sorted {
    const POSTGRES: Self = Self { side: Some(Side::Postgres), sets: false };
    const EITHER: Self = Self { side: None, sets: false };
    const SETS: Self = Self { side: None, sets: true };

    /// Both, one after the other.
    fn and(self, other: Self) -> Self {
        let side = match (self.side, other.side) {
            (Some(Side::MySql), Some(Side::MySql) | None) | (None, Some(Side::MySql)) => {
                Some(Side::MySql)
            }
            (None, None) => None,
            // One that is of both is refused there.
            _ => Some(Side::Postgres),
        };
        Self { side, sets: self.sets || other.sets }
    }
}

/// Sorts a query string.
pub(super) fn sort(sql: &str, plan: &Plan) -> Sorted {
    let tables = match (plan.touches.here, plan.touches.elsewhere) {
        (false, false) => Sorted::EITHER,
        (false, true) => Sorted { side: Some(Side::MySql), sets: false },
        (true, _) => return Sorted::POSTGRES,
    };
    let tokens: Vec<_> = Lexer::new(sql.as_bytes()).collect();
    let texts = split(sql.as_bytes(), &tokens);
    let steps = plan.statements.iter().map(|planned| &planned.step);
    texts.into_iter().zip(steps).fold(tables, |sorted, (range, step)| {
        let tokens = &tokens[range];
        sorted.and(match step {
            // What names a table of MySQL's was counted already.
            _ if tables.side.is_some() && !matches!(step, Step::SearchPath(_) | Step::Other) => {
                Sorted::EITHER
            }
            step => of_step(step, sql, tokens),
        })
    })
}

fn of_step(step: &Step, sql: &str, tokens: &[Token]) -> Sorted {
    match step {
        Step::Begin
        | Step::Commit
        | Step::Transaction
        | Step::Savepoint(_)
        | Step::Release(_)
        | Step::RollbackTo(_) => Sorted::EITHER,
        // It ends with the transaction.
        Step::SearchPath(PathChange::Local(_)) => Sorted::EITHER,
        Step::SearchPath(_) | Step::Deallocate(_) => Sorted::SETS,
        Step::Read | Step::Other => of_words(sql, tokens),
        _ => Sorted::POSTGRES,
    }
}

fn of_words(sql: &str, tokens: &[Token]) -> Sorted {
    let is = |at: usize, words: &[&str]| {
        let token = tokens.get(at);
        token.is_some_and(|token| words.iter().any(|word| token.is(sql.as_bytes(), word)))
    };
    match () {
        () if is(0, &["SET"]) && is(1, &["LOCAL", "TRANSACTION", "CONSTRAINTS"]) => Sorted::EITHER,
        () if is(0, &["SET", "RESET", "DISCARD"]) => Sorted::SETS,
        () if is(0, &["SHOW"]) => Sorted::EITHER,
        () if is(0, &["SELECT", "VALUES"]) => {
            let called = called(sql, tokens);
            match called.iter().all(|name| EITHERS.contains(&name.as_str())) {
                true if called.iter().any(|name| name == "set_config") => Sorted::SETS,
                true => Sorted::EITHER,
                false => Sorted::POSTGRES,
            }
        }
        () => Sorted::POSTGRES,
    }
}

/// Words in front of a bracket.
fn called(sql: &str, tokens: &[Token]) -> Vec<String> {
    let opens = |token: &Token| token.text(sql.as_bytes()) == b"(";
    let pairs = tokens.windows(2).filter(|pair| opens(&pair[1]));
    pairs.filter_map(|pair| pair[0].identifier(sql.as_bytes())).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::catalog::{Catalog, Group};
    use crate::phase::{Phase, Situation};
    use crate::plan::{SearchPath, plan};

    fn situation() -> Situation {
        let mut catalog = Catalog::for_test(&["users", "sessions"].map(|name| (name, "id:int4*")));
        let tables = vec![catalog.relations["sessions"][0].oid];
        catalog.groups = vec![Group { name: "logins".into(), tables }];
        let moved = catalog.by_name(&crate::names::TableName::parse("sessions")).unwrap().id;
        let whole = Situation {
            phase: Phase::DualWrite,
            epoch: 1,
            catalog: Arc::new(catalog),
            server: 15,
            ..Situation::transparent()
        };
        Situation::clone(&whole.views(&[moved.unwrap()]).postgres)
    }

    #[track_caller]
    fn check(sql: &str, side: Option<Side>, sets: bool) {
        let plan = plan(sql, &situation(), &SearchPath::Unknown);
        assert_eq!(sort(sql, &plan), Sorted { side, sets }, "{sql}");
    }

    #[test]
    fn tables_decide() {
        let (postgres, mysql) = (Some(Side::Postgres), Some(Side::MySql));
        check("SELECT * FROM users", postgres, false);
        check("SELECT count(*) FROM sessions", mysql, false);
        check("INSERT INTO sessions VALUES (1)", mysql, false);
        check("BEGIN; DELETE FROM sessions; COMMIT", mysql, false);
        check("SELECT * FROM users JOIN sessions USING (id)", postgres, false);
        check("SELECT 1 FROM users; SELECT 1 FROM sessions", postgres, false);
        check("TRUNCATE sessions", mysql, false);
        check("COPY users FROM STDIN", postgres, false);
    }

    #[test]
    fn what_either_would_do_is_nobodys() {
        for sql in
            ["", "BEGIN", "COMMIT", "SELECT 1", "SELECT now()", "SHOW timezone", "SAVEPOINT a"]
        {
            check(sql, None, false);
        }
        check("SET LOCAL statement_timeout = 1", None, false);
        check("SET LOCAL search_path = a", None, false);
        check("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", None, false);
    }

    #[test]
    fn settings_are_for_both() {
        for sql in [
            "SET timezone = 'UTC'",
            "SET search_path = a, b",
            "RESET ALL",
            "DISCARD ALL",
            "SELECT set_config('app.tenant', '1', false)",
            "DEALLOCATE ALL",
        ] {
            check(sql, None, true);
        }
    }

    #[test]
    fn whatever_else_is_postgresqls() {
        let postgres = Some(Side::Postgres);
        for sql in [
            "LISTEN a",
            "NOTIFY a",
            "SELECT pg_advisory_lock(1)",
            "SELECT nextval('a')",
            "CREATE TEMP TABLE t (a int)",
            "EXECUTE p",
            "SELECT * FROM generate_series(1, 2)",
        ] {
            check(sql, postgres, false);
        }
    }
}
