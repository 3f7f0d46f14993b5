//! What PostgreSQL's side makes of its URL: the socket's name, and the connection of our own.
//!
//! Invariant: `sslmode` means what it means to libpq.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::config::SslMode as ClientSslMode;

use crate::backend::url::DatabaseUrl;

pub use crate::backend::url::{Host, RootSource};

/// How long one attempt of Crossfade's own connections to reach the server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// `from.url`.
pub type FromUrl = DatabaseUrl<SslMode>;

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
            Host::Path(directory) => {
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
            Host::Path(directory) => config.host_path(directory),
        };
        config
            .port(self.port)
            .user(&self.user)
            .dbname(&self.database)
            .application_name("crossfade")
            .connect_timeout(CONNECT_TIMEOUT)
            .ssl_mode(match (&self.host, self.ssl_mode) {
                // As in libpq, a unix socket is never encrypted.
                (Host::Path(_), _) | (_, SslMode::Disable) => ClientSslMode::Disable,
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

/// `127.0.0.1:5432`, or the socket's path: for messages.
impl fmt::Display for FromUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.socket() {
            Some(socket) => write!(f, "{}", socket.display()),
            None => f.write_str(&self.place()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_printed() {
        let url = FromUrl {
            host: Host::Path("/run/postgresql".into()),
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
