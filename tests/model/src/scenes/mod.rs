//! The scenes, one file a subject.

pub mod backfill;
pub mod cascade;
pub mod crash;
pub mod epochs;
pub mod mirror;
pub mod repair;
pub mod rows;
pub mod switchover;
pub mod truncate;
pub mod unique;

use crate::scene::{Op, Scene};
use crate::state::row;

/// All scenes of rows, for a deeper look.
#[must_use]
pub fn all() -> Vec<Scene> {
    vec![
        rows::two_sidecars(),
        rows::two_clients(),
        rows::pruned(),
        unique::swap(),
        unique::swap_drained(),
        unique::swap_with_owner(),
        unique::contested(),
        unique::handed_on(Op::Gone(1)),
        unique::handed_on(Op::Put(1, row(4))),
        cascade::parent_again(),
        cascade::late_child(),
        truncate::between_writes(),
        truncate::while_filling(),
        backfill::live(),
        backfill::pruned(),
        backfill::from_before(),
        repair::extra(),
        repair::missing(),
        crash::unflushed(),
        epochs::raised(),
        epochs::failover(),
        mirror::pruned(),
        mirror::below_the_floor(),
        mirror::killed(),
    ]
}
