//! What happens while many clients write: a clean stop, a reload, a secondary that is down or slow, a
//! statement that writes more rows than memory holds, connections that die without a word.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable as _;
use tokio::task::JoinSet;
use tokio_postgres::NoTls;

use crate::support::process::Proxy;
use crate::support::relay::Relay;
use crate::support::{PATIENCE, ROLE, ROLE_PASSWORD, Target, World};

const CLIENTS: i32 = 8;
const SCHEMA: &str = "
    CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL DEFAULT 0);
    CREATE TABLE entry (id int PRIMARY KEY, account int);
";

/// Clients that write until they are told to stop, or their connection ends.
struct Load {
    stop: Arc<AtomicBool>,
    journal: Arc<Journal>,
    clients: JoinSet<()>,
}

/// What the clients were told.
#[derive(Default)]
struct Journal {
    next: AtomicI32,
    acknowledged: Mutex<Vec<i32>>,
    /// Transactions that ended although the client had not ended them.
    dropped: Mutex<Vec<String>>,
    /// Errors of any other kind.
    errors: Mutex<Vec<String>>,
}

impl Journal {
    fn written(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }
}

impl Load {
    async fn start(world: &World) -> Self {
        let (stop, journal) = (Arc::new(AtomicBool::new(false)), Arc::new(Journal::default()));
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let client = world.client().await;
            let (stop, journal) = (Arc::clone(&stop), Arc::clone(&journal));
            clients.spawn(async move {
                let mut round = number;
                while !stop.load(Ordering::Acquire) {
                    round += 1;
                    if !write(&client, &journal, round).await {
                        return;
                    }
                }
            });
        }
        Self { stop, journal, clients }
    }

    /// Waits for so many more acknowledged rows.
    async fn more(&self, world: &World, rows: usize) {
        let enough = self.journal.written() + rows;
        world.until("written", async || enough <= self.journal.written()).await;
    }

    /// Every client's end.
    async fn end(mut self) -> Arc<Journal> {
        self.stop.store(true, Ordering::Release);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
        self.journal
    }
}

/// One transaction: alone, or of three statements. False once the connection has ended.
async fn write(client: &tokio_postgres::Client, journal: &Journal, round: i32) -> bool {
    let id = journal.next.fetch_add(1, Ordering::AcqRel);
    let account = round % 5;
    let insert = format!("INSERT INTO entry VALUES ({id}, {account})");
    if round % 2 == 0 {
        return match client.batch_execute(&insert).await {
            Ok(()) => {
                journal.acknowledged.lock().unwrap().push(id);
                true
            }
            Err(error) => failed(journal, &error),
        };
    }
    if let Err(error) = client.batch_execute("BEGIN").await {
        return failed(journal, &error);
    }
    let count = format!("UPDATE account SET balance = balance + 1 WHERE id = {account}");
    for statement in [&insert, &count, "COMMIT"] {
        if let Err(error) = client.batch_execute(statement).await {
            if client.is_closed() || error.as_db_error().is_none() {
                journal.dropped.lock().unwrap().push(format!("{statement}: {error:?}"));
                return false;
            }
            let _in_any_case = client.batch_execute("ROLLBACK").await;
            return failed(journal, &error);
        }
    }
    journal.acknowledged.lock().unwrap().push(id);
    true
}

/// Between two transactions a connection may end, and only with these words.
fn failed(journal: &Journal, error: &tokio_postgres::Error) -> bool {
    let code = error.code().map(|code| code.code().to_owned());
    if error.is_closed() || code.as_deref() == Some("57P01") || code.is_none() {
        return false;
    }
    journal.errors.lock().unwrap().push(format!("{error:?}"));
    true
}

async fn filled(target: Target, tables: &str) -> World {
    let world = World::start(target, SCHEMA, tables).await;
    let client = world.client().await;
    client.batch_execute("INSERT INTO account SELECT generate_series(0, 4)").await.unwrap();
    world
}

