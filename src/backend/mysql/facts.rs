//! What the secondary says about itself: tables that are there, settings, rights.
//!
//! Invariant: nothing is changed, and no row of a user's table is read but to see whether there is one.
//!
//! Not here: what follows from it (`catalog::check`, `catalog::ddl::alter`).

use std::collections::HashMap;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

use super::connect::Link;
use super::error::WriteError;
use crate::catalog::check::SecondaryFacts;
use crate::catalog::ddl::alter::Existing;
use crate::catalog::ddl::quote_text;
use crate::names::quote_mysql;

/// Tables and foreign keys of the database, Crossfade's own and hidden columns left out.
pub async fn existing(conn: &mut Conn) -> Result<Existing, WriteError> {
    // Under NO_BACKSLASH_ESCAPES, LIKE has no escape of its own on MySQL.
    let columns = "SELECT c.TABLE_NAME, c.COLUMN_NAME, CAST(c.COLUMN_TYPE AS CHAR) \
        FROM information_schema.COLUMNS c WHERE c.TABLE_SCHEMA = DATABASE() \
        AND c.TABLE_NAME NOT LIKE 'crossfade|_%' ESCAPE '|' \
        AND UPPER(c.EXTRA) NOT LIKE '%INVISIBLE%'";
    let rows: Vec<(String, String, String)> = conn.query(columns).await?;
    let mut tables: HashMap<String, HashMap<String, String>> = HashMap::new();
    for (table, column, kind) in rows {
        tables.entry(table).or_default().insert(column, kind);
    }
    let keys = "SELECT k.CONSTRAINT_NAME FROM information_schema.TABLE_CONSTRAINTS k \
        WHERE k.CONSTRAINT_SCHEMA = DATABASE() AND k.CONSTRAINT_TYPE = 'FOREIGN KEY'";
    let keys: Vec<String> = conn.query(keys).await?;
    Ok(Existing { tables, foreign_keys: keys.into_iter().collect() })
}

/// Those of `tables` that hold a row.
pub async fn filled(conn: &mut Conn, tables: &[&str]) -> Result<Vec<String>, WriteError> {
    let mut filled = Vec::new();
    for table in tables {
        let question = format!("SELECT 1 FROM {} LIMIT 1", quote_mysql(table));
        if conn.query_first::<u8, _>(question).await?.is_some() {
            filled.push((*table).to_owned());
        }
    }
    Ok(filled)
}

/// What Crossfade does in the new database, as GRANT names it.
const PRIVILEGES: [&str; 8] =
    ["SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "ALTER", "INDEX", "REFERENCES"];

/// Asks everything that [`SecondaryFacts`] holds. `targets` are the tables that `setup` would fill.
pub async fn facts(link: &mut Link, targets: &[&str]) -> Result<SecondaryFacts, WriteError> {
    let (flavor, version) = (link.flavor(), link.version().to_owned());
    let conn = link.conn();
    let existing = existing(conn).await?;
    let there: Vec<&str> =
        targets.iter().copied().filter(|t| existing.tables.contains_key(*t)).collect();
    let filled = filled(conn, &there).await?;
    let read: Option<(String, String, u64, u64, u64, u64, u64)> = conn
        .query_first(
            "SELECT DATABASE(), CURRENT_USER(), @@GLOBAL.max_connections, @@GLOBAL.read_only + 0, \
             @@GLOBAL.max_allowed_packet, @@GLOBAL.innodb_page_size, @@GLOBAL.lower_case_table_names + 0",
        )
        .await?;
    let (database, user, max_connections, read_only, max_allowed_packet, page_size, folding) =
        read.ok_or(WriteError::Disconnected)?;
    let set_up: Option<u8> = conn
        .query_first(
            "SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() \
             AND TABLE_NAME = 'crossfade_state'",
        )
        .await?;
    let grants: Vec<String> = conn.query("SHOW GRANTS").await?;
    Ok(SecondaryFacts {
        flavor,
        version,
        missing: missing(&grants, &database),
        user: account(&user),
        database,
        existing,
        set_up: set_up.is_some(),
        filled,
        max_connections,
        read_only: read_only != 0,
        max_allowed_packet,
        page_size,
        lower_case_table_names: folding,
    })
}

/// `crossfade@%` as a GRANT has it: `'crossfade'@'%'`.
fn account(user: &str) -> String {
    let (name, host) = user.rsplit_once('@').unwrap_or((user, "%"));
    format!("{}@{}", quote_text(name), quote_text(host))
}

/// Those of [`PRIVILEGES`] that no grant on everything or on the database gives.
fn missing(grants: &[String], database: &str) -> Vec<String> {
    let escaped = database.replace('_', "\\_");
    let here = [
        "*.*".to_owned(),
        format!("{}.*", quote_mysql(database)),
        format!("{}.*", quote_mysql(&escaped)),
    ];
    let mut held: Vec<&str> = Vec::new();
    for grant in grants {
        let Some((privileges, rest)) =
            grant.strip_prefix("GRANT ").and_then(|grant| grant.split_once(" ON "))
        else {
            continue; // A role, or a proxy right.
        };
        if here.iter().any(|place| rest.starts_with(&format!("{place} TO "))) {
            held.extend(privileges.split(", "));
        }
    }
    if held.contains(&"ALL PRIVILEGES") {
        return Vec::new();
    }
    let lacks = |privilege: &&&str| !held.contains(*privilege);
    PRIVILEGES.iter().filter(lacks).map(|privilege| (*privilege).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_on_everything_and_on_the_database_count() {
        let grants = |list: &[&str]| list.iter().map(|g| (*g).to_owned()).collect::<Vec<_>>();
        let all = grants(&[
            "GRANT USAGE ON *.* TO `c`@`%`",
            "GRANT ALL PRIVILEGES ON `my\\_db`.* TO `c`@`%`",
        ]);
        assert!(missing(&all, "my_db").is_empty());
        assert_eq!(missing(&all, "other").len(), PRIVILEGES.len());
        let some = grants(&[
            "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, REFERENCES, INDEX ON *.* TO `c`@`%`",
        ]);
        assert_eq!(missing(&some, "auth"), ["ALTER"]);
        assert_eq!(account("cross@fade@10.0.0.%"), "'cross@fade'@'10.0.0.%'");
    }
}
