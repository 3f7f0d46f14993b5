//! Carries what the outbox holds: after a crash, an outage, a full queue, for tables captured by
//! trigger, and whatever the workers gave up.
//!
//! ```text
//! claim ──▶ gather ──▶ read again (row lock, LSN) ──▶ log flushed ──▶ secondary ──▶ settle | fail
//!                         └─ absent: note v, wait out what runs, still absent ─▶ tombstone at v, or
//!                            at the delete's own version: then only writers of its table are waited for
//! ```
//!
//! Invariant: no row lock of the primary is held while the secondary is talked to, and no version is
//! used before the primary's log has it. What fails stays, with attempts and the reason.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::databases::{Databases, Lost, Outbox as _, Reader as _};
use super::gather::{self, Gathered, Need, Task};
use super::{Shared, stopping};
use crate::backend::mysql::Writer;
use crate::change::{Change, Effect, Key, Operation, Version};
use crate::handoff::Settled;
use crate::names::Oid;
use crate::outbox::{Moment, Reading};
use crate::phase::Situation;

/// Entries claimed at once.
const CLAIM_MAX: usize = 1000;
/// Entries known to be carried; whoever waits for others is told that they may not be.
const REMEMBERED_MAX: usize = 10 * CLAIM_MAX;
/// Rows read at once over one connection.
const READS_AT_ONCE: usize = 200;
/// How long a pass waits for the transactions that ran when a row was found absent.
const ABSENT_WAIT: Duration = Duration::from_millis(300);
const ABSENT_LOOK: Duration = Duration::from_millis(10);
/// What only has to wait is tried again after this.
pub(super) const LATER: Duration = Duration::from_millis(500);
/// A change that waits to be written, and the entries it stands for.
pub(super) struct Unit {
    pub(super) change: Change,
    pub(super) ids: Vec<i64>,
}

/// How a pass ended.
struct Pass {
    claimed: usize,
    /// Whether all of it was carried.
    all: bool,
}

/// Why a pass ended early.
pub(super) enum Stop {
    Primary(Lost),
    Secondary,
}

impl From<Lost> for Stop {
    fn from(lost: Lost) -> Self {
        Self::Primary(lost)
    }
}

pub(super) struct Drain<D: Databases> {
    pub(super) shared: Arc<Shared<D>>,
    primary: Option<(D::Outbox, D::Reader)>,
    /// With the time of its last use.
    pub(super) writer: Option<(Writer<D::Connection>, Instant)>,
    /// What these passes have had so far; of no more than [`REMEMBERED_MAX`].
    claimed: HashSet<i64>,
}

/// Runs until told to stop.
pub(super) async fn run<D: Databases>(shared: Arc<Shared<D>>, mut stopped: watch::Receiver<bool>) {
    let (primary, writer, claimed) = (None, None, HashSet::new());
    let mut drain = Drain { shared: Arc::clone(&shared), primary, writer, claimed };
    loop {
        tokio::select! {
            biased;
            () = stopping(&mut stopped) => return,
            () = shared.bell.rung() => {}
            () = tokio::time::sleep(shared.limits.poll) => {}
        }
        let asked = shared.bell.take();
        let began = Instant::now();
        let settled = tokio::select! {
            biased;
            () = stopping(&mut stopped) => return,
            settled = drain.passes(asked.now) => settled,
        };
        let claimed = std::mem::take(&mut drain.claimed);
        if asked.now && settled == Settled::Applied {
            shared.releaser.took(began.elapsed());
        }
        asked.answer(settled, &claimed);
    }
}

impl<D: Databases> Drain<D> {
    /// Claims and carries until nothing is left that could be claimed when it was asked for: what
    /// comes meanwhile does not keep those who wait.
    async fn passes(&mut self, now: bool) -> Settled {
        if !self.shared.follows() {
            // It may be long until they are needed again.
            (self.primary, self.writer) = (None, None);
            return Settled::Deferred;
        }
        if self.shared.breaker.is_open() {
            return Settled::Deferred;
        }
        let grace = if now { Duration::ZERO } else { self.shared.limits.grace };
        let mut settled = Settled::Applied;
        loop {
            match self.pass(grace).await {
                Ok(Pass { claimed, all }) => {
                    if !all {
                        settled = Settled::Deferred;
                    }
                    if claimed < CLAIM_MAX {
                        return settled;
                    }
                }
                Err(stop) => {
                    self.stopped(stop);
                    return Settled::Deferred;
                }
            }
        }
    }

    fn stopped(&mut self, stop: Stop) {
        match stop {
            Stop::Primary(error) => {
                self.primary = None;
                match error.is_gone() {
                    true => info!(%error, "outbox is gone"),
                    false => warn!(%error, "outbox could not be drained, will retry"),
                }
            }
            Stop::Secondary => self.writer = None,
        }
    }

