//! The primary is not the server it was: a standby was promoted that lacks the last writes, or a backup
//! was restored. Old images cannot win, every table is in doubt, and the rows that the secondary has and
//! the primary lost are read again.

use std::process::Command;

use crossfade::demo::servers::{Options, PASSWORD, Product, Server};
use tokio_postgres::Client;

use crate::support::relay::Relay;
use crate::support::{ROLE, ROLE_PASSWORD, Target, World, connect, process};

const SCHEMA: &str = "
    CREATE TABLE account (id int PRIMARY KEY, email text UNIQUE, balance int);
    CREATE TABLE pair (a int, b text, note text, PRIMARY KEY (a, b));
    CREATE TABLE parent (id int PRIMARY KEY);
    CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE);
    INSERT INTO account SELECT g, 'u' || g, 0 FROM generate_series(1, 50) g;
";
const TABLES: &str = "'*': { mode: blocking, timeout: 10s }";
/// Reaches the standby, or the backup.
const KEPT: &str = "
    UPDATE account SET balance = 1;
    INSERT INTO pair SELECT g, 'b' || g, 'kept' FROM generate_series(1, 20) g;
    INSERT INTO parent VALUES (1), (2), (3);
    INSERT INTO child SELECT g, 1 + g % 3 FROM generate_series(1, 9) g;
";
/// Is lost: rows of every kind, among them two that swap a unique value, and one that moves.
const LOST: &str = "
    UPDATE account SET balance = 2 WHERE id <= 10;
    UPDATE account SET email = CASE id WHEN 11 THEN 'x' WHEN 12 THEN 'u11' END WHERE id IN (11, 12);
    DELETE FROM account WHERE id BETWEEN 20 AND 25;
    INSERT INTO account VALUES (100, 'u20', 2), (101, 'new', 2);
    UPDATE pair SET b = 'moved' WHERE a = 1;
    DELETE FROM pair WHERE a > 15;
    DELETE FROM parent WHERE id = 2;
    INSERT INTO child VALUES (10, 1);
";

/// A world on servers of its own, with Crossfade behind a relay.
async fn world(target: Target) -> (World, Relay) {
    let mut world = World::alone(target, TABLES).await;
    let relay = Relay::start(world.postgres_port());
    world.through(&relay);
    world.edit(|text| text + "limits: { poll: 100ms, lease: 3s }\n");
    world.direct().await.batch_execute(SCHEMA).await.unwrap();
    world.setup();
    world.run().await;
    // The rows of before are copied by writing them.
    let client = world.client().await;
    client.batch_execute("UPDATE account SET balance = 0").await.unwrap();
    client.batch_execute(KEPT).await.unwrap();
    world.drained().await;
    world.assert_all_equal().await;
    // Rows of before `setup` wait for a backfill: that mark would stay the first.
    let clean = "UPDATE crossfade.tables SET dirty_reason = NULL";
    world.admin().await.batch_execute(clean).await.unwrap();
    (world, relay)
}

/// Waits until a position after all that was written so far is noted.
async fn settled(world: &World) {
    let admin = world.admin().await;
    let lsn = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint";
    let lsn: i64 = admin.query_one(lsn, &[]).await.unwrap().get(0);
    let noted =
        "SELECT split_part(value, ':', 2)::bigint FROM crossfade.settings WHERE key = 'settled'";
    world
        .until("settled", async || {
            let row = admin.query_opt(noted, &[]).await.unwrap();
            row.is_some_and(|row| lsn <= row.get::<_, i64>(0))
        })
        .await;
}

