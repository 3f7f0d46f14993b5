//! Reads tried on the secondary: what is the same, what is not, and what nobody notices.

use std::fmt::Write as _;

use mysql_async::prelude::Queryable;
use serde_json::Value;

use crate::support::{Target, World};

const SCHEMA: &str = "\
CREATE TABLE users (id bigint PRIMARY KEY, name varchar(40) NOT NULL, paid numeric(10,2),
    born timestamptz, active boolean, doc jsonb);
CREATE TABLE notes (id int PRIMARY KEY, user_id bigint REFERENCES users, note text);
INSERT INTO users SELECT n, 'user ' || n, n * 1.5, '2020-01-01 00:00:00+00'::timestamptz + n * interval '1 day',
    n % 2 = 0, jsonb_build_object('n', n, 'b', 1.50) FROM generate_series(1, 20) n;
INSERT INTO notes SELECT n, n, 'note ' || n FROM generate_series(1, 20) n";

/// Both sides are equal, and these are the keys of the `shadow:` section.
async fn world(target: Target, tables: &str, shadow: &str) -> World {
    let mut world = World::bare(target, tables).await;
    world.direct().await.batch_execute(SCHEMA).await.unwrap();
    world.edit(|mut text| {
        writeln!(text, "shadow: {{ {shadow} }}\nlog: {{ level: trace }}").unwrap();
        text
    });
    world.setup();
    world.run().await;
    world.verb(&["backfill"]);
    world.verb(&["verify"]);
    world.assert_all_equal().await;
    world
}

async fn count(world: &World, outcome: &str) -> f64 {
    let series = format!("shadow_reads_total{{outcome=\"{outcome}\"}}");
    world.proxy.as_ref().unwrap().metric(&series).await
}

/// What is reported about the statement of this text.
async fn report(world: &World, text: &str) -> Value {
    let (_, body) = world.proxy.as_ref().unwrap().get("/statements").await.unwrap();
    let list: Vec<Value> = serde_json::from_str(&body).unwrap();
    list.into_iter().find(|line| line["text"] == text).unwrap_or_default()
}

async fn reported(world: &World, text: &str, outcome: &str) -> u64 {
    report(world, text).await["shadow"][outcome].as_u64().unwrap_or(0)
}

const BY_ID: &str = "SELECT id, name, paid, born, active FROM users WHERE id = $1";
const BY_NAME: &str = "SELECT id FROM users WHERE name = $1";
const ALL: &str = "SELECT id, name FROM users ORDER BY id";
const SOME: &str = "SELECT name FROM users WHERE id < ? ORDER BY id LIMIT ?";

#[tokio::test]
async fn a_difference_is_shown_for_the_statement_that_has_it_and_for_no_other() {
    for target in Target::all() {
        differs(target).await;
    }
}

