//! Clients: random transactions through a sidecar's session, as the session hands them over.
//!
//! Invariant: a client is told what the session knows: an answer of the secondary within the table's
//! timeout, or none. What it was told is checked on the spot.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::schedule::World;
use super::schema::{self, Cells, IDS, ITEMS, NOTES, ORDERS, TABLES, USERS};
use super::sidecar::Seat;
use super::transaction::{Failed, Handed, Tx};
use crate::change::{Change, Transaction};
use crate::handoff::{Decision, Settled};
use crate::policy::Mode;

/// Longest wait of a client for the secondary.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Who is not answered by then is forgotten.
const HANGS: Duration = Duration::from_secs(240);
/// Unique values are below this.
const VALUES: u64 = 4;

/// One client: a few transactions, each by a sidecar that happens to run.
pub(super) async fn run(world: Arc<World>, transactions: u64) {
    for _ in 0..transactions {
        let rest = if world.rush { 5 } else { 60 };
        let pause = if world.chance.one_in(6) { 1_500 } else { rest };
        world.chance.pause(pause).await;
        let Some(seat) = world.seat() else { continue };
        let task = tokio::spawn(transact(Arc::clone(&world), seat.clone()));
        seat.sessions.lock().unwrap().push(task.abort_handle());
        // A session whose sidecar was killed is a lost connection.
        if let Err(error) = task.await
            && error.is_panic()
        {
            world.chance.violated("a session panicked".to_owned());
        }
    }
}

async fn transact(world: Arc<World>, seat: Seat) {
    let mode = match world.chance.below(4) {
        0 => Mode::Strict,
        1 => Mode::Blocking,
        _ => Mode::Async,
    };
    let epoch = seat.situation.borrow().epoch;
    let mut tx = Tx::begin(&world.primary, epoch, mode == Mode::Strict);
    let statements = 1 + world.chance.below(4);
    for _ in 0..statements {
        world.chance.travel().await;
        if world.slow && world.chance.one_in(4) {
            world.chance.pause(2_500).await;
        }
        if statement(&world, &mut tx).await.is_err() {
            return;
        }
    }
    if mode == Mode::Strict {
        strict(&world, &seat, tx).await;
        return;
    }
    let Handed { changes, drain } = tx.handed();
    if !tx.commit().await {
        return;
    }
    let mut waits = Vec::new();
    if !changes.is_empty() {
        let transaction = Transaction { changes, mode, timeout: TIMEOUT };
        // Past the bound it is a drain's answer, which says that nothing was left to claim.
        let fits = seat.handoff.bytes() + transaction.size() <= world.queue_max;
        if !fits {
            world.chance.reached("images dropped");
        }
        let judged = if fits { transaction.changes.clone() } else { Vec::new() };
        let done = (mode == Mode::Blocking).then(|| waited(&world, judged, &mut waits));
        seat.handoff.apply(transaction, done);
    }
    if drain {
        let done = (mode == Mode::Blocking).then(|| waited(&world, Vec::new(), &mut waits));
        seat.handoff.drain(done);
    }
    for wait in waits {
        let _ = timeout(TIMEOUT, wait).await;
    }
    if world.queue_max < seat.handoff.bytes() {
        world.chance.violated("more is queued than there may be".to_owned());
    }
}

/// A wait whose answer is checked, whether or not the client still waits for it.
fn waited(
    world: &Arc<World>,
    changes: Vec<Change>,
    waits: &mut Vec<oneshot::Receiver<()>>,
) -> oneshot::Sender<Settled> {
    let (done, answer) = oneshot::channel();
    let (told, wait) = oneshot::channel();
    waits.push(wait);
    world.watch(judge(Arc::clone(world), changes, answer, told));
    done
}

async fn judge(
    world: Arc<World>,
    changes: Vec<Change>,
    answer: oneshot::Receiver<Settled>,
    told: oneshot::Sender<()>,
) {
    match timeout(HANGS, answer).await {
        Err(_) => world.chance.violated("a client is never answered".to_owned()),
        Ok(Ok(Settled::Applied)) => {
            for change in changes.iter().filter(|change| !world.has(change)) {
                let keys: Vec<i64> = change.keys().map(schema::id).collect();
                world.chance.violated(format!(
                    "told that the secondary has {} {keys:?} of {} at {:?}, and it has not",
                    change.operation.as_str(),
                    change.table.name,
                    change.version
                ));
            }
        }
        Ok(_) => {}
    }
    let _ = told.send(());
}

