//! What stands in `deploy/`: it fits the program as it is today. Alerts are run by promtool, queries
//! by a Prometheus that scrapes a real sidecar, and the images' commands with their own configuration.

mod manifests;
mod prometheus;
mod unit;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_yaml::Value;

use crate::support::process::{PROGRAM, guard};
use crate::support::{PATIENCE, World};

/// A file of the repository.
pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The documents of a YAML file.
pub fn documents(path: &str) -> Vec<Value> {
    let text = read(path);
    let documents = serde_yaml::Deserializer::from_str(&text);
    documents.map(|one| serde::Deserialize::deserialize(one).unwrap()).collect()
}

/// What is at the end of a way through maps and lists, which has to be there.
#[track_caller]
pub fn at<'a>(value: &'a Value, way: &[&str]) -> &'a Value {
    way.iter().fold(value, |value, step| match step.parse::<usize>() {
        Ok(number) => &value[number],
        Err(_) => value.get(step).unwrap_or_else(|| panic!("no {step} of {way:?} in {value:?}")),
    })
}

#[track_caller]
pub fn text<'a>(value: &'a Value, way: &[&str]) -> &'a str {
    at(value, way).as_str().unwrap_or_else(|| panic!("{way:?} is no text in {value:?}"))
}

pub fn list(value: &Value) -> &[Value] {
    value.as_sequence().map_or(&[], Vec::as_slice)
}

/// The arguments that a container starts the program with, after its ENTRYPOINT.
pub fn image() -> (Vec<String>, Vec<String>) {
    let dockerfile = read("deploy/Dockerfile");
    let json = |word: &str| -> Vec<String> {
        let line = dockerfile.lines().rev().find_map(|line| line.strip_prefix(word)).unwrap();
        serde_json::from_str(line).unwrap()
    };
    (json("ENTRYPOINT "), json("CMD "))
}

/// A configuration out of `deploy/`, with this world's databases in place of those it names, and free
/// ports. Returns what the manifest calls the two addresses as well.
pub struct Fitted {
    pub text: String,
    pub listen: u16,
    pub admin: u16,
}

pub fn fitted(world: &World, text: &str) -> Fitted {
    let free = crate::support::process::free_port;
    let (listen, admin) = (free(), free());
    let mysql = world.secondary_url().rsplit_once('@').unwrap().1;
    let mut fitted = text.to_owned();
    for (place, here) in [
        ("crossfade:${PG_PASSWORD}@postgres:5432/auth", {
            let (port, database) = (world.postgres_port(), &world.database);
            format!("postgres:${{PG_PASSWORD}}@127.0.0.1:{port}/{database}")
        }),
        (if text.contains("@mariadb:") { "@mariadb:3306/auth" } else { "@mysql:3306/auth" }, {
            format!("@{mysql}")
        }),
        ("mysql://crossfade:", "mysql://root:".to_owned()),
        (":6432\"", format!(":{listen}\"")),
        (":9100\"", format!(":{admin}\"")),
    ] {
        assert!(fitted.contains(place), "no {place} in\n{text}");
        fitted = fitted.replace(place, &here);
    }
    // The shared servers have no certificates.
    fitted = fitted.replace("?sslmode=require", "").replace("?ssl-mode=REQUIRED", "");
    Fitted { text: fitted, listen, admin }
}

/// A program that a test started; it is killed with it.
pub struct Started {
    child: Child,
    guard: Child,
}

impl Started {
    pub fn new(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        let guard = guard(&child);
        Self { child, guard }
    }

    /// Asks it to end, as its supervisor would, and waits.
    pub fn stop(&mut self, signal: &str) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.child.try_wait().unwrap() {
                Some(status) => return status.code(),
                None => assert!(Instant::now() < deadline, "it does not end"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        drop(self.guard.kill());
        drop(self.guard.wait());
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A directory that goes with the test.
pub struct Directory(pub PathBuf);

impl Directory {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("crossfade-{}-{name}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Runs `crossfade` as a container would and waits until it is ready.
pub async fn run_as_container(world: &World, name: &str, config: &str, secrets: &[&str]) {
    let fitted = fitted(world, config);
    let directory = Directory::new(name);
    let file = directory.file("proxy.yaml", &fitted.text);
    let (entrypoint, arguments) = image();
    assert_eq!(entrypoint, ["/usr/local/bin/crossfade"]);
    let mut command = Command::new(PROGRAM);
    command.args(&arguments).env("CROSSFADE_CONFIG", &file);
    for secret in secrets {
        command.env(secret, crossfade::demo::servers::PASSWORD);
    }
    let log = fs::File::create(directory.0.join("log")).unwrap();
    let mut sidecar = Started::new(command.stdout(log.try_clone().unwrap()).stderr(log));
    let admin = std::net::SocketAddr::from(([127, 0, 0, 1], fitted.admin));
    let ready = async || {
        let answer = crossfade::admin::client::get(admin, "/health/readiness").await;
        answer.is_ok_and(|answer| answer.status == 200)
    };
    world.until(&format!("{name} is ready"), ready).await;
    let refused = crossfade::admin::client::post(admin, "/reload", None, String::new()).await;
    assert_eq!(refused.unwrap().status, 401, "{name}: its token is not wanted");
    tokio::net::TcpStream::connect(("127.0.0.1", fitted.listen)).await.unwrap();
    assert_eq!(sidecar.stop("TERM"), Some(0), "{name} ends in good order");
}

/// The names in `${NAME}`, but not `$${NAME}`.
pub fn variables(text: &str) -> BTreeSet<String> {
    let pieces = text.split("${").skip(1);
    let names = pieces.filter_map(|piece| piece.split(['}', ':']).next());
    names.map(str::to_owned).collect()
}
