//! Throwaway database servers: PostgreSQL, MariaDB and MySQL, for the demo and for the tests.
//!
//! ```text
//! template (in the cache, made once) ──cp -a──▶ directory ──▶ server on 127.0.0.1, a free port
//!                                                  ▲
//!                  guard (sh, waits on our pipe) ──┘  removes both when we are gone, however we went
//! ```
//!
//! Invariant: no server and no directory outlives the process that started it, kill -9 included:
//! the guard sees the pipe close, and nothing else can close it.
//!
//! Everything here blocks; a start takes a tenth of a second to two seconds. Not here: what is put
//! into the servers.

mod certificate;
mod place;
mod port;
mod product;
mod template;

use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::backend::url::{DatabaseUrl, Host};

pub use place::cache;
pub use port::free_port;
pub use product::Product;

/// The password of every throwaway server's administrator. They listen on loopback only.
pub const PASSWORD: &str = "throwaway";

/// How long a server may take to start or to end before that is an error.
const PATIENCE: Duration = Duration::from_secs(180);
/// Between two looks at a server that starts or ends.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// Another process may take the free port between our look and the server's.
const PORT_ATTEMPTS: u32 = 3;

/// What is wanted of a server beyond its product.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Commits reach the disk, so kill -9 loses nothing. Off by default: the tests are faster so.
    pub durable: bool,
    /// Set up by itself instead of copied: only so has a PostgreSQL a system identifier of its own.
    pub anew: bool,
    /// TLS with a certificate for `localhost` and 127.0.0.1, signed by [`Server::ca`].
    pub tls: bool,
    /// Settings as `name=value`, passed as `-c name=value` or `--name=value`.
    pub settings: Vec<String>,
    /// PostgreSQL only: the whole of `pg_hba.conf`; SCRAM for everyone without it.
    pub hba: Option<String>,
    /// Where the product is, if not in its usual place: PostgreSQL's `bin`, or MySQL's prefix.
    pub home: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("{0} is not installed; `make setup` brings it")]
    Missing(Product),
    #[error("{product} did not start:\n{log}")]
    Failed { product: Product, log: String },
    #[error("could not {action}")]
    Io { action: &'static str, source: io::Error },
}

/// Names what was tried when the operating system said no.
trait While<T> {
    fn during(self, action: &'static str) -> Result<T, ServerError>;
}

impl<T> While<T> for io::Result<T> {
    fn during(self, action: &'static str) -> Result<T, ServerError> {
        self.map_err(|source| ServerError::Io { action, source })
    }
}

/// The administrator's login on a server of ours, taken apart as proxy.yaml's URLs are.
pub fn login<M>(user: &str, port: u16, database: &str, ssl_mode: M) -> DatabaseUrl<M> {
    DatabaseUrl {
        host: Host::Name(Ipv4Addr::LOCALHOST.to_string()),
        port,
        user: user.to_owned(),
        password: PASSWORD.into(),
        database: database.to_owned(),
        ssl_mode,
        ssl_root: None,
        ssl_identity: None,
    }
}

/// A running (or stopped, or killed) server; dropping it ends it and removes its data.
#[derive(Debug)]
pub struct Server {
    product: Product,
    options: Options,
    port: u16,
    /// Holds `data`, the log, the socket, and the certificate if there is one.
    directory: PathBuf,
    child: Option<Child>,
    guard: Child,
}

impl Server {
    /// Starts a server on a free port and returns once it answers.
    pub fn start(product: Product, options: Options) -> Result<Self, ServerError> {
        let directory = place::fresh(product, options.durable, &serial())?;
        let guard = guard(&directory, product.quit_signal())?;
        let mut server = Self { product, options, port: 0, directory, child: None, guard };
        match server.options.anew {
            true => template::set_up(product, &server.options, &server.data())?,
            false => template::copy(product, &server.options, &server.data())?,
        }
        if server.options.tls {
            certificate::issue(product, &server.directory)?;
        }
        if let Some(hba) = &server.options.hba {
            fs::write(server.data().join("pg_hba.conf"), hba).during("write pg_hba.conf")?;
        }
        let mut attempt = 1;
        loop {
            server.port = free_port().during("find a free port")?;
            match server.start_again() {
                Err(ServerError::Failed { .. }) if attempt < PORT_ATTEMPTS => attempt += 1,
                other => return other.map(|()| server),
            }
        }
    }

