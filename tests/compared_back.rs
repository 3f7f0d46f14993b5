//! `verify` and `repair` while MySQL is the primary.

use std::time::Duration;

use crossfade::admin::client::post;
use mysql_async::prelude::Queryable as _;
use serde_json::{Value, json};

use crate::moved::{Site, emails};
use crate::support::process::{self, of};
use crate::support::{Target, World};

/// Keys of one and of several columns, and one that can be written in several ways.
const SCHEMA: &str = "\
    CREATE TABLE users (id bigserial PRIMARY KEY, email varchar(100) NOT NULL UNIQUE, note text);
    CREATE TABLE grants (tenant int, role varchar(20), at timestamptz, PRIMARY KEY (tenant, role));
    CREATE TABLE prices (id numeric(10, 2) PRIMARY KEY, note text);
    INSERT INTO users (email) SELECT 'user ' || n FROM generate_series(1, 500) n;
    INSERT INTO grants SELECT n, 'role', now() FROM generate_series(1, 50) n;
    INSERT INTO prices SELECT n + 0.5, 'price' FROM generate_series(1, 50) n";

async fn switched(target: Target) -> Site {
    let mut site = Site::over(World::start(target, SCHEMA, "").await).await;
    site.switch().await;
    site
}

/// Changes PostgreSQL as nobody may but Crossfade's own role, which these tests have.
async fn plant(site: &Site) {
    let planted = "\
        DELETE FROM users WHERE id = 7;
        UPDATE users SET note = 'planted' WHERE id = 8;
        INSERT INTO users (id, email) VALUES (9000, 'planted');
        UPDATE grants SET at = '2001-01-01' WHERE tenant = 3;
        DELETE FROM prices WHERE id = 4.5";
    site.admin.batch_execute(planted).await.unwrap();
}

async fn lines(site: &Site, arguments: &'static [&'static str]) -> (Option<i32>, Vec<Value>) {
    let config = site.world.config.clone();
    tokio::task::spawn_blocking(move || process::lines(&config, arguments)).await.unwrap()
}

fn found(line: &Value) -> [&Value; 3] {
    [&line["missing"], &line["extra"], &line["different"]]
}

/// Each planted difference is found and no other, and repaired from MySQL, which is not changed.
#[tokio::test]
async fn each_planted_difference_is_found_and_repaired() {
    for target in Target::all() {
        let site = switched(target).await;
        let (code, clean) = lines(&site, &["verify"]).await;
        assert_eq!(code, Some(0), "{clean:?}");
        plant(&site).await;
        let before = emails(&site.world.client().await).await;
        for arguments in [&["verify"] as &'static [&'static str], &["verify", "--checksum"]] {
            let (code, lines) = lines(&site, arguments).await;
            assert_eq!(code, Some(1), "{lines:?}");
            assert_eq!(found(of(&lines, "users")), [&json!(1), &json!(1), &json!(1)], "{lines:?}");
            assert_eq!(found(of(&lines, "grants")), [&json!(0), &json!(0), &json!(1)], "{lines:?}");
            assert_eq!(found(of(&lines, "prices")), [&json!(1), &json!(0), &json!(0)], "{lines:?}");
            assert_eq!(of(&lines, "users")["rows"], json!(500), "of the primary: {lines:?}");
        }
        let (code, said) = lines_of_repair(&site).await;
        assert_eq!(code, Some(0), "{said}\n{}", site.world.log());
        assert_eq!((&said["found"], &said["carried"]), (&json!(5), &json!(5)), "{said}");
        assert_eq!(said["compared"]["equal"], json!(5), "{said}");
        site.world.assert_all_equal().await;
        assert_eq!(emails(&site.world.client().await).await, before, "MySQL is as it was");
        let (code, clean) = lines(&site, &["verify"]).await;
        assert_eq!(code, Some(0), "{clean:?}");
        let dirty = "SELECT count(*) FROM crossfade.tables WHERE dirty_reason IS NOT NULL";
        assert_eq!(site.admin.query_one(dirty, &[]).await.unwrap().get::<_, i64>(0), 0);
    }
}

