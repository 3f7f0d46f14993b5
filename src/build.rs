//! Runs before the build: which commit, and which features, `crossfade --version` will name.
//!
//! ```text
//! CROSSFADE_COMMIT, else git, else what `cargo package` noted ──▶ `commit 0123456789ab`
//! none of them (a source archive)                             ──▶ `source archive`
//! a debug build                                               ──▶ `debug build`
//! ```
//!
//! Invariant: it never fails, and never names another repository's commit. A debug build names none, or each
//! commit would have everything built anew.

#![allow(clippy::print_stdout, reason = "this is how cargo is told")]

use std::env;
use std::path::Path;
use std::process::Command;

/// As many digits as git shows of a large repository's commits.
const DIGITS: usize = 12;

fn main() {
    let root = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let given = env::var("CROSSFADE_COMMIT").ok().filter(|commit| !commit.is_empty());
    let release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let built_from = match given {
        Some(commit) => format!("commit {commit}"),
        None if !release => "debug build".to_owned(),
        None => commit(Path::new(&root))
            .map_or_else(|| "source archive".to_owned(), |commit| format!("commit {commit}")),
    };
    println!("cargo::rerun-if-env-changed=CROSSFADE_COMMIT");
    println!("cargo::rerun-if-changed=src/build.rs");
    for path in watched(Path::new(&root)).into_iter().filter(|_| release) {
        println!("cargo::rerun-if-changed={path}");
    }
    println!("cargo::rustc-env=CROSSFADE_BUILT_FROM={built_from}");
    println!("cargo::rustc-env=CROSSFADE_FEATURES={}", features());
}

/// The commit of what stands in `root`, with a `+` where it was changed since.
pub fn commit(root: &Path) -> Option<String> {
    let top = git(root, &["rev-parse", "--show-toplevel"]);
    let same = |top: &String| Path::new(top).canonicalize().ok() == root.canonicalize().ok();
    if top.as_ref().is_some_and(same) {
        let head = git(root, &["rev-parse", "HEAD"])?;
        let changed = git(root, &["status", "--porcelain", "--untracked-files=no"]);
        let mark = if changed.is_some_and(|changed| !changed.is_empty()) { "+" } else { "" };
        return Some(format!("{}{mark}", shortened(&head)?));
    }
    let noted = std::fs::read_to_string(root.join(".cargo_vcs_info.json")).ok()?;
    let (_, rest) = noted.split_once("\"sha1\"")?;
    shortened(rest.split('"').nth(1)?)
}

fn shortened(commit: &str) -> Option<String> {
    let hexadecimal = commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    commit.get(..DIGITS).filter(|_| hexadecimal).map(str::to_owned)
}

/// What changes with the commit, or with what is built.
fn watched(root: &Path) -> Vec<String> {
    let log = git(root, &["rev-parse", "--git-path", "logs/HEAD"]);
    let log = log.filter(|log| root.join(log).exists());
    ["src", "Cargo.toml", "Cargo.lock"].map(str::to_owned).into_iter().chain(log).collect()
}

fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// As cargo tells them, sorted.
fn features() -> String {
    let mut features: Vec<String> = env::vars()
        .filter_map(|(name, _)| name.strip_prefix("CARGO_FEATURE_").map(str::to_lowercase))
        .filter(|name| name != "default")
        .collect();
    features.sort();
    match features.is_empty() {
        true => "none".to_owned(),
        false => features.join(", "),
    }
}
