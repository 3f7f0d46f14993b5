//! What a pass leaves on the primary: dirty keys, and a table's dirty mark set or taken away.
//!
//! ```text
//! differences ──▶ crossfade.dirty_keys ──▶ repair          a clean pass ──▶ dirty_reason = NULL
//! ```
//!
//! Invariant: a mark is taken away only if nobody has marked the table since before the pass began,
//! and everything that ran when the pass began to look had ended. Every mark is an UPDATE, so the
//! row's `xmin` says whether there was one.

use tokio_postgres::{Client, Transaction};

use super::{Kind, VerifyError};
use crate::catalog::Table;
use crate::change::Key;

/// Why a table is dirty that a pass found different.
pub(super) const REASON: &str = "verify";

const STATE: &str =
    "SELECT t.dirty_reason IS NOT NULL, t.xmin::text FROM crossfade.tables t WHERE t.id = $1";
const FORGET: &str = "DELETE FROM crossfade.dirty_keys WHERE table_id = $1";
const KEEP: &str = "INSERT INTO crossfade.dirty_keys (table_id, key_hash, key, kind) \
     SELECT $1, k.hash, k.key, k.kind FROM unnest($2::bytea[], $3::bytea[], $4::text[]) k(hash, key, kind) \
     ON CONFLICT (table_id, key_hash) DO UPDATE SET key = excluded.key, kind = excluded.kind";
const MARK: &str = "UPDATE crossfade.tables SET dirty_reason = coalesce(dirty_reason, $2), \
     dirty_since = coalesce(dirty_since, pg_catalog.now()) WHERE id = $1";
const CLEAR: &str = "UPDATE crossfade.tables SET dirty_reason = NULL, dirty_since = NULL \
     WHERE id = $1 AND xmin::text = $2";

/// The table's mark before a pass.
#[derive(Clone, Debug)]
pub(super) struct Before {
    pub(super) dirty: bool,
    seen: String,
}

pub(super) async fn before(client: &Client, table: &Table) -> Result<Before, VerifyError> {
    let row = client.query_opt(STATE, &[&id(table)]).await?.ok_or(VerifyError::Stale)?;
    Ok(Before { dirty: row.try_get(0)?, seen: row.try_get(1)? })
}

/// Notes what was found, instead of what an earlier pass did.
pub(super) async fn found(
    client: &mut Client,
    table: &Table,
    differences: &[(Key, Kind)],
    dirty: bool,
) -> Result<(), VerifyError> {
    let transaction = client.transaction().await?;
    transaction.execute(FORGET, &[&id(table)]).await?;
    keep(&transaction, table, differences, dirty).await?;
    Ok(transaction.commit().await?)
}

/// Notes what was found beside what is noted.
pub(super) async fn more(
    client: &mut Client,
    table: &Table,
    differences: &[(Key, Kind)],
) -> Result<(), VerifyError> {
    let transaction = client.transaction().await?;
    keep(&transaction, table, differences, true).await?;
    Ok(transaction.commit().await?)
}

async fn keep(
    transaction: &Transaction<'_>,
    table: &Table,
    differences: &[(Key, Kind)],
    dirty: bool,
) -> Result<(), VerifyError> {
    let hashes: Vec<&[u8]> = differences.iter().map(|(key, _)| &key.hash.0[..]).collect();
    let keys: Vec<&[u8]> = differences.iter().map(|(key, _)| &*key.raw).collect();
    let kinds: Vec<&str> = differences.iter().map(|(_, kind)| kind.as_str()).collect();
    transaction.execute(KEEP, &[&id(table), &hashes, &keys, &kinds]).await?;
    if dirty {
        transaction.execute(MARK, &[&id(table), &REASON]).await?;
    }
    Ok(())
}

/// Takes the mark away; false if somebody has marked the table meanwhile.
pub(super) async fn clear(
    client: &Client,
    table: &Table,
    before: &Before,
) -> Result<bool, VerifyError> {
    Ok(client.execute(CLEAR, &[&id(table), &before.seen]).await? > 0)
}

fn id(table: &Table) -> i32 {
    table.id.map_or(0, |id| id.0)
}
