//! `from.url` of proxy.yaml, taken apart: where PostgreSQL is, and who Crossfade is there.
//!
//! Invariant: the password is never printed; `Debug` shows `***`.
//!
//! Not here: the text of the URL and its escapes (`config`).

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::config::SslMode as ClientSslMode;

use crate::backend::password::Password;

/// How long one attempt of Crossfade's own connections to reach the server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The primary's address and Crossfade's own login.
#[derive(Clone, PartialEq, Eq)]
pub struct FromUrl {
    pub host: Host,
    pub port: u16,
    pub user: String,
    pub password: Password,
    pub database: String,
    pub ssl_mode: SslMode,
    /// `sslrootcert=`: whom to believe.
    pub ssl_root: Option<RootSource>,
    /// `sslcert=` and `sslkey=`: the certificate that Crossfade shows.
    pub ssl_identity: Option<(PathBuf, PathBuf)>,
}

/// Where the server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A name or an address, with TCP.
    Name(String),
    /// The directory that has the socket file.
    Directory(PathBuf),
}

/// `sslmode=`, with libpq's meaning. (`allow` has none that a proxy could keep: the client's own
/// login decides whether it worked.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslMode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// `sslrootcert=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootSource {
    File(PathBuf),
    /// `sslrootcert=system`: the certificates that came with the operating system.
    System,
}

impl SslMode {
    pub const ALL: [Self; 5] =
        [Self::Disable, Self::Prefer, Self::Require, Self::VerifyCa, Self::VerifyFull];

    /// As it is written in the URL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

impl FromUrl {
    /// The socket file, where the server is reached by one.
    #[must_use]
    pub fn socket(&self) -> Option<PathBuf> {
        match &self.host {
            Host::Name(_) => None,
            Host::Directory(directory) => {
                Some(directory.join(format!(".s.PGSQL.{port}", port = self.port)))
            }
        }
    }

    /// The same for Crossfade's own statements; goes with [`crate::backend::tls::postgres_tls`].
    #[must_use]
    pub fn config(&self) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        match &self.host {
            Host::Name(name) => config.host(name),
            Host::Directory(directory) => config.host_path(directory),
        };
        config
            .port(self.port)
            .user(&self.user)
            .dbname(&self.database)
            .application_name("crossfade")
            .connect_timeout(CONNECT_TIMEOUT)
            .ssl_mode(match (&self.host, self.ssl_mode) {
                // As in libpq, a unix socket is never encrypted.
                (Host::Directory(_), _) | (_, SslMode::Disable) => ClientSslMode::Disable,
                (_, SslMode::Prefer) => ClientSslMode::Prefer,
                (_, SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull) => {
                    ClientSslMode::Require
                }
            });
        if let Some(password) = self.password.reveal() {
            config.password(password);
        }
        config
    }
}

impl fmt::Debug for FromUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromUrl")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("user", &self.user)
            .field("password", &self.password)
            .field("database", &self.database)
            .field("ssl_mode", &self.ssl_mode)
            .field("ssl_root", &self.ssl_root)
            .field("ssl_identity", &self.ssl_identity)
            .finish()
    }
}

/// `127.0.0.1:5432`, or the socket's path: for messages.
impl fmt::Display for FromUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.host, self.socket()) {
            (_, Some(socket)) => write!(f, "{}", socket.display()),
            (Host::Name(name), None) if name.contains(':') => write!(f, "[{name}]:{}", self.port),
            (Host::Name(name), None) => write!(f, "{name}:{}", self.port),
            (Host::Directory(directory), None) => write!(f, "{}", directory.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_printed() {
        let url = FromUrl {
            host: Host::Directory("/run/postgresql".into()),
            port: 5433,
            user: "crossfade".to_owned(),
            password: "hunter2".into(),
            database: "auth".to_owned(),
            ssl_mode: SslMode::VerifyFull,
            ssl_root: None,
            ssl_identity: None,
        };
        assert!(!format!("{url:?} {url}").contains("hunter2"));
        assert_eq!(url.to_string(), "/run/postgresql/.s.PGSQL.5433");
        assert_eq!(url.config().get_ssl_mode(), ClientSslMode::Disable);
    }
}
