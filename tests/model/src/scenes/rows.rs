//! One row, many ways to it: two clients, two sidecars, crashes, doubled applies, pruning.
//!
//! ```text
//! sidecar 0: images, may be killed        sidecar 1: drains, whatever the other has in hand
//! ```
//!
//! Invariant: whoever is late, the newest image wins, and a deleted row stays deleted.

use crate::scene::{Op, Scene, script};
use crate::state::{Faults, row};

/// A row is written, deleted and written again over one sidecar, while the other drains.
#[must_use]
pub fn two_sidecars() -> Scene {
    Scene {
        name: "one row, two sidecars",
        clients: vec![script(0, &[&[Op::Put(0, row(1))], &[Op::Gone(0)], &[Op::Put(0, row(2))]])],
        sidecars: 2,
        drains: 0b10,
        faults: Faults { sidecar: 1, lost: 1, ..Faults::default() },
        ..Scene::default()
    }
}

/// Two clients write one row.
#[must_use]
pub fn two_clients() -> Scene {
    Scene {
        name: "one row, two clients",
        clients: vec![
            script(0, &[&[Op::Put(0, row(1))]]),
            script(1, &[&[Op::Put(0, row(2))], &[Op::Gone(0)]]),
        ],
        sidecars: 2,
        drains: 0b01,
        faults: Faults { sidecar: 1, lost: 1, ..Faults::default() },
        ..Scene::default()
    }
}

/// The fence forgets a tombstone while a sidecar still has an image of the row.
#[must_use]
pub fn pruned() -> Scene {
    Scene {
        name: "a fence entry is pruned",
        clients: vec![
            script(0, &[&[Op::Put(0, row(1))], &[Op::Gone(0)]]),
            script(1, &[&[Op::Put(0, row(2))]]),
        ],
        sidecars: 2,
        drains: 0b01,
        faults: Faults { sidecar: 1, prune: 1, ..Faults::default() },
        ..Scene::default()
    }
}

/// An application role writes an entry of its own: nobody deleted the row, and the LSN is made up.
#[must_use]
pub fn forged() -> Scene {
    Scene {
        name: "a forged entry",
        both: vec![(0, row(1))],
        clients: vec![script(0, &[&[Op::Gone(0)], &[Op::Put(0, row(2))]])],
        forged: Some(100),
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
    fn two_sidecars_leave_the_newest_image() {
        two_sidecars().holds();
    }

    #[test]
    fn two_clients_leave_the_newest_image() {
        two_clients().holds();
    }

    #[test]
    fn an_image_older_than_what_was_pruned_is_read_again() {
        pruned().holds();
    }

    #[test]
    fn a_forged_entry_hides_no_row_not_even_one_that_is_just_being_inserted() {
        forged().holds();
    }

    #[test]
    fn without_waiting_for_who_runs_a_forged_entry_hides_a_row_that_is_being_inserted() {
        forged().without(Safeguard::AbsentWait).breaks(MISSING);
    }

    #[test]
    fn without_the_fence_an_older_image_wins() {
        two_clients().without(Safeguard::Fence).breaks(STALE);
    }

    #[test]
    fn without_tombstones_a_deleted_row_comes_back() {
        two_sidecars().without(Safeguard::Tombstone).breaks(DEAD);
    }

    #[test]
    fn without_the_entry_in_the_writes_own_transaction_a_crash_loses_it() {
        two_sidecars().without(Safeguard::OutboxWithWrite).breaks(MISSING);
    }

    #[test]
    fn without_waiting_for_the_secondarys_commit_a_settled_entry_is_a_lost_write() {
        two_sidecars().without(Safeguard::SettleAfterApply).breaks(OUTLIVES);
    }

    #[test]
    fn without_the_row_lock_a_drain_makes_an_old_row_look_new() {
        two_clients().without(Safeguard::RowLock).breaks(DEAD);
    }

    #[test]
    fn without_the_floor_an_image_outlives_its_pruned_tombstone() {
        pruned().without(Safeguard::Floor).breaks(DEAD);
    }

    #[test]
    fn without_reading_the_row_a_forged_entry_deletes_it() {
        forged().without(Safeguard::DeleteIsRead).breaks(MISSING);
    }

    #[test]
    fn without_the_logs_end_as_a_bound_a_forged_tombstone_hides_later_rows() {
        forged().without(Safeguard::LogEnd).breaks(MISSING);
    }
}
