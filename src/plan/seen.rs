//! Which statements there were: each by its text without literals and comments.
//!
//! ```text
//! text ──tokens──▶ normal form ──▶ fingerprint ──▶ [`Tally`], which the plan keeps ◀── session: completed
//!                                                     └──[`Seen::list`]──▶ admin
//! ```
//!
//! Invariant: no literal, no parameter's value and no comment is kept: the text is put together from
//! tokens. A statement is listed only once the server has completed it, so that what looks like a name
//! is one. Bounded by the number of statements and by the length of each text.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus::{IntCounter, IntGauge, Registry};
use sha2::{Digest, Sha256};

use crate::plan::{Plan, Step};
use crate::sql::lexer::Lexer;
use crate::sql::normal;

/// Longest text kept of a statement, in bytes.
const TEXT_MAX: usize = 2 << 10;
/// Statements that find no room between two looks for room.
const LOOK_EVERY: u64 = 1024;

/// All statements of the process.
#[derive(Debug)]
pub struct Seen {
    tallies: Mutex<HashMap<Fingerprint, Arc<Tally>>>,
    statements_max: AtomicUsize,
    /// What times are counted from.
    base: Instant,
    metrics: SeenMetrics,
}

/// How full the list is.
#[derive(Clone, Debug)]
pub struct SeenMetrics {
    kept: IntGauge,
    unlisted: IntCounter,
}

impl SeenMetrics {
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let kept = IntGauge::new("statements_kept", "Distinct statements that were seen.")?;
        let unlisted = IntCounter::new(
            "statements_unlisted_total",
            "Statements planned that found limits.statements reached.",
        )?;
        registry.register(Box::new(kept.clone()))?;
        registry.register(Box::new(unlisted.clone()))?;
        Ok(Self { kept, unlisted })
    }
}

/// The first bytes of the normal form's SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(u64);

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// One statement's count; shared by the plans for it.
#[derive(Debug)]
pub struct Tally {
    fingerprint: Fingerprint,
    text: String,
    /// As of the latest plan.
    what: Mutex<What>,
    count: AtomicU64,
    /// Nanoseconds after [`Seen::base`].
    first: AtomicU64,
    last: AtomicU64,
}

/// What becomes of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Read,
    /// Writes, and is carried over.
    Captured,
    /// Writes, and is not carried over: why.
    Uncaptured(&'static str),
    /// Writes what is not migrated; before `setup` that is everything.
    Unmigrated,
    Ddl,
    Other,
}

/// One line of the list.
#[derive(Clone, Debug)]
pub struct Line {
    pub fingerprint: Fingerprint,
    pub text: String,
    pub what: What,
    pub count: u64,
    /// After the start.
    pub first: Duration,
    pub last: Duration,
}

impl Seen {
    #[must_use]
    pub fn new(statements_max: usize, base: Instant, metrics: SeenMetrics) -> Self {
        let statements_max = AtomicUsize::new(statements_max);
        Self { tallies: Mutex::default(), statements_max, base, metrics }
    }

    /// Takes a changed `limits.statements`; what is listed stays.
    pub fn set_max(&self, statements_max: usize) {
        self.statements_max.store(statements_max, Ordering::Relaxed);
    }

