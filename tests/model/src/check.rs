//! Runs the checker over a model, and adds the one question that it has no word for: can every
//! execution still become quiet?
//!
//! ```text
//! stateright (breadth first) ──every edge──▶ [`Recorded`] ──backwards from quiet──▶ states that cannot
//! ```
//!
//! Invariant: an answer is exhaustive or says that it is not. "Eventually" would not do: an execution
//! that only ever repeats a retry is no failure, one that can do nothing else is.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::{Debug, Write as _};
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ahash::RandomState;
use stateright::{Checker, HasDiscoveries, Model, Property};

use crate::model::QUIET;

/// States beyond which a check gives up: far above what any scene needs.
const STATES_MAX: usize = 60_000_000;

/// A model that can be checked here.
pub trait Checked:
    Model<State: Clone + Hash + Eq + Send + Sync, Action: Clone + PartialEq + Debug + Send + Sync>
    + Clone
    + Send
    + Sync
    + 'static
{
    fn name(&self) -> &'static str;
    fn quiet(&self, state: &Self::State) -> bool;

    /// Checks everything, with the answer in figures.
    fn report(&self, limit: Option<Duration>) -> Report {
        check(self.clone(), None, limit)
    }

    /// Everything holds in every state.
    #[track_caller]
    fn holds(&self) {
        let report = self.report(None);
        assert!(report.failed.is_empty(), "{}: {}", self.name(), report.failures());
        assert!(report.exhaustive, "{}: too many states", self.name());
        assert!(report.quiet > 0, "{}: never quiet", self.name());
    }

    /// With a safeguard removed, this property fails.
    #[track_caller]
    fn breaks(&self, property: &'static str) {
        let report = check(self.clone(), Some(property), None);
        let found = report.failed.iter().any(|failure| failure.property == property);
        assert!(
            found,
            "{}: \"{property}\" holds all the same ({} states)",
            self.name(),
            report.states
        );
    }
}

/// What a check has found.
#[derive(Debug, Default)]
pub struct Report {
    pub states: usize,
    pub depth: usize,
    pub quiet: usize,
    pub seconds: f64,
    pub exhaustive: bool,
    pub failed: Vec<Failure>,
}

/// A property, and a shortest way to its failure.
#[derive(Debug)]
pub struct Failure {
    pub property: &'static str,
    pub path: Vec<String>,
}

impl Report {
    #[must_use]
    pub fn failures(&self) -> String {
        let mut text = String::new();
        for failure in &self.failed {
            // Writing to a String cannot fail.
            let _ =
                write!(text, "\n\"{}\" fails:\n  {}", failure.property, failure.path.join("\n  "));
        }
        text
    }
}

/// `only` asks about one property; `limit` ends early, and says so.
fn check<M: Checked>(model: M, only: Option<&'static str>, limit: Option<Duration>) -> Report {
    let began = Instant::now();
    let mut recorded = Recorded::new(model);
    recorded.records = only.is_none_or(|property| property == QUIET);
    let finish = match only {
        None => HasDiscoveries::AnyFailures,
        Some(property) => HasDiscoveries::AnyOf(BTreeSet::from([property])),
    };
    let mut builder = recorded.checker().target_state_count(STATES_MAX).finish_when(finish);
    if let Some(limit) = limit {
        builder = builder.timeout(limit);
    }
    let checker = builder.spawn_bfs().join();
    let mut report = Report {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        exhaustive: limit.is_none_or(|limit| began.elapsed() < limit)
            && checker.state_count() < STATES_MAX,
        ..Report::default()
    };
    for (property, path) in checker.discoveries() {
        let path = path.into_actions().iter().map(|action| format!("{action:?}")).collect();
        report.failed.push(Failure { property, path });
    }
    let seen = checker.model().seen.lock().unwrap_or_else(PoisonError::into_inner);
    report.quiet = seen.quiet.len();
    let ask = only == Some(QUIET) || (only.is_none() && report.failed.is_empty());
    if ask && report.exhaustive {
        let doomed = seen.doomed();
        if !doomed.is_empty() {
            let model = checker.model().model.clone();
            report.failed.push(Failure { property: QUIET, path: way(model, doomed) });
        }
    }
    report.seconds = began.elapsed().as_secs_f64();
    report
}

