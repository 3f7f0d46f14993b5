//! What of the list a table on the primary has, so that sidecars and restarts have one list.
//!
//! ```text
//! tallies ──[`Seen::untold`]──▶ counts since last told, new descriptions ──▶ table (adds up)
//!    list ◀── counts since ── [`Seen::told`] ◀── lines of all sidecars ◀───────┘
//! ```
//!
//! Invariant: an execution is in a line of the table or among what this process has not told, not in
//! both: both change under one lock. (Where the answer to the telling is lost, a count may be told
//! twice; nothing depends on it.)

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::described::{Described, Shape};
use super::{Compared, Fingerprint, Line, Readiness, Seen, Tally, lock};

/// The table's lines, and descriptions.
#[derive(Debug, Default)]
pub(super) struct Kept {
    lines: HashMap<Fingerprint, Line>,
    shapes: HashMap<Fingerprint, Vec<(Shape, Arc<Described>)>>,
}

/// What the table knows of this process's counts.
#[derive(Debug, Default)]
pub(super) struct Told {
    accepted: bool,
    count: u64,
    compared: Compared,
    readiness: Option<Readiness>,
    /// It was made to forget the statement: there is nothing to tell until it is sent again.
    forgotten: bool,
}

/// What it does not know yet of one statement.
#[derive(Debug)]
pub struct Untold {
    tally: Arc<Tally>,
    /// Counts are those since the last telling.
    pub line: Line,
    pub judged: bool,
    pub shapes: Vec<(Shape, Arc<Described>)>,
    upto: Told,
    /// Nothing of it was ever told, or it has a description that is new.
    pub news: bool,
}

/// One statement's description, as the table has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptShape {
    pub fingerprint: Fingerprint,
    pub shape: Shape,
    pub described: Described,
}

impl Seen {
    /// What the table does not have yet, of `most` statements at most.
    #[must_use]
    pub fn untold(&self, most: usize) -> Vec<Untold> {
        let tallies: Vec<_> = lock(&self.tallies).values().cloned().collect();
        let listed = tallies.into_iter().filter(|tally| tally.is_listed());
        let mut untold: Vec<_> =
            listed.filter_map(|tally| self.untold_of(tally)).take(most).collect();
        // Two sidecars that write the same lines lock them in the same order.
        untold.sort_by_key(|untold| untold.line.fingerprint);
        untold
    }

    fn untold_of(&self, tally: Arc<Tally>) -> Option<Untold> {
        let (upto, line, new) = {
            let told = lock(&tally.told);
            let upto = Told {
                accepted: true,
                count: tally.count(),
                compared: *lock(&tally.compared),
                readiness: lock(&tally.judged).clone(),
                forgotten: false,
            };
            let line = self.own(&tally, &told);
            if told.forgotten && line.count == 0 {
                return None;
            }
            (upto, line, !told.accepted)
        };
        let shapes = tally.shapes.news();
        let judged = upto.readiness.is_some() && lock(&tally.told).readiness != upto.readiness;
        let news = new || judged || !shapes.is_empty();
        let changed = news || 0 < line.count || line.compared != Compared::default();
        changed.then_some(Untold { line, judged, shapes, upto, news, tally })
    }

    /// A line of what is not told.
    fn own(&self, tally: &Tally, told: &Told) -> Line {
        let what = *lock(&tally.what);
        Line {
            fingerprint: tally.fingerprint,
            text: tally.text.clone(),
            kind: what.as_str().to_owned(),
            reason: what.reason().map(str::to_owned),
            count: tally.count().saturating_sub(told.count),
            first: self.time(&tally.first),
            last: self.time(&tally.last),
            readiness: lock(&tally.judged).clone().unwrap_or_default(),
            compared: lock(&tally.compared).since(&told.compared),
            refused: None,
        }
    }

    /// The table has what was untold, and these lines and descriptions are new in it.
    pub fn told(&self, untold: Vec<Untold>, lines: Vec<Line>, shapes: Vec<KeptShape>) {
        let mut untell = Vec::new();
        let mut kept = lock(&self.kept);
        for Untold { tally, shapes, upto, .. } in untold {
            tally.shapes.told(&shapes);
            *lock(&tally.told) = upto;
        }
        let lines_max = self.statements_max.load(Ordering::Relaxed);
        for line in lines {
            if line.readiness == Readiness::Forgotten {
                untell.push(line.fingerprint);
            }
            if kept.lines.len() < lines_max || kept.lines.contains_key(&line.fingerprint) {
                kept.lines.insert(line.fingerprint, line);
            }
        }
        for KeptShape { fingerprint, shape, described } in shapes {
            if kept.lines.contains_key(&fingerprint) {
                let known = kept.shapes.entry(fingerprint).or_default();
                known.retain(|(other, _)| *other != shape);
                known.push((shape, Arc::new(described)));
            }
        }
        drop(kept);
        self.untell(&untell);
    }

