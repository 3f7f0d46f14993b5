//! Scripts of messages, to PostgreSQL and to us: the same kinds of answers in the same order, the same
//! SQLSTATEs, tags and states.

use std::sync::Arc;
use std::time::Duration;

use crossfade::phase::{Phase, Situation};

use mysql_async::prelude::Queryable as _;

use super::Site;
use crate::support::{PATIENCE, Target, World};
use crate::wire::script::ready;

/// A session: batches that are sent in one write each.
type Script<'a> = &'a [&'a [&'a str]];

async fn play(site: &Site, answered: bool, script: Script<'_>) -> Vec<String> {
    let mut wire = site.wire(answered).await;
    let mut heard = Vec::new();
    for batch in script {
        wire.say(batch).await;
        heard.push(wire.hear(ready(batch)).await);
    }
    heard.append(&mut wire.details);
    // Where in its own source a server found the error, and where in the text.
    let own = |field: &&str| !field.starts_with(['F', 'L', 'R', 'P', 'W']);
    heard.iter().map(|line| line.split('|').filter(own).collect::<Vec<_>>().join("|")).collect()
}

/// What needs no table: the session's own words and the protocol around them.
const SCRIPTS: &[Script<'_>] = &[
    &[&["Q SHOW standard_conforming_strings"], &["Q"], &["Q  ; ; "], &["Q -- nothing"]],
    &[&["P s SHOW TimeZone", "B p s", "D S s", "D P p", "E p", "S"]],
    &[&["P s SHOW TimeZone", "B p s", "E p 1", "E p 1", "E p 0", "S"]],
    &[&["P _ ", "B _ _", "D S _", "D P _", "E _", "S"]],
    // Names, once each; and what is not there.
    &[&["P s SHOW TimeZone", "P s SHOW TimeZone", "S"], &["B _ s", "E _", "S"]],
    &[&["P _ SHOW TimeZone", "P _ SHOW DateStyle", "B _ _", "B _ _", "E _", "S"]],
    &[&["E nope", "S"], &["D P nope", "S"], &["D S nope", "S"], &["B _ nope", "S"]],
    &[&["C S nope", "C P nope", "S"], &["P s SHOW TimeZone", "C S s", "B _ s", "S"]],
    &[&["Q BEGIN"], &["P s SHOW TimeZone", "B p s", "S"], &["B p s", "S"], &["Q ROLLBACK"]],
    &[&["P s SHOW TimeZone", "B p s", "S"], &["E p", "S"]],
    &[&["P s SHOW TimeZone; SHOW DateStyle", "S"], &["P s SHOW TimeZone;", "B _ s", "E _", "S"]],
    // Errors: skipped to the Sync, and what they do to a transaction.
    &[&["P _ SHOW nonsense", "B _ _", "E _", "P _ SHOW TimeZone", "B _ _", "E _", "S"]],
    &[&["Q SHOW TimeZone; SHOW nonsense; SHOW DateStyle"], &["Q SHOW TimeZone"]],
    &[
        &["Q BEGIN"],
        &["Q SHOW nonsense"],
        &["Q SHOW TimeZone"],
        &["Q COMMIT"],
        &["Q SHOW TimeZone"],
    ],
    &[
        &["Q BEGIN"],
        &["P _ SHOW nonsense", "S"],
        &["P _ SHOW TimeZone", "S"],
        &["P _ ROLLBACK", "B _ _", "E _", "S"],
    ],
    &[
        &["Q BEGIN; SHOW TimeZone; COMMIT; SHOW DateStyle"],
        &["Q BEGIN; SHOW nonsense"],
        &["Q ROLLBACK"],
    ],
    &[&["Q BEGIN"], &["Q BEGIN"], &["Q COMMIT"], &["Q COMMIT"], &["Q ROLLBACK"]],
    &[&["P _ BEGIN", "B _ _", "E _", "S"], &["P _ COMMIT", "B _ _", "D P _", "E _", "S"]],
    &[
        &["Q START TRANSACTION ISOLATION LEVEL SERIALIZABLE READ ONLY"],
        &["Q SHOW transaction_isolation"],
        &["Q SHOW transaction_read_only"],
        &["Q END"],
    ],
    &[
        &["Q BEGIN"],
        &["Q SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"],
        &["Q SHOW transaction isolation level"],
        &["Q COMMIT AND CHAIN"],
        &["Q SHOW transaction_isolation"],
        &["Q ROLLBACK AND NO CHAIN"],
    ],
    // Savepoints.
    &[
        &["Q BEGIN"],
        &["Q SAVEPOINT a"],
        &["Q SHOW nonsense"],
        &["Q ROLLBACK TO a"],
        &["Q SHOW TimeZone"],
        &["Q RELEASE a"],
        &["Q RELEASE a"],
        &["Q ROLLBACK TO a"],
        &["Q ROLLBACK"],
    ],
    &[&["Q SAVEPOINT a"], &["Q RELEASE a"], &["Q ROLLBACK TO a"]],
    &[&["Q BEGIN; SAVEPOINT a; SAVEPOINT a; RELEASE a; ROLLBACK TO a; COMMIT"]],
    // Settings: with their transaction, LOCAL, and told to the client.
    &[
        &["Q SET application_name = 'x'"],
        &["Q SHOW application_name"],
        &["Q RESET application_name"],
    ],
    &[
        &["Q BEGIN"],
        &["Q SET application_name = 'x'"],
        &["Q ROLLBACK"],
        &["Q SHOW application_name"],
    ],
    &[
        &["Q BEGIN"],
        &["Q SET LOCAL application_name = 'x'"],
        &["Q COMMIT"],
        &["Q SHOW application_name"],
    ],
    &[&["Q SET application_name = 'x'; SHOW nonsense"], &["Q SHOW application_name"]],
    &[&["Q SET LOCAL application_name = 'x'"], &["Q SHOW application_name"]],
    &[
        &["Q SET TIME ZONE 'Europe/Berlin'"],
        &["Q SHOW TimeZone"],
        &["Q SET TimeZone = 'Nowhere'"],
        &["Q SET TIME ZONE DEFAULT"],
    ],
    &[
        &["Q SET DateStyle = 'ISO, DMY'"],
        &["Q SHOW DateStyle"],
        &["Q SET extra_float_digits = 3"],
        &["Q SHOW extra_float_digits"],
    ],
    &[
        &["Q SET statement_timeout = '90s'"],
        &["Q SHOW statement_timeout"],
        &["Q SET statement_timeout = 1500"],
        &["Q SHOW statement_timeout"],
        &["Q SET statement_timeout = 'x'"],
    ],
    &[
        &["Q SET search_path TO a, \"B\""],
        &["Q SHOW search_path"],
        &["Q SET app.name = 'me'"],
        &["Q SHOW app.name"],
        &["Q SHOW app.other"],
    ],
    &[
        &["Q SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE"],
        &["Q SHOW default_transaction_isolation"],
        &["Q SHOW transaction_isolation"],
    ],
    &[
        &["Q SELECT set_config('app.x', 'y', false)"],
        &["Q SELECT current_setting('app.x')"],
        &["Q SELECT current_setting('app.z', true) AS z"],
        &["Q SELECT current_setting('app.z')"],
    ],
    &[
        &["Q SELECT current_user, session_user AS me"],
        &["Q SELECT current_schema()"],
        &["Q SELECT * FROM current_schema()"],
    ],
    &[
        &["Q SELECT current_schemas(true)"],
        &["Q SELECT pg_catalog.current_schemas(false)::text[] AS s"],
        &["Q SELECT pg_is_in_recovery()"],
    ],
    &[&["P _ SELECT set_config($1, $2, $3)", "D S _", "B _ _ app.x,7,f", "E _", "S"]],
    // Values that only pass through.
    &[
        &["P s SELECT $1::numeric AS n", "D S s", "B _ s 1.50", "E _", "S"],
        &["B _ s -00.10", "E _", "B _ s 12345678901234567890123456789012345.6", "E _", "S"],
        &["P _ SELECT $1::smallint[]::int[]", "D S _", "B _ _ {7}", "E _", "S"],
        &["Q SELECT '{1,2}'::smallint[]::bigint[], ARRAY[1::int2]::int4[]"],
    ],
    // What leaves things as they were.
    &[&["Q UNLISTEN *"], &["Q CLOSE ALL"], &["Q DEALLOCATE ALL"], &["Q DISCARD ALL"]],
    &[&["P s SHOW TimeZone", "S"], &["Q DEALLOCATE s"], &["Q DEALLOCATE s"], &["B _ s", "S"]],
    &[&["Q BEGIN"], &["Q DISCARD ALL"], &["Q ROLLBACK"]],
    // Advisory locks.
    &[
        &["Q SELECT pg_try_advisory_lock(77)"],
        &["Q SELECT pg_advisory_unlock(77)"],
        &["Q SELECT pg_advisory_unlock(77)"],
    ],
    &[
        &["Q BEGIN"],
        &["Q SELECT pg_advisory_xact_lock(1, 2)"],
        &["Q COMMIT"],
        &["Q SELECT pg_advisory_unlock_all()"],
    ],
    // Syntax errors, before anything runs.
    &[
        &["Q SET application_name = 'x'; BEGIN x"],
        &["Q SHOW application_name"],
        &["Q SET"],
        &["Q SHOW"],
    ],
    // A protocol error ends it.
    &[&["Q SHOW TimeZone", "d x", "c", "S"]],
];

