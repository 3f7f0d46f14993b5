//! The scene as a model for the checker: what can happen next, and what must hold.
//!
//! ```text
//! actions(state) ──each──▶ next state    (nothing, where it has to wait)
//! ```
//!
//! Invariant: an action is offered wherever it may happen; what it does is decided in one place.

use stateright::{Model, Property};

use crate::check::Checked;
use crate::scene::Scene;
use crate::state::{Fill, Place, Row, World};
use crate::{drain, fill, primary, sidecar};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A client's next statement, or its COMMIT.
    Client(usize),
    Reply(usize),
    /// A deadlock's victim.
    Abort(usize),
    Apply(usize, usize),
    ApplyAnswerLost(usize, usize),
    Settle(usize),
    Claim(usize, Place),
    ClaimAll(usize),
    Repair(usize, u8),
    Drain(usize),
    Learn(usize),
    Crash(usize),
    CrashPrimary,
    Prune,
    Lock,
    Raise,
    Follow,
    Replicate,
    Failover,
    Backfill,
}

impl Scene {
    fn sidecar_actions(&self, world: &World, at: usize, actions: &mut Vec<Action>) {
        let sidecar = &world.sidecars[at];
        for bundle in 0..sidecar.images.len() {
            actions.push(Action::Apply(at, bundle));
            if world.faults.lost > 0 {
                actions.push(Action::ApplyAnswerLost(at, bundle));
            }
        }
        if !sidecar.settle.is_empty() {
            actions.push(Action::Settle(at));
        }
        if sidecar.epoch != world.primary.epoch {
            actions.push(Action::Learn(at));
        }
        if world.faults.sidecar > 0 {
            actions.push(Action::Crash(at));
        }
        if self.drains & (1 << at) == 0 {
            return;
        }
        if sidecar.task.is_some() {
            actions.push(Action::Drain(at));
        } else {
            if self.batch && !world.primary.outbox.is_empty() {
                actions.push(Action::ClaimAll(at));
            } else {
                let mut places: Vec<Place> =
                    world.primary.outbox.iter().map(|entry| entry.place).collect();
                places.dedup();
                actions.extend(places.into_iter().map(|place| Action::Claim(at, place)));
            }
            let repairs = self.all_keys().filter(|key| world.repair & (1 << key) != 0);
            actions.extend(repairs.map(|key| Action::Repair(at, key)));
        }
    }

    fn act(&self, world: &mut World, action: Action) -> Option<()> {
        match action {
            Action::Client(at) => return primary::step(world, self, at),
            Action::Reply(at) => return sidecar::reply(world, self, at),
            Action::Abort(at) => return primary::abort(world, self, at),
            Action::Apply(at, bundle) => {
                return sidecar::images(world, self, at, bundle, false);
            }
            Action::ApplyAnswerLost(at, bundle) => {
                return sidecar::images(world, self, at, bundle, true);
            }
            Action::Settle(at) => return sidecar::settle(world, at),
            Action::Claim(at, place) => return drain::claim(world, self, at, Some(place)),
            Action::ClaimAll(at) => return drain::claim(world, self, at, None),
            Action::Repair(at, key) => return drain::repair(world, self, at, key),
            Action::Drain(at) => return drain::step(world, self, at),
            Action::Learn(at) => world.sidecars[at].epoch = world.primary.epoch,
            Action::Crash(at) => sidecar::crash(world, self, at),
            Action::CrashPrimary => {
                world.faults.primary -= 1;
                primary::fall_back(world, self);
            }
            Action::Prune => return sidecar::prune(world, self),
            Action::Lock => return fill::lock(world, self),
            Action::Raise => fill::raise(world),
            Action::Follow => fill::follow(world),
            Action::Replicate => primary::flush(&mut world.primary, self),
            Action::Failover => fill::failover(world, self),
            Action::Backfill => return fill::step(world, self),
        }
        Some(())
    }
}

impl Model for Scene {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![self.begin()]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        for (at, client) in world.clients.iter().enumerate() {
            if client.reply.is_some() {
                actions.push(Action::Reply(at));
            } else if client.transaction < self.clients[at].transactions.len() {
                actions.push(Action::Client(at));
                actions.push(Action::Abort(at));
            }
        }
        for at in 0..world.sidecars.len() {
            self.sidecar_actions(world, at, actions);
        }
        let faults = &world.faults;
        let raising = world.primary.locked || world.primary.epoch != world.secondary.epoch;
        let rest = [
            (faults.primary > 0, Action::CrashPrimary),
            (faults.prune > 0, Action::Prune),
            (faults.raise > 0 && !raising, Action::Lock),
            (world.primary.locked, Action::Raise),
            (world.primary.epoch != world.secondary.epoch, Action::Follow),
            (faults.failover > 0, Action::Replicate),
            (faults.failover > 0, Action::Failover),
            (world.fill != Fill::Done, Action::Backfill),
        ];
        actions.extend(rest.into_iter().filter(|(may, _)| *may).map(|(_, action)| action));
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut world = last.clone();
        self.act(&mut world, action)?;
        (world != *last).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(MISSING, |scene: &Scene, world: &World| {
                !scene.is_quiet(world) || pairs(world).all(|(p, s)| p.is_none() || s.is_some())
            }),
            Property::always(DEAD, |scene: &Scene, world: &World| {
                !scene.is_quiet(world) || pairs(world).all(|(p, s)| p.is_some() || s.is_none())
            }),
            Property::always(STALE, |scene: &Scene, world: &World| {
                !scene.is_quiet(world)
                    || pairs(world).all(|(p, s)| p.is_none() || s.is_none() || p == s)
            }),
            Property::always(ACKED, |_, world: &World| world.acked & !world.primary.committed == 0),
            Property::always(OUTLIVES, |scene: &Scene, world: &World| {
                scene.all_keys().all(|key| {
                    let at = usize::from(key);
                    world.primary.rows[at] == world.secondary.rows[at]
                        || world.is_covered(key, scene.table(key))
                })
            }),
            Property::always(COMMITS, |_, world: &World| !world.primary.stale_commit),
            Property::always(APPLIES, |_, world: &World| !world.secondary.stale_apply),
        ]
    }
}

/// After quiet, every row of the primary is on the secondary.
pub const MISSING: &str = "no row is missing";
/// After quiet, the secondary has no other row.
pub const DEAD: &str = "no row comes back from the dead";
/// After quiet, rows are equal.
pub const STALE: &str = "no row is stale";
/// Always.
pub const ACKED: &str = "no acknowledged write is missing";
/// Always: where the two sides differ, something stands for it.
pub const OUTLIVES: &str = "an entry outlives its change";
pub const COMMITS: &str = "a stale epoch never commits";
pub const APPLIES: &str = "a stale epoch never applies";
/// Not the checker's, but [`crate::check`]'s own: from every state, quiet can be reached.
pub const QUIET: &str = "every execution can become quiet";

impl Checked for Scene {
    fn name(&self) -> &'static str {
        self.name
    }

    fn quiet(&self, world: &World) -> bool {
        self.is_quiet(world)
    }
}

impl Scene {
    #[must_use]
    pub fn is_quiet(&self, world: &World) -> bool {
        world.is_quiet(&self.lengths())
    }
}

fn pairs(world: &World) -> impl Iterator<Item = (Option<Row>, Option<Row>)> {
    world.primary.rows.into_iter().zip(world.secondary.rows)
}
