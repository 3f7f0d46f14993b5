//! Input and expected text of the rewriting. Whether PostgreSQL takes the result and does the same
//! is shown on real servers in `tests/`.

use std::sync::Arc;

use expect_test::{Expect, expect};

use crate::catalog::{self, Catalog};
use crate::phase::{Phase, Situation};
use crate::plan::{Plan, SearchPath, Step, plan};

const TABLES: &[(&str, &str)] = &[
    ("users", "id:int4*,email:text,Name:text?"),
    ("members", "org:int4*,user:int4*,role:text"),
    ("auth.codes", "id:int4*,code:text"),
    ("a.twice", "id:int4*"),
    ("b.twice", "id:int4*"),
    ("traced", "id:int4*"),
];

fn situation() -> Situation {
    let mut catalog = Catalog::for_test(TABLES);
    for table in catalog.tables.values_mut() {
        if table.name.name() == "traced" {
            Arc::make_mut(table).capture = catalog::Capture::Trigger;
        }
    }
    Situation {
        phase: Phase::DualWrite,
        epoch: 1,
        timeline: "00000001".to_owned(),
        catalog: Arc::new(catalog),
        server: 15,
    }
}

fn made(sql: &str) -> Plan {
    let path = SearchPath::Known(vec!["public".to_owned()]);
    plan(sql, &situation(), &path)
}

/// The rewritten text, with what is ours shortened.
#[track_caller]
fn check(sql: &str, expected: Expect) {
    let text = made(sql).apply(sql).map_or_else(|| "unchanged".to_owned(), |applied| applied.text);
    let text = text
        .replace("pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), '0/0')::pg_catalog.int8 AS ", "§")
        .replace("pg_catalog.record_send", "§")
        .replace(", 1, '00000001')", ", §)");
    expected.assert_eq(&text);
}

#[track_caller]
fn step(sql: &str, expected: Expect) {
    let plan = made(sql);
    let names: Vec<_> = plan.statements.iter().map(|planned| name(&planned.step)).collect();
    expected.assert_eq(&names.join("; "));
}

fn name(step: &Step) -> String {
    match step {
        Step::Capture(capture) => format!("capture {}", capture.table.name),
        Step::Entered(tables) => {
            format!(
                "entered {}",
                tables.iter().map(|table| table.name.to_string()).collect::<Vec<_>>().join(",")
            )
        }
        Step::Truncate(truncate) => format!("truncate {}", truncate.listed.len()),
        Step::Uncaptured { tables, reason } => {
            let mut tables: Vec<_> = tables.iter().map(ToString::to_string).collect();
            tables.sort();
            format!("uncaptured {reason} {}", tables.join(","))
        }
        Step::Prepare { name: as_, step } => format!("prepare {as_} {}", name(step)),
        other => format!("{other:?}"),
    }
}

#[test]
fn an_insert_returns_its_image_and_enters_its_key() {
    check(
        "INSERT INTO users (email) VALUES ('a;b') -- c",
        expect![[
            r#"INSERT INTO users (email) VALUES ('a;b') RETURNING crossfade.enter(1, 'I', §(ROW(users."id")), §) AS cf_id, §cf_lsn, §(ROW(users."id")) AS cf_key, §(ROW(users.tableoid, ROW(users.*))) AS cf_row -- c"#
        ]],
    );
}

#[test]
fn the_clients_returning_comes_first_and_its_alias_is_used() {
    check(
        "UPDATE auth.codes AS c SET code = $1 WHERE id = 2 RETURNING c.*, 1 AS returning;",
        expect![[
            r#"UPDATE auth.codes AS c SET code = $1 WHERE id = 2 RETURNING c.*, 1 AS returning, crossfade.enter(3, 'U', §(ROW(c."id")), §) AS cf_id, §cf_lsn, §(ROW(c."id")) AS cf_key, §(ROW(c.tableoid, ROW(c.*))) AS cf_row;"#
        ]],
    );
}

