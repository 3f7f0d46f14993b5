//! Sidecars that answer from MySQL and that PostgreSQL has no line of: they have not reached it since they
//! started.
//!
//! ```text
//! sidecar ──[`note`], then asks whose turn it is──▶ crossfade_sidecars ◀──[`longest_lease`]── whoever gives the lead back
//! ```
//!
//! Invariant: one that answers has a line here from before it asked, to after its lease can end; or it has
//! one in `crossfade.sidecars`.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error};

use super::error::WriteError;

pub const CREATE: &str = "CREATE TABLE IF NOT EXISTS `crossfade_sidecars` (\
     `id` varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY, \
     `lease_ms` bigint unsigned NOT NULL, \
     `lease_until` timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)\
     ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4";

pub(super) const DROP: &str = "DROP TABLE IF EXISTS `crossfade_sidecars`";

/// No such table.
const NO_TABLE: u16 = 1146;
/// How long the line of one that is gone is kept, in seconds.
const KEPT_SECONDS: u32 = 3600;

/// Renews a sidecar's line: it may answer for so long from now on.
pub async fn note(
    conn: &mut Conn,
    id: &str,
    lease: Duration,
    covered: Duration,
) -> Result<(), WriteError> {
    let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    // Addressed by its only key, so the clause cannot meet another row.
    let sql = "INSERT INTO `crossfade_sidecars` (`id`, `lease_ms`, `lease_until`) \
               VALUES (?, ?, CURRENT_TIMESTAMP(6) + INTERVAL ? MICROSECOND) \
               ON DUPLICATE KEY UPDATE `lease_ms` = VALUES(`lease_ms`), \
               `lease_until` = VALUES(`lease_until`)";
    let values = (id, micros(lease).div_ceil(1000), micros(covered));
    match conn.exec_drop(sql, values).await {
        // Switched by a version that had none: that one waits for nobody here.
        Err(Error::Server(server)) if server.code == NO_TABLE => return Ok(()),
        noted => noted?,
    }
    let gone = "DELETE FROM `crossfade_sidecars` \
                WHERE `lease_until` < CURRENT_TIMESTAMP(6) - INTERVAL ? SECOND";
    Ok(conn.exec_drop(gone, (KEPT_SECONDS,)).await?)
}

/// It answers nobody any more.
pub async fn forget(conn: &mut Conn, id: &str) -> Result<(), WriteError> {
    Ok(conn.exec_drop("DELETE FROM `crossfade_sidecars` WHERE `id` = ?", (id,)).await?)
}

/// The longest lease of those that may still answer; `None` where there are none.
pub async fn longest_lease(conn: &mut Conn) -> Result<Option<Duration>, WriteError> {
    let sql = "SELECT MAX(`lease_ms`) FROM `crossfade_sidecars` \
               WHERE CURRENT_TIMESTAMP(6) < `lease_until`";
    match conn.query_first::<Option<u64>, _>(sql).await {
        Ok(longest) => Ok(longest.flatten().map(Duration::from_millis)),
        Err(Error::Server(server)) if server.code == NO_TABLE => Ok(None),
        Err(error) => Err(error.into()),
    }
}
