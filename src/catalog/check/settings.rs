//! Settings of either server, of its roles and databases, that would lose rows or change values.
//!
//! Invariant: only what Crossfade's own sessions cannot set for themselves is here; those settings
//! are set, and read back, on every connection.

use std::collections::HashMap;

use crate::catalog::check::{Found, PrimaryFacts, SecondaryFacts, Severity, Wanted};
use crate::names::quote_pg;
use crate::value::Flavor;

/// One setting of PostgreSQL, and where it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    pub name: String,
    pub value: String,
    pub scope: Scope,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    Server,
    Database,
    Role(String),
}

impl Scope {
    fn of(&self) -> String {
        match self {
            Self::Server => "on this server".to_owned(),
            Self::Database => "in this database".to_owned(),
            Self::Role(role) => format!("for role {}", quote_pg(role)),
        }
    }

    fn reset(&self, database: &str, name: &str) -> String {
        match self {
            Self::Server => format!("ALTER SYSTEM RESET {name};"),
            Self::Database => format!("ALTER DATABASE {} RESET {name};", quote_pg(database)),
            Self::Role(role) => format!("ALTER ROLE {} RESET {name};", quote_pg(role)),
        }
    }
}

/// Names that [`primary`] judges.
pub const PRIMARY: [&str; 5] = [
    "client_encoding",
    "fsync",
    "full_page_writes",
    "session_replication_role",
    "synchronous_commit",
];

pub(super) fn primary(facts: &PrimaryFacts, found: &mut Found) {
    for Setting { name, value, scope } in &facts.settings {
        let what = format!("{name} is {value} {}", scope.of());
        let reset = scope.reset(&facts.database, name);
        let value = value.to_lowercase();
        let (severity, advice) = match (name.as_str(), value.as_str()) {
            ("session_replication_role", "replica" | "local") => {
                let advice = format!(
                    "{reset}  No trigger fires there: what triggers capture is not captured."
                );
                // A role may be that of a tool which means it.
                match scope {
                    Scope::Role(_) => (Severity::Warning, advice),
                    Scope::Server | Scope::Database => (Severity::Blocker, advice),
                }
            }
            ("client_encoding", encoding) if !is_utf8(encoding) => {
                let advice = format!(
                    "{reset}  What such sessions write is not captured: it is counted, and its table \
                     marked dirty."
                );
                (Severity::Warning, advice)
            }
            ("synchronous_commit", "off") => {
                let advice = "Captured transactions commit synchronously all the same, or a crash could \
                              take back what MySQL has: expect that pace.";
                (Severity::Warning, advice.to_owned())
            }
            ("fsync" | "full_page_writes", "off") => {
                let advice = format!("{reset}  A crash may take back rows that MySQL has.");
                (Severity::Warning, advice)
            }
            _ => continue,
        };
        found.add(severity, None, what, advice);
    }
}

fn is_utf8(encoding: &str) -> bool {
    matches!(encoding.trim_matches(['\'', '"']), "utf8" | "utf-8" | "unicode" | "sql_ascii")
}

/// Names that [`secondary`] judges.
pub const SECONDARY: [&str; 8] = [
    "binlog_format",
    "init_connect",
    "innodb_flush_log_at_trx_commit",
    "innodb_force_recovery",
    "log_bin",
    "max_statement_time",
    "max_user_connections",
    "sync_binlog",
];

pub(super) fn secondary(facts: &SecondaryFacts, wanted: Wanted, found: &mut Found) {
    let of = |name: &str| facts.settings.get(name).map_or("", String::as_str);
    let number = |name: &str| of(name).parse::<f64>().unwrap_or(0.0);
    let logs = of("log_bin").eq_ignore_ascii_case("on");
    if logs && of("binlog_format").eq_ignore_ascii_case("statement") {
        let advice = "SET GLOBAL binlog_format = 'ROW';  InnoDB refuses writes under READ COMMITTED \
                      otherwise.";
        found.add(Severity::Blocker, None, "binlog_format is STATEMENT", advice);
    }
    if 0.0 < number("innodb_force_recovery") {
        let advice = "Bring InnoDB in order and start it without: it may refuse writes.";
        found.add(Severity::Blocker, None, "innodb_force_recovery is set", advice);
    }
    let mut warn = |what: String, advice: &str| found.add(Severity::Warning, None, what, advice);
    for (name, counts) in [("innodb_flush_log_at_trx_commit", true), ("sync_binlog", logs)] {
        if counts && facts.settings.contains_key(name) && of(name) != "1" {
            let advice = "Set it to 1: after a crash MySQL would lack rows that it had confirmed, and \
                          nothing would bring them again.";
            warn(format!("{name} is {}", of(name)), advice);
        }
    }
    if !of("init_connect").is_empty() {
        let advice = "It runs before Crossfade's own settings, which are read back; see that it \
                      writes nothing.";
        warn("init_connect is set".to_owned(), advice);
    }
    if 0.0 < number("max_statement_time") {
        let advice = "Longer statements of Crossfade's are ended too; set it to 0 for its user.";
        warn(format!("max_statement_time is {} s", of("max_statement_time")), advice);
    }
    let connections = number("max_user_connections");
    let wanted = wanted.secondary_connections();
    if 0.0 < connections && connections < wanted as f64 {
        let advice = format!("Allow the user {wanted}, or lower limits.workers and limits.strict.");
        warn(format!("max_user_connections is {}", of("max_user_connections")), &advice);
    }
    triggers(facts, found);
}

/// A trigger of MySQL's would run for every row that Crossfade writes.
fn triggers(facts: &SecondaryFacts, found: &mut Found) {
    let product = match facts.flavor {
        Flavor::MySql => "MySQL",
        Flavor::MariaDb => "MariaDB",
    };
    let mut tables: HashMap<&str, bool> = HashMap::new();
    for (table, before) in &facts.triggers {
        *tables.entry(table).or_default() |= before;
    }
    for (table, before) in tables {
        let what = format!("table \"{table}\" has triggers on {product}");
        let (severity, advice) = match before {
            true => (
                Severity::Blocker,
                "Drop them until switchover: they may change the values that are written.",
            ),
            false => (Severity::Warning, "They run for every row that Crossfade writes."),
        };
        found.add(severity, None, what, advice);
    }
}