#[test]
fn a_delete_has_no_image() {
    check(
        r#"delete from only "users" u using members m where m."user" = u.id"#,
        expect!["unchanged"],
    );
}

#[test]
fn an_update_of_the_key_brings_the_old_one_by_a_join_on_the_key() {
    check(
        "UPDATE members m SET org = 2, (role) = ROW('x') FROM users u WHERE u.id = m.\"user\" OR true RETURNING 1",
        expect![[
            r#"UPDATE members m SET org = 2, (role) = ROW('x') FROM users u, (SELECT m."org" AS cf_k0, m."user" AS cf_k1, §(ROW(m."org", m."user")) AS cf_old FROM members m, users u WHERE u.id = m."user" OR true FOR UPDATE OF m) cf_prev WHERE ( u.id = m."user" OR true) AND m."org" OPERATOR(pg_catalog.=) cf_prev.cf_k0 AND m."user" OPERATOR(pg_catalog.=) cf_prev.cf_k1 RETURNING 1, crossfade.enter(2, 'U', §(ROW(m."org", m."user")), §) AS cf_id, §cf_lsn, §(ROW(m."org", m."user")) AS cf_key, §(ROW(m.tableoid, ROW(m.*))) AS cf_row, CASE WHEN cf_prev.cf_old OPERATOR(pg_catalog.<>) §(ROW(m."org", m."user")) THEN crossfade.enter(2, 'D', cf_prev.cf_old, §) END AS cf_old_id, cf_prev.cf_old"#
        ]],
    );
    check(
        "UPDATE users SET id = 2 RETURNING id, *, users.*",
        expect![[
            r#"UPDATE users SET id = 2 FROM (SELECT users."id" AS cf_k0, §(ROW(users."id")) AS cf_old FROM users FOR UPDATE OF users) cf_prev WHERE users."id" OPERATOR(pg_catalog.=) cf_prev.cf_k0 RETURNING id, users.*, users.*, crossfade.enter(1, 'U', §(ROW(users."id")), §) AS cf_id, §cf_lsn, §(ROW(users."id")) AS cf_key, §(ROW(users.tableoid, ROW(users.*))) AS cf_row, CASE WHEN cf_prev.cf_old OPERATOR(pg_catalog.<>) §(ROW(users."id")) THEN crossfade.enter(1, 'D', cf_prev.cf_old, §) END AS cf_old_id, cf_prev.cf_old"#
        ]],
    );
    step("UPDATE users SET id = 2 FROM codes RETURNING *", expect!["uncaptured key_update users"]);
    check(
        "UPDATE users SET id = id + 1",
        expect![[
            r#"UPDATE users SET id = id + 1 FROM (SELECT users."id" AS cf_k0, §(ROW(users."id")) AS cf_old FROM users FOR UPDATE OF users) cf_prev WHERE users."id" OPERATOR(pg_catalog.=) cf_prev.cf_k0 RETURNING crossfade.enter(1, 'U', §(ROW(users."id")), §) AS cf_id, §cf_lsn, §(ROW(users."id")) AS cf_key, §(ROW(users.tableoid, ROW(users.*))) AS cf_row, CASE WHEN cf_prev.cf_old OPERATOR(pg_catalog.<>) §(ROW(users."id")) THEN crossfade.enter(1, 'D', cf_prev.cf_old, §) END AS cf_old_id, cf_prev.cf_old"#
        ]],
    );
}

