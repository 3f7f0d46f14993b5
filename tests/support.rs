//! A world for a test: fresh databases on real servers, Crossfade between them, and an eye on both.
//!
//! ```text
//! client() ──▶ Crossfade (its own process) ──▶ PostgreSQL ◀── direct()
//!                          └─────────────────▶ MariaDB or MySQL ◀── secondary()
//! ```
//!
//! The servers are shared by all tests of the run, the databases are not. [`World::alone`] has
//! servers of its own, for tests that kill or freeze them. In a world that is [`World::granted`] Crossfade's
//! roles have the rights that the runbook gives them ([`rights`]), and no others; elsewhere it is the superuser.

pub mod browser;
pub mod certificate;
pub mod compare;
pub mod inside;
pub mod process;
pub mod relay;
pub mod rights;

use std::env;
use std::fmt;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crossfade::demo::servers::{self, Options, Product, Server};
use mysql_async::prelude::Queryable;
use tokio_postgres::NoTls;

use process::Proxy;

/// How long anything that must happen may take, on however busy a machine; tests wait for events,
/// never for time.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// The application's role: owns its tables and is no superuser.
pub const ROLE: &str = "app";
pub const ROLE_PASSWORD: &str = "app's secret";

/// Which product follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    MariaDb,
    MySql,
}

impl Target {
    /// Every secondary that is not left out of this run; what is left out is noted for its end.
    pub fn all() -> Vec<Self> {
        let mut all = vec![Self::MariaDb];
        if left_out("mysql", "MySQL as the secondary: what has one ran on MariaDB alone") {
            return all;
        }
        all.push(Self::MySql);
        all
    }

    fn product(self) -> Product {
        match self {
            Self::MariaDb => Product::MariaDb,
            Self::MySql => Product::MySql,
        }
    }
}

/// Whether `make test WITHOUT=…` names this part; if so, `what` is listed at the end of the run.
pub fn left_out(part: &str, what: &str) -> bool {
    let without = env::var("CROSSFADE_WITHOUT").unwrap_or_default();
    let named = without.split([',', ' ', ';']).any(|name| name == part);
    if named {
        not_tested(what);
    }
    named
}

/// Has `make test` list it at its end.
pub fn not_tested(what: &str) {
    if let Some(path) = env::var_os("CROSSFADE_NOT_TESTED") {
        let mut file = fs::File::options().create(true).append(true).open(path).unwrap();
        writeln!(file, "{what}").unwrap();
    }
}

/// The run's server of a product, started by whoever needs it first.
pub fn shared(product: Product) -> &'static Server {
    static SERVERS: [OnceLock<Server>; 3] = [const { OnceLock::new() }; 3];
    SERVERS[product as usize].get_or_init(|| {
        // Crossfade's sessions, the tests' own, and the comparer's, of several tests at once.
        let settings = match product {
            Product::Postgres => vec!["max_connections=400".to_owned()],
            Product::MariaDb | Product::MySql => Vec::new(),
        };
        Server::start(product, Options { settings, ..Options::default() })
            .unwrap_or_else(|error| panic!("{error}"))
    })
}

/// Where PostgreSQL 18 is unpacked, as tests/setup/places.sh has it.
#[must_use]
pub fn postgres18_home() -> PathBuf {
    let named = env::var_os("CROSSFADE_POSTGRES18").filter(|home| !home.is_empty());
    named.map_or_else(|| servers::cache().join("postgres18"), PathBuf::from)
}

/// A `pg_hba.conf` in which the role `trusted` needs no password.
pub const TRUSTING: &str = "\
local all all scram-sha-256
host all trusted all trust
host all all all scram-sha-256
";

/// The run's PostgreSQL 18, with TLS; `None` where it is left out, with `what` as what was not
/// tested.
pub async fn postgres18(what: &str) -> Option<&'static Server> {
    static SERVER: OnceLock<Server> = OnceLock::new();
    if left_out("postgres18", what) {
        return None;
    }
    let start = || {
        let home = Some(postgres18_home().join("bin"));
        let settings = vec!["max_connections=300".to_owned()];
        let hba = Some(TRUSTING.to_owned());
        let options = Options { home, settings, hba, tls: true, ..Options::default() };
        Server::start(Product::Postgres, options)
            .unwrap_or_else(|error| panic!("PostgreSQL 18: {error}"))
    };
    Some(blocking(move || SERVER.get_or_init(start)).await)
}

