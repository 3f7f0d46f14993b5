//! The statements that write rows on PostgreSQL, always by primary key.
//!
//! ```text
//! SAVEPOINT ─▶ INSERT … [ON CONFLICT (key) DO UPDATE] | UPDATE … WHERE key | DELETE ─▶ RELEASE
//!                                  └─ failed ─▶ ROLLBACK TO: the transaction goes on
//! ```
//!
//! Values travel in text format: PostgreSQL reads back exactly what it would print, whatever the type,
//! and no OID of an enum or a domain has to be known.
//!
//! Invariant: no statement here can touch a row of another key: ON CONFLICT names the key.

use bytes::BytesMut;
use futures_util::future;
use tokio_postgres::Statement;
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};

use super::Follower;
use crate::backend::mysql::{Failed, WriteError};
use crate::catalog::{Column, Table, TargetType};
use crate::change::{Key, RowImage};
use crate::names::quote_pg;
use crate::value::Value;
use crate::value::style::Style;

const SAVE: &str = "SAVEPOINT crossfade";
const KEEP: &str = "RELEASE crossfade";
const TAKE_BACK: &str = "ROLLBACK TO crossfade; RELEASE crossfade";

/// A value in PostgreSQL's text format; a parameter of any type.
pub(super) struct Text(Option<String>);

impl Text {
    pub(super) fn of(value: &Value) -> Self {
        if *value == Value::Null {
            return Self(None);
        }
        let mut text = String::new();
        value.print(&Style::default(), &mut text);
        Self(Some(text))
    }
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Text")
    }
}

