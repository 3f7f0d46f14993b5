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
    CREATE TABLE parts (
        kind varchar(40), number smallint, fine boolean NOT NULL, PRIMARY KEY (kind, number)
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
async fn a_write_by_key_is_noted_if_its_row_was_there() {
    for target in Target::all() {
        let mut noted = Noted::start(target).await;
        noted.run("INSERT INTO users VALUES (1, 'a'), (2, 'b')").await;
        noted.run("INSERT INTO marks VALUES (1), (2)").await;
        noted.entries().await;
        noted.run("UPDATE users SET email = 'c' WHERE id = 1 AND email = 'b'").await;
        noted.run("DELETE FROM marks WHERE id = 3; DELETE FROM marks WHERE id = NULL").await;
        assert!(noted.entries().await.is_empty());
        noted.run("UPDATE users u SET email = 'c' WHERE 1 = u.id AND (email = 'a')").await;
        noted.run("DELETE FROM marks m WHERE m.id = '2'").await;
        noted.run("UPDATE marks SET id = 9 WHERE id = 1").await;
        assert_eq!(
            noted.entries().await,
            ["users U 1 @2", "marks D 2 @2", "marks D 1 @2", "marks U 9 @1"]
        );
        let returned = noted
            .client
            .query("UPDATE users SET email = 'd' WHERE id = $1 RETURNING email", &[&2])
            .await
            .unwrap();
        assert_eq!(returned[0].get::<_, String>(0), "d");
        let none: Option<i32> = None;
        let update = "UPDATE users SET email = 'e' WHERE id = $1";
        assert_eq!(noted.client.execute(update, &[&none]).await.unwrap(), 0);
        assert_eq!(noted.client.execute(update, &[&1]).await.unwrap(), 1);
        assert_eq!(noted.entries().await, ["users U 2 @2", "users U 1 @3"]);
    }
}

/// The hash of a key is that of the row, also where texts are alike and numbers of another width.
#[tokio::test]
async fn a_key_of_two_columns_is_the_rows_own() {
    for target in Target::all() {
        let mut noted = Noted::start(target).await;
        noted.run("INSERT INTO parts SELECT k, 1, true FROM unnest(ARRAY['a', 'A', 'ä']) k").await;
        let first = noted.entries().await;
        assert_eq!(first.len(), 3);
        for kind in ["a", "A", "ä", "a ", "b"] {
            let write = "UPDATE parts SET fine = false WHERE number = $2::bigint AND kind = $1";
            noted.client.execute(write, &[&kind, &1_i64]).await.unwrap();
        }
        let expected: Vec<String> =
            ["a", "A", "ä"].map(|kind| format!("parts U [\"{kind}\",\"1\"] @2")).to_vec();
        assert_eq!(noted.entries().await, expected);
        noted.run("DELETE FROM parts WHERE kind = 'A' AND number = 1").await;
        assert_eq!(noted.entries().await, ["parts D [\"A\",\"1\"] @3"]);
    }
}

#[tokio::test]
async fn an_upsert_notes_only_what_it_did() {
    for target in Target::all() {
        let mut noted = Noted::start(target).await;
        let upsert = "INSERT INTO users VALUES (1, 'a') ON CONFLICT";
        noted.run(&format!("{upsert} (id) DO UPDATE SET email = 'b'")).await;
        noted.run(&format!("{upsert} (id) DO UPDATE SET email = 'b'")).await;
        noted.run(&format!("{upsert} (id) DO NOTHING; {upsert} DO NOTHING")).await;
        noted.run(&format!("{upsert} (id) DO UPDATE SET email = 'c' WHERE users.id = 2")).await;
        assert_eq!(noted.entries().await, ["users I 1 @1", "users U 1 @2"]);
    }
}

#[tokio::test]
async fn a_savepoint_takes_along_what_was_written_before_it() {
    for target in Target::all() {
        let mut noted = Noted::start(target).await;
        noted.run("INSERT INTO users SELECT g, 'a' FROM generate_series(1, 6) g").await;
        noted.entries().await;
        let set = |id: i32| format!("UPDATE users SET email = 'b' WHERE id = {id};");
        let all = [
            "BEGIN;".to_owned(),
            set(1),
            "SAVEPOINT a;".to_owned(),
            set(2),
            "SAVEPOINT b;".to_owned(),
            set(3),
            "RELEASE b;".to_owned(),
            set(4),
            "ROLLBACK TO a;".to_owned(),
            set(5),
            "ROLLBACK TO a; SAVEPOINT b;".to_owned(),
            set(6),
            "RELEASE a; COMMIT".to_owned(),
        ];
        noted.run(&all.concat()).await;
        assert_eq!(noted.entries().await, ["users U 1 @2", "users U 6 @2"]);
        // An error in between is taken back with what came after the savepoint.
        noted.run(&format!("BEGIN; {} SAVEPOINT a; {}", set(1), set(2))).await;
        noted.client.batch_execute("INSERT INTO users VALUES (1, 'twice')").await.unwrap_err();
        noted.run(&format!("ROLLBACK TO a; {} COMMIT", set(3))).await;
        assert_eq!(noted.entries().await, ["users U 1 @3", "users U 3 @2"]);
    }
}

#[tokio::test]
async fn a_write_that_cannot_be_noted_is_not_committed() {
    for target in Target::all() {
        let mut noted = Noted::start(target).await;
        noted.run("INSERT INTO users VALUES (1, 'a')").await;
        noted.entries().await;
        noted.run("SET lock_timeout = '1s'").await;
        // What does not match is not locked then: the table's own entry.
        let level = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";
        noted.conn.query_drop(level).await.unwrap();
        let write = "UPDATE users SET email = 'b' WHERE id = 1";
        for (before, last) in [("SELECT 1", write), (&format!("BEGIN; {write}"), "COMMIT")] {
            let hold = "BEGIN; SELECT * FROM crossfade_fence \
                        WHERE key_hash <> REPEAT(CHAR(0), 16) FOR UPDATE";
            noted.conn.query_drop(hold).await.unwrap();
            noted.run(before).await;
            let error = noted.client.batch_execute(last).await.unwrap_err();
            assert_eq!(error.as_db_error().unwrap().code().code(), "55P03", "{last}");
            noted.conn.query_drop("ROLLBACK").await.unwrap();
            // Nothing of it is left, and nothing of it is open.
            let sql = "SELECT email FROM users WHERE id = 1 FOR UPDATE NOWAIT";
            let email: Option<String> = noted.conn.query_first(sql).await.unwrap();
            assert_eq!((email.as_deref(), noted.entries().await.len()), (Some("a"), 0));
            noted.run("SELECT 1").await;
        }
        noted.run(write).await;
        assert_eq!(noted.entries().await, ["users U 1 @2"]);
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_between_write_and_commit_leaves_nothing() {
    for target in Target::all() {
        let mut noted = Noted::start(target).await;
        noted.run("INSERT INTO users VALUES (1, 'a')").await;
        noted.entries().await;
        let write = "BEGIN; UPDATE users SET email = 'b' WHERE id = 1";
        let free = "SELECT email FROM users WHERE id = 1 FOR UPDATE";
        noted.run(write).await;
        let pid: i32 = noted.client.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
        noted.conn.query_drop(format!("KILL {pid}")).await.unwrap();
        noted.client.batch_execute("COMMIT").await.unwrap_err();
        let email: Option<String> = noted.conn.query_first(free).await.unwrap();
        assert_eq!((email.as_deref(), noted.entries().await.len()), (Some("a"), 0));
        // The other end of it.
        noted.client = noted.site.client().await;
        noted.run(write).await;
        noted.client = noted.site.client().await;
        let email: Option<String> = noted.conn.query_first(free).await.unwrap();
        assert_eq!((email.as_deref(), noted.entries().await.len()), (Some("a"), 0));
    }
}

/// The epoch is shared from the first write on, whether or not it found a row.
#[tokio::test]
async fn an_open_write_holds_the_epoch() {
    for target in Target::all() {
        let mut noted = Noted::start(target).await;
        for write in
            ["UPDATE users SET email = 'b' WHERE id = 1", "INSERT INTO users VALUES (1, 'a')"]
        {
            noted.run(&format!("BEGIN; {write}")).await;
            let alone = "SELECT epoch FROM crossfade_state WHERE id = 1 FOR UPDATE NOWAIT";
            noted.conn.query_drop(alone).await.unwrap_err();
            noted.run("COMMIT").await;
            noted.conn.query_drop(alone).await.unwrap();
        }
    }
}

/// Clients that write the same few rows in every way there is: none is a deadlock's victim, no write goes
/// without its entry, and no two have the same version.
#[tokio::test]
async fn many_clients_on_one_row_wait_for_each_other_and_for_nothing_else() {
    const ROUNDS: usize = 40;
    for target in Target::all() {
        let mut noted = Noted::start(target).await;
        noted.run("INSERT INTO users VALUES (1, 'a')").await;
        noted.entries().await;
        let ways = [
            "UPDATE users SET email = email WHERE id = 1",
            "UPDATE users SET email = email WHERE email LIKE 'a%'",
            "UPDATE users SET email = 'a' WHERE id = 1 RETURNING email",
            "INSERT INTO users VALUES (1, 'a') ON CONFLICT (id) DO UPDATE SET email = 'ab'",
            "BEGIN; UPDATE users SET email = 'a' WHERE id = 1; \
             UPDATE users SET email = 'ac' WHERE id < 2; COMMIT",
        ];
        let writes = ways.map(|way| {
            let client = noted.site.client();
            async move {
                let client = client.await;
                for _ in 0..ROUNDS {
                    client.batch_execute(way).await.unwrap_or_else(|e| panic!("{way}: {e:?}"));
                }
            }
        });
        futures_util::future::join_all(writes).await;
        let expected: std::collections::BTreeSet<String> =
            (2..ROUNDS * (ways.len() + 1) + 2).map(|at| format!("users U 1 @{at}")).collect();
        let found = noted.entries().await;
        assert_eq!(found.len(), expected.len());
        assert_eq!(found.into_iter().collect::<std::collections::BTreeSet<_>>(), expected);
    }
}

#[tokio::test]
async fn more_rows_than_wait_for_one_commit_are_noted() {
    let mut noted = Noted::start(Target::MariaDb).await;
    noted.run("INSERT INTO users SELECT g, 'a' FROM generate_series(1, 5000) g").await;
    noted.run("BEGIN; UPDATE users SET email = 'b'; UPDATE users SET email = 'c'; COMMIT").await;
    let found = noted.entries().await;
    let of = |end: &str| found.iter().filter(|entry| entry.ends_with(end)).count();
    assert_eq!([of(" @1"), of(" @2"), of(" @3")], [5000; 3]);
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