    /// A standby of this PostgreSQL, which follows it until it is promoted (`pg_promote()`).
    pub fn standby(&self) -> Result<Self, ServerError> {
        let directory = place::fresh(self.product, self.options.durable, &serial())?;
        let guard = guard(&directory, self.product.quit_signal())?;
        let mut server = Self {
            product: self.product,
            options: self.options.clone(),
            port: free_port().during("find a free port")?,
            directory,
            child: None,
            guard,
        };
        let mut backup = product::backup(self.product, &self.options, self.port, &server.data())?;
        place::as_owner(&mut backup, self.product);
        let output = backup.current_dir("/").output().during("copy a server")?;
        if !output.status.success() {
            let log = String::from_utf8_lossy(&output.stderr).into();
            return Err(ServerError::Failed { product: self.product, log });
        }
        server.start_again()?;
        Ok(server)
    }

    /// Starts it where it was stopped or killed: same port, same data.
    pub fn start_again(&mut self) -> Result<(), ServerError> {
        let log = fs::File::options().create(true).append(true).open(self.log());
        let log = log.during("open the server's log")?;
        let mut command =
            product::command(self.product, &self.options, &self.directory, self.port)?;
        place::as_owner(&mut command, self.product);
        let child = command
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone().during("open the server's log")?)
            .stderr(log)
            .spawn()
            .during("start a server")?;
        fs::write(self.directory.join("pid"), child.id().to_string()).during("note the pid")?;
        self.child = Some(child);
        self.until_it_answers()
    }

    /// Ends it in good order; what it committed is kept for [`Self::start_again`].
    pub fn stop(&mut self) {
        self.end(self.product.stop_signal());
    }

    /// Ends it as a crash would: every process at once, nothing flushed.
    pub fn kill9(&mut self) {
        let Some(child) = &self.child else { return };
        let pids = family(child.id());
        signal("KILL", &pids);
        self.reap();
        until_gone(&pids);
    }

    /// Freezes it: connections stay open and nothing answers.
    pub fn pause(&self) {
        let Some(child) = &self.child else { return };
        signal("STOP", &[child.id()]);
        signal("STOP", &family(child.id()));
    }

    /// Ends a [`Self::pause`].
    pub fn resume(&self) {
        let Some(child) = &self.child else { return };
        signal("CONT", &family(child.id()));
    }

    /// Processor seconds used so far, by the server, its children, and those that have ended.
    #[must_use]
    pub fn processor_seconds(&self) -> f64 {
        let Some(child) = &self.child else { return 0.0 };
        family(child.id()).into_iter().map(processor_seconds).sum()
    }

    #[must_use]
    pub fn product(&self) -> Product {
        self.product
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The administrator's URL for a database of this server.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let (scheme, user) = self.product.scheme_and_user();
        format!("{scheme}://{user}:{PASSWORD}@{}/{database}", self.address())
    }

    /// The directory with the Unix socket.
    #[must_use]
    pub fn socket_directory(&self) -> &Path {
        &self.directory
    }

    /// The authority that signed the server's certificate, with [`Options::tls`].
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.directory.join(certificate::CA)
    }

    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn until_it_answers(&mut self) -> Result<(), ServerError> {
        let deadline = Instant::now() + PATIENCE;
        while !self.answers() {
            let child = self.child.as_mut().expect("start_again has just set it");
            let ended = child.try_wait().during("watch a server")?.is_some();
            if ended || deadline < Instant::now() {
                self.end("KILL");
                let log = fs::read_to_string(self.log()).unwrap_or_default();
                let tail = log.len().saturating_sub(2000);
                let log = log.get(tail..).unwrap_or(&log).to_owned();
                return Err(ServerError::Failed { product: self.product, log });
            }
            thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    /// Whether a client would be served. PostgreSQL says so in a file, as pg_ctl reads it; the
    /// others greet whoever connects, and only once they are ready.
    fn answers(&self) -> bool {
        if self.product == Product::Postgres {
            let file = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
            let mut lines = file.lines();
            // A killed server leaves the file behind, and the file says "ready".
            let own = self.child.as_ref().map(|child| child.id().to_string());
            return lines.next() == own.as_deref()
                && matches!(lines.nth(6).map(str::trim), Some("ready" | "standby"));
        }
        let Ok(mut stream) = TcpStream::connect(self.address()) else { return false };
        let patience = stream.set_read_timeout(Some(Duration::from_secs(5)));
        patience.is_ok() && stream.read_exact(&mut [0; 5]).is_ok()
    }

    fn end(&mut self, name: &str) {
        let Some(child) = &self.child else { return };
        let pids = family(child.id());
        signal(name, &pids[..1]);
        signal("CONT", &pids);
        self.reap();
        until_gone(&pids);
    }

    fn reap(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.wait());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end(self.product.quit_signal());
        drop(self.guard.stdin.take());
        drop(self.guard.wait());
    }
}

