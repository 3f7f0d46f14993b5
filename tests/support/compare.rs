//! Compares a table of both databases, with nothing of Crossfade's: each server prints its values
//! as text, and what the texts have in common is decided here, per type.
//!
//! Rows are compared as a multiset of whole rows, so neither side's order or keys are trusted.

use mysql_async::prelude::Queryable;
use tokio_postgres::{Client, SimpleQueryMessage};

/// One row, each value as canonical text; `None` is NULL.
type Row = Vec<Option<String>>;

/// The application's tables, `schema.name` outside `public`.
pub async fn tables(postgres: &Client) -> Vec<String> {
    const TABLES: &str = "SELECT CASE nspname WHEN 'public' THEN relname \
         ELSE nspname || '.' || relname END \
         FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace \
         WHERE relkind IN ('r', 'p') AND NOT relispartition AND nspname <> 'crossfade' \
         AND nspname <> 'information_schema' AND nspname NOT LIKE 'pg\\_%' ORDER BY 1";
    let rows = postgres.query(TABLES, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// What differs, a line each; empty if nothing does.
pub async fn differences(
    postgres: &Client,
    secondary: &mut mysql_async::Conn,
    table: &str,
) -> Vec<String> {
    let (schema, name) = table.split_once('.').unwrap_or(("public", table));
    let columns = columns(postgres, schema, name).await;
    assert!(!columns.is_empty(), "no table {table} on PostgreSQL");
    let target = if schema == "public" { name.to_owned() } else { format!("{schema}_{name}") };
    let mut left = postgres_rows(postgres, schema, name, &columns).await;
    let mut right = match mysql_rows(secondary, &target, &columns).await {
        Ok(rows) => rows,
        Err(error) => return vec![format!("secondary: {error}")],
    };
    left.sort();
    right.sort();
    let mut found = Vec::new();
    let (only_left, only_right) = (without(&left, &right), without(&right, &left));
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    for (side, rows) in [("only on PostgreSQL", only_left), ("only on the secondary", only_right)] {
        if !rows.is_empty() {
            found.push(format!("{} rows {side}, columns {names:?}", rows.len()));
            found.extend(rows.iter().take(3).map(|row| format!("  {row:?}")));
        }
    }
    found
}

/// The rows of sorted `rows` that sorted `others` lacks, each as often as it is lacking.
fn without<'a>(rows: &'a [Row], others: &[Row]) -> Vec<&'a Row> {
    let mut others = others.iter().peekable();
    let mut lacking = Vec::new();
    for row in rows {
        while others.next_if(|other| *other < row).is_some() {}
        if others.next_if(|other| *other == row).is_none() {
            lacking.push(row);
        }
    }
    lacking
}

struct Column {
    name: String,
    form: Form,
}

/// What makes two texts the same value.
#[derive(Clone, Copy)]
enum Form {
    /// The text itself.
    Text,
    Bool,
    /// Decimal digits, whatever the display scale.
    Number,
    /// The same 64 bits.
    Double,
    /// Trailing blanks mean nothing.
    Padded,
    Hex,
    Timestamp,
    TimestampTz,
    Time,
    Interval,
    /// The same document: key order, spacing and the spelling of numbers mean nothing.
    Json,
    Array,
}

impl Form {
    fn of(type_name: &str, is_array: bool) -> Self {
        match type_name {
            _ if is_array => Self::Array,
            "bool" => Self::Bool,
            "int2" | "int4" | "int8" | "oid" | "numeric" => Self::Number,
            "float4" | "float8" => Self::Double,
            "bpchar" => Self::Padded,
            "bytea" => Self::Hex,
            "timestamp" => Self::Timestamp,
            "timestamptz" => Self::TimestampTz,
            "time" => Self::Time,
            "interval" => Self::Interval,
            "jsonb" => Self::Json,
            _ => Self::Text,
        }
    }

    fn on_postgres(self, column: &str) -> String {
        const MOMENT: &str = "'YYYY-MM-DD HH24:MI:SS.US'";
        match self {
            Self::Bool => format!("{column}::int"),
            Self::Double => format!("{column}::float8"),
            Self::Hex => format!("encode({column}, 'hex')"),
            Self::Timestamp => format!("to_char({column}, {MOMENT})"),
            Self::TimestampTz => format!("to_char({column} AT TIME ZONE 'UTC', {MOMENT})"),
            Self::Time => format!("lpad(extract(epoch FROM {column})::numeric(12, 6)::text, 13)"),
            Self::Array => format!("array_to_json({column})"),
            // The output function, where a cast would do more: an inet gets its /32.
            Self::Text | Self::Interval => {
                format!("CASE WHEN {column} IS NOT NULL THEN format('%s', {column}) END")
            }
            Self::Number | Self::Padded | Self::Json => format!("{column}::text"),
        }
    }

    fn on_mysql(self, column: &str) -> String {
        match self {
            Self::Hex => format!("LOWER(HEX({column}))"),
            Self::Timestamp | Self::TimestampTz => {
                format!("DATE_FORMAT({column}, '%Y-%m-%d %H:%i:%s.%f')")
            }
            Self::Time => {
                format!(
                    "LPAD(CAST(TIME_TO_SEC({column}) + MICROSECOND({column}) * 0.000001 AS DECIMAL(12, 6)), 13, ' ')"
                )
            }
            _ => column.to_owned(),
        }
    }

