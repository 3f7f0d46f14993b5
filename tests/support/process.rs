//! Crossfade as its users run it: a process with a proxy.yaml.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::PATIENCE;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_crossfade");

/// A running `crossfade run`; it is killed with the test, however that ends.
#[derive(Debug)]
pub struct Proxy {
    child: Child,
    guard: Child,
    log: PathBuf,
    pub port: u16,
    pub admin_port: u16,
}

impl Proxy {
    /// Starts it and waits until it is ready.
    pub async fn start(config: &Path) -> Self {
        let mut proxy = Self::launch(config);
        proxy.until(&[200]).await;
        proxy
    }

    /// Starts it and waits until it says whether it is ready: it need not be.
    pub async fn start_unready(config: &Path) -> Self {
        let mut proxy = Self::launch(config);
        proxy.until(&[200, 503]).await;
        proxy
    }

    fn launch(config: &Path) -> Self {
        let log = config.with_file_name("log");
        let output = fs::File::options().create(true).append(true).open(&log).unwrap();
        let child = Command::new(PROGRAM)
            .arg("run")
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let guard = guard(&child);
        let text = fs::read_to_string(config).unwrap();
        let (port, admin_port) = (port_of(&text, "listen:"), port_of(&text, "admin:"));
        Self { child, guard, log, port, admin_port }
    }

    async fn until(&mut self, readiness: &[u16]) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("crossfade run ended with {status}\n{}", self.log_tail());
            }
            let answer = self.get("/health/readiness").await;
            if answer.is_some_and(|(status, _)| readiness.contains(&status)) {
                return;
            }
            assert!(Instant::now() < deadline, "never ready\n{}", self.log_tail());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// A GET of the admin server: status and body; `None` if it does not answer.
    pub async fn get(&self, path: &str) -> Option<(u16, String)> {
        self.request("GET", path).await
    }

    pub async fn request(&self, method: &str, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.admin_port)).await.ok()?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    }

    /// The value of one series of `/metrics`, named as it is printed there without the prefix:
    /// `outbox_entries{state="pending"}`. A series that does not exist yet is 0.
    pub async fn metric(&self, series: &str) -> f64 {
        let (_, text) = self.get("/metrics").await.expect("the admin server answers");
        let name = format!("crossfade_{series} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a crash would.
    pub fn kill9(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end (SIGTERM) and waits; returns its exit code.
    pub fn stop(mut self) -> Option<i32> {
        self.signal("-TERM");
        self.child.wait().unwrap().code()
    }

    /// Makes it read proxy.yaml again.
    pub fn reload(&self) {
        self.signal("-HUP");
    }

    /// Stops it in its tracks (SIGSTOP). The signal is only noted at first: on a busy machine its
    /// threads go on until one of them has seen it, so all of them are waited for.
    pub async fn freeze(&self) {
        self.signal("-STOP");
        let tasks = format!("/proc/{}/task", self.pid());
        let deadline = Instant::now() + PATIENCE;
        while fs::read_dir(&tasks).unwrap().any(|task| !is_stopped(&task.unwrap().path())) {
            assert!(Instant::now() < deadline, "never stopped");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Lets it go on (SIGCONT).
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, name: &str) {
        let kill = ["-c", "kill \"$1\" \"$2\"", "kill", name, &self.pid().to_string()];
        assert!(Command::new("sh").args(kill).status().unwrap().success());
    }

    /// Everything it printed.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    #[must_use]
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.guard.kill());
        drop(self.guard.wait());
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Kills a process when the test's is gone, even if that was killed: then the guard's input closes.
pub fn guard(child: &Child) -> Child {
    Command::new("sh")
        .args(["-c", "trap '' INT; read -r nothing; kill -KILL \"$1\"", "guard"])
        .arg(child.id().to_string())
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Whether a thread is stopped; one that has just ended is.
fn is_stopped(task: &Path) -> bool {
    let status = fs::read_to_string(task.join("status")).unwrap_or_default();
    status.lines().all(|line| !line.starts_with("State:") || line.contains('T'))
}

/// Runs a verb to its end: exit code, and what it printed on both streams.
pub fn verb(config: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output =
        Command::new(PROGRAM).args(arguments).arg("--config").arg(config).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

/// A verb that runs beside other things; it is killed with the test, however that ends.
#[derive(Debug)]
pub struct Running {
    child: Child,
    guard: Child,
    /// Hears each line of its results.
    ear: Option<JoinHandle<()>>,
}

impl Running {
    /// Its messages go to the log of the sidecar that has the same proxy.yaml.
    pub fn start(
        config: &Path,
        arguments: &[&str],
        mut hear: impl FnMut(&str) + Send + 'static,
    ) -> Self {
        let log = config.with_file_name("log");
        let messages = fs::File::options().create(true).append(true).open(&log).unwrap();
        // Where the processor is short, what runs beside gives way.
        let mut child = Command::new("nice")
            .args(["-n", "10", PROGRAM])
            .args(arguments)
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(messages)
            .spawn()
            .unwrap();
        let (guard, results) = (guard(&child), child.stdout.take().unwrap());
        let ear = std::thread::spawn(move || {
            BufReader::new(results).lines().map_while(Result::ok).for_each(|line| hear(&line));
        });
        Self { child, guard, ear: Some(ear) }
    }

    /// Its exit code, once it has ended and was heard to the end.
    pub fn ended(&mut self) -> Option<Option<i32>> {
        let status = self.child.try_wait().unwrap()?;
        if let Some(ear) = self.ear.take() {
            ear.join().unwrap();
        }
        Some(status.code())
    }

    /// `-STOP`, `-CONT`; one that has just ended does not mind.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        drop(Command::new("kill").args([name, &pid]).stderr(Stdio::null()).status());
    }

    /// Ends it as a crash would.
    pub fn kill9(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        if let Some(ear) = self.ear.take() {
            ear.join().unwrap();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.guard.kill());
        drop(self.guard.wait());
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The same for what prints a line of JSON for each thing it says; without verify's about what is under way.
pub fn lines(config: &Path, arguments: &[&str]) -> (Option<i32>, Vec<serde_json::Value>) {
    let (code, output) = verb(config, &[arguments, &["--format", "json"]].concat());
    let lines = output.lines().map(|line| {
        serde_json::from_str(line).unwrap_or_else(|_| panic!("{arguments:?}\n{output}"))
    });
    (code, lines.filter(|line: &serde_json::Value| line["state"] != "comparing").collect())
}

/// The last line about a table.
#[track_caller]
pub fn of<'a>(lines: &'a [serde_json::Value], table: &str) -> &'a serde_json::Value {
    lines.iter().rfind(|line| line["table"] == table).unwrap_or_else(|| panic!("{lines:?}"))
}

/// Below what Linux takes for outgoing connections, so that a port stays free while nobody listens.
pub fn free_port() -> u16 {
    crossfade::demo::servers::free_port().unwrap()
}

/// The port in a section's line of a proxy.yaml that a test wrote.
fn port_of(config: &str, section: &str) -> u16 {
    let line = config.lines().find(|line| line.starts_with(section)).unwrap();
    let digits = line.rsplit(':').next().unwrap().trim_matches([' ', '}']);
    digits.parse().unwrap()
}
