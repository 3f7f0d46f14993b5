//! What the sessions know of their own writes, for the comparison with PostgreSQL's statistics.
//!
//! ```text
//! statement sent ──touch──▶ open ──tag──▶ rows ──ReadyForQuery──▶ unsettled ──time──▶ settled
//!                             └─error, or the session broke──▶ doubts
//! ```
//!
//! `n_tup_ins`, `n_tup_upd` and `n_tup_del` count rows when they are written, committed or not, and
//! show them when the backend gets round to it. So a table is *open* here from before a statement
//! that writes it leaves until its transaction has ended and the answer was seen, and *unsettled*
//! until the backend must have reported. Where nobody can say how many rows PostgreSQL has counted
//! (a statement failed, an upsert may have tried twice), that is a *doubt*.
//!
//! Invariant: while a table is not open and no doubt was added, `rows` is at least what PostgreSQL
//! has counted of this process's writes since it started; while it is not unsettled either, exactly.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::names::TableId;

/// An idle backend has reported after 10 s (PostgreSQL 15 and later; earlier ones wait for work).
const IDLE_REPORT: Duration = Duration::from_secs(12);
/// A backend that becomes idle for a moment has reported whatever is older than 60 s.
const BUSY_REPORT: Duration = Duration::from_secs(65);

/// Counts of all sessions of this process.
#[derive(Clone, Debug, Default)]
pub struct Tally(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    tables: Mutex<BTreeMap<TableId, Arc<Counts>>>,
    /// Sessions that have written, by number. Bounded by the number of connections.
    sessions: Mutex<HashMap<u64, Arc<Mutex<Touched>>>>,
    next: AtomicU64,
}

/// One table's counts; they only grow.
#[derive(Debug, Default)]
struct Counts {
    rows: AtomicI64,
    doubts: AtomicI64,
    /// Transactions whose end is up to others: PREPARE TRANSACTION.
    lost: AtomicI64,
}

/// What one session has written and PostgreSQL may not have reported.
#[derive(Debug, Default)]
struct Touched {
    tables: Vec<Touch>,
    /// Since when its backend has been idle.
    resting: Option<Instant>,
}

#[derive(Debug)]
struct Touch {
    table: TableId,
    counts: Arc<Counts>,
    /// When the transaction ended; `None` while it is open.
    ended: Option<Instant>,
}

/// One table's counts as of one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub rows: i64,
    pub doubts: i64,
    /// Statements or transactions that are not seen to have ended.
    pub open: i64,
    /// Sessions whose backend may not have reported yet.
    pub unsettled: i64,
}

impl Count {
    /// With the counts of another process.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            rows: self.rows.saturating_add(other.rows),
            doubts: self.doubts.saturating_add(other.doubts),
            open: self.open.saturating_add(other.open),
            unsettled: self.unsettled.saturating_add(other.unsettled),
        }
    }
}

impl Tally {
    /// All counts as of now. `idle_reports`: the server is PostgreSQL 15 or later.
    #[must_use]
    pub fn counts(&self, now: Instant, idle_reports: bool) -> BTreeMap<TableId, Count> {
        let mut counts: BTreeMap<TableId, Count> = BTreeMap::new();
        for session in lock(&self.0.sessions).values() {
            let mut touched = lock(session);
            if idle_reports && touched.resting.is_some_and(|since| IDLE_REPORT <= now - since) {
                touched.tables.retain(|touch| touch.ended.is_none());
            }
            for touch in &touched.tables {
                let count = counts.entry(touch.table).or_default();
                count.open += i64::from(touch.ended.is_none());
                count.unsettled += 1;
            }
        }
        // After the open ones: rows of what has ended meanwhile are counted already.
        for (table, of_table) in &*lock(&self.0.tables) {
            let count = counts.entry(*table).or_default();
            count.open += of_table.lost.load(Ordering::Acquire);
            count.doubts = of_table.doubts.load(Ordering::Acquire);
            count.rows = of_table.rows.load(Ordering::Acquire);
        }
        counts
    }

    /// The pen of a new session.
    pub(super) fn pen(&self) -> Pen {
        Pen { tally: self.clone(), session: None, resting: false }
    }

    fn of(&self, table: TableId) -> Arc<Counts> {
        Arc::clone(lock(&self.0.tables).entry(table).or_default())
    }

    fn enter(&self) -> (u64, Arc<Mutex<Touched>>) {
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let touched = Arc::<Mutex<Touched>>::default();
        lock(&self.0.sessions).insert(number, Arc::clone(&touched));
        (number, touched)
    }
}

/// One session's hand in the tally. A session that has written nothing costs nothing.
#[derive(Debug)]
pub(super) struct Pen {
    tally: Tally,
    session: Option<(u64, Arc<Mutex<Touched>>)>,
    resting: bool,
}

