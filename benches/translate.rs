//! How many statements of applications have PostgreSQL's answer on MySQL: through Crossfade, as sqlglot
//! translates them, and sent as they are. In one run, on the same rows.
//!
//! ```text
//! cargo bench --bench translate                    on MariaDB
//! TARGET=mysql SHOW=1 cargo bench --bench translate     on MySQL, with what is refused or wrong
//!
//! tests/translate/statements.sql ─▶ PostgreSQL ──────────▶ what is right
//!                                ├▶ Crossfade ─▶ MySQL ─┐
//!                                ├▶ sqlglot ───▶ MySQL ─┼▶ equal, refused, wrong
//!                                └─────────────▶ MySQL ─┘
//! ```
//!
//! Each statement runs in a transaction that is rolled back, with its parameters as literals in its text.
//! Equal: the same rows, count and rows of every table afterwards, numbers and documents by value; or an
//! error where PostgreSQL has one (of the same SQLSTATE, for Crossfade). Refused: an error instead of an
//! answer. Wrong: another answer, without an error.

#![allow(unreachable_pub, reason = "nothing outside this bench reaches any of it")]
#![allow(clippy::print_stdout, reason = "the table is the result")]

#[path = "translate/by_mysql.rs"]
mod by_mysql;
#[path = "translate/by_postgres.rs"]
mod by_postgres;
mod figures;
#[path = "switch/place.rs"]
mod place;
#[path = "../tests/translate/sheet.rs"]
#[allow(clippy::unwrap_used, reason = "the sheet is written by hand, for tests")]
mod sheet;
#[path = "../tests/translate/spelling.rs"]
mod spelling;
#[path = "translate/sqlglot.rs"]
mod sqlglot;
#[path = "translate/value.rs"]
mod value;

use std::collections::BTreeMap;

use by_mysql::Direct;
use place::Place;
use sheet::Statement;

const SCHEMA: &str = include_str!("../tests/translate/schema_pg.sql");
const SEED: &str = include_str!("../tests/translate/seed_pg.sql");
const STATEMENTS: &str = include_str!("../tests/translate/statements.sql");
/// Tables whose rows are compared after a write.
pub const TABLES: [&str; 8] =
    ["tenants", "users", "passwords", "sessions", "codes", "logs", "roles", "user_roles"];
/// Those that number their rows.
const NUMBERED: [&str; 3] = ["sessions", "codes", "logs"];

/// What a statement came to: values as [`value`] spells them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// SQLSTATE, or `?`.
    pub error: Option<String>,
    pub rows: Vec<Vec<Option<String>>>,
    pub count: u64,
    pub tables: BTreeMap<&'static str, Vec<Vec<Option<String>>>>,
}

#[derive(Debug, Default)]
struct Tally {
    equal: usize,
    refused: Vec<String>,
    wrong: Vec<String>,
}

#[tokio::main]
async fn main() {
    let mut statements = sheet::parse(STATEMENTS);
    // MySQL cannot take a TRUNCATE back: it comes last.
    statements.sort_by_key(|statement| statement.sql.starts_with("TRUNCATE"));
    let texts: Vec<String> = statements.iter().map(inlined).collect();
    // sqlglot writes the schema's name, which is a database's in MySQL.
    let schema = format!("{SCHEMA}\n{SEED}");
    let place = tokio::task::block_in_place(|| Place::start(&schema, "public"));
    let postgres = by_postgres::connect(place.postgres.port()).await;
    tokio::task::block_in_place(|| place.verb(&["switchover", "--accept", "all"]));
    let crossfade = by_postgres::connect(place.port).await;
    let mut direct = Direct::new(&place, &postgres).await;
    let translated = sqlglot::translate(&texts);
    let mut tallies = [Tally::default(), Tally::default(), Tally::default()];
    for (at, (statement, text)) in statements.iter().zip(&texts).enumerate() {
        if statement.class == 'w' {
            direct.count_from(&postgres, &NUMBERED, 1_000 * (at + 1)).await;
        }
        let types = by_postgres::types(&postgres, text).await;
        let writes = statement.class == 'w';
        let right = by_postgres::run(&postgres, text, writes).await;
        let through = by_postgres::run(&crossfade, text, writes).await;
        tallies[0].judge(statement, &right, &through, true);
        let other = match translated.get(at).and_then(Option::as_ref) {
            Some(text) => direct.run(text, &types, writes).await,
            None => Outcome { error: Some("?".to_owned()), ..Outcome::default() },
        };
        tallies[1].judge(statement, &right, &other, false);
        let as_it_is = direct.run(text, &types, writes).await;
        tallies[2].judge(statement, &right, &as_it_is, false);
    }
    figures::note("translate/statements", statements.len() as f64);
    println!("\n{} statements          equal           refused  wrong", statements.len());
    for (name, tally) in ["crossfade", "sqlglot", "as they are"].iter().zip(&tallies) {
        tally.print(name, statements.len());
        for (what, count) in
            [("equal", tally.equal), ("refused", tally.refused.len()), ("wrong", tally.wrong.len())]
        {
            figures::note(&format!("translate/{}/{name}/{what}", place.target), count as f64);
        }
    }
}

impl Tally {
    fn judge(&mut self, statement: &Statement, right: &Outcome, found: &Outcome, codes: bool) {
        let said = || format!("{}: {}", statement.id, statement.sql.replace('\n', " "));
        match (&right.error, &found.error) {
            (Some(expected), Some(code)) if !codes || expected == code => self.equal += 1,
            (_, Some(_)) => self.refused.push(said()),
            (None, None) if same(statement, right, found) => self.equal += 1,
            (_, None) => self.wrong.push(said()),
        }
    }

    fn print(&self, name: &str, all: usize) {
        let Self { equal, refused, wrong } = self;
        let share = *equal as f64 * 100.0 / all as f64;
        println!(
            "{name:<14} {equal:>10} ({share:>4.1} %) {:>12} {:>6}",
            refused.len(),
            wrong.len()
        );
        if std::env::var_os("SHOW").is_some() {
            for (what, list) in [("refused", refused), ("wrong", wrong)] {
                list.iter().for_each(|text| println!("  {what} {text:.150}"));
            }
        }
    }
}

fn same(statement: &Statement, right: &Outcome, found: &Outcome) -> bool {
    let (mut a, mut b) = (right.clone(), found.clone());
    if !statement.ordered {
        a.rows.sort();
        b.rows.sort();
    }
    if statement.volatile {
        // Only how many there are: their values are of the moment.
        let count = |outcome: &Outcome| {
            let tables: Vec<usize> = outcome.tables.values().map(Vec::len).collect();
            (outcome.rows.len(), tables)
        };
        return count(&a) == count(&b);
    }
    // A write's rows are counted by whoever returns none.
    let counts = !a.rows.is_empty() || !b.rows.is_empty() || a.count == b.count;
    a.rows == b.rows && counts && a.tables == b.tables
}

/// The text with its parameters in it.
fn inlined(statement: &Statement) -> String {
    let mut text = statement.sql.trim_end_matches(';').to_owned();
    for (at, value) in statement.parameters.iter().enumerate().rev() {
        let literal = match value.as_str() {
            word @ ("NULL" | "true" | "false") => word.to_owned(),
            number if number.parse::<f64>().is_ok() => number.to_owned(),
            text => format!("'{}'", text.replace('\'', "''")),
        };
        text = text.replace(&format!("${}", at + 1), &literal);
    }
    text
}
