//! `crossfade demo`, as `make demo` runs it: equal for every table, on each secondary.

use std::process::Command;

use crate::support::Target;

const TABLES: [&str; 10] = [
    "codes",
    "identities",
    "logs",
    "passwords",
    "refresh_tokens",
    "roles",
    "sessions",
    "tenants",
    "user_roles",
    "users",
];

#[test]
fn the_demo_ends_with_equal_for_every_table() {
    for target in Target::all() {
        let target = match target {
            Target::MariaDb => "mariadb",
            Target::MySql => "mysql",
        };
        let output = Command::new(env!("CARGO_BIN_EXE_crossfade"))
            .args(["demo", "--seconds", "4", "--clients", "4", "--target", target])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(0), "{target}\n{text}");
        for told in [
            "crossfade switchover: MySQL is the primary",
            "crossfade rollback: PostgreSQL is the primary",
            "crossfade complete: PostgreSQL is left",
        ] {
            assert!(text.contains(told), "{target}: not told: {told}\n{text}");
        }
        for table in TABLES {
            let line = text.lines().rfind(|line| line.split_whitespace().next() == Some(table));
            let line = line.unwrap_or_else(|| panic!("{target}: no line for {table}\n{text}"));
            assert!(line.ends_with(" equal"), "{target}: {line}");
            // Codes are consumed and deleted; the others stay.
            let written = table == "codes" || !line.contains(" 0 rows");
            assert!(written, "{target}: nothing was written: {line}");
        }
    }
}
