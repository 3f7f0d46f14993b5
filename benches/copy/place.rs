//! Both servers, the table on each, and what a piece of work costs them.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use crossfade::demo::servers::{Options, PASSWORD, Product, Server, free_port};

/// An auth service's users: a key of two texts, a uuid, documents, quotes, tabs and emoji.
const TABLE: &str = "CREATE TABLE users (
    tenant_id varchar(191) NOT NULL, user_id varchar(255) NOT NULL, ext_id uuid NOT NULL,
    email varchar(255), email_verified boolean NOT NULL, is_social boolean NOT NULL, blocked boolean,
    provider varchar(255) NOT NULL, connection varchar(255) NOT NULL, name varchar(255),
    given_name varchar(255), family_name varchar(255), nickname varchar(255), picture text,
    locale varchar(64), phone_number varchar(17), login_count int NOT NULL, seq bigint NOT NULL,
    score double precision, balance numeric(12, 2), created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL, last_login timestamptz, app_metadata jsonb NOT NULL,
    user_metadata jsonb NOT NULL)";
const ROWS: &str = r#"INSERT INTO users SELECT
    'tenant-' || CASE WHEN n % 2 = 0 THEN '000' ELSE lpad((n % 20)::text, 3, '0') END,
    'auth|' || left(md5(n::text), 24), md5('ext' || n)::uuid,
    'person' || n || '@' || (ARRAY['example.com', 'mail.example.org', 'corp.example.net'])[1 + n % 3],
    n % 3 > 0, n % 4 = 0, CASE n % 4 WHEN 0 THEN true WHEN 2 THEN false END,
    (ARRAY['database', 'google', 'facebook', 'sms'])[1 + n % 4],
    (ARRAY['Username-and-Password', 'google', 'facebook', 'sms'])[1 + n % 4],
    (ARRAY['Anna', 'Björn', 'Łukasz', '山田', 'O''Neil', 'Zoë 😀', 'back\slash'])[1 + n % 7] || ' ' || n,
    (ARRAY['Anna', 'Björn', 'Łukasz', '山田', 'O''Neil', 'Zoë 😀', E'tab\there'])[1 + n % 7],
    'Family' || n % 5000, CASE WHEN n % 5 > 0 THEN 'nick' || n END,
    'https://img.example.com/avatar/' || md5('p' || n) || '?s=480&r=pg&d=https%3A%2F%2Fcdn.example.com%2Favatars%2F' || n % 26 || '.png',
    (ARRAY['en', 'sv-SE', 'de', NULL, 'ja'])[1 + n % 5],
    CASE WHEN n % 4 = 3 THEN '+46' || lpad(n::text, 9, '0') END,
    n % 997, n, CASE WHEN n % 8 > 0 THEN n % 100000 / 7.0 END,
    CASE WHEN n % 9 > 0 THEN round(n % 1000000 / 3.0, 2) END,
    '2021-01-01 00:00Z'::timestamptz + n * interval '37.123457 s',
    '2023-01-01 00:00Z'::timestamptz + n * interval '11.000251 s',
    CASE WHEN n % 3 > 0 THEN '2024-01-01 00:00Z'::timestamptz + n * interval '7.5 s' END,
    jsonb_build_object('roles', jsonb_build_array('user', 'r' || n % 17),
        'plan', (ARRAY['free', 'pro', 'enterprise'])[1 + n % 3], 'customer', 'cus_' || left(md5('s' || n), 14),
        'limits', jsonb_build_object('rate', n % 100, 'quota', n % 77 / 4.0, 'big', 12345678901234567890::numeric),
        'flags', jsonb_build_object('beta', n % 2 = 0, 'none', NULL), 'note', 'came over in the year é ' || n % 1000),
    jsonb_build_object('lang', 'sv', 'theme', (ARRAY['dark', 'light'])[1 + n % 2], 'v', 1.0, 'n', n)
    FROM generate_series(1, :rows) n"#;
const INDEXES: &str = "ALTER TABLE users ADD PRIMARY KEY (tenant_id, user_id);
    CREATE UNIQUE INDEX ON users (tenant_id, provider, email); CREATE INDEX ON users (email);
    VACUUM ANALYZE users; CHECKPOINT";
/// The rows as LOAD DATA reads them into the columns that `setup` made.
const READABLE: &str = "SELECT tenant_id, user_id, ext_id, email, email_verified::int, is_social::int,
    blocked::int, provider, connection, name, given_name, family_name, nickname, picture, locale,
    phone_number, login_count, seq, score, balance, to_char(created_at, 'YYYY-MM-DD HH24:MI:SS.US'),
    to_char(updated_at, 'YYYY-MM-DD HH24:MI:SS.US'), to_char(last_login, 'YYYY-MM-DD HH24:MI:SS.US'),
    app_metadata, user_metadata FROM users";

pub struct Place {
    pub postgres: Server,
    pub secondary: Server,
    pub rows: u64,
    pub config: PathBuf,
    /// Where a sidecar listens, and its admin port.
    pub listen: u16,
    admin: u16,
    directory: PathBuf,
}

/// What a piece of work took.
#[derive(Clone, Copy)]
pub struct Cost {
    pub seconds: f64,
    pub primary: f64,
    pub secondary: f64,
}

