//! The mark by which a migration is given up, and what takes everything of ours off PostgreSQL.
//!
//! ```text
//! coordinator ──[`mark`]──▶ crossfade.settings 'abandon' ──▶ sidecars: hold, Phase::Setup, line removed
//!      └── no line is left ──[`drop_all`]──▶ the lock alone ─▶ DROP SCHEMA crossfade CASCADE
//! ```
//!
//! Invariant: while the mark is there no change of the primary begins; and the schema goes in one
//! transaction, with the lock that captured writes share held alone.

use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

use super::attempts;
use super::control::{DROP, LOCK_CLASS, LOCK_KEY};

/// Longest that taking triggers off keeps a table's writers waiting.
const LOCK_WAIT: &str = "SET LOCAL lock_timeout = '500ms'";

/// Holds the time past which clients are not held for it, in seconds since 1970.
const MARK: &str = "INSERT INTO crossfade.settings (key, value) \
     SELECT 'abandon', (extract(epoch FROM pg_catalog.clock_timestamp())::float8 + $1)::text \
     ON CONFLICT (key) DO UPDATE SET value = excluded.value";
const UNDER_WAY: &str = "SELECT EXISTS (SELECT FROM crossfade.attempts a \
     WHERE a.state IN ('announced', 'held') AND pg_catalog.clock_timestamp() < a.deadline)";
/// Nobody announces an attempt in between.
const NO_ATTEMPT: &str = "LOCK TABLE crossfade.attempts IN SHARE ROW EXCLUSIVE MODE";
const MARKED: &str = "SELECT EXISTS (SELECT FROM crossfade.settings WHERE key = 'abandon')";
/// Some writes may not have been captured meanwhile.
const UNMARK: &str = "UPDATE crossfade.tables t SET dirty_reason = coalesce(t.dirty_reason, 'abandon'), \
       dirty_since = coalesce(t.dirty_since, pg_catalog.now()); \
     DELETE FROM crossfade.settings WHERE key = 'abandon'";

/// Tables with triggers of ours, in the order in which they were made: parents come first, as in most transactions.
const TRIGGERED: &str = "SELECT pg_catalog.string_agg(r.name, ', ' ORDER BY r.oid) FROM ( \
       SELECT DISTINCT c.oid, pg_catalog.format('%I.%I', s.nspname, c.relname) \
       FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid \
       JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace AND n.nspname = 'crossfade' \
       JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid \
       JOIN pg_catalog.pg_namespace s ON s.oid = c.relnamespace WHERE t.tgparentid = 0) r(oid, name)";

/// What came of an attempt to drop everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    Yes,
    /// Somebody writes, or uses a table whose triggers are to go.
    Busy,
    /// The turn is not the one that it was.
    Moved,
}

/// Has sidecars go transparent; false where a change of the primary is under way.
pub async fn mark(client: &mut Client, patience: Duration) -> Result<bool, Error> {
    let recorded = attempts::exist(client).await?;
    let transaction = client.transaction().await?;
    // Set up by a version that had no record, nobody has changed the primary.
    if recorded {
        transaction.batch_execute(NO_ATTEMPT).await?;
        if transaction.query_one(UNDER_WAY, &[]).await?.try_get(0)? {
            return Ok(false);
        }
    }
    transaction.execute(MARK, &[&patience.as_secs_f64()]).await?;
    transaction.commit().await?;
    Ok(true)
}

/// Whether a migration is being given up.
pub async fn is_marked(client: &Client) -> Result<bool, Error> {
    let there = "SELECT pg_catalog.to_regclass('crossfade.settings') IS NOT NULL";
    Ok(client.query_one(there, &[]).await?.try_get(0)?
        && client.query_one(MARKED, &[]).await?.try_get(0)?)
}

/// All goes on as before, with every table dirty.
pub async fn unmark(client: &mut Client) -> Result<(), Error> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(UNMARK).await?;
    transaction.commit().await
}

/// Takes everything of ours off, triggers included, unless `crossfade.epoch` holds another `turn`.
///
/// A writer has its table before a trigger of ours asks for the lock. So have we: with the lock first, each would
/// wait for the other, time after time, under a load that leaves no gap.
pub async fn drop_all(client: &mut Client, turn: Option<u64>) -> Result<Dropped, Error> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(LOCK_WAIT).await?;
    let tables: Option<String> = transaction.query_one(TRIGGERED, &[]).await?.try_get(0)?;
    if let Some(tables) = tables {
        let locked = format!("LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE");
        match transaction.batch_execute(&locked).await {
            Err(error) if is_busy(&error) => return Ok(Dropped::Busy),
            other => other?,
        }
    }
    let lock = format!("SELECT pg_catalog.pg_try_advisory_xact_lock({LOCK_CLASS}, {LOCK_KEY})");
    if !transaction.query_one(&lock, &[]).await?.try_get::<_, bool>(0)? {
        return Ok(Dropped::Busy);
    }
    if let Some(turn) = turn {
        let now = transaction.query_one("SELECT last_value FROM crossfade.epoch", &[]).await?;
        if u64::try_from(now.try_get::<_, i64>(0)?).ok() != Some(turn) {
            return Ok(Dropped::Moved);
        }
    }
    match transaction.batch_execute(DROP).await {
        Ok(()) => {
            transaction.commit().await?;
            Ok(Dropped::Yes)
        }
        Err(error) if is_busy(&error) => Ok(Dropped::Busy),
        Err(error) => Err(error),
    }
}

fn is_busy(error: &Error) -> bool {
    error.code().is_some_and(|code| PASSES.contains(code))
}

const PASSES: [SqlState; 2] = [SqlState::LOCK_NOT_AVAILABLE, SqlState::T_R_DEADLOCK_DETECTED];
