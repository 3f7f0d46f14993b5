//! PostgreSQL is left for good: what becomes of clients, sidecars and verbs, and what stands in the way.

use std::time::{Duration, Instant};

use crossfade::admin::client::{get, post};
use mysql_async::prelude::Queryable as _;
use serde_json::{Value, json};

use crate::moved::{SCHEMA, Site, emails, logins};
use crate::support::process::{self, free_port};
use crate::support::relay::Relay;
use crate::support::{Target, World};

/// Longer than a lease.
const ALONE: Duration = Duration::from_secs(7);

/// With PostgreSQL behind a relay, so that it can be taken away.
async fn behind_relay(target: Target) -> (Site, Relay) {
    let mut world = World::granted(target, SCHEMA, "").await;
    let relay = Relay::start(world.postgres_port());
    world.through(&relay);
    world.setup();
    world.run().await;
    (Site::over(world).await, relay)
}

/// A verb beside the sidecar, which needs this thread.
async fn verb(site: &Site, arguments: &'static [&'static str]) -> (Option<i32>, String) {
    let config = site.world.config.clone();
    tokio::task::spawn_blocking(move || process::verb(&config, arguments)).await.unwrap()
}

async fn done(site: &Site, arguments: &'static [&'static str]) -> String {
    let (code, said) = verb(site, arguments).await;
    assert_eq!(code, Some(0), "{:?}: {arguments:?}\n{said}\n{}", site.world, site.world.log());
    said
}

async fn tables_of_ours(site: &Site) -> Vec<String> {
    let list = "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() \
                AND TABLE_NAME LIKE 'crossfade%' ORDER BY 1";
    site.world.secondary().await.query(list).await.unwrap()
}

async fn status(site: &Site) -> Value {
    let (_, body) = site.world.proxy.as_ref().unwrap().get("/migration-status").await.unwrap();
    serde_json::from_str(&body).unwrap()
}

async fn until_complete(site: &Site) {
    site.world.until("the sidecar knows", async || status(site).await["phase"] == "complete").await;
}

/// What MySQL needs to answer, and no more.
const KEPT: [&str; 3] = ["crossfade_catalog", "crossfade_state", "crossfade_verifiers"];

/// Clients notice nothing, and PostgreSQL may go: for those that are there, for new ones, and for a sidecar
/// that starts without it.
#[tokio::test]
async fn mysql_answers_alone_from_then_on() {
    for target in Target::all() {
        let (mut site, relay) = behind_relay(target).await;
        let zone = site.world.client().await.query_one("SHOW TimeZone", &[]).await.unwrap();
        let zone: String = zone.get(0);
        site.switch().await;
        let client = site.world.client().await;
        let insert = client.prepare("INSERT INTO users (email) VALUES ($1)").await.unwrap();
        client.execute(&insert, &[&"followed"]).await.unwrap();
        site.drained_back().await;
        let said = done(&site, &["complete", "--yes"]).await;
        assert!(said.contains("MySQL answers alone, epoch 2"), "{said}");
        assert_eq!(tables_of_ours(&site).await, KEPT);
        until_complete(&site).await;
        client.execute(&insert, &[&"alone"]).await.unwrap();
        assert_eq!(emails(&client).await, ["old", "followed", "alone"]);
        assert_eq!(emails(&site.world.direct().await).await, ["old", "followed"]);

        let ours = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                    AND application_name LIKE 'crossfade%'";
        let ours = async || site.admin.query_one(ours, &[]).await.unwrap().get::<_, i64>(0);
        site.world.until("no connection is left on PostgreSQL", async || ours().await == 0).await;
        relay.point(free_port());
        relay.cut();
        let start = Instant::now();
        while start.elapsed() < ALONE {
            client.execute("UPDATE users SET note = 'on' WHERE id = 1", &[]).await.unwrap();
        }
        let seen = status(&site).await;
        assert_eq!((&seen["status"], &seen["phase"]), (&json!("healthy"), &json!("complete")));
        let proxy = site.world.proxy.as_ref().unwrap();
        let (code, ready) = proxy.get("/health/readiness").await.unwrap();
        assert_eq!(code, 200, "{ready}");
        assert!(ready.contains("left for good"), "{ready}");
        assert_eq!(proxy.metric("phase{phase=\"complete\"}").await, 1.0);

        site.world.crash().await;
        let late = site.world.client().await;
        assert_eq!(emails(&late).await, ["old", "followed", "alone"]);
        let shown = late.query_one("SHOW TimeZone", &[]).await.unwrap();
        assert_eq!(shown.get::<_, String>(0), zone, "it is kept with the catalogue");
        late.execute("DELETE FROM users WHERE email = 'alone'", &[]).await.unwrap();
    }
}