async fn differs(target: Target) {
    let world = world(target, "", "share: 1, pool: 8").await;
    let client = world.client().await;
    let read = async || {
        let row = client.query_one(BY_ID, &[&7_i64]).await.unwrap();
        assert_eq!(row.get::<_, &str>(1), "user 7", "the client's answer is the primary's");
        client.query(BY_NAME, &[&"user 3"]).await.unwrap();
        client.simple_query(ALL).await.unwrap();
        client.simple_query(&SOME.replacen('?', "5", 1).replace('?', "2")).await.unwrap();
    };
    read().await;
    for text in [BY_ID, BY_NAME, ALL, SOME] {
        let matched = async || {
            let line = report(&world, text).await;
            assert!(line["shadow"]["error"].as_u64().unwrap_or(0) == 0, "{line}\n{}", world.log());
            assert_eq!(line["shadow"]["mismatch"].as_u64().unwrap_or(0), 0, "{line}");
            line["shadow"]["match"] == 1
        };
        world.until(&format!("equal: {text}"), matched).await;
        let judged = async || report(&world, text).await["readiness"] == "translated";
        world.until("judged", judged).await;
    }
    let mut secondary = world.secondary().await;
    let plant = "UPDATE users SET paid = paid + 1 WHERE id = 7";
    secondary.query_drop(plant).await.unwrap();
    read().await;
    world.until("the difference", async || reported(&world, BY_ID, "mismatch").await == 1).await;
    for text in [BY_NAME, ALL, SOME] {
        world.until("the others", async || reported(&world, text, "match").await == 2).await;
        assert_eq!(reported(&world, text, "mismatch").await, 0, "{text}");
    }
    let line = report(&world, BY_ID).await;
    assert!(0.0 < line["shadow"]["primaryMs"].as_f64().unwrap(), "{line}");
    assert!(0.0 < line["shadow"]["secondaryMs"].as_f64().unwrap(), "{line}");
    assert_eq!((count(&world, "match").await, count(&world, "mismatch").await), (7.0, 1.0));
    let (_, printed) = crate::support::process::verb(&world.config, &["status", "--statements"]);
    assert!(printed.contains("1 differ"), "{printed}");
    let log = world.proxy.as_ref().unwrap().log();
    assert!(log.contains("the secondary answers a read otherwise"), "{log}");
    assert!(!log.contains("user 7") && !log.contains("10.50"), "{log}");
}

#[tokio::test]
async fn rows_that_are_not_copied_yet_are_no_difference() {
    let mut world = World::bare(Target::MariaDb, "").await;
    world.direct().await.batch_execute(SCHEMA).await.unwrap();
    world.edit(|text| text + "shadow: { share: 1, pool: 8, settle: 200ms }\n");
    world.setup();
    world.run().await;
    let client = world.client().await;
    client.query_one(BY_ID, &[&7_i64]).await.unwrap();
    world.until("tried", async || reported(&world, BY_ID, "undetermined").await == 1).await;
    world.verb(&["backfill"]);
    world.verb(&["verify"]);
    client.query_one(BY_ID, &[&7_i64]).await.unwrap();
    world.until("equal", async || reported(&world, BY_ID, "match").await == 1).await;
    assert_eq!(count(&world, "mismatch").await, 0.0);
}

#[tokio::test]
async fn reads_that_nobody_else_could_repeat_are_not_tried() {
    let world = world(Target::MariaDb, "", "share: 1, pool: 8").await;
    let mut client = world.client().await;
    for sql in [
        "SELECT name FROM users WHERE id = 1 FOR UPDATE",
        "SELECT name FROM users WHERE random() < 2",
        "SELECT name FROM users WHERE born < now()",
        "BEGIN ISOLATION LEVEL REPEATABLE READ; COMMIT",
    ] {
        client.simple_query(sql).await.unwrap();
    }
    let transaction = client.transaction().await.unwrap();
    transaction.execute("UPDATE users SET name = 'x' WHERE id = 1", &[]).await.unwrap();
    transaction.query(BY_NAME, &[&"x"]).await.unwrap();
    transaction.rollback().await.unwrap();
    let isolation = tokio_postgres::IsolationLevel::RepeatableRead;
    let transaction = client.build_transaction().isolation_level(isolation).start().await.unwrap();
    transaction.query(BY_NAME, &[&"y"]).await.unwrap();
    transaction.commit().await.unwrap();
    client.batch_execute("CREATE TEMP TABLE mine (x int)").await.unwrap();
    client.simple_query("SELECT name FROM users").await.unwrap();
    // One that is, in a transaction that has written nothing.
    let mut client = world.client().await;
    let transaction = client.transaction().await.unwrap();
    transaction.query(BY_ID, &[&2_i64]).await.unwrap();
    transaction.commit().await.unwrap();
    world.until("tried", async || reported(&world, BY_ID, "match").await == 1).await;
    for outcome in ["mismatch", "undetermined", "untranslated", "error", "shed"] {
        assert_eq!(count(&world, outcome).await, 0.0, "{outcome}");
    }
    assert_eq!(count(&world, "match").await, 1.0);
}

