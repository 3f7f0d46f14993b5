//! Finds writes that no sidecar has seen, by PostgreSQL's own count of written rows.
//!
//! ```text
//! n_tup_ins + n_tup_upd + n_tup_del, partitions included ─┐
//! rows that all sidecars have counted (crossfade.sidecars) ┴─ surplus ─▶ more than the base: unseen
//! ```
//!
//! PostgreSQL counts a row when it is written, committed or not, and shows the count up to a minute
//! later. So the surplus of one moment says little; two things about it are certain:
//!
//! - **The base**: once no session has the table open or unsettled, every transaction of before has
//!   ended, and time has passed for the last reports, the surplus is what it is without unseen writes.
//! - **The suspicion**: reports only come late, so a surplus above the base is unseen writes as soon as
//!   every sidecar has said again, after PostgreSQL was asked, how many rows it has counted, and none
//!   of them has the table open.
//!
//! A doubt (a failed statement, an upsert, whatever was flagged), a sidecar that comes or goes, and a
//! changed schema all end what was known: nothing is said until there is a base again. So does a reset of
//! the statistics; one that is not noticed only lowers the surplus, and the base follows it down.
//!
//! What this cannot find: writes under a base that does not hold yet, so a table that is written
//! without a pause, or fails often, is judged rarely; fewer rows than PostgreSQL has still to report
//! just then (they are found in the next lull); TRUNCATE, which is not counted as rows. And what somebody
//! else wrote and rolled back is counted as well: it is a write that no sidecar has seen.
//!
//! Invariant: with nothing but sidecars writing, no surplus ever rises above a base.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use tokio_postgres::{Client, Error};

use crate::catalog::{Capture, Catalog};
use crate::names::{Oid, TableId, TableName};
use crate::session::Count;

/// The reason that tables are marked with.
pub(super) const UNSEEN: &str = "unseen_writes";
/// From the last transaction's end until an idle backend has reported, and one that ended for sure.
const SETTLE: Duration = Duration::from_secs(12);
/// Reports of a sidecar after which the second was begun later than the moment before both.
const BEATS: i64 = 2;

/// One sidecar's word, from `crossfade.sidecars`.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    /// Grows with each report.
    pub(super) beat: i64,
    pub(super) counts: HashMap<TableId, Count>,
}

/// What PostgreSQL and the sidecars say, as of one moment.
#[derive(Clone, Debug)]
pub(super) struct Look {
    pub(super) at: Instant,
    /// The oldest transaction that runs, and the next one's number.
    pub(super) running: (i64, i64),
    /// Rows that PostgreSQL has counted.
    pub(super) written: HashMap<TableId, i64>,
    /// Sidecars whose lease is current.
    pub(super) reports: BTreeMap<String, Report>,
}

/// What is known of each table.
#[derive(Debug, Default)]
pub(super) struct Judge {
    /// Who wrote while it became known: sidecars, and the catalogue's version.
    scene: (Vec<String>, u64),
    tables: HashMap<TableId, Watched>,
}

#[derive(Debug, Default)]
struct Watched {
    doubts: i64,
    /// What PostgreSQL had counted at the last look.
    written: i64,
    /// The surplus without unseen writes.
    base: Option<i64>,
    settling: Option<Settling>,
    suspect: Option<Suspect>,
}

/// The way to a base.
#[derive(Debug)]
struct Settling {
    rows: i64,
    beats: BTreeMap<String, i64>,
    next_transaction: i64,
    /// Since when every transaction of the beginning has ended.
    ended: Option<Instant>,
}

/// A surplus that may still be explained by what is on its way here.
#[derive(Debug)]
struct Suspect {
    written: i64,
    beats: BTreeMap<String, i64>,
    at: Instant,
}

impl Judge {
    /// Forgets everything: somebody else judges, or nobody can.
    pub(super) fn rest(&mut self) {
        *self = Self::default();
    }

