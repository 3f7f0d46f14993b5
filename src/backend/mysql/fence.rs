//! The fence: which changes are news to the secondary, and what they do to its rows.
//!
//! ```text
//! locked fence rows + changes in order ──[`plan`]──▶ steps on rows, an outcome per change,
//!                                                    and the fence as it has to be afterwards
//! ```
//!
//! Invariant: a row is written if and only if its fence entry moves forward. Pure: all it needs was
//! read under lock before, so every rule below is a table test.
//!
//! Changes of one statement are one group. Its LSNs differ from row to row, but it happened at once:
//! a key that one row left and another row took is taken, whichever came first.

use std::collections::{HashMap, HashSet};

use super::foreign;
use crate::change::{Change, Effect, Key, KeyHash, Operation, RowImage, Version};
use crate::names::TableId;

/// How one change ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The secondary has it now.
    Applied,
    /// The secondary has this or something newer.
    Superseded,
    /// Too old to be told from a forgotten delete: the row has to be read again on the primary.
    ReadAgain,
}

/// Names a row in the fence.
pub type Place = (TableId, KeyHash);

/// The fence rows of a batch, as locked, and then as they will be.
#[derive(Debug, Default)]
pub struct Fence {
    pub entries: HashMap<Place, Entry>,
    pub tables: HashMap<TableId, TableFence>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub version: Version,
    pub deleted: bool,
    /// It was there when the fence was locked.
    pub stored: bool,
    /// It has to be written.
    pub moved: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableFence {
    /// The newest TRUNCATE.
    pub emptied: Version,
    /// The highest version that was pruned.
    pub floor: Version,
}

/// What to do to the rows, in order; `at` is the change's position in the batch.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// `expected` says whether the row is thought to be there: decides what is tried first.
    Put {
        at: usize,
        change: &'a Change,
        key: &'a Key,
        image: &'a RowImage,
        expected: bool,
    },
    /// `leave` is set where another row of the statement takes the old key.
    Move {
        at: usize,
        change: &'a Change,
        old: &'a Key,
        new: &'a Key,
        image: &'a RowImage,
        leave: bool,
    },
    Delete {
        at: usize,
        change: &'a Change,
        key: &'a Key,
    },
    /// Rows that took one another's keys: only all at once.
    Rotate {
        moves: Vec<(usize, &'a Change, &'a Key, &'a Key, &'a RowImage)>,
    },
    Empty {
        at: usize,
        change: &'a Change,
    },
}

impl Step<'_> {
    /// The position of the (first) change.
    pub(super) fn at(&self) -> usize {
        match self {
            Self::Put { at, .. }
            | Self::Move { at, .. }
            | Self::Delete { at, .. }
            | Self::Empty { at, .. } => *at,
            Self::Rotate { moves } => moves.first().map_or(0, |(at, ..)| *at),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Newer,
    Superseded,
    BelowFloor,
}

impl Fence {
    fn verdict(&self, place: Place, version: Version) -> Verdict {
        let table = self.tables.get(&place.0);
        if table.is_some_and(|table| version <= table.emptied) {
            return Verdict::Superseded;
        }
        match self.entries.get(&place) {
            Some(entry) if version <= entry.version => Verdict::Superseded,
            Some(_) => Verdict::Newer,
            None if table.is_some_and(|table| version <= table.floor) => Verdict::BelowFloor,
            None => Verdict::Newer,
        }
    }

    fn advance(&mut self, place: Place, version: Version, deleted: bool) {
        let stored = self.entries.get(&place).is_some_and(|entry| entry.stored);
        self.entries.insert(place, Entry { version, deleted, stored, moved: true });
    }

    /// Whether a row is thought to be there before a change of this kind.
    fn expects(&self, place: Place, operation: Operation) -> bool {
        match self.entries.get(&place) {
            Some(entry) => !entry.deleted,
            None => operation != Operation::Insert,
        }
    }
}

/// Decides every change of the batch, in order; `fence` is left as it has to be written.
pub(super) fn plan<'a>(batch: &[&'a [Change]], fence: &mut Fence) -> (Vec<Step<'a>>, Vec<Outcome>) {
    let (mut steps, mut outcomes) = (Vec::new(), Vec::new());
    for transaction in batch {
        for statement in transaction.chunk_by(|a, b| a.version.n == b.version.n) {
            let mut group = Group::new(statement, outcomes.len());
            outcomes.resize(outcomes.len() + statement.len(), Outcome::Superseded);
            group.decide(fence, &mut outcomes);
            steps.append(&mut group.steps());
        }
    }
    (steps, outcomes)
}

/// The changes of one statement.
struct Group<'a> {
    statement: &'a [Change],
    /// Position of the first change in the batch.
    first: usize,
    /// The version of each key touched: the highest, since all happened at once.
    versions: HashMap<Place, Version>,
    /// Keys that hold a row afterwards.
    taken: HashSet<Place>,
    deletes: Vec<Step<'a>>,
    moves: Vec<(usize, &'a Change, &'a Key, &'a Key, &'a RowImage)>,
    puts: Vec<Step<'a>>,
    empties: Vec<Step<'a>>,
}

impl<'a> Group<'a> {
    fn new(statement: &'a [Change], first: usize) -> Self {
        let (mut versions, mut taken) = (HashMap::new(), HashSet::new());
        for change in statement {
            for key in change.keys() {
                let version = versions.entry(place(change, key)).or_insert(change.version);
                *version = change.version.max(*version);
            }
            if let Effect::Put { key, .. } | Effect::Move { new: key, .. } = &change.effect {
                taken.insert(place(change, key));
            }
        }
        let (deletes, moves, puts, empties) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { statement, first, versions, taken, deletes, moves, puts, empties }
    }

