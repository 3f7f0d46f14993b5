//! Switchovers and rollbacks at random moments, by coordinators that die, freeze, or are two at once.
//!
//! ```text
//! pause ─▶ one coordinator, or two ──live │ killed │ frozen for a while──▶ what it said
//!   ▲                                                                       │
//!   └── both sides agree on who leads, and no attempt is under way ◀────────┘
//! ```
//!
//! Invariant: whatever becomes of the coordinator, its attempt has ended, done or undone, once its time and
//! a lease are over; unless a server is in trouble, without which nobody can end it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossfade::backend::mysql::control::turn;
use crossfade::control::switchover::{Direction, Ended, Outcome, Standing};
use crossfade::demo::servers::PASSWORD;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::{sleep, timeout};
use tokio_postgres::NoTls;

use super::hour::{Hour, Side, Wait, now, told};
use super::stage::{LEASE, Stage};
use crate::support::PATIENCE;
use crate::support::process::Running;

/// What an attempt may take, in seconds; how often each is asked for.
const TIMES: [(u64, u32); 3] = [(4, 3), (7, 4), (10, 3)];
const TIME_MAX: Duration = Duration::from_secs(10);
/// How much longer than it may take something takes on a busy machine.
const SLACK: Duration = Duration::from_secs(15);
/// What a client that nothing excuses waits at most.
pub const HELD_MAX: Duration = TIME_MAX.saturating_add(LEASE).saturating_add(SLACK);
/// A coordinator that runs for longer hangs: a minute past its time it gives up by itself.
const HANGS: Duration = Duration::from_secs(150);
const LOOK: Duration = Duration::from_millis(20);
const ANSWER: Duration = Duration::from_secs(3);
/// Different reasons that are shown.
const SHOWN: usize = 24;
const UNDER_WAY: &str = "SELECT e.last_value, EXISTS (SELECT FROM crossfade.attempts a \
     WHERE a.state IN ('announced', 'held') AND clock_timestamp() < a.deadline) FROM crossfade.epoch e";
const RECORD: &str =
    "SELECT direction || ' ' || state, count(*) FROM crossfade.attempts GROUP BY 1 ORDER BY 1";

/// What became of the attempts.
#[derive(Debug, Default)]
pub struct Changes {
    coordinators: u64,
    killed: u64,
    frozen: u64,
    twins: u64,
    /// What coordinators said that lived to say it.
    there: u64,
    back: u64,
    undone: u64,
    refused: u64,
    failed: u64,
    reasons: BTreeMap<String, u64>,
    /// Of both databases, as far as it is kept: also of coordinators that said nothing.
    record: Vec<String>,
    /// From the start of each change that was done to its end.
    spans: Vec<(Instant, Instant)>,
    held: Vec<Duration>,
    pub late: Vec<String>,
    pub hung: Vec<String>,
    /// Of the last ones, when all was quiet.
    pub vain: Vec<String>,
    pub story: String,
}

impl Changes {
    fn tell(&mut self, what: &str) {
        told(&mut self.story, "changes", what);
    }

    fn note(&mut self, direction: Direction, heard: &Heard) {
        self.coordinators += 1;
        if let Some(outcome) = &heard.outcome {
            match (outcome.outcome, direction) {
                (Ended::Done, Direction::Switchover) => self.there += 1,
                (Ended::Done, Direction::Rollback) => self.back += 1,
                (Ended::Undone, _) => self.undone += 1,
                (Ended::Refused | Ended::Ready, _) => self.refused += 1,
            }
            for reason in &outcome.reasons {
                *self.reasons.entry(anonymous(reason)).or_default() += 1;
            }
        } else if heard.code.is_some() {
            self.failed += 1;
        }
    }

    pub fn done(&self) -> u64 {
        self.there + self.back
    }

    /// What each client that nothing excused waited longest in each change, from its longest transaction.
    pub fn feel(&mut self, waits: &[Wait], clients: u32) {
        for (began, ended) in &self.spans {
            let mut longest = BTreeMap::<i64, (Duration, bool)>::new();
            for wait in waits {
                if wait.began < *ended && *began < wait.began + wait.took {
                    let longest = longest.entry(wait.client).or_default();
                    *longest = (longest.0.max(wait.took), longest.1 || wait.excused);
                }
            }
            for client in 1..=i64::from(clients) {
                match longest.get(&client) {
                    None => self.held.push(Duration::ZERO),
                    Some((held, false)) => self.held.push(*held),
                    Some((_, true)) => {}
                }
            }
        }
        self.held.sort_unstable();
    }