/// Runs a blocking start beside the test's other tasks.
async fn blocking<T: Send + 'static>(task: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(task).await.unwrap()
}

/// Databases, Crossfade, and how to look at both sides.
pub struct World {
    pub target: Target,
    /// The databases' name, the same on both sides.
    pub database: String,
    /// Only in a world that is alone.
    pub postgres: Option<Server>,
    pub follower: Option<Server>,
    postgres_port: u16,
    secondary_url: String,
    /// Crossfade; absent before [`World::run`].
    pub proxy: Option<Proxy>,
    pub config: PathBuf,
    directory: PathBuf,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "World({:?}, {})", self.target, self.database)
    }
}

impl World {
    /// Creates `schema` on PostgreSQL, sets dual writes up with `tables` as the section of
    /// proxy.yaml, and runs Crossfade.
    pub async fn start(target: Target, schema: &str, tables: &str) -> Self {
        let mut world = Self::bare(target, tables).await;
        world.direct().await.batch_execute(schema).await.unwrap();
        world.setup();
        world.run().await;
        world
    }

    /// As [`Self::bare`] once `schema` is there, with the roles that the runbook gives to Crossfade. What
    /// [`ROLE`] makes later is Crossfade's to follow, too; what a superuser makes is not.
    pub async fn granted(target: Target, schema: &str, tables: &str) -> Self {
        let (postgres, follower) =
            blocking(move || (shared(Product::Postgres), shared(target.product()))).await;
        let world = Self::on(target, tables, postgres, follower).await;
        world.direct().await.batch_execute(schema).await.unwrap();
        rights::grant(postgres, follower, &world.database).await;
        let role = rights::role(&world.database);
        world.log_in_as(&role, servers::PASSWORD);
        world.log_in_to_secondary_as(&role, servers::PASSWORD);
        world
    }

    /// Empty databases on the shared servers, a proxy.yaml, and nothing running.
    pub async fn bare(target: Target, tables: &str) -> Self {
        let (postgres, follower) =
            blocking(move || (shared(Product::Postgres), shared(target.product()))).await;
        Self::on(target, tables, postgres, follower).await
    }

    /// As [`Self::bare`], on servers of its own whose commits survive a crash.
    pub async fn alone(target: Target, tables: &str) -> Self {
        let (postgres, follower) = blocking(move || {
            let durable = || Options { durable: true, ..Options::default() };
            let start = |product| Server::start(product, durable()).unwrap();
            (start(Product::Postgres), start(target.product()))
        })
        .await;
        let mut world = Self::on(target, tables, &postgres, &follower).await;
        world.postgres = Some(postgres);
        world.follower = Some(follower);
        world
    }

    /// As [`Self::bare`], in front of another PostgreSQL than the shared one.
    pub async fn before(target: Target, tables: &str, postgres: &Server) -> Self {
        let follower = blocking(move || shared(target.product())).await;
        Self::on(target, tables, postgres, follower).await
    }

    /// As [`Self::bare`], on servers of its own with settings of their own.
    pub async fn with_settings(target: Target, postgres: &[&str], follower: &[&str]) -> Self {
        let owned = |settings: &[&str]| settings.iter().map(|line| (*line).to_owned()).collect();
        let (postgres, follower) = (owned(postgres), owned(follower));
        let (postgres, follower) = blocking(move || {
            let start = |product, settings| {
                Server::start(product, Options { settings, ..Options::default() }).unwrap()
            };
            (start(Product::Postgres, postgres), start(target.product(), follower))
        })
        .await;
        let mut world = Self::on(target, "", &postgres, &follower).await;
        world.postgres = Some(postgres);
        world.follower = Some(follower);
        world
    }

