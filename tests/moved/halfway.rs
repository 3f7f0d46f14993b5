//! A batch that has come in part when the primary changes: whoever leads then answers the rest of it.
//!
//! A sidecar that is frozen, or that has lost its lease, is not waited for by whoever changes the primary.

use mysql_async::prelude::Queryable as _;

use super::{Site, emails};
use crate::support::process;
use crate::support::{ROLE, ROLE_PASSWORD, Target};
use crate::wire::script::Wire;

/// The application's client: PostgreSQL's trigger lets the administrator write.
async fn wire(site: &Site) -> Wire {
    Wire::connect_as(ROLE, ROLE_PASSWORD, site.world.proxy_port(), &site.world.database).await
}

/// The primary changes while the only sidecar is frozen.
async fn change_frozen(site: &Site, verb: &'static str) {
    let proxy = site.world.proxy.as_ref().unwrap();
    proxy.freeze().await;
    let config = site.world.config.clone();
    let changed = move || process::verb(&config, &[verb, "--timeout", "60s"]);
    let (code, said) = tokio::task::spawn_blocking(changed).await.unwrap();
    assert_eq!(code, Some(0), "{verb}\n{said}");
}

/// A switchover that comes to nothing leaves its triggers on PostgreSQL. To make them it would wait for a batch
/// that has prepared a write, so this is what a batch meets that begins after that.
async fn prepared(site: &Site) {
    let open = site.world.client().await;
    open.batch_execute("BEGIN; SELECT count(*) FROM users").await.unwrap();
    let config = site.world.config.clone();
    let tried = move || process::verb(&config, &["switchover", "--timeout", "1s"]);
    let (code, said) = tokio::task::spawn_blocking(tried).await.unwrap();
    assert_eq!(code, Some(1), "{said}");
    open.batch_execute("ROLLBACK").await.unwrap();
}

/// What came before the change and was answered; what came after it; what is heard then.
type Case = (&'static [&'static str], u8, &'static [&'static str], &'static str);

const INSERT: &str = "P _ INSERT INTO users (email) VALUES ($1) RETURNING email";
const SELECT: &str = "P s SELECT email FROM users WHERE id = $1";

/// Each of its own client. They come again after the way back, so what is inserted is deleted in between.
const MOVED: [Case; 6] = [
    (&[INSERT, "B _ _ whole", "D P _", "H"], b'T', &["E _", "S"], "D(whole) C(INSERT 0 1) Z(I)"),
    (&[SELECT, "B _ s 1", "D P _", "H"], b'T', &["E _", "S"], "D(old) C(SELECT 1) Z(I)"),
    // A portal with a name, closed and bound anew.
    (
        &[SELECT, "B p s 7", "C P p", "B p s 1", "D P p", "H"],
        b'T',
        &["D P p", "E p", "C S s", "S"],
        "T(email) D(old) C(SELECT 1) 3 Z(I)",
    ),
    // Prepared only.
    (
        &[INSERT, "D S _", "H"],
        b'T',
        &["B _ _ parsed", "E _", "S"],
        "2 D(parsed) C(INSERT 0 1) Z(I)",
    ),
    // A query string comes in the middle of it, and then the rest.
    (
        &[SELECT, "B p s 1", "D P p", "H"],
        b'T',
        &["Q SELECT email FROM users WHERE id = 1", "C S s", "S"],
        "T(email) D(old) C(SELECT 1) Z(I) 3 Z(I)",
    ),
    // Nothing but its end.
    (&[SELECT, "D S s", "H"], b'T', &["C S s", "S"], "3 Z(I)"),
];

/// Those for whom it is too late are told to begin anew, and can.
const TOLD: [Case; 3] = [
    // A statement of it has run.
    (
        &["P _ SELECT 1", "B _ _", "E _", "P _ SELECT 2", "B _ _", "D P _", "H"],
        b'T',
        &["E _", "S"],
        "E(40001) Z(I)",
    ),
    // What was bound is of a statement that is not there any more.
    (
        &["P _ SELECT 1", "B a _", "P _ SELECT 2", "B b _", "D P b", "H"],
        b'T',
        &["E a", "E b", "S"],
        "E(40001) Z(I)",
    ),
    (&["Q BEGIN"], b'Z', &["Q INSERT INTO users (email) VALUES ('no')"], "E(40001) Z(E)"),
];

async fn begin(site: &Site, cases: &[Case]) -> Vec<Wire> {
    let mut clients = Vec::new();
    for (before, answer, ..) in cases {
        let mut client = wire(site).await;
        client.say(before).await;
        client.until(*answer).await;
        clients.push(client);
    }
    clients
}

async fn end(clients: &mut [Wire], cases: &[Case], when: &str) {
    for (client, (before, _, after, expected)) in clients.iter_mut().zip(cases) {
        let ready = after.iter().filter(|message| matches!(&message[..1], "S" | "Q")).count();
        let heard = client.hear(ready).await;
        assert_eq!(&heard, expected, "{when}: {before:?}, {after:?} {:?}", client.details);
    }
}

