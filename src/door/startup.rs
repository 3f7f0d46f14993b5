//! From an accepted connection to the startup packet, TLS included.
//!
//! ```text
//! first byte 0x16 ──▶ direct TLS (PostgreSQL 17) ─┐
//! SSLRequest ──'S'──▶ TLS ────────────────────────┤
//! SSLRequest, GSSENCRequest ──'N'─────────────────┼──▶ StartupMessage │ CancelRequest
//! ```
//!
//! Invariant: no byte is read beyond the packet in hand. What a client (or someone in between) sent
//! in the clear ahead of the handshake is never taken for something that came encrypted.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsStream};

use super::fatal::Fatal;
use super::packet::{self, CancelKey, Packet, Startup};
use crate::backend::stream::Stream;
use crate::backend::tls::{ALPN, Identity, ServerTls};

/// The first byte of a TLS handshake; no startup packet that long would be taken.
const TLS_HANDSHAKE: u8 = 0x16;

/// What a client came for.
pub(crate) enum Opening {
    Login {
        stream: Stream,
        startup: Startup,
        end_point: Option<Arc<[u8]>>,
    },
    Cancel(Stream, CancelKey),
    /// It left, or what it sent calls for an answer.
    Refused(Stream, Fatal),
}

/// Reads up to the startup packet.
pub(crate) async fn open(stream: Stream, tls: Option<&ServerTls>) -> io::Result<Opening> {
    let (mut stream, mut end_point) = match (stream, tls) {
        (Stream::Tcp(socket), Some(tls)) if first_byte(&socket).await? == TLS_HANDSHAKE => {
            (direct(socket, &tls.identity).await?, tls.identity.end_point.clone())
        }
        (stream, _) => (stream, None),
    };
    let (mut tls_asked, mut gss_asked) = (stream.is_tls(), stream.is_tls());
    loop {
        let packet = match read(&mut stream).await? {
            Ok(packet) => packet,
            Err(fatal) => return Ok(Opening::Refused(stream, fatal)),
        };
        match packet {
            Packet::Tls if !tls_asked => {
                tls_asked = true;
                (stream, end_point) = negotiate(stream, tls).await?;
            }
            Packet::Gss if !gss_asked => {
                gss_asked = true;
                stream.write_all(b"N").await?;
            }
            Packet::Tls | Packet::Gss => {
                let fatal = Fatal::protocol("encryption was requested twice");
                return Ok(Opening::Refused(stream, fatal));
            }
            Packet::Cancel(key) => return Ok(Opening::Cancel(stream, key)),
            Packet::Startup(_) if requires_tls(&stream, tls) => {
                let fatal = Fatal::new("28000", "connection requires TLS")
                    .hint("Connect with sslmode=require.");
                return Ok(Opening::Refused(stream, fatal));
            }
            Packet::Startup(startup) => return Ok(Opening::Login { stream, startup, end_point }),
        }
    }
}

/// A unix socket does not leave the machine.
fn requires_tls(stream: &Stream, tls: Option<&ServerTls>) -> bool {
    matches!(stream, Stream::Tcp(_)) && tls.is_some_and(|tls| tls.required)
}

/// Looks at the first byte without taking it.
async fn first_byte(socket: &TcpStream) -> io::Result<u8> {
    let mut byte = [0];
    match socket.peek(&mut byte).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(byte[0]),
    }
}

/// Without SSLRequest only the protocol's name tells PostgreSQL from other users of TLS, so it has
/// to be given: another protocol's client cannot be made to send its secrets here.
async fn direct(socket: TcpStream, identity: &Identity) -> io::Result<Stream> {
    let stream = TlsAcceptor::from(Arc::clone(&identity.config)).accept(socket).await?;
    if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "direct TLS without the protocol name \"postgresql\"",
        ));
    }
    Ok(Stream::Tls(Box::new(TlsStream::Server(stream))))
}

/// Answers SSLRequest.
async fn negotiate(
    mut stream: Stream,
    tls: Option<&ServerTls>,
) -> io::Result<(Stream, Option<Arc<[u8]>>)> {
    let (Stream::Tcp(_), Some(tls)) = (&stream, tls) else {
        stream.write_all(b"N").await?;
        return Ok((stream, None));
    };
    stream.write_all(b"S").await?;
    let Stream::Tcp(socket) = stream else { return Err(io::ErrorKind::Unsupported.into()) };
    let acceptor = TlsAcceptor::from(Arc::clone(&tls.identity.config));
    let stream = TlsStream::Server(acceptor.accept(socket).await?);
    Ok((Stream::Tls(Box::new(stream)), tls.identity.end_point.clone()))
}

/// Reads one packet; a stranger's length is believed up to PostgreSQL's own bound.
async fn read(stream: &mut Stream) -> io::Result<Result<Packet, Fatal>> {
    let mut header = [0; 4];
    stream.read_exact(&mut header).await?;
    let length = match packet::length(header) {
        Ok(length) => length,
        Err(fatal) => return Ok(Err(fatal)),
    };
    let mut raw = vec![0; length];
    raw[..4].copy_from_slice(&header);
    stream.read_exact(&mut raw[4..]).await?;
    Ok(packet::parse(Bytes::from(raw)))
}
