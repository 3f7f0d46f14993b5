//! Makes a connection to the primary, up to the point where the startup message may be sent.
//!
//! ```text
//! TCP or unix socket ──SSLRequest──▶ 'S' ──▶ TLS handshake ──▶ Stream
//!                                    'N' ──▶ in the clear, where sslmode allows it
//! ```
//!
//! Not here: the login itself (`session`), the time limit (the caller's).

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::{TlsConnector, TlsStream};

use crate::backend::from_url::{FromUrl, Host};
use crate::backend::stream::Stream;
use crate::backend::tls::{ClientTls, TlsError};

/// Length 8, code 80877103.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// Knows how to reach the primary. A reload makes a new one.
#[derive(Clone, Debug)]
pub struct Dialer {
    pub url: FromUrl,
    tls: Option<ClientTls>,
}

/// Why the primary could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("could not connect to primary at {place}")]
    Unreachable { place: String, source: io::Error },
    #[error("primary at {place} does not support TLS, but sslmode \"{mode}\" requires it")]
    TlsRefused { place: String, mode: &'static str },
    #[error("could not establish TLS with primary at {place}")]
    Handshake { place: String, source: io::Error },
    #[error("server at {place} does not speak PostgreSQL's protocol")]
    NotPostgres { place: String },
}

impl Dialer {
    /// Reads the certificates that the URL names.
    pub fn new(url: FromUrl) -> Result<Self, TlsError> {
        let tls = ClientTls::read(&url)?;
        Ok(Self { url, tls })
    }

    pub async fn dial(&self) -> Result<Stream, DialError> {
        let Some(tls) = &self.tls else { return self.plain().await };
        match self.encrypted(tls).await {
            // As in libpq, with `prefer` a handshake that fails is no reason not to connect.
            Err(DialError::Handshake { .. }) if tls.optional => self.plain().await,
            dialled => dialled,
        }
    }

    async fn plain(&self) -> Result<Stream, DialError> {
        let connected = match (self.url.socket(), &self.url.host) {
            (Some(socket), _) => UnixStream::connect(socket).await.map(Stream::Unix),
            (None, Host::Name(name)) => {
                TcpStream::connect((name.as_str(), self.url.port)).await.and_then(Stream::tcp)
            }
            (None, Host::Path(_)) => Err(io::ErrorKind::NotFound.into()),
        };
        connected.map_err(|source| self.unreachable(source))
    }

    async fn encrypted(&self, tls: &ClientTls) -> Result<Stream, DialError> {
        let place = || self.url.to_string();
        let Stream::Tcp(mut socket) = self.plain().await? else {
            return Err(DialError::NotPostgres { place: place() });
        };
        match ask_for_tls(&mut socket).await.map_err(|source| self.unreachable(source))? {
            b'S' => {}
            b'N' if tls.optional => return Ok(Stream::Tcp(socket)),
            b'N' => {
                let mode = self.url.ssl_mode.as_str();
                return Err(DialError::TlsRefused { place: place(), mode });
            }
            // An ErrorResponse here was written before anything was authenticated, by whoever
            // sits there: it is not shown to the client. With `prefer`, the plain login shows it.
            b'E' if tls.optional => return self.plain().await,
            _ => return Err(DialError::NotPostgres { place: place() }),
        }
        let connector = TlsConnector::from(Arc::clone(&tls.config));
        let stream = connector
            .connect(tls.name.clone(), socket)
            .await
            .map_err(|source| DialError::Handshake { place: place(), source })?;
        Ok(Stream::Tls(Box::new(TlsStream::Client(stream))))
    }

    fn unreachable(&self, source: io::Error) -> DialError {
        DialError::Unreachable { place: self.url.to_string(), source }
    }
}

/// Reads one byte and no more: what follows belongs to the handshake.
async fn ask_for_tls(socket: &mut TcpStream) -> io::Result<u8> {
    socket.write_all(&SSL_REQUEST).await?;
    socket.read_u8().await
}