    /// Tables for which unseen writes would be noticed.
    pub(super) fn watched(&self) -> usize {
        self.tables.values().filter(|table| table.base.is_some()).count()
    }

    /// Tables that somebody else has written. `patience`: as long as a sidecar may be thought gone.
    pub(super) fn unseen(
        &mut self,
        look: &Look,
        catalog_version: u64,
        patience: Duration,
    ) -> Vec<TableId> {
        let scene = (look.reports.keys().cloned().collect(), catalog_version);
        if self.scene != scene {
            *self = Self { scene, ..Self::default() };
        }
        self.tables.retain(|table, _| look.written.contains_key(table));
        let mut found = Vec::new();
        for (table, written) in &look.written {
            let watched = self.tables.entry(*table).or_default();
            if watched.look(look, *written, look.count(*table), patience) {
                found.push(*table);
            }
        }
        found.sort_unstable();
        found
    }
}

impl Watched {
    /// True where the table was written by somebody else.
    fn look(&mut self, look: &Look, written: i64, count: Count, patience: Duration) -> bool {
        if self.doubts != count.doubts || written < self.written {
            self.forget(count);
        }
        self.written = written;
        self.settle(look, written, count);
        let Some(base) = self.base else { return false };
        if let Some(suspect) = &self.suspect
            && count.open == 0
            && look.is_later(&suspect.beats)
            && patience <= look.at - suspect.at
        {
            if base < suspect.written - count.rows {
                self.forget(count);
                return true;
            }
            self.suspect = None;
        }
        if self.suspect.is_none() && base < written - count.rows {
            self.suspect = Some(Suspect { written, beats: look.beats(), at: look.at });
        }
        false
    }

    fn forget(&mut self, count: Count) {
        *self = Self { doubts: count.doubts, written: self.written, ..Self::default() };
    }

    fn settle(&mut self, look: &Look, written: i64, count: Count) {
        if count.open != 0 || count.unsettled != 0 {
            self.settling = None;
            return;
        }
        let known = self.settling.take().filter(|settling| settling.rows == count.rows);
        let settling = self.settling.insert(known.unwrap_or_else(|| Settling {
            rows: count.rows,
            beats: look.beats(),
            next_transaction: look.running.1,
            ended: None,
        }));
        if settling.ended.is_none()
            && settling.next_transaction <= look.running.0
            && look.is_later(&settling.beats)
        {
            settling.ended = Some(look.at);
        }
        if settling.ended.is_some_and(|ended| SETTLE <= look.at - ended) {
            let surplus = written - count.rows;
            self.base = Some(self.base.map_or(surplus, |base| base.min(surplus)));
        }
    }
}

impl Look {
    fn count(&self, table: TableId) -> Count {
        let counts = self.reports.values().filter_map(|report| report.counts.get(&table));
        counts.fold(Count::default(), |sum, count| sum.plus(*count))
    }

    fn beats(&self) -> BTreeMap<String, i64> {
        self.reports.iter().map(|(sidecar, report)| (sidecar.clone(), report.beat)).collect()
    }

    /// Whether every sidecar's report was begun after those `beats` were read.
    fn is_later(&self, beats: &BTreeMap<String, i64>) -> bool {
        self.reports.iter().all(|(sidecar, report)| {
            beats.get(sidecar).is_some_and(|beat| beat + BEATS <= report.beat)
        })
    }
}

/// The oldest number that runs, and one that is newer than all: see [`crate::outbox::Moment`].
const RUNNING: &str = "SELECT \
     pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::pg_catalog.int8, \
     pg_catalog.pg_current_xact_id()::text::pg_catalog.int8";
const WRITTEN: &str = "SELECT t.id, pg_catalog.sum(pg_catalog.pg_stat_get_tuples_inserted(t.oid) \
       + pg_catalog.pg_stat_get_tuples_updated(t.oid) \
       + pg_catalog.pg_stat_get_tuples_deleted(t.oid))::pg_catalog.int8 \
     FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.int4[]), \
       pg_catalog.unnest($2::pg_catalog.oid[])) t(id, oid) GROUP BY t.id";
