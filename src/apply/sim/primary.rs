//! PostgreSQL in memory, as far as the applier and the clients' captured writes can see it.
//!
//! ```text
//! Tx (row locks, own view) ──commit──▶ rows, outbox entries: both or neither; the log flushed
//! Outbox, Reader           ──────────▶ claims as leases, reads under lock with the LSN
//! crash                    ──────────▶ what runs is undone, the log ends where it was flushed
//! failover                 ──────────▶ the last commits are gone too; the epoch grows
//! ```
//!
//! Invariant: each change of a row writes log before its LSN is read, each commit flushes it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Flaw;
use super::chance::{Chance, Fault};
use super::locks::Locks;
use super::schema::{Place, Rows, SCHEMA, id, image, index, of_id};
use super::secondary::Secondary;
use crate::apply::databases::{Lost, Outbox, Reader};
use crate::catalog::Table;
use crate::change::{Key, Operation, Version};
use crate::names::EntryId;
use crate::outbox::{Backlog, Entry, Moment, Reading};

/// Shorter than the real ones, so that a schedule sees many of them.
const LEASE: Duration = Duration::from_secs(3);
const PAUSE_MAX: u32 = 2;
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);
/// A server that says nothing is given up by TCP after this.
const SILENCE: Duration = Duration::from_secs(4);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lock {
    Table(usize),
    Row(Place),
    Unique(usize, i64),
}

pub(super) struct Primary {
    pub(super) chance: Arc<Chance>,
    pub(super) locks: Locks<Lock>,
    pub(super) secondary: Arc<Secondary>,
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) lsn: u64,
    pub(super) flushed: u64,
    pub(super) epoch: u64,
    /// Connections of an earlier one are lost.
    pub(super) incarnation: u64,
    pub(super) owners: u64,
    pub(super) next_xid: i64,
    pub(super) running: BTreeSet<i64>,
    pub(super) rows: Rows,
    pub(super) outbox: BTreeMap<i64, Line>,
    pub(super) next_entry: i64,
    pub(super) history: Vec<Committed>,
    /// Where the log ended before the history began.
    base: u64,
}

/// An entry of the outbox.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) table: usize,
    pub(super) operation: Operation,
    pub(super) key: Option<i64>,
    pub(super) version: Version,
    pub(super) at: Instant,
    pub(super) attempts: u32,
    pub(super) next_try: Option<Instant>,
}

/// How a commit is taken back by a failover.
pub(super) struct Committed {
    pub(super) log_end: u64,
    pub(super) rows: Vec<(Place, Option<super::schema::Cells>)>,
    pub(super) entries: Vec<i64>,
}

impl Primary {
    pub(super) fn new(chance: Arc<Chance>, secondary: Arc<Secondary>) -> Self {
        let state = State {
            lsn: 1000,
            flushed: 1000,
            epoch: 1,
            incarnation: 0,
            owners: 0,
            next_xid: 1,
            running: BTreeSet::new(),
            rows: Rows::new(),
            outbox: BTreeMap::new(),
            next_entry: 1,
            history: Vec::new(),
            base: 1000,
        };
        Self { chance, locks: Locks::default(), secondary, state: Mutex::new(state) }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// What runs is undone, and the log ends where it was flushed. With `loses`, so many of the last
    /// commits are gone as well, as on a standby that lacked them.
    pub(super) fn crash(&self, loses: u64) {
        let mut state = self.state();
        state.incarnation += 1;
        state.running.clear();
        state.lsn = state.flushed;
        for _ in 0..loses {
            let Some(commit) = state.history.pop() else { break };
            for (place, before) in commit.rows.into_iter().rev() {
                match before {
                    Some(cells) => drop(state.rows.insert(place, cells)),
                    None => drop(state.rows.remove(&place)),
                }
            }
            for entry in commit.entries {
                state.outbox.remove(&entry);
            }
            state.lsn = state.history.last().map_or(state.base, |commit| commit.log_end);
        }
        if 0 < loses {
            state.epoch += 1;
            state.history.clear();
            state.base = state.lsn;
        }
        state.flushed = state.lsn;
        let (lsn, epoch) = (state.lsn, state.epoch);
        drop(state);
        self.chance.note(format_args!("primary crashed, lsn {lsn} epoch {epoch}"));
    }

    /// Entries for every key there can be, as a repair of all tables makes them.
    pub(super) fn repair(&self) {
        let mut state = self.state();
        for table in 0..super::schema::TABLES {
            for key in 0..super::schema::IDS {
                state.lsn += 1;
                let version = Version { epoch: state.epoch, counter: state.lsn, n: 0 };
                let line = Line::new(table, Operation::Update, Some(key), version);
                state.enter(line);
            }
        }
        state.flushed = state.lsn;
        drop(state);
        self.chance.note(format_args!("repair"));
    }

    fn connection(self: &Arc<Self>) -> Connection {
        let incarnation = self.state().incarnation;
        Connection { primary: Arc::clone(self), incarnation, closed: AtomicBool::new(false) }
    }

    pub(super) async fn outbox(self: &Arc<Self>) -> Result<MemoryOutbox, Lost> {
        let connection = self.connection();
        connection.call("open outbox", |_| ()).await?;
        Ok(MemoryOutbox(connection))
    }

    pub(super) async fn reader(self: &Arc<Self>) -> Result<MemoryReader, Lost> {
        let connection = self.connection();
        connection.call("open reader", |_| ()).await?;
        Ok(MemoryReader(connection))
    }
}

impl State {
    pub(super) fn enter(&mut self, line: Line) -> i64 {
        let id = self.next_entry;
        self.next_entry += 1;
        self.outbox.insert(id, line);
        id
    }

