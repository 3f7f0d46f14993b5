//! What PostgreSQL says about itself and about our role's rights, for `check`.
//!
//! Invariant: nothing is changed, and everything asked is open to every role.
//!
//! Not here: what follows from it (`catalog::check`).

use std::collections::HashMap;

use tokio_postgres::{Client, Error, Row};

use crate::catalog::check::{PrimaryFacts, Rights};
use crate::names::Oid;

const SERVER: &str = "SELECT pg_catalog.current_setting('server_version_num')::pg_catalog.int4, \
       pg_catalog.current_setting('wal_level'), pg_catalog.current_setting('server_encoding'), \
       d.datcollate::text, pg_catalog.pg_is_in_recovery(), r.rolname::text, r.rolsuper, \
       r.rolbypassrls, pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT'), \
       coalesce((SELECT pg_catalog.pg_has_role(n.nspowner, 'USAGE') \
           FROM pg_catalog.pg_namespace n WHERE n.nspname = 'crossfade'), \
         pg_catalog.has_database_privilege(d.oid, 'CREATE')), \
       d.datname::text, pg_catalog.current_setting('max_connections')::pg_catalog.int8, \
       pg_catalog.current_setting('superuser_reserved_connections')::pg_catalog.int8 \
     FROM pg_catalog.pg_database d, pg_catalog.pg_roles r \
     WHERE d.datname = pg_catalog.current_database() AND r.rolname = current_user";

const RIGHTS: &str = "SELECT c.oid, pg_catalog.has_schema_privilege(c.relnamespace, 'USAGE'), \
       pg_catalog.has_table_privilege(c.oid, 'SELECT'), \
       pg_catalog.has_table_privilege(c.oid, 'UPDATE'), \
       pg_catalog.has_table_privilege(c.oid, 'TRIGGER'), \
       pg_catalog.pg_has_role(c.relowner, 'USAGE') \
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relkind IN ('r', 'p') AND n.nspname <> 'information_schema' \
       AND n.nspname NOT LIKE 'pg\\_%'";

/// Asks everything that [`PrimaryFacts`] holds.
pub async fn facts(client: &Client) -> Result<PrimaryFacts, Error> {
    let row = client.query_one(SERVER, &[]).await?;
    let rights = client.query(RIGHTS, &[]).await?;
    let rights: HashMap<Oid, Rights> = rights.iter().map(rights_of).collect();
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
        owns_schema: row.get(9),
        database: row.get(10),
        max_connections: row.get(11),
        reserved_connections: row.get(12),
        rights,
        recorded_types: None, // Read with the catalogue.
    })
}

fn rights_of(row: &Row) -> (Oid, Rights) {
    let rights = Rights {
        usage: row.get(1),
        select: row.get(2),
        update: row.get(3),
        trigger: row.get(4),
        owner: row.get(5),
    };
    (row.get(0), rights)
}
