//! One connection to the secondary: takes what is queued, in order, and applies it in batches.
//!
//! ```text
//! items ──as many as are there──▶ one transaction on the secondary
//!                                     └─refused─▶ the culprit alone, the others around it
//! ```
//!
//! Invariant: items are applied, or given up to the outbox, in the order in which they came.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::Shared;
use super::databases::Databases;
use super::metrics::Written;
use crate::backend::mysql::{Outcome, Reaction, Refused, WriteError, Writer};
use crate::backend::pauses;
use crate::change::{Change, Transaction};
use crate::handoff::Settled;

/// Attempts at a transaction that clashes with one that is on its way, after the first; then it is
/// left to the outbox. The pauses between them grow from the one bound to the other.
const RACE_ATTEMPTS: usize = 5;
const RACE_PAUSE_MIN: Duration = Duration::from_millis(5);
const RACE_PAUSE_MAX: Duration = Duration::from_millis(80);
/// How long a transaction that nobody waits for waits for others to go with: the secondary commits
/// many at once for little more than one.
const LINGER: Duration = Duration::from_millis(2);
/// A connection that was quiet for longer than this part of `wait_timeout` is made anew.
const IDLE_PART: u32 = 2;

/// A transaction on its way.
pub(super) struct Item {
    pub(super) transaction: Transaction,
    pub(super) bytes: usize,
    pub(super) done: Option<oneshot::Sender<Settled>>,
    pub(super) keys: Vec<u64>,
    pub(super) arrived: Instant,
}

/// An item has ended, one way or the other.
pub(super) struct Finished {
    pub(super) worker: usize,
    pub(super) keys: Vec<u64>,
}

struct Worker<D: Databases> {
    shared: Arc<Shared<D>>,
    index: usize,
    report: mpsc::UnboundedSender<Finished>,
    writer: Option<(Writer<D::Connection>, Instant)>,
}

/// Runs until the dispatcher drops its end.
pub(super) async fn run<D: Databases>(
    shared: Arc<Shared<D>>,
    index: usize,
    mut items: mpsc::Receiver<Item>,
    report: mpsc::UnboundedSender<Finished>,
) {
    let mut worker = Worker { shared, index, report, writer: None };
    let mut held = None;
    loop {
        let first = match held.take() {
            Some(item) => item,
            None => match items.recv().await {
                Some(item) => item,
                None => return,
            },
        };
        let (batch, next) = gather(first, &mut items, worker.shared.limits.batch_rows).await;
        held = next;
        worker.all(batch).await;
    }
}

/// As many items as are waiting, or come soon where nobody waits for an answer, up to a batch; and
/// the one that did not fit.
async fn gather(
    first: Item,
    items: &mut mpsc::Receiver<Item>,
    rows_max: usize,
) -> (VecDeque<Item>, Option<Item>) {
    let mut rows = first.transaction.changes.len();
    let mut waited_for = first.done.is_some();
    let mut batch = VecDeque::from([first]);
    let deadline = Instant::now() + LINGER;
    while rows < rows_max {
        let next = match items.try_recv() {
            Ok(item) => Some(item),
            Err(_) if waited_for => None,
            Err(_) => tokio::time::timeout_at(deadline, items.recv()).await.ok().flatten(),
        };
        let Some(item) = next else { break };
        rows += item.transaction.changes.len();
        if rows > rows_max {
            return (batch, Some(item));
        }
        waited_for |= item.done.is_some();
        batch.push_back(item);
    }
    (batch, None)
}

impl<D: Databases> Worker<D> {
    /// Applies a batch; what is refused is taken apart around its culprit.
    async fn all(&mut self, batch: VecDeque<Item>) {
        let mut parts = vec![batch];
        while let Some(mut part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            if self.shared.breaker.is_open() {
                part.into_iter().for_each(|item| self.defer(item, Written::Deferred));
                continue;
            }
            match self.write(&part).await {
                Ok(outcomes) => self.applied(part, &outcomes),
                Err(refused) if part.len() == 1 || refused.error.breaks_connection() => {
                    self.refused(part, refused).await;
                }
                Err(refused) => {
                    let culprit = owner(&part, refused.at);
                    let after = part.split_off(culprit + 1);
                    let alone = part.split_off(culprit);
                    parts.extend([after, alone, part]);
                }
            }
        }
    }

    async fn write(&mut self, part: &VecDeque<Item>) -> Result<Vec<Outcome>, Refused> {
        let changes: Vec<&[Change]> =
            part.iter().map(|item| &item.transaction.changes[..]).collect();
        let situation = self.shared.situation();
        let foreign = |change: &Change| change.version.epoch != situation.epoch;
        if let Some(at) = changes.iter().copied().flatten().position(foreign) {
            let found = situation.epoch;
            let expected = changes.iter().copied().flatten().nth(at).map_or(0, |c| c.version.epoch);
            return Err(Refused { at, column: None, error: WriteError::Epoch { expected, found } });
        }
        let limit = self.shared.limits.write_timeout;
        let writer = self.writer().await.map_err(unwritten)?;
        let write = writer.write(&changes, situation.epoch, &situation.catalog);
        let result = tokio::time::timeout(limit, write).await;
        let result = result.unwrap_or_else(|_| Err(unwritten(WriteError::TimedOut)));
        match &result {
            Ok(_) => self.shared.breaker.succeeded(),
            Err(refused) if refused.error.breaks_connection() => {
                self.writer = None;
                self.shared.breaker.failed();
            }
            Err(_) => {}
        }
        if let Some((_, used)) = &mut self.writer {
            *used = Instant::now();
        }
        result
    }

