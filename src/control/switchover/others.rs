//! Who stands in the way: sessions of others, by role, process and age.
//!
//! ```text
//! pg_stat_activity, pg_locks ──▶ "role app, process 4711: a transaction that has been open for 31 s"
//! MySQL's INNODB_TRX ──────────▶ "MySQL's connection 12: a transaction that has been open for 31 s"
//! ```
//!
//! Invariant: names, numbers and ages; no statement of anybody's, which may hold a value.

use mysql_async::prelude::Queryable as _;
use tokio_postgres::{Client, Error};

use crate::backend::mysql::Link;
use crate::backend::postgres::control::{LOCK_CLASS, LOCK_KEY};
use crate::control::Ends;

/// What a transaction is called, with `a` in `pg_stat_activity`.
const TRANSACTION: &str = "'role ' || a.usename || ', process ' || a.pid || ': a transaction that has been open for ' \
     || coalesce(pg_catalog.floor(extract(epoch FROM pg_catalog.clock_timestamp() - a.xact_start))::text, '?') || ' s' \
     || coalesce(' (' || a.state || ')', '')";
/// The same in fewer words.
const WHO: &str = "'role ' || a.usename || ', process ' || a.pid || ', open for ' \
     || coalesce(pg_catalog.floor(extract(epoch FROM pg_catalog.clock_timestamp() - a.xact_start))::text, '?') || ' s' \
     || coalesce(' (' || a.state || ')', '')";
/// Those of clients; our own connections say who they are.
const CLIENTS: &str = "a.datname = pg_catalog.current_database() AND a.backend_type = 'client backend' \
     AND a.pid <> pg_catalog.pg_backend_pid() \
     AND NOT (a.usename = session_user AND a.application_name = 'crossfade')";
/// Sessions that may keep others waiting, as far as it can be seen from outside of them.
const SESSIONS: &str = "\
SELECT 1, TRANSACTION FROM pg_catalog.pg_stat_activity a
WHERE CLIENTS AND a.xact_start < pg_catalog.clock_timestamp() - interval '5 s'
UNION ALL KEEPS ORDER BY 1, 2";
/// What a session keeps between transactions. Locks of our own class are taken by our statements.
const KEEPS: &str = "\
SELECT DISTINCT 2, 'role ' || a.usename || ', process ' || a.pid || ': an advisory lock'
FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND a.usename <> session_user
    AND a.datname = pg_catalog.current_database() AND a.xact_start IS NULL
    AND NOT (l.objsubid = 2 AND l.classid = LOCK_CLASS::oid)
UNION ALL
SELECT 3, 'temporary table ' || c.relname || ' of role ' || pg_catalog.pg_get_userbyid(c.relowner)
FROM pg_catalog.pg_class c WHERE c.relpersistence = 't' AND c.relkind = 'r'";
const OPEN: &str = "\
SELECT TRANSACTION FROM pg_catalog.pg_stat_activity a
WHERE CLIENTS AND a.xact_start < pg_catalog.clock_timestamp() - interval '0.5 s' ORDER BY a.xact_start LIMIT 10";
/// Who has what a change of the primary waits for.
const WRITERS: &str = "\
SELECT coalesce(WHO_IT_IS, 'one that is prepared')
FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.classid = LOCK_CLASS::oid AND l.objid = LOCK_KEY::oid
    AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d
        WHERE d.datname = pg_catalog.current_database())
    AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid() ORDER BY 1 LIMIT 10";
/// Who keeps a trigger from being made on a table.
const WRITERS_OF: &str = "\
SELECT DISTINCT coalesce(WHO_IT_IS, 'one that is prepared')
FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'relation' AND l.granted AND l.relation = $1::pg_catalog.text::pg_catalog.regclass
    AND l.mode NOT IN ('AccessShareLock', 'RowShareLock')
    AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid() ORDER BY 1 LIMIT 10";
/// The grant without which others' transactions are hidden.
const BLIND: &str = "SELECT pg_catalog.format('GRANT pg_read_all_stats TO %I', session_user) \
     WHERE NOT pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')";
const MYSQL_OPEN: &str = "\
SELECT CONCAT('MySQL''s connection ', t.trx_mysql_thread_id, ': a transaction that has been open for ', \
    TIMESTAMPDIFF(SECOND, t.trx_started, NOW()), ' s') \
FROM information_schema.INNODB_TRX t WHERE t.trx_mysql_thread_id <> CONNECTION_ID() \
ORDER BY t.trx_started LIMIT 10";

fn sql(text: &str) -> String {
    text.replace("KEEPS", KEEPS)
        .replace("TRANSACTION", TRANSACTION)
        .replace("WHO_IT_IS", WHO)
        .replace("CLIENTS", CLIENTS)
        .replace("LOCK_CLASS", &LOCK_CLASS.to_string())
        .replace("LOCK_KEY", &LOCK_KEY.to_string())
}

async fn texts(client: &Client, text: &str) -> Result<Vec<String>, Error> {
    Ok(client.query(&sql(text), &[]).await?.iter().map(|row| row.get(0)).collect())
}

/// For whoever looks before anybody is held.
pub(super) async fn sessions(client: &Client) -> Result<Vec<String>, Error> {
    let rows = client.query(&sql(SESSIONS), &[]).await?;
    Ok(rows.iter().map(|row| row.get(1)).collect())
}

/// What sessions keep that cannot move, as far as PostgreSQL shows it.
pub(super) async fn keeps(client: &Client) -> Result<Vec<String>, Error> {
    let rows = client.query(&sql(KEEPS), &[]).await?;
    Ok(rows.iter().map(|row| row.get(1)).collect())
}

/// Clients' transactions on PostgreSQL, the oldest first; or what would let us see them.
pub(super) async fn open(client: &Client) -> Result<Vec<String>, Error> {
    let found = texts(client, OPEN).await?;
    if !found.is_empty() {
        return Ok(found);
    }
    let blind = texts(client, BLIND).await?;
    Ok(blind.iter().map(|grant| format!("whose they are is not shown to us: {grant}")).collect())
}

/// The same on MySQL, which shows it to whoever has PROCESS; nothing otherwise.
pub(super) async fn open_on_mysql(ends: &Ends) -> Vec<String> {
    let Ok(mut link) = Link::connect(&ends.to, &ends.limits).await else { return Vec::new() };
    link.conn().query(MYSQL_OPEN).await.unwrap_or_default()
}

/// Who has written, and not ended.
pub(super) async fn writers(client: &Client) -> Result<Vec<String>, Error> {
    texts(client, WRITERS).await
}

/// Who has written to a table, named with its schema and quoted, and not ended.
pub(super) async fn writers_of(client: &Client, table: &str) -> Result<Vec<String>, Error> {
    let rows = client.query(&sql(WRITERS_OF), &[&table]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
