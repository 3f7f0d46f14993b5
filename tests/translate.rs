//! Statements of applications, on PostgreSQL and answered from MySQL: the same rows, counts and errors, or
//! a refusal that names the construct.
//!
//! ```text
//! statements.sql ──each, in a transaction that is rolled back──▶ PostgreSQL          ─┐ rows by type,
//!                └────────────────────────────────────────────▶ answer ──▶ MySQL …  ─┘ count, SQLSTATE, tables
//! ```

mod corpus;
mod random;
mod sheet;
mod spelling;

use std::collections::BTreeMap;

use crossfade::value::style::Style;
use crossfade::value::{Numeric, PgType, Value};
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::types::{Format, FromSql, IsNull, ToSql, Type};

use crate::answer::Site;
use crate::support::{Target, World};
use sheet::Statement;

const SCHEMA: &str = include_str!("translate/schema_pg.sql");
const SEED: &str = include_str!("translate/seed_pg.sql");
const STATEMENTS: &str = include_str!("translate/statements.sql");

/// Tables whose content is compared after a write.
const TABLES: &[&str] =
    &["tenants", "users", "passwords", "sessions", "codes", "logs", "roles", "user_roles"];

/// How many of the statements must be equal, on each product.
const EQUAL_LEAST: usize = 181;

/// What one side did with a statement.
#[derive(Clone, Debug, PartialEq)]
struct Outcome {
    /// SQLSTATE where it failed.
    code: Option<String>,
    message: String,
    columns: Vec<(String, u32)>,
    /// By type, or `None` for NULL.
    rows: Vec<Vec<Option<String>>>,
    count: u64,
    tables: BTreeMap<&'static str, Vec<Vec<Option<String>>>>,
}

#[tokio::test]
async fn statements_have_the_same_answers_or_are_refused() {
    let statements = sheet::parse(STATEMENTS);
    let mut reports = Vec::new();
    for target in Target::all() {
        let world = World::bare(target, "").await;
        let (extensions, schema) = SCHEMA.split_at(SCHEMA.find("CREATE TYPE").unwrap());
        world.admin().await.batch_execute(extensions).await.unwrap();
        let site = Site::in_world(world, schema, SEED).await;
        let (mut equal, mut refused, mut wrong) = (0, Vec::new(), Vec::new());
        let (direct, client) = (site.world.direct().await, site.client().await);
        for (at, statement) in statements.iter().enumerate() {
            if statement.class == 'w' {
                count_from(&site.world, 1_000 * (at + 1)).await;
            }
            let expected = run(&direct, statement).await;
            let found = run(&client, statement).await;
            match judge(statement, &expected, &found) {
                Ok(()) => equal += 1,
                Err(Verdict::Refused(why)) => refused.push(format!("{} {why}", statement.id)),
                Err(Verdict::Wrong(why)) => {
                    wrong.push(format!("{} {why}\n   {}", statement.id, statement.sql));
                }
            }
        }
        let report = format!(
            "{target:?}: {equal} equal, {} refused, {} wrong of {}\nrefused:\n{}\nwrong:\n{}",
            refused.len(),
            wrong.len(),
            statements.len(),
            refused.join("\n"),
            wrong.join("\n"),
        );
        eprintln!("{report}");
        reports.push((report, wrong.is_empty() && EQUAL_LEAST <= equal));
    }
    for (report, fine) in reports {
        assert!(fine, "{report}");
    }
}

/// Both sides number new rows from here on: neither takes numbers back with a transaction.
async fn count_from(world: &World, first: usize) {
    use mysql_async::prelude::Queryable as _;
    let (admin, mut secondary) = (world.admin().await, world.secondary().await);
    for table in ["sessions", "codes", "logs"] {
        let sql = format!("SELECT setval('{table}_id_seq', {first}, false)");
        admin.batch_execute(&sql).await.unwrap();
        secondary
            .query_drop(format!("ALTER TABLE {table} AUTO_INCREMENT = {first}"))
            .await
            .unwrap();
    }
}

enum Verdict {
    Refused(String),
    Wrong(String),
}

fn judge(statement: &Statement, expected: &Outcome, found: &Outcome) -> Result<(), Verdict> {
    let wrong = |what: String| Err(Verdict::Wrong(what));
    if let (Some(code), None) = (&found.code, &expected.code) {
        return match code.as_str() {
            "0A000" => Err(Verdict::Refused(found.message.clone())),
            code => wrong(format!("failed with {code}: {}", found.message)),
        };
    }
    match (&expected.code, &found.code) {
        (Some(a), Some(b)) if a == b => return Ok(()),
        (Some(_), Some(b)) if b == "0A000" => return Err(Verdict::Refused(found.message.clone())),
        (Some(a), b) => return wrong(format!("{a} expected, {b:?} came: {}", found.message)),
        _ => {}
    }
    if expected.columns != found.columns {
        return wrong(format!("columns {:?} instead of {:?}", found.columns, expected.columns));
    }
    if expected.count != found.count {
        return wrong(format!("count {} instead of {}", found.count, expected.count));
    }
    let (mut a, mut b) = (expected.rows.clone(), found.rows.clone());
    if statement.volatile {
        a = a.into_iter().map(|row| row.into_iter().map(|_| None).collect()).collect();
        b = b.into_iter().map(|row| row.into_iter().map(|_| None).collect()).collect();
    }
    if !statement.ordered {
        a.sort();
        b.sort();
    }
    if a != b {
        return wrong(format!("rows\n   {b:?}\n   instead of\n   {a:?}"));
    }
    for (table, rows) in &expected.tables {
        if found.tables.get(table) != Some(rows) && !statement.volatile {
            let theirs = found.tables.get(table);
            return wrong(format!(
                "table {table} holds\n   {theirs:?}\n   instead of\n   {rows:?}"
            ));
        }
        if found.tables.get(table).map(Vec::len) != Some(rows.len()) {
            return wrong(format!("table {table} has another number of rows"));
        }
    }
    Ok(())
}