    /// A commit of Crossfade's own, which waits for the log.
    fn commit(&mut self) {
        self.lsn += 1;
        self.flushed = self.lsn;
    }
}

impl Line {
    pub(super) fn new(
        table: usize,
        operation: Operation,
        key: Option<i64>,
        version: Version,
    ) -> Self {
        Self { table, operation, key, version, at: Instant::now(), attempts: 0, next_try: None }
    }

    fn may_be_claimed(&self, grace: Duration) -> bool {
        let now = Instant::now();
        match self.next_try {
            Some(next) => next <= now,
            None => self.at + grace <= now,
        }
    }

    fn entry(&self, number: i64) -> Entry {
        let table = &SCHEMA.tables[self.table];
        Entry {
            id: EntryId(number),
            table: table.id.unwrap(),
            operation: self.operation,
            key: self.key.map(|key| SCHEMA.key(self.table, key).raw.clone()),
            version: self.version,
        }
    }
}

/// A connection of Crossfade's own.
struct Connection {
    primary: Arc<Primary>,
    incarnation: u64,
    closed: AtomicBool,
}

impl Connection {
    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    fn lose(&self, what: &str) -> Lost {
        self.closed.store(true, Ordering::Relaxed);
        Lost::new(what)
    }

    /// There, and back again.
    async fn call<T>(&self, name: &str, effect: impl FnOnce(&mut State) -> T) -> Result<T, Lost> {
        let chance = &self.primary.chance;
        chance.travel().await;
        let fault = chance.fault();
        match fault {
            Some(Fault::Silence) => sleep(SILENCE).await,
            Some(Fault::Before) => return Err(self.lose("cut before")),
            _ => {}
        }
        let result = {
            let mut state = self.primary.state();
            if self.is_closed()
                || state.incarnation != self.incarnation
                || fault == Some(Fault::Silence)
            {
                drop(state);
                return Err(self.lose("gone"));
            }
            effect(&mut state)
        };
        chance.note(format_args!("primary {name}"));
        chance.travel().await;
        match fault {
            Some(Fault::SilenceAfter) => sleep(SILENCE).await,
            Some(Fault::After) => {}
            _ => return Ok(result),
        }
        Err(self.lose("cut after"))
    }
}

pub(super) struct MemoryOutbox(Connection);

impl Outbox for MemoryOutbox {
    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    async fn claim(
        &self,
        limit: i64,
        grace: Duration,
        except: &[(i64, i64)],
        epoch: u64,
    ) -> Result<Vec<Entry>, Lost> {
        let any_epoch = self.0.primary.secondary.has(Flaw::AnyEpoch);
        let claimed = self.0.call("claim", |state| {
            let mut claimed = Vec::new();
            if state.epoch != epoch && !any_epoch {
                return claimed;
            }
            for (number, line) in &mut state.outbox {
                let under_way = except.iter().any(|(first, last)| (first..=last).contains(&number));
                if !under_way
                    && line.may_be_claimed(grace)
                    && claimed.len() < usize::try_from(limit).unwrap()
                {
                    line.next_try = Some(Instant::now() + LEASE);
                    claimed.push(line.entry(*number));
                }
            }
            if !claimed.is_empty() {
                state.commit();
            }
            claimed
        });
        let claimed = claimed.await?;
        self.0
            .primary
            .chance
            .note(format_args!("claimed {:?}", claimed.iter().map(|e| e.id.0).collect::<Vec<_>>()));
        Ok(claimed)
    }

