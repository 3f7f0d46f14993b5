//! What clients and faults share: whether it is over, who is to blame, what was heard.
//!
//! Invariant: an error is the secondary's only where nothing else was wrong. So losses are judged by
//! what was wrong from a while before the statement began; in the stretches in which the secondary
//! alone is troubled, every loss counts.
//!
//! Where the primary changes ([`super::crossing`]), a client is excused by what happened to the sidecar
//! that it came by, or to a server that may have led at that time what its transaction is about.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::Rng;
use rand::seq::IteratorRandom as _;

use super::clients::group;

/// How long a fault of PostgreSQL or of the way there is felt after its end: a sidecar holds new
/// statements for `limits.hold`, then has to connect again.
pub const FELT: Duration = Duration::from_secs(20);
/// The same where the primary changes: there a calm stretch has to be short. A sidecar that a fault has
/// left without its lease has it again, or the fault is not over.
const FELT_CROSSING: Duration = Duration::from_secs(8);
/// Lines of each kind of failure that the report shows.
const SHOWN: usize = 40;
/// A transaction that took less was not held.
pub const NOTICED: Duration = Duration::from_millis(50);
/// Numbers that every client may look for.
const KEPT_MAX: usize = 64;

/// Who is primary, or was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Postgres,
    MySql,
}

/// Who leads what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lead {
    Postgres,
    MySql,
    /// MySQL the tables of this group, and PostgreSQL the rest.
    Group(&'static str),
}

impl Lead {
    /// Whether a transaction of that kind is answered with the help of this server.
    fn needs(self, side: Side, kind: &str) -> bool {
        match self {
            Self::Postgres => side == Side::Postgres,
            Self::MySql => side == Side::MySql,
            // What MySQL leads then, PostgreSQL knows.
            Self::Group(name) => side == Side::Postgres || group(kind) == Some(name),
        }
    }
}

/// Whose clients a fault excuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    Everybody,
    /// Those of one sidecar.
    Sidecar(usize),
    /// Everybody's, while this may be the primary.
    Server(Side),
}

#[derive(Clone, Copy, Debug)]
struct Blame {
    whose: Whose,
    from: Instant,
    until: Option<Instant>,
}

/// A transaction that took long.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    pub client: i64,
    pub began: Instant,
    pub took: Duration,
    pub excused: bool,
}

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
    /// The primary changes meanwhile.
    pub crosses: bool,
    password: Mutex<String>,
    over: AtomicBool,
    heard: Mutex<Heard>,
    /// Numbers that were acknowledged and stay, with their kinds: whoever looks from now on sees them.
    kept: Mutex<VecDeque<(&'static str, i64)>>,
}

#[derive(Debug, Default)]
struct Heard {
    blames: Vec<Blame>,
    /// Who leads from when on; nobody knows while the primary changes.
    leads: Vec<(Instant, Option<Lead>)>,
    felt: Duration,
    waits: Vec<Wait>,
    looks: u64,
    stale: Vec<String>,
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
    pub waits: Vec<Wait>,
    /// Looks for what somebody else was told, and those that did not find it.
    pub looks: u64,
    pub stale: Vec<String>,
}

