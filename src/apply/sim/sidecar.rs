//! A sidecar in the simulation: the real hand-over and the real applier, with their clients' sessions.
//!
//! Invariant: a kill takes everything along, at whatever await it happens to be.

use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use prometheus::Registry;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::chance::Chance;
use super::primary::{MemoryOutbox, MemoryReader, Primary};
use super::schedule::World;
use super::schema::SCHEMA;
use super::secondary::Secondary;
use super::session::Session;
use crate::apply::databases::{Databases, Lost};
use crate::apply::{Applier, ApplyLimits, ApplyMetrics, Shared, share};
use crate::backend::mysql::WriteError;
use crate::backend::mysql::connect::LinkLimits;
use crate::handoff::{self, Handoff};
use crate::phase::{Phase, Situation};

static METRICS: LazyLock<ApplyMetrics> =
    LazyLock::new(|| ApplyMetrics::register(&Registry::new()).unwrap());

/// Both servers, as the applier reaches them.
pub(super) struct Ends {
    primary: Arc<Primary>,
    secondary: Arc<Secondary>,
}

impl Databases for Ends {
    type Outbox = MemoryOutbox;
    type Reader = MemoryReader;
    type Connection = Session;

    async fn outbox(&self) -> Result<MemoryOutbox, Lost> {
        self.primary.outbox().await
    }

    async fn reader(&self) -> Result<MemoryReader, Lost> {
        self.primary.reader().await
    }

    async fn connect(&self, limits: &LinkLimits) -> Result<Session, WriteError> {
        match tokio::time::timeout(limits.connect_timeout, self.secondary.connect()).await {
            Ok(session) => session,
            Err(_) => Err(WriteError::TimedOut),
        }
    }
}

/// Where a client's session sits.
#[derive(Clone)]
pub(super) struct Seat {
    pub(super) handoff: Handoff,
    pub(super) situation: watch::Sender<Arc<Situation>>,
    pub(super) sessions: Arc<Mutex<Vec<AbortHandle>>>,
}

pub(super) struct Sidecar {
    pub(super) seat: Seat,
    applier: Applier,
    shared: Arc<Shared<Ends>>,
}

pub(super) fn situation(epoch: u64) -> Arc<Situation> {
    let catalog = Arc::clone(&SCHEMA.catalog);
    Arc::new(Situation { phase: Phase::DualWrite, epoch, catalog, ..Situation::transparent() })
}

impl Sidecar {
    pub(super) fn start(world: &World) -> Self {
        let chance = &world.chance;
        let limits = ApplyLimits {
            workers: 1 + usize::try_from(chance.below(3)).unwrap(),
            batch_rows: if chance.one_in(3) { 3 } else { 500 },
            strict: 2,
            grace: Duration::from_millis(400),
            write_timeout: Duration::from_secs(2),
            primary_timeout: Duration::from_secs(30),
            backoff_max: Duration::from_millis(800),
            poll: Duration::from_millis(500),
            fence_keep: Duration::from_millis(if world.slow || chance.one_in(2) {
                200
            } else {
                3_000
            }),
            link: LinkLimits { connect_timeout: Duration::from_secs(1), ..LinkLimits::default() },
        };
        let (handoff, jobs) = handoff::channel(world.queue_max);
        let situation = watch::Sender::new(situation(world.primary.state().epoch));
        let (primary, secondary) = (Arc::clone(&world.primary), Arc::clone(&world.secondary));
        let ends = Ends { primary, secondary };
        let (shared, settled) = share(ends, limits, situation.subscribe(), &jobs, METRICS.clone());
        let applier = Applier::spawn(Arc::clone(&shared), jobs, settled);
        chance.note(format_args!("sidecar starts"));
        let seat = Seat { handoff, situation, sessions: Arc::default() };
        Self { seat, applier, shared }
    }

    /// SIGKILL.
    pub(super) fn kill(self) {
        for session in self.seat.sessions.lock().unwrap().drain(..) {
            session.abort();
        }
        self.applier.dispatch.abort();
        drop(self.applier.tasks);
    }

    /// A clean stop: the sessions end first.
    pub(super) async fn stop(self, patience: Duration) {
        for session in self.seat.sessions.lock().unwrap().drain(..) {
            session.abort();
        }
        self.applier.finish(patience).await;
    }

    /// Why it is not at rest yet.
    pub(super) fn unrest(&self, chance: &Chance) -> Option<String> {
        let under_way = self.shared.under_way.ranges();
        let bytes = self.seat.handoff.bytes();
        let strict = self.seat.handoff.strict_bytes();
        let breaker = self.shared.breaker.is_open();
        if breaker {
            chance.reached("breaker open");
        }
        let rest = under_way.is_empty() && bytes == 0 && strict == 0 && !breaker;
        (!rest).then(|| {
            format!("{bytes} and {strict} bytes, under way {under_way:?}, breaker open {breaker}")
        })
    }
}
