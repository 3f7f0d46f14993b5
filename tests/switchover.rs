//! The coordinator of switchover and rollback, on real servers; the sidecars are played by the tests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossfade::admin::client::{get, post};
use crossfade::backend::mysql::control::{Turn, turn};
use crossfade::backend::mysql::{Link, Outcome as Written, Writer};
use crossfade::backend::postgres::attempts::{self, Attempt};
use crossfade::backend::postgres::follow::{FollowLimits, Follower};
use crossfade::backend::postgres::introspect;
use crossfade::backend::postgres::refuse;
use crossfade::catalog::naming::Naming;
use crossfade::config::Config;
use crossfade::control::Ends;
use crossfade::control::switchover::{
    Direction, Ended, Options, Outcome, SwitchError, Tell, Told, look, run,
};
use crossfade::names::TableName;
use mysql_async::prelude::Queryable as _;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::support::process::verb;
use crate::support::{PATIENCE, Target, World, connect};
use crate::writer::{insert, int, text};

const SCHEMA: &str = "\
    CREATE TABLE users (id serial PRIMARY KEY, email text NOT NULL UNIQUE);
    CREATE TABLE sessions (id int PRIMARY KEY, user_id int REFERENCES users ON DELETE CASCADE);
    CREATE TABLE events (id int, at date, what text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
    CREATE TABLE events_old PARTITION OF events FOR VALUES FROM ('2000-01-01') TO ('2025-01-01');
    CREATE TABLE scratch (n int PRIMARY KEY)";
const TABLES: &str = "scratch: { mode: off }\n\"*\": { mode: blocking, timeout: 10s }";
/// Longer than any test waits, and short enough not to be waited for by mistake.
const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(1500);
/// How often a sidecar that is played looks.
const PACE: Duration = Duration::from_millis(5);

struct Site {
    world: World,
    config: Config,
    ends: Ends,
}

/// A sidecar that is played.
struct Played(JoinHandle<()>);

impl Drop for Played {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Clone, Copy, PartialEq)]
enum How {
    /// Holds and drains as soon as it is asked to.
    Good,
    /// Its line is renewed, and it says nothing.
    Silent,
    /// Holds, and its transactions do not end.
    Open,
    /// One session has a temporary table; drains where sessions may be ended.
    Obstructed,
}

impl Site {
    /// Dual writes have begun, both sides are equal, and that was verified.
    async fn start(target: Target) -> Self {
        Self::over(World::granted(target, SCHEMA, TABLES).await).await
    }

    async fn over(world: World) -> Self {
        let direct = world.direct().await;
        world.setup();
        direct.batch_execute("INSERT INTO users (email) VALUES ('a'), ('b')").await.unwrap();
        let mut secondary = world.secondary().await;
        secondary.query_drop("INSERT INTO users VALUES (1, 'a'), (2, 'b')").await.unwrap();
        world.verb(&["verify"]);
        let config = Config::load(&world.config).unwrap();
        let ends = config.ends().unwrap();
        Self { world, config, ends }
    }

    async fn run(&self, options: &Options) -> Outcome {
        self.told(options, &|_| {}).await.unwrap()
    }

    async fn told(&self, options: &Options, tell: Tell<'_>) -> Result<Outcome, SwitchError> {
        run(&self.ends, &self.config.tables, &BTreeMap::new(), options, tell).await
    }

    /// It must be done.
    #[track_caller]
    fn done(&self, outcome: &Outcome, epoch: u64) {
        assert_eq!((outcome.outcome, outcome.epoch), (Ended::Done, epoch), "{outcome:?}");
        assert!(outcome.reasons.is_empty(), "{outcome:?}");
    }

    /// What `crossfade.epoch` holds, and what MySQL says.
    async fn turns(&self) -> (i64, Turn) {
        let postgres = self.one::<i64>("SELECT last_value FROM crossfade.epoch").await;
        let mut conn = self.world.secondary().await;
        (postgres, turn(&mut conn).await.unwrap().unwrap())
    }

    async fn one<T: for<'a> tokio_postgres::types::FromSql<'a>>(&self, sql: &str) -> T {
        self.world.admin().await.query_one(sql, &[]).await.unwrap().get(0)
    }

    async fn attempts(&self) -> Vec<Attempt> {
        attempts::list(&self.world.admin().await).await.unwrap()
    }

    async fn play(&self, id: &str, how: How) -> Played {
        self.play_for(id, how, "1 hour").await
    }

    /// One whose lease runs out after this.
    async fn play_for(&self, id: &str, how: How, lease: &str) -> Played {
        let admin = self.world.admin().await;
        let version = env!("CARGO_PKG_VERSION");
        let line = format!(
            "INSERT INTO crossfade.sidecars (id, address, epoch, version, lease_ms, lease_until) \
             VALUES ('{id}', 'here', 1, '{version}', 700, now() + interval '{lease}')"
        );
        admin.batch_execute(&line).await.unwrap();
        let answer = match how {
            How::Silent => "SELECT".to_owned(),
            How::Obstructed => format!(
                "INSERT INTO crossfade.attempt_sidecars (attempt, sidecar, obstacles) \
                 SELECT id, '{id}', ARRAY['a temporary table'] FROM crossfade.attempts \
                 WHERE state IN ('announced', 'held') ON CONFLICT DO NOTHING"
            ),
            How::Good | How::Open => format!(
                "INSERT INTO crossfade.attempt_sidecars (attempt, sidecar) \
                 SELECT id, '{id}' FROM crossfade.attempts \
                 WHERE state IN ('announced', 'held') ON CONFLICT DO NOTHING"
            ),
        };
        let which = match how {
            How::Good => "true",
            How::Obstructed => "a.terminate",
            How::Silent | How::Open => "false",
        };
        let drain = format!(
            "UPDATE crossfade.attempt_sidecars s SET held = clock_timestamp(), \
             drained = clock_timestamp() FROM crossfade.attempts a WHERE a.id = s.attempt \
             AND a.state = 'held' AND s.sidecar = '{id}' AND s.drained IS NULL AND {which}"
        );
        let mut pace = tokio::time::interval(PACE);
        Played(tokio::spawn(async move {
            loop {
                pace.tick().await;
                admin.batch_execute(&answer).await.unwrap();
                admin.batch_execute(&drain).await.unwrap();
            }
        }))
    }

