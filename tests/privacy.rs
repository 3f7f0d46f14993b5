//! Secrets are planted wherever an application puts them, and looked for in everything we print.
//!
//! The sidecar logs at trace level; each path that could quote a value is taken: literals, parameters,
//! errors of either database, values that MySQL cannot hold, a login that fails, a strict write that is
//! refused, a crash's drain.

use std::fs;

use crossfade::demo::servers::PASSWORD;
use mysql_async::prelude::Queryable;

use crate::support::{ROLE_PASSWORD, Target, World};

const SCHEMA: &str = "CREATE TABLE users (id int PRIMARY KEY, email text UNIQUE, born date, doc jsonb);
    CREATE TABLE children (id int PRIMARY KEY, user_id int REFERENCES users ON DELETE CASCADE, note text);
    CREATE TABLE tight (id int PRIMARY KEY, name text)";
const TABLES: &str = "users: { mode: blocking, timeout: 2s }\ntight: { mode: strict, timeout: 2s }\n'*': { mode: async }";

/// The word that no output may hold, with a number that says which path let it out.
fn secret(path: u32) -> String {
    format!("sesame-{path}-open")
}

#[tokio::test]
async fn nothing_we_print_holds_a_secret() {
    let mut world = World::bare(Target::MariaDb, TABLES).await;
    world.direct().await.batch_execute(SCHEMA).await.unwrap();
    let mut config = fs::read_to_string(&world.config).unwrap();
    config.push_str("log: { level: trace }\n");
    fs::write(&world.config, config).unwrap();
    let mut printed = world.verb(&["setup"]);
    // The strict table refuses on the secondary what the primary takes.
    let mut secondary = world.secondary().await;
    secondary.query_drop("ALTER TABLE tight MODIFY name varchar(5)").await.unwrap();
    world.run().await;
    statements(&world).await;
    let proxy = world.proxy.as_ref().unwrap();
    bad_login(&world, proxy.port).await;
    for path in ["/metrics", "/migration-status", "/health/readiness", "/statements", "/"] {
        printed.push_str(&proxy.get(path).await.unwrap().1);
    }
    let log = proxy.log();
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "the log is not at trace level\n{log}");
    // A crash leaves entries for the drain, which reads the rows again.
    world.crash().await;
    settled(&world).await;
    printed.push_str(&world.proxy.as_ref().unwrap().log());
    printed.push_str(&status(&world));
    printed.push_str(&last_errors(&world).await);
    // Rows that MySQL cannot hold are different, and named without a value; so is what is tried again.
    for verb in [&["verify", "--patience", "1"][..], &["repair", "--table", "users"]] {
        printed.push_str(&crate::support::process::verb(&world.config, verb).1);
    }
    let leaked: Vec<&str> = printed
        .lines()
        .filter(|line| ["sesame", PASSWORD, ROLE_PASSWORD].iter().any(|word| line.contains(word)))
        .collect();
    assert!(leaked.is_empty(), "{}", leaked.join("\n"));
}

/// Each path with a number of its own.
async fn statements(world: &World) {
    let client = world.client().await;
    let literal = format!("INSERT INTO users VALUES (1, '{}', NULL, NULL)", secret(1));
    client.batch_execute(&literal).await.unwrap();
    client
        .execute(
            "INSERT INTO users VALUES (2, $1, NULL, jsonb_build_object('k', $1::text))",
            &[&secret(2)],
        )
        .await
        .unwrap();
    // Errors of the primary quote what they stumbled over, to the client alone.
    let twice = format!("INSERT INTO users VALUES (3, '{}', NULL, NULL)", secret(1));
    let error = client.batch_execute(&twice).await.unwrap_err();
    assert!(error.as_db_error().unwrap().detail().unwrap().contains("sesame"), "{error:?}");
    for wrong in [
        format!("SELEC '{}'", secret(4)),
        format!("SELECT '{}'::int", secret(5)),
        format!("UPDATE users SET email = '{}' WHERE nonsense", secret(6)),
        format!("INSERT INTO users VALUES (7, '{}', NULL, NULL); SELECT 1/0", secret(7)),
    ] {
        client.batch_execute(&wrong).await.unwrap_err();
    }
    // MySQL has no infinite date and no such number: both entries stay.
    let infinite = format!("INSERT INTO users VALUES (8, '{}', 'infinity', NULL)", secret(8));
    client.batch_execute(&infinite).await.unwrap();
    let number = format!(
        "INSERT INTO users VALUES (9, '{}', NULL, '{{\"{}\": 1e400}}')",
        secret(9),
        secret(10)
    );
    client.batch_execute(&number).await.unwrap();
    // Captured by a trigger, so that the drain reads it.
    let child = format!("INSERT INTO children VALUES (1, 2, '{}')", secret(11));
    client.batch_execute(&child).await.unwrap();
    // Longer than its column on the secondary: the primary is rolled back, and the client told.
    let strict = format!("INSERT INTO tight VALUES (1, '{}')", secret(12));
    let error = client.batch_execute(&strict).await.unwrap_err();
    assert!(!error.as_db_error().unwrap().message().contains("sesame"), "{error:?}");
    let comment = format!("SELECT 1 /* {} */ -- {}", secret(15), secret(16));
    client.batch_execute(&comment).await.unwrap();
    let copy = format!("DO $$ BEGIN PERFORM '{}'; END $$", secret(13));
    client.batch_execute(&copy).await.unwrap();
}

async fn bad_login(world: &World, port: u16) {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(port).user("app").password(secret(14)).dbname(&world.database);
    assert!(config.connect(tokio_postgres::NoTls).await.is_err(), "a wrong password was let in");
}

/// Waits until nothing but what MySQL cannot hold is left in the outbox.
async fn settled(world: &World) {
    let admin = world.admin().await;
    let left = "SELECT count(*) FROM crossfade.outbox WHERE last_error IS NULL";
    world
        .until("settled", async || admin.query_one(left, &[]).await.unwrap().get::<_, i64>(0) == 0)
        .await;
}

/// With stuck entries it exits 1, which is not what this test is about.
fn status(world: &World) -> String {
    crate::support::process::verb(&world.config, &["status"]).1
}

async fn last_errors(world: &World) -> String {
    let admin = world.admin().await;
    let rows = admin.query("SELECT last_error FROM crossfade.outbox", &[]).await.unwrap();
    assert!(!rows.is_empty(), "MySQL took an infinite date");
    rows.iter().filter_map(|row| row.get::<_, Option<String>>(0)).collect::<Vec<_>>().join("\n")
}