impl Hour {
    pub fn new(fronts: Vec<u16>, database: String, password: &str, crosses: bool) -> Self {
        let leads = vec![(Instant::now(), Some(Lead::Postgres))];
        let felt = if crosses { FELT_CROSSING } else { FELT };
        Self {
            fronts,
            database,
            counts: Counts::default(),
            crosses,
            password: Mutex::new(password.to_owned()),
            over: AtomicBool::new(false),
            heard: Mutex::new(Heard { leads, felt, ..Heard::default() }),
            kept: Mutex::default(),
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

    /// A fault begins that somebody may notice; answers with its number.
    pub fn blame(&self, whose: Whose) -> usize {
        let mut heard = self.heard.lock().unwrap();
        heard.blames.push(Blame { whose, from: Instant::now(), until: None });
        heard.blames.len() - 1
    }

    pub fn blame_ends(&self, number: usize) {
        self.heard.lock().unwrap().blames[number].until = Some(Instant::now());
    }

    /// From now on it is so, or nobody knows how.
    pub fn leads(&self, lead: Option<Lead>) {
        let mut heard = self.heard.lock().unwrap();
        if heard.leads.last().is_none_or(|(_, last)| *last != lead) {
            heard.leads.push((Instant::now(), lead));
        }
    }

    /// Who has led from then on, if it was the same all the time.
    pub fn led_since(&self, then: Instant) -> Option<Lead> {
        let heard = self.heard.lock().unwrap();
        heard.leads.last().filter(|(at, _)| *at < then).and_then(|(_, lead)| *lead)
    }

    /// Whether what a server does, or does not, may be felt by now.
    pub fn is_server_blamed(&self, since: Instant) -> bool {
        let heard = self.heard.lock().unwrap();
        let servers = heard.blames.iter().filter(|b| matches!(b.whose, Whose::Server(_)));
        servers.into_iter().any(|blame| blame.is_felt(since, heard.felt))
    }

    /// Everybody may look for this number from now on.
    pub fn keep(&self, kind: &'static str, number: i64) {
        let mut kept = self.kept.lock().unwrap();
        if kept.len() == KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back((kind, number));
    }

    pub fn kept(&self, random: &mut impl Rng) -> Option<(&'static str, i64)> {
        self.kept.lock().unwrap().iter().choose(random).copied()
    }

    /// Somebody has looked for a kept number.
    pub fn looked(&self, found: bool, what: impl FnOnce() -> String) {
        let mut heard = self.heard.lock().unwrap();
        heard.looks += 1;
        if !found {
            let line = format!("{} {}", now(), what());
            heard.stale.push(line);
        }
    }

    pub fn stuck(&self) {
        self.counts.stuck.fetch_add(1, Ordering::Relaxed);
    }

    pub fn waited(&self, client: i64, (kind, by): (&str, usize), began: Instant) {
        let mut heard = self.heard.lock().unwrap();
        let took = began.elapsed();
        heard.longest = heard.longest.max(took);
        let excused = heard.excuses(kind, by, began);
        if !excused {
            heard.longest_calm = heard.longest_calm.max(took);
        }
        if self.crosses && NOTICED <= took {
            heard.waits.push(Wait { client, began, took, excused });
        }
    }

    pub fn conflict(&self, code: &str) {
        *self.heard.lock().unwrap().conflicts.entry(code.to_owned()).or_default() += 1;
    }

    /// An error that says that something went away.
    pub fn lost(&self, kind: &str, by: usize, began: Instant, what: &str) {
        let mut heard = self.heard.lock().unwrap();
        match heard.excuses(kind, by, began) {
            true => heard.lost += 1,
            false => heard.violation(format!(
                "{kind}, by sidecar {by}: lost while only the secondary was in trouble: {what}"
            )),
        }
    }

    /// Refused for want of a word from PostgreSQL: whatever the secondary does, it must not come to that.
    pub fn unconfirmed(&self, kind: &str, by: usize, began: Instant, what: &str) {
        let mut heard = self.heard.lock().unwrap();
        heard.unconfirmed += 1;
        if !heard.excuses(kind, by, began) {
            heard.violation(format!(
                "{kind}, by sidecar {by}: refused while only the secondary was in trouble: {what}"
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

    /// What there is so far; it is told once.
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
            waits: heard.waits,
            looks: heard.looks,
            stale: heard.stale,
        }
    }
}

impl Blame {
    /// Whether what began then may have felt it.
    fn is_felt(&self, began: Instant, felt: Duration) -> bool {
        self.until.is_none_or(|until| began < until + felt)
    }
}

impl Heard {
    /// Whether something excuses a client that came by this sidecar, in a transaction of that kind since then.
    fn excuses(&self, kind: &str, by: usize, began: Instant) -> bool {
        self.blames.iter().rev().filter(|blame| blame.is_felt(began, self.felt)).any(|blame| {
            match blame.whose {
                Whose::Everybody => true,
                Whose::Sidecar(number) => number == by,
                Whose::Server(side) => self.may_have_led(side, kind, blame),
            }
        })
    }

    /// Whether the side was the kind's primary at any time from the fault to when it is felt no more.
    fn may_have_led(&self, side: Side, kind: &str, blame: &Blame) -> bool {
        let ends = self.leads.iter().skip(1).map(|(at, _)| Some(*at)).chain([None]);
        self.leads.iter().zip(ends).any(|((at, lead), end)| {
            let before = blame.until.is_some_and(|until| until + self.felt < *at);
            let after = end.is_some_and(|end| end < blame.from);
            lead.is_none_or(|lead| lead.needs(side, kind)) && !before && !after
        })
    }

    fn violation(&mut self, what: String) {
        self.violated += 1;
        if self.violations.len() < SHOWN {
            self.violations.push(format!("{} {what}", now()));
        }
    }
}

/// A line of the story, also shown at once with `CROSSFADE_TOLD`.
pub fn told(story: &mut String, who: &str, what: &str) {
    let line = format!("{who}: {} {what}\n", now());
    if std::env::var_os("CROSSFADE_TOLD").is_some() {
        eprint!("{line}");
    }
    *story += &line;
}

/// As the sidecars' logs have it.
pub fn now() -> String {
    let now = chrono::DateTime::<chrono::Utc>::from(std::time::SystemTime::now());
    now.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

#[test]
fn a_client_is_excused_by_its_own_sidecar_and_by_who_led() {
    let hour = Hour::new(Vec::new(), String::new(), "", true);
    let excuses = |kind, by| hour.heard.lock().unwrap().excuses(kind, by, Instant::now());
    let excused = |by| excuses("async", by);
    assert!(!excused(0));
    let cut = hour.blame(Whose::Sidecar(1));
    assert!(excused(1) && !excused(0));
    hour.blame(Whose::Server(Side::MySql));
    assert!(!excused(0), "PostgreSQL leads");
    hour.leads(None);
    assert!(excused(0), "nobody knows");
    hour.heard.lock().unwrap().leads.clear();
    hour.leads(Some(Lead::Group("single")));
    assert!(excuses("strict", 0), "MySQL leads these");
    assert!(!excuses("blocking", 0) && !excuses("login", 0), "the others do not need it");
    hour.heard.lock().unwrap().blames.pop();
    hour.blame_ends(cut);
    assert!(excused(1), "it is felt for a while");
    hour.heard.lock().unwrap().felt = Duration::ZERO;
    assert!(!excused(1));
}
