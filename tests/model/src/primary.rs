//! The primary: statements under row locks, commits, crashes, and the guard.
//!
//! ```text
//! statement ─guard (lock shared, epoch)─▶ row locked, changed, LSN read ─▶ entry + image
//! COMMIT ─▶ rows, entries, flush ─▶ reply
//! ```
//!
//! Invariant: a row's LSN is drawn while its lock is held. Where MySQL is the primary the counter is
//! the row's own fence entry instead, raised by one under its lock.

use crate::scene::{Op, Safeguard, Scene};
use crate::state::{
    Change, Client, Durable, Effect, Entry, Place, Primary, Reply, Row, Savepoint, Sidecar,
    Transaction, Version, World, Write,
};

/// What became of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    Done,
    /// Somebody else's lock is in the way.
    Blocked,
    /// An error: the transaction is over.
    Failed,
}

/// The client's next statement, or its COMMIT; `None` where it has to wait.
pub fn step(world: &mut World, scene: &Scene, at: usize) -> Option<()> {
    let script = scene.clients[at].transactions.get(world.clients[at].transaction)?;
    let Some(op) = script.get(world.clients[at].operation) else {
        commit(world, scene, at);
        return Some(());
    };
    let mut open = world.clients[at].open.take().unwrap_or_default();
    let ran = statement(world, scene, at, *op, &mut open);
    let client = &mut world.clients[at];
    match ran {
        Ran::Blocked => return None,
        Ran::Failed => end(world, at),
        Ran::Done => {
            client.open = Some(open);
            client.operation += 1;
        }
    }
    Some(())
}

/// The transaction is rolled back, and the client goes on with its next one.
pub fn abort(world: &mut World, scene: &Scene, at: usize) -> Option<()> {
    let open = world.clients[at].open.as_ref()?;
    if open.writes.is_empty() || step(&mut world.clone(), scene, at).is_some() {
        return None;
    }
    end(world, at);
    Some(())
}

fn end(world: &mut World, at: usize) {
    let client = &mut world.clients[at];
    *client = Client { transaction: client.transaction + 1, ..Client::default() };
    for task in world.sidecars.iter_mut().filter_map(|sidecar| sidecar.task.as_mut()) {
        if let Some((_, running)) = &mut task.moment {
            *running &= !(1 << at);
        }
    }
}

fn statement(world: &mut World, scene: &Scene, at: usize, op: Op, open: &mut Transaction) -> Ran {
    match op {
        Op::Savepoint => {
            open.savepoint = Some(Savepoint {
                writes: open.writes.len(),
                entries: open.entries.len(),
                changes: open.changes.len(),
                lock: open.lock,
                marks: open.marks,
            });
            return Ran::Done;
        }
        Op::RollbackTo => {
            if let Some(savepoint) = open.savepoint {
                open.writes.truncate(savepoint.writes);
                open.entries.truncate(savepoint.entries);
                open.changes.truncate(savepoint.changes);
                // PostgreSQL gives a lock up that was taken after the savepoint.
                open.lock = savepoint.lock;
                open.marks = savepoint.marks;
            }
            return Ran::Done;
        }
        Op::Put(..) | Op::Gone(_) | Op::Truncate(_) => {}
    }
    let targets = match targets(world, scene, at, op, open) {
        Ok(targets) => targets,
        Err(ran) => return ran,
    };
    if targets.is_empty() && !matches!(op, Op::Truncate(_)) {
        return Ran::Done;
    }
    match guard(&world.primary, scene, world.sidecars[scene.clients[at].sidecar].epoch, open) {
        Ran::Done => {}
        other => return other,
    }
    let captured = scene.uncaptured != Some(at) || world.clients[at].transaction > 0;
    let epoch = world.sidecars[scene.clients[at].sidecar].epoch;
    open.marks |= 1 << (at * 8 + world.clients[at].transaction * 3 + world.clients[at].operation);
    for (key, row) in targets {
        let version = draw(&mut world.primary, scene, epoch, key, open);
        open.writes.push(Write { key, row, version });
        if captured && !matches!(op, Op::Truncate(_)) {
            let cascaded = matches!(op, Op::Gone(named) if named != key);
            record(&mut world.primary, scene, key, row, cascaded, version, open);
        }
    }
    if let Op::Truncate(table) = op {
        let (counter, n) = (next_lsn(&mut world.primary), open.statement);
        let version = Version { epoch, counter, n };
        let id = next_id(&mut world.primary);
        let place = Place::Table(table);
        open.entries.push(Entry { id, place, version, delete: true });
        open.changes.push(Change { place, version, effect: Effect::Empty, entry: Some(id) });
    }
    open.statement += 1;
    Ran::Done
}

