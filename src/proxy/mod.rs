//! proxy.yaml → a running sidecar: which tasks there are, in what order they start and end.
//!
//! ```text
//! start:  telemetry ─▶ metrics ─▶ sockets ─▶ workers (apply, store, watch) ─▶ sessions ─▶ admin
//! end:    no more accepts ─▶ sessions end (limits.shutdown) ─▶ apply empties its queue ─▶ the rest
//! ```
//!
//! Invariant: a sidecar starts whether or not its databases answer; who cannot be served is told so.
//! It ends once every session has, or once `limits.shutdown` has passed.
//!
//! Not here: any of the work. Tasks meet at the values they are given here.

mod copying;
mod counting;
mod heard;
pub mod ledger;
mod login;
mod modes;
mod reload;
mod repair;
mod switching;
mod turns;
mod verifying;
mod watch;
mod workers;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch as channel};
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::admin::{
    self, AdminMetrics, Counts, Fresh, Health, Ledger, Published, REQUESTS_MAX, Request, Teller,
    Token, Work,
};
use crate::answer::{self, AnswerConfig, Cancels, Plans, Shelf, ShelfMetrics};
use crate::backend::tls::TlsError;
use crate::config::{Config, ConfigError, LimitMetrics, LimitsConfig, ShadowConfig};
use crate::handoff::{self, Handoff, Jobs};
use crate::hold::{Hold, HoldMetrics};
use crate::lease::{Lease, LeaseMetrics};
use crate::listener::{ListenError, Listener, ListenerMetrics, Seats};
use crate::metrics::Metrics;
use crate::parts::PartsMetrics;
use crate::phase::{Situation, Views};
use crate::plan::seen::{Seen, SeenMetrics};
use crate::policy::Policies;
use crate::route::{PartServices, Services};
use crate::served::SessionMetrics;
use crate::session::{self, CancelRegistry, Flow, FlowLimits, LoginConfig, Planners, Tally};
use crate::shadow::ShadowLimits;
use crate::telemetry::Telemetry;

use copying::Copying;
use repair::Repairs;
use switching::Switching;
use turns::Reported;
use verifying::Verifying;
use watch::Databases;
use workers::Workers;

