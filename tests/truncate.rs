//! TRUNCATE, and who may say that there was one.

use tokio_postgres::Client;

use crate::support::{ROLE, Target, World};

const SCHEMA: &str = "CREATE TABLE a (id int PRIMARY KEY, note text); \
     CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a); \
     CREATE TABLE parted (id int, part int, PRIMARY KEY (id, part)) PARTITION BY LIST (part); \
     CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1) ; \
     CREATE TABLE parted_2 PARTITION OF parted FOR VALUES IN (2) PARTITION BY LIST (id); \
     CREATE TABLE parted_2_1 PARTITION OF parted_2 DEFAULT; \
     CREATE TABLE traced (id int PRIMARY KEY, a int REFERENCES a ON DELETE CASCADE); \
     CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (more int) INHERITS (parent)";
const FILL: &str = "INSERT INTO a VALUES (1), (2); INSERT INTO b VALUES (1, 1); \
     INSERT INTO parted VALUES (1, 1), (2, 2); INSERT INTO traced VALUES (1, 2)";

async fn number(client: &Client, table: &str) -> i32 {
    let sql = "SELECT id FROM crossfade.tables WHERE name = $1";
    client.query_one(sql, &[&table]).await.unwrap().get(0)
}

/// The tables that are migrated are: one that inherits is not.
async fn equal(world: &World) {
    world.drained().await;
    for table in ["a", "b", "parted", "traced"] {
        world.assert_equal(table).await;
    }
}

async fn code(client: &Client, sql: &str) -> String {
    match client.batch_execute(sql).await {
        Ok(()) => "taken".to_owned(),
        Err(error) => {
            client.batch_execute("ROLLBACK").await.unwrap();
            error.code().unwrap().code().to_owned()
        }
    }
}

#[tokio::test]
async fn a_forged_truncate_is_refused() {
    let world = World::start(Target::MariaDb, SCHEMA, "").await;
    let (client, direct, admin) = (world.client().await, world.direct().await, world.admin().await);
    client.batch_execute(FILL).await.unwrap();
    let a = number(&admin, "a").await;
    let timeline = "SELECT substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)";
    let timeline: String = admin.query_one(timeline, &[]).await.unwrap().get(0);
    let insert = |op: &str| {
        format!(
            "INSERT INTO crossfade.outbox (table_id, op, key, epoch, counter) \
             VALUES ({a}, '{op}', NULL, 1, 9000000000000)"
        )
    };
    let call = format!("SELECT crossfade.truncated(ARRAY[{a}], 1, '{timeline}')");
    assert_eq!(code(&direct, &insert("T")).await, "42501");
    // Nor would it do for a role that was given more than it needs.
    let grant = format!(
        "GRANT INSERT ON crossfade.outbox TO {ROLE}; \
         GRANT USAGE ON SEQUENCE crossfade.outbox_id TO {ROLE}"
    );
    admin.batch_execute(&grant).await.unwrap();
    assert_eq!(code(&direct, &insert("T")).await, "23514");
    assert_eq!(code(&direct, &call).await, "42501");
    let locked = format!("BEGIN; LOCK TABLE a IN ACCESS EXCLUSIVE MODE; {call}; COMMIT");
    assert_eq!(code(&direct, &locked).await, "42501");
    // A snapshot of before the rows sees none of them.
    direct.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; DELETE FROM b").await.unwrap();
    client.batch_execute("INSERT INTO a VALUES (3)").await.unwrap();
    let locked = format!("LOCK TABLE a IN ACCESS EXCLUSIVE MODE; {call}; COMMIT");
    assert_eq!(code(&direct, &locked).await, "42501");
    let truncated = format!("BEGIN; TRUNCATE traced; {call}; COMMIT");
    assert_eq!(code(&direct, &truncated).await, "42501");
    equal(&world).await;
    // An outbox of an earlier setup has no such check yet.
    let drop = "ALTER TABLE crossfade.outbox DROP CONSTRAINT outbox_truncate";
    admin.batch_execute(drop).await.unwrap();
    world.setup();
    assert_eq!(code(&direct, &insert("T")).await, "23514");
}

#[tokio::test]
async fn a_real_one_empties_the_secondary_in_every_protocol() {
    let modes = ["async", "blocking, timeout: 20s", "strict, timeout: 20s"];
    for (target, mode) in Target::all().into_iter().flat_map(|t| modes.map(|mode| (t, mode))) {
        let tables = format!("\"*\": {{ mode: {mode} }}");
        let world = World::start(target, SCHEMA, &tables).await;
        let client = world.client().await;
        for (number, sql) in [
            "TRUNCATE b",
            "TRUNCATE parted, b RESTART IDENTITY",
            "TRUNCATE TABLE a CASCADE",
            "TRUNCATE traced",
            "TRUNCATE ONLY b CONTINUE IDENTITY",
        ]
        .into_iter()
        .enumerate()
        {
            for way in 0..4 {
                // Such a string ends its own transaction.
                if way == 2 && mode.starts_with("strict") {
                    continue;
                }
                client.batch_execute("TRUNCATE a, b, traced, parted").await.unwrap();
                client.batch_execute(FILL).await.unwrap();
                match way {
                    0 => client.batch_execute(sql).await.unwrap(),
                    1 => drop(client.execute(sql, &[]).await.unwrap()),
                    2 => client
                        .batch_execute(&format!(
                            "BEGIN; SAVEPOINT s; {sql}; ROLLBACK TO s; {sql}; COMMIT; SELECT 1"
                        ))
                        .await
                        .unwrap(),
                    _ => {
                        client.batch_execute("BEGIN").await.unwrap();
                        client.execute(sql, &[]).await.unwrap();
                        client.batch_execute("ROLLBACK").await.unwrap();
                    }
                }
                if number % 2 == way % 2 {
                    client.batch_execute("INSERT INTO parted VALUES (7, 2)").await.unwrap();
                }
                equal(&world).await;
            }
        }
        client.batch_execute("INSERT INTO parent VALUES (1); TRUNCATE parent").await.unwrap();
    }
}
