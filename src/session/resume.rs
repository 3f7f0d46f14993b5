//! Going on with a client that somebody else has served: its login on PostgreSQL, without asking it again.
//!
//! ```text
//! [`Handover`] ──dial──▶ PostgreSQL ──startup with its settings, proof by its [`Credential`]──▶ ReadyForQuery
//!                                  └──what it has set since──▶ ReadyForQuery
//!                                  └──its prepared statements, by `State::adopt`──▶ [`Established`]
//! ```
//!
//! Invariant: the client notices nothing: what the server says during the login is not for it. Where it
//! cannot be logged in it is told why, and its connection ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::time::timeout;
use tracing::warn;

use super::auth::{initial_response, mechanisms, upstream_binding};
use super::fatal::{Fatal, message};
use super::login::{self, Established, LoginConfig};
use super::own::escaped;
use super::packet::CancelKey;
use super::peer::Peer;
use super::scram::{Client, ScramVerifier};
use super::{Services, serve};
use crate::answer::Handover;
use crate::backend::verifiers::Lookup;
use crate::door::credential::{Credential, md5_answer};
use crate::door::sasl::{OK, SASL, SASL_CONTINUE, SASL_FINAL};
use crate::wire::write;

/// Largest message of the server before ReadyForQuery.
const SERVER_MESSAGE_BYTES_MAX: usize = 1 << 20;
const MD5: u32 = 5;

/// Settings, names and values.
type Pairs = [(String, String)];

/// Serves a client that somebody else has served before.
pub async fn go_on(handover: Handover, services: Services) -> Option<Box<Handover>> {
    let config = Arc::clone(&services.login.borrow());
    let Handover { client, key, user, database, settings, .. } = handover;
    let Handover { set, statements, credential, answered, part, .. } = handover;
    let (client, client_buffer) = client.into_parts();
    let entered = match timeout(config.timeout, dial(&config)).await {
        Ok(Ok(server)) => {
            let login = Again { server, config: &config, user: &user, entered: Entered::default() };
            timeout(config.timeout, login.run(&database, (&settings, &set), credential)).await
        }
        Ok(Err(fatal)) => Ok(Err(fatal)),
        Err(late) => Err(late),
    };
    let (server, entered) = match entered.unwrap_or_else(|_| Err(refused("in time"))) {
        Ok(entered) => entered,
        Err(fatal) => {
            warn!(error = %fatal, "a client could not be logged in again");
            login::farewell(client, &fatal).await;
            return None;
        }
    };
    let (server, server_buffer) = server.into_parts();
    let cancel = entered.key.map(|server| {
        let shown = key.unwrap_or_else(|| server.clone());
        services.cancels.register_as(shown, server)
    });
    let established = Established {
        client,
        server,
        client_buffer,
        server_buffer,
        user,
        database,
        parameters: settings.into_iter().collect(),
        set,
        parameter_status: entered.parameters,
        cancel,
        credential: entered.credential,
        statements,
        answered,
        part: part.is_some(),
    };
    serve::serve(established, services.flow, services.shutdown).await
}

async fn dial(config: &LoginConfig) -> Result<Peer, Fatal> {
    Ok(Peer::new(login::dial(config).await?))
}

/// What a finished login leaves.
#[derive(Default)]
struct Entered {
    parameters: BTreeMap<String, String>,
    key: Option<CancelKey>,
    credential: Credential,
}

/// A login on the client's behalf.
struct Again<'a> {
    server: Peer,
    config: &'a LoginConfig,
    user: &'a str,
    entered: Entered,
}

