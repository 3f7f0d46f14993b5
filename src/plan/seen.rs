//! Which statements there were: each by its text without literals and comments.
//!
//! ```text
//! text ──tokens──▶ normal form ──▶ fingerprint ──▶ [`Tally`], which the plan keeps ◀── session: completed
//!                                                     ├──[`record`]──▶ a table on the primary, all sidecars'
//!                                                     └──[`Seen::list`]──▶ admin
//! ```
//!
//! Invariant: no literal, no parameter's value and no comment is listed: the text is put together from
//! tokens. A statement is listed only once the server has accepted it, so that what looks like a name
//! is one. Bounded by the number of statements and by the length of each text. The whole text of a
//! statement ([`Sample`]) is held until somebody has judged it, and leaves the process nowhere.

mod crossings;
pub mod described;
pub mod record;
mod refused;
mod what;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::{IntCounter, IntGauge, Registry};
use sha2::{Digest, Sha256};

use crate::plan::{Plan, SearchPath};
use crate::sql::lexer::{Kind, Lexer};
use crate::sql::normal;

pub use crossings::Crossing;
use crossings::Crossings;
use described::Shapes;
pub use described::{Described, Shape};
use record::{Kept, Told};
use refused::Refusal;
pub use refused::Refusals;
pub use what::{Readiness, What};

/// Longest text kept of a statement, in bytes.
const TEXT_MAX: usize = 2 << 10;
/// Statements that find no room between two looks for room.
const LOOK_EVERY: u64 = 1024;
/// Whole texts held until they are judged, in bytes; what finds no room waits for its next plan.
const SAMPLES_BYTES_MAX: usize = 8 << 20;

/// All statements of the process.
#[derive(Debug)]
pub struct Seen {
    tallies: Mutex<HashMap<Fingerprint, Arc<Tally>>>,
    /// What the table has, as of the last look; locked after `tallies` where both are.
    kept: Mutex<Kept>,
    /// What clients were refused while MySQL answers; bounded as the tallies are.
    refusals: Mutex<HashMap<Fingerprint, Refusal>>,
    statements_max: AtomicUsize,
    samples_bytes: AtomicUsize,
    crossings: Crossings,
    /// What times are counted from, and when that was, in microseconds since 1970.
    base: Instant,
    begun: i64,
    metrics: SeenMetrics,
}

/// How full the list is.
#[derive(Clone, Debug)]
pub struct SeenMetrics {
    kept: IntGauge,
    unlisted: IntCounter,
    undescribed: IntCounter,
    refused: IntCounter,
}

impl SeenMetrics {
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let kept = IntGauge::new("statements_kept", "Distinct statements that were seen.")?;
        let unlisted = IntCounter::new(
            "statements_unlisted_total",
            "Statements planned that found limits.statements reached.",
        )?;
        let undescribed = IntCounter::new(
            "statement_shapes_unlisted_total",
            "Descriptions of statements that found too many others of the same statement.",
        )?;
        let refused = IntCounter::new(
            "statements_refused_total",
            "Statements that clients were refused with 0A000 while MySQL answers.",
        )?;
        registry.register(Box::new(refused.clone()))?;
        registry.register(Box::new(kept.clone()))?;
        registry.register(Box::new(unlisted.clone()))?;
        registry.register(Box::new(undescribed.clone()))?;
        Ok(Self { kept, unlisted, undescribed, refused })
    }
}

