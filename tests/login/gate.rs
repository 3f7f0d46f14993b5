//! A listener in front of a server that knows every login method, and clients for it.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossfade::backend::dial::Dialer;
use crossfade::backend::from_url::{FromUrl, Host, RootSource, SslMode};
use crossfade::backend::tls::{ServerTls, TlsFiles};
use crossfade::backend::verifiers::Verifiers;
use crossfade::demo::servers::{Options, PASSWORD, Product, Server, login};
use crossfade::handoff;
use crossfade::listener::{Address, Listener, ListenerMetrics};
use crossfade::phase::Situation;
use crossfade::served::SessionMetrics;
use crossfade::session::{
    CancelKey, CancelRegistry, Flow, FlowLimits, LoginConfig, Planners, Services,
};
use prometheus::Registry;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{OnceCell, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{PATIENCE, certificate};

/// Each role is asked for its password in its own way.
pub(super) const ROLES: [(&str, &str); 4] =
    [("trusted", ""), ("clear", "pencil"), ("old", "pencil"), ("scram", "pencil")];

const HBA: &str = "\
local all postgres scram-sha-256
local all all scram-sha-256
host all trusted all trust
host all clear all password
host all old all md5
host all all all scram-sha-256
";

const SCHEMA: &str = "\
CREATE ROLE trusted LOGIN;
SET password_encryption = 'md5';
CREATE ROLE old LOGIN PASSWORD 'pencil';
SET password_encryption = 'scram-sha-256';
CREATE ROLE clear LOGIN PASSWORD 'pencil';
CREATE ROLE scram LOGIN PASSWORD 'pencil';
CREATE ROLE changed LOGIN PASSWORD 'before';
CREATE ROLE plain_role LOGIN PASSWORD 'secret';
";

/// The one server of these tests.
pub(super) async fn server() -> &'static Server {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    SERVER
        .get_or_init(|| async {
            let hba = Some(HBA.to_owned());
            let settings = vec![
                "listen_addresses=127.0.0.1,127.0.0.2".to_owned(),
                "max_connections=300".to_owned(),
            ];
            let options = Options { tls: true, hba, settings, ..Options::default() };
            let started =
                tokio::task::spawn_blocking(move || Server::start(Product::Postgres, options));
            let server = started.await.unwrap().unwrap_or_else(|error| panic!("{error}"));
            connect(server.port()).await.batch_execute(SCHEMA).await.unwrap();
            server
        })
        .await
}

async fn connect(port: u16) -> tokio_postgres::Client {
    let url = format!("postgres://postgres:{PASSWORD}@127.0.0.1:{port}/postgres?sslmode=disable");
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A connection past the gate.
pub(super) async fn administrator() -> tokio_postgres::Client {
    connect(server().await.port()).await
}

pub(super) async fn verifier(role: &str) -> String {
    let sql = "SELECT rolpassword FROM pg_authid WHERE rolname = $1";
    administrator().await.query_one(sql, &[&role]).await.unwrap().get(0)
}

pub(super) async fn is_sleeping(pid: i32) -> bool {
    let sql = "SELECT coalesce(wait_event = 'PgSleep', false) FROM pg_stat_activity WHERE pid = $1";
    let row = administrator().await.query_opt(sql, &[&pid]).await.unwrap();
    row.is_some_and(|row| row.get(0))
}

/// What the gate offers its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leg {
    Plain,
    Tls,
    Required,
}

/// How a gate is to be.
pub(super) struct Plan {
    leg: Leg,
    unix: bool,
    url: FromUrl,
    users: BTreeMap<String, String>,
    sessions_max: usize,
    timeout: Duration,
    patience: Duration,
    directory: PathBuf,
}

impl Plan {
    pub(super) fn listen(self, leg: Leg) -> Self {
        Self { leg, ..self }
    }

    pub(super) fn unix(self) -> Self {
        Self { unix: true, ..self }
    }

    pub(super) fn upstream(mut self, mode: SslMode) -> Self {
        self.url.ssl_mode = mode;
        self
    }

    pub(super) fn root(mut self, root: RootSource) -> Self {
        self.url.ssl_root = Some(root);
        self
    }

    pub(super) fn host(mut self, host: Host) -> Self {
        self.url.host = host;
        self
    }

    pub(super) fn port(mut self, port: u16) -> Self {
        self.url.port = port;
        self
    }

    pub(super) fn own(mut self, user: &str, password: &str) -> Self {
        self.url.user = user.to_owned();
        self.url.password = password.into();
        self
    }

    pub(super) fn user(mut self, name: &str, verifier: &str) -> Self {
        self.users.insert(name.to_owned(), verifier.to_owned());
        self
    }

    pub(super) fn sessions_max(self, sessions_max: usize) -> Self {
        Self { sessions_max, ..self }
    }

