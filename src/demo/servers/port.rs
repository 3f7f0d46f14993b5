//! Ports on which something of a demo or a test will listen.
//!
//! ```text
//! random start ──one after the other──▶ tried by binding ──▶ a port below the kernel's own range
//! ```
//!
//! Invariant: no outgoing connection is ever given one of these ports, as those come from above. So a
//! server finds its port free after a restart, and a client that tries the port of a server that is
//! away is never connected to itself.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

/// Linux takes the ports of outgoing connections from 32768 on.
const FIRST: u16 = 10_000;
const COUNT: u16 = 22_000;

/// A port that was free a moment ago; the same process is not given it again soon.
pub fn free_port() -> io::Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Several processes that look at once begin in different places.
    static START: OnceLock<u16> = OnceLock::new();
    let start = *START.get_or_init(|| rand::random_range(0..COUNT));
    let mut refused = None;
    for _ in 0..COUNT {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = FIRST + (start + offset) % COUNT;
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            Err(error) => refused = Some(error),
        }
    }
    Err(refused.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
}
