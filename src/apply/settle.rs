//! Deletes outbox entries whose changes the secondary has, many at a time.
//!
//! Invariant: losing one here is harmless: the entry grows old, a drain reads its row again, and the
//! fence knows it. Hence the queue is bounded and whatever does not fit is forgotten.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tracing::warn;

use super::databases::{Databases, Lost, Outbox as _};
use super::under_way::UnderWay;
use super::{Shared, stopping};
use crate::backend::pauses;
use crate::phase::Situation;

/// Transactions whose entries wait to be deleted.
const QUEUE_MAX: usize = 20_000;
/// Entries deleted by one statement, about.
const ENTRIES_AT_ONCE: usize = 1000;
/// Attempts at one statement after the first.
const AGAIN_MAX: usize = 2;
/// Waits for more entries: a delete of a thousand costs little more than one of ten.
const LINGER: Duration = Duration::from_millis(5);

pub(super) struct Settler(mpsc::Sender<Applied>);

/// Entries of one transaction, and the epoch in which they were made.
pub(super) type Applied = (u64, Vec<i64>);
pub(super) type Queue = mpsc::Receiver<Applied>;

pub(super) fn channel() -> (Settler, Queue) {
    let (sender, receiver) = mpsc::channel(QUEUE_MAX);
    (Settler(sender), receiver)
}

impl Settler {
    /// Takes the entries of an applied transaction. They count as under way until they are gone.
    pub(super) fn settle(&self, under_way: &UnderWay, epoch: u64, ids: Vec<i64>) {
        if ids.is_empty() {
            return;
        }
        if let Err(error) = self.0.try_send((epoch, ids)) {
            under_way.remove(error.into_inner().1.into_iter());
        }
    }
}

/// Runs until told to stop; then deletes what it still has.
pub(super) async fn run<D: Databases>(
    shared: Arc<Shared<D>>,
    mut queue: Queue,
    mut stopped: watch::Receiver<bool>,
) {
    let mut outbox = None;
    let mut lists = Vec::new();
    let mut situation = shared.situation.clone();
    loop {
        tokio::select! {
            biased;
            // The workers end first; what they still send is left to a drain.
            () = stopping(&mut stopped) => {
                while let Ok(list) = queue.try_recv() {
                    lists.push(list);
                }
                delete_all(&shared, &mut outbox, lists).await;
                return;
            }
            count = queue.recv_many(&mut lists, ENTRIES_AT_ONCE) => if count == 0 { return },
            () = other_turn::<D>(&mut situation), if outbox.is_some() => {
                outbox = None;
                continue;
            }
        }
        if lists.len() < ENTRIES_AT_ONCE / 10 {
            tokio::time::sleep(LINGER).await;
            while let Ok(list) = queue.try_recv() {
                lists.push(list);
            }
        }
        delete_all(&shared, &mut outbox, std::mem::take(&mut lists)).await;
    }
}

/// Waits until these databases do not lead and follow in this order.
async fn other_turn<D: Databases>(situation: &mut watch::Receiver<Arc<Situation>>) {
    // A sender that is gone means the end, which `stopping` sees.
    drop(situation.wait_for(|now| now.phase != D::PHASE).await);
}

/// One statement for each epoch, of which there is one almost always.
async fn delete_all<D: Databases>(
    shared: &Shared<D>,
    outbox: &mut Option<D::Outbox>,
    lists: Vec<Applied>,
) {
    for part in lists.chunk_by(|(a, _), (b, _)| a == b) {
        let epoch = part.first().map_or(0, |(epoch, _)| *epoch);
        let ids = part.iter().flat_map(|(_, ids)| ids).copied().collect();
        delete(shared, outbox, epoch, ids).await;
    }
}

async fn delete<D: Databases>(
    shared: &Shared<D>,
    outbox: &mut Option<D::Outbox>,
    epoch: u64,
    ids: Vec<i64>,
) {
    let mut pauses = pauses::few(pauses::REACH_MIN, shared.limits.backoff_max, AGAIN_MAX);
    while !ids.is_empty() {
        let result = match open(shared, outbox).await {
            Ok(outbox) => outbox.settle(&ids, epoch).await,
            Err(error) => Err(error),
        };
        let Err(error) = result else { break };
        *outbox = None;
        match pauses.next() {
            Some(pause) => tokio::time::sleep(pause).await,
            None => {
                warn!(entries = ids.len(), %error, "applied entries stay in the outbox for now");
                break;
            }
        }
    }
    shared.under_way.remove(ids.into_iter());
}

async fn open<'a, D: Databases>(
    shared: &Shared<D>,
    outbox: &'a mut Option<D::Outbox>,
) -> Result<&'a mut D::Outbox, Lost> {
    let open = match outbox.take().filter(|outbox| !outbox.is_closed()) {
        Some(open) => open,
        None => shared.databases.outbox().await?,
    };
    Ok(outbox.insert(open))
}