/// All that was acknowledged is on both sides, and both are equal.
async fn nothing_lost(world: &World, journal: &Journal) {
    assert_eq!(*journal.dropped.lock().unwrap(), Vec::<String>::new(), "{}", world.log());
    assert_eq!(*journal.errors.lock().unwrap(), Vec::<String>::new(), "{}", world.log());
    let acknowledged = journal.acknowledged.lock().unwrap().clone();
    let there = "SELECT count(*) FROM entry WHERE id = ANY ($1)";
    let count: i64 = world.admin().await.query_one(there, &[&acknowledged]).await.unwrap().get(0);
    assert_eq!(usize::try_from(count).unwrap(), acknowledged.len());
    world.assert_all_equal().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_stop_loses_nothing_and_lets_open_transactions_end() {
    for mode in ["async", "blocking, timeout: 20s", "strict, timeout: 20s"] {
        let mut world = filled(Target::MariaDb, &format!("'*': {{ mode: {mode} }}")).await;
        let load = Load::start(&world).await;
        let long = world.client().await;
        long.batch_execute("BEGIN; INSERT INTO entry VALUES (-1, 1)").await.unwrap();
        load.more(&world, 200).await;
        let proxy = world.proxy.take().unwrap();
        let port = proxy.port;
        let stopped = tokio::task::spawn_blocking(move || proxy.stop());
        // Nobody new comes in; whoever is inside a transaction goes on to its end.
        let refused = async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err();
        world.until("closed to others", refused).await;
        long.batch_execute("INSERT INTO entry VALUES (-2, 1)").await.unwrap();
        long.batch_execute("COMMIT").await.unwrap();
        assert_eq!(stopped.await.unwrap(), Some(0));
        let journal = load.end().await;
        journal.acknowledged.lock().unwrap().extend([-1, -2]);
        // It has carried all of it before it ended.
        nothing_lost(&world, &journal).await;
        world.run().await;
        world.drained().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_drops_no_connection() {
    let world = filled(Target::MariaDb, "'*': { mode: async }").await;
    let load = Load::start(&world).await;
    let proxy = world.proxy.as_ref().unwrap();
    let mut mode = "mode: async";
    for (round, next) in [
        "mode: blocking, timeout: 20s",
        "mode: strict, timeout: 20s",
        "mode: async",
        "mode: strict, timeout: 21s",
        "mode: blocking, timeout: 21s",
    ]
    .into_iter()
    .enumerate()
    {
        load.more(&world, 50).await;
        world.edit(|text| {
            let text = text.lines().filter(|line| !line.starts_with("limits:"));
            let text: String = text.map(|line| format!("{line}\n")).collect();
            text.replace(mode, next) + &format!("limits: {{ plans: {} }}\n", 100 + round)
        });
        mode = next;
        proxy.reload();
        let plans = 100.0 + round as f64;
        world.until("taken", async || proxy.metric("limit{name=\"plans\"}").await == plans).await;
    }
    load.more(&world, 50).await;
    let journal = load.end().await;
    world.drained().await;
    nothing_lost(&world, &journal).await;
}

/// Those who do not end in time are cut off: what they had open is rolled back, and the outbox has the
/// rest, though the secondary hangs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_at_its_limit_whoever_hangs() {
    let mut world = World::alone(Target::MariaDb, "'*': { mode: async }").await;
    world.direct().await.batch_execute(SCHEMA).await.unwrap();
    world.edit(|text| text + "limits: { shutdown: 1s }\n");
    world.setup();
    world.run().await;
    let client = world.client().await;
    client.batch_execute("INSERT INTO entry VALUES (1, 1)").await.unwrap();
    world.drained().await;
    world.follower.as_ref().unwrap().pause();
    client.batch_execute("INSERT INTO entry VALUES (2, 1)").await.unwrap();
    client.batch_execute("BEGIN; INSERT INTO entry VALUES (3, 1)").await.unwrap();
    let proxy = world.proxy.take().unwrap();
    let log = world.config.with_file_name("log");
    let stopped = tokio::task::spawn_blocking(move || proxy.stop()).await.unwrap();
    assert_eq!(stopped, Some(0));
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("sessions were still open at the end of limits.shutdown"), "{log}");
    client.batch_execute("COMMIT").await.unwrap_err();
    world.follower.as_ref().unwrap().resume();
    world.run().await;
    world.drained().await;
    world.assert_all_equal().await;
    let ids = "SELECT array_agg(id ORDER BY id) FROM entry";
    let ids: Vec<i32> = world.admin().await.query_one(ids, &[]).await.unwrap().get(0);
    assert_eq!(ids, [1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_secondary_is_not_waited_for_until_it_is_quick_again() {
    let world = filled(Target::MariaDb, "'*': { mode: blocking, timeout: 300ms }").await;
    world.drained().await;
    let (client, proxy) = (world.client().await, world.proxy.as_ref().unwrap());
    let mut secondary = world.secondary().await;
    secondary.query_drop("LOCK TABLES account WRITE, entry WRITE").await.unwrap();
    let mut id = 0;
    world
        .until("slow", async || {
            id += 1;
            let write = format!("INSERT INTO entry VALUES ({id}, 1)");
            client.batch_execute(&write).await.unwrap();
            proxy.metric("secondary_slow").await == 1.0
        })
        .await;
    let vain = "blocking_timeouts_total";
    let before = proxy.metric(vain).await;
    assert!(before >= 3.0, "{before}");
    for _ in 0..20 {
        id += 1;
        client.batch_execute(&format!("INSERT INTO entry VALUES ({id}, 1)")).await.unwrap();
    }
    assert_eq!(proxy.metric(vain).await, before, "nobody waits for it any more");
    assert!(proxy.log().contains("secondary is slow"), "{}", proxy.log());
    secondary.query_drop("UNLOCK TABLES").await.unwrap();
    world
        .until("quick", async || {
            id += 1;
            let write = format!("UPDATE account SET balance = {id} WHERE id = 1");
            client.batch_execute(&write).await.unwrap();
            proxy.metric("secondary_slow").await == 0.0
        })
        .await;
    assert!(proxy.log().contains("secondary is quick again"), "{}", proxy.log());
    world.drained().await;
    world.assert_all_equal().await;
}

/// The most memory that it ever had, in MiB.
fn most_memory(proxy: &Proxy) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", proxy.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secondary_that_is_down_under_load_is_caught_up_with_by_fewer_applies_than_writes() {
    let mut world = World::alone(Target::MariaDb, "'*': { mode: blocking, timeout: 1s }").await;
    world.direct().await.batch_execute(SCHEMA).await.unwrap();
    world.setup();
    world.run().await;
    let client = world.client().await;
    client.batch_execute("INSERT INTO account SELECT generate_series(0, 4)").await.unwrap();
    world.drained().await;
    world.follower.as_mut().unwrap().kill9();
    let proxy = world.proxy.as_ref().unwrap();
    let (load, started) = (Load::start(&world).await, Instant::now());
    load.more(&world, 1500).await;
    world.until("open", async || proxy.metric("breaker_open").await == 1.0).await;
    load.more(&world, 1500).await;
    // It tells the truth, which is never younger than what is told.
    let admin = world.admin().await;
    let age =
        "SELECT extract(epoch FROM clock_timestamp() - min(at))::float8 FROM crossfade.outbox";
    let oldest = proxy.metric("oldest_unreplicated_seconds").await;
    let truth: f64 = admin.query_one(age, &[]).await.unwrap().get(0);
    assert!(0.0 < oldest && oldest <= truth, "{oldest} {truth}");
    let journal = load.end().await;
    let writing = started.elapsed();
    assert_eq!(*journal.errors.lock().unwrap(), Vec::<String>::new());
    let count = async |sql: &str| admin.query_one(sql, &[]).await.unwrap().get::<_, i64>(0);
    let entries = count("SELECT count(*) FROM crossfade.outbox").await;
    let updates = count(
        "SELECT count(*) FROM crossfade.outbox o JOIN crossfade.tables t ON t.id = o.table_id \
         WHERE t.name = 'account'",
    )
    .await;
    world.follower.as_mut().unwrap().start_again().unwrap();
    let started = Instant::now();
    world.drained().await;
    let catching_up = started.elapsed();
    nothing_lost(&world, &journal).await;
    let proxy = world.proxy.as_ref().unwrap();
    let applies = proxy
        .metric("writes_total{mode=\"blocking\",operation=\"update\",outcome=\"applied\",table=\"account\"}")
        .await;
    eprintln!(
        "{entries} entries written in {writing:?}, caught up in {catching_up:?}; \
         {updates} updates of 5 rows by {applies} applies; most memory {} MiB",
        most_memory(proxy)
    );
    assert!(applies * 2.0 < updates as f64, "{applies} applies for {updates} entries");
    world
        .until("nothing waits any more", async || {
            proxy.metric("oldest_unreplicated_seconds").await == 0.0
        })
        .await;
}

/// `CROSSFADE_BULK_ROWS=1000000` for the whole of it.
fn bulk_rows() -> i64 {
    std::env::var("CROSSFADE_BULK_ROWS").map_or(60_000, |rows| rows.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_statement_over_a_whole_large_table_stays_within_memory_and_arrives() {
    /// limits.transaction_bytes, what a drain reads at once, and the process itself.
    const MEMORY_MIB_MAX: u64 = 128;
    let mut world = World::bare(Target::MariaDb, "'*': { mode: blocking, timeout: 100ms }").await;
    let schema = "CREATE TABLE large (id int PRIMARY KEY, note text, n int)";
    world.direct().await.batch_execute(schema).await.unwrap();
    // Less than the rows take, so that the outbox has to serve.
    world.edit(|text| text + "limits: { transaction_bytes: 4MiB, queue_bytes: 16MiB }\n");
    world.setup();
    world.run().await;
    let (client, admin) = (world.client().await, world.admin().await);
    let left = async || {
        let count = "SELECT count(*) FROM crossfade.outbox";
        admin.query_one(count, &[]).await.unwrap().get::<_, i64>(0)
    };
    // However long it takes, it goes on.
    let drained = async || {
        let (mut last, mut since) = (i64::MAX, Instant::now());
        loop {
            match left().await {
                0 => return,
                now if now < last => (last, since) = (now, Instant::now()),
                now => assert!(since.elapsed() < PATIENCE, "{now} entries stay\n{}", world.log()),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let rows = bulk_rows();
    let insert =
        format!("INSERT INTO large SELECT g, repeat('x', 60), 0 FROM generate_series(1, {rows}) g");
    for statement in [&insert, "UPDATE large SET n = n + 1, note = note || id"] {
        let started = Instant::now();
        client.batch_execute(statement).await.unwrap();
        let (written, started) = (started.elapsed(), Instant::now());
        drained().await;
        let memory = most_memory(world.proxy.as_ref().unwrap());
        eprintln!(
            "{rows} rows written in {written:?}, carried in {:?}, {memory} MiB",
            started.elapsed()
        );
        assert!(memory < MEMORY_MIB_MAX, "{memory} MiB");
    }
    world.assert_equal("large").await;
}

/// Connections that carry nothing any more and do not end: no packet says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_died_without_a_word_are_made_anew() {
    let mut world = World::bare(Target::MariaDb, "'*': { mode: blocking, timeout: 200ms }").await;
    let relay = Relay::start(world.postgres_port());
    world.through(&relay);
    world.edit(|text| text + "limits: { primary_timeout: 1s, poll: 100ms, lease: 3s }\n");
    world.direct().await.batch_execute(SCHEMA).await.unwrap();
    world.setup();
    world.run().await;
    world.client().await.batch_execute("INSERT INTO entry VALUES (1, 1)").await.unwrap();
    world.drained().await;
    relay.freeze();
    let mut id = 1;
    world
        .until("written again", async || {
            id += 1;
            let mut config = tokio_postgres::Config::new();
            config.host("127.0.0.1").port(world.proxy_port()).user(ROLE).password(ROLE_PASSWORD);
            let connected = config.dbname(&world.database).connect(NoTls).await;
            let Ok((client, connection)) = connected else { return false };
            tokio::spawn(connection);
            client.batch_execute(&format!("INSERT INTO entry VALUES ({id}, 1)")).await.is_ok()
        })
        .await;
    // Settling and draining alike; without a limit the entries would stay for ever.
    world.drained().await;
    world.assert_all_equal().await;
}