    fn percentile(&self, percent: usize) -> Duration {
        let at = (self.held.len() * percent / 100).min(self.held.len().saturating_sub(1));
        self.held.get(at).copied().unwrap_or_default()
    }
}

/// Without what is different each time.
fn anonymous(reason: &str) -> String {
    let varies = |word: &&str| word.chars().any(|letter| letter.is_ascii_digit());
    let words = reason.split(' ').map(|word| if varies(&word) { "#" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "changes: {} coordinators ({} killed, {} frozen, {} times two at once); they said: {} there, {} back, \
             {} undone, {} refused, {} failed",
            self.coordinators,
            self.killed,
            self.frozen,
            self.twins,
            self.there,
            self.back,
            self.undone,
            self.refused,
            self.failed
        )?;
        writeln!(f, "  on record: {}", self.record.join(", "))?;
        writeln!(
            f,
            "  held, as clients felt it: p50 {:.0?}, p99 {:.0?}, max {:.0?}, of {}",
            self.percentile(50),
            self.percentile(99),
            self.held.last().copied().unwrap_or_default(),
            self.held.len()
        )?;
        let mut reasons: Vec<_> = self.reasons.iter().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (reason, count) in reasons.iter().take(SHOWN) {
            writeln!(f, "    {count} × {reason}")?;
        }
        Ok(())
    }
}

/// Both databases, past everything that is tormented.
#[derive(Clone, Debug)]
pub struct Sides {
    port: u16,
    database: String,
    secondary: String,
}

impl Sides {
    pub fn of(stage: &Stage) -> Self {
        Self {
            port: stage.world.postgres_port(),
            database: stage.world.database.clone(),
            secondary: stage.world.secondary_url().to_owned(),
        }
    }

    async fn postgres(&self) -> Option<tokio_postgres::Client> {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(self.port).user("postgres").password(PASSWORD);
        let (client, connection) = config.dbname(&self.database).connect(NoTls).await.ok()?;
        tokio::spawn(connection);
        Some(client)
    }

    /// What they say together, and whether an attempt is under way; `None` where one does not answer.
    async fn standing(&self) -> Option<(Standing, bool)> {
        let asked = async {
            let row = self.postgres().await?.query_one(UNDER_WAY, &[]).await.ok()?;
            let (last, under_way): (i64, bool) = (row.get(0), row.get(1));
            let mut conn = mysql_async::Conn::from_url(&self.secondary).await.ok()?;
            let mysql = turn(&mut conn).await.ok()?;
            drop(conn.disconnect().await);
            Some((Standing::of(u64::try_from(last).ok()?, false, mysql), under_way))
        };
        timeout(ANSWER, asked).await.ok().flatten()
    }

    /// Who leads, where nothing is under way.
    pub async fn leads(&self) -> Option<Side> {
        match self.standing().await? {
            (Standing::Postgres { .. }, false) => Some(Side::Postgres),
            (Standing::MySql { .. }, false) => Some(Side::MySql),
            _ => None,
        }
    }

    async fn record(&self) -> Vec<String> {
        let Some(client) = self.postgres().await else { return Vec::new() };
        let rows = client.query(RECORD, &[]).await.unwrap_or_default();
        let line = |row: &tokio_postgres::Row| {
            format!("{} {}", row.get::<_, String>(0), row.get::<_, i64>(1))
        };
        rows.iter().map(line).collect()
    }
}

/// What becomes of a coordinator.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Lives,
    /// After so long.
    Dies(Duration),
    /// After so long, for so long.
    Freezes(Duration, Duration),
}

/// What a coordinator said.
#[derive(Debug, Default)]
struct Heard {
    /// `None` where it was killed.
    code: Option<i32>,
    outcome: Option<Outcome>,
    hung: bool,
}

/// One change that is tried.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    direction: Direction,
    seconds: u64,
    fate: Fate,
}

