//! Fuzz targets: what comes from clients and from rows is read without trust.
//!
//! ```text
//! make test   the corpus, and some thousand inputs a target, from a seed that is printed
//! make fuzz   as many inputs as SECONDS allows for each target
//! ```
//!
//! The targets of what a session alone can reach (startup, SCRAM, pipes) are in `src/session/fuzz.rs`,
//! with the same harness and the same corpus directory.

pub mod harness;
mod real;
mod rows;
mod statement;
pub mod statements;

use std::path::Path;

use crossfade::config::Config;
use rand::Rng as _;
use rand::seq::IndexedRandom as _;

/// A proxy.yaml of any content is a configuration, or a list of mistakes with their lines.
#[test]
fn fuzz_config() {
    const PIECES: &[&str] = &[
        "from:",
        "to:",
        "tables:",
        "listen:",
        "limits:",
        " url:",
        " \"*\": { mode: ",
        "async",
        "}",
        "\n",
        "  ",
        "${A}",
        "${B:-x}",
        "$",
        "&a",
        "*a",
        "<<: *a",
        "!!str",
        "[",
        "]",
        "- ",
        "#",
        "postgres://u:p@h/d",
        "10s",
        "-1",
        "1e99",
        "\"",
        "'",
        "|\n",
        ": ",
        "{",
        "99999999999999999999",
        "\u{feff}",
        "é",
        "\t",
    ];
    harness::fuzz(
        "config",
        1_500,
        |random| {
            let pieces = (0..random.random_range(0..60)).map(|_| *PIECES.choose(random).unwrap());
            pieces.collect::<String>().into_bytes()
        },
        |input| {
            let Ok(text) = std::str::from_utf8(input) else { return Ok(()) };
            let lookup = |name: &str| (name == "A").then(|| "${A}${A}".to_owned());
            match Config::parse(text, "proxy.yaml", Path::new("/nowhere"), &lookup) {
                Err(error) if error.to_string().is_empty() => {
                    Err("fails without a mistake".to_owned())
                }
                _ => Ok(()),
            }
        },
    );
}
