//! The epoch: raised when the primary is not the server it was, and the same on both sides.
//!
//! ```text
//! new timeline, system or database ──[`raise`]──▶ crossfade.epoch, every table dirty ──[`follow`]──▶ MySQL
//!                                              └─▶ 'lost_after' (see `outbox::lost`)
//! ```
//!
//! Invariant: it only grows. It is raised under the lock that every captured write shares, so no write
//! of the old epoch commits after it. A secondary that is behind is brought up. One that is ahead has
//! images of another past of this primary, which was restored: so the primary goes past it.

use std::time::Duration;

use tokio::time::sleep;
use tokio_postgres::{Client, Error};

use crate::backend::mysql::{Link, WriteError, control as mysql};
use crate::backend::postgres::control::{LOCK_CLASS, LOCK_KEY};
use crate::backend::postgres::moved;
use crate::control::Ends;

/// Between two attempts to get the lock; nobody may queue behind a waiting one.
const TRY_AGAIN: Duration = Duration::from_millis(50);
/// Attempts in one go; then the clients' writes, which fail with CF002, have to be over first.
const ATTEMPTS_MAX: u32 = 40;

/// Raises the epoch past `past`, or by one; true if it is done, by us or by another sidecar.
pub(super) async fn raise(client: &Client, past: Option<u64>) -> Result<bool, Error> {
    let lock = format!("SELECT pg_catalog.pg_try_advisory_lock({LOCK_CLASS}, {LOCK_KEY})");
    for _ in 0..ATTEMPTS_MAX {
        if client.query_one(&lock, &[]).await?.get(0) {
            let raised = raise_locked(client, past).await;
            let unlock = format!("SELECT pg_catalog.pg_advisory_unlock({LOCK_CLASS}, {LOCK_KEY})");
            client.batch_execute(&unlock).await?;
            return raised.map(|()| true);
        }
        sleep(TRY_AGAIN).await;
    }
    Ok(false)
}

/// Under the lock, looks again whether there is still anything to do.
async fn raise_locked(client: &Client, past: Option<u64>) -> Result<(), Error> {
    let condition = match past {
        Some(epoch) => format!("e.last_value / 2 <= {epoch}"),
        None => format!(
            "NOT EXISTS (SELECT FROM ({IDENTITY}) i(key, value) \
             JOIN crossfade.settings s USING (key) WHERE s.value = i.value HAVING pg_catalog.count(*) = 3)"
        ),
    };
    let next = past.map_or("(e.last_value / 2 + 1) * 2".to_owned(), |epoch| {
        epoch.saturating_add(1).saturating_mul(2).to_string()
    });
    // An attempt that was under way must not come true by another's epoch.
    moved::forget_planned(client).await?;
    let raise = format!(
        "SELECT pg_catalog.setval('crossfade.epoch', {next}) FROM crossfade.epoch e WHERE {condition}"
    );
    if client.query_opt(&raise, &[]).await?.is_none() {
        return Ok(());
    }
    // Whoever has prepared for this very epoch meanwhile comes too late.
    moved::forget_planned(client).await?;
    client
        .batch_execute(&format!(
            "BEGIN; INSERT INTO crossfade.settings (key, value) {IDENTITY} \
             ON CONFLICT (key) DO UPDATE SET value = excluded.value; {LOST} \
             UPDATE crossfade.tables SET dirty_reason = coalesce(dirty_reason, 'failover'), \
             dirty_since = coalesce(dirty_since, pg_catalog.now()) WHERE capture IN ('returning', 'trigger'); \
             COMMIT"
        ))
        .await
}

/// From where on something may be missing here; an earlier failover that is not dealt with yet comes first.
const LOST: &str = "INSERT INTO crossfade.settings (key, value) \
     SELECT 'lost_after', coalesce((SELECT s.value FROM crossfade.settings s WHERE s.key = 'settled'), '0:0') \
     ON CONFLICT (key) DO NOTHING;";
/// Which server this is, and which of its databases: a dump may be restored beside the one it was taken of.
const IDENTITY: &str = "SELECT 'timeline', \
     pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8) \
     UNION ALL SELECT 'system_identifier', c.system_identifier::text FROM pg_catalog.pg_control_system() c \
     UNION ALL SELECT 'database', d.oid::text FROM pg_catalog.pg_database d \
     WHERE d.datname = pg_catalog.current_database()";

/// Gives the secondary our epoch; answers with the one that it has then, which may be higher.
pub(super) async fn follow(ends: &Ends, epoch: u64) -> Result<u64, WriteError> {
    let mut link = Link::connect(&ends.to, &ends.limits).await?;
    mysql::set_epoch(link.conn(), epoch).await?;
    mysql::epoch(link.conn()).await?.ok_or(WriteError::NotSetUp)
}
