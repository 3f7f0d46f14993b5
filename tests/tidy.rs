//! Repository rules the compiler cannot check. Fails with the file and line to fix.

use std::fs;
use std::path::{Path, PathBuf};

/// Lowest first. A module may use itself and any module of an earlier row, nothing else.
const ROWS: &[&[&str]] = &[
    &["names"],
    &["value", "policy"],
    &["wire", "sql", "catalog", "chunk"],
    &["change", "phase"],
    &["plan", "dialect"],
    &["capture"],
    &["backend", "outbox", "handoff", "lease", "hold"],
    &["door", "served"],
    &["answer"],
    &["session", "apply", "backfill", "verify", "repair"],
    &["shadow"],
    &["control"],
    &["parts"],
    &["route"],
    &["listener", "admin"],
    &["metrics", "telemetry"],
    &["config"],
    &["proxy"],
    &["demo"],
    &["cli"],
];

/// Rows that neither await nor touch the network, the disk or the clock.
const PURE_ROWS: usize = 6;
const IMPURE: &[&str] =
    &["tokio::", "std::net", "std::fs", "async fn", "Instant::now", "SystemTime"];

/// Files allowed past [`LINES_MAX`], with the reason.
const LONG: &[(&str, &str)] = &[];
const LINES_MAX: usize = 500;

/// Functions allowed past [`FUNCTION_MAX`], with the reason.
const LONG_FUNCTIONS: &[(&str, &str)] = &[];
const FUNCTION_MAX: usize = 70;

#[test]
fn modules_use_only_earlier_rows() {
    let mut found = Findings::default();
    for source in sources() {
        let Some(module) = source.module() else { continue };
        let Some(own) = row(module) else {
            found.add(&source, 0, &format!("give `{module}` a row"));
            continue;
        };
        for (number, line) in source.code() {
            if line.contains("crate::{") {
                found.add(&source, number, "write one `use crate::` per module");
            }
            for used in line.split("crate::").skip(1).filter_map(first_word) {
                let earlier = row(used).is_none_or(|theirs| theirs < own);
                if !earlier && used != module {
                    found.add(&source, number, &format!("`{module}` may not use `{used}`"));
                }
            }
        }
    }
    found.none();
}

#[test]
fn pure_modules_do_no_io() {
    let mut found = Findings::default();
    for source in sources() {
        let pure = source.module().and_then(row).is_some_and(|row| row < PURE_ROWS);
        for (number, line) in source.code().filter(|_| pure) {
            for word in IMPURE.iter().filter(|word| line.contains(**word)) {
                found.add(&source, number, &format!("`{word}` in a pure module"));
            }
        }
    }
    found.none();
}

#[test]
fn files_fit_in_a_head() {
    let mut found = Findings::default();
    for source in sources() {
        let lines = source.lines().count();
        let excused = LONG.iter().any(|(long, _)| source.path.ends_with(long));
        if !excused && LINES_MAX < lines {
            found.add(&source, lines, &format!("{lines} lines without the tests"));
        }
    }
    found.none();
}

#[test]
fn functions_fit_on_a_screen() {
    let mut found = Findings::default();
    for source in sources() {
        for (number, name, length) in source.functions() {
            let excused = LONG_FUNCTIONS.iter().any(|(long, _)| *long == name);
            if !excused && FUNCTION_MAX < length {
                found.add(&source, number, &format!("`{name}` has {length} lines"));
            }
        }
    }
    found.none();
}

#[test]
fn files_open_with_their_purpose() {
    let mut found = Findings::default();
    for source in sources() {
        if !source.text.starts_with("//! ") {
            found.add(&source, 1, "say what the file is for, after `//!`");
        }
    }
    found.none();
}

/// A test that is skipped proves nothing, and one that may not fail proves less.
#[test]
fn no_test_is_ignored() {
    let mut found = Findings::default();
    let marks = ["ignore", "should_panic"].map(|word| format!("#[{word}"));
    for source in sources().into_iter().chain(files("tests")) {
        for (number, line) in source.text.lines().enumerate() {
            if marks.iter().any(|mark| line.trim_start().starts_with(mark.as_str())) {
                found.add(&source, number + 1, "a test runs, or it is removed");
            }
        }
    }
    found.none();
}

fn row(module: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&module))
}

/// The identifier that a text starts with.
fn first_word(text: &str) -> Option<&str> {
    text.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next()
}

/// Everything wrong is listed at once.
#[derive(Default)]
struct Findings(Vec<String>);

impl Findings {
    fn add(&mut self, source: &Source, line: usize, what: &str) {
        self.0.push(format!("{}:{line}: {what}", source.path.display()));
    }

    #[track_caller]
    fn none(&self) {
        assert!(self.0.is_empty(), "\n{}", self.0.join("\n"));
    }
}

/// A file, with its path relative to the repository.
struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// The top-level module it belongs to; none for `lib.rs`, `main.rs` and `build.rs`.
    fn module(&self) -> Option<&str> {
        let name = self.path.iter().nth(1)?.to_str()?.trim_end_matches(".rs");
        (!matches!(name, "lib" | "main" | "build")).then_some(name)
    }

    /// Its lines up to the tests, with their numbers.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let tests = self.text.find("\n#[cfg(test)]\nmod tests {").unwrap_or(self.text.len());
        let all_tests = self.path.ends_with("tests.rs") || self.path.iter().any(|at| at == "tests");
        let end = if all_tests && self.path.starts_with("src") { 0 } else { tests };
        self.text[..end].lines().enumerate().map(|(at, line)| (at + 1, line))
    }

    /// The lines that are no comment.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines().filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// Line, name and length of each function. rustfmt puts the closing brace under the `fn`.
    fn functions(&self) -> Vec<(usize, String, usize)> {
        let mut functions = Vec::new();
        let mut open: Option<(usize, String, usize)> = None;
        for (number, line) in self.code() {
            let indent = line.len() - line.trim_start().len();
            match &open {
                None => {
                    let name = line.split_once("fn ").and_then(|(_, rest)| first_word(rest));
                    let starts = ["fn ", "pub", "async fn ", "const fn "];
                    let is_function = starts.iter().any(|start| line.trim().starts_with(start));
                    if let (Some(name), true) = (name, is_function && !line.ends_with([';', '}'])) {
                        open = Some((number, name.to_owned(), indent));
                    }
                }
                Some((start, name, at)) if *at == indent && line.trim() == "}" => {
                    functions.push((*start, name.clone(), number - start + 1));
                    open = None;
                }
                // A declaration in a trait that spans lines.
                Some((_, _, at)) if *at == indent && line.ends_with(';') => open = None,
                Some(_) => {}
            }
        }
        functions
    }
}

fn sources() -> Vec<Source> {
    files("src")
}

/// Every Rust file below a directory of the repository.
fn files(directory: &str) -> Vec<Source> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("node_modules") && !path.ends_with("target") {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    walk(&root.join(directory), &mut found);
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        Source { path: path.strip_prefix(root).unwrap().to_owned(), text }
    };
    found.into_iter().map(read).collect()
}
