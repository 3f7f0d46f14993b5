//! Between startup and ReadyForQuery: who answers whom.
//!
//! | TLS with client | TLS with server | SCRAM |
//! |---|---|---|
//! | no | no | passes untouched |
//! | yes | no | passes untouched |
//! | no | yes | passes; PLUS is not offered, since there is nothing to bind to |
//! | yes | yes | ends here (see `scram`), PLUS included, and begins anew upstream |
//!
//! Everything else (trust, password, MD5, GSSAPI, OAuth) passes untouched in all four.
//!
//! Invariant: the client sees AuthenticationOk only where PostgreSQL sent it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::Services;
use super::fatal::{Fatal, message};
use super::login::{Entered, LoginConfig, LoginError};
use super::packet::{CancelKey, Startup};
use super::peer::{Frame, Peer, PeerError};
use super::scram::{self, Binding, ScramVerifier};
use crate::backend::stream::Stream;
use crate::backend::tls;
use crate::backend::verifiers::Lookup;
use crate::door::credential::Ear;
use crate::door::sasl::{
    OK, SASL, SASL_CONTINUE, SASL_FINAL, authentication, read_initial_response, sasl,
};

/// Largest message of the server before ReadyForQuery; a notice of a login trigger may be long.
const SERVER_MESSAGE_BYTES_MAX: usize = 1 << 20;

/// One login under way.
pub(super) struct Login<'a> {
    client: &'a mut Peer,
    server: Peer,
    startup: &'a Startup,
    /// Hash of the certificate that the client saw.
    end_point: Option<Arc<[u8]>>,
    config: &'a LoginConfig,
    services: &'a Services,
    /// For the client, sent before anything is waited for.
    out: BytesMut,
    ear: Ear,
    entered: (BTreeMap<String, String>, Option<super::cancel::Guard>),
}

/// What the server waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Server,
    /// A `p` message of the client's.
    Client,
}

impl<'a> Login<'a> {
    pub(super) fn new(
        client: &'a mut Peer,
        server: Peer,
        startup: &'a Startup,
        end_point: Option<Arc<[u8]>>,
        config: &'a LoginConfig,
        services: &'a Services,
    ) -> Self {
        let entered = (BTreeMap::new(), None);
        let out = BytesMut::new();
        let ear = Ear::default();
        Self { client, server, startup, end_point, config, services, out, ear, entered }
    }

    /// Runs to ReadyForQuery.
    pub(super) async fn run(mut self) -> Result<Entered, LoginError> {
        self.write_server(&self.startup.raw.clone()).await?;
        let mut turn = Turn::Server;
        loop {
            let frame = self.read_server(turn).await?;
            let Some(frame) = frame else {
                turn = Turn::Server;
                continue;
            };
            match frame.tag {
                b'R' => {
                    turn = self.authentication(frame).await?;
                    continue;
                }
                b'E' => return Err(self.told(&frame).await),
                b'S' => self.note_parameter(&frame.body()),
                b'K' => self.note_key(&frame.body()),
                _ => {}
            }
            self.out.extend_from_slice(&frame.bytes);
            if frame.tag == b'Z' {
                self.flush().await?;
                let (parameter_status, cancel) = self.entered;
                let credential = self.ear.credential();
                return Ok(Entered { server: self.server, parameter_status, cancel, credential });
            }
        }
    }

    /// Routes one authentication message and says whose turn it is then.
    async fn authentication(&mut self, frame: Frame) -> Result<Turn, LoginError> {
        let mut body = frame.body();
        let code = body.try_get_u32().map_err(|_| garbled())?;
        self.ear.asked(code, &body);
        let both_tls = self.client.stream.is_tls() && self.server.stream.is_tls();
        match code {
            OK | SASL_FINAL => {
                self.out.extend_from_slice(&frame.bytes);
                Ok(Turn::Server)
            }
            SASL => {
                let offered = mechanisms(&body);
                let scram =
                    offered.iter().any(|name| [scram::PLAIN, scram::PLUS].contains(&&**name));
                if both_tls && scram {
                    self.end_scram(&offered).await?;
                    return Ok(Turn::Server);
                }
                self.offer(&offered);
                Ok(Turn::Client)
            }
            _ => {
                self.out.extend_from_slice(&frame.bytes);
                Ok(Turn::Client)
            }
        }
    }