/// Also where nothing of it was answered before the change, and where the rest comes before the sidecar knows.
#[tokio::test]
async fn a_batch_that_came_in_part_is_answered_by_whoever_leads_then() {
    for target in Target::all() {
        let mut site = Site::start(target).await;
        prepared(&site).await;
        for verb in ["switchover", "rollback"] {
            let mut clients = begin(&site, &MOVED).await;
            let mut early = begin(&site, &MOVED).await;
            let (mut unanswered, mut last) = (wire(&site).await, wire(&site).await);
            unanswered.say(&["P _ SELECT email FROM users WHERE id = $1", "B _ _ 1"]).await;
            last.say(&["P _ SELECT 1", "H"]).await;
            last.until(b'1').await;
            change_frozen(&site, verb).await;
            for (client, (_, _, after, _)) in early.iter_mut().zip(&MOVED) {
                client.say(after).await;
            }
            let proxy = site.world.proxy.as_ref().unwrap();
            proxy.thaw();
            end(&mut early, &MOVED, &format!("{verb}, before the sidecar knows")).await;
            let phase = if verb == "switchover" { "switched" } else { "dual_write" };
            let knows = format!("phase{{phase=\"{phase}\"}}");
            site.world.until(phase, async || proxy.metric(&knows).await == 1.0).await;
            let client = site.world.client().await;
            let delete = "DELETE FROM users WHERE email IN ('whole', 'parsed')";
            assert_eq!(client.execute(delete, &[]).await.unwrap(), 2, "{verb}");
            for (client, (_, _, after, _)) in clients.iter_mut().zip(&MOVED) {
                client.say(after).await;
            }
            end(&mut clients, &MOVED, verb).await;
            assert_eq!(client.execute(delete, &[]).await.unwrap(), 2, "{verb}");
            unanswered.say(&["E _", "S"]).await;
            assert_eq!(unanswered.hear(1).await, "1 2 D(old) C(SELECT 1) Z(I)", "{verb}");
            last.say(&["B _ _", "E _", "S"]).await;
            assert_eq!(last.hear(1).await, "2 D(1) C(SELECT 1) Z(I)", "{verb}");
            if verb == "switchover" {
                site.drained_back().await;
            } else {
                site.world.drained().await;
            }
            site.world.assert_all_equal().await;
        }
    }
}

#[tokio::test]
async fn a_transaction_of_which_a_part_has_happened_begins_anew() {
    let site = Site::start(Target::all().remove(0)).await;
    let mut clients = begin(&site, &TOLD).await;
    let mut long = wire(&site).await;
    let bind = format!("B _ _ {}", "x".repeat(100_000));
    long.say(&["P _ SELECT length($1)", &bind, "D P _", "H"]).await;
    long.until(b'T').await;
    change_frozen(&site, "switchover").await;
    let proxy = site.world.proxy.as_ref().unwrap();
    proxy.thaw();
    let knows = "phase{phase=\"switched\"}";
    site.world.until("it knows", async || proxy.metric(knows).await == 1.0).await;
    for (client, (_, _, after, _)) in clients.iter_mut().zip(&TOLD) {
        client.say(after).await;
    }
    end(&mut clients, &TOLD, "switchover").await;
    long.say(&["E _", "S"]).await;
    assert_eq!(long.hear(1).await, "E(40001) Z(I)");
    clients.push(long);
    clients[2].say(&["Q ROLLBACK"]).await;
    assert_eq!(clients[2].hear(1).await, "C(ROLLBACK) Z(I)");
    for client in &mut clients {
        client.say(&["Q SELECT email FROM users"]).await;
        assert_eq!(client.hear(1).await, "T(email) D(old) C(SELECT 1) Z(I)");
    }
}

/// PostgreSQL has given the lead, and MySQL cannot take it for longer than the attempt may last, and than a
/// lease: holds have ended, and nobody knows who leads. Clients see a pause.
#[tokio::test]
async fn a_change_that_takes_longer_than_a_lease_is_a_pause() {
    for target in Target::all() {
        let site = Site::start(target).await;
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(wire(&site).await);
        }
        clients[0].say(&["P s INSERT INTO users (email) VALUES ($1) RETURNING email", "S"]).await;
        assert_eq!(clients[0].hear(1).await, "1 Z(I)");
        let mut lock = site.world.secondary().await;
        let state = "SELECT epoch FROM crossfade_state WHERE id = 1 FOR UPDATE";
        lock.query_drop("BEGIN").await.unwrap();
        lock.query_drop(state).await.unwrap();
        let config = site.world.config.clone();
        let change = move || process::verb(&config, &["switchover", "--timeout", "4s"]);
        let change = tokio::task::spawn_blocking(change);
        let ended = "SELECT count(*) FROM crossfade.attempt_sidecars s JOIN crossfade.epoch e \
            ON e.last_value % 2 = 1 WHERE s.resumed IS NOT NULL";
        let ended = async || site.admin.query_one(ended, &[]).await.unwrap().get::<_, i64>(0) == 1;
        site.world.until("the hold has ended", ended).await;
        clients[0].say(&["B _ s bound", "E _", "S"]).await;
        let select = "P _ SELECT email FROM users WHERE id = $1";
        clients[1].say(&[select, "B _ _ 1", "E _", "S"]).await;
        clients[2].say(&["Q INSERT INTO users (email) VALUES ('simple')"]).await;
        for client in &mut clients {
            assert!(client.is_quiet().await, "somebody has answered");
        }
        lock.query_drop("ROLLBACK").await.unwrap();
        assert_eq!(clients[0].hear(1).await, "2 D(bound) C(INSERT 0 1) Z(I)");
        assert_eq!(clients[1].hear(1).await, "1 2 D(old) C(SELECT 1) Z(I)");
        assert_eq!(clients[2].hear(1).await, "C(INSERT 0 1) Z(I)");
        let (code, said) = change.await.unwrap();
        assert_eq!(code, Some(0), "{said}");
        let mut all = emails(&site.world.client().await).await;
        all.sort();
        assert_eq!(all, ["bound", "old", "simple"]);
    }
}