#[tokio::test]
async fn what_is_on_its_way_is_no_difference() {
    let world = world(Target::MariaDb, "'*': { mode: async }", "share: 1, settle: 1s").await;
    let client = world.client().await;
    let mut secondary = world.secondary().await;
    secondary.query_drop("BEGIN").await.unwrap();
    let lock = "SELECT id FROM users WHERE id = 7 FOR UPDATE";
    secondary.query_drop(lock).await.unwrap();
    client.batch_execute("UPDATE users SET name = 'other' WHERE id = 7").await.unwrap();
    client.query(BY_ID, &[&7_i64]).await.unwrap();
    let given_up = async || {
        assert_eq!(count(&world, "error").await, 0.0, "{}", world.log());
        reported(&world, BY_ID, "undetermined").await == 1
    };
    world.until("given up", given_up).await;
    secondary.query_drop("ROLLBACK").await.unwrap();
    world.drained().await;
    client.query(BY_ID, &[&7_i64]).await.unwrap();
    world.until("equal", async || reported(&world, BY_ID, "match").await == 1).await;
    assert_eq!(count(&world, "mismatch").await, 0.0);
}

#[tokio::test]
async fn a_secondary_that_hangs_costs_the_clients_nothing() {
    let world = world(Target::MariaDb, "", "share: 1, pool: 2, timeout: 60s").await;
    let client = world.client().await;
    let mut secondary = world.secondary().await;
    secondary.query_drop("LOCK TABLES users WRITE").await.unwrap();
    // All of these are answered while nothing comes back from the secondary.
    for id in 0..50 {
        client.query(BY_ID, &[&i64::from(id)]).await.unwrap();
    }
    assert_eq!(count(&world, "shed").await, 48.0, "{}", world.log());
    assert_eq!(count(&world, "match").await, 0.0);
    secondary.query_drop("UNLOCK TABLES").await.unwrap();
    world.until("the two are tried", async || count(&world, "match").await == 2.0).await;
    client.query(BY_ID, &[&1_i64]).await.unwrap();
    world.until("there is room again", async || count(&world, "match").await == 3.0).await;
}

#[tokio::test]
async fn a_share_of_nothing_opens_no_connection_and_a_reload_changes_it() {
    let world = world(Target::MariaDb, "", "share: 0, pool: 3").await;
    let (client, admin) = (world.client().await, world.admin().await);
    let read_only = async || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
             AND query LIKE '%clock_timestamp()' AND pid <> pg_backend_pid()";
        admin.query_one(sql, &[]).await.unwrap().get::<_, i64>(0)
    };
    for id in 0..20 {
        client.query(BY_ID, &[&i64::from(id)]).await.unwrap();
    }
    assert_eq!(read_only().await, 0);
    world.edit(|text| text.replace("share: 0", "share: 1"));
    world.proxy.as_ref().unwrap().reload();
    // A statement that was prepared before goes on as it was.
    let tried = async || {
        client.simple_query(ALL).await.unwrap();
        0.0 < count(&world, "match").await
    };
    world.until("tried", tried).await;
    assert!(0 < read_only().await);
    let others = count(&world, "mismatch").await + count(&world, "error").await;
    assert_eq!(others, 0.0, "{}", world.log());
}

#[tokio::test]
async fn what_is_not_translated_is_counted_and_named() {
    const GROUPING: &str = "SELECT active, count(*) FROM users GROUP BY CUBE (active, name)";
    let world = world(Target::MariaDb, "", "share: 1").await;
    let client = world.client().await;
    client.simple_query(GROUPING).await.unwrap();
    world.until("untranslated", async || count(&world, "untranslated").await == 1.0).await;
    let refused = async || {
        let line = report(&world, GROUPING).await;
        line["readiness"].as_str().is_some_and(|readiness| readiness.starts_with("refused: "))
    };
    world.until("it is named", refused).await;
    assert_eq!(count(&world, "error").await, 0.0);
}
