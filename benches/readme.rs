//! Writes README.md's figures, from what the other benches noted; `make bench` runs them all.
//!
//! ```text
//! FIGURES=target/figures.jsonl ─▶ tables ─▶ README.md, between its two marks
//! ```
//!
//! Invariant: nothing outside the marks changes, and a figure that was not made is shown as a dash.

#![allow(clippy::print_stdout, reason = "it says what it did")]

mod figures;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

const BEGIN: &str = "<!-- figures: `make bench` writes from here -->";
const END: &str = "<!-- figures: to here -->";

fn main() {
    let Some(path) = std::env::var_os("FIGURES") else {
        println!("FIGURES names no file: run `make bench`");
        return;
    };
    let figures = Figures(figures::read(Path::new(&path)));
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = std::fs::read_to_string(&readme).expect("README.md is there");
    let (before, rest) = text.split_once(BEGIN).expect("README.md has the first mark");
    let (_, after) = rest.split_once(END).expect("README.md has the second mark");
    let tables =
        [figures.place(), figures.proxy(), figures.copy(), figures.switch(), figures.translate()];
    let tables = tables.join("\n\n");
    std::fs::write(&readme, format!("{before}{BEGIN}\n{tables}\n{END}{after}"))
        .expect("README.md is written");
    println!("README.md has {} figures", figures.0.len());
}

struct Figures(BTreeMap<String, f64>);

impl Figures {
    /// With so many decimals, or a dash.
    fn get(&self, name: &str, decimals: usize) -> String {
        self.0.get(name).map_or("–".to_owned(), |value| match decimals {
            0 => thousands(*value),
            _ => format!("{value:.decimals$}"),
        })
    }

    /// One figure as a share of another.
    fn share(&self, name: &str, of: &str) -> String {
        match (self.0.get(name), self.0.get(of)) {
            (Some(one), Some(other)) => format!("{:.2}", one / other),
            _ => "–".to_owned(),
        }
    }

    /// True where anything of it was noted.
    fn has(&self, prefix: &str) -> bool {
        self.0.keys().any(|name| name.starts_with(prefix))
    }

    fn place(&self) -> String {
        let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("");
        let model = model.trim_start_matches([' ', '\t', ':']);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let versions: Vec<String> = [
            ("postgres", "PATH=$PATH:/usr/lib/postgresql/15/bin postgres --version"),
            ("MariaDB", "PATH=$PATH:/usr/sbin mariadbd --version"),
            ("PgBouncer", "PATH=$PATH:/usr/sbin pgbouncer --version"),
        ]
        .iter()
        .filter_map(|(name, line)| version(name, line))
        .collect();
        let date = said("date -u +%F").unwrap_or_default();
        format!(
            "Made by `make bench` on {date}, on {cores} cores ({model}) that also ran the clients and both \
             databases, durable: {}. Only the ratios carry over.",
            versions.join(", ")
        )
    }

    fn proxy(&self) -> String {
        const CASES: [(&str, &str); 22] = [
            ("read, simple, 1", "read, simple protocol, 1 client"),
            ("read, prepared, 1", "read, prepared, 1"),
            ("read, extended, 1", "read, extended, 1"),
            ("read, simple, 16", "read, simple, 16 clients"),
            ("read, prepared, 16", "read, prepared, 16"),
            ("read, extended, 16", "read, extended, 16"),
            ("10,000 rows", "10,000 rows"),
            ("write -N, 1, off", "three statements, `mode: off`, 1"),
            ("write -N, 16, off", "the same, 16"),
            ("one UPDATE, 1, off", "one UPDATE, `off`, 1"),
            ("one UPDATE, 16, off", "the same, 16"),
            ("write -N, 1, async", "three statements, `async`, 1"),
            ("write -N, 16, async", "the same, 16"),
            ("one UPDATE, 1, async", "one UPDATE, `async`, 1"),
            ("one UPDATE, 16, async", "the same, 16"),
            ("write -N, 1, blocking", "three statements, `blocking`, 1"),
            ("write -N, 16, blocking", "the same, 16"),
            ("one UPDATE, 1, blocking", "one UPDATE, `blocking`, 1"),
            ("one UPDATE, 16, blocking", "the same, 16"),
            ("write -N, 1, strict", "three statements, `strict`, 1"),
            ("write -N, 16, strict", "the same, 16"),
            ("one UPDATE, 16, strict", "one UPDATE, `strict`, 16"),
        ];
        let mut lines = vec![
            "| a transaction: | throughput, of direct: relay | PgBouncer | Crossfade | CPU of the proxy, µs: relay | PgBouncer | Crossfade |".to_owned(),
            "|---|--:|--:|--:|--:|--:|--:|".to_owned(),
        ];
        for (case, shown) in CASES {
            if !self.has(&format!("proxy/{case}/")) {
                continue;
            }
            let of = |way: &str, what: &str, decimals| {
                self.get(&format!("proxy/{case}/{way}/{what}"), decimals)
            };
            lines.push(format!(
                "| {shown} | {} | {} | {} | {} | {} | {} |",
                of("relay", "throughput", 2),
                of("pgbouncer", "throughput", 2),
                of("crossfade", "throughput", 2),
                of("relay", "cpu", 0),
                of("pgbouncer", "cpu", 0),
                of("crossfade", "cpu", 0),
            ));
        }
        lines.push(String::new());
        lines.push(format!(
            "Crossfade's part of writes includes applying them. An idle connection holds {} KiB (PgBouncer {}, relay {}).",
            self.get("proxy/memory/crossfade", 0),
            self.get("proxy/memory/pgbouncer", 0),
            self.get("proxy/memory/relay", 0),
        ));
        lines.join("\n")
    }