/// The first bytes of the normal form's SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// Of a statement's text.
    #[must_use]
    pub fn of(sql: &str) -> Self {
        let mut normal = Vec::with_capacity(sql.len());
        normal::append(sql.as_bytes(), &mut normal);
        let digest = Sha256::digest(&normal);
        Self(digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// As it is printed.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        u64::from_str_radix(text, 16).ok().map(Self)
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// One statement's count, and what is known about it; shared by the plans for it.
#[derive(Debug)]
pub struct Tally {
    fingerprint: Fingerprint,
    text: String,
    /// As of the latest plan.
    what: Mutex<What>,
    /// The server has parsed it.
    accepted: AtomicBool,
    count: AtomicU64,
    /// Nanoseconds after [`Seen::base`].
    first: AtomicU64,
    last: AtomicU64,
    /// It has parameters.
    open: bool,
    /// What it returns depends on its text alone, and not on what a name was given to before.
    settled: bool,
    /// It speaks of isolation: what runs after it may read a snapshot of its own.
    isolates: Isolates,
    shapes: Shapes,
    sample: Mutex<Option<Sample>>,
    judged: Mutex<Option<Readiness>>,
    compared: Mutex<Compared>,
    told: Mutex<Told>,
}

/// For how long a statement makes those after it read a snapshot of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolates {
    Nothing,
    Transaction,
    Session,
}

impl Isolates {
    fn of(text: &str) -> Self {
        const WORDS: [&str; 4] = ["REPEATABLE", "SERIALIZABLE", "_ISOLATION", "SNAPSHOT"];
        let text = text.to_ascii_uppercase();
        let one = ["BEGIN", "START", "SET TRANSACTION"].iter().any(|word| text.starts_with(word));
        match WORDS.iter().any(|word| text.contains(word)) {
            false => Self::Nothing,
            true if one => Self::Transaction,
            true => Self::Session,
        }
    }
}

/// A statement's whole text, for whoever judges it: its literals are in it, so it may be neither
/// written down nor printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Sample {
    pub text: String,
    /// What its names are looked up in.
    pub path: Vec<String>,
}

impl std::fmt::Debug for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sample")
    }
}

/// How often a read was run on both sides, and what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    pub matched: u64,
    pub mismatched: u64,
    /// Different, where the statement leaves open which rows it returns, or where the rows kept changing.
    pub undetermined: u64,
    /// One of the sides refused it.
    pub failed: u64,
    /// Sums of the times that the reads took, of all but the failed, in microseconds.
    pub primary_micros: u64,
    pub secondary_micros: u64,
}

/// One line of the list.
#[derive(Clone, Debug)]
pub struct Line {
    pub fingerprint: Fingerprint,
    pub text: String,
    pub kind: String,
    /// Why it is not carried over.
    pub reason: Option<String>,
    pub count: u64,
    /// Microseconds since 1970.
    pub first: i64,
    pub last: i64,
    pub readiness: Readiness,
    pub compared: Compared,
    /// What clients of this process were refused while MySQL answers.
    pub refused: Option<Refusals>,
}

impl Seen {
    #[must_use]
    pub fn new(statements_max: usize, base: Instant, metrics: SeenMetrics) -> Self {
        Self {
            tallies: Mutex::default(),
            kept: Mutex::default(),
            refusals: Mutex::default(),
            statements_max: AtomicUsize::new(statements_max),
            samples_bytes: AtomicUsize::new(0),
            crossings: Crossings::default(),
            base,
            begun: 0,
            metrics,
        }
    }

    /// Says when `base` was, in microseconds since 1970.
    #[must_use]
    pub fn begun(self, micros: i64) -> Self {
        Self { begun: micros, ..self }
    }

    /// Takes a changed `limits.statements`; what is listed stays.
    pub fn set_max(&self, statements_max: usize) {
        self.statements_max.store(statements_max, Ordering::Relaxed);
    }

    /// How many it lists.
    #[must_use]
    pub fn max(&self) -> usize {
        self.statements_max.load(Ordering::Relaxed)
    }

