//! Backfill of one chunk, and the epoch: what happens beside the flow of changes.
//!
//! ```text
//! read (one snapshot) ─▶ insert what is absent ─▶ sweep: delete what the fence says is deleted
//! lock ─▶ epoch raised on the primary ─▶ on the secondary ─▶ each sidecar learns of it
//! ```
//!
//! Invariant: the epoch never falls, and the primary's is never below the secondary's.

use crate::primary::fall_back;
use crate::scene::{Safeguard, Scene};
use crate::state::{Fill, Version, World};

/// The next step of the backfill.
pub fn step(world: &mut World, scene: &Scene) -> Option<()> {
    world.fill = match world.fill.clone() {
        Fill::Done => return None,
        Fill::Idle => {
            let old = scene.uncaptured.map(|at| &world.clients[at]);
            let runs = old.is_some_and(|client| client.transaction == 0);
            if runs && scene.has(Safeguard::WaitForOld) {
                return None;
            }
            let version = Version { epoch: world.primary.epoch, counter: world.primary.lsn, n: 0 };
            Fill::Read(world.primary.rows, version)
        }
        Fill::Read(rows, version) => insert(world, scene, &rows, version),
        Fill::Inserted(_) if !scene.has(Safeguard::Sweep) => Fill::Done,
        Fill::Inserted(_) => {
            let dead = tombstones(world, scene);
            if scene.has(Safeguard::SweepAtOnce) {
                delete(world, scene, dead);
                Fill::Done
            } else {
                Fill::Sweeping(dead)
            }
        }
        Fill::Sweeping(dead) => {
            delete(world, scene, dead);
            Fill::Done
        }
    };
    Some(())
}

fn insert(world: &mut World, scene: &Scene, rows: &crate::state::Rows, version: Version) -> Fill {
    let secondary = &mut world.secondary;
    let older = |key: u8| version <= secondary.emptied[usize::from(scene.table(key))];
    if scene.has(Safeguard::ChunkFence) && scene.all_keys().any(older) {
        return Fill::Idle;
    }
    for key in scene.all_keys().map(usize::from) {
        let absent = secondary.rows[key].is_none();
        if rows[key].is_some() && (absent || !scene.has(Safeguard::LiveWins)) {
            secondary.rows[key] = rows[key];
        }
    }
    Fill::Inserted(version)
}

fn tombstones(world: &World, scene: &Scene) -> u8 {
    let dead = |key: &u8| world.secondary.fence[usize::from(*key)].is_some_and(|(_, dead)| dead);
    scene.all_keys().filter(dead).fold(0, |mask, key| mask | 1 << key)
}

fn delete(world: &mut World, scene: &Scene, dead: u8) {
    for key in scene.all_keys().filter(|key| dead & (1 << key) != 0) {
        world.secondary.rows[usize::from(key)] = None;
    }
}

/// Takes the lock alone: it waits for every captured write that is under way.
pub fn lock(world: &mut World, scene: &Scene) -> Option<()> {
    let holds = |client: &crate::state::Client| client.open.as_ref().is_some_and(|open| open.lock);
    if scene.has(Safeguard::ExclusiveLock) && world.clients.iter().any(holds) {
        return None;
    }
    world.faults.raise -= 1;
    world.primary.locked = true;
    Some(())
}

/// Raises the epoch on the primary, and lets go of the lock.
pub fn raise(world: &mut World) {
    world.primary.locked = false;
    world.primary.epoch += 1;
}

/// Brings the secondary's epoch up; waits for applies under way, which are single steps here.
pub fn follow(world: &mut World) {
    world.secondary.epoch = world.primary.epoch;
}

/// The standby becomes the primary: it may lack what was committed last, its log is behind, and the
/// guard lets nobody in before the epoch is raised. Every row is to be repaired.
pub fn failover(world: &mut World, scene: &Scene) {
    world.faults.failover -= 1;
    fall_back(world, scene);
    // What an asynchronous standby lacks is lost, acknowledged or not.
    world.acked &= world.primary.committed;
    world.primary.epoch += 1;
    world.repair = scene.all_keys().fold(0, |mask, key| mask | 1 << key);
}
