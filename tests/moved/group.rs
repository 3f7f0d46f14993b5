//! A group of tables moves to MySQL without the others: clients use both, and what crosses is refused.

use std::time::{Duration, Instant};

use futures_util::SinkExt as _;
use mysql_async::prelude::Queryable as _;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::Site;
use crate::support::{self, ROLE, ROLE_PASSWORD, Target, World};

pub(super) const SCHEMA: &str = "\
    CREATE TABLE users (id bigserial PRIMARY KEY, email varchar(100) NOT NULL UNIQUE); \
    CREATE TABLE sessions (id bigserial PRIMARY KEY, user_id bigint NOT NULL, token varchar(100) NOT NULL UNIQUE); \
    CREATE TABLE codes (id bigserial PRIMARY KEY, session_id bigint REFERENCES sessions ON DELETE CASCADE); \
    INSERT INTO users (email) VALUES ('old'); INSERT INTO sessions (user_id, token) VALUES (1, 'old')";
pub(super) const TABLES: &str = "\
    sessions: { mode: blocking, timeout: 10s, group: logins }\n\
    codes: { mode: blocking, timeout: 10s, group: logins }\n\
    \"*\": { mode: blocking, timeout: 10s }";

pub(super) async fn start(target: Target) -> Site {
    Site::over(World::start(target, SCHEMA, TABLES).await).await
}

pub(super) async fn count(client: &Client, table: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table}");
    client.query_one(&sql, &[]).await.unwrap().get(0)
}

/// Rows on MySQL itself.
pub(super) async fn on_mysql(site: &Site, table: &str) -> i64 {
    let sql = format!("SELECT COUNT(*) FROM {table}");
    site.world.secondary().await.query_first(sql).await.unwrap().unwrap()
}

/// What says which programs may use Crossfade's own tables.
async fn layout(site: &Site) -> String {
    let select = "SELECT value FROM crossfade.settings WHERE key = 'layout'";
    site.world.admin().await.query_one(select, &[]).await.unwrap().get(0)
}

#[track_caller]
pub(super) fn refused<T: std::fmt::Debug>(
    result: Result<T, tokio_postgres::Error>,
    code: &SqlState,
) {
    assert_eq!(result.unwrap_err().code(), Some(code));
}

/// What a client does with both, whoever leads; the connection and its statements are older than that.
pub(super) async fn uses_both(client: &mut Client, token: &str) {
    let email = format!("{token}@example.com");
    let user = "INSERT INTO users (email) VALUES ($1) RETURNING id";
    let user: i64 = client.query_one(user, &[&email]).await.unwrap().get(0);
    let transaction = client.transaction().await.unwrap();
    let session = "INSERT INTO sessions (user_id, token) VALUES ($1, $2) RETURNING id";
    let session: i64 = transaction.query_one(session, &[&user, &token]).await.unwrap().get(0);
    transaction.execute("INSERT INTO codes (session_id) VALUES ($1)", &[&session]).await.unwrap();
    transaction.commit().await.unwrap();
    let transaction = client.transaction().await.unwrap();
    let deleted = transaction.execute("DELETE FROM sessions WHERE id = $1", &[&session]).await;
    assert_eq!(deleted.unwrap(), 1);
    transaction.rollback().await.unwrap();
    let found = client.query_one("SELECT user_id FROM sessions WHERE token = $1", &[&token]).await;
    assert_eq!(found.unwrap().get::<_, i64>(0), user);
    let found = client.query_one("SELECT email FROM users WHERE id = $1", &[&user]).await;
    assert_eq!(found.unwrap().get::<_, String>(0), email);
}

