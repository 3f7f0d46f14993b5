//! Where the migration stands, and what every part of the proxy has to know about it.
//!
//! ```text
//! control ──watch<Arc<Situation>>──▶ session, apply, outbox, admin
//! ```
//!
//! Invariant: phase, epoch and catalogue are published together, so that no statement is planned
//! under one and executed under another.

use std::sync::Arc;

use crate::catalog::Catalog;

/// The phases of design and README, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Nothing is set up: a transparent proxy that observes.
    Setup,
    /// PostgreSQL answers, MySQL follows.
    DualWrite,
    /// MySQL answers, PostgreSQL follows.
    Switched,
    /// MySQL alone.
    Complete,
}

impl Phase {
    pub const ALL: [Self; 4] = [Self::Setup, Self::DualWrite, Self::Switched, Self::Complete];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::DualWrite => "dual_write",
            Self::Switched => "switched",
            Self::Complete => "complete",
        }
    }
}

/// Who answers, where both databases have the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leads {
    Postgres,
    MySql,
}

impl Phase {
    /// `None` where only one of them has them.
    #[must_use]
    pub fn leads(self) -> Option<Leads> {
        match self {
            Self::DualWrite => Some(Leads::Postgres),
            Self::Switched => Some(Leads::MySql),
            Self::Setup | Self::Complete => None,
        }
    }
}

/// One consistent picture of the migration.
#[derive(Clone, Debug)]
pub struct Situation {
    pub phase: Phase,
    /// The number that a captured write must find on the primary (design 4.7).
    pub epoch: u64,
    /// The primary's timeline, as the first eight hexadecimal digits of `pg_walfile_name`.
    pub timeline: String,
    pub catalog: Arc<Catalog>,
    /// The primary's major version (`server_version_num / 10000`); 0 while it is not known.
    pub server: u32,
}

impl Situation {
    /// Before anything is known: transparent.
    #[must_use]
    pub fn transparent() -> Self {
        Self {
            phase: Phase::Setup,
            epoch: 0,
            timeline: String::new(),
            catalog: Arc::new(Catalog::default()),
            server: 0,
        }
    }
}
