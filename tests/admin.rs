//! The admin port, asked over HTTP: exact shapes, who may POST, and peers that misbehave.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crossfade::admin::client::{get, post};
use crossfade::admin::{
    AdminMetrics, Fresh, Health, Ledger, Published, REQUESTS_MAX, Request, Token,
};
use crossfade::metrics::Metrics;
use crossfade::phase::Situation;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

/// An admin port on its own, with the senders of what it publishes.
struct Admin {
    address: SocketAddr,
    health: watch::Sender<Arc<Health>>,
    requests: mpsc::Receiver<Request>,
    _stop: watch::Sender<bool>,
}

async fn start(token: Option<&str>) -> Admin {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, requests) = mpsc::channel(REQUESTS_MAX);
    let (health, health_seen) = watch::channel(Arc::new(Health::unknown()));
    let ledger = watch::channel(Arc::new(Ledger::default())).1;
    let now = Arc::new(Situation { server: 15, ..Situation::transparent() });
    let published = Published {
        situation: watch::channel(Arc::clone(&now)).1,
        beyond: watch::channel(now).1,
        ledger: ledger.clone(),
        counts: watch::Sender::default().subscribe(),
        work: watch::Sender::default().subscribe(),
        health: health_seen,
        lease: crate::support::inside::confirmed(),
        sidecar: "0123456789abcdef".into(),
        statements: crate::support::inside::statements(),
        registries: Metrics::new().unwrap().registries().into(),
        token: watch::channel(token.map(|token| Token::new(token.to_owned()))).1,
        requests: sender,
        metrics: AdminMetrics::register(&prometheus::Registry::new(), ledger).unwrap(),
        fresh: Fresh::default(),
    };
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(crossfade::admin::serve(listener, published, stopped));
    Admin { address, health, requests, _stop: stop }
}

#[tokio::test]
async fn migration_status_has_exactly_its_shape() {
    let admin = start(None).await;
    let answer = get(admin.address, "/migration-status").await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.body,
        concat!(
            r#"{"status":"healthy","totalErrors":0,"errorsByEntity":{},"phase":"setup","#,
            r#""primary":"postgresql","epoch":0,"lag":{"seconds":0.0,"pending":0,"stuck":0},"tables":{}}"#
        )
    );
}

#[tokio::test]
async fn readiness_follows_the_primary_alone() {
    let admin = start(None).await;
    let unknown = get(admin.address, "/health/readiness").await.unwrap();
    assert_eq!(unknown.status, 503);
    admin.health.send_modify(|health| {
        let mut seen = Health::clone(health);
        (seen.primary.answers, seen.primary.error) = (true, None);
        seen.secondary.error = Some("connection refused".to_owned());
        *health = Arc::new(seen);
    });
    let ready = get(admin.address, "/health/readiness").await.unwrap();
    assert_eq!(ready.status, 200);
    assert_eq!(
        ready.body,
        concat!(
            r#"{"primary":{"product":"postgresql","answers":true},"#,
            r#""secondary":{"product":"mysql","answers":false,"error":"connection refused"},"#,
            r#""lease":{"held":true}}"#
        )
    );
    assert_eq!(get(admin.address, "/health/liveness").await.unwrap().status, 200);
}

#[tokio::test]
async fn metrics_are_prometheus_text_with_the_process_beside_them() {
    let admin = start(None).await;
    let text = get(admin.address, "/metrics").await.unwrap().body;
    for line in ["crossfade_build_info{version=", "process_resident_memory_bytes "] {
        assert!(text.contains(&format!("\n{line}")), "no {line} in\n{text}");
    }
}

#[tokio::test]
async fn a_post_needs_the_token_where_there_is_one() {
    let mut admin = start(Some("hunter2")).await;
    let wrong = Token::new("hunter3".to_owned());
    for token in [None, Some(&wrong)] {
        let answer = post(admin.address, "/reload", token, String::new()).await.unwrap();
        assert_eq!(answer.status, 401, "{}", answer.body);
        assert!(!answer.body.contains("hunter"), "{}", answer.body);
    }
    assert!(admin.requests.try_recv().is_err(), "a refused POST went through");
    let right = Token::new("hunter2".to_owned());
    let asked = tokio::spawn(async move {
        post(admin.address, "/reload", Some(&right), String::new()).await.unwrap()
    });
    let Some(Request::Reload { reply }) = admin.requests.recv().await else { panic!("no reload") };
    reply.send(Err("proxy.yaml:3: limits.lease: …".to_owned())).unwrap();
    let answer = asked.await.unwrap();
    assert_eq!((answer.status, answer.body.contains("limits.lease")), (409, true));
}

