//! `crossfade backfill`: every row arrives, a live write always wins, and a run may be killed anywhere.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crossfade::backend::mysql::connect::LinkLimits;
use crossfade::backend::mysql::copy::{Chunk, Copier, Row};
use crossfade::backend::mysql::progress::Run;
use crossfade::backend::mysql::{Link, control};
use crossfade::change::{RowImage, Version};
use mysql_async::prelude::Queryable as _;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_postgres::Client;

use crate::support::process::{lines, of, verb};
use crate::support::{Target, World};
use crate::writer::{Site, delete, int, key, text, to_url};

const PROGRAM: &str = env!("CARGO_BIN_EXE_crossfade");

/// Keys of many types, in an order that MySQL does not share; parents after children by name; a circle.
const SCHEMA: &str = "
    CREATE EXTENSION IF NOT EXISTS citext;
    CREATE TYPE mood AS ENUM ('sad', 'happy', 'angry');
    CREATE TABLE z_tenants (id uuid PRIMARY KEY, name text UNIQUE, note text);
    CREATE TABLE users (tenant uuid REFERENCES z_tenants ON DELETE CASCADE, login varchar(40), email text UNIQUE,
        boss_tenant uuid, boss text, data jsonb, score numeric(12, 3), made timestamptz DEFAULT now(),
        mood mood, raw bytea, tags text[], PRIMARY KEY (tenant, login),
        FOREIGN KEY (boss_tenant, boss) REFERENCES users (tenant, login));
    CREATE TABLE a_circle (id int PRIMARY KEY, other int);
    CREATE TABLE b_circle (id int PRIMARY KEY, other int REFERENCES a_circle);
    ALTER TABLE a_circle ADD FOREIGN KEY (other) REFERENCES b_circle;
    CREATE TABLE words (word text PRIMARY KEY, n int);
    CREATE TABLE names (name citext PRIMARY KEY, n int);
    CREATE TABLE pairs (name citext, kind varchar(10), n int, PRIMARY KEY (kind, name));
    CREATE TABLE moments (at timestamptz PRIMARY KEY, n int);
    CREATE TABLE amounts (amount numeric(10, 2), mood mood, PRIMARY KEY (mood, amount));
    CREATE TABLE days (day date, n int, PRIMARY KEY (day, n)) PARTITION BY RANGE (day);
    CREATE TABLE days_1 PARTITION OF days FOR VALUES FROM (MINVALUE) TO ('2021-01-01');
    CREATE TABLE days_2 PARTITION OF days FOR VALUES FROM ('2021-01-01') TO (MAXVALUE);
    CREATE TABLE large (id bigint PRIMARY KEY, content bytea);
    CREATE TABLE one (id int PRIMARY KEY);
    CREATE TABLE nothing (id int PRIMARY KEY)";

const FILL: &str = "
    INSERT INTO z_tenants SELECT gen_random_uuid(), 'tenant ' || g FROM generate_series(1, 20) g;
    INSERT INTO users SELECT t.id, 'u' || g, t.name || '/' || g, NULL, NULL,
        jsonb_build_object('k', g, 'list', '[1, 2.0, null, \"\u{e9}\u{1f600}\"]'::jsonb), g * 1.5,
        now() - g * interval '1 minute', 'happy', '\\x00ff27'::bytea, ARRAY['a', NULL, 'b\"']
        FROM z_tenants t, generate_series(1, 100) g;
    UPDATE users SET boss_tenant = tenant, boss = 'u' || (101 - substr(login, 2)::int);
    INSERT INTO a_circle SELECT g FROM generate_series(1, 50) g;
    INSERT INTO b_circle SELECT g, 51 - g FROM generate_series(1, 50) g;
    UPDATE a_circle SET other = 51 - id;
    INSERT INTO words SELECT v || w, 1 FROM unnest('{a,B,\u{e4},Z,_,1,\"a b\",ss,\u{df},\"\",\u{1f600}}'::text[]) v,
        unnest('{a,B,\u{e4},Z,_,1,\" \",\"\"}'::text[]) w ON CONFLICT DO NOTHING;
    INSERT INTO names SELECT 'Name-' || g, g FROM generate_series(1, 300) g;
    INSERT INTO pairs SELECT 'Name-' || g, 'K' || g % 3, g FROM generate_series(1, 300) g;
    INSERT INTO moments SELECT '2024-01-01'::timestamptz + g * interval '1.000001 s', g FROM generate_series(1, 200) g;
    INSERT INTO amounts SELECT g * 0.37 - 20, m FROM generate_series(1, 100) g, unnest(enum_range(NULL::mood)) m;
    INSERT INTO days SELECT '2020-06-01'::date + g, h FROM generate_series(1, 400) g, generate_series(1, 3) h;
    INSERT INTO large SELECT g, decode(repeat('00ff275c', 500000), 'hex') FROM generate_series(1, 5) g;
    INSERT INTO one VALUES (0)";

