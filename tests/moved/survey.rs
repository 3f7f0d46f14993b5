//! Asking a session's server what it has disturbs nobody, and is disturbed by nothing the client does.

use tokio_postgres::{Client, NoTls};

use super::Site;
use crate::support::Target;
use crate::wire::script::Wire;

/// Keeps every survey waiting: nothing else reads this view.
struct Blocked<'a> {
    site: &'a Site,
    lock: Client,
}

impl<'a> Blocked<'a> {
    async fn new(site: &'a Site) -> Self {
        let lock = site.world.admin().await;
        let sql = "BEGIN; LOCK TABLE pg_catalog.pg_prepared_statements IN ACCESS EXCLUSIVE MODE";
        lock.batch_execute(sql).await.unwrap();
        Self { site, lock }
    }

    /// Until as many surveys wait.
    async fn waits(&self, surveys: i64) {
        let sql = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
                   WHERE NOT l.granted AND d.datname = current_database() \
                   AND l.relation = 'pg_catalog.pg_prepared_statements'::regclass";
        let enough =
            async || surveys <= self.site.admin.query_one(sql, &[]).await.unwrap().get::<_, i64>(0);
        self.site.world.until("sessions are asked", enough).await;
    }

    /// Until one has waited for so many milliseconds.
    async fn has_waited(&self, millis: i32) {
        let sql = "SELECT coalesce(max(clock_timestamp() - l.waitstart), '0') > $1 * interval '1 ms' \
                   FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
                   WHERE NOT l.granted AND d.datname = current_database() \
                   AND l.relation = 'pg_catalog.pg_prepared_statements'::regclass";
        let millis = f64::from(millis);
        let waited = async || self.site.admin.query_one(sql, &[&millis]).await.unwrap().get(0);
        self.site.world.until("it has waited", waited).await;
    }

    /// When the one that has waited longest has begun to.
    async fn since(&self) -> String {
        let sql = "SELECT min(l.waitstart)::text FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
                   WHERE NOT l.granted AND d.datname = current_database()";
        self.site.admin.query_one(sql, &[]).await.unwrap().get(0)
    }

    async fn release(self) {
        self.lock.batch_execute("ROLLBACK").await.unwrap();
    }
}

#[tokio::test]
async fn a_statement_timeout_of_the_client_does_not_end_it() {
    let mut site = Site::start(Target::all().remove(0)).await;
    let client = site.world.client().await;
    let short = "SET statement_timeout = '20ms'; SET idle_in_transaction_session_timeout = '25ms'";
    client.batch_execute(short).await.unwrap();
    let shown = async || {
        let timeout = client.query_one("SHOW statement_timeout", &[]).await.unwrap();
        let idle = client.query_one("SHOW idle_in_transaction_session_timeout", &[]).await;
        (timeout.get::<_, String>(0), idle.unwrap().get::<_, String>(0))
    };
    let blocked = Blocked::new(&site).await;
    let attempt = site.announce("switchover").await;
    blocked.waits(1).await;
    // Longer than the timeouts: it is what is tested.
    blocked.has_waited(100).await;
    blocked.release().await;
    site.until("its clients rest", attempt, "drained").await;
    assert_eq!(site.obstacles(attempt).await, Vec::<String>::new());
    site.state(attempt, "undone").await;
    let as_set = ("20ms".to_owned(), "25ms".to_owned());
    assert_eq!(shown().await, as_set);
    site.switch().await;
    assert_eq!(shown().await, as_set);
    site.roll_back().await;
    assert_eq!(shown().await, as_set);
}

/// It is for what the client runs, and waits until that is possible again.
#[tokio::test]
async fn a_cancel_request_does_not_reach_it() {
    let site = Site::start(Target::all().remove(0)).await;
    let client = site.world.client().await;
    client.batch_execute("SELECT 1").await.unwrap();
    let token = client.cancel_token();
    let other = site.world.client().await;
    let its_token = other.cancel_token();
    let sleeps =
        tokio::spawn(async move { (other.batch_execute("SELECT pg_sleep(600)").await, other) });
    let asleep = "SELECT EXISTS (SELECT FROM pg_stat_activity \
                  WHERE datname = current_database() AND wait_event = 'PgSleep')";
    let asleep = async || site.admin.query_one(asleep, &[]).await.unwrap().get(0);
    site.world.until("another client runs something", asleep).await;
    let blocked = Blocked::new(&site).await;
    let attempt = site.announce("switchover").await;
    blocked.waits(1).await;
    let since = blocked.since().await;
    token.cancel_query(NoTls).await.unwrap();
    // One that is sent later, for what a client runs, has arrived.
    its_token.cancel_query(NoTls).await.unwrap();
    let (cancelled, _other) = sleeps.await.unwrap();
    assert_eq!(cancelled.unwrap_err().code().unwrap().code(), "57014");
    blocked.waits(2).await;
    assert_eq!(blocked.since().await, since, "the survey was cancelled");
    blocked.release().await;
    site.until("its clients rest", attempt, "drained").await;
    assert_eq!(site.obstacles(attempt).await, Vec::<String>::new());
    // It is passed on now, and there is nothing that it could hit.
    site.state(attempt, "undone").await;
}

