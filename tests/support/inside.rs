//! The proxy inside the test: a real PostgreSQL on one side, and on the other what it hands over.
//!
//! ```text
//! client() ──▶ listener, session ──▶ PostgreSQL
//!                    └──Job──▶ jobs (the test reads them; marks are answered at once)
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crossfade::backend::dial::Dialer;
use crossfade::backend::from_url::SslMode;
use crossfade::backend::postgres::{control, introspect};
use crossfade::backend::verifiers::Verifiers;
use crossfade::catalog::Capture;
use crossfade::catalog::naming::Naming;
use crossfade::change::Transaction;
use crossfade::demo::servers::{Product, login};
use crossfade::handoff::{self, Decision, Failure, Job, Settled};
use crossfade::lease::{Lease, LeaseMetrics};
use crossfade::listener::{Address, Listener, ListenerMetrics};
use crossfade::names::TableName;
use crossfade::phase::{Phase, Situation};
use crossfade::plan::seen;
use crossfade::policy::{CaptureChoice, Mode, Pattern, Policies, Policy};
use crossfade::served::SessionMetrics;
use crossfade::session::{CancelRegistry, Flow, FlowLimits, LoginConfig, Planners, Services};
use prometheus::Registry;
use tokio::sync::{mpsc, watch};
use tokio_postgres::{Client, NoTls};

use super::shared;

/// What the session handed over.
#[derive(Debug)]
pub enum Seen {
    Applied(Transaction),
    Drain,
    Dirty(Vec<TableName>, &'static str),
    Reload,
    /// A strict transaction, and how it was decided.
    Strict(Transaction, Decision),
}

pub struct Inside {
    pub port: u16,
    pub url: String,
    pub seen: mpsc::UnboundedReceiver<Seen>,
    pub situation: watch::Sender<Arc<Situation>>,
    pub registry: Registry,
    pub policies: Policies,
    /// What the secondary answers to strict transactions.
    pub refuse: Arc<std::sync::Mutex<Option<Failure>>>,
    _shutdown: watch::Sender<bool>,
}

pub fn policy(mode: Mode) -> Policy {
    Policy { mode, timeout: Duration::from_secs(5), capture: CaptureChoice::Auto, outbox: true }
}

/// A database with `schema`, set up for dual writes, and the proxy in front of it.
pub async fn start(database: &str, schema: &str, lines: &[(&str, Mode)]) -> Inside {
    let server = shared(Product::Postgres);
    let admin = connect(&server.url("postgres")).await;
    admin.batch_execute(&format!("DROP DATABASE IF EXISTS {database}")).await.unwrap();
    admin.batch_execute(&format!("CREATE DATABASE {database}")).await.unwrap();
    let url = server.url(database);
    let lines = lines.iter().map(|(pattern, mode)| (Pattern::new(pattern), policy(*mode)));
    let policies = Policies::new(lines.collect(), policy(Mode::Async));
    let own = connect(&url).await;
    own.batch_execute(schema).await.unwrap();
    own.batch_execute(&control::ddl()).await.unwrap();
    let situation = Arc::new(set_up(&own, &policies).await);
    serve(server.port(), url, policies, situation)
}

/// Registers the tables, installs triggers, and reads the catalogue.
pub async fn set_up(own: &Client, policies: &Policies) -> Situation {
    let naming = Naming::default();
    let catalog = introspect::introspect(own, policies, &naming).await.unwrap();
    let missing = Capture::Impossible("trigger_missing");
    for table in catalog.tables.values() {
        if !matches!(table.capture, Capture::Returning | Capture::Trigger)
            && table.capture != missing
        {
            continue;
        }
        own.execute(
            "INSERT INTO crossfade.tables (schema, name, capture, target) VALUES ($1, $2, '', '') \
             ON CONFLICT DO NOTHING",
            &[&table.name.schema(), &table.name.name()],
        )
        .await
        .unwrap();
    }
    let catalog = introspect::introspect(own, policies, &naming).await.unwrap();
    for table in catalog.tables.values() {
        if table.capture == missing {
            let statements = control::trigger(table, table.id.unwrap(), false);
            own.batch_execute(&statements.join(";")).await.unwrap();
        }
    }
    let catalog = introspect::introspect(own, policies, &naming).await.unwrap();
    let timeline = "SELECT substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)";
    let timeline = own.query_one(timeline, &[]).await.unwrap().get(0);
    Situation {
        phase: Phase::DualWrite,
        epoch: 1,
        timeline,
        catalog: Arc::new(catalog),
        server: 15,
    }
}

fn serve(server_port: u16, url: String, policies: Policies, situation: Arc<Situation>) -> Inside {
    let from = login("postgres", server_port, url.rsplit('/').next().unwrap(), SslMode::Disable);
    let registry = Registry::new();
    let (handoff, jobs) = handoff::channel(64 << 20);
    let (situation, published) = watch::channel(situation);
    let flow = Flow {
        planners: Planners::new(published, 1_000, statements()),
        handoff,
        lease: confirmed(),
        hold: crossfade::hold::Hold::default(),
        metrics: SessionMetrics::register(&registry).unwrap(),
        tally: crossfade::session::Tally::default(),
        limits: FlowLimits { hold: Duration::from_secs(5), ..FlowLimits::default() }.into(),
    };
    let login = LoginConfig {
        tls: None,
        dialer: Dialer::new(from.clone()).unwrap(),
        verifiers: Verifiers::new(&from, BTreeMap::new()).unwrap(),
        timeout: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(5),
        message_bytes_max: 10_000,
    };
    let (_login, login) = watch::channel(Arc::new(login));
    let (shutdown, ends) = watch::channel(false);
    let flow = Arc::new(flow);
    let services = Services { login, flow, cancels: CancelRegistry::default(), shutdown: ends };
    let (send, seen) = mpsc::unbounded_channel();
    let refuse = Arc::<std::sync::Mutex<Option<Failure>>>::default();
    tokio::spawn(observe(jobs, send, Arc::clone(&refuse)));
    let metrics = ListenerMetrics::register(&Registry::new()).unwrap();
    let (port, bound) = std::sync::mpsc::channel();
    // The proxy's runtime is its own, as in its own process.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let address = Address::Tcp { host: "127.0.0.1".to_owned(), port: 0 };
            let listener = Listener::bind(address, 100, metrics).await.unwrap();
            port.send(listener.port().unwrap()).unwrap();
            listener.serve(services.into(), Duration::from_secs(1)).await;
        });
    });
    let port = bound.recv().unwrap();
    Inside { port, url, seen, situation, registry, policies, refuse, _shutdown: shutdown }
}

