//! After a switchover: MySQL leads, and the applier brings its rows to PostgreSQL.
//!
//! The writes are made by hand here, as a session will: the row, its fence entry raised by one, and the
//! outbox entry, in one transaction of MySQL's.

use std::sync::Arc;

use crossfade::apply::{self, Applier, ApplyLimits, ApplyMetrics};
use crossfade::backend::mysql::outbox;
use crossfade::backend::postgres::connect::Connector;
use crossfade::backend::postgres::{follow, introspect};
use crossfade::catalog::Table;
use crossfade::catalog::naming::Naming;
use crossfade::change::{Change, Effect, Key, Operation, RowImage, Transaction, Version};
use crossfade::config::Config;
use crossfade::control::Ends;
use crossfade::control::setup::{Extent, setup};
use crossfade::handoff::{self, Handoff, Settled};
use crossfade::names::{EntryId, TableName};
use crossfade::phase::{Phase, Situation};
use crossfade::policy::Mode;
use crossfade::value::Value;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, TxOpts};
use prometheus::Registry;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::{oneshot, watch};

use crate::support::{PATIENCE, Target, World};

const EPOCH: u64 = 2;
const SCHEMA: &str = "CREATE TABLE users (id int PRIMARY KEY, email text NOT NULL, note jsonb, at timestamptz); \
     CREATE TABLE sessions (id uuid PRIMARY KEY, \
         user_id int NOT NULL REFERENCES users ON DELETE CASCADE, data bytea); \
     INSERT INTO users VALUES (100, 'old', '{\"a\": 1}', '2024-01-01 00:00:00+00')";
/// As setup would carry the old row.
const OLD: &str = "INSERT INTO users VALUES (100, 'old', '{\"a\": 1}', '2024-01-01 00:00:00')";

struct Switched {
    world: World,
    handoff: Handoff,
    situation: watch::Sender<Arc<Situation>>,
    applier: Option<Applier>,
}

impl Switched {
    async fn start(target: Target) -> Self {
        let world = World::bare(target, "").await;
        world.direct().await.batch_execute(SCHEMA).await.unwrap();
        let config = Config::load(&world.config).unwrap();
        let from = Connector::new(config.from.clone()).unwrap();
        let limits = ApplyLimits::default();
        let ends = Ends { from, to: config.to.clone(), limits: limits.link };
        setup(&ends, &config.tables, &Naming::default(), Extent::Create).await.unwrap();
        let (admin, mut secondary) = (world.admin().await, world.secondary().await);
        admin.batch_execute(follow::DDL).await.unwrap();
        let turn = i64::try_from(EPOCH * 2 + 1).unwrap();
        admin.execute("SELECT setval('crossfade.epoch', $1)", &[&turn]).await.unwrap();
        for statement in outbox::CREATE {
            secondary.query_drop(*statement).await.unwrap();
        }
        secondary.query_drop(format!("UPDATE crossfade_state SET epoch = {EPOCH}")).await.unwrap();
        secondary.query_drop(OLD).await.unwrap();
        let policies = &config.tables;
        let catalog = introspect::introspect(&admin, policies, &Naming::default()).await.unwrap();
        let situation = Situation {
            phase: Phase::Switched,
            epoch: EPOCH,
            catalog: Arc::new(catalog),
            ..Situation::transparent()
        };
        let situation = watch::Sender::new(Arc::new(situation));
        let (handoff, jobs) = handoff::channel(64 << 20);
        let metrics = ApplyMetrics::register(&Registry::new()).unwrap();
        let now = situation.subscribe();
        let applier = apply::start_reversed(ends.to, ends.from, limits, now, jobs, metrics);
        Self { world, handoff, situation, applier: Some(applier) }
    }

    fn table(&self, name: &str) -> Arc<Table> {
        let situation = self.situation.borrow();
        Arc::clone(situation.catalog.by_name(&TableName::parse(name)).unwrap())
    }

    async fn drain(&self) -> Settled {
        let (done, settled) = oneshot::channel();
        self.handoff.drain(Some(done));
        tokio::time::timeout(PATIENCE, settled).await.unwrap().unwrap()
    }

