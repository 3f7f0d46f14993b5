//! How far a run is, for whoever shows it.
//!
//! ```text
//! runner ──changes──▶ [`Progress`] ──[`Snapshot`]──▶ bars, lines, `crossfade.backfill`
//! ```
//!
//! Invariant: numbers and names; keys of refused rows only, which are shown to whoever asks for values.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::Hold;
use crate::change::Key;
use crate::names::{TableId, TableName};

/// Refused rows of a table that are named.
const NAMED_MAX: usize = 100;

/// What a run does just now.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Activity {
    #[default]
    Starting,
    /// Transactions that began before the run: until they end, what they wrote is not known.
    WaitsFor(String),
    Copies,
    Holds(Hold),
    /// A database went away; tried again soon.
    Reconnects(String),
    Ended,
}

/// What becomes of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    #[default]
    Waiting,
    /// Looks at what a run that died may have left.
    Sweeping,
    Copying,
    Done,
    /// A run before this one has copied it.
    DoneBefore,
    Stopped,
}

impl State {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Sweeping => "sweeping",
            Self::Copying => "copying",
            Self::Done => "done",
            Self::DoneBefore => "done before",
            Self::Stopped => "stopped",
        }
    }
}

/// A row that MySQL would not take; it is in the outbox now.
#[derive(Clone, Debug)]
pub struct RefusedRow {
    pub key: Key,
    /// A code and a column's name, never a value.
    pub reason: String,
    /// The row that holds its unique value.
    pub owner: Option<Key>,
}

/// One table.
#[derive(Clone, Debug)]
pub struct TableProgress {
    pub table: TableName,
    pub id: TableId,
    pub state: State,
    /// Rows looked at, by this run and those that it goes on from.
    pub rows: u64,
    /// Of these, by earlier runs.
    pub earlier: u64,
    /// As the statistics have it; grows with `rows`.
    pub expected: u64,
    pub inserted: u64,
    /// The secondary had them already.
    pub present: u64,
    /// Inserted, and deleted meanwhile.
    pub swept: u64,
    pub refused: u64,
    pub named: Vec<RefusedRow>,
    began: Option<Instant>,
    ended: Option<Instant>,
}

impl TableProgress {
    fn new(table: &crate::catalog::Table) -> Option<Self> {
        Some(Self {
            table: table.name.clone(),
            id: table.id?,
            state: State::Waiting,
            rows: 0,
            earlier: 0,
            expected: 0,
            inserted: 0,
            present: 0,
            swept: 0,
            refused: 0,
            named: Vec::new(),
            began: None,
            ended: None,
        })
    }

    /// How long this run has been at it.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        let until = self.ended.unwrap_or_else(Instant::now);
        self.began.map_or(Duration::ZERO, |began| until - began)
    }

    /// Rows a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        let seconds = self.elapsed().as_secs_f64();
        if seconds > 0.0 { (self.rows - self.earlier) as f64 / seconds } else { 0.0 }
    }

    /// Until the table is done, at this rate; `None` where nothing can be said.
    #[must_use]
    pub fn left(&self) -> Option<Duration> {
        let (rate, rows) = (self.rate(), self.expected.saturating_sub(self.rows));
        (rate > 0.0 && rows > 0).then(|| Duration::from_secs_f64((rows as f64 / rate).min(1e9)))
    }

    pub(super) fn name(&mut self, row: RefusedRow) {
        self.refused += 1;
        if self.named.len() < NAMED_MAX {
            self.named.push(row);
        }
    }
}

/// One moment of a run.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub activity: Activity,
    pub tables: Vec<TableProgress>,
}

/// Changed by the runner, looked at by anybody.
#[derive(Clone, Debug)]
pub struct Progress(Arc<watch::Sender<Snapshot>>);

impl Default for Progress {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Snapshot::default())))
    }
}

impl Progress {
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.0.borrow().clone()
    }

    pub fn activity(&self, activity: Activity) {
        self.0.send_modify(|snapshot| snapshot.activity = activity);
    }

    /// Tables that are new to it are added.
    pub(super) fn tables<'a>(&self, tables: impl Iterator<Item = &'a crate::catalog::Table>) {
        self.0.send_modify(|snapshot| {
            for table in tables.filter_map(TableProgress::new) {
                if !snapshot.tables.iter().any(|known| known.id == table.id) {
                    snapshot.tables.push(table);
                }
            }
        });
    }

    pub(super) fn table(&self, id: Option<TableId>, change: impl FnOnce(&mut TableProgress)) {
        self.0.send_modify(|snapshot| {
            if let Some(table) = snapshot.tables.iter_mut().find(|table| Some(table.id) == id) {
                change(table);
                table.expected = table.expected.max(table.rows);
            }
        });
    }

    pub(super) fn state(&self, id: Option<TableId>, state: State) {
        self.table(id, |table| {
            table.state = state;
            match state {
                State::Sweeping | State::Copying => {
                    table.began.get_or_insert_with(Instant::now);
                }
                State::Done | State::Stopped => table.ended = Some(Instant::now()),
                State::Waiting | State::DoneBefore => {}
            }
        });
    }
}
