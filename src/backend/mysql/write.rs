//! The one fenced writer: every change of a user's row on the secondary goes through here.
//!
//! ```text
//! BEGIN; the fence locked and read                    [`lock`], one round trip
//!   fence::plan                                       which changes are news
//!   rows                                              by primary key only
//! fence entries; COMMIT                               one round trip
//! ```
//!
//! Invariant: fence and rows move in one transaction, so an apply can be repeated, doubled and
//! reordered, by any number of sidecars. After any error comes a ROLLBACK: MySQL undoes the
//! statement only.
//!
//! Not here: how often to try again (`apply`, `outbox`); a future that was dropped half-way leaves
//! the connection in the middle of a transaction, so its writer must be dropped too.

use super::connect::Link;
use super::connection::Connection;
use super::error::{Reaction, WriteError};
use super::execute::Run;
use super::fence;
use super::lock;
use crate::catalog::Catalog;
use crate::change::Change;

pub use super::fence::Outcome;

/// Deadlocks, races and lock waits in a row before the caller hears of it.
const ATTEMPTS_MAX: u32 = 5;
/// Rows of one multi-row statement, largest first: few texts, so that they stay prepared.
pub(super) const ROWS_AT_ONCE: [usize; 4] = [128, 32, 8, 1];
/// MySQL's limit on placeholders is 65,535.
pub(super) const PLACEHOLDERS_MAX: usize = 60_000;

/// Writes to the secondary over one connection.
#[derive(Debug)]
pub struct Writer<C = Link> {
    pub(super) link: C,
}

/// Nothing of the batch was written; this change is why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct Refused {
    /// Position of the change in the whole batch.
    pub at: usize,
    /// The column, where the server named it.
    pub column: Option<String>,
    pub error: WriteError,
}

impl<C: Connection> Writer<C> {
    #[must_use]
    pub fn new(link: C) -> Self {
        Self { link }
    }

    /// The connection, for reading and for Crossfade's own tables.
    pub fn link(&mut self) -> &mut C {
        &mut self.link
    }

    /// Applies transactions in order, all of them or none; answers with one outcome per change.
    /// Deadlocks and races are repeated here.
    pub async fn write(
        &mut self,
        batch: &[&[Change]],
        epoch: u64,
        catalog: &Catalog,
    ) -> Result<Vec<Outcome>, Refused> {
        let mut attempt = 1;
        loop {
            match self.attempt(batch, epoch, catalog, true).await {
                Err(refused)
                    if attempt < ATTEMPTS_MAX && refused.error.reaction() == Reaction::Now =>
                {
                    attempt += 1;
                }
                other => return other,
            }
        }
    }

    /// The same without the COMMIT: the transaction stays open until [`Self::commit`] or
    /// [`Self::rollback`]. After an error it is already rolled back.
    pub async fn prepare(
        &mut self,
        batch: &[&[Change]],
        epoch: u64,
        catalog: &Catalog,
    ) -> Result<Vec<Outcome>, Refused> {
        self.attempt(batch, epoch, catalog, false).await
    }

    async fn attempt(
        &mut self,
        batch: &[&[Change]],
        epoch: u64,
        catalog: &Catalog,
        commit: bool,
    ) -> Result<Vec<Outcome>, Refused> {
        let mut registered = false;
        loop {
            let refused = match self.apply(batch, epoch, catalog, commit).await {
                Ok(outcomes) => return Ok(outcomes),
                Err(refused) => refused,
            };
            // A connection that did not roll back must not live on: the next BEGIN would commit what
            // is half done.
            if !refused.error.breaks_connection() && self.rollback().await.is_err() {
                return Err(Refused { error: WriteError::Disconnected, ..refused });
            }
            // Once the tables are registered, a second "not set up" is one.
            if refused.error != WriteError::NotSetUp || std::mem::replace(&mut registered, true) {
                return Err(refused);
            }
            self.register(batch).await.map_err(|error| Refused { error, ..refused })?;
        }
    }

    pub async fn commit(&mut self) -> Result<(), WriteError> {
        self.link.commit().await
    }

    pub async fn rollback(&mut self) -> Result<(), WriteError> {
        self.link.rollback().await
    }

    async fn register(&mut self, batch: &[&[Change]]) -> Result<(), WriteError> {
        for table in lock::tables(batch).keys() {
            self.link.register(*table).await?;
        }
        Ok(())
    }

    async fn apply(
        &mut self,
        batch: &[&[Change]],
        epoch: u64,
        catalog: &Catalog,
        commit: bool,
    ) -> Result<Vec<Outcome>, Refused> {
        let first = |error| Refused { at: 0, column: None, error };
        check_keys(batch)?;
        let mut fence = self.link.begin(batch, epoch).await.map_err(first)?;
        let (steps, outcomes) = fence::plan(batch, &mut fence);
        let mut run = Run::new(&mut self.link, catalog, batch.len() == 1);
        run.all(steps).await?;
        self.link.end(&fence, commit).await.map_err(first)?;
        Ok(outcomes)
    }
}

pub(super) fn at_once(rows: usize) -> usize {
    ROWS_AT_ONCE.into_iter().find(|size| *size <= rows).unwrap_or(1)
}

fn check_keys(batch: &[&[Change]]) -> Result<(), Refused> {
    for (at, change) in batch.iter().copied().flatten().enumerate() {
        if change.table.id.is_none() || change.table.key.is_empty() {
            let error = WriteError::NoKey(change.table.name.clone());
            return Err(Refused { at, column: None, error });
        }
    }
    Ok(())
}
