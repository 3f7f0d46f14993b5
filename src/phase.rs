//! Where the migration stands, and what every part of the proxy has to know about it.
//!
//! ```text
//! control ──watch<Arc<Situation>>──▶ session, apply, outbox, admin
//! ```
//!
//! Invariant: phase, epoch and catalogue are published together, so that no statement is planned
//! under one and executed under another.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::catalog::{Capture, Catalog, Table};
use crate::names::TableId;

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

/// What each database's end goes by; the same twice where one of them leads all tables.
#[derive(Clone, Debug)]
pub struct Views {
    pub postgres: Arc<Situation>,
    pub mysql: Arc<Situation>,
}

impl Views {
    /// Tables whose outbox is MySQL's: by their names, as they are printed.
    #[must_use]
    pub fn led_by_mysql(&self) -> BTreeSet<String> {
        let Situation { phase, catalog, .. } = &*self.mysql;
        let name = |table: &Arc<Table>| table.name.to_string();
        match phase {
            Phase::Switched if catalog.parted => catalog.captured().map(name).collect(),
            Phase::Switched => catalog.tables.values().map(name).collect(),
            Phase::Setup | Phase::DualWrite | Phase::Complete => BTreeSet::new(),
        }
    }
}

impl Situation {
    /// What each end sees where MySQL leads the `moved` tables, and PostgreSQL the rest: the other's are
    /// [`Capture::Elsewhere`], and each leads what it sees.
    #[must_use]
    pub fn views(self, moved: &[TableId]) -> Views {
        if moved.is_empty() {
            let all = Arc::new(self);
            return Views { postgres: Arc::clone(&all), mysql: all };
        }
        // Also one that is not to be migrated any more: what PostgreSQL has of it is old.
        let has_moved = |table: &Table| table.id.is_some_and(|id| moved.contains(&id));
        let stays = |table: &Table| {
            let is_carried = matches!(table.capture, Capture::Returning | Capture::Trigger);
            is_carried && !has_moved(table)
        };
        let mysql = Self {
            phase: Phase::Switched,
            catalog: Arc::new(self.catalog.without(stays)),
            ..self.clone()
        };
        let catalog = Arc::new(self.catalog.without(has_moved));
        Views { postgres: Arc::new(Self { catalog, ..self }), mysql: Arc::new(mysql) }
    }

    /// The databases lead different tables.
    #[must_use]
    pub fn is_parted(&self) -> bool {
        self.catalog.parted
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::TableName;

    #[test]
    fn each_end_sees_what_the_other_leads_elsewhere() {
        let tables = ["users", "sessions", "codes"].map(|name| (name, "id:int4*"));
        let mut catalog = Catalog::for_test(&tables);
        let named = |catalog: &Catalog, name: &str| {
            Arc::clone(catalog.by_name(&TableName::parse(name)).unwrap())
        };
        let moved = ["sessions", "codes"].map(|name| named(&catalog, name).id.unwrap());
        let codes = named(&catalog, "codes").oid;
        Arc::make_mut(catalog.tables.get_mut(&codes).unwrap()).capture = Capture::Off;
        let catalog = Arc::new(catalog);
        let whole =
            Situation { phase: Phase::DualWrite, catalog, epoch: 3, ..Situation::transparent() };
        assert!(whole.clone().views(&[]).led_by_mysql().is_empty());
        let views = whole.views(&moved);
        assert_eq!(views.led_by_mysql().into_iter().collect::<Vec<_>>(), ["sessions"]);
        let seen = |view: &Situation| {
            ["users", "sessions", "codes"].map(|name| named(&view.catalog, name).capture.clone())
        };
        // What PostgreSQL has of a table that is not migrated any more is old all the same.
        let away = Capture::Elsewhere;
        assert_eq!(seen(&views.postgres), [Capture::Returning, away.clone(), away.clone()]);
        assert_eq!(seen(&views.mysql), [away, Capture::Returning, Capture::Off]);
    }
}