#[tokio::test]
async fn a_mode_is_checked_before_it_is_asked_for() {
    let mut admin = start(None).await;
    let body = |mode: &str| format!("{{\"mode\":\"{mode}\"}}");
    let unknown = post(admin.address, "/tables/users/mode", None, body("sometimes")).await.unwrap();
    assert_eq!(unknown.status, 400);
    let missing = post(admin.address, "/tables/users/mode", None, body("async")).await.unwrap();
    assert_eq!(missing.status, 404);
    let large = post(admin.address, "/tables/users/mode", None, " ".repeat(1 << 20)).await.unwrap();
    assert_eq!(large.status, 413);
    assert!(admin.requests.try_recv().is_err(), "nothing should have been asked");
}

#[tokio::test]
async fn a_head_without_end_is_cut_off() {
    let admin = start(None).await;
    let mut socket = TcpStream::connect(admin.address).await.unwrap();
    let flood = "GET / HTTP/1.1\r\nX: ".to_owned() + &"a".repeat(1 << 20);
    // The peer may hang up while we still write: that is what is wanted.
    drop(socket.write_all(flood.as_bytes()).await);
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), socket.read_to_end(&mut answer)).await;
    match read.expect("the connection was left open") {
        Ok(_) => {
            assert!(answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
        }
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
    }
    assert_eq!(get(admin.address, "/health/liveness").await.unwrap().status, 200);
}

#[tokio::test]
async fn the_dashboard_comes_out_of_the_binary_and_needs_nothing_from_elsewhere() {
    let admin = start(None).await;
    let page = get(admin.address, "/").await.unwrap().body;
    let quoted = page.split('"').filter(|text| text.starts_with("/dashboard/"));
    let mut files: Vec<String> = quoted.map(str::to_owned).collect();
    assert!(files.contains(&"/dashboard/main.js".to_owned()), "{page}");
    let mut read = 0;
    while let Some(file) = files.get(read).cloned() {
        let answer = get(admin.address, &file).await.unwrap();
        assert_eq!(answer.status, 200, "{file}");
        for imported in answer.body.lines().filter_map(|line| line.split_once(" from \"./")) {
            let imported = format!("/dashboard/{}", imported.1.trim_end_matches("\";"));
            if !files.contains(&imported) {
                files.push(imported);
            }
        }
        let elsewhere = ["https://", "innerHTML", "eval("];
        assert!(!elsewhere.iter().any(|word| answer.body.contains(word)), "{file}");
        read += 1;
    }
    assert!(10 < read, "{files:?}");
    assert!(!page.contains("<style") && !page.contains("style=") && !page.contains("onclick"));
}

#[tokio::test]
async fn forms_and_other_names_are_refused() {
    let admin = start(None).await;
    for (head, status) in [
        ("GET /migration-status HTTP/1.1\r\nhost: evil.example:9100", 403),
        ("GET /metrics HTTP/1.1\r\nhost: evil.example:9100", 200),
        ("GET /history?after=x HTTP/1.1\r\nhost: localhost", 400),
        ("POST /verify HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain", 415),
        ("POST /verify HTTP/1.1\r\nhost: localhost\r\nsec-fetch-site: cross-site", 403),
        ("POST /verify HTTP/1.1\r\nhost: localhost\r\norigin: null", 403),
        ("POST /verify HTTP/1.1\r\nhost: evil.example\r\norigin: http://evil.example", 403),
    ] {
        let mut socket = TcpStream::connect(admin.address).await.unwrap();
        let request = format!("{head}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{head}\n{answer}");
    }
}

#[tokio::test]
async fn whether_changes_may_be_made_is_said_before_they_are() {
    let admin = start(Some("hunter2")).await;
    let access = get(admin.address, "/access").await.unwrap();
    assert_eq!(
        access.body,
        format!(
            concat!(
                r#"{{"mayChange":false,"why":"this needs the token of admin.token: Authorization: Bearer …","#,
                r#""wantsToken":true,"sidecar":"0123456789abcdef","version":"{}"}}"#
            ),
            env!("CARGO_PKG_VERSION")
        )
    );
    let open = start(None).await;
    assert!(get(open.address, "/access").await.unwrap().body.starts_with(r#"{"mayChange":true,"#));
}