    /// One claim's worth.
    async fn pass(&mut self, grace: Duration) -> Result<Pass, Stop> {
        let situation = self.shared.situation();
        let under_way = self.shared.under_way.ranges();
        self.begin().await?;
        let (outbox, _) = self.primary()?;
        let limit = i64::try_from(CLAIM_MAX).unwrap_or(i64::MAX);
        let entries = outbox.claim(limit, grace, &under_way, situation.epoch).await?;
        if self.claimed.len() < REMEMBERED_MAX {
            self.claimed.extend(entries.iter().map(|entry| entry.id.0));
        }
        if entries.is_empty() {
            return Ok(Pass { claimed: 0, all: true });
        }
        let (outbox, _) = self.primary()?;
        let log_end = outbox.log_end().await?;
        let claimed = entries.len();
        let Gathered { tasks, unknown, later } =
            gather::gather(entries, &situation.catalog, situation.epoch, log_end);
        if !unknown.is_empty() {
            outbox.fail(&unknown, "unknown_table_or_key").await?;
        }
        if !later.is_empty() {
            outbox.release(&later, LATER).await?;
        }
        let mut all = unknown.is_empty() && later.is_empty();
        let mut units = self.units(tasks, &situation, &mut all).await?;
        sort(&mut units);
        let again = self.write(units, &situation, &mut all).await?;
        if !again.is_empty() {
            let mut units = self.units(again, &situation, &mut all).await?;
            sort(&mut units);
            all &= self.write(units, &situation, &mut all).await?.is_empty();
        }
        debug!(claimed, all, "outbox drained");
        Ok(Pass { claimed, all })
    }

    /// The connections for a new pass.
    async fn begin(&mut self) -> Result<(), Stop> {
        let open = self.primary.take().filter(|(o, r)| !o.is_closed() && !r.is_closed());
        let databases = &self.shared.databases;
        self.primary = Some(match open {
            Some(pair) => pair,
            None => (databases.outbox().await?, databases.reader().await?),
        });
        Ok(())
    }

    /// The connections of this pass, never others: what was read before the primary crashed may be of
    /// a log that it has taken back, and a flush over a new connection would say nothing of it.
    pub(super) fn primary(&mut self) -> Result<&mut (D::Outbox, D::Reader), Stop> {
        let open = self.primary.as_mut().filter(|(o, r)| !o.is_closed() && !r.is_closed());
        open.ok_or_else(|| Stop::Primary(Lost::new("connection to primary was lost")))
    }

    /// Reads what has to be read; afterwards every version is in the primary's flushed log.
    pub(super) async fn units(
        &mut self,
        tasks: Vec<Task>,
        situation: &Situation,
        all: &mut bool,
    ) -> Result<Vec<Unit>, Stop> {
        let (mut units, mut reads) = (Vec::with_capacity(tasks.len()), Vec::new());
        for task in tasks {
            match &task.need {
                Need::Read { .. } => reads.push(task),
                Need::Empty { version } => {
                    let change = task.change(*version, Operation::Truncate, Effect::Empty);
                    units.push(Unit { change, ids: task.ids });
                }
            }
        }
        let absent = self.read(reads, situation, &mut units, all).await?;
        self.absent(absent, situation, &mut units, all).await?;
        let (outbox, _) = self.primary()?;
        outbox.flush().await?;
        Ok(units)
    }

    /// Reads rows; answers with those that are absent for the first time.
    async fn read(
        &mut self,
        tasks: Vec<Task>,
        situation: &Situation,
        units: &mut Vec<Unit>,
        all: &mut bool,
    ) -> Result<Vec<Task>, Stop> {
        let (mut absent, mut busy, mut stale) = (Vec::new(), Vec::new(), Vec::new());
        let mut tasks = tasks.into_iter().peekable();
        while tasks.peek().is_some() {
            let part: Vec<Task> = tasks.by_ref().take(READS_AT_ONCE).collect();
            let keys: Vec<_> = part
                .iter()
                .filter_map(|task| Some((Arc::clone(&task.table), task.key()?.clone())))
                .collect();
            let (_, reader) = self.primary()?;
            let readings = reader.read(&keys, situation.catalog.version).await?;
            for ((task, reading), (_, key)) in part.into_iter().zip(readings).zip(keys) {
                match (reading, task.gone_at()) {
                    (Reading::Present { image, lsn }, _) => {
                        let version = Version { epoch: situation.epoch, counter: lsn, n: 0 };
                        let operation = match task.operation {
                            Operation::Insert => Operation::Insert,
                            _ => Operation::Update,
                        };
                        let change = task.change(version, operation, Effect::Put { key, image });
                        units.push(Unit { change, ids: task.ids });
                    }
                    (Reading::Gone { counter }, _) => {
                        let version = Version { epoch: situation.epoch, counter, n: 0 };
                        let change = task.gone(key, version);
                        units.push(Unit { change, ids: task.ids });
                    }
                    (Reading::Absent, Some(version)) if task.waited => {
                        let change = task.gone(key, version);
                        units.push(Unit { change, ids: task.ids });
                    }
                    (Reading::Absent, _) => absent.push(task),
                    (Reading::Busy, _) => busy.extend(task.ids),
                    (Reading::Stale, _) => stale.extend(task.ids),
                }
            }
        }
        *all &= busy.is_empty() && stale.is_empty();
        let (outbox, _) = self.primary()?;
        if !busy.is_empty() {
            outbox.release(&busy, LATER).await?;
        }
        if !stale.is_empty() {
            outbox.fail(&stale, "stale_catalogue").await?;
            self.shared.notices.reload();
        }
        Ok(absent)
    }

