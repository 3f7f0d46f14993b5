//! Accepts clients: TCP or a unix socket, so many at once, until told to stop.
//!
//! ```text
//! socket ──accept──▶ seat? ──yes──▶ session
//!                      └────no────▶ refusal (53300; a cancel request still passes)
//! shutdown ──▶ no more accepts ──▶ sessions end ──▶ [`Listener::serve`] returns
//! ```
//!
//! Invariant: the number of tasks is bounded: sessions by `limits.max_connections`, refusals by
//! [`REFUSALS_MAX`]; beyond both, a connection is closed unread.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use prometheus::{IntCounterVec, Opts, Registry};
use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixStream, lookup_host};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tracing::{Instrument, info, info_span, warn};

use crate::backend::stream::Stream;
use crate::route::{self, Services};
use crate::session::Admission;

/// Clients being told that there is no room, at once.
const REFUSALS_MAX: usize = 64;
/// Connections that the kernel keeps until they are accepted.
const BACKLOG: u32 = 1024;
/// Pause after an accept that failed for want of something, file descriptors most likely.
const PAUSE: Duration = Duration::from_millis(100);

/// Where clients come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp {
        host: String,
        port: u16,
    },
    /// The directory; the file in it is named after the port, as PostgreSQL's is.
    Unix {
        directory: PathBuf,
        port: u16,
    },
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix { directory, port } => {
                write!(f, "{}", socket_file(directory, *port).display())
            }
        }
    }
}

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("could not listen on {address}: another process already does")]
    InUse { address: Address },
    #[error("could not listen on {address}")]
    Io { address: Address, source: io::Error },
}

#[derive(Clone, Debug)]
pub struct ListenerMetrics {
    refused: IntCounterVec,
}

impl ListenerMetrics {
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let refused = IntCounterVec::new(
            Opts::new("client_connections_refused_total", "Clients there was no room for."),
            &["how"],
        )?;
        for how in ["told", "closed"] {
            refused.with_label_values(&[how]);
        }
        registry.register(Box::new(refused.clone()))?;
        Ok(Self { refused })
    }
}

/// A socket that clients can connect to.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    address: Address,
    seats: Arc<Seats>,
    metrics: ListenerMetrics,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix { listener: UnixListener, _file: SocketFile },
}

/// A socket's name in the file system; it goes with the listener.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

/// Counts those inside, so that no more come in than there is room for and the last out is noticed.
#[derive(Debug)]
pub struct Seats {
    sessions_max: AtomicUsize,
    sessions: AtomicUsize,
    refusals: AtomicUsize,
    left: Notify,
}

impl Seats {
    /// Takes a changed `limits.max_connections`; whoever is inside stays.
    pub fn set_max(&self, sessions_max: usize) {
        self.sessions_max.store(sessions_max, Ordering::Release);
    }

    fn take(self: &Arc<Self>) -> Option<Seat> {
        let sessions_max = self.sessions_max.load(Ordering::Acquire);
        let (admission, counter, max) = match taken(&self.sessions, sessions_max) {
            true => return Some(Seat { seats: Arc::clone(self), admission: Admission::Admitted }),
            false => (Admission::Full, &self.refusals, REFUSALS_MAX),
        };
        taken(counter, max).then(|| Seat { seats: Arc::clone(self), admission })
    }

    fn counter(&self, admission: Admission) -> &AtomicUsize {
        match admission {
            Admission::Admitted => &self.sessions,
            Admission::Full => &self.refusals,
        }
    }

    /// Waits until nobody is inside.
    async fn empty(&self) {
        loop {
            let left = self.left.notified();
            let inside = |counter: &AtomicUsize| counter.load(Ordering::Acquire);
            if inside(&self.sessions) + inside(&self.refusals) == 0 {
                return;
            }
            left.await;
        }
    }
}

fn taken(counter: &AtomicUsize, max: usize) -> bool {
    let more = |inside| (inside < max).then_some(inside + 1);
    counter.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
}

/// A place inside; given back when it is dropped, a panic included.
struct Seat {
    seats: Arc<Seats>,
    admission: Admission,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.counter(self.admission).fetch_sub(1, Ordering::AcqRel);
        self.seats.left.notify_waiters();
    }
}

