//! Foreign keys: a parent is deleted, and its children with it, on both sides.
//!
//! ```text
//! primary    p deleted (c with it), p again, c again
//! secondary            c again (onto the old p) … p deleted, late: c with it?
//! ```
//!
//! Invariant: a cascade on the secondary removes no child that is newer than the delete.

use crate::scene::{Op, Scene, script};
use crate::state::{Faults, child, row};

/// A parent is deleted and inserted again, and so is its child, which a drain carries.
#[must_use]
pub fn parent_again() -> Scene {
    Scene {
        name: "a parent deleted and inserted again",
        keys: 2,
        children: 0b10,
        both: vec![(0, row(1)), (1, child(1, 0))],
        clients: vec![script(0, &[&[Op::Gone(0)], &[Op::Put(0, row(2)), Op::Put(1, child(2, 0))]])],
        sidecars: 2,
        drains: 0b10,
        faults: Faults { sidecar: 1, prune: 1, ..Faults::default() },
        ..Scene::default()
    }
}

/// The image of a child is late; its parent goes, and is there again.
#[must_use]
pub fn late_child() -> Scene {
    Scene {
        name: "a cascade and a late child",
        keys: 2,
        children: 0b10,
        child_images: true,
        both: vec![(0, row(1))],
        clients: vec![script(
            0,
            &[&[Op::Put(1, child(1, 0))], &[Op::Gone(0)], &[Op::Put(0, row(2))]],
        )],
        sidecars: 2,
        drains: 0b10,
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
    fn a_child_survives_the_late_delete_of_its_former_parent() {
        parent_again().holds();
    }

    #[test]
    fn a_late_child_image_does_not_outlive_the_cascade() {
        late_child().holds();
    }

    #[test]
    fn without_a_look_at_the_children_a_late_delete_takes_a_newer_one_along() {
        parent_again().without(Safeguard::CascadeLooks).breaks(MISSING);
    }

    #[test]
    fn without_entries_for_a_cascade_a_late_child_comes_back() {
        late_child().without(Safeguard::CascadeCaptured).breaks(DEAD);
    }
}
