//! Plans by the normal form of their text: one situation, one cache.
//!
//! ```text
//! situation changes ──▶ a new Planner, empty ──▶ sessions look up, or plan and insert
//! ```
//!
//! Invariant: a plan never outlives its situation; the cache dies with it. Bounded by the number of
//! plans; texts over [`TEXT_MAX`] are planned anew each time and not kept.

use std::sync::Arc;

use quick_cache::sync::Cache;

use crate::phase::Situation;
use crate::plan::{Plan, SearchPath, plan_within};
use crate::sql::normal;

/// Texts longer than this many bytes are not kept.
const TEXT_MAX: usize = 16 << 10;

/// Plans statements under one situation.
#[derive(Debug)]
pub struct Planner {
    pub situation: Arc<Situation>,
    cache: Cache<Vec<u8>, Arc<Plan>>,
}

impl Planner {
    #[must_use]
    pub fn new(situation: Arc<Situation>, plans_max: usize) -> Self {
        Self { situation, cache: Cache::new(plans_max) }
    }

    /// The plan for `sql` under `path`; `scratch` is cleared and reused between calls.
    #[must_use]
    pub fn plan(&self, sql: &str, path: &PathKey, scratch: &mut Vec<u8>) -> Arc<Plan> {
        scratch.clear();
        scratch.shrink_to(TEXT_MAX);
        scratch.extend_from_slice(&path.bytes);
        normal::append(sql.as_bytes(), scratch);
        if let Some(plan) = self.cache.get(&scratch[..]) {
            return plan;
        }
        let plan = Arc::new(plan_within(sql, &self.situation, &path.path, path.moved));
        // Literals are part of what these mean, and not of the key.
        let literal = plan.statements.iter().any(|planned| planned.step.depends_on_literals());
        if !literal && scratch.len() <= TEXT_MAX {
            self.cache.insert(scratch.clone(), Arc::clone(&plan));
        }
        plan
    }

    /// Plans kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cache.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cache.is_empty()
    }
}

/// A search path, and the bytes that stand for it in the cache's keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathKey {
    path: SearchPath,
    /// The transaction under way has set it, so that its end changes it.
    moved: bool,
    bytes: Vec<u8>,
}

impl PathKey {
    /// The same, set by the transaction under way.
    #[must_use]
    pub fn moved(&self) -> Self {
        let mut moved = self.clone();
        moved.bytes.push(4);
        Self { moved: true, ..moved }
    }
}

impl From<SearchPath> for PathKey {
    fn from(path: SearchPath) -> Self {
        let mut bytes = Vec::new();
        if let SearchPath::Known(schemas) = &path {
            for schema in schemas {
                bytes.extend_from_slice(schema.as_bytes());
                bytes.push(2);
            }
            bytes.push(3);
        }
        Self { path, moved: false, bytes }
    }
}
