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
