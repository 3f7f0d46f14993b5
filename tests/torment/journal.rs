//! What each client was told, and whether the databases agree.
//!
//! ```text
//! client: number n ──▶ INSERT (n, half 1), …, INSERT (n, half 2) [, DELETE an older number] ──▶ COMMIT
//!            │                                                                                  │
//!         [`Journal`]: n, unknown ────────────────────────────────────▶ n, committed or failed ◀┘
//! ```
//!
//! Invariant: a number is in the journal before its transaction begins, as unknown; so whatever ends
//! the client, no write is forgotten.
//!
//! What must hold afterwards, on each side: committed and not removed is there; failed is not; unknown
//! is there with both halves or with none; a removal is there with the transaction that made it.

use std::collections::{BTreeMap, HashMap};

use mysql_async::prelude::Queryable as _;
use tokio_postgres::Client;

/// What the client was told of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Committed,
    Failed,
    /// The connection went while the commit was under way.
    Unknown,
}

#[derive(Clone, Debug)]
struct Entry {
    table: String,
    told: Told,
    /// The number whose rows the transaction deletes.
    removes: Option<i64>,
}

/// Every number of one client, or of all of them.
#[derive(Debug, Default)]
pub struct Journal {
    entries: BTreeMap<i64, Entry>,
}

impl Journal {
    pub fn begin(&mut self, number: i64, table: &str, removes: Option<i64>) {
        let entry = Entry { table: table.to_owned(), told: Told::Unknown, removes };
        self.entries.insert(number, entry);
    }

    pub fn told(&mut self, number: i64, told: Told) {
        self.entries.get_mut(&number).expect("it was begun").told = told;
    }

    pub fn take_in(&mut self, other: Self) {
        self.entries.extend(other.entries);
    }

    pub fn count(&self, told: Told) -> usize {
        self.entries.values().filter(|entry| entry.told == told).count()
    }

    /// The last number that was committed in the table and that nobody removed: for the self-test.
    pub fn last_committed(&self, table: &str) -> Option<i64> {
        let removed: Vec<i64> = self.entries.values().filter_map(|entry| entry.removes).collect();
        let good = |(number, entry): &(&i64, &Entry)| {
            entry.table == table && entry.told == Told::Committed && !removed.contains(number)
        };
        self.entries.iter().rev().find(good).map(|(number, _)| *number)
    }

    /// Whether what one side holds can be true.
    pub fn verdict(&self, side: &str, halves: &Halves) -> Verdict {
        let mut verdict = Verdict::default();
        let remover: HashMap<i64, i64> = self
            .entries
            .iter()
            .filter_map(|(number, entry)| Some((entry.removes?, *number)))
            .collect();
        let there = |number: i64, table: &str| {
            halves.get(&(table.to_owned(), number)).copied().unwrap_or(0)
        };
        for (&number, entry) in &self.entries {
            let found = there(number, &entry.table);
            let told = entry.told;
            if found == 1 {
                verdict.half.push(format!("{side}: {} {number} ({told:?})", entry.table));
                continue;
            }
            let found = found == 2;
            let must = match (told, remover.get(&number)) {
                (Told::Failed, _) => Some(false),
                (Told::Unknown, _) => None,
                (Told::Committed, None) => Some(true),
                (Told::Committed, Some(by)) => match self.entries[by].told {
                    Told::Committed => Some(false),
                    Told::Failed => Some(true),
                    Told::Unknown => Some(there(*by, &self.entries[by].table) == 0),
                },
            };
            match must {
                Some(true) if !found => {
                    verdict.lost.push(format!("{side}: {} {number}", entry.table));
                }
                Some(false) if found => {
                    verdict.risen.push(format!("{side}: {} {number} ({told:?})", entry.table));
                }
                _ => {}
            }
        }
        let unheard = halves.keys().filter(|(_, number)| !self.entries.contains_key(number));
        verdict
            .risen
            .extend(unheard.map(|(table, number)| format!("{side}: {table} {number} (nobody's)")));
        verdict
    }
}

/// How many of a number's two rows a side holds.
pub type Halves = HashMap<(String, i64), i64>;

/// What contradicts the journal.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Acknowledged, and not there.
    pub lost: Vec<String>,
    /// One row of two.
    pub half: Vec<String>,
    /// There, though it failed, was removed, or nobody wrote it.
    pub risen: Vec<String>,
}

impl Verdict {
    pub fn take_in(&mut self, other: Self) {
        self.lost.extend(other.lost);
        self.half.extend(other.half);
        self.risen.extend(other.risen);
    }
}

/// What PostgreSQL holds of the journal's tables.
pub async fn on_postgres(client: &Client, tables: &[String]) -> Halves {
    let mut halves = Halves::new();
    for table in tables {
        let sql = format!("SELECT number, count(*) FROM {table} GROUP BY number");
        let rows = client.query(&sql, &[]).await.unwrap();
        halves.extend(rows.iter().map(|row| ((table.clone(), row.get(0)), row.get(1))));
    }
    halves
}

/// What the secondary holds of them.
pub async fn on_secondary(secondary: &mut mysql_async::Conn, tables: &[String]) -> Halves {
    let mut halves = Halves::new();
    for table in tables {
        let sql = format!("SELECT number, count(*) FROM {table} GROUP BY number");
        let rows: Vec<(i64, i64)> = secondary.query(sql).await.unwrap();
        halves.extend(rows.into_iter().map(|(number, count)| ((table.clone(), number), count)));
    }
    halves
}

#[test]
fn the_journal_contradicts_what_cannot_be() {
    let mut journal = Journal::default();
    for (number, told, removes) in [
        (1, Told::Committed, None),
        (2, Told::Failed, None),
        (3, Told::Unknown, None),
        (4, Told::Unknown, Some(1)),
    ] {
        journal.begin(number, "t", removes);
        journal.told(number, told);
    }
    let counts = |rows: &[(i64, i64)]| {
        let halves = rows.iter().map(|(number, count)| (("t".to_owned(), *number), *count));
        let verdict = journal.verdict("here", &halves.collect());
        (verdict.lost.len(), verdict.half.len(), verdict.risen.len())
    };
    assert_eq!(counts(&[(1, 2)]), (0, 0, 0));
    assert_eq!(counts(&[(1, 2), (3, 2)]), (0, 0, 0));
    assert_eq!(counts(&[(3, 2), (4, 2)]), (0, 0, 0), "the removal came with its transaction");
    assert_eq!(counts(&[]), (1, 0, 0), "removed by a transaction that is not there");
    assert_eq!(counts(&[(1, 2), (4, 2)]), (0, 0, 1), "half of a removal");
    assert_eq!(counts(&[(1, 2), (2, 2)]), (0, 0, 1), "what failed is there");
    assert_eq!(counts(&[(1, 2), (3, 1)]), (0, 1, 0), "half of a transaction");
    assert_eq!(counts(&[(1, 2), (9, 2)]), (0, 0, 1), "what nobody wrote");
}
