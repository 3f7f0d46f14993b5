//! What stands in the way of a migration, and what to do about it.
//!
//! ```text
//! Catalog, Circumstances, PrimaryFacts, SecondaryFacts ──[`check`]──▶ every Obstacle at once
//! ```
//!
//! Invariant: pure; the same facts give the same list, in the same order. A table with an obstacle
//! of severity `Excluded` is one that `setup` leaves out.

mod server;
mod settings;
mod table;

use std::collections::HashMap;
use std::fmt;

use crate::catalog::Catalog;
use crate::catalog::choose::Circumstances;
use crate::catalog::ddl;
use crate::names::{Oid, TableName};
use crate::policy::TypeChoices;
use crate::value::Flavor;

pub use settings::{PRIMARY as PRIMARY_SETTINGS, SECONDARY as SECONDARY_SETTINGS, Scope, Setting};

/// How bad it is. Ordered from worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// `setup` refuses to begin.
    Blocker,
    /// The table is not migrated as it is.
    Excluded,
    /// Worth knowing.
    Warning,
}

impl Severity {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blocker => "blocker",
            Self::Excluded => "not migrated",
            Self::Warning => "warning",
        }
    }
}

/// One thing in the way. Holds names, never values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Obstacle {
    pub severity: Severity,
    /// `None` where it concerns a server as a whole.
    pub table: Option<TableName>,
    pub what: String,
    /// What to do.
    pub advice: String,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.severity.as_str())?;
        if let Some(table) = &self.table {
            write!(f, "{table}: ")?;
        }
        f.write_str(&self.what)?;
        if self.advice.is_empty() { Ok(()) } else { write!(f, "\n    {}", self.advice) }
    }
}

/// What PostgreSQL says of itself and of our role's rights.
#[derive(Clone, Debug, Default)]
pub struct PrimaryFacts {
    /// `server_version_num`.
    pub version: i32,
    pub wal_level: String,
    pub encoding: String,
    /// `datcollate`.
    pub collation: String,
    pub in_recovery: bool,
    /// Our role.
    pub role: String,
    pub superuser: bool,
    pub bypasses_row_security: bool,
    pub reads_verifiers: bool,
    /// May set `session_replication_role`, as whoever follows does.
    pub follows: bool,
    /// May create the schema `crossfade`, or owns it.
    pub owns_schema: bool,
    /// The role that owns the schema `crossfade`, where it is neither ours nor a superuser.
    pub schema_stranger: Option<String>,
    pub database: String,
    pub max_connections: i64,
    /// Kept for superusers.
    pub reserved_connections: i64,
    /// Connections that this database may have; `None` without a limit of its own.
    pub database_connections: Option<i64>,
    /// Those of [`PRIMARY_SETTINGS`] that are set for the server, the database, a role.
    pub settings: Vec<Setting>,
    pub rights: HashMap<Oid, Rights>,
    /// The types that `setup` recorded; `None` before it.
    pub recorded_types: Option<String>,
}

/// Our role's rights on one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    pub usage: bool,
    pub select: bool,
    pub update: bool,
    pub trigger: bool,
    pub insert: bool,
    pub delete: bool,
    pub owner: bool,
}

/// What MySQL says of itself and of our user's rights.
#[derive(Clone, Debug)]
pub struct SecondaryFacts {
    pub flavor: Flavor,
    /// `VERSION()`.
    pub version: String,
    pub database: String,
    /// Our user, as GRANT names it.
    pub user: String,
    /// Tables of ours are there: `setup` has been here.
    pub set_up: bool,
    /// Tables that hold a row, of those that `setup` would fill.
    pub filled: Vec<String>,
    pub max_connections: u64,
    pub read_only: bool,
    pub max_allowed_packet: u64,
    pub page_size: u64,
    /// 1 and 2 fold the case of table names.
    pub lower_case_table_names: u64,
    /// Privileges on the database that are missing.
    pub missing: Vec<String>,
    /// Those of [`SECONDARY_SETTINGS`] that the server has.
    pub settings: HashMap<String, String>,
    /// Triggers on tables that migrate, and whether they run before the write.
    pub triggers: Vec<(String, bool)>,
}

/// What proxy.yaml allows.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// `limits.max_connections`: each client has a connection of its own to PostgreSQL.
    pub connections: usize,
    /// `limits.workers` and `limits.strict`: connections to MySQL that write.
    pub workers: usize,
    pub strict: usize,
    /// The `types:` section.
    pub types: TypeChoices,
}

impl Wanted {
    /// Connections to MySQL of one sidecar, with those of a verb that runs beside it.
    #[must_use]
    pub fn secondary_connections(&self) -> usize {
        self.workers + self.strict + OTHER_CONNECTIONS
    }
}

/// The store's, the outbox's, the one that counts rows, a verb's.
const OTHER_CONNECTIONS: usize = 5;

/// Every obstacle, worst first. Where MySQL takes no session of ours there are no facts of it.
#[must_use]
pub fn check(
    catalog: &Catalog,
    circumstances: &HashMap<Oid, Circumstances>,
    primary: &PrimaryFacts,
    secondary: Option<&SecondaryFacts>,
    wanted: Wanted,
) -> Vec<Obstacle> {
    let mut found = Found::default();
    server::primary(primary, wanted, &mut found);
    settings::primary(primary, &mut found);
    server::types(primary, wanted, &mut found);
    let folds_case = secondary.is_some_and(|facts| facts.lower_case_table_names != 0);
    match secondary {
        Some(secondary) => {
            server::secondary(secondary, wanted, &mut found);
            settings::secondary(secondary, wanted, &mut found);
        }
        None => server::no_session(&mut found),
    }
    server::views(catalog, &mut found);
    table::names(catalog, folds_case, &mut found);
    let none = Circumstances::default();
    for table in catalog.tables.values() {
        let circumstances = circumstances.get(&table.oid).unwrap_or(&none);
        table::one(table, circumstances, primary, &mut found);
    }
    let flavor = secondary.map_or(Flavor::MySql, |facts| facts.flavor);
    for statement in ddl::create(catalog, flavor) {
        for warning in statement.warnings {
            found.add(Severity::Warning, Some(&statement.table), warning, "");
        }
    }
    found.0.sort();
    found.0.dedup();
    found.0
}

/// The list under construction.
#[derive(Debug, Default)]
struct Found(Vec<Obstacle>);

impl Found {
    fn add(
        &mut self,
        severity: Severity,
        table: Option<&TableName>,
        what: impl Into<String>,
        advice: impl Into<String>,
    ) {
        let (what, advice) = (what.into(), advice.into());
        self.0.push(Obstacle { severity, table: table.cloned(), what, advice });
    }
}

#[cfg(test)]
mod tests;
