//! Old rows that no backfill has copied yet, and new rows that reference them.

use mysql_async::prelude::Queryable as _;

use crate::support::{Target, World};

/// Referenced by key, by another unique constraint, by several columns, by their own table, in a circle.
const SCHEMA: &str = "
    CREATE TABLE org (id int PRIMARY KEY, code varchar(20) NOT NULL UNIQUE, parent int REFERENCES org);
    CREATE TABLE users (id bigint PRIMARY KEY, org int NOT NULL REFERENCES org, email text NOT NULL);
    CREATE TABLE sessions (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), user_id bigint NOT NULL REFERENCES users);
    CREATE TABLE badge (id int PRIMARY KEY, org varchar(20) NOT NULL REFERENCES org (code));
    CREATE TABLE member (a int, b uuid, PRIMARY KEY (a, b));
    CREATE TABLE visit (id int PRIMARY KEY, b uuid, a int, FOREIGN KEY (a, b) REFERENCES member);
    CREATE TABLE egg (id int PRIMARY KEY, hen int NOT NULL);
    CREATE TABLE hen (id int PRIMARY KEY, egg int NOT NULL REFERENCES egg);
    ALTER TABLE egg ADD FOREIGN KEY (hen) REFERENCES hen DEFERRABLE INITIALLY DEFERRED;
    CREATE TABLE chick (id int PRIMARY KEY, hen int NOT NULL REFERENCES hen);
";
const OLD: &str = "
    INSERT INTO org VALUES (1, 'root', NULL), (2, 'mid', 1), (3, 'leaf', 2), (4, 'other', 1);
    INSERT INTO users SELECT g, 3, 'u' || g FROM generate_series(1, 1000) g;
    INSERT INTO member SELECT g, ('00000000-0000-0000-0000-' || lpad(g::text, 12, '0'))::uuid FROM generate_series(1, 9) g;
    BEGIN; INSERT INTO egg VALUES (1, 2), (2, 1); INSERT INTO hen VALUES (1, 1), (2, 2); COMMIT;
";

/// Each new row, its table, and how many rows have to be there with it.
const NEW: &[(&str, &str, &str)] = &[
    (
        "INSERT INTO sessions (user_id) VALUES (7)",
        "sessions",
        "SELECT (SELECT COUNT(*) FROM users) + (SELECT COUNT(*) FROM org) = 4",
    ),
    ("INSERT INTO badge VALUES (1, 'other')", "badge", "SELECT COUNT(*) = 4 FROM org"),
    (
        "INSERT INTO visit SELECT a, b, a FROM member WHERE a = 5",
        "visit",
        "SELECT COUNT(*) = 1 FROM member",
    ),
    (
        "INSERT INTO chick VALUES (1, 2)",
        "chick",
        "SELECT (SELECT COUNT(*) FROM hen) + (SELECT COUNT(*) FROM egg) = 4",
    ),
    ("UPDATE users SET email = 'new' WHERE id = 8", "users where id = 8", "SELECT 1"),
];

async fn old_rows(target: Target, policy: &str) -> World {
    let mut world = World::bare(target, &format!("'*': {{ {policy} }}")).await;
    let direct = world.direct().await;
    direct.batch_execute(SCHEMA).await.unwrap();
    direct.batch_execute(OLD).await.unwrap();
    world.setup();
    world.run().await;
    world
}

/// When the client is answered the row is there, with all that it references.
async fn are_brought_along(mode: &str) {
    for target in Target::all() {
        let world = old_rows(target, &format!("mode: {mode}, timeout: 60s")).await;
        let (client, mut secondary) = (world.client().await, world.secondary().await);
        for (write, table, with) in NEW {
            let found = client.execute(*write, &[]).await;
            assert_eq!(found.unwrap(), 1, "{write}");
            let there = format!("SELECT COUNT(*) FROM {table}");
            let there: Option<i64> = secondary.query_first(there).await.unwrap();
            assert_eq!(there, Some(1), "{target:?} {write}\n{}", world.log());
            let with: Option<i64> = secondary.query_first(*with).await.unwrap();
            assert_eq!(with, Some(1), "{target:?} {write}\n{}", world.log());
        }
        let many =
            "INSERT INTO sessions (user_id) SELECT id FROM users WHERE id BETWEEN 100 AND 180";
        client.batch_execute(many).await.unwrap();
        world.drained().await;
        for table in ["sessions", "badge", "visit", "chick", "hen", "egg", "org"] {
            world.assert_equal(table).await;
        }
    }
}

#[tokio::test]
async fn a_row_that_references_old_ones_takes_them_along_while_its_client_waits() {
    are_brought_along("blocking").await;
}

#[tokio::test]
async fn a_strict_write_does_not_fail_because_an_old_parent_is_not_copied_yet() {
    are_brought_along("strict").await;
}

/// Entries that a crash left, and tables that are captured by trigger: more at once than are taken
/// along with one transaction.
#[tokio::test]
async fn a_backlog_of_rows_takes_their_old_parents_along() {
    let world = old_rows(Target::MariaDb, "mode: async").await;
    let client = world.client().await;
    let many = "INSERT INTO sessions (user_id) SELECT id FROM users WHERE id BETWEEN 1 AND 900";
    client.batch_execute(many).await.unwrap();
    world.drained().await;
    world.assert_equal("sessions").await;
    let mut secondary = world.secondary().await;
    let users: Option<i64> = secondary.query_first("SELECT COUNT(*) FROM users").await.unwrap();
    assert_eq!(users, Some(900));
}

/// A line of ancestors longer than what is taken along waits in the outbox, and stops nobody else.
#[tokio::test]
async fn a_line_of_ancestors_beyond_the_bound_waits_and_stops_nobody() {
    let world = old_rows(Target::MariaDb, "mode: async").await;
    let deep = "INSERT INTO org SELECT g, 'o' || g, CASE WHEN 100 < g THEN g - 1 END \
                FROM generate_series(100, 130) g";
    world.direct().await.batch_execute(deep).await.unwrap();
    let client = world.client().await;
    client.batch_execute("INSERT INTO users VALUES (2000, 130, 'deep')").await.unwrap();
    client.batch_execute("INSERT INTO sessions (user_id) VALUES (9)").await.unwrap();
    let (admin, mut secondary) = (world.admin().await, world.secondary().await);
    world
        .until("the one through, the other shown with its reason", async || {
            let left = "SELECT last_error FROM crossfade.outbox";
            let left = admin.query(left, &[]).await.unwrap();
            let left: Vec<Option<String>> = left.iter().map(|row| row.get(0)).collect();
            let there: Option<i64> =
                secondary.query_first("SELECT COUNT(*) FROM sessions").await.unwrap();
            left == [Some("1452".to_owned())] && there == Some(1)
        })
        .await;
}
