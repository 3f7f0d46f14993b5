//! The lease: a sidecar that cannot confirm its epoch stops answering, says why, and goes on once it can.
//!
//! Crossfade's own role is shut out while the clients' connections work, which is the worst case: all
//! that would be wrong with an answer is that nobody knows whether it may still be given.

use std::time::{Duration, Instant};

use crossfade::demo::servers::PASSWORD;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::support::process::Proxy;
use crate::support::{Target, World};

const SCHEMA: &str = "CREATE TABLE users (id int PRIMARY KEY, name text)";
/// The tests' own; long enough for a busy machine to confirm in time.
const LEASE: Duration = Duration::from_secs(3);

/// A world whose Crossfade has a role of its own, with this `limits.hold`.
async fn start(hold: &str, set_up: bool) -> World {
    let mut world = World::bare(Target::MariaDb, "").await;
    world.direct().await.batch_execute(SCHEMA).await.unwrap();
    let role = own(&world);
    let create = format!("CREATE ROLE {role} SUPERUSER LOGIN PASSWORD '{PASSWORD}'");
    world.admin().await.batch_execute(&create).await.unwrap();
    world.log_in_as(&role, PASSWORD);
    world.edit(|text| text + &format!("limits: {{ poll: 100ms, lease: 3s, hold: {hold} }}\n"));
    if set_up {
        world.setup();
    }
    world.run().await;
    world
}

fn own(world: &World) -> String {
    format!("own_{}_{}", std::process::id(), world.database)
}

/// Shuts Crossfade's role out, and ends what it has open.
async fn shut_out(world: &World) {
    let role = own(world);
    let admin = world.admin().await;
    admin.batch_execute(&format!("ALTER ROLE {role} NOLOGIN")).await.unwrap();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1";
    admin.execute(end, &[&role]).await.unwrap();
}

async fn let_in(world: &World) {
    let sql = format!("ALTER ROLE {} LOGIN", own(world));
    world.admin().await.batch_execute(&sql).await.unwrap();
}

async fn readiness(world: &World) -> (u16, serde_json::Value) {
    let (status, body) = world.proxy.as_ref().unwrap().get("/health/readiness").await.unwrap();
    (status, serde_json::from_str(&body).unwrap())
}

async fn lost(world: &World) {
    world
        .until("without its lease", async || {
            readiness(world).await.1["lease"]["held"] == serde_json::json!(false)
        })
        .await;
}

fn code(result: Result<(), tokio_postgres::Error>) -> String {
    let error = result.expect_err("it was answered");
    error.code().unwrap_or_else(|| panic!("{error:?}")).code().to_owned()
}

async fn select(client: &Client) -> Result<(), tokio_postgres::Error> {
    client.query("SELECT count(*) FROM users", &[]).await.map(drop)
}

#[tokio::test]
async fn a_sidecar_that_cannot_confirm_its_epoch_answers_nobody() {
    for set_up in [false, true] {
        let world = start("100ms", set_up).await;
        let (idle, open, finishing) =
            (world.client().await, world.client().await, world.client().await);
        let (reading, writing) = (world.client().await, world.client().await);
        let prepared = idle.prepare("SELECT name FROM users").await.unwrap();
        open.batch_execute("BEGIN; INSERT INTO users VALUES (1, 'open')").await.unwrap();
        finishing.batch_execute("BEGIN; INSERT INTO users VALUES (2, 'ends')").await.unwrap();
        // Both come to their end only when the test says so, which is after the lease.
        let gate = world.admin().await;
        gate.batch_execute("SELECT pg_advisory_lock(4711)").await.unwrap();
        const WAIT: &str = "pg_advisory_xact_lock_shared(4711)";
        let reading =
            tokio::spawn(async move { reading.batch_execute(&format!("SELECT {WAIT}")).await });
        let writing = tokio::spawn(async move {
            let insert = format!("INSERT INTO users SELECT 3, 'late' FROM {WAIT}");
            writing.batch_execute(&insert).await
        });
        waiting(&world, 2).await;
        shut_out(&world).await;
        lost(&world).await;
        let (status, body) = readiness(&world).await;
        assert_eq!(status, 503, "{body}");
        let why = body["lease"]["why"].as_str().unwrap();
        assert!(why.contains("refused the login") && why.contains("28000"), "{why}");

        // Statements wait for limits.hold and are refused; the connection is as it was.
        assert_eq!(code(idle.batch_execute("SELECT 1").await), "57P03");
        assert_eq!(code(idle.query(&prepared, &[]).await.map(drop)), "57P03");
        assert_eq!(code(idle.batch_execute("INSERT INTO users VALUES (9, 'no')").await), "57P03");
        let error = select(&idle).await.unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code(), &SqlState::CANNOT_CONNECT_NOW);
        assert!(error.detail().unwrap().contains("refused the login"), "{error:?}");
        // A transaction under way fails as any failed one does, and may be rolled back or committed.
        assert_eq!(code(open.batch_execute("SELECT 1").await), "57P01");
        assert_eq!(code(open.batch_execute("SELECT 1").await), "25P02");
        open.batch_execute("ROLLBACK").await.unwrap();
        finishing.batch_execute("COMMIT").await.unwrap();
        // A read that ends now is not answered; a write that commits now is.
        gate.batch_execute("SELECT pg_advisory_unlock(4711)").await.unwrap();
        assert_eq!(code(reading.await.unwrap()), "57P01");
        writing.await.unwrap().unwrap();

        let_in(&world).await;
        world.until("ready again", async || readiness(&world).await.0 == 200).await;
        select(&idle).await.unwrap();
        open.batch_execute("INSERT INTO users VALUES (4, 'after')").await.unwrap();
        let rows = idle.query("SELECT id FROM users ORDER BY id", &[]).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.get(0)).collect::<Vec<i32>>(), [2, 3, 4]);
        let proxy = world.proxy.as_ref().unwrap();
        for (series, least) in [
            ("lease_held", 1.0),
            ("lease_lost_total", 1.0),
            ("lease_refusals_total{what=\"statement\"}", 4.0),
            ("lease_refusals_total{what=\"transaction\"}", 1.0),
            ("lease_refusals_total{what=\"answer\"}", 1.0),
        ] {
            let value = proxy.metric(series).await;
            assert!(least <= value, "{series} {value}");
        }
        if set_up {
            world.drained().await;
            world.assert_equal("users").await;
        }
    }
}

