//! The connection that is made from `to.url`.
//!
//! Invariant: a [`Link`] has the settings of [`super::session`], read back from the server.
//!
//! Not here: when to try again (`apply`).

use std::fmt;
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{ClientIdentity, Conn, DriverError, Error, OptsBuilder, SslOpts};

use super::error::WriteError;
use super::session;
use crate::backend::url::DatabaseUrl;
use crate::value::Flavor;

pub use crate::backend::url::{Host, RootSource};

/// `to.url`. Without `ssl-ca=` the web's authorities are believed.
pub type ToUrl = DatabaseUrl<SslMode>;

/// `ssl-mode=`, with the meaning of MySQL's clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslMode {
    Disabled,
    Preferred,
    Required,
    VerifyCa,
    VerifyIdentity,
}

/// How sessions on the secondary are bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkLimits {
    /// To reach the server, login included.
    pub connect_timeout: Duration,
    /// `innodb_lock_wait_timeout`, in whole seconds (at least one).
    pub lock_wait: Duration,
    /// `wait_timeout`: the server gives up on a session of ours that says nothing for this long, and
    /// frees its locks.
    pub idle: Duration,
    /// Prepared statements that the connection keeps by itself; the oldest is closed first. With none,
    /// whoever prepares one closes it.
    pub statements: usize,
}

impl Default for LinkLimits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            lock_wait: Duration::from_secs(3),
            idle: Duration::from_secs(60),
            statements: 256,
        }
    }
}

/// One connection to the secondary, with our session settings.
pub struct Link {
    conn: Conn,
    flavor: Flavor,
    /// `SELECT VERSION()`.
    version: String,
}

impl Link {
    /// Connects, logs in, sets the session up and reads the settings back.
    pub async fn connect(url: &ToUrl, limits: &LinkLimits) -> Result<Self, WriteError> {
        match tokio::time::timeout(limits.connect_timeout, Self::open(url, limits)).await {
            Ok(link) => link,
            Err(_) => Err(WriteError::TimedOut),
        }
    }

    async fn open(url: &ToUrl, limits: &LinkLimits) -> Result<Self, WriteError> {
        let conn = match Conn::new(
            url.options(url.ssl_mode != SslMode::Disabled, limits.statements),
        )
        .await
        {
            Err(Error::Driver(DriverError::NoClientSslFlagFromServer))
                if url.ssl_mode == SslMode::Preferred =>
            {
                Conn::new(url.options(false, limits.statements)).await
            }
            other => other,
        };
        let mut conn = conn.map_err(WriteError::connecting)?;
        let version: Option<String> = conn.query_first("SELECT VERSION()").await?;
        let version = version.unwrap_or_default();
        let flavor = if version.contains("MariaDB") { Flavor::MariaDb } else { Flavor::MySql };
        session::set_up(&mut conn, flavor, limits).await?;
        Ok(Self { conn, flavor, version })
    }

    /// For statements beside the writer's: DDL, reading, control tables.
    pub fn conn(&mut self) -> &mut Conn {
        &mut self.conn
    }

    #[must_use]
    pub fn flavor(&self) -> Flavor {
        self.flavor
    }

    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("version", &self.version).finish_non_exhaustive()
    }
}

impl ToUrl {
    fn options(&self, tls: bool, statements: usize) -> OptsBuilder {
        let builder = OptsBuilder::default()
            .user(Some(&self.user))
            .pass(self.password.reveal())
            .db_name(Some(&self.database))
            .tcp_port(self.port)
            .tcp_nodelay(true)
            .prefer_socket(false)
            .stmt_cache_size(statements)
            // An UPDATE that finds its row but changes nothing must count as found.
            .client_found_rows(true);
        match &self.host {
            Host::Name(name) => {
                builder.ip_or_hostname(name).ssl_opts(tls.then(|| self.ssl_options()))
            }
            // As in MySQL's own clients, a socket is never encrypted.
            Host::Path(path) => builder.socket(path.to_str()),
        }
    }

    fn ssl_options(&self) -> SslOpts {
        let mut options = SslOpts::default();
        if let Some(RootSource::File(ca)) = &self.ssl_root {
            options =
                options.with_root_certs(vec![ca.clone().into()]).with_disable_built_in_roots(true);
        }
        if let Some((certificate, key)) = &self.ssl_identity {
            let identity = ClientIdentity::new(certificate.clone().into(), key.clone().into());
            options = options.with_client_identity(Some(identity));
        }
        match self.ssl_mode {
            SslMode::VerifyIdentity => options,
            SslMode::VerifyCa => options.with_danger_skip_domain_validation(true),
            SslMode::Disabled | SslMode::Preferred | SslMode::Required => options
                .with_danger_skip_domain_validation(true)
                .with_danger_accept_invalid_certs(true),
        }
    }
}

/// `127.0.0.1:3306/auth`, for messages.
impl fmt::Display for ToUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.place(), self.database)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_printed() {
        let url = ToUrl {
            host: Host::Name("::1".into()),
            port: 3306,
            user: "crossfade".into(),
            password: "hunter2".into(),
            database: "auth".into(),
            ssl_mode: SslMode::Preferred,
            ssl_root: None,
            ssl_identity: None,
        };
        assert_eq!(url.to_string(), "[::1]:3306/auth");
        assert!(!format!("{url:?} {url}").contains("hunter2"));
    }
}
