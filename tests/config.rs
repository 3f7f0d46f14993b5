//! What the program says when it is configured wrongly or a database is away: every mistake at once,
//! with its line, and the exit code that belongs to it.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;

use crate::support::process::{free_port, verb};

/// A proxy.yaml in a directory of its own.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let directory =
            std::env::temp_dir().join(format!("crossfade-{}-{name}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("proxy.yaml"), text).unwrap();
        Self(directory.join("proxy.yaml"))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(self.0.parent().unwrap()));
    }
}

/// Both databases on ports where nobody listens.
fn nowhere() -> String {
    format!(
        "from: {{ url: \"postgres://u@127.0.0.1:{}/d\" }}\nto: {{ url: \"mysql://u@127.0.0.1:{}/d\" }}\n",
        free_port(),
        free_port()
    )
}

#[test]
fn five_mistakes_are_five_lines() {
    let file = File::new(
        "five",
        "from: { url: \"postgres://u:hunter2@127.0.0.1/\" }\n\
         to: { url: \"mysql://u:${CROSSFADE_NO_SUCH_VARIABLE}@127.0.0.1/d\" }\n\
         listen: { tls: { cert: none.crt, key: none.key } }\n\
         limits: { lease: 5 parsecs }\n\
         tables: { users: { mode: sometimes } }\n\
         colour: blue\n",
    );
    for arguments in [["run"], ["setup"], ["status"]] {
        let (code, output) = verb(&file.0, &arguments);
        assert_eq!(code, Some(2), "{output}");
        for wanted in [
            "proxy.yaml:1: from.url: names no database",
            "proxy.yaml:2: to.url: environment variable CROSSFADE_NO_SUCH_VARIABLE is not set",
            "proxy.yaml:3: listen.tls.cert: file ",
            "proxy.yaml:3: listen.tls.key: file ",
            "proxy.yaml:4: limits.lease: \"5 parsecs\" is not a duration",
            "proxy.yaml:5: tables.users.mode: \"sometimes\" is not one of off, async, blocking, strict",
            "proxy.yaml:6: colour: unknown key",
        ] {
            assert!(output.contains(wanted), "no {wanted} in\n{output}");
        }
        assert!(!output.contains("hunter2"), "{output}");
    }
}

#[test]
fn a_file_that_is_missing_is_named() {
    let (code, output) = verb(&PathBuf::from("/nowhere/proxy.yaml"), &["run"]);
    assert_eq!((code, output.trim()), (Some(2), "/nowhere/proxy.yaml: no such file"));
}

#[test]
fn a_port_in_use_is_named_with_its_key() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let (taken, free) = (holder.local_addr().unwrap(), free_port());
    for (key, text) in [
        (
            "listen.address",
            format!("listen: {{ address: \"{taken}\" }}\nadmin: {{ address: 127.0.0.1:{free} }}\n"),
        ),
        (
            "admin.address",
            format!("listen: {{ address: 127.0.0.1:{free} }}\nadmin: {{ address: \"{taken}\" }}\n"),
        ),
    ] {
        let file = File::new("port", &(nowhere() + &text));
        let (code, output) = verb(&file.0, &["run"]);
        assert_eq!(code, Some(2), "{output}");
        assert!(output.contains(&format!("{key}: could not listen on {taken}")), "{output}");
    }
}

#[test]
fn a_database_that_is_away_is_exit_code_3() {
    let file = File::new(
        "away",
        &format!("{}admin: {{ address: 127.0.0.1:{} }}\n", nowhere(), free_port()),
    );
    for arguments in [["check"], ["setup"], ["status"]] {
        let (code, output) = verb(&file.0, &arguments);
        assert_eq!(code, Some(3), "{arguments:?}: {output}");
        assert!(output.contains("127.0.0.1:"), "it does not say where: {output}");
    }
}

#[test]
fn a_usage_error_is_exit_code_2() {
    let file = File::new("usage", &nowhere());
    for arguments in [["frobnicate"].as_slice(), &["status", "--wach"], &["run", "--format", "xml"]]
    {
        let (code, output) = verb(&file.0, arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {output}");
    }
}
