//! Crossfade's own tables on MySQL.
//!
//! ```text
//! crossfade_state   row 1: the epoch; every apply reads it under a shared lock
//!                   row 2: the epoch in which MySQL became the primary; it is, while both are equal
//!                   row 3: the epoch in which PostgreSQL was left for good
//!                   row 4: the version of these tables, as `control::layout` writes it
//!                   row 5: the epoch in which MySQL took the lead of some tables; there while it has it
//! crossfade_fence   the newest version applied of each row; key_hash 0 is the table itself
//! crossfade_floor   per table, the highest version that was pruned from the fence
//! crossfade_catalog  PostgreSQL's catalogue: [`super::kept`]
//! crossfade_backfill   per table, how far its old rows are copied: [`super::progress`]
//! crossfade_verifiers  of the application's users: [`super::verifiers`]
//! crossfade_sidecars   those that PostgreSQL does not know: [`super::sidecars`]
//! ```
//!
//! Invariant: a table that is written to has its entry 0 in the fence and its floor, so that there is
//! a row to lock for those who must wait for one another.

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error};

use super::error::WriteError;
use super::{kept, outbox, progress, sidecars, verifiers};
use crate::change::{KeyHash, Version};
use crate::names::TableId;

/// Statements that create the tables; each can be run again.
pub const CREATE: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS `crossfade_state` (\
     `id` tinyint NOT NULL PRIMARY KEY, \
     `epoch` bigint unsigned NOT NULL, \
     `at` timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)\
     ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
    "CREATE TABLE IF NOT EXISTS `crossfade_fence` (\
     `table_id` int NOT NULL, \
     `key_hash` binary(16) NOT NULL, \
     `epoch` bigint unsigned NOT NULL, \
     `counter` bigint unsigned NOT NULL, \
     `n` int unsigned NOT NULL, \
     `deleted` tinyint NOT NULL, \
     `at` timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), \
     PRIMARY KEY (`table_id`, `key_hash`)\
     ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
    "CREATE TABLE IF NOT EXISTS `crossfade_floor` (\
     `table_id` int NOT NULL PRIMARY KEY, \
     `epoch` bigint unsigned NOT NULL, \
     `counter` bigint unsigned NOT NULL, \
     `n` int unsigned NOT NULL\
     ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
    progress::CREATE,
    verifiers::CREATE,
    kept::CREATE,
];

/// Statements that leave nothing of ours.
pub const DROP: &[&str] = &[
    outbox::DROP,
    outbox::DROP_FLUSH,
    sidecars::DROP,
    kept::DROP,
    verifiers::DROP,
    progress::DROP,
    "DROP TABLE IF EXISTS `crossfade_floor`",
    "DROP TABLE IF EXISTS `crossfade_fence`",
    "DROP TABLE IF EXISTS `crossfade_state`",
];

/// What is of no use once PostgreSQL is left for good; the rest is what MySQL needs to answer.
pub const LEAVE: &[&str] = &[
    outbox::DROP,
    outbox::DROP_FLUSH,
    sidecars::DROP,
    progress::DROP,
    "DROP TABLE IF EXISTS `crossfade_floor`",
    "DROP TABLE IF EXISTS `crossfade_fence`",
];

/// Our tables that are there: those that these statements drop, and the others.
pub async fn own_tables(
    conn: &mut Conn,
    drops: &[&str],
) -> Result<(Vec<String>, Vec<String>), WriteError> {
    let list = "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() \
                AND TABLE_NAME LIKE 'crossfade\\_%' ORDER BY 1";
    let all: Vec<String> = conn.query(list).await?;
    let is_dropped = |name: &String| drops.iter().any(|drop| drop.ends_with(&format!("`{name}`")));
    Ok(all.into_iter().partition(is_dropped))
}

/// Duplicate key.
const DUPLICATE: u16 = 1062;
/// No such table.
const NO_TABLE: u16 = 1146;
/// Lock not had in time, deadlock.
const NOT_HAD: [u16; 2] = [1205, 1213];

/// Creates the tables, and the state's row at `epoch` if there is none.
pub async fn create(conn: &mut Conn, epoch: u64) -> Result<(), WriteError> {
    for statement in CREATE {
        conn.query_drop(*statement).await?;
    }
    let insert = "INSERT INTO `crossfade_state` (`id`, `epoch`) VALUES (1, ?)";
    unless_there(conn.exec_drop(insert, (epoch,)).await)
}

