//! What the proxy costs: pgbench directly, through a bare TCP relay, through PgBouncer (session
//! mode) and through Crossfade, in turns, on servers of its own.
//!
//! ```text
//! ROUNDS=3 SECONDS=10 cargo bench --bench proxy          everything
//! CASES=reads,async cargo bench --bench proxy     some of it
//! CASES=reads OTHER=path cargo bench --bench proxy        another build of Crossfade beside this one
//! CASES=hold MODE=async cargo bench --bench proxy          everything up, for a profiler, until ^C
//! ```
//!
//! It prints, per case: throughput as a share of the direct one, and processor microseconds per
//! transaction of the proxy and of both servers, as medians of the rounds. What a run left in the
//! outbox is carried before its time is taken. Absolute figures belong to the machine, and so
//! nothing is asserted.

#![allow(unreachable_pub, reason = "nothing outside this bench reaches any of it")]
#![allow(clippy::print_stdout, reason = "the table is the result")]

mod figures;
#[path = "proxy/relay.rs"]
mod relay;
#[path = "proxy/ways.rs"]
mod ways;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crossfade::demo::servers::{Options, PASSWORD, Product, Server};
use mysql_async::prelude::Queryable;
use ways::Way;

/// Connections that are opened to see what an idle one holds.
const IDLE: usize = 1000;
const READS: &str = "  \"*\": { mode: async }\n";

fn main() {
    let arguments: Vec<String> = env::args().collect();
    if let [_, "relay", listen, target] =
        arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice()
    {
        relay::serve(listen, target).expect("the relay listens");
    }
    let bench = Bench::start();
    let cases = env::var("CASES")
        .unwrap_or_else(|_| "reads,rows,off,async,blocking,strict,memory".to_owned());
    for case in cases.split(',') {
        match case {
            "reads" => bench.reads(),
            "rows" => bench.rows(),
            "off" => bench.writes("off", "off"),
            "async" => bench.writes("async", "async"),
            "blocking" => bench.writes("blocking", "blocking, timeout: 10s"),
            "strict" => bench.writes("strict", "strict, timeout: 10s"),
            "memory" => bench.memory(),
            "hold" => bench.hold(),
            other => println!("no case {other:?}"),
        }
    }
    drop(fs::remove_dir_all(&bench.directory));
}

struct Bench {
    postgres: Server,
    secondary: Server,
    directory: PathBuf,
    rounds: usize,
    seconds: u64,
}

/// Throughput of one run, and processor time per transaction.
#[derive(Clone, Copy)]
struct Figures {
    per_second: f64,
    cpu_micros: f64,
    primary_micros: f64,
    secondary_micros: f64,
}

impl Bench {
    fn start() -> Self {
        let number = |name: &str, default: u64| {
            env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
        };
        let durable = env::var_os("FAST").is_none();
        let settings = ["max_connections=1300", "shared_buffers=256MB"].map(str::to_owned).to_vec();
        let options = Options { durable, settings, ..Options::default() };
        let postgres = Server::start(Product::Postgres, options).expect("PostgreSQL starts");
        let options = Options { durable, ..Options::default() };
        let secondary = Server::start(Product::MariaDb, options).expect("MariaDB starts");
        let bench = Self {
            postgres,
            secondary,
            directory: ways::directory(),
            rounds: usize::try_from(number("ROUNDS", 3)).unwrap_or(3),
            seconds: number("SECONDS", 10),
        };
        let scale = number("SCALE", 10).to_string();
        let port = bench.postgres.port();
        bench.pgbench(port, &["-i", "-q", "-s", &scale, "postgres"]);
        println!(
            "rounds {}, seconds {}, scale {scale}, durable {durable}",
            bench.rounds, bench.seconds
        );
        bench
    }

    fn reads(&self) {
        let mut ways = self.others();
        ways.push(self.crossfade("crossfade", READS));
        if let Some(program) = env::var_os("OTHER") {
            let other = ("other", Path::new(&program));
            let (postgres, secondary) = (&self.postgres, &self.secondary);
            ways.push(Way::crossfade(other, postgres, secondary, READS, &self.directory));
        }
        for clients in ["1", "16"] {
            for protocol in ["simple", "prepared", "extended"] {
                let arguments = ["-S", "-M", protocol, "-c", clients, "-j", "2"];
                self.compare(&format!("read, {protocol}, {clients}"), &ways, &arguments);
            }
        }
    }

    fn rows(&self) {
        let mut ways = self.others();
        ways.push(self.crossfade("crossfade", READS));
        let script = self.script("rows", "SELECT * FROM pgbench_accounts WHERE aid <= 10000;\n");
        self.compare("10,000 rows", &ways, &["-f", &script, "-c", "1"]);
    }

