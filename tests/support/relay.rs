//! A TCP relay whose other end a test may move: an address that follows a failover, or a wire to cut.

use std::net::{Ipv4Addr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// Runs on a thread of its own: a test may block in a verb that goes through it.
#[derive(Debug)]
pub struct Relay {
    pub port: u16,
    target: Arc<AtomicU16>,
    cut: Arc<Notify>,
    end: Arc<Notify>,
}

impl Relay {
    /// Carries each connection to `target`, a port of this machine.
    pub fn start(target: u16) -> Self {
        let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (target, cut) = (Arc::new(AtomicU16::new(target)), Arc::new(Notify::new()));
        let end = Arc::new(Notify::new());
        std::thread::spawn({
            let (target, cut, end) = (Arc::clone(&target), Arc::clone(&cut), Arc::clone(&end));
            move || {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    tokio::select! {
                        () = serve(TcpListener::from_std(listener).unwrap(), target, cut) => {}
                        () = end.notified() => {}
                    }
                });
            }
        });
        Self { port, target, cut, end }
    }

    /// New connections go there; those that are open stay where they are.
    pub fn point(&self, target: u16) {
        self.target.store(target, Ordering::Release);
    }

    /// Ends all open connections.
    pub fn cut(&self) {
        self.cut.notify_waiters();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.end.notify_one();
    }
}

async fn serve(listener: TcpListener, target: Arc<AtomicU16>, cut: Arc<Notify>) {
    loop {
        let Ok((near, _)) = listener.accept().await else { continue };
        let (target, cut) = (target.load(Ordering::Acquire), Arc::clone(&cut));
        tokio::spawn(async move {
            let cut = cut.notified();
            let carry = carry(near, target);
            tokio::select! {
                () = carry => {}
                () = cut => {}
            }
        });
    }
}

/// Either end may go at any time: then so does the other.
async fn carry(mut near: TcpStream, target: u16) {
    if let Ok(mut far) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await {
        drop(near.set_nodelay(true));
        drop(far.set_nodelay(true));
        drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
    }
}