/// The rows that a statement writes and what it leaves of them, once nobody's lock is in the way.
fn targets(
    world: &World,
    scene: &Scene,
    at: usize,
    op: Op,
    open: &Transaction,
) -> Result<Vec<(u8, Option<Row>)>, Ran> {
    let see = |key: u8| visible(&world.primary, open, key);
    let held = |key: u8| others(world, at).any(|write| write.key == key);
    let targets: Vec<(u8, Option<Row>)> = match op {
        Op::Put(key, row) => vec![(key, Some(row))],
        Op::Gone(key) if see(key).is_none() && !held(key) => vec![],
        Op::Gone(key) => {
            let named = |other: &u8| see(*other).is_some_and(|row| row.parent == Some(key));
            let children = scene.all_keys().filter(named);
            std::iter::once(key).chain(children).map(|key| (key, None)).collect()
        }
        // Rows that are not there too: the table is locked.
        Op::Truncate(table) => scene.keys_of(table).map(|key| (key, None)).collect(),
        Op::Savepoint | Op::RollbackTo => vec![],
    };
    if targets.iter().any(|(key, _)| held(*key)) {
        return Err(Ran::Blocked);
    }
    match op {
        Op::Put(key, row) => referenced(world, scene, at, key, row, open)?,
        Op::Gone(key) => {
            let on_its_way = |write: &Write| write.row.is_some_and(|row| row.parent == Some(key));
            if others(world, at).any(on_its_way) {
                return Err(Ran::Blocked);
            }
        }
        _ => {}
    }
    Ok(targets)
}

/// The parent has to be there, and the unique value free.
fn referenced(
    world: &World,
    scene: &Scene,
    at: usize,
    key: u8,
    row: Row,
    open: &Transaction,
) -> Result<(), Ran> {
    let see = |key: u8| visible(&world.primary, open, key);
    if let Some(parent) = row.parent {
        let undecided = |write: &Write| {
            write.row.is_none() || world.primary.rows[usize::from(parent)].is_none()
        };
        if others(world, at).any(|write| write.key == parent && undecided(write)) {
            return Err(Ran::Blocked);
        }
        if see(parent).is_none() {
            return Err(Ran::Failed);
        }
    }
    if scene.unique && row.value != 0 {
        let has = |other: Option<Row>| other.is_some_and(|other| other.value == row.value);
        let undecided = |write: &Write| {
            write.key != key && (has(write.row) || has(world.primary.rows[usize::from(write.key)]))
        };
        if others(world, at).any(undecided) {
            return Err(Ran::Blocked);
        }
        let taken = |other: &u8| {
            *other != key && scene.table(*other) == scene.table(key) && has(see(*other))
        };
        if scene.all_keys().any(|other| taken(&other)) {
            return Err(Ran::Failed);
        }
    }
    Ok(())
}

/// `crossfade.enter`: the lock in share mode, and whether it is still this epoch.
fn guard(primary: &Primary, scene: &Scene, epoch: u8, open: &mut Transaction) -> Ran {
    if open.checked && !scene.has(Safeguard::EveryStatement) {
        return Ran::Done;
    }
    if primary.locked && !open.lock && scene.has(Safeguard::ExclusiveLock) {
        return Ran::Blocked;
    }
    if primary.epoch != epoch && scene.has(Safeguard::PrimaryEpoch) {
        return Ran::Failed;
    }
    open.lock = true;
    open.checked = true;
    Ran::Done
}

/// Versions the change of one row, under its lock.
fn draw(primary: &mut Primary, scene: &Scene, epoch: u8, key: u8, open: &Transaction) -> Version {
    if !scene.mirror {
        return Version { epoch, counter: next_lsn(primary), n: open.statement };
    }
    let own = open.writes.iter().rev().find(|write| write.key == key).map(|write| write.version);
    let floor =
        if scene.has(Safeguard::NewKeyAboveFloor) { primary.floor } else { Version::default() };
    let before = own.or(primary.fence[usize::from(key)]).unwrap_or(floor);
    let counter = if before.epoch == epoch { before.counter + 1 } else { 1 };
    Version { epoch, counter, n: 0 }
}