/// Over to MySQL and back, with one client that stays, and others that come.
#[tokio::test]
async fn a_group_moves_without_the_rest() {
    for target in Target::all() {
        let mut site = start(target).await;
        let mut client = site.world.client().await;
        let find = client.prepare("SELECT token FROM sessions WHERE id = $1").await.unwrap();
        client.batch_execute("SET application_name = 'here'").await.unwrap();
        uses_both(&mut client, "before").await;
        site.world.drained().await;
        site.world.verb(&["verify"]);
        assert_eq!(layout(&site).await, "2:0", "one step back");
        site.verb("switchover", &["--group", "logins"]).await;
        assert_eq!(layout(&site).await, "2:2", "what knows no groups is kept out");
        uses_both(&mut client, "apart").await;
        let found: String = client.query_one(&find, &[&1_i64]).await.unwrap().get(0);
        assert_eq!(found, "old");
        let mut late = site.world.client().await;
        uses_both(&mut late, "late").await;
        assert_eq!((on_mysql(&site, "sessions").await, on_mysql(&site, "codes").await), (4, 3));
        let direct = site.world.direct().await;
        assert_eq!(count(&direct, "users").await, 4, "PostgreSQL leads these");
        refused(
            direct.execute("DELETE FROM sessions", &[]).await,
            &SqlState::READ_ONLY_SQL_TRANSACTION,
        );
        crossing_is_refused(&mut client).await;
        settings_are_of_both(&mut client).await;
        site.drained_back().await;
        site.world.drained().await;
        site.world.assert_all_equal().await;
        site.world.verb(&["verify"]);
        site.roll_back().await;
        assert_eq!(layout(&site).await, "2:0", "and let in again");
        uses_both(&mut client, "back").await;
        uses_both(&mut late, "late again").await;
        assert_eq!(count(&site.world.direct().await, "sessions").await, 6);
        let name = client.query_one("SHOW application_name", &[]).await.unwrap();
        assert_eq!(name.get::<_, String>(0), "there");
        site.world.drained().await;
        site.world.assert_all_equal().await;
        site.world.verb(&["verify"]);
        site.switch().await;
        uses_both(&mut client, "all").await;
    }
}

/// In a statement, in a transaction from either side; and the transaction is over for that.
async fn crossing_is_refused(client: &mut Client) {
    let code = &SqlState::FEATURE_NOT_SUPPORTED;
    let joined = "SELECT 1 FROM users u JOIN sessions s ON s.user_id = u.id";
    refused(client.query(joined, &[]).await, code);
    refused(client.simple_query(joined).await, code);
    for (first, second) in [("users", "sessions"), ("sessions", "users")] {
        let transaction = client.transaction().await.unwrap();
        transaction.query(&format!("SELECT * FROM {first}"), &[]).await.unwrap();
        refused(transaction.query(&format!("SELECT * FROM {second}"), &[]).await, code);
        let aborted = &SqlState::IN_FAILED_SQL_TRANSACTION;
        refused(transaction.query(&format!("SELECT * FROM {first}"), &[]).await, aborted);
        transaction.rollback().await.unwrap();
    }
}

/// Whoever answers is asked, in a transaction of its own.
async fn settings_are_of_both(client: &mut Client) {
    client.batch_execute("SET application_name = 'there'").await.unwrap();
    client.batch_execute("BEGIN; SET application_name = 'lost'; ROLLBACK").await.unwrap();
    for table in ["users", "sessions"] {
        let transaction = client.transaction().await.unwrap();
        transaction.query(&format!("SELECT 1 FROM {table}"), &[]).await.unwrap();
        let name = transaction.query_one("SHOW application_name", &[]).await.unwrap();
        assert_eq!(name.get::<_, String>(0), "there", "{table}");
        transaction.commit().await.unwrap();
    }
}