/// A shortest way to a state from which quiet cannot be reached.
fn way<M: Checked>(model: M, doomed: HashSet<u64>) -> Vec<String> {
    let recorded = Recorded { doomed, ..Recorded::new(model) };
    let finish = HasDiscoveries::AnyOf(BTreeSet::from([QUIET]));
    let checker = recorded.checker().finish_when(finish).spawn_bfs().join();
    let path = checker.discovery(QUIET).map(stateright::Path::into_actions).unwrap_or_default();
    path.iter().map(|action| format!("{action:?}")).collect()
}

/// A model that remembers the edges which the checker has gone along.
struct Recorded<M: Model> {
    model: M,
    properties: Vec<Property<M>>,
    records: bool,
    seen: Mutex<Seen>,
    /// States from which quiet cannot be reached, where that is known already.
    doomed: HashSet<u64>,
}

#[derive(Default)]
struct Seen {
    edges: Vec<(u64, u64)>,
    states: HashSet<u64>,
    quiet: HashSet<u64>,
}

impl Seen {
    /// The states from which no quiet one can be reached.
    fn doomed(&self) -> HashSet<u64> {
        let mut back: HashMap<u64, Vec<u64>> = HashMap::new();
        for (from, to) in &self.edges {
            back.entry(*to).or_default().push(*from);
        }
        let mut saved = self.quiet.clone();
        let mut next: Vec<u64> = saved.iter().copied().collect();
        while let Some(state) = next.pop() {
            for from in back.get(&state).into_iter().flatten() {
                if saved.insert(*from) {
                    next.push(*from);
                }
            }
        }
        self.states.difference(&saved).copied().collect()
    }
}

fn number<T: Hash>(state: &T) -> u64 {
    RandomState::with_seeds(1, 2, 3, 4).hash_one(state)
}

impl<M: Checked> Recorded<M> {
    fn new(model: M) -> Self {
        let properties = model.properties();
        Self { model, properties, records: false, seen: Mutex::default(), doomed: HashSet::new() }
    }

    fn note(&self, state: &M::State) -> u64 {
        let at = number(state);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.states.insert(at);
        if self.model.quiet(state) {
            seen.quiet.insert(at);
        }
        at
    }
}

impl<M: Checked> Model for Recorded<M> {
    type State = M::State;
    type Action = M::Action;

    fn init_states(&self) -> Vec<M::State> {
        let states = self.model.init_states();
        for state in &states {
            self.note(state);
        }
        states
    }

    fn actions(&self, state: &M::State, actions: &mut Vec<M::Action>) {
        self.model.actions(state, actions);
    }

    fn next_state(&self, last: &M::State, action: M::Action) -> Option<M::State> {
        let next = self.model.next_state(last, action)?;
        if !self.records {
            return Some(next);
        }
        let to = self.note(&next);
        let edge = (number(last), to);
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).edges.push(edge);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let claims = [
            claim::<M, 0>,
            claim::<M, 1>,
            claim::<M, 2>,
            claim::<M, 3>,
            claim::<M, 4>,
            claim::<M, 5>,
            claim::<M, 6>,
            claim::<M, 7>,
        ];
        assert!(self.properties.len() <= claims.len(), "a claim for each property");
        let own = self.properties.iter().zip(claims);
        let mut all: Vec<Property<Self>> =
            own.map(|(property, claim)| Property::always(property.name, claim)).collect();
        if !self.doomed.is_empty() {
            all.push(Property::always(QUIET, |recorded: &Self, state: &M::State| {
                !recorded.doomed.contains(&number(state))
            }));
        }
        all
    }
}

/// The model's own property of this number.
fn claim<M: Checked, const AT: usize>(recorded: &Recorded<M>, state: &M::State) -> bool {
    (recorded.properties[AT].condition)(&recorded.model, state)
}
