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
use crate::plan::seen::{Seen, Shape};
use crate::plan::{Plan, SearchPath, plan_within};
use crate::sql::normal;

/// Texts longer than this many bytes are not kept.
const TEXT_MAX: usize = 16 << 10;

/// Begins the key of a plan that is not listed; no name of a schema and no statement begins with it.
const UNLISTED: u8 = 4;

/// Reused between calls: the key of the last plan, and what its text's literals were.
#[derive(Debug, Default)]
pub struct Scratch {
    key: Vec<u8>,
    literals: u64,
}

impl Scratch {
    /// The shape of the text last planned, under `path` and with the parameter types that Parse gave;
    /// `None` where nobody can say what its names mean.
    #[must_use]
    pub fn shape(&self, path: &PathKey, types: &[u8]) -> Option<Shape> {
        match path.path {
            SearchPath::Known(_) => Some(Shape::new(self.literals, types, path.hash)),
            SearchPath::Unknown => None,
        }
    }
}

/// Plans statements under one situation.
#[derive(Debug)]
pub struct Planner {
    pub situation: Arc<Situation>,
    cache: Cache<Vec<u8>, Arc<Plan>>,
    seen: Option<Arc<Seen>>,
}

impl Planner {
    #[must_use]
    pub fn new(situation: Arc<Situation>, plans_max: usize) -> Self {
        Self { situation, cache: Cache::new(plans_max), seen: None }
    }

    /// Lists what it plans.
    #[must_use]
    pub fn listing(self, seen: Arc<Seen>) -> Self {
        Self { seen: Some(seen), ..self }
    }

    /// The plan for `sql` under `path`; `scratch` is cleared and reused between calls.
    #[must_use]
    pub fn plan(&self, sql: &str, path: &PathKey, scratch: &mut Scratch) -> Arc<Plan> {
        self.plan_as(sql, path, scratch, self.seen.as_deref())
    }

    /// As [`Self::plan`], for a session whose literals may not be where we take them to be: it is not
    /// listed, and shares no plan with those that are.
    #[must_use]
    pub fn plan_unlisted(&self, sql: &str, path: &PathKey, scratch: &mut Scratch) -> Arc<Plan> {
        self.plan_as(sql, path, scratch, None)
    }

    fn plan_as(
        &self,
        sql: &str,
        path: &PathKey,
        scratch: &mut Scratch,
        seen: Option<&Seen>,
    ) -> Arc<Plan> {
        let key = &mut scratch.key;
        key.clear();
        key.shrink_to(TEXT_MAX);
        if seen.is_none() {
            key.push(UNLISTED);
        }
        key.extend_from_slice(&path.bytes);
        scratch.literals = normal::append(sql.as_bytes(), key);
        if let Some(plan) = self.cache.get(&key[..]) {
            return plan;
        }
        let mut plan = plan_within(sql, &self.situation, &path.path, path.moved);
        plan.tally = seen.and_then(|seen| seen.tally(sql, &plan, &path.path));
        let plan = Arc::new(plan);
        // Literals are part of what these mean, and not of the key.
        let literal = plan.statements.iter().any(|planned| planned.step.depends_on_literals());
        if !literal && key.len() <= TEXT_MAX {
            self.cache.insert(key.clone(), Arc::clone(&plan));
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
    /// Of the schemas' names: the same in every process.
    hash: u64,
}

impl PathKey {
    #[must_use]
    pub fn path(&self) -> &SearchPath {
        &self.path
    }

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
        let hash = normal::mix(normal::START, &bytes);
        Self { path, moved: false, bytes, hash }
    }
}
