//! The primary changes under clients that are connected: what they see of it.

mod applications;
mod between;
mod carried;
mod drivers;
mod group;
mod halfway;
mod shown;
mod survey;
mod unknown;

use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable as _;
use tokio_postgres::Client;

use crate::support::process::{self, free_port};
use crate::support::relay::Relay;
use crate::support::{self, ROLE, ROLE_PASSWORD, Target, World};

pub(crate) const SCHEMA: &str = "CREATE TABLE users (id bigserial PRIMARY KEY, email varchar(100) NOT NULL UNIQUE, note text); \
     INSERT INTO users (email) VALUES ('old')";

pub(crate) struct Site {
    pub(crate) world: World,
    pub(crate) admin: Client,
    epoch: i64,
}

impl Site {
    pub(crate) async fn start(target: Target) -> Self {
        let mut world = World::granted(target, SCHEMA, "").await;
        world.setup();
        world.run().await;
        Self::over(world).await
    }

    pub(crate) async fn over(world: World) -> Self {
        let admin = world.admin().await;
        let config = world.config.clone();
        let made_ready = move || {
            for verb in ["backfill", "verify"] {
                let (code, said) = process::verb(&config, &[verb]);
                assert_eq!(code, Some(0), "{verb}\n{said}");
            }
        };
        tokio::task::spawn_blocking(made_ready).await.unwrap();
        let epoch =
            admin.query_one("SELECT last_value / 2 FROM crossfade.epoch", &[]).await.unwrap();
        Self { world, admin, epoch: epoch.get(0) }
    }

    /// Announces, holds, and waits until the sidecar is drained; answers with the attempt.
    async fn hold(&self, direction: &str) -> i64 {
        let attempt = self.announce(direction).await;
        self.until("its clients rest", attempt, "drained").await;
        attempt
    }

    /// As [`Self::hold`], without the wait for the clients.
    async fn announce(&self, direction: &str) -> i64 {
        let announce = "INSERT INTO crossfade.attempts (direction, epoch, state, terminate, deadline) \
                        VALUES ($1, $2, 'announced', false, now() + interval '60 s') RETURNING id";
        let row = self.admin.query_one(announce, &[&direction, &self.epoch]).await.unwrap();
        let attempt: i64 = row.get(0);
        self.until("it is announced", attempt, "announced").await;
        self.state(attempt, "held").await;
        attempt
    }

    /// What the sidecar has found that cannot move.
    async fn obstacles(&self, attempt: i64) -> Vec<String> {
        let named = "SELECT obstacles FROM crossfade.attempt_sidecars WHERE attempt = $1";
        self.admin.query_one(named, &[&attempt]).await.unwrap().get(0)
    }

    async fn state(&self, attempt: i64, state: &str) {
        let update = "UPDATE crossfade.attempts SET state = $2 WHERE id = $1";
        self.admin.execute(update, &[&attempt, &state]).await.unwrap();
    }

    async fn until(&self, what: &str, attempt: i64, step: &str) {
        let sql = format!(
            "SELECT EXISTS (SELECT FROM crossfade.attempt_sidecars WHERE attempt = $1 AND {step} IS NOT NULL)"
        );
        let done = async || self.admin.query_one(&sql, &[&attempt]).await.unwrap().get(0);
        self.world.until(what, done).await;
    }

    pub(crate) async fn switch(&mut self) {
        self.change("switchover").await;
    }

    pub(crate) async fn roll_back(&mut self) {
        self.change("rollback").await;
    }

    async fn change(&mut self, verb: &str) {
        self.verb(verb, &[]).await;
    }

    /// By the verb, which waits for us as for any sidecar.
    pub(crate) async fn verb(&self, verb: &str, more: &[&str]) {
        let config = self.world.config.clone();
        let words = [&[verb, "--timeout", "60s"], more].concat();
        let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
        let changed =
            move || process::verb(&config, &words.iter().map(String::as_str).collect::<Vec<_>>());
        let (code, said) = tokio::task::spawn_blocking(changed).await.unwrap();
        assert_eq!(code, Some(0), "{:?}: {verb}\n{said}\n{}", self.world, self.world.log());
    }

    pub(crate) async fn drained_back(&mut self) {
        let mut conn = self.world.secondary().await;
        let empty = async || {
            let left = "SELECT COUNT(*) FROM crossfade_outbox";
            conn.query_first::<i64, _>(left).await.unwrap() == Some(0)
        };
        self.world.until("MySQL's outbox is empty", empty).await;
    }
}

