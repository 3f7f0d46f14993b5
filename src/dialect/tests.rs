//! Statements and what becomes of them, a family at a time.

use expect_test::{Expect, expect};

use crate::catalog::Catalog;
use crate::dialect::program::{Keys, Program, Step, Write};
use crate::dialect::{Surroundings, translate};
use crate::value::Flavor;
use crate::value::style::Zone;

fn catalog() -> Catalog {
    Catalog::for_test(&[
        (
            "users",
            "id:uuid*,email:varchar(255),name:text?,nick:citext?,verified:bool,status:enum(active|invited|gone),\
             attempts:int4,meta:jsonb,tags:text[],balance:numeric(12,2)?,token:bytea?,born:date,\
             created_at:timestamptz,deleted_at:timestamptz?",
        ),
        ("sessions", "id:int8*,user_id:uuid,revoked:bool"),
    ])
}

/// The program as text: a step a line.
fn shown(sql: &str, flavor: Flavor) -> String {
    let catalog = catalog();
    let path = ["public".to_owned()];
    let around = Surroundings {
        catalog: &catalog,
        path: &path,
        flavor,
        zone: Zone::default(),
        declared: &[],
    };
    match translate(sql, around) {
        Ok(translated) => {
            let columns = translated.columns.iter().map(|c| format!("{}:{}", c.name, c.ty.name()));
            let columns: Vec<String> = columns.collect();
            let parameters: Vec<String> =
                translated.parameters.iter().map(|ty| ty.name()).collect();
            format!(
                "[{}] ({})\n{}",
                columns.join(", "),
                parameters.join(", "),
                steps(&translated.program)
            )
        }
        Err(refused) => format!("{} {}\n", refused.code, refused.message),
    }
}

fn steps(program: &Program) -> String {
    program.steps.iter().map(step).collect()
}

fn step(step: &Step) -> String {
    match step {
        Step::Answer(answer) => format!("answer {}\n", answer.query),
        Step::Keep { set, query } => format!("keep#{set} {query}\n"),
        Step::Write(write) => self::write(write),
        Step::Upsert(upsert) => {
            let find = upsert.find.as_ref().map_or(String::new(), |find| format!(" find {find}\n"));
            let update = upsert
                .update
                .as_ref()
                .map_or(String::new(), |update| format!(" {}", write(&update.write)));
            format!("upsert by {:?}\n{find} {}{update}", upsert.arbiters, write(&upsert.insert))
        }
        Step::Each { set, row, steps } => {
            format!("each#{set} as #{row}\n{}", steps.iter().map(self::step).collect::<String>())
        }
        Step::FirstOfEach { set, .. } => format!("first of each #{set}\n"),
    }
}

fn write(write: &Write) -> String {
    let keys = match &write.keys {
        Keys::Kept(set) => format!("kept#{set}"),
        Keys::Pinned { into, .. } => format!("pinned#{into}"),
        Keys::Moved { set, .. } => format!("moved#{set}"),
        Keys::Given { into, .. } => format!("given#{into}"),
        Keys::Copied { into, .. } => format!("copied#{into}"),
        Keys::Counted { into, .. } => format!("counted#{into}"),
        Keys::None => "none".to_owned(),
    };
    format!("write ({keys}) {}\n", write.text)
}

#[track_caller]
fn check(statements: &[&str], expected: &Expect) {
    let lines = statements
        .iter()
        .map(|sql| format!("-- {}\n{}", sql.replace('\n', " "), shown(sql, Flavor::MySql)));
    expected.assert_eq(&lines.collect::<String>());
}

