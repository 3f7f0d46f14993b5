//! Logging a client in without PostgreSQL: SCRAM against a verifier of our own.
//!
//! ```text
//! startup ──▶ checks ──▶ SCRAM ([`Users`]) ──▶ connection to MySQL ──▶ parameters, key, ReadyForQuery
//! ```
//!
//! Invariant: nobody is let in without a proof, and one deadline covers all of it. A user that is not there
//! fails like a wrong password.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rand::Rng as _;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, warn};

use crate::answer::backend::Backend;
use crate::answer::batch::Batch;
use crate::answer::block::Block;
use crate::answer::cancel::Guard;
use crate::answer::captured::Captured;
use crate::answer::error::PgError;
use crate::answer::place::clock;
use crate::answer::plan::Ground;
use crate::answer::session::Session;
use crate::answer::settings::Settings;
use crate::answer::statements::Statements;
use crate::answer::{AnswerConfig, Handover, Services};
use crate::backend::mysql::connect::LinkLimits;
use crate::backend::mysql::{Link, ToUrl, WriteError, verifiers};
use crate::backend::stream::Stream;
use crate::door::credential::{Credential, md5_answer};
use crate::door::fatal::Fatal;
use crate::door::packet::Startup;
use crate::door::peer::{Peer, PeerError};
use crate::door::sasl::{
    OK, SASL_CONTINUE, SASL_FINAL, authentication, read_initial_response, sasl,
};
use crate::door::scram::{self, Answer, Challenge, ScramVerifier};
use crate::door::startup::{Opening, open};
use crate::wire::write;

/// How long a client that was refused may take to read why.
const FAREWELL: Duration = Duration::from_secs(1);
/// Longest wait for what PostgreSQL, or what MySQL keeps of it, tells clients; defaults have to do then.
const REPORTED_WAIT: Duration = Duration::from_secs(2);

/// Verifiers by user: those of proxy.yaml, then those that MySQL keeps.
pub struct Users {
    given: BTreeMap<String, String>,
    url: ToUrl,
    /// Made when it is first needed; all logins share it.
    link: Mutex<Option<Link>>,
}

impl std::fmt::Debug for Users {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Users").field("given", &self.given.keys()).finish_non_exhaustive()
    }
}

/// How a user proves that it knows its password.
enum Proof {
    Scram(ScramVerifier),
    /// Hexadecimal digits of the hash of password and name.
    Md5(String),
}

impl Users {
    /// `given` holds what `rolpassword` does, by name.
    #[must_use]
    pub fn new(given: BTreeMap<String, String>, url: ToUrl) -> Self {
        Self { given, url, link: Mutex::default() }
    }

    async fn proof(&self, user: &str) -> Result<Proof, WriteError> {
        let text = match self.given.get(user) {
            Some(text) => Some(text.clone()),
            None => self.kept(user).await?,
        };
        let hash = text.as_deref().and_then(|text| text.strip_prefix("md5"));
        if let Some(hash) = hash.filter(|hash| hash.len() == 32) {
            return Ok(Proof::Md5(hash.to_owned()));
        }
        let scram = text.as_deref().and_then(ScramVerifier::parse);
        if scram.is_none() {
            // Whatever the password, it will not do; what the client calls itself is nobody's business.
            warn!("a login as a role that has no verifier here: listen.users can name it");
        }
        Ok(Proof::Scram(scram.unwrap_or_else(|| ScramVerifier::invented(user))))
    }

    /// Asks MySQL, once more where the connection turns out to be gone.
    async fn kept(&self, user: &str) -> Result<Option<String>, WriteError> {
        let mut link = self.link.lock().await;
        if let Some(open) = link.as_mut() {
            match verifiers::find(open.conn(), user).await {
                Err(error) if error.breaks_connection() => *link = None,
                found => return found,
            }
        }
        let open = link.insert(Link::connect(&self.url, &LinkLimits::default()).await?);
        verifiers::find(open.conn(), user).await
    }
}

/// Logs one client in; `None` where it did not come for that, or was refused.
pub(super) async fn enter(stream: Stream, services: &Services) -> Option<(Session, Guard)> {
    let config = Arc::clone(&services.config.borrow());
    let deadline = Instant::now() + config.login_timeout;
    let opening = timeout_at(deadline, open(stream, config.tls.as_ref())).await.ok()?.ok()?;
    match opening {
        Opening::Cancel(stream, key) => {
            services.cancels.cancel(&key, &config.url).await;
            drop(stream);
            None
        }
        Opening::Refused(stream, fatal) => {
            farewell(stream, &fatal.encode()).await;
            None
        }
        Opening::Login { stream, startup, end_point } => {
            let mut client = Peer::new(stream);
            let login = admit(&mut client, &startup, end_point.as_deref(), &config, services);
            let late = || Fatal::new("57014", "canceling authentication due to timeout").encode();
            let entered = timeout_at(deadline, login).await;
            match entered.unwrap_or_else(|_| Err(Some(late()))) {
                Ok((backend, settings, credential)) => {
                    debug!(user = startup.user, "client logged in, MySQL answers");
                    let who = (startup.user, startup.database);
                    let (mut session, guard) = session(client, who, services, backend, settings);
                    session.credential = credential;
                    Some((session, guard))
                }
                Err(Some(refusal)) => {
                    farewell(client.stream, &refusal).await;
                    None
                }
                Err(None) => None,
            }
        }
    }
}