/// Waits until our end of its pipe closes, ends the server if it still runs, removes the directory.
fn guard(directory: &Path, quit: &str) -> Result<Child, ServerError> {
    const SCRIPT: &str = r#"
        trap '' INT TERM HUP
        read -r nothing
        pid=$(cat "$1/pid" 2>/dev/null)
        if [ -n "$pid" ] && grep -qas -- "$1" "/proc/$pid/cmdline"; then
            kill -s "$2" "$pid"; kill -CONT "$pid"; tries=0
            while grep -qas -- "$1" "/proc/$pid/cmdline" && [ $tries -lt 40 ]; do
                sleep 0.05; tries=$((tries + 1))
            done
            kill -KILL "$pid" 2>/dev/null
        fi
        rm -rf "$1""#;
    Command::new("sh")
        .args(["-c", SCRIPT, "guard"])
        .arg(directory)
        .arg(quit)
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .during("start a server's guard")
}

/// A name no other server of this or another process has.
fn serial() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The process and its children; the process itself comes first.
fn family(parent: u32) -> Vec<u32> {
    let mut pids = vec![parent];
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let all = processes.filter_map(|process| process.file_name().to_str()?.parse().ok());
    pids.extend(all.filter(|pid| state(*pid).is_some_and(|(_, its)| its == parent)));
    pids
}

/// A process's state letter and its parent.
fn state(pid: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold spaces and brackets; state and parent follow its last bracket.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// User and system time of a process and of the children it has waited for.
fn processor_seconds(pid: u32) -> f64 {
    /// `sysconf(_SC_CLK_TCK)`, which is 100 on every Linux.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let times = after_name.split_whitespace().skip(11).take(4);
    times.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
}

/// Sends a signal with the shell's own `kill`; a process that has gone is no error.
fn signal(name: &str, pids: &[u32]) {
    let pids = pids.iter().map(u32::to_string);
    let mut command = Command::new("sh");
    command.args(["-c", "kill -s \"$@\"", "kill", name]).args(pids).stderr(Stdio::null());
    drop(command.status());
}

/// Waits until the processes have ended; whether someone has collected them does not matter.
fn until_gone(pids: &[u32]) {
    let deadline = Instant::now() + PATIENCE;
    let alive = |pid: &u32| state(*pid).is_some_and(|(letter, _)| !"ZX".contains(letter));
    while pids.iter().any(alive) && Instant::now() < deadline {
        thread::sleep(LOOK_AGAIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_ends_and_its_directory_goes_when_it_is_dropped() {
        let server = Server::start(Product::Postgres, Options::default()).unwrap();
        let (directory, address) = (server.directory.clone(), server.address());
        assert!(TcpStream::connect(address).is_ok());
        drop(server);
        assert!(!directory.exists());
        assert!(TcpStream::connect(address).is_err());
    }

    #[test]
    fn a_killed_server_starts_again_at_once_on_the_same_port() {
        let options = Options { durable: true, ..Options::default() };
        let mut server = Server::start(Product::Postgres, options).unwrap();
        let held = TcpStream::connect(server.address()).unwrap();
        server.kill9();
        assert!(TcpStream::connect(server.address()).is_err());
        server.start_again().unwrap();
        assert!(TcpStream::connect(server.address()).is_ok());
        drop(held);
    }

    #[test]
    fn a_missing_product_is_named_with_the_command_that_brings_it() {
        let options = Options { home: Some("/nowhere".into()), ..Options::default() };
        let error = Server::start(Product::MySql, options).unwrap_err();
        assert_eq!(error.to_string(), "MySQL is not installed; `make setup` brings it");
    }
}
