//! Verifiers of the application's users, kept where they are found once PostgreSQL is gone.
//!
//! ```text
//! pg_authid ──[`keep`]──▶ crossfade_verifiers ──[`find`]──▶ a login that MySQL answers
//! ```
//!
//! Invariant: a verifier, never a password; what proves nothing without the password is what is kept.

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error};

use super::error::WriteError;

pub(super) const CREATE: &str = "CREATE TABLE IF NOT EXISTS `crossfade_verifiers` (\
     `name` varbinary(63) NOT NULL PRIMARY KEY, \
     `verifier` varchar(512) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
     `at` timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)\
     ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4";

pub(super) const DROP: &str = "DROP TABLE IF EXISTS `crossfade_verifiers`";

/// No such table.
const NO_TABLE: u16 = 1146;

/// Keeps verifiers by user; those of users that are there already are replaced.
pub async fn keep(conn: &mut Conn, verifiers: &[(String, String)]) -> Result<(), WriteError> {
    // Addressed by its only key, so the clause cannot meet another row.
    let sql = "INSERT INTO `crossfade_verifiers` (`name`, `verifier`) VALUES (?, ?) \
               ON DUPLICATE KEY UPDATE `verifier` = VALUES(`verifier`), \
               `at` = CURRENT_TIMESTAMP(6)";
    for (name, verifier) in verifiers {
        conn.exec_drop(sql, (name.as_bytes(), verifier)).await?;
    }
    Ok(())
}

/// A user's verifier, if it has one here.
pub async fn find(conn: &mut Conn, user: &str) -> Result<Option<String>, WriteError> {
    let sql = "SELECT `verifier` FROM `crossfade_verifiers` WHERE `name` = ?";
    match conn.exec_first(sql, (user.as_bytes(),)).await {
        Ok(found) => Ok(found),
        Err(Error::Server(server)) if server.code == NO_TABLE => Ok(None),
        Err(error) => Err(error.into()),
    }
}