/// Why the sidecar did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("listen.address")]
    Listen(#[from] ListenError),
    #[error("admin.address: could not listen on {address}")]
    Admin { address: SocketAddr, source: std::io::Error },
    #[error("certificates")]
    Tls(#[from] TlsError),
    #[error("metrics")]
    Metrics(#[from] prometheus::Error),
}

/// A running sidecar.
#[derive(Debug)]
pub struct Proxy {
    /// The port that clients connect to; `None` on a unix socket.
    pub port: Option<u16>,
    pub admin: SocketAddr,
    published: Published,
    stop: channel::Sender<bool>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts what `config` asks for. `file` is read again on reload; `telemetry` is the process's
    /// own, where this sidecar may change it.
    pub async fn start(
        config: Config,
        file: PathBuf,
        telemetry: Option<Telemetry>,
    ) -> Result<Self, StartError> {
        let metrics = Metrics::new()?;
        let clients = ListenerMetrics::register(metrics.own())?;
        let limits = &config.limits;
        let address = config.listen.address.clone();
        let listener = Listener::bind(address, limits.max_connections, clients).await?;
        let admin = bind_admin(config.admin.address).await?;
        let (port, admin_address) = (listener.port(), admin_address(&admin, &config)?);
        let (parts, jobs) = Parts::new(&config, &metrics)?;
        let workers = Workers::start(&config, &parts, &metrics, jobs)?;
        let (published, stop) = (parts.published(&metrics), parts.stop.clone());
        let running = Running {
            config,
            file,
            telemetry,
            seats: listener.seats(),
            copying: Copying::new(Teller::new(parts.work.clone(), |work| &mut work.backfill)),
            verifying: Verifying::new(Teller::new(parts.work.clone(), |work| &mut work.verify)),
            parts,
            workers,
            repairs: Repairs::default(),
            switching: Switching::default(),
        };
        let task = tokio::spawn(running.run(listener, admin, published.clone()));
        Ok(Self { port, admin: admin_address, published, stop, task })
    }

    /// What the admin port shows, for whoever runs in the same process.
    #[must_use]
    pub fn published(&self) -> &Published {
        &self.published
    }

    /// Asks for the end, which [`Self::ended`] waits for.
    #[must_use]
    pub fn stopper(&self) -> channel::Sender<bool> {
        self.stop.clone()
    }

    /// Waits until everything has ended.
    pub async fn ended(self) {
        // A panic of the task was logged where it happened.
        drop(self.task.await);
    }
}

async fn bind_admin(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Admin { address, source })
}

/// What sessions that begin are bound by.
fn flow_limits(limits: &LimitsConfig) -> FlowLimits {
    FlowLimits {
        statement_bytes_max: limits.statement_bytes,
        images_bytes_max: limits.transaction_bytes,
        hold: limits.hold,
    }
}

/// The address with the port that the kernel chose, where 0 was asked for.
fn admin_address(listener: &TcpListener, config: &Config) -> Result<SocketAddr, StartError> {
    let address = config.admin.address;
    listener.local_addr().map_err(|source| StartError::Admin { address, source })
}

/// Where tasks meet: the sending ends, and what is handed to each.
#[derive(Debug)]
struct Parts {
    stop: channel::Sender<bool>,
    login: channel::Sender<Arc<LoginConfig>>,
    token: channel::Sender<Option<Token>>,
    databases: channel::Sender<Arc<Databases>>,
    health: channel::Sender<Arc<Health>>,
    ledger: channel::Sender<Arc<Ledger>>,
    counts: channel::Sender<Arc<Counts>>,
    work: channel::Sender<Arc<Work>>,
    /// Chosen at random at each start.
    sidecar: Arc<str>,
    /// What PostgreSQL's end goes by, and what MySQL's does: the same, but where they lead different tables.
    situation: channel::Sender<Arc<Situation>>,
    beyond: channel::Sender<Arc<Situation>>,
    /// Whether MySQL may answer for the tables that it leads by themselves.
    part_lease: Lease,
    parts_metrics: PartsMetrics,
    requests: (mpsc::Sender<Request>, mpsc::Receiver<Request>),
    cancels: CancelRegistry,
    flow: Arc<Flow>,
    /// What carries writes to PostgreSQL while it is MySQL's turn.
    reverse: Handoff,
    answer: channel::Sender<Arc<AnswerConfig>>,
    reported: channel::Sender<Reported>,
    answer_cancels: Cancels,
    shelf: Shelf,
    policies: channel::Sender<Arc<Policies>>,
    shadow: channel::Sender<ShadowLimits>,
    limits: LimitMetrics,
    admin: AdminMetrics,
    fresh: Fresh,
}

impl Parts {
    /// The other half is what comes out of the sessions.
    fn new(config: &Config, metrics: &Metrics) -> Result<(Self, [Jobs; 2]), StartError> {
        let limits = &config.limits;
        let situation = channel::Sender::new(Arc::new(Situation::transparent()));
        let beyond = channel::Sender::new(Arc::clone(&situation.borrow()));
        let (handoff, jobs) = handoff::channel(limits.queue_bytes);
        handoff.register(metrics.own())?;
        let (reverse, jobs_back) = handoff::channel(limits.queue_bytes);
        let seen = SeenMetrics::register(metrics.own())?;
        let begun = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let begun = i64::try_from(begun.as_micros()).unwrap_or(i64::MAX);
        let seen = Seen::new(limits.statements, Instant::now(), seen).begun(begun);
        let flow = Flow {
            planners: Planners::new(situation.subscribe(), limits.plans, Arc::new(seen)),
            handoff,
            lease: Lease::new(limits.lease, LeaseMetrics::register(metrics.own())?),
            hold: Hold::new(HoldMetrics::register(metrics.own())?),
            metrics: SessionMetrics::register(metrics.own())?,
            tally: Tally::default(),
            limits: flow_limits(limits).into(),
        };
        let ledger = channel::Sender::new(Arc::new(Ledger::default()));
        let parts = Self {
            stop: channel::Sender::new(false),
            login: channel::Sender::new(Arc::new(login::config(config)?)),
            token: channel::Sender::new(config.admin.token.clone()),
            databases: channel::Sender::new(Arc::new(Databases {
                from: config.from.clone(),
                to: config.to.clone(),
            })),
            health: channel::Sender::new(Arc::new(Health::unknown())),
            counts: channel::Sender::default(),
            work: channel::Sender::default(),
            sidecar: format!("{:016x}", rand::random::<u64>()).into(),
            situation,
            beyond,
            part_lease: Lease::new(limits.lease, LeaseMetrics::register_part(metrics.own())?),
            parts_metrics: PartsMetrics::register(metrics.own())?,
            requests: mpsc::channel(REQUESTS_MAX),
            cancels: CancelRegistry::default(),
            flow: Arc::new(flow),
            reverse,
            answer: channel::Sender::new(Arc::new(turns::config(config)?)),
            reported: channel::Sender::new(Arc::default()),
            answer_cancels: Cancels::default(),
            shelf: Shelf::new(limits.prepared, Some(ShelfMetrics::register(metrics.own())?)),
            policies: channel::Sender::new(Arc::new(config.tables.clone())),
            shadow: channel::Sender::new(config.shadow.limits),
            limits: LimitMetrics::register(metrics.own())?,
            admin: AdminMetrics::register(metrics.own(), ledger.subscribe())?,
            fresh: Fresh::default(),
            ledger,
        };
        parts.limits.show(limits);
        parts.take_shadow(&config.shadow);
        Ok((parts, [jobs, jobs_back]))
    }

    /// How many reads are tried on the secondary, and how.
    fn take_shadow(&self, shadow: &ShadowConfig) {
        self.flow.handoff.reads().set(shadow.share, shadow.limits.bytes_max);
        self.shadow.send_replace(shadow.limits);
    }

    fn published(&self, metrics: &Metrics) -> Published {
        Published {
            situation: self.situation.subscribe(),
            beyond: self.beyond.subscribe(),
            ledger: self.ledger.subscribe(),
            counts: self.counts.subscribe(),
            work: self.work.subscribe(),
            health: self.health.subscribe(),
            lease: self.flow.lease.clone(),
            sidecar: Arc::clone(&self.sidecar),
            statements: self.flow.planners.seen(),
            registries: metrics.registries().into(),
            token: self.token.subscribe(),
            requests: self.requests.0.clone(),
            metrics: self.admin.clone(),
            fresh: self.fresh.clone(),
        }
    }

    /// `plans`: translated statements kept, at most.
    fn services(&self, plans: usize) -> Services {
        let session = session::Services {
            login: self.login.subscribe(),
            flow: Arc::clone(&self.flow),
            cancels: self.cancels.clone(),
            shutdown: self.stop.subscribe(),
        };
        let answer = answer::Services {
            config: self.answer.subscribe(),
            situation: self.beyond.subscribe(),
            lease: self.flow.lease.clone(),
            hold: self.flow.hold.clone(),
            reported: self.reported.subscribe(),
            plans: Arc::new(Plans::new(plans)),
            shelf: self.shelf.clone(),
            cancels: self.answer_cancels.clone(),
            handoff: Some(self.reverse.clone()),
            metrics: Some(self.flow.metrics.clone()),
            seen: Some(self.flow.planners.seen()),
            shutdown: self.stop.subscribe(),
        };
        let (lease, metrics) = (self.part_lease.clone(), self.parts_metrics.clone());
        Services { session, answer: Some(answer), parts: Some(PartServices { lease, metrics }) }
    }
}

/// What one task owns while the sidecar runs.
#[derive(Debug)]
struct Running {
    config: Config,
    file: PathBuf,
    telemetry: Option<Telemetry>,
    seats: Arc<Seats>,
    parts: Parts,
    workers: Workers,
    repairs: Repairs,
    switching: Switching,
    copying: Copying,
    verifying: Verifying,
}

impl Running {
    async fn run(mut self, listener: Listener, admin: TcpListener, published: Published) {
        let (admin_stop, admin_stopped) = channel::channel(false);
        let admin = tokio::spawn(admin::serve(admin, published, admin_stopped));
        let services = self.parts.services(self.config.limits.plans);
        let sessions = listener.serve(services, self.config.limits.shutdown);
        let mut sessions = tokio::spawn(sessions);
        let left = loop {
            tokio::select! {
                Some(request) = self.parts.requests.1.recv() => self.answer(request),
                left = &mut sessions => break left.unwrap_or(0),
            }
        };
        if left > 0 {
            warn!(sessions = left, "sessions were still open at the end of limits.shutdown");
        }
        self.verifying.finish();
        self.copying.finish(self.config.limits.shutdown).await;
        self.workers.finish(self.config.limits.shutdown).await;
        admin_stop.send_replace(true);
        drop(admin.await);
        info!("stopped");
    }

    fn answer(&mut self, request: Request) {
        match request {
            Request::Reload { reply } => {
                let taken = self.reload();
                if let Err(error) = &taken {
                    warn!(%error, "configuration not taken, the old one holds");
                }
                // Whoever asked may have given up waiting.
                drop(reply.send(taken));
            }
            Request::Repair { wanted, reply } => {
                let views = Views {
                    postgres: Arc::clone(&self.parts.situation.borrow()),
                    mysql: Arc::clone(&self.parts.beyond.borrow()),
                };
                self.repairs.start(&self.config, views, wanted, reply);
            }
            Request::Switching(wanted) => {
                let policies = Policies::clone(&self.parts.policies.borrow());
                self.switching.start(&self.config, policies, wanted);
            }
            Request::Forget { fingerprints, reply } => {
                let seen = self.parts.flow.planners.seen();
                self.switching.forget(&self.config, seen, fingerprints, reply);
            }
            Request::Backfill { wanted, reply } => {
                let policies = Policies::clone(&self.parts.policies.borrow());
                drop(reply.send(self.copying.start(&self.config, policies, wanted)));
            }
            Request::Verify { tables, reply } => {
                let policies = Policies::clone(&self.parts.policies.borrow());
                drop(reply.send(self.verifying.start(&self.config, policies, tables)));
            }
            Request::PauseBackfill { paused, reply } => {
                self.copying.pause(&self.config, paused, reply);
            }
            Request::SetMode { table, mode, reply } => {
                drop(reply.send(self.set_mode(&table, mode)));
            }
        }
    }
}