    fn canonical(self, text: &str) -> String {
        match self {
            Self::Number => decimal(text),
            Self::Double => {
                text.parse::<f64>().map_or(text.to_owned(), |number| format!("{number:?}"))
            }
            Self::Padded => text.trim_end_matches(' ').to_owned(),
            Self::Json | Self::Array => match serde_json::from_str(text) {
                Ok(document) => json(&document),
                Err(_) => format!("not JSON: {text}"),
            },
            _ => text.to_owned(),
        }
    }
}

/// The columns in their order, with domains resolved to what they are made of.
async fn columns(postgres: &Client, schema: &str, name: &str) -> Vec<Column> {
    const COLUMNS: &str = "
        WITH RECURSIVE base(attnum, attname, typid) AS (
            SELECT attnum, attname, atttypid FROM pg_attribute
            WHERE attrelid = (SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
                              WHERE nspname = $1 AND relname = $2)
            AND attnum > 0 AND NOT attisdropped
            UNION ALL
            SELECT attnum, attname, typbasetype FROM base JOIN pg_type t ON t.oid = typid
            WHERE typtype = 'd')
        SELECT attname::text, typname::text, typcategory = 'A'
        FROM base JOIN pg_type t ON t.oid = typid WHERE typtype <> 'd' ORDER BY attnum";
    let rows = postgres.query(COLUMNS, &[&schema, &name]).await.unwrap();
    let column = |row: &tokio_postgres::Row| Column {
        name: row.get(0),
        form: Form::of(row.get::<_, &str>(1), row.get(2)),
    };
    rows.iter().map(column).collect()
}

async fn postgres_rows(client: &Client, schema: &str, name: &str, columns: &[Column]) -> Vec<Row> {
    let quote = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let list = columns.iter().map(|column| column.form.on_postgres(&quote(&column.name)));
    let list: Vec<String> = list.collect();
    client
        .batch_execute(
            "SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'",
        )
        .await
        .unwrap();
    let query = format!("SELECT {} FROM {}.{}", list.join(", "), quote(schema), quote(name));
    let messages = client.simple_query(&query).await.unwrap();
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let value = |row: &tokio_postgres::SimpleQueryRow, at: usize| {
        row.get(at).map(|text| columns[at].form.canonical(text))
    };
    rows.map(|row| (0..columns.len()).map(|at| value(row, at)).collect()).collect()
}

async fn mysql_rows(
    conn: &mut mysql_async::Conn,
    table: &str,
    columns: &[Column],
) -> mysql_async::Result<Vec<Row>> {
    let quote = |name: &str| format!("`{}`", name.replace('`', "``"));
    let list = columns.iter().map(|column| column.form.on_mysql(&quote(&column.name)));
    let list: Vec<String> = list.collect();
    let query = format!("SELECT {} FROM {}", list.join(", "), quote(table));
    let rows: Vec<mysql_async::Row> = conn.query(query).await?;
    let value = |value: mysql_async::Value, form: Form| match value {
        mysql_async::Value::NULL => None,
        // Without parameters the server sends text.
        mysql_async::Value::Bytes(bytes) => Some(form.canonical(&String::from_utf8_lossy(&bytes))),
        other => panic!("the text protocol gave {other:?}"),
    };
    let row = |row: mysql_async::Row| {
        row.unwrap()
            .into_iter()
            .zip(columns)
            .map(|(cell, column)| value(cell, column.form))
            .collect()
    };
    Ok(rows.into_iter().map(row).collect())
}

/// A document with sorted keys and canonical numbers.
fn json(document: &serde_json::Value) -> String {
    match document {
        serde_json::Value::Number(number) => decimal(&number.to_string()),
        serde_json::Value::Array(items) => {
            format!("[{}]", items.iter().map(json).collect::<Vec<_>>().join(","))
        }
        serde_json::Value::Object(fields) => {
            let mut fields: Vec<String> = fields
                .iter()
                .map(|(name, value)| {
                    format!("{}:{}", serde_json::Value::from(name.as_str()), json(value))
                })
                .collect();
            fields.sort();
            format!("{{{}}}", fields.join(","))
        }
        other => other.to_string(),
    }
}

/// `-1.50`, `-15e-1` and `-001.5` become `-15e-1`; what is no number stays as it is.
fn decimal(text: &str) -> String {
    let (sign, rest) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let exponent: Result<i64, _> = exponent.parse();
    let (Ok(exponent), true) = (exponent, digits.bytes().all(|digit| digit.is_ascii_digit()))
    else {
        return text.to_owned();
    };
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return "0".to_owned();
    }
    let dropped = digits.len() - digits.trim_end_matches('0').len();
    let exponent = exponent - fraction.len() as i64 + dropped as i64;
    format!("{sign}{significant}e{exponent}")
}

#[test]
fn numbers_are_equal_by_value() {
    for (left, right) in [("1.50", "15e-1"), ("-0.0", "0"), ("100", "1e2"), ("0.010", "1E-2")] {
        assert_eq!(decimal(left), decimal(right), "{left} {right}");
    }
    for (left, right) in [("1", "-1"), ("10", "1"), ("NaN", "0")] {
        assert_ne!(decimal(left), decimal(right), "{left} {right}");
    }
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
        ("interval", "'1 day 2 hours'", "varchar(80)", "'1 day 02:00:00'", "'26:00:00'"),
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
