//! Many scripts in both directions of a comparison: to PostgreSQL, and through Crossfade, with
//! captured tables. Answers, errors in all their fields, notices and reported parameters are alike.

use super::script::{Wire, ready};
use super::{RESET, world};

/// A session: batches that are sent in one write each.
type Script<'a> = &'a [&'a [&'a str]];

#[tokio::test]
async fn the_same_messages_get_the_same_answers() {
    let world = world("alike").await;
    let reset = world.direct().await;
    let mut unlike = Vec::new();
    for script in SCRIPTS {
        let mut heard = Vec::new();
        for through in [false, true] {
            reset.batch_execute(RESET).await.unwrap();
            let mut wire = if through { world.wire().await } else { world.past().await };
            heard.push(play(&mut wire, script).await);
            // Only one script leaves a transaction prepared; for the others there is none.
            drop(reset.batch_execute("ROLLBACK PREPARED 'alike'").await);
        }
        if heard[0] != heard[1] {
            unlike
                .push(format!("{script:?}\n  past:    {:?}\n  through: {:?}", heard[0], heard[1]));
        }
    }
    assert!(unlike.is_empty(), "{}", unlike.join("\n"));
}

async fn play(wire: &mut Wire, script: Script<'_>) -> Vec<String> {
    let mut heard = Vec::new();
    for batch in script {
        wire.say(batch).await;
        heard.push(wire.hear(ready(batch)).await);
    }
    heard.append(&mut wire.details);
    heard
}

