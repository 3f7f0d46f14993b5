//! One table: read chunk by chunk, written and swept by a few workers.
//!
//! ```text
//! take over ─▶ (what a run that died may have left is swept) ─▶ read ──one chunk ahead──▶ workers ─▶ end
//! ```
//!
//! Invariant: memory holds one chunk a worker, one that waits and one that is read. A worker that fails
//! ends the run; what it had in hand is not written down as copied.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio_postgres::Client;

use super::pace::{Rate, go};
use super::progress::{Progress, RefusedRow, State};
use super::read::{Size, Source};
use super::track::{Part, Tracker};
use super::watch::Seen;
use super::{Backfill, BackfillError, read};
use crate::backend::mysql::copy::{Chunk, Copied, Copier, CopyError, Note, Refused};
use crate::backend::mysql::progress::{End, Reached, Run, Standing};
use crate::backend::mysql::{Link, WriteError};
use crate::backend::postgres::facts;
use crate::catalog::Table;
use crate::change::Key;
use crate::outbox::stuck;

/// Keys looked at together where a run died.
const SWEEP_ROWS: usize = 2000;
/// Rows of a table that may be refused; more of them are a mistake to be looked at first.
const REFUSED_MAX: u64 = 10_000;
type Chunks = Arc<Mutex<mpsc::Receiver<(u64, read::Chunk)>>>;

/// What the workers of a table share.
struct Shared {
    table: Arc<Table>,
    epoch: u64,
    tracker: Mutex<Tracker>,
    /// For entries of rows that are refused.
    primary: Client,
    progress: Progress,
}

/// Copies a table, or goes on with it, until it is done or it is time to stop.
pub(super) async fn copy(
    backfill: &mut Backfill,
    table: &Arc<Table>,
    epoch: u64,
    seen: &mut Seen,
) -> Result<(), BackfillError> {
    let (run, limits) = (Run::new(), backfill.limits);
    let mut link = Link::connect(&backfill.to, &limits).await?;
    let again = backfill.options.again && table.id.is_some_and(|id| !backfill.begun.contains(&id));
    let standing = take_over(&mut link, table, run, again, seen).await?;
    if standing.done {
        let earlier = standing.reached.copied;
        backfill.progress.table(table.id, |table| (table.rows, table.earlier) = (earlier, earlier));
        // What this very run has done before it was interrupted stays done.
        if !table.id.is_some_and(|id| backfill.begun.contains(&id)) {
            backfill.progress.state(table.id, State::DoneBefore);
        }
        return Ok(());
    }
    backfill.begun.extend(table.id);
    let mut copier = Copier::connect(&backfill.to, &limits, run).await?;
    if standing.unswept {
        backfill.progress.state(table.id, State::Sweeping);
        sweep_left(&mut copier, table, epoch, &backfill.progress).await?;
        owned(link.swept_all(table, run).await?, table)?;
    }
    drop(link);
    let end = chunks(backfill, table, epoch, seen, (run, copier, standing.reached)).await?;
    // The one that took the table over has said nothing all the while.
    let mut link = Link::connect(&backfill.to, &limits).await?;
    owned(link.end_backfill(table, run, end).await?, table)?;
    let state = if end == End::Done { State::Done } else { State::Stopped };
    backfill.progress.state(table.id, state);
    Ok(())
}

fn owned(ours: bool, table: &Table) -> Result<(), BackfillError> {
    if ours { Ok(()) } else { Err(BackfillError::TakenOver(table.name.clone())) }
}

/// Where the bound that is known is too old, the next one is waited for.
async fn take_over(
    link: &mut Link,
    table: &Table,
    run: Run,
    again: bool,
    seen: &mut Seen,
) -> Result<Standing, BackfillError> {
    loop {
        let bound = *seen.bound.borrow_and_update();
        if let Some(bound) = bound
            && let Some(standing) = link.take_over(table, run, bound, again).await?
        {
            return Ok(standing);
        }
        // The other end lives as long as the run.
        if seen.bound.changed().await.is_err() {
            return Err(WriteError::Disconnected.into());
        }
    }
}

/// All keys of the secondary's, since it is not known which of them the dead run inserted.
async fn sweep_left(
    copier: &mut Copier,
    table: &Table,
    epoch: u64,
    progress: &Progress,
) -> Result<(), BackfillError> {
    let mut place = None;
    loop {
        let (keys, next) = copier.keys_after(table, place.as_deref(), SWEEP_ROWS).await?;
        let keys: Vec<&Key> = keys.iter().collect();
        let swept = copier.sweep(table, &keys, epoch, None).await?;
        progress.table(table.id, |table| table.swept += swept);
        match next {
            Some(next) => place = Some(next),
            None => return Ok(()),
        }
    }
}