    /// Waits until the coordinator has asked this, from now on; the question's text is unlike any other's.
    async fn asked(&self, question: &str) {
        let admin = self.world.admin().await;
        let sql = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() \
            AND pid <> pg_backend_pid() AND $2::text::timestamptz < query_start AND strpos(query, $1) > 0)";
        let now: String =
            admin.query_one("SELECT clock_timestamp()::text", &[]).await.unwrap().get(0);
        let asked = async || admin.query_one(sql, &[&question, &now]).await.unwrap().get(0);
        self.world.until(question, asked).await;
    }

    /// Writes a row to PostgreSQL as its applier would.
    async fn follow(&self, epoch: u64, id: i64) -> Vec<Written> {
        let admin = self.world.admin().await;
        let policies = &self.config.tables;
        let catalog = introspect::introspect(&admin, policies, &Naming::default()).await.unwrap();
        let table = Arc::clone(catalog.by_name(&TableName::parse("users")).unwrap());
        let follower = Follower::connect(&self.ends.from, FollowLimits::default()).await.unwrap();
        let mut change = insert(&table, (1, 0), &[int(id), text(&format!("followed {id}"))]);
        change.version.epoch = epoch;
        Writer::new(follower).write(&[&[change]], epoch, &catalog).await.unwrap()
    }
}

fn options(direction: Direction, timeout: Duration) -> Options {
    let accept = Vec::new();
    Options { direction, group: None, dry_run: false, timeout, accept, terminate: false }
}

fn forward() -> Options {
    options(Direction::Switchover, LONG)
}

fn back() -> Options {
    options(Direction::Rollback, LONG)
}

fn mysql_leads(epoch: u64) -> (i64, Turn) {
    (
        i64::try_from(epoch * 2 + 1).unwrap(),
        Turn { epoch, mysql_is_primary: true, leads_part: false },
    )
}

fn postgres_leads(epoch: u64) -> (i64, Turn) {
    (i64::try_from(epoch * 2).unwrap(), Turn { epoch, mysql_is_primary: false, leads_part: false })
}

fn sqlstate(error: &tokio_postgres::Error) -> &str {
    error.code().unwrap().code()
}

#[tokio::test]
async fn the_primary_changes_there_and_back_and_there_again() {
    for target in Target::all() {
        let site = Site::start(target).await;
        let sidecars = [site.play("one", How::Good).await, site.play("two", How::Good).await];
        let began = Instant::now();
        let outcome = site.run(&forward()).await;
        site.done(&outcome, 2);
        assert!(outcome.hold_seconds <= began.elapsed().as_secs_f64(), "{outcome:?}");
        assert_eq!(site.turns().await, mysql_leads(2));

        let again = site.run(&forward()).await;
        assert_eq!(again.outcome, Ended::Refused);
        assert_eq!(again.reasons, ["MySQL is the primary already"]);

        site.done(&site.run(&back()).await, 3);
        assert_eq!(site.turns().await, postgres_leads(3));
        site.done(&site.run(&forward()).await, 4);
        assert_eq!(site.turns().await, mysql_leads(4));
        drop(sidecars);

        let record = site.attempts().await;
        let states: Vec<_> =
            record.iter().map(|a| (a.direction.as_str(), a.state.as_str(), a.epoch)).collect();
        let expected = [
            ("switchover", "done", 3),
            ("rollback", "done", 2),
            ("switchover", "refused", 2),
            ("switchover", "done", 1),
        ];
        assert_eq!(states, expected);
        let took = &record[0].sidecars;
        assert!(took.len() == 2 && took.iter().all(|one| one.drained.is_some()), "{took:?}");
        assert!(record.iter().all(|a| a.ended.is_some()), "{record:?}");
    }
}

