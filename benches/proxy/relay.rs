//! The floor of a proxy: forwards bytes and looks at none.
//!
//! It runs as a process of its own, so that its processor time can be told apart.

use std::io;

use tokio::net::{TcpListener, TcpStream};

/// As PgBouncer and most proxies have it, near enough.
const BUFFER_BYTES: usize = 8 << 10;

/// Serves until it is killed.
pub fn serve(listen: &str, target: &str) -> io::Result<()> {
    let workers = 2;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(listen).await?;
        loop {
            let (client, _) = listener.accept().await?;
            let target = target.to_owned();
            tokio::spawn(async move { relay(client, &target).await });
        }
    })
}

async fn relay(mut client: TcpStream, target: &str) -> io::Result<()> {
    let mut server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (up, down) = (BUFFER_BYTES, BUFFER_BYTES);
    tokio::io::copy_bidirectional_with_sizes(&mut client, &mut server, up, down).await?;
    Ok(())
}
