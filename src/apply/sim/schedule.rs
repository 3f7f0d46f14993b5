//! One schedule: clients, faults, then quiet; and what must hold afterwards.
//!
//! ```text
//! clients ∥ weather (kills, outages, crashes, failovers) ──▶ calm: sidecars run, no faults
//!                                                     ──▶ drained? equal? nobody left waiting?
//! ```

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::Flaw;
use super::chance::Chance;
use super::client;
use super::primary::Primary;
use super::schema::{id, index};
use super::secondary::Secondary;
use super::sidecar::{Seat, Sidecar, situation};
use crate::change::{Change, Effect};

/// Everything must be at rest within this much quiet.
const QUIET_MAX: Duration = Duration::from_secs(300);

pub(super) struct World {
    pub(super) chance: Arc<Chance>,
    pub(super) primary: Arc<Primary>,
    pub(super) secondary: Arc<Secondary>,
    pub(super) queue_max: usize,
    /// Many clients, few rows, no rest.
    pub(super) rush: bool,
    /// Long transactions, and a fence that forgets soon.
    pub(super) slow: bool,
    /// Places for sidecars; empty while one is down.
    sidecars: Mutex<Vec<Option<Sidecar>>>,
    watchers: Mutex<JoinSet<()>>,
}

/// What became of a schedule.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) trace: u64,
    pub(super) violations: Vec<String>,
    /// Faults injected, corners reached.
    pub(super) counts: BTreeMap<&'static str, u64>,
}

/// Runs the schedule of a seed, on this thread.
pub(super) fn run(seed: u64, flaw: Option<Flaw>) -> Report {
    fastrand::seed(seed);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.unwrap();
    let report = runtime.block_on(async {
        let world = World::new(seed, flaw);
        world.trouble().await;
        world.quiet().await;
        let (trace, violations, counts) = world.chance.end();
        Report { trace, violations, counts }
    });
    drop(runtime);
    report
}

impl World {
    fn new(seed: u64, flaw: Option<Flaw>) -> Arc<Self> {
        let chance = Arc::new(Chance::new(seed));
        let secondary = Arc::new(Secondary::new(Arc::clone(&chance), flaw));
        let primary = Primary::new(Arc::clone(&chance), Arc::clone(&secondary));
        let queue_max = if chance.one_in(4) { 2_000 } else { 1 << 20 };
        Arc::new(Self {
            chance,
            primary: Arc::new(primary),
            secondary,
            queue_max,
            rush: seed % 4 == 3,
            slow: seed % 4 == 2,
            sidecars: Mutex::default(),
            watchers: Mutex::default(),
        })
    }

    /// A seat at a sidecar that runs.
    pub(super) fn seat(&self) -> Option<Seat> {
        let sidecars = self.sidecars.lock().unwrap();
        let running: Vec<&Sidecar> = sidecars.iter().flatten().collect();
        let chosen = usize::try_from(self.chance.below(running.len() as u64)).unwrap();
        running.get(chosen).map(|sidecar| sidecar.seat.clone())
    }

    /// Runs beside the schedule; it has to end before the schedule does.
    pub(super) fn watch(&self, watcher: impl Future<Output = ()> + Send + 'static) {
        self.watchers.lock().unwrap().spawn(watcher);
    }

    /// Whether the secondary has committed this change, or newer ones of its keys.
    pub(super) fn has(&self, change: &Change) -> bool {
        let table = index(&change.table);
        let has = |key| self.secondary.has_change(table, key, change.version);
        match &change.effect {
            Effect::Empty => has(None),
            _ => change.keys().all(|key| has(Some(id(key)))),
        }
    }

    async fn trouble(self: &Arc<Self>) {
        let sidecars = 1 + self.chance.below(2);
        for _ in 0..sidecars {
            let sidecar = Sidecar::start(self);
            self.sidecars.lock().unwrap().push(Some(sidecar));
        }
        self.chance.set_faults([0, 30, 100, 400][usize::try_from(self.chance.below(4)).unwrap()]);
        let mut tasks = JoinSet::new();
        let (clients, more) = if self.rush { (5, 4) } else { (1 + self.chance.below(3), 1) };
        for _ in 0..clients {
            let transactions = more + self.chance.below(6);
            tasks.spawn(client::run(Arc::clone(self), transactions));
        }
        for _ in 0..self.chance.below(4) {
            tasks.spawn(Arc::clone(self).weather());
        }
        while let Some(ended) = tasks.join_next().await {
            if ended.is_err() {
                self.chance.violated("a task of the simulation panicked".to_owned());
            }
        }
    }