impl Pen {
    /// A statement that writes this table is about to leave.
    pub(super) fn touch(&mut self, table: TableId) {
        let tally = &self.tally;
        let (_, touched) = self.session.get_or_insert_with(|| tally.enter());
        let mut touched = lock(touched);
        touched.resting = None;
        self.resting = false;
        match touched.tables.iter_mut().find(|touch| touch.table == table) {
            Some(touch) => touch.ended = None,
            None => {
                let counts = tally.of(table);
                touched.tables.push(Touch { table, counts, ended: None });
            }
        }
    }

    /// It has written so many rows.
    pub(super) fn wrote(&self, table: TableId, rows: i64) {
        self.each(|touch| {
            if touch.table == table {
                touch.counts.rows.fetch_add(rows, Ordering::AcqRel);
            }
        });
    }

    /// PostgreSQL's count of this table's rows cannot be told from ours any more.
    pub(super) fn doubt(&self, table: TableId) {
        self.each(|touch| {
            if touch.table == table {
                touch.counts.doubts.fetch_add(1, Ordering::AcqRel);
            }
        });
    }

    /// A statement failed: some of its rows were counted, and nobody says how many.
    pub(super) fn doubt_all(&self) {
        self.each(|touch| {
            if touch.ended.is_none() {
                touch.counts.doubts.fetch_add(1, Ordering::AcqRel);
            }
        });
    }

    /// PREPARE TRANSACTION: when its rows will be reported is for others to decide.
    pub(super) fn lose(&self) {
        self.each(|touch| {
            if touch.ended.is_none() {
                touch.counts.lost.fetch_add(1, Ordering::AcqRel);
            }
        });
    }

    /// The client has said something.
    pub(super) fn work(&mut self) {
        if std::mem::take(&mut self.resting)
            && let Some((_, touched)) = &self.session
        {
            lock(touched).resting = None;
        }
    }

    /// The backend is idle, and everything that was sent is answered.
    pub(super) fn rest(&mut self) {
        let Some((_, touched)) = &self.session else { return };
        let mut touched = lock(touched);
        if touched.tables.is_empty() {
            return;
        }
        let now = Instant::now();
        touched.tables.retain(|touch| touch.ended.is_none_or(|ended| now - ended < BUSY_REPORT));
        touched.tables.iter_mut().for_each(|touch| touch.ended = touch.ended.or(Some(now)));
        touched.resting = Some(now);
        self.resting = true;
    }

    fn each(&self, act: impl FnMut(&mut Touch)) {
        if let Some((_, touched)) = &self.session {
            lock(touched).tables.iter_mut().for_each(act);
        }
    }
}

impl Drop for Pen {
    fn drop(&mut self) {
        self.doubt_all();
        if let Some((number, _)) = &self.session {
            lock(&self.tally.0.sessions).remove(number);
        }
    }
}

/// A panic elsewhere leaves counts that are still true.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: TableId = TableId(1);

    fn count(tally: &Tally, later: u64) -> Count {
        let now = Instant::now() + Duration::from_secs(later);
        tally.counts(now, true).get(&T).copied().unwrap_or_default()
    }

    #[test]
    fn a_write_is_open_then_unsettled_then_settled() {
        let tally = Tally::default();
        let mut pen = tally.pen();
        pen.touch(T);
        assert_eq!(count(&tally, 99), Count { open: 1, unsettled: 1, ..Count::default() });
        pen.wrote(T, 2);
        pen.rest();
        assert_eq!(count(&tally, 0), Count { rows: 2, unsettled: 1, ..Count::default() });
        pen.work();
        assert_eq!(count(&tally, 99), Count { rows: 2, unsettled: 1, ..Count::default() });
        pen.rest();
        assert_eq!(count(&tally, 13), Count { rows: 2, ..Count::default() });
    }

    #[test]
    fn a_session_that_breaks_leaves_a_doubt_and_one_that_ends_does_not() {
        let tally = Tally::default();
        let mut pen = tally.pen();
        pen.touch(T);
        drop(pen);
        assert_eq!(count(&tally, 0), Count { doubts: 1, ..Count::default() });
        let mut pen = tally.pen();
        pen.touch(T);
        pen.rest();
        drop(pen);
        assert_eq!(count(&tally, 0), Count { doubts: 1, ..Count::default() });
    }

    #[test]
    fn a_prepared_transaction_stays_open() {
        let tally = Tally::default();
        let mut pen = tally.pen();
        pen.touch(T);
        pen.lose();
        pen.rest();
        drop(pen);
        assert_eq!(count(&tally, 99).open, 1);
    }
}