    /// `-N` has one UPDATE, one SELECT and one INSERT (into a table without a key) a transaction;
    /// the single UPDATE commits by itself.
    fn writes(&self, name: &'static str, mode: &str) {
        let update = "\\set aid random(1, 100000)\n\
             UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = :aid;\n";
        let update = self.script("update", update);
        // One sidecar at a time: a second one would take part in draining the first one's outbox.
        let tables = format!("  pgbench_history: {{ mode: off }}\n  \"*\": {{ mode: {mode} }}\n");
        let mut ways = self.others();
        ways.push(self.crossfade(name, &tables));
        for clients in ["1", "16"] {
            let arguments = ["-N", "-c", clients, "-j", "2"];
            self.compare(&format!("write -N, {clients}, {name}"), &ways, &arguments);
            let arguments = ["-f", &update, "-M", "extended", "-c", clients, "-j", "2"];
            self.compare(&format!("one UPDATE, {clients}, {name}"), &ways, &arguments);
        }
        if name == "blocking" {
            let secondary = self.secondary_update();
            println!("the UPDATE on the secondary itself, one client: {secondary:.0} µs");
        }
    }

    /// Prints where everything is, and waits.
    fn hold(&self) {
        let mode = env::var("MODE").unwrap_or_else(|_| "async".to_owned());
        let tables = format!("  pgbench_history: {{ mode: off }}\n  \"*\": {{ mode: {mode} }}\n");
        let way = self.crossfade("held", &tables);
        let (primary, secondary) = (self.postgres.url("postgres"), self.secondary.url("test"));
        println!("crossfade on port {}\nprimary {primary}\nsecondary {secondary}", way.port);
        std::thread::park();
    }

    /// Memory of an idle connection, logged in and once used.
    fn memory(&self) {
        // One at a time: PgBouncer keeps its server connections, and the next would find no room.
        let start: [fn(&Self) -> Option<Way>; 3] = [
            |bench| Some(Way::relay(&bench.postgres)),
            |bench| Way::pgbouncer(&bench.postgres, &bench.directory),
            |bench| Some(bench.crossfade("crossfade", READS)),
        ];
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        for way in start.into_iter().filter_map(|start| start(self)) {
            runtime.block_on(self.until_idle());
            let before = way.memory().unwrap_or(0.0);
            let clients = runtime.block_on(async {
                let mut clients = Vec::new();
                for _ in 0..IDLE {
                    clients.push(connect(way.port).await);
                }
                clients
            });
            let held = way.memory().unwrap_or(0.0) - before;
            println!("idle connection, {}: {:.1} KiB", way.name, held / IDLE as f64);
            figures::note(&format!("proxy/memory/{}", way.name), held / IDLE as f64);
            drop(clients);
        }
    }

