//! Messages as large as PostgreSQL takes them, through the sidecar as its users run it: they stream
//! through, whatever it knows or does not know about what is in them.

use crate::support::{Target, World};

use super::script::{Wire, frame};

/// PostgreSQL allocates no more than a byte less than 1 GiB for one message or value; what stands
/// around the value needs some of it.
const LARGE: usize = (1 << 30) - 4096;
/// What the sidecar may need at its peak, in KiB: it has a runtime, caches, pools and its own code, unoptimized
/// (44 MiB before the first statement), but no large message.
const PEAK_KIB: u64 = 80 << 10;
/// By how much its peak may grow where messages stream through, and where statements are looked at.
const GROWTH_KIB: u64 = 8 << 10;
const LOOKED_AT_KIB: u64 = 32 << 10;
const CHUNK: usize = 1 << 20;

#[tokio::test]
async fn messages_of_a_gigabyte_stream_through_in_both_directions() {
    let schema = "CREATE TABLE users (id int PRIMARY KEY); CREATE UNLOGGED TABLE bulk (text text)";
    let world = World::start(Target::MariaDb, schema, "").await;
    let mut wire = Wire::connect(world.proxy_port(), &world.database).await;
    wire.say(&["Q SELECT 1"]).await;
    assert_eq!(wire.hear(1).await, "T(?column?) D(1) C(SELECT 1) Z(I)");
    let before = peak_kib(&world);

    // A parameter there, the same value back.
    wire.say(&["P _ SELECT $1::bytea"]).await;
    let head = [&b"\0\0\0\x01\0\x01\0\x01"[..], &u32::try_from(LARGE).unwrap().to_be_bytes()];
    send(&mut wire, b'B', &head.concat(), LARGE, b"\0\x01\0\x01").await;
    wire.say(&["E _", "S"]).await;
    assert_eq!(wire.lengths().await, lengths(&[('1', 0), ('2', 0), ('D', LARGE + 6), ('C', 9)]));

    // A query string, and a row of the simple protocol.
    send(&mut wire, b'Q', b"SELECT 1 /*", LARGE, b"*/\0").await;
    assert_eq!(wire.hear(1).await, "T(?column?) D(1) C(SELECT 1) Z(I)");
    wire.say(&[&format!("Q SELECT repeat(repeat('x', 1024), {}) AS x", LARGE / 1024)]).await;
    assert_eq!(wire.lengths().await, lengths(&[('T', 22), ('D', LARGE + 6), ('C', 9)]));

    let peak = peak_kib(&world);
    assert!(peak < PEAK_KIB, "{peak} KiB");
    assert!(peak - before < GROWTH_KIB, "{before} KiB grew to {peak} KiB");
}

#[tokio::test]
async fn copies_of_any_size_stream_through_in_both_directions() {
    const ROWS: usize = 256;
    let schema = "CREATE TABLE users (id int PRIMARY KEY); CREATE UNLOGGED TABLE bulk (text text)";
    let world = World::start(Target::MariaDb, schema, "").await;
    let mut wire = Wire::connect(world.proxy_port(), &world.database).await;
    let before = peak_kib(&world);
    wire.say(&["Q COPY bulk FROM STDIN"]).await;
    wire.until(b'G').await;
    let row = frame(b'd', &[&[b'x'; CHUNK - 1][..], b"\n"].concat());
    for _ in 0..ROWS {
        wire.send(&row).await;
    }
    wire.say(&["c"]).await;
    assert_eq!(wire.hear(1).await, format!("C(COPY {ROWS}) Z(I)"));

    wire.say(&["Q COPY bulk TO STDOUT"]).await;
    let heard = wire.lengths().await;
    let copied = heard.iter().filter(|(tag, length)| (*tag, *length) == ('d', CHUNK)).count();
    assert_eq!(copied, ROWS);

    let peak = peak_kib(&world);
    assert!(peak < PEAK_KIB, "{peak} KiB");
    assert!(peak - before < GROWTH_KIB, "{before} KiB grew to {peak} KiB");
}

/// A parser that recurses would end the process: these are answered as without us.
#[tokio::test]
async fn statements_of_any_depth_are_answered_as_without_us() {
    let schema = "CREATE TABLE users (id int PRIMARY KEY, age int)";
    let world = World::start(Target::MariaDb, schema, "").await;
    let terms = vec!["id = 1"; 40_000].join(" OR ");
    let (open, close) = ("(".repeat(10_000), ")".repeat(10_000));
    let mut past = Wire::connect(world.postgres_port(), &world.database).await;
    let mut through = Wire::connect(world.proxy_port(), &world.database).await;
    let before = peak_kib(&world);
    for sql in [
        "INSERT INTO users VALUES (1, 1)".to_owned(),
        format!("SELECT id FROM users WHERE {terms}"),
        format!("UPDATE users SET age = 2 WHERE {terms}"),
        format!("SELECT {open}1{close}"),
        format!("INSERT INTO users VALUES ({open}2{close}, 2)"),
        format!("SELECT {}1{}", "(SELECT ".repeat(5_000), ")".repeat(5_000)),
        format!("SELECT {open}"),
        format!("SELECT {}1", "- ".repeat(20_000)),
        format!("SELECT '{{}}'::int{}", "[]".repeat(10_000)),
        "TRUNCATE users".to_owned(),
    ] {
        for messages in [
            vec![format!("Q {sql}")],
            [&*format!("P _ {sql}"), "B _ _", "E _", "S"].map(str::to_owned).to_vec(),
        ] {
            let messages: Vec<&str> = messages.iter().map(String::as_str).collect();
            let begin = &sql[..sql.len().min(40)];
            past.say(&["Q BEGIN"]).await;
            through.say(&["Q BEGIN"]).await;
            assert_eq!(past.hear(1).await, through.hear(1).await);
            past.say(&messages).await;
            let expected = past.hear(1).await;
            past.say(&["Q ROLLBACK"]).await;
            past.hear(1).await;
            through.say(&messages).await;
            assert_eq!(through.hear(1).await, expected, "{begin}");
            through.say(&["Q ROLLBACK"]).await;
            through.hear(1).await;
        }
    }
    let peak = peak_kib(&world);
    assert!(peak < PEAK_KIB, "{peak} KiB");
    assert!(peak - before < LOOKED_AT_KIB, "{before} KiB grew to {peak} KiB");
}

/// Kind and length of each message up to ReadyForQuery's.
fn lengths(messages: &[(char, usize)]) -> Vec<(char, usize)> {
    [messages, &[('Z', 1)]].concat()
}

/// Sends a message of `head`, `length` times `x`, and `tail`, without holding it.
async fn send(wire: &mut Wire, tag: u8, head: &[u8], length: usize, tail: &[u8]) {
    let whole = u32::try_from(4 + head.len() + length + tail.len()).unwrap().to_be_bytes();
    wire.send(&[&[tag], &whole[..], head].concat()).await;
    let chunk = vec![b'x'; CHUNK];
    let mut left = length;
    while 0 < left {
        let now = left.min(CHUNK);
        wire.send(&chunk[..now]).await;
        left -= now;
    }
    wire.send(tail).await;
}

/// The most memory that the sidecar has held so far.
fn peak_kib(world: &World) -> u64 {
    let pid = world.proxy.as_ref().unwrap().pid();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