#[tokio::test]
async fn the_same_messages_get_the_same_answers() {
    for target in Target::all() {
        let site = Site::start(target, "", "").await;
        let mut unlike = Vec::new();
        for script in SCRIPTS {
            let theirs = play(&site, false, script).await;
            let ours = play(&site, true, script).await;
            if theirs != ours {
                unlike.push(format!("{script:?}\n  theirs: {theirs:#?}\n  ours:   {ours:#?}"));
            }
        }
        assert!(unlike.is_empty(), "{target:?}: {} unlike\n{}", unlike.len(), unlike.join("\n"));
    }
}

#[tokio::test]
async fn what_is_not_served_is_refused_by_its_name() {
    let site = Site::start(Target::MariaDb, "", "").await;
    let client = site.client().await;
    for (sql, named) in [
        ("COPY t TO STDOUT", "COPY"),
        ("LISTEN x", "LISTEN"),
        ("CREATE TABLE x (a int)", "CREATE"),
        ("DO $$ BEGIN END $$", "DO"),
        ("SET client_encoding = 'LATIN1'", "client_encoding"),
        ("SET DateStyle = 'German'", "datestyle"),
        ("SET standard_conforming_strings = off", "standard_conforming_strings"),
    ] {
        let error = client.batch_execute(sql).await.unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code().code(), "0A000", "{sql}");
        assert!(error.message().contains(named), "{}", error.message());
    }
}

