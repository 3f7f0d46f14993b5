//! The verbs that run beside: old rows are copied, both sides compared, what is found is repaired.
//!
//! ```text
//! filled before setup ──▶ old rows ─┬─ crossfade backfill, slowly; done, then --again ─┐ each a process,
//!                                   ├─ crossfade verify --watch ──▶ [`Found`]          │ killed and started
//!                                   └─ crossfade repair, every few seconds ────────────┘ again
//! afterwards: backfill to its end, repair, and a pass of verify that finds everything equal
//! ```
//!
//! Where the primary changes, backfill and a pass of verify come first, since a switchover asks for them.
//! While MySQL is the primary there is nothing to copy; what is compared and repaired is judged all the same.
//!
//! Invariant: nothing excuses an `extra` or `different` row that verify reports, whatever is killed
//! meanwhile; `missing` is true only of old rows, and only until a backfill has been through.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;

use super::clients::{KINDS, journals, mode};
use super::hour::{Hour, Lead, now};
use super::journal::{Journal, Told};
use super::stage::{Stage, blocking};
use super::{BODY, CLIENTS};
use crate::support::PATIENCE;
use crate::support::process::Running;

/// Old numbers of each kind, and old rows in each of the random tables.
pub const OLD: u32 = 400;
const MODES: [&str; 3] = ["async", "blocking", "strict"];
/// Tables of each of [`MODES`] that are no journal.
const RANDOM_TABLES: [&str; 3] = ["users", "sessions", "parted"];
/// Tables that one process of verify watches.
const WATCHED: usize = 4;
/// Between two looks at a process.
const LOOK: Duration = Duration::from_millis(50);
/// What says nothing for so long hangs: no fault lasts a tenth of it.
const STUCK: Duration = Duration::from_secs(90);
const REPAIR_EVERY: Duration = Duration::from_secs(4);
/// What was refused: a backfill for who is primary, the others while that changes.
const TRIED_AGAIN: Duration = Duration::from_secs(2);
/// Where the primary changes.
const REFILL_EVERY: Duration = Duration::from_secs(75);
/// Of a line that is kept.
const SHOWN: usize = 600;

/// What is there before setup: the clients' numbers, and what random statements meet.
pub fn old_rows() -> String {
    let mut sql = String::new();
    for (kind, name) in KINDS.iter().enumerate() {
        let (first, last) = old_numbers(kind);
        sql += &format!(
            "INSERT INTO {name}_journal SELECT number, half, 1 + number % {CLIENTS}, '{BODY}' \
             FROM generate_series({first}, {last}) number, generate_series(1, 2) half;"
        );
    }
    for mode in MODES {
        sql += &format!(
            "INSERT INTO {mode}_users (id, email, n, note, data, tags, score) \
             SELECT g, 'old' || g, g % 3, '\u{e9}\u{1f600}', jsonb_build_object('k', g), \
             ARRAY['a', NULL], g * 1.125 FROM generate_series(1, {OLD}) g; \
             INSERT INTO {mode}_sessions (user_id, token) \
             SELECT g, '\\x00ff27' FROM generate_series(1, {OLD}) g; \
             INSERT INTO {mode}_parted SELECT 1 + g / 5, g % 5, 'old' FROM generate_series(1, {OLD}) g;"
        );
    }
    sql
}

fn old_numbers(kind: usize) -> (i64, i64) {
    let (kind, old) = (i64::try_from(kind).expect("kinds are few"), i64::from(OLD));
    (kind * old + 1, (kind + 1) * old)
}

pub fn tables() -> Vec<String> {
    let random = MODES.iter().flat_map(|mode| RANDOM_TABLES.map(|name| format!("{mode}_{name}")));
    journals().into_iter().chain(random).collect()
}

/// Rows per second with which a backfill that nothing stops lasts for a quarter of the run.
pub fn rate(run: Duration) -> u64 {
    let rows = u64::from(OLD) * (2 * KINDS.len() + MODES.len() * RANDOM_TABLES.len()) as u64;
    (4 * rows / run.as_secs().max(1)).max(1)
}

/// The old numbers that a client may remove.
pub fn old_of(client: u32) -> Vec<(i64, &'static str)> {
    let mut all = Vec::new();
    for (at, kind) in KINDS.iter().enumerate() {
        let (first, last) = old_numbers(at);
        let its = |number: &i64| 1 + number % i64::from(CLIENTS) == i64::from(client);
        all.extend((first..=last).filter(its).map(|number| (number, *kind)));
    }
    all
}