const REPORTS: &str = "SELECT s.id, s.beat, s.written FROM crossfade.sidecars s \
     WHERE pg_catalog.now() < s.lease_until";

/// Asks PostgreSQL and the sidecars; `None` where another sidecar does so.
pub(super) async fn look(
    client: &Client,
    catalog: &Catalog,
    sidecar: &str,
) -> Result<Option<Look>, Error> {
    let reports: BTreeMap<String, Report> = client
        .query(REPORTS, &[])
        .await?
        .iter()
        .map(|row| {
            let counts = decode(&row.get::<_, Vec<i64>>(2));
            (row.get(0), Report { beat: row.get(1), counts })
        })
        .collect();
    if reports.keys().next().is_none_or(|first| first != sidecar) {
        return Ok(None);
    }
    let (tables, oids): (Vec<i32>, Vec<Oid>) = counted(catalog).into_iter().unzip();
    let running = client.query_one(RUNNING, &[]).await?;
    let rows = client.query(WRITTEN, &[&tables, &oids]).await?;
    let at = Instant::now();
    let written = rows.iter().map(|row| (TableId(row.get(0)), row.get(1))).collect();
    Ok(Some(Look { at, running: (running.get(0), running.get(1)), written, reports }))
}

/// Tables that are seen by RETURNING alone, with each relation that holds their rows.
fn counted(catalog: &Catalog) -> Vec<(i32, Oid)> {
    let parts = catalog.tables.keys().map(|oid| (oid, oid)).chain(&catalog.roots);
    let counted = parts.filter_map(|(oid, root)| {
        let table = catalog.tables.get(root)?;
        let id = table.id.filter(|_| table.capture == Capture::Returning)?;
        Some((id.0, *oid))
    });
    counted.collect()
}

/// The names of tables that are still in the catalogue.
pub(super) fn names(catalog: &Catalog, tables: &[TableId]) -> Vec<TableName> {
    tables.iter().filter_map(|id| Some(catalog.by_id(*id)?.name.clone())).collect()
}

/// As `crossfade.sidecars.written` has it: table, rows, doubts, open, unsettled, and so on.
pub(super) fn encode(counts: &BTreeMap<TableId, Count>) -> Vec<i64> {
    let numbers = |(table, count): (&TableId, &Count)| {
        [i64::from(table.0), count.rows, count.doubts, count.open, count.unsettled]
    };
    counts.iter().flat_map(numbers).collect()
}

