//! Bytes in, bytes out: the same messages to PostgreSQL and through Crossfade get the same answers.

mod alike;
mod large;
pub(crate) mod script;

use crossfade::policy::Mode;

use crate::support::inside::{self, Inside};
use script::{Wire, frame, ready};

const SCHEMA: &str = "
    CREATE TABLE users (id int PRIMARY KEY, email text UNIQUE, age int);
    CREATE TABLE loose (id int PRIMARY KEY, note text);
    CREATE TABLE notes (id int PRIMARY KEY, note text);
    CREATE TABLE parent (id int PRIMARY KEY);
    CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE);
";

/// What a script starts from.
const RESET: &str = "
    TRUNCATE users, loose, parent, child;
    INSERT INTO users VALUES (1, 'a', 10), (2, 'b', 20), (3, 'c', 30);
";

async fn world(name: &str) -> Inside {
    inside::start(&format!("wire_{name}"), SCHEMA, &[("loose", Mode::Off)]).await
}

impl Inside {
    fn database(&self) -> &str {
        self.url.rsplit('/').next().unwrap()
    }

    /// A session through Crossfade.
    async fn wire(&self) -> Wire {
        Wire::connect(self.port, self.database()).await
    }

    /// A session past it.
    async fn past(&self) -> Wire {
        let address = self.url.rsplit(['@', '/']).nth(1).unwrap();
        let port = address.rsplit(':').next().unwrap().parse().unwrap();
        Wire::connect(port, self.database()).await
    }
}

/// Sends each batch in one write and waits for its Syncs and Queries to be answered; first past
/// Crossfade, then through it. The answers must be the same, and those expected.
async fn check(world: &Inside, batches: &[&[&str]], expected: &[&str]) {
    let reset = world.direct().await;
    let mut answers = Vec::new();
    for through in [false, true] {
        reset.batch_execute(RESET).await.unwrap();
        let mut wire = if through { world.wire().await } else { world.past().await };
        let mut heard = Vec::new();
        for batch in batches {
            wire.say(batch).await;
            heard.push(wire.hear(ready(batch)).await);
        }
        answers.push(heard);
    }
    assert_eq!(answers[0], expected, "past Crossfade: {batches:?}");
    assert_eq!(answers[1], expected, "through Crossfade: {batches:?}");
}

#[tokio::test]
async fn a_row_limit_suspends_a_write_that_returns_rows() {
    let world = world("suspend").await;
    check(
        &world,
        &[&["P _ DELETE FROM users RETURNING id", "B p _", "D P p", "E p 2", "E p 2", "S"]],
        &["1 2 T(id) D(1) D(2) s D(3) C(DELETE 1) Z(I)"],
    )
    .await;
}

#[tokio::test]
async fn what_the_server_passes_over_after_an_error_changes_nothing() {
    let world = world("skip").await;
    let reset = world.direct().await;
    check(
        &world,
        &[&["P s SELECT 1", "S"], &["P _ SELECT 1/0", "B _ _", "E _", "H"]],
        &["1 Z(I)", ""],
    )
    .await;
    for through in [false, true] {
        reset.batch_execute(RESET).await.unwrap();
        let mut wire = if through { world.wire().await } else { world.past().await };
        wire.say(&["P s UPDATE users SET age = 5 WHERE id = 1", "S"]).await;
        assert_eq!(wire.hear(1).await, "1 Z(I)");
        wire.say(&["P _ SELECT 1/0", "B _ _", "E _", "H"]).await;
        wire.until(b'E').await;
        // The server does not look at any of these before the Sync.
        wire.say(&["C S s", "P s SELECT 2", "B _ s", "E _", "c", "f no", "S"]).await;
        assert_eq!(wire.hear(1).await, "Z(I)", "{through}");
        wire.say(&["B _ s", "D P _", "E _", "S"]).await;
        assert_eq!(wire.hear(1).await, "2 n C(UPDATE 1) Z(I)", "{through}");
    }
}

#[tokio::test]
async fn a_client_that_has_nothing_more_to_say_still_gets_its_answers() {
    let world = world("half").await;
    for through in [false, true] {
        let mut wire = if through { world.wire().await } else { world.past().await };
        wire.say(&["Q SELECT pg_sleep(0.2), 'late'"]).await;
        let heard = wire.finish().await;
        assert_eq!(heard, "T(pg_sleep,?column?) D(,late) C(SELECT 1) Z(I) end", "{through}");
    }
}

