//! What clients and faults share: whether it is over, who is to blame, what was heard.
//!
//! Invariant: an error is the secondary's only where nothing else was wrong. So losses are judged by
//! what was wrong from a while before the statement began; in the stretches in which the secondary
//! alone is troubled, every loss counts.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a fault of PostgreSQL or of the way there is felt after its end: a sidecar holds new
/// statements for `limits.hold`, then has to connect again.
pub const FELT: Duration = Duration::from_secs(20);
/// Lines of each kind of failure that the report shows.
const SHOWN: usize = 40;

#[derive(Debug, Default)]
pub struct Counts {
    pub refused_logins: AtomicU64,
    pub stuck: AtomicU64,
}

#[derive(Debug)]
pub struct Hour {
    pub fronts: Vec<u16>,
    pub database: String,
    pub counts: Counts,
    password: Mutex<String>,
    over: AtomicBool,
    heard: Mutex<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    /// Faults under way that are not the secondary's, and when the last of them ended.
    others: u32,
    others_ended: Option<Instant>,
    conflicts: BTreeMap<String, u64>,
    lost: u64,
    unconfirmed: u64,
    strict: u64,
    violations: Vec<String>,
    violated: u64,
    longest: Duration,
    longest_calm: Duration,
}

/// What was heard, for the report.
#[derive(Debug, Default)]
pub struct Summary {
    pub conflicts: BTreeMap<String, u64>,
    /// Connections and statements lost to faults that are not the secondary's.
    pub lost: u64,
    /// Refused by a sidecar that did not know whether it may still answer.
    pub unconfirmed: u64,
    /// Errors of `strict` that named the secondary.
    pub strict: u64,
    pub violations: Vec<String>,
    pub violated: u64,
    pub longest: Duration,
    /// The longest transaction while only the secondary was in trouble.
    pub longest_calm: Duration,
}

impl Hour {
    pub fn new(fronts: Vec<u16>, database: String, password: &str) -> Self {
        Self {
            fronts,
            database,
            counts: Counts::default(),
            password: Mutex::new(password.to_owned()),
            over: AtomicBool::new(false),
            heard: Mutex::default(),
        }
    }

    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    pub fn password(&self) -> String {
        self.password.lock().unwrap().clone()
    }

    pub fn set_password(&self, password: &str) {
        password.clone_into(&mut self.password.lock().unwrap());
    }

    /// A fault that is not the secondary's begins.
    pub fn blame(&self) {
        self.heard.lock().unwrap().others += 1;
    }

    pub fn blame_ends(&self) {
        let mut heard = self.heard.lock().unwrap();
        heard.others -= 1;
        heard.others_ended = Some(Instant::now());
    }

    pub fn stuck(&self) {
        self.counts.stuck.fetch_add(1, Ordering::Relaxed);
    }

    pub fn waited(&self, began: Instant) {
        let mut heard = self.heard.lock().unwrap();
        heard.longest = heard.longest.max(began.elapsed());
        if !heard.excuses(began) {
            heard.longest_calm = heard.longest_calm.max(began.elapsed());
        }
    }

    pub fn conflict(&self, code: &str) {
        *self.heard.lock().unwrap().conflicts.entry(code.to_owned()).or_default() += 1;
    }

    /// An error that says that something went away.
    pub fn lost(&self, kind: &str, began: Instant, what: &str) {
        let mut heard = self.heard.lock().unwrap();
        match heard.excuses(began) {
            true => heard.lost += 1,
            false => heard
                .violation(format!("{kind}: lost while only the secondary was in trouble: {what}")),
        }
    }

    /// Refused for want of a word from PostgreSQL: whatever the secondary does, it must not come to that.
    pub fn unconfirmed(&self, kind: &str, began: Instant, what: &str) {
        let mut heard = self.heard.lock().unwrap();
        heard.unconfirmed += 1;
        if !heard.excuses(began) {
            heard.violation(format!(
                "{kind}: refused while only the secondary was in trouble: {what}"
            ));
        }
    }

    pub fn secondary_error(&self, kind: &str, what: &str) {
        let mut heard = self.heard.lock().unwrap();
        match kind {
            "strict" => heard.strict += 1,
            _ => heard.violation(format!("{kind}: {what}")),
        }
    }

    pub fn wrong(&self, kind: &str, what: &str) {
        self.heard.lock().unwrap().violation(format!("{kind}: unexpected {what}"));
    }

    pub fn summary(&self) -> Summary {
        let heard = std::mem::take(&mut *self.heard.lock().unwrap());
        Summary {
            conflicts: heard.conflicts,
            lost: heard.lost,
            unconfirmed: heard.unconfirmed,
            strict: heard.strict,
            violations: heard.violations,
            violated: heard.violated,
            longest: heard.longest,
            longest_calm: heard.longest_calm,
        }
    }
}

impl Heard {
    fn excuses(&self, began: Instant) -> bool {
        0 < self.others || self.others_ended.is_some_and(|ended| began < ended + FELT)
    }

    fn violation(&mut self, what: String) {
        self.violated += 1;
        if self.violations.len() < SHOWN {
            self.violations.push(format!("{} {what}", now()));
        }
    }
}

/// As the sidecars' logs have it.
pub fn now() -> String {
    let now = chrono::DateTime::<chrono::Utc>::from(std::time::SystemTime::now());
    now.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}