    /// The tally for `sql`; `None` where there is no room for another.
    pub(super) fn tally(&self, sql: &str, plan: &Plan) -> Option<Arc<Tally>> {
        let (fingerprint, what) = (fingerprint(sql), What::of(plan));
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tally) = tallies.get(&fingerprint) {
            *tally.what.lock().unwrap_or_else(PoisonError::into_inner) = what;
            return Some(Arc::clone(tally));
        }
        let statements_max = self.statements_max.load(Ordering::Relaxed);
        if statements_max <= tallies.len() {
            if self.metrics.unlisted.get().is_multiple_of(LOOK_EVERY) {
                // Those that were never completed, and that no plan will complete any more.
                tallies.retain(|_, tally| 0 < tally.count() || 1 < Arc::strong_count(tally));
            }
            if statements_max <= tallies.len() {
                self.metrics.unlisted.inc();
                return None;
            }
        }
        let tally = Arc::new(Tally::new(fingerprint, text(sql), what));
        tallies.insert(fingerprint, Arc::clone(&tally));
        self.metrics.kept.set(i64::try_from(tallies.len()).unwrap_or(i64::MAX));
        Some(tally)
    }

    /// Counts a completed execution.
    pub fn completed(&self, plan: &Plan, now: Instant) {
        if let Some(tally) = &plan.tally {
            let at = now.saturating_duration_since(self.base).as_nanos();
            tally.completed(u64::try_from(at).unwrap_or(u64::MAX));
        }
    }

    /// What was completed at least once, the most frequent first.
    #[must_use]
    pub fn list(&self) -> Vec<Line> {
        let tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        let tallies: Vec<_> = tallies.values().cloned().collect();
        let mut lines: Vec<Line> =
            tallies.iter().filter(|tally| 0 < tally.count()).map(|tally| tally.line()).collect();
        lines.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.text.cmp(&b.text)));
        lines
    }
}

impl Tally {
    fn new(fingerprint: Fingerprint, text: String, what: What) -> Self {
        let (count, first, last) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Self { fingerprint, text, what: Mutex::new(what), count, first, last }
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    fn completed(&self, at: u64) {
        if self.count.fetch_add(1, Ordering::Relaxed) == 0 {
            self.first.store(at, Ordering::Relaxed);
        }
        self.last.store(at, Ordering::Relaxed);
    }

    fn line(&self) -> Line {
        let time = |nanos: &AtomicU64| Duration::from_nanos(nanos.load(Ordering::Relaxed));
        Line {
            fingerprint: self.fingerprint,
            text: self.text.clone(),
            what: *self.what.lock().unwrap_or_else(PoisonError::into_inner),
            count: self.count(),
            first: time(&self.first),
            last: time(&self.last),
        }
    }
}

impl What {
    /// Of several statements, the one that matters most.
    fn of(plan: &Plan) -> Self {
        let steps = plan.statements.iter().map(|planned| Self::of_step(&planned.step));
        steps.min_by_key(|what| what.rank()).unwrap_or(Self::Other)
    }

    fn of_step(step: &Step) -> Self {
        match step {
            Step::Read => Self::Read,
            Step::Capture(_) | Step::Entered(_) | Step::Truncate(_) => Self::Captured,
            Step::Uncaptured { reason, .. } => Self::Uncaptured(reason),
            Step::Unmigrated => Self::Unmigrated,
            Step::Ddl => Self::Ddl,
            Step::Prepare { step, .. } => Self::of_step(step),
            Step::Other
            | Step::Savepoint(_)
            | Step::Release(_)
            | Step::RollbackTo(_)
            | Step::Commit
            | Step::Begin
            | Step::Transaction
            | Step::Execute(_)
            | Step::Deallocate(_)
            | Step::SearchPath(_)
            | Step::Temporary(_) => Self::Other,
        }
    }

    fn rank(self) -> u8 {
        match self {
            Self::Uncaptured(_) => 0,
            Self::Captured => 1,
            Self::Unmigrated => 2,
            Self::Ddl => 3,
            Self::Read => 4,
            Self::Other => 5,
        }
    }

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Captured => "captured",
            Self::Uncaptured(_) => "uncaptured",
            Self::Unmigrated => "unmigrated",
            Self::Ddl => "ddl",
            Self::Other => "other",
        }
    }

    /// Why it is not carried over.
    #[must_use]
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Self::Uncaptured(reason) => Some(reason),
            _ => None,
        }
    }
}

fn fingerprint(sql: &str) -> Fingerprint {
    let mut normal = Vec::with_capacity(sql.len());
    normal::append(sql.as_bytes(), &mut normal);
    let digest = Sha256::digest(&normal);
    let first = digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
    Fingerprint(first)
}

