//! Switchovers and rollbacks at random moments, of all tables or of a group, by coordinators that die, freeze,
//! or are two at once.
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
use crossfade::backend::postgres::moved;
use crossfade::control::switchover::{Direction, Ended, Outcome, Standing};
use crossfade::demo::servers::PASSWORD;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::{sleep, timeout};
use tokio_postgres::NoTls;

use super::clients::{GROUPS, KINDS, group};
use super::hour::{Hour, Lead, Wait, now, told};
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
const NAMES: &str = "SELECT t.name FROM crossfade.tables t WHERE t.id = ANY ($1)";
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
    /// Who led in which epoch, as both databases have it, where anybody has looked.
    agreed: BTreeMap<u64, Lead>,
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

    /// How often a group has moved, and come back, as far as it was seen.
    pub fn of_groups(&self) -> (u64, u64) {
        let (mut moved, mut back, mut before) = (0, 0, None);
        for lead in self.agreed.values() {
            match (before.replace(*lead), lead) {
                (_, Lead::Group(_)) => moved += 1,
                (Some(Lead::Group(_)), Lead::Postgres) => back += 1,
                _ => {}
            }
        }
        (moved, back)
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
        let (moved, back) = self.of_groups();
        writeln!(
            f,
            "  groups: {moved} times on MySQL without the rest, {back} times back from there"
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

    /// What they say together, of which group, and whether an attempt is under way; `None` where one does not
    /// answer.
    async fn standing(&self) -> Option<(Standing, Option<&'static str>, bool)> {
        let asked = async {
            let client = self.postgres().await?;
            let row = client.query_one(UNDER_WAY, &[]).await.ok()?;
            let (last, under_way): (i64, bool) = (row.get(0), row.get(1));
            let ids = match last % 2 {
                0 => moved::now(&client).await.ok()?,
                _ => Vec::new(),
            };
            let ids: Vec<i32> = ids.iter().map(|id| id.0).collect();
            let names = client.query(NAMES, &[&ids]).await.ok()?;
            let mut conn = mysql_async::Conn::from_url(&self.secondary).await.ok()?;
            let mysql = turn(&mut conn).await.ok()?;
            drop(conn.disconnect().await);
            let standing = Standing::of(u64::try_from(last).ok()?, !ids.is_empty(), mysql);
            Some((standing, whole_group(&names), under_way))
        };
        timeout(ANSWER, asked).await.ok().flatten()
    }

    /// Who leads, and in which epoch, where nothing is under way.
    pub async fn leads(&self) -> Option<(u64, Lead)> {
        let (standing, group, under_way) = self.standing().await?;
        let lead = match standing {
            Standing::Postgres { .. } => Lead::Postgres,
            Standing::MySql { .. } => Lead::MySql,
            Standing::Parted { .. } => Lead::Group(group?),
            _ => return None,
        };
        (!under_way).then_some((standing.epoch(), lead))
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

/// The group of these tables, where they are all of it and nothing else.
fn whole_group(names: &[tokio_postgres::Row]) -> Option<&'static str> {
    let of = |name: &str| KINDS.into_iter().find(|kind| name.starts_with(kind)).and_then(group);
    let groups: Vec<_> = names.iter().map(|row| of(row.get(0))).collect();
    let first = groups.first().copied().flatten()?;
    let all = super::beside::tables().iter().filter(|name| of(name) == Some(first)).count();
    (groups.len() == all && groups.iter().all(|group| *group == Some(first))).then_some(first)
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
    group: Option<&'static str>,
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
        if let Some(group) = self.group {
            arguments.extend(["--group", group]);
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
    lead: Lead,
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
            lead: Lead::Postgres,
            changes: Changes::default(),
        }
    }

    /// One change after the other.
    pub async fn run(&mut self, length: Duration) {
        let end = Instant::now() + length;
        // The first are undisturbed, if they are quick: a group there and back.
        for _ in 0..2 {
            self.one(true).await;
        }
        while Instant::now() < end {
            let pause = self.random.random_range(0..2_500);
            sleep(Duration::from_millis(pause)).await;
            self.one(false).await;
        }
        // A moment at which somebody knows who leads.
        self.settle(Instant::now(), Duration::ZERO).await;
    }

    async fn one(&mut self, plain: bool) {
        let forth = (self.lead == Lead::Postgres) != (!plain && self.random.random_bool(0.1));
        let direction = if forth { Direction::Switchover } else { Direction::Rollback };
        // One group at a time: with another on MySQL both are refused.
        let group = GROUPS.choose(&mut self.random).copied();
        let group = group.filter(|_| forth && (plain || self.random.random_bool(0.6)));
        let (seconds, _) = *TIMES.choose_weighted(&mut self.random, |(_, often)| *often).unwrap();
        let fate = if plain { Fate::Lives } else { self.fate(seconds) };
        let first = Attempt { direction, group, seconds, fate };
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
        let mut done = false;
        for (attempt, heard) in heard.into_iter().flatten() {
            self.changes.tell(&format!("{:?} {heard:?}", attempt.direction));
            done |= self.hear(attempt, &heard, began);
        }
        if done && let Some((epoch, lead)) = self.sides.leads().await {
            (self.lead, _) = (lead, self.changes.agreed.insert(epoch, lead));
        }
        // Now and then the next one comes at once.
        if plain || self.random.random_bool(0.75) {
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

    /// Whether it was done.
    fn hear(&mut self, attempt: Attempt, heard: &Heard, began: Instant) -> bool {
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
        let done = heard.outcome.as_ref().is_some_and(|outcome| outcome.outcome == Ended::Done);
        if done {
            self.changes.spans.push((began, Instant::now()));
            self.lead = match (direction, attempt.group) {
                (Direction::Switchover, None) => Lead::MySql,
                (Direction::Switchover, Some(group)) => Lead::Group(group),
                (Direction::Rollback, _) => Lead::Postgres,
            };
        }
        done
    }

    /// Waits until both sides agree, and nothing is under way.
    async fn settle(&mut self, began: Instant, time: Duration) {
        let frozen = began.elapsed().saturating_sub(time);
        let due = began + time + LEASE + frozen + SLACK;
        let mut late = false;
        while began.elapsed() < frozen + HANGS {
            if let Some((epoch, lead)) = self.sides.leads().await {
                self.lead = lead;
                self.hour.leads(Some(lead));
                self.changes.agreed.insert(epoch, lead);
                self.changes.tell(&format!("in epoch {epoch} {lead:?} leads"));
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

    /// Has it so that they lead, once all is quiet. It must come to that.
    pub async fn last(&mut self, lead: Lead) {
        let deadline = Instant::now() + PATIENCE;
        let mut said = Vec::new();
        while Instant::now() < deadline {
            let now = self.sides.leads().await.map(|(_, lead)| lead);
            if now == Some(lead) {
                self.lead = lead;
                self.hour.leads(now);
                return;
            }
            self.hour.leads(None);
            let (direction, group) = match (now, lead) {
                (Some(Lead::Postgres) | None, Lead::MySql) => (Direction::Switchover, None),
                (Some(Lead::Postgres), Lead::Group(name)) => (Direction::Switchover, Some(name)),
                // The way from one to the other leads by PostgreSQL.
                _ => (Direction::Rollback, None),
            };
            let attempt = Attempt { direction, group, seconds: 30, fate: Fate::Lives };
            let heard = attempt.run(self.configs[0].clone()).await;
            self.changes.tell(&format!("the last {direction:?} {heard:?}"));
            said = heard.outcome.map(|outcome| outcome.reasons).unwrap_or_default();
            sleep(LOOK).await;
        }
        self.changes.vain.push(format!("{lead:?} does not lead: {}", said.join("; ")));
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

#[test]
fn what_moved_is_told_by_who_led_before() {
    let mut changes = Changes::default();
    let (group, other) = (Lead::Group(GROUPS[0]), Lead::Group(GROUPS[1]));
    for lead in [Lead::Postgres, Lead::MySql, Lead::Postgres, group, Lead::Postgres, other] {
        changes.agreed.insert(changes.agreed.len() as u64, lead);
    }
    assert_eq!(changes.of_groups(), (2, 1));
}