#[tokio::test]
async fn tables_can_be_truncated_twice_in_a_transaction() {
    let world = world("truncate").await;
    let truncate = ["P _ TRUNCATE users", "B _ _", "E _"];
    check(
        &world,
        &[&["Q BEGIN"], &[&truncate[..], &truncate[..], &["S"]].concat(), &["Q COMMIT"]],
        &["C(BEGIN) Z(T)", "1 2 C(TRUNCATE TABLE) 1 2 C(TRUNCATE TABLE) Z(T)", "C(COMMIT) Z(I)"],
    )
    .await;
}

#[tokio::test]
async fn a_function_with_a_body_of_statements_is_one_statement() {
    let world = world("atomic").await;
    check(
        &world,
        &[
            &["Q CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC \
               SELECT CASE WHEN true THEN 1 END; DELETE FROM users WHERE id = 1; SELECT 3; END; \
               INSERT INTO users VALUES (4)"],
            &["Q SELECT f()"],
        ],
        &["C(CREATE FUNCTION) C(INSERT 0 1) Z(I)", "T(f) D(3) C(SELECT 1) Z(I)"],
    )
    .await;
}

#[tokio::test]
async fn pipelines_with_errors_and_several_syncs_are_answered_alike() {
    let world = world("pipeline").await;
    let insert = |id: u32| format!("P _ INSERT INTO users VALUES ({id}, 'x{id}')");
    let (good, twin, next) = (insert(4), insert(1), insert(5));
    check(
        &world,
        &[&[
            &good, "B _ _", "E _", "S", &twin, "B _ _", "E _", &next, "B _ _", "E _", "S", &next,
            "B _ _", "D P _", "E _", "S", "Q SELECT count(*) FROM users",
        ]],
        &["1 2 C(INSERT 0 1) Z(I) 1 2 E(23505) Z(I) 1 2 n C(INSERT 0 1) Z(I) T(count) D(5) C(SELECT 1) Z(I)"],
    )
    .await;
    check(
        &world,
        &[
            &["Q BEGIN; INSERT INTO users VALUES (4); INSERT INTO users VALUES (4); SELECT 1"],
            &["Q SELECT 1"],
            &["Q ROLLBACK; SELECT count(*) FROM users; ;"],
            &["Q "],
            &["P _ ", "B _ _", "D P _", "E _", "S"],
        ],
        &[
            "C(BEGIN) C(INSERT 0 1) E(23505) Z(E)",
            "E(25P02) Z(E)",
            "C(ROLLBACK) T(count) D(3) C(SELECT 1) Z(I)",
            "I Z(I)",
            "1 2 n I Z(I)",
        ],
    )
    .await;
}

#[tokio::test]
async fn formats_can_be_chosen_for_each_column() {
    let world = world("formats").await;
    let insert = "P _ INSERT INTO users VALUES ($1, $2, 7) RETURNING id, email, age, 0 AS id";
    check(
        &world,
        &[&[insert, "B _ _ 4,x 1,0,0,1", "D P _", "E _", "S"]],
        &["1 2 T(id:b,email,age,id:b) D(00000004,x,7,00000000) C(INSERT 0 1) Z(I)"],
    )
    .await;
    check(
        &world,
        &[&[insert, "B _ _ 4,NULL 1", "E _", "S"], &[insert, "B _ _ 5,y 1,1", "S"]],
        &["1 2 D(00000004,NULL,00000007,00000000) C(INSERT 0 1) Z(I)", "1 E(08P01) Z(I)"],
    )
    .await;
}

#[tokio::test]
async fn a_message_that_lies_about_its_length_ends_the_session_without_memory() {
    let world = world("lengths").await;
    for tag in *b"EDCSH" {
        let mut wire = world.wire().await;
        wire.send(&[&[tag][..], &(1_u32 << 29).to_be_bytes(), b"x"].concat()).await;
        let heard = wire.hear(1).await;
        assert_eq!(heard, "E(08P01) end", "{}", char::from(tag));
    }
    let mut wire = world.wire().await;
    wire.send(b"Q\xff\xff\xff\xff").await;
    assert_eq!(wire.hear(1).await, "E(08P01) end");
    let mut wire = world.wire().await;
    wire.send(&frame(b'!', b"")).await;
    assert_eq!(wire.hear(1).await, "E(08P01) end");
}