impl Listener {
    /// Listens; clients that connect wait until [`Self::serve`].
    pub async fn bind(
        address: Address,
        sessions_max: usize,
        metrics: ListenerMetrics,
    ) -> Result<Self, ListenError> {
        let bound = match &address {
            Address::Tcp { host, port } => tcp(host, *port).await.map(Socket::Tcp),
            Address::Unix { directory, port } => unix(directory, *port).await,
        };
        let socket = bound.map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => ListenError::InUse { address: address.clone() },
            _ => ListenError::Io { address: address.clone(), source },
        })?;
        let seats = Arc::new(Seats {
            sessions_max: AtomicUsize::new(sessions_max),
            sessions: AtomicUsize::new(0),
            refusals: AtomicUsize::new(0),
            left: Notify::new(),
        });
        Ok(Self { socket, address, seats, metrics })
    }

    /// The port that the kernel chose, where 0 was asked for.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match &self.socket {
            Socket::Tcp(listener) => listener.local_addr().ok().map(|address| address.port()),
            Socket::Unix { .. } => None,
        }
    }

    /// For a reload of `limits.max_connections`.
    #[must_use]
    pub fn seats(&self) -> Arc<Seats> {
        Arc::clone(&self.seats)
    }

    /// Serves clients until `services.shutdown`, then waits for those inside, at most `patience`.
    /// Says how many were still there.
    pub async fn serve(self, services: Services, patience: Duration) -> usize {
        info!(address = %self.address, "listening");
        let mut shutdown = services.session.shutdown.clone();
        tokio::select! {
            () = self.accept(&services) => {}
            _ = shutdown.wait_for(|ends| *ends) => {}
        }
        // Whoever connects from here on is refused by the kernel.
        drop(self.socket);
        drop(timeout(patience, self.seats.empty()).await);
        self.seats.sessions.load(Ordering::Acquire)
    }

    async fn accept(&self, services: &Services) {
        loop {
            match self.socket.accept().await {
                Ok((stream, client)) => self.admit(stream, client, services),
                Err(error) if is_about_one_client(&error) => {}
                Err(error) => {
                    warn!(%error, pause = ?PAUSE, "could not accept a client, will retry");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    fn admit(&self, stream: Stream, client: String, services: &Services) {
        let Some(seat) = self.seats.take() else {
            self.metrics.refused.with_label_values(&["closed"]).inc();
            return;
        };
        let admission = seat.admission;
        if admission == Admission::Full {
            self.metrics.refused.with_label_values(&["told"]).inc();
        }
        let session = route::serve(stream, admission, services.clone());
        let span = info_span!("session", %client);
        tokio::spawn(
            async move {
                let _inside = seat;
                session.await;
            }
            .instrument(span),
        );
    }
}

impl Socket {
    async fn accept(&self) -> io::Result<(Stream, String)> {
        match self {
            Self::Tcp(listener) => {
                let (socket, client) = listener.accept().await?;
                Ok((Stream::tcp(socket)?, client.to_string()))
            }
            Self::Unix { listener, .. } => {
                let (socket, _) = listener.accept().await?;
                Ok((Stream::Unix(socket), "local".to_owned()))
            }
        }
    }
}

/// The client left before it was accepted; the next one has nothing to do with that.
fn is_about_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, InvalidInput, NotConnected};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | NotConnected | InvalidInput)
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpListener> {
    let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in lookup_host((host, port)).await? {
        let socket = match address.is_ipv4() {
            true => TcpSocket::new_v4()?,
            false => TcpSocket::new_v6()?,
        };
        // Connections of a predecessor that linger do not count as a listener.
        socket.set_reuseaddr(true)?;
        match socket.bind(address).and_then(|()| socket.listen(BACKLOG)) {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Listens on the file that libpq looks for. One that nobody listens on was left by a crash.
async fn unix(directory: &Path, port: u16) -> io::Result<Socket> {
    let path = socket_file(directory, port);
    if fs::symlink_metadata(&path).is_ok_and(|file| file.file_type().is_socket()) {
        match UnixStream::connect(&path).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(&path)?;
            }
            _ => return Err(io::ErrorKind::AddrInUse.into()),
        }
    }
    let listener = UnixListener::bind(&path)?;
    let file = SocketFile(path);
    // As PostgreSQL does: who may connect is a matter of the login, or of the directory.
    fs::set_permissions(&file.0, fs::Permissions::from_mode(0o777))?;
    Ok(Socket::Unix { listener, _file: file })
}

fn socket_file(directory: &Path, port: u16) -> PathBuf {
    directory.join(format!(".s.PGSQL.{port}"))
}