    /// One misfortune at some moment.
    async fn weather(self: Arc<Self>) {
        self.chance.pause(2_000).await;
        match self.chance.below(8) {
            0..3 => self.restart().await,
            3 | 4 => {
                let down = self.chance.one_in(2);
                self.chance.count("secondary crashed");
                self.secondary.crash(down);
                self.chance.pause(4_000).await;
                self.secondary.come_back();
            }
            5 | 6 => {
                self.chance.count("primary crashed");
                self.primary.crash(0);
            }
            _ => self.failover().await,
        }
    }

    /// A sidecar ends, one way or the other, and another takes its place.
    async fn restart(&self) {
        let place = {
            let count = self.sidecars.lock().unwrap().len() as u64;
            usize::try_from(self.chance.below(count)).unwrap()
        };
        let Some(sidecar) = self.sidecars.lock().unwrap()[place].take() else { return };
        if self.chance.one_in(3) {
            let patience = Duration::from_millis(self.chance.below(3_000));
            self.chance.count("sidecar stopped");
            sidecar.stop(patience).await;
        } else {
            self.chance.count("sidecar killed");
            sidecar.kill();
        }
        self.chance.pause(1_000).await;
        let sidecar = Sidecar::start(self);
        self.sidecars.lock().unwrap()[place] = Some(sidecar);
    }

    /// The primary is another server, which lacks the last commits: the epoch grows on both sides,
    /// sidecars hear of it one by one, and every table is repaired.
    async fn failover(&self) {
        self.chance.count("primary failed over");
        self.primary.crash(1 + self.chance.below(2));
        self.chance.pause(500).await;
        let epoch = self.primary.state().epoch;
        self.secondary.set_epoch(epoch).await;
        let seats: Vec<Seat> = {
            let sidecars = self.sidecars.lock().unwrap();
            sidecars.iter().flatten().map(|sidecar| sidecar.seat.clone()).collect()
        };
        for seat in seats {
            self.chance.pause(700).await;
            seat.situation.send_if_modified(|now| {
                let newer = now.epoch < epoch;
                if newer {
                    *now = situation(epoch);
                }
                newer
            });
        }
        self.primary.repair();
    }

    /// No more faults: everything has to come to rest, and to be right then.
    async fn quiet(self: &Arc<Self>) {
        self.chance.set_faults(0);
        self.chance.note(format_args!("quiet"));
        let deadline = Instant::now() + QUIET_MAX;
        while let Some(unrest) = self.unrest() {
            if deadline < Instant::now() {
                self.chance.violated(format!("never at rest: {unrest}"));
                break;
            }
            sleep(Duration::from_millis(500)).await;
        }
        self.compare();
        let mut watchers = std::mem::take(&mut *self.watchers.lock().unwrap());
        if watchers.join_next().await.is_some() {
            while watchers.join_next().await.is_some() {}
        }
        for sidecar in self.sidecars.lock().unwrap().drain(..).flatten() {
            sidecar.kill();
        }
    }

    fn unrest(&self) -> Option<String> {
        let state = self.primary.state();
        if !state.outbox.is_empty() {
            return Some(format!("outbox {:?}", state.outbox));
        }
        drop(state);
        if !self.secondary.locks.are_free() {
            return Some("a transaction is open on the secondary".to_owned());
        }
        let sidecars = self.sidecars.lock().unwrap();
        sidecars.iter().flatten().find_map(|sidecar| sidecar.unrest(&self.chance))
    }

    fn compare(&self) {
        let (primary, secondary) = (self.primary.state(), self.secondary.state());
        if primary.rows != secondary.rows {
            let text = format!("primary {:?}\nsecondary {:?}", primary.rows, secondary.rows);
            drop((primary, secondary));
            self.chance.violated(format!("the two sides differ\n{text}"));
        }
    }
}