    fn copy(&self) -> String {
        const ROWS: [(&str, &str); 8] = [
            (
                "COPY | LOAD DATA, one stream",
                "`COPY … \\| LOAD DATA`, 500 rows/s written beside it",
            ),
            ("crossfade backfill", "`crossfade backfill`, the same beside it, through Crossfade"),
            ("bare scan of PostgreSQL", "bare scan of PostgreSQL"),
            ("bare scan of MariaDB", "bare scan of MariaDB"),
            ("verify, equal", "`crossfade verify`, equal"),
            ("verify, 10 planted", "`crossfade verify`, ten rows planted"),
            ("reladiff", "reladiff, all columns that it takes"),
            ("reladiff, equal", "reladiff, those that it finds equal"),
        ];
        let mut lines = vec![
            format!(
                "| {} rows of 25 columns | rows/s | CPU s per million rows: PostgreSQL | MariaDB | own memory, MiB |",
                self.get("copy/rows", 0)
            ),
            "|---|--:|--:|--:|--:|".to_owned(),
        ];
        for (what, shown) in ROWS {
            let of = |figure: &str, decimals| self.get(&format!("copy/{what}/{figure}"), decimals);
            lines.push(format!(
                "| {shown} | {} | {} | {} | {} |",
                of("rate", 0),
                of("primary", 1),
                of("secondary", 1),
                of("memory", 0)
            ));
        }
        lines.push(String::new());
        lines.push(format!(
            "backfill has {} of the rate of the bare copy; verify {} of the bare scan of MariaDB's side, and {} \
             times reladiff's rate, which took {} rows that are equal for different.",
            self.share("copy/crossfade backfill/rate", "copy/COPY | LOAD DATA, one stream/rate"),
            self.share("copy/verify, equal/rate", "copy/bare scan of MariaDB/rate"),
            self.share("copy/verify, equal/rate", "copy/reladiff/rate"),
            self.get("copy/reladiff/false", 0),
        ));
        lines.join("\n")
    }

    fn switch(&self) -> String {
        let mut lines = vec![format!(
            "A change of the primary under {} one-statement writes a second holds clients for {} ms (median of {}); \
             statements under way meanwhile take {} ms at the 99th percentile, {} at most ({} before and after).",
            self.get("switch/hold/rate", 0),
            self.get("switch/hold/held", 0),
            self.get("switch/hold/rounds", 0),
            self.get("switch/hold/p99", 0),
            self.get("switch/hold/longest", 0),
            self.get("switch/hold/quiet", 0),
        )];
        lines.push(String::new());
        lines.push("| while MySQL answers, 1 client, prepared | sent to MariaDB directly, µs | through Crossfade, µs | of direct | CPU of Crossfade, µs |".to_owned());
        lines.push("|---|--:|--:|--:|--:|".to_owned());
        for case in ["one user by key", "a session's user", "a list of 100", "one update by key"] {
            let name = |what: &str| format!("switch/{case}/{what}");
            lines.push(format!(
                "| {case} | {} | {} | {} | {} |",
                self.get(&name("direct"), 0),
                self.get(&name("through"), 0),
                self.share(&name("through"), &name("direct")),
                self.get(&name("cpu"), 0),
            ));
        }
        lines.join("\n")
    }

    fn translate(&self) -> String {
        let mut lines = vec![
            format!(
                "| {} statements that are hard to translate | equal | refused | wrong, without an error |",
                self.get("translate/statements", 0)
            ),
            "|---|--:|--:|--:|".to_owned(),
        ];
        for product in ["MariaDB", "MySQL"] {
            for who in ["crossfade", "sqlglot", "as they are"] {
                if !self.has(&format!("translate/{product}/")) {
                    continue;
                }
                let of = |what: &str| self.get(&format!("translate/{product}/{who}/{what}"), 0);
                lines.push(format!(
                    "| {who}, on {product} | {} | {} | {} |",
                    of("equal"),
                    of("refused"),
                    of("wrong")
                ));
            }
        }
        lines.join("\n")
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The first number with a dot in what a program says of itself.
fn version(name: &str, line: &str) -> Option<String> {
    let said = said(line)?;
    let number = said.split(|letter: char| !letter.is_ascii_digit() && letter != '.');
    let number = number.into_iter().find(|word| word.contains('.') && word.len() > 2)?;
    let name = if name == "postgres" { "PostgreSQL" } else { name };
    Some(format!("{name} {}", number.trim_matches('.')))
}

fn said(line: &str) -> Option<String> {
    let output = Command::new("sh").args(["-c", line]).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