#[tokio::test]
async fn a_message_cut_in_half_ends_the_session_on_both_sides() {
    let mut world = world("half_message").await;
    let direct = world.direct().await;
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                    AND backend_type = 'client backend'";
    let before: i64 = direct.query_one(sessions, &[]).await.unwrap().get(0);
    let write = frame(b'Q', b"INSERT INTO users VALUES (4)\0");
    for whole in [
        frame(b'Q', b"SELECT 1\0"),
        write.clone(),
        frame(b'P', b"\0INSERT INTO users VALUES (4)\0\0\0"),
        frame(b'B', b"\0\0\0\0\0\0\0\0"),
        frame(b'E', b"\0\0\0\0\0"),
        frame(b'F', b"\0\0\0\xb1\0\0\0\0\0\0"),
        frame(b'S', b""),
    ] {
        for length in [1, 4, 5, whole.len() - 1] {
            let mut wire = world.wire().await;
            wire.send(&whole[..length.min(whole.len() - 1)]).await;
            assert_eq!(wire.finish().await, "end", "{length} bytes of {}", whole.escape_ascii());
        }
    }
    // The same in the middle of a write's batch, which is undone.
    let mut wire = world.wire().await;
    wire.say(&["P _ INSERT INTO users VALUES (4)", "B _ _", "E _"]).await;
    wire.send(&write[..9]).await;
    assert_eq!(wire.finish().await, "end");
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    while before < direct.query_one(sessions, &[]).await.unwrap().get(0) {
        assert!(std::time::Instant::now() < deadline, "a session stays behind");
    }
    let count = direct.query_one("SELECT count(*) FROM users", &[]).await.unwrap();
    assert_eq!(count.get::<_, i64>(0), 0);
    assert!(world.seen.try_recv().is_err(), "nothing was handed over");
}

#[tokio::test]
async fn a_statement_that_is_too_long_to_read_is_not_taken_for_a_read() {
    let mut world = world("long").await;
    let mut wire = world.wire().await;
    let sql = format!("INSERT INTO users VALUES (4 /* {} */)\0", "x".repeat(17 << 20));
    let message = frame(b'Q', sql.as_bytes());
    // The header alone first, as a boundary between two packets may have it.
    wire.send(&message[..5]).await;
    assert!(wire.is_quiet().await);
    wire.send(&message[5..]).await;
    assert_eq!(wire.hear(1).await, "C(INSERT 0 1) Z(I)");
    assert_eq!(world.next().await, "dirty notes,parent,users too_large");
}

#[tokio::test]
async fn a_row_limit_does_not_cut_a_write_that_returns_nothing() {
    let world = world("limit").await;
    let update = "P _ UPDATE users SET age = 1";
    check(&world, &[&[update, "B _ _", "E _ 1", "S"]], &["1 2 C(UPDATE 3) Z(I)"]).await;
    check(
        &world,
        &[&[update, "B p _", "E p 2", "S"], &["Q SELECT count(*) FROM users WHERE age = 1"]],
        &["1 2 C(UPDATE 3) Z(I)", "T(count) D(3) C(SELECT 1) Z(I)"],
    )
    .await;
}

#[tokio::test]
async fn statements_prepared_in_sql_are_executed_in_both_protocols() {
    let world = world("prepare").await;
    let prepare = "Q PREPARE x AS INSERT INTO users VALUES ($1, 'x', $1) RETURNING id, age";
    check(
        &world,
        &[&[prepare], &["P _ EXECUTE x(7)", "D S _", "B _ _ - 1", "D P _", "E _", "S"]],
        &[
            "C(PREPARE) Z(I)",
            "1 t(0) T(id,age) 2 T(id:b,age:b) D(00000007,00000007) C(INSERT 0 1) Z(I)",
        ],
    )
    .await;
    check(
        &world,
        &[&[prepare], &["B _ x 8", "D P _", "E _", "S"], &["D S x", "S"]],
        &["C(PREPARE) Z(I)", "2 T(id,age) D(8,8) C(INSERT 0 1) Z(I)", "t(1) T(id,age) Z(I)"],
    )
    .await;
    check(
        &world,
        &[&["P y INSERT INTO users VALUES ($1, 'y')", "S"], &["Q EXECUTE y(9)"]],
        &["1 Z(I)", "C(INSERT 0 1) Z(I)"],
    )
    .await;
    check(
        &world,
        &[
            &["P _ PREPARE z AS DELETE FROM users WHERE id = 1", "B _ _", "E _", "S"],
            &["P _ EXECUTE z", "D S _", "B _ _", "E _", "S"],
        ],
        &["1 2 C(PREPARE) Z(I)", "1 t(0) n 2 C(DELETE 1) Z(I)"],
    )
    .await;
}

