//! SCRAM verifiers of the primary's users, as `pg_authid` has them.
//!
//! ```text
//! login with TLS on both legs ──user──▶ [`Verifiers`] ──proxy.yaml, else pg_authid──▶ verifier
//! ```
//!
//! Invariant: nothing is remembered. A password that was changed on the server a moment ago is the
//! one that counts; all that is kept is one connection.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use tokio::sync::Mutex;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres_rustls::MakeRustlsConnect;
use tracing::debug;

use crate::backend::from_url::FromUrl;
use crate::backend::tls::{TlsError, postgres_tls};

/// Of a role `r` that is no superuser: there is a migrated table that it may use.
pub const MAY_USE: &str = "EXISTS (SELECT FROM crossfade.tables t \
     JOIN pg_catalog.pg_class c \
       ON c.oid = pg_catalog.to_regclass(pg_catalog.format('%I.%I', t.schema, t.name)) \
     WHERE pg_catalog.has_any_column_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE') \
       OR pg_catalog.has_table_privilege(r.oid, c.oid, 'DELETE, TRUNCATE'))";

/// Where to look verifiers up. A reload makes a new one.
pub struct Verifiers {
    users: BTreeMap<String, String>,
    config: tokio_postgres::Config,
    tls: MakeRustlsConnect,
    connection: Mutex<Option<Arc<Client>>>,
}

/// What was found for a user.
pub enum Lookup {
    /// `rolpassword`: a SCRAM verifier, or something older.
    Found(String),
    /// There is no such user, or it has no password.
    Absent,
    /// `pg_authid` cannot be read, and proxy.yaml does not name the user.
    Unavailable(Unavailable),
}

/// Why `pg_authid` could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    #[error("Crossfade's role may not read pg_authid")]
    Forbidden,
    #[error("Crossfade could not log in to the primary")]
    Unreachable(#[source] tokio_postgres::Error),
}

impl fmt::Debug for Verifiers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifiers").field("users", &self.users.keys()).finish_non_exhaustive()
    }
}

impl Verifiers {
    /// `users` are those of `listen.users`; they come before the server's own.
    pub fn new(url: &FromUrl, users: BTreeMap<String, String>) -> Result<Self, TlsError> {
        let connection = Mutex::default();
        Ok(Self { users, config: url.config(), tls: postgres_tls(url)?, connection })
    }

    /// Looks a user's verifier up.
    pub async fn lookup(&self, user: &str) -> Lookup {
        if let Some(verifier) = self.users.get(user) {
            return Lookup::Found(verifier.clone());
        }
        match self.ask(user).await {
            Ok(Some(verifier)) => Lookup::Found(verifier),
            Ok(None) => Lookup::Absent,
            Err(unavailable) => Lookup::Unavailable(unavailable),
        }
    }

    async fn ask(&self, user: &str) -> Result<Option<String>, Unavailable> {
        const SQL: &str = "SELECT rolpassword FROM pg_catalog.pg_authid WHERE rolname = $1";
        let client = self.client().await?;
        match client.query_opt(SQL, &[&user]).await {
            Ok(row) => Ok(row.and_then(|row| row.get(0))),
            Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                Err(Unavailable::Forbidden)
            }
            Err(error) => Err(Unavailable::Unreachable(error)),
        }
    }

    /// Those that let clients in once MySQL answers: proxy.yaml's, and those of the server where it lets us
    /// read them. Of the server's only roles that may use a migrated table: no superuser's, and not our own,
    /// since whoever reads MySQL could try passwords against them.
    pub async fn to_keep(&self) -> Result<Vec<(String, String)>, Unavailable> {
        let sql = format!(
            "SELECT r.rolname::text, r.rolpassword FROM pg_catalog.pg_authid r \
             WHERE r.rolcanlogin AND r.rolpassword IS NOT NULL AND NOT r.rolsuper \
               AND r.rolname <> session_user AND {MAY_USE}"
        );
        let rows = self.client().await?.query(&sql, &[]).await.map_err(|error| {
            match error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
                true => Unavailable::Forbidden,
                false => Unavailable::Unreachable(error),
            }
        })?;
        let mut all: BTreeMap<String, String> =
            rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        all.extend(self.users.clone());
        Ok(all.into_iter().collect())
    }

    /// The connection that is there, or a new one.
    async fn client(&self) -> Result<Arc<Client>, Unavailable> {
        let mut kept = self.connection.lock().await;
        if let Some(client) = kept.as_ref().filter(|client| !client.is_closed()) {
            return Ok(Arc::clone(client));
        }
        let connected = self.config.connect(self.tls.clone()).await;
        let (client, connection) = connected.map_err(Unavailable::Unreachable)?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(%error, "connection that reads verifiers ended");
            }
        });
        let client = Arc::new(client);
        *kept = Some(Arc::clone(&client));
        Ok(client)
    }
}