/// Before it is MySQL's turn there is nothing to complete; after it there is no way back.
#[tokio::test]
async fn the_verbs_say_where_they_stand() {
    let mut site = Site::start(Target::all().remove(0)).await;
    let (code, said) = verb(&site, &["complete", "--yes"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("run `crossfade switchover` first"), "{said}");
    site.switch().await;
    let (code, said) = verb(&site, &["complete"]).await;
    assert_eq!((code, said.contains("say --yes")), (Some(2), true), "{said}");
    let said = done(&site, &["complete", "--dry-run", "--format", "json"]).await;
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said["outcome"], &said["epoch"]), (&json!("ready"), &json!(2)));
    let would: Vec<&str> =
        said["would"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for line in tables_of_ours(&site).await.iter().map(|table| match KEPT.contains(&&**table) {
        true => format!("leave {table} on MySQL, which it answers by"),
        false => format!("drop {table} on MySQL"),
    }) {
        assert!(would.contains(&&*line), "{line}: {would:#?}");
    }
    assert!(would.iter().any(|line| line.starts_with("leave the schema crossfade with ")));
    let trigger = "leave the triggers on public.users: ";
    assert!(would.iter().any(|line| line.starts_with(trigger)), "{would:#?}");
    let said = done(&site, &["complete", "--dry-run"]).await;
    assert!(said.contains("It would:\n  drop crossfade_"), "{said}");
    assert_eq!(status(&site).await["phase"], "switched", "a dry run changes nothing");

    done(&site, &["complete", "--yes"]).await;
    until_complete(&site).await;
    let log = site.world.proxy.as_ref().unwrap().log();
    let alarms: Vec<&str> = log.lines().filter(|line| line.contains("WARN")).collect();
    assert!(alarms.is_empty(), "{alarms:#?}");
    let said = done(&site, &["complete", "--yes"]).await;
    assert!(said.contains("MySQL answers alone"), "again is no error: {said}");
    for change in [&["rollback"], &["switchover"]] {
        let (code, said) = verb(&site, change).await;
        assert_eq!((code, said.contains("there is no way back")), (Some(1), true), "{said}");
    }
    let (code, said) = verb(&site, &["setup"]).await;
    assert_eq!((code, said.contains("left for good")), (Some(1), true), "{said}");
    site.world.proxy.take().unwrap().stop();
    let said = done(&site, &["status"]).await;
    assert!(said.contains("phase complete   primary mysql   epoch 2"), "{said}");
    let line = said.lines().find(|line| line.starts_with("users ")).unwrap();
    assert!(line.ends_with("MySQL alone") && !line.contains("trigger"), "{said}");
}

/// What is against it is said at once; what only PostgreSQL would miss can be overridden.
#[tokio::test]
async fn what_postgresql_would_miss_stands_in_the_way() {
    let (mut site, relay) = behind_relay(Target::all().remove(0)).await;
    site.switch().await;
    let bad = "UPDATE crossfade.tables SET dirty_reason = 'copy', dirty_since = now() WHERE name = 'users';
        INSERT INTO crossfade.sidecars (id, address, epoch, version, lease_ms, lease_until)
            VALUES ('old', 'there', 1, '0.0.0', 700, now() + interval '1 hour');
        INSERT INTO crossfade.attempts (direction, epoch, state, terminate, deadline)
            VALUES ('rollback', 2, 'announced', false, now() + interval '1 hour')";
    site.admin.batch_execute(bad).await.unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let always = [
        "attempt 2 is under way".to_owned(),
        format!("sidecar old at there is of version 0.0.0, this is {version}"),
    ];
    let reasons = async |site: &Site, force: bool| {
        let arguments: &[&str] = match force {
            true => &["complete", "--yes", "--force", "--format", "json"],
            false => &["complete", "--yes", "--format", "json"],
        };
        let (code, said) = verb(site, arguments).await;
        assert_eq!(code, Some(1), "{said}");
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said["outcome"], "refused", "{said}");
        serde_json::from_value::<Vec<String>>(said["reasons"].clone()).unwrap()
    };
    let dirty = "table public.users (copy) is dirty".to_owned();
    assert_eq!(reasons(&site, false).await, [&always[..], &[dirty]].concat());
    assert_eq!(reasons(&site, true).await, always);
    let good = "UPDATE crossfade.attempts SET state = 'undone'; \
                DELETE FROM crossfade.sidecars WHERE id = 'old'";
    site.admin.batch_execute(good).await.unwrap();
    relay.point(free_port());
    relay.cut();
    let found = reasons(&site, false).await;
    assert!(found.len() == 1 && found[0].contains("could not reach PostgreSQL"), "{found:?}");
    done(&site, &["complete", "--yes", "--force"]).await;
    until_complete(&site).await;
    let (code, said) = verb(&site, &["rollback"]).await;
    assert_eq!((code, said.contains("there is no way back")), (Some(1), true), "{said}");
}

