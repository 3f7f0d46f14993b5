//! While PostgreSQL follows, each write is noted in its own transaction: its key in the outbox, its fence
//! entry raised.

use std::sync::Arc;

use bytes::Bytes;
use crossfade::apply::{self, ApplyLimits, ApplyMetrics};
use crossfade::backend::mysql::outbox;
use crossfade::backend::postgres::connect::Connector;
use crossfade::backend::postgres::follow;
use crossfade::change::Key;
use crossfade::config::Config;
use crossfade::handoff;
use crossfade::names::TableId;
use crossfade::phase::{Phase, Situation};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use prometheus::Registry;

use super::Site;
use crate::support::{PATIENCE, Target};

const SCHEMA: &str = "
    CREATE TABLE users (id int PRIMARY KEY, email text NOT NULL);
    CREATE TABLE sessions (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        user_id int NOT NULL REFERENCES users ON DELETE CASCADE ON UPDATE CASCADE
    );
    CREATE TABLE marks (
        id bigserial PRIMARY KEY,
        session uuid REFERENCES sessions ON DELETE SET NULL
    );
";

struct Noted {
    site: Site,
    conn: Conn,
    client: tokio_postgres::Client,
}

impl Noted {
    async fn start(target: Target) -> Self {
        let site = Site::start(target, SCHEMA, "").await;
        let mut conn = site.world.secondary().await;
        for statement in outbox::CREATE {
            conn.query_drop(*statement).await.unwrap();
        }
        conn.query_drop("UPDATE crossfade_state SET epoch = 2").await.unwrap();
        let now = Situation { phase: Phase::Switched, ..(**site.situation.borrow()).clone() };
        site.situation.send_replace(Arc::new(now));
        let client = site.client().await;
        Self { site, conn, client }
    }

    /// `users i 7 @1`: table, operation, key and counter of each entry since the last look; uuids are `_`.
    async fn entries(&mut self) -> Vec<String> {
        let situation = Arc::clone(&self.site.situation.borrow());
        let sql = "SELECT table_id, op, `key`, epoch, counter FROM crossfade_outbox ORDER BY id";
        type Entry = (i32, String, Option<Vec<u8>>, u64, u64);
        let entries: Vec<Entry> = self.conn.query(sql).await.unwrap();
        self.conn.query_drop("DELETE FROM crossfade_outbox").await.unwrap();
        let text = |(table, op, key, epoch, counter): Entry| {
            assert_eq!(epoch, 2);
            let table = situation.catalog.by_id(TableId(table)).unwrap();
            let key = key.map_or("all".to_owned(), |raw| {
                let key = Key::decode(Bytes::from(raw), table).unwrap().show();
                if key.len() == 36 { "_".to_owned() } else { key }
            });
            format!("{} {op} {key} @{counter}", table.name.name())
        };
        entries.into_iter().map(text).collect()
    }

    #[track_caller]
    fn run(&self, sql: &str) -> impl Future<Output = ()> {
        let run = self.client.batch_execute(sql);
        let sql = sql.to_owned();
        async move { run.await.unwrap_or_else(|error| panic!("{sql}: {error:?}")) }
    }
}

#[tokio::test]
async fn every_write_leaves_its_key_and_a_higher_counter() {
    for target in Target::all() {
        let mut noted = Noted::start(target).await;
        noted.run("INSERT INTO users VALUES (1, 'a'), (2, 'b')").await;
        assert_eq!(noted.entries().await, ["users I 1 @1", "users I 2 @1"]);
        noted.run("UPDATE users SET email = 'c' WHERE id = 1").await;
        noted.run("UPDATE users SET email = 'd'").await;
        let expected = ["users U 1 @2", "users U 1 @3", "users U 2 @2"];
        let mut found = noted.entries().await;
        found.sort();
        assert_eq!(found, expected);
        noted.run("INSERT INTO marks DEFAULT VALUES").await;
        assert_eq!(noted.entries().await, ["marks I 1 @1"]);
        noted.run("DELETE FROM users WHERE id = 2").await;
        noted.run("INSERT INTO users VALUES (2, 'again')").await;
        assert_eq!(noted.entries().await, ["users D 2 @3", "users I 2 @4"]);
        noted.run("UPDATE users SET email = 'nobody' WHERE id = 99").await;
        assert!(noted.entries().await.is_empty());
    }
}

#[tokio::test]
async fn what_is_rolled_back_leaves_nothing() {
    let mut noted = Noted::start(Target::MariaDb).await;
    noted.run("BEGIN; INSERT INTO users VALUES (1, 'a'); ROLLBACK").await;
    noted.run("BEGIN; INSERT INTO users VALUES (2, 'b')").await;
    noted.run("SAVEPOINT s; INSERT INTO users VALUES (3, 'c'); ROLLBACK TO s; COMMIT").await;
    noted.client.batch_execute("INSERT INTO users VALUES (2, 'twice')").await.unwrap_err();
    assert_eq!(noted.entries().await, ["users I 2 @1"]);
}

