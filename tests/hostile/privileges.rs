//! What the application's role may do with what is ours: write entries through our functions, for
//! rows that are read again before anything is believed. Nothing else.

use crossfade::demo::servers::PASSWORD;
use mysql_async::prelude::Queryable as _;
use tokio_postgres::Client;

use super::{answer, failure};
use crate::support::{self, ROLE, Target, World, process};

const SCHEMA: &str = "CREATE TABLE users (id int PRIMARY KEY, email text); \
     CREATE TABLE parents (id int PRIMARY KEY); \
     CREATE TABLE children (id int PRIMARY KEY, parent int REFERENCES parents ON DELETE CASCADE)";

const TIMELINE: &str = "substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)";

async fn forge(client: &Client, table: &str, operation: &str, key: &str) -> String {
    let sql =
        format!("SELECT crossfade.enter({table}, '{operation}', {key}, 1, {TIMELINE}) IS NOT NULL");
    answer(client, &sql).await
}

#[tokio::test]
async fn nothing_of_ours_can_be_read_written_or_replaced() {
    let world = World::start(Target::MariaDb, SCHEMA, "").await;
    let client = world.client().await;
    client.batch_execute("INSERT INTO users VALUES (1, 'a')").await.unwrap();
    for sql in [
        "SELECT * FROM crossfade.outbox",
        "SELECT count(*) FROM crossfade.tables",
        "SELECT * FROM crossfade.settings",
        "SELECT * FROM crossfade.sidecars",
        "TABLE crossfade.epoch",
        "DELETE FROM crossfade.outbox",
        "UPDATE crossfade.outbox SET epoch = 99",
        "INSERT INTO crossfade.outbox (table_id, op, epoch, counter) VALUES (1, 'D', 1, 1)",
        "COPY crossfade.outbox FROM STDIN",
        "TRUNCATE crossfade.outbox",
        "MERGE INTO crossfade.outbox USING users ON true WHEN MATCHED THEN DELETE",
        "WITH d AS (DELETE FROM crossfade.outbox RETURNING *) SELECT * FROM d",
        "INSERT INTO users VALUES (2, 'x') ON CONFLICT DO NOTHING RETURNING (SELECT count(*) FROM crossfade.outbox)",
        "SELECT setval('crossfade.epoch', 99)",
        "SELECT nextval('crossfade.epoch')",
        "SELECT nextval('crossfade.outbox_id')",
        "ALTER SEQUENCE crossfade.epoch RESTART",
        "SELECT crossfade.trigger_guard()",
        "SELECT crossfade.capture_1()",
        "CREATE TABLE crossfade.mine (id int)",
        "CREATE FUNCTION crossfade.enter(int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE OR REPLACE FUNCTION crossfade.enter(int, \"char\", bytea, bigint, text) RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'",
        "CREATE OPERATOR crossfade.= (LEFTARG = int, RIGHTARG = text, FUNCTION = pg_catalog.int4eq)",
        "ALTER FUNCTION crossfade.guard(bigint, text) OWNER TO app",
        "ALTER FUNCTION crossfade.guard(bigint, text) SECURITY INVOKER",
        "DROP FUNCTION crossfade.guard(bigint, text)",
        "DROP TABLE crossfade.outbox CASCADE",
        "DROP SCHEMA crossfade CASCADE",
        "ALTER SCHEMA crossfade RENAME TO mine",
        "ALTER TABLE crossfade.outbox DISABLE TRIGGER ALL",
        "CREATE TRIGGER t AFTER INSERT ON crossfade.outbox EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "CREATE RULE r AS ON INSERT TO crossfade.outbox DO INSTEAD NOTHING",
        "CREATE TRIGGER t AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION crossfade.capture_1()",
        "COMMENT ON TABLE crossfade.outbox IS 'mine'",
        "GRANT ALL ON crossfade.outbox TO app",
    ] {
        let got = answer(&client, sql).await;
        // No privilege, not the owner; or the statement cannot be meant for it at all.
        let refused = ["42501", "42809", "42883"].iter().any(|code| got.starts_with(code));
        assert!(refused, "{sql}: {got}");
    }
    world.drained().await;
    world.assert_equal("users").await;
}

