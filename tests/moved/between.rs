//! A change of a group that comes to nothing, or half to its end: who finishes it, and what is left of it.
//!
//! The coordinator runs here, and dies by being dropped; the sidecar is a process.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossfade::backend::mysql::control::turn;
use crossfade::backend::postgres::moved;
use crossfade::backend::postgres::refuse::{self, When};
use crossfade::config::Config;
use crossfade::control::switchover::{
    Direction, Ended, Options, Outcome, Standing, SwitchError, Tell, Told, run,
};
use crossfade::demo::servers::PASSWORD;
use crossfade::names::TableId;
use tokio::sync::Notify;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls};

use super::Site;
use super::group::{SCHEMA, TABLES, count, on_mysql, refused, start, uses_both, verified};
use crate::support::process::Proxy;
use crate::support::{PATIENCE, ROLE, ROLE_PASSWORD, Target, World, connect};

const LONG: Duration = Duration::from_secs(60);
const GROUP: Option<&str> = Some("logins");
const FAILOVER: &str =
    "UPDATE crossfade.settings SET value = 'another' WHERE key = 'system_identifier'";
/// By the application's role, past Crossfade: it changes no row, and meets the trigger all the same.
const DIRECT: &str = "DELETE FROM sessions WHERE false";

fn options(direction: Direction, group: Option<&str>) -> Options {
    let group = group.map(str::to_owned);
    Options { direction, group, dry_run: false, timeout: LONG, accept: vec![], terminate: false }
}

async fn told(site: &Site, options: &Options, tell: Tell<'_>) -> Result<Outcome, SwitchError> {
    let config = Config::load(&site.world.config).unwrap();
    run(&config.ends().unwrap(), &config.tables, &BTreeMap::new(), options, tell).await
}

/// A coordinator that dies where it tells this.
async fn dies(site: &Site, options: &Options, at: fn(&Told) -> bool) {
    let died = Notify::new();
    let tell = |now: &Told| {
        if at(now) {
            died.notify_one();
        }
    };
    tokio::select! {
        biased;
        () = died.notified() => {}
        ended = told(site, options, &tell) => panic!("it has ended: {ended:?}"),
    }
}

/// What both databases say, PostgreSQL first.
async fn standing(site: &Site) -> Standing {
    let last: i64 = one(site, "SELECT last_value FROM crossfade.epoch").await;
    let gave_part = !moved::now(&site.admin).await.unwrap().is_empty();
    let mysql = turn(&mut site.world.secondary().await).await.unwrap();
    Standing::of(u64::try_from(last).unwrap(), gave_part, mysql)
}

async fn one<T: for<'a> tokio_postgres::types::FromSql<'a>>(site: &Site, sql: &str) -> T {
    site.admin.query_one(sql, &[]).await.unwrap().get(0)
}

async fn until(site: &Site, wanted: Standing) {
    let reached = async || standing(site).await == wanted;
    site.world.until(&format!("{wanted:?}"), reached).await;
}

/// How the last attempt ended, as the record has it; waits until it has.
async fn ended(site: &Site) -> String {
    let sql = "SELECT state FROM crossfade.attempts ORDER BY id DESC LIMIT 1";
    let mut state = String::new();
    site.world
        .until("an end", async || {
            state = one(site, sql).await;
            !matches!(state.as_str(), "announced" | "held")
        })
        .await;
    state
}

/// What a failover leaves to be done is done, so that a change may begin.
async fn settled(site: &Site) {
    let left = "SELECT EXISTS (SELECT FROM crossfade.settings WHERE key = 'lost_after')";
    site.world.until("looked for", async || !one::<bool>(site, left).await).await;
    site.world.drained().await;
    verified(site).await;
}

