//! What clients do while the primary changes: only what both databases can answer.
//!
//! Invariant: nothing here is refused by MySQL's side; so every error has a reason that is of the hour.

use rand::Rng as _;
use rand::rngs::StdRng;
use tokio_postgres::{Client, Error};

use super::clients;

/// MySQL's side writes no table with generated columns.
pub fn schema() -> String {
    const GENERATED: &str = ", twice int GENERATED ALWAYS AS (n * 2) STORED";
    let all = clients::schema();
    assert!(all.contains(GENERATED));
    all.replace(GENERATED, "")
}

/// A statement, or a transaction of some.
pub async fn statements(client: &Client, mode: &str, random: &mut StdRng) -> Result<(), Error> {
    if random.random_bool(0.6) {
        return statement(client, mode, random).await;
    }
    client.batch_execute("BEGIN").await?;
    for _ in 0..random.random_range(1..4) {
        statement(client, mode, random).await?;
    }
    client.batch_execute(if random.random_bool(0.8) { "COMMIT" } else { "ROLLBACK" }).await
}

/// By either protocol.
pub async fn statement(client: &Client, mode: &str, random: &mut StdRng) -> Result<(), Error> {
    if random.random_bool(0.5) {
        return client.batch_execute(&text(mode, random)).await;
    }
    let id: i32 = random.random_range(1..30);
    let email = format!("u{}@example.org", random.random_range(1..40));
    match random.random_range(0..5) {
        0 => {
            let sql = format!(
                "INSERT INTO {mode}_users (id, email) VALUES ($1, $2) ON CONFLICT (id) \
                 DO UPDATE SET n = {mode}_users.n + 1, email = EXCLUDED.email RETURNING id, email, n"
            );
            client.query(&sql, &[&id, &email]).await.map(drop)
        }
        1 => {
            let sql = format!("UPDATE {mode}_users SET n = n + 1, note = $2 WHERE id = $1");
            client.execute(&sql, &[&id, &email]).await.map(drop)
        }
        2 => {
            let sql = format!("DELETE FROM {mode}_sessions WHERE user_id = $1 RETURNING id, token");
            client.query(&sql, &[&id]).await.map(drop)
        }
        3 => {
            // MySQL counts primary keys only.
            let sql =
                format!("INSERT INTO {mode}_sessions (user_id, serial, token) VALUES ($1, 7, $2)");
            client.execute(&sql, &[&id, &&b"\x00\xff'\\"[..]]).await.map(drop)
        }
        _ => {
            let sql = format!("DELETE FROM {mode}_users WHERE id = $1");
            client.execute(&sql, &[&id]).await.map(drop)
        }
    }
}

/// With its literals inlined.
pub fn text(mode: &str, random: &mut StdRng) -> String {
    let mut number = |to: i32| random.random_range(1..to);
    let (id, other, n, kind) = (number(30), number(30), number(1000), number(10));
    match kind {
        1 => format!(
            "INSERT INTO {mode}_users (id, email, note) \
             VALUES ({id}, 'u{n}', 'it''s \u{e9}\u{1f600} $1 ;') ON CONFLICT DO NOTHING"
        ),
        2 => format!(
            "INSERT INTO {mode}_users (id, email, data, score) \
             VALUES ({id}, 'v{n}', '{{\"a\": [1, 2.50, null, \"x\"], \"{n}\": true}}', {n}.125)"
        ),
        3 => format!(
            "INSERT INTO {mode}_parted VALUES ({id}, 1, 'p'), ({id}, 2, 'p') \
             ON CONFLICT (a, b) DO UPDATE SET note = '{n}'"
        ),
        4 => format!("UPDATE {mode}_parted SET a = {other} WHERE a = {id} AND b = 2"),
        5 => format!("DELETE FROM {mode}_parted WHERE a = {id}"),
        6 => format!("UPDATE {mode}_users SET email = 'u{n}' WHERE id = {id}"),
        7 => format!("UPDATE {mode}_users SET n = {n} WHERE id BETWEEN {id} AND {other}"),
        8 if n < 30 => format!("TRUNCATE {mode}_parted"),
        _ => format!("SELECT count(*) FROM {mode}_users WHERE id = {id}"),
    }
}
