//! What tells the three products apart: where they are, how they are set up and started.

use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Options, PASSWORD, ServerError, While, certificate, place};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Product {
    Postgres,
    MariaDb,
    MySql,
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Postgres => "PostgreSQL",
            Self::MariaDb => "MariaDB",
            Self::MySql => "MySQL",
        })
    }
}

impl Product {
    /// Whether a server of it can be started here.
    #[must_use]
    pub fn is_installed(self) -> bool {
        program(self, &Options::default()).is_ok()
    }

    pub(super) fn scheme_and_user(self) -> (&'static str, &'static str) {
        match self {
            Self::Postgres => ("postgres", "postgres"),
            Self::MariaDb | Self::MySql => ("mysql", "root"),
        }
    }

    pub(super) fn owner(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MariaDb | Self::MySql => "mysql",
        }
    }

    /// Ends the server in good order without waiting for its clients.
    pub(super) fn stop_signal(self) -> &'static str {
        match self {
            Self::Postgres => "INT",
            Self::MariaDb | Self::MySql => "TERM",
        }
    }

    /// Ends the server at once. PostgreSQL still gives its shared memory back.
    pub(super) fn quit_signal(self) -> &'static str {
        match self {
            Self::Postgres => "QUIT",
            Self::MariaDb | Self::MySql => "KILL",
        }
    }
}

/// The server's program.
pub(super) fn program(product: Product, options: &Options) -> Result<PathBuf, ServerError> {
    let candidates = match product {
        Product::Postgres => {
            let home = options.home.clone().or_else(|| from_env("CROSSFADE_POSTGRES"));
            home.map_or_else(debian_postgres, |home| vec![home.join("postgres")])
        }
        Product::MariaDb => {
            let path = env::var_os("PATH").unwrap_or_default();
            let directories = env::split_paths(&path).chain(["/usr/sbin".into()]);
            directories.map(|directory| directory.join("mariadbd")).collect()
        }
        Product::MySql => {
            let home = options.home.clone().or_else(|| from_env("CROSSFADE_MYSQL"));
            vec![home.unwrap_or_else(|| place::cache().join("mysql")).join("bin/mysqld")]
        }
    };
    candidates.into_iter().find(|path| path.exists()).ok_or(ServerError::Missing(product))
}

fn from_env(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Debian keeps its versions side by side; the newest first.
fn debian_postgres() -> Vec<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin/postgres")))
        })
        .collect();
    found.sort();
    found.into_iter().rev().map(|(_, path)| path).collect()
}

/// The command that fills an empty data directory.
pub(super) fn initialize(
    product: Product,
    options: &Options,
    data: &Path,
) -> Result<Command, ServerError> {
    let program = program(product, options)?;
    let mut command = match product {
        Product::Postgres => {
            let password = data.with_extension("password");
            fs::write(&password, PASSWORD).during("write the password file")?;
            let mut command = Command::new(program.with_file_name("initdb"));
            command.args(["-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8", "--no-sync"]);
            command.args(["--locale=C.UTF-8", "--pwfile"]).arg(password);
            command
        }
        Product::MariaDb => {
            let mut command = Command::new("mariadb-install-db");
            command.args(["--no-defaults", "--auth-root-authentication-method=normal"]);
            command.args(["--skip-test-db", "--skip-name-resolve", "--innodb-log-file-size=16M"]);
            command.arg("--innodb-flush-method=nosync");
            command
        }
        Product::MySql => {
            let mut command = mysqld(&program);
            command.args(["--initialize-insecure", "--disable-log-bin"]);
            command
        }
    };
    match product {
        Product::Postgres => command.arg("-D").arg(data),
        _ => command.arg(format!("--datadir={}", data.display())),
    };
    Ok(command)
}

