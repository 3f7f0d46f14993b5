//! The dashboard in a real browser: what an engineer on call sees, and does by clicks.
//!
//! The picture of a test: a world with servers and a sidecar, and [`Browser`] looking at its admin port.

use crossfade::plan::seen::Fingerprint;
use mysql_async::prelude::Queryable as _;
use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::{Target, World};

const TOKEN: &str = "open sesame 7";
const SCHEMA: &str = "
    CREATE TABLE users (id int PRIMARY KEY, email text NOT NULL, age int);
    CREATE TABLE sessions (id int PRIMARY KEY, user_id int REFERENCES users, token text);
    CREATE TABLE verifications (id int PRIMARY KEY, code text);
    INSERT INTO users SELECT n, 'user' || n || '@example.org', n FROM generate_series(1, 400) n;
    INSERT INTO sessions SELECT n, n, md5(n::text) FROM generate_series(1, 250) n;
";
/// The endpoints of the step over are part of the sidecar. Until then the page says that they are not, and
/// [`the_step_over_and_back_is_made_by_clicks`] holds it to that.
const SWITCHOVER: bool = true;

/// A world that is not set up, whose POSTs want [`TOKEN`].
async fn bare(tables: &str) -> World {
    let world = World::granted(Target::MariaDb, SCHEMA, tables).await;
    let token = format!("admin: {{ token: \"{TOKEN}\", address");
    world.edit(|text| text.replacen("admin: { address", &token, 1));
    world
}

/// One that is set up, with a sidecar, and with everything copied and verified.
async fn equal() -> World {
    ready("").await
}

async fn ready(tables: &str) -> World {
    let mut world = bare(tables).await;
    world.setup();
    world.run().await;
    world.verb(&["backfill"]);
    world.verb(&["verify"]);
    world
}

async fn browser(world: &World) -> Browser {
    let mut browser = Browser::start(world.proxy.as_ref().unwrap().admin_port);
    browser.open(1360, "light").await;
    browser
}

async fn unlock(browser: &mut Browser) {
    browser.click("Make changes").await;
    browser.fill("Token", TOKEN).await;
    browser.click("Unlock").await;
    browser.reads("You may make changes").await;
}

