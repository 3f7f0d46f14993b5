//! Versions side by side, and what a program says of itself. The version of Crossfade's own tables is
//! recorded on both sides: `control::layout` has the rule, here sidecars keep to it.

use std::fs;
use std::path::Path;
use std::process::Command;

use mysql_async::prelude::Queryable as _;

use crate::support::process::{self, PROGRAM, Proxy};
use crate::support::{Target, World};

// What cargo runs before the build. Its `main` is cargo's to call.
#[allow(dead_code, reason = "cargo calls the rest")]
#[path = "../src/build.rs"]
mod build;

const SCHEMA: &str = "CREATE TABLE users (id int PRIMARY KEY, name text)";

/// What a `setup` records.
async fn record(world: &World) -> (Option<String>, Option<u64>) {
    let select = "SELECT (SELECT value FROM crossfade.settings WHERE key = 'layout')";
    let postgres = world.admin().await.query_one(select, &[]).await.unwrap().get(0);
    let select = "SELECT epoch FROM crossfade_state WHERE id = 4";
    (postgres, world.secondary().await.query_first(select).await.unwrap())
}

/// As the `setup` of another version would; of none, as one did before there was a record.
async fn set(world: &World, version: Option<(u32, u32)>) {
    let admin = world.admin().await;
    admin.batch_execute("DELETE FROM crossfade.settings WHERE key = 'layout'").await.unwrap();
    let mut secondary = world.secondary().await;
    secondary.query_drop("DELETE FROM crossfade_state WHERE id = 4").await.unwrap();
    if let Some((version, oldest)) = version {
        let insert =
            format!("INSERT INTO crossfade.settings VALUES ('layout', '{version}:{oldest}')");
        admin.batch_execute(&insert).await.unwrap();
        let number = version << 16 | oldest;
        let insert = format!("INSERT INTO crossfade_state (id, epoch) VALUES (4, {number})");
        secondary.query_drop(insert).await.unwrap();
    }
}

async fn writes_arrive(world: &World, id: i32) {
    let insert = format!("INSERT INTO users VALUES ({id}, 'a')");
    world.client().await.batch_execute(&insert).await.unwrap();
    world.drained().await;
    world.assert_equal("users").await;
}

#[tokio::test]
async fn the_version_before_and_the_one_after_work_with_these_tables() {
    let mut world = World::start(Target::MariaDb, SCHEMA, "").await;
    let ours = record(&world).await;
    assert_eq!(ours, (Some("2:0".to_owned()), Some(2 << 16)));
    // Tables of versions before, as while their sidecars are replaced; then the `setup` of this one.
    for (number, before) in [(10, None), (20, Some((1, 0)))] {
        set(&world, before).await;
        writes_arrive(&world, number).await;
        world.crash().await;
        writes_arrive(&world, number + 1).await;
        world.setup();
        assert_eq!(record(&world).await, ours);
    }
    // Tables of the version after, and one step back from it.
    set(&world, Some((3, 2))).await;
    writes_arrive(&world, 3).await;
    world.crash().await;
    writes_arrive(&world, 4).await;
    world.setup();
    assert_eq!(
        record(&world).await.0.as_deref(),
        Some("3:2"),
        "an older setup took the record back"
    );
    world.verb(&["verify"]);
    world.verb(&["repair"]);
}

#[tokio::test]
async fn tables_of_a_version_that_is_not_known_are_left_alone_and_named() {
    let mut world = World::start(Target::MariaDb, SCHEMA, "").await;
    world.edit(|text| text + "limits: { hold: 1s }\n");
    world.crash().await;
    let client = world.client().await;
    client.batch_execute("INSERT INTO users VALUES (1, 'a')").await.unwrap();
    set(&world, Some((4, 3))).await;
    let why =
        "Crossfade's own tables are of version 4, this program knows 0 to 2: run a newer version";
    let proxy = world.proxy.as_ref().unwrap();
    let refused = async || {
        let (status, body) = proxy.get("/health/readiness").await.unwrap();
        status == 503 && body.contains(why)
    };
    world.until("the sidecar that runs stops answering, and says why", refused).await;
    assert!(client.batch_execute("INSERT INTO users VALUES (2, 'b')").await.is_err());
    for arguments in
        [["check"], ["setup"], ["backfill"], ["verify"], ["repair"], ["switchover"], ["rollback"]]
    {
        let (code, output) = process::verb(&world.config, &arguments);
        assert_eq!(code, Some(1), "{arguments:?}: {output}");
        assert!(output.contains(why), "{arguments:?}: {output}");
    }
    assert_eq!(record(&world).await.0.as_deref(), Some("4:3"));
    drop(world.proxy.take());
    let proxy = Proxy::start_unready(&world.config).await;
    let refused =
        async || proxy.get("/health/readiness").await.is_some_and(|(_, body)| body.contains(why));
    world.until("one that starts says why it does not answer", refused).await;
    world.proxy = Some(proxy);
    // The right version comes back, and all is well.
    set(&world, Some((2, 0))).await;
    let proxy = world.proxy.as_ref().unwrap();
    let ready =
        async || proxy.get("/health/readiness").await.is_some_and(|(status, _)| status == 200);
    world.until("it answers again", ready).await;
    writes_arrive(&world, 3).await;
}

