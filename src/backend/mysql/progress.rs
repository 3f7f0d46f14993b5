//! How far the copying of each table has come, kept where the rows go.
//!
//! ```text
//! take_over ─▶ running, `run` is ours ─▶ inserted (in the chunk's transaction) ─▶ swept (in the sweep's) ─▶ end
//!                  ▲                                                                                │
//!                  └───────────────── another run, after a kill or a stop ◀── stopped │ done ◀──────┘
//! ```
//!
//! Invariant: only the run that is on record can commit a chunk or a sweep. Everything up to `reached`,
//! in the primary's key order, is inserted and swept; `unswept` counts chunks that may hold a row that a
//! delete has met. While a table is running, no fence entry from its bound on is pruned: every
//! transaction that wrote below it had ended before any of its open chunks was read.

use mysql_async::prelude::Queryable as _;

use super::connect::Link;
use super::error::WriteError;
use crate::catalog::Table;
use crate::change::Version;
use crate::names::TableId;

pub const CREATE: &str = "CREATE TABLE IF NOT EXISTS `crossfade_backfill` (\
     `table_id` int NOT NULL PRIMARY KEY, \
     `run` binary(16) NOT NULL, \
     `state` varchar(10) NOT NULL, \
     `reached` longblob, \
     `copied` bigint unsigned NOT NULL DEFAULT 0, \
     `refused` bigint unsigned NOT NULL DEFAULT 0, \
     `unswept` int NOT NULL DEFAULT 0, \
     `epoch` bigint unsigned NOT NULL, \
     `counter` bigint unsigned NOT NULL, \
     `began` timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), \
     `at` timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)\
     ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4";
pub const DROP: &str = "DROP TABLE IF EXISTS `crossfade_backfill`";

const RUNNING: &str = "running";
/// One backfill of a database at a time; the name of a lock has 64 characters at most.
const LOCK: &str = "CONCAT('crossfade.', LEFT(SHA2(DATABASE(), 256), 40))";

/// A number of its own for each run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Run([u8; 16]);

impl Run {
    #[must_use]
    pub fn new() -> Self {
        Self(rand::random())
    }
}

impl Default for Run {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Run")
    }
}

/// How far a table has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// `record_send(ROW(key))` of the last row up to which all is copied; `None` before the first.
    pub key: Option<Vec<u8>>,
    /// Rows up to there, and those among them that were refused.
    pub copied: u64,
    pub refused: u64,
    /// The oldest bound among the chunks that are still open.
    pub bound: Version,
}

/// What an earlier run left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub reached: Reached,
    pub done: bool,
    /// A chunk may have been inserted and not swept.
    pub unswept: bool,
}

/// How a run over a table ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Done,
    /// It may be gone on with.
    Stopped,
}

type Line = (String, Option<Vec<u8>>, u64, u64, i32, u64, u64);
const READ: &str = "SELECT `state`, `reached`, `copied`, `refused`, `unswept`, `epoch`, `counter` \
     FROM `crossfade_backfill` WHERE `table_id` = ?";

impl Link {
    /// Makes this connection the only one that copies into this database; false if another does.
    /// The server lets go of it when the connection ends.
    pub async fn lock_backfill(&mut self) -> Result<bool, WriteError> {
        self.conn().query_drop(CREATE).await?;
        let locked: Option<Option<u8>> =
            self.conn().query_first(format!("SELECT GET_LOCK({LOCK}, 0)")).await?;
        Ok(locked.flatten() == Some(1))
    }

    /// Says that this connection is still there, so that the server keeps its lock; false if that is
    /// gone all the same.
    pub async fn holds_backfill(&mut self) -> Result<bool, WriteError> {
        let sql = format!("SELECT IS_USED_LOCK({LOCK}) = CONNECTION_ID()");
        let held: Option<Option<u8>> = self.conn().query_first(sql).await?;
        Ok(held.flatten() == Some(1))
    }

    /// What is on record for a table; `None` where it was never begun.
    pub async fn backfill_of(&mut self, table: TableId) -> Result<Option<Standing>, WriteError> {
        let line: Option<Line> = self.conn().exec_first(READ, (table.0,)).await?;
        Ok(line.map(standing))
    }

    /// Makes a table ours; whoever had it can commit nothing any more. From here on nothing from
    /// `bound` on is pruned; `None` where something has been, and a later bound is wanted. `again`
    /// begins at the first row.
    pub async fn take_over(
        &mut self,
        table: &Table,
        run: Run,
        bound: Version,
        again: bool,
    ) -> Result<Option<Standing>, WriteError> {
        self.conn().query_drop("BEGIN").await?;
        let taken = self.take(table, run, bound, again).await;
        let end = if matches!(taken, Ok(Some(_))) { "COMMIT" } else { "ROLLBACK" };
        self.conn().query_drop(end).await.map_err(|_| WriteError::Disconnected)?;
        taken
    }

