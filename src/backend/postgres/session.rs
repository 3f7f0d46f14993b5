//! Settings of our sessions on the primary that work for long.
//!
//! Invariant: whoever works for long is ended by no timeout that was meant for an application, and our role
//! sees every row or is told that it does not.

use tokio_postgres::{Client, Error};

const SETTINGS: &str = "SET row_security = off; SET statement_timeout = 0; SET lock_timeout = 0; \
     SET idle_in_transaction_session_timeout = 0; SET synchronous_commit = on";
/// From PostgreSQL 14 on.
const IDLE: &str = "SET idle_session_timeout = 0";

pub async fn unhurried(client: &Client) -> Result<(), Error> {
    client.batch_execute(SETTINGS).await?;
    match client.batch_execute(IDLE).await {
        Err(error) if error.as_db_error().is_some() => Ok(()),
        other => other,
    }
}
