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
    freeze: Arc<Notify>,
    end: Arc<Notify>,
}

impl Relay {
    /// Carries each connection to `target`, a port of this machine.
    pub fn start(target: u16) -> Self {
        let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (target, cut) = (Arc::new(AtomicU16::new(target)), Arc::new(Notify::new()));
        let (freeze, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        std::thread::spawn({
            let (target, cut) = (Arc::clone(&target), Arc::clone(&cut));
            let (freeze, end) = (Arc::clone(&freeze), Arc::clone(&end));
            move || {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    tokio::select! {
                        () = serve(listener, &target, &cut, &freeze) => {}
                        () = end.notified() => {}
                    }
                });
            }
        });
        Self { port, target, cut, freeze, end }
    }

    /// New connections go there; those that are open stay where they are.
    pub fn point(&self, target: u16) {
        self.target.store(target, Ordering::Release);
    }

    /// Open connections stay open, and carry nothing any more: as behind a firewall that forgot them.
    pub fn freeze(&self) {
        self.freeze.notify_waiters();
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

async fn serve(listener: StdListener, target: &AtomicU16, cut: &Arc<Notify>, freeze: &Arc<Notify>) {
    let listener = TcpListener::from_std(listener).unwrap();
    loop {
        let Ok((near, _)) = listener.accept().await else { continue };
        let target = target.load(Ordering::Acquire);
        tokio::spawn(carry(near, target, Arc::clone(cut), Arc::clone(freeze)));
    }
}

/// Either end may go at any time: then so does the other.
async fn carry(mut near: TcpStream, target: u16, cut: Arc<Notify>, freeze: Arc<Notify>) {
    let (cut, freeze) = (cut.notified(), freeze.notified());
    tokio::pin!(cut);
    let Ok(mut far) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await else { return };
    drop(near.set_nodelay(true));
    drop(far.set_nodelay(true));
    tokio::select! {
        _ended = tokio::io::copy_bidirectional(&mut near, &mut far) => return,
        () = &mut cut => return,
        () = freeze => {}
    }
    cut.await;
}
