//! What the secondary says about itself: tables that are there, settings, rights.
//!
//! Invariant: nothing is changed, and no row of a user's table is read but to see whether there is one.
//!
//! Not here: what follows from it (`catalog::check`, `catalog::ddl::alter`).

use std::collections::HashMap;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

use super::error::WriteError;
use crate::catalog::ddl::alter::Existing;
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