    /// The tally for `sql`; `None` where there is no room for another.
    pub(super) fn tally(&self, sql: &str, plan: &Plan, path: &SearchPath) -> Option<Arc<Tally>> {
        let (fingerprint, what) = (Fingerprint::of(sql), What::of(plan));
        let mut tallies = lock(&self.tallies);
        if let Some(tally) = tallies.get(&fingerprint) {
            *lock(&tally.what) = what;
            let tally = Arc::clone(tally);
            self.sample(&tally, sql, path);
            return Some(tally);
        }
        let statements_max = self.statements_max.load(Ordering::Relaxed);
        if statements_max <= tallies.len() {
            if self.metrics.unlisted.get().is_multiple_of(LOOK_EVERY) {
                // Those that were never completed, and that no plan will complete any more.
                tallies.retain(|_, tally| {
                    let stays = tally.is_listed() || 1 < Arc::strong_count(tally);
                    stays || self.free(tally)
                });
            }
            if statements_max <= tallies.len() {
                self.metrics.unlisted.inc();
                return None;
            }
        }
        let tally = Arc::new(Tally::new(fingerprint, sql, what, plan.single().is_some()));
        self.remember(&tally);
        self.sample(&tally, sql, path);
        tallies.insert(fingerprint, Arc::clone(&tally));
        self.metrics.kept.set(i64::try_from(tallies.len()).unwrap_or(i64::MAX));
        Some(tally)
    }

    /// Holds the text until it is judged.
    fn sample(&self, tally: &Tally, sql: &str, path: &SearchPath) {
        let SearchPath::Known(path) = path else { return };
        let mut sample = lock(&tally.sample);
        let freed = sample.take().map_or(0, |old| old.text.len());
        let held = self.samples_bytes.fetch_sub(freed, Ordering::Relaxed) - freed;
        if held + sql.len() <= SAMPLES_BYTES_MAX {
            self.samples_bytes.fetch_add(sql.len(), Ordering::Relaxed);
            *sample = Some(Sample { text: sql.to_owned(), path: path.clone() });
        }
    }

    /// Lets the text of a tally go that is dropped; false.
    fn free(&self, tally: &Tally) -> bool {
        let freed = lock(&tally.sample).take().map_or(0, |sample| sample.text.len());
        self.samples_bytes.fetch_sub(freed, Ordering::Relaxed);
        false
    }

    /// Statements that the server has accepted and nobody has judged since their latest plan, with
    /// their texts.
    #[must_use]
    pub fn unjudged(&self) -> Vec<(Arc<Tally>, Sample)> {
        let tallies: Vec<_> = lock(&self.tallies).values().cloned().collect();
        let accepted = tallies.into_iter().filter(|tally| tally.is_listed());
        let take = |tally: Arc<Tally>| {
            let sample = lock(&tally.sample).take()?;
            self.samples_bytes.fetch_sub(sample.text.len(), Ordering::Relaxed);
            Some((tally, sample))
        };
        accepted.filter_map(take).collect()
    }

    /// Counts a completed execution.
    pub fn completed(&self, plan: &Plan, now: Instant) {
        if let Some(tally) = &plan.tally {
            tally.completed(self.nanos(now));
        }
    }

    /// The server has parsed it, and may never be asked to run it.
    pub fn accepted(&self, plan: &Plan, now: Instant) {
        if let Some(tally) = &plan.tally
            && !tally.is_listed()
        {
            let at = self.nanos(now);
            tally.first.store(at, Ordering::Relaxed);
            tally.last.store(at, Ordering::Relaxed);
            tally.accepted.store(true, Ordering::Relaxed);
        }
    }

    /// Keeps what the server said about a statement.
    pub fn described(&self, tally: &Tally, shape: Shape, catalog: u64, described: Described) {
        let parameters = described.parameters.or_else(|| (!tally.open).then(Vec::new));
        if !tally.shapes.put(shape, catalog, Described { parameters, ..described }) {
            self.metrics.undescribed.inc();
        }
    }

    fn nanos(&self, now: Instant) -> u64 {
        let after = now.saturating_duration_since(self.base).as_nanos();
        u64::try_from(after).unwrap_or(u64::MAX)
    }