/// Old rows count as acknowledged.
pub fn old_journal() -> Journal {
    let mut journal = Journal::default();
    for (number, kind) in (1..=CLIENTS).flat_map(old_of) {
        journal.begin(number, &format!("{kind}_journal"), None);
        journal.told(number, Told::Committed);
    }
    journal
}

/// What the verbs did and found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    backfills: u64,
    killed: u64,
    /// Rows that backfills inserted, as far as they lived to say so.
    copied: u64,
    /// Tables that verify compared; and after a backfill had been through, the last pass with them.
    passes: u64,
    passes_after: u64,
    /// Those of them during which MySQL was the primary.
    passes_on_mysql: u64,
    /// And during which it was that of a group.
    passes_apart: u64,
    not_compared: u64,
    repairs: u64,
    /// When a backfill had first been through.
    done: Option<Instant>,
    pub false_alarms: Vec<String>,
    pub hung: Vec<String>,
    /// What ended otherwise than it should have, when all was quiet.
    pub failed: Vec<String>,
    /// What the verbs said, for whoever looks for a reason.
    pub story: String,
}

impl Found {
    /// A line of verify, about a table.
    fn judge(&mut self, line: &Value, strict: bool) {
        if line.get("waitsFor").is_some() || line["state"] == "comparing" {
            return;
        }
        if line.get("error").is_some() {
            self.not_compared += 1;
            return;
        }
        self.passes += 1;
        self.passes_after += u64::from(self.done.is_some());
        let is = |what: &str| line[what].as_u64() != Some(0);
        if is("extra") || is("different") || is("unjudged") || strict && is("missing") {
            self.false_alarms.push(format!("{} {}", now(), shown(line)));
        }
    }

    /// What repair says: rows that it had carried over, and compared.
    fn judge_repair(&mut self, line: &Value) {
        let differs = |what: &str| line["compared"][what].as_u64().is_some_and(|rows| 0 < rows);
        if ["missing", "extra", "different"].into_iter().any(differs) {
            self.false_alarms.push(format!("{} repaired: {}", now(), shown(line)));
        }
    }

    fn tell(&mut self, verb: &str, what: &str) {
        self.story += &format!("{verb}: {} {what}\n", now());
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "beside it: backfills {} (killed {}, rows inserted {}), verify passes {} ({} after the \
             backfill, {} on MySQL as the primary, {} on it as that of a group, not compared {}), repairs {}, \
             false alarms {}",
            self.backfills,
            self.killed,
            self.copied,
            self.passes,
            self.passes_after,
            self.passes_on_mysql,
            self.passes_apart,
            self.not_compared,
            self.repairs,
            self.false_alarms.len()
        )
    }
}

fn shown(line: &Value) -> String {
    line.to_string().chars().take(SHOWN).collect()
}

/// What a thread does until it is over.
type Work = fn(&Verb, StdRng);

