//! The steps on rows as statements of the wire, see [`super::connection`].
//!
//! Invariant: a statement that the server answered with a warning has failed: it changed something
//! on the way.

use mysql_async::prelude::Queryable as _;
use mysql_async::{Params, Value as Param};

use super::connect::Link;
use super::error::{WriteError, named_column};
use super::execute::Failed;
use super::rows;
use crate::catalog::Table;
use crate::change::{Key, RowImage};

pub(super) async fn insert(
    link: &mut Link,
    table: &Table,
    images: &[&RowImage],
) -> Result<u64, Failed> {
    let params = all_params(link, table, images)?;
    execute(link, rows::insert(table, images.len()), params, table).await
}

pub(super) async fn upsert(
    link: &mut Link,
    table: &Table,
    images: &[&RowImage],
) -> Result<u64, Failed> {
    let params = all_params(link, table, images)?;
    execute(link, rows::upsert(table, images.len(), link.flavor()), params, table).await
}

fn all_params(link: &Link, table: &Table, images: &[&RowImage]) -> Result<Vec<Param>, Failed> {
    let mut params = Vec::new();
    for image in images {
        params.append(&mut rows::insert_params(table, image, link.flavor())?);
    }
    Ok(params)
}

pub(super) async fn update(
    link: &mut Link,
    table: &Table,
    key: &Key,
    image: &RowImage,
) -> Result<u64, Failed> {
    let params = rows::update_params(table, key, image, link.flavor())?;
    execute(link, rows::update(table), params, table).await
}

pub(super) async fn relocate(
    link: &mut Link,
    table: &Table,
    old: &Key,
    image: &RowImage,
) -> Result<u64, Failed> {
    let params = rows::relocate_params(table, old, image, link.flavor())?;
    execute(link, rows::relocate(table), params, table).await
}

pub(super) async fn delete(link: &mut Link, table: &Table, key: &Key) -> Result<u64, Failed> {
    let params = rows::key_params(table, key, link.flavor())?;
    execute(link, rows::delete(table), params, table).await
}

pub(super) async fn plain(link: &mut Link, sql: &str) -> Result<(), WriteError> {
    Ok(link.conn().query_drop(sql).await?)
}

/// Answers with the rows found.
async fn execute(
    link: &mut Link,
    sql: String,
    params: Vec<Param>,
    table: &Table,
) -> Result<u64, Failed> {
    let conn = link.conn();
    if let Err(error) = conn.exec_drop(sql, Params::Positional(params)).await {
        let column = named_column(&error, table);
        return Err(Failed { error: error.into(), column });
    }
    let found = conn.affected_rows();
    if conn.get_warnings() > 0 {
        let warning: Option<(String, u16)> = conn
            .query_first("SHOW WARNINGS")
            .await?
            .map(|(level, code, _): (_, _, String)| (level, code));
        let code = warning.map_or(0, |(_, code)| code);
        return Err(Failed { error: WriteError::Warning { code }, column: None });
    }
    Ok(found)
}
