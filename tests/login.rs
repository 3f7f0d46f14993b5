//! Logging in: every method over every combination of TLS, the refusals, and bad input before it.
//!
//! The listener runs in the test's process, in front of one real server that offers TLS and asks
//! each role for its own method.

mod bad_input;
mod gate;

use std::time::Duration;

use crossfade::backend::from_url::{Host, RootSource, SslMode};
use crossfade::listener::{Address, ListenError, Listener};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::PATIENCE;
use gate::{Gate, Leg, ROLES, Raw, psql, server};

const WHO: &str = "SELECT current_user, (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid())";

#[tokio::test]
async fn every_method_works_over_every_combination_of_tls() {
    for (listen, upstream) in [
        (Leg::Plain, SslMode::Disable),
        (Leg::Plain, SslMode::Require),
        (Leg::Tls, SslMode::Disable),
        (Leg::Tls, SslMode::Require),
    ] {
        let gate = Gate::start(|gate| gate.listen(listen).upstream(upstream)).await;
        for (role, password) in ROLES {
            let encrypted = if upstream == SslMode::Require { 't' } else { 'f' };
            let got = psql(gate.conninfo(role), password, WHO).await;
            assert_eq!(got, Ok(format!("{role}|{encrypted}")), "{listen:?} {upstream:?}");
        }
    }
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_get_the_words_of_postgresql() {
    for (listen, upstream) in [
        (Leg::Plain, SslMode::Disable),
        (Leg::Plain, SslMode::Require),
        (Leg::Tls, SslMode::Disable),
        (Leg::Tls, SslMode::Require),
    ] {
        let gate = Gate::start(|gate| gate.listen(listen).upstream(upstream)).await;
        for role in ["scram", "old", "clear", "nobody"] {
            let error = psql(gate.conninfo(role), "wrong", "SELECT 1").await.unwrap_err();
            let expected = format!("FATAL:  password authentication failed for user \"{role}\"");
            assert!(error.contains(&expected), "{listen:?} {upstream:?}: {error}");
        }
    }
}

#[tokio::test]
async fn channel_binding_can_be_required_with_tls_on_both_legs() {
    let gate = Gate::start(|gate| gate.listen(Leg::Tls).upstream(SslMode::Require)).await;
    let conninfo = format!("{} channel_binding=require", gate.conninfo("scram"));
    assert_eq!(psql(&conninfo, "pencil", WHO).await, Ok("scram|t".to_owned()));

    let error = psql(&conninfo, "wrong", WHO).await.unwrap_err();
    assert!(error.contains("password authentication failed for user \"scram\""), "{error}");

    let disabled = format!("{} channel_binding=disable", gate.conninfo("scram"));
    assert_eq!(psql(&disabled, "pencil", WHO).await, Ok("scram|t".to_owned()));
}

#[tokio::test]
async fn both_certificates_can_be_verified_in_full() {
    let root = RootSource::File(server().await.ca());
    let gate =
        Gate::start(|gate| gate.listen(Leg::Tls).upstream(SslMode::VerifyFull).root(root.clone()))
            .await;
    let conninfo = gate.conninfo("scram").replace("sslmode=require", "sslmode=verify-full");
    let verified = format!("{conninfo} sslrootcert={}", gate.ca().display());
    assert_eq!(psql(&verified, "pencil", WHO).await, Ok("scram|t".to_owned()));

    let other = format!("{conninfo} sslrootcert={}", server().await.ca().display());
    let error = psql(&other, "pencil", WHO).await.unwrap_err();
    assert!(error.contains("certificate verify failed"), "{error}");
}

#[tokio::test]
async fn a_server_that_cannot_be_verified_is_not_talked_to() {
    for mode in [SslMode::VerifyCa, SslMode::VerifyFull, SslMode::Require] {
        let gate = Gate::start(|gate| {
            // The root is that of the gate's own certificate, which did not sign the server's.
            let root = RootSource::File(gate.ca());
            gate.upstream(mode).root(root)
        })
        .await;
        let error = psql(gate.conninfo("trusted"), "", "SELECT 1").await.unwrap_err();
        assert!(error.contains("could not establish TLS with primary at"), "{mode:?}: {error}");
    }
}

#[tokio::test]
async fn the_name_in_the_servers_certificate_counts_in_full_verification_only() {
    for (mode, works) in [(SslMode::VerifyCa, true), (SslMode::VerifyFull, false)] {
        let root = RootSource::File(server().await.ca());
        let gate = Gate::start(|gate| {
            // Reaches the same server under a name that its certificate does not have.
            gate.upstream(mode).root(root.clone()).host(Host::Name("127.0.0.2".to_owned()))
        })
        .await;
        let got = psql(gate.conninfo("trusted"), "", "SELECT 1").await;
        assert_eq!(got.is_ok(), works, "{mode:?}: {got:?}");
    }
}

#[tokio::test]
async fn without_a_verifier_the_login_says_what_is_missing() {
    let gate = Gate::start(|gate| {
        gate.listen(Leg::Tls).upstream(SslMode::Require).own("plain_role", "secret")
    })
    .await;
    let error = psql(gate.conninfo("scram"), "pencil", "SELECT 1").await.unwrap_err();
    assert!(error.contains("FATAL:  no SCRAM verifier for user \"scram\""), "{error}");
    assert!(error.contains("Crossfade's role may not read pg_authid"), "{error}");
    assert!(error.contains("listen.users"), "{error}");
    // Where nothing has to be ended, nothing is missing.
    assert_eq!(psql(gate.conninfo("trusted"), "", WHO).await, Ok("trusted|t".to_owned()));
}

#[tokio::test]
async fn a_verifier_in_the_configuration_serves_where_pg_authid_cannot_be_read() {
    let verifier = gate::verifier("scram").await;
    let gate = Gate::start(|gate| {
        let own = gate.listen(Leg::Tls).upstream(SslMode::Require).own("plain_role", "secret");
        own.user("scram", &verifier)
    })
    .await;
    let conninfo = format!("{} channel_binding=require", gate.conninfo("scram"));
    assert_eq!(psql(&conninfo, "pencil", WHO).await, Ok("scram|t".to_owned()));
    assert!(psql(&conninfo, "wrong", WHO).await.is_err());
}

#[tokio::test]
async fn a_verifier_that_is_out_of_date_lets_nobody_in() {
    let stale = gate::verifier("changed").await;
    gate::administrator().await.batch_execute("ALTER ROLE changed PASSWORD 'new'").await.unwrap();
    let gate = Gate::start(|gate| {
        gate.listen(Leg::Tls).upstream(SslMode::Require).user("changed", &stale)
    })
    .await;
    for password in ["before", "new"] {
        let error = psql(gate.conninfo("changed"), password, "SELECT 1").await.unwrap_err();
        assert!(error.contains("password authentication failed"), "{password}: {error}");
    }
}

#[tokio::test]
async fn a_unix_socket_serves_both_ways() {
    let directory = server().await.socket_directory().to_owned();
    let gate = Gate::start(|gate| gate.unix().host(Host::Path(directory.clone()))).await;
    let got = psql(gate.conninfo("scram"), "pencil", "SELECT current_user").await;
    assert_eq!(got, Ok("scram".to_owned()));
}

#[tokio::test]
async fn a_socket_that_is_in_use_is_not_taken_over_and_one_left_behind_is() {
    let gate = Gate::start(|gate| gate.unix()).await;
    let address = gate.address();
    let error = Listener::bind(address.clone(), 1, gate::metrics()).await.unwrap_err();
    assert!(matches!(error, ListenError::InUse { .. }), "{error}");

    let Address::Unix { directory, .. } = address else { panic!("a unix gate") };
    let stale = Address::Unix { directory: directory.clone(), port: 1 };
    drop(std::os::unix::net::UnixListener::bind(directory.join(".s.PGSQL.1")).unwrap());
    Listener::bind(stale, 1, gate::metrics()).await.unwrap();
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let gate = Gate::start(|gate| gate).await;
    let error = Listener::bind(gate.address(), 1, gate::metrics()).await.unwrap_err();
    let expected = format!("could not listen on {}: another process already does", gate.address());
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn direct_tls_needs_the_name_of_the_protocol() {
    let gate = Gate::start(|gate| gate.listen(Leg::Tls)).await;
    let mut client = gate.direct_tls(Some("postgresql")).await.unwrap();
    client
        .write_all(&gate::startup(3 << 16, &[("user", "trusted"), ("database", "postgres")]))
        .await
        .unwrap();
    let mut answer = [0; 9];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"R\0\0\0\x08\0\0\0\0");

    assert!(gate.direct_tls(Some("http/1.1")).await.is_err());
    // Without a name the handshake succeeds, and nothing else does.
    let mut nameless = gate.direct_tls(None).await.unwrap();
    drop(
        nameless
            .write_all(&gate::startup(3 << 16, &[("user", "trusted"), ("database", "postgres")]))
            .await,
    );
    assert_eq!(nameless.read(&mut [0; 1]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn tls_that_is_off_is_refused_politely() {
    let gate = Gate::start(|gate| gate).await;
    let mut raw = Raw::connect(&gate).await;
    raw.send(&gate::request(80_877_104)).await;
    assert_eq!(raw.byte().await, b'N');
    raw.send(&gate::request(80_877_103)).await;
    assert_eq!(raw.byte().await, b'N');
    raw.send(&gate::startup(3 << 16, &[("user", "trusted"), ("database", "postgres")])).await;
    assert_eq!(raw.byte().await, b'R');
}

#[tokio::test]
async fn tls_that_is_required_is_required() {
    let gate = Gate::start(|gate| gate.listen(Leg::Required)).await;
    let plain = gate.conninfo("trusted").replace("sslmode=require", "sslmode=disable");
    let error = psql(&plain, "", "SELECT 1").await.unwrap_err();
    assert!(error.contains("FATAL:  connection requires TLS"), "{error}");
    assert_eq!(psql(gate.conninfo("trusted"), "", "SELECT 1").await, Ok("1".to_owned()));
}

#[tokio::test]
async fn replication_and_other_databases_are_refused() {
    let gate = Gate::start(|gate| gate).await;
    let replication = format!("{} replication=database", gate.conninfo("trusted"));
    let error = psql(&replication, "", "IDENTIFY_SYSTEM").await.unwrap_err();
    assert!(error.contains("FATAL:  replication connections are not supported"), "{error}");
    // As a driver asks for it, in every spelling that PostgreSQL knows.
    for value in ["database", "true", "TRUE", "t", "on", "yes", "1"] {
        let mut raw = Raw::connect(&gate).await;
        let who = [("user", "trusted"), ("database", "postgres"), ("replication", value)];
        raw.send(&gate::startup(3 << 16, &who)).await;
        let error = raw.error().await;
        assert_eq!((&*error["S"], &*error["C"]), ("FATAL", "0A000"), "{value}: {error:?}");
        assert_eq!(raw.rest().await, b"", "{value}");
    }
    for value in ["false", "off", "no", "0"] {
        let mut raw = Raw::connect(&gate).await;
        let who = [("user", "trusted"), ("database", "postgres"), ("replication", value)];
        raw.send(&gate::startup(3 << 16, &who)).await;
        raw.until(b'Z').await;
    }

    let other = gate.conninfo("trusted").replace("dbname=postgres", "dbname=template1");
    let error = psql(&other, "", "SELECT 1").await.unwrap_err();
    assert!(error.contains("FATAL:  database \"template1\" is not served"), "{error}");
    assert!(error.contains("the database \"postgres\" only"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_down_is_named_with_a_code_that_clients_retry() {
    let port = crate::support::process::free_port();
    let gate = Gate::start(|gate| gate.port(port)).await;
    let mut raw = Raw::connect(&gate).await;
    raw.send(&gate::startup(3 << 16, &[("user", "trusted"), ("database", "postgres")])).await;
    let error = raw.error().await;
    assert_eq!(error["C"], "57P03");
    assert_eq!(error["M"], format!("could not connect to primary at 127.0.0.1:{port}"));
}

#[tokio::test]
async fn a_newer_minor_protocol_is_negotiated_by_the_server() {
    let gate = Gate::start(|gate| gate).await;
    let mut raw = Raw::connect(&gate).await;
    let parameters = [("user", "trusted"), ("database", "postgres"), ("_pq_.novelty", "1")];
    raw.send(&gate::startup((3 << 16) + 9999, &parameters)).await;
    let (tag, body) = raw.message().await;
    assert_eq!(tag, b'v');
    assert!(body.ends_with(b"_pq_.novelty\0"));
    assert_eq!(raw.message().await.0, b'R');
}

#[tokio::test]
async fn one_client_too_many_is_told_so_and_can_come_in_later() {
    let gate = Gate::start(|gate| gate.sessions_max(1)).await;
    let inside = Raw::log_in(&gate, "trusted").await;
    let error = psql(gate.conninfo("trusted"), "", "SELECT 1").await.unwrap_err();
    assert!(error.contains("FATAL:  sorry, too many clients already"), "{error}");

    drop(inside);
    gate.until(|| async { psql(gate.conninfo("trusted"), "", "SELECT 1").await.is_ok() }).await;
}

#[tokio::test]
async fn a_cancel_request_reaches_the_statement_even_when_there_is_no_room() {
    let gate = Gate::start(|gate| gate.sessions_max(1)).await;
    let mut session = Raw::log_in(&gate, "trusted").await;
    session.query("SELECT pg_sleep(600)").await;
    gate.until(|| gate::is_sleeping(session.pid())).await;
    gate.cancel(&session.key).await;
    assert_eq!(session.error().await["C"], "57014");
}

#[tokio::test]
async fn a_cancel_request_waits_for_a_statement_of_ours() {
    let gate = Gate::start(|gate| gate).await;
    let mut session = Raw::log_in(&gate, "trusted").await;
    let guard = gate.services.cancels.register(gate::cancel_key(&session.key));
    let hold = guard.hold().await;
    session.query("SELECT pg_sleep(600)").await;
    gate.until(|| gate::is_sleeping(session.pid())).await;
    let key = session.key.clone();
    let cancel = gate.cancel(&key);
    tokio::pin!(cancel);
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut cancel).await.is_err());
    assert!(gate::is_sleeping(session.pid()).await);
    drop(hold);
    cancel.await;
    assert_eq!(session.error().await["C"], "57014");
}

#[tokio::test]
async fn a_login_leaves_what_the_client_sent_early_to_the_session() {
    let gate = Gate::start(|gate| gate).await;
    let mut raw = Raw::connect(&gate).await;
    let mut bytes = gate::startup(3 << 16, &[("user", "trusted"), ("database", "postgres")]);
    bytes.extend_from_slice(&gate::frame(b'Q', b"SELECT 'early'\0"));
    raw.send(&bytes).await;
    raw.until(b'Z').await;
    assert_eq!(raw.until(b'D').await, b"\0\x01\0\0\0\x05early");
}

#[tokio::test]
async fn a_shutdown_lets_open_transactions_end_and_tells_idle_clients() {
    let mut gate = Gate::start(|gate| gate.patience(PATIENCE)).await;
    let mut idle = Raw::log_in(&gate, "trusted").await;
    let mut busy = Raw::log_in(&gate, "trusted").await;
    busy.query("BEGIN").await;
    busy.until(b'Z').await;
    let mut halfway = Raw::connect(&gate).await;
    halfway.send(&gate::startup(3 << 16, &[("user", "scram"), ("database", "postgres")])).await;
    assert_eq!(halfway.message().await.0, b'R');

    gate.shut_down();
    assert_eq!(idle.error().await["C"], "57P01");
    assert_eq!(halfway.error().await["C"], "57P03");
    busy.query("SELECT 'still here'").await;
    assert_eq!(busy.until(b'D').await, b"\0\x01\0\0\0\x0astill here");
    busy.until(b'Z').await;
    gate.until(|| async { !gate.accepts().await }).await;
    busy.query("COMMIT").await;
    busy.until(b'Z').await;
    assert_eq!(busy.error().await["C"], "57P01");
    assert_eq!(gate.closed().await, 0);
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_ever() {
    let mut gate = Gate::start(|gate| gate.patience(Duration::from_millis(50))).await;
    let mut busy = Raw::log_in(&gate, "trusted").await;
    busy.query("BEGIN").await;
    busy.until(b'Z').await;
    gate.shut_down();
    assert_eq!(gate.closed().await, 1);
}
