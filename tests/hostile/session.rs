//! Prepared statements, portals, roles and settings with names and values like ours.

use super::{Twins, answer, failure};

const SCHEMA: &str =
    "CREATE TABLE users (id int PRIMARY KEY, email text); CREATE TABLE codes (id int PRIMARY KEY)";

const PREPARED: &str = "SELECT coalesce(string_agg(name, ',' ORDER BY name), 'none') FROM pg_prepared_statements \
     WHERE from_sql OR name LIKE 'crossfade%'";

#[tokio::test]
async fn statements_and_portals_named_like_ours_are_the_clients_own() {
    let twins = Twins::start(SCHEMA, "").await;
    twins.both("PREPARE crossfade_truncate AS SELECT 'mine'; PREPARE crossfade_denied AS SELECT 'mine, too'").await;
    twins.both("INSERT INTO users VALUES (1, 'a'); INSERT INTO codes VALUES (1)").await;
    for client in [&twins.ours, &twins.theirs] {
        // In the extended protocol our statement follows under a name of its own.
        client.execute("TRUNCATE users", &[]).await.unwrap();
    }
    twins.both("EXECUTE crossfade_truncate; EXECUTE crossfade_denied").await;
    twins.both(PREPARED).await;
    twins.both("DEALLOCATE crossfade_truncate").await;
    for client in [&twins.ours, &twins.theirs] {
        client
            .batch_execute("BEGIN; DECLARE crossfade_truncate CURSOR FOR SELECT 'cursor'")
            .await
            .unwrap();
        client.execute("TRUNCATE codes", &[]).await.unwrap();
    }
    twins.both("FETCH ALL FROM crossfade_truncate; COMMIT").await;
    twins.both(PREPARED).await;
    twins.both("PREPARE crossfade_truncate AS SELECT 'again'; EXECUTE crossfade_truncate").await;
    twins.carried(&[]).await;
}

/// A PREPARE that fails leaves the name to the statement that has it.
#[tokio::test]
async fn execute_runs_what_the_server_has_under_the_name() {
    let twins = Twins::start(SCHEMA, "").await;
    for sql in [
        "PREPARE p AS SELECT 1 AS a, 2 AS b, 3 AS c, 4 AS d, 5 AS cf_row",
        "PREPARE p AS INSERT INTO users VALUES (1, 'a') RETURNING id",
        "EXECUTE p",
        "PREPARE w AS INSERT INTO users VALUES (2, 'b') RETURNING id",
        "PREPARE w AS SELECT 1, 2, 3, 4, 5, 6",
        "EXECUTE w",
        "DEALLOCATE ALL",
        "EXECUTE w",
        "PREPARE w AS SELECT 1 AS cf_id, 2 AS cf_lsn, 3 AS cf_key, 4 AS cf_row",
        "EXECUTE w",
        "DISCARD ALL",
        "PREPARE \"W\" AS UPDATE users SET email = email || '!' RETURNING email; EXECUTE w",
        "EXECUTE \"W\"; BEGIN; EXECUTE \"W\"; ROLLBACK; EXECUTE \"W\"",
        "PREPARE a_statement_whose_name_is_longer_than_any_name_can_be_here_so_that_it_is_cut AS \
         INSERT INTO users VALUES (3, 'c') RETURNING id",
        "EXECUTE a_statement_whose_name_is_longer_than_any_name_can_be_here_so_that_it_was_cut",
        "BEGIN; PREPARE gone AS DELETE FROM users RETURNING id; ROLLBACK; EXECUTE gone",
    ] {
        twins.both(sql).await;
    }
    twins.carried(&[]).await;
}

