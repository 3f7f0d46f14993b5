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
use crate::catalog::check::{SECONDARY_SETTINGS, SecondaryFacts};
use crate::catalog::ddl::alter::{Existing, ExistingTable};
use crate::catalog::ddl::shape::{self, Shape};
use crate::catalog::ddl::{ForeignShape, quote_text};
use crate::names::quote_mysql;

/// Tables and foreign keys of the database, Crossfade's own and hidden columns left out.
pub async fn existing(conn: &mut Conn) -> Result<Existing, WriteError> {
    // Under NO_BACKSLASH_ESCAPES, LIKE has no escape of its own on MySQL.
    let columns = "SELECT c.TABLE_NAME, c.COLUMN_NAME, CAST(c.COLUMN_TYPE AS CHAR) \
        FROM information_schema.COLUMNS c WHERE c.TABLE_SCHEMA = DATABASE() \
        AND c.TABLE_NAME NOT LIKE 'crossfade|_%' ESCAPE '|' \
        AND UPPER(c.EXTRA) NOT LIKE '%INVISIBLE%'";
    let rows: Vec<(String, String, String)> = conn.query(columns).await?;
    let mut tables: HashMap<String, ExistingTable> = HashMap::new();
    for (table, column, kind) in rows {
        tables.entry(table).or_default().columns.insert(column, kind);
    }
    let foreign_keys = foreign_keys(conn).await?;
    Ok(Existing { tables, foreign_keys, dropped: Vec::new() })
}

async fn foreign_keys(conn: &mut Conn) -> Result<HashMap<String, ForeignShape>, WriteError> {
    type Row = (String, String, String, String, String, String, String);
    let keys = "SELECT u.CONSTRAINT_NAME, u.TABLE_NAME, u.COLUMN_NAME, u.REFERENCED_TABLE_NAME, \
          u.REFERENCED_COLUMN_NAME, r.DELETE_RULE, r.UPDATE_RULE \
        FROM information_schema.KEY_COLUMN_USAGE u \
        JOIN information_schema.REFERENTIAL_CONSTRAINTS r \
          ON r.CONSTRAINT_SCHEMA = u.CONSTRAINT_SCHEMA AND r.CONSTRAINT_NAME = u.CONSTRAINT_NAME \
          AND r.TABLE_NAME = u.TABLE_NAME \
        WHERE u.CONSTRAINT_SCHEMA = DATABASE() AND u.REFERENCED_TABLE_NAME IS NOT NULL \
        ORDER BY u.CONSTRAINT_NAME, u.ORDINAL_POSITION";
    let rows: Vec<Row> = conn.query(keys).await?;
    let rule = |rule: String| if rule == "RESTRICT" { "NO ACTION".to_owned() } else { rule };
    let mut keys: HashMap<String, ForeignShape> = HashMap::new();
    for (name, table, column, references, referenced, on_delete, on_update) in rows {
        let key = keys.entry(name).or_insert_with(|| ForeignShape {
            table,
            columns: Vec::new(),
            references,
            referenced: Vec::new(),
            on_delete: rule(on_delete),
            on_update: rule(on_update),
        });
        key.columns.push(column);
        key.referenced.push(referenced);
    }
    Ok(keys)
}

/// Fills in the shapes of the tables that `probes` name: as they are, and as an empty table made by
/// the probe's statement is, which this session alone sees and which is gone again afterwards.
pub async fn shapes(
    conn: &mut Conn,
    probes: &[(String, String)],
    existing: &mut Existing,
) -> Result<(), mysql_async::Error> {
    for (table, create) in probes {
        let Some(entry) = existing.tables.get_mut(table) else { continue };
        entry.found = shape_of(conn, table).await?;
        conn.query_drop(create).await?;
        entry.wanted = shape_of(conn, shape::TEMPORARY).await?;
        conn.query_drop(format!("DROP TEMPORARY TABLE {}", quote_mysql(shape::TEMPORARY))).await?;
    }
    Ok(())
}

async fn shape_of(conn: &mut Conn, table: &str) -> Result<Shape, mysql_async::Error> {
    let shown: Option<(String, String)> =
        conn.query_first(format!("SHOW CREATE TABLE {}", quote_mysql(table))).await?;
    Ok(Shape::parse(&shown.unwrap_or_default().1))
}

/// The highest value of a column that MySQL numbers by itself, and what it would give next. The
/// counter is read last: it only grows, so a row that comes in between is no contradiction.
pub async fn counted(
    conn: &mut Conn,
    table: &str,
    column: &str,
) -> Result<(Option<i128>, u64), mysql_async::Error> {
    let (table, column) = (quote_mysql(table), quote_mysql(column));
    let highest = format!("SELECT CAST(MAX({column}) AS CHAR) FROM {table}");
    let highest: Option<Option<String>> = conn.query_first(highest).await?;
    let shown: Option<(String, String)> =
        conn.query_first(format!("SHOW CREATE TABLE {table}")).await?;
    let shown = shown.unwrap_or_default().1;
    // Left out while it is 1; information_schema may be a day behind.
    let options = shown.split_once("\n) ENGINE=").map_or("", |(_, options)| options);
    let next = options.split_once(" AUTO_INCREMENT=").map_or("1", |(_, next)| next);
    let next = next.split(' ').next().and_then(|next| next.parse().ok());
    Ok((highest.flatten().and_then(|text| text.parse().ok()), next.unwrap_or(1)))
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
const PRIVILEGES: [&str; 9] = [
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "CREATE",
    "ALTER",
    "INDEX",
    "REFERENCES",
    "CREATE TEMPORARY TABLES",
];

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
    let (settings, triggers) = (settings(conn).await?, triggers(conn, &there).await?);
    Ok(SecondaryFacts {
        flavor,
        version,
        missing: missing(&grants, &database),
        user: account(&user),
        database,
        set_up: set_up.is_some(),
        filled,
        max_connections,
        read_only: read_only != 0,
        max_allowed_packet,
        page_size,
        lower_case_table_names: folding,
        settings,
        triggers,
    })
}

/// A server has those that its version knows.
async fn settings(conn: &mut Conn) -> Result<HashMap<String, String>, WriteError> {
    let names: Vec<String> = SECONDARY_SETTINGS.iter().map(|name| quote_text(name)).collect();
    let question = format!("SHOW GLOBAL VARIABLES WHERE Variable_name IN ({})", names.join(", "));
    let rows: Vec<(String, String)> = conn.query(question).await?;
    Ok(rows.into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect())
}

/// Those that the user may see, on `tables`.
async fn triggers(conn: &mut Conn, tables: &[&str]) -> Result<Vec<(String, bool)>, WriteError> {
    let question = "SELECT EVENT_OBJECT_TABLE, ACTION_TIMING = 'BEFORE' \
        FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA = DATABASE()";
    let mut rows: Vec<(String, bool)> = conn.query(question).await?;
    rows.retain(|(table, _)| tables.contains(&table.as_str()));
    Ok(rows)
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
        let some = grants(&["GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, REFERENCES, INDEX, \
             CREATE TEMPORARY TABLES ON *.* TO `c`@`%`"]);
        assert_eq!(missing(&some, "auth"), ["ALTER"]);
        assert_eq!(account("cross@fade@10.0.0.%"), "'cross@fade'@'10.0.0.%'");
    }
}