#[tokio::test]
async fn a_notification_that_comes_beside_it_reaches_the_client() {
    let site = Site::start(Target::all().remove(0)).await;
    let mut client = Wire::connect(site.world.proxy_port(), &site.world.database).await;
    client.say(&["Q LISTEN news"]).await;
    assert_eq!(client.hear(1).await, "C(LISTEN) Z(I)");
    let blocked = Blocked::new(&site).await;
    let attempt = site.announce("switchover").await;
    blocked.waits(1).await;
    site.admin.batch_execute("NOTIFY news, 'beside'").await.unwrap();
    blocked.release().await;
    site.until("its clients rest", attempt, "drained").await;
    site.state(attempt, "undone").await;
    let heard = client.until(b'A').await;
    assert!(heard[4..].starts_with(b"news\0beside\0"), "{heard:?}");
    client.say(&["Q SELECT 1"]).await;
    assert_eq!(client.hear(1).await, "T(?column?) D(1) C(SELECT 1) Z(I)");
}

/// Its answer may still come, and must not be taken for that to a question of the client's.
#[tokio::test]
async fn a_session_that_did_not_answer_it_is_ended() {
    let site = Site::start(Target::all().remove(0)).await;
    let mut client = Wire::connect(site.world.proxy_port(), &site.world.database).await;
    let blocked = Blocked::new(&site).await;
    let attempt = site.announce("switchover").await;
    blocked.waits(1).await;
    site.until("its clients rest", attempt, "drained").await;
    let unknown = ["1 with a state that PostgreSQL did not tell"];
    assert_eq!(site.obstacles(attempt).await, unknown);
    site.state(attempt, "undone").await;
    assert_eq!(client.hear(1).await, "E(57P01) end");
    blocked.release().await;
}

/// A client that has ended its side still gets what it has asked for, from whoever answers then.
#[tokio::test]
async fn a_client_that_has_said_its_last_is_answered() {
    let mut site = Site::start(Target::all().remove(0)).await;
    let connect =
        async |site: &Site| Wire::connect(site.world.proxy_port(), &site.world.database).await;
    let mut client = connect(&site).await;
    let attempt = site.hold("switchover").await;
    client.say(&["Q INSERT INTO users (email) VALUES ('last')"]).await;
    client.close().await;
    assert!(client.is_quiet().await, "it was answered during the hold");
    site.state(attempt, "undone").await;
    assert_eq!(client.hear(usize::MAX).await, "C(INSERT 0 1) Z(I) end");

    let (mut client, mut open) = (connect(&site).await, connect(&site).await);
    // An open transaction keeps the hold up.
    open.say(&["Q BEGIN", "Q SELECT id FROM users"]).await;
    open.hear(2).await;
    let last = async {
        let held = "SELECT EXISTS (SELECT FROM crossfade.attempts a JOIN crossfade.attempt_sidecars s \
                    ON s.attempt = a.id WHERE a.state = 'held' AND s.held IS NOT NULL)";
        let admin = site.world.admin().await;
        let is_held = async || admin.query_one(held, &[]).await.unwrap().get(0);
        site.world.until("clients are held", is_held).await;
        client.say(&["Q INSERT INTO users (email) VALUES ('very last')"]).await;
        client.close().await;
        assert!(client.is_quiet().await, "it was answered during the hold");
        open.say(&["Q COMMIT"]).await;
        open.hear(1).await;
        client.hear(usize::MAX).await
    };
    let ((), heard) = tokio::join!(site.verb("switchover", &[]), last);
    assert_eq!(heard, "C(INSERT 0 1) Z(I) end");
    let emails = super::emails(&site.world.client().await).await;
    assert!(emails.contains(&"very last".to_owned()), "{emails:?}");
    site.drained_back().await;
    site.world.assert_all_equal().await;
}