#[tokio::test]
async fn rows_that_go_with_a_parent_are_noted_too() {
    for target in Target::all() {
        let mut noted = Noted::start(target).await;
        noted.run("INSERT INTO users VALUES (1, 'a')").await;
        noted.run("INSERT INTO sessions (user_id) VALUES (1)").await;
        noted.run("INSERT INTO marks (session) SELECT id FROM sessions").await;
        noted.entries().await;
        noted.run("UPDATE users SET id = 5 WHERE id = 1").await;
        let mut moved = noted.entries().await;
        moved.sort();
        assert_eq!(moved, ["sessions U _ @2", "users D 1 @2", "users U 5 @1"]);
        noted.run("DELETE FROM users").await;
        let mut gone = noted.entries().await;
        gone.sort();
        assert_eq!(gone, ["marks U 1 @2", "sessions D _ @3", "users D 5 @2"]);
    }
}

#[tokio::test]
async fn under_another_epoch_nothing_is_written() {
    let mut noted = Noted::start(Target::MariaDb).await;
    noted.conn.query_drop("UPDATE crossfade_state SET epoch = 3").await.unwrap();
    let error = noted.client.batch_execute("INSERT INTO users VALUES (1, 'a')").await.unwrap_err();
    assert_eq!(error.as_db_error().unwrap().code().code(), "40001");
    let left: Option<u64> = noted.conn.query_first("SELECT COUNT(*) FROM users").await.unwrap();
    assert_eq!((left, noted.entries().await.len()), (Some(0), 0));
}

/// What clients write to MySQL arrives on PostgreSQL. Counters are of each row, and a TRUNCATE is of the
/// whole table: what comes after it is newer than it all the same, also a row of a new key.
#[tokio::test]
async fn what_is_noted_arrives_also_after_a_truncate() {
    for target in Target::all() {
        let mut noted = Noted::start(target).await;
        let config = Config::load(&noted.site.world.config).unwrap();
        let admin = noted.site.world.admin().await;
        admin.batch_execute(follow::DDL).await.unwrap();
        admin.execute("SELECT setval('crossfade.epoch', 5)", &[]).await.unwrap();
        let from = Connector::new(config.from.clone()).unwrap();
        let (handoff, jobs) = handoff::channel(64 << 20);
        let metrics = ApplyMetrics::register(&Registry::new()).unwrap();
        let now = noted.site.situation.subscribe();
        let limits = ApplyLimits::default();
        let applier = apply::start_reversed(config.to.clone(), from, limits, now, jobs, metrics);

        noted.run("INSERT INTO users SELECT g, 'a' FROM generate_series(1, 5) g").await;
        for _ in 0..4 {
            noted.run("UPDATE users SET email = email || 'x' WHERE id < 3").await;
        }
        arrived(&mut noted, "5 rows").await;
        // Keys of any bytes, several in one statement.
        for _ in 0..20 {
            noted.run("INSERT INTO sessions (user_id) VALUES (1)").await;
        }
        arrived(&mut noted, "20 sessions").await;
        noted.run("DELETE FROM users WHERE id = 1").await;
        arrived(&mut noted, "a user gone with all sessions").await;
        noted.run("TRUNCATE marks").await;
        noted.run("INSERT INTO users VALUES (11, 'new'), (17, 'new')").await;
        noted.run("INSERT INTO marks DEFAULT VALUES").await;
        noted.run("UPDATE marks SET session = NULL").await;
        arrived(&mut noted, "a first TRUNCATE").await;
        // Rows with high counters, a TRUNCATE, and rows of old and new keys after it, while none of it
        // has been carried; then once more.
        for round in 0..2 {
            noted.run(&format!("INSERT INTO marks VALUES (4{round})")).await;
            noted.run("UPDATE marks SET session = NULL; UPDATE marks SET session = NULL").await;
            noted.run("TRUNCATE marks").await;
            noted.run("INSERT INTO marks VALUES (50), (60)").await;
            arrived(&mut noted, &format!("round {round}")).await;
        }
        noted.run("BEGIN; TRUNCATE marks; INSERT INTO marks VALUES (70); COMMIT").await;
        arrived(&mut noted, "in one transaction").await;
        drop(handoff);
        applier.finish(PATIENCE).await;
    }
}

async fn arrived(noted: &mut Noted, when: &str) {
    let world = &noted.site.world;
    let conn = &mut noted.conn;
    world
        .until(&format!("the outbox is empty: {when}"), async || {
            let left: Option<u64> =
                conn.query_first("SELECT COUNT(*) FROM crossfade_outbox").await.unwrap();
            left == Some(0)
        })
        .await;
    for table in ["users", "sessions", "marks"] {
        world.assert_equal(table).await;
    }
}
