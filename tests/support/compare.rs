//! The comparer of [`crossfade::demo::compare`], with a line for each difference; and its own test.

use crossfade::demo::compare;
use mysql_async::prelude::Queryable;
use tokio_postgres::Client;

/// The application's tables, `schema.name` outside `public`.
pub async fn tables(postgres: &Client) -> Vec<String> {
    compare::tables(postgres).await.unwrap()
}

/// What differs, a line each; empty if nothing does.
pub async fn differences(
    postgres: &Client,
    secondary: &mut mysql_async::Conn,
    table: &str,
) -> Vec<String> {
    let compared = match compare::compare(postgres, secondary, table).await {
        Ok(compared) => compared,
        Err(compare::CompareError::Secondary(error)) => return vec![format!("secondary: {error}")],
        Err(error) => panic!("{table}: {error}"),
    };
    let sides = [
        ("only on PostgreSQL", &compared.only_postgres),
        ("only on the secondary", &compared.only_secondary),
    ];
    let mut found = Vec::new();
    for (side, rows) in sides.into_iter().filter(|(_, rows)| !rows.is_empty()) {
        found.push(format!("{} rows {side}, columns {:?}", rows.len(), compared.columns));
        found.extend(rows.iter().take(3).map(|row| format!("  {row:?}")));
    }
    found
}

/// The comparer is what every other test leans on: it must see each kind of difference, and none
/// where the two servers merely print differently.
#[tokio::test]
async fn the_comparer_sees_every_difference_and_no_other() {
    use super::{Target, World};
    const KINDS: &[(&str, &str, &str, &str, &str)] = &[
        // PostgreSQL's type and value, MySQL's type, the same value there, another value
        ("boolean", "true", "tinyint(1)", "1", "0"),
        ("bigint", "-7", "bigint", "-7", "7"),
        ("numeric(12,2)", "1.5", "decimal(12,2)", "1.50", "1.51"),
        ("numeric", "1.10", "longtext", "'1.10'", "'1.11'"),
        ("real", "0.1", "double", "0.10000000149011612", "0.1"),
        ("double precision", "1e300", "double", "1e300", "1.0000000000000002e300"),
        ("text", "'a '", "longtext", "'a '", "'a'"),
        ("varchar(9)", "'É'", "varchar(9)", "'É'", "'é'"),
        ("char(4)", "'ab'", "char(4)", "'ab'", "'abc'"),
        ("bytea", "'\\x00ff'", "longblob", "x'00ff'", "x'ff00'"),
        (
            "uuid",
            "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'",
            "char(36)",
            "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",
            "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12'",
        ),
        (
            "uuid",
            "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",
            "binary(16)",
            "x'a0eebc999c0b4ef8bb6d6bb9bd380a11'",
            "x'a0eebc999c0b4ef8bb6d6bb9bd380a12'",
        ),
        ("date", "'0099-12-31'", "date", "'0099-12-31'", "'0099-12-30'"),
        ("time", "'24:00:00'", "time(6)", "'24:00:00'", "'23:59:59.999999'"),
        (
            "timestamp",
            "'2024-02-29 23:59:59.000001'",
            "datetime(6)",
            "'2024-02-29 23:59:59.000001'",
            "'2024-02-29 23:59:59'",
        ),
        (
            "timestamptz",
            "'2024-01-01 00:00+02'",
            "datetime(6)",
            "'2023-12-31 22:00:00'",
            "'2024-01-01 00:00:00'",
        ),
        ("interval", "'1 day 2 hours'", "varchar(80)", "'P1DT2H'", "'PT26H'"),
        (
            "jsonb",
            "'{\"b\": 1e2, \"a\": [null]}'",
            "json",
            "'{\"a\": [null], \"b\": 100}'",
            "'{\"a\": [], \"b\": 100}'",
        ),
        ("json", "'{\"b\":1}'", "longtext", "'{\"b\":1}'", "'{\"b\": 1}'"),
        ("int[]", "'{1,NULL}'", "json", "'[1, null]'", "'[1, 0]'"),
        ("inet", "'10.0.0.1'", "varchar(49)", "'10.0.0.1'", "'10.0.0.1/32'"),
    ];
    for target in Target::all() {
        let world = World::bare(target, "").await;
        let (postgres, mut secondary) = (world.admin().await, world.secondary().await);
        for (number, (left, value, right, same, other)) in KINDS.iter().enumerate() {
            let table = format!("kind_{number}");
            let create = format!(
                "CREATE TABLE {table} (id int, v {left}); INSERT INTO {table} VALUES (1, {value}), (2, NULL)"
            );
            postgres.batch_execute(&create).await.unwrap();
            let create = format!(
                "CREATE TABLE {table} (id int, v {right}) CHARSET utf8mb4 COLLATE utf8mb4_bin"
            );
            secondary.query_drop(create).await.unwrap();
            let insert = format!("INSERT INTO {table} VALUES (2, NULL), (1, {same})");
            secondary.query_drop(insert).await.unwrap();
            let found = differences(&postgres, &mut secondary, &table).await;
            assert_eq!(found, Vec::<String>::new(), "{world:?} {left}");
            for change in [
                format!("UPDATE {table} SET v = {other} WHERE id = 1"),
                format!("UPDATE {table} SET v = NULL WHERE id = 1"),
                format!("DELETE FROM {table} WHERE id = 1"),
                format!("INSERT INTO {table} VALUES (1, {same}), (1, {same})"),
            ] {
                secondary.query_drop(&change).await.unwrap();
                let found = differences(&postgres, &mut secondary, &table).await;
                assert!(!found.is_empty(), "{world:?} {left}: {change}");
            }
        }
    }
}