/// Both databases have the same of a client, or its session ends.
#[tokio::test]
async fn what_one_database_has_of_a_client_the_other_has() {
    let site = start(Target::all().remove(0)).await;
    site.verb("switchover", &["--group", "logins"]).await;
    let reads = "SELECT token FROM sessions";

    // What was prepared before it was known whose the transaction is.
    let client = site.world.client().await;
    client.batch_execute("BEGIN").await.unwrap();
    let early = client.prepare("SELECT 7").await.unwrap();
    client.query_one(reads, &[]).await.unwrap();
    client.batch_execute("COMMIT; BEGIN").await.unwrap();
    client.query_one(reads, &[]).await.unwrap();
    assert_eq!(client.query_one(&early, &[]).await.unwrap().get::<_, i32>(0), 7);
    client.batch_execute("COMMIT").await.unwrap();
    assert_eq!(client.query_one(&early, &[]).await.unwrap().get::<_, i32>(0), 7);

    // A string of statements is said again whole.
    let whole = "BEGIN; SET application_name = 'in'; SAVEPOINT a; \
         SET application_name = 'out'; ROLLBACK TO a; COMMIT";
    client.batch_execute(whole).await.unwrap();
    client.batch_execute("ROLLBACK; SET extra_float_digits = 1").await.unwrap();
    for table in ["users", "sessions"] {
        let transaction = format!("BEGIN; SELECT 1 FROM {table}");
        client.batch_execute(&transaction).await.unwrap();
        let name = client.query_one("SHOW application_name", &[]).await.unwrap();
        assert_eq!(name.get::<_, String>(0), "in", "{table}");
        client.batch_execute("COMMIT").await.unwrap();
    }

    // Savepoints are nobody's trouble, unless a setting may have gone back with one.
    let back = "SAVEPOINT a; SELECT 1; ROLLBACK TO a; COMMIT";
    client.batch_execute(&format!("BEGIN; {reads}; {back}")).await.unwrap();
    client.batch_execute("SET application_name = 'one'; BEGIN").await.unwrap();
    client.query_one(reads, &[]).await.unwrap();
    client.batch_execute("SAVEPOINT a").await.unwrap();
    client.batch_execute("SET application_name = 'two'").await.unwrap();
    client.batch_execute("ROLLBACK TO a").await.unwrap();
    drop(client.batch_execute("COMMIT").await);
    let ended = async || client.batch_execute("SELECT 1").await.is_err();
    site.world.until("its session has ended", ended).await;

    // What MySQL refuses, where it hears of it in the middle of a transaction.
    let client = site.world.client().await;
    client.batch_execute("SET extra_float_digits = 0").await.unwrap();
    client.batch_execute("BEGIN").await.unwrap();
    let refused = client.query_one(reads, &[]).await.unwrap_err();
    let code = refused.code().map(SqlState::code);
    assert!(matches!(code, None | Some("57P01")), "{refused:?}");
    assert!(client.batch_execute("ROLLBACK").await.is_err(), "its session has ended");
}

/// A foreign key, a statement, a transaction, a function; and a group that is none.
#[tokio::test]
async fn what_crosses_is_named() {
    let site = start(Target::all().remove(0)).await;
    let config = site.world.config.clone();
    let gates = async |group: &'static str, more: &[&'static str]| {
        let words = [&["switchover", "--dry-run", "--group", group], more].concat();
        let config = config.clone();
        let run = move || support::process::verb(&config, &words);
        tokio::task::spawn_blocking(run).await.unwrap()
    };
    assert_eq!(gates("logins", &[]).await.0, Some(0), "{}", gates("logins", &[]).await.1);
    let (code, said) = gates("nobody", &[]).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("no table that is migrated is of group nobody"), "{said}");
    let mut client = site.world.client().await;
    client.query("SELECT 1 FROM users u JOIN sessions s ON s.user_id = u.id", &[]).await.unwrap();
    let transaction = client.transaction().await.unwrap();
    transaction.query("SELECT email FROM users", &[]).await.unwrap();
    transaction.query("SELECT token FROM sessions", &[]).await.unwrap();
    transaction.commit().await.unwrap();
    let direct = site.world.direct().await;
    let function = "CREATE FUNCTION clean() RETURNS void LANGUAGE sql AS 'DELETE FROM codes'; \
         ALTER TABLE sessions ADD FOREIGN KEY (user_id) REFERENCES users";
    direct.batch_execute(function).await.unwrap();
    let wanted = [
        "is about tables of group logins and others",
        "uses tables of no group, group logins",
        "function public.clean() names a table of group logins",
        "refers to table users, which is on the other side",
    ];
    let mut said = String::new();
    site.world
        .until("all of it is named", async || {
            said = gates("logins", &[]).await.1;
            wanted.iter().all(|reason| said.contains(reason))
        })
        .await;
    let (_, said) = gates("logins", &["--accept", "public.clean()"]).await;
    assert!(!said.contains("clean()"), "{said}");
}

/// While clients of this very thread go on.
pub(super) async fn verified(site: &Site) {
    let config = site.world.config.clone();
    let compared = move || support::process::verb(&config, &["verify"]);
    let (code, said) = tokio::task::spawn_blocking(compared).await.unwrap();
    assert_eq!(code, Some(0), "{said}");
}

