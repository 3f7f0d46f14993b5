//! Statements that a session keeps prepared on MySQL, within what all sessions may keep together.
//!
//! ```text
//! text ──kept? ─┬─ yes ─────────────────────────────────▶ Statement
//!               └─ no ──PREPARE──▶ room on the [`Shelf`]? ─┬─ yes ─▶ kept
//!                                                          ├─ no, but one of ours ─▶ it is closed, ours is kept
//!                                                          └─ no ─▶ closed after this once
//! ```
//!
//! MySQL counts prepared statements of all connections (`max_prepared_stmt_count`, 16,382 unless it is
//! told otherwise), and refuses the next PREPARE with 1461, whoever asks.
//!
//! Invariant: no more are kept than the shelf has room for, and a session's room is free once it has ended.

use std::collections::HashMap;
use std::sync::Arc;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error, Statement};
use prometheus::{IntCounter, IntGauge, Registry};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// One session keeps so many, at most.
const KEPT_MAX: usize = 256;
/// "Can't create more than max_prepared_stmt_count statements".
const TOO_MANY: u16 = 1461;

/// Room for the statements of all sessions; cheap to clone.
#[derive(Clone, Debug)]
pub struct Shelf {
    room: Arc<Semaphore>,
    metrics: Option<ShelfMetrics>,
}

/// How full the shelf is.
#[derive(Clone, Debug)]
pub struct ShelfMetrics {
    kept: IntGauge,
    once: IntCounter,
}

impl ShelfMetrics {
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let kept = IntGauge::new(
            "prepared_statements",
            "Statements kept prepared on MySQL for clients that it answers.",
        )?;
        let once = IntCounter::new(
            "prepared_once_total",
            "Statements prepared on MySQL for one execution, since limits.prepared was reached.",
        )?;
        registry.register(Box::new(kept.clone()))?;
        registry.register(Box::new(once.clone()))?;
        Ok(Self { kept, once })
    }
}

impl Shelf {
    /// For so many statements.
    #[must_use]
    pub fn new(statements_max: usize, metrics: Option<ShelfMetrics>) -> Self {
        Self { room: Arc::new(Semaphore::new(statements_max)), metrics }
    }

    fn place(&self) -> Option<Place> {
        let permit = Arc::clone(&self.room).try_acquire_owned().ok()?;
        let kept = self.metrics.as_ref().map(|metrics| metrics.kept.clone());
        kept.iter().for_each(IntGauge::inc);
        Some(Place { _permit: permit, kept })
    }
}

/// Room for one statement, given back when it is dropped.
struct Place {
    _permit: OwnedSemaphorePermit,
    kept: Option<IntGauge>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.kept.iter().for_each(IntGauge::dec);
    }
}

/// Those of one session.
pub(super) struct Prepared {
    shelf: Shelf,
    kept: HashMap<String, Kept>,
    /// Counts uses.
    clock: u64,
}

struct Kept {
    statement: Statement,
    used: u64,
    place: Place,
}

/// A statement to be executed.
pub(super) struct Use {
    pub(super) statement: Statement,
    /// To be closed once it has been.
    pub(super) once: bool,
}

impl Prepared {
    pub(super) fn new(shelf: Shelf) -> Self {
        Self { shelf, kept: HashMap::new(), clock: 0 }
    }

    pub(super) async fn get(&mut self, conn: &mut Conn, sql: &str) -> Result<Use, Error> {
        self.clock += 1;
        if let Some(kept) = self.kept.get_mut(sql) {
            kept.used = self.clock;
            return Ok(Use { statement: kept.statement.clone(), once: false });
        }
        let statement = match conn.prep(sql).await {
            Err(Error::Server(error)) if error.code == TOO_MANY && !self.kept.is_empty() => {
                // Others have all the room there is: what is ours, each on its own, makes some.
                for (_, kept) in self.kept.drain() {
                    conn.close(kept.statement).await?;
                }
                conn.prep(sql).await?
            }
            prepared => prepared?,
        };
        let place = match self.kept.len() < KEPT_MAX {
            true => self.shelf.place(),
            false => None,
        };
        let Some(place) = (match place {
            Some(place) => Some(place),
            None => self.make_room(conn).await?,
        }) else {
            self.shelf.metrics.iter().for_each(|metrics| metrics.once.inc());
            return Ok(Use { statement, once: true });
        };
        let kept = Kept { statement: statement.clone(), used: self.clock, place };
        self.kept.insert(sql.to_owned(), kept);
        Ok(Use { statement, once: false })
    }

    /// Closes the one that was not used for longest; its room is then free.
    async fn make_room(&mut self, conn: &mut Conn) -> Result<Option<Place>, Error> {
        let oldest = self.kept.iter().min_by_key(|(_, kept)| kept.used).map(|(sql, _)| sql.clone());
        let Some(kept) = oldest.and_then(|sql| self.kept.remove(&sql)) else { return Ok(None) };
        conn.close(kept.statement).await?;
        Ok(Some(kept.place))
    }
}
