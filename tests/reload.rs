//! What can change while the sidecar runs: passwords, certificates, modes, the log; and what a wrong
//! file does.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crossfade::demo::servers::PASSWORD;
use mysql_async::prelude::Queryable;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::support::{ROLE, ROLE_PASSWORD, Target, World, certificate, connect};

const SCHEMA: &str = "CREATE TABLE users (id int PRIMARY KEY, name text)";

async fn logged(world: &World, words: &str) {
    let proxy = world.proxy.as_ref().unwrap();
    world.until(words, async || proxy.log().contains(words)).await;
}

#[tokio::test]
async fn passwords_of_both_databases_are_replaced_by_a_reload() {
    let mut world = World::alone(Target::MariaDb, "'*': { mode: blocking, timeout: 5s }").await;
    world.direct().await.batch_execute(SCHEMA).await.unwrap();
    world.setup();
    world.run().await;
    let client = world.client().await;
    client.batch_execute("INSERT INTO users VALUES (1, 'before')").await.unwrap();
    world.drained().await;
    // Both servers forget the old passwords, and every connection of ours that still had them.
    let admin = world.admin().await;
    admin.batch_execute("ALTER ROLE postgres PASSWORD 'rotated'").await.unwrap();
    let mut secondary = world.secondary().await;
    // Our own connection comes by the socket, the sidecar's by TCP: one name, several accounts.
    for host in ["localhost", "127.0.0.1", "%"] {
        let set = format!("ALTER USER IF EXISTS 'root'@'{host}' IDENTIFIED BY 'rotated'");
        secondary.query_drop(set).await.unwrap();
    }
    world.edit(|text| text.replace(&format!(":{PASSWORD}@"), ":rotated@"));
    world.proxy.as_ref().unwrap().reload();
    logged(&world, "configuration taken").await;
    let ours = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE application_name = 'crossfade' AND pid <> pg_backend_pid()";
    admin.batch_execute(ours).await.unwrap();
    let ids: Vec<u64> = secondary
        .query("SELECT id FROM information_schema.processlist WHERE id <> CONNECTION_ID()")
        .await
        .unwrap();
    for id in ids {
        // One that ended by itself meanwhile is as good.
        drop(secondary.query_drop(format!("KILL {id}")).await);
    }
    client.batch_execute("INSERT INTO users VALUES (2, 'after')").await.unwrap();
    world
        .until("the row written after the change", async || {
            let left = "SELECT count(*) FROM crossfade.outbox";
            admin.query_one(left, &[]).await.unwrap().get::<_, i64>(0) == 0
        })
        .await;
    let names: Vec<String> = secondary
        .query(format!("SELECT name FROM {}.users ORDER BY id", world.database))
        .await
        .unwrap();
    assert_eq!(names, ["before", "after"]);
    let log = world.log();
    assert!(!log.contains("rotated"), "{log}");
}

#[tokio::test]
async fn a_mode_changes_by_post_and_goes_back_by_reload() {
    let mut world = World::start(Target::MariaDb, SCHEMA, "'*': { mode: async }").await;
    let mode = async |world: &World| {
        let (_, body) = world.proxy.as_ref().unwrap().get("/migration-status").await.unwrap();
        let report: serde_json::Value = serde_json::from_str(&body).unwrap();
        report["tables"]["users"]["mode"].as_str().unwrap_or_default().to_owned()
    };
    world.until("async", async || mode(&world).await == "async").await;
    let address = ([127, 0, 0, 1], world.proxy.as_ref().unwrap().admin_port).into();
    let post = async |mode: &str| {
        let body = format!("{{\"mode\":\"{mode}\"}}");
        crossfade::admin::client::post(address, "/tables/users/mode", None, body).await.unwrap()
    };
    assert_eq!(post("strict").await.status, 200);
    world.until("strict", async || mode(&world).await == "strict").await;
    // What is migrated at all is not decided by a POST.
    assert_eq!(post("off").await.status, 409);
    let client = world.client().await;
    client.batch_execute("INSERT INTO users VALUES (1, 'strict')").await.unwrap();
    world.assert_equal("users").await;
    world.proxy.as_ref().unwrap().reload();
    world.until("async again", async || mode(&world).await == "async").await;
    assert_eq!(world.proxy.take().unwrap().stop(), Some(0), "SIGTERM is no failure");
}

#[tokio::test]
async fn limits_that_a_reload_takes_are_shown_and_the_others_stay() {
    let world = World::start(Target::MariaDb, SCHEMA, "").await;
    let proxy = world.proxy.as_ref().unwrap();
    world.edit(|text| text + "limits: { hold: 7s, workers: 9, poll: 50ms, lease: 400ms }\n");
    proxy.reload();
    logged(&world, "configuration taken").await;
    for (name, value) in [("hold", 7.0), ("workers", 4.0), ("poll", 1.0), ("lease", 5.0)] {
        assert_eq!(proxy.metric(&format!("limit{{name=\"{name}\"}}")).await, value, "{name}");
    }
    for key in ["limits.workers", "limits.poll", "limits.lease"] {
        logged(&world, key).await;
    }
}

