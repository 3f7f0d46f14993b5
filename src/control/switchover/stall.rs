//! A coordinator that is frozen, or cut off, keeps nobody waiting: both servers end its sessions by themselves.
//!
//! ```text
//! session with a lock ──idle for longer than it may──▶ ended by its server ─▶ lock gone, transaction undone
//! ```
//!
//! Invariant: no lock that clients' writes wait for is had before its session is bounded. A session that is
//! ended too early costs an attempt, which is undone, or tried again.

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use tokio::time::{Duration, Instant};
use tokio_postgres::Client;

use super::{Run, SwitchError};
use crate::backend::mysql::WriteError;

/// For steps that wait for nothing.
pub(super) const STEP: Duration = Duration::from_secs(10);

/// How much longer than the attempt: what was begun in time may end.
const MARGIN: Duration = Duration::from_secs(1);

impl Run<'_> {
    /// For what is held to the attempt's end.
    pub(super) fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now()) + MARGIN
    }
}

/// Of earlier servers there is only the second of the two.
const BOUND: &str = "SELECT pg_catalog.set_config(s.name, $1, false) FROM pg_catalog.pg_settings s \
     WHERE s.name IN ('idle_session_timeout', 'idle_in_transaction_session_timeout')";

/// PostgreSQL ends the session once it has said nothing for so long.
pub(super) async fn postgres(client: &Client, idle: Duration) -> Result<(), SwitchError> {
    let millis = idle.as_millis().to_string();
    client.query(BOUND, &[&millis]).await?;
    Ok(())
}

/// MySQL does likewise, in whole seconds.
pub(super) async fn mysql(conn: &mut Conn, idle: Duration) -> Result<(), WriteError> {
    let seconds = idle.as_secs().max(1);
    Ok(conn.query_drop(format!("SET SESSION wait_timeout = {seconds}")).await?)
}
