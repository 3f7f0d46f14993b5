//! The secondary: the fence, and what it lets through to the rows, as `backend::mysql` does it.
//!
//! ```text
//! changes of a transaction ──plan (fence)──▶ steps + outcomes ──run──▶ rows, or nothing at all
//!                                                              └─clash: aside, again, then as a set
//! ```
//!
//! Invariant: fence and rows move together or not at all. A foreign key's cascade changes rows whose
//! fence does not move: `CascadeLooks` is what makes that harmless.

use crate::scene::{Safeguard, Scene};
use crate::state::{Change, Effect, Place, Row, Secondary, Version};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Applied,
    Superseded,
    ReadAgain,
}

/// Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    Epoch,
    /// A unique value is taken, a parent missing, a child newer.
    Clash,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Put(u8, Row),
    Delete(u8, Version),
    Empty(u8, Version),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Newer,
    Superseded,
    BelowFloor,
}

/// Applies one transaction; its changes in order, or as those of a single statement.
pub fn apply(
    secondary: &mut Secondary,
    scene: &Scene,
    changes: &[Change],
    epoch: u8,
    one_statement: bool,
) -> Result<Vec<Outcome>, Refused> {
    if secondary.epoch != epoch && scene.has(Safeguard::SecondaryEpoch) {
        return Err(Refused::Epoch);
    }
    let mut next = secondary.clone();
    let (mut steps, outcomes) = plan(&mut next, scene, changes);
    if one_statement {
        steps.sort_by_key(|step| !matches!(step, Step::Delete(..)));
    }
    run(&mut next, scene, steps)?;
    *secondary = next;
    Ok(outcomes)
}

/// The keys of rows on the secondary that hold the image's unique value.
pub fn owners(secondary: &Secondary, scene: &Scene, key: u8, image: Row) -> Vec<u8> {
    let holds = |other: &u8| {
        let row = secondary.rows[usize::from(*other)];
        *other != key && row.is_some_and(|row| image.value != 0 && row.value == image.value)
    };
    scene.keys_of(scene.table(key)).filter(|other| scene.unique && holds(other)).collect()
}

fn plan(secondary: &mut Secondary, scene: &Scene, changes: &[Change]) -> (Vec<Step>, Vec<Outcome>) {
    let (mut steps, mut outcomes) = (Vec::new(), Vec::new());
    for change in changes {
        let outcome = match change.place {
            Place::Key(key) => match verdict(secondary, scene, key, change.version) {
                Verdict::Superseded => Outcome::Superseded,
                Verdict::BelowFloor => Outcome::ReadAgain,
                Verdict::Newer => {
                    steps.push(advance(secondary, scene, key, change));
                    Outcome::Applied
                }
            },
            Place::Table(table) => {
                let emptied = &mut secondary.emptied[usize::from(table)];
                if change.version <= *emptied {
                    Outcome::Superseded
                } else {
                    if scene.has(Safeguard::TableFence) {
                        *emptied = change.version;
                    }
                    steps.push(Step::Empty(table, change.version));
                    Outcome::Applied
                }
            }
        };
        let moved = outcome == Outcome::Applied;
        secondary.stale_apply |= moved && change.version.epoch != secondary.epoch;
        outcomes.push(outcome);
    }
    (steps, outcomes)
}

fn verdict(secondary: &Secondary, scene: &Scene, key: u8, version: Version) -> Verdict {
    let table = usize::from(scene.table(key));
    if version <= secondary.emptied[table] {
        return Verdict::Superseded;
    }
    match secondary.fence[usize::from(key)] {
        Some((newest, _)) if version <= newest && scene.has(Safeguard::Fence) => {
            Verdict::Superseded
        }
        Some(_) => Verdict::Newer,
        None if version <= secondary.floor[table] && scene.has(Safeguard::Floor) => {
            Verdict::BelowFloor
        }
        None => Verdict::Newer,
    }
}

