//! Which groups of tables were used in one transaction, and by which statement that became so.
//!
//! ```text
//! session: a statement completed, with those before it in its transaction ──[`Seen::crossed`]──▶ kept here
//!     ──[`Seen::uncrossed`]──▶ a table on the primary, all sidecars' ──▶ the gates of `switchover --group`
//! ```
//!
//! Invariant: a transaction that crosses the edge of a group is never forgotten. Where there is no room for
//! another, that itself is kept, and counts against every group.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::{Fingerprint, Seen, lock};
use crate::catalog::Catalog;
use crate::plan::{Plan, Touches};

/// Different ones that are kept.
const CROSSINGS_MAX: usize = 1000;

/// Groups that were used together; an empty name stands for tables of none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Crossing {
    /// Of the statement that came last; none where there was no room to say more.
    pub fingerprint: Option<Fingerprint>,
    pub groups: Vec<String>,
}

/// Each, and whether the table has it.
#[derive(Debug, Default)]
pub(super) struct Crossings(Mutex<BTreeMap<Crossing, bool>>);

impl Seen {
    /// A transaction has used all of this, with the plan's statement last.
    pub fn crossed(&self, plan: &Plan, touches: Touches, catalog: &Catalog) {
        let fingerprint = plan.tally().map(|tally| tally.fingerprint);
        let groups = touches.names(catalog).map(str::to_owned).collect();
        let mut kept = lock(&self.crossings.0);
        let crossing = match kept.len() < CROSSINGS_MAX {
            true => Crossing { fingerprint, groups },
            false => Crossing { fingerprint: None, groups: Vec::new() },
        };
        kept.entry(crossing).or_insert(false);
    }

    /// What the table does not have yet.
    #[must_use]
    pub fn uncrossed(&self) -> Vec<Crossing> {
        let kept = lock(&self.crossings.0);
        kept.iter().filter(|(_, told)| !**told).map(|(crossing, _)| crossing.clone()).collect()
    }

    /// The table has these.
    pub fn told_crossed(&self, crossings: &[Crossing]) {
        let mut kept = lock(&self.crossings.0);
        for crossing in crossings {
            kept.insert(crossing.clone(), true);
        }
    }

    /// The table is gone, or is another.
    pub(super) fn forget_crossed(&self) {
        lock(&self.crossings.0).values_mut().for_each(|told| *told = false);
    }
}