    fn time(&self, nanos: &AtomicU64) -> i64 {
        self.micros(nanos.load(Ordering::Relaxed))
    }

    /// Microseconds since 1970.
    fn micros(&self, nanos: u64) -> i64 {
        let micros = Duration::from_nanos(nanos).as_micros();
        self.begun.saturating_add(i64::try_from(micros).unwrap_or(i64::MAX))
    }
}

impl Tally {
    fn new(fingerprint: Fingerprint, sql: &str, what: What, single: bool) -> Self {
        const NAMED: [&str; 3] = ["EXECUTE", "FETCH", "MOVE"];
        let mut tokens = Lexer::new(sql.as_bytes());
        let first = tokens.clone().next();
        let named = first.is_some_and(|first| NAMED.iter().any(|w| first.is(sql.as_bytes(), w)));
        let text = text(sql);
        let isolates = match what {
            What::Other => Isolates::of(&text),
            _ => Isolates::Nothing,
        };
        Self {
            fingerprint,
            text,
            what: Mutex::new(what),
            accepted: AtomicBool::new(false),
            count: AtomicU64::new(0),
            first: AtomicU64::new(0),
            last: AtomicU64::new(0),
            open: tokens.any(|token| token.kind == Kind::Parameter),
            settled: single && !named,
            isolates,
            shapes: Shapes::default(),
            sample: Mutex::default(),
            judged: Mutex::default(),
            compared: Mutex::default(),
            told: Mutex::default(),
        }
    }

    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Its text without literals and comments.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// True where a description of this shape, with its parameters or without, would be news.
    #[must_use]
    pub fn lacks(&self, shape: Shape, catalog: u64, parameters: bool) -> bool {
        self.settled && self.shapes.lack(shape, catalog, parameters && self.open)
    }

    /// True where its rows depend on its text alone, and not on what a name was given to before.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// Whose isolation it may change.
    #[must_use]
    pub fn isolates(&self) -> Isolates {
        self.isolates
    }

    pub fn judge(&self, readiness: Readiness) {
        *lock(&self.judged) = Some(readiness);
    }

    /// Counts what came of running it on both sides.
    pub fn compare(&self, change: impl FnOnce(&mut Compared)) {
        change(&mut lock(&self.compared));
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    fn is_listed(&self) -> bool {
        0 < self.count() || self.accepted.load(Ordering::Relaxed)
    }

    fn completed(&self, at: u64) {
        if self.count.fetch_add(1, Ordering::Relaxed) == 0 {
            self.first.store(at, Ordering::Relaxed);
        }
        self.last.store(at, Ordering::Relaxed);
    }
}

/// A panic elsewhere leaves what is still true.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
    use crate::plan::Step;
    use crate::plan::plan;

    fn seen(statements_max: usize) -> Seen {
        let metrics = SeenMetrics::register(&Registry::new()).unwrap();
        Seen::new(statements_max, Instant::now(), metrics)
    }

    fn run(seen: &Seen, sql: &str) {
        let mut plan = plan(sql, &Situation::transparent(), &SearchPath::Unknown);
        plan.tally = seen.tally(sql, &plan, &SearchPath::Unknown);
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
        assert_eq!(lines[0].last, 7_000_000);
    }

    #[test]
    fn what_the_server_has_not_completed_is_not_listed() {
        let seen = seen(10);
        let sql = "SELECT \"bob@example.com\"";
        let plan = plan(sql, &Situation::transparent(), &SearchPath::Unknown);
        assert!(seen.tally(sql, &plan, &SearchPath::Unknown).is_some());
        assert!(seen.list().is_empty());
    }

    #[test]
    fn past_the_bound_what_was_never_completed_makes_room_and_the_rest_is_counted() {
        let seen = seen(2);
        let sql = "SELECT wrong";
        let plan = plan(sql, &Situation::transparent(), &SearchPath::Unknown);
        drop(seen.tally(sql, &plan, &SearchPath::Unknown));
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
