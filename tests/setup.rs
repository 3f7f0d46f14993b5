//! `crossfade setup`, the triggers that it installs, and the store that notices what it did.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crossfade::backend::mysql::connect::LinkLimits;
use crossfade::backend::postgres::connect::Connector;
use crossfade::backend::postgres::control;
use crossfade::catalog::naming::Naming;
use crossfade::config::Config;
use crossfade::control::Ends;
use crossfade::control::store::{Nudge, Published, Sidecar, Store, StoreMetrics};
use crossfade::handoff;
use crossfade::names::TableName;
use crossfade::phase::{Phase, Situation};
use crossfade::served::SessionMetrics;
use crossfade::session::{Flow, FlowLimits, Planners, Tally};
use mysql_async::prelude::Queryable;
use prometheus::Registry;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_postgres::Client;

use crate::support::{PATIENCE, Target, World, process};

const SCHEMA: &str = include_str!("schema.sql");

/// Databases with the schema, whose extension takes an administrator.
async fn bare(target: Target) -> World {
    let world = World::bare(target, "").await;
    let admin = world.admin().await;
    admin
        .batch_execute(&format!(
            "SET ROLE app; {}",
            SCHEMA.replacen(
                "CREATE EXTENSION citext;",
                "RESET ROLE; CREATE EXTENSION citext; SET ROLE app;",
                1,
            )
        ))
        .await
        .unwrap();
    world
}

