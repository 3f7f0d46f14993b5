//! What cannot be applied: it stops nobody, it is shown with its reason, and `repair` tries it again.

use mysql_async::prelude::Queryable as _;

use crate::support::process::verb;
use crate::support::{Target, World};

const SCHEMA: &str = "
    CREATE TABLE users (id int PRIMARY KEY, email text, age int);
    CREATE TABLE grants (firm varchar(20), role text, at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (firm, role));
";
const SECRET: &str = "do-not-show";

/// MySQL refuses one user and one grant, and takes all others.
async fn poisoned(target: Target) -> World {
    let world = World::start(target, SCHEMA, "'*': { mode: blocking, timeout: 5s }").await;
    let mut mysql = world.secondary().await;
    mysql.query_drop("ALTER TABLE users ADD CONSTRAINT old CHECK (age < 100)").await.unwrap();
    mysql.query_drop("ALTER TABLE grants ADD CONSTRAINT r CHECK (role <> 'a,b')").await.unwrap();
    let client = world.client().await;
    let user = format!("INSERT INTO users VALUES (7, '{SECRET}', 200), (8, 'b', 8)");
    client.batch_execute(&user).await.unwrap();
    client.batch_execute("INSERT INTO grants VALUES ('x', 'a,b'), ('x', 'c')").await.unwrap();
    let proxy = world.proxy.as_ref().unwrap();
    world
        .until("stuck", async || proxy.metric("outbox_entries{state=\"stuck\"}").await == 2.0)
        .await;
    world
}

async fn healed(world: &World) {
    let mut mysql = world.secondary().await;
    let drop = match world.target {
        Target::MariaDb => "DROP CONSTRAINT",
        Target::MySql => "DROP CHECK",
    };
    mysql.query_drop(format!("ALTER TABLE users {drop} old")).await.unwrap();
    mysql.query_drop(format!("ALTER TABLE grants {drop} r")).await.unwrap();
}

/// Entries wait a minute from here on, unless someone asks.
async fn put_off(world: &World) {
    let later = "UPDATE crossfade.outbox SET next_try = now() + interval '1 hour', attempts = 7";
    world.admin().await.batch_execute(later).await.unwrap();
}