/// Logins go on across the moves of a group, with transactions that begin before their first table is named.
#[tokio::test]
async fn logins_go_on_across_the_moves_of_a_group() {
    for target in Target::all() {
        let mut site = start(target).await;
        let (stop, stopped) = watch::channel(false);
        let clients: Vec<_> = (0..6)
            .map(|number| {
                let port = site.world.proxy_port();
                let database = site.world.database.clone();
                tokio::spawn(load(port, database, number, stopped.clone()))
            })
            .collect();
        let begun = Instant::now();
        let written = async |site: &Site| {
            let before = count(&site.world.direct().await, "sessions").await;
            let more = async || before + 40 <= count(&site.world.direct().await, "sessions").await;
            site.world.until("logins go on", more).await;
        };
        written(&site).await;
        verified(&site).await;
        site.verb("switchover", &["--group", "logins"]).await;
        written(&site).await;
        site.roll_back().await;
        written(&site).await;
        verified(&site).await;
        site.verb("switchover", &["--group", "logins"]).await;
        written(&site).await;
        site.roll_back().await;
        stop.send_replace(true);
        let mut acknowledged = 0;
        for client in clients {
            acknowledged += client.await.unwrap();
        }
        assert!(begun.elapsed() < Duration::from_secs(240), "no client waited for ever");
        let direct = site.world.direct().await;
        assert_eq!(count(&direct, "sessions").await, acknowledged + 1);
        assert_eq!(count(&direct, "users").await, acknowledged + 1);
        site.world.drained().await;
        site.world.assert_all_equal().await;
    }
}

/// One client's logins; how many were acknowledged.
async fn load(port: u16, database: String, client: usize, stopped: watch::Receiver<bool>) -> i64 {
    let mut connection = support::connect(port, ROLE, ROLE_PASSWORD, &database).await;
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut done = 0;
    while !*stopped.borrow() {
        pace.tick().await;
        if done % 10 == 9 {
            connection = support::connect(port, ROLE, ROLE_PASSWORD, &database).await;
        }
        uses_both(&mut connection, &format!("client {client} login {done}")).await;
        done += 1;
    }
    done
}

/// What a sidecar says at this path.
async fn said(site: &Site, path: &str) -> serde_json::Value {
    let (_, body) = site.world.proxy.as_ref().unwrap().get(path).await.unwrap();
    serde_json::from_str(&body).unwrap()
}

/// PostgreSQL refuses one session that MySQL has taken: it waits in MySQL's outbox, and everybody says so.
#[tokio::test]
async fn what_waits_on_mysql_is_shown_and_tried_again() {
    for target in Target::all() {
        let mut site = start(target).await;
        site.world.drained().await;
        site.verb("switchover", &["--group", "logins"]).await;
        let constraint =
            "ALTER TABLE sessions ADD CONSTRAINT short CHECK (length(token) < 9) NOT VALID";
        site.admin.batch_execute(constraint).await.unwrap();
        let client = site.world.client().await;
        let insert =
            "INSERT INTO sessions (user_id, token) VALUES (1, 'short'), (1, 'much too long')";
        client.batch_execute(insert).await.unwrap();
        client.batch_execute("INSERT INTO users (email) VALUES ('here')").await.unwrap();
        let proxy = site.world.proxy.as_ref().unwrap();
        let counted = async || proxy.metric("outbox_entries{state=\"stuck\"}").await == 1.0;
        site.world.until("it is stuck, in the metrics", counted).await;
        assert!(0.0 < proxy.metric("oldest_unreplicated_seconds").await);
        let mut status = serde_json::Value::Null;
        let shown = async || {
            status = said(&site, "/migration-status?fresh=true").await;
            status["lag"]["stuck"] == 1
        };
        site.world.until("it is stuck, in the status", shown).await;
        let [sessions, users] = ["sessions", "users"].map(|name| &status["tables"][name]);
        assert_eq!(sessions["primary"], "mysql", "{status}");
        assert_eq!(sessions["capture"], "returning", "{status}");
        assert_eq!((&sessions["pending"], &sessions["stuck"]), (&1.into(), &1.into()), "{status}");
        assert!(0.0 < sessions["lagSeconds"].as_f64().unwrap(), "{status}");
        assert!(sessions["lastError"].as_str().unwrap().contains("23514"), "{status}");
        assert_eq!(users["primary"], "postgresql", "{status}");
        assert_eq!((&users["stuck"], &users["lagSeconds"]), (&0.into(), &0.0.into()), "{status}");
        let listed = said(&site, "/stuck").await;
        let listed = listed.as_array().unwrap();
        assert_eq!(listed.len(), 1, "{listed:?}");
        assert_eq!(
            (&listed[0]["table"], &listed[0]["primary"]),
            (&"sessions".into(), &"mysql".into())
        );
        let config = site.world.config.clone();
        let verb = async |words: &[&str]| {
            let (config, words) = (config.clone(), words.join(" "));
            let run =
                move || support::process::verb(&config, &words.split(' ').collect::<Vec<_>>());
            tokio::task::spawn_blocking(run).await.unwrap()
        };
        let (code, text) = verb(&["status"]).await;
        assert!(code == Some(1) && text.contains("led by MySQL; 23514"), "{text}");
        // Nothing has changed, so it fails once more.
        let entry = listed[0]["entry"].to_string();
        let (code, text) = verb(&["repair", "--entry", &entry]).await;
        assert!(code == Some(2) && text.contains("--entry goes with --table"), "{text}");
        let retry = ["repair", "--table", "sessions", "--entry", &entry];
        let (code, text) = verb(&retry).await;
        assert!(code == Some(1) && text.contains("failed 1"), "{text}");
        site.admin.batch_execute("ALTER TABLE sessions DROP CONSTRAINT short").await.unwrap();
        let (code, text) = verb(&retry).await;
        assert!(code == Some(0) && text.contains("carried 1"), "{text}");
        let done = async || {
            let status = said(&site, "/migration-status?fresh=true").await;
            status["lag"]["pending"] == 0 && said(&site, "/stuck").await == serde_json::json!([])
        };
        site.world.until("it has gone from the status", done).await;
        let counted = async || proxy.metric("outbox_entries{state=\"stuck\"}").await == 0.0;
        site.world.until("and from the metrics", counted).await;
        site.drained_back().await;
        site.world.drained().await;
        site.world.assert_all_equal().await;
        without_a_sidecar(&mut site).await;
    }
}