#[tokio::test]
async fn a_cancel_request_ends_the_statement_and_nothing_else() {
    for target in Target::all() {
        let site = Site::start(target, "", "").await;
        let (holder, waiter) = (site.client().await, site.client().await);
        holder.batch_execute("SELECT pg_advisory_lock(5)").await.unwrap();
        waiter.batch_execute("BEGIN; SELECT pg_advisory_lock(6)").await.unwrap();
        let token = waiter.cancel_token();
        let waits = waiter.batch_execute("SELECT pg_advisory_lock(5)");
        let mut waits = std::pin::pin!(waits);
        let error = loop {
            // A request that comes before the statement hits nothing: so it is repeated.
            token.cancel_query(tokio_postgres::NoTls).await.unwrap();
            let patience = Duration::from_millis(100);
            if let Ok(ended) = tokio::time::timeout(patience, waits.as_mut()).await {
                break ended.unwrap_err();
            }
        };
        assert_eq!(error.as_db_error().unwrap().code().code(), "57014", "{target:?}");
        waiter.batch_execute("ROLLBACK").await.unwrap();
        let row = waiter.query_one("SELECT pg_try_advisory_lock(5)", &[]).await.unwrap();
        assert!(!row.get::<_, bool>(0));
        drop(holder);
        let free = async {
            loop {
                let row = waiter.query_one("SELECT pg_try_advisory_lock(5)", &[]).await.unwrap();
                if row.get::<_, bool>(0) {
                    break;
                }
            }
        };
        tokio::time::timeout(PATIENCE, free).await.expect("a lock ends with its session");
    }
}