async fn chunks(
    backfill: &Backfill,
    table: &Arc<Table>,
    epoch: u64,
    seen: &mut Seen,
    (run, copier, reached): (Run, Copier, Reached),
) -> Result<End, BackfillError> {
    let options = &backfill.options;
    let size = Size { rows: options.chunk_rows, bytes: options.chunk_bytes };
    let mut source = Source::open(&backfill.from, table, size).await?;
    let primary = backfill.from.connect().await?;
    let expected = facts::estimate(&primary, table.oid).await?;
    backfill.progress.table(table.id, |table| {
        (table.rows, table.earlier) = (reached.copied, reached.copied);
        table.expected = expected;
    });
    backfill.progress.state(table.id, State::Copying);
    let after = reached.key.clone().map(Bytes::from);
    let shared = Arc::new(Shared {
        table: Arc::clone(table),
        epoch,
        tracker: Mutex::new(Tracker::new(reached)),
        primary,
        progress: backfill.progress.clone(),
    });
    let (sender, receiver) = mpsc::channel(1);
    let receiver = Arc::new(Mutex::new(receiver));
    let mut workers = JoinSet::new();
    workers.spawn(work(Arc::clone(&shared), Arc::clone(&receiver), copier));
    for _ in 1..options.workers {
        let copier = Copier::connect(&backfill.to, &backfill.limits, run).await?;
        workers.spawn(work(Arc::clone(&shared), Arc::clone(&receiver), copier));
    }
    // Theirs alone: once they are gone, nothing can be sent.
    drop(receiver);
    let end = feed(backfill, &shared, seen, (&mut source, after), sender, &mut workers).await?;
    while let Some(ended) = workers.join_next().await {
        finished(ended)?;
    }
    Ok(end)
}

/// Reads chunk after chunk, each as soon as the one before is taken.
async fn feed(
    backfill: &Backfill,
    shared: &Shared,
    seen: &mut Seen,
    (source, mut after): (&mut Source<'_>, Option<Bytes>),
    sender: mpsc::Sender<(u64, read::Chunk)>,
    workers: &mut JoinSet<Result<(), BackfillError>>,
) -> Result<End, BackfillError> {
    let (rate, mut stop) = (Rate::new(backfill.options.max_rate), backfill.stop.clone());
    for number in 0.. {
        if !go(&mut seen.hold, &mut stop).await {
            return Ok(End::Stopped);
        }
        let bound = seen.bound.borrow().unwrap_or_default();
        shared.tracker.lock().await.open(number, bound);
        let chunk = source.chunk(after.as_ref(), shared.epoch).await?;
        let Some(row) = chunk.rows.last() else { break };
        after = Some(row.key.raw.clone());
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return Ok(End::Stopped),
            () = rate.admit(chunk.rows.len()) => {}
        }
        let last = chunk.last;
        tokio::select! {
            place = sender.reserve() => match place {
                Ok(place) => place.send((number, chunk)),
                // Only a failure ends them before their time, and that is found where they are joined.
                Err(_) => return Ok(End::Stopped),
            },
            Some(ended) = workers.join_next() => {
                finished(ended)?;
                return Ok(End::Stopped);
            }
        }
        if last {
            break;
        }
    }
    Ok(End::Done)
}

fn finished(
    ended: Result<Result<(), BackfillError>, tokio::task::JoinError>,
) -> Result<(), BackfillError> {
    ended.unwrap_or(Err(BackfillError::MySql(WriteError::Disconnected)))
}

async fn work(
    shared: Arc<Shared>,
    chunks: Chunks,
    mut copier: Copier,
) -> Result<(), BackfillError> {
    loop {
        let next = chunks.lock().await.recv().await;
        let Some((number, chunk)) = next else { return Ok(()) };
        shared.one(number, &chunk, &mut copier).await?;
    }
}

impl Shared {
    async fn one(
        &self,
        number: u64,
        chunk: &read::Chunk,
        copier: &mut Copier,
    ) -> Result<(), BackfillError> {
        let table = &*self.table;
        let rows = Chunk { table, rows: &chunk.rows, since: chunk.since };
        let (copied, chunks) = match copier.copy(&rows).await {
            Ok(copied) => (copied, 1),
            // Every row of it went with the TRUNCATE, or was written after it.
            Err(CopyError::Emptied) => (Copied::default(), 0),
            Err(error) => return Err(self.explained(error)),
        };
        let Copied { inserted, present, refused } = copied;
        let count = refused.len() as u64;
        self.enter(refused).await?;
        let keys: Vec<&Key> = chunk.rows.iter().map(|row| &row.key).collect();
        let part = Part {
            key: keys.last().map(|key| key.raw.to_vec()),
            copied: keys.len() as u64,
            refused: count,
        };
        let mut tracker = self.tracker.lock().await;
        let note = Note { reached: tracker.reached_with(number, &part), chunks };
        let swept = copier.sweep(table, &keys, self.epoch, Some(&note)).await;
        let swept = swept.map_err(|error| self.explained(error))?;
        tracker.done(number, part);
        drop(tracker);
        self.progress.table(table.id, |table| {
            table.rows += keys.len() as u64;
            table.inserted += inserted;
            table.present += present;
            table.swept += swept;
        });
        Ok(())
    }

    fn explained(&self, error: CopyError) -> BackfillError {
        match error {
            CopyError::TakenOver => BackfillError::TakenOver(self.table.name.clone()),
            other => other.into(),
        }
    }

    /// Refused rows are read again like any other, before the chunk is written down as done.
    async fn enter(&self, refused: Vec<Refused>) -> Result<(), BackfillError> {
        let Some(id) = self.table.id else { return Ok(()) };
        for Refused { key, error, column, owner } in refused {
            stuck::enter(&self.primary, id, &key.raw).await?;
            let reason = match column {
                Some(column) => format!("{} column \"{column}\"", error.code()),
                None => error.code(),
            };
            let mut count = 0;
            self.progress.table(Some(id), |table| {
                table.name(RefusedRow { key, reason, owner });
                count = table.refused;
            });
            if REFUSED_MAX < count {
                let table = self.table.name.clone();
                return Err(BackfillError::TooManyRefused { table, max: REFUSED_MAX });
            }
        }
        Ok(())
    }
}
