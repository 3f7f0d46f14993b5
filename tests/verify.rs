//! `crossfade verify`: every planted difference is found, nothing that is on its way is called one, and
//! dirty marks go only when they may.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::support::process::{Running, lines, of, verb};
use crate::support::relay::Relay;
use crate::support::{Target, World};

/// How long clients write beside the rounds.
const LOAD: Duration = Duration::from_secs(15);
const SCHEMA: &str = "
    CREATE TYPE mood AS ENUM ('sad', 'happy');
    CREATE TABLE users (tenant varchar(20), id varchar(20), email text UNIQUE, n int, data jsonb,
        score numeric(12, 3), born date, made timestamptz DEFAULT now(), at time, mood mood,
        ok boolean, raw bytea, tags text[], f float8, c char(5), PRIMARY KEY (tenant, id));
    CREATE TABLE items (id uuid PRIMARY KEY, note text);
    CREATE TABLE words (word text PRIMARY KEY, n int);
    CREATE TABLE amounts (amount numeric(10, 2) PRIMARY KEY, day timestamptz);
    CREATE TABLE nothing (id int PRIMARY KEY)";

const FILL: &str = "
    INSERT INTO users SELECT 't' || g % 7, 'u' || g, 'e' || g, g,
        jsonb_build_object('k', g, 'x', 1.50, 'list', '[1, 2.0, null, \"\u{e9}\u{1f600}\"]'::jsonb),
        g * 1.5, '2020-01-01'::date + g, now(), '24:00', 'happy', g % 2 = 0, '\\x00ff27'::bytea,
        ARRAY['a', NULL, 'b\"'], g / 3.0, 'x' FROM generate_series(1, 2000) g;
    INSERT INTO items SELECT gen_random_uuid(), repeat('n', g) FROM generate_series(1, 300) g;
    INSERT INTO words VALUES ('a', 1), ('B', 2), ('\u{e4}', 3), ('Z', 4), ('a b', 5), ('A', 6), ('', 7);
    INSERT INTO amounts VALUES (1.50, now()), (-0.01, NULL), (10, now())";

async fn filled(target: Target, tables: &str) -> World {
    let world = World::start(target, SCHEMA, tables).await;
    world.client().await.batch_execute(FILL).await.unwrap();
    world.drained().await;
    world
}

/// One round: its exit code, and what it says of each table.
fn verify(world: &World, more: &[&str]) -> (Option<i32>, Vec<Value>) {
    lines(&world.config, &[&["verify"], more].concat())
}

async fn dirty(admin: &Client, table: &str) -> Option<String> {
    let sql = "SELECT dirty_reason FROM crossfade.tables WHERE name = $1";
    admin.query_one(sql, &[&table]).await.unwrap().get(0)
}