#[track_caller]
fn repair(world: &World, arguments: &[&str]) -> (Option<i32>, String) {
    let (code, output) = verb(&world.config, &[&["repair"], arguments].concat());
    assert!(!output.contains(SECRET), "{output}");
    (code, output)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_entry_alone_is_tried_again_by_its_number() {
    let world = poisoned(Target::MariaDb).await;
    healed(&world).await;
    put_off(&world).await;
    let (_, listed) = repair(&world, &["--dry-run", "--format", "json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let of_users = listed["stuck"].as_array().unwrap().iter().find(|line| line["table"] == "users");
    let entry = of_users.unwrap()["entry"].to_string();
    let (code, output) = repair(&world, &["--entry", &entry]);
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("tried again 1   carried 1   failed 0   waiting 0"), "{output}");
    let (code, output) = repair(&world, &["--dry-run"]);
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("grants") && !output.contains("users"), "{output}");
    let (code, output) = repair(&world, &["--entry", &entry]);
    assert_eq!((code, output.contains("nothing is stuck")), (Some(0), true), "{output}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_stops_nobody_is_shown_and_goes_once_it_may() {
    for target in Target::all() {
        let world = poisoned(target).await;
        // The others of the same statement, and all that comes later, are there.
        let client = world.client().await;
        client.batch_execute("INSERT INTO users VALUES (9, 'c', 9)").await.unwrap();
        let mut mysql = world.secondary().await;
        let ids: Vec<i32> = mysql.query("SELECT id FROM users ORDER BY id").await.unwrap();
        assert_eq!(ids, [8, 9]);
        let (code, status) = verb(&world.config, &["status"]);
        assert_eq!(code, Some(1), "{status}");
        let refused = if target == Target::MariaDb { "4025" } else { "3819" };
        assert!(status.contains(refused), "{status}");
        // Each failure puts the next one further off.
        let pauses = "SELECT bool_and(attempts >= 3 AND next_try > at + interval '3 s') FROM crossfade.outbox";
        let admin = world.admin().await;
        world
            .until("the pauses grow", async || {
                admin.query_one(pauses, &[]).await.unwrap().get::<_, bool>(0)
            })
            .await;

        put_off(&world).await;
        let (code, listed) = repair(&world, &["--dry-run"]);
        assert_eq!(code, Some(1), "{listed}");
        assert!(listed.contains("users  key 7  insert  attempts 7"), "{listed}");
        assert!(listed.contains("grants  key [\"x\",\"a,b\"]  insert  attempts 7"), "{listed}");
        assert!(listed.contains(refused), "{listed}");
        let (code, one) = repair(&world, &["--table", "users", "--dry-run", "--format", "json"]);
        let one: serde_json::Value = serde_json::from_str(&one).unwrap();
        assert_eq!((code, &one["stuck"][0]["key"]), (Some(1), &serde_json::json!("7")), "{one}");

        // Nothing has changed: it fails at once, an attempt later.
        let (code, again) = repair(&world, &["--table", "users", "--key", "7"]);
        assert_eq!(code, Some(1), "{again}");
        assert!(again.contains("attempts 8") && again.contains("failed 1"), "{again}");

        healed(&world).await;
        put_off(&world).await;
        let (code, text) = repair(&world, &["--table", "users", "--key", "7"]);
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("carried 1"), "{text}");
        world.assert_equal("users").await;
        let (code, text) = repair(&world, &["--table", "grants", "--key", "[\"x\", \"a,b\"]"]);
        assert_eq!(code, Some(0), "{text}");
        world.assert_equal("grants").await;
        let (code, text) = repair(&world, &[]);
        assert_eq!((code, text.as_str()), (Some(0), "nothing is stuck\n"));

        // A row without an entry is read again too: here, one that someone spoiled on the secondary.
        mysql.query_drop("UPDATE users SET email = 'spoiled' WHERE id = 9").await.unwrap();
        let (code, text) = repair(&world, &["--table", "users", "--key", "9"]);
        assert_eq!(code, Some(0), "{text}");
        world.assert_equal("users").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_is_stuck_is_tried_by_table_or_at_once_and_over_http() {
    let world = poisoned(Target::MariaDb).await;
    put_off(&world).await;
    healed(&world).await;
    let (code, text) = repair(&world, &["--table", "grants"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("tried again 1   carried 1   failed 0   waiting 0"), "{text}");
    // It says what it is not.
    assert!(text.contains("does not look for others that differ"), "{text}");
    world.assert_equal("grants").await;
    let address = ([127, 0, 0, 1], world.proxy.as_ref().unwrap().admin_port).into();
    let post = async |body: &str| {
        crossfade::admin::client::post(address, "/repair", None, body.to_owned()).await.unwrap()
    };
    let listed = post("{\"dryRun\": true}").await;
    assert_eq!(listed.status, 200, "{}", listed.body);
    assert!(listed.body.contains("\"key\":\"7\""), "{}", listed.body);
    let done = post("").await;
    let done: serde_json::Value = serde_json::from_str(&done.body).unwrap();
    assert_eq!((&done["found"], &done["carried"]), (&1.into(), &1.into()), "{done}");
    world.assert_all_equal().await;
    assert_eq!(post("{\"table\": \"nobody\"}").await.status, 404);
    assert_eq!(post("{\"tabel\": \"users\"}").await.status, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_table_or_key_is_named_and_nothing_is_tried() {
    let world = World::start(Target::MariaDb, SCHEMA, "").await;
    let long = "x".repeat(21);
    for (arguments, words) in [
        (&["--table", "nobody"][..], "\"nobody\""),
        (&["--table", "users", "--key", SECRET], "(id integer): 22P02"),
        (&["--table", "grants", "--key", "x"], "a JSON array of firm, role"),
        (&["--table", "grants", "--key", &format!("[\"{long}\", \"a\"]")], "22001"),
        (&["--key", "7"], "--table"),
    ] {
        let (code, output) = repair(&world, arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {output}");
        assert!(output.contains(words), "{arguments:?}: {output}");
    }
    // No sidecar, nobody to do the work; a row that is nowhere is no error.
    let (code, output) = repair(&world, &["--table", "users", "--key", "-5"]);
    assert_eq!(code, Some(0), "{output}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_repaired_is_compared_and_what_differs_still_is_said_and_kept() {
    for target in Target::all() {
        let world = World::start(target, SCHEMA, "").await;
        let fill = "INSERT INTO users SELECT g, 'e' || g, 1 FROM generate_series(1, 2500) g";
        world.client().await.batch_execute(fill).await.unwrap();
        world.drained().await;
        let mut mysql = world.secondary().await;
        // All but one stay as they are written.
        for event in ["INSERT", "UPDATE"] {
            let spoil = format!(
                "CREATE TRIGGER spoil_{event} BEFORE {event} ON users FOR EACH ROW \
                 SET NEW.age = IF(NEW.id = 7, 99, NEW.age)"
            );
            mysql.query_drop(spoil).await.unwrap();
        }
        mysql.query_drop("DELETE FROM users").await.unwrap();
        let (code, found) = verb(&world.config, &["verify", "--table", "users"]);
        assert!(code == Some(1) && found.contains("2500 missing"), "{found}");

        // More than a page of them.
        let (code, text) = repair(&world, &["--format", "json"]);
        let said: serde_json::Value = serde_json::from_str(&text).unwrap();
        let counts = ["found", "carried", "waiting"].map(|what| said[what].as_u64().unwrap());
        assert_eq!((code, counts), (Some(1), [2500, 2500, 0]), "{text}");
        let expected = serde_json::json!({ "rows": 2500, "equal": 2499, "missing": 0, "extra": 0,
            "different": 1, "unsettled": 0 });
        assert_eq!(said["compared"], expected, "{text}");

        // It is dirty again, and only it.
        let (code, listed) = repair(&world, &["--dry-run"]);
        assert_eq!((code, listed.as_str()), (Some(1), "stuck or different 1\n"));
        let (code, text) = repair(&world, &[]);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("compared 1   equal 0   different 1\n"), "{text}");
        mysql.query_drop("DROP TRIGGER spoil_INSERT").await.unwrap();
        mysql.query_drop("DROP TRIGGER spoil_UPDATE").await.unwrap();
        let (code, text) = repair(&world, &[]);
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("compared 1   equal 1\n"), "{text}");
        assert_eq!(repair(&world, &[]), (Some(0), "nothing is stuck\n".to_owned()));
        world.assert_equal("users").await;
    }
}