/// Runs a statement in a transaction of its own, and leaves nothing of it.
async fn run(client: &tokio_postgres::Client, statement: &Statement) -> Outcome {
    client.batch_execute("BEGIN").await.unwrap();
    let mut outcome = if statement.parameters.is_empty() {
        simple(client, &statement.sql).await
    } else {
        extended(client, statement).await
    };
    if statement.class == 'w' && outcome.code.is_none() {
        for table in TABLES {
            let rows = simple(client, &format!("SELECT * FROM {table}")).await;
            assert_eq!(rows.code, None, "{table}: {}", rows.message);
            let mut rows = rows.rows;
            rows.sort();
            outcome.tables.insert(table, rows);
        }
    }
    client.batch_execute("ROLLBACK").await.unwrap();
    outcome
}

fn failed(error: &tokio_postgres::Error) -> Outcome {
    let (code, message) = match error.as_db_error() {
        Some(error) => (error.code().code().to_owned(), error.message().to_owned()),
        None => ("?".to_owned(), error.to_string()),
    };
    Outcome {
        code: Some(code),
        message,
        columns: Vec::new(),
        rows: Vec::new(),
        count: 0,
        tables: BTreeMap::new(),
    }
}

/// As one Query message; Describe tells the types.
async fn simple(client: &tokio_postgres::Client, sql: &str) -> Outcome {
    let types: Vec<(String, Type)> = match client.prepare(sql).await {
        Ok(prepared) => {
            let named = prepared.columns().iter().map(|c| (c.name().to_owned(), c.type_().clone()));
            named.collect()
        }
        Err(error) => return failed(&error),
    };
    let messages = match client.simple_query(sql).await {
        Ok(messages) => messages,
        Err(error) => return failed(&error),
    };
    let (mut rows, mut count) = (Vec::new(), 0);
    for message in messages {
        match message {
            SimpleQueryMessage::Row(row) => {
                let cell = |(at, (_, ty)): (usize, &(String, Type))| {
                    row.get(at).map(|text| normal(text, ty))
                };
                rows.push(types.iter().enumerate().map(cell).collect());
            }
            SimpleQueryMessage::CommandComplete(number) => count = number,
            _ => {}
        }
    }
    let columns = types.into_iter().map(|(name, ty)| (name, described(&ty))).collect();
    Outcome { code: None, message: String::new(), columns, rows, count, tables: BTreeMap::new() }
}

/// Types of extensions and enums have numbers of their own on each server, which is the same one here.
fn described(ty: &Type) -> u32 {
    ty.oid()
}

/// Parse, Bind with texts, Execute with binary results.
async fn extended(client: &tokio_postgres::Client, statement: &Statement) -> Outcome {
    let prepared = match client.prepare(&statement.sql).await {
        Ok(prepared) => prepared,
        Err(error) => return failed(&error),
    };
    let params: Vec<Text> = statement.parameters.iter().cloned().map(Text).collect();
    let params: Vec<&(dyn ToSql + Sync)> =
        params.iter().map(|p| p as &(dyn ToSql + Sync)).collect();
    let columns: Vec<(String, u32)> =
        prepared.columns().iter().map(|c| (c.name().to_owned(), described(c.type_()))).collect();
    if columns.is_empty() {
        return match client.execute(&prepared, &params).await {
            Ok(count) => Outcome {
                code: None,
                message: String::new(),
                columns,
                rows: Vec::new(),
                count,
                tables: BTreeMap::new(),
            },
            Err(error) => failed(&error),
        };
    }
    let found = match client.query(&prepared, &params).await {
        Ok(found) => found,
        Err(error) => return failed(&error),
    };
    let rows: Vec<Vec<Option<String>>> = found
        .iter()
        .map(|row| {
            (0..row.len())
                .map(|at| row.get::<_, Option<Raw>>(at).map(|raw| format!("{:02x?}", raw.0)))
                .collect()
        })
        .collect();
    let count = rows.len() as u64;
    Outcome { code: None, message: String::new(), columns, rows, count, tables: BTreeMap::new() }
}

/// A text as the type's own output would write it if spelling did not count: numbers by value, JSON by
/// content.
fn normal(text: &str, ty: &Type) -> String {
    let oid = ty.oid();
    match PgType::builtin(oid) {
        Some(PgType::Numeric) => match PgType::Numeric.read(text, "numeric", &Style::default()) {
            Ok(Value::Numeric(Numeric::Finite(text))) => spelling::decimal(&text),
            _ => text.to_owned(),
        },
        Some(PgType::Float4 | PgType::Float8) => spelling::double(text),
        Some(PgType::Json | PgType::Jsonb) => spelling::document(text),
        _ => text.to_owned(),
    }
}

/// A parameter in text format, whatever the type.
#[derive(Debug)]
struct Text(String);

impl ToSql for Text {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut bytes::BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    tokio_postgres::types::to_sql_checked!();
}

/// A field's bytes, whatever the type.
struct Raw(Vec<u8>);

impl<'a> FromSql<'a> for Raw {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw.to_vec()))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
