//! MySQL and MariaDB: reached, asked, and written to in the one way that keeps order.
//!
//! ```text
//! ToUrl ──[`connect`]──▶ Link (settings verified: [`session`])
//!                          │
//!   Transaction, Change ──[`write`]──▶ fence rows, then rows, in one transaction
//! ```
//!
//! Invariant: whoever changes a user's table on the secondary goes through [`write::Writer`], or, for
//! rows without a version, through [`copy::Copier`].
//!
//! Not here: which transactions run side by side (`apply`), what is read again (`outbox`).

pub mod cascade;
pub mod connect;
pub mod connection;
pub mod control;
pub mod copy;
pub mod error;
mod execute;
pub mod facts;
mod fence;
mod foreign;
pub mod kept;
mod lock;
pub mod look;
pub mod note;
pub mod outbox;
mod owners;
pub mod past;
pub mod progress;
pub mod prune;
mod rows;
mod session;
pub mod sidecars;
mod statements;
pub mod stuck;
pub mod switch;
mod truncate;
pub mod verifiers;
pub mod write;

pub use cascade::Cause;
pub use connect::{Link, ToUrl};
pub use connection::Connection;
pub use error::{Reaction, WriteError};
pub use execute::Failed;
pub use fence::{Entry as FenceEntry, Fence, Place, TableFence};
pub use foreign::ranks;
pub use look::{Columns, Sight};
pub use write::{Outcome, Refused, Writer};
