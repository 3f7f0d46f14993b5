//! What MySQL complains of becomes what PostgreSQL would have said: code, message, names and detail.

use crossfade::answer::{About, PgError};
use crossfade::names::TableName;
use mysql_async::prelude::Queryable as _;

use super::situation;
use crate::support::{Target, World};

const SCHEMA: &str = "
    CREATE TYPE mood AS ENUM ('calm', 'glad');
    CREATE TABLE tenants (id int PRIMARY KEY, slug varchar(20) NOT NULL CONSTRAINT tenants_slug_key UNIQUE);
    CREATE TABLE users (
        id uuid PRIMARY KEY,
        tenant int NOT NULL CONSTRAINT users_tenant_fkey REFERENCES tenants,
        email varchar(10) NOT NULL,
        age smallint CONSTRAINT users_age_check CHECK (age >= 0),
        mood mood,
        data jsonb,
        CONSTRAINT users_tenant_email_key UNIQUE (tenant, email)
    );
    INSERT INTO tenants VALUES (1, 'acme'), (2, 'globex');
    INSERT INTO users VALUES ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 1, 'a-b@x', 5, 'calm', '{}');
";

const ROWS: &[&str] = &[
    "INSERT INTO tenants VALUES (1, 'acme'), (2, 'globex')",
    "INSERT INTO users (id, tenant, email, age, mood, data) VALUES \
     ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 1, 'a-b@x', 5, 'calm', '{}')",
];

/// The table that is written, a statement that both understand, and whether the detail is compared.
const FAULTS: &[(&str, &str, bool)] = &[
    ("tenants", "INSERT INTO tenants (id, slug) VALUES (1, 'other')", true),
    ("tenants", "INSERT INTO tenants (id, slug) VALUES (3, 'acme')", true),
    ("tenants", "UPDATE tenants SET slug = 'acme' WHERE id = 2", true),
    (
        "users",
        "INSERT INTO users (id, tenant, email) VALUES ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 2, 'c')",
        true,
    ),
    (
        "users",
        "INSERT INTO users (id, tenant, email) VALUES ('b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 1, 'a-b@x')",
        true,
    ),
    (
        "users",
        "INSERT INTO users (id, tenant, email) VALUES ('b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 9, 'c')",
        false,
    ),
    ("tenants", "DELETE FROM tenants WHERE id = 1", false),
    ("tenants", "UPDATE tenants SET id = 9 WHERE id = 1", false),
    ("tenants", "INSERT INTO tenants (id, slug) VALUES (3, NULL)", false),
    ("tenants", "INSERT INTO tenants (id) VALUES (3)", false),
    ("users", "UPDATE users SET age = -1", false),
    ("users", "UPDATE users SET age = 70000", false),
    ("users", "UPDATE users SET email = 'much too long'", false),
];

#[tokio::test]
async fn faults_are_reported_as_postgresql_reports_them() {
    for target in Target::all() {
        let world = World::bare(target, "").await;
        let direct = world.direct().await;
        direct.batch_execute(SCHEMA).await.unwrap();
        world.setup();
        let catalog = situation(&world).await.catalog;
        let mut conn = world.secondary().await;
        for sql in ROWS {
            conn.query_drop(*sql).await.unwrap();
        }
        for (name, sql, with_detail) in FAULTS {
            let theirs = direct.batch_execute(sql).await.unwrap_err();
            let theirs = theirs.as_db_error().unwrap();
            let table = catalog.by_name(&TableName::parse(name)).unwrap();
            let about = About { catalog: &catalog, table: Some(table) };
            let ours = PgError::of_driver(conn.query_drop(*sql).await.unwrap_err(), about);
            let named = ours.named.clone().unwrap_or_default();
            let about = format!("{target:?} {sql}");
            assert_eq!(ours.code, theirs.code().code(), "{about}");
            assert_eq!(ours.message, theirs.message(), "{about}");
            assert_eq!(named.constraint.as_deref(), theirs.constraint(), "{about}");
            assert_eq!(named.table.as_deref(), theirs.table(), "{about}");
            assert_eq!(named.schema.as_deref(), theirs.schema(), "{about}");
            assert_eq!(named.column.as_deref(), theirs.column(), "{about}");
            if *with_detail {
                assert_eq!(ours.detail.as_deref(), theirs.detail(), "{about}");
            }
        }
    }
}

/// Numbers that no test can make a server say at will.
#[test]
fn every_number_has_its_sqlstate() {
    let catalog = crossfade::catalog::Catalog::default();
    let about = About { catalog: &catalog, table: None };
    for (number, code) in [
        (1062, "23505"),
        (1452, "23503"),
        (1451, "23503"),
        (1048, "23502"),
        (1364, "23502"),
        (3819, "23514"),
        (4025, "23514"),
        (1406, "22001"),
        (1264, "22003"),
        (1690, "22003"),
        (1265, "22P02"),
        (1366, "22P02"),
        (1292, "22007"),
        (3140, "22P02"),
        (1365, "22012"),
        (1242, "21000"),
        (1213, "40P01"),
        (1205, "55P03"),
        (3572, "55P03"),
        (1020, "40001"),
        (1317, "57014"),
        (3024, "57014"),
        (1969, "57014"),
        (1290, "25006"),
        (1792, "25006"),
        (1040, "53300"),
        (1114, "53100"),
        (1142, "42501"),
        (1053, "57P01"),
        (1146, "42P01"),
        (1064, "XX000"),
        (1267, "XX000"),
        (1093, "XX000"),
    ] {
        assert_eq!(PgError::of_mysql(number, "", about).code, code, "{number}");
    }
    let deadlock = PgError::of_mysql(1213, "", about);
    assert!(deadlock.undone && !deadlock.fatal);
}
