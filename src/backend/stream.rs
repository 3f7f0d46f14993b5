//! One byte stream, whatever carries it: TCP, a unix socket, or TLS over TCP.
//!
//! ```text
//! client ⇄ Stream ⇄ session ⇄ Stream ⇄ PostgreSQL
//! ```
//!
//! Everything is a poll function, so that one task can drive both directions of a session without
//! splitting a stream, without a lock and without an allocation.
//!
//! Invariant: a stream that waits for bytes holds no buffer for them. [`Stream::poll_fill`] reserves
//! memory only once there is something to read, and gives an empty buffer back when there is not;
//! this is what makes an idle connection cheap.
//!
//! Not here: TLS configuration (`backend::tls`), frames (`wire`).

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use rustls::pki_types::CertificateDer;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, DuplexStream};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsStream;

/// Bytes asked for at a time where the caller has no better number.
pub const CHUNK: usize = 8 * 1024;

/// Silence on a TCP connection before the kernel asks whether the other end is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// Pause between such questions; the connection breaks after [`KEEPALIVE_PROBES`] without answer.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 6;

/// A connection to a client or to a server.
#[derive(Debug)]
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Boxed: a TLS connection is a kilobyte, and most connections have none.
    Tls(Box<TlsStream<TcpStream>>),
    /// Within the process: the other end of it is served in the same task.
    Inner(Box<DuplexStream>),
}

impl Stream {
    /// Takes a TCP connection, accepted or made: small messages leave at once, a dead peer is noticed.
    pub fn tcp(socket: TcpStream) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE_IDLE)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_PROBES);
        SockRef::from(&socket).set_tcp_keepalive(&keepalive)?;
        Ok(Self::Tcp(socket))
    }

    /// Appends what there is to read, at most about `chunk` bytes, to `buffer`. `Ok(0)` is the end.
    ///
    /// While it waits, an empty `buffer` holds no memory.
    pub fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
        chunk: usize,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(socket) => match socket.poll_read_ready(cx)? {
                Poll::Ready(()) => poll_read(socket, cx, buffer, chunk),
                Poll::Pending => wait(buffer),
            },
            Self::Unix(socket) => match socket.poll_read_ready(cx)? {
                Poll::Ready(()) => poll_read(socket, cx, buffer, chunk),
                Poll::Pending => wait(buffer),
            },
            // Only decrypting tells whether there is anything to read.
            Self::Tls(stream) => poll_read(&mut **stream, cx, buffer, chunk),
            Self::Inner(stream) => poll_read(&mut **stream, cx, buffer, chunk),
        }
    }

    /// Writes as much of `bytes` as goes at once; waits only if nothing does.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Unix(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, bytes),
            Self::Inner(stream) => Pin::new(&mut **stream).poll_write(cx, bytes),
        }
    }

    /// Sends what TLS has encrypted and not yet sent; nothing to do for the others.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(_) | Self::Unix(_) | Self::Inner(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    /// Says that no more bytes follow.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
            Self::Inner(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }

    /// As [`Self::poll_fill`], for code that does one thing at a time. Cancelling it loses nothing.
    pub async fn fill(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        poll_fn(|cx| self.poll_fill(cx, buffer, CHUNK)).await
    }

    /// Writes all of `bytes` and flushes.
    pub async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = poll_fn(|cx| self.poll_write(cx, bytes)).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = &bytes[written..];
        }
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Reads exactly as many bytes as `bytes` holds, and none beyond.
    pub async fn read_exact(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.read_exact(bytes).await,
            Self::Unix(socket) => socket.read_exact(bytes).await,
            Self::Tls(stream) => stream.read_exact(bytes).await,
            Self::Inner(stream) => stream.read_exact(bytes).await,
        }
        .map(drop)
    }

    /// Says goodbye; errors are of no interest, since the connection is over either way.
    pub async fn shutdown(&mut self) {
        drop(poll_fn(|cx| self.poll_shutdown(cx)).await);
    }

    /// The certificate of a server that we connected to with TLS.
    #[must_use]
    pub fn server_certificate(&self) -> Option<&CertificateDer<'static>> {
        match self {
            Self::Tls(stream) => stream.get_ref().1.peer_certificates()?.first(),
            Self::Tcp(_) | Self::Unix(_) | Self::Inner(_) => None,
        }
    }

    /// Whether the bytes are encrypted on their way.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

/// Reads once. Tokio's own `poll_read` notes a short read as "nothing more for now", which saves
/// the read that would only have answered `WouldBlock`; `try_read_buf` does not.
fn poll_read<S: AsyncRead + Unpin>(
    socket: &mut S,
    cx: &mut Context<'_>,
    buffer: &mut BytesMut,
    chunk: usize,
) -> Poll<io::Result<usize>> {
    if buffer.capacity() - buffer.len() < chunk {
        buffer.reserve(chunk);
    }
    let read = pin!(socket.read_buf(buffer)).poll(cx);
    match read {
        Poll::Ready(read) => Poll::Ready(read),
        Poll::Pending => wait(buffer),
    }
}

/// Gives the memory of an empty buffer back for the time of waiting.
fn wait<T>(buffer: &mut BytesMut) -> Poll<T> {
    if buffer.is_empty() && 0 < buffer.capacity() {
        *buffer = BytesMut::new();
    }
    Poll::Pending
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// Two ends of one TCP connection.
    async fn pair() -> (Stream, Stream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        (Stream::tcp(near).unwrap(), Stream::tcp(far).unwrap())
    }

    #[tokio::test]
    async fn an_idle_stream_holds_no_buffer() {
        let (mut near, mut far) = pair().await;
        let mut buffer = BytesMut::with_capacity(CHUNK);
        poll_fn(|cx| {
            assert!(near.poll_fill(cx, &mut buffer, CHUNK).is_pending());
            Poll::Ready(())
        })
        .await;
        assert_eq!(buffer.capacity(), 0);

        far.write_all(b"hello").await.unwrap();
        assert_eq!(near.fill(&mut buffer).await.unwrap(), 5);
        assert_eq!(&buffer[..], b"hello");
    }

    #[tokio::test]
    async fn bytes_that_were_not_consumed_stay_while_waiting() {
        let (mut near, mut far) = pair().await;
        let mut buffer = BytesMut::new();
        far.write_all(b"half").await.unwrap();
        near.fill(&mut buffer).await.unwrap();
        poll_fn(|cx| {
            assert!(near.poll_fill(cx, &mut buffer, CHUNK).is_pending());
            Poll::Ready(())
        })
        .await;
        assert_eq!(&buffer[..], b"half");
    }

    #[tokio::test]
    async fn the_end_is_read_as_zero_bytes() {
        let (mut near, mut far) = pair().await;
        far.shutdown().await;
        assert_eq!(near.fill(&mut BytesMut::new()).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_write_larger_than_the_socket_takes_is_finished_later() {
        let (mut near, mut far) = pair().await;
        let sent = vec![7; 8 << 20];
        let mut received = BytesMut::new();
        let (written, ()) = tokio::join!(near.write_all(&sent), async {
            while received.len() < sent.len() {
                far.fill(&mut received).await.unwrap();
            }
        });
        written.unwrap();
        assert!(received[..] == sent[..]);
    }
}