/// Takes a client over that is logged in already.
pub(super) async fn take_over(handover: Handover, services: &Services) -> Option<(Session, Guard)> {
    let config = Arc::clone(&services.config.borrow());
    let Handover { client, key, user, database, settings: given, .. } = handover;
    let Handover { set, statements, credential, answered, part, .. } = handover;
    let connected =
        Backend::connect(&config.url, config.connect_timeout, services.shelf.clone()).await;
    let settings = settings(services, &user, &given.into_iter().collect());
    let settings = settings.and_then(|mut settings| settings.set_again(&set).map(|()| settings));
    let (backend, settings) = match (connected, settings) {
        (Ok(backend), Ok(settings)) => (backend, settings),
        (Err(error), _) => {
            warn!(%error, "MySQL could not be reached for a client");
            farewell(client.stream, &unreachable(&error)).await;
            return None;
        }
        (_, Err(error)) => {
            farewell(client.stream, &encoded(error)).await;
            return None;
        }
    };
    let (mut session, mut guard) = session(client, (user, database), services, backend, settings);
    if let Some(key) = key {
        guard = services.cancels.enter_as(key.clone(), session.backend.cancellable());
        session.key = key;
    }
    session.credential = credential;
    session.answered = answered;
    session.part = part;
    // The client was told all of this by whoever served it before.
    session.settings.news();
    for (name, sql, declared) in statements {
        session.adopt(&name, sql, declared);
    }
    Some((session, guard))
}

type Refusal = Option<BytesMut>;

async fn admit(
    client: &mut Peer,
    startup: &Startup,
    end_point: Option<&[u8]>,
    config: &AnswerConfig,
    services: &Services,
) -> Result<(Backend, Settings, Credential), Refusal> {
    let refuse = |fatal: Fatal| Some(fatal.encode());
    startup.check(&config.database).map_err(refuse)?;
    let credential = prove(client, startup, end_point, config).await?;
    // A sidecar that has just started learns it within a moment.
    let mut reported = services.reported.clone();
    drop(timeout(REPORTED_WAIT, reported.wait_for(|told| !told.is_empty())).await);
    let settings = settings(services, &startup.user, &startup.parameters);
    let settings = settings.map_err(|error| Some(encoded(error)))?;
    let connected =
        Backend::connect(&config.url, config.connect_timeout, services.shelf.clone()).await;
    let backend = connected.map_err(|error| {
        warn!(%error, "MySQL could not be reached for a client");
        Some(unreachable(&error))
    })?;
    Ok((backend, settings, credential))
}

fn settings(
    services: &Services,
    user: &str,
    given: &BTreeMap<String, String>,
) -> Result<Settings, PgError> {
    let situation = services.situation.borrow();
    let paths = &situation.catalog.search_paths;
    let path = paths.get(user).or_else(|| paths.get(""));
    // PostgreSQL's own default is kept as it is written, not as it was resolved.
    let own = |path: &&Vec<String>| path.iter().any(|name| name != "public" && name != user);
    let path = path.filter(own).map(|path| {
        let quote = |name: &String| match crate::answer::verbs::is_plain_name(name) {
            true => name.clone(),
            false => format!("\"{}\"", name.replace('"', "\"\"")),
        };
        path.iter().map(quote).collect::<Vec<_>>().join(", ")
    });
    let mut reported = BTreeMap::clone(&services.reported.borrow());
    reported
        .entry("server_version".to_owned())
        .or_insert_with(|| format!("{}.0", situation.server));
    drop(situation);
    Settings::new(&reported, user, path.as_deref(), given)
}

/// Asks for the proof that fits what is kept of the user, to AuthenticationOk.
async fn prove(
    client: &mut Peer,
    startup: &Startup,
    end_point: Option<&[u8]>,
    config: &AnswerConfig,
) -> Result<Credential, Refusal> {
    let proof = config.users.proof(&startup.user).await.map_err(|error| {
        warn!(%error, "no verifier could be looked up");
        Some(unreachable(&error))
    })?;
    let credential = match proof {
        Proof::Scram(verifier) => {
            let answer = scram(client, verifier, end_point, config).await?;
            answer.map(|answer| Credential::Keys(Box::new(answer)))
        }
        Proof::Md5(hash) => md5(client, &hash, config).await?.then_some(Credential::Md5),
    };
    let Some(credential) = credential else {
        let user = &startup.user;
        let text = format!("password authentication failed for user \"{user}\"");
        return Err(Some(Fatal::new("28P01", text).encode()));
    };
    say(client, &authentication(OK, &[])).await?;
    Ok(credential)
}

