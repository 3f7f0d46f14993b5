//! A database's URL of proxy.yaml, taken apart: where the server is, and who Crossfade is there.
//!
//! Invariant: the password is never printed; `Debug` shows `***`.
//!
//! Not here: the text of the URL and its escapes (`config`); what a product makes of it
//! ([`super::from_url`], [`super::mysql::connect`]).

use std::fmt;
use std::path::PathBuf;

use crate::backend::password::Password;

/// A server's address and Crossfade's own login. `M` is the product's enum of how much TLS is wanted.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl<M> {
    pub host: Host,
    pub port: u16,
    pub user: String,
    pub password: Password,
    pub database: String,
    /// `sslmode=` or `ssl-mode=`.
    pub ssl_mode: M,
    /// `sslrootcert=` or `ssl-ca=`: whom to believe.
    pub ssl_root: Option<RootSource>,
    /// `sslcert=` and `sslkey=`, or `ssl-cert=` and `ssl-key=`: the certificate that Crossfade shows.
    pub ssl_identity: Option<(PathBuf, PathBuf)>,
}

/// Where the server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A name or an address, with TCP.
    Name(String),
    /// For PostgreSQL the directory that has the socket file, for MySQL the file itself.
    Path(PathBuf),
}

/// Whose certificates are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootSource {
    File(PathBuf),
    /// `sslrootcert=system`: the certificates that came with the operating system.
    System,
}

impl<M> DatabaseUrl<M> {
    /// `127.0.0.1:5432`, or the path: for messages.
    pub(super) fn place(&self) -> String {
        match &self.host {
            Host::Name(name) if name.contains(':') => format!("[{name}]:{}", self.port),
            Host::Name(name) => format!("{name}:{}", self.port),
            Host::Path(path) => path.display().to_string(),
        }
    }
}

impl<M: fmt::Debug> fmt::Debug for DatabaseUrl<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseUrl")
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
