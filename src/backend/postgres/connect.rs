//! Connections of Crossfade's own to PostgreSQL, and one that is kept up.
//!
//! ```text
//! Connector ──connect()──▶ Client          one attempt, for commands and for work of its own
//! Link      ──get()──────▶ &mut Client     the same connection while it lives, a new one after
//! ```
//!
//! Every connection starts with the same settings: an empty `search_path`, `row_security = off`
//! (a policy then makes a statement fail instead of hiding rows), commits that are flushed, and no
//! timeout of the role's that would cut a drain short.
//!
//! Invariant: attempts are spaced by a pause that doubles from [`REACH_MIN`](crate::backend::pauses::REACH_MIN) to [`BACKOFF_MAX`],
//! so a server that comes back is not met by a storm.
//!
//! Not here: what is asked (`introspect`, `control`, `outbox`).

use std::fmt;
use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::backend::from_url::FromUrl;
use crate::backend::pauses::Pauses;
use crate::backend::tls::{TlsError, postgres_tls};

/// Longest pause between attempts.
pub const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Longest time for one attempt, login included.
pub const CONNECT_MAX: Duration = Duration::from_secs(10);

/// What each connection is set to. Roles and databases can have settings of their own, which would
/// otherwise decide how Crossfade's statements are read.
const SETTINGS: &str = "SET search_path = ''; SET row_security = off; SET synchronous_commit = on; \
     SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0; \
     SET default_transaction_isolation = 'read committed'; \
     SET default_transaction_read_only = off; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'; \
     SET TimeZone = 'UTC'; SET standard_conforming_strings = on; SET bytea_output = 'hex'; \
     SET extra_float_digits = 1; SET client_min_messages = warning";

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("could not reach PostgreSQL at {place}")]
    Unreachable { place: String, source: tokio_postgres::Error },
    #[error("PostgreSQL at {place} did not answer in time")]
    TimedOut { place: String },
    /// The server was reached, and said no.
    #[error("PostgreSQL at {place} refused the login")]
    Refused { place: String, source: tokio_postgres::Error },
}

/// Makes connections.
#[derive(Clone)]
pub struct Connector {
    url: FromUrl,
    tls: MakeRustlsConnect,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connector({})", self.url)
    }
}

impl Connector {
    /// Reads the certificates that the URL names.
    pub fn new(url: FromUrl) -> Result<Self, TlsError> {
        let tls = postgres_tls(&url)?;
        Ok(Self { url, tls })
    }

    #[must_use]
    pub fn url(&self) -> &FromUrl {
        &self.url
    }

    /// One attempt, ended after [`CONNECT_MAX`]. The connection ends when the client is dropped.
    pub async fn connect(&self) -> Result<Client, ConnectError> {
        match timeout(CONNECT_MAX, self.login()).await {
            Ok(Ok(client)) => Ok(client),
            Ok(Err(source)) if source.as_db_error().is_some() => {
                Err(ConnectError::Refused { place: self.url.to_string(), source })
            }
            Ok(Err(source)) => {
                Err(ConnectError::Unreachable { place: self.url.to_string(), source })
            }
            Err(_) => Err(ConnectError::TimedOut { place: self.url.to_string() }),
        }
    }

    async fn login(&self) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = self.url.config().connect(self.tls.clone()).await?;
        tokio::spawn(async move {
            // Whoever uses the client gets the error; here it would be reported twice.
            drop(connection.await);
        });
        client.batch_execute(SETTINGS).await?;
        Ok(client)
    }
}

/// One connection, opened when first wanted and again whenever it was lost.
#[derive(Debug)]
pub struct Link {
    connector: Connector,
    client: Option<Client>,
    /// How many connections there were; statements prepared on an earlier one are gone.
    generation: u64,
    pauses: Pauses,
}

impl Link {
    #[must_use]
    pub fn new(connector: Connector) -> Self {
        Self { connector, client: None, generation: 0, pauses: Pauses::up_to(BACKOFF_MAX) }
    }

    /// The open connection, or one attempt to open it.
    pub async fn get(&mut self) -> Result<&mut Client, ConnectError> {
        let open = self.client.take().filter(|client| !client.is_closed());
        let client = match open {
            Some(client) => client,
            None => {
                let client = self.connector.connect().await?;
                self.generation += 1;
                client
            }
        };
        Ok(self.client.insert(client))
    }

    /// As [`Self::get`], with the number of that very connection.
    pub async fn numbered(&mut self) -> Result<(u64, &Client), ConnectError> {
        self.get().await?;
        Ok((self.generation, self.client.as_ref().expect("`get` has just put it there")))
    }

    /// Says that all is well: the next pause is the shortest again. A connection alone does not say
    /// so, since what is done with it can fail as often as it is made.
    pub fn settled(&mut self) {
        self.pauses.reset();
    }

    /// Numbers the connection that [`Self::get`] gave last.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Gives the connection up, for instance because a transaction in it was left half done.
    pub fn discard(&mut self) {
        self.client = None;
    }

    /// Waits before the next attempt, each time longer.
    pub async fn back_off(&mut self) {
        self.pauses.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::from_url::{Host, SslMode};

    /// Nothing listens there.
    fn nowhere() -> Connector {
        let url = FromUrl {
            host: Host::Name("127.0.0.1".to_owned()),
            port: 1,
            user: "crossfade".to_owned(),
            password: "hunter2".into(),
            database: "auth".to_owned(),
            ssl_mode: SslMode::Disable,
            ssl_root: None,
            ssl_identity: None,
        };
        Connector::new(url).unwrap()
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_named() {
        let error = nowhere().connect().await.unwrap_err();
        assert_eq!(error.to_string(), "could not reach PostgreSQL at 127.0.0.1:1");
    }
}
