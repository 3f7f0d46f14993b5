//! Clients held between two transactions, while the primary changes.
//!
//! ```text
//! control::attend ──begin, end──▶ [`Hold`] ──on?──▶ session, answer: begin no transaction
//!        ▲                           │
//!        └── [`Hold::drained`] ◀── [`Guest::rests`]: between two transactions, and what cannot move
//! ```
//!
//! Invariant: once all guests rest, no transaction of a client of ours is under way, and none begins
//! before the end of the hold. A hold is a courtesy: that no write slips through is seen to by the epoch,
//! so one that ends too early costs a client an error, and never a row.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// What a client has on its server that no other server can be given.
pub type Obstacle = &'static str;

/// One per process; cheap to clone.
#[derive(Clone, Debug)]
pub struct Hold(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    order: watch::Sender<Order>,
    floor: Mutex<Floor>,
    moved: Notify,
    metrics: HoldMetrics,
}

/// What sessions are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Order {
    on: bool,
    /// Sessions that cannot move are ended.
    terminate: bool,
}

/// Who is here.
#[derive(Debug, Default)]
struct Floor {
    guests: usize,
    resting: usize,
    /// How many of those that rest have it.
    obstacles: BTreeMap<Obstacle, usize>,
    begun: Option<Instant>,
}

/// How long clients were held, and how many are.
#[derive(Clone, Debug)]
pub struct HoldMetrics {
    seconds: Histogram,
    resting: IntGauge,
    done: IntCounter,
    undone: IntCounter,
}

impl HoldMetrics {
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self::new()?;
        registry.register(Box::new(metrics.seconds.clone()))?;
        registry.register(Box::new(metrics.resting.clone()))?;
        let help = "Changes of the primary that this sidecar took part in, by how they ended here.";
        let attempts =
            IntCounterVec::new(Opts::new("switchover_attempts_total", help), &["outcome"])?;
        registry.register(Box::new(attempts.clone()))?;
        let [done, undone] = ["done", "undone"].map(|how| attempts.with_label_values(&[how]));
        Ok(Self { done, undone, ..metrics })
    }

    fn new() -> prometheus::Result<Self> {
        let options = HistogramOpts::new("switchover_hold_seconds", "How long clients were held.")
            .buckets(vec![0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0]);
        let seconds = Histogram::with_opts(options)?;
        let resting =
            IntGauge::new("held_sessions", "Clients that wait for the end of a switchover.")?;
        let count = |name: &str| IntCounter::new(name, "Attempts that ended so.");
        Ok(Self { seconds, resting, done: count("done")?, undone: count("undone")? })
    }
}

/// One that nobody shows.
impl Default for Hold {
    fn default() -> Self {
        Self::new(HoldMetrics::new().expect("the names are right"))
    }
}

impl Hold {
    #[must_use]
    pub fn new(metrics: HoldMetrics) -> Self {
        Self(Arc::new(Shared {
            order: watch::Sender::new(Order::default()),
            floor: Mutex::default(),
            moved: Notify::new(),
            metrics,
        }))
    }

    /// From here on no transaction begins.
    pub fn begin(&self, terminate: bool) {
        self.floor().begun.get_or_insert_with(Instant::now);
        self.0.order.send_replace(Order { on: true, terminate });
    }

    /// Clients go on, wherever the primary is now.
    pub fn end(&self) {
        if let Some(begun) = self.floor().begun.take() {
            self.0.metrics.seconds.observe(begun.elapsed().as_secs_f64());
        }
        self.0.order.send_replace(Order::default());
    }

