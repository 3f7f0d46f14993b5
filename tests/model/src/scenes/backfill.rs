//! Backfill against live writes.
//!
//! ```text
//! chunk read ──▶ rows inserted that are absent ──▶ sweep ──▶ chunk done
//!      a delete before ▲ is caught by the sweep  ▲ one after it finds the row
//! ```
//!
//! Invariant: a live write always wins, and a kill at any point loses nothing.

use crate::scene::{Op, Scene, script};
use crate::state::{Faults, row};

/// A row is deleted, and inserted again, while it is backfilled; the sidecar may be killed.
#[must_use]
pub fn live() -> Scene {
    Scene {
        name: "backfill and live writes",
        primary_only: vec![(0, row(1))],
        clients: vec![script(0, &[&[Op::Gone(0)], &[Op::Put(0, row(2))]])],
        backfill: true,
        faults: Faults { sidecar: 1, ..Faults::default() },
        ..Scene::default()
    }
}

/// A row is changed while it is backfilled, and deleted while its fence entry may be pruned.
#[must_use]
pub fn pruned() -> Scene {
    Scene {
        name: "backfill and pruning",
        primary_only: vec![(0, row(1))],
        clients: vec![script(0, &[&[Op::Put(0, row(2))], &[Op::Gone(0)]])],
        backfill: true,
        faults: Faults { prune: 1, ..Faults::default() },
        ..Scene::default()
    }
}

/// A transaction from before the capture is still open when the backfill would begin.
#[must_use]
pub fn from_before() -> Scene {
    Scene {
        name: "a transaction from before",
        clients: vec![script(0, &[&[Op::Put(0, row(1))], &[Op::Put(0, row(2))]])],
        uncaptured: Some(0),
        backfill: true,
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
    fn live_writes_win_over_a_chunk() {
        live().holds();
    }

    #[test]
    fn what_a_running_backfill_needs_is_not_pruned() {
        pruned().holds();
    }

    #[test]
    fn a_transaction_from_before_the_capture_is_waited_for() {
        from_before().holds();
    }

    #[test]
    fn without_the_sweep_a_deleted_row_comes_back() {
        live().without(Safeguard::Sweep).breaks(DEAD);
    }

    #[test]
    fn without_the_sweep_before_the_progress_a_kill_brings_a_row_back() {
        live().without(Safeguard::ProgressAfterSweep).breaks(DEAD);
    }

    #[test]
    fn without_one_statement_for_the_sweep_a_row_inserted_again_is_lost() {
        live().without(Safeguard::SweepAtOnce).breaks(MISSING);
    }

    #[test]
    fn without_its_entry_a_row_deleted_during_the_backfill_comes_back() {
        pruned().without(Safeguard::PruneKnowsBackfill).breaks(DEAD);
    }

    #[test]
    fn without_precedence_of_live_writes_a_chunk_overwrites_a_newer_row() {
        live().without(Safeguard::LiveWins).breaks(OUTLIVES);
    }

    #[test]
    fn without_waiting_for_older_transactions_their_rows_are_missing() {
        Scene { clients: vec![script(0, &[&[Op::Put(0, row(1))]])], ..from_before() }
            .without(Safeguard::WaitForOld)
            .breaks(MISSING);
    }
}