/// The databases alone say the same of who leads what.
async fn without_a_sidecar(site: &mut Site) {
    drop(site.world.proxy.take());
    let id = "SELECT id FROM crossfade.tables WHERE name = 'sessions'";
    let id: i32 = site.admin.query_one(id, &[]).await.unwrap().get(0);
    let insert = "INSERT INTO crossfade_outbox (table_id, op, epoch, counter, attempts, last_error) \
                  VALUES (?, 'U', 1, 1, 9, '23505 token')";
    site.world.secondary().await.exec_drop(insert, (id,)).await.unwrap();
    let config = site.world.config.clone();
    let run = move || support::process::verb(&config, &["status"]);
    let (code, text) = tokio::task::spawn_blocking(run).await.unwrap();
    assert!(code == Some(1) && text.contains("led by MySQL; 23505 token"), "{text}");
}

/// A row that is locked elsewhere is waited for until the client has had enough, on either side; its other
/// statements and its session go on.
#[tokio::test]
async fn a_cancel_request_reaches_whoever_runs_the_statement() {
    for target in Target::all() {
        let site = start(target).await;
        site.world.drained().await;
        site.verb("switchover", &["--group", "logins"]).await;
        let (mut holder, mut client) = (site.world.client().await, site.world.client().await);
        uses_both(&mut client, "first").await;
        for table in ["users", "sessions"] {
            let held = holder.transaction().await.unwrap();
            let lock = format!("SELECT id FROM {table} WHERE id = 1 FOR UPDATE");
            held.query(&lock, &[]).await.unwrap();
            let token = client.cancel_token();
            let waits = client.query(&lock, &[]);
            let mut waits = std::pin::pin!(waits);
            let error = loop {
                // A request that comes before the statement hits nothing: so it is repeated.
                token.cancel_query(tokio_postgres::NoTls).await.unwrap();
                let patience = Duration::from_millis(100);
                if let Ok(ended) = tokio::time::timeout(patience, waits.as_mut()).await {
                    break ended.unwrap_err();
                }
            };
            assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED), "{target:?}: {table}");
            held.rollback().await.unwrap();
            client.query(&lock, &[]).await.unwrap();
        }
        uses_both(&mut client, "last").await;
    }
}