/// Nobody runs a verb: the sidecar waits a lease, and does what is left to do.
#[tokio::test]
async fn a_group_between_the_two_is_brought_to_its_end_by_a_sidecar() {
    for target in Target::all() {
        let site = start(target).await;
        let mut client = site.world.client().await;
        uses_both(&mut client, "before").await;
        let half = |now: &Told| matches!(now, Told::Moved { .. });
        dies(&site, &options(Direction::Switchover, GROUP), half).await;
        assert_eq!(standing(&site).await, Standing::HalfParted { epoch: 2 });
        let direct = site.world.direct().await;
        refused(direct.execute(DIRECT, &[]).await, &SqlState::READ_ONLY_SQL_TRANSACTION);
        uses_both(&mut client, "apart").await;
        assert_eq!(standing(&site).await, Standing::Parted { epoch: 2 });
        assert_eq!(ended(&site).await, "done");
        assert_eq!(on_mysql(&site, "sessions").await, 3);

        dies(&site, &options(Direction::Rollback, None), half).await;
        assert_eq!(standing(&site).await, Standing::HalfJoined { epoch: 3 });
        refused(direct.execute(DIRECT, &[]).await, &SqlState::READ_ONLY_SQL_TRANSACTION);
        uses_both(&mut client, "back").await;
        until(&site, Standing::Postgres { epoch: 3, agreed: true }).await;
        assert_eq!(ended(&site).await, "done");
        direct.execute(DIRECT, &[]).await.unwrap();
        uses_both(&mut client, "all on one").await;
        assert_eq!(count(&direct, "sessions").await, 5);
    }
}

/// Another run finishes what it finds, and goes on with what it was asked for.
#[tokio::test]
async fn a_group_between_the_two_is_brought_back_by_whoever_is_asked_to() {
    let site = start(Target::all().remove(0)).await;
    let half = |now: &Told| matches!(now, Told::Moved { .. });
    dies(&site, &options(Direction::Switchover, GROUP), half).await;
    let outcome = told(&site, &options(Direction::Rollback, None), &|_| {}).await.unwrap();
    assert_eq!((outcome.outcome, outcome.epoch), (Ended::Done, 3), "{outcome:?}");
    assert_eq!(standing(&site).await, Standing::Postgres { epoch: 3, agreed: true });
    uses_both(&mut site.world.client().await, "back").await;
}

/// Its triggers refuse from the next epoch on, which comes by a failover, and PostgreSQL leads on.
#[tokio::test]
async fn after_an_attempt_that_was_undone_a_failover_leaves_everybody_to_write() {
    for target in Target::all() {
        let site = start(target).await;
        let mut client = site.world.client().await;
        let open = site.world.client().await;
        open.batch_execute("BEGIN; SELECT count(*) FROM users").await.unwrap();
        let short =
            Options { timeout: Duration::from_secs(1), ..options(Direction::Switchover, GROUP) };
        let outcome = told(&site, &short, &|_| {}).await.unwrap();
        assert_eq!(outcome.outcome, Ended::Undone, "{outcome:?}");
        open.batch_execute("ROLLBACK").await.unwrap();
        assert_eq!(ended(&site).await, "undone");
        let triggers = "SELECT count(*) FROM pg_trigger WHERE tgname = 'crossfade_refuse'";
        assert_eq!(one::<i64>(&site, triggers).await, 2, "what this is about");
        // Before the sidecar has seen it: it does the same once more.
        site.admin.batch_execute("SELECT setval('crossfade.epoch', 4)").await.unwrap();
        let direct = site.world.direct().await;
        direct.execute(DIRECT, &[]).await.unwrap();
        site.admin.batch_execute(FAILOVER).await.unwrap();
        until(&site, Standing::Postgres { epoch: 3, agreed: true }).await;
        direct.execute(DIRECT, &[]).await.unwrap();
        uses_both(&mut client, "after").await;
        settled(&site).await;
        // It refuses again where it is to.
        told(&site, &options(Direction::Switchover, GROUP), &|_| {}).await.unwrap();
        assert_eq!(standing(&site).await, Standing::Parted { epoch: 4 });
        refused(direct.execute(DIRECT, &[]).await, &SqlState::READ_ONLY_SQL_TRANSACTION);
        uses_both(&mut client, "apart").await;
    }
}

/// Who is gone had planned for the very epoch that the failover brings.
#[tokio::test]
async fn a_failover_forgets_what_a_dead_coordinator_had_planned() {
    let site = start(Target::all().remove(0)).await;
    let mut client = site.world.client().await;
    let empty = |now: &Told| matches!(now, Told::Empty);
    // Until its time is up, clients are held for it.
    let brief =
        Options { timeout: Duration::from_secs(8), ..options(Direction::Switchover, GROUP) };
    dies(&site, &brief, empty).await;
    let sql = "SELECT id FROM crossfade.tables WHERE name IN ('sessions', 'codes')";
    let rows = site.admin.query(sql, &[]).await.unwrap();
    let ids: Vec<TableId> = rows.iter().map(|row| TableId(row.get(0))).collect();
    moved::plan(&site.admin, 2, &ids).await.unwrap();
    assert_eq!(moved::at(&site.admin, 2).await.unwrap(), ids);
    site.admin.batch_execute(FAILOVER).await.unwrap();
    until(&site, Standing::Postgres { epoch: 2, agreed: true }).await;
    let direct = site.world.direct().await;
    direct.execute(DIRECT, &[]).await.unwrap();
    uses_both(&mut client, "after").await;
    assert_eq!(count(&direct, "sessions").await, 2);
}