#[tokio::test]
async fn a_copy_that_fails_leaves_the_session_in_step() {
    let world = world("copy").await;
    let reset = world.direct().await;
    for (through, extended) in [(false, false), (true, false), (false, true), (true, true)] {
        reset.batch_execute(RESET).await.unwrap();
        let mut wire = if through { world.wire().await } else { world.past().await };
        match extended {
            false => wire.say(&["Q COPY loose FROM STDIN"]).await,
            true => wire.say(&["P _ COPY loose FROM STDIN", "B _ _", "E _", "S"]).await,
        }
        wire.until(b'G').await;
        wire.say(&["d wrong\\n"]).await;
        wire.say(&["H"]).await;
        // One data message is enough for a text copy to fail only at its end; a bad one in between
        // fails at once when the server has read enough.
        wire.send(&frame(b'd', &b"7\tx\n7\tx\n".repeat(20_000))).await;
        wire.until(b'E').await;
        // The client has not seen the error yet.
        wire.say(if extended { &["d 8\\tx\\n", "c", "S"] } else { &["d 8\\tx\\n", "c"] }).await;
        assert_eq!(wire.hear(1).await, "Z(I)", "{through} {extended}");
        wire.say(&["Q INSERT INTO users VALUES (4)"]).await;
        assert_eq!(wire.hear(1).await, "C(INSERT 0 1) Z(I)", "{through} {extended}");
    }
}

#[tokio::test]
async fn copies_go_both_ways_in_both_protocols() {
    let world = world("copies").await;
    check(
        &world,
        &[
            &["Q COPY loose FROM STDIN", "d 1\\ta\\n", "d 2\\tb\\n", "c"],
            &["Q COPY loose TO STDOUT"],
        ],
        &["G C(COPY 2) Z(I)", "H d(1\ta) d(2\tb) c C(COPY 2) Z(I)"],
    )
    .await;
    check(
        &world,
        &[
            &["P _ COPY loose FROM STDIN", "B _ _", "E _", "d 1\\ta\\n", "c", "S"],
            &["Q COPY loose FROM STDIN", "f no"],
            &["Q SELECT 1"],
        ],
        &["1 2 G C(COPY 1) Z(I)", "G E(57014) Z(I)", "T(?column?) D(1) C(SELECT 1) Z(I)"],
    )
    .await;
    // A CopyDone that no COPY waits for is passed over.
    check(
        &world,
        &[&["Q SELECT 1", "c"], &["c", "Q INSERT INTO users VALUES (4) RETURNING id"]],
        &["T(?column?) D(1) C(SELECT 1) Z(I)", "T(id) D(4) C(INSERT 0 1) Z(I)"],
    )
    .await;
}

#[tokio::test]
async fn a_row_too_large_for_an_image_is_left_to_the_outbox() {
    let mut world = world("large").await;
    let mut wire = world.wire().await;
    let large = "P _ INSERT INTO notes VALUES (1, repeat('x', 20000000))";
    wire.say(&[large, "B _ _", "E _", "S"]).await;
    assert_eq!(wire.hear(1).await, "1 2 C(INSERT 0 1) Z(I)");
    assert_eq!(world.next().await, "drain");
    wire.say(&["Q DELETE FROM notes RETURNING length(note)"]).await;
    assert_eq!(wire.hear(1).await, "T(length) D(20000000) C(DELETE 1) Z(I)");
    assert_eq!(world.next().await, "delete notes gone");
}