/// The keys of a client that knows the password; it then knows that we do, too.
async fn scram(
    client: &mut Peer,
    verifier: ScramVerifier,
    end_point: Option<&[u8]>,
    config: &AnswerConfig,
) -> Result<Option<Answer>, Refusal> {
    let refuse = |fatal: Fatal| Some(fatal.encode());
    let malformed = || refuse(Fatal::protocol("malformed SCRAM message"));
    let challenge = Challenge::of(&verifier);
    let plus = end_point.map(|_| scram::PLUS);
    say(client, &sasl(plus.into_iter().chain([scram::PLAIN]))).await?;
    let initial = hear(client, config).await?;
    let (mechanism, first) = read_initial_response(&initial).ok_or_else(malformed)?;
    let server = scram::Server::begin(&mechanism, &first, end_point, &challenge, verifier);
    let server = server.map_err(refuse)?;
    say(client, &authentication(SASL_CONTINUE, server.first().as_bytes())).await?;
    let answer = server.finish(&hear(client, config).await?).map_err(refuse)?;
    if answer.is_right() {
        say(client, &authentication(SASL_FINAL, answer.server_final.as_bytes())).await?;
    }
    Ok(answer.is_right().then_some(answer))
}

/// AuthenticationMD5Password: a hash of the kept hash and of four random bytes.
async fn md5(client: &mut Peer, hash: &str, config: &AnswerConfig) -> Result<bool, Refusal> {
    const MD5: u32 = 5;
    let salt: [u8; 4] = rand::rng().random();
    say(client, &authentication(MD5, &salt)).await?;
    let expected = format!("{}\0", md5_answer(hash, &salt));
    let given = hear(client, config).await?;
    let same = given.iter().zip(expected.as_bytes()).fold(0, |all, (a, b)| all | (a ^ b)) == 0;
    Ok(same && given.len() == expected.len())
}

async fn say(client: &mut Peer, bytes: &[u8]) -> Result<(), Refusal> {
    client.stream.write_all(bytes).await.map_err(|_| None)
}

/// A client has nothing to say before its login but passwords.
async fn hear(client: &mut Peer, config: &AnswerConfig) -> Result<Bytes, Refusal> {
    match client.frame(config.login_bytes_max).await {
        Ok(frame) if frame.tag == b'p' => Ok(frame.body()),
        Ok(frame) => {
            let text = format!("expected password response, got message type {}", frame.tag);
            Err(Some(Fatal::new("08P01", text).encode()))
        }
        Err(PeerError::Length) => {
            Err(Some(Fatal::protocol("invalid password packet size").encode()))
        }
        Err(PeerError::Closed | PeerError::Io(_)) => Err(None),
    }
}

fn session(
    client: Peer,
    (user, database): (String, String),
    services: &Services,
    backend: Backend,
    settings: Settings,
) -> (Session, Guard) {
    let situation = Arc::clone(&services.situation.borrow());
    let ground = Arc::new(Ground {
        catalog: Arc::clone(&situation.catalog),
        path: settings.obeyed().path.clone(),
        zone: settings.obeyed().style.zone,
        flavor: backend.flavor(),
    });
    let guard = services.cancels.enter(backend.cancellable());
    let session = Session {
        client,
        key: guard.key.clone(),
        out: BytesMut::new(),
        services: services.clone(),
        situation,
        ground,
        user,
        database,
        settings,
        block: Block::new(),
        statements: Statements::default(),
        backend,
        skipping: false,
        unsynced: false,
        batch: Batch::default(),
        answered: 0,
        denied: false,
        started: clock(),
        captured: Captured::default(),
        locks: Vec::new(),
        kept_locks: 0,
        guest: services.hold.enter(),
        credential: Credential::default(),
        part: None,
    };
    (session, guard)
}

/// What a client is told once it is in: parameters, its key, and that it may ask.
pub(super) fn welcome(session: &mut Session, guard: &Guard) {
    for (name, value) in session.settings.news() {
        session.status(name, &value);
    }
    write::message(&mut session.out, b'K', |out| {
        out.extend_from_slice(&guard.key.pid.to_be_bytes());
        out.extend_from_slice(&guard.key.secret);
    });
    write::ready(&mut session.out, b'I');
}

/// 57P03 is what clients and their pools know as "try again later".
fn unreachable(error: &WriteError) -> BytesMut {
    let detail = format!("MySQL: {error}.");
    Fatal::new("57P03", "the database server could not be reached").detail(detail).encode()
}

fn encoded(error: PgError) -> BytesMut {
    let mut out = BytesMut::new();
    error.fatal().encode(&mut out);
    out
}

/// Says why, then waits a moment for the client to read it: closing while bytes of the client are
/// unread would reset the connection, and the message with it.
async fn farewell(mut stream: Stream, refusal: &[u8]) {
    let said = async {
        stream.write_all(refusal).await?;
        stream.shutdown().await;
        let mut unread = BytesMut::new();
        while 0 < stream.fill(&mut unread).await? {
            unread.clear();
        }
        std::io::Result::Ok(())
    };
    drop(timeout(FAREWELL, said).await);
}
