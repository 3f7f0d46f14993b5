//! Writes that pass Crossfade by are noticed, and what goes through it never looks like one.

use std::fs;
use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio_postgres::Client;

use crate::random;
use crate::support::process::{Proxy, free_port};
use crate::support::{ROLE, ROLE_PASSWORD, Target, World, connect};

const SCHEMA: &str = "CREATE TABLE a (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); \
     CREATE TABLE b (id int, part int, PRIMARY KEY (id, part)) PARTITION BY LIST (part); \
     CREATE TABLE b_1 PARTITION OF b FOR VALUES IN (1); \
     CREATE TABLE b_2 PARTITION OF b FOR VALUES IN (2); \
     CREATE TABLE c (id int PRIMARY KEY); \
     CREATE FUNCTION write_c(n int) RETURNS int LANGUAGE sql AS \
       'INSERT INTO c VALUES (n) RETURNING id'";

#[tokio::test]
async fn a_write_past_the_proxy_and_one_by_a_function_mark_their_tables() {
    let world = World::start(Target::MariaDb, SCHEMA, "\"*\": { mode: async }").await;
    let (client, direct) = (world.client().await, world.direct().await);
    client.batch_execute("INSERT INTO a VALUES (1); INSERT INTO b VALUES (1, 1)").await.unwrap();
    watched(&world, None, 3).await;
    direct.batch_execute("INSERT INTO b VALUES (2, 2)").await.unwrap();
    until_dirty(&world, &["b"]).await;
    client.query("SELECT write_c(1)", &[]).await.unwrap();
    until_dirty(&world, &["b", "c"]).await;
    let series = "uncaptured_writes_total{reason=\"unseen_writes\",table=\"b\"}";
    assert_eq!(world.proxy.as_ref().unwrap().metric(series).await, 1.0);
}

#[tokio::test]
async fn a_reset_of_the_statistics_is_no_write_and_hides_none() {
    let world = World::start(Target::MariaDb, SCHEMA, "\"*\": { mode: async }").await;
    let (client, admin) = (world.client().await, world.admin().await);
    client.batch_execute("INSERT INTO a SELECT generate_series(1, 50)").await.unwrap();
    watched(&world, None, 3).await;
    let counted = "SELECT coalesce(sum(n_tup_ins), 0)::int8 FROM pg_stat_user_tables \
                   WHERE relname = 'a'";
    admin.batch_execute("SELECT pg_stat_reset()").await.unwrap();
    watched(&world, None, 2).await;
    client.batch_execute("INSERT INTO a SELECT generate_series(51, 60)").await.unwrap();
    world
        .until("counted anew", async || {
            let rows: i64 = admin.query_one(counted, &[]).await.unwrap().get(0);
            rows == 10
        })
        .await;
    watched(&world, None, 3).await;
    settled(&world).await;
    assert!(unseen(&admin).await.is_empty());
    let direct = world.direct().await;
    direct.batch_execute("UPDATE a SET n = 1 WHERE id = 1").await.unwrap();
    until_dirty(&world, &["a"]).await;
}

/// What is rolled back is counted by PostgreSQL and by the sidecars; what fails, by PostgreSQL alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sidecars_with_eight_clients_raise_no_false_alarm() {
    let world = World::start(Target::MariaDb, &random::schema(), random::POLICIES).await;
    let second = beside(&world).await;
    let admin = world.admin().await;
    let all: i64 = admin
        .query_one("SELECT count(*) FROM crossfade.tables WHERE capture = 'returning'", &[])
        .await
        .unwrap()
        .get(0);
    let (mut clients, end) = (Vec::new(), Instant::now() + Duration::from_secs(8));
    watched(&world, Some(&second), all).await;
    for number in 0..8 {
        let port = if number % 2 == 0 { world.proxy_port() } else { second.port };
        let client = connect(port, ROLE, ROLE_PASSWORD, &world.database).await;
        clients.push(tokio::spawn(without_errors(client, number, end)));
    }
    let mut sent = 0;
    for client in clients {
        sent += client.await.unwrap();
    }
    // The base held: had a row been written beside them, it would be found now.
    watched(&world, Some(&second), all).await;
    reported(&world, &admin, sent).await;
    settled(&world).await;
    assert!(unseen(&admin).await.is_empty(), "{:?}\n{}", unseen(&admin).await, world.log());
    let (mut clients, end) = (Vec::new(), Instant::now() + Duration::from_secs(5));
    for number in 0..8 {
        let port = if number % 2 == 0 { world.proxy_port() } else { second.port };
        let client = connect(port, ROLE, ROLE_PASSWORD, &world.database).await;
        clients.push(tokio::spawn(random::work(client, StdRng::seed_from_u64(number), end)));
    }
    for client in clients {
        client.await.unwrap();
    }
    watched(&world, Some(&second), all).await;
    settled(&world).await;
    assert!(unseen(&admin).await.is_empty(), "{:?}\n{}", unseen(&admin).await, world.log());
    world.direct().await.batch_execute("INSERT INTO async_parted VALUES (1000, 1)").await.unwrap();
    until_dirty(&world, &["async_parted"]).await;
}

