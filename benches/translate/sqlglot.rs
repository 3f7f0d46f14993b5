//! Texts as sqlglot translates them from PostgreSQL to MySQL.

use std::io::Write as _;
use std::process::{Command, Stdio};

/// Reads a JSON list of texts, writes one of translations; `null` where it has none.
const TRANSLATE: &str = "
import json, sys, sqlglot
def translated(text):
    try:
        parts = sqlglot.transpile(text, read='postgres', write='mysql', unsupported_level=sqlglot.ErrorLevel.RAISE)
        return parts[0] if len(parts) == 1 else None
    except Exception:
        return None
json.dump([translated(text) for text in json.load(sys.stdin)], sys.stdout)
print(sqlglot.__version__, file=sys.stderr)
";
const INSTALL: &str = "python3 -m venv \"$0\" && \"$0/bin/pip\" install -q sqlglot==30.30.0";

/// One for each text; none at all where Python cannot install it.
pub fn translate(texts: &[String]) -> Vec<Option<String>> {
    let place = std::env::temp_dir().join("crossfade-sqlglot");
    let python = place.join("bin/python");
    if !python.exists() {
        let installed = Command::new("sh").args(["-c", INSTALL]).arg(&place).status();
        if !installed.is_ok_and(|status| status.success()) {
            println!("sqlglot could not be installed, and counts as refusing");
            return Vec::new();
        }
    }
    let mut child = Command::new(python)
        .args(["-c", TRANSLATE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python");
    let input = serde_json::to_vec(texts).expect("texts are JSON");
    let mut stdin = child.stdin.take().expect("a pipe");
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("Python ends");
    writer.join().expect("a thread").expect("Python reads");
    serde_json::from_slice(&output.stdout).expect("a list")
}
