//! What a stranger may send before it has logged in. Nothing of it may harm those who are inside.

use std::time::Duration;

use super::gate::{Gate, Leg, Raw, frame, psql, request, startup};

/// What becomes of bytes that are not a login: an error with this code, then the end; or just that.
#[track_caller]
fn check(name: &str, answer: &[u8], expected: Option<&str>) {
    let fields = answer.strip_prefix(b"E").map(|error| &error[4..]).unwrap_or_default();
    let code = fields.split(|byte| *byte == 0).find_map(|field| field.strip_prefix(b"C"));
    let code = code.map(|code| String::from_utf8_lossy(code).into_owned());
    assert_eq!(code.as_deref(), expected, "{name}: {}", String::from_utf8_lossy(answer));
}

#[tokio::test]
async fn bad_input_before_login_gets_an_error_and_harms_nobody() {
    let gate = Gate::start(|gate| gate).await;
    let with_length = |length: u32, rest: &[u8]| [&length.to_be_bytes()[..], rest].concat();
    let login = startup(3 << 16, &[("user", "scram"), ("database", "postgres")]);
    let protocol = Some("08P01");
    let table: Vec<(&str, Vec<u8>, Option<&str>)> = vec![
        ("nothing", vec![], None),
        ("an HTTP request", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), protocol),
        ("a TLS handshake", vec![0x16, 3, 1, 0, 200, 1, 0, 0, 196], protocol),
        ("zeros", vec![0; 64], protocol),
        ("noise", (0..=255).cycle().skip(77).take(100_000).collect(), protocol),
        ("a length of 1 GB", with_length(1 << 30, &[0; 100]), protocol),
        ("a negative length", with_length(u32::MAX, &[0; 100]), protocol),
        ("a length that is too small", with_length(7, &[0, 3, 0, 0]), protocol),
        ("a length just over the bound", with_length(10_001, &[0; 9_997]), protocol),
        ("half a length", vec![0, 0], None),
        ("half a packet", login[..20].to_vec(), None),
        ("no terminator", with_length(9, &[0, 3, 0, 0, b'x']), protocol),
        ("no user", startup(3 << 16, &[("database", "postgres")]), Some("28000")),
        ("protocol 2", startup(2 << 16, &[("user", "scram")]), Some("0A000")),
        ("TLS twice", [request(80_877_103), request(80_877_103)].concat(), None),
        (
            "a long cancel key",
            with_length(400, &[&[4, 210, 22, 46][..], &[0; 392]].concat()),
            protocol,
        ),
        (
            "a cancel key nobody has",
            with_length(16, &[4, 210, 22, 46, 0, 0, 0, 9, 1, 2, 3, 4]),
            None,
        ),
    ];
    for (name, bytes, expected) in table {
        let mut raw = Raw::connect(&gate).await;
        raw.send(&bytes).await;
        raw.finish().await;
        check(name, &raw.rest().await, expected);
    }
    assert_eq!(psql(gate.conninfo("scram"), "pencil", "SELECT 1").await, Ok("1".to_owned()));
}

#[tokio::test]
async fn bad_input_instead_of_a_password_gets_an_error() {
    let gate = Gate::start(|gate| gate).await;
    let table: Vec<(&str, Vec<u8>, Option<&str>)> = vec![
        ("another message", frame(b'Q', b"SELECT 1\0"), Some("08P01")),
        ("a length that lies", [&b"p"[..], &(1_u32 << 30).to_be_bytes()].concat(), Some("08P01")),
        ("a length below itself", vec![b'p', 0, 0, 0, 3], Some("08P01")),
        ("half a message", vec![b'p', 0, 0, 0, 9, b'x'], None),
        ("an unknown mechanism", frame(b'p', b"SCRAM-MD5\0\0\0\0\0"), Some("08P01")),
    ];
    for (name, bytes, expected) in table {
        let mut raw = Raw::connect(&gate).await;
        raw.send(&startup(3 << 16, &[("user", "scram"), ("database", "postgres")])).await;
        assert_eq!(raw.message().await.0, b'R', "{name}");
        raw.send(&bytes).await;
        raw.finish().await;
        check(name, &raw.rest().await, expected);
    }
}

#[tokio::test]
async fn a_client_that_stalls_is_let_go() {
    let gate = Gate::start(|gate| gate.timeout(Duration::from_millis(200))).await;
    let mut silent = Raw::connect(&gate).await;
    let mut half = Raw::connect(&gate).await;
    half.send(&[0, 0, 0]).await;
    let mut wordless = Raw::connect(&gate).await;
    wordless.send(&startup(3 << 16, &[("user", "scram"), ("database", "postgres")])).await;
    assert_eq!(silent.rest().await, b"");
    assert_eq!(half.rest().await, b"");
    let gate = Gate::start(|gate| gate.listen(Leg::Tls).timeout(Duration::from_millis(200))).await;
    let mut handshake = Raw::connect(&gate).await;
    handshake.send(&request(80_877_103)).await;
    assert_eq!(handshake.byte().await, b'S');
    // The beginning of a ClientHello, and no more.
    handshake.send(&[0x16, 3, 1, 0, 200, 1]).await;
    assert_eq!(handshake.rest().await, b"");
    assert_eq!(wordless.message().await.0, b'R');
    assert_eq!(wordless.error().await["C"], "57014");
}

/// Both ends of every connection are in this process, so the operating system's limit on open
/// files decides how many there can be.
#[tokio::test]
async fn ten_thousand_connections_keep_nobody_inside_from_working() {
    let gate = Gate::start(|gate| gate).await;
    let mut inside = Raw::log_in(&gate, "trusted").await;
    let limit = open_files_max();
    let count = limit.saturating_sub(1_000).min(10_000);
    let mut crowd = Vec::with_capacity(count);
    for _ in 0..count {
        crowd.push(gate.socket().await);
    }
    inside.query("SELECT 'still here'").await;
    assert_eq!(inside.until(b'D').await, b"\0\x01\0\0\0\x0astill here");

    drop(crowd);
    gate.until(|| async { psql(gate.conninfo("trusted"), "", "SELECT 1").await.is_ok() }).await;
}

/// Open files allowed, as `/proc` has it.
fn open_files_max() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).unwrap().parse().unwrap_or(usize::MAX)
}
