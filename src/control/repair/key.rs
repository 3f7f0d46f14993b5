//! A key as a person writes it, and as the outbox has it.
//!
//! ```text
//! one column       7   a,b                 the text itself, whatever is in it
//! several columns  ["7", "a,b"]            a JSON array, in the key's order
//!        ──PostgreSQL's own input functions──▶ record_send(ROW(key)) ──▶ Key
//! ```
//!
//! Invariant: the texts are values, never SQL.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::{Map, Value as Json};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Statement};

use super::RepairError;
use crate::catalog::Table;
use crate::change::Key;
use crate::names::{Oid, quote_pg};
use crate::outbox::reader::Raw;
use crate::value::decode_record;

/// Reads what was typed, with the types of the table's key.
pub(super) async fn read(client: &Client, table: &Table, text: &str) -> Result<Key, RepairError> {
    let form = |why: String| RepairError::Key { table: table.name.clone(), why };
    let columns: Vec<&str> = table.key_columns().map(|column| &*column.name).collect();
    let texts = texts(&columns, text).map_err(form)?;
    let object: Map<String, Json> = columns
        .iter()
        .zip(texts)
        .map(|(name, text)| ((*name).to_owned(), Json::String(text)))
        .collect();
    let parts: Vec<String> = columns.iter().map(|name| format!("r.{}", quote_pg(name))).collect();
    let sql = format!(
        "SELECT pg_catalog.record_send(ROW({})) \
         FROM pg_catalog.jsonb_populate_record(NULL::{}, $1::text::jsonb) r",
        parts.join(", "),
        table.name.quoted()
    );
    let row = client.query_one(&sql, &[&Json::Object(object).to_string()]).await;
    let raw: Vec<u8> =
        row.and_then(|row| row.try_get(0)).map_err(|source| refused(table, source))?;
    Key::decode(Bytes::from(raw), table).map_err(|_| form("its types cannot be read".to_owned()))
}

/// One text for each column.
fn texts(columns: &[&str], text: &str) -> Result<Vec<String>, String> {
    if let [_] = columns {
        return Ok(vec![text.to_owned()]);
    }
    let wanted = || format!("it is a JSON array of {}", columns.join(", "));
    let Ok(Json::Array(values)) = serde_json::from_str(text) else { return Err(wanted()) };
    let texts: Vec<String> = values
        .into_iter()
        .filter_map(|value| match value {
            Json::String(text) => Some(text),
            Json::Number(number) => Some(number.to_string()),
            Json::Bool(truth) => Some(truth.to_string()),
            Json::Null | Json::Array(_) | Json::Object(_) => None,
        })
        .collect();
    if texts.len() == columns.len() { Ok(texts) } else { Err(wanted()) }
}

/// The server's message quotes the value; its code says enough.
fn refused(table: &Table, source: Error) -> RepairError {
    match source.code().map(|code| code.code().to_owned()) {
        Some(code) if code.starts_with("22") || code.starts_with("23") => {
            let types: Vec<String> = table
                .key_columns()
                .map(|column| format!("{} {}", column.name, column.type_name))
                .collect();
            let why = format!("PostgreSQL does not take it for ({}): {code}", types.join(", "));
            RepairError::Key { table: table.name.clone(), why }
        }
        _ => RepairError::Postgres(source),
    }
}

/// Writes keys the way [`read`] reads them; the statements are prepared once a table.
#[derive(Default)]
pub(super) struct Printer(HashMap<Oid, Option<Statement>>);

impl Printer {
    /// `None` where the entry's key is not one of this table, as it is now.
    pub(super) async fn print(
        &mut self,
        client: &Client,
        table: &Table,
        raw: &Bytes,
    ) -> Result<Option<String>, Error> {
        let Ok(fields) = decode_record(raw) else { return Ok(None) };
        let parts: Vec<Raw> = fields.into_iter().filter_map(|(_, bytes)| bytes.map(Raw)).collect();
        if parts.len() != table.key.len() {
            return Ok(None);
        }
        let statement = match self.0.get(&table.oid) {
            Some(statement) => statement.clone(),
            None => {
                let statement = prepare(client, table).await?;
                self.0.insert(table.oid, statement.clone());
                statement
            }
        };
        let Some(statement) = statement else { return Ok(None) };
        let params: Vec<&(dyn ToSql + Sync)> = parts.iter().map(|part| part as _).collect();
        match client.query_one(&statement, &params).await {
            Ok(row) => {
                let texts: Vec<String> = row.try_get(0)?;
                Ok(Some(match &texts[..] {
                    [text] => text.clone(),
                    _ => Json::from(texts).to_string(),
                }))
            }
            Err(error) if error.as_db_error().is_some() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The types are the columns' own, so that the binary form is read as it was written.
async fn prepare(client: &Client, table: &Table) -> Result<Option<Statement>, Error> {
    let parts: Vec<String> = (1..)
        .zip(table.key_columns())
        .map(|(at, column)| format!("${at}::{}::text", column.type_name))
        .collect();
    match client.prepare(&format!("SELECT ARRAY[{}]", parts.join(", "))).await {
        Ok(statement) => Ok(Some(statement)),
        Err(error) if error.as_db_error().is_some() => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_one_column_is_the_text_and_one_of_several_an_array() {
        assert_eq!(texts(&["id"], "[1,2]").unwrap(), ["[1,2]"]);
        assert_eq!(texts(&["a", "b"], r#"[7, "x,\"y"]"#).unwrap(), ["7", "x,\"y"]);
        for text in ["7", "7,x", "[7]", "[7, null]", "[1,2,3]", "{}"] {
            assert!(texts(&["a", "b"], text).unwrap_err().ends_with("array of a, b"), "{text}");
        }
    }
}