#[tokio::test]
async fn a_wrong_file_is_not_taken_and_the_old_one_holds() {
    let world = World::start(Target::MariaDb, SCHEMA, "").await;
    let before = fs::read_to_string(&world.config).unwrap();
    world.edit(|text| text + "limits: { max_connections: many }\n");
    let address = ([127, 0, 0, 1], world.proxy.as_ref().unwrap().admin_port).into();
    let reload = async || {
        crossfade::admin::client::post(address, "/reload", None, String::new()).await.unwrap()
    };
    let refused = reload().await;
    assert_eq!(refused.status, 409);
    assert!(refused.body.contains("limits.max_connections"), "{}", refused.body);
    let client = world.client().await;
    client.batch_execute("INSERT INTO users VALUES (1, 'still')").await.unwrap();
    fs::write(&world.config, before + "log: { level: debug }\n").unwrap();
    assert_eq!(reload().await.status, 200);
    let client =
        connect(world.proxy.as_ref().unwrap().port, ROLE, ROLE_PASSWORD, &world.database).await;
    client.batch_execute("SELECT 1").await.unwrap();
    world.drained().await;
    world.assert_equal("users").await;
}

/// A client that believes certificates of this authority only.
async fn with_tls(world: &World, authority: &[u8]) -> Result<tokio_postgres::Client, String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut config = tokio_postgres::Config::new();
    config.host("localhost").hostaddr([127, 0, 0, 1].into()).port(world.proxy_port());
    config.user(ROLE).password(ROLE_PASSWORD).dbname(&world.database);
    config.ssl_mode(tokio_postgres::config::SslMode::Require);
    let connected = config.connect(MakeRustlsConnect::new(tls)).await;
    let (client, connection) = connected.map_err(|error| format!("{error:?}"))?;
    tokio::spawn(connection);
    Ok(client)
}

#[tokio::test]
async fn a_certificate_is_replaced_while_connections_stay_open() {
    let mut world = World::bare(Target::MariaDb, "").await;
    let (shown, next) = (world.config.with_file_name("tls"), world.config.with_file_name("next"));
    let authority = |directory: &Path| fs::read(directory.join(certificate::CA)).unwrap();
    let replace = |name: &str| fs::copy(next.join(name), shown.join(name)).unwrap();
    certificate::issue(&shown);
    certificate::issue(&next);
    let (first, second) = (authority(&shown), authority(&next));
    world.offer_tls(&shown);
    world.run().await;
    let proxy = world.proxy.as_ref().unwrap();
    let stays = with_tls(&world, &first).await.unwrap();

    // Half of a change is none: the new certificate does not go with the old key.
    replace(certificate::CERT);
    proxy.reload();
    logged(&world, "configuration not taken").await;
    with_tls(&world, &first).await.unwrap();

    replace(certificate::KEY);
    proxy.reload();
    logged(&world, "configuration taken").await;
    with_tls(&world, &second).await.unwrap();
    let refused = with_tls(&world, &first).await.map(drop).unwrap_err();
    assert!(refused.contains("InvalidCertificate"), "{refused}");

    // One that cannot be read is named, and the one before holds.
    fs::write(shown.join(certificate::CERT), "-----BEGIN CERTIFICATE-----\nnonsense\n").unwrap();
    let (status, told) = proxy.request("POST", "/reload").await.unwrap();
    assert_eq!(status, 409, "{told}");
    assert!(told.contains("server.crt"), "{told}");
    with_tls(&world, &second).await.unwrap();

    let rows = stays.query("SELECT 1", &[]).await.unwrap();
    assert_eq!(rows.len(), 1, "the first connection goes on with the certificate it saw");
}

#[tokio::test]
async fn a_log_file_that_was_moved_away_is_opened_again() {
    let mut world = World::bare(Target::MariaDb, "").await;
    let file = world.config.with_file_name("crossfade.log");
    let moved = world.config.with_file_name("crossfade.log.1");
    world.edit(|text| text + &format!("log: {{ file: \"{}\" }}\n", file.display()));
    world.run().await;
    let proxy = world.proxy.as_ref().unwrap();
    fs::rename(&file, &moved).unwrap();
    let before = fs::read_to_string(&moved).unwrap();
    assert!(!before.is_empty(), "the start is logged");
    proxy.reload();
    let taken =
        async || fs::read_to_string(&file).is_ok_and(|text| text.contains("configuration taken"));
    world.until("logged to the new file", taken).await;
    assert_eq!(fs::read_to_string(&moved).unwrap(), before);
    // A file that cannot be opened is refused, and the log goes on where it went.
    world.edit(|text| text.replace("crossfade.log\"", "nowhere/crossfade.log\""));
    let (status, told) = proxy.request("POST", "/reload").await.unwrap();
    assert_eq!(status, 409, "{told}");
    assert!(told.contains("could not open log file"), "{told}");
    let length = fs::metadata(&file).unwrap().len();
    world.edit(|text| text.replace("nowhere/", ""));
    assert_eq!(proxy.request("POST", "/reload").await.unwrap().0, 200);
    assert!(length < fs::metadata(&file).unwrap().len());
}
