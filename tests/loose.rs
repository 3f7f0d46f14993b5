//! `outbox: false`: a table whose images are all that stands for its writes. It costs PostgreSQL no
//! entry, and says so when something was lost.

use std::collections::HashSet;

use mysql_async::prelude::Queryable;

use crate::support::{Target, World};

const SCHEMA: &str = "CREATE TABLE logs (id int PRIMARY KEY, note text); \
     CREATE TABLE users (id int PRIMARY KEY, name text)";
const TABLES: &str = "logs: { mode: async, outbox: false }\n\"*\": { mode: async }";

async fn world(target: Target) -> World {
    let mut world = World::bare(target, TABLES).await;
    world.direct().await.batch_execute(SCHEMA).await.unwrap();
    world.edit(|text| text + "limits: { poll: 100ms, lease: 2s }\n");
    world.setup();
    world.run().await;
    world
}

/// Numbers given to outbox entries so far.
async fn entries(world: &World) -> i64 {
    let used = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM crossfade.outbox_id";
    world.admin().await.query_one(used, &[]).await.unwrap().get(0)
}

async fn dirty(world: &World, table: &str) -> Option<String> {
    let reason = "SELECT dirty_reason FROM crossfade.tables WHERE name = $1";
    world.admin().await.query_one(reason, &[&table]).await.unwrap().get(0)
}

async fn notes(world: &World) -> Vec<(i32, String)> {
    let rows = "SELECT id, note FROM logs ORDER BY id";
    world.secondary().await.query(rows).await.unwrap()
}

#[tokio::test]
async fn its_rows_arrive_without_an_entry() {
    for target in Target::all() {
        let world = world(target).await;
        let client = world.client().await;
        client.batch_execute("INSERT INTO logs VALUES (1, 'a'), (2, 'b')").await.unwrap();
        client.execute("UPDATE logs SET note = $1 WHERE id = 1", &[&"c"]).await.unwrap();
        client.batch_execute("UPDATE logs SET id = 3 WHERE id = 2").await.unwrap();
        client.batch_execute("BEGIN; DELETE FROM logs; ROLLBACK").await.unwrap();
        let expected = [(1, "c".to_owned()), (3, "b".to_owned())];
        world.until("arrived", async || notes(&world).await == expected).await;
        assert_eq!(entries(&world).await, 0);
        assert_eq!(dirty(&world, "logs").await, None);
        // What brings no images is entered even so, and so is what another table's mode asks for.
        let both = "WITH x AS (INSERT INTO logs VALUES (4, 'd')) INSERT INTO users VALUES (1, 'e')";
        client.batch_execute(both).await.unwrap();
        world.drained().await;
        world.assert_all_equal().await;
        assert_eq!(entries(&world).await, 2);
    }
}

#[tokio::test]
async fn what_cannot_be_carried_makes_it_dirty() {
    for target in Target::all() {
        let world = world(target).await;
        let client = world.client().await;
        let mut conn = world.secondary().await;
        conn.query_drop("DROP TABLE logs").await.unwrap();
        client.batch_execute("INSERT INTO logs VALUES (1, 'a')").await.unwrap();
        let lost = Some("outbox_off".to_owned());
        world.until("marked", async || dirty(&world, "logs").await == lost).await;
        assert_eq!(dirty(&world, "users").await, None);
    }
}

#[tokio::test]
async fn a_sidecar_that_died_leaves_it_dirty_and_nothing_else() {
    let mut world = world(Target::MariaDb).await;
    let client = world.client().await;
    client.batch_execute("INSERT INTO users VALUES (1, 'e')").await.unwrap();
    world.drained().await;
    // One that ends in good order has lost nothing.
    world.proxy.take().unwrap().stop();
    world.run().await;
    let others = "SELECT count(*) FROM crossfade.sidecars WHERE lease_until < now()";
    let admin = world.admin().await;
    let expired = async || admin.query_one(others, &[]).await.unwrap().get::<_, i64>(0);
    assert_eq!(expired().await, 0);
    world.crash().await;
    let lost = Some("outbox_off".to_owned());
    world.until("marked", async || dirty(&world, "logs").await == lost).await;
    assert_eq!(dirty(&world, "users").await, None);
    assert_eq!(expired().await, 1);
}

/// What is told to the primary last is waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mark_that_is_on_its_way_is_there_when_the_sidecar_has_ended() {
    let mut world = world(Target::MariaDb).await;
    world.secondary().await.query_drop("DROP TABLE logs").await.unwrap();
    // The mark has to wait for the test.
    let gate = world.admin().await;
    gate.batch_execute("BEGIN; LOCK TABLE crossfade.tables IN SHARE MODE").await.unwrap();
    let client = world.client().await;
    client.batch_execute("INSERT INTO logs VALUES (1, 'a')").await.unwrap();
    drop(client);
    let proxy = world.proxy.take().unwrap();
    let stopped = tokio::task::spawn_blocking(move || proxy.stop());
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND database = \
         (SELECT oid FROM pg_database WHERE datname = current_database())";
    let admin = world.admin().await;
    world
        .until("the mark waits", async || {
            admin.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) > 0
        })
        .await;
    assert!(!stopped.is_finished(), "it waits for the mark");
    gate.batch_execute("COMMIT").await.unwrap();
    assert_eq!(stopped.await.unwrap(), Some(0));
    assert_eq!(dirty(&world, "logs").await, Some("outbox_off".to_owned()));
}

/// A sidecar died, so these tables are marked; whoever holds their lines keeps that from being done, and
/// nothing else.
#[tokio::test]
async fn a_lock_on_our_tables_does_not_cost_the_lease() {
    let world = world(Target::MariaDb).await;
    let mut holder = world.admin().await;
    let held = holder.transaction().await.unwrap();
    held.execute("SELECT FROM crossfade.tables FOR UPDATE", &[]).await.unwrap();
    let admin = world.admin().await;
    let died = "INSERT INTO crossfade.sidecars (id, address, epoch, version, lease_ms, lease_until) \
         VALUES ('gone', 'nowhere', 1, '0', 1000, now() - interval '1 second')";
    admin.execute(died, &[]).await.unwrap();
    // Each attempt is given up before the lease could run out, and its connection with it.
    let waiting = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() \
         AND wait_event_type = 'Lock' AND query LIKE 'UPDATE crossfade.tables%'";
    let mut waited = HashSet::new();
    world
        .until("several looks have waited", async || {
            waited.extend(
                admin.query(waiting, &[]).await.unwrap().iter().map(|row| row.get::<_, i32>(0)),
            );
            4 <= waited.len()
        })
        .await;
    let proxy = world.proxy.as_ref().unwrap();
    world.until("the lease is held", async || proxy.metric("lease_held").await == 1.0).await;
    held.rollback().await.unwrap();
    world
        .until("it is marked", async || {
            dirty(&world, "logs").await.as_deref() == Some("outbox_off")
        })
        .await;
}
