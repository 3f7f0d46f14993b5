//! Names like ours, names that look like code, and names that are spelled in odd ways.

use super::Twins;

const SCHEMA: &str = r#"
    CREATE TABLE "crossfade.outbox" (id int PRIMARY KEY, "crossfade.enter" text);
    CREATE SCHEMA "Crossfade";
    CREATE TABLE "Crossfade".outbox (id int PRIMARY KEY, key text, op text);
    CREATE TABLE "Crossfade".tables (id int PRIMARY KEY, name text);
    CREATE TABLE cf_prev (cf_id int, cf_key text, cf_lsn bigint, cf_row bytea, cf_old int, cf_k0 int, PRIMARY KEY (cf_id));
    CREATE TABLE q (q int PRIMARY KEY, t text, "row" text, users text);
    CREATE TABLE "; DROP TABLE q; --" ("'" int PRIMARY KEY, "/*" text, "$$" text, "a""b" text);
    CREATE TABLE Élan (id int PRIMARY KEY, naïve text);
    CREATE TABLE "users" (id int PRIMARY KEY, email text);
"#;

/// 63 bytes, and how a client may write more.
const LONG: &str = "a_table_whose_name_has_exactly_as_many_bytes_as_a_name_can_have";

#[tokio::test]
async fn tables_and_columns_named_like_ours_are_carried_like_any_other() {
    let twins = Twins::start(SCHEMA, "").await;
    for sql in [
        r#"INSERT INTO "crossfade.outbox" VALUES (1, 'x') RETURNING *"#,
        r#"UPDATE public."crossfade.outbox" SET "crossfade.enter" = 'y' RETURNING "crossfade.outbox"."crossfade.enter""#,
        r#"INSERT INTO "Crossfade".outbox VALUES (1, 'k', 'D'), (2, 'l', 'T') RETURNING id, op"#,
        r#"INSERT INTO "Crossfade".tables AS crossfade VALUES (1, 'q') RETURNING crossfade.*"#,
        r#"UPDATE "Crossfade".outbox pg_catalog SET op = 'I' WHERE pg_catalog.id = 2 RETURNING pg_catalog.op"#,
        "INSERT INTO cf_prev VALUES (1, 'k', 2, '\\x00', 3, 4) RETURNING *",
        "INSERT INTO cf_prev VALUES (1, 'n', 2, '\\x01', 3, 4) ON CONFLICT (cf_id) DO UPDATE SET cf_key = excluded.cf_key \
         RETURNING cf_id, cf_lsn, cf_key, cf_row",
        "UPDATE cf_prev SET cf_key = 'm', cf_row = NULL RETURNING 7 AS cf_id, cf_lsn AS cf_row, 'U' AS cf_op, cf_key",
        "DELETE FROM q AS cf_w0 WHERE q = 9 RETURNING *",
        "INSERT INTO q VALUES (1, 'a', 'b', 'c') RETURNING q, q.*, t",
        "UPDATE q AS t SET t = 'z' WHERE t.q = 1 RETURNING t, t.t",
        "UPDATE q AS \"row\" SET \"row\" = 'z', users = '' RETURNING \"row\".\"row\", \"row\".*",
        "UPDATE q SET q = 2 RETURNING q, *",
        "UPDATE q AS excluded SET q = q + 1, t = 'moved' RETURNING excluded.q",
        r#"INSERT INTO "; DROP TABLE q; --" VALUES (1, '*/', '$$', '"'), (2, '--', ';', '''') RETURNING *"#,
        r#"UPDATE "; DROP TABLE q; --" SET "'" = 3 WHERE "'" = 1 RETURNING "'", "/*""#,
        r#"DELETE FROM "; DROP TABLE q; --" AS "--" WHERE "--"."a""b" = '"' RETURNING "--"."$$""#,
        "INSERT INTO Élan VALUES (1, 'é') RETURNING *",
        "UPDATE ÉLAN SET NAïVE = 'ok' RETURNING naïve",
        "UPDATE élan SET naïve = 'no such table'",
        r#"INSERT INTO "users" VALUES (1, 'a'); UPDATE USERS SET Email = 'b' WHERE "id" = 1; SELECT * FROM users"#,
        "WITH crossfade AS (DELETE FROM users RETURNING id AS enter) SELECT * FROM crossfade",
    ] {
        twins.both(sql).await;
    }
    twins.carried(&[]).await;
    let admin = twins.world.admin().await;
    let left: i64 =
        admin.query_one("SELECT count(*) FROM crossfade.outbox", &[]).await.unwrap().get(0);
    assert_eq!(left, 0);
}

/// What is too much like ours to be rewritten is passed on as it is, and its table is dirty.
#[tokio::test]
async fn names_that_a_rewrite_would_clash_with_are_left_to_the_server() {
    let twins = Twins::start(SCHEMA, "").await;
    for sql in [
        "INSERT INTO cf_prev (cf_id, cf_old) VALUES (1, 2); INSERT INTO users VALUES (1, 'a'), (2, 'b')",
        "UPDATE cf_prev SET cf_id = 5 WHERE cf_old = 2 RETURNING *",
        "UPDATE users AS cf_prev SET id = cf_prev.id + 10 RETURNING cf_prev.id",
        "WITH cf_w0 AS (UPDATE users SET email = 'c' RETURNING id) SELECT * FROM cf_w0",
        "WITH gone AS (DELETE FROM users WHERE id = 12) SELECT * FROM gone",
        "WITH gone AS (DELETE FROM users WHERE id = 12) SELECT cf_id FROM gone",
        "WITH gone AS (DELETE FROM users WHERE id = 12) SELECT 1",
    ] {
        twins.both(sql).await;
    }
    twins.carried(&["cf_prev key_update", "users key_update"]).await;
}

#[tokio::test]
async fn names_that_are_cut_or_escaped_are_the_tables_they_mean() {
    let schema = format!(
        "CREATE TABLE {LONG} (id int PRIMARY KEY, {LONG} text); CREATE TABLE users (id int PRIMARY KEY, email text)"
    );
    let twins = Twins::start(&schema, "").await;
    for sql in [
        format!("INSERT INTO {LONG} VALUES (1, 'a')"),
        format!(
            "INSERT INTO {LONG}_and_more (id, {LONG}_or_less) VALUES (2, 'b') RETURNING {LONG}x"
        ),
        format!("UPDATE \"{LONG}\u{e9}\" SET \"{LONG}\u{1f600}\" = 'c' WHERE id = 1"),
        format!(
            "UPDATE {LONG}_and_more AS {LONG}_alias SET id = id + 10 RETURNING {LONG}_another.id"
        ),
    ] {
        twins.both(&sql).await;
    }
    twins.carried(&[]).await;
    for sql in [
        r#"INSERT INTO U&"us\0065rs" VALUES (1, 'a') RETURNING *"#,
        r#"UPDATE U&"us!0065rs" UESCAPE '!' SET email = 'b' RETURNING U&"\0069d""#,
    ] {
        twins.both(sql).await;
    }
    // Those that cannot be read may mean any table.
    let dirty = [format!("{LONG} unparsed"), "users unparsed".to_owned()];
    twins.carried(&dirty.iter().map(String::as_str).collect::<Vec<_>>()).await;
}
