//! MySQL as the primary: a row's counter is its own fence entry, raised by one under its lock.
//!
//! ```text
//! rows' counters say nothing of one another:   0: 1, 2, 3    1: 1        one floor for all of them
//! ```
//!
//! Invariant: the primary's floor is never below the secondary's, and no version that is drawn or read
//! again is at or below it.

use crate::scene::{Op, Scene, script};
use crate::state::{Faults, row};

/// A row is deleted and inserted again while fence entries are pruned.
#[must_use]
pub fn pruned() -> Scene {
    Scene {
        name: "MySQL as primary, pruning",
        clients: vec![script(0, &[&[Op::Put(0, row(1))], &[Op::Gone(0)], &[Op::Put(0, row(2))]])],
        mirror: true,
        sidecars: 2,
        drains: 0b10,
        faults: Faults { prune: 1, ..Faults::default() },
        ..Scene::default()
    }
}

/// A row that was written once is late, while others have raised the floor far above it.
#[must_use]
pub fn below_the_floor() -> Scene {
    Scene {
        name: "MySQL as primary, a late first write",
        keys: 2,
        clients: vec![
            script(0, &[&[Op::Put(0, row(1))], &[Op::Put(0, row(2))]]),
            script(0, &[&[Op::Put(1, row(1))]]),
        ],
        mirror: true,
        faults: Faults { sidecar: 1, prune: 2, ..Faults::default() },
        ..Scene::default()
    }
}

/// A sidecar is killed.
#[must_use]
pub fn killed() -> Scene {
    Scene {
        name: "MySQL as primary, a sidecar killed",
        faults: Faults { sidecar: 1, prune: 1, ..Faults::default() },
        ..pruned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Checked as _;
    use crate::model::*;
    use crate::scene::Safeguard;

    #[test]
    fn a_row_inserted_again_is_newer_than_its_forgotten_tombstone() {
        pruned().holds();
    }

    #[test]
    fn a_late_first_write_arrives_although_others_have_raised_the_floor() {
        below_the_floor().holds();
    }

    #[test]
    fn a_killed_sidecar_loses_nothing() {
        killed().holds();
    }

    #[test]
    fn without_the_floor_for_new_keys_a_row_inserted_again_is_only_read_again() {
        pruned().without(Safeguard::NewKeyAboveFloor).holds();
    }

    #[test]
    fn without_raising_what_is_read_again_it_stays_below_the_floor() {
        below_the_floor().without(Safeguard::RereadAboveFloor).breaks(QUIET);
    }
}