    /// Whoever is asked has made the table forget these; other sidecars read it there.
    pub fn forget(&self, fingerprints: &[Fingerprint]) {
        let mut kept = lock(&self.kept);
        for line in
            fingerprints.iter().filter_map(|one| kept.lines.get(one)).cloned().collect::<Vec<_>>()
        {
            let forgotten = Line { count: 0, readiness: Readiness::Forgotten, ..line };
            kept.lines.insert(forgotten.fingerprint, forgotten);
        }
        drop(kept);
        self.untell(fingerprints);
        lock(&self.refusals).retain(|fingerprint, _| !fingerprints.contains(fingerprint));
    }

    /// Should they be sent again, the verdict is news.
    fn untell(&self, fingerprints: &[Fingerprint]) {
        for fingerprint in fingerprints {
            let tally = lock(&self.tallies).get(fingerprint).cloned();
            let Some(tally) = tally else { continue };
            let mut told = lock(&tally.told);
            if !told.forgotten {
                told.readiness = None;
                told.count = tally.count();
                told.forgotten = true;
            }
        }
    }

    /// The table is gone: all is to be told again, should there be another.
    pub fn forgotten(&self) {
        let tallies: Vec<_> = lock(&self.tallies).values().cloned().collect();
        let mut kept = lock(&self.kept);
        *kept = Kept::default();
        for tally in tallies {
            *lock(&tally.told) = Told::default();
            tally.shapes.untell();
        }
        self.forget_crossed();
    }

    /// Gives a new tally what the table has about its statement.
    pub(super) fn remember(&self, tally: &Tally) {
        let kept = lock(&self.kept);
        for (shape, described) in kept.shapes.get(&tally.fingerprint).into_iter().flatten() {
            tally.shapes.remember(*shape, described);
        }
    }

    /// What PostgreSQL has said about this statement, from any sidecar. It may be of an older
    /// catalogue: whoever uses it compares the columns that are of tables with those.
    #[must_use]
    pub fn description(&self, fingerprint: Fingerprint, shape: Shape) -> Option<Arc<Described>> {
        let tally = lock(&self.tallies).get(&fingerprint).cloned();
        if let Some(found) = tally.and_then(|tally| tally.shapes.get(shape)) {
            return Some(found);
        }
        let kept = lock(&self.kept);
        let shapes = kept.shapes.get(&fingerprint)?;
        shapes.iter().find(|(known, _)| *known == shape).map(|(_, found)| Arc::clone(found))
    }

    /// Every statement that a server has accepted, of all sidecars: the most frequent first.
    #[must_use]
    pub fn list(&self) -> Vec<Line> {
        let tallies: Vec<_> = lock(&self.tallies).values().cloned().collect();
        let kept = lock(&self.kept);
        let mut lines = kept.lines.clone();
        for tally in tallies.iter().filter(|tally| tally.is_listed()) {
            let own = self.own(tally, &lock(&tally.told));
            let line = match lines.remove(&tally.fingerprint) {
                Some(kept) if kept.readiness == Readiness::Forgotten && own.count == 0 => kept,
                Some(kept) => own.plus(kept),
                None => own,
            };
            lines.insert(tally.fingerprint, line);
        }
        drop(kept);
        self.add_refusals(&mut lines);
        let lines = lines.into_values().filter(|line| line.readiness != Readiness::Forgotten);
        let mut lines: Vec<Line> = lines.map(Line::as_seen).collect();
        lines.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.text.cmp(&b.text)));
        lines
    }
}

impl Line {
    /// With what is known from elsewhere, or from before.
    fn plus(self, kept: Self) -> Self {
        Self {
            count: self.count.saturating_add(kept.count),
            first: self.first.min(kept.first),
            last: self.last.max(kept.last),
            readiness: match (self.readiness, kept.readiness) {
                (Readiness::Unknown, Readiness::Forgotten) => Readiness::Unknown,
                (Readiness::Unknown, kept) => kept,
                (own, _) => own,
            },
            compared: self.compared.plus(&kept.compared),
            ..self
        }
    }

    /// What was never run is not ready, whatever became of its text.
    #[must_use]
    pub fn as_seen(self) -> Self {
        match self.count {
            0 if self.refused.is_none() => Self { readiness: Readiness::NeverSeen, ..self },
            _ => self,
        }
    }
}

impl Compared {
    fn each(&self, other: &Self, join: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            matched: join(self.matched, other.matched),
            mismatched: join(self.mismatched, other.mismatched),
            undetermined: join(self.undetermined, other.undetermined),
            failed: join(self.failed, other.failed),
            primary_micros: join(self.primary_micros, other.primary_micros),
            secondary_micros: join(self.secondary_micros, other.secondary_micros),
        }
    }

    fn since(&self, earlier: &Self) -> Self {
        self.each(earlier, u64::saturating_sub)
    }

    fn plus(&self, other: &Self) -> Self {
        self.each(other, u64::saturating_add)
    }

    /// Reads that took their time on both sides.
    #[must_use]
    pub fn timed(&self) -> u64 {
        self.matched + self.mismatched + self.undetermined
    }
}