fn advance(secondary: &mut Secondary, scene: &Scene, key: u8, change: &Change) -> Step {
    let entry = &mut secondary.fence[usize::from(key)];
    match change.effect {
        Effect::Put(row) => {
            *entry = Some((change.version, false));
            Step::Put(key, row)
        }
        Effect::Gone | Effect::Empty => {
            *entry = scene.has(Safeguard::Tombstone).then_some((change.version, true));
            Step::Delete(key, change.version)
        }
    }
}

/// Steps that clash are put aside and tried after the others; what is left goes as a set.
fn run(secondary: &mut Secondary, scene: &Scene, steps: Vec<Step>) -> Result<(), Refused> {
    let mut left = steps;
    while !left.is_empty() {
        let before = left.len();
        let mut aside: Vec<Step> = Vec::new();
        for step in left {
            let waits = scene.has(Safeguard::AsideKeepsOrder)
                && aside.iter().any(|earlier| touches(*earlier, step));
            if waits || one(secondary, scene, step).is_err() {
                aside.push(step);
            }
        }
        if aside.len() == before {
            return as_set(secondary, scene, &aside);
        }
        left = aside;
    }
    Ok(())
}

fn touches(one: Step, other: Step) -> bool {
    match (one, other) {
        (Step::Put(a, _) | Step::Delete(a, _), Step::Put(b, _) | Step::Delete(b, _)) => a == b,
        _ => true,
    }
}

fn one(secondary: &mut Secondary, scene: &Scene, step: Step) -> Result<(), Refused> {
    match step {
        Step::Put(key, row) => {
            let free = owners(secondary, scene, key, row).is_empty();
            let parent = row.parent.is_none_or(|at| secondary.rows[usize::from(at)].is_some());
            if !(free && parent) {
                return Err(Refused::Clash);
            }
            secondary.rows[usize::from(key)] = Some(row);
        }
        Step::Delete(key, version) => delete(secondary, scene, key, version)?,
        Step::Empty(table, version) => {
            for key in scene.keys_of(table) {
                let newer = secondary.fence[usize::from(key)]
                    .is_some_and(|(newest, deleted)| version < newest && !deleted);
                if !(newer && scene.has(Safeguard::TruncateSpares)) {
                    secondary.rows[usize::from(key)] = None;
                }
            }
        }
    }
    Ok(())
}

/// The foreign keys are on: children go with their parent, whatever their fence says.
fn delete(
    secondary: &mut Secondary,
    scene: &Scene,
    key: u8,
    version: Version,
) -> Result<(), Refused> {
    let named = |row: Option<Row>| row.is_some_and(|row| row.parent == Some(key));
    let children: Vec<usize> =
        (0..secondary.rows.len()).filter(|at| named(secondary.rows[*at])).collect();
    let newer = |at: &usize| secondary.fence[*at].is_some_and(|(newest, _)| version < newest);
    if scene.has(Safeguard::CascadeLooks) && children.iter().any(newer) {
        return Err(Refused::Clash);
    }
    secondary.rows[usize::from(key)] = None;
    for at in children {
        secondary.rows[at] = None;
    }
    Ok(())
}

/// Out and in again without a cascade; then every parent has to be there.
fn as_set(secondary: &mut Secondary, scene: &Scene, steps: &[Step]) -> Result<(), Refused> {
    let mut set = Vec::new();
    for step in steps {
        match step {
            Step::Put(key, row) if scene.has(Safeguard::SetApply) => set.push((*key, *row)),
            _ => return Err(Refused::Clash),
        }
    }
    for (key, _) in &set {
        secondary.rows[usize::from(*key)] = None;
    }
    for (key, row) in &set {
        let there = secondary.rows[usize::from(*key)].is_some();
        if there || !owners(secondary, scene, *key, *row).is_empty() {
            return Err(Refused::Clash);
        }
        secondary.rows[usize::from(*key)] = Some(*row);
    }
    let orphan = |(_, row): &(u8, Row)| {
        row.parent.is_some_and(|parent| secondary.rows[usize::from(parent)].is_none())
    };
    if set.iter().any(orphan) { Err(Refused::Clash) } else { Ok(()) }
}