/// What a transaction has begun to note it goes on to note; what it notes in is dropped after it. One that
/// begins later notes nothing, whatever its sidecar knows.
#[tokio::test]
async fn an_open_transaction_is_not_disturbed() {
    for target in Target::all() {
        let mut site = Site::start(target).await;
        site.switch().await;
        let (mut open, mut strictly) = (site.world.client().await, site.world.client().await);
        let transaction = open.transaction().await.unwrap();
        let insert = "INSERT INTO users (email) VALUES ($1)";
        transaction.execute(insert, &[&"before"]).await.unwrap();
        // On MySQL it locks what it reads, and places where there is nothing.
        let serializable = tokio_postgres::IsolationLevel::Serializable;
        let strict = strictly.build_transaction().isolation_level(serializable);
        let strict = strict.start().await.unwrap();
        strict.execute(insert, &[&"strictly"]).await.unwrap();
        let (code, said) = verb(&site, &["complete", "--yes", "--timeout", "1s"]).await;
        assert_eq!((code, said.contains("serializable")), (Some(1), true), "{said}");
        assert_eq!(status(&site).await["phase"], "switched");
        strict.commit().await.unwrap();
        let strict = strictly.build_transaction().isolation_level(serializable);
        let strict = strict.start().await.unwrap();
        strict.query("SELECT id FROM users WHERE id = 1", &[]).await.unwrap();

        let (code, said) = verb(&site, &["complete", "--yes", "--timeout", "1s"]).await;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("MySQL answers alone") && said.contains("run it again"), "{said}");
        assert!(KEPT.len() < tables_of_ours(&site).await.len());
        until_complete(&site).await;
        transaction.execute(insert, &[&"and after"]).await.unwrap();
        strict.execute(insert, &[&"unnoted"]).await.unwrap();
        transaction.commit().await.unwrap();
        strict.commit().await.unwrap();
        let strict = strictly.build_transaction().isolation_level(serializable);
        let strict = strict.start().await.unwrap();
        strict.query("SELECT id FROM users WHERE id = 1", &[]).await.unwrap();
        done(&site, &["complete", "--yes"]).await;
        assert_eq!(tables_of_ours(&site).await, KEPT);
        strict.execute(insert, &[&"without an outbox"]).await.unwrap();
        strict.commit().await.unwrap();
        let mut found = emails(&open).await;
        found.sort();
        let expected = ["and after", "before", "old", "strictly", "unnoted", "without an outbox"];
        assert_eq!(found, expected, "{target:?}");
    }
}

/// Under load: not one login fails, and nothing is lost.
#[tokio::test]
async fn logins_go_on() {
    for target in Target::all() {
        let mut site = Site::start(target).await;
        site.switch().await;
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let (port, database) = (site.world.proxy_port(), site.world.database.clone());
        let load = tokio::spawn(logins(port, database, stopped));
        let reader = site.world.client().await;
        let count = "SELECT count(*) FROM users WHERE note = 'session'";
        let now = async || reader.query_one(count, &[]).await.unwrap().get::<_, i64>(0);
        site.world.until("logins come", async || 20 <= now().await).await;
        done(&site, &["complete", "--yes"]).await;
        let least = now().await + 40;
        site.world.until("logins go on", async || least <= now().await).await;
        stop.send_replace(true);
        let acknowledged = load.await.unwrap();
        let stored = emails(&reader).await;
        assert!(acknowledged.iter().all(|email| stored.contains(email)), "{target:?}");
        until_complete(&site).await;
        assert_eq!(tables_of_ours(&site).await, KEPT);
    }
}