#[tokio::test]
async fn nobody_but_crossfade_writes_to_the_old_primary() {
    // Of tables that it may alter only, it has triggers fire for replica sessions, too: as the superuser.
    let world = World::bare(Target::MariaDb, TABLES).await;
    world.direct().await.batch_execute(SCHEMA).await.unwrap();
    let site = Site::over(world).await;
    let _one = site.play("one", How::Good).await;
    site.done(&site.run(&forward()).await, 2);
    let direct = site.world.direct().await;
    for write in [
        "INSERT INTO users (email) VALUES ('x')",
        "UPDATE users SET email = 'x' WHERE false",
        "DELETE FROM users",
        "TRUNCATE users CASCADE",
        "TRUNCATE events",
        "INSERT INTO events VALUES (1, '2024-05-05', 'x')",
        "INSERT INTO events_old VALUES (1, '2024-05-05', 'x')",
        "MERGE INTO users u USING (SELECT 1 AS id) n ON u.id = n.id WHEN MATCHED THEN DELETE",
    ] {
        let error = direct.batch_execute(write).await.expect_err(write);
        assert_eq!(sqlstate(&error), "25006", "{write}: {error:?}");
    }
    // What is not migrated has no other primary.
    direct.batch_execute("INSERT INTO scratch VALUES (1)").await.unwrap();
    // A superuser's replica session, as an applier of logical replication has it.
    let other = "CREATE ROLE replicator SUPERUSER LOGIN PASSWORD 'x'";
    let admin = site.world.admin().await;
    // Roles are of all tests.
    drop(admin.batch_execute(other).await);
    let port = site.world.postgres_port();
    let other = connect(port, "replicator", "x", &site.world.database).await;
    let error = other.batch_execute("COPY events_old FROM '/dev/null'").await.unwrap_err();
    assert_eq!(sqlstate(&error), "25006");
    other.batch_execute("SET session_replication_role = replica").await.unwrap();
    let error = other.batch_execute("DELETE FROM users").await.unwrap_err();
    assert_eq!(sqlstate(&error), "25006");

    assert_eq!(site.follow(2, 50).await, [Written::Applied]);
    let users: i64 = site.one("SELECT count(*) FROM users").await;
    assert_eq!(users, 3);

    site.done(&site.run(&back()).await, 3);
    direct.batch_execute("INSERT INTO users (email) VALUES ('again')").await.unwrap();
    direct.batch_execute("INSERT INTO events_old VALUES (1, '2024-05-05', 'x')").await.unwrap();
    site.world
        .until("the triggers are gone", async || {
            site.one::<i64>("SELECT count(*) FROM pg_trigger WHERE tgname = 'crossfade_refuse'")
                .await
                == 0
        })
        .await;
}

#[tokio::test]
async fn no_number_is_given_twice() {
    for target in Target::all() {
        let site = Site::start(target).await;
        let direct = site.world.direct().await;
        // Rolled back, so no row tells.
        direct
            .batch_execute("SELECT nextval('users_id_seq') FROM generate_series(1, 50)")
            .await
            .unwrap();
        site.done(&site.run(&forward()).await, 2);
        let mut conn = site.world.secondary().await;
        conn.query_drop("INSERT INTO users (email) VALUES ('c')").await.unwrap();
        let id: Option<i64> =
            conn.query_first("SELECT id FROM users WHERE email = 'c'").await.unwrap();
        assert_eq!(id, Some(53), "{target:?}");
        conn.query_drop("INSERT INTO users VALUES (99, 'd')").await.unwrap();
        conn.query_drop("DELETE FROM users WHERE id > 2").await.unwrap();
        site.done(&site.run(&back()).await, 3);
        assert_eq!(site.one::<i64>("SELECT nextval('users_id_seq')").await, 100, "{target:?}");
        // What is ahead stays ahead.
        site.done(&site.run(&forward()).await, 4);
        site.done(&site.run(&back()).await, 5);
        assert_eq!(site.one::<i64>("SELECT nextval('users_id_seq')").await, 101, "{target:?}");
    }
}

#[tokio::test]
async fn every_reason_against_it_is_told_at_once_and_nothing_is_changed() {
    let site = Site::start(Target::MariaDb).await;
    let admin = site.world.admin().await;
    let bad = "
        UPDATE crossfade.tables SET dirty_reason = 'copy', dirty_since = now() WHERE name = 'sessions';
        DELETE FROM crossfade.verified WHERE table_id =
            (SELECT id FROM crossfade.tables WHERE name = 'events');
        INSERT INTO crossfade.outbox (table_id, op, key, epoch, counter, attempts)
            VALUES (1, 'U', '', 1, 1, 3);
        INSERT INTO crossfade.outbox (table_id, op, key, epoch, counter, at)
            VALUES (1, 'U', '', 1, 1, now() - interval '1 minute');
        INSERT INTO crossfade.sidecars (id, address, epoch, version, lease_ms, lease_until)
            VALUES ('old', 'there', 1, '0.0.0', 700, now() + interval '1 hour');
        ALTER TABLE sessions ENABLE ROW LEVEL SECURITY;
        ALTER FUNCTION crossfade.trigger_guard() OWNER TO app;
        INSERT INTO crossfade.statements VALUES ('00000000000000ab', 'SELECT ?', 'read', NULL, 1, now(),
            now(), 'refused: LATERAL', 0, 0, 0, 0, 0, 0, now());
        CREATE TABLE keyless (n int);
        INSERT INTO crossfade.backfill VALUES ((SELECT id FROM crossfade.tables WHERE name = 'users'),
            'stopped', '', 1, 2, 0, 0, now())";
    admin.batch_execute("CREATE TABLE IF NOT EXISTS crossfade.backfill (table_id integer PRIMARY KEY, \
        state text NOT NULL, activity text NOT NULL, rows bigint NOT NULL, expected bigint NOT NULL, \
        refused bigint NOT NULL, rate double precision NOT NULL, at timestamptz NOT NULL)").await.unwrap();
    admin.batch_execute(bad).await.unwrap();
    let open = "INSERT INTO crossfade.attempts (direction, epoch, state, terminate, deadline) \
        VALUES ('switchover', 1, 'announced', false, now() + interval '1 hour')";
    admin.batch_execute(open).await.unwrap();
    let outcome = site.run(&forward()).await;
    assert_eq!(outcome.outcome, Ended::Refused);
    let all = outcome.reasons.join("\n");
    for part in [
        "attempt 1 is under way",
        "sidecar old at there is of version 0.0.0",
        "PostgreSQL would refuse what MySQL has written: setup was run as role app, this is own_",
        "table sessions is dirty (copy)",
        "table events was not verified",
        "table users was not verified",
        "backfill of table users is not complete (stopped)",
        "table keyless cannot be migrated (no primary key)",
        "statement 00000000000000ab cannot be translated: LATERAL",
        "table sessions has row-level security",
        "1 entries are stuck",
        "the oldest write on its way has waited for",
    ] {
        assert!(all.contains(part), "no \"{part}\" in\n{all}");
    }
    assert_eq!(site.turns().await, postgres_leads(1));
    assert!(!all.contains("SELECT"), "{all}");
    let triggers = "SELECT count(*) FROM pg_trigger WHERE tgname = 'crossfade_refuse'";
    assert_eq!(site.one::<i64>(triggers).await, 0);

    let looked = look(&site.ends, &site.config.tables, &BTreeMap::new(), None).await.unwrap();
    assert_eq!(looked.direction, Some(Direction::Switchover));
    let shut: Vec<&str> =
        looked.gates.iter().filter(|gate| !gate.ok).map(|gate| gate.name.as_str()).collect();
    let expected = [
        "attempt",
        "sidecars",
        "dirty",
        "verified",
        "backfill",
        "tables",
        "statements",
        "row_security",
        "outbox",
        "rehearsal",
    ];
    assert_eq!(shut, expected, "{looked:#?}");
}

