//! Whose turn it is while a pass goes on: what is on its way is looked for on the side that leads.
//!
//! Invariant: nothing is noted of a pass during which the primary changed.

use tokio_postgres::Client;

use super::VerifyError;
use crate::backend::postgres::moved;
use crate::phase::Leads;

/// Twice the epoch, and one more while it is MySQL's turn.
const TURN: &str = "SELECT last_value FROM crossfade.epoch";

/// What `crossfade.epoch` held when a pass began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn(i64);

impl Turn {
    /// That of now, in which this side has to lead.
    pub(super) async fn note(client: &Client, leads: Leads) -> Result<Self, VerifyError> {
        let turn: i64 = client.query_one(TURN, &[]).await?.try_get(0)?;
        match (leads, turn % 2) {
            (Leads::Postgres, 0) | (Leads::MySql, 1) => Ok(Self(turn)),
            // Of some tables.
            (Leads::MySql, 0) if !moved::now(client).await?.is_empty() => Ok(Self(turn)),
            _ => Err(VerifyError::Turned),
        }
    }

    /// Whether it is the same turn still.
    pub(super) async fn holds(self, client: &Client) -> Result<(), VerifyError> {
        let now: i64 = client.query_one(TURN, &[]).await?.try_get(0)?;
        if now == self.0 { Ok(()) } else { Err(VerifyError::Turned) }
    }
}
