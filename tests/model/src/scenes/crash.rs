//! The primary is killed: what its log had not flushed is gone, and its LSNs are used again.
//!
//! ```text
//! read at LSN 5 (flushed: 3) ─▶ crash: the log ends at 3 ─▶ another write at LSN 4 … older than 5?
//! ```
//!
//! Invariant: no version is used on the secondary before the primary has flushed it.

use crate::scene::{Op, Scene, script};
use crate::state::{Faults, row};

/// A drain reads a row while another transaction's writes, not flushed, move the log on.
#[must_use]
pub fn unflushed() -> Scene {
    Scene {
        name: "the primary crashes",
        keys: 2,
        both: vec![(0, row(1))],
        clients: vec![
            script(0, &[&[Op::Put(0, row(2))], &[Op::Put(0, row(3))]]),
            script(0, &[&[Op::Put(1, row(1))]]),
        ],
        faults: Faults { primary: 1, ..Faults::default() },
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
    fn a_crash_of_the_primary_loses_nothing_that_was_acknowledged() {
        unflushed().holds();
    }

    #[test]
    fn without_the_flush_a_version_is_used_that_the_log_takes_back() {
        unflushed().without(Safeguard::FlushBeforeUse).breaks(STALE);
    }

    #[test]
    fn without_the_same_connection_the_flush_is_that_of_another_life() {
        unflushed().without(Safeguard::SameConnection).breaks(STALE);
    }

    #[test]
    fn without_synchronous_commits_a_crash_loses_what_was_acknowledged() {
        unflushed().without(Safeguard::SyncCommit).breaks(ACKED);
    }

    #[test]
    fn without_synchronous_commits_the_secondary_has_what_the_primary_lost() {
        unflushed().without(Safeguard::SyncCommit).breaks(OUTLIVES);
    }
}