#[tokio::test]
async fn equal_tables_are_equal_and_every_planted_difference_is_found() {
    for target in Target::all() {
        let world = filled(target, "").await;
        let (code, lines) = verify(&world, &[]);
        assert_eq!(code, Some(0), "{lines:?}");
        for (table, rows) in
            [("users", 2000), ("items", 300), ("words", 7), ("amounts", 3), ("nothing", 0)]
        {
            let line = of(&lines, table);
            assert_eq!((&line["rows"], &line["equal"]), (&json!(rows), &json!(rows)), "{line}");
            assert_eq!(line["dirty"], false, "{line}");
        }

        let mut secondary = world.secondary().await;
        for sql in [
            "DELETE FROM users WHERE id = 'u7'",
            "UPDATE users SET n = n + 1, email = 'other' WHERE id = 'u8'",
            "UPDATE users SET score = score + 0.001 WHERE id = 'u9'",
            "UPDATE users SET raw = NULL WHERE id = 'u10'",
            "INSERT INTO users (tenant, id) VALUES ('t1', 'more'), ('T1', 'u1')",
            "UPDATE items SET note = CONCAT(note, ' ') LIMIT 1",
            "UPDATE words SET word = 'b' WHERE word = 'B'",
            "INSERT INTO nothing VALUES (0)",
        ] {
            secondary.query_drop(sql).await.unwrap();
        }
        let (code, lines) = verify(&world, &[]);
        assert_eq!(code, Some(1), "{lines:?}");
        for (table, missing, extra, different, columns) in [
            ("users", 1, 2, 3, json!({ "email": 1, "n": 1, "raw": 1, "score": 1 })),
            ("items", 0, 0, 1, json!({ "note": 1 })),
            ("words", 1, 1, 0, json!({})),
            ("amounts", 0, 0, 0, json!({})),
            ("nothing", 0, 1, 0, json!({})),
        ] {
            let line = of(&lines, table);
            let counts = [&line["missing"], &line["extra"], &line["different"]];
            assert_eq!(counts, [&json!(missing), &json!(extra), &json!(different)], "{line}");
            assert_eq!(line["columns"], columns, "{line}");
            assert_eq!(line["dirty"], table != "amounts", "{line}");
        }

        // What was found is repaired, exactly that, and a pass says so.
        let (_, listed) = verb(&world.config, &["repair", "--dry-run"]);
        assert!(listed.contains("stuck or different 10"), "{listed}");
        let (_, output) = verb(&world.config, &["repair"]);
        assert!(output.contains("tried again 10"), "{output}\n{}", world.log());
        assert!(output.contains("compared 10   equal 10\n"), "{output}");
        world.drained().await;
        let (code, lines) = verify(&world, &[]);
        assert_eq!(code, Some(0), "{lines:?}");
        assert!(lines.iter().all(|line| line["dirty"] == false), "{lines:?}");
        world.assert_all_equal().await;
        for sql in
            ["DELETE FROM users WHERE id = 'u7'", "UPDATE words SET word = 'b' WHERE word = 'B'"]
        {
            secondary.query_drop(sql).await.unwrap();
        }
        verify(&world, &[]);

        // Keys are shown to whoever asks, and to nobody else.
        let (_, plain) = verb(&world.config, &["verify", "--table", "words"]);
        assert!(!plain.contains("missing B"), "{plain}");
        let (_, shown) = verb(&world.config, &["verify", "--table", "words", "--show-values"]);
        assert!(shown.contains("missing B") && shown.contains("extra b"), "{shown}");
        let (code, lines) = verify(&world, &["--table", "users", "--show-values"]);
        assert_eq!((code, lines.len()), (Some(1), 1));
        let keys = lines[0]["differences"].as_array().unwrap();
        assert!(keys.contains(&json!({ "kind": "missing", "key": "[\"t0\",\"u7\"]" })), "{keys:?}");
        let (code, output) = verb(&world.config, &["verify", "--table", "nowhere"]);
        assert!(code == Some(1) && output.contains("nowhere"), "{output}");
    }
}

