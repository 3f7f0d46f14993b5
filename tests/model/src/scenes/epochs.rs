//! The epoch is raised: what was captured under an old one neither commits nor is applied.
//!
//! ```text
//! write: lock shared, epoch checked ──┐
//!                                     ├─ lock alone ─▶ epoch on the primary ─▶ on the secondary
//! another write, ROLLBACK TO: given up┘
//! ```
//!
//! Invariant: no write of an old epoch commits after a new one begins, nor reaches the secondary.

use crate::scene::{Op, Scene, script};
use crate::state::{Faults, row};

/// The epoch is raised while a sidecar has a transaction open, a savepoint in it, and images.
#[must_use]
pub fn raised() -> Scene {
    Scene {
        name: "the epoch is raised",
        keys: 2,
        both: vec![(0, row(1))],
        clients: vec![script(
            0,
            &[
                &[Op::Gone(0)],
                &[Op::Savepoint, Op::Put(1, row(1)), Op::RollbackTo, Op::Put(0, row(2))],
            ],
        )],
        sidecars: 2,
        drains: 0b10,
        faults: Faults { raise: 1, sidecar: 1, prune: 1, ..Faults::default() },
        ..Scene::default()
    }
}

/// A standby that lags is promoted; the secondary, and a sidecar's memory, have what it lacks.
#[must_use]
pub fn failover() -> Scene {
    Scene {
        name: "a standby that lags is promoted",
        both: vec![(0, row(1))],
        clients: vec![script(0, &[&[Op::Put(0, row(2))], &[Op::Gone(0)]])],
        sidecars: 2,
        drains: 0b10,
        faults: Faults { failover: 1, prune: 1, ..Faults::default() },
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
    fn a_raised_epoch_loses_nothing() {
        raised().holds();
    }

    #[test]
    fn after_a_failover_the_secondary_is_what_the_new_primary_is() {
        failover().holds();
    }

    #[test]
    fn without_the_check_a_stale_sidecar_commits() {
        raised().without(Safeguard::PrimaryEpoch).breaks(COMMITS);
    }

    #[test]
    fn without_the_check_in_every_statement_a_savepoint_lets_a_stale_write_pass() {
        raised().without(Safeguard::EveryStatement).breaks(COMMITS);
    }

    #[test]
    fn without_the_lock_a_write_under_way_commits_into_the_next_epoch() {
        raised().without(Safeguard::ExclusiveLock).breaks(COMMITS);
    }

    #[test]
    fn without_the_secondarys_check_a_stale_image_is_applied() {
        raised().without(Safeguard::SecondaryEpoch).breaks(APPLIES);
    }

    #[test]
    fn without_the_secondarys_check_a_lost_write_comes_back_after_its_repair() {
        failover().without(Safeguard::SecondaryEpoch).breaks(OUTLIVES);
    }

    #[test]
    fn without_leaving_later_entries_alone_a_stale_drain_settles_what_it_has_not_carried() {
        raised().without(Safeguard::NoLaterEntries).breaks(OUTLIVES);
    }

    #[test]
    fn without_the_new_epoch_a_repair_after_a_failover_is_superseded() {
        failover().without(Safeguard::RepairInEpoch).breaks(OUTLIVES);
    }
}
