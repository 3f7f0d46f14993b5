//! The only part that changes the phase: it sets up, publishes where things stand, and gives back.
//!
//! ```text
//! `crossfade setup` ──[`setup`]──▶ both databases
//! PostgreSQL (epoch, catalogue, dirty marks) ──[`store`]──watch<Arc<Situation>>──▶ session, apply, admin
//! ```
//!
//! Invariant: the databases are the truth. What a sidecar knows is what it read there, so any number
//! of sidecars agree, and one that restarts knows what it knew.

pub mod attend;
pub mod backfill;
pub mod layout;
pub mod preflight;
pub mod repair;
pub mod setup;
pub mod statements;
pub mod store;
pub mod switchover;
pub mod verify;

use crate::backend::mysql::connect::LinkLimits;
use crate::backend::mysql::{ToUrl, WriteError};
use crate::backend::postgres::connect::{ConnectError, Connector};
use crate::catalog::check::Obstacle;

/// Both databases, as proxy.yaml names them.
#[derive(Clone, Debug)]
pub struct Ends {
    pub from: Connector,
    pub to: ToUrl,
    pub limits: LinkLimits,
}

/// Why a verb that works on both databases failed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error(transparent)]
    From(#[from] ConnectError),
    #[error("could not reach MySQL at {place}")]
    To { place: String, source: WriteError },
    #[error("PostgreSQL refused to {action}")]
    Postgres { action: String, source: tokio_postgres::Error },
    /// MySQL's messages about DDL hold names, never values of rows.
    #[error("MySQL refused to {action}")]
    MySql { action: String, source: mysql_async::Error },
    /// Each obstacle on lines of its own.
    #[error("nothing was changed, since:{}", list(.0))]
    Blocked(Vec<Obstacle>),
    #[error("could not read MySQL's schema")]
    Facts(#[source] WriteError),
    #[error(
        "PostgreSQL was left for good by `crossfade complete`: there is nothing to set up any more"
    )]
    Complete,
    #[error("the migration is being given up: run `crossfade abandon`, which finishes it")]
    Abandoned,
    #[error(transparent)]
    Layout(#[from] layout::UnknownLayout),
}

fn list(obstacles: &[Obstacle]) -> String {
    obstacles.iter().map(|obstacle| format!("\n{obstacle}")).collect()
}

impl ControlError {
    /// True where a database was not reached at all, or the login was refused.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::From(_) | Self::To { .. })
    }
}