/// The secondary first holds it, then the primary commits.
async fn strict(world: &Arc<World>, seat: &Seat, tx: Tx) {
    let Handed { changes, drain } = tx.handed();
    if changes.is_empty() {
        if tx.commit().await && drain {
            seat.handoff.drain(None);
        }
        return;
    }
    let (prepared, held) = oneshot::channel();
    let (decide, decision) = oneshot::channel();
    let mut waits = Vec::new();
    let done = waited(world, changes.clone(), &mut waits);
    let transaction = Transaction { changes, mode: Mode::Strict, timeout: TIMEOUT };
    if seat.handoff.strict(transaction, prepared, decision, done).is_err() {
        return;
    }
    // Refused, or too slow: the client is told so, and the primary rolls back.
    let Ok(Ok(Ok(()))) = timeout(TIMEOUT, held).await else {
        world.chance.reached("strict refused");
        return;
    };
    world.chance.reached("strict held");
    if !tx.commit().await {
        return;
    }
    let _ = decide.send(Decision::Commit);
    if drain {
        seat.handoff.drain(None);
    }
    for wait in waits {
        let _ = timeout(TIMEOUT, wait).await;
    }
}

async fn statement(world: &World, tx: &mut Tx) -> Result<(), Failed> {
    let chance = &world.chance;
    let table = usize::try_from(chance.below(TABLES as u64)).unwrap();
    let id = any_id(world);
    match chance.below(20) {
        0..10 => {
            let cells = any_row(world, table, id);
            tx.put(table, cells).await
        }
        10..13 => tx.delete(table, id).await,
        13..15 => tx.relocate(table, id, any_id(world)).await,
        15..17 => swap(world, tx, if chance.one_in(2) { USERS } else { ITEMS }).await,
        17 => {
            tx.undone(table, any_row(world, table, id)).await;
            Ok(())
        }
        18 => {
            // Several rows of one statement.
            for id in 0..1 + any_id(world) {
                tx.put(ITEMS, vec![Some(id), None, value(world)]).await?;
            }
            Ok(())
        }
        _ => {
            let tables: &[usize] = match chance.below(4) {
                0 => &[USERS, ORDERS, NOTES],
                1 => &[ORDERS],
                2 => &[NOTES],
                _ => &[ITEMS],
            };
            tx.truncate(tables).await
        }
    }
}

/// Two rows exchange their unique values, by way of a third one.
async fn swap(world: &World, tx: &mut Tx, table: usize) -> Result<(), Failed> {
    let column = schema::unique(table).unwrap();
    let (one, other) = (any_id(world), any_id(world));
    let (Some(a), Some(b)) = (tx.row((table, one)), tx.row((table, other))) else { return Ok(()) };
    if one == other {
        return Ok(());
    }
    let with = |row: &Cells, value| {
        let mut row = row.clone();
        row[column] = value;
        row
    };
    tx.put(table, with(&a, None)).await?;
    // Read again: the lock may have been waited for.
    let Some(b) = tx.row((table, other)).filter(|now| *now == b) else { return Err(Failed) };
    tx.put(table, with(&b, a[column])).await?;
    tx.put(table, with(&a, b[column])).await
}

fn any_id(world: &World) -> i64 {
    let ids = if world.rush { 3 } else { IDS };
    i64::try_from(world.chance.below(ids.unsigned_abs())).unwrap()
}

fn value(world: &World) -> Option<i64> {
    Some(i64::try_from(world.chance.below(VALUES)).unwrap())
}

fn any_row(world: &World, table: usize, id: i64) -> Cells {
    let nothing = world.chance.one_in(4);
    let second = match table {
        ORDERS | NOTES if nothing => None,
        ORDERS | NOTES => Some(any_id(world)),
        _ if nothing => None,
        _ => value(world),
    };
    vec![Some(id), second, value(world)]
}