    /// Drains until MySQL's outbox is empty, and compares both sides.
    async fn assert_equal(&self) {
        let mut conn = self.world.secondary().await;
        self.world
            .until("the outbox is empty", async || {
                self.drain().await;
                let left = "SELECT CONCAT_WS(' ', table_id, op, attempts, last_error) FROM crossfade_outbox";
                let left: Vec<String> = conn.query(left).await.unwrap();
                assert!(!left.iter().any(|entry| entry.contains(" 3 ")), "{left:?}");
                left.is_empty()
            })
            .await;
        self.world.assert_equal("users").await;
        self.world.assert_equal("sessions").await;
    }

    async fn finish(mut self) {
        drop(self.handoff);
        self.applier.take().unwrap().finish(PATIENCE).await;
    }
}

/// One statement on one row, captured: answers with the change's counter and its entry.
async fn capture(
    conn: &mut Conn,
    table: &Table,
    operation: Operation,
    key: Value,
    statement: &str,
) -> Result<(u64, i64), mysql_async::Error> {
    let id = table.id.unwrap().0;
    let key = Key::encode(vec![key], table).unwrap();
    let mut transaction = conn.start_transaction(TxOpts::default()).await?;
    let raise = "INSERT INTO crossfade_fence (table_id, key_hash, epoch, counter, n, deleted) \
         VALUES (?, ?, ?, 1, 0, ?) ON DUPLICATE KEY UPDATE \
         counter = IF(epoch = VALUES(epoch), counter + 1, 1), epoch = VALUES(epoch), n = 0, \
         deleted = VALUES(deleted)";
    let deleted = operation == Operation::Delete;
    transaction.exec_drop(raise, (id, &key.hash.0[..], EPOCH, deleted)).await?;
    let read = "SELECT counter FROM crossfade_fence WHERE table_id = ? AND key_hash = ?";
    let counter: Option<u64> = transaction.exec_first(read, (id, &key.hash.0[..])).await?;
    let counter = counter.unwrap();
    let enter =
        "INSERT INTO crossfade_outbox (table_id, op, `key`, epoch, counter) VALUES (?, ?, ?, ?, ?)";
    let letter = operation.letter().to_string();
    transaction.exec_drop(enter, (id, letter, key.raw.to_vec(), EPOCH, counter)).await?;
    let entry = i64::try_from(transaction.last_insert_id().unwrap()).unwrap();
    transaction.query_drop(statement).await?;
    transaction.commit().await?;
    Ok((counter, entry))
}

#[tokio::test]
async fn what_mysql_has_committed_arrives_on_postgresql() {
    for target in Target::all() {
        let site = Switched::start(target).await;
        let mut conn = site.world.secondary().await;
        let users = site.table("users");
        let insert =
            "INSERT INTO users VALUES (1, 'a', '{\"k\": [1, null]}', '2024-02-29 23:59:59.999999')";
        capture(&mut conn, &users, Operation::Insert, Value::Int(1), insert).await.unwrap();
        let update = "UPDATE users SET email = 'new', note = NULL WHERE id = 100";
        capture(&mut conn, &users, Operation::Update, Value::Int(100), update).await.unwrap();
        site.assert_equal().await;
        let admin = site.world.admin().await;
        let text = "SELECT string_agg(u::text, ' ' ORDER BY id) FROM users u";
        let rows: String = admin.query_one(text, &[]).await.unwrap().get(0);
        assert!(rows.contains("new") && rows.contains("23:59:59.999999"), "{rows}");
        let delete = "DELETE FROM users WHERE id = 100";
        capture(&mut conn, &users, Operation::Delete, Value::Int(100), delete).await.unwrap();
        site.assert_equal().await;
        site.finish().await;
    }
}

/// An image that is older than what PostgreSQL has changes nothing, whichever way it comes.
#[tokio::test]
async fn an_image_in_memory_and_its_entry_are_one_change() {
    for target in Target::all() {
        let site = Switched::start(target).await;
        let mut conn = site.world.secondary().await;
        let users = site.table("users");
        let set = |email: &str| format!("UPDATE users SET email = '{email}' WHERE id = 100");
        let write = async |conn: &mut Conn, email: &str| {
            capture(conn, &users, Operation::Update, Value::Int(100), &set(email)).await.unwrap()
        };
        let (first, second) = (write(&mut conn, "one").await, write(&mut conn, "two").await);
        for ((counter, entry), email) in [(second, "two"), (first, "one")] {
            let key = Key::encode(vec![Value::Int(100)], &users).unwrap();
            let note = Value::Jsonb("{\"a\": 1}".to_owned());
            let at = Value::TimestampTz(757_382_400_000_000);
            let image =
                RowImage { values: vec![Value::Int(100), Value::Text(email.to_owned()), note, at] };
            let change = Change {
                table: Arc::clone(&users),
                operation: Operation::Update,
                version: Version { epoch: EPOCH, counter, n: 0 },
                entry: Some(EntryId(entry)),
                effect: Effect::Put { key, image },
            };
            let transaction =
                Transaction { changes: vec![change], mode: Mode::Blocking, timeout: PATIENCE };
            let (done, settled) = oneshot::channel();
            site.handoff.apply(transaction, Some(done));
            let settled = tokio::time::timeout(PATIENCE, settled).await.unwrap().unwrap();
            assert_eq!(settled, Settled::Applied);
        }
        site.assert_equal().await;
        site.finish().await;
    }
}