impl ToSql for Text {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        let Some(text) = &self.0 else { return Ok(IsNull::Yes) };
        out.extend_from_slice(text.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

pub(super) async fn insert(
    link: &mut Follower,
    table: &Table,
    images: &[&RowImage],
) -> Result<u64, Failed> {
    execute(link, insert_text(table, images.len()), &image_params(table, images)).await
}

pub(super) async fn upsert(
    link: &mut Follower,
    table: &Table,
    images: &[&RowImage],
) -> Result<u64, Failed> {
    if numbers_itself(table) {
        for image in images {
            let key = table.key.iter().map(|at| Text::of(&image.values[*at]));
            delete_by(link, table, &key.collect::<Vec<_>>()).await?;
            insert(link, table, &[image]).await?;
        }
        return Ok(images.len() as u64);
    }
    let set: Vec<String> = in_place(table)
        .map(|(_, column)| format!("{0} = excluded.{0}", quote_pg(&column.name)))
        .collect();
    let key: Vec<String> = table.key_columns().map(|column| quote_pg(&column.name)).collect();
    let action = match set.is_empty() {
        true => "NOTHING".to_owned(),
        false => format!("UPDATE SET {}", set.join(", ")),
    };
    let insert = insert_text(table, images.len());
    let sql = format!("{insert} ON CONFLICT ({}) DO {action}", key.join(", "));
    execute(link, sql, &image_params(table, images)).await
}

pub(super) async fn update(
    link: &mut Follower,
    table: &Table,
    key: &Key,
    image: &RowImage,
) -> Result<u64, Failed> {
    match numbers_itself(table) {
        true => go_and_come(link, table, key, image).await,
        false => set(link, table, key, image, in_place(table).collect()).await,
    }
}

pub(super) async fn relocate(
    link: &mut Follower,
    table: &Table,
    old: &Key,
    image: &RowImage,
) -> Result<u64, Failed> {
    match table.columns.iter().any(|column| column.identity) {
        true => go_and_come(link, table, old, image).await,
        false => set(link, table, old, image, written(table).collect()).await,
    }
}

pub(super) async fn delete(link: &mut Follower, table: &Table, key: &Key) -> Result<u64, Failed> {
    delete_by(link, table, &key_params(key)).await
}

async fn delete_by(link: &mut Follower, table: &Table, key: &[Text]) -> Result<u64, Failed> {
    let sql = format!("DELETE FROM {} WHERE {}", table.name.quoted(), by_key(table, 1));
    execute(link, sql, key).await
}

/// What is GENERATED ALWAYS AS IDENTITY may be inserted with OVERRIDING, and never be updated. Nothing
/// cascades here, so the row may as well go and come.
async fn go_and_come(
    link: &mut Follower,
    table: &Table,
    old: &Key,
    image: &RowImage,
) -> Result<u64, Failed> {
    match delete(link, table, old).await? {
        0 => Ok(0),
        _ => insert(link, table, &[image]).await,
    }
}

async fn set(
    link: &mut Follower,
    table: &Table,
    key: &Key,
    image: &RowImage,
    columns: Vec<(usize, &Column)>,
) -> Result<u64, Failed> {
    let set: Vec<String> = columns
        .iter()
        .zip(1..)
        .map(|((_, column), number)| format!("{} = ${number}", quote_pg(&column.name)))
        .collect();
    let name = table.name.quoted();
    let mut params: Vec<Text> =
        columns.iter().map(|(at, _)| Text::of(&image.values[*at])).collect();
    params.extend(key_params(key));
    let which = by_key(table, columns.len() + 1);
    match set.is_empty() {
        // A table that is all key has nothing to set; the statement still says whether the row is there.
        true => {
            execute(link, format!("SELECT FROM {name} WHERE {which} FOR UPDATE"), &params).await
        }
        false => {
            let sql = format!("UPDATE {name} SET {} WHERE {which}", set.join(", "));
            execute(link, sql, &params).await
        }
    }
}

fn insert_text(table: &Table, rows: usize) -> String {
    let names: Vec<String> = written(table).map(|(_, column)| quote_pg(&column.name)).collect();
    let mut numbers = 1..;
    let mut row = || {
        let slots: Vec<String> =
            numbers.by_ref().take(names.len()).map(|number| format!("${number}")).collect();
        format!("({})", slots.join(", "))
    };
    let values: Vec<String> = (0..rows).map(|_| row()).collect();
    format!(
        "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES {}",
        table.name.quoted(),
        names.join(", "),
        values.join(", ")
    )
}

fn image_params(table: &Table, images: &[&RowImage]) -> Vec<Text> {
    let row = |image: &&RowImage| -> Vec<Text> {
        written(table).map(|(at, _)| Text::of(&image.values[at])).collect()
    };
    images.iter().flat_map(row).collect()
}

pub(super) fn key_params(key: &Key) -> Vec<Text> {
    key.values.iter().map(Text::of).collect()
}

/// `"a" = $1 AND "b" = $2`, numbered from `first`.
pub(super) fn by_key(table: &Table, first: usize) -> String {
    let terms: Vec<String> = table
        .key_columns()
        .zip(first..)
        .map(|(column, number)| format!("{} = ${number}", quote_pg(&column.name)))
        .collect();
    terms.join(" AND ")
}

/// The columns that both sides have, and that may be written: what is generated here is so from the
/// same columns.
fn written(table: &Table) -> impl Iterator<Item = (usize, &Column)> {
    let columns = table.columns.iter().enumerate();
    columns.filter(|(_, column)| column.target != TargetType::None && column.generated.is_none())
}

/// All but the key, which may be spelled in two ways where its type allows that: the spelling is data.
fn in_place(table: &Table) -> impl Iterator<Item = (usize, &Column)> {
    written(table)
        .filter(|(at, column)| !table.is_key(*at) || column.type_ref.pg_type.has_spellings())
}

/// Whether an UPDATE in place would set a column that PostgreSQL numbers itself.
fn numbers_itself(table: &Table) -> bool {
    in_place(table).any(|(_, column)| column.identity)
}

/// Answers with the rows found. Its savepoint travels with it.
async fn execute(link: &mut Follower, sql: String, params: &[Text]) -> Result<u64, Failed> {
    let statement = prepared(link, sql).await?;
    let params = dynamic(params);
    let (begun, result, ended) = future::join3(
        link.client.batch_execute(SAVE),
        link.client.execute(&statement, &params),
        // Fails where the statement failed; then there is something to take back.
        link.client.batch_execute(KEEP),
    )
    .await;
    begun.map_err(WriteError::from)?;
    match (result, ended) {
        (Ok(found), Ok(())) => Ok(found),
        (Ok(_), Err(error)) => Err(WriteError::from(error).into()),
        (Err(error), _) => {
            let column = error.as_db_error().and_then(|error| error.column().map(str::to_owned));
            let error = take_back(link, error.into()).await;
            Err(Failed { error, column })
        }
    }
}

/// The statement of this text; what is wrong with it does not end the transaction either.
async fn prepared(link: &mut Follower, sql: String) -> Result<Statement, WriteError> {
    if let Some(statement) = link.statements.get(&sql) {
        return Ok(statement.clone());
    }
    link.plain(SAVE).await?;
    match link.prepared(sql).await {
        Ok(statement) => {
            link.plain(KEEP).await?;
            Ok(statement)
        }
        Err(error) => Err(take_back(link, error).await),
    }
}

/// Undoes what failed, where there still is a transaction; says why it failed.
async fn take_back(link: &Follower, error: WriteError) -> WriteError {
    match error.breaks_connection() {
        true => error,
        false => link.plain(TAKE_BACK).await.err().unwrap_or(error),
    }
}

/// Parameters as the driver takes them.
pub(super) fn dynamic(values: &[Text]) -> Vec<&(dyn ToSql + Sync)> {
    values.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}