impl Again<'_> {
    /// To ReadyForQuery.
    async fn run(
        mut self,
        database: &str,
        (settings, mut set): (&Pairs, &Pairs),
        credential: Credential,
    ) -> Result<(Peer, Entered), Fatal> {
        self.send(&startup(self.user, database, settings)).await?;
        let mut credential = Some(credential);
        loop {
            let (tag, mut body) = self.hear().await?;
            match tag {
                b'R' => match body.try_get_u32().map_err(|_| refused("as expected"))? {
                    OK | SASL_FINAL => {}
                    SASL => {
                        let credential = credential.take().unwrap_or_default();
                        self.scram(&mechanisms(&body), credential).await?;
                    }
                    MD5 => self.md5(&body).await?,
                    _ => return Err(refused("by a means that can be repeated")),
                },
                b'S' => {
                    let mut words = body.split(|byte| *byte == 0).map(String::from_utf8_lossy);
                    if let (Some(name), Some(value)) = (words.next(), words.next()) {
                        self.entered.parameters.insert(name.into_owned(), value.into_owned());
                    }
                }
                b'K' => self.entered.key = CancelKey::parse(&body),
                b'Z' if !set.is_empty() => {
                    let mut out = BytesMut::new();
                    write::query(&mut out, &set_again(set));
                    self.send(&out).await?;
                    set = &[];
                }
                b'Z' => {
                    if let Some(credential) = credential {
                        self.entered.credential = credential;
                    }
                    return Ok((self.server, self.entered));
                }
                _ => {}
            }
        }
    }

    async fn scram(&mut self, offered: &[String], credential: Credential) -> Result<(), Fatal> {
        let verifier = match credential {
            Credential::Heard(_) => self.kept().await,
            _ => None,
        };
        let verifier = verifier.as_deref().and_then(ScramVerifier::parse);
        let keys = credential.keys(verifier.as_ref());
        let keys = keys.ok_or_else(|| refused("with what it has shown of its password"))?;
        let garbled = || refused("as expected");
        let upstream = Client::new(upstream_binding(&self.server.stream, offered));
        self.send(&initial_response(upstream.mechanism(), &upstream.first())).await?;
        let first = self.sasl(SASL_CONTINUE).await?;
        let challenge = upstream.challenge(&first).ok_or_else(garbled)?;
        let (proof, signature) = upstream.prove(&challenge, &first, &keys);
        self.send(&message(b'p', |body| body.put_slice(proof.as_bytes()))).await?;
        if self.sasl(SASL_FINAL).await? != signature.as_bytes() {
            return Err(refused("by a server that knows its password"));
        }
        self.entered.credential = Credential::Keys(Box::new(keys));
        Ok(())
    }

    async fn md5(&mut self, salt: &[u8]) -> Result<(), Fatal> {
        let kept = self.kept().await;
        let hash = kept.as_deref().and_then(|kept| kept.strip_prefix("md5"));
        let hash = hash.ok_or_else(|| refused("with what is kept of its password"))?;
        let answer = md5_answer(hash, salt);
        self.entered.credential = Credential::Md5;
        self.send(&message(b'p', |body| {
            body.put_slice(answer.as_bytes());
            body.put_u8(0);
        }))
        .await
    }

    /// What PostgreSQL keeps of the user's password.
    async fn kept(&self) -> Option<String> {
        match self.config.verifiers.lookup(self.user).await {
            Lookup::Found(kept) => Some(kept),
            Lookup::Absent | Lookup::Unavailable(_) => None,
        }
    }

    async fn sasl(&mut self, wanted: u32) -> Result<Bytes, Fatal> {
        loop {
            let (tag, mut body) = self.hear().await?;
            if tag == b'R' {
                let fits = body.try_get_u32() == Ok(wanted);
                return fits.then_some(body).ok_or_else(|| refused("as expected"));
            }
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Fatal> {
        self.server.stream.write_all(bytes).await.map_err(|_| refused("at all: it was lost"))
    }

    /// The server's next message; an error of the server's ends the login.
    async fn hear(&mut self) -> Result<(u8, Bytes), Fatal> {
        let frame = self.server.frame(SERVER_MESSAGE_BYTES_MAX).await;
        let frame = frame.map_err(|_| refused("at all: it was lost"))?;
        match frame.tag {
            // Its own words may be about what the client never asked.
            b'E' => Err(refused(&format!("without the error {}", code(&frame.body())))),
            tag => Ok((tag, frame.body())),
        }
    }
}

fn startup(user: &str, database: &str, settings: &[(String, String)]) -> BytesMut {
    const VERSION: u32 = 3 << 16;
    let mut words = BytesMut::new();
    let own = [("user", user), ("database", database)];
    let settings = settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for word in own.into_iter().chain(settings).flat_map(|(name, value)| [name, value]) {
        words.put_slice(word.as_bytes());
        words.put_u8(0);
    }
    words.put_u8(0);
    let mut packet = BytesMut::new();
    packet.put_u32(u32::try_from(words.len() + 8).unwrap_or(u32::MAX));
    packet.put_u32(VERSION);
    packet.put_slice(&words);
    packet
}

/// The statement that sets what the session has set: RESET does not go back to it.
fn set_again(set: &[(String, String)]) -> String {
    let call = |(name, value): &(String, String)| {
        let (name, value) = (escaped(name), escaped(value));
        format!("pg_catalog.set_config(E'{name}', E'{value}', false)")
    };
    format!("SELECT {}", set.iter().map(call).collect::<Vec<_>>().join(", "))
}

/// SQLSTATE of an ErrorResponse.
fn code(body: &[u8]) -> String {
    let fields = body.split(|byte| *byte == 0);
    let mut codes = fields.filter_map(|field| field.strip_prefix(b"C"));
    codes.next().map_or_else(String::new, |code| String::from_utf8_lossy(code).into_owned())
}

fn refused(how: &str) -> Fatal {
    let message = "terminating connection: the primary has changed";
    Fatal::new("57P01", message).detail(format!("PostgreSQL did not let the user in {how}."))
}