#[tokio::test]
async fn the_command_line_says_how_it_ended() {
    let site = Site::start(Target::MariaDb).await;
    let config = &site.world.config;
    let (code, said) = verb(config, &["switchover", "--dry-run", "--group", "auth"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("no table that is migrated is of group auth"), "{said}");
    let (code, said) = verb(config, &["switchover", "--timeout", "1"]);
    assert_eq!(code, Some(2), "{said}");
    let (code, said) = verb(config, &["rollback"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("PostgreSQL is the primary"), "{said}");
    let dry = ["switchover", "--dry-run", "--format", "json"];
    let said: Value = serde_json::from_str(&site.world.verb(&dry)).unwrap();
    assert_eq!(
        (&said["outcome"], &said["epoch"], &said["hold_seconds"]),
        (&json!("ready"), &json!(1), &json!(0.0))
    );
    let function = "SELECT to_regproc('crossfade.refuse') IS NULL \
        AND to_regclass('crossfade.fence') IS NULL";
    assert!(site.one::<bool>(function).await, "a dry run changes nothing");
    // The refused rollback only.
    assert_eq!(site.attempts().await.len(), 1);
    let said = site.world.verb(&["switchover"]);
    assert!(said.contains("MySQL is the primary, epoch 2"), "{said}");
    let said = site.world.verb(&["rollback", "--format", "json"]);
    let said: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!((&said["outcome"], &said["epoch"]), (&json!("done"), &json!(3)));
}

#[tokio::test]
async fn sidecars_that_do_not_answer_drain_or_move_undo_it() {
    let site = Site::start(Target::MariaDb).await;
    let _good = site.play("good", How::Good).await;
    for (how, reason) in [
        (How::Silent, "sidecar bad at here did not answer in time"),
        (How::Open, "sidecar bad at here has transactions that did not end in time"),
        (How::Obstructed, "sidecar bad at here: a temporary table"),
    ] {
        let bad = site.play("bad", how).await;
        let timeout = if how == How::Obstructed { LONG } else { SHORT };
        let outcome = site.run(&options(Direction::Switchover, timeout)).await;
        assert_eq!((outcome.outcome, outcome.epoch), (Ended::Undone, 1), "{outcome:?}");
        assert_eq!(outcome.reasons, [reason]);
        assert_eq!(site.turns().await, postgres_leads(1));
        assert_eq!(site.attempts().await[0].state, "undone");
        assert_eq!(site.attempts().await[0].reasons, [reason]);
        drop(bad);
        site.world
            .admin()
            .await
            .batch_execute("DELETE FROM crossfade.sidecars WHERE id = 'bad'")
            .await
            .unwrap();
    }
    let _bad = site.play("bad", How::Obstructed).await;
    site.done(&site.run(&Options { terminate: true, ..forward() }).await, 2);
}

#[tokio::test]
async fn one_that_is_cut_off_is_waited_out_for_a_lease() {
    for target in Target::all() {
        let site = Site::start(target).await;
        let _good = site.play("good", How::Good).await;
        for (options, epoch) in [(forward(), 2), (back(), 3)] {
            let _gone = site.play_for("gone", How::Silent, "3 s").await;
            let waited = AtomicBool::new(false);
            let tell = |told: &Told| {
                let is = matches!(told, Told::WaitsLease(lease) if lease.as_millis() == 700);
                waited.fetch_or(is, Ordering::Relaxed);
            };
            let began = Instant::now();
            site.done(&site.told(&options, &tell).await.unwrap(), epoch);
            assert!(waited.load(Ordering::Relaxed), "{target:?} {options:?}");
            assert!(Duration::from_millis(700) <= began.elapsed());
            let gone = "DELETE FROM crossfade.sidecars WHERE id = 'gone'";
            site.world.admin().await.batch_execute(gone).await.unwrap();
        }
    }
}

#[tokio::test]
async fn an_open_transaction_is_waited_for_whoever_s_it_is() {
    let site = Site::start(Target::MariaDb).await;
    let _one = site.play("one", How::Good).await;
    let short = options(Direction::Switchover, SHORT);

    // Before there were triggers: making them waits.
    let writer = site.world.direct().await;
    writer.batch_execute("BEGIN; INSERT INTO users (email) VALUES ('x')").await.unwrap();
    let outcome = site.run(&short).await;
    assert_eq!(outcome.outcome, Ended::Refused);
    let reason = "a transaction that has written to public.users does not end";
    let [found] = &outcome.reasons[..] else { panic!("{outcome:?}") };
    let who = found.strip_prefix(reason).and_then(|rest| rest.strip_prefix(": role app, process "));
    let who = who.unwrap_or_else(|| panic!("{found}"));
    assert!(who.contains(", open for ") && who.ends_with(" s (idle in transaction)"), "{found}");
    writer.batch_execute("ROLLBACK").await.unwrap();

    // With them, and with a captured write: the lock waits.
    let silent = site.play("bad", How::Obstructed).await;
    assert_eq!(site.run(&forward()).await.outcome, Ended::Undone);
    drop(silent);
    let gone = "DELETE FROM crossfade.sidecars WHERE id = 'bad'";
    site.world.admin().await.batch_execute(gone).await.unwrap();
    let timeline = "substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)";
    for write in [
        "INSERT INTO users (email) VALUES ('x')".to_owned(),
        format!("SELECT crossfade.guard(1, {timeline})"),
    ] {
        writer.batch_execute(&format!("BEGIN; {write}")).await.unwrap();
        let outcome = site.run(&short).await;
        assert_eq!(outcome.outcome, Ended::Undone, "{write}");
        let reason = "a transaction that has written did not end in time: role app, process ";
        assert!(outcome.reasons[0].starts_with(reason), "{outcome:?}");
        assert_eq!(site.turns().await, postgres_leads(1));

        let drained = Notify::new();
        let tell = |told: &Told| {
            if *told == Told::Drained {
                drained.notify_one();
            }
        };
        let end = async {
            drained.notified().await;
            // It has to be asked for at least once while the writer is there, and may not queue.
            site.asked("SELECT pg_catalog.pg_try_advisory_lock").await;
            let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted \
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
            assert_eq!(site.one::<i64>(waiting).await, 0);
            writer.batch_execute("ROLLBACK").await.unwrap();
        };
        if write.starts_with("INSERT") {
            // Left to the other one.
            writer.batch_execute("ROLLBACK").await.unwrap();
            continue;
        }
        let options = forward();
        let (outcome, ()) = tokio::join!(site.told(&options, &tell), end);
        site.done(&outcome.unwrap(), 2);
    }
}

/// Whoever finishes an earlier change may come late, and takes nothing away that a later one needs.
#[tokio::test]
async fn what_refuses_other_writers_is_taken_off_by_nobody_who_comes_late() {
    let site = Site::start(Target::MariaDb).await;
    let _one = site.play("one", How::Good).await;
    let ours = site.ends.from.connect().await.unwrap();
    let there =
        async || site.one::<bool>("SELECT to_regprocedure('crossfade.refuse()') IS NOT NULL").await;
    site.done(&site.run(&forward()).await, 2);
    // MySQL leads, and somebody is at the end of an earlier rollback.
    refuse::uncover(&ours, 2).await.unwrap();
    assert!(there().await);
    site.done(&site.run(&back()).await, 3);
    refuse::create(&ours).await.unwrap();
    let attempt = "INSERT INTO crossfade.attempts (direction, epoch, state, terminate, deadline) \
        VALUES ('switchover', 3, 'announced', false, now() + interval '1 hour')";
    site.world.admin().await.batch_execute(attempt).await.unwrap();
    refuse::uncover(&ours, 6).await.unwrap();
    assert!(there().await, "another change has begun");
    let over = "UPDATE crossfade.attempts SET state = 'undone' WHERE state = 'announced'";
    site.world.admin().await.batch_execute(over).await.unwrap();
    refuse::uncover(&ours, 6).await.unwrap();
    assert!(!there().await);
}

/// What our own statements hold is no session's own.
#[tokio::test]
async fn a_lock_of_our_own_class_is_not_taken_for_the_application_s() {
    let site = Site::start(Target::MariaDb).await;
    let ours = site.world.direct().await;
    let class = crossfade::backend::postgres::control::LOCK_CLASS;
    ours.batch_execute(&format!("SELECT pg_advisory_lock_shared({class}, 9)")).await.unwrap();
    let theirs = site.world.direct().await;
    let pid = "SELECT pg_advisory_lock(7), pg_backend_pid()";
    let pid: i32 = theirs.query_one(pid, &[]).await.unwrap().get(1);
    let outcome = site.run(&Options { dry_run: true, ..forward() }).await;
    let locks: Vec<&String> =
        outcome.reasons.iter().filter(|reason| reason.contains("advisory")).collect();
    assert_eq!(locks, [&format!("role app, process {pid}: an advisory lock")], "{outcome:?}");
}

/// Whoever reads MySQL can try passwords against what is kept there: it is kept for those who need it.
#[tokio::test]
async fn only_verifiers_of_roles_that_use_migrated_tables_are_kept() {
    let site = Site::start(Target::MariaDb).await;
    let (admin, database) = (site.world.admin().await, &site.world.database);
    for (role, more) in [("reads", ""), ("idle", ""), ("boss", "SUPERUSER")] {
        let create = format!("CREATE ROLE {role}_{database} LOGIN {more} PASSWORD 'secret'");
        admin.batch_execute(&create).await.unwrap();
    }
    let grant = format!(
        "GRANT SELECT (email) ON users TO reads_{database}; GRANT SELECT ON scratch TO idle_{database}; \
         ALTER TABLE sessions OWNER TO boss_{database}"
    );
    admin.batch_execute(&grant).await.unwrap();
    let boss = format!("boss_{database}");
    let open = connect(site.world.postgres_port(), &boss, "secret", database).await;
    let refused = site.run(&Options { dry_run: true, ..forward() }).await;
    let [reason] = &refused.reasons[..] else { panic!("{refused:?}") };
    let expected = format!("role {boss} is a superuser, whose verifier is not copied to MySQL");
    assert!(reason.starts_with(&expected), "{refused:?}");
    let _one = site.play("one", How::Good).await;
    site.done(&site.run(&Options { accept: vec![boss.clone()], ..forward() }).await, 2);
    let mut conn = site.world.secondary().await;
    let kept = "SELECT CONVERT(name USING utf8mb4) FROM crossfade_verifiers ORDER BY name";
    let names: Vec<String> = conn.query(kept).await.unwrap();
    assert_eq!(names, ["app".to_owned(), format!("reads_{database}")]);
    site.done(&site.run(&back()).await, 3);
    // Unless it is asked for.
    let verifier = "SELECT rolpassword FROM pg_authid WHERE rolname = $1";
    let verifier: String = admin.query_one(verifier, &[&boss]).await.unwrap().get(0);
    let users = BTreeMap::from([(boss.clone(), verifier)]);
    let outcome = run(&site.ends, &site.config.tables, &users, &forward(), &|_| {}).await.unwrap();
    site.done(&outcome, 4);
    assert!(conn.query::<String, _>(kept).await.unwrap().contains(&boss));
    drop(open);
}

#[tokio::test]
async fn what_is_on_its_way_is_waited_for() {
    for target in Target::all() {
        let site = Site::start(target).await;
        let _one = site.play("one", How::Good).await;
        let admin = site.world.admin().await;
        let mut conn = site.world.secondary().await;
        // As one leaves it that has claimed it, and is gone.
        let entry = "INSERT INTO crossfade.outbox (table_id, op, key, epoch, counter, next_try) \
            VALUES (1, 'U', '', 1, 1, now() + interval '1 hour')";
        for (short, taken, is_forward) in
            [(true, false, true), (false, true, true), (true, false, false), (false, true, false)]
        {
            let direction = if is_forward { Direction::Switchover } else { Direction::Rollback };
            let options = options(direction, if short { SHORT } else { LONG });
            match is_forward {
                true => admin.batch_execute(entry).await.unwrap(),
                false => {
                    let entry = "INSERT INTO crossfade_outbox (table_id, op, `key`, epoch, counter, next_try) \
                        VALUES (1, 'U', '', 2, 1, NOW(6) + INTERVAL 1 HOUR)";
                    conn.query_drop(entry).await.unwrap();
                }
            }
            let before = site.turns().await;
            let drained = Notify::new();
            let tell = |told: &Told| {
                if *told == Told::Drained {
                    drained.notify_one();
                }
            };
            let end = async {
                drained.notified().await;
                if taken {
                    // What is left was found, and there is time.
                    site.asked("crossfade.attempts a CROSS JOIN crossfade.epoch").await;
                    assert_eq!(site.turns().await, before);
                    let late = "SELECT count(*) FROM crossfade.outbox WHERE now() < next_try";
                    assert_eq!(site.one::<i64>(late).await, 0, "it is tried at once");
                    let late = "SELECT COUNT(*) FROM crossfade_outbox WHERE NOW(6) < next_try";
                    assert_eq!(conn.query_first::<i64, _>(late).await.unwrap(), Some(0));
                    admin.batch_execute("DELETE FROM crossfade.outbox").await.unwrap();
                    conn.query_drop("DELETE FROM crossfade_outbox").await.unwrap();
                }
            };
            let (outcome, ()) = tokio::join!(site.told(&options, &tell), end);
            let outcome = outcome.unwrap();
            if taken {
                assert_eq!(outcome.outcome, Ended::Done, "{outcome:?}");
            } else {
                assert_eq!(outcome.outcome, Ended::Undone, "{outcome:?}");
                assert!(
                    outcome.reasons[0].contains("1 writes were still on their way"),
                    "{outcome:?}"
                );
                admin.batch_execute("DELETE FROM crossfade.outbox").await.unwrap();
                conn.query_drop("DELETE FROM crossfade_outbox").await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn the_coordinator_may_die_anywhere() {
    for target in Target::all() {
        let site = Site::start(target).await;
        let _one = site.play("one", How::Good).await;
        let mut epoch = 1;
        for direction in [Direction::Switchover, Direction::Rollback] {
            // Every step that is told of, there and back, until it is not reached any more.
            for step in 0.. {
                let before = site.turns().await;
                let options = options(direction, LONG);
                let (count, died) = (std::sync::atomic::AtomicUsize::new(0), Notify::new());
                let told = std::sync::Mutex::new(Vec::new());
                let tell = |now: &Told| {
                    told.lock().unwrap().push(now.clone());
                    if count.fetch_add(1, Ordering::Relaxed) == step {
                        died.notify_one();
                    }
                };
                let reached = {
                    let run = std::pin::pin!(site.told(&options, &tell));
                    tokio::select! {
                        biased;
                        () = died.notified() => true,
                        ended = run => {
                            site.done(&ended.unwrap(), epoch + 1);
                            false
                        }
                    }
                };
                let told = told.into_inner().unwrap();
                let moved = told.iter().any(|told| matches!(told, Told::Moved { .. }));
                if reached && !moved {
                    assert_eq!(site.turns().await, before, "{told:?}");
                }
                // Another run closes it, once its time is up, or finishes it.
                if reached {
                    let late = "UPDATE crossfade.attempts SET deadline = now() WHERE ended IS NULL";
                    site.world.admin().await.batch_execute(late).await.unwrap();
                    let mut finished = None;
                    let done = async || {
                        let outcome = finished.insert(site.run(&options).await);
                        outcome.outcome == Ended::Done
                    };
                    site.world.until(&format!("finished after {told:?}"), done).await;
                    site.done(&finished.unwrap(), epoch + 1);
                }
                let leads =
                    if direction == Direction::Switchover { mysql_leads } else { postgres_leads };
                assert_eq!(site.turns().await, leads(epoch + 1), "{told:?}");
                let open = "SELECT count(*) FROM crossfade.attempts WHERE ended IS NULL";
                assert_eq!(site.one::<i64>(open).await, 0, "{told:?}");
                epoch += 1;
                if !reached {
                    assert!(4 < step, "only {step} steps");
                    break;
                }
                // The other way, undisturbed.
                let other = if direction == Direction::Switchover { back() } else { forward() };
                epoch += 1;
                site.done(&site.run(&other).await, epoch);
            }
        }
    }
}

/// Its connections stay, and say nothing: the servers end them, and whoever waits for its locks goes on.
#[tokio::test]
async fn a_coordinator_that_is_frozen_keeps_nobody_waiting() {
    for target in Target::all() {
        let site = Site::start(target).await;
        let _one = site.play("one", How::Good).await;
        for direction in [Direction::Switchover, Direction::Rollback] {
            let (options, alone) = (options(direction, SHORT), Notify::new());
            let tell = |told: &Told| {
                if *told == Told::Alone {
                    alone.notify_one();
                }
            };
            let mut frozen = std::pin::pin!(site.told(&options, &tell));
            tokio::select! {
                biased;
                () = alone.notified() => {}
                ended = &mut frozen => panic!("{ended:?}"),
            }
            let before = site.turns().await;
            let written = async {
                match direction {
                    Direction::Switchover => {
                        let insert = format!("INSERT INTO users (email) VALUES ('{target:?}')");
                        site.world.direct().await.batch_execute(&insert).await.unwrap();
                    }
                    Direction::Rollback => {
                        let mut conn = site.world.secondary().await;
                        conn.query_drop("SET innodb_lock_wait_timeout = 3600").await.unwrap();
                        let lock =
                            "SELECT epoch FROM crossfade_state WHERE id = 1 LOCK IN SHARE MODE";
                        conn.query_drop(lock).await.unwrap();
                    }
                }
            };
            tokio::time::timeout(PATIENCE, written).await.expect("the lock is given up");
            assert_eq!(site.turns().await, before);
            // What it was about to do comes to nothing.
            let outcome = frozen.await;
            assert!(
                !matches!(&outcome, Ok(outcome) if outcome.outcome == Ended::Done),
                "{outcome:?}"
            );
            assert_eq!(site.turns().await, before);
            // What the writer has written is on its way to nobody here.
            let gone = "DELETE FROM crossfade.outbox";
            site.world.admin().await.batch_execute(gone).await.unwrap();
            let epoch = before.1.epoch + 1;
            let done = async || {
                let whole = Options { timeout: LONG, ..options.clone() };
                let outcome = site.run(&whole).await;
                outcome.outcome == Ended::Done && outcome.epoch == epoch
            };
            site.world.until("another run is done", done).await;
        }
    }
}

#[tokio::test]
async fn past_the_epoch_it_goes_forward_only() {
    for target in Target::all() {
        let site = Site::start(target).await;
        let _one = site.play("one", How::Good).await;
        let mut blocker = site.world.secondary().await;
        let (moved, repeats) = (Notify::new(), Notify::new());
        let tell = |told: &Told| match told {
            Told::Empty => moved.notify_one(),
            Told::Repeats(_) => repeats.notify_one(),
            _ => {}
        };
        let block = async {
            moved.notified().await;
            // Readers of the state's row do not wait for one another; who takes the lead waits for us.
            blocker.query_drop("BEGIN").await.unwrap();
            let share = "SELECT epoch FROM crossfade_state WHERE id = 1 LOCK IN SHARE MODE";
            blocker.query_drop(share).await.unwrap();
            repeats.notified().await;
            let (postgres, _) = site.turns().await;
            assert_eq!(postgres, 5);
            blocker.query_drop("ROLLBACK").await.unwrap();
        };
        let options = forward();
        let (outcome, ()) = tokio::join!(site.told(&options, &tell), block);
        site.done(&outcome.unwrap(), 2);
        assert_eq!(site.turns().await, mysql_leads(2));
    }
}

#[tokio::test]
async fn an_epoch_that_a_sidecar_carried_over_is_no_lead() {
    let site = Site::start(Target::MariaDb).await;
    let _one = site.play("one", How::Good).await;
    site.done(&site.run(&forward()).await, 2);
    // As a death right after PostgreSQL's epoch leaves it, with a sidecar that was faster.
    let mut conn = site.world.secondary().await;
    conn.query_drop("UPDATE crossfade_state SET epoch = 1 WHERE id = 2").await.unwrap();
    assert_eq!(site.turns().await.1, Turn { epoch: 2, mysql_is_primary: false, leads_part: false });
    let looked = look(&site.ends, &site.config.tables, &BTreeMap::new(), None).await.unwrap();
    assert_eq!(looked.direction, Some(Direction::Switchover));
    assert!(looked.gates[0].reasons[0].contains("not finished"), "{looked:?}");
    site.done(&site.run(&forward()).await, 2);
    assert_eq!(site.turns().await, mysql_leads(2));
    let mut link = Link::connect(&site.ends.to, &site.ends.limits).await.unwrap();
    assert_eq!(turn(link.conn()).await.unwrap(), Some(mysql_leads(2).1));
}

#[tokio::test]
async fn two_at_once_are_one() {
    let site = Site::start(Target::MariaDb).await;
    let _one = site.play("one", How::Good).await;
    let (a, b) = (forward(), forward());
    let (a, b) = tokio::join!(site.run(&a), site.run(&b));
    let mut ended = [a.outcome, b.outcome];
    ended.sort_by_key(|ended| *ended != Ended::Done);
    assert!(
        ended == [Ended::Done, Ended::Refused] || ended == [Ended::Done, Ended::Done],
        "{a:?} {b:?}"
    );
    assert_eq!(site.turns().await, mysql_leads(2));
}

#[tokio::test]
async fn the_admin_port_shows_the_gates_and_tries() {
    let world = World::start(Target::MariaDb, SCHEMA, TABLES).await;
    world.verb(&["verify"]);
    let address = ([127, 0, 0, 1], world.proxy.as_ref().unwrap().admin_port).into();
    let gates = get(address, "/switchover").await.unwrap();
    assert_eq!(gates.status, 200, "{}", gates.body);
    let gates: Value = serde_json::from_str(&gates.body).unwrap();
    assert_eq!(gates["direction"], "switchover");
    let phase = json!({ "name": "phase", "ok": true, "reasons": [] });
    assert_eq!(gates["gates"][0], phase, "{gates:#}");
    let dry = r#"{"dry_run": true, "timeout": "5s", "accept": ["all"], "terminate": false}"#;
    let answer = post(address, "/switchover", None, dry.to_owned()).await.unwrap();
    let said: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!((answer.status, &said["outcome"]), (200, &json!("ready")), "{said:#}");
    // A table is known, whether or not there is something to accept of it; a slip is not.
    let slip = r#"{"dry_run": true, "accept": ["all", "scratch", "users", "nonsense"]}"#;
    let answer = post(address, "/switchover", None, slip.to_owned()).await.unwrap();
    let said: Value = serde_json::from_str(&answer.body).unwrap();
    let reason = "accepted is nonsense, which is no statement that was seen, no table, and no role without a verifier";
    assert_eq!((&said["outcome"], &said["reasons"]), (&json!("refused"), &json!([reason])));
    for wrong in [r#"{"dryRun": true}"#, r#"{"timeout": "5"}"#, "7"] {
        let answer = post(address, "/rollback", None, wrong.to_owned()).await.unwrap();
        assert_eq!(answer.status, 400, "{wrong}: {}", answer.body);
    }
    let answer = post(address, "/rollback", None, String::new()).await.unwrap();
    let said: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(said["outcome"], "refused");
    assert_eq!(said["reasons"], json!(["PostgreSQL is the primary"]));
    let attempts = get(address, "/attempts").await.unwrap();
    let attempts: Value = serde_json::from_str(&attempts.body).unwrap();
    assert_eq!(attempts[0]["direction"], "rollback");
    assert_eq!(attempts[0]["state"], "refused");
    assert_eq!(attempts[0]["reasons"], json!(["PostgreSQL is the primary"]));
    assert_eq!(attempts[0]["sidecars"], json!([]));
}

/// A role that can carry dual writes lacks what a switchover wants; all of it is said before anybody is
/// held, and so is who could not log in afterwards.
#[tokio::test]
async fn what_the_role_lacks_is_printed_as_grants() {
    let world = World::bare(Target::MariaDb, "").await;
    let (admin, app) = (world.admin().await, world.direct().await);
    app.batch_execute("CREATE TABLE users (id bigserial PRIMARY KEY, email text)").await.unwrap();
    let role = format!("carries_{}", world.database);
    for sql in [
        format!("DROP ROLE IF EXISTS {role}"),
        format!("CREATE ROLE {role} LOGIN PASSWORD 'secret'"),
        format!("GRANT CREATE ON DATABASE {} TO {role}", world.database),
        format!("GRANT SELECT, UPDATE ON users TO {role}"),
    ] {
        admin.batch_execute(&sql).await.unwrap();
    }
    world.log_in_as(&role, "secret");
    let (_, found) = verb(&world.config, &["check"]);
    for part in [
        "warning: the role may not follow",
        "warning: users: the role lacks INSERT, DELETE, TRIGGER on it",
    ] {
        assert!(found.contains(part), "{found}");
    }
    world.setup();
    let refused = || {
        let (code, said) = verb(&world.config, &["switchover", "--dry-run"]);
        assert_eq!(code, Some(1), "{said}");
        said
    };
    let said = refused();
    assert!(said.contains("role app has no password verifier"), "{said}");
    assert!(said.contains("GRANT SET ON PARAMETER session_replication_role"), "{said}");
    let grant = format!("GRANT SET ON PARAMETER session_replication_role TO {role}");
    admin.batch_execute(&grant).await.unwrap();
    let said = refused();
    let line = said.lines().find(|line| line.contains("a right on table users is missing"));
    let line = line.unwrap_or_else(|| panic!("{said}"));
    let grants = line.split_once("missing: ").unwrap().1;
    assert_eq!(grants.matches("GRANT ").count(), 2, "{grants}");
    admin.batch_execute(grants).await.unwrap();
    let said = refused();
    assert!(!said.contains("GRANT"), "{said}");
}

/// What the application has PostgreSQL do by itself, nobody does once MySQL answers.
#[tokio::test]
async fn triggers_of_the_application_have_to_be_accepted() {
    let schema = "CREATE TABLE users (id int PRIMARY KEY, seen timestamptz); \
        CREATE TABLE plain (id int PRIMARY KEY); \
        CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql \
            AS 'BEGIN NEW.seen := now(); RETURN NEW; END'; \
        CREATE TRIGGER stamp BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION stamp()";
    let world = World::start(Target::all().remove(0), schema, TABLES).await;
    world.verb(&["verify"]);
    let (code, said) = verb(&world.config, &["switchover", "--dry-run"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("table users has triggers or rules"), "{said}");
    assert!(!said.contains("table plain"), "a trigger of ours is none: {said}");
    let (_, said) = verb(&world.config, &["switchover", "--dry-run", "--accept", "users"]);
    assert!(!said.contains("has triggers or rules"), "{said}");
}