#[tokio::test]
async fn the_last_pass_is_recorded_and_shown_with_the_sums_of_all() {
    let world = filled(Target::MariaDb, "").await;
    let proxy = world.proxy.as_ref().unwrap();
    let admin = world.admin().await;
    // As a version left it that had no such table.
    admin.batch_execute("DROP TABLE IF EXISTS crossfade.verified").await.unwrap();
    let words = async || {
        let (_, body) = proxy.get("/migration-status").await.unwrap();
        serde_json::from_str::<Value>(&body).unwrap()["tables"]["words"]["verified"].clone()
    };
    assert_eq!(words().await, Value::Null);
    let (_, status) = verb(&world.config, &["status"]);
    assert!(status.contains("never verified"), "{status}");
    assert_eq!(verify(&world, &[]).0, Some(0));
    let mut secondary = world.secondary().await;
    secondary.query_drop("DELETE FROM words WHERE word IN ('a', 'Z')").await.unwrap();
    secondary.query_drop("UPDATE words SET n = 0 WHERE word = 'B'").await.unwrap();
    assert_eq!(verify(&world, &["--table", "words"]).0, Some(1));
    world.until("the second pass is shown", async || words().await["missing"] == 2).await;
    let shown = words().await;
    let counts = ["rows", "equal", "extra", "different", "unsettled", "clean"].map(|n| &shown[n]);
    assert_eq!(counts, [&json!(7), &json!(4), &json!(0), &json!(1), &json!(0), &json!(false)]);
    assert!(shown["at"].is_string() && shown["seconds"].is_number(), "{shown}");
    let (_, status) = verb(&world.config, &["status"]);
    assert!(status.contains("ago, 3 rows differed"), "{status}");
    for (outcome, rows) in [("match", 11.0), ("missing", 2.0), ("extra", 0.0), ("different", 1.0)] {
        let series = format!("verify_rows_total{{outcome=\"{outcome}\",table=\"words\"}}");
        assert_eq!(proxy.metric(&series).await, rows, "{series}");
    }
    let at: f64 = admin
        .query_one(
            "SELECT extract(epoch FROM at)::bigint::float8 FROM crossfade.verified v \
             JOIN crossfade.tables t ON t.id = v.table_id WHERE t.name = 'words'",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    assert_eq!(proxy.metric("verified_timestamp_seconds{table=\"words\"}").await, at);
}

const COUNTED: &str = "
    CREATE TABLE owners (id int PRIMARY KEY);
    CREATE TABLE things (id serial PRIMARY KEY, owner int REFERENCES owners, code text UNIQUE,
        n int NOT NULL DEFAULT 5, m int DEFAULT 6, CHECK (n > 0));
    CREATE INDEX things_n ON things (n)";

#[tokio::test]
async fn a_schema_that_differs_is_named_and_is_not_clean() {
    for target in Target::all() {
        let world = World::start(target, COUNTED, "").await;
        let client = world.client().await;
        client.batch_execute("INSERT INTO things (code) VALUES ('a'), ('b')").await.unwrap();
        world.drained().await;
        let (code, lines) = verify(&world, &[]);
        assert_eq!((code, &of(&lines, "things")["schema"]), (Some(0), &json!([])), "{lines:?}");
        let admin = world.admin().await;
        let mark = "UPDATE crossfade.tables SET dirty_reason = 'ddl', dirty_since = now() WHERE name = 'things'";
        admin.batch_execute(mark).await.unwrap();
        let mut secondary = world.secondary().await;
        for (sql, back, part) in [
            (
                "ALTER TABLE things MODIFY COLUMN n bigint NOT NULL DEFAULT 5",
                "ALTER TABLE things MODIFY COLUMN n int NOT NULL DEFAULT 5",
                "column n: type or default",
            ),
            (
                "ALTER TABLE things ALTER COLUMN m SET DEFAULT 7",
                "ALTER TABLE things ALTER COLUMN m SET DEFAULT 6",
                "column m: type or default",
            ),
            (
                "DROP INDEX things_n ON things",
                "CREATE INDEX things_n ON things (n) COMMENT 'crossfade'",
                "index things_n",
            ),
            (
                "ALTER TABLE things ADD COLUMN more int",
                "ALTER TABLE things DROP COLUMN more",
                "column more: only on MySQL",
            ),
        ] {
            secondary.query_drop(sql).await.unwrap();
            let (code, lines) = verify(&world, &["--table", "things"]);
            assert_eq!((code, &lines[0]["schema"]), (Some(1), &json!([part])), "{lines:?}");
            assert_eq!(lines[0]["equal"], 2, "{lines:?}");
            assert_eq!(dirty(&admin, "things").await.as_deref(), Some("ddl"));
            secondary.query_drop(back).await.unwrap();
        }
        let (code, lines) = verify(&world, &["--table", "things"]);
        assert_eq!(code, Some(0), "{lines:?}");
        assert_eq!(dirty(&admin, "things").await, None);
        secondary.query_drop("ALTER TABLE things DROP COLUMN m").await.unwrap();
        let (code, text) = verb(&world.config, &["verify", "--table", "things"]);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("things: schema differs: column m: missing"), "{text}");
        assert!(text.contains("things: not compared"), "{text}");
    }
}

#[tokio::test]
async fn mysql_gives_no_id_that_a_row_has_already() {
    for target in Target::all() {
        let world = World::start(target, COUNTED, "").await;
        let client = world.client().await;
        // Dual writes keep the counter above every row, however it came to its id.
        for sql in [
            "INSERT INTO things (code) VALUES ('a'), ('b')",
            "INSERT INTO things (id, code) VALUES (500, 'c')",
            "UPDATE things SET id = 9000 WHERE id = 500",
            "INSERT INTO things (id, code) VALUES (-7, 'd')",
        ] {
            client.batch_execute(sql).await.unwrap();
        }
        world.drained().await;
        let (code, lines) = verify(&world, &[]);
        assert_eq!(code, Some(0), "{lines:?}");
        // Where there is nothing above a row, MySQL would give its id again and fail.
        let sql = "INSERT INTO things (id, code) VALUES (2147483647, 'e')";
        client.batch_execute(sql).await.unwrap();
        world.drained().await;
        let (code, lines) = verify(&world, &["--table", "things"]);
        let said = json!(["AUTO_INCREMENT: not above every id"]);
        assert_eq!((code, &lines[0]["schema"]), (Some(1), &said), "{lines:?}");
        assert_eq!(lines[0]["equal"], lines[0]["rows"], "{lines:?}");
    }
}

