//! Copies the rows that were there before dual writes, while the application writes.
//!
//! ```text
//! tables, parents first ──[`table`]──▶ chunks by key ──[`read`]──▶ workers ─▶ `backend::mysql::copy` (insert, sweep)
//!                                         ▲                         └─▶ rows that are refused: outbox
//!   [`watch`]: bound, holds, the lock ────┘                         └─▶ [`track`] ─▶ how far, in the sweep's transaction
//! ```
//!
//! Invariant: rows are inserted without a version, so a live write always wins; a row deleted meanwhile is
//! swept away, since no tombstone that a chunk may need is forgotten while it is open. What is written
//! down as copied is inserted and swept, so a run may be killed anywhere and another goes on.
//!
//! A row that the secondary refuses is entered into the outbox: the drain reads it again, brings along
//! whoever holds its unique value, or shows it with its reason.
//!
//! Not here: which tables, and starting again after a failover (`control::backfill`).

mod pace;
mod progress;
mod read;
mod table;
mod track;
mod watch;

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::watch as channel;

use crate::backend::mysql::connect::LinkLimits;
use crate::backend::mysql::copy::CopyError;
use crate::backend::mysql::{Reaction, ToUrl, WriteError};
use crate::backend::postgres::connect::{ConnectError, Connector};
use crate::catalog::Table;
use crate::names::{TableId, TableName};

pub use pace::{Bounds, Hold};
pub use progress::{Activity, Progress, RefusedRow, Snapshot, State, TableProgress};
use watch::Watch;

/// How copying is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Chunks written at the same time.
    pub workers: usize,
    /// Rows of a chunk.
    pub chunk_rows: usize,
    /// Bytes of a chunk's rows, as PostgreSQL sends them. Each worker holds one chunk, the reader another.
    pub chunk_bytes: usize,
    /// Rows a second over all workers.
    pub max_rate: Option<u64>,
    pub bounds: Bounds,
    /// Tables that were copied before are copied again.
    pub again: bool,
}

/// Why copying ended early.
#[derive(Debug, thiserror::Error)]
pub enum BackfillError {
    #[error("could not reach PostgreSQL")]
    From(#[from] ConnectError),
    /// The server's own words could quote a value; its code cannot.
    #[error("PostgreSQL failed: {}", .0.code().map_or("lost the connection", |code| code.code()))]
    Postgres(#[from] tokio_postgres::Error),
    #[error("MySQL failed: {}", .0.code())]
    MySql(#[from] WriteError),
    #[error("a table is not as it was when the catalogue was read")]
    Stale,
    #[error("another backfill copies into this database")]
    Busy,
    #[error("another backfill has taken table \"{0}\" over")]
    TakenOver(TableName),
    #[error("more than {max} rows of table \"{table}\" were refused")]
    TooManyRefused { table: TableName, max: u64 },
}

impl BackfillError {
    /// A database was not reached, or went away; what was begun may be gone on with.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::From(_) => true,
            Self::Postgres(error) => error.is_closed() || error.as_db_error().is_none_or(ends),
            Self::MySql(error) => error.breaks_connection(),
            _ => false,
        }
    }

    /// It may go well after another look at the primary's state, or once others have let go of locks.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        let soon = match self {
            Self::MySql(error) => matches!(error.reaction(), Reaction::Now | Reaction::ReadAgain),
            Self::Stale => true,
            _ => false,
        };
        soon || self.is_unreachable() && !self.is_refused()
    }

    /// The login was refused: no other attempt with the same password helps.
    fn is_refused(&self) -> bool {
        match self {
            Self::From(ConnectError::Refused { source, .. }) => {
                source.code().is_some_and(|code| matches!(&code.code()[..2], "28" | "3D"))
            }
            Self::MySql(WriteError::Server { code, .. }) => matches!(code, 1044 | 1045 | 1049),
            _ => false,
        }
    }
}

/// The server goes away, or ended our session.
fn ends(error: &tokio_postgres::error::DbError) -> bool {
    matches!(&error.code().code()[..2], "57" | "08")
}

/// One run over tables, which may be begun again where it failed.
#[derive(Debug)]
pub struct Backfill {
    from: Connector,
    to: ToUrl,
    limits: LinkLimits,
    options: Options,
    progress: Progress,
    stop: channel::Receiver<bool>,
    /// Tables that this run has begun: these are gone on with, whatever [`Options::again`] says.
    begun: HashSet<TableId>,
}

impl Backfill {
    #[must_use]
    pub fn new(
        from: Connector,
        to: ToUrl,
        limits: LinkLimits,
        options: Options,
        progress: Progress,
        stop: channel::Receiver<bool>,
    ) -> Self {
        Self { from, to, limits, options, progress, stop, begun: HashSet::new() }
    }

    /// Copies tables in this order, until all are done or it is time to stop.
    pub async fn run(&mut self, tables: &[Arc<Table>], epoch: u64) -> Result<(), BackfillError> {
        let (mut watch, mut seen) = Watch::open(self, tables, epoch).await?;
        tokio::select! {
            // Only ever fails: without it, nothing may be copied.
            result = watch.run() => result?,
            result = self.tables(tables, epoch, &mut seen) => result?,
        }
        watch.last().await
    }

    async fn tables(
        &mut self,
        tables: &[Arc<Table>],
        epoch: u64,
        seen: &mut watch::Seen,
    ) -> Result<(), BackfillError> {
        let mut stop = self.stop.clone();
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
            _ = seen.bound.wait_for(Option::is_some) => {}
        }
        for table in tables {
            if *self.stop.borrow() {
                break;
            }
            table::copy(self, table, epoch, seen).await?;
        }
        Ok(())
    }
}

impl From<CopyError> for BackfillError {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Secondary(error) => Self::MySql(error),
            // Whoever meets this throws the chunk away; elsewhere the table has to be looked at again.
            CopyError::Emptied | CopyError::TakenOver => Self::Stale,
        }
    }
}