/// A forged entry costs a reading of the row; what it says about the row is not believed.
#[tokio::test]
async fn a_forged_entry_costs_a_reading_and_changes_nothing() {
    let world = World::start(Target::MariaDb, SCHEMA, "").await;
    let (client, admin) = (world.client().await, world.admin().await);
    client.batch_execute("INSERT INTO users VALUES (1, 'a'), (2, 'b'); INSERT INTO parents VALUES (1); INSERT INTO children VALUES (1, 1)").await.unwrap();
    world.drained().await;
    let users = "(SELECT id FROM crossfade.tables WHERE name = 'users')";
    let id: i32 = admin.query_one(users, &[]).await.unwrap().get(0);
    let id = id.to_string();
    let done = "columns ?column?\nrow t\ndone 1";
    for (operation, key) in [
        ("D", "record_send(ROW(1))"),
        ("U", "record_send(ROW(2))"),
        ("I", "record_send(ROW(77))"),
        ("D", "record_send(ROW(78))"),
    ] {
        assert_eq!(forge(&client, &id, operation, key).await, done);
    }
    world.drained().await;
    world.assert_all_equal().await;
    for (wrong, code) in [
        (forge(&client, &id, "T", "NULL").await, "22023"),
        (forge(&client, &id, "T", "record_send(ROW(1))").await, "22023"),
        // Without a key it would stand for the whole table.
        (forge(&client, &id, "D", "NULL").await, "22023"),
        (forge(&client, &id, "X", "record_send(ROW(1))").await, "22023"),
        (forge(&client, &id, "", "record_send(ROW(1))").await, "22023"),
        (answer(&client, &format!("SELECT crossfade.enter({id}, 'D', NULL, 2, {TIMELINE})")).await, "40001"),
        (answer(&client, &format!("SELECT crossfade.enter({id}, 'D', NULL, 1, '0000000F')")).await, "40001"),
        (answer(&client, &format!("SELECT crossfade.guard(4611686018427387904, {TIMELINE})")).await, "22003"),
        (answer(&client, &format!("SELECT * FROM crossfade.truncated(ARRAY[{id}], 1, {TIMELINE})")).await, "42501"),
        (answer(&client, &format!("BEGIN; LOCK TABLE users; SELECT * FROM crossfade.truncated(ARRAY[{id}], 1, {TIMELINE})")).await, "42501"),
    ] {
        assert!(wrong.starts_with(code), "{code}: {wrong}");
        client.batch_execute("ROLLBACK").await.unwrap();
    }
    // What cannot be read stays, is shown, and stops nobody.
    for (table, key) in
        [(&*id, "'\\x00'"), ("12345", "record_send(ROW(1))"), (&*id, "record_send(ROW('a'::text))")]
    {
        assert_eq!(forge(&client, table, "D", key).await, done);
    }
    client
        .batch_execute("UPDATE users SET email = 'later' WHERE id = 1; DELETE FROM parents")
        .await
        .unwrap();
    let unknown = "SELECT count(*) FROM crossfade.outbox WHERE last_error = 'unknown_table_or_key'";
    world
        .until("only the forged entries are left", async || {
            let row = admin
                .query_one(
                    &format!("SELECT ({unknown}), (SELECT count(*) FROM crossfade.outbox)"),
                    &[],
                )
                .await
                .unwrap();
            (row.get::<_, i64>(0), row.get::<_, i64>(1)) == (3, 3)
        })
        .await;
    world.assert_all_equal().await;
}