/// The entry in the outbox, and the image where the table's capture brings one.
fn record(
    primary: &mut Primary,
    scene: &Scene,
    key: u8,
    row: Option<Row>,
    cascaded: bool,
    version: Version,
    open: &mut Transaction,
) {
    if cascaded && !scene.has(Safeguard::CascadeCaptured) {
        return;
    }
    let id = next_id(primary);
    let place = Place::Key(key);
    open.entries.push(Entry { id, place, version, delete: row.is_none() });
    if scene.table(key) == 0 || (scene.child_images && !cascaded) {
        let effect = row.map_or(Effect::Gone, Effect::Put);
        open.changes.push(Change { place, version, effect, entry: Some(id) });
    }
}

fn commit(world: &mut World, scene: &Scene, at: usize) {
    let open = world.clients[at].open.take().unwrap_or_default();
    let primary = &mut world.primary;
    primary.stale_commit |= open.entries.iter().any(|entry| entry.version.epoch != primary.epoch);
    for write in &open.writes {
        primary.rows[usize::from(write.key)] = write.row;
        if scene.mirror {
            primary.fence[usize::from(write.key)] = Some(write.version);
        }
    }
    primary.committed |= open.marks;
    // A commit is a record of the log.
    primary.lsn += u8::from(!scene.mirror && !open.writes.is_empty());
    let (changes, marks, mut entries) = (open.changes, open.marks, open.entries);
    if scene.has(Safeguard::OutboxWithWrite) {
        primary.outbox.append(&mut entries);
    }
    if scene.has(Safeguard::SyncCommit) && scene.faults.failover == 0 {
        flush(primary, scene);
    }
    end(world, at);
    // `end` went on to the next transaction; until the reply is there, nothing more is sent.
    world.clients[at].reply = Some(Reply { changes, entries, marks });
    // Where nothing can lose it, it is there at once: that halves the states.
    let faults = &world.faults;
    if faults.sidecar == 0 && faults.primary == 0 && faults.failover == 0 {
        crate::sidecar::reply(world, scene, at);
    }
}

/// The log up to here survives a crash.
pub fn flush(primary: &mut Primary, scene: &Scene) {
    if scene.has_durable() {
        primary.durable = Durable {
            rows: primary.rows,
            lsn: primary.lsn,
            outbox: primary.outbox.clone(),
            committed: primary.committed,
        };
    }
}

/// The primary falls back to what is durable; whoever was connected is not any more.
pub fn fall_back(world: &mut World, scene: &Scene) {
    let primary = &mut world.primary;
    let Durable { rows, lsn, outbox, committed } = primary.durable.clone();
    (primary.rows, primary.lsn, primary.outbox, primary.committed) = (rows, lsn, outbox, committed);
    for at in 0..world.clients.len() {
        disconnect(world, at);
    }
    if scene.has(Safeguard::SameConnection) {
        for Sidecar { task, .. } in &mut world.sidecars {
            *task = None;
        }
    }
}

/// The client's connection is gone: what was open is rolled back, a reply on its way is lost.
pub fn disconnect(world: &mut World, at: usize) {
    world.clients[at].reply = None;
    if world.clients[at].open.is_some() {
        end(world, at);
    }
}

fn next_lsn(primary: &mut Primary) -> u8 {
    primary.lsn += 1;
    primary.lsn
}

fn next_id(primary: &mut Primary) -> u8 {
    primary.next_id += 1;
    primary.next_id
}

/// What other open transactions have written.
fn others(world: &World, at: usize) -> impl Iterator<Item = &Write> {
    let others = world.clients.iter().enumerate().filter(move |(other, _)| *other != at);
    others.filter_map(|(_, client)| client.open.as_ref()).flat_map(|open| &open.writes)
}

/// Whether some transaction holds the row's lock.
#[must_use]
pub fn is_locked(world: &World, key: u8) -> bool {
    others(world, usize::MAX).any(|write| write.key == key)
}

fn visible(primary: &Primary, open: &Transaction, key: u8) -> Option<Row> {
    let own = open.writes.iter().rev().find(|write| write.key == key);
    own.map_or(primary.rows[usize::from(key)], |write| write.row)
}