impl Place {
    pub fn start() -> Self {
        let rows = env::var("ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(1_000_000);
        let start = |product, settings: &[&str]| {
            let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
            let options = Options { durable: true, settings, ..Options::default() };
            Server::start(product, options).unwrap_or_else(|error| panic!("{error}"))
        };
        let postgres = start(
            Product::Postgres,
            &["shared_buffers=512MB", "max_wal_size=4GB", "timezone=UTC", "autovacuum=off"],
        );
        let secondary = start(
            Product::MariaDb,
            &["innodb_buffer_pool_size=1G", "innodb_log_file_size=1G", "local_infile=ON"],
        );
        let directory = env::temp_dir().join(format!("crossfade-copy-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("the temporary directory is writable");
        let config = directory.join("proxy.yaml");
        let [listen, admin] = [(), ()].map(|()| free_port().expect("a free port"));
        Self { postgres, secondary, rows, config, listen, admin, directory }
    }

    pub fn fill_primary(&self) {
        self.psql(TABLE);
        self.psql(&ROWS.replace(":rows", &self.rows.to_string()));
        INDEXES.split(';').for_each(|statement| drop(self.psql(statement)));
        let size = self.psql("SELECT pg_size_pretty(pg_table_size('users'))");
        println!("{} rows of 25 columns, {} on PostgreSQL", self.rows, size.trim());
    }

    pub fn set_up(&self) {
        let (listen, admin) = (self.listen, self.admin);
        let text = format!(
            "listen: {{ address: 127.0.0.1:{listen} }}\nadmin: {{ address: 127.0.0.1:{admin} }}\n\
             from: {{ url: \"{}\" }}\nto: {{ url: \"{}\" }}\nlog: {{ level: warn }}\n\
             types: {{ jsonb: text }}\n",
            self.postgres.url("postgres"),
            self.secondary.url("test"),
        );
        fs::write(&self.config, text).expect("the bench's directory is writable");
        let output = self.crossfade(&["setup"]).output().expect("the program was built");
        succeeded("crossfade setup", &output);
    }

    /// `COPY … TO STDOUT | LOAD DATA`, by both databases' own clients: the least that any tool does.
    pub fn fill_secondary(&self) -> Cost {
        let cost = self.cost(|| {
            let whole = format!(
                "{} -qc \"COPY ({READABLE}) TO STDOUT\" | {} --local-infile=1 -e \
                 \"SET sql_mode = 'STRICT_ALL_TABLES'; LOAD DATA LOCAL INFILE '/dev/stdin' \
                 INTO TABLE users CHARACTER SET utf8mb4\"",
                self.psql_line(),
                self.mariadb_line()
            );
            let output = Command::new("sh").args(["-c", &whole]).output().expect("a shell");
            succeeded("COPY | LOAD DATA", &output);
        });
        let there = self.mariadb("SELECT count(*) FROM users");
        assert_eq!(there.trim(), self.rows.to_string(), "rows that arrived");
        self.mariadb("ANALYZE TABLE users");
        cost
    }

    /// Runs it, and tells what it took of this machine's time and of both servers'.
    pub fn cost(&self, work: impl FnOnce()) -> Cost {
        let used = || [&self.postgres, &self.secondary].map(Server::processor_seconds);
        let (before, start) = (used(), Instant::now());
        work();
        let (seconds, after) = (start.elapsed().as_secs_f64(), used());
        Cost { seconds, primary: after[0] - before[0], secondary: after[1] - before[1] }
    }

    /// Waits until the sidecar answers.
    pub fn ready(&self) {
        // Until then it lets nobody in.
        while !self.crossfade(&["status"]).output().is_ok_and(|output| {
            String::from_utf8_lossy(&output.stdout).contains("phase dual_write")
                && output.stderr.is_empty()
        }) {
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }

    /// Waits until every change is carried.
    pub fn drained(&self) {
        while self.psql("SELECT count(*) FROM crossfade.outbox").trim() != "0" {
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }

    pub fn crossfade(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_crossfade"));
        command.args(arguments).arg("--config").arg(&self.config).stdin(Stdio::null());
        command
    }

    pub fn psql(&self, sql: &str) -> String {
        self.run(&format!("{} -qAtc \"$0\"", self.psql_line()), sql)
    }

    pub fn mariadb(&self, sql: &str) -> String {
        self.run(&format!("{} -Nse \"$0\"", self.mariadb_line()), sql)
    }

    /// A shell's line, in which `$0` is `argument`.
    pub fn run(&self, line: &str, argument: &str) -> String {
        let output = Command::new("sh").args(["-c", line, argument]).output().expect("a shell");
        succeeded(line, &output);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub fn psql_line(&self) -> String {
        format!("psql -X -v ON_ERROR_STOP=1 {}", self.postgres.url("postgres"))
    }

    pub fn mariadb_line(&self) -> String {
        let port = self.secondary.port();
        format!(
            "mariadb --no-defaults --default-character-set=utf8mb4 -h127.0.0.1 -P{port} -uroot -p{PASSWORD} test"
        )
    }

    /// Prints where everything is, and waits.
    pub fn hold(&self) {
        println!("{}\n{}\n{}", self.psql_line(), self.mariadb_line(), self.config.display());
        std::thread::park();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.directory));
    }
}

fn succeeded(what: &str, output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {said}");
}