    pub(super) fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// How long a shutdown waits for those inside.
    pub(super) fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The authority that signed the gate's own certificate.
    pub(super) fn ca(&self) -> PathBuf {
        self.directory.join(certificate::CA)
    }
}

/// A listener, and what is needed to reach it.
pub(super) struct Gate {
    leg: Leg,
    address: Address,
    directory: PathBuf,
    pub(super) services: Services,
    shutdown: watch::Sender<bool>,
    serving: Option<JoinHandle<usize>>,
    _login: watch::Sender<Arc<LoginConfig>>,
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.shutdown.send_replace(true);
        drop(std::fs::remove_dir_all(&self.directory));
    }
}

pub(super) fn metrics() -> ListenerMetrics {
    ListenerMetrics::register(&Registry::new()).unwrap()
}

impl Gate {
    pub(super) async fn start(plan: impl FnOnce(Plan) -> Plan) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("crossfade-gate-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        certificate::issue(&directory);
        let url = login("postgres", server().await.port(), "postgres", SslMode::Disable);
        let timeout = PATIENCE;
        let users = BTreeMap::new();
        let plan = plan(Plan {
            leg: Leg::Plain,
            unix: false,
            url,
            users,
            sessions_max: 50,
            timeout,
            patience: Duration::ZERO,
            directory,
        });
        Self::open(plan).await
    }

    async fn open(plan: Plan) -> Self {
        let Plan { leg, unix, url, users, sessions_max, timeout, patience, directory } = plan;
        let files = TlsFiles {
            cert: directory.join(certificate::CERT),
            key: directory.join(certificate::KEY),
            required: leg == Leg::Required,
        };
        let config = LoginConfig {
            tls: (leg != Leg::Plain).then(|| ServerTls::read(&files).unwrap()),
            verifiers: Verifiers::new(&url, users).unwrap(),
            dialer: Dialer::new(url).unwrap(),
            timeout,
            connect_timeout: PATIENCE,
            message_bytes_max: 64 << 10,
        };
        let (login, login_watch) = watch::channel(Arc::new(config));
        let (shutdown, shutdown_watch) = watch::channel(false);
        let services = Services {
            login: login_watch,
            flow: flow(),
            cancels: CancelRegistry::default(),
            shutdown: shutdown_watch,
        };
        let wanted = match unix {
            true => Address::Unix { directory: directory.clone(), port: 6432 },
            false => Address::Tcp { host: "127.0.0.1".to_owned(), port: 0 },
        };
        let listener = Listener::bind(wanted.clone(), sessions_max, metrics()).await.unwrap();
        let address = match (wanted, listener.port()) {
            (Address::Tcp { host, .. }, Some(port)) => Address::Tcp { host, port },
            (wanted, _) => wanted,
        };
        let serving = tokio::spawn(listener.serve(services.clone().into(), patience));
        Self { leg, address, directory, services, shutdown, serving: Some(serving), _login: login }
    }

    /// Asks everybody to leave.
    pub(super) fn shut_down(&self) {
        self.shutdown.send_replace(true);
    }

    /// How many were still inside when the shutdown's patience was over.
    pub(super) async fn closed(&mut self) -> usize {
        self.serving.take().unwrap().await.unwrap()
    }

    pub(super) fn address(&self) -> Address {
        self.address.clone()
    }

    pub(super) fn ca(&self) -> PathBuf {
        self.directory.join(certificate::CA)
    }

    pub(super) fn conninfo(&self, user: &str) -> String {
        let place = match &self.address {
            Address::Tcp { host, port } => format!("host={host} port={port}"),
            Address::Unix { directory, port } => {
                format!("host={} port={port}", directory.display())
            }
        };
        let mode = if self.leg == Leg::Plain { "disable" } else { "require" };
        format!("{place} user={user} dbname=postgres sslmode={mode}")
    }

    pub(super) async fn socket(&self) -> TcpStream {
        let Address::Tcp { host, port } = &self.address else { panic!("a TCP gate") };
        TcpStream::connect((host.as_str(), *port)).await.unwrap()
    }

    /// Whether anybody listens.
    pub(super) async fn accepts(&self) -> bool {
        let Address::Tcp { host, port } = &self.address else { panic!("a TCP gate") };
        TcpStream::connect((host.as_str(), *port)).await.is_ok()
    }

    /// A TLS client that does not send SSLRequest first.
    pub(super) async fn direct_tls(
        &self,
        protocol: Option<&str>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.ca()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocol.map(|name| name.as_bytes().to_vec()).into_iter().collect();
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream =
            TlsConnector::from(Arc::new(config)).connect(name, self.socket().await).await?;
        // In TLS 1.3 a server's refusal arrives with the first read.
        stream.flush().await?;
        Ok(stream)
    }

