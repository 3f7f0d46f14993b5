//! An attempt that did not come to its end: undone, unless it has happened after all.
//!
//! ```text
//! failed, or its coordinator gone ──the attempt's line locked──▶ has the epoch moved? ─┬─ no: undone
//!                                                                                      └─ yes: finished
//! ```
//!
//! Invariant: an attempt is undone only while nobody can move the epoch for it, and neither side has.

use std::sync::Arc;

use tokio::time::Instant;
use tokio_postgres::Client;

use super::finish::{self, Since};
use super::{Direction, Ended, Outcome, Run, SwitchError};
use crate::backend::mysql::{Link, control as mysql};
use crate::backend::postgres::attempts::{self, Closed};
use crate::backend::postgres::moved;
use crate::catalog::Table;
use crate::control::{Ends, layout};

impl Run<'_> {
    /// Closes the attempt of a coordinator that is gone: what it led to is known by now.
    pub(super) async fn close_old(&mut self, epoch: u64) -> Result<(), SwitchError> {
        if !attempts::exist(&self.client).await? {
            return Ok(());
        }
        let Some(old) = attempts::under_way(&self.client).await? else { return Ok(()) };
        if old.in_time && epoch <= old.epoch {
            return Ok(());
        }
        let turn = match old.direction {
            Direction::Rollback if moved::now(&self.client).await?.is_empty() => old.epoch * 2 + 1,
            // Of the tables that have moved alone.
            Direction::Rollback | Direction::Switchover => old.epoch * 2,
        };
        let reasons = ["its time was up, and whoever ran it was gone".to_owned()];
        let moved = has_mysql_moved(self.ends, old.direction, old.epoch);
        let closed = attempts::undo(&mut self.client, old.id, turn, &reasons, moved).await?;
        if closed == Closed::Moved && old.epoch < epoch {
            attempts::done(&self.client, epoch).await?;
        }
        Ok(layout::let_in(&self.client).await?)
    }

    /// Ends the attempt, unless the epoch has moved after all: then it is finished.
    pub(super) async fn undo(
        mut self,
        undone: Undone,
        tables: &[&Arc<Table>],
        began: Instant,
    ) -> Result<Outcome, SwitchError> {
        let Undone { id, epoch, reasons, certain } = undone;
        if self.client.is_closed() {
            self.client = self.ends.from.connect().await?;
        }
        let direction = self.options.direction;
        let moved = async {
            if certain { Some(false) } else { has_mysql_moved(self.ends, direction, epoch).await }
        };
        let closed = attempts::undo(&mut self.client, id, self.turn, &reasons, moved).await?;
        let hold_seconds = self.held(id, began).await;
        let ended = |how, epoch, reasons| Outcome::new(how, epoch, reasons).held(hold_seconds);
        // Somebody else has ended it: as done, or before our last word arrived after all.
        let closed = match closed {
            Closed::Before if is_done(&self.client, id).await? => {
                return Ok(ended(Ended::Done, epoch + 1, Vec::new()));
            }
            Closed::Before if !certain => {
                match has_mysql_moved(self.ends, direction, epoch).await {
                    Some(true) => Closed::Moved,
                    _ => closed,
                }
            }
            closed => closed,
        };
        match closed {
            Closed::Undone | Closed::Before => {
                layout::let_in(&self.client).await?;
                Ok(ended(Ended::Undone, epoch, reasons))
            }
            Closed::Unknown => Err(SwitchError::Doubtful(reasons.join(", "))),
            Closed::Moved => {
                let since = Since { given: Instant::now(), drained: None };
                finish::finish(&self, tables, direction, epoch + 1, since).await?;
                Ok(ended(Ended::Done, epoch + 1, Vec::new()))
            }
        }
    }
}

/// An attempt that did not come to its end.
pub(super) struct Undone {
    pub(super) id: i64,
    /// Before it.
    pub(super) epoch: u64,
    pub(super) reasons: Vec<String>,
    /// Nothing was sent that could have moved the epoch.
    pub(super) certain: bool,
}

async fn is_done(client: &Client, id: i64) -> Result<bool, SwitchError> {
    Ok(attempts::look(client, id).await?.is_some_and(|look| look.state == "done"))
}

/// Whether MySQL has given the lead back since this epoch; `None` where it does not answer. It never goes first in
/// a switchover.
async fn has_mysql_moved(ends: &Ends, direction: Direction, epoch: u64) -> Option<bool> {
    if direction == Direction::Switchover {
        return Some(false);
    }
    let mut link = Link::connect(&ends.to, &ends.limits).await.ok()?;
    let turn = mysql::turn(link.conn()).await.ok()??;
    Some(epoch < turn.epoch && !turn.mysql_is_primary && !turn.leads_part)
}