/// The verbs, each in a thread of its own.
pub struct Beside {
    hour: Arc<Hour>,
    found: Arc<Mutex<Found>>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Beside {
    /// `rate` is the backfill's, in rows per second. Without `compare`, both sides are compared at the end
    /// only: the short run shares its processors with other tests.
    pub fn start(stage: &Stage, hour: &Arc<Hour>, seed: u64, rate: u64, compare: bool) -> Self {
        let configs: Vec<_> = stage.sidecars.iter().map(|sidecar| sidecar.config.clone()).collect();
        let (found, over) = (Arc::default(), Arc::default());
        if stage.crosses {
            // No change is begun before a backfill has been through, and everything was compared.
            Self::prepare(stage, hour, &found);
        }
        let backfill = if stage.crosses { Verb::refill } else { Verb::backfill };
        let mut work: Vec<(Work, Vec<PathBuf>)> = vec![(Verb::repair, configs.clone())];
        if compare || !stage.crosses {
            work.insert(0, (backfill, configs.clone()));
        }
        if compare {
            work.push((Verb::verify, configs));
            // Past the relays: it gets further than one on whose way bytes trickle.
            work.push((Verb::verify, vec![stage.world.config.clone()]));
        }
        let threads = work.into_iter().zip(1..).map(|((work, configs), number)| {
            let (found, over) = (Arc::clone(&found), Arc::clone(&over));
            let verb = Verb { configs, rate, hour: Arc::clone(hour), found, over };
            let random = StdRng::seed_from_u64(seed.wrapping_sub(number));
            std::thread::spawn(move || work(&verb, random))
        });
        Self { threads: threads.collect(), hour: Arc::clone(hour), found, over }
    }

    fn prepare(stage: &Stage, hour: &Arc<Hour>, found: &Arc<Mutex<Found>>) {
        let verb = Verb::alone(stage, hour, Arc::clone(found));
        blocking(|| {
            assert!(verb.copy(false, None), "a backfill that nothing disturbs is through");
            assert_eq!(verb.compare(&[], None), Some(0), "and everything equal");
        });
    }

    /// Ends them. Then has the backfill run to its end, and what verify had noted repaired.
    pub fn end(mut self, stage: &Stage) -> Found {
        blocking(|| self.stop());
        let verb = Verb::alone(stage, &self.hour, Arc::clone(&self.found));
        blocking(|| {
            let deadline = Instant::now() + PATIENCE;
            while !verb.copy(false, None) {
                if deadline < Instant::now() {
                    verb.note(|found| found.hung.push("the last backfill".to_owned()));
                    break;
                }
            }
            if verb.repaired().is_none() {
                verb.note(|found| found.failed.push("the last repair was killed".to_owned()));
            }
        });
        self.found.lock().unwrap().clone()
    }

    fn stop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// A pass of verify when all is quiet: everything is equal, and nothing is dirty any more. Repair is content, too.
pub fn last_pass(stage: &Stage, hour: &Arc<Hour>, found: &mut Found) {
    let shared = Arc::new(Mutex::new(std::mem::take(found)));
    let verb = Verb::alone(stage, hour, Arc::clone(&shared));
    for (what, code) in
        blocking(|| [("verify", verb.compare(&[], None)), ("repair", verb.repaired())])
    {
        if code != Some(0) {
            verb.note(|found| found.failed.push(format!("the last {what} ended with {code:?}")));
        }
    }
    *found = shared.lock().unwrap().clone();
}

#[derive(Clone)]
struct Verb {
    configs: Vec<PathBuf>,
    rate: u64,
    hour: Arc<Hour>,
    found: Arc<Mutex<Found>>,
    over: Arc<AtomicBool>,
}

impl Verb {
    /// One that runs while all is quiet.
    fn alone(stage: &Stage, hour: &Arc<Hour>, found: Arc<Mutex<Found>>) -> Self {
        let configs = vec![stage.sidecars[0].config.clone()];
        Self { configs, rate: 0, hour: Arc::clone(hour), found, over: Arc::default() }
    }

    fn backfill(&self, mut random: StdRng) {
        while !self.is_over() {
            let done = self.found.lock().unwrap().done.is_some();
            // Every other one is killed while it copies.
            let life = random.random_bool(0.5).then(|| random.random_range(500..12_000));
            self.copy(done, life.map(Duration::from_millis));
            self.pause(Duration::from_millis(200));
        }
    }

    /// Now and then the backfill again, and everything compared, as a switchover asks for it.
    fn refill(&self, mut random: StdRng) {
        while !self.is_over() {
            self.pause(REFILL_EVERY);
            let life = random.random_bool(0.5).then(|| random.random_range(500..8_000));
            self.copy(true, life.map(Duration::from_millis));
            while !self.is_over() && !self.copy(false, None) {
                self.pause(TRIED_AGAIN);
            }
            while !self.is_over() && self.compare(&[], None) != Some(0) {
                self.pause(TRIED_AGAIN);
            }
        }
    }

    fn verify(&self, mut random: StdRng) {
        while !self.is_over() {
            let life = Duration::from_millis(random.random_range(10_000..150_000));
            let tables: Vec<_> = tables().choose_multiple(&mut random, WATCHED).cloned().collect();
            let mut arguments = vec!["--watch"];
            arguments.extend(tables.iter().flat_map(|table| ["--table", table]));
            // Where nobody knows who is the primary there is nothing to compare.
            let ended = self.compare(&arguments, Some(life)).is_some();
            self.pause(if ended { TRIED_AGAIN } else { Duration::from_millis(200) });
        }
    }

    fn repair(&self, _: StdRng) {
        while !self.is_over() {
            self.repaired();
            self.note(|found| found.repairs += 1);
            self.pause(REPAIR_EVERY);
        }
    }

    fn repaired(&self) -> Option<i32> {
        self.run("repair", &[], None, Found::judge_repair)
    }

    /// Whether the backfill was through.
    fn copy(&self, again: bool, life: Option<Duration>) -> bool {
        let rate = self.rate.to_string();
        let mut arguments = Vec::new();
        if 0 < self.rate {
            arguments.extend(["--max-rate", &rate]);
        }
        if again {
            arguments.push("--again");
        }
        self.note(|found| found.backfills += 1);
        let last = Arc::new(Mutex::new(BTreeMap::<String, Value>::new()));
        let heard = Arc::clone(&last);
        let code = self.run("backfill", &arguments, life, move |_, line| {
            if let Some(table) = line["table"].as_str() {
                heard.lock().unwrap().insert(table.to_owned(), line.clone());
            }
        });
        let last = last.lock().unwrap();
        let inserted = last.values().filter_map(|line| line["inserted"].as_u64()).sum::<u64>();
        let is_done =
            |line: &Value| line["state"].as_str().is_some_and(|it| it.starts_with("done"));
        let through = code == Some(0)
            || code == Some(1) && last.len() == tables().len() && last.values().all(is_done);
        self.note(|found| {
            found.copied += inserted;
            if code.is_none() {
                found.killed += 1;
            }
            if through && found.done.is_none() {
                found.done = Some(Instant::now());
                found.tell("backfill", "has been through");
            }
        });
        through
    }

    fn compare(&self, more: &[&str], life: Option<Duration>) -> Option<i32> {
        let arguments = [&["--show-values", "--patience", "3"], more].concat();
        let hour = Arc::clone(&self.hour);
        self.run("verify", &arguments, life, move |found, line| {
            let took = Duration::from_secs_f64(line["seconds"].as_f64().unwrap_or(0.0));
            let began = Instant::now().checked_sub(took).expect("the machine runs for longer");
            let strict = found.done.is_some_and(|done| done < began);
            let passes = found.passes;
            found.judge(line, strict);
            let more = found.passes - passes;
            match hour.led_since(began) {
                Some(Lead::MySql) => found.passes_on_mysql += more,
                Some(Lead::Group(_)) => found.passes_apart += more,
                Some(Lead::Postgres) | None => {}
            }
        })
    }

    /// Runs a verb until it ends, it is over, it has lived for as long as it may, or it says nothing for so
    /// long that it hangs: then it is killed. Its exit code, `None` where it was killed.
    fn run(
        &self,
        verb: &'static str,
        more: &[&str],
        life: Option<Duration>,
        mut hear: impl FnMut(&mut Found, &Value) + Send + 'static,
    ) -> Option<i32> {
        let config = self.configs.choose(&mut rand::rng()).expect("there are sidecars");
        let arguments = [&[verb, "--format", "json"], more].concat();
        let (found, began) = (Arc::clone(&self.found), Instant::now());
        let heard = Arc::new(Mutex::new(began));
        let last = Arc::clone(&heard);
        let mut running = Running::start(config, &arguments, move |line| {
            *last.lock().unwrap() = Instant::now();
            let Ok(line) = serde_json::from_str::<Value>(line) else { return };
            let mut found = found.lock().unwrap();
            found.tell(verb, &shown(&line));
            hear(&mut found, &line);
        });
        loop {
            if let Some(code) = running.ended() {
                self.note(|found| found.tell(verb, &format!("ended with {code:?}")));
                return code;
            }
            let hangs = STUCK <= heard.lock().unwrap().elapsed();
            if hangs || self.is_over() || life.is_some_and(|life| life <= began.elapsed()) {
                running.kill9();
                self.note(|found| {
                    found.tell(verb, "killed");
                    if hangs {
                        found.hung.push(format!("{} {verb} {}", now(), more.join(" ")));
                    }
                });
                return None;
            }
            std::thread::sleep(LOOK);
        }
    }

    fn note(&self, note: impl FnOnce(&mut Found)) {
        note(&mut self.found.lock().unwrap());
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn pause(&self, length: Duration) {
        let until = Instant::now() + length;
        while !self.is_over() && Instant::now() < until {
            std::thread::sleep(LOOK);
        }
    }
}

#[test]
fn verify_is_believed_only_where_nothing_but_the_backfill_explains_it() {
    let line = |missing: u64, extra: u64, different: u64| serde_json::json!({ "missing": missing, "extra": extra, "different": different, "unjudged": 0 });
    let alarms = |line: Value, strict: bool| {
        let mut found = Found::default();
        found.judge(&line, strict);
        found.false_alarms.len()
    };
    assert_eq!((alarms(line(0, 0, 0), true), alarms(line(3, 0, 0), false)), (0, 0));
    assert_eq!((alarms(line(3, 0, 0), true), alarms(line(0, 1, 0), false)), (1, 1));
    assert_eq!(alarms(line(0, 0, 1), false), 1);
    let repaired = |different: u64| {
        let mut found = Found::default();
        let compared = serde_json::json!({ "missing": 0, "extra": 0, "different": different });
        found.judge_repair(&serde_json::json!({ "carried": 1, "compared": compared }));
        found.false_alarms.len()
    };
    assert_eq!((repaired(0), repaired(1)), (0, 1));
    assert!(KINDS.iter().all(|kind| MODES.contains(&mode(kind))));
}
