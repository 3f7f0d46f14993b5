//! How MySQL takes the lead and gives it back, and what has to be there before.
//!
//! ```text
//! take the lead: crossfade_state locked ──▶ epoch, "mine since" ──▶ COMMIT
//! give it back:  outbox empty? ─▶ crossfade_state locked, never waited for ─▶ still empty ─▶ epoch ─▶ COMMIT
//! ```
//!
//! Every captured write shares the lock on the state's row. It is asked for with NOWAIT, so that nobody
//! ever queues behind us.
//!
//! Invariant: the epoch only grows; and while the row is locked, no captured write is under way.

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error};

use super::control::is_complete;
use super::error::WriteError;
use super::rows;
use crate::catalog::Table;
use crate::names::quote_mysql;

/// Lock not had in time, deadlock, NOWAIT, MariaDB's "record has changed".
const BUSY: [u16; 4] = [1205, 1213, 3572, 1020];
/// A table that is in use is waited for this long, in seconds.
const TABLE_WAIT: u32 = 1;

/// What came of asking for the state's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alone {
    /// It is ours, in an open transaction, and the outbox is empty.
    Yes,
    /// Somebody writes.
    Busy,
    /// Something is still to be carried over.
    Pending,
    /// The server is at another epoch.
    Moved(u64),
    /// PostgreSQL was left for good.
    Complete,
}

/// What MySQL takes the lead of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    All,
    /// PostgreSQL knows which tables.
    Part,
}

/// It leads everything, or nothing, from here on.
const NO_PART: &str = "DELETE FROM `crossfade_state` WHERE `id` = 5";

/// MySQL leads its share from here on; does nothing where it does already, in this epoch.
///
/// An epoch that is there without the lead is taken as well: a sidecar may have carried it over from
/// PostgreSQL, which had it first.
pub async fn lead(conn: &mut Conn, epoch: u64, share: Share) -> Result<(), WriteError> {
    let taken = async {
        conn.query_drop("BEGIN").await?;
        let lock = "SELECT `epoch` FROM `crossfade_state` WHERE `id` = 1 FOR UPDATE";
        let held: Option<u64> = conn.query_first(lock).await?;
        let found = held.ok_or(WriteError::NotSetUp)?;
        if epoch < found {
            return Err(WriteError::Epoch { expected: epoch, found });
        }
        let state =
            "UPDATE `crossfade_state` SET `epoch` = ?, `at` = CURRENT_TIMESTAMP(6) WHERE `id` = 1";
        conn.exec_drop(state, (epoch,)).await?;
        let since = "INSERT INTO `crossfade_state` (`id`, `epoch`) VALUES (?, ?) \
                     ON DUPLICATE KEY UPDATE `epoch` = VALUES(`epoch`)";
        let row = match share {
            Share::All => 2,
            Share::Part => 5,
        };
        if share == Share::All {
            conn.query_drop(NO_PART).await?;
        }
        conn.exec_drop(since, (row, epoch)).await?;
        Ok(conn.query_drop("COMMIT").await?)
    };
    let taken = taken.await;
    if taken.is_err() {
        // The failure that matters is the first one.
        drop(conn.query_drop("ROLLBACK").await);
    }
    taken
}

/// Asks for the state's row in `epoch`, without waiting; all but [`Alone::Yes`] leave nothing open.
pub async fn alone(conn: &mut Conn, epoch: u64) -> Result<Alone, WriteError> {
    conn.query_drop("BEGIN").await?;
    let lock = "SELECT `epoch` FROM `crossfade_state` WHERE `id` = 1 FOR UPDATE NOWAIT";
    let held: Result<Option<u64>, Error> = conn.query_first(lock).await;
    let found = match held {
        Ok(held) => held.ok_or(WriteError::NotSetUp)?,
        Err(Error::Server(error)) if BUSY.contains(&error.code) => {
            conn.query_drop("ROLLBACK").await?;
            return Ok(Alone::Busy);
        }
        Err(error) => return Err(error.into()),
    };
    if is_complete(conn).await? {
        conn.query_drop("ROLLBACK").await?;
        return Ok(Alone::Complete);
    }
    let pending: Option<u8> = conn.query_first("SELECT 1 FROM `crossfade_outbox` LIMIT 1").await?;
    let alone = match pending {
        _ if found != epoch => Alone::Moved(found),
        Some(_) => Alone::Pending,
        None => return Ok(Alone::Yes),
    };
    conn.query_drop("ROLLBACK").await?;
    Ok(alone)
}

/// Once PostgreSQL is left for good: whether every write that was still noted for it has ended. It never
/// waits, and nobody queues behind it.
pub async fn noted_writes_ended(conn: &mut Conn) -> Result<bool, WriteError> {
    conn.query_drop("BEGIN").await?;
    let lock = "SELECT `epoch` FROM `crossfade_state` WHERE `id` = 1 FOR UPDATE NOWAIT";
    let held: Result<Option<u64>, Error> = conn.query_first(lock).await;
    conn.query_drop("ROLLBACK").await?;
    match held {
        Ok(_) => Ok(true),
        Err(Error::Server(error)) if BUSY.contains(&error.code) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// After [`Alone::Yes`]: this epoch is not led by MySQL any more.
pub async fn give_back(conn: &mut Conn, epoch: u64) -> Result<(), WriteError> {
    let state =
        "UPDATE `crossfade_state` SET `epoch` = ?, `at` = CURRENT_TIMESTAMP(6) WHERE `id` = 1";
    conn.exec_drop(state, (epoch,)).await?;
    conn.query_drop(NO_PART).await?;
    Ok(conn.query_drop("COMMIT").await?)
}

/// After [`Alone::Yes`]: all stays as it was.
pub async fn keep(conn: &mut Conn) -> Result<(), WriteError> {
    Ok(conn.query_drop("ROLLBACK").await?)
}

/// Whether we may do to the table whatever a captured write does; no row is touched.
pub async fn rehearse(conn: &mut Conn, table: &Table) -> Result<(), WriteError> {
    let name = quote_mysql(&table.target);
    let names: Vec<String> =
        rows::carried(table).map(|(_, column)| quote_mysql(&column.name)).collect();
    let names = names.join(", ");
    let key = table.key_columns().next().map(|column| quote_mysql(&column.name));
    let key = key.ok_or_else(|| WriteError::NoKey(table.name.clone()))?;
    let rehearsed = async {
        for statement in [
            "BEGIN".to_owned(),
            format!("SELECT {names} FROM {name} WHERE FALSE FOR UPDATE"),
            format!("INSERT INTO {name} ({names}) SELECT {names} FROM {name} WHERE FALSE"),
            format!("UPDATE {name} SET {key} = {key} WHERE FALSE"),
            format!("DELETE FROM {name} WHERE FALSE"),
        ] {
            conn.query_drop(statement).await?;
        }
        Ok::<_, Error>(())
    };
    let rehearsed = rehearsed.await;
    conn.query_drop("ROLLBACK").await?;
    Ok(rehearsed?)
}

/// Has the table give numbers from `next` on. Waits for whoever uses it, for a moment only.
pub async fn count_from(conn: &mut Conn, table: &Table, next: u64) -> Result<(), WriteError> {
    conn.query_drop(format!("SET SESSION lock_wait_timeout = {TABLE_WAIT}")).await?;
    let alter = format!("ALTER TABLE {} AUTO_INCREMENT = {next}", quote_mysql(&table.target));
    Ok(conn.query_drop(alter).await?)
}