/// A change of who answers is a pause between two transactions: statements, settings and the connection
/// stay, and a transaction that is open is waited for.
#[tokio::test]
async fn a_session_that_is_handed_over_goes_on_as_it_was() {
    let site = Site::start(Target::MariaDb, "", "").await;
    let client = site.client().await;
    client.batch_execute("SET app.x = 'kept'; SET TIME ZONE 'Europe/Berlin'").await.unwrap();
    let prepared = client.prepare("SELECT current_setting('app.x')").await.unwrap();
    client.batch_execute("BEGIN; SET LOCAL app.x = 'local'").await.unwrap();
    let answers = (**site.situation.borrow()).clone();
    let pauses = Situation { phase: Phase::DualWrite, ..answers.clone() };
    site.situation.send_replace(Arc::new(pauses));
    let inside: String = client.query_one(&prepared, &[]).await.unwrap().get(0);
    assert_eq!(inside, "local", "an open transaction is not cut");
    client.batch_execute("COMMIT").await.unwrap();
    let waiting = client.query_one(&prepared, &[]);
    let mut waiting = std::pin::pin!(waiting);
    let early = tokio::time::timeout(Duration::from_millis(200), waiting.as_mut()).await;
    assert!(early.is_err(), "nobody answers meanwhile");
    site.situation.send_replace(Arc::new(answers));
    let after: String = waiting.await.unwrap().get(0);
    let zone: String = client.query_one("SHOW TimeZone", &[]).await.unwrap().get(0);
    assert_eq!((after.as_str(), zone.as_str()), ("kept", "Europe/Berlin"));
}

#[tokio::test]
async fn an_idle_transaction_is_ended_when_the_client_asked_for_it() {
    let site = Site::start(Target::MariaDb, "", "").await;
    let mut told = Vec::new();
    for answered in [false, true] {
        let mut wire = site.wire(answered).await;
        wire.say(&["Q SET idle_in_transaction_session_timeout = '50ms'", "Q BEGIN"]).await;
        wire.hear(2).await;
        let said = wire.until(b'E').await;
        let fields = said.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        let kept = fields.filter(|field| field.starts_with(['S', 'C', 'M'])).collect::<Vec<_>>();
        told.push(kept.join("|"));
    }
    assert_eq!(told[1], told[0]);
}

#[tokio::test]
async fn what_sessions_keep_prepared_stays_within_what_mysql_allows() {
    for target in Target::all() {
        let world = World::with_settings(target, &[], &[]).await;
        let table = "CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL)";
        let rows = "INSERT INTO t SELECT g, g FROM generate_series(1, 20) g";
        let site = Site::in_world(world, table, rows).await;
        let mut conn = site.world.secondary().await;
        // One more than all keep together, for what is prepared for one execution; then fewer.
        for allowed in [5, 3] {
            let sql = format!("SET GLOBAL max_prepared_stmt_count = {allowed}");
            conn.query_drop(sql).await.unwrap();
            let clients = match allowed {
                3 => vec![site.client().await],
                _ => vec![site.client().await, site.client().await, site.client().await],
            };
            for round in 0..2 {
                for client in &clients {
                    for more in 0..6 {
                        let sql = format!("SELECT n + {more} FROM t WHERE id = $1");
                        let row = client.query_one(&sql, &[&7]).await.unwrap();
                        assert_eq!(row.get::<_, i32>(0), 7 + more, "{target:?} {round}");
                    }
                    for more in 0..6 {
                        let sql = format!("INSERT INTO t VALUES ($1, {more})");
                        let error = client.execute(&sql, &[&7]).await.unwrap_err();
                        assert_eq!(error.code().unwrap().code(), "23505", "{error:?}");
                    }
                }
            }
            drop(clients);
            let gone = async || {
                let sql = "SHOW GLOBAL STATUS LIKE 'Prepared_stmt_count'";
                let count: Option<(String, u32)> = conn.query_first(sql).await.unwrap();
                count.unwrap().1 == 0
            };
            site.world.until("nothing is kept for nobody", gone).await;
        }
    }
}

/// A hold that comes after an Execute waits for the Sync: what it has run is nowhere else.
#[tokio::test]
async fn a_hold_waits_for_the_end_of_what_was_begun_in_parts() {
    let site = Site::start(Target::MariaDb, "", "").await;
    let mut wire = site.wire(true).await;
    wire.say(&["P s SHOW TimeZone", "B p s", "E p", "H"]).await;
    for expected in [b'1', b'2', b'D', b'C'] {
        let (tag, _) = wire.message().await.unwrap();
        assert_eq!(tag, expected);
    }
    site.hold.begin(false);
    let too_early = tokio::time::timeout(Duration::from_millis(300), site.hold.drained()).await;
    assert!(too_early.is_err(), "it rests in the middle of a transaction that has run a statement");
    wire.say(&["S"]).await;
    wire.hear(1).await;
    let drained = tokio::time::timeout(PATIENCE, site.hold.drained()).await;
    assert!(drained.unwrap().is_empty());
    wire.say(&["B p s", "E p", "S"]).await;
    site.hold.end();
    assert!(wire.hear(1).await.contains("SHOW"));
}