    async fn on(target: Target, tables: &str, postgres: &Server, follower: &Server) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let database = format!("world_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        create_databases(postgres, follower, &database).await;
        let directory =
            env::temp_dir().join(format!("crossfade-{}-{database}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let world = Self {
            target,
            postgres: None,
            follower: None,
            postgres_port: postgres.port(),
            secondary_url: follower.url(&database),
            proxy: None,
            config: directory.join("proxy.yaml"),
            directory,
            database,
        };
        world.configure(postgres, tables);
        world
    }

    fn configure(&self, postgres: &Server, tables: &str) {
        let (listen, admin) = (process::free_port(), process::free_port());
        let tables = match tables {
            "" => "  \"*\": { mode: blocking, timeout: 10s }".to_owned(),
            lines => lines.lines().map(|line| format!("  {line}\n")).collect(),
        };
        let text = format!(
            "listen: {{ address: 127.0.0.1:{listen} }}\n\
             admin: {{ address: 127.0.0.1:{admin} }}\n\
             from: {{ url: \"{}\" }}\n\
             to: {{ url: \"{}\" }}\n\
             tables:\n{tables}\n",
            postgres.url(&self.database),
            self.secondary_url,
        );
        fs::write(&self.config, text).unwrap();
    }

    /// Gives proxy.yaml a `types:` section, or another one.
    pub fn choose(&self, types: &str) {
        let text = fs::read_to_string(&self.config).unwrap();
        let rest = text.lines().filter(|line| !line.starts_with("types:"));
        let rest: String = rest.map(|line| format!("{line}\n")).collect();
        fs::write(&self.config, format!("{rest}types: {types}\n")).unwrap();
    }

    /// Has Crossfade log in to PostgreSQL as another role.
    pub fn log_in_as(&self, role: &str, password: &str) {
        self.log_in("postgres://", role, password);
    }

    /// Has Crossfade log in to MySQL as another user.
    pub fn log_in_to_secondary_as(&self, user: &str, password: &str) {
        self.log_in("mysql://", user, password);
    }

    fn log_in(&self, scheme: &str, user: &str, password: &str) {
        self.edit(|text| {
            let (before, url) = text.split_once(scheme).expect("a URL");
            let (_, place) = url.split_once('@').expect("a login");
            format!("{before}{scheme}{user}:{password}@{place}")
        });
    }

    /// Has Crossfade reach PostgreSQL through this relay.
    pub fn through(&self, relay: &relay::Relay) {
        let (own, other) =
            (format!("@127.0.0.1:{}/", self.postgres_port), format!("@127.0.0.1:{}/", relay.port));
        self.edit(|text| text.replacen(&own, &other, 1));
    }

    /// From here on this is the world's PostgreSQL; returns the one before.
    pub fn replace_postgres(&mut self, postgres: Server) -> Server {
        self.postgres_port = postgres.port();
        self.postgres.replace(postgres).expect("a world that is alone")
    }

    /// Runs `crossfade setup`, which must succeed.
    pub fn setup(&self) {
        self.verb(&["setup"]);
    }

    /// Runs a verb of the command line to its end; it must succeed. Returns what it printed.
    #[track_caller]
    pub fn verb(&self, arguments: &[&str]) -> String {
        let (code, output) = process::verb(&self.config, arguments);
        assert_eq!(code, Some(0), "{self:?}: {arguments:?}\n{output}");
        output
    }

    /// Starts Crossfade and waits until it is ready.
    pub async fn run(&mut self) {
        self.proxy = Some(Proxy::start(&self.config).await);
    }

    /// Kills Crossfade and starts it again.
    pub async fn crash(&mut self) {
        self.proxy.take().expect("Crossfade runs").kill9();
        self.run().await;
    }

    /// The application's connection, through Crossfade.
    pub async fn client(&self) -> tokio_postgres::Client {
        connect(self.proxy_port(), ROLE, ROLE_PASSWORD, &self.database).await
    }

    /// The application's connection, past Crossfade.
    pub async fn direct(&self) -> tokio_postgres::Client {
        connect(self.postgres_port, ROLE, ROLE_PASSWORD, &self.database).await
    }

    /// A superuser's connection, past Crossfade.
    pub async fn admin(&self) -> tokio_postgres::Client {
        connect(self.postgres_port, "postgres", servers::PASSWORD, &self.database).await
    }

    /// Changes a line of proxy.yaml; what runs does not notice before a reload.
    pub fn edit(&self, change: impl Fn(String) -> String) {
        let text = change(fs::read_to_string(&self.config).unwrap());
        fs::write(&self.config, text).unwrap();
    }

    /// Has clients of Crossfade offered TLS, with the certificate in `directory`.
    pub fn offer_tls(&self, directory: &Path) {
        let file = |name: &str| directory.join(name).display().to_string();
        let (cert, key) = (file(certificate::CERT), file(certificate::KEY));
        let tls = format!("listen: {{ tls: {{ cert: \"{cert}\", key: \"{key}\" }}, address");
        self.edit(|text| text.replacen("listen: { address", &tls, 1));
    }

    /// The administrator's connection to the secondary.
    pub async fn secondary(&self) -> mysql_async::Conn {
        mysql_async::Conn::from_url(&self.secondary_url).await.unwrap()
    }

    #[must_use]
    pub fn secondary_url(&self) -> &str {
        &self.secondary_url
    }

    /// Port, database and login as libpq's environment variables, for drivers.
    pub fn environment(&self, port: u16) -> Vec<(&'static str, String)> {
        vec![
            ("PGHOST", "127.0.0.1".to_owned()),
            ("PGPORT", port.to_string()),
            ("PGUSER", ROLE.to_owned()),
            ("PGPASSWORD", ROLE_PASSWORD.to_owned()),
            ("PGDATABASE", self.database.clone()),
        ]
    }

    #[must_use]
    pub fn postgres_port(&self) -> u16 {
        self.postgres_port
    }

    #[must_use]
    pub fn proxy_port(&self) -> u16 {
        self.proxy.as_ref().expect("Crossfade runs").port
    }

    /// Waits until the outbox is empty: all that was captured is applied.
    pub async fn drained(&self) {
        const STUCK: &str = "SELECT t.name || ' ' || o.op::text || ' attempts ' || o.attempts \
             || coalesce(': ' || o.last_error, '') FROM crossfade.outbox o \
             LEFT JOIN crossfade.tables t ON t.id = o.table_id ORDER BY o.id LIMIT 10";
        let admin = self.admin().await;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let rows = admin.query(STUCK, &[]).await.unwrap();
            if rows.is_empty() {
                return;
            }
            if deadline < Instant::now() {
                let entries: Vec<Option<String>> = rows.iter().map(|row| row.get(0)).collect();
                panic!("{self:?}: the outbox keeps {entries:#?}\n{}", self.log());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Fails unless both sides hold the same rows of the table (`users`, or `auth.users`).
    pub async fn assert_equal(&self, table: &str) {
        let (admin, mut secondary) = (self.admin().await, self.secondary().await);
        let found = compare::differences(&admin, &mut secondary, table).await;
        assert!(
            found.is_empty(),
            "{self:?}: {table} differs\n{}\n{}",
            found.join("\n"),
            self.log()
        );
    }

    /// As [`Self::assert_equal`] for each of the application's tables; returns their names.
    pub async fn assert_all_equal(&self) -> Vec<String> {
        let tables = compare::tables(&self.admin().await).await;
        for table in &tables {
            self.assert_equal(table).await;
        }
        tables
    }

    /// Waits until `condition` holds; `what` names it if it never does.
    pub async fn until(&self, what: &str, mut condition: impl AsyncFnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition().await {
            assert!(Instant::now() < deadline, "{self:?}: never {what}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The end of what Crossfade printed.
    #[must_use]
    pub fn log(&self) -> String {
        self.proxy.as_ref().map(Proxy::log_tail).unwrap_or_default()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(self.proxy.take());
        drop(fs::remove_dir_all(&self.directory));
    }
}

/// A PostgreSQL connection whose other half runs until it is dropped.
pub async fn connect(
    port: u16,
    user: &str,
    password: &str,
    database: &str,
) -> tokio_postgres::Client {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(port).user(user).password(password).dbname(database);
    let (client, connection) = config.connect(NoTls).await.unwrap_or_else(|error| {
        panic!("{user} could not log in to {database} on port {port}: {error:?}")
    });
    tokio::spawn(connection);
    client
}

async fn create_databases(postgres: &Server, follower: &Server, database: &str) {
    // Two tests that create the role at once would clash.
    static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let guard = ONE_AT_A_TIME.lock().await;
    let admin = connect(postgres.port(), "postgres", servers::PASSWORD, "postgres").await;
    let role = format!(
        "DO $$ BEGIN CREATE ROLE {ROLE} LOGIN PASSWORD '{}'; \
         EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        ROLE_PASSWORD.replace('\'', "''")
    );
    admin.batch_execute(&role).await.unwrap();
    admin.batch_execute(&format!("CREATE DATABASE {database} OWNER {ROLE}")).await.unwrap();
    drop(guard);
    let mut admin = mysql_async::Conn::from_url(follower.url("test")).await.unwrap();
    admin.query_drop(format!("CREATE DATABASE {database}")).await.unwrap();
}