async fn number(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

/// The epoch has grown on both sides, every table is in doubt, and yet nothing differs.
async fn brought_back(world: &World) {
    let proxy = world.proxy.as_ref().unwrap();
    world.until("another epoch", async || proxy.metric("epoch").await > 1.0).await;
    let admin = world.admin().await;
    let left = "SELECT count(*) FROM crossfade.settings WHERE key = 'lost_after'";
    world.until("looked for", async || number(&admin, left).await == 0).await;
    world.drained().await;
    world.assert_all_equal().await;
    let dirty =
        "SELECT name || ' ' || coalesce(dirty_reason, '-') FROM crossfade.tables ORDER BY name";
    let rows = admin.query(dirty, &[]).await.unwrap();
    let dirty: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let expected = ["account", "child", "pair", "parent"].map(|name| format!("{name} failover"));
    assert_eq!(dirty, expected, "{}", world.log());
    let (code, status) = process::verb(&world.config, &["status"]);
    assert_eq!(code, Some(1), "{status}");
    assert!(status.contains("dirty: failover"), "{status}");
}

#[tokio::test]
async fn a_promoted_standby_that_lacks_the_last_writes_decides() {
    for target in Target::all() {
        let (mut world, relay) = world(target).await;
        let mut standby = {
            let primary = world.postgres.take().unwrap();
            let (primary, standby) = tokio::task::spawn_blocking(move || {
                let standby = primary.standby().unwrap();
                (primary, standby)
            })
            .await
            .unwrap();
            world.postgres = Some(primary);
            standby
        };
        settled(&world).await;
        let client = world.client().await;
        // A transaction that writes before the timelines part and commits after it is lost whole.
        let long = world.client().await;
        long.batch_execute("BEGIN; UPDATE account SET balance = 7 WHERE id = 50").await.unwrap();
        client.batch_execute("UPDATE account SET balance = 3 WHERE id = 49").await.unwrap();
        caught_up(&world, &standby).await;
        standby.stop();
        long.batch_execute("COMMIT").await.unwrap();
        client.batch_execute(LOST).await.unwrap();
        // The old log runs far ahead.
        client
            .batch_execute("UPDATE account SET balance = balance + 1 WHERE id <= 5")
            .await
            .unwrap();
        world.drained().await;
        world.assert_all_equal().await;
        world.postgres.as_mut().unwrap().kill9();
        standby.start_again().unwrap();
        relay.point(standby.port());
        drop(world.replace_postgres(standby));
        let admin = world.admin().await;
        assert!(admin.query_one("SELECT pg_promote()", &[]).await.unwrap().get::<_, bool>(0));
        assert_eq!(number(&admin, "SELECT count(*) FROM account WHERE id > 99").await, 0);

        // The application comes back and writes to rows of both kinds; some fall to the epoch.
        let written = async || {
            let mut config = tokio_postgres::Config::new();
            config.host("127.0.0.1").port(world.proxy_port()).user(ROLE).password(ROLE_PASSWORD);
            config.dbname(&world.database);
            let Ok((client, connection)) = config.connect(tokio_postgres::NoTls).await else {
                return false;
            };
            tokio::spawn(connection);
            let write = "UPDATE account SET balance = 9 WHERE id IN (1, 11, 30)";
            client.batch_execute(write).await.is_ok()
        };
        world.until("written again", written).await;
        brought_back(&world).await;
        let keys = world.proxy.as_ref().unwrap().metric("failover_keys_total").await;
        assert!(keys >= 30.0, "{keys}");
        assert_eq!(
            number(&admin, "SELECT balance::bigint FROM account WHERE id = 50").await,
            1,
            "the long transaction is lost on both sides"
        );
    }
}

/// Waits until the standby has all that the primary has.
async fn caught_up(world: &World, standby: &Server) {
    let admin = world.admin().await;
    let there = connect(standby.port(), "postgres", PASSWORD, "postgres").await;
    let lsn: String =
        admin.query_one("SELECT pg_current_wal_flush_lsn()::text", &[]).await.unwrap().get(0);
    let replayed = format!("SELECT pg_last_wal_replay_lsn() >= '{lsn}'::pg_lsn");
    world
        .until("replayed", async || {
            there.query_one(&replayed, &[]).await.unwrap().get::<_, Option<bool>>(0) == Some(true)
        })
        .await;
}

/// The address moves while the sidecar's own connections stay: a client that comes now is on the new
/// server, and the sidecar still knows the old one.
#[tokio::test]
async fn a_session_on_the_new_primary_writes_nothing_under_the_old_epoch() {
    let (mut world, relay) = world(Target::MariaDb).await;
    world.edit(|text| text.replace("lease: 3s", "lease: 3s, hold: 2s"));
    world.proxy.as_ref().unwrap().reload();
    world
        .until("taken", async || {
            world.proxy.as_ref().unwrap().metric("limit{name=\"hold\"}").await == 2.0
        })
        .await;
    let primary = world.postgres.take().unwrap();
    let (primary, standby) = tokio::task::spawn_blocking(move || {
        let standby = primary.standby().unwrap();
        (primary, standby)
    })
    .await
    .unwrap();
    world.postgres = Some(primary);
    settled(&world).await;
    caught_up(&world, &standby).await;
    relay.point(standby.port());
    let survives = world.client().await;
    let standby_says = survives.query_one("SELECT pg_is_in_recovery()", &[]).await.unwrap();
    assert!(standby_says.get::<_, bool>(0), "the session is on the standby");
    let there = connect(standby.port(), "postgres", PASSWORD, &world.database).await;
    there.query_one("SELECT pg_promote()", &[]).await.unwrap();
    for sql in ["UPDATE account SET balance = 5 WHERE id = 1", "TRUNCATE pair"] {
        let error = survives.batch_execute(sql).await.unwrap_err();
        assert_eq!(error.code().map(|code| code.code()), Some("40001"), "{sql}: {error:?}");
    }
    survives.batch_execute("BEGIN").await.unwrap();
    let error = survives.execute("DELETE FROM account", &[]).await.unwrap_err();
    assert_eq!(error.code().map(|code| code.code()), Some("40001"), "{error:?}");
    survives.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(number(&there, "SELECT max(balance)::bigint FROM account").await, 1);
    assert_eq!(number(&there, "SELECT count(*) FROM pair").await, 20);

    // Now the sidecar loses the old one: it finds the new one, and the session goes on.
    world.replace_postgres(standby).kill9();
    let written = async || {
        survives.batch_execute("UPDATE account SET balance = 5 WHERE id = 1").await.is_ok()
    };
    world.until("written", written).await;
    brought_back(&world).await;
}

/// Another server altogether, filled from a dump: its log has nothing to do with the old one.
#[tokio::test]
async fn a_restored_backup_decides() {
    for target in Target::all() {
        let (mut world, relay) = world(target).await;
        settled(&world).await;
        let dump = world.config.with_file_name("dump.sql");
        let run = |program: &str, port: u16, arguments: &[&str]| {
            let output = Command::new(program)
                .args(["-h", "127.0.0.1", "-U", "postgres", "-p", &port.to_string()])
                .args(["-d", &world.database, "-f", dump.to_str().unwrap()])
                .args(arguments)
                .env("PGPASSWORD", PASSWORD)
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        run("pg_dump", world.postgres_port(), &["--format=plain"]);
        let client = world.client().await;
        client.batch_execute(LOST).await.unwrap();
        world.drained().await;
        world.assert_all_equal().await;
        let other = tokio::task::spawn_blocking(|| {
            let options = Options { durable: true, anew: true, ..Options::default() };
            Server::start(Product::Postgres, options).unwrap()
        })
        .await
        .unwrap();
        let there = connect(other.port(), "postgres", PASSWORD, "postgres").await;
        let role =
            format!("CREATE ROLE {ROLE} LOGIN PASSWORD '{}'", ROLE_PASSWORD.replace('\'', "''"));
        there.batch_execute(&role).await.unwrap();
        let create = format!("CREATE DATABASE {} OWNER {ROLE}", world.database);
        there.batch_execute(&create).await.unwrap();
        run("psql", other.port(), &["-q", "-v", "ON_ERROR_STOP=1"]);
        relay.point(other.port());
        let mut old = world.replace_postgres(other);
        old.kill9();
        brought_back(&world).await;
        let client = world.client().await;
        client.batch_execute("UPDATE account SET balance = 11 WHERE id < 15").await.unwrap();
        world.drained().await;
        world.assert_all_equal().await;
    }
}

/// The same server, so that neither its number nor its timeline is another: the database is.
#[tokio::test]
async fn a_dump_restored_beside_the_database_it_was_taken_of_decides() {
    let (world, _relay) = world(Target::MariaDb).await;
    settled(&world).await;
    let dump = world.config.with_file_name("dump.sql");
    let port = world.postgres_port();
    let run = |program: &str, database: &str, arguments: &[&str]| {
        let output = Command::new(program)
            .args(["-h", "127.0.0.1", "-U", "postgres", "-p", &port.to_string()])
            .args(["-d", database, "-f", dump.to_str().unwrap()])
            .args(arguments)
            .env("PGPASSWORD", PASSWORD)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run("pg_dump", &world.database, &["--format=plain"]);
    let client = world.client().await;
    client.batch_execute(LOST).await.unwrap();
    world.drained().await;
    world.assert_all_equal().await;
    let there = connect(port, "postgres", PASSWORD, "postgres").await;
    let name = &world.database;
    there.batch_execute(&format!("CREATE DATABASE {name}_new OWNER {ROLE}")).await.unwrap();
    run("psql", &format!("{name}_new"), &["-q", "-v", "ON_ERROR_STOP=1"]);
    there.batch_execute(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false")).await.unwrap();
    let rest = format!(
        "SELECT count(*), count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{name}'"
    );
    world.until("left", async || number(&there, &rest).await == 0).await;
    there.batch_execute(&format!("ALTER DATABASE {name} RENAME TO {name}_old")).await.unwrap();
    there.batch_execute(&format!("ALTER DATABASE {name}_new RENAME TO {name}")).await.unwrap();
    brought_back(&world).await;
    let client = world.client().await;
    client.batch_execute("UPDATE account SET balance = 11 WHERE id < 15").await.unwrap();
    world.drained().await;
    world.assert_all_equal().await;
}