/// The secondary's epoch; `None` where nothing is set up.
pub async fn epoch(conn: &mut Conn) -> Result<Option<u64>, WriteError> {
    match conn.query_first("SELECT `epoch` FROM `crossfade_state` WHERE `id` = 1").await {
        Ok(epoch) => Ok(epoch),
        Err(Error::Server(server)) if server.code == NO_TABLE => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Raises the epoch; waits for every apply that is under way. Never lowers it.
pub async fn set_epoch(conn: &mut Conn, epoch: u64) -> Result<(), WriteError> {
    let update = "UPDATE `crossfade_state` SET `epoch` = ?, `at` = CURRENT_TIMESTAMP(6) \
                  WHERE `id` = 1 AND `epoch` < ?";
    conn.exec_drop(update, (epoch, epoch)).await?;
    Ok(())
}

/// Whose turn it is, as MySQL has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    pub epoch: u64,
    pub mysql_is_primary: bool,
    /// It leads some tables, and PostgreSQL the others.
    pub leads_part: bool,
}

/// `None` where nothing is set up.
pub async fn turn(conn: &mut Conn) -> Result<Option<Turn>, WriteError> {
    let select = "SELECT s.`epoch`, COALESCE(t.`epoch` = s.`epoch`, 0), p.`id` IS NOT NULL \
                  FROM `crossfade_state` s LEFT JOIN `crossfade_state` t ON t.`id` = 2 \
                  LEFT JOIN `crossfade_state` p ON p.`id` = 5 WHERE s.`id` = 1";
    let found: Result<Option<(u64, bool, bool)>, Error> = conn.query_first(select).await;
    match found {
        Ok(found) => Ok(found.map(|(epoch, mysql_is_primary, leads_part)| Turn {
            epoch,
            mysql_is_primary,
            leads_part,
        })),
        Err(Error::Server(server)) if server.code == NO_TABLE => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether PostgreSQL was left for good.
pub async fn is_complete(conn: &mut Conn) -> Result<bool, WriteError> {
    let select = "SELECT COUNT(*) FROM `crossfade_state` s JOIN `crossfade_state` c ON c.`epoch` = s.`epoch` \
                  WHERE s.`id` = 1 AND c.`id` = 3";
    Ok(conn.query_first::<u64, _>(select).await?.is_some_and(|count| 0 < count))
}

/// What came of leaving PostgreSQL for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completed {
    Yes,
    /// Somebody gives the lead back just now, or a serializable transaction keeps the place of the row.
    Busy,
    /// MySQL is not the primary of that epoch any more.
    Moved,
}

/// Leaves PostgreSQL for good, in this epoch of MySQL's; all but [`Completed::Yes`] change nothing.
///
/// The state's row is shared, not taken alone: captured writes go on, and whoever gives the lead back wants
/// it alone.
pub async fn complete(conn: &mut Conn, epoch: u64) -> Result<Completed, WriteError> {
    let done = async {
        conn.query_drop("BEGIN").await?;
        let share = "SELECT `epoch` FROM `crossfade_state` WHERE `id` = 1 LOCK IN SHARE MODE";
        let found: Option<u64> = conn.query_first(share).await?;
        let since: Option<u64> =
            conn.query_first("SELECT `epoch` FROM `crossfade_state` WHERE `id` = 2").await?;
        if found != Some(epoch) || since != found {
            conn.query_drop("ROLLBACK").await?;
            return Ok(Completed::Moved);
        }
        let put = "INSERT INTO `crossfade_state` (`id`, `epoch`) VALUES (3, ?) \
                   ON DUPLICATE KEY UPDATE `epoch` = VALUES(`epoch`)";
        conn.exec_drop(put, (epoch,)).await?;
        conn.query_drop("COMMIT").await?;
        Ok(Completed::Yes)
    };
    let done: Result<Completed, Error> = done.await;
    if done.is_err() {
        // The failure that matters is the first one.
        drop(conn.query_drop("ROLLBACK").await);
    }
    match done {
        Err(Error::Server(error)) if NOT_HAD.contains(&error.code) => Ok(Completed::Busy),
        done => Ok(done?),
    }
}

/// The version of these tables, as it is recorded.
pub async fn layout(conn: &mut Conn) -> Result<Option<u64>, WriteError> {
    match conn.query_first("SELECT `epoch` FROM `crossfade_state` WHERE `id` = 4").await {
        Ok(layout) => Ok(layout),
        Err(Error::Server(server)) if server.code == NO_TABLE => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Statements that record a version, where none or an earlier one is.
#[must_use]
pub fn record_layout(layout: u64) -> [String; 2] {
    [
        format!(
            "INSERT INTO `crossfade_state` (`id`, `epoch`) SELECT 4, {layout} FROM DUAL \
             WHERE NOT EXISTS (SELECT 1 FROM `crossfade_state` WHERE `id` = 4)"
        ),
        format!(
            "UPDATE `crossfade_state` SET `epoch` = {layout} WHERE `id` = 4 AND `epoch` < {layout}"
        ),
    ]
}

/// Gives a table its entry 0 in the fence and its floor, both at the lowest version.
pub async fn register(conn: &mut Conn, table: TableId) -> Result<(), WriteError> {
    let lowest = Version { epoch: 0, counter: 0, n: 0 };
    let fence = "INSERT INTO `crossfade_fence` \
                 (`table_id`, `key_hash`, `epoch`, `counter`, `n`, `deleted`) \
                 VALUES (?, ?, ?, ?, ?, 0)";
    let values = (table.0, &KeyHash::TABLE.0[..], lowest.epoch, lowest.counter, lowest.n);
    unless_there(conn.exec_drop(fence, values).await)?;
    let floor = "INSERT INTO `crossfade_floor` (`table_id`, `epoch`, `counter`, `n`) \
                 VALUES (?, ?, ?, ?)";
    let values = (table.0, lowest.epoch, lowest.counter, lowest.n);
    unless_there(conn.exec_drop(floor, values).await)
}

fn unless_there(result: Result<(), Error>) -> Result<(), WriteError> {
    match result {
        Err(Error::Server(server)) if server.code == DUPLICATE => Ok(()),
        other => other.map_err(WriteError::from),
    }
}