/// A sidecar of MySQL's record alone would be led astray where PostgreSQL has been restored from a backup.
#[tokio::test]
async fn setup_reads_the_version_on_mysql_too() {
    let world = World::bare(Target::MariaDb, "").await;
    world.direct().await.batch_execute(SCHEMA).await.unwrap();
    world.setup();
    world.admin().await.batch_execute("DROP SCHEMA crossfade CASCADE").await.unwrap();
    let update = format!("UPDATE crossfade_state SET epoch = {} WHERE id = 4", 5u64 << 16 | 4);
    world.secondary().await.query_drop(update).await.unwrap();
    let (code, output) = process::verb(&world.config, &["setup"]);
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("are of version 5"), "{output}");
}

fn said(arguments: &[&str]) -> String {
    let output = Command::new(PROGRAM).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_version_names_what_it_was_built_from() {
    let version = said(&["--version"]);
    let number = env!("CARGO_PKG_VERSION");
    let built = version.trim().strip_prefix(&format!("crossfade {number} ("));
    let built = built.and_then(|built| built.strip_suffix("; features: none)"));
    let built = built.unwrap_or_else(|| panic!("{version}"));
    assert!(built == "debug build" || built.starts_with("commit "), "{version}");
}

#[test]
fn each_shell_gets_completions_with_every_verb() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = said(&["completions", shell]);
        for verb in ["backfill", "check", "repair", "run", "setup", "status", "verify"] {
            assert!(script.contains(verb), "{shell}: no {verb}");
        }
    }
    let directory = crate::deploy::Directory::new("completions");
    let file = directory.file("crossfade", &said(&["completions", "bash"]));
    let ask = format!(
        "source {} && COMP_WORDS=(crossfade ver) COMP_CWORD=1 && _crossfade crossfade ver crossfade \
         && echo \"${{COMPREPLY[@]}}\"",
        file.display()
    );
    let output = Command::new("bash").args(["-c", &ask]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "verify");
}

#[test]
fn each_verb_has_a_manual_page() {
    let page = said(&["man"]);
    assert!(page.contains(".TH crossfade 1"), "{page}");
    for verb in ["backfill", "check", "run", "setup", "verify"] {
        assert!(page.contains(&format!("crossfade\\-{verb}(1)")), "{verb}: {page}");
        let own = said(&["man", verb]);
        assert!(own.contains(&format!(".TH crossfade-{verb} 1")), "{own}");
        assert!(own.contains("\\-\\-config"), "{own}");
    }
    let unknown = Command::new(PROGRAM).args(["man", "frobnicate"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(2));
}

fn git(directory: &Path, arguments: &[&str]) -> String {
    let mut git = Command::new("git");
    git.arg("-C").arg(directory).args(["-c", "user.name=t", "-c", "user.email=t@t"]);
    let output = git.args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn the_commit_is_that_of_these_sources_or_none() {
    let directory = crate::deploy::Directory::new("commit");
    let root = &directory.0;
    assert_eq!(build::commit(root), None, "a source archive");
    git(root, &["init", "-q"]);
    directory.file("a", "a");
    git(root, &["add", "."]);
    git(root, &["commit", "-q", "-m", "a"]);
    let head = git(root, &["rev-parse", "HEAD"]);
    assert_eq!(build::commit(root).as_deref(), Some(&head[..12]));
    directory.file("a", "b");
    assert_eq!(build::commit(root), Some(format!("{}+", &head[..12])));
    // A source archive that was unpacked inside another repository, then one made by `cargo package`.
    let inner = root.join("inner");
    fs::create_dir(&inner).unwrap();
    assert_eq!(build::commit(&inner), None);
    let noted = format!("{{ \"git\": {{ \"sha1\": \"{head}\" }} }}");
    fs::write(inner.join(".cargo_vcs_info.json"), noted).unwrap();
    assert_eq!(build::commit(&inner).as_deref(), Some(&head[..12]));
}
