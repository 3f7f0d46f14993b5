//! `strict` where the secondary takes its time.

use std::sync::Arc;

use mysql_async::prelude::Queryable as _;

use crate::support::{Target, World};

const SCHEMA: &str = "CREATE TABLE firm (id int PRIMARY KEY, note text)";

/// What the application set for its own transactions is not for the one that we put around a single
/// statement and keep open.
#[tokio::test]
async fn a_clients_timeouts_do_not_end_it_while_it_waits_for_the_secondary() {
    let world = World::start(Target::MariaDb, SCHEMA, "firm: { mode: strict, timeout: 60s }").await;
    let (client, direct) = (Arc::new(world.client().await), world.admin().await);
    let (mut secondary, mut other) = (world.secondary().await, world.secondary().await);
    client.batch_execute("INSERT INTO firm VALUES (1, 'a')").await.unwrap();
    client
        .batch_execute(
            "SET idle_in_transaction_session_timeout = '50ms'; SET lock_timeout = '50ms'",
        )
        .await
        .unwrap();
    for extended in [false, true] {
        secondary.query_drop("BEGIN").await.unwrap();
        secondary.query_drop("SELECT * FROM firm WHERE id = 1 FOR UPDATE").await.unwrap();
        let task = tokio::spawn({
            let client = Arc::clone(&client);
            async move {
                match extended {
                    false => client.batch_execute("UPDATE firm SET note = 'b'").await,
                    true => client.execute("UPDATE firm SET note = 'c'", &[]).await.map(drop),
                }
            }
        });
        world
            .until("waiting", async || {
                // Longer than any of the client's timeouts.
                let open = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' \
                            AND datname = current_database() AND xact_start IS NOT NULL \
                            AND xact_start < clock_timestamp() - interval '300 ms'";
                let open: i64 = direct.query_one(open, &[]).await.unwrap().get(0);
                // Not `innodb_trx`: it shows what it showed, to whoever asks again at once.
                let waits = "SELECT COUNT(*) FROM information_schema.processlist \
                             WHERE info LIKE 'UPDATE `firm`%'";
                let waits: Option<i64> = other.query_first(waits).await.unwrap();
                open == 1 && waits != Some(0)
            })
            .await;
        secondary.query_drop("ROLLBACK").await.unwrap();
        task.await.unwrap().unwrap();
    }
    world.drained().await;
    world.assert_equal("firm").await;
    let left: String =
        client.query_one("SHOW idle_in_transaction_session_timeout", &[]).await.unwrap().get(0);
    assert_eq!(left, "50ms");
}

const FAILING: &str = "
    CREATE TABLE firm (id int PRIMARY KEY, note text);
    CREATE TABLE free (id int PRIMARY KEY);
";
const STRICT: &str = "firm: { mode: strict, timeout: 1s }\n'*': { mode: async }";

/// The write fails in either protocol, alone and in a block: with this class, naming the secondary. The
/// primary has nothing of it, and the connection goes on.
async fn fails(world: &World, client: &tokio_postgres::Client, codes: &[&str]) {
    for way in 0..3 {
        let id = 100 + way;
        let write = format!("INSERT INTO firm VALUES ({id}, 'refused')");
        let failed = match way {
            0 => client.batch_execute(&write).await,
            1 => client.execute(&write, &[]).await.map(drop),
            _ => {
                client.batch_execute("BEGIN; INSERT INTO free VALUES (1)").await.unwrap();
                client.batch_execute(&write).await.unwrap();
                client.batch_execute("COMMIT").await
            }
        };
        let error = failed.expect_err("the secondary did not take it");
        let error = error.as_db_error().unwrap_or_else(|| panic!("{error:?}\n{}", world.log()));
        assert!(error.message().starts_with("secondary"), "{error:?}");
        assert!(codes.contains(&error.code().code()), "{codes:?}: {error:?}");
        let left =
            "SELECT (SELECT count(*) FROM firm WHERE id >= 100) + (SELECT count(*) FROM free)";
        let left: i64 = client.query_one(left, &[]).await.unwrap().get(0);
        assert_eq!(left, 0, "the primary has nothing of it");
    }
}

/// Nothing is in the way any more.
async fn goes_on(world: &World, client: &tokio_postgres::Client) {
    let mut id = 0;
    world
        .until("taken again", async || {
            id += 1;
            let write = format!("INSERT INTO firm VALUES ({id}, 'taken')");
            client.batch_execute(&write).await.is_ok()
        })
        .await;
    client.batch_execute("BEGIN; UPDATE firm SET note = 'again'").await.unwrap();
    client.batch_execute("COMMIT").await.unwrap();
    world.drained().await;
    world.assert_all_equal().await;
    client.batch_execute("DELETE FROM firm; TRUNCATE free").await.unwrap();
}

#[tokio::test]
async fn a_secondary_that_refuses_is_named_and_the_connection_stays() {
    for target in Target::all() {
        let world = World::start(target, FAILING, STRICT).await;
        let client = world.client().await;
        let mut secondary = world.secondary().await;

        secondary
            .query_drop("ALTER TABLE firm ADD CONSTRAINT c CHECK (note <> 'refused')")
            .await
            .unwrap();
        fails(&world, &client, &["23514"]).await;
        let drop = match target {
            Target::MariaDb => "ALTER TABLE firm DROP CONSTRAINT c",
            Target::MySql => "ALTER TABLE firm DROP CHECK c",
        };
        secondary.query_drop(drop).await.unwrap();
        goes_on(&world, &client).await;

        // One that loses every deadlock: it is tried again, until the time is up.
        let deadlock = "CREATE TRIGGER d BEFORE INSERT ON firm FOR EACH ROW \
             SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213, MESSAGE_TEXT = 'refused'";
        secondary.query_drop(deadlock).await.unwrap();
        fails(&world, &client, &["40P01"]).await;
        secondary.query_drop("DROP TRIGGER d").await.unwrap();
        goes_on(&world, &client).await;

        // Slow: somebody holds what it needs.
        secondary.query_drop("LOCK TABLES firm WRITE").await.unwrap();
        fails(&world, &client, &["57014"]).await;
        secondary.query_drop("UNLOCK TABLES").await.unwrap();
        goes_on(&world, &client).await;
    }
}

#[tokio::test]
async fn a_secondary_that_is_down_or_hangs_is_named_and_the_connection_stays() {
    let mut world = World::alone(Target::MariaDb, STRICT).await;
    world.direct().await.batch_execute(FAILING).await.unwrap();
    world.setup();
    world.run().await;
    let client = world.client().await;
    client.batch_execute("INSERT INTO firm VALUES (99, 'taken')").await.unwrap();
    world.follower.as_ref().unwrap().pause();
    fails(&world, &client, &["57014", "08006"]).await;
    world.follower.as_ref().unwrap().resume();
    goes_on(&world, &client).await;
    world.follower.as_mut().unwrap().kill9();
    fails(&world, &client, &["08001", "08006"]).await;
    world.follower.as_mut().unwrap().start_again().unwrap();
    goes_on(&world, &client).await;
}
