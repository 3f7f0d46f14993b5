//! The drivers of tests/drivers while the primary changes under their connection, and afterwards.
//!
//! ```text
//! driver ──▶ PostgreSQL                                what it prints, and its own checks
//! driver ──▶ Crossfade ──▶ PostgreSQL │ MySQL          the same: what was prepared before, and all that comes after
//! ```
//!
//! What is refused by design is refused with 0A000, and README.md lists it.

use super::Site;
use crate::drivers::{Answers, Driver, SCHEMA, TABLES, assert_same, build_sqlx, run_across};
use crate::support::{Target, World, left_out};

const README: &str = include_str!("../../README.md");
const PSQL: &str = include_str!("../drivers/psql.sql");

#[tokio::test]
async fn psql_goes_on() {
    goes_on(Driver::Psql).await;
}

#[tokio::test]
async fn psycopg_goes_on() {
    if !left_out("python", "psycopg 3 across a switchover") {
        goes_on(Driver::Psycopg).await;
    }
}

#[tokio::test]
async fn node_postgres_goes_on() {
    if !left_out("node", "node-postgres across a switchover") {
        goes_on(Driver::NodePostgres).await;
    }
}

#[tokio::test]
async fn postgres_js_goes_on() {
    if !left_out("node", "postgres.js across a switchover") {
        goes_on(Driver::PostgresJs).await;
    }
}

#[tokio::test]
async fn tokio_postgres_goes_on() {
    goes_on(Driver::TokioPostgres).await;
}

#[tokio::test]
async fn sqlx_goes_on() {
    if !left_out("sqlx", "sqlx across a switchover") {
        build_sqlx().await;
        goes_on(Driver::Sqlx).await;
    }
}

async fn goes_on(driver: Driver) {
    let world = async |target| {
        let world = World::bare(target, TABLES).await;
        world.direct().await.batch_execute(SCHEMA).await.unwrap();
        world
    };
    let past = world(Target::MariaDb).await;
    let port = past.postgres_port();
    let direct = run_across(driver, &past, port, Some(Answers::Postgres), async || {}).await;
    for target in Target::all() {
        let mut world = world(target).await;
        world.setup();
        world.run().await;
        let mut site = Site::over(world).await;
        let port = site.world.proxy_port();
        let after = run_across(driver, &site.world, port, Some(Answers::MySql), async || {
            site.verb("switchover", &[]).await;
        })
        .await;
        let refused = match driver {
            Driver::Psql => psql_refusals(&direct, &after),
            _ => {
                assert_same(
                    driver,
                    "switched",
                    &without_unserved(&direct),
                    &without_unserved(&after),
                );
                let marks = after.lines().filter_map(|line| line.strip_prefix("unserved: "));
                marks.map(str::to_owned).collect()
            }
        };
        assert!(!refused.is_empty());
        for what in refused {
            assert!(README.contains(&what), "README.md does not list {what}");
        }
        site.drained_back().await;
        assert_eq!(site.world.assert_all_equal().await, ["account", "device", "note"]);
    }
}

/// Without what PostgreSQL has made of what MySQL refuses.
fn without_unserved(printed: &str) -> String {
    let mut inside = false;
    let mut kept = String::new();
    for line in printed.lines() {
        inside &= line != "served";
        if !inside {
            kept += &format!("{line}\n");
        }
        inside |= line.starts_with("unserved: ");
    }
    kept
}

/// What psql was refused, line by line of its script; everything else has to be the same.
#[track_caller]
fn psql_refusals(direct: &str, after: &str) -> Vec<String> {
    let mut refused = Vec::new();
    for ((line, direct), (_, after)) in blocks(direct).into_iter().zip(blocks(after)) {
        match after.iter().find_map(|line| line.split_once("ERROR:  0A000: ")) {
            Some((_, message)) => refused.push(construct(message)),
            None => assert_eq!(after, direct, "{line}"),
        }
    }
    refused
}

/// What came of each line of the script that stands for both, without what MySQL does not know.
fn blocks(printed: &str) -> Vec<(&str, Vec<&str>)> {
    const UNKNOWN: [&str; 5] = ["LOCATION:", "DETAIL:", "HINT:", "CONTEXT:", "LINE "];
    let (begins, ends) = ("\\if :postgresql", "\\endif");
    let mut inside = false;
    let for_both = |line: &&str| {
        inside &= *line != ends;
        let outside = !inside;
        inside |= *line == begins;
        outside
    };
    let mut script = PSQL.lines().filter(for_both).peekable();
    let mut blocks: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in printed.lines() {
        if script.next_if_eq(&line).is_some() {
            blocks.push((line, Vec::new()));
        } else if let Some((of, block)) = blocks.last_mut()
            && *of != begins
            && !UNKNOWN.iter().any(|unknown| line.starts_with(unknown))
            && line.trim() != "^"
        {
            block.push(line);
        }
    }
    assert_eq!(script.next(), None, "{printed}");
    blocks
}

/// What a refusal is about, as README.md has it.
fn construct(message: &str) -> String {
    let end = [" is not supported", " cannot be translated", " as a statement"];
    let end = end.iter().filter_map(|end| message.find(end)).min().unwrap_or(message.len());
    match message[..end].trim_start_matches("function ") {
        "remark" => "functions of the database".to_owned(),
        encoding if encoding.contains("client_encoding") => "client_encoding".to_owned(),
        what => what.to_owned(),
    }
}