/// An empty list of statements.
pub fn statements() -> Arc<seen::Seen> {
    let metrics = seen::SeenMetrics::register(&Registry::new()).unwrap();
    Arc::new(seen::Seen::new(1_000, std::time::Instant::now(), metrics))
}

/// A lease that no test outlives.
pub fn confirmed() -> Lease {
    let metrics = LeaseMetrics::register(&Registry::new()).unwrap();
    let lease = Lease::new(Duration::from_secs(86_400), metrics);
    lease.confirm(std::time::Instant::now());
    lease
}

async fn observe(
    mut jobs: handoff::Jobs,
    send: mpsc::UnboundedSender<Seen>,
    refuse: Arc<std::sync::Mutex<Option<Failure>>>,
) {
    let notices = jobs.notices();
    loop {
        // In the order in which one session speaks: it hands over before it notices.
        let job = tokio::select! {
            biased;
            job = jobs.recv() => job,
            gathered = notices.next() => {
                let dirty = gathered.by_reason().into_iter();
                let mut all: Vec<_> =
                    dirty.map(|(reason, tables)| Seen::Dirty(tables, reason)).collect();
                all.extend(gathered.reload.then_some(Seen::Reload));
                for done in gathered.waiting {
                    let _ = done.send(());
                }
                if all.into_iter().any(|seen| send.send(seen).is_err()) {
                    return;
                }
                continue;
            }
        };
        let Some(job) = job else { return };
        let seen = match job {
            Job::Apply { transaction, bytes, done } => {
                jobs.release(bytes);
                done.map(|done| done.send(Settled::Applied));
                Seen::Applied(transaction)
            }
            Job::Strict(strict) => {
                let failure = refuse.lock().unwrap().clone();
                let answer = failure.map_or(Ok(()), Err);
                let _ = strict.prepared.send(answer);
                let decision = strict.decision.await.unwrap_or(Decision::Rollback);
                let _ = strict.done.send(Settled::Applied);
                Seen::Strict(strict.transaction, decision)
            }
            Job::Drain { waiting } => {
                for done in waiting {
                    let _ = done.send(Settled::Applied);
                }
                Seen::Drain
            }
        };
        if send.send(seen).is_err() {
            return;
        }
    }
}

pub async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

impl Inside {
    /// Through the proxy.
    pub async fn client(&self) -> Client {
        let mut parts = self.url.rsplitn(2, '@');
        let path = parts.next().unwrap().split_once('/').unwrap().1;
        let login = parts.next().unwrap();
        connect(&format!("{login}@127.0.0.1:{}/{path}", self.port)).await
    }

    pub async fn direct(&self) -> Client {
        connect(&self.url).await
    }

    /// The next thing handed over, in short.
    pub async fn next(&mut self) -> String {
        match tokio::time::timeout(super::PATIENCE, self.seen.recv()).await {
            Ok(Some(Seen::Applied(transaction))) => short(&transaction),
            Ok(Some(Seen::Strict(transaction, decision))) => {
                format!("strict {} {decision:?}", short(&transaction))
            }
            Ok(Some(Seen::Drain)) => "drain".to_owned(),
            Ok(Some(Seen::Reload)) => "reload".to_owned(),
            Ok(Some(Seen::Dirty(tables, reason))) => {
                let tables: Vec<_> = tables.iter().map(ToString::to_string).collect();
                format!("dirty {} {reason}", tables.join(","))
            }
            Ok(None) => "closed".to_owned(),
            Err(_) => "nothing".to_owned(),
        }
    }

    /// Entries in the outbox: operation and table, in order.
    pub async fn outbox(&self) -> String {
        let direct = self.direct().await;
        let sql = "SELECT o.op::text || ' ' || t.name FROM crossfade.outbox o \
                   JOIN crossfade.tables t ON t.id = o.table_id ORDER BY o.id";
        let rows = direct.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>().join(", ")
    }
}

/// `insert users, move users, gone users`
fn short(transaction: &Transaction) -> String {
    use crossfade::change::Effect;
    let change = |change: &crossfade::change::Change| {
        let effect = match &change.effect {
            Effect::Put { image, .. } => format!("put{}", image.values.len()),
            Effect::Move { .. } => "move".to_owned(),
            Effect::Gone { .. } => "gone".to_owned(),
            Effect::Empty => "empty".to_owned(),
        };
        format!("{} {} {effect}", change.operation.as_str(), change.table.name)
    };
    transaction.changes.iter().map(change).collect::<Vec<_>>().join(", ")
}
