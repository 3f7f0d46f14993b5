//! A search path that leads through the client's own functions, operators, types and tables first.

use mysql_async::prelude::Queryable as _;

use super::Twins;

/// Everything that a rewritten statement uses, once more, and each of it notes that it was used.
const EVIL: &str = r#"
    CREATE TABLE users (id int PRIMARY KEY, email text, n bigint);
    CREATE TABLE codes (code text, part text, PRIMARY KEY (code, part));
    CREATE SCHEMA evil;
    CREATE TABLE evil.used (what text);
    CREATE FUNCTION evil.note(what text) RETURNS void LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'used: %', what USING ERRCODE = 'XX999'; END $$;
    CREATE FUNCTION evil.record_send(record) RETURNS bytea LANGUAGE plpgsql AS
        $$ BEGIN PERFORM evil.note('record_send'); RETURN ''; END $$;
    CREATE FUNCTION evil.pg_current_wal_insert_lsn() RETURNS pg_lsn LANGUAGE plpgsql AS
        $$ BEGIN PERFORM evil.note('pg_current_wal_insert_lsn'); RETURN '0/0'; END $$;
    CREATE FUNCTION evil.pg_wal_lsn_diff(pg_lsn, pg_lsn) RETURNS numeric LANGUAGE plpgsql AS
        $$ BEGIN PERFORM evil.note('pg_wal_lsn_diff'); RETURN 0; END $$;
    CREATE FUNCTION evil.pg_walfile_name(pg_lsn) RETURNS text LANGUAGE plpgsql AS
        $$ BEGIN PERFORM evil.note('pg_walfile_name'); RETURN ''; END $$;
    CREATE FUNCTION evil.substr(text, int, int) RETURNS text LANGUAGE plpgsql AS
        $$ BEGIN PERFORM evil.note('substr'); RETURN ''; END $$;
    CREATE FUNCTION evil.current_setting(text) RETURNS text LANGUAGE plpgsql AS
        $$ BEGIN PERFORM evil.note('current_setting'); RETURN ''; END $$;
    CREATE FUNCTION evil.pg_advisory_xact_lock_shared(int, int) RETURNS void LANGUAGE plpgsql AS
        $$ BEGIN PERFORM evil.note('pg_advisory_xact_lock_shared'); END $$;
    CREATE FUNCTION evil.enter(int, "char", bytea, bigint, text) RETURNS bigint LANGUAGE plpgsql AS
        $$ BEGIN PERFORM evil.note('enter'); RETURN 0; END $$;
    CREATE FUNCTION evil.guard(bigint, text) RETURNS bigint LANGUAGE plpgsql AS
        $$ BEGIN PERFORM evil.note('guard'); RETURN 0; END $$;
    CREATE FUNCTION evil.compare(int, int) RETURNS boolean LANGUAGE plpgsql AS
        $$ BEGIN PERFORM evil.note('int4 operator'); RETURN true; END $$;
    CREATE FUNCTION evil.compare(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS
        $$ BEGIN PERFORM evil.note('int8 operator'); RETURN true; END $$;
    CREATE FUNCTION evil.compare(bytea, bytea) RETURNS boolean LANGUAGE plpgsql AS
        $$ BEGIN PERFORM evil.note('bytea operator'); RETURN false; END $$;
    CREATE FUNCTION evil.compare(text, text) RETURNS boolean LANGUAGE plpgsql AS
        $$ BEGIN PERFORM evil.note('text operator'); RETURN true; END $$;
    CREATE FUNCTION evil.times(bigint, bigint) RETURNS bigint LANGUAGE plpgsql AS
        $$ BEGIN PERFORM evil.note('int8 product'); RETURN 0; END $$;
    CREATE OPERATOR evil.= (LEFTARG = int, RIGHTARG = int, FUNCTION = evil.compare);
    CREATE OPERATOR evil.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = evil.compare);
    CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.compare);
    CREATE OPERATOR evil.<> (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = evil.compare);
    CREATE OPERATOR evil.<> (LEFTARG = bytea, RIGHTARG = bytea, FUNCTION = evil.compare);
    CREATE OPERATOR evil.<> (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.compare);
    CREATE OPERATOR evil.* (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = evil.times);
    CREATE DOMAIN evil.int8 AS text CHECK (VALUE = 'never');
    CREATE DOMAIN evil."char" AS text CHECK (VALUE = 'never');
    CREATE TYPE evil.bytea AS ENUM ('never');
    CREATE TABLE evil.outbox (id int);
    INSERT INTO users SELECT g, 'e' || g, g FROM generate_series(1, 9) g;
    INSERT INTO codes SELECT 'c' || g, 'p' FROM generate_series(1, 9) g;
"#;

