//! The login: from a startup packet to the first ReadyForQuery, and all that can go wrong on the way.
//!
//! ```text
//! client ──startup──▶ checks ──▶ dial ──startup──▶ PostgreSQL
//!    ▲                                                │
//!    └── authentication (auth), parameters, key ◀─────┘   until 'Z' ──▶ [`Established`]
//! ```
//!
//! Invariant: one deadline covers all of it, and every way to fail ends with a message to whoever
//! can still read one, from PostgreSQL itself where it has spoken.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, warn};

use super::auth::Login;
use super::cancel::Guard;
use super::fatal::Fatal;
use super::packet::Startup;
use super::peer::Peer;
use super::startup::{Opening, open};
use super::{Admission, Services};
use crate::backend::dial::{DialError, Dialer};
use crate::backend::stream::Stream;
use crate::backend::tls::ServerTls;
use crate::backend::verifiers::Verifiers;
use crate::door::credential::Credential;
use crate::names::Oid;

/// How long a client that was refused may take to read why.
const FAREWELL: Duration = Duration::from_secs(1);

/// What a login needs to know.
#[derive(Debug)]
pub struct LoginConfig {
    /// TLS for clients, if any.
    pub tls: Option<ServerTls>,
    pub dialer: Dialer,
    pub verifiers: Verifiers,
    /// From the accepted connection to ReadyForQuery.
    pub timeout: Duration,
    /// To reach the primary.
    pub connect_timeout: Duration,
    /// Largest message of a client that has not logged in.
    pub message_bytes_max: usize,
}

/// A session: both ends, and what is known about them.
#[derive(Debug)]
pub struct Established {
    pub client: Stream,
    pub server: Stream,
    /// What was read beyond the login.
    pub client_buffer: BytesMut,
    pub server_buffer: BytesMut,
    pub user: String,
    pub database: String,
    /// What the client asked for in its startup message.
    pub parameters: BTreeMap<String, String>,
    /// What it has set since, where another has served it before.
    pub set: Vec<(String, String)>,
    /// What the server reported last.
    pub parameter_status: BTreeMap<String, String>,
    /// The session's entry among those that can be cancelled; has the key.
    pub cancel: Option<Guard>,
    pub(crate) credential: Credential,
    /// What another has prepared for the client: name, text, declared types.
    pub(crate) statements: Vec<(String, Arc<str>, Vec<Oid>)>,
    /// So many of the first answers are not for the client, which has them already.
    pub(crate) answered: usize,
    /// Another session of the client's answers for the tables that MySQL leads.
    pub(crate) part: bool,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoginError {
    /// The client is still to be told.
    #[error("client was refused")]
    Refused(#[from] Fatal),
    /// The primary has said why, and the client has read it.
    #[error("primary refused the login")]
    Told,
    #[error("client connection failed")]
    Client(#[from] io::Error),
    #[error("login took too long")]
    Late,
}

/// Logs one client in. `None` where it did not come for that.
pub(super) async fn enter(
    stream: Stream,
    admission: Admission,
    services: &Services,
) -> Result<Option<Established>, LoginError> {
    let config = Arc::clone(&services.login.borrow());
    let deadline = Instant::now() + config.timeout;
    // A client that stalls here has not said what protocol it speaks: there is nothing to tell it.
    let opening = timeout_at(deadline, open(stream, config.tls.as_ref()));
    match opening.await.map_err(|_| LoginError::Late)?? {
        Opening::Login { stream, startup, end_point } => {
            let mut client = Peer::new(stream);
            let login = admit(&mut client, &startup, end_point, admission, &config, services);
            let mut shutdown = services.shutdown.clone();
            let entered = tokio::select! {
                entered = timeout_at(deadline, login) => entered.unwrap_or_else(|_| Err(late())),
                _ = shutdown.wait_for(|ends| *ends) => Err(shutting_down()),
            };
            match entered {
                Ok(server) => Ok(Some(establish(client, server, startup))),
                Err(LoginError::Refused(fatal)) => {
                    farewell(client.stream, &fatal).await;
                    Err(fatal.into())
                }
                Err(error) => Err(error),
            }
        }
        Opening::Cancel(stream, key) => {
            services.cancels.forward(&key, &config.dialer).await;
            drop(stream);
            Ok(None)
        }
        Opening::Refused(stream, fatal) => {
            farewell(stream, &fatal).await;
            Err(fatal.into())
        }
    }
}

/// What a finished login leaves.
pub(super) struct Entered {
    pub(super) server: Peer,
    pub(super) parameter_status: BTreeMap<String, String>,
    pub(super) cancel: Option<Guard>,
    pub(super) credential: Credential,
}

async fn admit(
    client: &mut Peer,
    startup: &Startup,
    end_point: Option<Arc<[u8]>>,
    admission: Admission,
    config: &LoginConfig,
    services: &Services,
) -> Result<Entered, LoginError> {
    startup.check(&config.dialer.url.database)?;
    if admission == Admission::Full {
        return Err(Fatal::new("53300", "sorry, too many clients already").into());
    }
    let server = dial(config).await?;
    let login = Login::new(client, Peer::new(server), startup, end_point, config, services);
    login.run().await
}

/// Reaches the primary. 57P03 is what clients and their pools know as "try again later".
pub(super) async fn dial(config: &LoginConfig) -> Result<Stream, Fatal> {
    let dialer = &config.dialer;
    let error = match timeout(config.connect_timeout, dialer.dial()).await {
        Ok(Ok(server)) => return Ok(server),
        Ok(Err(error)) => error,
        Err(_) => DialError::Unreachable {
            place: dialer.url.to_string(),
            source: io::ErrorKind::TimedOut.into(),
        },
    };
    warn!(error = format!("{error:#}"), "primary could not be reached");
    let fatal = Fatal::new("57P03", error.to_string());
    Err(match std::error::Error::source(&error) {
        Some(source) => fatal.detail(format!("{source}.")),
        None => fatal,
    })
}

fn establish(client: Peer, entered: Entered, startup: Startup) -> Established {
    let (client, client_buffer) = client.into_parts();
    let (server, server_buffer) = entered.server.into_parts();
    debug!(user = startup.user, database = startup.database, "client logged in");
    Established {
        client,
        server,
        client_buffer,
        server_buffer,
        user: startup.user,
        database: startup.database,
        parameters: startup.parameters,
        set: Vec::new(),
        parameter_status: entered.parameter_status,
        cancel: entered.cancel,
        credential: entered.credential,
        statements: Vec::new(),
        answered: 0,
        part: false,
    }
}

fn late() -> LoginError {
    Fatal::new("57014", "canceling authentication due to timeout").into()
}

fn shutting_down() -> LoginError {
    Fatal::new("57P03", "the proxy is shutting down").into()
}

/// Says why, then waits a moment for the client to read it: closing while bytes of the client are
/// unread would reset the connection, and the message with it.
pub(super) async fn farewell(mut stream: Stream, fatal: &Fatal) {
    let said = async {
        stream.write_all(&fatal.encode()).await?;
        stream.shutdown().await;
        let mut unread = BytesMut::new();
        while 0 < stream.fill(&mut unread).await? {
            unread.clear();
        }
        io::Result::Ok(())
    };
    drop(timeout(FAREWELL, said).await);
}