const SCRIPTS: &[Script<'_>] = &[
    // portals
    &[&["P s SELECT generate_series(1,3)", "B p s", "E p 1", "E p 1", "E p 0", "E p 0", "S"]],
    &[
        &["Q BEGIN"],
        &["P s SELECT generate_series(1,3)", "B p s", "E p 1", "S"],
        &["E p 1", "C P p", "S"],
        &["E p 1", "S"],
        &["Q ROLLBACK"],
    ],
    &[&["Q BEGIN"], &["P s SELECT 1", "B p s", "S"], &["B p s", "S"], &["Q ROLLBACK"]],
    &[
        &["E nope", "S"],
        &["D P nope", "S"],
        &["D S nope", "S"],
        &["B _ nope", "S"],
        &["C S nope", "C P nope", "S"],
    ],
    &[&["P s INSERT INTO users VALUES (9)", "P s SELECT 1", "S"], &["B _ s", "D P _", "E _", "S"]],
    &[
        &["P s INSERT INTO users VALUES (9)", "S"],
        &["C S s", "P s SELECT 1", "B _ s", "D P _", "E _", "S"],
    ],
    // captured writes bound ahead, executed in another order
    &[
        &["Q BEGIN"],
        &[
            "P a INSERT INTO users VALUES (4) RETURNING id",
            "P b DELETE FROM users WHERE id = 1",
            "B pa a",
            "B pb b - 1",
            "D P pb",
            "D P pa",
            "E pb",
            "E pa",
            "S",
        ],
        &["Q COMMIT"],
    ],
    // same statement twice
    &[
        &[
            "P a INSERT INTO users VALUES ($1) RETURNING id",
            "B _ a 4",
            "E _",
            "B _ a 5",
            "D P _",
            "E _",
            "B _ a 4",
            "E _",
            "B _ a 6",
            "E _",
            "S",
        ],
        &["B _ a 6", "E _", "S"],
    ],
    // flush instead of sync
    &[&["P _ UPDATE users SET age = 0 RETURNING id", "B _ _", "D P _", "E _", "H", "S"]],
    // function calls: int4pl, upper, int4div; text and binary, NULL, errors, in and out of a block
    &[&["F 177 0 2,3 0"], &["F 177 1 \\x00000002,\\x00000003 1"], &["F 871 - abc 0"]],
    &[&["F 177 0,1 2,\\x00000003 1"], &["F 177 - NULL,1 0"], &["F 154 0 1,0 0"], &["Q SELECT 1"]],
    &[
        &["F 99 - 1 0"],
        &["F 177 0 2 0"],
        &["F 177 0,0,0 2,3 0"],
        &["F 177 0 x,3 0"],
        &["F 177 1 \\x02,\\x00000003 1"],
        &["F 177 7 2,3 0"],
    ],
    &[
        &["Q BEGIN"],
        &["F 177 0 2,3 0"],
        &["F 154 0 1,0 0"],
        &["F 177 0 2,3 0"],
        &["Q ROLLBACK"],
        &["P _ INSERT INTO users VALUES (4)", "B _ _", "E _", "F 177 0 2,3 0"],
        &["P _ SELECT 1/0", "B _ _", "E _", "H"],
    ],
    &[
        &["P _ SELECT 1/0", "B _ _", "E _", "P _ SELECT 2", "S", "F 177 0 2,3 0"],
        &["F 177 0 2,3 0", "F 871 - abc 0", "Q SELECT 1"],
    ],
    // transactions
    &[&[
        "Q BEGIN; SAVEPOINT a; INSERT INTO users VALUES (1); ROLLBACK TO a; INSERT INTO users VALUES (4); RELEASE a; COMMIT",
    ]],
    &[
        &["Q BEGIN"],
        &["Q SAVEPOINT a"],
        &["Q INSERT INTO users VALUES (1)"],
        &["Q INSERT INTO users VALUES (7)"],
        &["Q ROLLBACK TO a"],
        &["Q INSERT INTO users VALUES (4)"],
        &["Q RELEASE a"],
        &["Q COMMIT"],
        &["Q SELECT count(*) FROM users"],
    ],
    &[
        &["Q BEGIN"],
        &["Q UPDATE users SET age = 1"],
        &["Q COMMIT AND CHAIN"],
        &["Q UPDATE users SET age = 2 WHERE id = 1"],
        &["Q ROLLBACK AND CHAIN"],
        &["Q DELETE FROM users"],
        &["Q END"],
    ],
    &[&["Q BEGIN"], &["Q SELECT 1/0"], &["Q COMMIT"], &["Q COMMIT"]],
    &[
        &["Q START TRANSACTION READ ONLY"],
        &["Q SELECT count(*) FROM users"],
        &["Q INSERT INTO users VALUES (4)"],
        &["Q ABORT"],
    ],
    &[
        &["Q BEGIN"],
        &["Q SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"],
        &["Q INSERT INTO users VALUES (4)"],
        &["Q COMMIT"],
    ],
    &[
        &["Q BEGIN"],
        &["Q INSERT INTO users VALUES (4)"],
        &["Q PREPARE TRANSACTION 'alike'"],
        &["Q SELECT 1"],
    ],
    // cursors
    &[&[
        "Q BEGIN; DECLARE c CURSOR FOR SELECT id FROM users ORDER BY id; FETCH 2 FROM c; MOVE 1 FROM c; FETCH c; CLOSE c; COMMIT",
    ]],
    &[
        &["Q BEGIN; DECLARE c CURSOR FOR SELECT id FROM users ORDER BY id FOR UPDATE; FETCH c"],
        &["Q UPDATE users SET age = 5 WHERE CURRENT OF c"],
        &["Q DELETE FROM users WHERE CURRENT OF c RETURNING age"],
        &["Q COMMIT"],
    ],
    &[
        &["Q DECLARE c CURSOR WITH HOLD FOR SELECT id FROM users ORDER BY id"],
        &["P _ FETCH 2 FROM c", "B _ _", "D P _", "E _", "S"],
        &["E c 1", "S"],
        &["Q CLOSE ALL"],
    ],
    // shapes
    &[
        &["Q INSERT INTO users DEFAULT VALUES"],
        &["Q INSERT INTO users (id) VALUES (4), (5), (6)"],
        &["Q INSERT INTO users SELECT 10 + id FROM users RETURNING id"],
    ],
    &[
        &["Q INSERT INTO users VALUES (1) ON CONFLICT DO NOTHING"],
        &[
            "Q INSERT INTO users VALUES (1, 'z') ON CONFLICT (id) DO UPDATE SET email = excluded.email RETURNING email",
        ],
        &[
            "Q INSERT INTO users AS u VALUES (1) ON CONFLICT (id) DO UPDATE SET age = u.age + 1 WHERE u.age > 1000",
        ],
    ],
    &[
        &[
            "Q UPDATE users AS u SET age = v.a FROM (VALUES (1, 100), (2, 200)) v(i, a) WHERE u.id = v.i RETURNING u.*, v.*",
        ],
        &["Q UPDATE users SET (email, age) = (SELECT 'q', 1) WHERE id = 3"],
    ],
    &[
        &["Q UPDATE ONLY users SET id = id + 100 RETURNING id"],
        &["Q DELETE FROM users USING parent WHERE false"],
        &["Q DELETE FROM users RETURNING *"],
    ],
    &[
        &["Q WITH d AS (DELETE FROM users WHERE id = 1 RETURNING *) SELECT id, email FROM d"],
        &["Q WITH a AS (SELECT 4 AS x) INSERT INTO users SELECT x FROM a RETURNING id"],
    ],
    &[&[
        "Q MERGE INTO users u USING (VALUES (1), (9)) v(i) ON u.id = v.i WHEN MATCHED THEN UPDATE SET age = 0 WHEN NOT MATCHED THEN INSERT VALUES (v.i)",
    ]],
    &[
        &[
            "Q SELECT id INTO TEMP tt FROM users; INSERT INTO tt VALUES (5); SELECT count(*) FROM tt",
        ],
        &["Q CREATE TEMP TABLE users (id int)"],
        &["Q INSERT INTO users VALUES (1) RETURNING *"],
        &["Q DROP TABLE users"],
        &["Q INSERT INTO users VALUES (4) RETURNING *"],
    ],
    &[
        &["Q INSERT INTO nowhere VALUES (1)"],
        &["Q INSERT INTO users (nope) VALUES (1)"],
        &["Q INSERT INTO users VALUES (1, 2, 3, 4, 5)"],
        &["Q INSERT INTO"],
        &["Q UPDATE users SET"],
        &["P _ DELETE FROM users WHERE nope", "B _ _", "E _", "S"],
    ],
    &[
        &["Q CREATE TABLE cta AS SELECT 1 AS a"],
        &["Q DROP TABLE cta"],
        &["Q ALTER TABLE loose ADD x int; ALTER TABLE loose DROP x"],
    ],
    &[
        &["Q TRUNCATE users"],
        &["Q TRUNCATE TABLE ONLY users, parent CASCADE"],
        &["Q BEGIN; TRUNCATE users; ROLLBACK"],
    ],
    &[&[
        "Q INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1, 1) RETURNING id; DELETE FROM parent; SELECT count(*) FROM child",
    ]],
    &[
        &["P _ INSERT INTO child VALUES (1, 5)", "B _ _", "E _", "S"],
        &["Q INSERT INTO child VALUES (1, 5)"],
    ],
    &[
        &["Q EXPLAIN (COSTS OFF) DELETE FROM loose"],
        &["Q EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) INSERT INTO loose VALUES (50)"],
    ],
    &[&["Q DO $$ BEGIN DELETE FROM users; END $$"], &["Q SELECT count(*) FROM users"]],
    &[
        &["Q PREPARE a AS SELECT 1; EXECUTE a; DEALLOCATE a; EXECUTE a"],
        &["P a SELECT 2", "S"],
        &["Q DEALLOCATE a"],
        &["B _ a", "S"],
        &["P a SELECT 3", "S"],
        &["Q DISCARD ALL"],
        &["B _ a", "S"],
    ],
    &[
        &["P _ SELECT $1::int + 1", "B _ _ 41 1", "D P _", "E _", "S"],
        &["P _ SELECT 1; SELECT 2", "S"],
    ],
    &[&["Q LISTEN x"], &["Q NOTIFY x, 'hello'"], &["Q UNLISTEN *"]],
    &[
        &["Q COPY (SELECT id FROM users ORDER BY id) TO STDOUT"],
        &["Q COPY users FROM STDIN", "d 4\\te\\t5\\n", "d 5\\tf\\t6\\n", "c"],
        &["Q SELECT count(*) FROM users"],
        &["Q COPY loose FROM STDIN; INSERT INTO users VALUES (44) RETURNING id", "d 4\\te\\n", "c"],
    ],
    &[&["Q COPY nowhere FROM STDIN"], &["Q SELECT 1"]],
    &[
        &["P _ COPY users TO STDOUT", "B _ _", "E _", "S"],
        &["P _ COPY loose FROM STDIN", "B _ _", "E _", "d 1\\ta\\n", "f stop", "S"],
        &["Q SELECT 1"],
    ],
    &[
        &[
            "Q SET standard_conforming_strings = off; INSERT INTO users VALUES (4, 'a\\'b') RETURNING email",
        ],
        &["Q INSERT INTO users VALUES (5, 'c\\'d;') RETURNING email"],
    ],
    &[
        &["Q SET client_encoding = latin1"],
        &["Q INSERT INTO users VALUES (4, 'x') RETURNING email"],
    ],
    &[
        &["Q SET bytea_output = escape"],
        &["Q INSERT INTO users VALUES (4, 'x') RETURNING email"],
        &["Q SET search_path = pg_catalog"],
        &["Q INSERT INTO users VALUES (5)"],
        &["Q INSERT INTO public.users VALUES (5)"],
        &["Q RESET search_path"],
        &["Q INSERT INTO users VALUES (6)"],
    ],
    &[
        &["Q BEGIN; SET LOCAL search_path = pg_catalog; COMMIT; INSERT INTO users VALUES (5)"],
        &["Q SELECT set_config('search_path', 'public', false)"],
        &["Q INSERT INTO users VALUES (6)"],
    ],
    &[
        &["Q SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"],
        &["Q INSERT INTO users VALUES (5)"],
        &["Q SELECT 1"],
    ],
    &[
        &["Q SET statement_timeout = '50ms'"],
        &["Q SELECT pg_sleep(5)"],
        &["Q INSERT INTO users VALUES (5)"],
    ],
    &[&[
        "Q SET lock_timeout = '50ms'; SET idle_in_transaction_session_timeout = '10s'; INSERT INTO users VALUES (5)",
    ]],
    &[
        &["P i INSERT INTO users VALUES ($1, $2) RETURNING id", "D S i", "S"],
        &["B _ i 4,x", "D P _", "E _", "S"],
        &["Q ALTER TABLE users ADD more int DEFAULT 3"],
        &["B _ i 5,y", "D P _", "E _", "S"],
        &["Q INSERT INTO users VALUES (6, 'z', 1, 9) RETURNING *"],
        &["Q ALTER TABLE users DROP more"],
        &["B _ i 7,w", "E _", "S"],
    ],
];
