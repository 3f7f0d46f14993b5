//! While PostgreSQL follows, each write is noted in its own transaction: its key in the outbox, its fence
//! entry raised.

use std::sync::Arc;

use bytes::Bytes;
use crossfade::change::Key;
use crossfade::names::TableId;
use crossfade::phase::{Phase, Situation};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

use super::Site;
use crate::support::Target;

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

/// The outbox, in the form in which it is read again.
const OUTBOX: &str = "CREATE TABLE IF NOT EXISTS `crossfade_outbox` (\
     `id` bigint NOT NULL AUTO_INCREMENT PRIMARY KEY, `table_id` int NOT NULL, \
     `op` char(1) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, `key` mediumblob NULL, \
     `epoch` bigint unsigned NOT NULL, `counter` bigint unsigned NOT NULL, \
     `n` int unsigned NOT NULL DEFAULT 0, `at` timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), \
     `attempts` int NOT NULL DEFAULT 0, `last_error` varchar(255) NULL, \
     `next_try` timestamp(6) NULL) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4";

struct Noted {
    site: Site,
    conn: Conn,
    client: tokio_postgres::Client,
}

impl Noted {
    async fn start(target: Target) -> Self {
        let site = Site::start(target, SCHEMA, "").await;
        let mut conn = site.world.secondary().await;
        conn.query_drop(OUTBOX).await.unwrap();
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