/// Several writers on few rows, parents and children; the server ends their and our connections.
#[tokio::test]
async fn whatever_order_they_come_in_both_sides_end_equal() {
    let seed: u64 = rand::random();
    for target in Target::all() {
        let site = Switched::start(target).await;
        let (users, sessions) = (site.table("users"), site.table("sessions"));
        let mut tasks = Vec::new();
        for number in 0..3 {
            let mut random = StdRng::seed_from_u64(seed.wrapping_add(number));
            let (users, sessions) = (Arc::clone(&users), Arc::clone(&sessions));
            let mut conn = site.world.secondary().await;
            conn.query_drop("SET innodb_lock_wait_timeout = 1").await.unwrap();
            tasks.push(tokio::spawn(async move {
                for _ in 0..120 {
                    // Deadlocks and missing parents are the application's own affair.
                    let _ = step(&mut conn, &mut random, &users, &sessions).await;
                }
            }));
        }
        let admin = site.world.admin().await;
        let mut secondary = site.world.secondary().await;
        while tasks.iter().any(|task| !task.is_finished()) {
            site.drain().await;
            let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE datname = current_database() AND pid <> pg_backend_pid()";
            admin.batch_execute(end).await.unwrap();
            let ours = match target {
                Target::MariaDb => {
                    "SELECT id FROM information_schema.processlist WHERE db = DATABASE() \
                     AND command = 'Sleep' ORDER BY id DESC LIMIT 1"
                }
                Target::MySql => {
                    "SELECT processlist_id FROM performance_schema.threads \
                     WHERE processlist_db = DATABASE() AND processlist_command = 'Sleep' \
                     ORDER BY processlist_id DESC LIMIT 1"
                }
            };
            if let Some(id) = secondary.query_first::<u64, _>(ours).await.unwrap() {
                let _ = secondary.query_drop(format!("KILL {id}")).await;
            }
        }
        for task in tasks {
            task.await.unwrap();
        }
        eprintln!("seed {seed}");
        site.assert_equal().await;
        site.finish().await;
    }
}

async fn step(
    conn: &mut Conn,
    random: &mut StdRng,
    users: &Table,
    sessions: &Table,
) -> Result<(), mysql_async::Error> {
    let (user, session): (i64, u8) = (random.random_range(0..6), random.random_range(0..6));
    let word: u32 = random.random();
    let id = format!("00000000-0000-0000-0000-0000000000{session:02x}");
    let mut raw = [0; 16];
    raw[15] = session;
    let (operation, statement) = match random.random_range(0..4) {
        0 => {
            (Operation::Insert, format!("INSERT INTO users VALUES ({user}, 'u{word}', NULL, NULL)"))
        }
        1 => (Operation::Update, format!("UPDATE users SET email = 'u{word}' WHERE id = {user}")),
        // Children first: their keys would be captured before a parent's delete.
        2 => (
            Operation::Delete,
            format!(
                "DELETE FROM users WHERE id = {user} AND id NOT IN (SELECT user_id FROM sessions)"
            ),
        ),
        3 if random.random() => {
            (Operation::Delete, format!("DELETE FROM sessions WHERE id = '{id}'"))
        }
        _ => (
            Operation::Update,
            format!(
                "INSERT INTO sessions VALUES ('{id}', {user}, x'00ff27') \
                 ON DUPLICATE KEY UPDATE user_id = {user}"
            ),
        ),
    };
    match statement.contains("sessions WHERE id") || statement.contains("INTO sessions") {
        true => capture(conn, sessions, operation, Value::Uuid(raw), &statement).await?,
        false => capture(conn, users, operation, Value::Int(user), &statement).await?,
    };
    Ok(())
}