fn decode(numbers: &[i64]) -> HashMap<TableId, Count> {
    let (parts, _) = numbers.as_chunks::<5>();
    let count = |[table, rows, doubts, open, unsettled]: &[i64; 5]| {
        let table = TableId(i32::try_from(*table).ok()?);
        Some((table, Count { rows: *rows, doubts: *doubts, open: *open, unsettled: *unsettled }))
    };
    parts.iter().filter_map(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: TableId = TableId(1);
    const LEASE: Duration = Duration::from_secs(5);

    /// A primary and its sidecars, a second at a time.
    struct Story {
        judge: Judge,
        look: Look,
        version: u64,
    }

    impl Story {
        fn new(sidecars: &[&str]) -> Self {
            let report = |name: &&str| ((*name).to_owned(), Report::default());
            let look = Look {
                at: Instant::now(),
                running: (1, 1),
                written: HashMap::from([(T, 100)]),
                reports: sidecars.iter().map(report).collect(),
            };
            Self { judge: Judge::default(), look, version: 1 }
        }

        /// Lets seconds pass with a report and a look each; how often the table was found written.
        fn pass(&mut self, seconds: u64) -> usize {
            let mut found = 0;
            for _ in 0..seconds {
                self.look.at += Duration::from_secs(1);
                self.look.reports.values_mut().for_each(|report| report.beat += 1);
                found += self.judge.unseen(&self.look, self.version, LEASE).len();
            }
            found
        }

        fn count(&mut self, sidecar: &str) -> &mut Count {
            self.look.reports.get_mut(sidecar).unwrap().counts.entry(T).or_default()
        }

        fn reported(&mut self, rows: i64) {
            *self.look.written.get_mut(&T).unwrap() += rows;
        }

        fn quiet(sidecars: &[&str]) -> Self {
            let mut story = Self::new(sidecars);
            story.pass(20);
            assert_eq!(story.judge.watched(), 1);
            story
        }
    }

    #[test]
    fn a_row_that_nobody_counted_is_found() {
        let mut story = Story::quiet(&["a", "b"]);
        story.reported(1);
        assert_eq!(story.pass(3), 0);
        assert_eq!(story.pass(6), 1);
        assert_eq!(story.pass(30), 0);
    }

    #[test]
    fn rows_that_a_sidecar_counted_late_are_not() {
        let mut story = Story::quiet(&["a", "b"]);
        story.reported(5);
        story.pass(2);
        story.count("b").rows += 5;
        assert_eq!(story.pass(30), 0);
    }

    #[test]
    fn rows_that_postgresql_reports_late_are_not() {
        let mut story = Story::quiet(&["a"]);
        story.count("a").rows += 7;
        assert_eq!(story.pass(3), 0);
        story.reported(7);
        assert_eq!(story.pass(30), 0);
        story.reported(1);
        assert_eq!(story.pass(30), 1);
    }

    #[test]
    fn nothing_is_said_while_a_statement_is_open() {
        let mut story = Story::quiet(&["a"]);
        story.count("a").open = 1;
        story.reported(9);
        assert_eq!(story.pass(60), 0);
        story.count("a").rows += 9;
        story.count("a").open = 0;
        assert_eq!(story.pass(60), 0);
    }

    #[test]
    fn a_doubt_or_another_sidecar_begins_anew() {
        let mut story = Story::quiet(&["a"]);
        story.count("a").doubts += 1;
        story.reported(3);
        assert_eq!(story.pass(5), 0);
        assert_eq!(story.judge.watched(), 0);
        story.pass(20);
        assert_eq!(story.judge.watched(), 1);
        story.look.reports.insert("b".to_owned(), Report::default());
        story.reported(3);
        assert_eq!(story.pass(30), 0);
        story.version += 1;
        story.reported(3);
        assert_eq!(story.pass(30), 0);
    }

    #[test]
    fn a_sidecar_that_died_takes_its_rows_along_unseen() {
        let mut story = Story::quiet(&["a", "b"]);
        story.reported(4);
        for _ in 0..10 {
            let beat = story.look.reports["b"].beat;
            story.look.reports.get_mut("b").unwrap().beat = beat - 1;
            assert_eq!(story.pass(1), 0);
        }
        story.look.reports.remove("b");
        assert_eq!(story.pass(60), 0);
    }

    #[test]
    fn a_transaction_that_still_runs_holds_the_base_back() {
        let mut story = Story::new(&["a"]);
        story.look.running = (1, 9);
        story.pass(60);
        assert_eq!(story.judge.watched(), 0);
        story.look.running = (9, 9);
        story.pass(20);
        assert_eq!(story.judge.watched(), 1);
    }

    #[test]
    fn after_a_reset_the_base_is_lower() {
        let mut story = Story::quiet(&["a"]);
        *story.look.written.get_mut(&T).unwrap() = 0;
        assert_eq!(story.pass(20), 0);
        story.reported(1);
        assert_eq!(story.pass(20), 1);
    }

    #[test]
    fn counts_are_read_as_they_were_written() {
        let count = Count { rows: 1, doubts: 2, open: 3, unsettled: 4 };
        let counts = BTreeMap::from([(T, count), (TableId(7), Count::default())]);
        assert_eq!(decode(&encode(&counts)), counts.into_iter().collect());
    }
}
