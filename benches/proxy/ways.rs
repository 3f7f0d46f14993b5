//! The ways to PostgreSQL that are compared, each a process whose processor time is read.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crossfade::demo::servers::{PASSWORD, Server, free_port};

/// `sysconf(_SC_CLK_TCK)`, which is 100 on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// One way: a port, and the process behind it, if it is not PostgreSQL itself.
pub struct Way {
    pub name: &'static str,
    pub port: u16,
    /// It writes to the secondary, and may be behind when a run ends.
    pub applies: bool,
    process: Option<Child>,
}

impl Way {
    pub fn direct(postgres: &Server) -> Self {
        Self { name: "direct", port: postgres.port(), applies: false, process: None }
    }

    pub fn relay(postgres: &Server) -> Self {
        let port = free_port().expect("a free port");
        let mut command = Command::new(std::env::current_exe().expect("a running program"));
        command.args(["relay", &format!("127.0.0.1:{port}"), &postgres.address().to_string()]);
        Self::start("relay", port, &mut command)
    }

    /// `None` where PgBouncer is not installed.
    pub fn pgbouncer(postgres: &Server, directory: &Path) -> Option<Self> {
        let program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"].map(Path::new);
        let program = program.into_iter().find(|path| path.exists())?;
        let (port, users) = (free_port().expect("a free port"), directory.join("users.txt"));
        write(&users, &format!("\"postgres\" \"{PASSWORD}\"\n"));
        let settings = directory.join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nauth_type = scram-sha-256\nauth_file = {}\npool_mode = session\n\
             default_pool_size = 1100\nmax_client_conn = 1200\nunix_socket_dir =\n\
             log_connections = 0\nlog_disconnections = 0\nlog_pooler_errors = 0\n",
            postgres.port(),
            users.display(),
        );
        write(&settings, &text);
        let mut command = Command::new(program);
        command.arg("-q");
        if is_root() {
            command.args(["-u", "nobody"]); // it refuses to be root
        }
        Some(Self::start("pgbouncer", port, command.arg(settings)))
    }

    /// Crossfade between the servers, set up for dual writes, with `tables` in proxy.yaml.
    pub fn crossfade(
        (name, program): (&'static str, &Path),
        postgres: &Server,
        secondary: &Server,
        tables: &str,
        directory: &Path,
    ) -> Self {
        let (port, admin) = (free_port().expect("a free port"), free_port().expect("a free port"));
        let config = directory.join(format!("{name}.yaml"));
        let text = format!(
            "listen: {{ address: 127.0.0.1:{port} }}\nadmin: {{ address: 127.0.0.1:{admin} }}\n\
             from: {{ url: \"{}\" }}\nto: {{ url: \"{}\" }}\nlimits: {{ max_connections: 1200 }}\n\
             log: {{ level: warn }}\ntables:\n{tables}",
            postgres.url("postgres"),
            secondary.url("test"),
        );
        write(&config, &text);
        let setup = Command::new(program).arg("setup").arg("--config").arg(&config).output();
        let setup = setup.expect("the program was built with this bench");
        let said = String::from_utf8_lossy(&setup.stderr);
        assert!(setup.status.success(), "crossfade setup: {said}");
        let mut command = Command::new(program);
        let mut way = Self::start(name, port, command.arg("run").arg("--config").arg(&config));
        way.applies = true;
        way
    }

    fn start(name: &'static str, port: u16, command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null());
        let process = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(Instant::now() < deadline, "{name} does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { name, port, applies: false, process: Some(process) }
    }

    /// Processor seconds used so far; 0 for PostgreSQL itself, whose work all ways share.
    pub fn cpu(&self) -> f64 {
        let Some(process) = &self.process else { return 0.0 };
        let stat = fs::read_to_string(format!("/proc/{}/stat", process.id())).unwrap_or_default();
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let fields: Vec<f64> =
            after_name.split_whitespace().map(|field| field.parse().unwrap_or(0.0)).collect();
        fields.get(11..13).map_or(0.0, |times| times.iter().sum::<f64>() / TICKS_PER_SECOND)
    }

    /// Resident memory in KiB.
    pub fn memory(&self) -> Option<f64> {
        let process = self.process.as_ref()?;
        let status = fs::read_to_string(format!("/proc/{}/status", process.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            drop(process.kill());
            drop(process.wait());
        }
    }
}

/// A directory that PgBouncer's user can read as well.
pub fn directory() -> PathBuf {
    let directory = std::env::temp_dir().join(format!("crossfade-bench-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("the temporary directory is writable");
    directory
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("the bench's directory is writable");
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}
