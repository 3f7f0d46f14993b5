//! Why a look at where things stand came to nothing, and what is said of it.
//!
//! Invariant: what is said holds names, places and codes, never a server's own words.

use tracing::{error, info, warn};

use crate::backend::mysql::WriteError;
use crate::backend::postgres::connect::ConnectError;
use crate::control::layout::UnknownLayout;

/// Why a look came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("could not read the primary's catalogue")]
    Ask(#[from] tokio_postgres::Error),
    #[error("could not bring the secondary to the epoch")]
    Secondary(#[from] WriteError),
    #[error("the server that from.url names is a standby")]
    Standby,
    #[error("{0} is gone from the primary, run `crossfade setup`")]
    Damaged(String),
    #[error("the role {0} owns the schema crossfade, run `crossfade check`")]
    Foreign(String),
    #[error(transparent)]
    Layout(#[from] UnknownLayout),
    #[error("the schema keeps changing")]
    Restless,
    #[error("the primary is another server now, and writes still hold the old epoch")]
    Held,
    #[error("the primary did not answer in time")]
    TimedOut,
    #[error("the primary changes")]
    Between,
    #[error("MySQL is the primary of an epoch that PostgreSQL does not know")]
    Contrary,
}

impl LookError {
    /// False where it is nothing to be alarmed about, so that what comes after it is still to be reported.
    pub(super) fn report(&self, error: &str, again: bool) -> bool {
        match self {
            // Every change of the primary passes here; one that stays here runs the lease out, which is told.
            Self::Between => {
                if !again {
                    info!(
                        "the primary changes: clients wait until the other side has the epoch too"
                    );
                }
                return false;
            }
            // Writes fail until a person acts.
            Self::Damaged(_) | Self::Foreign(_) | Self::Layout(_) | Self::Contrary => {
                error!(error, "captured writes fail");
            }
            _ => warn!(error, "state not read, the last one stands"),
        }
        true
    }
}

/// What may be shown to clients too: of a server's own words only the code.
pub(super) fn told(error: &LookError) -> String {
    let code = match error {
        LookError::Ask(error) | LookError::Connect(ConnectError::Refused { source: error, .. }) => {
            error.code()
        }
        LookError::Connect(_)
        | LookError::Secondary(_)
        | LookError::Standby
        | LookError::Damaged(_)
        | LookError::Foreign(_)
        | LookError::Layout(_)
        | LookError::Restless
        | LookError::Held
        | LookError::Between
        | LookError::Contrary
        | LookError::TimedOut => None,
    };
    match (code, error) {
        (Some(code), error) => format!("{error} ({})", code.code()),
        (None, error) => chain(error),
    }
}

/// An error with its causes, once each.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += ": ";
        text += &cause.to_string();
        source = cause.source();
    }
    text
}