async fn statement(conn: &mut mysql_async::Conn, sql: &str) -> Result<(), u16> {
    match conn.query_drop(sql).await {
        Ok(()) => Ok(()),
        Err(mysql_async::Error::Server(error)) => Err(error.code),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn setup_creates_what_the_schema_says_and_can_run_twice() {
    for target in Target::all() {
        let world = bare(target).await;
        let first = world.verb(&["setup"]);
        assert!(first.contains("keyless: not migrated: no primary key"), "{first}");
        assert!(first.contains("scratch: not migrated: unlogged"), "{first}");
        assert!(first.contains("searched: not migrated: unsupported type"), "{first}");
        assert!(first.contains("users_pattern"), "{first}");
        let second = world.verb(&["setup"]);
        assert!(second.contains("10 tables are set up for dual writes"), "{second}");

        let mut mysql = world.secondary().await;
        let tables: Vec<String> = mysql.query("SHOW TABLES").await.unwrap();
        assert_eq!(
            tables,
            [
                "Odd \"Name`",
                "audit",
                "auth_sessions",
                "crossfade_backfill",
                "crossfade_catalog",
                "crossfade_fence",
                "crossfade_floor",
                "crossfade_state",
                "crossfade_verifiers",
                "pair_notes",
                "pairs",
                "ring_a",
                "ring_b",
                "tenants",
                "tree",
                "users",
            ]
        );
        constraints_hold(&mut mysql).await;
    }
}

/// MySQL refuses what PostgreSQL would, and accepts what it would.
async fn constraints_hold(mysql: &mut mysql_async::Conn) {
    const DUPLICATE: u16 = 1062;
    let tenant = "00000000-0000-0000-0000-000000000001";
    statement(mysql, "SET SESSION sql_mode = 'STRICT_ALL_TABLES'").await.unwrap();
    statement(mysql, &format!("INSERT INTO tenants (id, slug) VALUES ('{tenant}', 's')"))
        .await
        .unwrap();
    let user = |id: u32, name: &str, email: &str, phone: &str, gone: &str, bio: &str| {
        format!(
            "INSERT INTO users (id, tenant, email, name, phone, tags, gone, bio, token, twice) \
             VALUES ({id}, '{tenant}', '{email}', '{name}', {phone}, '[]', {gone}, {bio}, X'{id:02}', 0)"
        )
    };
    let long = format!("'{}'", "x".repeat(5000));
    let ok = |sql: String| (sql, Ok(()));
    let duplicate = |sql: String| (sql, Err(DUPLICATE));
    let rows = [
        ok(user(1, "Ann", "Ann@x", "'1'", "NULL", &long)),
        duplicate(user(2, "Bob", "aNN@x", "NULL", "NULL", "NULL")), // citext
        duplicate(user(2, "ANN", "bob@x", "NULL", "NULL", "NULL")), // lower(name)
        duplicate(user(2, "Bob", "bob@x", "'1'", "NULL", "NULL")),  // the live phone
        ok(user(2, "Bob", "bob@x", "'1'", "'2024-01-01'", "NULL")),
        ok(user(3, "Cyn", "cyn@x", "'1'", "'2024-01-02'", "NULL")),
        ok(user(4, "Dan", "dan@x", "NULL", "NULL", "'bio '")),
        duplicate(user(5, "Eve", "eve@x", "NULL", "NULL", "'b'")), // NULLS NOT DISTINCT
        duplicate(user(5, "Eve", "eve@x", "'5'", "NULL", &long)),
        ok(user(5, "Eve", "eve@x", "'5'", "NULL", "'bio'")), // no padding
    ];
    for (sql, expected) in rows {
        assert_eq!(statement(mysql, &sql).await, expected, "{sql}");
    }
    let refused = statement(mysql, "UPDATE users SET balance = -1 WHERE id = 1").await;
    assert!(matches!(refused, Err(3819 | 4025)), "{refused:?}");
    statement(mysql, &format!("DELETE FROM tenants WHERE id = '{tenant}'")).await.unwrap();
    let left: Option<u64> = mysql.query_first("SELECT COUNT(*) FROM users").await.unwrap();
    assert_eq!(left, Some(0), "ON DELETE CASCADE");
}

#[tokio::test]
async fn the_dry_run_is_sql_that_runs_as_it_stands() {
    for target in Target::all() {
        let world = bare(target).await;
        let script = world.verb(&["setup", "--dry-run"]);
        let mut mysql = world.secondary().await;
        let tables: Vec<String> = mysql.query("SHOW TABLES").await.unwrap();
        assert!(tables.is_empty(), "a dry run creates nothing");

        let (for_mysql, for_postgres) = script.split_once("-- PostgreSQL\n").unwrap();
        for statement in for_mysql.split(";\n") {
            let lines = statement.lines().filter(|line| !line.starts_with("-- "));
            let statement = lines.collect::<Vec<_>>().join("\n");
            if !statement.trim().is_empty() {
                mysql.query_drop(&statement).await.unwrap_or_else(|e| panic!("{e}\n{statement}"));
            }
        }
        world.admin().await.batch_execute(for_postgres).await.unwrap();
        // Nothing is left to do, and what is there is what setup wants.
        let output = world.verb(&["setup"]);
        assert!(!output.contains("not run"), "{output}");
    }
}

#[tokio::test]
async fn changes_of_existing_tables_are_shown_and_the_safe_ones_applied() {
    for target in Target::all() {
        let world = bare(target).await;
        world.setup();
        let ddl = "ALTER TABLE pairs ADD COLUMN note text, ADD COLUMN rank integer NOT NULL DEFAULT 7; \
                   ALTER TABLE tenants DROP COLUMN settings; \
                   CREATE TABLE late (id integer PRIMARY KEY)";
        world.direct().await.batch_execute(ddl).await.unwrap();
        let (code, shown) = process::verb(&world.config, &["setup"]);
        assert_eq!(code, Some(1), "{shown}");
        assert!(shown.contains("ADD COLUMN `note` longtext NULL"), "{shown}");
        assert!(shown.contains("DROP COLUMN `settings`"), "{shown}");
        let (code, applied) = process::verb(&world.config, &["setup", "--apply"]);
        assert_eq!(code, Some(1), "dropping a column is left to a person: {applied}");
        assert!(!applied.contains("`note`"), "{applied}");

        let mut mysql = world.secondary().await;
        statement(&mut mysql, "INSERT INTO pairs (a, b, c, note) VALUES ('', '', 1, 'n')")
            .await
            .unwrap();
        let rank: Option<i32> = mysql.query_first("SELECT `rank` FROM pairs").await.unwrap();
        assert_eq!(rank, Some(7));
        statement(&mut mysql, "INSERT INTO late (id) VALUES (0)").await.unwrap();
        statement(&mut mysql, "ALTER TABLE tenants DROP COLUMN settings").await.unwrap();
        world.setup();
    }
}

#[tokio::test]
async fn types_follow_proxy_yaml_only_where_no_value_can_change() {
    for target in Target::all() {
        let mut world = World::bare(target, "").await;
        let table =
            "CREATE TABLE notes (id uuid PRIMARY KEY, body text, data jsonb, price numeric)";
        world.direct().await.batch_execute(table).await.unwrap();
        world.setup();
        world.run().await;
        let client = world.client().await;
        let insert =
            "INSERT INTO notes VALUES ('00000000-0000-0000-0000-000000000001', 'b', '[1]', 1.10)";
        client.batch_execute(insert).await.unwrap();
        // A sidecar that starts with another file still writes by what setup recorded.
        world.choose("{ uuid: binary, jsonb: text }");
        world.crash().await;
        let client = world.client().await;
        let insert =
            "INSERT INTO notes VALUES ('00000000-0000-0000-0000-000000000002', 'b', '[0.1]', 2.50)";
        client.batch_execute(insert).await.unwrap();
        world.drained().await;
        world.assert_equal("notes").await;
        let (code, refused) = process::verb(&world.config, &["setup"]);
        assert_eq!(code, Some(1), "{refused}");
        assert!(refused.contains("types.uuid is \"binary\""), "{refused}");

        world.choose("{ jsonb: text }");
        if target == Target::MySql {
            let (code, shown) = process::verb(&world.config, &["setup"]);
            assert_eq!(code, Some(1), "{shown}");
            assert!(shown.contains("MODIFY COLUMN `data` longtext"), "{shown}");
        }
        world.verb(&["setup", "--apply"]);
        let admin = world.admin().await;
        let recorded = "SELECT value FROM crossfade.settings WHERE key = 'types'";
        let recorded: String = admin.query_one(recorded, &[]).await.unwrap().get(0);
        assert!(recorded.starts_with("jsonb=text numeric=text uuid=char"), "{recorded}");
        // The sidecar hears of it, and then keeps what MySQL's json would have rounded.
        let exact = "[0.1234567890123456789]";
        let update = format!("UPDATE notes SET data = '{exact}'");
        client.batch_execute(&update).await.unwrap();
        world.drained().await;
        let mut mysql = world.secondary().await;
        let found: Vec<String> = mysql.query("SELECT data FROM notes").await.unwrap();
        assert_eq!(found, [exact, exact]);

        world.choose("{ jsonb: json }");
        let (_, refused) = process::verb(&world.config, &["check"]);
        assert!(refused.contains("types.jsonb is \"json\""), "{refused}");
    }
}

/// Everything beside the rows that a table of MySQL can have from PostgreSQL's, and what it cannot.
const BESIDE: &str = "
    CREATE DOMAIN mail AS varchar(100) CHECK (VALUE <> '') CHECK (VALUE LIKE '%@%');
    CREATE TABLE beside (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, nr serial,
        mail mail, name text, code varchar(50), ok boolean NOT NULL DEFAULT false,
        made timestamptz NOT NULL DEFAULT now(), late timestamptz DEFAULT now() + interval '1 day',
        doubled int GENERATED ALWAYS AS (length(code) * 2) STORED, gone date, n int DEFAULT -5);
    CREATE INDEX plain_lower ON beside (lower(code), made DESC);
    CREATE INDEX plain_long ON beside (lower(name));
    CREATE INDEX plain_length ON beside (length(code));
    CREATE INDEX plain_partial ON beside (code) WHERE gone IS NULL;
    CREATE INDEX plain_odd ON beside (code) WHERE code ~ 'x';
    CREATE INDEX plain_hash ON beside USING hash (code);
    CREATE INDEX plain_brin ON beside USING brin (made);
    CREATE UNIQUE INDEX unique_lower ON beside (lower(name)) WHERE ok;
    CREATE UNIQUE INDEX unique_coalesce ON beside ((coalesce(code, '')), n);
    CREATE UNIQUE INDEX unique_odd ON beside (mail) WHERE code ~ 'x';
    COMMENT ON TABLE beside IS 'it''s a table'; COMMENT ON COLUMN beside.code IS 'back\\slash';";

#[tokio::test]
async fn indexes_defaults_comments_and_domains_go_over_or_are_named() {
    for target in Target::all() {
        let world = World::bare(target, "").await;
        world.direct().await.batch_execute(BESIDE).await.unwrap();
        let shown = world.verb(&["setup"]);
        for warning in [
            "column \"nr\" is fed by a sequence, and no AUTO_INCREMENT",
            "generated column \"doubled\" is a plain one",
            "index \"plain_long\" is left out",
            "index \"plain_length\" is left out",
            "index \"plain_brin\" is left out: MySQL has no index of its kind",
            "unique index \"unique_odd\" is left out",
            "constraint \"mail_mail_check1\" is left out",
            "unique index \"unique_lower\" ignores case by MySQL's rules",
        ] {
            assert!(shown.contains(warning), "{warning}\n{shown}");
        }
        assert_eq!(shown.matches("left out").count(), 5, "{shown}");
        world.setup(); // And MySQL has them as they are wanted.

        let mut mysql = world.secondary().await;
        let (_, table): (String, String) =
            mysql.query_first("SHOW CREATE TABLE beside").await.unwrap().unwrap();
        for part in [
            "AUTO_INCREMENT",
            "KEY `plain_lower` (`cf_plain_lower_1`,`made` DESC)",
            "KEY `plain_partial` (`code`)",
            "KEY `plain_odd` (`code`)",
            "KEY `plain_hash` (`code`)",
            "UNIQUE KEY `unique_lower`",
            "UNIQUE KEY `unique_coalesce`",
            "COMMENT='it''s a table'",
            "slash'",
        ] {
            assert!(table.contains(part), "{part}\n{table}");
        }
        statement(&mut mysql, "SET SESSION sql_mode = 'STRICT_ALL_TABLES'").await.unwrap();
        const DUPLICATE: u16 = 1062;
        let insert = |columns: &str, values: &str| {
            format!("INSERT INTO beside (nr, {columns}) VALUES (0, {values})")
        };
        for (sql, expected) in [
            (insert("code, name, ok", "'A', 'Ann', 1"), Ok(())),
            (insert("code, name, ok", "'B', 'ANN', 1"), Err(DUPLICATE)),
            (insert("code, name, ok", "'B', 'ANN', 0"), Ok(())),
            (insert("code", "NULL"), Ok(())),
            (insert("code", "''"), Err(DUPLICATE)), // NULL is '' to this index
            (insert("code, n", "'', 6"), Ok(())),
        ] {
            assert_eq!(statement(&mut mysql, &sql).await, expected, "{sql}");
        }
        let refused = statement(&mut mysql, "UPDATE beside SET mail = ''").await;
        assert!(matches!(refused, Err(3819 | 4025)), "the domain's CHECK: {refused:?}");
        let row: Option<(i64, bool, i32)> =
            mysql.query_first("SELECT id, ok, n FROM beside WHERE code = 'A'").await.unwrap();
        assert_eq!(row, Some((1, true, -5)));
    }
}

#[tokio::test]
async fn a_foreign_key_may_name_the_referenced_columns_in_any_order() {
    for target in Target::all() {
        let world = World::bare(target, "").await;
        let direct = world.direct().await;
        let schema = "
            CREATE TABLE member (a int, b int, c int NOT NULL, d int NOT NULL,
                PRIMARY KEY (a, b), UNIQUE (d, c, a));
            CREATE TABLE child (id int PRIMARY KEY, x int, y int, z int,
                CONSTRAINT turned FOREIGN KEY (x, y) REFERENCES member (b, a),
                CONSTRAINT other FOREIGN KEY (x, y, z) REFERENCES member (a, c, d));";
        direct.batch_execute(schema).await.unwrap();
        world.setup();
        world.setup(); // It is taken for the key that it is.
        let mut mysql = world.secondary().await;
        let pairs = "SELECT COLUMN_NAME, REFERENCED_COLUMN_NAME FROM information_schema.KEY_COLUMN_USAGE \
             WHERE TABLE_SCHEMA = DATABASE() AND CONSTRAINT_NAME = ? ORDER BY ORDINAL_POSITION";
        for (name, expected) in [
            ("turned", &[("y", "a"), ("x", "b")][..]),
            ("other", &[("z", "d"), ("y", "c"), ("x", "a")]),
        ] {
            let found: Vec<(String, String)> = mysql.exec(pairs, (name,)).await.unwrap();
            let found: Vec<_> = found.iter().map(|(own, of)| (own.as_str(), of.as_str())).collect();
            assert_eq!(found, expected, "{name}");
        }
    }
}

/// What a schema begins with, and what becomes of it: every kind of change that loses nothing.
const BEFORE: &str = "
    CREATE TYPE state AS ENUM ('new', 'done');
    CREATE TABLE owner (id int PRIMARY KEY, code varchar(20) UNIQUE);
    CREATE TABLE item (id int PRIMARY KEY, owner int REFERENCES owner, name varchar(20) NOT NULL,
        note text, state state NOT NULL DEFAULT 'new', price numeric(8,2) DEFAULT 1, rank smallint,
        gone date, tags text[], must int, may int NOT NULL, CONSTRAINT price_check CHECK (price > 0),
        CONSTRAINT rank_check CHECK (rank > 0));
    CREATE INDEX item_name ON item (name);
    CREATE INDEX item_rank ON item (rank);
    CREATE INDEX item_owner ON item (owner);
    CREATE UNIQUE INDEX item_live ON item (name) WHERE gone IS NULL;
    COMMENT ON COLUMN item.note IS 'it''s a note';
    INSERT INTO owner VALUES (1, 'a'); ";
const CHANGED: &str = "
    ALTER TABLE item DROP CONSTRAINT item_owner_fkey;
    ALTER TABLE owner ALTER id TYPE bigint, ALTER code TYPE varchar(40), ADD COLUMN mail text UNIQUE;
    ALTER TABLE item ALTER owner TYPE bigint, ALTER name TYPE text, ALTER rank TYPE int,
        ALTER price TYPE numeric(12,4), ALTER price SET DEFAULT 2, ALTER must SET NOT NULL,
        ALTER may DROP NOT NULL, DROP CONSTRAINT price_check, DROP CONSTRAINT rank_check,
        ADD CONSTRAINT rank_check CHECK (rank > 1 OR (gone IS NULL AND price > 0)),
        ADD CONSTRAINT must_check CHECK (must IN (1, 2)), ALTER state SET DEFAULT 'done',
        ADD COLUMN added int NOT NULL DEFAULT 7,
        ADD CONSTRAINT item_owner_fkey FOREIGN KEY (owner) REFERENCES owner ON DELETE CASCADE;
    ALTER TYPE state ADD VALUE 'open' BEFORE 'done';
    DROP INDEX item_name; DROP INDEX item_rank; DROP INDEX item_owner; DROP INDEX item_live;
    CREATE UNIQUE INDEX item_live ON item (name) WHERE rank IS NULL;
    CREATE INDEX item_rank ON item (rank DESC, id);
    CREATE UNIQUE INDEX item_lower ON item (lower(note));
    COMMENT ON COLUMN item.note IS NULL; COMMENT ON TABLE item IS 'things';";

#[tokio::test]
async fn every_change_that_loses_nothing_is_applied_and_nothing_is_left() {
    for target in Target::all() {
        let world = World::bare(target, "").await;
        let direct = world.direct().await;
        direct.batch_execute(BEFORE).await.unwrap();
        world.setup();
        let mut mysql = world.secondary().await;
        statement(&mut mysql, "CREATE INDEX own ON item (must, may)").await.unwrap();
        for row in [
            "INSERT INTO owner VALUES (1, 'a')",
            "INSERT INTO item (id, owner, name, must, may) VALUES (1, 1, 'n', 1, 1)",
        ] {
            statement(&mut mysql, row).await.unwrap();
        }
        world.setup(); // Nothing to do, whatever words the server uses for it.
        direct.batch_execute(CHANGED).await.unwrap();

        let (code, shown) = process::verb(&world.config, &["setup"]);
        assert_eq!(code, Some(1), "{shown}");
        for clause in [
            "DROP FOREIGN KEY `item_owner_fkey`",
            "DROP CONSTRAINT `price_check`",
            "DROP INDEX `item_name`",
            "MODIFY COLUMN `rank` int NULL",
            "MODIFY COLUMN `must` int NOT NULL",
            "ADD COLUMN `added` int NOT NULL DEFAULT 7",
            "ADD UNIQUE KEY `item_lower`",
            "ADD CONSTRAINT `rank_check`",
            "COMMENT = 'things'",
            "ON DELETE CASCADE",
        ] {
            assert!(shown.contains(clause), "{clause}\n{shown}");
        }
        let (code, applied) = process::verb(&world.config, &["setup", "--apply"]);
        assert_eq!(code, Some(0), "{target:?} {applied}");
        world.setup();
        let left: Vec<String> = mysql
            .query(
                "SELECT DISTINCT INDEX_NAME FROM information_schema.STATISTICS \
                 WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'item' ORDER BY 1",
            )
            .await
            .unwrap();
        let expected =
            ["item_live", "item_lower", "item_owner_fkey", "item_rank", "own", "PRIMARY"];
        let mut left: Vec<&str> = left.iter().map(String::as_str).collect();
        left.sort_by_key(|name| name.to_lowercase());
        assert_eq!(left, expected, "what somebody made on MySQL alone stays");
        let row: Option<(i64, String, i32)> =
            mysql.query_first("SELECT owner, state, added FROM item").await.unwrap();
        assert_eq!(row, Some((1, "new".to_owned(), 7)));
        assert!(statement(&mut mysql, "UPDATE item SET must = 3").await.is_err(), "the new CHECK");
        statement(&mut mysql, "DELETE FROM owner").await.unwrap();
        let items: Option<i32> = mysql.query_first("SELECT COUNT(*) FROM item").await.unwrap();
        assert_eq!(items, Some(0), "ON DELETE CASCADE");
    }
}

#[tokio::test]
async fn what_might_lose_something_is_shown_and_left() {
    for target in Target::all() {
        let world = World::bare(target, "").await;
        let direct = world.direct().await;
        let before = "CREATE TABLE t (id int PRIMARY KEY, big bigint, name varchar(40), must int NOT NULL, nulls int); \
             CREATE TABLE dropped (id int PRIMARY KEY)";
        direct.batch_execute(before).await.unwrap();
        world.setup();
        let mut mysql = world.secondary().await;
        let row = "INSERT INTO t (id, big, name, must) VALUES (1, 1099511627776, 'twice', 1), (2, 2, 'twice', 2)";
        statement(&mut mysql, row).await.unwrap();
        let changed = "ALTER TABLE t ALTER big TYPE int, ALTER name TYPE varchar(20), DROP COLUMN must; \
             DROP TABLE dropped";
        direct.batch_execute(changed).await.unwrap();
        let left = [
            "MODIFY COLUMN `big` int NULL",
            "MODIFY COLUMN `name` varchar(20) NULL",
            "DROP COLUMN `must`",
            "DROP TABLE `dropped`",
        ];
        for arguments in [&["setup"][..], &["setup", "--apply"], &["setup", "--apply"]] {
            let (code, shown) = process::verb(&world.config, arguments);
            assert_eq!(code, Some(1), "{shown}");
            for clause in left {
                assert!(shown.contains(&format!("{clause};")), "{clause}\n{shown}");
            }
        }
        // Rows come without the column from now on, and are taken.
        statement(&mut mysql, "INSERT INTO t (id) VALUES (3)").await.unwrap();
        let kept: Option<(i64, i32)> =
            mysql.query_first("SELECT big, must FROM t WHERE id = 1").await.unwrap();
        assert_eq!(kept, Some((1 << 40, 1)));

        // A person does it. What rows on MySQL are against is refused by MySQL, and left.
        for sql in [
            "UPDATE t SET big = 1",
            "ALTER TABLE t MODIFY COLUMN big int, MODIFY COLUMN name varchar(20), DROP COLUMN must",
            "DROP TABLE dropped",
        ] {
            statement(&mut mysql, sql).await.unwrap();
        }
        world.setup();
        direct
            .batch_execute("ALTER TABLE t ADD UNIQUE (name), ALTER nulls SET NOT NULL")
            .await
            .unwrap();
        let (code, refused) = process::verb(&world.config, &["setup", "--apply"]);
        assert_eq!(code, Some(1), "{refused}");
        assert!(refused.contains("MySQL refused a change of t with error 1062"), "{refused}");
        assert!(!refused.contains("twice"), "no value is shown: {refused}");
        statement(&mut mysql, "DELETE FROM t").await.unwrap();
        assert_eq!(process::verb(&world.config, &["setup", "--apply"]).0, Some(0));
        world.setup();
    }
}

/// Entries since the last call, as `table op key`, in order; the key is named by `keys`.
async fn entries(admin: &Client, keys: &BTreeMap<&str, &str>) -> Vec<String> {
    let rows = admin
        .query(
            "WITH gone AS (DELETE FROM crossfade.outbox RETURNING *) \
             SELECT t.name, g.op::text, g.key, g.epoch FROM gone g \
             JOIN crossfade.tables t ON t.id = g.table_id ORDER BY g.counter, g.id",
            &[],
        )
        .await
        .unwrap();
    let mut names: BTreeMap<Vec<u8>, &str> = BTreeMap::new();
    for (name, row) in keys {
        let sent = admin.query_one(&format!("SELECT record_send({row})"), &[]).await.unwrap();
        names.insert(sent.get(0), name);
    }
    let line = |row: &tokio_postgres::Row| {
        assert_eq!(row.get::<_, i64>(3), 1, "the epoch");
        let key: Option<Vec<u8>> = row.get(2);
        let key = key.map_or("-", |key| names.get(&key).copied().unwrap_or("unknown"));
        format!("{} {} {key}", row.get::<_, &str>(0), row.get::<_, &str>(1))
    };
    rows.iter().map(line).collect()
}

#[tokio::test]
async fn triggers_write_an_entry_for_every_key_that_changes() {
    let world = bare(Target::MariaDb).await;
    world.setup();
    let (app, admin) = (world.direct().await, world.admin().await);
    let one = "00000000-0000-0000-0000-000000000001";
    let session = |day: &str| format!("ROW('{one}'::uuid, '{day}'::date)");
    let (old, new) = (session("2024-06-01"), session("2026-06-01"));
    let keys = BTreeMap::from([
        ("u7", "ROW(7::bigint)"),
        ("u8", "ROW(8::bigint)"),
        ("old", old.as_str()),
        ("new", new.as_str()),
    ]);
    let run = async |sql: &str| {
        app.batch_execute(sql).await.unwrap();
        entries(&admin, &keys).await
    };
    let tenant = format!("INSERT INTO tenants (id, slug) VALUES ('{one}', 's')");
    assert_eq!(run(&tenant).await, [""; 0], "captured by RETURNING, not by a trigger");
    let user = format!(
        "INSERT INTO users (id, tenant, email) OVERRIDING SYSTEM VALUE VALUES (7, '{one}', 'a@x')"
    );
    assert_eq!(run(&user).await, ["users I u7"]);
    let session =
        format!("INSERT INTO auth.sessions (id, \"user\", day) VALUES ('{one}', 7, '2024-06-01')");
    assert_eq!(run(&session).await, ["sessions I old"]);
    // The row moves to another partition: the root's number stays, the order too.
    assert_eq!(
        run("UPDATE auth.sessions SET day = '2026-06-01'").await,
        ["sessions D old", "sessions I new"]
    );
    assert_eq!(run("UPDATE users SET name = name || '!'").await, ["users U u7"]);
    assert_eq!(run("BEGIN; UPDATE users SET name = 'x'; ROLLBACK").await.len(), 0);
    // Two levels of cascade from a table that has no trigger.
    let cascade = run("DELETE FROM tenants").await;
    assert_eq!(cascade, ["users D u7", "sessions D new"]);
    app.batch_execute(&tenant).await.unwrap();
    app.batch_execute(&user).await.unwrap();
    drop(entries(&admin, &keys).await);
    assert_eq!(
        run("ALTER TABLE users ALTER id SET GENERATED BY DEFAULT; UPDATE users SET id = 8").await,
        ["users D u7", "users U u8"]
    );
    assert_eq!(
        run("TRUNCATE users CASCADE").await,
        ["users T -", "sessions T -"].map(str::to_owned)
    );
}

#[tokio::test]
async fn the_guard_refuses_what_is_not_this_epoch_here() {
    let world = bare(Target::MariaDb).await;
    world.setup();
    let app = world.direct().await;
    let timeline = "SELECT substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)";
    let timeline: String = app.query_one(timeline, &[]).await.unwrap().get(0);
    let call = async |function: &str, epoch: i64, timeline: &str| {
        let sql = format!("SELECT crossfade.{function}");
        let called = app.query_one(&sql, &[&epoch, &timeline]).await;
        called
            .map(|row| row.get::<_, i64>(0))
            .map_err(|error| error.code().unwrap().code().to_owned())
    };
    let guard = async |epoch: i64, timeline: &str| call("guard($1, $2)", epoch, timeline).await;
    let enter = "enter(7, 'U', '', $1, $2)";
    assert_eq!(guard(1, &timeline).await, Ok(1));
    let before = call(enter, 1, &timeline).await.unwrap();
    assert_eq!(call(enter, 1, &timeline).await, Ok(before + 1), "the entry's number");

    // Whatever the caller has put in its search path means nothing to us.
    app.batch_execute(
        "CREATE SCHEMA evil; CREATE FUNCTION evil.no(bigint, bigint) RETURNS bool LANGUAGE sql \
         AS 'SELECT false'; CREATE OPERATOR evil.<> (LEFTARG = bigint, RIGHTARG = bigint, \
         FUNCTION = evil.no); SET search_path = evil, pg_catalog",
    )
    .await
    .unwrap();
    for function in ["guard($1, $2)", enter] {
        let refused = call(function, 2, &timeline).await;
        assert_eq!(refused, Err(control::STALE_EPOCH.to_owned()), "{function}");
        let refused = call(function, 1, "0000FFFF").await;
        assert_eq!(refused, Err(control::STALE_TIMELINE.to_owned()), "{function}");
    }
    let truncate = call("enter(7, 'T', NULL, $1, $2)", 1, &timeline).await;
    assert_eq!(truncate, Err("22023".to_owned()), "a TRUNCATE is no row");
    app.batch_execute("RESET search_path").await.unwrap();
    world.admin().await.batch_execute("DELETE FROM crossfade.outbox").await.unwrap();

    app.batch_execute("SET synchronous_commit = off; BEGIN").await.unwrap();
    call(enter, 1, &timeline).await.unwrap();
    let flushed: String = app.query_one("SHOW synchronous_commit", &[]).await.unwrap().get(0);
    assert_eq!(flushed, "on");
    app.batch_execute("COMMIT").await.unwrap();
    let after: String = app.query_one("SHOW synchronous_commit", &[]).await.unwrap().get(0);
    assert_eq!(after, "off");
    world.admin().await.batch_execute("DELETE FROM crossfade.outbox").await.unwrap();

    // MySQL's turn: nobody but Crossfade writes to tables with a trigger.
    let admin = world.admin().await;
    admin.batch_execute("SELECT setval('crossfade.epoch', 3)").await.unwrap();
    assert_eq!(guard(1, &timeline).await, Err(control::STALE_EPOCH.to_owned()));
    assert_eq!(call(enter, 1, &timeline).await, Err(control::STALE_EPOCH.to_owned()));
    let refused = app.batch_execute("INSERT INTO ring_a VALUES (1)").await.unwrap_err();
    assert_eq!(refused.code().unwrap().code(), control::STALE_EPOCH);
    admin.batch_execute("INSERT INTO ring_a VALUES (1)").await.unwrap();
    let entries = admin.query("SELECT FROM crossfade.outbox", &[]).await.unwrap();
    assert!(entries.is_empty());

    // A forged entry is all that an application's role can do with our tables.
    for forbidden in ["DELETE FROM crossfade.outbox", "SELECT setval('crossfade.epoch', 9)"] {
        let refused = app.batch_execute(forbidden).await.unwrap_err();
        assert_eq!(refused.code().unwrap().code(), "42501", "{forbidden}");
    }
    admin.batch_execute(control::DROP).await.unwrap();
    let left = admin.query("SELECT FROM pg_trigger WHERE tgname LIKE 'crossfade%'", &[]).await;
    assert!(left.unwrap().is_empty(), "the triggers go with the schema");
}

#[tokio::test]
async fn a_role_without_rights_is_told_each_grant_and_needs_no_more() {
    let world = World::bare(Target::MariaDb, "").await;
    let (admin, app) = (world.admin().await, world.direct().await);
    app.batch_execute(
        "CREATE SCHEMA auth; CREATE TABLE auth.users (id integer PRIMARY KEY, name text); \
         CREATE TABLE codes (id integer PRIMARY KEY, u integer REFERENCES auth.users ON DELETE CASCADE)",
    )
    .await
    .unwrap();
    let role = format!("crossfade_{}", world.database);
    let (drop, create) = (
        format!("DROP ROLE IF EXISTS {role}"),
        format!("CREATE ROLE {role} LOGIN PASSWORD 'secret'"),
    );
    admin.batch_execute(&drop).await.unwrap();
    admin.batch_execute(&create).await.unwrap();
    world.log_in_as(&role, "secret");

    let (code, refused) = process::verb(&world.config, &["setup"]);
    assert_eq!(code, Some(1), "{refused}");
    assert!(refused.contains("nothing was changed"), "{refused}");
    let (code, found) = process::verb(&world.config, &["check"]);
    assert_eq!(code, Some(1), "{found}");
    let grants = found.lines().map(str::trim).filter(|line| line.starts_with("GRANT "));
    let grants: Vec<&str> = grants.filter_map(|line| line.split(';').next()).collect();
    assert_eq!(grants.len(), 4, "{found}");
    admin.batch_execute(&grants.join(";")).await.unwrap();
    world.verb(&["check"]);
    let json = world.verb(&["check", "--format", "json"]);
    assert!(json.starts_with("[{\"severity\":\"warning\""), "{json}");

    world.setup();
    app.batch_execute(
        "INSERT INTO auth.users VALUES (1); INSERT INTO codes VALUES (1, 1); DELETE FROM auth.users",
    )
    .await
    .unwrap();
    let keys = BTreeMap::from([("one", "ROW(1)")]);
    assert_eq!(entries(&admin, &keys).await, ["codes I one", "codes D one"]);
    world.setup();
}

/// A store at work.
struct Watching {
    situation: watch::Receiver<Arc<Situation>>,
    nudge: Nudge,
    _stop: watch::Sender<bool>,
}

impl Watching {
    fn start(world: &World) -> Self {
        let config = Config::load(&world.config).unwrap();
        let ends = Ends {
            from: Connector::new(config.from.clone()).unwrap(),
            to: config.to.clone(),
            limits: LinkLimits::default(),
        };
        let (policies, known) = watch::channel(Arc::new(config.tables));
        let (situation, seen) = watch::channel(Arc::new(Situation::transparent()));
        let sidecar = Sidecar {
            id: "one".to_owned(),
            address: "here".to_owned(),
            lease: crate::support::inside::confirmed(),
            // Nothing but a nudge makes it look again within this test.
            poll: Duration::from_secs(600),
        };
        let metrics = StoreMetrics::register(&Registry::new()).unwrap();
        let flow = Flow {
            planners: Planners::new(seen.clone(), 64, crate::support::inside::statements()),
            handoff: handoff::channel(1 << 20).0,
            lease: sidecar.lease.clone(),
            hold: crossfade::hold::Hold::default(),
            metrics: SessionMetrics::register(&Registry::new()).unwrap(),
            tally: Tally::default(),
            limits: FlowLimits::default().into(),
        };
        let naming = Naming::default();
        let flow = Arc::new(flow);
        let beyond = situation.clone();
        let part_lease = sidecar.lease.clone();
        let published = Published { situation, beyond, part_lease };
        let (store, nudge) = Store::new(ends, naming, known, published, sidecar, metrics, flow);
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(async move {
            store.run(stopped).await;
            drop(policies);
        });
        Self { situation: seen, nudge, _stop: stop }
    }

    /// Nudges, and waits for a situation that fits.
    async fn until(&mut self, fits: impl Fn(&Situation) -> bool) -> Arc<Situation> {
        self.nudge.look_now();
        let waited = timeout(PATIENCE, self.situation.wait_for(|now| fits(now))).await;
        Arc::clone(&waited.expect("in time").unwrap())
    }
}

async fn dirty(admin: &Client) -> Vec<(String, String)> {
    let question = "SELECT name, dirty_reason FROM crossfade.tables \
                    WHERE dirty_reason IS NOT NULL ORDER BY name";
    let rows = admin.query(question, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test]
async fn the_store_notices_setup_ddl_and_another_server() {
    for target in Target::all() {
        let world = bare(target).await;
        let admin = world.admin().await;
        let mut watching = Watching::start(&world);
        let before = watching.until(|now| now.catalog.version == 1).await;
        assert_eq!(before.phase, Phase::Setup);
        assert_eq!(before.server, 15);

        world.setup();
        let now = watching.until(|now| now.phase == Phase::DualWrite).await;
        assert_eq!((now.epoch, now.catalog.version), (1, 2));
        assert_eq!(now.timeline, "00000001");
        // What RETURNING captures passed unseen until now; triggers saw everything.
        let marks = dirty(&admin).await;
        let late = |name: &str| (name.to_owned(), "backfill".to_owned());
        assert_eq!(marks, ["Odd \"Name`", "pairs", "tenants"].map(late));
        admin.batch_execute("UPDATE crossfade.tables SET dirty_reason = NULL").await.unwrap();

        // Statistics, vacuum and TRUNCATE are no change; a column is.
        admin.batch_execute("TRUNCATE pairs CASCADE; ANALYZE").await.unwrap();
        admin.batch_execute("VACUUM FULL pairs").await.unwrap();
        admin.batch_execute("ALTER TABLE pairs ADD COLUMN extra text").await.unwrap();
        let now = watching.until(|now| 2 < now.catalog.version).await;
        assert_eq!(now.catalog.version, 3);
        let pairs = now.catalog.by_name(&TableName::parse("pairs")).unwrap();
        assert_eq!(pairs.columns.len(), 4);
        assert_eq!(dirty(&admin).await, [("pairs".to_owned(), "ddl".to_owned())]);

        // As after a promotion: the epoch grows on both sides, and every table is in doubt.
        let promoted = "UPDATE crossfade.settings SET value = '00000000' WHERE key = 'timeline'";
        admin.batch_execute(promoted).await.unwrap();
        let now = watching.until(|now| now.epoch == 2).await;
        assert_eq!(now.phase, Phase::DualWrite);
        assert_eq!(dirty(&admin).await.len(), 10);
        let mut mysql = world.secondary().await;
        world
            .until("told the secondary the epoch", async || {
                let epoch = "SELECT epoch FROM crossfade_state";
                mysql.query_first::<u64, _>(epoch).await.unwrap() == Some(2)
            })
            .await;
    }
}