/// Waits until so many statements wait for the test's lock.
async fn waiting(world: &World, count: i64) {
    let admin = world.admin().await;
    let sql = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
         WHERE d.datname = current_database() AND l.objid = 4711 AND NOT l.granted";
    world
        .until("waiting", async || {
            admin.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == count
        })
        .await;
}

#[tokio::test]
async fn a_statement_that_waits_goes_on_once_the_epoch_is_confirmed() {
    let world = start("60s", true).await;
    let (client, other) = (world.client().await, world.client().await);
    shut_out(&world).await;
    lost(&world).await;
    let read = tokio::spawn(async move { client.simple_query("SELECT 41 + 1").await });
    let write =
        tokio::spawn(
            async move { other.batch_execute("INSERT INTO users VALUES (1, 'waited')").await },
        );
    let_in(&world).await;
    let rows = read.await.unwrap().unwrap();
    let value = rows.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    assert_eq!(value, Some("42"));
    write.await.unwrap().unwrap();
    world.drained().await;
    world.assert_equal("users").await;
}

#[tokio::test]
async fn a_sidecar_that_was_stopped_confirms_before_it_answers() {
    let world = start("100ms", true).await;
    let client = world.client().await;
    select(&client).await.unwrap();
    let proxy = world.proxy.as_ref().unwrap();
    proxy.freeze().await;
    let stopped = Instant::now();
    let read = tokio::spawn(async move { (select(&client).await, client) });
    shut_out(&world).await;
    // What is waited for is that the lease has run out, and there is nothing to ask it.
    tokio::time::sleep(LEASE.saturating_sub(stopped.elapsed())).await;
    proxy.thaw();
    let (answer, client) = read.await.unwrap();
    assert_eq!(code(answer), "57P03");
    let_in(&world).await;
    world.until("ready again", async || readiness(&world).await.0 == 200).await;
    select(&client).await.unwrap();
}

/// A sidecar that starts has to tell the secondary the epoch; one that hangs must not keep it from
/// confirming its own.
#[tokio::test]
async fn the_lease_is_confirmed_while_the_secondary_hangs() {
    let mut world = World::alone(Target::MariaDb, "'*': { mode: async }").await;
    world.direct().await.batch_execute(SCHEMA).await.unwrap();
    world.setup();
    world.edit(|text| text + "limits: { poll: 100ms, lease: 3s, connect_timeout: 60s }\n");
    world.follower.as_ref().unwrap().pause();
    world.proxy = Some(Proxy::start_unready(&world.config).await);
    // Once for each third of the lease. It would take minutes if each had to wait for the secondary.
    let admin = world.admin().await;
    let renewed = async || {
        let beats = "SELECT coalesce(max(beat), 0) FROM crossfade.sidecars";
        6 <= admin.query_one(beats, &[]).await.unwrap().get::<_, i64>(0)
    };
    world.until("renewed six times", renewed).await;
    world.client().await.batch_execute("INSERT INTO users VALUES (1, 'a')").await.unwrap();
    world.follower.as_ref().unwrap().resume();
    world.drained().await;
    world.assert_equal("users").await;
}
