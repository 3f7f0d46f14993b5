//! Compares a table of both databases, with nothing of Crossfade's own path: each server prints its
//! values as text, and what the texts have in common is decided per type, in [`form`].
//!
//! Rows are compared as a multiset of whole rows, so neither side's order or keys are trusted. All of
//! a table is held in memory: this is for the demo and the tests.

mod form;

use mysql_async::prelude::Queryable;
use tokio_postgres::{Client, SimpleQueryMessage};

use form::Form;

/// One row, each value as canonical text; `None` is NULL.
pub type Row = Vec<Option<String>>;

/// What a table looks like on both sides.
#[derive(Clone, Debug)]
pub struct Comparison {
    pub columns: Vec<String>,
    /// Rows of the table on PostgreSQL.
    pub rows: usize,
    pub only_postgres: Vec<Row>,
    pub only_secondary: Vec<Row>,
}

impl Comparison {
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.only_postgres.is_empty() && self.only_secondary.is_empty()
    }
}

/// Why a table could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    #[error("PostgreSQL could not be read")]
    Postgres(#[from] tokio_postgres::Error),
    #[error("the secondary could not be read")]
    Secondary(#[from] mysql_async::Error),
    #[error("there is no table {0} on PostgreSQL")]
    Missing(String),
}

/// The application's tables, `schema.name` outside `public`.
pub async fn tables(postgres: &Client) -> Result<Vec<String>, CompareError> {
    const TABLES: &str = "SELECT CASE WHEN nspname = 'public' AND relname NOT LIKE '%.%' THEN relname \
         ELSE nspname || '.' || relname END \
         FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace \
         WHERE relkind IN ('r', 'p') AND NOT relispartition AND nspname <> 'crossfade' \
         AND nspname <> 'information_schema' AND nspname NOT LIKE 'pg\\_%' ORDER BY 1";
    let rows = postgres.query(TABLES, &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Reads `table` (`users`, or `auth.users`) on both sides.
pub async fn compare(
    postgres: &Client,
    secondary: &mut mysql_async::Conn,
    table: &str,
) -> Result<Comparison, CompareError> {
    let (schema, name) = table.split_once('.').unwrap_or(("public", table));
    let columns = columns(postgres, schema, name).await?;
    if columns.is_empty() {
        return Err(CompareError::Missing(table.to_owned()));
    }
    let target = if schema == "public" { name.to_owned() } else { format!("{schema}_{name}") };
    let mut left = postgres_rows(postgres, schema, name, &columns).await?;
    let mut right = mysql_rows(secondary, &target, &columns).await?;
    left.sort();
    right.sort();
    let owned = |rows: Vec<&Row>| rows.into_iter().cloned().collect();
    Ok(Comparison {
        rows: left.len(),
        only_postgres: owned(without(&left, &right)),
        only_secondary: owned(without(&right, &left)),
        columns: columns.into_iter().map(|column| column.name).collect(),
    })
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

/// The columns in their order, with domains resolved to what they are made of.
async fn columns(
    postgres: &Client,
    schema: &str,
    name: &str,
) -> Result<Vec<Column>, tokio_postgres::Error> {
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
    let rows = postgres.query(COLUMNS, &[&schema, &name]).await?;
    let column = |row: &tokio_postgres::Row| Column {
        name: row.get(0),
        form: Form::of(row.get::<_, &str>(1), row.get(2)),
    };
    Ok(rows.iter().map(column).collect())
}

async fn postgres_rows(
    client: &Client,
    schema: &str,
    name: &str,
    columns: &[Column],
) -> Result<Vec<Row>, tokio_postgres::Error> {
    let quote = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let list = columns.iter().map(|column| column.form.on_postgres(&quote(&column.name)));
    let list: Vec<String> = list.collect();
    client
        .batch_execute(
            "SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'iso_8601'",
        )
        .await?;
    let query = format!("SELECT {} FROM {}.{}", list.join(", "), quote(schema), quote(name));
    let messages = client.simple_query(&query).await?;
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let value = |row: &tokio_postgres::SimpleQueryRow, at: usize| {
        row.get(at).map(|text| columns[at].form.canonical(text))
    };
    Ok(rows.map(|row| (0..columns.len()).map(|at| value(row, at)).collect()).collect())
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
    Ok(rows.into_iter().map(|row| mysql_row(row, columns)).collect())
}

fn mysql_row(row: mysql_async::Row, columns: &[Column]) -> Row {
    let value = |(at, column): (usize, &Column)| match row.as_ref(at)? {
        mysql_async::Value::NULL => None,
        // Without parameters the server sends text.
        mysql_async::Value::Bytes(bytes) => {
            Some(column.form.canonical(&String::from_utf8_lossy(bytes)))
        }
        other => Some(column.form.canonical(&other.as_sql(true))),
    };
    columns.iter().enumerate().map(value).collect()
}
