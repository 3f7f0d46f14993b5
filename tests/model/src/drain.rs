//! The drain, and the repair of rows: rows are read again on the primary, as `apply::drain` does it.
//!
//! ```text
//! claim ─▶ read (row lock, LSN) ─┬─▶ flush ─▶ secondary ─▶ settle
//!                                └─ absent: note v, wait out what runs, read again ─▶ gone at v
//! ```
//!
//! Invariant: every step but the last changes nothing but the sidecar's memory (and what is durable),
//! so a drain can end at any of them. Claims are not modelled: a lease may have run out, so any
//! number of sidecars may have the same entry in hand.

use crate::primary::{flush, is_locked};
use crate::scene::{Safeguard, Scene};
use crate::secondary::{Outcome, Refused, apply, owners};
use crate::state::{Change, Client, Effect, Entry, Found, Item, Place, Task, Version, World};

/// Takes the open entries of one place, or of all, but for those whose images are under way here.
pub fn claim(world: &mut World, scene: &Scene, at: usize, place: Option<Place>) -> Option<()> {
    let sidecar = &world.sidecars[at];
    let under_way = |id: u8| {
        sidecar.settle.contains(&id)
            || sidecar.images.iter().flatten().any(|change| change.entry == Some(id))
    };
    let wanted = |entry: &&Entry| {
        let later = sidecar.epoch < entry.version.epoch && scene.has(Safeguard::NoLaterEntries);
        place.is_none_or(|place| place == entry.place) && !under_way(entry.id) && !later
    };
    let mut items: Vec<Item> = Vec::new();
    let mut newest: Vec<Entry> = Vec::new();
    let log_end = match scene.has(Safeguard::LogEnd) {
        true if !scene.mirror => world.primary.lsn,
        _ => u8::MAX,
    };
    for entry in world.primary.outbox.iter().filter(wanted) {
        let mut entry = *entry;
        entry.version.counter = entry.version.counter.min(log_end);
        match items.iter().position(|item| item.place == entry.place) {
            Some(found) => {
                items[found].ids.push(entry.id);
                if newest[found].version <= entry.version {
                    newest[found] = entry;
                }
            }
            None => {
                items.push(Item {
                    place: entry.place,
                    ids: vec![entry.id],
                    gone_at: None,
                    waited: false,
                    found: Found::Unread,
                });
                newest.push(entry);
            }
        }
    }
    for (item, entry) in items.iter_mut().zip(newest) {
        let foreign = entry.version.epoch != sidecar.epoch;
        item.gone_at = (entry.delete && !foreign).then_some(entry.version);
        if let (Place::Table(_), version) = (entry.place, entry.version) {
            item.found = Found::Unit(version, Effect::Empty);
        }
        if entry.delete && !foreign && !scene.has(Safeguard::DeleteIsRead) {
            item.found = Found::Unit(entry.version, Effect::Gone);
        }
    }
    start(world, at, items)
}

/// A row that a verify pass found to differ.
pub fn repair(world: &mut World, scene: &Scene, at: usize, key: u8) -> Option<()> {
    let known = world.sidecars[at].epoch;
    let current = known == world.primary.epoch && known == world.secondary.epoch;
    if !current && scene.has(Safeguard::RepairInEpoch) {
        return None;
    }
    // What verify finds to be equal needs no repair, and moves no fence.
    if world.primary.rows[usize::from(key)] == world.secondary.rows[usize::from(key)] {
        world.repair &= !(1 << key);
        return Some(());
    }
    let place = Place::Key(key);
    start(
        world,
        at,
        vec![Item { place, ids: vec![], gone_at: None, waited: false, found: Found::Unread }],
    )
}

fn start(world: &mut World, at: usize, items: Vec<Item>) -> Option<()> {
    if items.is_empty() {
        return None;
    }
    let epoch = world.sidecars[at].epoch;
    world.sidecars[at].task =
        Some(Task { epoch, items, moment: None, flushed: false, with_owners: false });
    Some(())
}