    /// Passes the server's mechanisms on. A client without TLS takes PLUS for an attack.
    fn offer(&mut self, offered: &[String]) {
        let tls = self.client.stream.is_tls();
        let shown = offered.iter().map(String::as_str).filter(|name| tls || *name != scram::PLUS);
        self.out.extend_from_slice(&sasl(shown));
    }

    /// SCRAM with the client from the server's verifier, and with the server from the client's key.
    async fn end_scram(&mut self, offered: &[String]) -> Result<(), LoginError> {
        let verifier = self.verifier().await?;
        let binding = upstream_binding(&self.server.stream, offered);
        let upstream = scram::Client::new(binding);
        self.write_server(&initial_response(upstream.mechanism(), &upstream.first())).await?;
        let server_first = self.server_says(SASL_CONTINUE).await?;
        let challenge = upstream.challenge(&server_first).ok_or_else(garbled)?;

        let end_point = self.end_point.clone();
        let plus = end_point.as_ref().map(|_| scram::PLUS);
        self.out.extend_from_slice(&sasl(plus.into_iter().chain([scram::PLAIN])));
        let initial = self.client_says().await?;
        let (mechanism, first) = read_initial_response(&initial).ok_or_else(malformed)?;
        let server =
            scram::Server::begin(&mechanism, &first, end_point.as_deref(), &challenge, verifier)?;
        self.out.extend_from_slice(&authentication(SASL_CONTINUE, server.first().as_bytes()));
        let answer = server.finish(&self.client_says().await?)?;

        let (proof, signature) = upstream.prove(&challenge, &server_first, &answer);
        self.write_server(&message(b'p', |body| body.put_slice(proof.as_bytes()))).await?;
        let server_final = self.server_says(SASL_FINAL).await?;
        if server_final != signature.as_bytes() {
            return Err(Fatal::new("08006", "primary could not prove that it knows the password")
                .hint("If proxy.yaml has a verifier for this user, it may be out of date.")
                .into());
        }
        self.out.extend_from_slice(&authentication(SASL_FINAL, answer.server_final.as_bytes()));
        self.ear.ended(answer);
        Ok(())
    }

    /// A user that does not exist goes through the same steps, and fails at the end like a wrong
    /// password.
    async fn verifier(&self) -> Result<ScramVerifier, Fatal> {
        let user = &self.startup.user;
        match self.config.verifiers.lookup(user).await {
            Lookup::Found(text) => {
                Ok(ScramVerifier::parse(&text).unwrap_or_else(ScramVerifier::impossible))
            }
            Lookup::Absent => Ok(ScramVerifier::impossible()),
            Lookup::Unavailable(unavailable) => {
                tracing::warn!(
                    error = format!("{unavailable:#}"),
                    "no verifier for a login with TLS on both sides"
                );
                Err(Fatal::new("28000", format!("no SCRAM verifier for user \"{user}\""))
                    .detail(format!(
                        "With TLS both to the client and to PostgreSQL the proxy has to answer SCRAM itself, and {unavailable}."
                    ))
                    .hint("Let Crossfade's role read pg_authid, or name the user in proxy.yaml under listen.users."))
            }
        }
    }

    /// The server's next message; or `None` after one of the client's has been passed on.
    async fn read_server(&mut self, turn: Turn) -> Result<Option<Frame>, LoginError> {
        match self.server.buffered(SERVER_MESSAGE_BYTES_MAX) {
            Ok(Some(frame)) => return Ok(Some(frame)),
            Ok(None) => {}
            Err(error) => return Err(lost(&error).into()),
        }
        self.flush().await?;
        if turn == Turn::Server {
            let frame = self.server.frame(SERVER_MESSAGE_BYTES_MAX).await;
            return frame.map(Some).map_err(|error| lost(&error).into());
        }
        tokio::select! {
            frame = self.server.frame(SERVER_MESSAGE_BYTES_MAX) => {
                frame.map(Some).map_err(|error| lost(&error).into())
            }
            frame = self.client.frame(self.config.message_bytes_max) => {
                let frame = password(frame)?;
                self.ear.answered(&frame.body());
                self.write_server(&frame.bytes).await?;
                Ok(None)
            }
        }
    }