    /// Waits until PostgreSQL has noticed that the connections are gone, so that others fit.
    async fn until_idle(&self) {
        let client = connect(self.postgres.port()).await;
        const OTHERS: &str =
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'";
        loop {
            let row = client.query_one(OTHERS, &[]).await.expect("PostgreSQL answers");
            if row.get::<_, i64>(0) < 50 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn others(&self) -> Vec<Way> {
        let mut ways = vec![Way::direct(&self.postgres), Way::relay(&self.postgres)];
        ways.extend(Way::pgbouncer(&self.postgres, &self.directory));
        ways
    }

    fn crossfade(&self, name: &'static str, tables: &str) -> Way {
        let own = (name, Path::new(env!("CARGO_BIN_EXE_crossfade")));
        Way::crossfade(own, &self.postgres, &self.secondary, tables, &self.directory)
    }

    /// Runs the case in every way, in turns, and prints a line for each way.
    fn compare(&self, case: &str, ways: &[Way], arguments: &[&str]) {
        let mut figures: Vec<Vec<Figures>> = vec![Vec::new(); ways.len()];
        for _ in 0..self.rounds {
            for (way, figures) in ways.iter().zip(&mut figures) {
                figures.push(self.measure(way, arguments));
            }
        }
        let median = |at: usize, of: fn(&Figures) -> f64| median(figures[at].iter().map(of));
        let (direct, relay) = (median(0, |f| f.per_second), median(1, |f| f.cpu_micros));
        println!("\n{case}: {direct:.0}/s direct");
        for (at, way) in ways.iter().enumerate().skip(1) {
            let (speed, cpu) = (median(at, |f| f.per_second), median(at, |f| f.cpu_micros));
            // Its name is the mode's where there are several.
            let who = if way.applies && way.name != "other" { "crossfade" } else { way.name };
            let name = |what: &str| format!("proxy/{case}/{who}/{what}");
            figures::note(&name("throughput"), speed / direct);
            figures::note(&name("cpu"), cpu);
            println!(
                "  {:<10} throughput {:>5.2} of direct   cpu {cpu:>7.1} µs   {:>5.2} of relay   \
                 servers {:>6.1} + {:>5.1} µs   latency +{:.0} µs",
                way.name,
                speed / direct,
                cpu / relay,
                median(at, |f| f.primary_micros),
                median(at, |f| f.secondary_micros),
                (1e6 / speed - 1e6 / direct).max(0.0),
            );
        }
    }

    fn measure(&self, way: &Way, arguments: &[&str]) -> Figures {
        let seconds = self.seconds.to_string();
        let mut all = vec!["-n", "-T", &seconds];
        all.extend(arguments);
        all.push("postgres");
        let used = || {
            let servers = [&self.postgres, &self.secondary].map(Server::processor_seconds);
            [way.cpu(), servers[0], servers[1]]
        };
        let before = used();
        let printed = self.pgbench(way.port, &all);
        if way.applies {
            self.until_applied();
        }
        let after_run = used();
        let transactions = after(&printed, "actually processed: ");
        let micros = |at: usize| (after_run[at] - before[at]) * 1e6 / transactions;
        Figures {
            per_second: after(&printed, "tps = "),
            cpu_micros: micros(0),
            primary_micros: micros(1),
            secondary_micros: micros(2),
        }
    }

    /// What the run left in the outbox is part of its cost, and none of the next one's.
    fn until_applied(&self) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let client = connect(self.postgres.port()).await;
            let left = "SELECT EXISTS (SELECT FROM crossfade.outbox)";
            while client.query_one(left, &[]).await.expect("PostgreSQL answers").get::<_, bool>(0) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }

    fn pgbench(&self, port: u16, arguments: &[&str]) -> String {
        let output = Command::new("pgbench")
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-U", "postgres"])
            .args(arguments)
            .env("PGPASSWORD", PASSWORD)
            .env("PATH", search_path())
            .output()
            .expect("pgbench comes with PostgreSQL");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "pgbench {arguments:?} on {port}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn script(&self, name: &str, text: &str) -> String {
        let path = self.directory.join(name);
        fs::write(&path, text).expect("the bench's directory is writable");
        path.display().to_string()
    }

    /// Microseconds of the same one-row UPDATE on the secondary, by itself.
    fn secondary_update(&self) -> f64 {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let (url, seconds) = (self.secondary.url("test"), self.seconds);
        runtime.block_on(async move {
            let mut conn = mysql_async::Conn::from_url(url).await.expect("MariaDB answers");
            for statement in [
                "CREATE OR REPLACE TABLE direct (aid int PRIMARY KEY, abalance int, filler char(84))",
                "INSERT INTO direct SELECT seq, 0, '' FROM seq_1_to_100000",
            ] {
                conn.query_drop(statement).await.expect("MariaDB writes");
            }
            let update = "UPDATE direct SET abalance = abalance + 1 WHERE aid = ?";
            let (start, mut done) = (Instant::now(), 0_u32);
            while start.elapsed() < Duration::from_secs(seconds) {
                let aid = 1 + done.wrapping_mul(7919) % 100_000;
                conn.exec_drop(update, (aid,)).await.expect("MariaDB writes");
                done += 1;
            }
            start.elapsed().as_secs_f64() * 1e6 / f64::from(done)
        })
    }
}

async fn connect(port: u16) -> tokio_postgres::Client {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(port).user("postgres").password(PASSWORD).dbname("postgres");
    let (client, connection) = config.connect(tokio_postgres::NoTls).await.expect("a connection");
    tokio::spawn(connection);
    client.simple_query("SELECT 1").await.expect("an answer");
    client
}

/// Debian keeps pgbench beside the server.
fn search_path() -> std::ffi::OsString {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let beside = versions.map(|version| version.path().join("bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    let own: Vec<PathBuf> = env::split_paths(&path).chain(beside).collect();
    env::join_paths(own.iter().map(|path| path as &Path)).unwrap_or(path)
}

/// The number that follows a text in what pgbench printed.
fn after(printed: &str, text: &str) -> f64 {
    let rest = printed.split(text).nth(1).unwrap_or_default();
    let digits = rest.split(|letter: char| !letter.is_ascii_digit() && letter != '.').next();
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(f64::NAN)
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