/// Requests that come at any moment hit what the client runs, and never what is done to keep both sides alike.
#[tokio::test]
async fn a_cancel_request_ends_no_session() {
    let site = start(Target::all().remove(0)).await;
    site.world.drained().await;
    site.verb("switchover", &["--group", "logins"]).await;
    let client = site.world.client().await;
    let token = client.cancel_token();
    let (stop, stopped) = watch::channel(false);
    let port = site.world.proxy.as_ref().unwrap().port;
    let cancels = tokio::spawn(async move {
        while !*stopped.borrow() {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            token.cancel_query_raw(&mut stream, tokio_postgres::NoTls).await.unwrap();
            // The connection ends once the request has been carried out: no other is on its way then.
            drop(stream.read_to_end(&mut Vec::new()).await);
        }
    });
    for round in 0..60 {
        // What was cancelled has an error, and the next one runs.
        let name = format!("SET application_name = 'round {round}'");
        drop(client.batch_execute(&name).await);
        if client.batch_execute("BEGIN; SET LOCAL statement_timeout = 0").await.is_ok() {
            drop(client.batch_execute("SELECT 1 FROM sessions").await);
        }
        drop(client.batch_execute("ROLLBACK").await);
        assert!(!client.is_closed(), "round {round}: {}", site.world.log());
    }
    stop.send_replace(true);
    cancels.await.unwrap();
    drop(client.batch_execute("ROLLBACK").await);
    while client.batch_execute("SET application_name = 'end'").await.is_err() {}
    for table in ["users", "sessions"] {
        client.batch_execute(&format!("BEGIN; SELECT 1 FROM {table}")).await.unwrap();
        let name = client.query_one("SHOW application_name", &[]).await.unwrap();
        assert_eq!(name.get::<_, String>(0), "end", "{table}");
        client.batch_execute("ROLLBACK").await.unwrap();
    }
}

/// MySQL's end has no COPY. PostgreSQL's has, for its own tables.
#[tokio::test]
async fn copy_goes_on_for_the_rest_and_is_refused_for_the_group() {
    let site = start(Target::all().remove(0)).await;
    site.world.drained().await;
    site.verb("switchover", &["--group", "logins"]).await;
    let client = site.world.client().await;
    let copy = async |client: &Client, sql: &str| {
        let sink = client.copy_in::<_, bytes::Bytes>(sql).await?;
        let mut sink = std::pin::pin!(sink);
        sink.send(bytes::Bytes::from_static(b"1000\tcopied\n")).await?;
        sink.finish().await
    };
    assert_eq!(copy(&client, "COPY users (id, email) FROM STDIN").await.unwrap(), 1);
    let code = &SqlState::FEATURE_NOT_SUPPORTED;
    let into = "COPY sessions (user_id, token) FROM STDIN";
    refused(client.batch_execute(into).await, code);
    // This driver sends a second Sync where COPY was refused, and does not reckon with its answer.
    refused(copy(&site.world.client().await, into).await, code);
    refused(client.copy_out("COPY sessions TO STDOUT").await.map(drop), code);
    refused(client.copy_out("COPY (SELECT * FROM sessions) TO STDOUT").await.map(drop), code);
    assert_eq!(count(&client, "sessions").await, 1, "the session goes on");
    assert_eq!(count(&client, "users").await, 2);
}

/// What is kept of a client is bounded, and each bound counts how often it was met.
#[tokio::test]
async fn bounds_are_counted() {
    let site = start(Target::all().remove(0)).await;
    site.world.drained().await;
    site.verb("switchover", &["--group", "logins"]).await;
    let proxy = site.world.proxy.as_ref().unwrap();
    let met =
        async |bound: &str| proxy.metric(&format!("parts_bounds_total{{bound=\"{bound}\"}}")).await;
    let client = site.world.client().await;
    let said = async |statements: usize| {
        client.batch_execute("BEGIN").await.unwrap();
        for _ in 1..statements {
            client.batch_execute("SELECT now()").await.unwrap();
        }
        let moved = client.batch_execute("SELECT 1 FROM sessions").await;
        client.batch_execute("ROLLBACK").await.unwrap();
        moved
    };
    said(32).await.unwrap();
    assert_eq!(met("prelude").await, 0.0);
    refused(said(33).await, &SqlState::FEATURE_NOT_SUPPORTED);
    assert_eq!(met("prelude").await, 1.0);
    let long = format!("BEGIN; SELECT '{}'", "x".repeat(70_000));
    client.batch_execute(&long).await.unwrap();
    client.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(met("prelude").await, 2.0);
    client.batch_execute("BEGIN").await.unwrap();
    let mut ended = Ok(());
    for _ in 0..300 {
        ended = ended.and(client.batch_execute("SET application_name = 'a'").await);
    }
    assert!(ended.is_err() && client.is_closed(), "the session ends");
    assert_eq!(met("carried").await, 1.0);
}
