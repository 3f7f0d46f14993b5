//! Who is let in while MySQL answers, and what the others are told.

use crossfade::backend::mysql::{control, verifiers};
use tokio_postgres::NoTls;

use super::Site;
use crate::support::{ROLE, ROLE_PASSWORD, Target, connect};

async fn refusal(site: &Site, user: &str, password: &str, database: &str) -> (String, String) {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(site.port).user(user).password(password).dbname(database);
    let error = config.connect(NoTls).await.err().expect("it is refused");
    let error = error.as_db_error().expect("the server says why");
    (error.code().code().to_owned(), error.message().to_owned())
}

#[tokio::test]
async fn only_who_knows_the_password_is_let_in() {
    let site = Site::start(Target::MariaDb, "", "").await;
    let database = site.world.database.clone();
    let failed = |user: &str| {
        let text = format!("password authentication failed for user \"{user}\"");
        ("28P01".to_owned(), text)
    };
    assert_eq!(refusal(&site, ROLE, "wrong", &database).await, failed(ROLE));
    assert_eq!(refusal(&site, "nobody", ROLE_PASSWORD, &database).await, failed("nobody"));
    let (code, _) = refusal(&site, ROLE, ROLE_PASSWORD, "another").await;
    assert_eq!(code, "3D000");
    connect(site.port, ROLE, ROLE_PASSWORD, &database).await;
}

#[tokio::test]
async fn a_client_is_told_what_postgresql_told_it() {
    let site = Site::start(Target::MariaDb, "", "").await;
    let (theirs, ours) = (site.world.direct().await, site.client().await);
    let read = async |client: &tokio_postgres::Client, name: &str| {
        let row = client.query_one(&format!("SHOW {name}"), &[]).await.unwrap();
        row.get::<_, String>(0)
    };
    for name in [
        "server_version",
        "server_version_num",
        "server_encoding",
        "client_encoding",
        "DateStyle",
        "IntervalStyle",
        "standard_conforming_strings",
        "integer_datetimes",
        "application_name",
        "is_superuser",
        "session_authorization",
        "default_transaction_isolation",
        "search_path",
        "max_identifier_length",
        "bytea_output",
        "extra_float_digits",
    ] {
        assert_eq!(read(&ours, name).await, read(&theirs, name).await, "{name}");
    }
    let version: String = ours.query_one("SELECT version()", &[]).await.unwrap().get(0);
    assert!(version.starts_with("PostgreSQL 15."), "{version}");
}

/// Both kinds that `pg_authid` has, of users that proxy.yaml does not name.
#[tokio::test]
async fn verifiers_that_mysql_keeps_let_their_users_in() {
    let site = Site::start(Target::MariaDb, "", "").await;
    let database = site.world.database.clone();
    let admin = site.world.admin().await;
    for (kind, name) in [("scram-sha-256", "kept_scram"), ("md5", "kept_md5")] {
        let role = format!(
            "SET password_encryption = '{kind}'; DROP ROLE IF EXISTS {name}; \
             CREATE ROLE {name} LOGIN PASSWORD 'pencil'"
        );
        admin.batch_execute(&role).await.unwrap();
    }
    let sql = "SELECT rolname::text, rolpassword FROM pg_authid WHERE rolname LIKE 'kept\\_%'";
    let rows = admin.query(sql, &[]).await.unwrap();
    let kept: Vec<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let mut conn = site.world.secondary().await;
    control::create(&mut conn, 1).await.unwrap();
    verifiers::keep(&mut conn, &kept).await.unwrap();
    verifiers::keep(&mut conn, &kept).await.unwrap();
    for name in ["kept_scram", "kept_md5"] {
        connect(site.port, name, "pencil", &database).await;
        let (code, _) = refusal(&site, name, "wrong", &database).await;
        assert_eq!(code, "28P01", "{name}");
        admin.batch_execute(&format!("DROP ROLE {name}")).await.unwrap();
    }
}
