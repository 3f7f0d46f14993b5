//! The catalogue of PostgreSQL, as MySQL keeps it for when PostgreSQL cannot be asked.
//!
//! ```text
//! store, at each new catalogue ──[`keep`]──▶ crossfade_catalog ──[`load`]──▶ a sidecar that starts alone
//! what its clients are told ──[`keep_reported`]──▶ row 2 ──[`load_reported`]──▶ what MySQL's are told
//! ```
//!
//! Invariant: what is kept is of the epoch that it says, or older; it is read only while it is MySQL's turn,
//! when nothing but a person's DDL on PostgreSQL could have made it wrong.

use std::collections::BTreeMap;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

use super::error::WriteError;
use crate::catalog::Catalog;

/// Creates the table; can be run again.
pub const CREATE: &str = "CREATE TABLE IF NOT EXISTS `crossfade_catalog` (\
     `id` tinyint NOT NULL PRIMARY KEY, `epoch` bigint unsigned NOT NULL, `server` int NOT NULL, \
     `catalog` longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL) ENGINE=InnoDB";
pub const DROP: &str = "DROP TABLE IF EXISTS `crossfade_catalog`";

/// What is kept.
#[derive(Debug)]
pub struct Kept {
    pub epoch: u64,
    /// PostgreSQL's major version.
    pub server: u32,
    pub catalog: Catalog,
}

/// Keeps it instead of what was kept; never one of an earlier epoch.
pub async fn keep(conn: &mut Conn, kept: &Kept) -> Result<(), WriteError> {
    conn.query_drop(CREATE).await?;
    let text = serde_json::to_string(&kept.catalog).map_err(|_| WriteError::NotSetUp)?;
    let put = "INSERT INTO `crossfade_catalog` (`id`, `epoch`, `server`, `catalog`) VALUES (1, ?, ?, ?) \
               ON DUPLICATE KEY UPDATE \
               `server` = IF(`epoch` <= VALUES(`epoch`), VALUES(`server`), `server`), \
               `catalog` = IF(`epoch` <= VALUES(`epoch`), VALUES(`catalog`), `catalog`), \
               `epoch` = GREATEST(`epoch`, VALUES(`epoch`))";
    Ok(conn.exec_drop(put, (kept.epoch, kept.server, text)).await?)
}

/// `None` where nothing is kept, or nothing that this version can read.
pub async fn load(conn: &mut Conn) -> Result<Option<Kept>, WriteError> {
    let select = "SELECT `epoch`, `server`, `catalog` FROM `crossfade_catalog` WHERE `id` = 1";
    let found: Option<(u64, u32, String)> = conn.query_first(select).await?;
    Ok(found.and_then(|(epoch, server, text)| {
        let catalog = serde_json::from_str(&text).ok()?;
        Some(Kept { epoch, server, catalog })
    }))
}

/// Keeps what PostgreSQL tells its clients of itself, by the settings' names. Only where a catalogue is kept.
pub async fn keep_reported(
    conn: &mut Conn,
    reported: &BTreeMap<String, String>,
) -> Result<(), WriteError> {
    let text = serde_json::to_string(reported).map_err(|_| WriteError::NotSetUp)?;
    let put = "INSERT INTO `crossfade_catalog` (`id`, `epoch`, `server`, `catalog`) VALUES (2, 0, 0, ?) \
               ON DUPLICATE KEY UPDATE `catalog` = VALUES(`catalog`)";
    Ok(conn.exec_drop(put, (text,)).await?)
}

/// `None` where none of it is kept.
pub async fn load_reported(
    conn: &mut Conn,
) -> Result<Option<BTreeMap<String, String>>, WriteError> {
    let select = "SELECT `catalog` FROM `crossfade_catalog` WHERE `id` = 2";
    let found: Option<String> = conn.query_first(select).await?;
    Ok(found.and_then(|text| serde_json::from_str(&text).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_reads_as_it_was() {
        let columns = "id:int8*,email:text,at:timestamptz,data:jsonb,name:citext,roles:text[]";
        let catalog = Catalog::for_test(&[("users", columns), ("auth.sessions", "id:uuid*")]);
        let text = serde_json::to_string(&catalog).unwrap();
        let again: Catalog = serde_json::from_str(&text).unwrap();
        assert_eq!(again.tables.len(), catalog.tables.len());
        for (oid, table) in &catalog.tables {
            let table_again = &again.tables[oid];
            assert_eq!(format!("{table:?}"), format!("{table_again:?}"));
        }
        assert_eq!(again.search_paths, catalog.search_paths);
    }
}
