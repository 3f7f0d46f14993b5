//! What a client has on its server goes along: its settings, and every statement it has prepared.

use tokio_postgres::{Client, NoTls};

use super::Site;
use crate::support::{ROLE, ROLE_PASSWORD, Target};
use crate::wire::script::Wire;

/// A client whose startup message has settings.
async fn client_with(site: &Site, options: &str) -> Client {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(site.world.proxy_port()).dbname(&site.world.database);
    config.user(ROLE).password(ROLE_PASSWORD).options(options);
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn shows(client: &Client, settings: &[(&str, Option<&str>)]) {
    for (name, expected) in settings {
        let sql = "SELECT current_setting($1, true)";
        let row = client.query_one(sql, &[name]).await.unwrap();
        assert_eq!(row.get::<_, Option<&str>>(0), *expected, "{name}");
    }
}

/// The application's own among them; RESET goes back to what the session began with, on either side.
#[tokio::test]
async fn settings_go_along_and_reset_goes_back_to_the_first() {
    for target in Target::all() {
        let mut site = Site::start(target).await;
        let client = client_with(&site, "-c app.first=1 -c statement_timeout=60000").await;
        let odd = "o'brien \\ \"x\" é";
        let set = "SET app.\"User\" = '7'; SELECT set_config('app.tenant', 'none', false); \
                   BEGIN; SET LOCAL app.brief = 'x'; COMMIT; \
                   SET app.first = '2'; SET statement_timeout = '7s'; SET work_mem = '8MB'";
        client.batch_execute(set).await.unwrap();
        let name = "SELECT set_config('App.Odd', $1, false)";
        client.query_one(name, &[&odd]).await.unwrap();
        let as_set = [
            ("app.user", Some("7")),
            ("app.tenant", Some("none")),
            ("app.brief", Some("")),
            ("app.odd", Some(odd)),
            ("app.first", Some("2")),
            ("app.never", None),
            ("statement_timeout", Some("7s")),
            ("work_mem", Some("8MB")),
        ];
        let reset = [
            ("app.user", Some("")),
            ("app.tenant", Some("")),
            ("app.odd", Some("")),
            ("app.first", Some("1")),
            ("statement_timeout", Some("1min")),
            ("work_mem", Some("4MB")),
        ];
        shows(&client, &as_set).await;
        site.switch().await;
        shows(&client, &as_set).await;
        client.batch_execute("RESET ALL").await.unwrap();
        shows(&client, &reset).await;
        client.batch_execute(set).await.unwrap();
        client.query_one(name, &[&odd]).await.unwrap();
        site.roll_back().await;
        shows(&client, &as_set).await;
        client.batch_execute("RESET ALL").await.unwrap();
        shows(&client, &reset).await;
        site.switch().await;
        shows(&client, &reset).await;
    }
}

/// A path that was set decides what names mean, also for what is captured.
#[tokio::test]
async fn a_search_path_that_was_set_is_that_of_the_session_afterwards() {
    let mut site = Site::start(Target::all().remove(0)).await;
    let client = site.world.client().await;
    site.switch().await;
    client.batch_execute("SET search_path = public, pg_catalog").await.unwrap();
    site.roll_back().await;
    client.execute("INSERT INTO users (email) VALUES ('by path')", &[]).await.unwrap();
    shows(&client, &[("search_path", Some("public, pg_catalog"))]).await;
    site.world.drained().await;
    site.world.assert_all_equal().await;
    client.batch_execute("RESET search_path").await.unwrap();
    shows(&client, &[("search_path", Some("\"$user\", public"))]).await;
}

/// Parsed before the change, bound after it; the unnamed one is on no list of the server's.
#[tokio::test]
async fn the_unnamed_statement_goes_along() {
    for target in Target::all() {
        let mut site = Site::start(target).await;
        let mut read = Wire::connect(site.world.proxy_port(), &site.world.database).await;
        let mut write = Wire::connect(site.world.proxy_port(), &site.world.database).await;
        read.say(&["P _ SELECT email FROM users WHERE id = $1", "D S _", "S"]).await;
        assert_eq!(read.hear(1).await, "1 t(1) T(email) Z(I)");
        write.say(&["P _ INSERT INTO users (email) VALUES ($1) RETURNING email", "S"]).await;
        assert_eq!(write.hear(1).await, "1 Z(I)");
        for (number, verb) in ["switchover", "rollback", "switchover"].into_iter().enumerate() {
            site.change(verb).await;
            read.say(&["B _ _ 1", "E _", "S"]).await;
            assert_eq!(read.hear(1).await, "2 D(old) C(SELECT 1) Z(I)", "after {verb}");
            write.say(&[&format!("B _ _ new{number}"), "E _", "S"]).await;
            let expected = format!("2 D(new{number}) C(INSERT 0 1) Z(I)");
            assert_eq!(write.hear(1).await, expected, "after {verb}");
        }
        site.drained_back().await;
        site.world.assert_all_equal().await;
        site.change("rollback").await;
        // A simple query ends it, as anywhere.
        read.say(&["Q SELECT 1"]).await;
        read.hear(1).await;
        site.switch().await;
        read.say(&["B _ _ 1", "E _", "S"]).await;
        assert_eq!(read.hear(1).await, "E(26000) Z(I)");
    }
}

/// Also where nothing changes after all: the server was asked by simple queries meanwhile, which end it.
#[tokio::test]
async fn the_unnamed_statement_outlives_a_hold() {
    let site = Site::start(Target::all().remove(0)).await;
    let mut read = Wire::connect(site.world.proxy_port(), &site.world.database).await;
    let mut write = Wire::connect(site.world.proxy_port(), &site.world.database).await;
    read.say(&["P _ SELECT email FROM users WHERE id = $1", "S"]).await;
    write.say(&["P _ INSERT INTO users (email) VALUES ($1)", "S"]).await;
    assert_eq!((&*read.hear(1).await, &*write.hear(1).await), ("1 Z(I)", "1 Z(I)"));
    let attempt = site.hold("switchover").await;
    site.state(attempt, "undone").await;
    read.say(&["B _ _ 1", "E _", "S"]).await;
    assert_eq!(read.hear(1).await, "2 D(old) C(SELECT 1) Z(I)");
    write.say(&["B _ _ new", "E _", "S"]).await;
    assert_eq!(write.hear(1).await, "2 C(INSERT 0 1) Z(I)");
    site.world.drained().await;
    site.world.assert_all_equal().await;
}

/// It is refused while MySQL answers, and there again afterwards.
#[tokio::test]
async fn a_statement_that_mysql_refuses_is_not_forgotten() {
    let mut site = Site::start(Target::all().remove(0)).await;
    let mut client = Wire::connect(site.world.proxy_port(), &site.world.database).await;
    client.say(&["P s SELECT to_tsvector('simple', $1)", "S"]).await;
    assert_eq!(client.hear(1).await, "1 Z(I)");
    let used: &[&str] = &["B _ s word", "E _", "S"];
    client.say(used).await;
    assert_eq!(client.hear(1).await, "2 D('word':1) C(SELECT 1) Z(I)");
    site.verb("switchover", &["--accept", "all"]).await;
    client.say(used).await;
    assert_eq!(client.hear(1).await, "E(0A000) Z(I)");
    client.say(&["P s SELECT 1", "S"]).await;
    assert_eq!(client.hear(1).await, "E(42P05) Z(I)");
    site.roll_back().await;
    client.say(used).await;
    assert_eq!(client.hear(1).await, "2 D('word':1) C(SELECT 1) Z(I)");
}