#[tokio::test]
async fn a_sidecar_verifies_when_it_is_asked_to() {
    let world = filled(Target::MariaDb, "").await;
    let proxy = world.proxy.as_ref().unwrap();
    let mut secondary = world.secondary().await;
    secondary.query_drop("DELETE FROM words WHERE word = 'a'").await.unwrap();
    // A lock keeps the first pass from coming past the table.
    let holder = world.direct().await;
    holder.batch_execute("BEGIN; LOCK TABLE items").await.unwrap();
    let (status, body) = proxy.request("POST", "/verify").await.unwrap();
    assert_eq!((status, &*body), (200, "{\"started\":true}"));
    let (status, body) = proxy.request("POST", "/verify").await.unwrap();
    assert_eq!(status, 409, "{body}");
    holder.batch_execute("ROLLBACK").await.unwrap();
    let verified = async |table: &str| {
        let (_, body) = proxy.get("/migration-status").await.unwrap();
        serde_json::from_str::<Value>(&body).unwrap()["tables"][table]["verified"].clone()
    };
    world.until("the last table is done", async || verified("words").await["missing"] == 1).await;
    assert_eq!(verified("users").await["clean"], true);
    let admin = world.admin().await;
    assert_eq!(dirty(&admin, "words").await.as_deref(), Some("verify"));
    world
        .until("another may begin", async || {
            proxy.request("POST", "/verify").await.unwrap().0 == 200
        })
        .await;
}

#[tokio::test]
async fn an_entry_counts_however_its_key_is_spelled() {
    const KEYS: &str = "
        CREATE DOMAIN code AS text;
        CREATE TABLE scaled (id numeric(10, 2) PRIMARY KEY);
        CREATE TABLE padded (id char(5) PRIMARY KEY);
        CREATE TABLE zeros (id float8 PRIMARY KEY);
        CREATE TABLE coded (id code PRIMARY KEY)";
    let world = World::start(Target::MariaDb, KEYS, "").await;
    let admin = world.admin().await;
    let mut secondary = world.secondary().await;
    for (table, planted, spelled) in [
        ("scaled", "1.50", "1.5::numeric"),
        ("padded", "'ab'", "'ab '::char(3)"),
        ("zeros", "0", "'-0'::float8"),
        ("coded", "'x'", "'x'::code"),
    ] {
        secondary.query_drop(format!("INSERT INTO {table} VALUES ({planted})")).await.unwrap();
        let (code, lines) = verify(&world, &["--table", table, "--patience", "1"]);
        assert_eq!((code, &lines[0]["extra"]), (Some(1), &json!(1)), "{lines:?}");
        // On its way: nobody tries it before an hour has passed.
        let entry = format!(
            "INSERT INTO crossfade.outbox (table_id, op, key, epoch, counter, next_try) \
             SELECT id, 'D', record_send(ROW({spelled})), 1, 1, now() + interval '1 h' \
             FROM crossfade.tables WHERE name = '{table}'"
        );
        admin.batch_execute(&entry).await.unwrap();
        let (_, lines) = verify(&world, &["--table", table, "--patience", "1"]);
        let counts = [&lines[0]["extra"], &lines[0]["unsettled"]];
        assert_eq!(counts, [&json!(0), &json!(1)], "{lines:?}");
    }
}