/// Whoever is first has it; the other is refused, and says why.
#[tokio::test]
async fn a_rollback_at_the_same_time_is_one_or_the_other() {
    let mut site = Site::start(Target::all().remove(0)).await;
    for _ in 0..3 {
        site.switch().await;
        let (back, left) =
            tokio::join!(verb(&site, &["rollback"]), verb(&site, &["complete", "--yes"]));
        let said = format!("{back:?}\n{left:?}");
        let codes = (back.0.unwrap(), left.0.unwrap());
        assert!(codes == (0, 1) || codes == (1, 0), "{said}");
        let phase = if codes.0 == 0 { "dual_write" } else { "complete" };
        site.world.until("both sides agree", async || status(&site).await["phase"] == phase).await;
        let client = site.world.client().await;
        client.execute("UPDATE users SET note = 'on'", &[]).await.unwrap();
        if codes.1 == 0 {
            return;
        }
    }
}

/// The process that runs it may die right after the row that is the whole change.
#[tokio::test]
async fn what_was_cut_short_is_finished_by_another_run() {
    let mut site = Site::start(Target::all().remove(0)).await;
    site.switch().await;
    let row = "INSERT INTO crossfade_state (id, epoch) SELECT 3, s.epoch FROM crossfade_state s \
               WHERE s.id = 1";
    site.world.secondary().await.query_drop(row).await.unwrap();
    until_complete(&site).await;
    let client = site.world.client().await;
    client.execute("INSERT INTO users (email) VALUES ('alone')", &[]).await.unwrap();
    let noted = "SELECT COUNT(*) FROM crossfade_outbox";
    let noted: Option<i64> = site.world.secondary().await.query_first(noted).await.unwrap();
    assert_eq!(noted, Some(0));
    done(&site, &["complete", "--yes"]).await;
    assert_eq!(tables_of_ours(&site).await, KEPT);
}

/// Whoever clears PostgreSQL away, or brings an old backup of it up, has no sidecar serve from it.
#[tokio::test]
async fn a_sidecar_that_starts_later_does_not_mind_what_became_of_postgresql() {
    let mut site = Site::start(Target::all().remove(0)).await;
    site.switch().await;
    done(&site, &["complete", "--yes"]).await;
    until_complete(&site).await;
    for ruin in ["SELECT setval('crossfade.epoch', 2)", "DROP SCHEMA crossfade CASCADE"] {
        site.admin.batch_execute(ruin).await.unwrap();
        site.world.crash().await;
        until_complete(&site).await;
        let client = site.world.client().await;
        client.execute("INSERT INTO users (email) VALUES ($1)", &[&ruin]).await.unwrap();
        assert!(!emails(&site.world.direct().await).await.contains(&ruin.to_owned()));
    }
}

#[tokio::test]
async fn the_admin_port_wants_it_said() {
    let mut site = Site::start(Target::all().remove(0)).await;
    site.switch().await;
    let address = ([127, 0, 0, 1], site.world.proxy.as_ref().unwrap().admin_port).into();
    for wrong in ["", "{}", r#"{"yes": false}"#, r#"{"yes": true, "timeout": "5"}"#, "7"] {
        let answer = post(address, "/complete", None, wrong.to_owned()).await.unwrap();
        assert_eq!(answer.status, 400, "{wrong}: {}", answer.body);
    }
    let answer = post(address, "/complete", None, r#"{"dry_run": true}"#.to_owned()).await;
    let answer = answer.unwrap();
    assert!(answer.status == 200 && answer.body.contains("ready"), "{}", answer.body);
    let answer = post(address, "/complete", None, r#"{"yes": true}"#.to_owned()).await.unwrap();
    let said: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!((answer.status, &said["outcome"]), (200, &json!("done")), "{said}");
    until_complete(&site).await;
    let looked = get(address, "/switchover").await.unwrap();
    let looked: Value = serde_json::from_str(&looked.body).unwrap();
    assert_eq!(looked["direction"], Value::Null, "{looked}");
}
