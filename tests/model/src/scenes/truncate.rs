//! TRUNCATE: one change for every row, whichever of them arrives first.
//!
//! ```text
//! row@1  TRUNCATE@2  row@3      in any order; and a backfill chunk that was read before 2
//! ```
//!
//! Invariant: a row older than the TRUNCATE is gone, a newer one stays.

use crate::scene::{Op, Scene, script};
use crate::state::{Faults, row};

/// A row is written, its table emptied, the row written again.
#[must_use]
pub fn between_writes() -> Scene {
    Scene {
        name: "TRUNCATE between writes",
        keys: 2,
        both: vec![(1, row(7))],
        clients: vec![script(
            0,
            &[&[Op::Put(0, row(1))], &[Op::Truncate(0)], &[Op::Put(0, row(2))]],
        )],
        sidecars: 2,
        drains: 0b10,
        faults: Faults { sidecar: 1, ..Faults::default() },
        ..Scene::default()
    }
}

/// A table is emptied while its backfill runs.
#[must_use]
pub fn while_filling() -> Scene {
    Scene {
        name: "TRUNCATE and a backfill chunk",
        primary_only: vec![(0, row(1))],
        clients: vec![script(0, &[&[Op::Truncate(0)], &[Op::Put(0, row(2))]])],
        backfill: true,
        faults: Faults { sidecar: 1, ..Faults::default() },
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
    fn a_truncate_takes_what_is_older_and_spares_what_is_newer() {
        between_writes().holds();
    }

    #[test]
    fn a_chunk_read_before_a_truncate_brings_nothing_back() {
        while_filling().holds();
    }

    #[test]
    fn without_the_tables_fence_a_late_image_brings_a_row_back() {
        Scene {
            clients: vec![script(0, &[&[Op::Put(0, row(1))], &[Op::Truncate(0)]])],
            ..between_writes()
        }
        .without(Safeguard::TableFence)
        .breaks(DEAD);
    }

    #[test]
    fn without_a_look_at_the_fence_a_late_truncate_takes_a_newer_row() {
        between_writes().without(Safeguard::TruncateSpares).breaks(MISSING);
    }

    #[test]
    fn without_the_tables_fence_against_chunks_a_truncated_row_comes_back() {
        Scene { clients: vec![script(0, &[&[Op::Truncate(0)]])], ..while_filling() }
            .without(Safeguard::ChunkFence)
            .breaks(DEAD);
    }
}
