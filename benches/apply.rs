//! How many changes a second reach the secondary: from images in memory, and from the outbox.
//!
//! ```text
//! cargo bench --bench apply            MariaDB; with `-- mysql` MySQL
//! ```
//!
//! One client transaction per row, as an auth service writes them. PostgreSQL only holds the outbox
//! while images are measured; the drain also reads every row again there.

#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]
#![allow(clippy::print_stdout, reason = "its result is what it prints")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossfade::apply::{self, ApplyLimits, ApplyMetrics};
use crossfade::backend::from_url::SslMode;
use crossfade::backend::mysql::connect::{self, LinkLimits};
use crossfade::backend::postgres::connect::Connector;
use crossfade::backend::postgres::introspect;
use crossfade::catalog::Table;
use crossfade::catalog::naming::Naming;
use crossfade::change::{Change, Effect, Key, Operation, RowImage, Transaction, Version};
use crossfade::control::Ends;
use crossfade::control::setup::{Extent, setup};
use crossfade::demo::servers::{Options, Product, Server, login};
use crossfade::handoff::{self, Handoff};
use crossfade::names::{EntryId, TableName};
use crossfade::phase::{Phase, Situation};
use crossfade::policy::{CaptureChoice, Mode, Policies, Policy};
use prometheus::Registry;
use tokio::sync::watch;
use tokio_postgres::Client;

const ROWS: usize = 20_000;
const SCHEMA: &str = "CREATE TABLE session (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), \
     token text NOT NULL UNIQUE, user_id int NOT NULL, data jsonb NOT NULL DEFAULT '{\"a\": 1}', \
     created_at timestamptz NOT NULL DEFAULT now(), expires_at timestamptz, \
     ip inet DEFAULT '10.0.0.1', agent text DEFAULT 'Mozilla/5.0 (X11; Linux x86_64)')";
const INSERT: &str = "INSERT INTO session (token, user_id) \
     SELECT md5(random()::text), g FROM generate_series(1, $1::int) g";
const UPDATE: &str =
    "UPDATE session SET expires_at = now(), user_id = user_id + 1 WHERE $1::int > 0";

#[tokio::main(worker_threads = 2)]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    // `cargo test --benches` only wants to see it start.
    if arguments.iter().any(|argument| argument == "--test") {
        return;
    }
    let mysql = arguments.iter().any(|argument| argument == "mysql");
    let product = if mysql { Product::MySql } else { Product::MariaDb };
    let bench = Bench::start(product).await;
    for (name, operation, statement) in
        [("insert", Operation::Insert, INSERT), ("update", Operation::Update, UPDATE)]
    {
        let changes = bench.capture(operation, statement).await;
        let started = Instant::now();
        for change in changes {
            bench.handoff.apply(transaction(change), None);
        }
        bench.report(&format!("{name} from images"), started).await;
    }
    drop(bench.capture(Operation::Update, UPDATE).await);
    let started = Instant::now();
    bench.handoff.drain(None);
    bench.report("update from the outbox", started).await;
}

struct Bench {
    client: Client,
    table: Arc<Table>,
    handoff: Handoff,
    // They end with the process.
    _applier: apply::Applier,
    _situation: watch::Sender<Arc<Situation>>,
    _servers: [Server; 2],
}

impl Bench {
    async fn start(product: Product) -> Self {
        let servers = [Product::Postgres, product]
            .map(|product| Server::start(product, Options::default()).unwrap());
        let from = login("postgres", servers[0].port(), "postgres", SslMode::Disable);
        let to = login("root", servers[1].port(), "test", connect::SslMode::Disabled);
        let from = Connector::new(from).unwrap();
        let client = from.connect().await.unwrap();
        client.batch_execute(&SCHEMA.replace("session (", "public.session (")).await.unwrap();
        let policy = Policy {
            mode: Mode::Async,
            timeout: Duration::from_secs(1),
            capture: CaptureChoice::Returning,
            outbox: true,
        };
        let policies = Policies::new(Vec::new(), policy);
        let limits = LinkLimits::default();
        let ends = Ends { from: from.clone(), to: to.clone(), limits };
        setup(&ends, &policies, &Naming::default(), Extent::Create).await.unwrap();
        client.batch_execute("SET search_path = public").await.unwrap();
        let catalog = introspect::introspect(&client, &policies, &Naming::default()).await.unwrap();
        let table = Arc::clone(catalog.by_name(&TableName::parse("session")).unwrap());
        let situation = Situation {
            phase: Phase::DualWrite,
            epoch: 1,
            catalog: Arc::new(catalog),
            ..Situation::transparent()
        };
        let situation = watch::Sender::new(Arc::new(situation));
        let (handoff, jobs) = handoff::channel(1 << 30);
        let metrics = ApplyMetrics::register(&Registry::new()).unwrap();
        let limits = ApplyLimits { grace: Duration::from_secs(600), ..ApplyLimits::default() };
        let applier = apply::start(from, to, limits, situation.subscribe(), jobs, metrics);
        Self { client, table, handoff, _applier: applier, _situation: situation, _servers: servers }
    }

    async fn capture(&self, operation: Operation, statement: &str) -> Vec<Change> {
        let sql = format!(
            "WITH w AS ({statement} RETURNING nextval('crossfade.outbox_id') AS id, \
             pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint AS lsn, \
             record_send(ROW(session.id)) AS key, record_send(ROW(session.*)) AS image), \
             o AS (INSERT INTO crossfade.outbox (id, table_id, op, key, epoch, counter, n) \
             SELECT id, {}, '{}', key, 1, lsn, 1 FROM w) SELECT id, lsn, key, image FROM w",
            self.table.id.unwrap(),
            operation.letter()
        );
        let rows = i32::try_from(ROWS).unwrap();
        let rows = self.client.query(&sql, &[&rows]).await.unwrap();
        let change = |row: &tokio_postgres::Row| {
            let key = Key::decode(Bytes::from(row.get::<_, Vec<u8>>(2)), &self.table).unwrap();
            let image = Bytes::from(row.get::<_, Vec<u8>>(3));
            let image = RowImage::decode(&image, &self.table).unwrap();
            let counter = row.get::<_, i64>(1).unsigned_abs();
            Change {
                table: Arc::clone(&self.table),
                operation,
                version: Version { epoch: 1, counter, n: 1 },
                entry: Some(EntryId(row.get(0))),
                effect: Effect::Put { key, image },
            }
        };
        rows.iter().map(change).collect()
    }

    /// Waits until the outbox is empty, and prints the rate.
    async fn report(&self, what: &str, started: Instant) {
        let left = "SELECT count(*) FROM crossfade.outbox";
        while self.client.query_one(left, &[]).await.unwrap().get::<_, i64>(0) > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let seconds = started.elapsed().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = ROWS as f64 / seconds;
        println!("{what}: {ROWS} rows in {seconds:.2} s, {rate:.0} rows/s");
    }
}

fn transaction(change: Change) -> Transaction {
    Transaction { changes: vec![change], mode: Mode::Async, timeout: Duration::from_secs(1) }
}