/// The next step of what a sidecar has in hand.
pub fn step(world: &mut World, scene: &Scene, at: usize) -> Option<()> {
    let mut task = world.sidecars[at].task.take()?;
    let unread = task.items.iter().position(|item| item.found == Found::Unread);
    let absent = task.items.iter().any(|item| item.found == Found::Absent);
    if let Some(next) = unread {
        read(world, scene, &mut task, next)?;
        note(world, &mut task);
    } else if let (true, Some((lsn, running))) = (absent, task.moment) {
        if running != 0 && scene.has(Safeguard::AbsentWait) {
            return None;
        }
        let version = Version { epoch: task.epoch, counter: lsn, n: 0 };
        for item in task.items.iter_mut().filter(|item| item.found == Found::Absent) {
            let version = *item.gone_at.get_or_insert(version);
            item.waited = true;
            item.found = match scene.has(Safeguard::AbsentWait) {
                true => Found::Unread,
                false => Found::Unit(version, Effect::Gone),
            };
        }
        task.moment = None;
    } else if !task.flushed {
        if scene.has(Safeguard::FlushBeforeUse) {
            flush(&mut world.primary, scene);
        }
        task.flushed = true;
        if !scene.has_durable() {
            write(world, scene, at, task);
            return Some(());
        }
    } else {
        write(world, scene, at, task);
        return Some(());
    }
    world.sidecars[at].task = Some(task);
    Some(())
}

/// Once all is read and something is absent: the log's position, and who runs.
fn note(world: &World, task: &mut Task) {
    let unread = |item: &Item| item.found == Found::Unread;
    let absent = |item: &Item| item.found == Found::Absent;
    if task.items.iter().any(unread) || !task.items.iter().any(absent) {
        return;
    }
    let runs = |client: &Client| client.open.as_ref().is_some_and(|open| !open.writes.is_empty());
    let running = world.clients.iter().enumerate().filter(|(_, client)| runs(client));
    let running = running.fold(0, |mask, (client, _)| mask | 1 << client);
    task.moment = Some((world.primary.lsn, running));
}

/// Reads one row; waits for its lock.
fn read(world: &mut World, scene: &Scene, task: &mut Task, next: usize) -> Option<()> {
    let item = &mut task.items[next];
    let Place::Key(key) = item.place else { return None };
    let row = world.primary.rows[usize::from(key)];
    // A row that is only being inserted has no lock that a reader could wait for.
    let waits = is_locked(world, key) && (row.is_some() || scene.mirror);
    if waits && scene.has(Safeguard::RowLock) {
        return None;
    }
    task.flushed = false;
    if scene.mirror {
        let version = own_entry(world, scene, task.epoch, key);
        item.found = Found::Unit(version, row.map_or(Effect::Gone, Effect::Put));
        return Some(());
    }
    item.found = match (row, item.gone_at) {
        (Some(row), _) => {
            let version = Version { epoch: task.epoch, counter: world.primary.lsn, n: 0 };
            Found::Unit(version, Effect::Put(row))
        }
        (None, Some(version)) if item.waited => Found::Unit(version, Effect::Gone),
        (None, _) => Found::Absent,
    };
    Some(())
}

/// MySQL as primary: the row's fence entry is its version. Read again because it was at or below a
/// floor, it has to come back above it.
fn own_entry(world: &mut World, scene: &Scene, epoch: u8, key: u8) -> Version {
    let floor = world.primary.floor;
    let entry = &mut world.primary.fence[usize::from(key)];
    let version = entry.unwrap_or_default();
    if floor < version || !scene.has(Safeguard::RereadAboveFloor) {
        return if version.epoch == 0 { Version { epoch, ..version } } else { version };
    }
    let counter = if floor.epoch == epoch { floor.counter + 1 } else { 1 };
    *entry = Some(Version { epoch, counter, n: 0 });
    Version { epoch, counter, n: 0 }
}