    async fn settle(&self, ids: &[i64], epoch: u64) -> Result<(), Lost> {
        let primary = &self.0.primary;
        self.0
            .call("settle", |state| {
                if state.epoch != epoch && !primary.secondary.has(Flaw::AnyEpoch) {
                    return;
                }
                for number in ids {
                    if let Some(line) = state.outbox.remove(number) {
                        primary.secondary.require(*number, line.table, line.key, line.version);
                    }
                }
                state.commit();
            })
            .await?;
        primary.chance.note(format_args!("settled {ids:?}"));
        Ok(())
    }

    async fn fail(&self, ids: &[i64], error: &str) -> Result<(), Lost> {
        self.0.primary.chance.note(format_args!("fail {ids:?} {error}"));
        let fail = |line: &mut Line| {
            let pause = Duration::from_secs(1 << line.attempts.min(PAUSE_MAX));
            line.attempts += 1;
            line.next_try = Some(Instant::now() + pause);
        };
        self.0.call("fail", |state| state.each(ids, fail)).await
    }

    async fn release(&self, ids: &[i64], pause: Duration) -> Result<(), Lost> {
        let release = |line: &mut Line| line.next_try = Some(Instant::now() + pause);
        self.0.call("release", |state| state.each(ids, release)).await
    }

    async fn flush(&self) -> Result<(), Lost> {
        self.0.call("flush", State::commit).await
    }

    async fn note(&self) -> Result<Moment, Lost> {
        let moment =
            |state: &mut State| Moment { lsn: state.lsn, next_transaction: state.next_xid };
        self.0.call("note", moment).await
    }

    async fn ended(&self, moment: Moment) -> Result<bool, Lost> {
        self.0
            .call("ended", |state| {
                let oldest = state.running.first().copied().unwrap_or(state.next_xid);
                oldest >= moment.next_transaction
            })
            .await
    }

    async fn backlog(&self) -> Result<Backlog, Lost> {
        self.0
            .call("backlog", |state| {
                let epoch = state.outbox.values().map(|line| line.version.epoch).min();
                let counter = state.outbox.values().map(|line| line.version.counter).min();
                let lowest =
                    epoch.zip(counter).map(|(epoch, counter)| Version { epoch, counter, n: 0 });
                Backlog { lowest, ..Backlog::default() }
            })
            .await
    }
}

impl State {
    fn each(&mut self, ids: &[i64], change: impl Fn(&mut Line)) {
        for number in ids {
            if let Some(line) = self.outbox.get_mut(number) {
                change(line);
            }
        }
        self.commit();
    }
}

pub(super) struct MemoryReader(Connection);

impl Reader for MemoryReader {
    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    async fn read(
        &mut self,
        keys: &[(Arc<Table>, Key)],
        _version: u64,
    ) -> Result<Vec<Reading>, Lost> {
        let primary = &self.0.primary;
        let mut readings = Vec::new();
        for (table, key) in keys {
            let (at, key) = (index(table), id(key));
            if primary.chance.one_in(4) {
                primary.chance.travel().await;
            }
            readings.push(self.read_one(of_id(table.id.unwrap()), key).await);
            primary.chance.note(format_args!("read {at} {key}: {:?}", readings.last()));
        }
        self.0.call("read", |_| ()).await?;
        Ok(readings)
    }
}

impl MemoryReader {
    /// A row that is not there for us is not waited for; one that is, is.
    async fn read_one(&self, table: usize, key: i64) -> Reading {
        let primary = &self.0.primary;
        let locks = [Lock::Table(table), Lock::Row((table, key))];
        let there = || primary.state().rows.contains_key(&(table, key));
        while there() && locks.iter().any(|lock| primary.locks.is_exclusive(lock)) {
            for lock in &locks {
                if !primary.locks.free(lock, LOCK_TIMEOUT).await {
                    primary.chance.reached("row locked");
                    return Reading::Busy;
                }
            }
        }
        let state = primary.state();
        match state.rows.get(&(table, key)) {
            Some(cells) => Reading::Present { image: image(cells), lsn: state.lsn },
            None => Reading::Absent,
        }
    }
}
