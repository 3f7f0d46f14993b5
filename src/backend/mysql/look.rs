//! Reads users' tables on the secondary for comparison, and changes nothing.
//!
//! ```text
//! [`Link::scan`]   every row, streamed in the order in which the server has them
//! [`Link::rows`]   what another query reads, streamed
//! [`Link::look`]   some keys: the row and its fence entry, as of one moment
//! ```
//!
//! Invariant: no lock is taken; a scan holds one row at a time, so its memory is that of a row.

use std::ops::ControlFlow;
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Params, Row, Value as Param};

use super::connect::Link;
use super::error::WriteError;
use super::rows;
use crate::catalog::{Column, Table};
use crate::change::{Key, Version};
use crate::names::quote_mysql;

/// Which columns a scan reads, in the order of the table's key or of its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Columns {
    Key,
    /// Those that MySQL has: see [`carried`].
    All,
}

/// What the secondary has for one key.
#[derive(Clone, PartialEq)]
pub struct Sight {
    /// The values of [`carried`] columns.
    pub row: Option<Vec<Param>>,
    /// The newest version applied, and whether that was a delete.
    pub fence: Option<(Version, bool)>,
}

impl std::fmt::Debug for Sight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sight").field("fence", &self.fence).finish_non_exhaustive()
    }
}

/// The columns that MySQL has, with their positions in a row image.
pub fn carried(table: &Table) -> impl Iterator<Item = (usize, &Column)> {
    rows::carried(table)
}

impl Link {
    /// Reads every row of the table, until `each` has had enough; it also says how long to wait before
    /// the next.
    pub async fn scan(
        &mut self,
        table: &Table,
        columns: Columns,
        each: impl FnMut(Vec<Param>) -> ControlFlow<(), Duration> + Send,
    ) -> Result<(), WriteError> {
        let sql = format!("SELECT {} FROM {}", names(table, columns), quote_mysql(&table.target));
        self.rows(&sql, each).await
    }

    /// The same for the rows that another query reads.
    pub async fn rows(
        &mut self,
        sql: &str,
        mut each: impl FnMut(Vec<Param>) -> ControlFlow<(), Duration> + Send,
    ) -> Result<(), WriteError> {
        let mut result = self.conn().exec_iter(sql, ()).await?;
        while let Some(row) = result.next().await? {
            match each(row.unwrap()) {
                ControlFlow::Break(()) => break,
                ControlFlow::Continue(pause) if pause.is_zero() => {}
                ControlFlow::Continue(pause) => tokio::time::sleep(pause).await,
            }
        }
        // What was not read has to be, before the connection can be used again.
        Ok(result.drop_result().await?)
    }

    /// The rows of these keys and their fence entries, all as of one moment.
    pub async fn look(&mut self, table: &Table, keys: &[Key]) -> Result<Vec<Sight>, WriteError> {
        const BEGIN: &str = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; \
             START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";
        let flavor = self.flavor();
        let row = format!(
            "SELECT {} FROM {} WHERE {}",
            names(table, Columns::All),
            quote_mysql(&table.target),
            rows::by_key(table)
        );
        self.conn().query_drop(BEGIN).await?;
        let mut sights = Vec::with_capacity(keys.len());
        for key in keys {
            let params = rows::key_params(table, key, flavor)?;
            let found: Option<Row> =
                self.conn().exec_first(&row, Params::Positional(params)).await?;
            let fence = self.fence(table, key).await?;
            sights.push(Sight { row: found.map(Row::unwrap), fence });
        }
        self.conn().query_drop("COMMIT").await?;
        Ok(sights)
    }

    async fn fence(
        &mut self,
        table: &Table,
        key: &Key,
    ) -> Result<Option<(Version, bool)>, WriteError> {
        const FENCE: &str = "SELECT `epoch`, `counter`, `n`, `deleted` FROM `crossfade_fence` \
             WHERE `table_id` = ? AND `key_hash` = ?";
        let id = table.id.map_or(0, |id| id.0);
        let found: Option<(u64, u64, u32, bool)> =
            self.conn().exec_first(FENCE, (id, &key.hash.0[..])).await?;
        Ok(found.map(|(epoch, counter, n, deleted)| (Version { epoch, counter, n }, deleted)))
    }
}

fn names(table: &Table, columns: Columns) -> String {
    let names: Vec<String> = match columns {
        Columns::Key => table.key_columns().map(|column| quote_mysql(&column.name)).collect(),
        Columns::All => carried(table).map(|(_, column)| quote_mysql(&column.name)).collect(),
    };
    names.join(", ")
}