/// The drain's second half, as `apply::carry` does it: deletes, then rows; what clashes once more,
/// then as a set, then with the owners of the values.
fn write(world: &mut World, scene: &Scene, at: usize, mut task: Task) {
    task.items.sort_by_key(|item| order(scene, item));
    let mut items = std::mem::take(&mut task.items);
    if !task.with_owners {
        // Each alone; those that clash once more after the others.
        for _ in 0..2 {
            let mut clashed = Vec::new();
            for item in items {
                match attempt(world, scene, task.epoch, std::slice::from_ref(&item)) {
                    Ok(outcomes) => written(world, at, &mut task, vec![item], &outcomes),
                    Err(Refused::Epoch) => return,
                    Err(Refused::Clash) => clashed.push(item),
                }
            }
            items = clashed;
        }
    }
    if items.len() > 1
        && let Ok(outcomes) = attempt(world, scene, task.epoch, &items)
    {
        written(world, at, &mut task, std::mem::take(&mut items), &outcomes);
    }
    if !items.is_empty() && !task.with_owners && scene.has(Safeguard::Owners) {
        let owners = owners_of(world, scene, &items);
        if !owners.is_empty() {
            task.items = owners.into_iter().chain(items).collect();
            (task.with_owners, task.flushed) = (true, false);
            world.sidecars[at].task = Some(task);
            return;
        }
    }
    // What failed stays in the outbox; what was too old to judge is read again.
    if !task.items.is_empty() {
        (task.with_owners, task.flushed) = (false, false);
        world.sidecars[at].task = Some(task);
    }
}

/// TRUNCATE first, then deletes (children before parents), then rows (parents before children).
fn order(scene: &Scene, item: &Item) -> (u8, u8) {
    let depth = match item.place {
        Place::Key(key) => scene.table(key),
        Place::Table(_) => 0,
    };
    match item.found {
        Found::Unit(_, Effect::Empty) => (0, 0),
        Found::Unit(_, Effect::Gone) => (1, u8::MAX - depth),
        _ => (2, depth),
    }
}

fn attempt(
    world: &mut World,
    scene: &Scene,
    epoch: u8,
    items: &[Item],
) -> Result<Vec<Outcome>, Refused> {
    let change = |item: &Item| match item.found {
        Found::Unit(version, effect) => {
            Some(Change { place: item.place, version, effect, entry: None })
        }
        Found::Unread | Found::Absent => None,
    };
    let changes: Vec<Change> = items.iter().filter_map(change).collect();
    apply(&mut world.secondary, scene, &changes, epoch, true)
}

fn written(world: &mut World, at: usize, task: &mut Task, items: Vec<Item>, outcomes: &[Outcome]) {
    for (item, outcome) in items.into_iter().zip(outcomes) {
        match outcome {
            Outcome::Applied | Outcome::Superseded => {
                world.sidecars[at].settle.extend(&item.ids);
                if let (Place::Key(key), true) = (item.place, item.ids.is_empty()) {
                    world.repair &= !(1 << key);
                }
            }
            Outcome::ReadAgain => {
                let (gone_at, waited) = (None, false);
                task.items.push(Item { gone_at, waited, found: Found::Unread, ..item });
            }
        }
    }
    world.sidecars[at].settle.sort_unstable();
}

fn owners_of(world: &World, scene: &Scene, clashed: &[Item]) -> Vec<Item> {
    let mut found: Vec<u8> = Vec::new();
    for item in clashed {
        if let (Place::Key(key), Found::Unit(_, Effect::Put(row))) = (item.place, item.found) {
            found.extend(owners(&world.secondary, scene, key, row));
        }
    }
    found.sort_unstable();
    found.dedup();
    // Those that are in the set already are no news.
    found.retain(|key| clashed.iter().all(|item| item.place != Place::Key(*key)));
    let item = |key| Item {
        place: Place::Key(key),
        ids: vec![],
        gone_at: None,
        waited: false,
        found: Found::Unread,
    };
    found.into_iter().map(item).collect()
}