#[tokio::test]
async fn what_follows_a_strict_write_waits_until_that_is_decided() {
    let lines = [("users", Mode::Strict), ("loose", Mode::Off)];
    let mut world = inside::start("wire_strict", SCHEMA, &lines).await;
    let select = "T(?column?) D(1) C(SELECT 1) Z(I)";
    let write = ["P _ INSERT INTO users VALUES (4)", "B _ _", "E _"];
    let copy = "Q INSERT INTO users VALUES (4); COPY loose FROM STDIN";
    for (batch, expected) in [
        (vec!["Q INSERT INTO users VALUES (4)", "Q SELECT 1"], "C(INSERT 0 1) Z(I) SELECT"),
        (vec!["Q INSERT INTO users VALUES (1)", "Q SELECT 1"], "E(23505) Z(I) SELECT"),
        (
            vec!["Q INSERT INTO users VALUES (1)", "P _ SELECT 1", "B _ _", "D P _", "E _", "S"],
            "E(23505) Z(I) 1 2 SELECT",
        ),
        ([&write[..], &["Q SELECT 1"]].concat(), "1 2 C(INSERT 0 1) SELECT"),
        ([&write[..], &["F 177 0 2,3 0"]].concat(), "1 2 C(INSERT 0 1) V(5) Z(I)"),
        (vec![copy, "d 1\\ta\\n", "c", "Q SELECT 1"], "C(INSERT 0 1) G C(COPY 1) Z(I) SELECT"),
    ] {
        check(&world, &[&batch], &[&expected.replace("SELECT", select)]).await;
        if !expected.starts_with("E(23505)") {
            assert_eq!(world.next().await, "strict insert users put3 Commit", "{batch:?}");
        }
    }
    let mut wire = world.wire().await;
    wire.say(&["Q INSERT INTO users VALUES (7)"]).await;
    assert_eq!(wire.finish().await, "C(INSERT 0 1) Z(I) end");
    assert_eq!(world.next().await, "strict insert users put3 Commit");

    let failure = crossfade::handoff::Failure { code: "58000", message: "is down".to_owned() };
    *world.refuse.lock().unwrap() = Some(failure);
    let mut wire = world.wire().await;
    wire.say(&["P _ INSERT INTO users VALUES (8)", "B _ _", "E _", "Q SELECT 1"]).await;
    assert_eq!(wire.hear(1).await, "1 2 C(INSERT 0 1) E(58000) Z(I)");
    wire.say(&["Q SELECT count(*) FROM users WHERE id = 8"]).await;
    assert_eq!(wire.hear(1).await, "T(count) D(0) C(SELECT 1) Z(I)");
}

#[tokio::test]
async fn a_function_call_that_may_write_is_flagged_and_one_on_a_large_object_is_not() {
    let mut world = world("function").await;
    let direct = world.direct().await;
    let make = "CREATE FUNCTION add_note(id int) RETURNS int LANGUAGE sql AS \
                'INSERT INTO notes VALUES (id) RETURNING id'";
    direct.batch_execute(make).await.unwrap();
    let own = "SELECT 'add_note'::regproc::oid";
    let own: u32 = direct.query_one(own, &[]).await.unwrap().get(0);
    let mut wire = world.wire().await;
    let call = format!("F {own} 0 7 0");
    wire.say(&[&call]).await;
    assert_eq!(wire.hear(1).await, "V(7) Z(I)");
    assert_eq!(world.next().await, "dirty notes,parent,users function_call");
    // One that fails has written nothing, but the mark comes first.
    wire.say(&[&call]).await;
    assert_eq!(wire.hear(1).await, "E(23505) Z(I)");
    assert_eq!(world.next().await, "dirty notes,parent,users function_call");
    // lo_create, lo_open, lowrite, lo_lseek, loread, lo_close, lo_unlink
    for (message, answer) in [
        ("Q BEGIN", "C(BEGIN) Z(T)"),
        ("F 715 0 4711 0", "V(4711) Z(T)"),
        ("F 952 0 4711,393216 0", "V(0) Z(T)"),
        ("F 955 0,1 0,\\xcafe 1", "V(00000002) Z(T)"),
        ("F 956 0 0,0,0 0", "V(0) Z(T)"),
        ("F 954 0 0,9 1", "V(cafe) Z(T)"),
        ("F 953 0 0 0", "V(0) Z(T)"),
        ("F 964 0 4711 0", "V(1) Z(T)"),
        ("Q COMMIT", "C(COMMIT) Z(I)"),
        ("Q DELETE FROM notes", "C(DELETE 1) Z(I)"),
    ] {
        wire.say(&[message]).await;
        assert_eq!(wire.hear(1).await, answer, "{message}");
    }
    assert_eq!(world.next().await, "delete notes gone");
    let counted = world.registry.gather().into_iter();
    let uncaptured = counted.filter(|family| family.name() == "uncaptured_writes_total");
    let counts: Vec<f64> = uncaptured
        .flat_map(|family| family.get_metric().to_vec())
        .map(|metric| metric.get_counter().get_value())
        .collect();
    assert_eq!(counts, [1.0; 3], "one call that ran, three tables that it may have written");
}