/// Whatever a session sets, what it writes next is captured as before, or seen not to be.
#[tokio::test]
async fn settings_and_roles_do_not_lead_past_the_capture() {
    let grants = "DO $$ BEGIN CREATE ROLE guest NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$; \
         GRANT guest TO app; GRANT INSERT, UPDATE, SELECT ON users TO guest";
    let twins = Twins::start(SCHEMA, grants).await;
    for sql in [
        "SET crossfade.epoch = '99'; SELECT current_setting('crossfade.epoch')",
        "INSERT INTO users VALUES (1, 'a')",
        "RESET ALL; INSERT INTO users VALUES (2, 'b') RETURNING *",
        "SET bytea_output = escape; SET DateStyle = 'SQL, DMY'; SET extra_float_digits = -15; \
         SET IntervalStyle = sql_standard; SET TimeZone = 'Asia/Kolkata'",
        "INSERT INTO users VALUES (3, 'c') RETURNING *; UPDATE users SET id = 4 WHERE id = 3",
        "SET synchronous_commit = off; INSERT INTO users VALUES (5, 'e')",
        "SHOW synchronous_commit",
        "SET plpgsql.extra_errors = 'all'; SET plpgsql.extra_warnings = 'all'; INSERT INTO users VALUES (6, 'f')",
        "SET ROLE guest; INSERT INTO users VALUES (7, 'g') RETURNING id; SELECT current_user",
        "DELETE FROM users",
        "TRUNCATE users",
        "RESET ROLE; SET SESSION AUTHORIZATION DEFAULT; UPDATE users SET email = 'h' WHERE id = 7 RETURNING *",
        "SET SESSION AUTHORIZATION postgres",
        "BEGIN; SET LOCAL ROLE guest; INSERT INTO users VALUES (8, 'i'); ROLLBACK; DELETE FROM users WHERE id = 1",
        "SET transform_null_equals = on; SET array_nulls = off; SET quote_all_identifiers = on; \
         SET plan_cache_mode = force_generic_plan; SET default_transaction_isolation = 'serializable'",
        "UPDATE users SET id = id + 100, email = NULL WHERE id > 5 RETURNING id",
        "DISCARD ALL; INSERT INTO users VALUES (9, 'j') RETURNING *",
        "SELECT * FROM users ORDER BY id",
    ] {
        twins.both(sql).await;
    }
    twins.carried(&[]).await;
}

/// A client can raise our SQLSTATE, and is told what it raised.
#[tokio::test]
async fn an_error_with_our_sqlstate_is_the_clients_own() {
    let twins = Twins::start(SCHEMA, "").await;
    twins.both("CREATE SEQUENCE tries").await;
    for sql in [
        "DO $$ BEGIN PERFORM nextval('tries'); RAISE 'mine' USING ERRCODE = 'CF001'; END $$",
        "SELECT last_value FROM tries",
        "CREATE FUNCTION raise() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('tries'); \
         RAISE 'the migration has moved on to another epoch' USING ERRCODE = 'CF002'; END $$",
        "INSERT INTO users VALUES (raise(), 'a')",
        "SELECT last_value FROM tries",
        "INSERT INTO users VALUES (1, 'a')",
    ] {
        twins.both(sql).await;
    }
    twins.carried(&[]).await;
}

/// What was prepared for UTF-8 is not captured in an encoding that PostgreSQL would write keys in.
#[tokio::test]
async fn a_prepared_write_in_another_encoding_is_flagged() {
    let schema = "CREATE TABLE names (name text PRIMARY KEY, n int)";
    let twins = Twins::start(schema, "").await;
    twins.both("PREPARE p AS INSERT INTO names VALUES ('bär', 2) RETURNING n").await;
    for client in [&twins.ours, &twins.theirs] {
        let insert =
            client.prepare("INSERT INTO names VALUES ('e', $1) RETURNING n").await.unwrap();
        client.batch_execute("SET client_encoding = 'LATIN1'").await.unwrap();
        assert_eq!(client.query_one(&insert, &[&1]).await.unwrap().get::<_, i32>(0), 1);
    }
    twins.both("EXECUTE p").await;
    twins.both("SET client_encoding = 'UTF8'").await;
    // A text that would mean something else in the other encoding is refused, and harms nobody.
    let beyond = twins.ours.prepare("INSERT INTO names VALUES ('é', $1)").await.unwrap();
    twins.ours.batch_execute("SET client_encoding = 'LATIN1'").await.unwrap();
    let error = twins.ours.execute(&beyond, &[&3]).await.unwrap_err();
    assert_eq!(error.code().map(|code| code.code()), Some("0A000"), "{error:?}");
    twins.ours.batch_execute("SET client_encoding = 'UTF8'").await.unwrap();
    twins.both("SELECT * FROM names ORDER BY n").await;
    let sql =
        "SELECT name || ' ' || dirty_reason FROM crossfade.tables WHERE dirty_reason IS NOT NULL";
    let dirty = twins.world.admin().await.query_one(sql, &[]).await.unwrap();
    assert_eq!(dirty.get::<_, String>(0), "names encoding");
}

/// NUL and broken text end where the server has them end.
#[tokio::test]
async fn bytes_that_are_no_text_are_the_servers_to_refuse() {
    let twins = Twins::start(SCHEMA, "").await;
    for client in [&twins.ours, &twins.theirs] {
        let statement =
            client.prepare("INSERT INTO users VALUES ($1, $2) RETURNING email").await.unwrap();
        let error = client.query(&statement, &[&1, &"a\0b"]).await.unwrap_err();
        assert!(failure(&error).starts_with("22021"), "{}", failure(&error));
        client.query(&statement, &[&2, &"'; --\\"]).await.unwrap();
        assert!(answer(client, "SELECT 1").await.contains("row 1"));
    }
    twins.both("SELECT * FROM users").await;
    twins.carried(&[]).await;
}