/// Who could make a schema of our name before `setup` would own all that is in it.
#[tokio::test]
async fn a_schema_of_our_name_that_another_role_owns_is_not_used() {
    let mut world = World::bare(Target::MariaDb, "").await;
    let client = world.direct().await;
    client.batch_execute(SCHEMA).await.unwrap();
    // Whoever reads these runs the client's function with rights of their own.
    client
        .batch_execute(
            "CREATE TABLE public.caught (who text); GRANT INSERT ON caught TO PUBLIC; CREATE SCHEMA crossfade; \
             CREATE FUNCTION public.catch() RETURNS boolean LANGUAGE plpgsql VOLATILE AS \
             $$ BEGIN INSERT INTO public.caught VALUES (current_user); RETURN true; END $$; \
             CREATE VIEW crossfade.tables AS SELECT 1 AS id, 'public'::text AS schema, 'users'::text AS name, \
                 'returning'::text AS capture, 'users'::text AS target, NULL::text AS dirty_reason, \
                 NULL::timestamptz AS dirty_since WHERE public.catch(); \
             CREATE VIEW crossfade.settings AS SELECT 'types'::text AS key, ''::text AS value WHERE public.catch(); \
             CREATE VIEW crossfade.outbox AS SELECT 1::bigint AS id WHERE public.catch(); \
             CREATE VIEW crossfade.sidecars AS SELECT 'x'::text AS id, 1::bigint AS epoch WHERE public.catch(); \
             CREATE SEQUENCE crossfade.epoch MINVALUE 0 START WITH 2",
        )
        .await
        .unwrap();
    for verb in [&["setup"][..], &["check"], &["setup", "--dry-run"]] {
        let (code, output) = process::verb(&world.config, verb);
        assert!(
            code != Some(0) && output.contains("owns the schema crossfade"),
            "{verb:?}: {output}"
        );
    }
    world.proxy = Some(process::Proxy::start_unready(&world.config).await);
    let log = || async { world.log().contains("owns the schema crossfade") };
    world.until("the sidecar says why it does not serve", log).await;
    let admin = world.admin().await;
    let caught = "SELECT coalesce(string_agg(who, ','), 'nobody') FROM public.caught";
    assert_eq!(admin.query_one(caught, &[]).await.unwrap().get::<_, String>(0), "nobody");
    // In the hands of a superuser it is as good as ours.
    admin.batch_execute("DROP SCHEMA crossfade CASCADE; CREATE SCHEMA crossfade").await.unwrap();
    drop(world.proxy.take());
    world.setup();
    world.run().await;
    world.client().await.batch_execute("INSERT INTO users VALUES (1, 'a')").await.unwrap();
    world.drained().await;
    world.assert_equal("users").await;
}

/// Settings of the database, which its owner may give, decide nothing about our own statements.
#[tokio::test]
async fn the_databases_settings_do_not_change_how_our_statements_are_read() {
    let mut world = World::bare(Target::MariaDb, "").await;
    let client = world.direct().await;
    let name = r#"a\'; CREATE TABLE public.broken (id int); --"#;
    let schema = format!(
        "CREATE TABLE \"{name}\" (id int PRIMARY KEY, x text); CREATE SCHEMA evil; \
         CREATE TABLE evil.outbox (id int)"
    );
    client.batch_execute(&schema).await.unwrap();
    for setting in [
        "standard_conforming_strings = off",
        "backslash_quote = on",
        "search_path = evil, pg_catalog",
        "synchronous_commit = off",
        "default_transaction_read_only = on",
        "statement_timeout = '1ms'",
        "bytea_output = escape",
        "default_transaction_isolation = 'serializable'",
        "DateStyle = 'German'",
        "row_security = on",
    ] {
        client
            .batch_execute(&format!("ALTER DATABASE {} SET {setting}", world.database))
            .await
            .unwrap();
    }
    world.setup();
    world.run().await;
    let admin =
        support::connect(world.postgres_port(), "postgres", PASSWORD, &world.database).await;
    let settings = "SET standard_conforming_strings = on; SET statement_timeout = 0; SET default_transaction_read_only = off; \
         SET search_path = public";
    admin.batch_execute(settings).await.unwrap();
    let sql = "SELECT to_regclass('public.broken') IS NULL, (SELECT count(*) FROM crossfade.tables WHERE name = $1)";
    let row = admin.query_one(sql, &[&name]).await.unwrap();
    assert_eq!((row.get::<_, bool>(0), row.get::<_, i64>(1)), (true, 1), "{ROLE}");
    let writer = world.client().await;
    writer.batch_execute(settings).await.unwrap();
    let insert = format!("INSERT INTO \"{name}\" VALUES (1, 'a')");
    if let Err(error) = writer.batch_execute(&insert).await {
        panic!("{}\n{}", failure(&error), world.log());
    }
    let left = "SELECT count(*) FROM crossfade.outbox";
    let empty = async || admin.query_one(left, &[]).await.unwrap().get::<_, i64>(0) == 0;
    world.until("the row is carried over", empty).await;
    let mut secondary = world.secondary().await;
    let found = secondary.query_first::<String, _>(format!("SELECT x FROM `{name}`")).await;
    assert_eq!(found.unwrap().as_deref(), Some("a"));
}
