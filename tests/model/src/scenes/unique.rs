//! Unique values: rows that stand in each other's way.
//!
//! ```text
//! primary   0: a ─▶ NULL, 1: b ─▶ a, 0 ─▶ b      a drain sees 0: b, 1: a, and neither can go first
//! ```
//!
//! Invariant: rows are addressed by key; a clash never changes another's row, and never lasts.

use crate::scene::{Op, Scene, script};
use crate::state::{Faults, row};

const SWAP: &[Op] = &[Op::Put(0, row(0)), Op::Put(1, row(1)), Op::Put(0, row(2))];

/// Two rows swap their values in one transaction; its images stay in memory.
#[must_use]
pub fn swap() -> Scene {
    Scene {
        name: "a swap",
        keys: 2,
        unique: true,
        both: vec![(0, row(1)), (1, row(2))],
        clients: vec![script(0, &[SWAP])],
        ..Scene::default()
    }
}

/// The same, found by a drain that takes all rows at once.
#[must_use]
pub fn swap_drained() -> Scene {
    let faults = Faults { sidecar: 1, ..Faults::default() };
    Scene { name: "a swap, drained", batch: true, faults, ..swap() }
}

/// The same, found row by row: the other row is the owner of the value.
#[must_use]
pub fn swap_with_owner() -> Scene {
    let faults = Faults { sidecar: 1, ..Faults::default() };
    Scene { name: "a swap, drained row by row", faults, ..swap() }
}

/// Two clients, over two sidecars, want the same value for rows of their own.
#[must_use]
pub fn contested() -> Scene {
    Scene {
        name: "two clients want one value",
        keys: 2,
        unique: true,
        clients: vec![
            script(0, &[&[Op::Put(0, row(1))], &[Op::Gone(0)]]),
            script(1, &[&[Op::Put(1, row(1))]]),
        ],
        sidecars: 2,
        drains: 0b01,
        faults: Faults { sidecar: 1, ..Faults::default() },
        ..Scene::default()
    }
}

/// A value changes hands while the row that had it is late, and the row that took it is deleted (or
/// changed) by a later statement of the same transaction.
#[must_use]
pub fn handed_on(last: Op) -> Scene {
    Scene {
        name: "a value is handed on",
        keys: 2,
        unique: true,
        both: vec![(0, row(1))],
        clients: vec![
            script(0, &[&[Op::Put(0, row(2))]]),
            script(1, &[&[Op::Put(1, row(1)), last, Op::Put(0, row(3))]]),
        ],
        sidecars: 2,
        drains: 0b01,
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
    fn a_swap_in_one_transaction_arrives() {
        swap().holds();
    }

    #[test]
    fn a_swap_found_by_a_drain_arrives_as_a_set() {
        swap_drained().holds();
    }

    #[test]
    fn a_swap_found_row_by_row_takes_the_owner_along() {
        swap_with_owner().holds();
    }

    #[test]
    fn a_contested_value_ends_where_the_primary_has_it() {
        contested().holds();
    }

    #[test]
    fn a_row_that_took_a_value_and_was_deleted_stays_deleted() {
        handed_on(Op::Gone(1)).holds();
    }

    #[test]
    fn a_row_that_took_a_value_and_was_changed_has_its_last_value() {
        handed_on(Op::Put(1, row(4))).holds();
    }

    #[test]
    fn in_the_order_of_its_statements_a_transaction_needs_no_set() {
        swap().without(Safeguard::SetApply).holds();
    }

    #[test]
    fn without_the_order_of_statements_nor_sets_a_swap_is_stuck() {
        swap().without(Safeguard::SetApply).without(Safeguard::StatementOrder).breaks(QUIET);
    }

    #[test]
    fn without_sets_a_drained_swap_is_stuck() {
        swap_drained().without(Safeguard::SetApply).breaks(QUIET);
    }

    #[test]
    fn without_owners_a_swap_drained_row_by_row_is_stuck() {
        swap_with_owner().without(Safeguard::Owners).breaks(QUIET);
    }

    #[test]
    fn without_order_among_steps_put_aside_a_deleted_row_comes_back() {
        handed_on(Op::Gone(1)).without(Safeguard::AsideKeepsOrder).breaks(DEAD);
    }

    #[test]
    fn without_order_among_steps_put_aside_an_older_value_wins() {
        handed_on(Op::Put(1, row(4))).without(Safeguard::AsideKeepsOrder).breaks(STALE);
    }
}