async fn lines_of_repair(site: &Site) -> (Option<i32>, Value) {
    let (code, mut lines) = lines(site, &["repair"]).await;
    (code, lines.pop().unwrap())
}

/// While rows are written, deleted and inserted again, no pass calls what is on its way a difference; what
/// was planted is found among them.
#[tokio::test]
async fn a_write_on_its_way_is_no_difference() {
    for target in Target::all() {
        let site = switched(target).await;
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let mut writers = Vec::new();
        for writer in 0..2 {
            let (client, stopped) = (site.world.client().await, stopped.clone());
            writers.push(tokio::spawn(async move {
                let mut round = 0_i64;
                while !*stopped.borrow() {
                    round += 1;
                    let id = 20 + (round * 2 + writer) % 200;
                    let tenant = 10 + 10 * writer;
                    for sql in [
                        format!("UPDATE users SET note = 'round {round}' WHERE id = {id}"),
                        format!("DELETE FROM grants WHERE tenant = {tenant}"),
                        format!("INSERT INTO grants VALUES ({tenant}, 'role', now())"),
                    ] {
                        // InnoDB's gaps: whoever is asked to repeats it, as on PostgreSQL.
                        while let Err(error) = client.batch_execute(&sql).await {
                            assert_eq!(error.code().unwrap().code(), "40P01", "{sql}: {error:?}");
                        }
                    }
                }
                round
            }));
        }
        for _ in 0..3 {
            let (code, lines) = lines(&site, &["verify", "--patience", "20"]).await;
            assert_eq!(code, Some(0), "{target:?}: {lines:?}");
        }
        plant(&site).await;
        let (code, lines) = lines(&site, &["verify", "--patience", "20"]).await;
        assert_eq!(code, Some(1), "{lines:?}");
        assert_eq!(found(of(&lines, "users")), [&json!(1), &json!(1), &json!(1)], "{lines:?}");
        let (code, said) = lines_of_repair(&site).await;
        assert_eq!(code, Some(0), "{said}\n{}", site.world.log());
        stop.send_replace(true);
        for writer in writers {
            assert!(0 < writer.await.unwrap());
        }
        let mut conn = site.world.secondary().await;
        let empty = async || {
            let left = "SELECT COUNT(*) FROM crossfade_outbox";
            conn.query_first::<i64, _>(left).await.unwrap() == Some(0)
        };
        site.world.until("all is carried", empty).await;
        site.world.assert_all_equal().await;
    }
}

/// One row by its key; over HTTP; and what is dirty keeps a rollback from beginning until it is repaired.
#[tokio::test]
async fn one_row_and_by_http() {
    let mut site = switched(Target::all().remove(0)).await;
    plant(&site).await;
    let address = ([127, 0, 0, 1], site.world.proxy.as_ref().unwrap().admin_port).into();
    let answer =
        post(address, "/verify", None, r#"{"tables": ["users"]}"#.to_owned()).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    let dirty = "SELECT count(*) FROM crossfade.dirty_keys";
    let dirty = async || site.admin.query_one(dirty, &[]).await.unwrap().get::<_, i64>(0);
    site.world.until("three are found", async || dirty().await == 3).await;
    let (code, said) = lines(&site, &["rollback"]).await;
    assert_eq!(code, Some(1), "{said:?}");
    let one = r#"{"table": "grants", "key": "[\"3\", \"role\"]"}"#;
    let answer = post(address, "/repair", None, one.to_owned()).await.unwrap();
    let said: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!((&said["found"], &said["carried"]), (&json!(1), &json!(1)), "{said}");
    site.world.assert_equal("grants").await;
    let (code, said) = lines(&site, &["repair", "--table", "prices", "--key", "4.50"]).await;
    assert_eq!(code, Some(0), "{said:?}");
    let (code, said) = lines_of_repair(&site).await;
    assert_eq!((code, &said["found"]), (Some(0), &json!(3)), "{said}");
    let (code, clean) = lines(&site, &["verify"]).await;
    assert_eq!(code, Some(0), "{clean:?}");
    site.roll_back().await;
    site.world.assert_all_equal().await;
    tokio::time::timeout(Duration::from_secs(30), site.world.drained()).await.unwrap();
}
