//! Repair of rows that a verify pass found to differ, against live writes of the same rows.
//!
//! ```text
//! row too many: note v ─▶ wait out what runs ─▶ still absent ─▶ tombstone at v
//! ```
//!
//! Invariant: a repair never undoes a write that it could not see.

use crate::scene::{Op, Scene, script};
use crate::state::{Faults, row};

/// The secondary has a row too many, and a client is just inserting it.
#[must_use]
pub fn extra() -> Scene {
    Scene {
        name: "a row too many",
        secondary_only: vec![(0, row(9))],
        clients: vec![script(0, &[&[Op::Put(0, row(1))], &[Op::Gone(0)], &[Op::Put(0, row(2))]])],
        repair: 1,
        sidecars: 2,
        drains: 0b10,
        faults: Faults { sidecar: 1, ..Faults::default() },
        ..Scene::default()
    }
}

/// A row is missing on the secondary, and a client is just deleting it.
#[must_use]
pub fn missing() -> Scene {
    Scene {
        name: "a row missing",
        primary_only: vec![(0, row(1))],
        clients: vec![script(0, &[&[Op::Gone(0)], &[Op::Put(0, row(2))]])],
        repair: 1,
        sidecars: 2,
        drains: 0b11,
        ..Scene::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Checked as _;
    use crate::model::*;
    use crate::scene::Safeguard;

    #[test]
    fn a_row_too_many_goes_unless_it_is_being_inserted() {
        extra().holds();
    }

    #[test]
    fn a_missing_row_comes_unless_it_is_being_deleted() {
        missing().holds();
    }

    #[test]
    fn without_waiting_for_what_runs_a_row_just_inserted_is_lost() {
        extra().without(Safeguard::AbsentWait).breaks(MISSING);
    }

    #[test]
    fn without_the_row_lock_a_row_just_deleted_is_repaired() {
        missing().without(Safeguard::RowLock).breaks(OUTLIVES);
    }
}