/// A coordinator that was slow to prepare: the others have moved the group and taken it back meanwhile.
#[tokio::test]
async fn whoever_prepares_late_leaves_everybody_to_write() {
    let site = start(Target::all().remove(0)).await;
    for (direction, group) in [(Direction::Switchover, GROUP), (Direction::Rollback, None)] {
        let outcome = told(&site, &options(direction, group), &|_| {}).await.unwrap();
        assert_eq!(outcome.outcome, Ended::Done, "{outcome:?}");
    }
    let (oid, direct) =
        (one(&site, "SELECT 'sessions'::regclass::oid").await, site.world.direct().await);
    refuse::create(&site.admin).await.unwrap();
    let when = When::From(2);
    for cover in refuse::covers(&site.admin, &[oid], when).await.unwrap() {
        refuse::cover(&site.admin, &cover, when).await.unwrap();
    }
    refuse::expect(&site.admin, 2).await.unwrap();
    direct.execute(DIRECT, &[]).await.unwrap();
    refuse::returned(&site.admin, 1).await.unwrap();
    refused(direct.execute(DIRECT, &[]).await, &SqlState::READ_ONLY_SQL_TRANSACTION);
}

/// The coordinator lives, and its attempt ends without having happened; the way back is as open as before.
#[tokio::test]
async fn a_failover_amid_an_attempt_undoes_it() {
    for target in Target::all() {
        let site = start(target).await;
        let mut client = site.world.client().await;
        let mut epoch = 1;
        for (direction, group) in [
            (Direction::Switchover, GROUP),
            (Direction::Switchover, None),
            (Direction::Rollback, None),
        ] {
            if direction == Direction::Rollback {
                told(&site, &options(Direction::Switchover, GROUP), &|_| {}).await.unwrap();
                epoch += 1;
            }
            let before = standing(&site).await;
            let outcome = with_failover(&site, &options(direction, group)).await;
            epoch += 1;
            assert_eq!(outcome.outcome, Ended::Undone, "{direction:?} {group:?}: {outcome:?}");
            assert_eq!(ended(&site).await, "undone", "{direction:?} {group:?}");
            let wanted = match before {
                Standing::Parted { .. } => Standing::Parted { epoch },
                _ => Standing::Postgres { epoch, agreed: true },
            };
            until(&site, wanted).await;
            uses_both(&mut client, &format!("after {epoch}")).await;
            settled(&site).await;
        }
        told(&site, &options(Direction::Rollback, None), &|_| {}).await.unwrap();
        uses_both(&mut client, "back").await;
    }
}

/// The sidecar raises the epoch while the coordinator, with all clients drained, does nothing.
async fn with_failover(site: &Site, options: &Options) -> Outcome {
    let (port, database) = (site.world.postgres_port(), site.world.database.clone());
    let over = AtomicBool::new(false);
    let tell = |now: &Told| {
        if *now == Told::Drained && !over.swap(true, Ordering::Relaxed) {
            let database = database.clone();
            let failed = std::thread::spawn(move || fail_over(port, &database));
            failed.join().unwrap();
        }
    };
    let outcome = told(site, options, &tell).await.unwrap();
    assert!(over.load(Ordering::Relaxed));
    outcome
}