#[tokio::test]
async fn no_function_operator_or_type_of_the_clients_stands_in_for_postgresqls() {
    let twins = Twins::start(EVIL, "").await;
    let world = &twins.world;
    // What was there before is not copied yet.
    world
        .admin()
        .await
        .execute("UPDATE crossfade.tables SET dirty_reason = NULL, dirty_since = NULL", &[])
        .await
        .unwrap();
    twins
        .both("SELECT pg_catalog.set_config('search_path', 'evil, pg_catalog, public', false)")
        .await;
    twins.both("SELECT 'a'::text = 'b'").await;
    for sql in [
        "INSERT INTO public.users VALUES (11, 'x', 1) RETURNING id",
        "UPDATE public.users SET email = 'y' WHERE id < 3",
        "UPDATE public.users SET id = id + 100 WHERE id BETWEEN 3 AND 5 RETURNING id",
        "UPDATE users SET id = id + 1 WHERE id > 6 AND id < 8 RETURNING *",
        "DELETE FROM public.users WHERE id > 8 AND id < 10",
        "UPDATE public.codes SET code = code || '!', part = 'q' WHERE code < 'c4'",
        "WITH w AS (DELETE FROM public.codes WHERE code > 'c8' RETURNING code) SELECT * FROM w",
        "BEGIN; TRUNCATE public.codes; ROLLBACK",
        "TRUNCATE public.codes",
        "INSERT INTO public.codes VALUES ('new', 'n') RETURNING part",
    ] {
        let got = twins.both(sql).await;
        assert!(!got.contains("used:"), "{sql}: {got}");
    }
    world.drained().await;
    world.assert_equal("codes").await;
    let admin = world.admin().await;
    let sql = "SELECT count(*) FROM crossfade.tables WHERE dirty_reason IS NOT NULL";
    assert_eq!(admin.query_one(sql, &[]).await.unwrap().get::<_, i64>(0), 0);
}

/// The functions of ours run with the owner's rights and the caller's path; an entry is written all
/// the same, by PostgreSQL's own means.
#[tokio::test]
async fn a_function_of_ours_called_under_a_strange_path_does_what_it_does() {
    let twins = Twins::start(EVIL, "").await;
    let client = twins.world.direct().await;
    client.batch_execute("SET search_path = evil, pg_catalog, public").await.unwrap();
    let call = "SELECT crossfade.enter((pg_catalog.random() * 0)::int, 'U', '\\x00'::pg_catalog.bytea, 1, \
         pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8)) IS NOT NULL, \
         crossfade.guard(1, pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8)) IS NOT NULL";
    let row = client.query_one(call, &[]).await.unwrap();
    assert!(row.get::<_, bool>(0) && row.get::<_, bool>(1));
    let definers = "SELECT p.proname::text FROM pg_catalog.pg_proc p \
         JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'crossfade' AND p.prosecdef \
         AND NOT coalesce(p.proconfig @> ARRAY['search_path=pg_catalog, pg_temp'], false) ORDER BY 1";
    let admin = twins.world.admin().await;
    let rows = admin.query(definers, &[]).await.unwrap();
    let loose: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    // Called for each row; every name and operator in it is qualified.
    assert_eq!(loose, ["enter"]);
}

/// A temporary table hides one that is migrated, and stays what it is: the session's own.
#[tokio::test]
async fn a_temporary_table_of_a_tables_name_is_not_carried() {
    let schema = "CREATE TABLE users (id int PRIMARY KEY, email text)";
    let twins = Twins::start(schema, "").await;
    for sql in [
        "INSERT INTO users VALUES (1, 'kept')",
        "CREATE TEMP TABLE users (id int PRIMARY KEY, secret text, more text)",
        "INSERT INTO users VALUES (2, 'temporary', 'x') RETURNING *",
        "UPDATE users SET id = 3 RETURNING *",
        "INSERT INTO public.users VALUES (4, 'kept') RETURNING *",
        "CREATE TEMP TABLE outbox (id int); INSERT INTO outbox VALUES (1) RETURNING id",
        "SELECT set_config('search_path', 'pg_temp, public', false)",
        "DELETE FROM users RETURNING *",
        "DROP TABLE pg_temp.users",
        "SELECT * FROM users ORDER BY id",
    ] {
        twins.both(sql).await;
    }
    // Which of the two a name meant is not looked into.
    twins.carried(&["users temporary_name"]).await;
    let sql = "SELECT count(*) FROM users WHERE id IN (2, 3)";
    let found: Option<i64> = twins.world.secondary().await.query_first(sql).await.unwrap();
    assert_eq!(found, Some(0));
}

/// A name that the client's path leads elsewhere is looked for there.
#[tokio::test]
async fn the_same_name_in_another_schema_is_another_table() {
    let schema = "CREATE SCHEMA a; CREATE SCHEMA b; CREATE TABLE a.t (id int PRIMARY KEY, x text); \
                  CREATE TABLE b.t (id int PRIMARY KEY, x text)";
    let twins = Twins::start(schema, "").await;
    for sql in [
        "SET search_path = b, a; INSERT INTO t VALUES (1, 'b')",
        "SET search_path = A; INSERT INTO t VALUES (1, 'a')",
        "BEGIN; SET LOCAL search_path = b; UPDATE t SET id = 2; COMMIT",
        "UPDATE t SET x = 'aa'",
        "SELECT set_config('search_path', '\"b\"', false); UPDATE t SET x = 'bb' RETURNING *",
        "SET search_path = \"$user\", a",
        "DELETE FROM t RETURNING *; RESET search_path; INSERT INTO a.t VALUES (3)",
    ] {
        twins.both(sql).await;
    }
    twins.carried(&[]).await;
}