    fn decide(&mut self, fence: &mut Fence, outcomes: &mut [Outcome]) {
        // All verdicts before the first advance: a key that was left and taken is judged once.
        let verdicts: HashMap<Place, Verdict> = self
            .versions
            .iter()
            .map(|(place, version)| (*place, fence.verdict(*place, *version)))
            .collect();
        for (offset, change) in self.statement.iter().enumerate() {
            let at = self.first + offset;
            outcomes[at] = self.decide_one(at, change, &verdicts, fence);
        }
    }

    fn decide_one(
        &mut self,
        at: usize,
        change: &'a Change,
        verdicts: &HashMap<Place, Verdict>,
        fence: &mut Fence,
    ) -> Outcome {
        let verdict = |key: &Key| verdicts[&place(change, key)];
        match &change.effect {
            Effect::Empty => self.empty(at, change, fence),
            Effect::Put { key, image } => match verdict(key) {
                Verdict::Newer => self.put(at, change, key, image, fence),
                other => other.outcome(),
            },
            Effect::Gone { key } => match verdict(key) {
                Verdict::Newer => self.gone(at, change, key, fence),
                other => other.outcome(),
            },
            Effect::Move { old, new, image } => match (verdict(old), verdict(new)) {
                (Verdict::BelowFloor, _) | (_, Verdict::BelowFloor) => Outcome::ReadAgain,
                (Verdict::Superseded, Verdict::Superseded) => Outcome::Superseded,
                (Verdict::Superseded, Verdict::Newer) => self.put(at, change, new, image, fence),
                (Verdict::Newer, Verdict::Superseded) => self.gone(at, change, old, fence),
                (Verdict::Newer, Verdict::Newer) => {
                    self.advance(change, new, false, fence);
                    if !self.taken.contains(&place(change, old)) {
                        self.advance(change, old, true, fence);
                    }
                    self.moves.push((at, change, old, new, image));
                    Outcome::Applied
                }
            },
        }
    }

    fn advance(&self, change: &Change, key: &Key, deleted: bool, fence: &mut Fence) {
        let place = place(change, key);
        fence.advance(place, self.versions[&place], deleted);
    }

    fn put(
        &mut self,
        at: usize,
        change: &'a Change,
        key: &'a Key,
        image: &'a RowImage,
        fence: &mut Fence,
    ) -> Outcome {
        let expected = fence.expects(place(change, key), change.operation);
        self.advance(change, key, false, fence);
        self.puts.push(Step::Put { at, change, key, image, expected });
        Outcome::Applied
    }

    fn gone(&mut self, at: usize, change: &'a Change, key: &'a Key, fence: &mut Fence) -> Outcome {
        if !self.taken.contains(&place(change, key)) {
            self.advance(change, key, true, fence);
            self.deletes.push(Step::Delete { at, change, key });
        }
        Outcome::Applied
    }

    fn empty(&mut self, at: usize, change: &'a Change, fence: &mut Fence) -> Outcome {
        let Some(table) = change.table.id.and_then(|id| fence.tables.get_mut(&id)) else {
            return Outcome::ReadAgain;
        };
        if change.version <= table.emptied {
            return Outcome::Superseded;
        }
        table.emptied = change.version;
        self.empties.push(Step::Empty { at, change });
        Outcome::Applied
    }

    /// Deletes first (children before parents), then moves, then puts (parents before children).
    fn steps(mut self) -> Vec<Step<'a>> {
        if self.statement.len() > 1 {
            let ranks = foreign::ranks(self.statement.iter().map(|change| &*change.table));
            let rank = |step: &Step<'_>| {
                let change = &self.statement[step.at() - self.first];
                ranks.get(&change.table.oid).copied().unwrap_or(0)
            };
            self.puts.sort_by_key(rank);
            self.deletes.sort_by_key(|step| std::cmp::Reverse(rank(step)));
        }
        let mut steps = self.deletes;
        steps.append(&mut order_moves(self.moves, &self.taken));
        steps.append(&mut self.puts);
        steps.append(&mut self.empties);
        steps
    }
}

impl Verdict {
    fn outcome(self) -> Outcome {
        match self {
            Self::Newer => Outcome::Applied,
            Self::Superseded => Outcome::Superseded,
            Self::BelowFloor => Outcome::ReadAgain,
        }
    }
}

/// A move goes once no other row still holds the key it takes; what is left are cycles.
fn order_moves<'a>(
    mut moves: Vec<(usize, &'a Change, &'a Key, &'a Key, &'a RowImage)>,
    taken: &HashSet<Place>,
) -> Vec<Step<'a>> {
    let mut steps = Vec::new();
    while !moves.is_empty() {
        let held: HashSet<Place> =
            moves.iter().map(|(_, change, old, ..)| place(change, old)).collect();
        let free = |(_, change, old, new, _): &(usize, &'a Change, &'a Key, &'a Key, _)| {
            let target = place(change, new);
            // The same key in another spelling is no obstacle to itself.
            !held.contains(&target) || target == place(change, old)
        };
        let Some(next) = moves.iter().position(free) else {
            steps.push(Step::Rotate { moves });
            break;
        };
        let (at, change, old, new, image) = moves.remove(next);
        let leave = taken.contains(&place(change, old));
        steps.push(Step::Move { at, change, old, new, image, leave });
    }
    steps
}

/// Registered tables only: `write` has checked.
fn place(change: &Change, key: &Key) -> Place {
    (change.table.id.unwrap_or(TableId(0)), key.hash)
}
