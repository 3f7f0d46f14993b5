//! What goes wrong around a sidecar: a database that is away, a secondary that refuses it, an outbox
//! that someone dropped. Each is said clearly, the application goes on where it can, nothing is lost.

use crossfade::demo::servers::PASSWORD;
use tokio_postgres::NoTls;
use tokio_postgres::error::{DbError, SqlState};

use crate::support::process::{self, Proxy};
use crate::support::{ROLE, ROLE_PASSWORD, Target, World};

const SCHEMA: &str = "
    CREATE TABLE users (id int PRIMARY KEY, name text);
    CREATE TABLE parent (id int PRIMARY KEY);
    CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE);
    CREATE TABLE firm (id int PRIMARY KEY, name text);
";
const TABLES: &str = "firm: { mode: strict, timeout: 1s }\n'*': { mode: blocking, timeout: 200ms }";

fn refused(result: Result<impl Sized, tokio_postgres::Error>) -> DbError {
    let error = result.err().expect("it is refused");
    error.as_db_error().unwrap_or_else(|| panic!("{error:?}")).clone()
}

#[tokio::test]
async fn a_primary_that_is_down_at_the_start_is_waited_for() {
    let mut world = World::alone(Target::MariaDb, TABLES).await;
    world.direct().await.batch_execute(SCHEMA).await.unwrap();
    world.setup();
    world.postgres.as_mut().unwrap().stop();
    for verb in ["check", "setup"] {
        let (code, output) = process::verb(&world.config, &[verb]);
        assert_eq!(code, Some(3), "{verb}: {output}");
        let place = format!("127.0.0.1:{}", world.postgres_port());
        assert!(output.contains(&place) && output.contains("refused"), "{verb}: {output}");
        assert!(!output.contains(PASSWORD), "{output}");
    }
    world.proxy = Some(Proxy::start_unready(&world.config).await);
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(world.proxy_port()).user(ROLE).password(ROLE_PASSWORD);
    config.dbname(&world.database);
    let error = refused(config.connect(NoTls).await);
    assert_eq!(error.code(), &SqlState::CANNOT_CONNECT_NOW);
    assert!(error.message().starts_with("could not connect to primary at 127.0.0.1:"), "{error}");
    let log = world.log();
    assert!(log.contains("database does not answer database=\"postgresql\""), "{log}");

    world.postgres.as_mut().unwrap().start_again().unwrap();
    let proxy = world.proxy.as_ref().unwrap();
    let ready = async || matches!(proxy.get("/health/readiness").await, Some((200, _)));
    world.until("ready", ready).await;
    world.client().await.batch_execute("INSERT INTO users VALUES (1, 'a')").await.unwrap();
    world.drained().await;
    world.assert_equal("users").await;
}

#[tokio::test]
async fn a_secondary_that_is_down_or_refuses_us_stops_nobody() {
    for wrong_password in [false, true] {
        let mut world = World::alone(Target::MariaDb, TABLES).await;
        world.direct().await.batch_execute(SCHEMA).await.unwrap();
        world.setup();
        let right = std::fs::read_to_string(&world.config).unwrap();
        if wrong_password {
            world.log_in_to_secondary_as("root", "not-it");
        } else {
            world.follower.as_mut().unwrap().stop();
        }
        for verb in ["check", "setup"] {
            let (code, output) = process::verb(&world.config, &[verb]);
            assert_eq!(code, Some(3), "{verb}: {output}");
            let expected = if wrong_password { "1045" } else { "refused" };
            assert!(output.contains(expected), "{verb}: {output}");
            assert!(!output.contains("not-it"), "{output}");
        }
        world.run().await;
        let client = world.client().await;
        client.batch_execute("INSERT INTO users VALUES (1, 'a')").await.unwrap();
        // Strict asked for it: that write fails, and says which side is to blame.
        let error = refused(client.batch_execute("INSERT INTO firm VALUES (1, 'x')").await);
        assert!(error.message().starts_with("secondary"), "{error}");
        client
            .batch_execute("UPDATE users SET name = 'b'; INSERT INTO parent VALUES (1)")
            .await
            .unwrap();
        let log = world.log();
        let line = log.lines().find(|line| line.contains("does not answer database=\"mysql\""));
        let expected = if wrong_password { "1045" } else { "refused" };
        assert!(line.is_some_and(|line| line.contains(expected)), "{log}");
        assert!(!log.contains("not-it"), "{log}");
        let (code, status) = process::verb(&world.config, &["status"]);
        assert_eq!(code, Some(1), "{status}");
        let line = status.lines().find(|line| line.starts_with("MySQL does not answer: "));
        assert!(line.is_some_and(|line| line.contains(expected)), "{status}");

        if wrong_password {
            std::fs::write(&world.config, right).unwrap();
            world.proxy.as_ref().unwrap().reload();
        } else {
            world.follower.as_mut().unwrap().start_again().unwrap();
        }
        world.drained().await;
        world.assert_all_equal().await;
        let answers =
            async || !process::verb(&world.config, &["status"]).1.contains("does not answer");
        world.until("status names nobody any more", answers).await;
    }
}

