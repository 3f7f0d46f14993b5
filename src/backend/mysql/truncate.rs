//! TRUNCATE on the secondary: every row goes that is not newer than it.
//!
//! ```text
//! fence of the table raised (locked: nobody else applies to it) ─▶ keys in chunks ─▶ DELETE
//!                                                     rows whose own fence entry is newer stay
//! ```
//!
//! Invariant: a row that another sidecar wrote after the TRUNCATE survives it, whichever of the two
//! reached the secondary first. Children are truncated by changes of their own, so no cascade may
//! fire.

use std::collections::HashSet;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Params, Row, Value as Param};

use super::error::WriteError;
use super::rows;
use super::write::Writer;
use crate::catalog::Table;
use crate::change::{KeyHash, Version};
use crate::names::quote_mysql;
use crate::value::Value;

/// Keys read, and rows deleted, at a time.
const CHUNK_ROWS: usize = 500;

pub(super) async fn empty(
    writer: &mut Writer,
    table: &Table,
    version: Version,
) -> Result<(), WriteError> {
    raise(writer, table, version).await?;
    let newer = newer_rows(writer, table, version).await?;
    writer.link.conn().query_drop("SET SESSION foreign_key_checks = 0").await?;
    let result = delete_all_but(writer, table, &newer).await;
    // Without its checks the connection must not live on.
    let restored = writer.link.conn().query_drop("SET SESSION foreign_key_checks = 1").await;
    restored.map_err(|_| WriteError::Disconnected)?;
    result
}

async fn raise(writer: &mut Writer, table: &Table, version: Version) -> Result<(), WriteError> {
    let id = table.id.ok_or_else(|| WriteError::NoKey(table.name.clone()))?;
    let sql = "UPDATE `crossfade_fence` SET `epoch` = ?, `counter` = ?, `n` = ?, \
               `at` = CURRENT_TIMESTAMP(6) WHERE `table_id` = ? AND `key_hash` = ?";
    let params = (version.epoch, version.counter, version.n, id.0, &KeyHash::TABLE.0[..]);
    writer.link.conn().exec_drop(sql, params).await?;
    Ok(())
}

/// Hashes of the rows that were written after the TRUNCATE: usually none.
async fn newer_rows(
    writer: &mut Writer,
    table: &Table,
    version: Version,
) -> Result<HashSet<KeyHash>, WriteError> {
    let sql = "SELECT `key_hash` FROM `crossfade_fence` WHERE `table_id` = ? AND `key_hash` <> ? \
               AND `deleted` = 0 AND (`epoch` > ? OR (`epoch` = ? AND (`counter` > ? OR \
               (`counter` = ? AND `n` > ?))))";
    let Version { epoch, counter, n } = version;
    let id = table.id.map_or(0, |id| id.0);
    let params = (id, &KeyHash::TABLE.0[..], epoch, epoch, counter, counter, n);
    let hashes: Vec<Vec<u8>> = writer.link.conn().exec(sql, params).await?;
    Ok(hashes.into_iter().filter_map(|hash| hash.try_into().ok().map(KeyHash)).collect())
}

async fn delete_all_but(
    writer: &mut Writer,
    table: &Table,
    kept: &HashSet<KeyHash>,
) -> Result<(), WriteError> {
    if kept.is_empty() {
        let sql = format!("DELETE FROM {} LIMIT {CHUNK_ROWS}", quote_mysql(&table.target));
        loop {
            writer.link.conn().query_drop(&sql).await?;
            if writer.link.conn().affected_rows() == 0 {
                return Ok(());
            }
        }
    }
    let names: Vec<String> = table.key_columns().map(|column| quote_mysql(&column.name)).collect();
    let sql = format!("SELECT {} FROM {}", names.join(", "), quote_mysql(&table.target));
    let found: Vec<Row> = writer.link.conn().exec(sql, ()).await?;
    let delete = rows::delete(table);
    for row in found {
        let params: Vec<Param> = row.unwrap();
        if !kept.contains(&hash(table, &params)?) {
            writer.link.conn().exec_drop(&delete, Params::Positional(params)).await?;
        }
    }
    Ok(())
}

/// The hash of a key as MySQL returned it.
fn hash(table: &Table, params: &[Param]) -> Result<KeyHash, WriteError> {
    let values: Option<Vec<Value>> = table
        .key_columns()
        .zip(params)
        .map(|(column, param)| Value::from_mysql(param, &column.type_ref.pg_type))
        .collect();
    let values = values.ok_or_else(|| WriteError::NoKey(table.name.clone()))?;
    Ok(KeyHash::of(&values, table))
}
