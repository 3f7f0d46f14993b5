//! What can change while the sidecar runs: passwords, modes, the log's level; and what a wrong file does.

use std::fs;

use crossfade::demo::servers::PASSWORD;
use mysql_async::prelude::Queryable;

use crate::support::{Target, World, connect};

const SCHEMA: &str = "CREATE TABLE users (id int PRIMARY KEY, name text)";

fn edit(world: &World, change: impl Fn(String) -> String) {
    let text = change(fs::read_to_string(&world.config).unwrap());
    fs::write(&world.config, text).unwrap();
}

async fn logged(world: &World, words: &str) {
    let proxy = world.proxy.as_ref().unwrap();
    world.until(words, async || proxy.log().contains(words)).await;
}

#[tokio::test]
async fn passwords_of_both_databases_are_replaced_by_a_reload() {
    let mut world = World::alone(Target::MariaDb, "'*': { mode: blocking, timeout: 5s }").await;
    world.direct().await.batch_execute(SCHEMA).await.unwrap();
    world.setup();
    world.run().await;
    let client = world.client().await;
    client.batch_execute("INSERT INTO users VALUES (1, 'before')").await.unwrap();
    world.drained().await;
    // Both servers forget the old passwords, and every connection of ours that still had them.
    let admin = world.admin().await;
    admin.batch_execute("ALTER ROLE postgres PASSWORD 'rotated'").await.unwrap();
    let mut secondary = world.secondary().await;
    // Our own connection comes by the socket, the sidecar's by TCP: one name, several accounts.
    for host in ["localhost", "127.0.0.1", "%"] {
        let set = format!("ALTER USER IF EXISTS 'root'@'{host}' IDENTIFIED BY 'rotated'");
        secondary.query_drop(set).await.unwrap();
    }
    edit(&world, |text| text.replace(&format!(":{PASSWORD}@"), ":rotated@"));
    world.proxy.as_ref().unwrap().reload();
    logged(&world, "configuration taken").await;
    let ours = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE application_name = 'crossfade' AND pid <> pg_backend_pid()";
    admin.batch_execute(ours).await.unwrap();
    let ids: Vec<u64> = secondary
        .query("SELECT id FROM information_schema.processlist WHERE id <> CONNECTION_ID()")
        .await
        .unwrap();
    for id in ids {
        // One that ended by itself meanwhile is as good.
        drop(secondary.query_drop(format!("KILL {id}")).await);
    }
    client.batch_execute("INSERT INTO users VALUES (2, 'after')").await.unwrap();
    world
        .until("the row written after the change", async || {
            let left = "SELECT count(*) FROM crossfade.outbox";
            admin.query_one(left, &[]).await.unwrap().get::<_, i64>(0) == 0
        })
        .await;
    let names: Vec<String> = secondary
        .query(format!("SELECT name FROM {}.users ORDER BY id", world.database))
        .await
        .unwrap();
    assert_eq!(names, ["before", "after"]);
    let log = world.log();
    assert!(!log.contains("rotated"), "{log}");
}

#[tokio::test]
async fn a_mode_changes_by_post_and_goes_back_by_reload() {
    let mut world = World::start(Target::MariaDb, SCHEMA, "'*': { mode: async }").await;
    let mode = async |world: &World| {
        let (_, body) = world.proxy.as_ref().unwrap().get("/migration-status").await.unwrap();
        let report: serde_json::Value = serde_json::from_str(&body).unwrap();
        report["tables"]["users"]["mode"].as_str().unwrap_or_default().to_owned()
    };
    world.until("async", async || mode(&world).await == "async").await;
    let address = ([127, 0, 0, 1], world.proxy.as_ref().unwrap().admin_port).into();
    let post = async |mode: &str| {
        let body = format!("{{\"mode\":\"{mode}\"}}");
        crossfade::admin::client::post(address, "/tables/users/mode", None, body).await.unwrap()
    };
    assert_eq!(post("strict").await.status, 200);
    world.until("strict", async || mode(&world).await == "strict").await;
    // What is migrated at all is not decided by a POST.
    assert_eq!(post("off").await.status, 409);
    let client = world.client().await;
    client.batch_execute("INSERT INTO users VALUES (1, 'strict')").await.unwrap();
    world.assert_equal("users").await;
    world.proxy.as_ref().unwrap().reload();
    world.until("async again", async || mode(&world).await == "async").await;
    assert_eq!(world.proxy.take().unwrap().stop(), Some(0), "SIGTERM is no failure");
}

#[tokio::test]
async fn limits_that_a_reload_takes_are_shown_and_the_others_stay() {
    let world = World::start(Target::MariaDb, SCHEMA, "").await;
    let proxy = world.proxy.as_ref().unwrap();
    edit(&world, |text| text + "limits: { hold: 7s, workers: 9, poll: 50ms, lease: 400ms }\n");
    proxy.reload();
    logged(&world, "configuration taken").await;
    for (name, value) in [("hold", 7.0), ("workers", 4.0), ("poll", 1.0), ("lease", 5.0)] {
        assert_eq!(proxy.metric(&format!("limit{{name=\"{name}\"}}")).await, value, "{name}");
    }
    for key in ["limits.workers", "limits.poll", "limits.lease"] {
        logged(&world, key).await;
    }
}

#[tokio::test]
async fn a_wrong_file_is_not_taken_and_the_old_one_holds() {
    let world = World::start(Target::MariaDb, SCHEMA, "").await;
    let before = fs::read_to_string(&world.config).unwrap();
    edit(&world, |text| text + "limits: { max_connections: many }\n");
    let address = ([127, 0, 0, 1], world.proxy.as_ref().unwrap().admin_port).into();
    let reload = async || {
        crossfade::admin::client::post(address, "/reload", None, String::new()).await.unwrap()
    };
    let refused = reload().await;
    assert_eq!(refused.status, 409);
    assert!(refused.body.contains("limits.max_connections"), "{}", refused.body);
    let client = world.client().await;
    client.batch_execute("INSERT INTO users VALUES (1, 'still')").await.unwrap();
    fs::write(&world.config, before + "log: { level: debug }\n").unwrap();
    assert_eq!(reload().await.status, 200);
    let client = connect(
        world.proxy.as_ref().unwrap().port,
        crate::support::ROLE,
        crate::support::ROLE_PASSWORD,
        &world.database,
    )
    .await;
    client.batch_execute("SELECT 1").await.unwrap();
    world.drained().await;
    world.assert_equal("users").await;
}
