//! What is Crossfade's own: named before it is dropped or left, and dropped.
//!
//! Invariant: names and counts only; a table in use is waited for until the given time, and those who queue
//! behind us wait for [`TABLE_WAIT`] at most.

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use tokio::time::Instant;
use tokio_postgres::{Client, Error};

use crate::backend::mysql::WriteError;

/// A table on MySQL that is in use is waited for so long at a time, in seconds.
const TABLE_WAIT: u32 = 1;
/// The lock was not had in that time.
pub(super) const NOT_HAD: &str = "1205";

/// The schema with its tables, and our triggers by the tables that they are on.
const OWN: &str = "\
SELECT 1, 'the schema crossfade with ' || pg_catalog.count(*) || ' tables and sequences'
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'crossfade' AND c.relkind IN ('r', 'S') HAVING 0 < pg_catalog.count(*)
UNION ALL
SELECT 2, 'the triggers on ' || pg_catalog.format('%I.%I', n.nspname, c.relname) || ': '
    || pg_catalog.string_agg(t.tgname, ', ' ORDER BY t.tgname)
FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
WHERE NOT t.tgisinternal AND p.pronamespace = pg_catalog.to_regnamespace('crossfade') AND n.nspname <> 'crossfade'
GROUP BY n.nspname, c.relname
ORDER BY 1, 2";

pub(super) async fn on_postgres(client: &Client) -> Result<Vec<String>, Error> {
    Ok(client.query(OWN, &[]).await?.iter().map(|row| row.get(1)).collect())
}

/// Runs these on MySQL, each until it has its lock or the time is up.
pub(super) async fn drop_on_mysql(
    conn: &mut Conn,
    statements: &[&str],
    until: Instant,
) -> Result<(), WriteError> {
    conn.query_drop(format!("SET SESSION lock_wait_timeout = {TABLE_WAIT}")).await?;
    for statement in statements {
        while let Err(error) = conn.query_drop(*statement).await.map_err(WriteError::from) {
            if error.code() != NOT_HAD || until <= Instant::now() {
                return Err(error);
            }
        }
    }
    Ok(())
}