    /// Sends a cancel request and waits until it has been dealt with.
    pub(super) async fn cancel(&self, key: &[u8]) {
        let mut socket = self.socket().await;
        let mut packet = u32::try_from(key.len() + 8).unwrap().to_be_bytes().to_vec();
        packet.extend_from_slice(&80_877_102_u32.to_be_bytes());
        packet.extend_from_slice(key);
        socket.write_all(&packet).await.unwrap();
        assert_eq!(socket.read(&mut [0]).await.unwrap(), 0);
    }

    /// Waits for something that must come true.
    pub(super) async fn until<F: Future<Output = bool>>(&self, mut check: impl FnMut() -> F) {
        let deadline = Instant::now() + PATIENCE;
        while !check().await {
            assert!(Instant::now() < deadline, "it never came true");
            tokio::task::yield_now().await;
        }
    }
}

/// Statements pass as they are.
fn flow() -> Arc<Flow> {
    let (_, situation) =
        watch::channel(Arc::new(Situation { server: 15, ..Situation::transparent() }));
    Arc::new(Flow {
        planners: Planners::new(situation, 64, crate::support::inside::statements()),
        handoff: handoff::channel(1 << 20).0,
        lease: crate::support::inside::confirmed(),
        hold: crossfade::hold::Hold::default(),
        metrics: SessionMetrics::register(&Registry::new()).unwrap(),
        tally: crossfade::session::Tally::default(),
        limits: FlowLimits::default().into(),
    })
}

/// Runs one statement in psql; its output, or what it complains about.
pub(super) async fn psql(
    conninfo: impl AsRef<str>,
    password: &str,
    sql: &str,
) -> Result<String, String> {
    let output = tokio::process::Command::new("psql")
        .args(["--no-psqlrc", "--no-align", "--tuples-only", "--no-password"])
        .args(["-d", conninfo.as_ref(), "-c", sql])
        .env("PGPASSWORD", password)
        .env("LC_ALL", "C")
        .env("HOME", "/nonexistent")
        .output()
        .await
        .unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// A startup packet.
pub(super) fn startup(version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
    }
    body.push(0);
    [&u32::try_from(body.len() + 4).unwrap().to_be_bytes()[..], &body].concat()
}

/// A packet that is only a code.
pub(super) fn request(code: u32) -> Vec<u8> {
    [8_u32.to_be_bytes(), code.to_be_bytes()].concat()
}

pub(super) fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[tag][..], &length, body].concat()
}

/// The body of BackendKeyData.
pub(super) fn cancel_key(body: &[u8]) -> CancelKey {
    CancelKey {
        pid: i32::from_be_bytes(*body.first_chunk().unwrap()),
        secret: Bytes::copy_from_slice(&body[4..]),
    }
}

/// A client that sends what it is told.
pub(super) struct Raw {
    socket: TcpStream,
    /// Body of BackendKeyData.
    pub(super) key: Vec<u8>,
}

impl Raw {
    pub(super) async fn connect(gate: &Gate) -> Self {
        Self { socket: gate.socket().await, key: Vec::new() }
    }

    pub(super) async fn log_in(gate: &Gate, user: &str) -> Self {
        let mut raw = Self::connect(gate).await;
        raw.send(&startup(3 << 16, &[("user", user), ("database", "postgres")])).await;
        raw.key = raw.until(b'K').await;
        raw.until(b'Z').await;
        raw
    }

    pub(super) fn pid(&self) -> i32 {
        cancel_key(&self.key).pid
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.unwrap();
    }

    pub(super) async fn query(&mut self, sql: &str) {
        self.send(&frame(b'Q', format!("{sql}\0").as_bytes())).await;
    }

    pub(super) async fn byte(&mut self) -> u8 {
        self.socket.read_u8().await.unwrap()
    }

    pub(super) async fn message(&mut self) -> (u8, Vec<u8>) {
        let tag = self.byte().await;
        let length = self.socket.read_u32().await.unwrap();
        let mut body = vec![0; length as usize - 4];
        self.socket.read_exact(&mut body).await.unwrap();
        (tag, body)
    }

    /// The body of the next message of this kind; what comes before it is of no interest.
    pub(super) async fn until(&mut self, wanted: u8) -> Vec<u8> {
        loop {
            let (tag, body) = self.message().await;
            if tag == wanted {
                return body;
            }
            assert_ne!(tag, b'E', "{}", String::from_utf8_lossy(&body));
        }
    }

    /// The fields of the next error.
    pub(super) async fn error(&mut self) -> BTreeMap<String, String> {
        loop {
            let (tag, body) = self.message().await;
            if tag == b'E' {
                let fields = body.split(|byte| *byte == 0).filter(|field| !field.is_empty());
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                return fields.map(|field| (text(&field[..1]), text(&field[1..]))).collect();
            }
        }
    }

    /// Everything up to the end of the connection.
    pub(super) async fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.socket.read_to_end(&mut bytes).await.unwrap();
        bytes
    }

    /// Says that nothing more will come.
    pub(super) async fn finish(&mut self) {
        self.socket.shutdown().await.unwrap();
    }
}