#[tokio::test]
async fn writes_fail_while_the_outbox_is_gone_and_setup_brings_it_back() {
    let mut world = World::start(Target::MariaDb, SCHEMA, TABLES).await;
    let client = world.client().await;
    client.batch_execute("INSERT INTO users VALUES (1, 'a')").await.unwrap();
    world.drained().await;
    world.admin().await.batch_execute("DROP TABLE crossfade.outbox").await.unwrap();
    world
        .until("noticed", async || {
            world.log().contains("crossfade.outbox is gone from the primary")
        })
        .await;
    // Before and after it was noticed, captured by RETURNING or by trigger, in both protocols.
    for sql in [
        "INSERT INTO users VALUES (2, 'b')",
        "UPDATE users SET name = 'c' WHERE id = 1",
        "INSERT INTO child VALUES (1, NULL)",
        "INSERT INTO firm VALUES (1, 'x')",
        "TRUNCATE users",
    ] {
        for extended in [false, true] {
            let done = match extended {
                false => client.batch_execute(sql).await,
                true => client.execute(sql, &[]).await.map(drop),
            };
            let error = refused(done);
            assert_eq!(error.code(), &SqlState::UNDEFINED_TABLE, "{sql}");
            assert_eq!(error.message(), "relation \"crossfade.outbox\" does not exist", "{sql}");
            assert!(error.hint().is_some_and(|hint| hint.contains("crossfade setup")), "{sql}");
        }
    }
    let row = client.query_one("SELECT name FROM users", &[]).await.unwrap();
    assert_eq!(row.get::<_, &str>(0), "a", "reads go on, and nothing was written");
    until_status(&world, "crossfade.outbox is gone from PostgreSQL: run `crossfade setup`").await;
    // One that starts now does not take the migration for one that never began.
    let proxy = world.proxy.take().unwrap();
    proxy.kill9();
    world.proxy = Some(Proxy::start_unready(&world.config).await);
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(world.proxy_port()).user(ROLE).password(ROLE_PASSWORD);
    config.dbname(&world.database);
    let error = match config.connect(NoTls).await {
        Ok((client, connection)) => {
            tokio::spawn(connection);
            refused(client.batch_execute("INSERT INTO users VALUES (2, 'b')").await)
        }
        refusal => refused(refusal),
    };
    assert_eq!(error.code(), &SqlState::CANNOT_CONNECT_NOW, "{error}");

    world.setup();
    let writes = async || {
        let Ok((client, connection)) = config.connect(NoTls).await else { return false };
        tokio::spawn(connection);
        client.batch_execute("INSERT INTO users VALUES (2, 'b')").await.is_ok()
    };
    world.until("written again", writes).await;
    world.drained().await;
    world.assert_equal("users").await;
    // What the lost outbox held is not known.
    until_status(&world, "dirty: outbox_lost").await;
}

/// Waits until `crossfade status` says so, and that something needs a look.
async fn until_status(world: &World, words: &str) {
    let told = async || {
        let (code, status) = process::verb(&world.config, &["status"]);
        code == Some(1) && status.contains(words)
    };
    world.until(words, told).await;
}
