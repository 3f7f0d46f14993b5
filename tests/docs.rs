//! What the documentation tells people to type: each command is typed, against a real sidecar.
//!
//! A block that begins with ```` ```console ```` holds commands after `$ `, and what they print, with … for what varies. It
//! is run in the order of the page, in a world of the page's own. Two marks, each with its reason:
//!
//! ```text
//! ```console not run: why       is not run, but the arguments of `crossfade` in it are checked
//! ```console arguments: why     the same, where a test of its own runs it
//! ```console exit=1             its last command ends with this code
//! ```
//!
//! Links to files and to sections of the pages lead somewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use crate::deploy::{read, root};
use crate::support::process::{PROGRAM, Proxy};
use crate::support::{Target, World};

const PAGES: [&str; 6] = [
    "README.md",
    "docs/configuration.md",
    "docs/faq.md",
    "docs/reference.md",
    "docs/runbook.md",
    "docs/why-not-cdc.md",
];

const SCHEMA: &str = "CREATE TABLE users (id int PRIMARY KEY, email text UNIQUE, name text); \
     CREATE TABLE sessions (id int PRIMARY KEY, user_id int REFERENCES users); \
     INSERT INTO users SELECT n, n || '@example.org', 'name' FROM generate_series(1, 200) n; \
     INSERT INTO sessions SELECT n, n FROM generate_series(1, 200) n";

struct Block {
    /// Of its first line.
    line: usize,
    mark: Mark,
    commands: Vec<Typed>,
}

enum Mark {
    Run { code: i32 },
    Arguments,
}

#[derive(Default)]
struct Typed {
    command: String,
    prints: Vec<String>,
}