    /// The open connection, unless the server may have given it up by now.
    async fn writer(&mut self) -> Result<&mut Writer<D::Connection>, WriteError> {
        let idle_max = self.shared.limits.link.idle / IDLE_PART;
        let open = self.writer.take().filter(|(_, used)| used.elapsed() < idle_max);
        let writer = match open {
            Some((writer, _)) => writer,
            None => self.shared.connect().await?,
        };
        Ok(&mut self.writer.insert((writer, Instant::now())).0)
    }

    fn applied(&self, part: VecDeque<Item>, outcomes: &[Outcome]) {
        let mut outcomes = outcomes.iter();
        for item in part {
            let (mut settled, mut again) = (Vec::new(), Vec::new());
            let time = item.arrived.elapsed();
            let seconds = time.as_secs_f64();
            self.shared.releaser.took(time);
            for (change, outcome) in item.transaction.changes.iter().zip(&mut outcomes) {
                self.shared.metrics.wrote(change, (*outcome).into());
                match outcome {
                    Outcome::Applied | Outcome::Superseded => {
                        self.shared.metrics.took(change, seconds);
                        settled.extend(change.entry.map(|entry| entry.0));
                    }
                    Outcome::ReadAgain => again.extend(change.entry.map(|entry| entry.0)),
                }
            }
            let answer = if again.is_empty() { Settled::Applied } else { Settled::Deferred };
            if !again.is_empty() {
                self.shared.under_way.remove(again.into_iter());
                self.shared.bell.ring(None);
            }
            let epoch = item.transaction.changes.first().map_or(0, |change| change.version.epoch);
            self.shared.settler.settle(&self.shared.under_way, epoch, settled);
            self.end(item, answer);
        }
    }

    /// A part that cannot be taken apart: try again, or leave it to the outbox.
    async fn refused(&mut self, mut part: VecDeque<Item>, mut refused: Refused) {
        if refused.error.lacks_parent() && part.iter().all(has_entries) {
            part.drain(..).for_each(|item| self.to_drain(item));
            return;
        }
        for pause in pauses::few(RACE_PAUSE_MIN, RACE_PAUSE_MAX, RACE_ATTEMPTS) {
            match refused.error.reaction() {
                Reaction::Now | Reaction::Soon => {}
                Reaction::ReadAgain | Reaction::Stuck | Reaction::Down => break,
            }
            part.iter().for_each(|item| self.count(item, Written::Retried));
            tokio::time::sleep(pause).await;
            match self.write(&part).await {
                Ok(outcomes) => {
                    self.applied(part, &outcomes);
                    return;
                }
                Err(next) => refused = next,
            }
        }
        let change = part.iter().flat_map(|item| &item.transaction.changes).nth(refused.at);
        let code = refused.error.code();
        if let Some(change) = change {
            self.shared.metrics.refused(change, &refused.error);
            let column = refused.column.as_deref();
            debug!(table = %change.table.name, code, column, "left to the outbox");
        }
        let written = match refused.error.reaction() {
            Reaction::Stuck => Written::Failed,
            _ => Written::Deferred,
        };
        if refused.error == WriteError::NotSetUp {
            warn!(code, "secondary is not set up");
        }
        part.drain(..).for_each(|item| self.defer(item, written));
    }

    fn defer(&self, item: Item, written: Written) {
        self.count(&item, written);
        self.shared.releaser.give_up(&item.transaction);
        let ids = item.transaction.changes.iter().filter_map(|change| change.entry);
        self.shared.under_way.remove(ids.map(|entry| entry.0));
        self.end(item, Settled::Deferred);
    }

    /// Only the drain can bring the parent along; it does so now, and whoever waits hears of that.
    fn to_drain(&self, item: Item) {
        let Item { transaction, bytes, done, keys, .. } = item;
        for change in &transaction.changes {
            self.shared.metrics.wrote(change, Written::Deferred);
        }
        let entries = transaction.changes.iter().filter_map(|change| change.entry);
        let ids: Vec<i64> = entries.map(|entry| entry.0).collect();
        self.shared.under_way.remove(ids.iter().copied());
        self.shared.releaser.release(bytes);
        self.shared.bell.ring_for(done.map(|done| (done, ids)));
        // The dispatcher may have ended; then nobody waits for these keys.
        let _ = self.report.send(Finished { worker: self.index, keys });
    }

    fn count(&self, item: &Item, written: Written) {
        for change in &item.transaction.changes {
            self.shared.metrics.wrote(change, written);
        }
    }

    fn end(&self, item: Item, settled: Settled) {
        self.shared.releaser.release(item.bytes);
        if let Some(done) = item.done {
            // A session that no longer waits has had its timeout.
            let _ = done.send(settled);
        }
        // The dispatcher may have ended; then nobody waits for these keys.
        let _ = self.report.send(Finished { worker: self.index, keys: item.keys });
    }
}

/// Whether the outbox can stand for all of it.
fn has_entries(item: &Item) -> bool {
    item.transaction.changes.iter().all(|change| change.entry.is_some())
}

/// The item that has the change at this position of the batch.
fn owner(part: &VecDeque<Item>, at: usize) -> usize {
    let mut seen = 0;
    let holds = |item: &Item| {
        seen += item.transaction.changes.len();
        at < seen
    };
    part.iter().position(holds).unwrap_or(0)
}

fn unwritten(error: WriteError) -> Refused {
    Refused { at: 0, column: None, error }
}