impl Attempt {
    async fn run(self, config: PathBuf) -> Heard {
        let time = format!("{}s", self.seconds);
        let mut arguments = vec![self.direction.as_str(), "--format", "json", "--timeout", &time];
        if self.direction == Direction::Switchover {
            arguments.extend(["--accept", "all"]);
        }
        let said = Arc::new(Mutex::new(None));
        let ear = Arc::clone(&said);
        let mut running = Running::start(&config, &arguments, move |line| {
            *ear.lock().unwrap() = serde_json::from_str(line).ok();
        });
        let began = Instant::now();
        let mut fate = self.fate;
        loop {
            if let Some(code) = running.ended() {
                return Heard { code, outcome: said.lock().unwrap().take(), hung: false };
            }
            match fate {
                Fate::Dies(after) if after <= began.elapsed() => {
                    running.kill9();
                    return Heard::default();
                }
                Fate::Freezes(after, long) if after <= began.elapsed() => {
                    running.signal("-STOP");
                    sleep(long).await;
                    running.signal("-CONT");
                    fate = Fate::Lives;
                }
                _ if HANGS <= began.elapsed() => {
                    running.kill9();
                    return Heard { hung: true, ..Heard::default() };
                }
                _ => sleep(LOOK).await,
            }
        }
    }
}

/// Who has the primary change.
pub struct Changer {
    sides: Sides,
    configs: Vec<PathBuf>,
    hour: Arc<Hour>,
    random: StdRng,
    lead: Side,
    changes: Changes,
}

impl Changer {
    pub fn new(stage: &Stage, hour: &Arc<Hour>, seed: u64) -> Self {
        let mut configs = vec![stage.coordinator.clone()];
        configs.extend(stage.sidecars.iter().map(|sidecar| sidecar.config.clone()));
        Self {
            sides: Sides::of(stage),
            configs,
            hour: Arc::clone(hour),
            random: StdRng::seed_from_u64(seed.wrapping_mul(31)),
            lead: Side::Postgres,
            changes: Changes::default(),
        }
    }

    /// One change after the other.
    pub async fn run(&mut self, length: Duration) {
        let end = Instant::now() + length;
        // The first is undisturbed, if it is quick.
        self.one(true).await;
        while Instant::now() < end {
            let pause = self.random.random_range(0..2_500);
            sleep(Duration::from_millis(pause)).await;
            self.one(false).await;
        }
        // A moment at which somebody knows who leads.
        self.settle(Instant::now(), Duration::ZERO).await;
    }

    async fn one(&mut self, plain: bool) {
        let forth = (self.lead == Side::Postgres) != (!plain && self.random.random_bool(0.1));
        let direction = if forth { Direction::Switchover } else { Direction::Rollback };
        let (seconds, _) = *TIMES.choose_weighted(&mut self.random, |(_, often)| *often).unwrap();
        let fate = if plain { Fate::Lives } else { self.fate(seconds) };
        let first = Attempt { direction, seconds, fate };
        let second = Attempt { fate: self.fate(seconds), ..first };
        let (one, other) = (self.config(), self.config());
        let late = Duration::from_millis(self.random.random_range(0..400));
        let twins = !plain && self.random.random_bool(0.15);
        self.hour.leads(None);
        self.changes.tell(&format!("{first:?} begins, {}", if twins { "twice" } else { "alone" }));
        let began = Instant::now();
        let (heard, more) = match twins {
            false => (first.run(one).await, None),
            true => {
                let later = async {
                    sleep(late).await;
                    second.run(other).await
                };
                let (heard, more) = tokio::join!(first.run(one), later);
                (heard, Some(more))
            }
        };
        self.changes.twins += u64::from(twins);
        let heard = [Some((first, heard)), more.map(|more| (second, more))];
        for (attempt, heard) in heard.into_iter().flatten() {
            self.changes.tell(&format!("{:?} {heard:?}", attempt.direction));
            self.hear(attempt, &heard, began);
        }
        // Now and then the next one comes at once.
        if self.random.random_bool(0.75) {
            self.settle(began, Duration::from_secs(seconds)).await;
        }
    }

