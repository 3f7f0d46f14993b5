//! This sidecar's line in `crossfade.sidecars`, by which others know that it may be answering.
//!
//! ```text
//! every third of the lease ──[`Entry::renew`]──▶ lease_until      at the end ──[`remove`]──▶ gone
//!                               └─▶ lines long expired are removed
//! ```
//!
//! Invariant: `lease_until` covers every confirmation up to the next renewal, so nobody whose line
//! has expired answers.

use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::{Client, Error};
use tracing::warn;

use crate::backend::postgres::control;
use crate::handoff::LOST;
use crate::lease::Lease;
use crate::names::TableName;

/// How long the line of a sidecar that was not heard of any more is kept, in minutes. While it is MySQL's
/// turn it is kept for good: one that cannot reach PostgreSQL may be answering.
const EXPIRED_KEPT_MINUTES: i64 = 60;

/// Who this sidecar is, in `crossfade.sidecars`.
#[derive(Clone, Debug)]
pub struct Sidecar {
    /// Chosen at random at each start.
    pub id: String,
    /// Where clients reach it.
    pub address: String,
    /// How long it answers without a confirmation. Others count it as there for as long.
    pub lease: Lease,
    /// How often it looks.
    pub poll: Duration,
}

const RENEW: &str = "INSERT INTO crossfade.sidecars AS s \
         (id, address, epoch, version, lease_ms, lease_until, beat, written) \
       VALUES ($1, $2, $3, $4, $5, pg_catalog.now() + $6::float8 * interval '1 millisecond', 1, $7) \
       ON CONFLICT (id) DO UPDATE SET epoch = excluded.epoch, lease_ms = excluded.lease_ms, \
         lease_until = excluded.lease_until, beat = s.beat + 1, written = excluded.written";
/// Others that ended without a word, and of which nothing was said yet.
const DIED: &str = "SELECT EXISTS (SELECT FROM crossfade.sidecars \
       WHERE lease_until < pg_catalog.now() AND NOT buried)";
const BURY: &str = "UPDATE crossfade.sidecars SET buried = true \
       WHERE lease_until < pg_catalog.now() AND NOT buried";
const PRUNE: &str = "DELETE FROM crossfade.sidecars s \
       WHERE s.lease_until < pg_catalog.now() - $1::float8 * interval '1 minute' \
         AND (SELECT e.last_value % 2 = 0 FROM crossfade.epoch e)";

impl Sidecar {
    /// Whether a line that was renewed then has to be renewed now.
    pub(super) fn is_due(&self, renewed: Option<Instant>) -> bool {
        renewed.is_none_or(|at| self.lease.length() / 3 <= at.elapsed())
    }

    /// `written`: what it has written to each table, see [`super::unseen`].
    pub(super) async fn renew(
        &self,
        client: &Client,
        epoch: u64,
        written: &[i64],
    ) -> Result<(), Error> {
        let epoch = i64::try_from(epoch).unwrap_or(i64::MAX);
        let lease = self.lease.length();
        let lease_ms = i64::try_from(lease.as_millis()).unwrap_or(i64::MAX);
        let covered = milliseconds(self.covered());
        let version = env!("CARGO_PKG_VERSION");
        client
            .execute(
                RENEW,
                &[&self.id, &self.address, &epoch, &version, &lease_ms, &covered, &written],
            )
            .await?;
        client.execute(PRUNE, &[&(EXPIRED_KEPT_MINUTES as f64)]).await?;
        Ok(())
    }

    /// How long a line stands for it: up to the next renewal the lease may be confirmed again without
    /// another word.
    pub(super) fn covered(&self) -> Duration {
        let lease = self.lease.length();
        lease + lease / 3
    }

    /// Others that died had images in memory, which were all there was of the tables in `loose`.
    pub(super) async fn bury_others(
        &self,
        client: &Client,
        loose: &[TableName],
    ) -> Result<(), Error> {
        if !client.query_one(DIED, &[]).await?.try_get::<_, bool>(0)? {
            return Ok(());
        }
        if !loose.is_empty() {
            warn!("a sidecar died with what it had not written yet of tables without an outbox");
            control::mark_dirty(client, loose, LOST).await?;
        }
        // Afterwards, so that a crash of ours in between says it twice rather than never.
        client.execute(BURY, &[]).await?;
        Ok(())
    }

    /// It has ended and answers nobody.
    pub(super) async fn remove(&self, client: &Client) -> Result<(), Error> {
        client.execute("DELETE FROM crossfade.sidecars WHERE id = $1", &[&self.id]).await?;
        Ok(())
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
