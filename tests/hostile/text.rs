//! Texts whose literals and comments end elsewhere than they seem to.

use super::{Twins, answer};

const SCHEMA: &str = "CREATE TABLE users (id int PRIMARY KEY, email text, n int)";

#[tokio::test]
async fn nothing_in_a_literal_or_a_comment_is_taken_for_code() {
    let twins = Twins::start(SCHEMA, "").await;
    for sql in [
        "INSERT INTO users VALUES (1, 'a') --",
        "INSERT INTO users VALUES (2, 'a') -- no newline; DELETE FROM users",
        "INSERT INTO users VALUES (3, 'it''s; -- /* $$') RETURNING email /* c",
        "INSERT INTO users VALUES (4, E'\\'); DELETE FROM users; --') RETURNING email",
        "INSERT INTO users VALUES (5, E'a'\n'\\'); DELETE FROM users; --') RETURNING email",
        "INSERT INTO users VALUES (6, E'a' -- '\n  'b\\'), (7, ') RETURNING email",
        "INSERT INTO users VALUES (8, 'a'\n'b\\') RETURNING email",
        "INSERT INTO users VALUES (9, 'a' 'b')",
        "INSERT INTO users VALUES (10, $$'$$ || $a$ $$ ; -- $a$ || $é$\\$é$) RETURNING email",
        "INSERT INTO users VALUES (11, $$ open",
        "INSERT INTO users VALUES (12, 'open",
        "INSERT INTO users VALUES (13, \"open",
        "INSERT INTO users VALUES (14, U&'\\0027\\005c') RETURNING email",
        "INSERT INTO users /* a /* b */ VALUES (99) */ VALUES (16, '/*') /* */ RETURNING /* ; */ email--",
        "INSERT INTO users VALUES (17, N'n' || B'1'::text || X'1f'::text) RETURNING email;;--",
        "UPDATE users SET email = CASE email IS DISTINCT FROM 'x' WHEN true THEN 'y' END WHERE id = 17 RETURNING email",
        "UPDATE users SET id = 18, n = (email IS NOT DISTINCT FROM 'y')::int WHERE id = 17 RETURNING *",
        "UPDATE users SET email = 'RETURNING' WHERE id = 18 RETURNING 'FROM' AS \"where\", email AS returning",
        ";; DELETE FROM users WHERE id = 1;-- ; DELETE FROM users\n;",
        "DELETE FROM users WHERE id=-2-1OR id=--\n2",
        "SELECT begin atomic FROM (SELECT 1 AS begin) b; DELETE FROM users WHERE id = 4; SELECT 2",
        "CREATE FUNCTION f() RETURNS bigint BEGIN ATOMIC SELECT 1 AS end; SELECT 2 end; SELECT count(*) FROM users; END; \
         DELETE FROM users WHERE id = 5; SELECT f()",
        "SELECT * FROM users ORDER BY id",
    ] {
        twins.both(sql).await;
    }
    twins.world.drained().await;
    twins.world.assert_equal("users").await;
}

/// sqlparser does not read every literal; what it does not is passed on, and never half read.
#[tokio::test]
async fn statements_past_what_is_parsed_are_passed_on_and_flagged() {
    let twins = Twins::start(SCHEMA, "").await;
    let deep = format!("INSERT INTO users VALUES (1, {}'a'{})", "(".repeat(200), ")".repeat(200));
    let long = format!("INSERT INTO users VALUES (2, 'a', {})", vec!["1"; 3_000].join(" + "));
    let deeper =
        format!("INSERT INTO users VALUES (3, {}'a'{})", "(".repeat(20_000), ")".repeat(20_000));
    twins.both("INSERT INTO users VALUES (15, U&'!0027' UESCAPE '!') RETURNING email").await;
    twins.carried(&["users unparsed"]).await;
    twins.both(&deep).await;
    twins.both(&long).await;
    twins.both(&deeper).await;
    twins.both("SELECT * FROM users").await;
    // The first reason stays.
    twins.carried(&["users unparsed"]).await;
}

#[tokio::test]
async fn without_standard_strings_nothing_is_rewritten() {
    let twins = Twins::start(SCHEMA, "").await;
    for sql in [
        "INSERT INTO users VALUES (1, 'kept')",
        "SET standard_conforming_strings = off",
        "INSERT INTO users VALUES (2, 'a\\'); DELETE FROM users; --') RETURNING email",
        "SET backslash_quote = off; SET escape_string_warning = off",
        "INSERT INTO users VALUES (3, 'a\\'); DELETE FROM users; --') RETURNING email",
        "SET standard_conforming_strings = on; INSERT INTO users VALUES (4, 'in one string')",
        "INSERT INTO users VALUES (5, 'a\\') RETURNING email",
        "SELECT * FROM users ORDER BY id",
    ] {
        twins.both(sql).await;
    }
    twins.carried(&["users encoding"]).await;
}

/// The setting has changed by the time the server reads the next text, though its answer has not come.
#[tokio::test]
async fn a_text_that_follows_the_setting_at_once_is_not_misread() {
    let twins = Twins::start(SCHEMA, "").await;
    let text = "INSERT INTO users VALUES (1, 'a\\'); DELETE FROM users; --') RETURNING email";
    let mut got = Vec::new();
    for client in [&twins.ours, &twins.theirs] {
        let off = "SELECT set_config('standard_conforming_strings', 'off', false)";
        let (_, answer) = tokio::join!(answer(client, off), answer(client, text));
        got.push(answer);
    }
    assert_eq!(got[0], got[1]);
    twins.both("SELECT * FROM users").await;
}

/// What is not UTF-8 is not read, whatever the bytes look like.
#[tokio::test]
async fn another_encoding_hides_nothing() {
    let twins = Twins::start(SCHEMA, "").await;
    for sql in [
        "SET client_encoding = 'SJIS'",
        "INSERT INTO users VALUES (1, 'a') RETURNING email",
        "SET client_encoding = 'UTF8'",
        "INSERT INTO users VALUES (2, 'é') RETURNING email",
        "SELECT * FROM users ORDER BY id",
    ] {
        twins.both(sql).await;
    }
    twins.carried(&["users encoding"]).await;
}