/// The tokens of `sql` with `?` for each literal; blanks and comments are one space.
fn text(sql: &str) -> String {
    let mut text = String::new();
    let mut end = 0;
    for token in Lexer::new(sql.as_bytes()) {
        if !text.is_empty() && end < token.start {
            text.push(' ');
        }
        end = token.end;
        if token.is_literal() {
            text.push('?');
        } else {
            let words = String::from_utf8_lossy(token.text(sql.as_bytes()));
            text.extend(words.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }));
        }
        if TEXT_MAX < text.len() {
            let cut = (0..=TEXT_MAX).rev().find(|at| text.is_char_boundary(*at));
            text.truncate(cut.unwrap_or(0));
            text.push('…');
            return text;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phase::Situation;
    use crate::plan::{SearchPath, plan};

    fn seen(statements_max: usize) -> Seen {
        let metrics = SeenMetrics::register(&Registry::new()).unwrap();
        Seen::new(statements_max, Instant::now(), metrics)
    }

    fn run(seen: &Seen, sql: &str) {
        let mut plan = plan(sql, &Situation::transparent(), &SearchPath::Unknown);
        plan.tally = seen.tally(sql, &plan);
        seen.completed(&plan, seen.base + Duration::from_secs(7));
    }

    #[test]
    fn a_text_keeps_names_and_loses_values_and_comments() {
        assert_eq!(
            text(
                "SELECT  a.\"B\"::int /* bob@x */ FROM t -- 4711\n WHERE x=-1 AND y = E'se\\'cret' AND z<>$1"
            ),
            "SELECT a.\"B\"::int FROM t WHERE x=-? AND y = ? AND z<>$1"
        );
        assert_eq!(text("DO $$ secret $$"), "DO ?");
        assert_eq!(text("SELECT 'never ends"), "SELECT ?");
        assert_eq!(text(&"x".repeat(5000)).len(), TEXT_MAX + '…'.len_utf8());
    }

    #[test]
    fn statements_that_differ_in_their_literals_are_one() {
        let seen = seen(10);
        for sql in ["SELECT 1", "SELECT 2 -- two", "SELECT a"] {
            run(&seen, sql);
        }
        let lines = seen.list();
        let found: Vec<_> = lines.iter().map(|line| (&line.text[..], line.count)).collect();
        assert_eq!(found, [("SELECT ?", 2), ("SELECT a", 1)]);
        assert_eq!(lines[0].last, Duration::from_secs(7));
    }

    #[test]
    fn what_the_server_has_not_completed_is_not_listed() {
        let seen = seen(10);
        let sql = "SELECT \"bob@example.com\"";
        let plan = plan(sql, &Situation::transparent(), &SearchPath::Unknown);
        assert!(seen.tally(sql, &plan).is_some());
        assert!(seen.list().is_empty());
    }

    #[test]
    fn past_the_bound_what_was_never_completed_makes_room_and_the_rest_is_counted() {
        let seen = seen(2);
        let sql = "SELECT wrong";
        let plan = plan(sql, &Situation::transparent(), &SearchPath::Unknown);
        drop(seen.tally(sql, &plan));
        for sql in ["SELECT a", "SELECT b", "SELECT c"] {
            run(&seen, sql);
        }
        let texts: Vec<_> = seen.list().into_iter().map(|line| line.text).collect();
        assert_eq!(texts, ["SELECT a", "SELECT b"]);
        assert_eq!(seen.metrics.unlisted.get(), 1);
    }

    #[test]
    fn of_several_statements_the_one_that_is_not_carried_over_counts() {
        let plan = |steps: Vec<Step>| {
            let mut plan = Plan::default();
            plan.statements.extend(steps.into_iter().flat_map(|step| Plan::of(step).statements));
            plan
        };
        let lost = Step::Uncaptured { tables: Vec::new(), reason: "do" };
        assert_eq!(What::of(&plan(vec![Step::Begin, Step::Read])), What::Read);
        assert_eq!(What::of(&plan(vec![Step::Read, lost])), What::Uncaptured("do"));
        assert_eq!(What::of(&plan(vec![])), What::Other);
    }
}