    async fn take(
        &mut self,
        table: &Table,
        run: Run,
        bound: Version,
        again: bool,
    ) -> Result<Option<Standing>, WriteError> {
        let id = id(table)?;
        let floor =
            "SELECT `epoch`, `counter`, `n` FROM `crossfade_floor` WHERE `table_id` = ? FOR UPDATE";
        let floor: Option<(u64, u64, u32)> = self.conn().exec_first(floor, (id.0,)).await?;
        let (epoch, counter, n) = floor.ok_or(WriteError::NotSetUp)?;
        let line: Option<Line> =
            self.conn().exec_first(format!("{READ} FOR UPDATE"), (id.0,)).await?;
        let mut standing = line.map(standing).unwrap_or(Standing {
            reached: Reached::default(),
            done: false,
            unswept: false,
        });
        // What an earlier run holds back stays held back: its rows may still be there.
        let held = standing.unswept.then_some(standing.reached.bound);
        if held.is_none() && bound <= (Version { epoch, counter, n }) {
            return Ok(None);
        }
        let bound = held.map_or(bound, |held| held.min(bound));
        if again {
            standing.reached = Reached::default();
            standing.done = false;
        }
        standing.reached.bound = bound;
        if standing.done {
            return Ok(Some(standing));
        }
        let Reached { key, copied, refused, .. } = &standing.reached;
        let sql = "INSERT INTO `crossfade_backfill` \
             (`table_id`, `run`, `state`, `epoch`, `counter`) \
             SELECT ?, ?, ?, ?, ? FROM DUAL \
             WHERE NOT EXISTS (SELECT 1 FROM `crossfade_backfill` b WHERE b.`table_id` = ?)";
        let params = (id.0, &run.0[..], RUNNING, bound.epoch, bound.counter, id.0);
        self.conn().exec_drop(sql, params).await?;
        let sql = "UPDATE `crossfade_backfill` SET `run` = ?, `state` = ?, `reached` = ?, `copied` = ?, \
             `refused` = ?, `epoch` = ?, `counter` = ?, `at` = CURRENT_TIMESTAMP(6) WHERE `table_id` = ?";
        let params = (&run.0[..], RUNNING, key, copied, refused, bound.epoch, bound.counter, id.0);
        self.conn().exec_drop(sql, params).await?;
        Ok(Some(standing))
    }

    /// Every row of the table was looked at, and nothing of an earlier run is left.
    pub async fn swept_all(&mut self, table: &Table, run: Run) -> Result<bool, WriteError> {
        let sql = "UPDATE `crossfade_backfill` SET `unswept` = 0, `at` = CURRENT_TIMESTAMP(6) \
             WHERE `table_id` = ? AND `run` = ?";
        self.conn().exec_drop(sql, (id(table)?.0, &run.0[..])).await?;
        Ok(self.conn().affected_rows() == 1)
    }

    /// Ends our run over a table.
    pub async fn end_backfill(
        &mut self,
        table: &Table,
        run: Run,
        end: End,
    ) -> Result<bool, WriteError> {
        let state = match end {
            End::Done => "done",
            End::Stopped => "stopped",
        };
        let sql = "UPDATE `crossfade_backfill` SET `state` = ?, `at` = CURRENT_TIMESTAMP(6) \
             WHERE `table_id` = ? AND `run` = ?";
        self.conn().exec_drop(sql, (state, id(table)?.0, &run.0[..])).await?;
        Ok(self.conn().affected_rows() == 1)
    }
}

/// In the chunk's transaction, as its last statement; false if the table is another run's.
pub(super) async fn inserted(
    link: &mut Link,
    table: &Table,
    run: &Run,
) -> Result<bool, WriteError> {
    let sql = "UPDATE `crossfade_backfill` SET `unswept` = `unswept` + 1 \
         WHERE `table_id` = ? AND `run` = ?";
    link.conn().exec_drop(sql, (id(table)?.0, &run.0[..])).await?;
    Ok(link.conn().affected_rows() == 1)
}

/// In the sweep's transaction, as its last statement; false if the table is another run's. `chunks` is
/// 1, or 0 where none was inserted.
pub(super) async fn swept(
    link: &mut Link,
    table: &Table,
    run: &Run,
    reached: &Reached,
    chunks: u32,
) -> Result<bool, WriteError> {
    let sql = "UPDATE `crossfade_backfill` SET `unswept` = `unswept` - ?, `reached` = ?, `copied` = ?, \
         `refused` = ?, `epoch` = ?, `counter` = ?, `at` = CURRENT_TIMESTAMP(6) \
         WHERE `table_id` = ? AND `run` = ?";
    let Reached { key, copied, refused, bound } = reached;
    let params =
        (chunks, key, copied, refused, bound.epoch, bound.counter, id(table)?.0, &run.0[..]);
    link.conn().exec_drop(sql, params).await?;
    Ok(link.conn().affected_rows() == 1)
}

/// From where on nothing of a table may be pruned; ask with its floor locked.
pub(super) async fn bound(link: &mut Link, table: TableId) -> Result<Option<Version>, WriteError> {
    const NO_TABLE: u16 = 1146;
    let sql = "SELECT `epoch`, `counter` FROM `crossfade_backfill` \
         WHERE `table_id` = ? AND (`state` = 'running' OR `unswept` > 0)";
    match link.conn().exec_first(sql, (table.0,)).await {
        Ok(bound) => Ok(bound.map(|(epoch, counter)| Version { epoch, counter, n: 0 })),
        // Set up before there was such a table, and nothing copied since.
        Err(mysql_async::Error::Server(error)) if error.code == NO_TABLE => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn standing((state, key, copied, refused, unswept, epoch, counter): Line) -> Standing {
    let bound = Version { epoch, counter, n: 0 };
    Standing {
        reached: Reached { key, copied, refused, bound },
        done: state == "done",
        unswept: unswept > 0,
    }
}

fn id(table: &Table) -> Result<TableId, WriteError> {
    table.id.ok_or_else(|| WriteError::NoKey(table.name.clone()))
}
