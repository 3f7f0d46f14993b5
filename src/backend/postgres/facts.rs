//! What PostgreSQL says about itself and about our role's rights, for `check`, and how many rows a table may have.
//!
//! Invariant: nothing is changed, and everything asked or tried is open to every role.
//!
//! Not here: what follows from it (`catalog::check`).

use std::collections::{HashMap, HashSet};

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, Row};

use crate::backend::postgres::control::STRANGER;
use crate::catalog::check::{PRIMARY_SETTINGS, PrimaryFacts, Rights, Scope, Setting};
use crate::names::Oid;

const SERVER: &str = "SELECT pg_catalog.current_setting('server_version_num')::pg_catalog.int4, \
       pg_catalog.current_setting('wal_level'), pg_catalog.current_setting('server_encoding'), \
       d.datcollate::text, pg_catalog.pg_is_in_recovery(), r.rolname::text, r.rolsuper, \
       r.rolbypassrls, pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT'), \
       coalesce((SELECT pg_catalog.pg_has_role(n.nspowner, 'USAGE') \
           FROM pg_catalog.pg_namespace n WHERE n.nspname = 'crossfade'), \
         pg_catalog.has_database_privilege(d.oid, 'CREATE')), \
       d.datname::text, pg_catalog.current_setting('max_connections')::pg_catalog.int8, \
       pg_catalog.current_setting('superuser_reserved_connections')::pg_catalog.int8, \
       nullif(d.datconnlimit, -1)::pg_catalog.int8, {STRANGER} \
     FROM pg_catalog.pg_database d, pg_catalog.pg_roles r \
     WHERE d.datname = pg_catalog.current_database() AND r.rolname = current_user";

/// Of the server, then of this database and of roles; `$1` are the names that matter. Our own session
/// has set some of them, hence the values that it began with.
const SETTINGS: &str = "SELECT s.name, s.reset_val, false, NULL::text FROM pg_catalog.pg_settings s \
     WHERE s.name = ANY ($1) UNION ALL \
     SELECT pg_catalog.split_part(entry, '=', 1), \
       pg_catalog.substr(entry, pg_catalog.strpos(entry, '=') + 1), s.setrole = 0, r.rolname::text \
     FROM pg_catalog.pg_db_role_setting s CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) entry \
     LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole \
     WHERE pg_catalog.split_part(entry, '=', 1) = ANY ($1) AND s.setdatabase IN (0, \
       (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())) \
     ORDER BY 1, 2, 4";

const RIGHTS: &str = "SELECT c.oid, pg_catalog.has_schema_privilege(c.relnamespace, 'USAGE'), \
       pg_catalog.has_table_privilege(c.oid, 'SELECT'), \
       pg_catalog.has_table_privilege(c.oid, 'UPDATE'), \
       pg_catalog.has_table_privilege(c.oid, 'TRIGGER'), \
       pg_catalog.has_table_privilege(c.oid, 'INSERT'), \
       pg_catalog.has_table_privilege(c.oid, 'DELETE'), \
       pg_catalog.pg_has_role(c.relowner, 'USAGE') \
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relkind IN ('r', 'p') AND n.nspname <> 'information_schema' \
       AND n.nspname NOT LIKE 'pg\\_%'";

const ESTIMATE: &str = "SELECT COALESCE(pg_catalog.sum(GREATEST(0, c.reltuples)), 0)::bigint \
     FROM pg_catalog.pg_class c WHERE c.oid = $1 OR c.oid IN \
     (SELECT p.relid FROM pg_catalog.pg_partition_tree($1::oid::regclass) p)";

/// Rows of a table and its partitions, as the statistics have it.
pub async fn estimate(client: &Client, table: Oid) -> Result<u64, Error> {
    let rows: i64 = client.query_one(ESTIMATE, &[&table]).await?.try_get(0)?;
    Ok(rows.max(0).unsigned_abs())
}

/// Asks everything that [`PrimaryFacts`] holds.
pub async fn facts(client: &Client) -> Result<PrimaryFacts, Error> {
    let row = client.query_one(&SERVER.replace("{STRANGER}", STRANGER), &[]).await?;
    let rights = client.query(RIGHTS, &[]).await?;
    let rights: HashMap<Oid, Rights> = rights.iter().map(rights_of).collect();
    let settings = client.query(SETTINGS, &[&PRIMARY_SETTINGS.as_slice()]).await?;
    Ok(PrimaryFacts {
        version: row.get(0),
        wal_level: row.get(1),
        encoding: row.get(2),
        collation: row.get(3),
        in_recovery: row.get(4),
        role: row.get(5),
        superuser: row.get(6),
        bypasses_row_security: row.get(7),
        reads_verifiers: row.get(8),
        follows: follows(client).await?,
        owns_schema: row.get(9),
        schema_stranger: row.get(14),
        database: row.get(10),
        max_connections: row.get(11),
        reserved_connections: row.get(12),
        database_connections: row.get(13),
        settings: distinct(settings.iter().map(setting_of).collect(), &row.get::<_, String>(5)),
        rights,
        recorded_types: None, // Read with the catalogue.
    })
}

/// Tried rather than asked: before PostgreSQL 15 no function tells it.
async fn follows(client: &Client) -> Result<bool, Error> {
    let tried = client.batch_execute("BEGIN; SET LOCAL session_replication_role = 'replica'").await;
    client.batch_execute("ROLLBACK").await?;
    match tried {
        Ok(()) => Ok(true),
        Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What our session began with is the server's value only where neither the database nor our role has
/// one of its own.
fn distinct(settings: Vec<Setting>, role: &str) -> Vec<Setting> {
    let ours = |scope: &Scope| *scope == Scope::Database || *scope == Scope::Role(role.to_owned());
    let own = settings.iter().filter(|setting| ours(&setting.scope));
    let own: HashSet<String> = own.map(|setting| setting.name.clone()).collect();
    let servers =
        |setting: &Setting| setting.scope != Scope::Server || !own.contains(&setting.name);
    settings.into_iter().filter(servers).collect()
}

fn setting_of(row: &Row) -> Setting {
    let scope = match (row.get(2), row.get::<_, Option<String>>(3)) {
        (true, _) => Scope::Database,
        (false, Some(role)) => Scope::Role(role),
        (false, None) => Scope::Server,
    };
    Setting { name: row.get(0), value: row.get(1), scope }
}

fn rights_of(row: &Row) -> (Oid, Rights) {
    let rights = Rights {
        usage: row.get(1),
        select: row.get(2),
        update: row.get(3),
        trigger: row.get(4),
        insert: row.get(5),
        delete: row.get(6),
        owner: row.get(7),
    };
    (row.get(0), rights)
}