#[tokio::test]
async fn a_mark_goes_only_after_a_clean_pass_and_not_under_a_write_that_still_runs() {
    let world = filled(Target::MariaDb, "").await;
    let admin = world.admin().await;
    // COPY is not captured: the table is marked before it runs.
    let client = world.client().await;
    client.batch_execute("COPY words FROM PROGRAM 'true'").await.unwrap_err();
    let mark = "UPDATE crossfade.tables SET dirty_reason = 'copy', dirty_since = now() WHERE name = 'words'";
    admin.batch_execute(mark).await.unwrap();
    // Marked, and its transaction is still open: what it wrote cannot be seen yet.
    let other = world.direct().await;
    other.batch_execute("BEGIN; INSERT INTO words VALUES ('late', 1)").await.unwrap();
    let (code, lines) = verify(&world, &["--table", "words", "--patience", "1"]);
    assert_eq!((code, &lines[0]["dirty"]), (Some(0), &json!(true)), "{lines:?}");
    assert_eq!(dirty(&admin, "words").await.as_deref(), Some("copy"));
    other.batch_execute("COMMIT").await.unwrap();
    let (code, lines) = verify(&world, &["--table", "words"]);
    assert_eq!((code, &lines[0]["missing"]), (Some(1), &json!(1)), "{lines:?}");
    world.direct().await.batch_execute("DELETE FROM words WHERE word = 'late'").await.unwrap();
    let (code, lines) = verify(&world, &["--table", "words"]);
    assert_eq!((code, &lines[0]["dirty"]), (Some(0), &json!(false)), "{lines:?}");
    assert_eq!(dirty(&admin, "words").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_is_on_its_way_is_called_a_difference() {
    for target in Target::all() {
        let (schema, tables) = (crate::random::schema(), crate::random::POLICIES);
        let world = World::start(target, &schema, tables).await;
        let end = Instant::now() + LOAD;
        let mut clients = Vec::new();
        for number in 0..6 {
            let client = world.client().await;
            let random = StdRng::seed_from_u64(number);
            clients.push(tokio::spawn(crate::random::work(client, random, end)));
        }
        let mut rounds = 0;
        while Instant::now() < end {
            let config = world.config.clone();
            let round = tokio::task::spawn_blocking(move || lines(&config, &["verify"]));
            for line in round.await.unwrap().1 {
                for what in ["missing", "extra", "different", "unjudged"] {
                    assert_eq!(line[what], 0, "{world:?}: {line}\n{}", world.log());
                }
            }
            rounds += 1;
        }
        for client in clients {
            client.await.unwrap();
        }
        assert!(rounds > 0);
        world.drained().await;
        let (code, lines) = verify(&world, &[]);
        assert_eq!(code, Some(0), "{lines:?}");
    }
}

#[tokio::test]
async fn a_few_differences_are_found_without_reading_the_table_twice_and_very_many_as_well() {
    for target in Target::all() {
        let world = filled(target, "").await;
        let admin = world.admin().await;
        admin.batch_execute("VACUUM ANALYZE users").await.unwrap();
        let reads = async || -> i64 {
            let sql = "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'users'";
            admin.query_one(sql, &[]).await.unwrap().get(0)
        };
        let before = reads().await;
        assert_eq!(verify(&world, &["--table", "users"]).0, Some(0));
        world.until("the clean pass is counted", async || before < reads().await).await;
        let (clean, before) = (reads().await - before, reads().await);
        let mut secondary = world.secondary().await;
        for sql in [
            "DELETE FROM users WHERE id IN ('u7', 'u70')",
            "UPDATE users SET n = n + 1 WHERE id IN ('u8', 'u80', 'u800')",
            "INSERT INTO users (tenant, id) VALUES ('t1', 'more')",
        ] {
            secondary.query_drop(sql).await.unwrap();
        }
        let (_, lines) = verify(&world, &["--table", "users"]);
        let counts = ["missing", "different", "extra"].map(|what| &lines[0][what]);
        assert_eq!(counts, [&json!(2), &json!(3), &json!(1)], "{lines:?}");
        world.until("the pass is counted", async || before < reads().await).await;
        assert_eq!(reads().await - before, clean, "the table is read once");

        // More than the sums tell apart, with keys whose form differs between the two databases.
        let fill = "INSERT INTO amounts SELECT g / 4.0, now() FROM generate_series(100, 9100) g";
        world.client().await.batch_execute(fill).await.unwrap();
        world.drained().await;
        secondary.query_drop("DELETE FROM amounts WHERE amount < 2000").await.unwrap();
        let (_, lines) = verify(&world, &["--table", "amounts", "--table", "words"]);
        let line = of(&lines, "amounts");
        assert_eq!((&line["missing"], &line["complete"]), (&json!(7903), &json!(true)), "{line}");
    }
}

#[tokio::test]
async fn a_rate_is_kept_whether_it_is_asked_for_or_stands_in_proxy_yaml() {
    let world = filled(Target::MariaDb, "").await;
    // 2,000 rows at 1,000 a second take two, less a hundredth; without a rate nothing says how long.
    let seconds = |lines: &[Value]| of(lines, "users")["seconds"].as_f64().unwrap();
    let (code, lines) = verify(&world, &["--table", "users", "--max-rate", "1000"]);
    assert!(code == Some(0) && 1.9 < seconds(&lines), "{lines:?}");
    // Who waits for it hears that it goes on.
    let arguments = ["verify", "--format", "json", "--table", "users", "--max-rate", "1000"];
    let (_, text) = verb(&world.config, &arguments);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (last, before) = lines.split_last().unwrap();
    assert!(!before.is_empty() && last["state"] == "compared", "{text}");
    for line in before {
        let read = ["postgres", "mysql"].map(|side| line["read"][side].as_u64().unwrap());
        assert!(line["state"] == "comparing" && read.iter().all(|rows| 0 < *rows), "{text}");
    }
    world.edit(|text| text + "verify: { max_rate: 800, patience: 2s }\n");
    let (code, lines) = verify(&world, &["--table", "users"]);
    assert!(code == Some(0) && 2.4 < seconds(&lines), "{lines:?}");
    let (code, text) = verb(&world.config, &["verify", "--max-rate", "0"]);
    assert_eq!(code, Some(2), "{text}");

    // A sidecar takes it from there as well, once it has read it.
    let mut world = world;
    world.crash().await;
    let proxy = world.proxy.as_ref().unwrap();
    let admin = world.admin().await;
    admin.batch_execute("DELETE FROM crossfade.verified").await.unwrap();
    let (status, body) = proxy.request("POST", "/verify").await.unwrap();
    assert_eq!(status, 200, "{body}");
    let verified = async || {
        let (_, body) = proxy.get("/migration-status").await.unwrap();
        serde_json::from_str::<Value>(&body).unwrap()["tables"]["users"]["verified"].clone()
    };
    world.until("users is done", async || verified().await["clean"] == true).await;
    assert!(2.4 < verified().await["seconds"].as_f64().unwrap(), "{}", verified().await);
}

const HASHED: &str = "
    CREATE TYPE hue AS ENUM ('red', 'green');
    CREATE DOMAIN small AS int;
    CREATE TABLE hashed (id bigint, firm varchar(20), ok boolean, s smallint, i int, d small,
        score numeric(12, 3), free numeric, name text, c char(5), hue hue, u uuid, raw bytea, day date,
        at timestamp, made timestamptz, t time, j json, PRIMARY KEY (firm, id));
    CREATE TABLE floats (id int PRIMARY KEY, f float8);
    CREATE TABLE keyed (u uuid, day timestamptz, raw bytea, PRIMARY KEY (u, day, raw))";
const HASHED_ROWS: &str = "
    INSERT INTO hashed SELECT g, 'f' || g % 3, g % 2 = 0, g, -g, g, g / 8.0, g / 7.0, 'n\u{e9}\u{1f600}' || g, 'x',
        'green', md5(g::text)::uuid, decode(md5(g::text), 'hex'), '2020-01-01'::date + g,
        '2020-01-01'::timestamp + g * interval '1.000001 s', '2020-01-01Z'::timestamptz + g * interval '1 h',
        time '00:00' + g * interval '1 s', json_build_object('k', g) FROM generate_series(1, 2000) g;
    INSERT INTO hashed (id, firm) VALUES (0, '');
    INSERT INTO hashed VALUES (-9223372036854775808, 'N', true, -32768, 2147483647, 0, -0.001, 1.10, '', '',
        'red', '00000000-0000-0000-0000-000000000000', '', '0001-01-01', '0001-01-01', '9999-12-31 23:59:59.999999Z',
        '24:00', ' { \"a\" : 1.0 } ');
    INSERT INTO floats SELECT g, g / 3.0 FROM generate_series(1, 50) g;
    INSERT INTO keyed SELECT md5(g::text)::uuid, '2020-01-01Z'::timestamptz + g * interval '1 d',
        decode(md5(g::text), 'hex') FROM generate_series(1, 300) g";

#[tokio::test]
async fn hashes_made_by_the_servers_find_every_planted_difference_and_need_no_row_otherwise() {
    for target in Target::all() {
        let world = World::bare(target, "").await;
        // Neither the session's nor the database's own form of a date plays a part.
        let owner = world.direct().await;
        let style = format!("ALTER DATABASE \"{}\" SET datestyle = 'SQL, DMY'", world.database);
        owner.batch_execute(&style).await.unwrap();
        let zone = format!("ALTER DATABASE \"{}\" SET timezone = 'Asia/Kathmandu'", world.database);
        owner.batch_execute(&zone).await.unwrap();
        owner.batch_execute(HASHED).await.unwrap();
        world.choose("{ jsonb: text, numeric: text }");
        world.setup();
        let mut world = world;
        world.run().await;
        world.client().await.batch_execute(HASHED_ROWS).await.unwrap();
        world.drained().await;
        world.admin().await.batch_execute("ANALYZE").await.unwrap();
        let hashed = || verify(&world, &["--checksum", "--patience", "5"]);
        let (code, lines) = hashed();
        assert_eq!(code, Some(0), "{lines:?}");
        for (table, rows) in [("hashed", 2002), ("keyed", 300), ("floats", 50)] {
            let line = of(&lines, table);
            let counts = [&line["rows"], &line["equal"], &line["looked"]];
            assert_eq!(counts, [&json!(rows), &json!(rows), &json!(0)], "{line}");
            let whole = line["readWhole"].as_str().unwrap_or_default();
            assert_eq!(whole.ends_with(" for f"), table == "floats", "{line}");
        }

        let mut secondary = world.secondary().await;
        for (change, column) in [
            ("ok = NOT ok", "ok"),
            ("s = s + 1", "s"),
            ("i = i + 1", "i"),
            ("d = NULL", "d"),
            ("score = score + 0.001", "score"),
            ("free = CONCAT(free, '0')", "free"),
            ("name = CONCAT(name, ' ')", "name"),
            ("c = 'X'", "c"),
            ("hue = 'red'", "hue"),
            ("u = UPPER(u)", "u"),
            ("raw = CONCAT(raw, x'00')", "raw"),
            ("day = day + INTERVAL 1 DAY", "day"),
            ("at = at + INTERVAL 1 MICROSECOND", "at"),
            ("made = made + INTERVAL 1 MICROSECOND", "made"),
            ("t = '24:00'", "t"),
            ("j = CONCAT(j, ' ')", "j"),
        ] {
            let sql = format!("UPDATE hashed SET {change} WHERE firm = 'f1' AND id = 1000");
            secondary.query_drop(&sql).await.unwrap();
            let (code, lines) = verify(&world, &["--checksum", "--table", "hashed"]);
            let line = of(&lines, "hashed");
            assert_eq!((code, &line["columns"]), (Some(1), &json!({ column: 1 })), "{line}");
            assert_eq!((&line["different"], &line["looked"]), (&json!(1), &json!(1)), "{line}");
            verb(&world.config, &["repair"]);
        }
        for sql in [
            "DELETE FROM hashed WHERE id = 77",
            "INSERT INTO hashed (id, firm) VALUES (5000, 'f1'), (1, 'F1')",
            "UPDATE hashed SET name = 'N' WHERE id = 0",
            "UPDATE floats SET f = f + 1e-9 WHERE id = 7",
            "DELETE FROM keyed LIMIT 2",
        ] {
            secondary.query_drop(sql).await.unwrap();
        }
        let (code, lines) = hashed();
        assert_eq!(code, Some(1), "{lines:?}");
        for (table, missing, extra, different) in
            [("hashed", 1, 2, 1), ("floats", 0, 0, 1), ("keyed", 2, 0, 0)]
        {
            let line = of(&lines, table);
            let counts = [&line["missing"], &line["extra"], &line["different"]];
            assert_eq!(counts, [&json!(missing), &json!(extra), &json!(different)], "{line}");
        }

        // A column of another type has texts that say nothing.
        secondary
            .query_drop("ALTER TABLE keyed MODIFY COLUMN raw varbinary(2000) NOT NULL")
            .await
            .unwrap();
        let (_, lines) = hashed();
        assert_eq!(of(&lines, "keyed")["readWhole"], "the schema differs");
        let (code, text) = verb(&world.config, &["verify", "--checksum", "--max-rate", "5"]);
        assert_eq!(code, Some(2), "{text}");
        world.edit(|text| text + "verify: { max_rate: 100 }\n");
        let (code, text) = verb(&world.config, &["verify", "--checksum"]);
        assert!(code == Some(2) && text.contains("verify.max_rate"), "{text}");
    }
}

#[tokio::test]
async fn a_value_that_mysql_cannot_hash_is_not_taken_for_null() {
    let world = World::with_settings(Target::MariaDb, &[], &[]).await;
    let mut world = world;
    world
        .direct()
        .await
        .batch_execute("CREATE TABLE notes (id int PRIMARY KEY, note text)")
        .await
        .unwrap();
    world.setup();
    world.run().await;
    world
        .client()
        .await
        .batch_execute("INSERT INTO notes VALUES (1, NULL), (2, 'b')")
        .await
        .unwrap();
    world.drained().await;
    let hashed = || verify(&world, &["--checksum", "--table", "notes"]);
    assert_eq!(hashed().0, Some(0));
    let mut secondary = world.secondary().await;
    secondary.query_drop("UPDATE notes SET note = REPEAT('x', 900000) WHERE id = 1").await.unwrap();
    secondary.query_drop("SET GLOBAL max_allowed_packet = 131072").await.unwrap();
    // The server cannot even send it: whatever is said of the row, it is not that it is equal.
    let arguments = ["verify", "--checksum", "--table", "notes", "--patience", "2"];
    let (code, text) = verb(&world.config, &arguments);
    assert!(matches!(code, Some(1 | 3)) && !text.contains("2 equal"), "{text}");
    secondary.query_drop("SET GLOBAL max_allowed_packet = 16777216").await.unwrap();
    let (code, lines) = hashed();
    assert_eq!((code, &of(&lines, "notes")["different"]), (Some(1), &json!(1)), "{lines:?}");
}

/// A verb with its lines of JSON.
fn heard(world: &World, arguments: &[&str]) -> (Running, Arc<Mutex<Vec<Value>>>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let ear = Arc::clone(&lines);
    let arguments = [&["verify", "--format", "json"], arguments].concat();
    let running = Running::start(&world.config, &arguments, move |line| {
        let line: Value = serde_json::from_str(line).unwrap();
        if line["state"] != "comparing" {
            ear.lock().unwrap().push(line);
        }
    });
    (running, lines)
}

#[tokio::test]
async fn a_watch_outlives_a_lost_database_and_follows_it_to_where_proxy_yaml_says_it_is() {
    let world = filled(Target::MariaDb, "").await;
    let relay = Relay::start(world.postgres_port());
    world.through(&relay);
    let (mut running, heard) = heard(&world, &["--watch"]);
    let count =
        |what: &str| heard.lock().unwrap().iter().filter(|line| line.get(what).is_some()).count();
    world.until("a table is compared", async || 0 < count("table")).await;
    let (old, new) = (relay.port.to_string(), world.postgres_port().to_string());
    world.edit(|text| text.replacen(&format!(":{old}/"), &format!(":{new}/"), 1));
    relay.point(1);
    relay.cut();
    world.until("it says what it waits for", async || 0 < count("waitsFor")).await;
    let before = count("table");
    world.until("it goes round again", async || before + 6 < count("table")).await;
    assert_eq!(running.ended(), None);
    running.kill9();
    let lines = heard.lock().unwrap();
    let tables: Vec<&Value> = lines.iter().filter(|line| line.get("table").is_some()).collect();
    assert!(tables.iter().all(|line| line["equal"] == line["rows"]), "{lines:?}");
}

#[tokio::test]
async fn a_lost_connection_takes_nothing_from_rows_that_are_waited_for() {
    let world = filled(Target::MariaDb, "").await;
    let (admin, mut secondary) = (world.admin().await, world.secondary().await);
    secondary.query_drop("DELETE FROM words WHERE word = 'a'").await.unwrap();
    // On its way: nobody tries it before an hour has passed.
    let entry = "INSERT INTO crossfade.outbox (table_id, op, key, epoch, counter, next_try) \
         SELECT id, 'U', record_send(ROW('a'::text)), 1, 1, now() + interval '1 h' \
         FROM crossfade.tables WHERE name = 'words'";
    admin.batch_execute(entry).await.unwrap();
    let (mut running, heard) = heard(&world, &["--table", "words", "--patience", "90"]);
    const ENDED: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND query LIKE 'SELECT DISTINCT key FROM crossfade.outbox%'";
    for _ in 0..2 {
        world
            .until("it waits for the row, and loses its connection", async || {
                !admin.query(ENDED, &[]).await.unwrap().is_empty()
            })
            .await;
    }
    admin.batch_execute("DELETE FROM crossfade.outbox").await.unwrap();
    let mut code = None;
    world
        .until("it ends", async || {
            code = running.ended();
            code.is_some()
        })
        .await;
    let lines = heard.lock().unwrap();
    assert_eq!((code, lines.len()), (Some(Some(1)), 1), "{lines:?}");
    assert_eq!((&lines[0]["missing"], &lines[0]["unsettled"]), (&json!(1), &json!(0)), "{lines:?}");
}