    /// An attempt has ended here: the other database is the primary now, or everything is as before.
    pub fn count(&self, done: bool) {
        let metrics = &self.0.metrics;
        if done { metrics.done.inc() } else { metrics.undone.inc() }
    }

    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.order.borrow().on
    }

    /// A session that begins; it has to rest before a hold is complete.
    #[must_use]
    pub fn enter(&self) -> Guest {
        self.floor().guests += 1;
        Guest { hold: self.clone(), rests: None, order: self.0.order.subscribe() }
    }

    #[must_use]
    pub fn watch(&self) -> HoldWatch {
        HoldWatch(self.0.order.subscribe())
    }

    /// Waits until all rest; says what keeps some of them from moving, and how many.
    pub async fn drained(&self) -> Vec<(Obstacle, usize)> {
        loop {
            let moved = self.0.moved.notified();
            {
                let floor = self.floor();
                if floor.guests == floor.resting {
                    return floor.obstacles.iter().map(|(what, count)| (*what, *count)).collect();
                }
            }
            moved.await;
        }
    }

    fn floor(&self) -> std::sync::MutexGuard<'_, Floor> {
        self.0.floor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Floor)) {
        let resting = {
            let mut floor = self.floor();
            change(&mut floor);
            floor.resting
        };
        self.0.metrics.resting.set(i64::try_from(resting).unwrap_or(i64::MAX));
        self.0.moved.notify_waiters();
    }
}

/// Wakes whoever has to look at a hold again.
#[derive(Debug)]
pub struct HoldWatch(watch::Receiver<Order>);

impl HoldWatch {
    /// Waits for a hold to begin, or to end.
    pub async fn changed(&mut self) {
        // The sender lives as long as a guest does.
        drop(self.0.changed().await);
    }
}

/// One session's place; given back when it is dropped.
#[derive(Debug)]
pub struct Guest {
    hold: Hold,
    rests: Option<Vec<Obstacle>>,
    order: watch::Receiver<Order>,
}

impl Guest {
    /// Whether a transaction must not begin now. A lock that is nearly always free: this is asked for
    /// each message.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.order.borrow().on
    }

    /// Whether one that cannot move is to end.
    #[must_use]
    pub fn is_to_end(&self) -> bool {
        let order = self.order.borrow();
        order.on && order.terminate
    }

    /// Waits for a hold to begin, or to end.
    pub async fn changed(&mut self) {
        // The sender lives as long as we do.
        drop(self.order.changed().await);
    }

    /// It is between two transactions, and begins none.
    pub fn rests(&mut self, obstacles: Vec<Obstacle>) {
        self.goes_on();
        self.hold.change(|floor| {
            floor.resting += 1;
            for obstacle in &obstacles {
                *floor.obstacles.entry(obstacle).or_default() += 1;
            }
        });
        self.rests = Some(obstacles);
    }

    pub fn goes_on(&mut self) {
        let Some(obstacles) = self.rests.take() else { return };
        self.hold.change(|floor| {
            floor.resting -= 1;
            for obstacle in &obstacles {
                if let Some(count) = floor.obstacles.get_mut(obstacle) {
                    *count -= 1;
                }
            }
            floor.obstacles.retain(|_, count| 0 < *count);
        });
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.goes_on();
        self.hold.change(|floor| floor.guests -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn hold() -> Hold {
        Hold::new(HoldMetrics::register(&Registry::new()).unwrap())
    }

    async fn is_drained(hold: &Hold) -> bool {
        timeout(Duration::from_millis(1), hold.drained()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_complete_once_all_rest_or_have_left() {
        let hold = hold();
        let (mut one, two) = (hold.enter(), hold.enter());
        hold.begin(false);
        assert!(one.is_held() && !one.is_to_end());
        one.rests(vec!["a temporary table"]);
        assert!(!is_drained(&hold).await);
        drop(two);
        assert_eq!(hold.drained().await, [("a temporary table", 1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_comes_during_a_hold_has_to_rest_too() {
        let hold = hold();
        hold.begin(true);
        let mut guest = hold.enter();
        assert!(guest.is_to_end() && !is_drained(&hold).await);
        guest.rests(Vec::new());
        assert!(hold.drained().await.is_empty());
        guest.goes_on();
        assert!(!is_drained(&hold).await);
    }

    #[tokio::test(start_paused = true)]
    async fn its_end_wakes_those_that_wait() {
        let hold = hold();
        hold.begin(false);
        let mut guest = hold.enter();
        assert!(guest.is_held());
        hold.end();
        guest.changed().await;
        assert!(!guest.is_held());
    }
}