/// A PostgreSQL with rows, dual writes begun, and Crossfade running; chunks of so many rows.
async fn filled(target: Target, schema: &str, fill: &str, chunk_rows: usize) -> World {
    let mut world = World::bare(target, "").await;
    let direct = world.direct().await;
    world.admin().await.batch_execute("CREATE EXTENSION IF NOT EXISTS citext").await.unwrap();
    direct.batch_execute(schema).await.unwrap();
    direct.batch_execute(fill).await.unwrap();
    world.edit(|text| format!("{text}backfill: {{ chunk_rows: {chunk_rows} }}\n"));
    world.setup();
    world.run().await;
    world
}

fn backfill(world: &World, more: &[&str]) -> (Option<i32>, Vec<Value>) {
    lines(&world.config, &[&["backfill"], more].concat())
}

async fn count(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn tables_of_every_kind_are_copied_and_verified() {
    for target in Target::all() {
        let world = filled(target, SCHEMA, FILL, 40).await;
        let (code, lines) = backfill(&world, &[]);
        assert_eq!(code, Some(0), "{lines:?}");
        let direct = world.direct().await;
        for table in
            ["z_tenants", "users", "words", "names", "amounts", "days", "large", "one", "nothing"]
        {
            let rows = count(&direct, &format!("SELECT count(*) FROM {table}")).await;
            let line = of(&lines, table);
            assert_eq!((&line["rows"], &line["inserted"]), (&rows.into(), &rows.into()), "{line}");
            assert_eq!(line["state"], "done", "{line}");
        }
        // Parents come first, whatever their names.
        let place = |name| lines.iter().position(|line| line["table"] == name).unwrap();
        assert!(place("z_tenants") < place("users"), "{lines:?}");
        world.assert_all_equal().await;
        world.verb(&["verify"]);
        let dirty = count(
            &direct_admin(&world).await,
            "SELECT count(*) FROM crossfade.tables WHERE dirty_reason IS NOT NULL",
        )
        .await;
        assert_eq!(dirty, 0);

        // Copied is copied, and again does no harm.
        let (code, lines) = backfill(&world, &["--table", "users"]);
        assert_eq!((code, &of(&lines, "users")["state"]), (Some(0), &"done before".into()));
        let (code, lines) = backfill(&world, &["--table", "users", "--again"]);
        let line = of(&lines, "users");
        assert_eq!((code, &line["present"], &line["inserted"]), (Some(0), &2000.into(), &0.into()));
        let (code, output) = verb(&world.config, &["backfill", "--table", "nowhere"]);
        assert_eq!(code, Some(2), "{output}");
    }
}

async fn direct_admin(world: &World) -> Client {
    world.admin().await
}

const LIVE: &str = "CREATE TABLE items (id int PRIMARY KEY, code text UNIQUE, n int NOT NULL, note text);
    CREATE TABLE parts (item int REFERENCES items ON DELETE CASCADE, no int, n int, PRIMARY KEY (item, no))";
const LIVE_FILL: &str =
    "INSERT INTO items SELECT g, 'c' || g, 0, repeat('x', 100) FROM generate_series(1, 3000) g;
    INSERT INTO parts SELECT g, h, 0 FROM generate_series(1, 3000) g, generate_series(1, 2) h";

/// Writes what the application might, until told to stop; says how many statements it ran.
async fn write(world_client: Client, seed: u64, stop: Arc<AtomicBool>) -> u64 {
    let (mut random, mut statements) = (StdRng::seed_from_u64(seed), 0);
    while !stop.load(Ordering::Relaxed) {
        let id = random.random_range(1..3000);
        let sql = match random.random_range(0..10) {
            0..4 => format!("UPDATE items SET n = n + 1 WHERE id = {id}"),
            4..6 => format!("DELETE FROM items WHERE id = {id}"),
            // What is deleted of the upper half stays so.
            6..8 => {
                let id = id / 2;
                format!("INSERT INTO items VALUES ({id}, 'c{id}', 0) ON CONFLICT DO NOTHING")
            }
            8 => format!(
                "INSERT INTO parts SELECT id, 1, {id} FROM items WHERE id = {id} ON CONFLICT DO NOTHING"
            ),
            _ => format!("UPDATE parts SET n = n + 1 WHERE item = {id}"),
        };
        match world_client.batch_execute(&sql).await {
            Ok(()) => statements += 1,
            Err(error) => assert!(error.code().is_some(), "{error}"),
        }
    }
    statements
}

#[tokio::test]
async fn a_live_write_always_wins() {
    for target in Target::all() {
        // A chunk waits for its turn after it was read, so that writers meet rows that are on their way.
        let world = filled(target, LIVE, LIVE_FILL, 300).await;
        let stop = Arc::new(AtomicBool::new(false));
        let mut writers = Vec::new();
        for seed in 0..4 {
            let client = world.client().await;
            writers.push(tokio::spawn(write(client, seed, Arc::clone(&stop))));
        }
        // Slow enough that the writers meet every part of it; then over everything once more.
        for more in [&["--max-rate", "1500"][..], &["--again"]] {
            let (config, arguments) = (world.config.clone(), [&["backfill"], more].concat());
            let copied = tokio::task::spawn_blocking(move || verb(&config, &arguments));
            let (code, output) = copied.await.unwrap();
            assert_eq!(code, Some(0), "{output}\n{}", world.log());
        }
        stop.store(true, Ordering::Relaxed);
        let mut statements = 0;
        for writer in writers {
            statements += writer.await.unwrap();
        }
        assert!(statements > 100, "{statements}");
        world.drained().await;
        world.assert_all_equal().await;
        world.verb(&["verify"]);
    }
}

#[tokio::test]
async fn a_row_that_clashes_is_reported_with_both_keys() {
    for target in Target::all() {
        let fill = "INSERT INTO items SELECT g, 'c' || g, 0 FROM generate_series(1, 100) g";
        let world = filled(target, LIVE, fill, 30).await;
        let mut secondary = world.secondary().await;
        // Somebody else's row has the value: nobody can make both rows fit.
        secondary.query_drop("INSERT INTO items VALUES (1000, 'c50', 0, NULL)").await.unwrap();
        let (code, lines) = backfill(&world, &["--table", "items"]);
        assert_eq!(code, Some(1), "{lines:?}");
        let line = of(&lines, "items");
        assert_eq!(
            (&line["rows"], &line["inserted"], &line["refused"]),
            (&100.into(), &99.into(), &1.into())
        );
        let refused = &line["refusedRows"][0];
        assert_eq!((&refused["key"], &refused["owner"]), (&"50".into(), &"1000".into()), "{line}");
        // The row that stands in the way has none on the primary, so the drain takes it away.
        world.drained().await;
        world.assert_all_equal().await;
    }
}

#[tokio::test]
async fn copying_can_be_stopped_paused_and_slowed_and_goes_on() {
    let world = filled(Target::MariaDb, LIVE, LIVE_FILL, 100).await;
    let admin = world.admin().await;
    // As slow as two hundred rows a second, the table would take a quarter of a minute.
    let mut child = spawn(&world, &["--table", "items", "--max-rate", "200"]);
    let rows = "SELECT COALESCE((SELECT rows FROM crossfade.backfill b JOIN crossfade.tables t ON t.id = b.table_id \
        WHERE t.name = 'items'), 0)";
    world
        .until("some rows are copied", async || {
            exists(&admin, "crossfade.backfill").await && count(&admin, rows).await > 200
        })
        .await;
    let (code, output) = verb(&world.config, &["backfill"]);
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("another backfill"), "{output}");
    signal(&child, "-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let copied: Option<(String, u64)> = world
        .secondary()
        .await
        .query_first("SELECT state, copied FROM crossfade_backfill")
        .await
        .unwrap();
    let (state, before) = copied.unwrap();
    assert_eq!(state, "stopped");
    assert!((200..3000).contains(&before), "{before}");

    // Paused, it begins no chunk.
    admin
        .batch_execute("INSERT INTO crossfade.settings VALUES ('backfill', 'paused')")
        .await
        .unwrap();
    let mut child = spawn(&world, &["--table", "items"]);
    let held = "SELECT count(*) FROM crossfade.backfill WHERE activity = 'paused'";
    world.until("it says that it is paused", async || count(&admin, held).await > 0).await;
    admin
        .batch_execute("UPDATE crossfade.settings SET value = 'running' WHERE key = 'backfill'")
        .await
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let (copied, done): (u64, String) = world
        .secondary()
        .await
        .query_first("SELECT copied, state FROM crossfade_backfill")
        .await
        .unwrap()
        .unwrap();
    assert_eq!((copied, done.as_str()), (3000, "done"));
    world.verb(&["backfill"]);
    world.verb(&["verify"]);
}

async fn exists(client: &Client, table: &str) -> bool {
    let row = client.query_one("SELECT to_regclass($1) IS NOT NULL", &[&table]).await.unwrap();
    row.get(0)
}

fn spawn(world: &World, more: &[&str]) -> Child {
    Command::new(PROGRAM)
        .arg("backfill")
        .args(more)
        .arg("--config")
        .arg(&world.config)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

/// Between the copying process and MySQL; kills it when it has sent so many requests.
struct Fuse {
    port: u16,
    left: Arc<AtomicUsize>,
    blown: Arc<tokio::sync::Notify>,
}

impl Fuse {
    async fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (left, blown) =
            (Arc::new(AtomicUsize::new(usize::MAX)), Arc::new(tokio::sync::Notify::new()));
        tokio::spawn({
            let (left, blown) = (Arc::clone(&left), Arc::clone(&blown));
            async move {
                loop {
                    let (near, _) = listener.accept().await.unwrap();
                    let far = TcpStream::connect(("127.0.0.1", target)).await.unwrap();
                    tokio::spawn(carry(near, far, Arc::clone(&left), Arc::clone(&blown)));
                }
            }
        });
        Self { port, left, blown }
    }
}

async fn carry(
    near: TcpStream,
    far: TcpStream,
    left: Arc<AtomicUsize>,
    blown: Arc<tokio::sync::Notify>,
) {
    let ((mut near_in, mut near_out), (mut far_in, mut far_out)) =
        (near.into_split(), far.into_split());
    let back = tokio::spawn(async move { tokio::io::copy(&mut far_in, &mut near_out).await });
    let mut buffer = vec![0; 1 << 16];
    while let Ok(read @ 1..) = near_in.read(&mut buffer).await {
        if far_out.write_all(&buffer[..read]).await.is_err() {
            break;
        }
        // The request is on its way: whether it has its effect is the server's to say.
        let before =
            left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if before == Ok(1) {
            blown.notify_one();
        }
    }
    back.abort();
}

/// Kills the copying at requests that it sends to MySQL, one after the other, with a delete and an insert
/// between the kill and the next start. Every fourth request in one run; all of them in a few.
#[tokio::test]
async fn it_may_be_killed_at_every_step() {
    let fill = "INSERT INTO items SELECT g, 'c' || g, 0 FROM generate_series(1, 12) g";
    let world = filled(Target::MariaDb, LIVE, fill, 4).await;
    let port = mysql_async::Opts::from_url(world.secondary_url()).unwrap().tcp_port();
    let fuse = Fuse::start(port).await;
    let (own, other) = (format!(":{port}/"), format!(":{}/", fuse.port));
    let through = world.config.with_file_name("through.yaml");
    let text = std::fs::read_to_string(&world.config).unwrap().replace(&own, &other);
    std::fs::write(&through, text).unwrap();
    let (client, mut secondary) = (world.client().await, world.secondary().await);
    let (mut random, mut killed) = (StdRng::seed_from_u64(7), 0);
    let first = rand::random_range(1..=4);
    for step in (first..).step_by(4) {
        // Into an emptied secondary, with nothing in the fence that would show what is live.
        world.drained().await;
        for sql in [
            "DELETE FROM items",
            "DELETE FROM crossfade_fence WHERE key_hash <> X'00000000000000000000000000000000'",
            "DELETE FROM crossfade_backfill",
        ] {
            secondary.query_drop(sql).await.unwrap();
        }
        fuse.left.store(step, Ordering::SeqCst);
        let arguments = ["backfill", "--table", "items", "--workers", "1", "--config"];
        let mut child = Command::new(PROGRAM)
            .args(arguments)
            .arg(&through)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let ended = loop {
            tokio::select! {
                () = fuse.blown.notified() => break false,
                () = tokio::time::sleep(Duration::from_millis(5)) => {
                    if child.try_wait().unwrap().is_some() {
                        break true;
                    }
                }
            }
        };
        child.kill().unwrap();
        child.wait().unwrap();
        fuse.left.store(usize::MAX, Ordering::SeqCst);
        if ended {
            break;
        }
        killed += 1;
        let id = random.random_range(1..13);
        client.batch_execute(&format!("DELETE FROM items WHERE id = {id}")).await.unwrap();
        if step % 3 == 0 {
            let back = format!("INSERT INTO items VALUES ({id}, 'c{id}', {step})");
            client.batch_execute(&back).await.unwrap();
        }
        let (code, output) = verb(&world.config, &["backfill", "--table", "items"]);
        assert_eq!(code, Some(0), "step {step}: {output}");
        world.drained().await;
        world.assert_all_equal().await;
        let left = "INSERT INTO items SELECT g, 'c' || g, 0 FROM generate_series(1, 12) g ON CONFLICT DO NOTHING";
        client.batch_execute(left).await.unwrap();
    }
    assert!(killed > 8, "{killed}");
}

#[tokio::test]
async fn a_truncate_is_not_undone() {
    for target in Target::all() {
        let world = filled(target, LIVE, LIVE_FILL, 20).await;
        let client = world.client().await;
        let mut child = spawn(&world, &["--table", "parts", "--workers", "4"]);
        let mut secondary = world.secondary().await;
        world
            .until("rows arrive", async || {
                let rows: Option<u64> =
                    secondary.query_first("SELECT COUNT(*) FROM parts").await.unwrap();
                rows > Some(100)
            })
            .await;
        client.batch_execute("TRUNCATE parts").await.unwrap();
        client
            .batch_execute("INSERT INTO parts SELECT id, 9, 9 FROM items WHERE id < 50")
            .await
            .unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
        world.verb(&["backfill"]);
        world.drained().await;
        world.assert_all_equal().await;
    }
}

#[tokio::test]
async fn a_sidecar_copies_when_it_is_asked_to() {
    let world = filled(Target::MariaDb, LIVE, LIVE_FILL, 500).await;
    let proxy = world.proxy.as_ref().unwrap();
    let (status, body) = proxy.request("POST", "/backfill/pause").await.unwrap();
    assert_eq!(status, 200, "{body}");
    let (status, body) = proxy.request("POST", "/backfill").await.unwrap();
    assert_eq!(status, 200, "{body}");
    let (status, body) = proxy.request("POST", "/backfill").await.unwrap();
    assert_eq!(status, 409, "{body}");
    let copied = async || {
        let (_, body) = proxy.get("/migration-status").await.unwrap();
        let report: Value = serde_json::from_str(&body).unwrap();
        report["tables"]["items"]["backfill"].clone()
    };
    world.until("it is shown as paused", async || copied().await["waits"] == "paused").await;
    let (_, status) = verb(&world.config, &["status"]);
    assert!(status.contains("paused"), "{status}");
    let (status, body) = proxy.request("POST", "/backfill/resume").await.unwrap();
    assert_eq!(status, 200, "{body}");
    world.until("it is done", async || copied().await["state"] == "done").await;
    assert_eq!(copied().await["rows"], 3000);
    world
        .until("all of it is counted", async || {
            proxy.metric("backfill_rows_total{table=\"parts\"}").await >= 6000.0
        })
        .await;
    world.verb(&["verify"]);
}

#[tokio::test]
async fn a_database_that_is_not_there_is_said_at_once() {
    let world = filled(Target::MariaDb, LIVE, "", 500).await;
    let port = mysql_async::Opts::from_url(world.secondary_url()).unwrap().tcp_port();
    let nobody = crate::support::process::free_port();
    let elsewhere = world.config.with_file_name("elsewhere.yaml");
    let text = std::fs::read_to_string(&world.config).unwrap();
    std::fs::write(&elsewhere, text.replace(&format!(":{port}/"), &format!(":{nobody}/"))).unwrap();
    let (code, output) = verb(&elsewhere, &["backfill"]);
    assert_eq!(code, Some(3), "{output}");
}

/// Trying on with a password that was changed would be waiting for a person who does not know.
#[tokio::test]
async fn a_password_that_was_changed_ends_it_and_says_so() {
    let world = filled(Target::MariaDb, LIVE, LIVE_FILL, 100).await;
    let (admin, secondary) = (world.admin().await, &mut world.secondary().await);
    let role = format!("copier_{}", std::process::id());
    let text = std::fs::read_to_string(&world.config).unwrap();
    for side in ["primary", "secondary"] {
        let own = world.config.with_file_name(format!("{side}.yaml"));
        let (first, second) = match side {
            "primary" => {
                admin
                    .batch_execute(&format!("CREATE ROLE {role} SUPERUSER LOGIN PASSWORD 'first'"))
                    .await
                    .unwrap();
                std::fs::write(&own, with_login(&text, "postgres://", &role)).unwrap();
                (String::new(), format!("ALTER ROLE {role} PASSWORD 'second'"))
            }
            _ => {
                let user = format!("'{role}'@'%'");
                secondary
                    .query_drop(format!("CREATE USER {user} IDENTIFIED BY 'first'"))
                    .await
                    .unwrap();
                secondary.query_drop(format!("GRANT ALL ON *.* TO {user}")).await.unwrap();
                std::fs::write(&own, with_login(&text, "mysql://", &role)).unwrap();
                (format!("ALTER USER {user} IDENTIFIED BY 'second'"), String::new())
            }
        };
        let child = Command::new(PROGRAM)
            .args(["backfill", "--again", "--max-rate", "200", "--config"])
            .arg(&own)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let rows = "SELECT count(*) FROM crossfade.backfill WHERE state = 'copying' AND rows > 0";
        world
            .until("some rows are copied", async || {
                exists(&admin, "crossfade.backfill").await && count(&admin, rows).await > 0
            })
            .await;
        if !first.is_empty() {
            secondary.query_drop(first).await.unwrap();
            let ours =
                format!("SELECT id FROM information_schema.processlist WHERE user = '{role}'");
            for id in secondary.query::<u64, _>(ours).await.unwrap() {
                secondary.query_drop(format!("KILL {id}")).await.unwrap();
            }
        }
        if !second.is_empty() {
            admin.batch_execute(&second).await.unwrap();
            let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1";
            admin.execute(end, &[&role]).await.unwrap();
        }
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(3), "{side}: {said}");
    }
    world.verb(&["backfill"]);
    world.verb(&["verify"]);
}