fn fail_over(port: u16, database: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let admin = connect(port, "postgres", PASSWORD, database).await;
        let epoch = "SELECT last_value FROM crossfade.epoch";
        let before: i64 = admin.query_one(epoch, &[]).await.unwrap().get(0);
        admin.batch_execute(FAILOVER).await.unwrap();
        let deadline = Instant::now() + PATIENCE;
        while admin.query_one(epoch, &[]).await.unwrap().get::<_, i64>(0) == before {
            assert!(Instant::now() < deadline, "the epoch is not raised");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

/// It was set on MySQL's side, in the last transaction before everything is PostgreSQL's again.
#[tokio::test]
async fn what_was_set_in_the_last_transaction_goes_along() {
    for target in Target::all() {
        let site = start(target).await;
        told(&site, &options(Direction::Switchover, GROUP), &|_| {}).await.unwrap();
        let client = site.world.client().await;
        for statement in
            ["BEGIN", "SELECT token FROM sessions", "SET application_name = 'the last'"]
        {
            client.batch_execute(statement).await.unwrap();
        }
        let kept = client.prepare("SELECT 7 AS n").await.unwrap();
        let held = Notify::new();
        let tell = |now: &Told| {
            if matches!(now, Told::Held { .. }) {
                held.notify_one();
            }
        };
        let back = options(Direction::Rollback, None);
        let (outcome, ()) = tokio::join!(told(&site, &back, &tell), async {
            held.notified().await;
            // The other session rests, and does not hear of it any more.
            let holds = "SELECT EXISTS (SELECT FROM crossfade.attempt_sidecars WHERE held IS NOT NULL \
                 AND attempt = (SELECT max(id) FROM crossfade.attempts))";
            site.world.until("held", async || one(&site, holds).await).await;
            client.batch_execute("COMMIT").await.unwrap();
        });
        assert_eq!(outcome.unwrap().outcome, Ended::Done);
        let name = client.query_one("SHOW application_name", &[]).await.unwrap();
        assert_eq!(name.get::<_, String>(0), "the last");
        assert_eq!(client.query_one(&kept, &[]).await.unwrap().get::<_, i32>(0), 7);
    }
}

async fn try_client(site: &Site) -> Option<Client> {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(site.world.proxy_port()).dbname(&site.world.database);
    config.user(ROLE).password(ROLE_PASSWORD);
    let (client, connection) = config.connect(NoTls).await.ok()?;
    tokio::spawn(connection);
    Some(client)
}

async fn until_answered(site: &Site, sql: &str) {
    let answered = async || match try_client(site).await {
        Some(client) => client.query(sql, &[]).await.is_ok(),
        None => false,
    };
    site.world.until(sql, answered).await;
}

/// Who uses PostgreSQL's tables alone does not need MySQL: not a client that was there before, nor one that comes,
/// nor by a sidecar that has just started.
#[tokio::test]
async fn without_mysql_the_other_tables_are_served() {
    for target in Target::all() {
        let tables = TABLES.replace("blocking", "async").replace(", timeout: 10s", "");
        let mut world = World::alone(target, &tables).await;
        world.edit(|text| text + "limits: { hold: 2s, lease: 3s, poll: 200ms }\n");
        world.direct().await.batch_execute(SCHEMA).await.unwrap();
        world.setup();
        world.run().await;
        let mut site = Site::over(world).await;
        told(&site, &options(Direction::Switchover, GROUP), &|_| {}).await.unwrap();
        let mut used = site.world.client().await;
        uses_both(&mut used, "apart").await;
        let fresh = site.world.client().await;
        site.world.follower.as_mut().unwrap().kill9();
        let late = site.world.client().await;
        for client in [&used, &fresh, &late] {
            client.batch_execute("SET application_name = 'on'").await.unwrap();
            assert_eq!(count(client, "users").await, 2);
            client.batch_execute("INSERT INTO users (email) VALUES ('x')").await.unwrap();
            client.batch_execute("DELETE FROM users WHERE 2 < id").await.unwrap();
            // As a pool does, more often than settings are kept for MySQL.
            for _ in 0..300 {
                client.batch_execute("DISCARD ALL").await.unwrap();
            }
            assert_eq!(count(client, "users").await, 2);
            let error = client.query("SELECT token FROM sessions", &[]).await.unwrap_err();
            let code = error.code().map(SqlState::code);
            assert!(matches!(code, Some("57P01" | "57P03" | "08006")), "{error:?}");
        }
        site.world.proxy.take().unwrap().kill9();
        site.world.proxy = Some(Proxy::start_unready(&site.world.config).await);
        until_answered(&site, "SELECT 1 FROM users").await;
        site.world.follower.as_mut().unwrap().start_again().unwrap();
        until_answered(&site, "SELECT 1 FROM sessions").await;
        uses_both(&mut site.world.client().await, "again").await;
    }
}
