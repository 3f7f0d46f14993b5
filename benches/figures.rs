//! Figures on their way from a bench to README.md: a line of JSON each, in the file that `FIGURES` names.
//!
//! ```text
//! benches ──[`note`]──▶ FIGURES ──[`read`]──▶ benches/readme.rs ─▶ README.md
//! ```

#![allow(unreachable_pub, reason = "nothing outside the benches reaches any of it")]
#![allow(dead_code, reason = "each bench has this file of its own, and only one of them reads")]

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;

/// Keeps a figure under its name, such as `proxy/read, simple, 1/pgbouncer/cpu`. A later one of the same
/// name replaces it.
pub fn note(name: &str, value: f64) {
    let Some(path) = std::env::var_os("FIGURES") else { return };
    let line = serde_json::json!({ "name": name, "value": value });
    let file = OpenOptions::new().create(true).append(true).open(path);
    let written = file.and_then(|mut file| writeln!(file, "{line}"));
    written.unwrap_or_else(|error| panic!("FIGURES cannot be written: {error}"));
}

/// All figures that were noted.
pub fn read(path: &std::path::Path) -> BTreeMap<String, f64> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines =
        text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    lines
        .filter_map(|line| Some((line["name"].as_str()?.to_owned(), line["value"].as_f64()?)))
        .collect()
}