/// The text of proxy.yaml with this role, whose password is `first`, in the URL of this scheme.
fn with_login(text: &str, scheme: &str, role: &str) -> String {
    let (before, rest) = text.split_once(scheme).unwrap();
    let (_, after) = rest.split_once('@').unwrap();
    format!("{before}{scheme}{role}:first@{after}")
}

/// An apply writes its rows first, and what is new to the fence at its end: a delete that found no row
/// has not shown its tombstone yet when the chunk is committed.
#[tokio::test]
async fn a_sweep_waits_for_a_delete_that_began_before_the_chunk_was_there() {
    for target in Target::all() {
        let ddl = "CREATE TABLE t (id int PRIMARY KEY, note varchar(20))";
        let mut site = Site::start(target, &[("t", "id:int4*,note:varchar(20)")], &[ddl]).await;
        let table = site.table("t");
        let (url, limits, run) = (to_url(&site.world).await, LinkLimits::default(), Run::new());
        let mut link = Link::connect(&url, &limits).await.unwrap();
        let bound = Version { epoch: 1, counter: 5, n: 0 };
        control::register(link.conn(), table.id.unwrap()).await.unwrap();
        link.take_over(&table, run, bound, false).await.unwrap().unwrap();
        let gone = delete(&table, (9, 1), &[int(7)]);
        site.writer.prepare(&[&[gone]], 1, &site.catalog).await.unwrap();
        let mut copier = Copier::connect(&url, &limits, run).await.unwrap();
        let image = RowImage { values: vec![int(7), text("old")] };
        let rows = [Row { key: key(&table, &[int(7)]), image }];
        let chunk = Chunk { table: &table, rows: &rows, since: bound };
        assert_eq!(copier.copy(&chunk).await.unwrap().inserted, 1);
        let swept = {
            let (table, key) = (Arc::clone(&table), rows[0].key.clone());
            tokio::spawn(async move { copier.sweep(&table, &[&key], 1, None).await })
        };
        let mut conn = site.world.secondary().await;
        let waits = format!(
            "SELECT COUNT(*) FROM information_schema.innodb_trx t JOIN information_schema.processlist p \
             ON p.id = t.trx_mysql_thread_id WHERE t.trx_state = 'LOCK WAIT' AND p.db = '{}'",
            site.world.database
        );
        site.world
            .until("the sweep waits, or has not", async || {
                let waiting: Option<u64> = conn.query_first(&waits).await.unwrap();
                swept.is_finished() || waiting == Some(1)
            })
            .await;
        site.writer.commit().await.unwrap();
        assert_eq!(swept.await.unwrap(), Ok(1));
        assert_eq!(site.rows("SELECT * FROM t").await, Vec::<String>::new());
    }
}