async fn status(world: &World) -> Value {
    let (_, body) = world.proxy.as_ref().unwrap().get("/migration-status").await.unwrap();
    serde_json::from_str(&body).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_nothing_to_two_equal_databases_by_clicks() {
    let mut world = bare("").await;
    world.run().await;
    let mut browser = browser(&world).await;
    browser.sees("All is well", "PostgreSQL answers, and nothing is carried over yet").await;
    browser.sees("Tables", "Nothing is set up yet").await;
    browser.is_sound("before setup").await;

    world.setup();
    browser.sees("Phases", "next: crossfade backfill").await;
    browser.sees_row("users", "not copied").await;
    unlock(&mut browser).await;
    browser.click("Start backfill").await;
    browser.sees_row("users", "unverified").await;
    browser.sees_row("users", "400").await;
    browser.click("Verify all").await;
    browser.sees_row("users", "equal").await;
    browser.sees_row("sessions", "equal").await;
    browser.sees("All is well", "MySQL follows and has everything").await;
    browser.sees("Phases", "next: crossfade switchover").await;
    browser.is_sound("with everything equal").await;
    world.assert_all_equal().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_difference_shows_once_it_is_looked_for_and_goes_by_a_click() {
    let world = equal().await;
    let mut browser = browser(&world).await;
    browser.sees("All is well", "MySQL follows").await;
    let mut mysql = world.secondary().await;
    mysql.query_drop("UPDATE users SET age = 0 WHERE id = 7").await.unwrap();
    mysql.query_drop("DELETE FROM users WHERE id = 300").await.unwrap();
    unlock(&mut browser).await;
    browser.click("Open users").await;
    browser.click("Verify users").await;
    browser.sees_row("users", "2 rows differ").await;
    browser.reads("Verify ended: 1 table compared, 1 not equal.").await;
    browser.sees("1 thing needs attention", "users is dirty: it differed at a verify").await;
    browser.sees_row("users", "398 equal, 1 missing, 1 different").await;
    browser.is_sound("with a difference").await;
    browser.click("Repair users").await;
    browser.reads("Repair users: 2 of 2 carried").await;
    browser.click("Verify users").await;
    browser.sees_row("users", "equal").await;
    browser.sees("All is well", "has everything").await;
    world.assert_equal("users").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mode_is_changed_by_a_click() {
    let world = equal().await;
    let mut browser = browser(&world).await;
    unlock(&mut browser).await;
    browser.click("Open sessions").await;
    browser.shut("Set the mode of sessions").await;
    browser.order(json!({ "do": "choose", "label": "Mode", "option": "strict" })).await;
    browser.click("Set the mode of sessions").await;
    browser.reads("sessions is strict in this sidecar, until a reload or restart.").await;
    browser.sees_row("sessions", "strict").await;
    world
        .until("strict", async || status(&world).await["tables"]["sessions"]["mode"] == "strict")
        .await;
    assert_eq!(status(&world).await["tables"]["users"]["mode"], "blocking");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_entry_is_shown_with_its_reason_and_retried_by_a_click() {
    let world = equal().await;
    let mut mysql = world.secondary().await;
    mysql.query_drop("ALTER TABLE users ADD CONSTRAINT old CHECK (age < 1000)").await.unwrap();
    let client = world.client().await;
    client.batch_execute("UPDATE users SET age = 2000 WHERE id = 9").await.unwrap();
    let proxy = world.proxy.as_ref().unwrap();
    world
        .until("stuck", async || proxy.metric("outbox_entries{state=\"stuck\"}").await == 1.0)
        .await;
    let later = "UPDATE crossfade.outbox SET next_try = now() + interval '1 hour'";
    world.admin().await.batch_execute(later).await.unwrap();
    let mut browser = browser(&world).await;
    browser.sees("1 thing needs attention", "1 entry stuck").await;
    browser.sees("Stuck entries", "4025: a CHECK constraint refuses it").await;
    let (_, listed) = proxy.get("/stuck").await.unwrap();
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let entry = listed[0]["entry"].as_i64().unwrap();
    assert!(listed[0].get("key").is_none(), "keys are for those with the token: {listed}");

    browser.shut(&format!("Retry entry {entry} of users")).await;
    unlock(&mut browser).await;
    browser.click("Show keys").await;
    browser.sees("Stuck entries", "Key").await;
    browser.is_sound("with a stuck entry").await;
    mysql.query_drop("ALTER TABLE users DROP CONSTRAINT old").await.unwrap();
    browser.click(&format!("Retry entry {entry} of users")).await;
    browser.reads(&format!("Entry {entry} of users: 1 of 1 carried")).await;
    browser.sees("Stuck entries", "None").await;
    world.assert_equal("users").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_token_nothing_can_be_pressed_and_nothing_is_done() {
    let world = equal().await;
    let mut browser = browser(&world).await;
    browser.sees_row("users", "equal").await;
    for button in ["Start backfill", "Pause backfill", "Verify all", "Repair all"] {
        browser.shut(button).await;
    }
    browser.reads("Read-only").await;
    browser.click("Make changes").await;
    browser.fill("Token", "hunter2").await;
    browser.click("Unlock").await;
    browser.reads("That is not the token.").await;
    browser.order(json!({ "do": "press", "key": "Escape" })).await;
    browser.shut("Verify all").await;
    // Nor does a script without it: the sidecar refuses, not the page alone.
    let script = "fetch('/verify', { method: 'POST', headers: { 'Content-Type': 'application/json' }, \
         body: '{}' }).then((answer) => answer.status)";
    assert_eq!(browser.order(json!({ "do": "evaluate", "script": script })).await, 401);

    unlock(&mut browser).await;
    browser.order(json!({ "do": "enabled", "role": "button", "name": "Verify all" })).await;
    browser.order(json!({ "do": "reload" })).await;
    browser.click("Lock changes").await;
    browser.shut("Verify all").await;
}

/// No token is set: on this machine whoever reaches the port may make changes, but for pages of others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_another_site_changes_and_reads_nothing() {
    let world = World::start(Target::MariaDb, SCHEMA, "").await;
    let mut browser = browser(&world).await;
    browser.order(json!({ "do": "enabled", "role": "button", "name": "Verify all" })).await;
    let sent = browser.order(json!({ "do": "foreign", "path": "/verify" })).await;
    let sent: Vec<&str> = sent.as_array().unwrap().iter().filter_map(Value::as_str).collect();
    // A request whose answer stays hidden is let out by the browser; the sidecar refuses it.
    assert_eq!(sent[..4], ["opaque 0", "opaque 0", "refused", "refused"], "{sent:?}");
    assert!(sent[4].contains("not taken from other sites"), "{sent:?}");
    let (_, work) = world.proxy.as_ref().unwrap().get("/work").await.unwrap();
    let work: Value = serde_json::from_str(&work).unwrap();
    assert_eq!((&work["verify"]["running"], &work["verify"]["runs"]), (&json!(false), &json!(0)));
    // The page's own request is taken.
    browser.click("Verify all").await;
    browser.reads("Verify all: begun").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_is_sound_in_light_and_dark_on_a_desk_and_on_a_phone() {
    let world = equal().await;
    let proxy = world.proxy.as_ref().unwrap();
    let client = world.client().await;
    // Statements that MySQL could not answer are listed.
    client.batch_execute("SELECT to_tsvector('simple', email) FROM users").await.unwrap();
    client.batch_execute("INSERT INTO verifications VALUES (1, 'a')").await.unwrap();
    world
        .until("listed", async || {
            proxy.get("/statements?only=open").await.unwrap().1.contains("tsvector")
        })
        .await;
    world
        .until("sampled", async || !history(&world).await["at"].as_array().unwrap().is_empty())
        .await;
    let mut browser = browser(&world).await;
    for (width, scheme) in
        [(1360, "light"), (1360, "dark"), (390, "light"), (390, "dark"), (320, "light")]
    {
        browser.open(width, scheme).await;
        browser.click("Open users").await;
        browser.sees("Statements not ready", "to_tsvector").await;
        browser.is_sound(&format!("{width}, {scheme}")).await;
        browser.click("Make changes").await;
        browser.is_sound(&format!("{width}, {scheme}, asking for the token")).await;
    }
    // By keys alone: the first one leads past the head, and a chart reads an earlier moment.
    browser.open(1360, "light").await;
    browser.sees_row("users", "equal").await;
    browser.order(json!({ "do": "press", "key": "Tab" })).await;
    let focused = json!({ "do": "evaluate", "script": "document.activeElement.textContent" });
    assert_eq!(browser.order(focused).await, "Skip to what matters");
}

async fn history(world: &World) -> Value {
    let (_, body) = world.proxy.as_ref().unwrap().get("/history").await.unwrap();
    serde_json::from_str(&body).unwrap()
}

/// The gates and answers are played, so that each colour and each end is seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_step_over_waits_for_its_gates_and_for_a_word_that_is_typed() {
    let world = equal().await;
    let mut browser = browser(&world).await;
    unlock(&mut browser).await;
    let gates = |verified: bool| {
        let reasons =
            if verified { vec![] } else { vec!["users: not verified since it became dirty"] };
        json!({ "direction": "switchover", "gates": [
            { "name": "verified", "ok": verified, "reasons": reasons },
            { "name": "outbox", "ok": true, "reasons": [] } ] })
    };
    browser.order(json!({ "do": "plays", "path": "/switchover", "json": gates(false) })).await;
    browser.sees("Switch over to MySQL", "users: not verified since it became dirty").await;
    browser.sees("Switch over to MySQL", "1 of 2 gates is shut").await;
    browser.shut("Switch over…").await;
    browser.is_sound("with a gate shut").await;

    browser.order(json!({ "do": "plays", "path": "/switchover", "json": gates(true) })).await;
    browser.sees("Switch over to MySQL", "All gates are open.").await;
    browser.click("Switch over…").await;
    browser.shut("Switch over").await;
    browser.fill("Type switchover to confirm", "switchove").await;
    browser.shut("Switch over").await;
    browser.is_sound("asking for the word").await;
    let undone = json!({ "outcome": "undone", "epoch": 3, "hold_seconds": 30.1,
        "reasons": ["1 transaction was still open after 30 s"] });
    browser.order(json!({ "do": "plays", "path": "/switchover", "json": undone })).await;
    browser.fill("Type switchover to confirm", "switchover").await;
    browser.click("Switch over").await;
    browser.reads("1 transaction was still open after 30 s").await;
    let sent = browser.order(json!({ "do": "sent" })).await;
    let body = json!({ "dry_run": false, "timeout": "30s", "accept": [], "terminate": false });
    assert_eq!((sent.as_array().unwrap().len(), &sent[0]["body"]), (1, &body), "{sent:#}");
    assert_eq!(sent[0]["headers"]["authorization"], format!("Bearer {TOKEN}"));

    let attempts = json!([{ "id": 4, "direction": "switchover", "state": "undone",
        "started": "2026-11-20T10:00:00Z", "ended": "2026-11-20T10:00:30Z",
        "reasons": ["1 transaction was still open after 30 s"], "hold_seconds": 28.9,
        "sidecars": [{ "sidecar": "0123", "announced": "2026-11-20T10:00:00.1Z",
            "held": "2026-11-20T10:00:00.3Z" }] }]);
    browser.order(json!({ "do": "plays", "path": "/attempts", "json": attempts })).await;
    browser.sees("Record of switchovers", "20 Nov 2026").await;
    browser.sees("Record of switchovers", "clients waited 29 s").await;
}

/// What MySQL could not answer is no dead end: it is forgotten where it is sent no more, or accepted; and
/// what clients get for it then is shown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_is_refused_is_forgotten_or_accepted_by_clicks() {
    const SEARCH: &str = "SELECT to_tsvector('simple', email) FROM users";
    const CARD: &str = "Switch over to MySQL";
    let world = equal().await;
    let client = world.client().await;
    let fingerprint = Fingerprint::of(SEARCH).to_string();
    let mut browser = browser(&world).await;
    unlock(&mut browser).await;
    let reason = format!("statement {fingerprint} cannot be translated");
    for accept in [false, true] {
        browser.sees(CARD, "All gates are open.").await;
        client.batch_execute(SEARCH).await.unwrap();
        browser.sees(CARD, &reason).await;
        browser.shut("Switch over…").await;
        browser.sees("Statements not ready", "to_tsvector").await;
        if !accept {
            browser.click(&format!("Forget {fingerprint}")).await;
            browser.reads(&format!("{fingerprint} is forgotten")).await;
            browser.sees("Statements not ready", "None: MySQL could answer").await;
        }
    }
    browser.sees(CARD, "SELECT to_tsvector(?, email) FROM users").await;
    browser.is_sound("with a statement to be accepted").await;
    let name = format!("Accept {fingerprint}: SELECT to_tsvector(?, email) FROM users");
    browser.order(json!({ "do": "click", "role": "checkbox", "name": name })).await;
    browser.sees(CARD, "All gates are open.").await;
    browser.click("Switch over…").await;
    browser.fill("Type switchover to confirm", "switchover").await;
    browser.click("Switch over").await;
    browser.sees("Phases", "next: crossfade complete").await;
    let refused = client.batch_execute(SEARCH).await.unwrap_err();
    assert_eq!(refused.code().map(|code| code.code()), Some("0A000"));
    browser.sees("1 thing needs attention", "1 statement was refused to clients (0A000)").await;
    browser.sees("Statements not ready", "MySQL answers, and refuses these").await;
    browser.is_sound("with a statement refused to clients").await;
}

/// What is known of the gates is said with its age, and nothing is begun on the strength of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gates_that_cannot_be_looked_at_are_unknown_and_shut_the_buttons() {
    const CARD: &str = "Switch over to MySQL";
    let world = equal().await;
    let mut browser = browser(&world).await;
    unlock(&mut browser).await;
    let outbox = |ok: bool, reasons: &[&str]| {
        json!({ "direction": "switchover", "gates":
            [{ "name": "outbox", "ok": ok, "reasons": reasons }] })
    };
    let open = json!({ "do": "plays", "path": "/switchover", "json": outbox(true, &[]) });
    let fails = json!({ "do": "plays", "path": "/switchover", "status": 409,
        "json": { "error": "PostgreSQL does not answer" } });
    let hangs = json!({ "do": "plays", "path": "/switchover", "hangs": true });
    browser.order(open.clone()).await;
    for (away, why) in [(fails, "PostgreSQL does not answer"), (hangs, "no later look has ended")] {
        browser.sees(CARD, "All gates are open.").await;
        browser.order(json!({ "do": "enabled", "role": "button", "name": "Switch over…" })).await;
        browser.order(away).await;
        browser.sees(CARD, "The gates are unknown, as of ").await;
        browser.sees(CARD, why).await;
        browser.shut("Switch over…").await;
        browser.shut("Rehearse").await;
        browser.is_sound("with gates unknown").await;
        browser.order(open.clone()).await;
    }
    // Reasons of then are not told as those of now.
    let behind = outbox(false, &["the oldest write on its way has waited for 45 s"]);
    let behind = json!({ "do": "plays", "path": "/switchover", "json": behind });
    browser.order(behind).await;
    browser.sees(CARD, "has waited for 45 s").await;
    browser.order(json!({ "do": "plays", "path": "/switchover", "hangs": true })).await;
    browser.sees(CARD, "no later look has ended").await;
    let gates = json!({ "do": "text", "selector": ".gates" });
    let gates = browser.order(gates).await;
    assert!(!gates.as_str().unwrap().contains("45 s"), "{gates}");
    // The phase is heard of all the same, and the card follows it.
    let mut switched = status(&world).await;
    (switched["phase"], switched["primary"]) = (json!("switched"), json!("mysql"));
    browser.order(json!({ "do": "plays", "path": "/migration-status", "json": switched })).await;
    browser.sees("Roll back to PostgreSQL", "The gates are unknown, as of ").await;
    browser.shut("Roll back…").await;
    browser.sees("Phases", "next: crossfade complete, and after it there is no way back").await;
}

/// A change is heard of by one sidecar after the other, and by the list of them last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_is_of_another_epoch_once_it_stays_so_and_never_this_one() {
    let world = equal().await;
    let mut browser = browser(&world).await;
    browser.sees("All is well", "MySQL follows").await;
    let (_, list) = world.proxy.as_ref().unwrap().get("/sidecars").await.unwrap();
    let mut list: Value = serde_json::from_str(&list).unwrap();
    let mut other = list[0].clone();
    list[0]["epoch"] = json!(0);
    (other["id"], other["epoch"]) = (json!("0123456789abcdef"), json!(0));
    list.as_array_mut().unwrap().push(other);
    browser.order(json!({ "do": "plays", "path": "/sidecars", "json": list })).await;
    browser.sees("1 thing needs attention", "1 sidecar of another epoch than this one").await;
    list[1]["epoch"] = json!(1);
    browser.order(json!({ "do": "plays", "path": "/sidecars", "json": list })).await;
    browser.sees("All is well", "MySQL follows").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_step_over_and_back_is_made_by_clicks() {
    let world = equal().await;
    let mut browser = browser(&world).await;
    if !SWITCHOVER {
        browser.sees("Switchover", "Not available").await;
        return;
    }
    unlock(&mut browser).await;
    browser.sees("Switch over to MySQL", "All gates are open.").await;
    browser.click("Switch over…").await;
    browser.fill("Type switchover to confirm", "switchover").await;
    browser.click("Switch over").await;
    browser.sees("Phases", "next: crossfade complete").await;
    browser.sees("Which database answers", "answers the clients").await;
    browser.sees("Record of switchovers", "done").await;
    world.until("switched", async || status(&world).await["primary"] == "mysql").await;

    browser.sees("Roll back to PostgreSQL", "All gates are open.").await;
    browser.click("Roll back…").await;
    browser.fill("Type rollback to confirm", "rollback").await;
    browser.click("Roll back").await;
    world.until("back", async || status(&world).await["primary"] == "postgresql").await;
    browser.sees("Phases", "next: crossfade switchover").await;
    world.assert_all_equal().await;
}

const TABLES: &str = "\
    verifications: { mode: blocking, timeout: 10s, group: codes }\n\
    \"*\": { mode: blocking, timeout: 10s }";

/// A group's own gates, its own word, and the way back for it alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_moves_and_comes_back_by_clicks() {
    let world = ready(TABLES).await;
    let mut browser = browser(&world).await;
    unlock(&mut browser).await;
    browser.sees("Switch over to MySQL", "All gates are open.").await;
    // A function that names its table is in the way of the group alone.
    let direct = world.direct().await;
    let function =
        "CREATE FUNCTION clean() RETURNS void LANGUAGE sql AS 'DELETE FROM verifications'";
    direct.batch_execute(function).await.unwrap();
    browser.click("Group codes").await;
    browser
        .sees("Switch over to MySQL", "function public.clean() names a table of group codes")
        .await;
    browser.shut("Switch over group codes…").await;
    browser.click("All tables").await;
    browser.sees("Switch over to MySQL", "All gates are open.").await;
    browser.click("Group codes").await;
    direct.batch_execute("DROP FUNCTION clean()").await.unwrap();
    browser.sees("Switch over to MySQL", "All gates are open.").await;
    browser.is_sound("with a group chosen").await;
    browser.click("Switch over group codes…").await;
    browser.fill("Type switchover codes to confirm", "switchover").await;
    browser.shut("Switch over group codes").await;
    browser.fill("Type switchover codes to confirm", "switchover codes").await;
    browser.click("Switch over group codes").await;
    let leads =
        async |name: &str| status(&world).await["tables"]["verifications"]["primary"] == name;
    world.until("it is led by MySQL", async || leads("mysql").await).await;
    assert_eq!(status(&world).await["tables"]["users"]["primary"], "postgresql");
    browser.sees_row("verifications", "led by MySQL").await;
    browser.reads("PostgreSQL answers the clients, and MySQL for 1 table").await;
    browser.is_sound("with a group on MySQL").await;
    world.client().await.batch_execute("INSERT INTO verifications VALUES (1, 'a')").await.unwrap();

    browser.sees("Roll back to PostgreSQL", "All gates are open.").await;
    browser.click("Roll back…").await;
    browser.fill("Type rollback to confirm", "rollback").await;
    browser.click("Roll back").await;
    let back = async || status(&world).await["tables"]["verifications"]["primary"].is_null();
    world.until("it has come back", back).await;
    browser.sees("Phases", "next: crossfade switchover").await;
    world.drained().await;
    world.assert_all_equal().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn once_postgresql_is_left_nobody_is_alarmed_about_it() {
    let world = equal().await;
    for verb in [&["switchover"][..], &["complete", "--yes"]] {
        let (code, said) = crate::support::process::verb(&world.config, verb);
        assert_eq!(code, Some(0), "{verb:?}: {said}");
    }
    world.until("complete", async || status(&world).await["phase"] == "complete").await;
    let mut browser = browser(&world).await;
    browser.sees("Which database answers", "not asked any more").await;
    browser.reads("MySQL answers alone; the migration is over.").await;
    browser.reads("All is well").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_opened_later_has_the_samples_from_before() {
    let world = equal().await;
    let client = world.client().await;
    client.batch_execute("INSERT INTO verifications VALUES (1, 'a')").await.unwrap();
    let written = async || {
        let history = history(&world).await;
        history["writes"].as_array().unwrap().iter().any(|writes| 0.0 < writes.as_f64().unwrap())
    };
    world.until("sampled", written).await;
    let kept = history(&world).await;
    let samples = kept["at"].as_array().unwrap().len();
    for column in ["writes", "carried", "lag", "errors", "overheadMedian", "overheadP99"] {
        assert_eq!(kept[column].as_array().unwrap().len(), samples, "{column}: {kept}");
    }
    let proxy = world.proxy.as_ref().unwrap();
    let next = kept["next"].as_u64().unwrap();
    let (_, newer) = proxy.get(&format!("/history?after={next}")).await.unwrap();
    let newer: Value = serde_json::from_str(&newer).unwrap();
    assert!(newer["at"].as_array().unwrap().len() < samples, "{newer}");
    let mut browser = browser(&world).await;
    let label = json!({ "do": "evaluate", "script":
        "document.querySelector('.chart').getAttribute('aria-label')" });
    browser.sees("The last hour", "written").await;
    world
        .until("drawn", async || {
            let label = browser.order(label.clone()).await;
            label.as_str().unwrap().contains("at most")
                && !label.as_str().unwrap().contains("written: now 0/s, at most 0/s")
        })
        .await;
}