    fn config(&mut self) -> PathBuf {
        // Past all that is tormented, or like the sidecars themselves.
        let at = if self.random.random_bool(0.5) { 0 } else { self.random.random_range(0..4) };
        self.configs[at.min(self.configs.len() - 1)].clone()
    }

    fn fate(&mut self, seconds: u64) -> Fate {
        // Most of it happens at once, if nobody is in the way.
        let after = Duration::from_secs_f64(2.5 * self.random.random::<f64>().powi(2));
        match self.random.random_range(0..20) {
            0..12 => Fate::Lives,
            12..17 => Fate::Dies(after),
            _ => {
                let most = Duration::from_secs(seconds) + 2 * LEASE;
                Fate::Freezes(after, most.mul_f64(self.random.random()))
            }
        }
    }

    fn hear(&mut self, attempt: Attempt, heard: &Heard, began: Instant) {
        let direction = attempt.direction;
        self.changes.note(direction, heard);
        match attempt.fate {
            Fate::Lives => {}
            Fate::Dies(_) => self.changes.killed += u64::from(heard.code.is_none()),
            Fate::Freezes(..) => self.changes.frozen += 1,
        }
        if heard.hung {
            self.changes.hung.push(format!("{} {attempt:?}", now()));
        }
        if heard.outcome.as_ref().is_some_and(|outcome| outcome.outcome == Ended::Done) {
            self.changes.spans.push((began, Instant::now()));
            self.lead = match direction {
                Direction::Switchover => Side::MySql,
                Direction::Rollback => Side::Postgres,
            };
        }
    }

    /// Waits until both sides agree, and nothing is under way.
    async fn settle(&mut self, began: Instant, time: Duration) {
        let frozen = began.elapsed().saturating_sub(time);
        let due = began + time + LEASE + frozen + SLACK;
        let mut late = false;
        while began.elapsed() < frozen + HANGS {
            if let Some(side) = self.sides.leads().await {
                self.lead = side;
                self.hour.leads(Some(side));
                self.changes.tell(&format!("{side:?} leads"));
                return;
            }
            if !late && due < Instant::now() && !self.hour.is_server_blamed(began) {
                late = true;
                let standing = self.sides.standing().await;
                self.changes.late.push(format!("{} {standing:?}", now()));
            }
            sleep(LOOK).await;
        }
    }

    /// Has a side lead, once all is quiet. It must come to that.
    pub async fn last(&mut self, side: Side) {
        let deadline = Instant::now() + PATIENCE;
        let direction = match side {
            Side::MySql => Direction::Switchover,
            Side::Postgres => Direction::Rollback,
        };
        let mut said = Vec::new();
        while Instant::now() < deadline {
            if self.sides.leads().await == Some(side) {
                self.lead = side;
                self.hour.leads(Some(side));
                return;
            }
            self.hour.leads(None);
            let attempt = Attempt { direction, seconds: 30, fate: Fate::Lives };
            let heard = attempt.run(self.configs[0].clone()).await;
            self.changes.tell(&format!("the last {direction:?} {heard:?}"));
            said = heard.outcome.map(|outcome| outcome.reasons).unwrap_or_default();
            sleep(LOOK).await;
        }
        self.changes.vain.push(format!("{side:?} does not lead: {}", said.join("; ")));
    }

    pub async fn end(mut self) -> Changes {
        self.changes.record = self.sides.record().await;
        self.changes
    }
}

#[test]
fn a_hold_is_what_the_longest_transaction_took() {
    let began = Instant::now();
    let second = Duration::from_secs(1);
    let mut changes = Changes { spans: vec![(began, began + second)], ..Changes::default() };
    let wait = |client, took, excused| Wait { client, began, took, excused };
    let waits = [
        wait(1, second, false),
        wait(1, 2 * second, false),
        wait(2, 9 * second, true),
        Wait { began: began + 2 * second, ..wait(3, 5 * second, false) },
    ];
    changes.feel(&waits, 3);
    assert_eq!(changes.held, [Duration::ZERO, 2 * second]);
    assert_eq!((changes.percentile(50), changes.percentile(99)), (2 * second, 2 * second));
    assert_eq!(anonymous("attempt 7 is under way"), "attempt # is under way");
}