#[test]
fn names_like_ours_and_names_that_cannot_be_read_are_not_rewritten() {
    step("UPDATE users AS cf_prev SET id = 2", expect!["uncaptured key_update users"]);
    step("UPDATE users SET id = 2 WHERE \"cf_old\" = 1", expect!["uncaptured key_update users"]);
    step("UPDATE users SET email = '' WHERE cf_old = 1", expect!["capture users"]);
    step(
        "WITH cf_w0 AS (DELETE FROM users RETURNING id) SELECT 1",
        expect!["uncaptured with users"],
    );
    // Without RETURNING it has no columns, and must not get one that can be asked for.
    step("WITH x AS (DELETE FROM users) SELECT * FROM x", expect!["uncaptured with users"]);
    step(r#"INSERT INTO U&"us\0065rs" VALUES (1)"#, expect!["uncaptured unparsed users"]);
    step(
        r#"INSERT INTO U&"us!0065rs" UESCAPE '!' VALUES (1)"#,
        expect!["uncaptured unparsed a.twice,auth.codes,b.twice,members,users"],
    );
    step(r#"UPDATE users SET U&"!0069d" UESCAPE '!' = 2"#, expect!["uncaptured unparsed users"]);
    step(
        "CREATE TABLE x AS WITH d AS (DELETE FROM users RETURNING *) TABLE d",
        expect!["uncaptured create_as users"],
    );
    step("CREATE TABLE x (id int REFERENCES users ON DELETE CASCADE)", expect!["Ddl"]);
}

#[test]
fn a_with_list_stays_in_front() {
    check(
        "WITH x AS (SELECT 1) INSERT INTO users SELECT * FROM x",
        expect![[
            r#"WITH x AS (SELECT 1) INSERT INTO users SELECT * FROM x RETURNING crossfade.enter(1, 'I', §(ROW(users."id")), §) AS cf_id, §cf_lsn, §(ROW(users."id")) AS cf_key, §(ROW(users.tableoid, ROW(users.*))) AS cf_row"#
        ]],
    );
}

#[test]
fn a_write_inside_with_is_entered_and_keeps_its_columns() {
    check(
        "WITH x AS (DELETE FROM users RETURNING id, lower(email) AS e) SELECT * FROM x",
        expect![[
            r#"WITH cf_w0 (cf_0, cf_1, cf_id) AS (DELETE FROM users RETURNING id, lower(email) AS e, crossfade.enter(1, 'D', §(ROW(users."id")), §) AS cf_id), x AS (SELECT cf_0 AS "id", cf_1 AS "e" FROM cf_w0) SELECT * FROM x"#
        ]],
    );
    check(
        "WITH x AS (UPDATE users SET email = '') SELECT 1",
        expect![[
            r#"WITH x AS (UPDATE users SET email = '' RETURNING crossfade.enter(1, 'U', §(ROW(users."id")), §) AS cf_id) SELECT 1"#
        ]],
    );
    step(
        "WITH x AS (UPDATE users SET email = '' RETURNING lower(email)) SELECT 1 FROM x",
        expect!["uncaptured with users"],
    );
}

#[test]
fn statements_of_one_string_are_planned_one_by_one() {
    step(
        "BEGIN; INSERT INTO users VALUES (1); SAVEPOINT \"S\"; ROLLBACK TO s; COMMIT",
        expect![[r#"Begin; capture users; Savepoint("S"); RollbackTo("s"); Commit"#]],
    );
    let sql = "SELECT 1; DELETE FROM users; SELECT 2";
    let text = made(sql).apply(sql).unwrap().text;
    assert!(text.starts_with("SELECT 1; DELETE FROM users RETURNING"));
    assert!(text.ends_with(" AS cf_row; SELECT 2"));
}

#[test]
fn what_cannot_be_carried_is_flagged_with_its_tables() {
    step("COPY users FROM STDIN", expect!["uncaptured copy users"]);
    step("COPY users TO STDOUT", expect!["Read"]);
    step("COPY traced FROM STDIN", expect!["entered traced"]);
    step("DO $$ BEGIN DELETE FROM users; END $$", expect!["uncaptured do users"]);
    step("EXPLAIN ANALYZE DELETE FROM users", expect!["uncaptured explain users"]);
    step("EXPLAIN DELETE FROM users", expect!["Read"]);
    step("INSERT INTO twice VALUES (1)", expect!["Unmigrated"]);
    step("INSERT INTO b.twice VALUES (1)", expect!["capture b.twice"]);
    step(
        "MERGE INTO users USING users u ON true WHEN MATCHED THEN DELETE",
        expect!["uncaptured merge users"],
    );
    step(
        "INSERT INTO users VALUES (1) ON CONFLICT (id) DO UPDATE SET id = 3",
        expect!["uncaptured key_update users"],
    );
    step(
        "INSERT INTO users VALUES (1) ON CONFLICT (id) DO UPDATE SET email = 3",
        expect!["capture users"],
    );
    step("INSERT INTO traced VALUES (1)", expect!["entered traced"]);
    step("INSERT INTO nowhere VALUES (1)", expect!["Unmigrated"]);
    step("SELECT a INTO b FROM users", expect!["Ddl"]);
    step("SELECT 1 FROM users FOR UPDATE", expect!["Read"]);
    step("TRUNCATE users, members", expect!["truncate 2"]);
    step("TRUNCATE TABLE ONLY users RESTART IDENTITY /* … */ CASCADE", expect!["truncate 1"]);
    step("TRUNCATE users(", expect!["uncaptured unparsed users"]);
    step("PREPARE p (int) AS DELETE FROM users WHERE id = $1", expect!["prepare p capture users"]);
    let unknown = plan("INSERT INTO twice VALUES (1)", &situation(), &SearchPath::Unknown);
    assert_eq!(name(unknown.single().unwrap()), "uncaptured ambiguous_name a.twice,b.twice");
}

#[test]
fn the_search_path_is_followed_or_given_up() {
    step(
        "SET search_path = a, \"B\", 'c'",
        expect![[r#"SearchPath(Set(Known(["a", "B", "c"])))"#]],
    );
    step("SET SESSION search_path TO DEFAULT", expect!["SearchPath(Reset)"]);
    step("SET LOCAL search_path TO a", expect![[r#"SearchPath(Local(Known(["a"])))"#]]);
    step("SET search_path = ''", expect!["SearchPath(Set(Known([])))"]);
    step("SET LOCAL ROLE x", expect!["SearchPath(Local(Unknown))"]);
    step("RESET search_path", expect!["SearchPath(Reset)"]);
    step(
        "SELECT pg_catalog.set_config('search_path', '', false)",
        expect!["SearchPath(Set(Known([])))"],
    );
    step(
        "SELECT set_config('a.b', $1, true), set_config('Search_Path', 'x, \"Y\"', true) AS p",
        expect![[r#"SearchPath(Local(Known(["x", "Y"])))"#]],
    );
    step("SELECT set_config('timezone', x, false) FROM y", expect!["SearchPath(Kept)"]);
    for unknown in [
        "SELECT set_config('search_path', $1, false)",
        "SELECT set_config('search_path', 'a', false) FROM y",
        "SELECT set_config($1, 'a', false)",
        "SELECT set_config('role', 'a', false)",
        "SELECT 1, set_config('search_path', 'a', false)",
        "VALUES (set_config('search_path', 'a', false))",
    ] {
        step(unknown, expect!["SearchPath(Set(Unknown))"]);
    }
    step(
        "SET search_path = b; INSERT INTO twice VALUES (1); COMMIT; INSERT INTO twice VALUES (1)",
        expect![[
            r#"SearchPath(Set(Known(["b"]))); capture b.twice; Commit; uncaptured ambiguous_name a.twice,b.twice"#
        ]],
    );
    step("SET timezone = 'UTC'", expect!["Other"]);
    step("CREATE TEMP TABLE IF NOT EXISTS users (id int)", expect![[r#"Temporary("users")"#]]);
}

#[test]
fn nothing_is_rewritten_before_setup() {
    let plan = plan("DELETE FROM users", &Situation::transparent(), &SearchPath::Unknown);
    assert!(plan.apply("DELETE FROM users").is_none());
}
