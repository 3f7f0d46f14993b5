//! A TCP relay that a test can make slow, silent, or break.
//!
//! ```text
//! who connects ──▶ Relay (its own port) ──▶ where it leads
//!                    ▲  weather: every byte passes through it
//!                    └─ orders:  some of the open connections are cut, or closed on one side
//! ```
//!
//! Our own, since the well-kept ones (toxiproxy) are services of another language that a test would
//! have to install, and the crates that do the same in process are no longer maintained.
//!
//! Invariant: bytes are delayed or the connection ends; no byte is changed, and none is left out of
//! a direction that goes on.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::Rng as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

/// A connection closed on one side ends this much later: a peer that never looks must not keep it.
const HALF_OPEN: Duration = Duration::from_secs(4);
/// Read at once; what is under way in a relay is at most this much for each direction.
const PIECE: usize = 16 << 10;

/// What every byte meets.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Weather {
    #[default]
    Fair,
    /// Each piece waits this long.
    Late(Duration),
    /// A few bytes at a time.
    Trickle(usize, Duration),
    /// Nothing passes and nothing is closed.
    Silent,
    /// Nobody new is let in.
    Shut,
}

/// What happens to open connections, each with this probability.
#[derive(Clone, Copy, Debug)]
enum Order {
    /// Both ends see an end, or a reset.
    Cut { share: f64, reset: bool },
    /// One end is told that the other has finished, while the other may go on.
    HalfClose { share: f64, forward: bool },
}

#[derive(Debug)]
pub struct Relay {
    pub port: u16,
    weather: watch::Sender<Weather>,
    orders: broadcast::Sender<Order>,
    broken: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl Relay {
    pub async fn start(to: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let weather = watch::Sender::new(Weather::Fair);
        let orders = broadcast::Sender::new(16);
        let broken = Arc::new(AtomicU64::new(0));
        let (sky, ears, count) = (weather.clone(), orders.clone(), Arc::clone(&broken));
        let accepting = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let connection = Connection {
                    weather: sky.subscribe(),
                    orders: ears.subscribe(),
                    broken: Arc::clone(&count),
                };
                if *sky.borrow() != Weather::Shut {
                    tokio::spawn(connection.carry(near, to));
                }
            }
        });
        Self { port, weather, orders, broken, accepting }
    }

    pub fn weather(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    pub fn cut(&self, share: f64, reset: bool) {
        // Nobody hears it where nothing is open.
        drop(self.orders.send(Order::Cut { share, reset }));
    }

    pub fn half_close(&self, share: f64, forward: bool) {
        drop(self.orders.send(Order::HalfClose { share, forward }));
    }

    /// Connections that an order has ended.
    pub fn broken(&self) -> u64 {
        self.broken.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut(1.0, false);
    }
}

struct Connection {
    weather: watch::Receiver<Weather>,
    orders: broadcast::Receiver<Order>,
    broken: Arc<AtomicU64>,
}

impl Connection {
    async fn carry(mut self, near: TcpStream, to: u16) {
        let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await else { return };
        if near.set_nodelay(true).and(far.set_nodelay(true)).is_err() {
            return;
        }
        let linger = socket2::SockRef::from(&near).try_clone();
        let far_linger = socket2::SockRef::from(&far).try_clone();
        let (near_read, near_write) = near.into_split();
        let (far_read, far_write) = far.into_split();
        let close_forward = watch::Sender::new(false);
        let close_back = watch::Sender::new(false);
        let pumps = async {
            let forward =
                pump(near_read, far_write, self.weather.clone(), close_forward.subscribe());
            let back = pump(far_read, near_write, self.weather.clone(), close_back.subscribe());
            tokio::join!(forward, back)
        };
        tokio::pin!(pumps);
        let mut half_open = None;
        loop {
            let order = tokio::select! {
                _ = &mut pumps => return,
                order = self.orders.recv() => order,
                () = after(half_open) => return,
            };
            match order {
                Ok(Order::Cut { share, reset }) if rand::rng().random_bool(share) => {
                    self.broken.fetch_add(1, Ordering::Relaxed);
                    let sockets = [linger, far_linger].into_iter().flatten();
                    for socket in sockets.filter(|_| reset) {
                        // A socket that is closed already needs no reset.
                        drop(socket.set_linger(Some(Duration::ZERO)));
                    }
                    return;
                }
                Ok(Order::HalfClose { share, forward }) if rand::rng().random_bool(share) => {
                    self.broken.fetch_add(1, Ordering::Relaxed);
                    let side = if forward { &close_forward } else { &close_back };
                    side.send_replace(true);
                    half_open.get_or_insert(tokio::time::Instant::now() + HALF_OPEN);
                }
                Err(broadcast::error::RecvError::Closed) => return,
                _ => {}
            }
        }
    }
}

async fn after(moment: Option<tokio::time::Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Carries one direction until its source ends, or it is told to close.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
    mut close: watch::Receiver<bool>,
) {
    let mut piece = vec![0; PIECE];
    loop {
        let read = tokio::select! {
            read = from.read(&mut piece) => read.unwrap_or(0),
            Ok(_) = close.wait_for(|close| *close) => break,
        };
        if read == 0 {
            break;
        }
        let closed = tokio::select! {
            done = forward(&mut to, &piece[..read], &mut weather) => done.is_err(),
            Ok(_) = close.wait_for(|close| *close) => true,
        };
        if closed {
            break;
        }
    }
    drop(to.shutdown().await);
    // What still comes is read, so that its sender notices nothing.
    while *close.borrow() && from.read(&mut piece).await.is_ok_and(|read| 0 < read) {}
}

async fn forward(
    to: &mut OwnedWriteHalf,
    mut bytes: &[u8],
    weather: &mut watch::Receiver<Weather>,
) -> io::Result<()> {
    while !bytes.is_empty() {
        let now = *weather.borrow_and_update();
        let part = match now {
            Weather::Fair | Weather::Shut => bytes.len(),
            Weather::Late(pause) => {
                tokio::time::sleep(pause).await;
                bytes.len()
            }
            Weather::Trickle(most, pause) => {
                tokio::time::sleep(pause).await;
                most.min(bytes.len())
            }
            Weather::Silent => {
                weather.changed().await.map_err(io::Error::other)?;
                continue;
            }
        };
        to.write_all(&bytes[..part]).await?;
        bytes = &bytes[part..];
    }
    Ok(())
}