/// Inserts, updates, moves and deletes rows of its own, and undoes half of it. Returns how many rows
/// PostgreSQL has to count.
async fn without_errors(client: Client, number: u64, end: Instant) -> i64 {
    let (mut rows, mut round) = (0, 0_u64);
    while Instant::now() < end {
        round += 1;
        let id = number * 10_000_000 + round;
        let undo = if round % 2 == 0 { "ROLLBACK TO s" } else { "RELEASE s" };
        let end = if round % 3 == 0 { "ROLLBACK" } else { "COMMIT" };
        client
            .batch_execute(&format!(
                "BEGIN; SAVEPOINT s; \
                 INSERT INTO async_parted VALUES ({id}, 1, 'x'), ({id}, 2, 'x'); {undo}; \
                 INSERT INTO async_parted VALUES ({id}, 3, 'x'); \
                 UPDATE async_parted SET b = b + 10 WHERE a = {id} AND b = 3; \
                 DELETE FROM async_parted WHERE a = {id} AND b = 13; {end}"
            ))
            .await
            .unwrap();
        rows += 5;
    }
    rows
}

/// A second sidecar of the same databases.
async fn beside(world: &World) -> Proxy {
    let directory = world.config.with_file_name("second");
    fs::create_dir_all(&directory).unwrap();
    let text = fs::read_to_string(&world.config).unwrap();
    let rest =
        text.lines().filter(|line| !line.starts_with("listen:") && !line.starts_with("admin:"));
    let rest: Vec<_> = rest.collect();
    let (listen, admin) = (free_port(), free_port());
    let text = format!(
        "listen: {{ address: 127.0.0.1:{listen} }}\nadmin: {{ address: 127.0.0.1:{admin} }}\n{}\n",
        rest.join("\n")
    );
    let config = directory.join("proxy.yaml");
    fs::write(&config, text).unwrap();
    Proxy::start(&config).await
}

/// Waits until so many tables have a base, with all sidecars there.
async fn watched(world: &World, second: Option<&Proxy>, tables: i64) {
    let admin = world.admin().await;
    let sidecars = "SELECT count(*) FROM crossfade.sidecars WHERE now() < lease_until";
    world
        .until("watched", async || {
            let there: i64 = admin.query_one(sidecars, &[]).await.unwrap().get(0);
            let mut found = world.proxy.as_ref().unwrap().metric("watched_tables").await;
            if let Some(second) = second {
                found = found.max(second.metric("watched_tables").await);
            }
            there == 1 + i64::from(second.is_some()) && found == tables as f64
        })
        .await;
}

/// Waits until PostgreSQL shows that it has counted so many rows.
async fn reported(world: &World, admin: &Client, rows: i64) {
    let counted = "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del)::int8 FROM pg_stat_user_tables \
                   WHERE relname LIKE 'async\\_parted%'";
    world
        .until("reported", async || {
            let found: i64 = admin.query_one(counted, &[]).await.unwrap().get(0);
            rows <= found
        })
        .await;
}

/// Waits until every sidecar has reported often enough for a suspicion to have been decided.
async fn settled(world: &World) {
    let admin = world.admin().await;
    let beats = "SELECT min(beat) FROM crossfade.sidecars WHERE now() < lease_until";
    let before: i64 = admin.query_one(beats, &[]).await.unwrap().get(0);
    world
        .until("settled", async || {
            let now: i64 = admin.query_one(beats, &[]).await.unwrap().get(0);
            before + 6 <= now
        })
        .await;
}

async fn unseen(admin: &Client) -> Vec<String> {
    let dirty =
        "SELECT name FROM crossfade.tables WHERE dirty_reason = 'unseen_writes' ORDER BY name";
    admin.query(dirty, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

async fn until_dirty(world: &World, tables: &[&str]) {
    let admin = world.admin().await;
    world.until("dirty", async || unseen(&admin).await == tables).await;
}
