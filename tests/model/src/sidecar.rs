//! What a sidecar does with the images it has in memory, and how it loses them.
//!
//! ```text
//! reply ──images──▶ applied, in any order ──▶ entries to settle ──▶ deleted from the outbox
//!                      └─refused─▶ forgotten: the outbox has them
//! ```
//!
//! Invariant: whatever is forgotten here has an entry in the outbox.

use crate::primary::disconnect;
use crate::scene::{Safeguard, Scene};
use crate::secondary::{Outcome, apply};
use crate::state::{Fill, Place, Sidecar, Version, World};

/// The client hears of its commit, and the sidecar has the images.
pub fn reply(world: &mut World, scene: &Scene, client: usize) -> Option<()> {
    let mut reply = world.clients[client].reply.take()?;
    world.acked |= reply.marks;
    world.primary.outbox.append(&mut reply.entries);
    if !scene.has(Safeguard::StatementOrder) {
        reply.changes.reverse();
    }
    if !scene.has(Safeguard::SettleAfterApply) {
        let ids: Vec<u8> = reply.changes.iter().filter_map(|change| change.entry).collect();
        world.primary.outbox.retain(|entry| !ids.contains(&entry.id));
    }
    if !reply.changes.is_empty() {
        world.sidecars[scene.clients[client].sidecar].images.push(reply.changes);
    }
    Some(())
}

/// Applies the images of one transaction. Where the answer is lost it keeps them, to repeat it.
pub fn images(
    world: &mut World,
    scene: &Scene,
    at: usize,
    bundle: usize,
    answer_lost: bool,
) -> Option<()> {
    let sidecar = &mut world.sidecars[at];
    let changes = sidecar.images.get(bundle)?.clone();
    let foreign = changes.iter().any(|change| change.version.epoch != sidecar.epoch);
    let refused = foreign && scene.has(Safeguard::SecondaryEpoch);
    let result = match refused {
        true => None,
        false => apply(&mut world.secondary, scene, &changes, sidecar.epoch, false).ok(),
    };
    if answer_lost {
        world.faults.lost -= 1;
        return result.map(drop);
    }
    sidecar.images.remove(bundle);
    for (change, outcome) in changes.iter().zip(result.into_iter().flatten()) {
        if outcome != Outcome::ReadAgain {
            sidecar.settle.extend(change.entry);
        }
    }
    sidecar.settle.sort_unstable();
    Some(())
}

/// Deletes the entries whose changes the secondary has.
pub fn settle(world: &mut World, at: usize) -> Option<()> {
    let ids = std::mem::take(&mut world.sidecars[at].settle);
    if ids.is_empty() {
        return None;
    }
    world.primary.outbox.retain(|entry| !ids.contains(&entry.id));
    Some(())
}

/// Killed, and there again at once with nothing in its memory.
pub fn crash(world: &mut World, scene: &Scene, at: usize) {
    world.faults.sidecar -= 1;
    world.sidecars[at] = Sidecar { epoch: world.primary.epoch, ..Sidecar::default() };
    for (client, script) in scene.clients.iter().enumerate() {
        if script.sidecar == at {
            disconnect(world, client);
        }
    }
    if at > 0 {
        return;
    }
    // The first sidecar runs the backfill; what it has stored is that rows were inserted.
    world.fill = match std::mem::take(&mut world.fill) {
        Fill::Read(..) => Fill::Idle,
        Fill::Inserted(_) if !scene.has(Safeguard::ProgressAfterSweep) => Fill::Done,
        Fill::Sweeping(_) => Fill::Inserted(Version::default()),
        other => other,
    };
}

/// Forgets fence entries below everything that is known to be under way.
pub fn prune(world: &mut World, scene: &Scene) -> Option<()> {
    let noted = Version { epoch: world.primary.epoch, counter: world.primary.lsn, n: 0 };
    let lowest = world.primary.outbox.iter().map(|entry| entry.version).min();
    let filling = match &world.fill {
        Fill::Read(_, version) | Fill::Inserted(version) => Some(*version),
        Fill::Sweeping(_) => Some(Version::default()),
        Fill::Done | Fill::Idle => None,
    };
    let filling = filling.filter(|_| scene.has(Safeguard::PruneKnowsBackfill));
    let bound = [Some(noted), lowest, filling].into_iter().flatten().min().unwrap_or(noted);
    world.faults.prune -= 1;
    if scene.mirror {
        return prune_mirrored(world, scene);
    }
    let mut pruned = false;
    for key in scene.all_keys() {
        let Some((version, _)) = world.secondary.fence[usize::from(key)] else { continue };
        if version < bound {
            let floor = &mut world.secondary.floor[usize::from(scene.table(key))];
            *floor = version.max(*floor);
            world.secondary.fence[usize::from(key)] = None;
            pruned = true;
        }
    }
    pruned.then_some(())
}

/// With counters of their own rows say nothing of one another's age: the primary's floor is raised
/// above all of them first, then the secondary's entries that have no open entry in the outbox go.
fn prune_mirrored(world: &mut World, scene: &Scene) -> Option<()> {
    let (primary, secondary) = (&mut world.primary, &mut world.secondary);
    let open = |key: u8| primary.outbox.iter().any(|entry| entry.place == Place::Key(key));
    let keys: Vec<u8> = scene.all_keys().filter(|key| !open(*key)).collect();
    let known = |key: &u8| secondary.fence[usize::from(*key)].map(|(version, _)| version);
    let highest = keys.iter().filter_map(known).max()?;
    primary.floor = highest.max(primary.floor);
    secondary.floor[0] = highest.max(secondary.floor[0]);
    for key in keys.into_iter().map(usize::from) {
        secondary.fence[key] = None;
        // Rows that are there keep their entry; a deleted row's is forgotten.
        if primary.rows[key].is_none() {
            primary.fence[key] = None;
        }
    }
    Some(())
}
