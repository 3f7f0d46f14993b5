//! What the demo plays on: two servers, the application's schema, and Crossfade between them.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::Context;
use mysql_async::prelude::Queryable as _;
use tokio_postgres::{Client, NoTls};

use crate::admin::Published;
use crate::catalog::naming::Naming;
use crate::config::Config;
use crate::control::setup::Extent;
use crate::control::{self, Ends};
use crate::proxy::Proxy;

use super::DemoError;
use super::servers::{self, Product, Server};

const DATABASE: &str = "auth";
/// The application's own role: no superuser, and it owns its tables.
const ROLE: &str = "auth_service";
const SCHEMA: &str = include_str!("schema.sql");
/// 100,000 users from before.
const FILL: &str = include_str!("fill.sql");

pub(super) struct Stage {
    /// Until it is left.
    postgres: Option<Server>,
    secondary: Server,
    proxy: Proxy,
    config: Config,
    ends: Ends,
    port: u16,
    /// Asks about the outbox.
    watcher: Client,
    _directory: Directory,
}

impl Stage {
    /// Starts the servers, creates the schema as the application's owner would, runs `setup`, and
    /// starts the sidecar.
    pub(super) async fn set(target: Product) -> Result<Self, DemoError> {
        let (postgres, secondary) = start(target).await?;
        let staged = async {
            create(&postgres, &secondary).await?;
            let directory = Directory::new()?;
            let (file, config) = configure(&directory, &postgres, &secondary)?;
            let ends = config.ends()?;
            set_up(&ends, &config).await?;
            let proxy = Proxy::start(config.clone(), file, None).await?;
            let port = proxy.port.context("the proxy listens on TCP")?;
            let watcher = login(&postgres, "postgres", DATABASE).await?;
            anyhow::Ok((directory, proxy, (config, ends), port, watcher))
        };
        let action = "set the stage";
        let (directory, proxy, (config, ends), port, watcher) =
            staged.await.map_err(|source| DemoError::Stage { action, source })?;
        Ok(Self {
            postgres: Some(postgres),
            secondary,
            proxy,
            config,
            ends,
            port,
            watcher,
            _directory: directory,
        })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn ends(&self) -> &Ends {
        &self.ends
    }

    pub(super) fn published(&self) -> &Published {
        self.proxy.published()
    }

    /// How the application connects: to Crossfade, and otherwise as ever.
    pub(super) fn application(&self) -> tokio_postgres::Config {
        client(self.port, ROLE, DATABASE)
    }

    /// True once neither side has anything that the other one lacks.
    pub(super) async fn is_drained(&self) -> Result<bool, DemoError> {
        let both = async {
            let question = "SELECT NOT EXISTS (SELECT FROM crossfade.outbox)";
            let there: bool = self.watcher.query_one(question, &[]).await?.get(0);
            let mut conn = mysql_async::Conn::from_url(self.secondary.url(DATABASE)).await?;
            // The table is there from the first switchover on.
            let known = "SELECT 1 FROM information_schema.tables \
                 WHERE table_schema = DATABASE() AND table_name = 'crossfade_outbox'";
            if conn.query_first::<u8, _>(known).await?.is_none() {
                return anyhow::Ok(there);
            }
            let left = conn.query_first::<u8, _>("SELECT 1 FROM crossfade_outbox LIMIT 1").await?;
            Ok(there && left.is_none())
        };
        both.await.map_err(|source| DemoError::Stage { action: "read the outbox", source })
    }

    /// Why tables are dirty, as of now.
    pub(super) async fn dirty(&self) -> Result<HashMap<String, String>, DemoError> {
        let question =
            "SELECT name, dirty_reason FROM crossfade.tables WHERE dirty_reason IS NOT NULL";
        let rows = self.watcher.query(question, &[]).await;
        rows.map(|rows| rows.iter().map(|row| (row.get(0), row.get(1))).collect()).map_err(
            |source| DemoError::Stage { action: "read what is dirty", source: source.into() },
        )
    }

    /// Connections to both servers, past Crossfade.
    pub(super) async fn administrators(&self) -> Result<(Client, mysql_async::Conn), DemoError> {
        let both = async {
            let postgres = self.postgres.as_ref().context("PostgreSQL is left")?;
            let postgres = login(postgres, "postgres", DATABASE).await?;
            let url = self.secondary.url(DATABASE);
            anyhow::Ok((postgres, mysql_async::Conn::from_url(url).await?))
        };
        both.await.map_err(|source| DemoError::Stage { action: "reach the servers", source })
    }

    /// Ends PostgreSQL's server, which nobody asks any more.
    pub(super) async fn end_postgres(&mut self) {
        let postgres = self.postgres.take();
        drop(tokio::task::spawn_blocking(|| drop(postgres)).await);
    }

    /// Ends Crossfade, then the servers.
    pub(super) async fn strike(self) {
        self.proxy.stopper().send_replace(true);
        self.proxy.ended().await;
        // Dropping a server waits for it, which would hold the runtime up.
        let servers = (self.postgres, self.secondary);
        drop(tokio::task::spawn_blocking(|| drop(servers)).await);
    }
}

/// Both at once: each takes a second or two the first time.
async fn start(target: Product) -> Result<(Server, Server), DemoError> {
    let begin = |product| {
        tokio::task::spawn_blocking(move || Server::start(product, servers::Options::default()))
    };
    let (postgres, secondary) = tokio::join!(begin(Product::Postgres), begin(target));
    let ended = |_| DemoError::Stage {
        action: "start a server",
        source: anyhow::anyhow!("the start was cut short"),
    };
    Ok((postgres.map_err(ended)??, secondary.map_err(ended)??))
}

async fn create(postgres: &Server, secondary: &Server) -> anyhow::Result<()> {
    let administrator = login(postgres, "postgres", "postgres").await?;
    let password = servers::PASSWORD;
    let role = format!("CREATE ROLE {ROLE} LOGIN PASSWORD '{password}'");
    administrator.batch_execute(&role).await?;
    let database = format!("CREATE DATABASE {DATABASE} OWNER {ROLE}");
    administrator.batch_execute(&database).await?;
    let owner = login(postgres, ROLE, DATABASE).await?;
    owner.batch_execute(SCHEMA).await?;
    owner.batch_execute(FILL).await?;
    login(postgres, "postgres", DATABASE).await?.batch_execute("ANALYZE").await?;
    // The server has no database of that name yet, so this goes without one.
    let url = secondary.url("");
    let mut conn = mysql_async::Conn::from_url(url).await?;
    let database = format!("CREATE DATABASE {DATABASE}");
    mysql_async::prelude::Queryable::query_drop(&mut conn, database).await?;
    Ok(())
}

fn configure(
    directory: &Directory,
    postgres: &Server,
    secondary: &Server,
) -> anyhow::Result<(PathBuf, Config)> {
    // Written as YAML rather than pasted together: a directory may hold what YAML gives a meaning.
    let text = serde_yaml::to_string(&serde_json::json!({
        "listen": { "address": "127.0.0.1:0" },
        "admin": { "address": "127.0.0.1:0" },
        "from": { "url": postgres.url(DATABASE) },
        "to": { "url": secondary.url(DATABASE) },
        "tables": {
            "logs": { "mode": "async" },
            "codes": { "mode": "strict", "timeout": "5s" },
            "*": { "mode": "blocking", "timeout": "2s" },
        },
    }))?;
    let file = directory.0.join("proxy.yaml");
    std::fs::write(&file, text).context("write proxy.yaml")?;
    let config = Config::load(&file)?;
    Ok((file, config))
}

async fn set_up(ends: &Ends, config: &Config) -> anyhow::Result<()> {
    let naming = Naming::default();
    control::setup::setup(ends, &config.tables, &naming, Extent::Create).await?;
    Ok(())
}

fn client(port: u16, user: &str, database: &str) -> tokio_postgres::Config {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(port).user(user).password(servers::PASSWORD).dbname(database);
    config
}

async fn login(server: &Server, user: &str, database: &str) -> anyhow::Result<Client> {
    let (client, connection) = client(server.port(), user, database).connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// A directory that goes when it is dropped.
struct Directory(PathBuf);

impl Directory {
    fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("crossfade-demo-{}", std::process::id()));
        std::fs::create_dir_all(&path).context("create a directory")?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What cannot be removed is in the system's own directory for such things.
        drop(std::fs::remove_dir_all(&self.0));
    }
}