/// The command that runs the server in the foreground.
pub(super) fn command(
    product: Product,
    options: &Options,
    directory: &Path,
    port: u16,
) -> Result<Command, ServerError> {
    let program = program(product, options)?;
    if product == Product::Postgres {
        return Ok(postgres(&program, options, directory, port));
    }
    let accounts = directory.join("accounts.sql");
    fs::write(&accounts, accounts_sql()).during("write the accounts file")?;
    place::give(&accounts, product)?;
    let mut command = match product {
        Product::MySql => mysqld(&program),
        _ => no_defaults(&program),
    };
    let option = |name: &str, path: &str| format!("--{name}={}", directory.join(path).display());
    command.arg(option("datadir", "data")).arg(option("socket", "socket"));
    command.arg(option("pid-file", "server.pid")).arg(option("init-file", "accounts.sql"));
    // Its own: one that starts removes temporary tables from a shared one, also those of others that run.
    command.arg(option("tmpdir", ""));
    command.arg(format!("--port={port}")).args(["--bind-address=127.0.0.1", "--server-id=1"]);
    command.args([
        "--skip-name-resolve",
        "--max-connections=500",
        "--innodb-buffer-pool-size=128M",
    ]);
    command.args(["--character-set-server=utf8mb4", "--collation-server=utf8mb4_bin"]);
    command.args(durability(product, options.durable));
    if product == Product::MySql {
        command.arg("--mysqlx=OFF");
    } else {
        command.arg("--innodb-log-file-size=16M");
    }
    if options.tls {
        command.arg(option("ssl-ca", certificate::CA)).arg(option("ssl-cert", certificate::CERT));
        command.arg(option("ssl-key", certificate::KEY));
    }
    command.args(options.settings.iter().map(|setting| format!("--{setting}")));
    Ok(command)
}

fn postgres(program: &Path, options: &Options, directory: &Path, port: u16) -> Command {
    let mut settings = vec![
        format!("port={port}"),
        "listen_addresses=127.0.0.1".to_owned(),
        format!("unix_socket_directories={}", directory.display()),
        "max_connections=200".to_owned(),
        "max_prepared_transactions=64".to_owned(),
        "shared_buffers=64MB".to_owned(),
        // In the data directory, so that a killed server leaves nothing elsewhere.
        "dynamic_shared_memory_type=mmap".to_owned(),
        "log_line_prefix=%m [%p] %q%u@%d ".to_owned(),
    ];
    if !options.durable {
        let off = ["fsync", "synchronous_commit", "full_page_writes"];
        settings.extend(off.map(|name| format!("{name}=off")));
    }
    if options.tls {
        let file = |name: &str| directory.join(name).display().to_string();
        settings.push("ssl=on".to_owned());
        settings.push(format!("ssl_cert_file={}", file(certificate::CERT)));
        settings.push(format!("ssl_key_file={}", file(certificate::KEY)));
    }
    settings.extend(options.settings.iter().cloned());
    let mut command = Command::new(program);
    command.arg("-D").arg(directory.join("data"));
    command.args(settings.iter().flat_map(|setting| ["-c", setting.as_str()]));
    command
}

/// The command that fills `data` with a standby's copy of the server at `port`.
pub(super) fn backup(
    product: Product,
    options: &Options,
    port: u16,
    data: &Path,
) -> Result<Command, ServerError> {
    let program = program(product, options)?;
    let mut command = Command::new(program.with_file_name("pg_basebackup"));
    let from = format!("host=127.0.0.1 port={port} user=postgres password={PASSWORD}");
    command.args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--dbname", &from]);
    command.arg("-D").arg(data);
    Ok(command)
}

fn no_defaults(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("--no-defaults");
    command
}

/// Unpacked beside the system, it has to be told where its messages and character sets are.
fn mysqld(program: &Path) -> Command {
    let mut command = no_defaults(program);
    if let Some(prefix) = program.parent().and_then(Path::parent) {
        command.arg(format!("--basedir={}", prefix.join("usr").display()));
    }
    command.args(["--secure-file-priv=", "--innodb-redo-log-capacity=64M"]);
    command
}

fn durability(product: Product, durable: bool) -> &'static [&'static str] {
    match (product, durable) {
        (_, true) => &["--innodb-flush-log-at-trx-commit=1", "--sync-binlog=1"],
        (Product::MySql, false) => &[
            "--innodb-flush-log-at-trx-commit=0",
            "--disable-log-bin",
            "--innodb-flush-method=nosync",
            "--innodb-doublewrite=OFF",
            "--performance-schema=OFF",
        ],
        (_, false) => &[
            "--innodb-flush-log-at-trx-commit=0",
            "--skip-log-bin",
            "--innodb-flush-method=nosync",
            "--innodb-doublewrite=0",
        ],
    }
}

/// Run at each start, one statement a line: the administrator over TCP, and a first database.
fn accounts_sql() -> String {
    format!(
        "CREATE USER IF NOT EXISTS root@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\n\
         ALTER USER root@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\n\
         ALTER USER root@localhost IDENTIFIED BY '{PASSWORD}';\n\
         GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;\n\
         CREATE DATABASE IF NOT EXISTS test;\n"
    )
}