fn blocks(page: &str) -> Vec<Block> {
    let (text, mut blocks, mut open) = (read(page), Vec::new(), None);
    for (number, line) in text.lines().enumerate() {
        match (&mut open, line.strip_prefix("```console")) {
            (None, Some(info)) => {
                let reason = ["not run: ", "arguments: "]
                    .iter()
                    .find_map(|mark| info.trim().strip_prefix(mark));
                let mark = match (reason, info.trim().strip_prefix("exit=")) {
                    (Some(reason), _) => {
                        assert!(10 < reason.len(), "{page}:{}: why?", number + 1);
                        Mark::Arguments
                    }
                    (None, Some(code)) => Mark::Run { code: code.parse().unwrap() },
                    (None, None) => {
                        assert_eq!(info, "", "{page}:{}: an unknown mark", number + 1);
                        Mark::Run { code: 0 }
                    }
                };
                open = Some(Block { line: number + 1, mark, commands: Vec::new() });
            }
            (Some(_), _) if line == "```" => blocks.extend(open.take()),
            (Some(block), _) => match line.strip_prefix("$ ") {
                Some(command) => {
                    block.commands.push(Typed { command: command.to_owned(), prints: Vec::new() });
                }
                None => block.commands.last_mut().unwrap().prints.push(line.to_owned()),
            },
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{page}: a block without end");
    blocks
}

/// The arguments of each `crossfade` of a command line.
fn calls(command: &str) -> Vec<Vec<&str>> {
    let parts = command.split(['|', '&', ';']);
    let calls = parts.filter_map(|part| part.trim().strip_prefix("crossfade "));
    calls.map(|rest| rest.split_whitespace().take_while(|word| *word != ">").collect()).collect()
}

#[test]
fn the_program_knows_every_argument_that_the_pages_name() {
    let mut checked = 0;
    for page in PAGES {
        for block in blocks(page) {
            for arguments in block.commands.iter().flat_map(|typed| calls(&typed.command)) {
                // What is wrong before `--help` is said; nothing is done.
                let asked = Command::new(PROGRAM).args(&arguments).arg("--help").output().unwrap();
                let said = String::from_utf8_lossy(&asked.stderr).into_owned();
                assert!(asked.status.success(), "{page}:{}: {arguments:?}: {said}", block.line);
                checked += 1;
            }
        }
    }
    assert!(20 < checked, "only {checked} commands found");
}

#[tokio::test]
async fn every_command_of_the_pages_does_what_they_say() {
    for page in PAGES {
        let blocks = blocks(page);
        if blocks.iter().any(|block| matches!(block.mark, Mark::Run { .. })) {
            let world = stage().await;
            for block in blocks {
                let Mark::Run { code } = block.mark else { continue };
                let last = block.commands.len() - 1;
                for (at, typed) in block.commands.iter().enumerate() {
                    let place = format!("{page}:{}", block.line);
                    run(&world, typed, if at == last { code } else { 0 }, &place).await;
                }
            }
        }
    }
}

/// A database with rows and a sidecar, and nothing set up: where every page begins.
async fn stage() -> World {
    let tables = "'*': { mode: blocking, timeout: 10s }";
    let mut world = World::granted(Target::MariaDb, SCHEMA, tables).await;
    world.edit(|text| text.replacen("admin: { ", "admin: { token: secret, ", 1));
    world.run().await;
    world
}

async fn run(world: &World, typed: &Typed, code: i32, place: &str) {
    let proxy = world.proxy.as_ref().unwrap();
    // The addresses of proxy.yaml's reference, as they are here.
    let command = typed
        .command
        .replace("127.0.0.1:9100", &format!("127.0.0.1:{}", proxy.admin_port))
        .replace("127.0.0.1:6432", &format!("127.0.0.1:{}", proxy.port));
    let settled = async || is_settled(world, proxy).await;
    world.until("the sidecar knows what was done", settled).await;
    let programs = Path::new(PROGRAM).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let password = crossfade::demo::servers::PASSWORD;
    let (port, database) = (world.postgres_port(), &world.database);
    let mut bash = tokio::process::Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", &command])
        .env("PATH", path)
        .env("CROSSFADE_CONFIG", &world.config)
        .env("CROSSFADE_ADMIN_TOKEN", "secret")
        .env("FROM", format!("postgres://postgres:{password}@127.0.0.1:{port}/{database}"))
        .current_dir(world.config.parent().unwrap())
        .kill_on_drop(true);
    let output = tokio::time::timeout(crate::support::PATIENCE, bash.output());
    let output =
        output.await.unwrap_or_else(|_| panic!("{place}: {command} does not end")).unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!(output.status.code(), Some(code), "{place}: {command}\n{said}\n{}", world.log());
    let mut lines = said.lines();
    for wanted in &typed.prints {
        assert!(lines.any(|line| fits(line, wanted)), "{place}: {command}: no {wanted} in\n{said}");
    }
}

/// Nothing is under way, and the sidecar that `status` asks has seen what the last command did.
async fn is_settled(world: &World, proxy: &Proxy) -> bool {
    let admin = world.admin().await;
    let set_up = "SELECT to_regclass('crossfade.backfill') IS NOT NULL";
    let set_up: bool = admin.query_one(set_up, &[]).await.unwrap().get(0);
    let (_, status) = proxy.get("/migration-status").await.unwrap();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    if !set_up {
        return status["phase"] == "setup";
    }
    let turn = "SELECT last_value % 2 FROM crossfade.epoch";
    if admin.query_one(turn, &[]).await.unwrap().get::<_, i64>(0) == 1 {
        return status["phase"] == "switched";
    }
    let marks = "SELECT count(*) FILTER (WHERE dirty_reason IS NOT NULL), \
         (SELECT count(*) FROM crossfade.outbox), \
         (SELECT count(*) FROM crossfade.backfill WHERE state NOT IN ('done', 'done before')) \
         FROM crossfade.tables";
    let row = admin.query_one(marks, &[]).await.unwrap();
    let (dirty, outbox, copying): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    let shown = status["tables"].as_object().unwrap().values();
    let shown = shown.filter(|table| !table["dirty"].is_null()).count();
    let known = status["phase"] == "dual_write" && i64::try_from(shown) == Ok(dirty);
    known && outbox == 0 && copying == 0
}

/// Whether a line is as the page has it, where `…` stands for anything.
fn fits(line: &str, wanted: &str) -> bool {
    let mut pieces = wanted.trim().split('…');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = line.trim().strip_prefix(first) else { return false };
    let mut open = false;
    for piece in pieces {
        let piece = piece.trim_end();
        let Some(at) = rest.find(piece) else { return false };
        (rest, open) = (&rest[at + piece.len()..], piece.is_empty());
    }
    open || rest.is_empty()
}

#[test]
fn what_varies_is_left_open_and_the_rest_is_not() {
    assert!(fits("lag 0.0 s   pending 3", "lag … s   pending …"));
    assert!(fits("{\"a\":1}", "{\"a\":1}"));
    assert!(!fits("{\"a\":1,\"b\":2}", "{\"a\":1}"));
    assert!(!fits("lag 0.0 s", "pending …"));
    assert!(fits("users: 3 rows, 3 equal; 0.1 s", "…: … rows, … equal…"));
}

/// As GitHub makes them of headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let letters = |heading: &str| {
        let kept = heading.trim_start_matches('#').trim().to_lowercase();
        let kept =
            kept.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
        kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
    };
    headings.map(letters).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for page in PAGES {
        known.insert(page.to_owned(), anchors(&read(page)));
    }
    for page in PAGES {
        let text = read(page);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.starts_with("http") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let directory = Path::new(page).parent().unwrap();
            let mut path = match file {
                "" => page.to_owned(),
                file => directory.join(file).display().to_string(),
            };
            if let Some(rest) = path.strip_prefix("docs/../") {
                path = rest.to_owned();
            }
            assert!(root().join(&path).exists(), "{page}: {target} leads nowhere");
            let has = anchor.is_empty() || known.get(&path).is_some_and(|all| all.contains(anchor));
            assert!(has, "{page}: {target}: there is no such section");
        }
    }
}

/// The table of versions says what `check` refuses.
#[test]
fn the_versions_in_the_faq_are_those_that_check_wants() {
    let (faq, source) = (read("docs/faq.md"), read("src/catalog/check/server.rs"));
    for (product, constant) in
        [("PostgreSQL", "POSTGRES_MIN"), ("MySQL", "MYSQL_MIN"), ("MariaDB", "MARIADB_MIN")]
    {
        let line =
            source.lines().find(|line| line.contains(&format!("const {constant}:"))).unwrap();
        let value =
            line.split(" = ").nth(1).unwrap().trim_matches(['(', ')', ';']).replace(", ", ".");
        let row = faq.lines().find(|row| row.starts_with(&format!("| {product} |")));
        let row = row.unwrap_or_else(|| panic!("no row of {product}"));
        assert!(row.contains(&format!("| {} |", value.trim_end_matches(')'))), "{row}: {value}");
    }
    let rust = format!("Rust {}", env!("CARGO_PKG_RUST_VERSION"));
    assert!(faq.contains(&rust), "{rust}");
}