pub(crate) async fn emails(client: &Client) -> Vec<String> {
    let rows = client.query("SELECT email FROM users ORDER BY id", &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// One client, its connection and its prepared statements, over to MySQL and back again.
#[tokio::test]
async fn a_client_keeps_its_connection_and_its_statements() {
    for target in Target::all() {
        let mut site = Site::start(target).await;
        let client = site.world.client().await;
        client.batch_execute("SET application_name = 'here'").await.unwrap();
        let insert =
            client.prepare("INSERT INTO users (email) VALUES ($1) RETURNING id").await.unwrap();
        let find = client.prepare("SELECT email FROM users WHERE id = $1").await.unwrap();
        let mut expected = vec!["old".to_owned()];
        let mut write = async |email: &str| {
            let id: i64 = client.query_one(&insert, &[&email]).await.unwrap().get(0);
            let found: String = client.query_one(&find, &[&id]).await.unwrap().get(0);
            assert_eq!(found, email);
            expected.push(email.to_owned());
        };
        write("before").await;
        site.switch().await;
        write("on mysql").await;
        let name = client.query_one("SHOW application_name", &[]).await.unwrap();
        assert_eq!(name.get::<_, String>(0), "here");
        let late = site.world.client().await;
        late.execute("UPDATE users SET note = 'late' WHERE email = 'old'", &[]).await.unwrap();
        site.drained_back().await;
        site.world.assert_all_equal().await;
        site.roll_back().await;
        write("back").await;
        late.execute("UPDATE users SET note = 'later' WHERE email = 'old'", &[]).await.unwrap();
        assert_eq!(emails(&client).await, expected);
        assert_eq!(emails(&site.world.direct().await).await, expected);
        site.world.drained().await;
        site.world.assert_all_equal().await;
        site.switch().await;
        assert_eq!(emails(&client).await, expected);
        late.execute("DELETE FROM users WHERE email = 'before'", &[]).await.unwrap();
    }
}

/// An open transaction is waited for; what would begin meanwhile waits, and sees no error.
#[tokio::test]
async fn open_transactions_end_and_new_ones_wait() {
    let mut site = Site::start(Target::all().remove(0)).await;
    let (mut open, other) = (site.world.client().await, site.world.client().await);
    let transaction = open.transaction().await.unwrap();
    transaction.execute("INSERT INTO users (email) VALUES ('open')", &[]).await.unwrap();
    let announce = "INSERT INTO crossfade.attempts (direction, epoch, state, terminate, deadline) \
                    VALUES ('switchover', $1, 'held', false, now() + interval '60 s') RETURNING id";
    let attempt: i64 = site.admin.query_one(announce, &[&site.epoch]).await.unwrap().get(0);
    site.until("clients are held", attempt, "held").await;
    let waits = tokio::spawn(async move {
        other.execute("INSERT INTO users (email) VALUES ('waits')", &[]).await.unwrap();
        other
    });
    transaction.execute("INSERT INTO users (email) VALUES ('more')", &[]).await.unwrap();
    transaction.commit().await.unwrap();
    site.until("all rest", attempt, "drained").await;
    assert!(!waits.is_finished(), "a transaction began during the hold");
    site.state(attempt, "undone").await;
    let other = waits.await.unwrap();
    assert_eq!(emails(&other).await, ["old", "open", "more", "waits"]);
    site.switch().await;
    assert_eq!(emails(&other).await.len(), 4);
}

/// Another coordinator is refused, and that ends no hold but its own.
#[tokio::test]
async fn a_refused_attempt_ends_no_hold() {
    let site = Site::start(Target::all().remove(0)).await;
    let client = site.world.client().await;
    let attempt = site.hold("switchover").await;
    let refused = "INSERT INTO crossfade.attempts (direction, epoch, state, terminate, deadline, ended) \
        VALUES ('switchover', $1, 'refused', false, now(), now())";
    site.admin.execute(refused, &[&site.epoch]).await.unwrap();
    let waits = tokio::spawn(async move {
        client.execute("INSERT INTO users (email) VALUES ('waits')", &[]).await.unwrap();
    });
    // It has looked again, twice: the second look began after the first was judged.
    for _ in 0..2 {
        let now: String =
            site.admin.query_one("SELECT clock_timestamp()::text", &[]).await.unwrap().get(0);
        let looked = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() \
            AND pid <> pg_backend_pid() AND $1::text::timestamptz < query_start \
            AND query LIKE '%FROM crossfade.attempts a WHERE%')";
        let looked = async || site.admin.query_one(looked, &[&now]).await.unwrap().get(0);
        site.world.until("the sidecar looks again", looked).await;
    }
    let resumed = "SELECT resumed IS NULL FROM crossfade.attempt_sidecars WHERE attempt = $1";
    let held: bool = site.admin.query_one(resumed, &[&attempt]).await.unwrap().get(0);
    assert!(held && !waits.is_finished(), "{}", site.world.log());
    site.state(attempt, "undone").await;
    waits.await.unwrap();
}

/// The coordinator dies between MySQL's word and PostgreSQL's, and its time runs out: nobody is answered by
/// MySQL any more, and nobody sees an error.
#[tokio::test]
async fn past_the_deadline_clients_wait_for_whoever_leads() {
    let mut site = Site::start(Target::all().remove(0)).await;
    site.switch().await;
    let client = site.world.client().await;
    site.drained_back().await;
    let announce = "INSERT INTO crossfade.attempts (direction, epoch, state, terminate, deadline) \
        SELECT 'rollback', e.last_value / 2, 'held', false, now() + interval '3 s' \
        FROM crossfade.epoch e RETURNING id";
    let attempt: i64 = site.admin.query_one(announce, &[]).await.unwrap().get(0);
    site.until("its clients rest", attempt, "drained").await;
    let waits = tokio::spawn(async move {
        let insert = "INSERT INTO users (email) VALUES ('waits')";
        client.execute(insert, &[]).await.unwrap_or_else(|error| panic!("{error:?}"));
        emails(&client).await
    });
    let mut conn = site.world.secondary().await;
    conn.query_drop("UPDATE crossfade_state SET epoch = epoch + 1 WHERE id = 1").await.unwrap();
    assert_eq!(waits.await.unwrap(), ["old", "waits"]);
    assert_eq!(emails(&site.world.direct().await).await, ["old", "waits"]);
    let state = "SELECT state FROM crossfade.attempts WHERE id = $1";
    let state: String = site.admin.query_one(state, &[&attempt]).await.unwrap().get(0);
    assert_eq!(state, "done");
    site.world.drained().await;
    site.world.assert_all_equal().await;
}

/// A sidecar that was frozen while the primary changed has a client in the middle of a transaction: what
/// that reads now is not what the new primary has.
#[tokio::test]
async fn a_transaction_of_before_reads_nothing_of_the_old_primary() {
    for target in Target::all() {
        let mut site = Site::start(target).await;
        for (verb, phase) in [("switchover", "switched"), ("rollback", "dual_write")] {
            let (client, proxy) = (site.world.client().await, site.world.proxy.as_ref().unwrap());
            client.batch_execute("BEGIN").await.unwrap();
            emails(&client).await;
            proxy.freeze().await;
            let config = site.world.config.clone();
            let changed = move || process::verb(&config, &[verb, "--timeout", "60s"]);
            let (code, said) = tokio::task::spawn_blocking(changed).await.unwrap();
            assert_eq!(code, Some(0), "{verb}\n{said}");
            proxy.thaw();
            let knows = format!("phase{{phase=\"{phase}\"}}");
            site.world.until(phase, async || proxy.metric(&knows).await == 1.0).await;
            let read = client.query("SELECT email FROM users", &[]).await;
            assert!(read.is_err(), "{verb}: {read:?}");
            // It holds nobody back.
            drop(client);
        }
        site.change("switchover").await;
    }
}

/// What cannot move is named, before anything has happened.
#[tokio::test]
async fn what_cannot_move_is_named() {
    let site = Site::start(Target::all().remove(0)).await;
    let (one, two) = (site.world.client().await, site.world.client().await);
    one.batch_execute("LISTEN news; CREATE TEMPORARY TABLE mine (id int)").await.unwrap();
    two.batch_execute("SELECT pg_advisory_lock(7)").await.unwrap();
    let attempt = site.hold("switchover").await;
    let expected =
        ["1 with LISTEN", "1 with a session's advisory lock", "1 with a temporary table"];
    assert_eq!(site.obstacles(attempt).await, expected);
    site.state(attempt, "undone").await;
    one.batch_execute("INSERT INTO users (email) VALUES ('on')").await.unwrap();
}

/// Logins at a steady pace, each with a session of its own, there and back: not one fails, nothing is lost.
#[tokio::test]
async fn logins_go_on_across_a_switchover_and_a_rollback() {
    for target in Target::all() {
        let mut site = Site::start(target).await;
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let (port, database) = (site.world.proxy_port(), site.world.database.clone());
        let load = tokio::spawn(logins(port, database, stopped));
        let written = async |site: &Site, more: i64| {
            let count = "SELECT count(*) FROM users WHERE note = 'session'";
            let reader = site.world.client().await;
            let now = async || reader.query_one(count, &[]).await.unwrap().get::<_, i64>(0);
            let least = now().await + more;
            site.world.until("logins go on", async || least <= now().await).await;
        };
        written(&site, 20).await;
        site.switch().await;
        written(&site, 20).await;
        site.roll_back().await;
        written(&site, 20).await;
        stop.send_replace(true);
        let acknowledged = load.await.unwrap();
        let stored = emails(&site.world.direct().await).await;
        let lost: Vec<&String> =
            acknowledged.iter().filter(|email| !stored.contains(email)).collect();
        assert!(lost.is_empty() && 60 <= acknowledged.len(), "{lost:?} of {}", acknowledged.len());
        site.world.drained().await;
        site.world.assert_all_equal().await;
    }
}

/// Twenty milliseconds from one to the next; what was acknowledged.
pub(crate) async fn logins(
    port: u16,
    database: String,
    stopped: tokio::sync::watch::Receiver<bool>,
) -> Vec<String> {
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut acknowledged = Vec::new();
    while !*stopped.borrow() {
        pace.tick().await;
        let client = support::connect(port, ROLE, ROLE_PASSWORD, &database).await;
        let email = format!("login {}", acknowledged.len());
        let sql = "INSERT INTO users (email, note) VALUES ($1, 'session') RETURNING id";
        let id: i64 = client.query_one(sql, &[&email]).await.unwrap().get(0);
        let found = client.query_one("SELECT email FROM users WHERE id = $1", &[&id]).await;
        assert_eq!(found.unwrap().get::<_, String>(0), email);
        acknowledged.push(email);
    }
    acknowledged
}

/// PostgreSQL follows now: without it clients are served, for longer than the lease, and it catches up.
#[tokio::test]
async fn mysql_answers_while_postgresql_is_away() {
    let target = Target::all().remove(0);
    let mut world = World::bare(target, "").await;
    let relay = Relay::start(world.postgres_port());
    world.through(&relay);
    world.direct().await.batch_execute(SCHEMA).await.unwrap();
    world.setup();
    world.run().await;
    let mut site = Site::over(world).await;
    let client = site.world.client().await;
    site.switch().await;
    relay.point(free_port());
    relay.cut();
    let start = Instant::now();
    let mut expected = vec!["old".to_owned()];
    // The lease is five seconds.
    while start.elapsed() < Duration::from_secs(8) {
        let email = format!("alone {}", expected.len());
        let written = client.execute("INSERT INTO users (email) VALUES ($1)", &[&email]).await;
        written.unwrap_or_else(|error| panic!("{error:?}\n{}", site.world.log()));
        expected.push(email);
        assert_eq!(emails(&client).await, expected);
    }
    let proxy = site.world.proxy.as_ref().unwrap();
    let (status, ready) = proxy.get("/health/readiness").await.unwrap();
    assert_eq!(status, 200, "{ready}");
    assert!(ready.contains(r#""primary":{"product":"mysql","answers":true"#), "{ready}");
    relay.point(site.world.postgres_port());
    site.drained_back().await;
    site.world.assert_all_equal().await;
}

/// A sidecar that starts while MySQL is the primary finds that out before it serves anybody.
#[tokio::test]
async fn a_sidecar_that_comes_later_serves_from_mysql() {
    let mut site = Site::start(Target::all().remove(0)).await;
    site.switch().await;
    site.world.crash().await;
    let client = site.world.client().await;
    client.execute("INSERT INTO users (email) VALUES ('later')", &[]).await.unwrap();
    assert_eq!(emails(&client).await, ["old", "later"]);
    site.drained_back().await;
    site.world.assert_all_equal().await;
}