#[test]
fn names_are_folded_and_quoted() {
    check(
        &[
            r##"SELECT U.ID, U.Email AS EMail FROM Users AS U WHERE U.Email = 'bob'"##,
            r##"SELECT "public"."users"."id" FROM "public"."users" LIMIT $1 OFFSET $2"##,
            r##"SELECT nosuch FROM users"##,
            r##"SELECT id FROM nosuch"##,
            r##"SELECT oid FROM pg_class"##,
            r##"SELECT 1 FROM information_schema.tables"##,
            r##"SELECT id FROM users u, users v"##,
        ],
        &expect![[r#"
            -- SELECT U.ID, U.Email AS EMail FROM Users AS U WHERE U.Email = 'bob'
            [id:uuid, email:character varying] ()
            answer SELECT `u`.`id` AS `id`, `u`.`email` AS `email` FROM `users` AS `u` WHERE (`u`.`email` = ?)
            -- SELECT "public"."users"."id" FROM "public"."users" LIMIT $1 OFFSET $2
            [id:uuid] (bigint, bigint)
            answer SELECT `users`.`id` AS `id` FROM `users` LIMIT ?1 OFFSET ?2
            -- SELECT nosuch FROM users
            42703 column "nosuch" does not exist
            -- SELECT id FROM nosuch
            42P01 relation "nosuch" does not exist
            -- SELECT oid FROM pg_class
            0A000 a query of pg_catalog cannot be translated for MySQL
            -- SELECT 1 FROM information_schema.tables
            0A000 a query of information_schema cannot be translated for MySQL
            -- SELECT id FROM users u, users v
            42702 column reference "id" is ambiguous
        "#]],
    );
}

#[test]
fn types_decide_what_a_literal_is() {
    check(
        &[
            r##"SELECT id FROM users WHERE attempts = '7' AND verified = 't' AND id = '00000000-0000-7000-8000-00000000000A'"##,
            r##"SELECT id FROM users WHERE id = 'not-a-uuid'"##,
            r##"SELECT id FROM users WHERE created_at >= '2024-02-01T00:00:00+02:00' AND token = '\xdead'"##,
            r##"SELECT id FROM users WHERE status = 'bogus'"##,
            r##"SELECT id FROM users WHERE attempts = name"##,
        ],
        &expect![[r#"
            -- SELECT id FROM users WHERE attempts = '7' AND verified = 't' AND id = '00000000-0000-7000-8000-00000000000A'
            [id:uuid] ()
            answer SELECT `users`.`id` AS `id` FROM `users` WHERE ((`users`.`attempts` = ?) AND (`users`.`verified` = TRUE) AND (`users`.`id` = ?))
            -- SELECT id FROM users WHERE id = 'not-a-uuid'
            22P02 invalid input syntax for type uuid: "not-a-uuid"
            -- SELECT id FROM users WHERE created_at >= '2024-02-01T00:00:00+02:00' AND token = '\xdead'
            [id:uuid] ()
            answer SELECT `users`.`id` AS `id` FROM `users` WHERE ((`users`.`created_at` >= CAST(? AS DATETIME(6))) AND (`users`.`token` = ?))
            -- SELECT id FROM users WHERE status = 'bogus'
            22P02 invalid input value for enum enum(active|invited|gone): "bogus"
            -- SELECT id FROM users WHERE attempts = name
            42883 operator does not exist: integer = text
        "#]],
    );
}

#[test]
fn comparisons_follow_the_type() {
    check(
        &[
            r##"SELECT id FROM users WHERE status >= 'invited'"##,
            r##"SELECT id FROM users WHERE nick = 'ADMIN'"##,
            r##"SELECT id FROM users WHERE (created_at, id) < ($1, $2)"##,
            r##"SELECT id FROM users WHERE name IS DISTINCT FROM 'bob' AND meta = '{"a": 1}'"##,
            r##"SELECT id FROM users WHERE attempts BETWEEN SYMMETRIC 3 AND 1 AND deleted_at < 'infinity'"##,
        ],
        &expect![[r#"
            -- SELECT id FROM users WHERE status >= 'invited'
            [id:uuid] ()
            answer SELECT `users`.`id` AS `id` FROM `users` WHERE (NULLIF(FIELD(`users`.`status`, 'active', 'invited', 'gone'), 0) >= 2)
            -- SELECT id FROM users WHERE nick = 'ADMIN'
            [id:uuid] ()
            answer SELECT `users`.`id` AS `id` FROM `users` WHERE (`users`.`nick` = ? AND LOWER(`users`.`nick` COLLATE utf8mb4_0900_bin) = LOWER(? COLLATE utf8mb4_0900_bin))
            -- SELECT id FROM users WHERE (created_at, id) < ($1, $2)
            [id:uuid] (timestamp with time zone, uuid)
            answer SELECT `users`.`id` AS `id` FROM `users` WHERE ((`users`.`created_at` < CAST(?1 AS DATETIME(6))) OR ((`users`.`created_at` = CAST(?1 AS DATETIME(6))) AND (`users`.`id` < ?2)))
            -- SELECT id FROM users WHERE name IS DISTINCT FROM 'bob' AND meta = '{"a": 1}'
            [id:uuid] ()
            answer SELECT `users`.`id` AS `id` FROM `users` WHERE ((NOT (`users`.`name` <=> ?)) AND (`users`.`meta` = CAST(? AS JSON)))
            -- SELECT id FROM users WHERE attempts BETWEEN SYMMETRIC 3 AND 1 AND deleted_at < 'infinity'
            [id:uuid] ()
            answer SELECT `users`.`id` AS `id` FROM `users` WHERE ((((`users`.`attempts` >= ?) AND (`users`.`attempts` <= ?)) OR ((`users`.`attempts` >= ?) AND (`users`.`attempts` <= ?))) AND IF(`users`.`deleted_at` IS NULL, NULL, TRUE))
        "#]],
    );
}

#[test]
fn any_is_expanded_at_bind() {
    check(
        &[
            r##"SELECT id FROM users WHERE name = ANY($1) AND id <> ALL($2::uuid[])"##,
            r##"SELECT id FROM users WHERE status = ANY(ARRAY['active','invited']::status[])"##,
            r##"SELECT id FROM users WHERE 'beta' = ANY(tags) AND id = ANY('{}'::uuid[])"##,
        ],
        &expect![[r#"
            -- SELECT id FROM users WHERE name = ANY($1) AND id <> ALL($2::uuid[])
            [id:uuid] (text[], uuid[])
            answer SELECT `users`.`id` AS `id` FROM `users` WHERE (`users`.`name` IN (?…) AND `users`.`id` NOT IN (?…))
            -- SELECT id FROM users WHERE status = ANY(ARRAY['active','invited']::status[])
            0A000 type status cannot be translated for MySQL
            -- SELECT id FROM users WHERE 'beta' = ANY(tags) AND id = ANY('{}'::uuid[])
            [id:uuid] ()
            answer SELECT `users`.`id` AS `id` FROM `users` WHERE ((CASE WHEN `users`.`tags` IS NULL OR ? IS NULL THEN NULL WHEN JSON_CONTAINS(`users`.`tags`, (CONVERT(JSON_QUOTE(CONVERT(? USING utf8mb4)) USING utf8mb4) COLLATE utf8mb4_0900_bin)) THEN TRUE WHEN JSON_CONTAINS(`users`.`tags`, 'null') THEN NULL ELSE FALSE END) AND FALSE)
        "#]],
    );
}

#[test]
fn order_puts_nulls_where_postgresql_does() {
    check(
        &[
            r##"SELECT id FROM users ORDER BY deleted_at DESC, name, id"##,
            r##"SELECT id FROM users ORDER BY deleted_at DESC NULLS LAST, name NULLS FIRST, nick"##,
            r##"SELECT DISTINCT ON (name) name, id FROM users ORDER BY name, id DESC"##,
        ],
        &expect![[r#"
            -- SELECT id FROM users ORDER BY deleted_at DESC, name, id
            [id:uuid] ()
            answer SELECT `users`.`id` AS `id` FROM `users` ORDER BY `users`.`deleted_at` IS NULL DESC, `users`.`deleted_at` DESC, `users`.`name` IS NULL, `users`.`name`, `users`.`id`
            -- SELECT id FROM users ORDER BY deleted_at DESC NULLS LAST, name NULLS FIRST, nick
            [id:uuid] ()
            answer SELECT `users`.`id` AS `id` FROM `users` ORDER BY `users`.`deleted_at` DESC, `users`.`name`, LOWER(`users`.`nick` COLLATE utf8mb4_0900_bin) IS NULL, LOWER(`users`.`nick` COLLATE utf8mb4_0900_bin)
            -- SELECT DISTINCT ON (name) name, id FROM users ORDER BY name, id DESC
            [name:text, id:uuid] ()
            answer SELECT `cf_d`.`name`, `cf_d`.`id` FROM (SELECT `users`.`name` AS `name`, `users`.`id` AS `id`, `users`.`name` IS NULL AS `cf_o0`, `users`.`name` AS `cf_o1`, `users`.`id` AS `cf_o2`, ROW_NUMBER() OVER (PARTITION BY `users`.`name` ORDER BY `users`.`name` IS NULL, `users`.`name`, `users`.`id` DESC) AS `cf_n` FROM `users`) AS `cf_d` WHERE `cf_d`.`cf_n` = 1 ORDER BY `cf_d`.`cf_o0`, `cf_d`.`cf_o1`, `cf_d`.`cf_o2` DESC
        "#]],
    );
}

#[test]
fn arithmetic_is_that_of_the_types() {
    check(
        &[
            r##"SELECT 7/2 AS a, attempts / 2 AS b, 7/2.0 AS c, balance * 2 AS d, balance / 3 AS e FROM users"##,
            r##"SELECT created_at - interval '1 mon 2 days', created_at + $1 * interval '1 second' FROM users"##,
            r##"SELECT born + 7, born - date '2024-01-01' FROM users"##,
        ],
        &expect![[r#"
            -- SELECT 7/2 AS a, attempts / 2 AS b, 7/2.0 AS c, balance * 2 AS d, balance / 3 AS e FROM users
            0A000 division of numeric cannot be translated for MySQL
            -- SELECT created_at - interval '1 mon 2 days', created_at + $1 * interval '1 second' FROM users
            [?column?:timestamp with time zone, ?column?:timestamp with time zone] (double precision)
            answer SELECT ((`users`.`created_at` - INTERVAL ? MONTH) - INTERVAL ? DAY) AS `?column?`, (`users`.`created_at` + INTERVAL ROUND(?1 * 1000000) MICROSECOND) AS `?column?_2` FROM `users`
            -- SELECT born + 7, born - date '2024-01-01' FROM users
            [?column?:date, ?column?:integer] ()
            answer SELECT (`users`.`born` + INTERVAL ? DAY) AS `?column?`, DATEDIFF(`users`.`born`, CAST(? AS DATE)) AS `?column?_2` FROM `users`
        "#]],
    );
}

#[test]
fn json_steps_are_bound() {
    check(
        &[
            r##"SELECT meta->>'plan', meta->'langs'->>0, meta #>> '{langs,1}', meta ? 'k' FROM users"##,
            r##"SELECT meta || '{"x": 1}'::jsonb, meta - 'plan', jsonb_set(meta, '{plan}', '"gold"') FROM users"##,
            r##"SELECT id FROM users WHERE meta @> '{"plan": "pro"}'"##,
            r##"SELECT id FROM users WHERE meta @? '$.a'"##,
        ],
        &expect![[r#"
            -- SELECT meta->>'plan', meta->'langs'->>0, meta #>> '{langs,1}', meta ? 'k' FROM users
            [?column?:text, ?column?:text, ?column?:text, ?column?:boolean] ()
            answer SELECT (CONVERT(JSON_UNQUOTE(NULLIF(JSON_EXTRACT(`users`.`meta`, ?), CAST('null' AS JSON))) USING utf8mb4) COLLATE utf8mb4_0900_bin) AS `?column?`, (CONVERT(JSON_UNQUOTE(NULLIF(IF((CONVERT(JSON_TYPE(JSON_EXTRACT(`users`.`meta`, ?)) USING utf8mb4) COLLATE utf8mb4_0900_bin) = 'ARRAY', JSON_EXTRACT(JSON_EXTRACT(`users`.`meta`, ?), ?), NULL), CAST('null' AS JSON))) USING utf8mb4) COLLATE utf8mb4_0900_bin) AS `?column?_2`, (CONVERT(JSON_UNQUOTE(NULLIF(IF((CONVERT(JSON_TYPE(JSON_EXTRACT(`users`.`meta`, ?)) USING utf8mb4) COLLATE utf8mb4_0900_bin) = 'ARRAY', JSON_EXTRACT(JSON_EXTRACT(`users`.`meta`, ?), ?), JSON_EXTRACT(JSON_EXTRACT(`users`.`meta`, ?), ?)), CAST('null' AS JSON))) USING utf8mb4) COLLATE utf8mb4_0900_bin) AS `?column?_3`, ((JSON_CONTAINS_PATH(`users`.`meta`, 'one', ?) OR ((CONVERT(JSON_TYPE(`users`.`meta`) USING utf8mb4) COLLATE utf8mb4_0900_bin) <> 'OBJECT' AND JSON_CONTAINS(`users`.`meta`, JSON_QUOTE(?))))) AS `?column?_4` FROM `users`
            -- SELECT meta || '{"x": 1}'::jsonb, meta - 'plan', jsonb_set(meta, '{plan}', '"gold"') FROM users
            [?column?:jsonb, ?column?:jsonb, jsonb_set:jsonb] ()
            answer SELECT JSON_MERGE_PRESERVE(JSON_REMOVE(`users`.`meta`, ?…), CAST(? AS JSON)) AS `?column?`, (CASE WHEN (CONVERT(JSON_TYPE(`users`.`meta`) USING utf8mb4) COLLATE utf8mb4_0900_bin) = 'OBJECT' THEN JSON_REMOVE(`users`.`meta`, ?) WHEN `users`.`meta` IS NOT NULL THEN (SELECT 1 WHERE `users`.`meta` IS NOT NULL UNION ALL SELECT 2) END) AS `?column?_2`, JSON_SET(`users`.`meta`, ?, CAST(? AS JSON)) AS `jsonb_set` FROM `users`
            -- SELECT id FROM users WHERE meta @> '{"plan": "pro"}'
            [id:uuid] ()
            answer SELECT `users`.`id` AS `id` FROM `users` WHERE (CASE WHEN `users`.`meta` IS NULL THEN NULL ELSE COALESCE((CONVERT(JSON_TYPE(`users`.`meta`) USING utf8mb4) COLLATE utf8mb4_0900_bin) = 'OBJECT' AND JSON_EXTRACT(`users`.`meta`, ?) = CAST(? AS JSON), FALSE) END)
            -- SELECT id FROM users WHERE meta @? '$.a'
            0A000 a jsonpath or text search operator cannot be translated for MySQL
        "#]],
    );
}

#[test]
fn groups_are_checked() {
    check(
        &[
            r##"SELECT status AS st, count(*) FROM users GROUP BY st ORDER BY 2 DESC"##,
            r##"SELECT name, count(*) FROM users GROUP BY status"##,
            r##"SELECT id, name, count(*) FILTER (WHERE verified) FROM users GROUP BY id"##,
            r##"SELECT sum(attempts), avg(attempts), bool_or(verified), string_agg(name, ', ' ORDER BY id) FROM users"##,
        ],
        &expect![[r#"
            -- SELECT status AS st, count(*) FROM users GROUP BY st ORDER BY 2 DESC
            [st:enum, count:bigint] ()
            answer SELECT `users`.`status` AS `st`, COUNT(*) AS `count` FROM `users` GROUP BY `users`.`status` ORDER BY COUNT(*) DESC
            -- SELECT name, count(*) FROM users GROUP BY status
            42803 column "name" must appear in the GROUP BY clause or be used in an aggregate function
            -- SELECT id, name, count(*) FILTER (WHERE verified) FROM users GROUP BY id
            [id:uuid, name:text, count:bigint] ()
            answer SELECT `users`.`id` AS `id`, `users`.`name` AS `name`, COUNT(CASE WHEN `users`.`verified` THEN 1 END) AS `count` FROM `users` GROUP BY `users`.`id`
            -- SELECT sum(attempts), avg(attempts), bool_or(verified), string_agg(name, ', ' ORDER BY id) FROM users
            [sum:bigint, avg:numeric, bool_or:boolean, string_agg:text] ()
            answer SELECT CAST(SUM(`users`.`attempts`) AS SIGNED) AS `sum`, ROUND(CAST(SUM(`users`.`attempts`) AS DECIMAL(65,22)) / COUNT(`users`.`attempts`), CASE WHEN SUM(`users`.`attempts`) = 0 THEN 20 ELSE GREATEST(16 - 4 * (((CHAR_LENGTH(CAST(ABS(SUM(`users`.`attempts`)) AS CHAR)) - 1) DIV 4) - ((CHAR_LENGTH(CAST(ABS(COUNT(`users`.`attempts`)) AS CHAR)) - 1) DIV 4) - ((ABS(SUM(`users`.`attempts`)) DIV CAST(POW(10, 4 * ((CHAR_LENGTH(CAST(ABS(SUM(`users`.`attempts`)) AS CHAR)) - 1) DIV 4)) AS DECIMAL(65,0))) <= (ABS(COUNT(`users`.`attempts`)) DIV CAST(POW(10, 4 * ((CHAR_LENGTH(CAST(ABS(COUNT(`users`.`attempts`)) AS CHAR)) - 1) DIV 4)) AS DECIMAL(65,0))))), 0) END) AS `avg`, MAX(`users`.`verified`) AS `bool_or`, GROUP_CONCAT(`users`.`name` ORDER BY `users`.`id` SEPARATOR ', ') AS `string_agg` FROM `users`
        "#]],
    );
}

#[test]
fn writes_go_by_key() {
    check(
        &[
            r##"UPDATE users SET attempts = attempts + 1 WHERE name = $1 RETURNING attempts"##,
            r##"UPDATE users SET name = email, email = name"##,
            r##"DELETE FROM users WHERE id = $1 RETURNING name"##,
            r##"UPDATE sessions s SET revoked = true FROM users u WHERE u.id = s.user_id AND u.name = 'a' RETURNING s.id, u.name"##,
        ],
        &expect![[r#"
            -- UPDATE users SET attempts = attempts + 1 WHERE name = $1 RETURNING attempts
            [attempts:integer] (text)
            keep#0 SELECT `users`.`id` FROM `users` AS `users` WHERE (`users`.`name` = ?1) FOR UPDATE
            write (kept#0) UPDATE `users` AS `users` SET `users`.`attempts` = (`users`.`attempts` + ?) WHERE `users`.`id` IN (keys#0)
            answer SELECT `users`.`attempts`, `users`.`id` FROM `users` AS `users` WHERE `users`.`id` IN (keys#0)
            -- UPDATE users SET name = email, email = name
            [] ()
            keep#0 SELECT `users`.`id`, `users`.`email`, `users`.`name` FROM `users` AS `users` FOR UPDATE
            each#0 as #1
            write (kept#1) UPDATE `users` SET `name` = ?1.1, `email` = ?1.2 WHERE `id` = ?1.0
            -- DELETE FROM users WHERE id = $1 RETURNING name
            [name:text] (uuid)
            keep#0 SELECT `users`.`id` FROM `users` AS `users` WHERE (`users`.`id` = ?1) FOR UPDATE
            answer SELECT `users`.`name`, `users`.`id` FROM `users` AS `users` WHERE `users`.`id` IN (keys#0)
            write (kept#0) DELETE FROM `users` WHERE `id` IN (keys#0)
            -- UPDATE sessions s SET revoked = true FROM users u WHERE u.id = s.user_id AND u.name = 'a' RETURNING s.id, u.name
            [id:bigint, name:text] ()
            keep#0 SELECT `s`.`id`, `u`.`id`, `u`.`name` FROM `sessions` AS `s`, `users` AS `u` WHERE ((`u`.`id` = `s`.`user_id`) AND (`u`.`name` = ?)) FOR UPDATE OF `s`
            first of each #0
            each#0 as #1
            write (kept#1) UPDATE `sessions` SET `revoked` = ? WHERE `id` = ?1.0
            answer SELECT `s`.`id`, `cf_r`.`o1`, `s`.`id` FROM `sessions` AS `s` JOIN (table#0) AS `cf_r` ON `s`.`id` = `cf_r`.`k0`
        "#]],
    );
}

#[test]
fn a_key_that_is_written_out_is_not_looked_for() {
    check(
        &[
            r##"UPDATE users SET attempts = attempts + 1 WHERE id = $1"##,
            r##"UPDATE users u SET name = $1 WHERE (u.attempts = $2 AND $3 = u.id) RETURNING name"##,
            r##"DELETE FROM sessions s WHERE s.id = '7' AND NOT revoked"##,
            r##"DELETE FROM sessions WHERE id = $1::bigint"##,
            // Not the whole key, not surely, or of a type whose equal values are not the same.
            r##"UPDATE sessions SET revoked = true WHERE id = $1 OR revoked"##,
            r##"UPDATE sessions SET revoked = true WHERE id = 1.0"##,
            r##"UPDATE sessions SET revoked = true WHERE id <> 1"##,
            r##"UPDATE sessions SET revoked = true WHERE user_id = $1"##,
            r##"UPDATE sessions SET id = 2 WHERE id = 1"##,
            r##"DELETE FROM sessions WHERE id = (SELECT max(id) FROM sessions)"##,
        ],
        &expect![[r#"
            -- UPDATE users SET attempts = attempts + 1 WHERE id = $1
            [] (uuid)
            write (pinned#0) UPDATE `users` AS `users` SET `users`.`attempts` = (`users`.`attempts` + ?) WHERE (`users`.`id` = ?1)
            -- UPDATE users u SET name = $1 WHERE (u.attempts = $2 AND $3 = u.id) RETURNING name
            [name:text] (text, integer, uuid)
            write (pinned#0) UPDATE `users` AS `u` SET `u`.`name` = ?1 WHERE (((`u`.`attempts` = ?2) AND (?3 = `u`.`id`)))
            answer SELECT `u`.`name`, `u`.`id` FROM `users` AS `u` WHERE `u`.`id` IN (keys#0)
            -- DELETE FROM sessions s WHERE s.id = '7' AND NOT revoked
            [] ()
            write (pinned#0) DELETE `s` FROM `sessions` AS `s` WHERE ((`s`.`id` = ?) AND (NOT `s`.`revoked`))
            -- DELETE FROM sessions WHERE id = $1::bigint
            [] (bigint)
            write (pinned#0) DELETE `sessions` FROM `sessions` AS `sessions` WHERE (`sessions`.`id` = ?1)
            -- UPDATE sessions SET revoked = true WHERE id = $1 OR revoked
            [] (bigint)
            keep#0 SELECT `sessions`.`id` FROM `sessions` AS `sessions` WHERE ((`sessions`.`id` = ?1) OR `sessions`.`revoked`) FOR UPDATE
            write (kept#0) UPDATE `sessions` AS `sessions` SET `sessions`.`revoked` = ? WHERE `sessions`.`id` IN (keys#0)
            -- UPDATE sessions SET revoked = true WHERE id = 1.0
            [] ()
            keep#0 SELECT `sessions`.`id` FROM `sessions` AS `sessions` WHERE (`sessions`.`id` = CAST(? AS DECIMAL(2,1))) FOR UPDATE
            write (kept#0) UPDATE `sessions` AS `sessions` SET `sessions`.`revoked` = ? WHERE `sessions`.`id` IN (keys#0)
            -- UPDATE sessions SET revoked = true WHERE id <> 1
            [] ()
            keep#0 SELECT `sessions`.`id` FROM `sessions` AS `sessions` WHERE (`sessions`.`id` <> ?) FOR UPDATE
            write (kept#0) UPDATE `sessions` AS `sessions` SET `sessions`.`revoked` = ? WHERE `sessions`.`id` IN (keys#0)
            -- UPDATE sessions SET revoked = true WHERE user_id = $1
            [] (uuid)
            keep#0 SELECT `sessions`.`id` FROM `sessions` AS `sessions` WHERE (`sessions`.`user_id` = ?1) FOR UPDATE
            write (kept#0) UPDATE `sessions` AS `sessions` SET `sessions`.`revoked` = ? WHERE `sessions`.`id` IN (keys#0)
            -- UPDATE sessions SET id = 2 WHERE id = 1
            [] ()
            keep#0 SELECT `sessions`.`id`, ? FROM `sessions` AS `sessions` WHERE (`sessions`.`id` = ?) FOR UPDATE
            each#0 as #1
            write (moved#1) UPDATE `sessions` SET `id` = ?1.1 WHERE `id` = ?1.0
            -- DELETE FROM sessions WHERE id = (SELECT max(id) FROM sessions)
            [] ()
            keep#0 SELECT `sessions`.`id` FROM `sessions` AS `sessions` WHERE (`sessions`.`id` = (SELECT MAX(`sessions`.`id`) AS `max` FROM `sessions`)) FOR UPDATE
            write (kept#0) DELETE FROM `sessions` WHERE `id` IN (keys#0)
        "#]],
    );
}

#[test]
fn inserts_know_their_keys() {
    check(
        &[
            r##"INSERT INTO users (id, email, name) VALUES ($1, $2, DEFAULT), (gen_random_uuid(), 'b', 'c') RETURNING id, email"##,
            r##"INSERT INTO sessions (user_id) SELECT id FROM users"##,
            r##"INSERT INTO users (id, email) VALUES ($1, 'x') ON CONFLICT (id) DO UPDATE SET email = EXCLUDED.email, attempts = users.attempts + 1 RETURNING (xmax = 0) AS inserted"##,
            r##"INSERT INTO users (id, email) VALUES ($1, 'x') ON CONFLICT DO NOTHING"##,
            r##"INSERT INTO users (id, email) VALUES ($1, 'x') ON CONFLICT (name) DO NOTHING"##,
        ],
        &expect![[r#"
            -- INSERT INTO users (id, email, name) VALUES ($1, $2, DEFAULT), (gen_random_uuid(), 'b', 'c') RETURNING id, email
            [id:uuid, email:character varying] (uuid, character varying)
            write (given#0) INSERT INTO `users` (`id`, `email`, `name`) VALUES (?1, ?2, NULL), (?uuid0, ?, ?)
            answer SELECT `users`.`id`, `users`.`email`, `users`.`id` FROM `users` AS `users` WHERE `users`.`id` IN (keys#0)
            -- INSERT INTO sessions (user_id) SELECT id FROM users
            0A000 INSERT … SELECT without the key cannot be translated for MySQL
            -- INSERT INTO users (id, email) VALUES ($1, 'x') ON CONFLICT (id) DO UPDATE SET email = EXCLUDED.email, attempts = users.attempts + 1 RETURNING (xmax = 0) AS inserted
            [inserted:boolean] (uuid)
            upsert by ["PRIMARY"]
             find SELECT `id` FROM `users` AS `users` WHERE (`users`.`id` = ?1) FOR UPDATE
             write (given#1) INSERT INTO `users` (`id`, `email`) VALUES (?1, ?)
             write (kept#0) UPDATE `users` AS `users` SET `users`.`email` = ?, `users`.`attempts` = (`users`.`attempts` + ?) WHERE `users`.`id` IN (keys#0)
            answer SELECT ((?replaced0 = ?)), `users`.`id` FROM `users` AS `users` WHERE `users`.`id` IN (keys#1)
            -- INSERT INTO users (id, email) VALUES ($1, 'x') ON CONFLICT DO NOTHING
            [] (uuid)
            upsert by []
             write (given#1) INSERT INTO `users` (`id`, `email`) VALUES (?1, ?)
            -- INSERT INTO users (id, email) VALUES ($1, 'x') ON CONFLICT (name) DO NOTHING
            42P10 there is no unique or exclusion constraint matching the ON CONFLICT specification
        "#]],
    );
}

#[test]
fn parts_of_a_statement_see_the_tables_as_they_were() {
    check(
        &[
            r##"WITH gone AS (DELETE FROM sessions WHERE revoked RETURNING user_id) SELECT count(*) FROM gone"##,
            r##"WITH ins AS (INSERT INTO users (id, email) VALUES ($1, 'x') ON CONFLICT (id) DO NOTHING RETURNING id) SELECT id FROM ins UNION ALL SELECT id FROM users WHERE id = $1"##,
            r##"WITH gone AS (DELETE FROM sessions RETURNING id) SELECT id FROM sessions"##,
            r##"WITH used AS (UPDATE sessions SET revoked = true WHERE id = $1 RETURNING user_id) INSERT INTO sessions (id, user_id) SELECT $2::bigint, user_id FROM used"##,
            r##"WITH used AS (UPDATE sessions SET id = $2 WHERE id = $1 RETURNING user_id) INSERT INTO sessions (id, user_id) SELECT $1, user_id FROM used"##,
            r##"WITH used AS (UPDATE sessions SET revoked = true WHERE id = $1 RETURNING user_id) INSERT INTO sessions (id, user_id) SELECT id, user_id FROM sessions"##,
        ],
        &expect![[r#"
            -- WITH gone AS (DELETE FROM sessions WHERE revoked RETURNING user_id) SELECT count(*) FROM gone
            [count:bigint] ()
            keep#0 SELECT `sessions`.`id` FROM `sessions` AS `sessions` WHERE `sessions`.`revoked` FOR UPDATE
            keep#1 SELECT `sessions`.`user_id`, `sessions`.`id` FROM `sessions` AS `sessions` WHERE `sessions`.`id` IN (keys#0)
            write (kept#0) DELETE FROM `sessions` WHERE `id` IN (keys#0)
            answer SELECT COUNT(*) AS `count` FROM (table#1) AS `gone`
            -- WITH ins AS (INSERT INTO users (id, email) VALUES ($1, 'x') ON CONFLICT (id) DO NOTHING RETURNING id) SELECT id FROM ins UNION ALL SELECT id FROM users WHERE id = $1
            [id:uuid] (uuid)
            upsert by ["PRIMARY"]
             find SELECT `id` FROM `users` AS `users` WHERE (`users`.`id` = ?1) FOR UPDATE
             write (given#1) INSERT INTO `users` (`id`, `email`) VALUES (?1, ?)
            keep#2 SELECT `users`.`id`, `users`.`id` FROM `users` AS `users` WHERE `users`.`id` IN (keys#1)
            answer (SELECT `ins`.`c0` AS `id` FROM (table#2) AS `ins`) UNION ALL (SELECT `users`.`id` AS `id` FROM (SELECT * FROM `users` WHERE (`id`) NOT IN (keys#1)) AS `users` WHERE (`users`.`id` = ?1))
            -- WITH gone AS (DELETE FROM sessions RETURNING id) SELECT id FROM sessions
            0A000 reading a table that the statement's WITH writes cannot be translated for MySQL
            -- WITH used AS (UPDATE sessions SET revoked = true WHERE id = $1 RETURNING user_id) INSERT INTO sessions (id, user_id) SELECT $2::bigint, user_id FROM used
            [] (bigint, bigint)
            write (pinned#0) UPDATE `sessions` AS `sessions` SET `sessions`.`revoked` = ? WHERE (`sessions`.`id` = ?1)
            keep#1 SELECT `sessions`.`user_id`, `sessions`.`id` FROM `sessions` AS `sessions` WHERE `sessions`.`id` IN (keys#0)
            keep#2 SELECT ?2 AS `int8`, `used`.`c0` AS `user_id` FROM (table#1) AS `used`
            write (copied#3) INSERT INTO `sessions` (`id`, `user_id`) VALUES rows#2
            -- WITH used AS (UPDATE sessions SET id = $2 WHERE id = $1 RETURNING user_id) INSERT INTO sessions (id, user_id) SELECT $1, user_id FROM used
            0A000 writing a table twice in one statement cannot be translated for MySQL
            -- WITH used AS (UPDATE sessions SET revoked = true WHERE id = $1 RETURNING user_id) INSERT INTO sessions (id, user_id) SELECT id, user_id FROM sessions
            0A000 reading a table that the statement's WITH writes cannot be translated for MySQL
        "#]],
    );
}

#[test]
fn what_the_parser_misreads_is_refused() {
    check(
        &[
            r##"SELECT name ISNULL FROM users"##,
            r##"SELECT 0x1F"##,
            r##"SELECT U&"d\0061" FROM users"##,
            r##"SELECT 'a'
'b'"##,
            r##"MERGE INTO users u USING sessions s ON true WHEN MATCHED THEN DELETE"##,
            r##"SELECT initcap(name) FROM users"##,
            r##"VACUUM users"##,
        ],
        &expect![[r#"
            -- SELECT name ISNULL FROM users
            0A000 ISNULL and NOTNULL cannot be translated for MySQL
            -- SELECT 0x1F
            0A000 a number that is not decimal cannot be translated for MySQL
            -- SELECT U&"d\0061" FROM users
            0A000 a name with escapes cannot be translated for MySQL
            -- SELECT 'a' 'b'
            0A000 a string in several parts cannot be translated for MySQL
            -- MERGE INTO users u USING sessions s ON true WHEN MATCHED THEN DELETE
            0A000 MERGE cannot be translated for MySQL
            -- SELECT initcap(name) FROM users
            0A000 function initcap cannot be translated for MySQL
            -- VACUUM users
            0A000 statement VACUUM cannot be translated for MySQL
        "#]],
    );
}

/// A task of the runtime has two megabytes.
#[test]
fn long_chains_and_deep_nesting_end_on_a_small_stack() {
    let run = || {
        let chain = vec!["attempts = 1"; 400].join(" OR ");
        let sum = vec!["attempts"; 110].join(" + ");
        let much = vec!["attempts"; 400].join(" + ");
        let unions = vec!["SELECT 1"; 60].join(" UNION ALL ");
        let mut deep = "SELECT 1".to_owned();
        for _ in 0..60 {
            deep = format!("SELECT ({deep})");
        }
        let mut shallow = "SELECT 1".to_owned();
        for _ in 0..10 {
            shallow = format!("SELECT ({shallow})");
        }
        let fine = |sql: &str| !shown(sql, Flavor::MySql).starts_with("0A000");
        let select = |what: &str| format!("SELECT {what} FROM users");
        (
            fine(&select(&chain)) && fine(&select(&sum)) && fine(&unions) && fine(&shallow),
            fine(&select(&much)) || fine(&deep),
        )
    };
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap();
    assert_eq!(thread.join().unwrap(), (true, false));
}
