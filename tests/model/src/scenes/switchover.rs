//! A switchover, and the way back, with a death between any two of its steps.
//!
//! ```text
//! driver: …─▶ lock ─▶ gate ─▶ old primary's epoch ─▶ lease ─▶ new primary's epoch ─▶ release
//!              ✗       ✗              ✗                 ✗              ✗
//! ```
//!
//! Invariant: whoever dies where, one side leads in the end, and has every acknowledged write.

use crate::switchover::{Faults, Switchover};

/// Two sidecars, each with a client that writes; the driver or a sidecar is killed.
#[must_use]
pub fn killed() -> Switchover {
    Switchover {
        name: "a switchover and back, a kill",
        writes: 2,
        turns: 2,
        faults: Faults { kills: 1, ..Faults::default() },
        ..Switchover::default()
    }
}

/// The driver loses its connection and goes on, while a sidecar starts and finds the attempt.
#[must_use]
pub fn two_drivers() -> Switchover {
    Switchover {
        name: "a switchover with two drivers",
        writes: 2,
        turns: 1,
        faults: Faults { kills: 1, cuts: 1, starts: 1, ..Faults::default() },
        ..Switchover::default()
    }
}

/// Somebody else writes to the old primary.
#[must_use]
pub fn loose() -> Switchover {
    Switchover {
        name: "a switchover and a loose writer",
        writes: 1,
        turns: 1,
        faults: Faults { kills: 1, loose: 1, ..Faults::default() },
        ..Switchover::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Checked as _;
    use crate::model::{ACKED, COMMITS, QUIET, STALE};
    use crate::switchover::{READS, Rule};

    #[test]
    fn a_switchover_survives_a_death_between_any_two_steps() {
        killed().holds();
    }

    #[test]
    fn a_switchover_survives_a_second_driver() {
        two_drivers().holds();
    }

    #[test]
    fn a_loose_writer_is_noticed_before_and_refused_after() {
        loose().holds();
    }

    #[test]
    fn without_the_guard_a_stale_sidecar_commits_on_the_old_primary() {
        killed().without(Rule::Guard).breaks(COMMITS);
    }

    #[test]
    fn without_the_lock_a_write_under_way_commits_after_the_turn() {
        killed().without(Rule::Lock).breaks(ACKED);
    }

    #[test]
    fn without_the_gate_an_acknowledged_write_is_left_behind() {
        killed().without(Rule::Gate).breaks(ACKED);
    }

    #[test]
    fn without_the_old_primary_first_a_death_leaves_two_primaries() {
        killed().without(Rule::OldFirst).breaks(COMMITS);
    }

    #[test]
    fn without_a_lease_a_sidecar_that_was_cut_off_answers_with_old_rows() {
        killed().without(Rule::Lease).breaks(READS);
    }

    #[test]
    fn without_the_lease_after_the_epoch_a_confirmation_in_between_outlives_it() {
        killed().without(Rule::LeaseAfterEpoch).breaks(READS);
    }

    #[test]
    fn without_the_lease_in_recovery_a_finished_switchover_has_stale_reads() {
        killed().without(Rule::LeaseInRecovery).breaks(READS);
    }

    #[test]
    fn without_either_side_as_the_rule_an_undone_switchover_has_happened() {
        two_drivers().without(Rule::EitherSide).breaks(ACKED);
    }

    #[test]
    fn without_the_locks_connection_a_driver_goes_on_that_was_undone() {
        two_drivers().without(Rule::LockConnection).breaks(COMMITS);
    }

    #[test]
    fn without_refusing_others_a_loose_write_is_on_one_side_only() {
        loose().without(Rule::Closed).breaks(STALE);
    }

    #[test]
    fn without_a_second_look_at_the_attempt_one_that_was_undone_goes_on() {
        two_drivers().without(Rule::AttemptUnderLock).breaks(QUIET);
    }
}
