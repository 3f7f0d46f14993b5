//! Both servers, an application's tables on them, and a sidecar between them.

#![allow(dead_code, reason = "two benches have this file, and each uses a part")]

use std::env;
use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crossfade::demo::servers::{Options, PASSWORD, Product, Server, free_port};
use mysql_async::prelude::Queryable as _;

/// `sysconf(_SC_CLK_TCK)`, which is 100 on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;
pub const USERS: i64 = 10_000;
/// The bench is a superuser, whose verifier no sidecar copies.
const VERIFIER: &str = "SELECT rolpassword FROM pg_authid WHERE rolname = current_user";
/// Users and their sessions, for whoever needs nothing else.
pub const SCHEMA: &str = "
    CREATE TABLE users (id bigint PRIMARY KEY, email varchar(255) NOT NULL UNIQUE, name text,
        active boolean NOT NULL DEFAULT true, logins int NOT NULL DEFAULT 0, profile jsonb,
        created_at timestamptz NOT NULL DEFAULT now());
    CREATE TABLE sessions (id uuid PRIMARY KEY, user_id bigint NOT NULL REFERENCES users ON DELETE CASCADE,
        user_agent text, seen_at timestamptz NOT NULL DEFAULT now(), expires_at timestamptz NOT NULL);
    CREATE INDEX sessions_by_user ON sessions (user_id);
    INSERT INTO users SELECT n, 'user' || n || '@example.org', 'Zoë ' || n, true, 0, '{\"theme\": \"dark\"}'
        FROM generate_series(1, 10000) n;
    INSERT INTO sessions SELECT md5(n::text)::uuid, 1 + n % 10000, 'Mozilla/5.0', now(), now() + interval '30 days'
        FROM generate_series(1, 30000) n;
    ANALYZE";

pub struct Place {
    pub postgres: Server,
    pub secondary: Server,
    pub port: u16,
    pub target: Product,
    pub rounds: u64,
    pub rate: u64,
    database: &'static str,
    config: PathBuf,
    directory: PathBuf,
    sidecar: Child,
}

impl Place {
    /// Everything up, copied and compared, with dual writes on. `schema` is for PostgreSQL, `database`
    /// is MySQL's.
    pub fn start(schema: &str, database: &'static str) -> Self {
        let target = match env::var("TARGET").as_deref() {
            Ok("mysql") => Product::MySql,
            _ => Product::MariaDb,
        };
        let start = |product| {
            let options = Options { durable: true, ..Options::default() };
            Server::start(product, options).unwrap_or_else(|error| panic!("{error}"))
        };
        let (postgres, secondary) = (start(Product::Postgres), start(target));
        let directory = env::temp_dir().join(format!("crossfade-switch-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("the temporary directory is writable");
        let config = directory.join("proxy.yaml");
        let [port, admin] = [(), ()].map(|()| free_port().expect("a free port"));
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let verifier = runtime.block_on(async {
            let client = connect(postgres.port()).await;
            client.batch_execute(schema).await.expect("the schema");
            client.query_one(VERIFIER, &[]).await.expect("PostgreSQL answers").get::<_, String>(0)
        });
        let text = format!(
            "listen: {{ address: 127.0.0.1:{port}, users: {{ postgres: \"{verifier}\" }} }}\n\
             admin: {{ address: 127.0.0.1:{admin} }}\n\
             from: {{ url: \"{}\" }}\nto: {{ url: \"{}\" }}\nlog: {{ level: warn }}\n\
             tables:\n  \"*\": {{ mode: async }}\n",
            postgres.url("postgres"),
            secondary.url(database),
        );
        fs::write(&config, text).expect("the bench's directory is writable");
        runtime.block_on(async {
            let mut conn = mysql_async::Conn::from_url(secondary.url("")).await.expect("MySQL");
            let text = format!("CREATE DATABASE IF NOT EXISTS {database}");
            conn.query_drop(text).await.expect("a database");
        });
        run(crossfade(&config, &["setup"]));
        let sidecar =
            crossfade(&config, &["run"]).stdout(Stdio::null()).spawn().expect("a sidecar");
        let number = |name: &str, default| {
            env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
        };
        let (rounds, rate) = (number("ROUNDS", 5), number("RATE", 500));
        let place = Self {
            postgres,
            secondary,
            port,
            target,
            rounds,
            rate,
            database,
            config,
            directory,
            sidecar,
        };
        place.wait();
        place.verb(&["backfill"]);
        place.verb(&["verify"]);
        println!("{target}, {rounds} rounds");
        place
    }

    fn wait(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            assert!(Instant::now() < deadline, "the sidecar does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs a verb of the program, and gives what it printed.
    pub fn verb(&self, arguments: &[&str]) -> String {
        run(crossfade(&self.config, arguments))
    }

    pub async fn client(&self) -> tokio_postgres::Client {
        connect(self.port).await
    }

    pub async fn mysql(&self) -> mysql_async::Conn {
        let mut conn = mysql_async::Conn::from_url(self.secondary.url(self.database))
            .await
            .expect("MySQL answers");
        conn.query_drop("SET time_zone = '+00:00'").await.expect("MySQL answers");
        conn
    }

    /// Processor seconds of the sidecar so far.
    pub fn cpu(&self) -> f64 {
        let path = format!("/proc/{}/stat", self.sidecar.id());
        let stat = fs::read_to_string(path).unwrap_or_default();
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let fields: Vec<f64> =
            after_name.split_whitespace().map(|field| field.parse().unwrap_or(0.0)).collect();
        fields.get(11..13).map_or(0.0, |times| times.iter().sum::<f64>() / TICKS_PER_SECOND)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.sidecar.kill());
        drop(self.sidecar.wait());
        drop(fs::remove_dir_all(&self.directory));
    }
}

fn crossfade(config: &std::path::Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crossfade"));
    command.args(arguments).arg("--config").arg(config).stdin(Stdio::null());
    command
}

fn run(mut command: Command) -> String {
    let output = command.output().expect("the program was built with this bench");
    let said = String::from_utf8_lossy(&output.stderr);
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {printed}{said}");
    printed
}

async fn connect(port: u16) -> tokio_postgres::Client {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(port).user("postgres").password(PASSWORD).dbname("postgres");
    let (client, connection) = config.connect(tokio_postgres::NoTls).await.expect("a connection");
    tokio::spawn(connection);
    client
}