    /// Rows that are not there: note the log's position, wait until nobody can have them inserted any
    /// more, look again. Where a delete says since when, only who writes to its table is waited for.
    async fn absent(
        &mut self,
        tasks: Vec<Task>,
        situation: &Situation,
        units: &mut Vec<Unit>,
        all: &mut bool,
    ) -> Result<(), Stop> {
        if tasks.is_empty() {
            return Ok(());
        }
        let (outbox, _) = self.primary()?;
        let moment = outbox.note().await?;
        let deadline = Instant::now() + ABSENT_WAIT;
        let version = Version { epoch: situation.epoch, counter: moment.lsn, n: 0 };
        let mut tasks = tasks;
        let table = |task: &Task| task.gone_at().map(|_| task.table.oid);
        tasks.sort_by_key(table);
        let mut again = Vec::with_capacity(tasks.len());
        while let Some(first) = tasks.first().map(table) {
            let end = tasks.iter().position(|task| table(task) != first).unwrap_or(tasks.len());
            let part: Vec<Task> = tasks.drain(..end).collect();
            let tables = first.map(|oid| situation.catalog.parts(oid));
            if self.ended(moment, tables.as_deref(), deadline).await? {
                again.extend(part.into_iter().map(|task| task.gone_by(version)));
            } else {
                *all = false;
                let ids: Vec<i64> = part.into_iter().flat_map(|task| task.ids).collect();
                let (outbox, _) = self.primary()?;
                outbox.release(&ids, LATER).await?;
            }
        }
        let left = Box::pin(self.read(again, situation, units, all)).await?;
        debug_assert!(left.is_empty(), "every task has a version to be gone at");
        Ok(())
    }

    /// Waits until who ran at a moment, or who then wrote to one of the tables, has ended.
    async fn ended(
        &mut self,
        moment: Moment,
        tables: Option<&[Oid]>,
        deadline: Instant,
    ) -> Result<bool, Stop> {
        let (outbox, _) = self.primary()?;
        loop {
            let ended = match tables {
                Some(tables) => outbox.ended_on(moment, tables).await?,
                None => outbox.ended(moment).await?,
            };
            if ended || deadline <= Instant::now() {
                return Ok(ended);
            }
            tokio::time::sleep(ABSENT_LOOK).await;
        }
    }
}

impl Unit {
    pub(super) fn read_again(self) -> Option<Task> {
        let (Effect::Put { key, .. } | Effect::Gone { key } | Effect::Move { new: key, .. }) =
            self.change.effect
        else {
            return None;
        };
        let need = Need::Read { key, gone_at: None };
        let (table, operation) = (self.change.table, self.change.operation);
        Some(Task::new(table, operation, self.ids, need))
    }
}

impl Task {
    fn key(&self) -> Option<&Key> {
        match &self.need {
            Need::Read { key, .. } => Some(key),
            Need::Empty { .. } => None,
        }
    }

    fn gone_at(&self) -> Option<Version> {
        match &self.need {
            Need::Read { gone_at, .. } => *gone_at,
            Need::Empty { version } => Some(*version),
        }
    }

    /// If it is absent still, it is gone as of this version, unless a delete says when.
    fn gone_by(self, version: Version) -> Self {
        let need = match self.need {
            Need::Read { key, gone_at } => {
                Need::Read { key, gone_at: Some(gone_at.unwrap_or(version)) }
            }
            other => other,
        };
        Self { need, waited: true, ..self }
    }
}

/// TRUNCATE first, then deletes (children before parents), then rows (parents before children).
fn sort(units: &mut [Unit]) {
    let depth = crate::backend::mysql::ranks(units.iter().map(|unit| &*unit.change.table));
    units.sort_by_key(|unit| {
        let depth = depth.get(&unit.change.table.oid).copied().unwrap_or(0);
        match unit.change.effect {
            Effect::Empty => (0, 0, unit.change.version),
            Effect::Gone { .. } => (1, usize::MAX - depth, unit.change.version),
            Effect::Put { .. } | Effect::Move { .. } => (2, depth, unit.change.version),
        }
    });
}
