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
use crossfade::control::store::{Nudge, Sidecar, Store, StoreMetrics};
use crossfade::handoff;
use crossfade::names::TableName;
use crossfade::phase::{Phase, Situation};
use crossfade::session::{Flow, FlowLimits, Planners, SessionMetrics, Tally};
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
                "crossfade_fence",
                "crossfade_floor",
                "crossfade_state",
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
    let guard = async |epoch: i64, timeline: &str| {
        let called = app.query_one("SELECT crossfade.guard($1, $2)", &[&epoch, &timeline]).await;
        called
            .map(|row| row.get::<_, i64>(0))
            .map_err(|error| error.code().unwrap().code().to_owned())
    };
    assert_eq!(guard(1, &timeline).await, Ok(1));
    assert_eq!(guard(2, &timeline).await, Err(control::STALE_EPOCH.to_owned()));
    assert_eq!(guard(1, "0000FFFF").await, Err(control::STALE_TIMELINE.to_owned()));

    app.batch_execute("SET synchronous_commit = off; BEGIN").await.unwrap();
    guard(1, &timeline).await.unwrap();
    let flushed: String = app.query_one("SHOW synchronous_commit", &[]).await.unwrap().get(0);
    assert_eq!(flushed, "on");
    app.batch_execute("COMMIT").await.unwrap();
    let after: String = app.query_one("SHOW synchronous_commit", &[]).await.unwrap().get(0);
    assert_eq!(after, "off");

    // MySQL's turn: nobody but Crossfade writes to tables with a trigger.
    let admin = world.admin().await;
    admin.batch_execute("SELECT setval('crossfade.epoch', 3)").await.unwrap();
    assert_eq!(guard(1, &timeline).await, Err(control::STALE_EPOCH.to_owned()));
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
    let text = std::fs::read_to_string(&world.config).unwrap();
    let login = format!("postgres:{}@", crossfade::demo::servers::PASSWORD);
    assert!(text.contains(&login));
    std::fs::write(&world.config, text.replace(&login, &format!("{role}:secret@"))).unwrap();

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
            lease: Duration::from_secs(5),
            // Nothing but a nudge makes it look again within this test.
            poll: Duration::from_secs(600),
        };
        let metrics = StoreMetrics::register(&Registry::new()).unwrap();
        let flow = Flow {
            planners: Planners::new(seen.clone(), 64),
            handoff: handoff::channel(1 << 20).0,
            metrics: SessionMetrics::register(&Registry::new()).unwrap(),
            tally: Tally::default(),
            limits: FlowLimits::default(),
        };
        let naming = Naming::default();
        let flow = Arc::new(flow);
        let (store, nudge) = Store::new(ends, naming, known, situation, sidecar, metrics, flow);
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