    /// The server's authentication message of the wanted kind, while the client waits.
    async fn server_says(&mut self, wanted: u32) -> Result<Bytes, LoginError> {
        loop {
            let Some(frame) = self.read_server(Turn::Server).await? else { continue };
            let mut body = frame.body();
            match frame.tag {
                b'R' if body.try_get_u32() == Ok(wanted) => return Ok(body),
                b'E' => return Err(self.told(&frame).await),
                b'N' => self.out.extend_from_slice(&frame.bytes),
                _ => return Err(garbled().into()),
            }
        }
    }

    /// The body of the client's next message, while the server waits.
    async fn client_says(&mut self) -> Result<Bytes, LoginError> {
        self.flush().await?;
        let frame = self.client.frame(self.config.message_bytes_max).await;
        Ok(password(frame)?.body())
    }

    async fn write_server(&mut self, bytes: &[u8]) -> Result<(), Fatal> {
        self.server.stream.write_all(bytes).await.map_err(|error| lost(&error.into()))
    }

    async fn flush(&mut self) -> Result<(), LoginError> {
        Ok(self.client.stream.write_all(&self.out.split()).await?)
    }

    /// Passes the server's last word on.
    async fn told(&mut self, frame: &Frame) -> LoginError {
        self.out.extend_from_slice(&frame.bytes);
        match self.flush().await {
            Ok(()) => {
                self.client.stream.shutdown().await;
                LoginError::Told
            }
            Err(error) => error,
        }
    }

    fn note_parameter(&mut self, body: &[u8]) {
        let mut words = body.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        if let (Some(name), Some(value)) = (words.next(), words.next()) {
            self.entered.0.insert(name.into_owned(), value.into_owned());
        }
    }

    /// Entered before the client can know the key.
    fn note_key(&mut self, body: &Bytes) {
        self.entered.1 = CancelKey::parse(body).map(|key| self.services.cancels.register(key));
    }
}

/// A client has nothing to say before its login but passwords.
fn password(frame: Result<Frame, PeerError>) -> Result<Frame, LoginError> {
    match frame {
        Ok(frame) if frame.tag == b'p' => Ok(frame),
        Ok(frame) => Err(Fatal::new(
            "08P01",
            format!("expected password response, got message type {}", frame.tag),
        )
        .into()),
        Err(PeerError::Io(error)) => Err(error.into()),
        Err(PeerError::Closed) => {
            Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into())
        }
        Err(PeerError::Length) => Err(Fatal::protocol("invalid password packet size").into()),
    }
}

fn lost(error: &PeerError) -> Fatal {
    Fatal::new("08006", "lost connection to primary during login").detail(format!("The {error}."))
}

fn garbled() -> Fatal {
    Fatal::protocol("primary sent an authentication message that was not expected")
}

fn malformed() -> Fatal {
    Fatal::protocol("malformed SCRAM message")
}

/// What an exchange with the server is bound to: its certificate, where it offers that.
pub(super) fn upstream_binding(server: &Stream, offered: &[String]) -> Binding {
    let hash = server.server_certificate().and_then(tls::end_point);
    match hash.filter(|_| offered.iter().any(|name| name == scram::PLUS)) {
        Some(hash) => Binding::EndPoint(hash),
        None => Binding::Unsupported,
    }
}

/// The names in AuthenticationSASL.
pub(super) fn mechanisms(body: &[u8]) -> Vec<String> {
    let names = body.split(|byte| *byte == 0).take_while(|name| !name.is_empty());
    names.map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

pub(super) fn initial_response(mechanism: &str, first: &str) -> BytesMut {
    message(b'p', |body| {
        body.put_slice(mechanism.as_bytes());
        body.put_u8(0);
        body.put_u32(u32::try_from(first.len()).unwrap_or(u32::MAX));
        body.put_slice(first.as_bytes());
    })
}
