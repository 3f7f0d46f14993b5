//! Numbers that the databases give to rows: on the new primary past all that the old one has given.
//!
//! ```text
//! PostgreSQL's sequence ──next──▶ MySQL's AUTO_INCREMENT ──next──▶ PostgreSQL's sequence
//! ```
//!
//! Invariant: a counter only moves on, so no number is given twice, whoever leads.

use std::sync::Arc;

use mysql_async::Conn;
use tokio::time::{Duration, Instant, sleep};
use tokio_postgres::Client;

use super::SwitchError;
use super::own::NOT_HAD;
use crate::backend::mysql::{WriteError, facts, switch};
use crate::backend::postgres::sequences::{self, Sequence};
use crate::catalog::ddl::counter;
use crate::catalog::{Column, Table};
use crate::names::Oid;

/// Between two attempts to change a table that is in use: those who queued behind us go on meanwhile.
const AGAIN: Duration = Duration::from_millis(250);

/// Tables that number their rows on both sides.
fn numbered<'a>(tables: &[&'a Arc<Table>]) -> Vec<(&'a Table, &'a Column)> {
    tables.iter().filter_map(|table| Some((&***table, counter(table)?))).collect()
}

async fn of(
    client: &Client,
    numbered: &[(&Table, &Column)],
) -> Result<Vec<Sequence>, tokio_postgres::Error> {
    let columns: Vec<(Oid, i16)> =
        numbered.iter().map(|(table, column)| (table.oid, column.number)).collect();
    sequences::of(client, &columns).await
}

/// Brings MySQL's counters past PostgreSQL's. Whoever uses a table there is waited for, until the given time.
pub(super) async fn raise_mysql(
    client: &Client,
    conn: &mut Conn,
    tables: &[&Arc<Table>],
    until: Instant,
) -> Result<(), SwitchError> {
    while let Err(error) = raise_mysql_once(client, conn, tables).await {
        let is_used = matches!(&error, SwitchError::MySql(error) if error.code() == NOT_HAD);
        if !is_used || until <= Instant::now() {
            return Err(error);
        }
        sleep(AGAIN).await;
    }
    Ok(())
}

async fn raise_mysql_once(
    client: &Client,
    conn: &mut Conn,
    tables: &[&Arc<Table>],
) -> Result<(), SwitchError> {
    let numbered = numbered(tables);
    for sequence in of(client, &numbered).await? {
        let (table, column) = numbered[sequence.at];
        let (_, next) = counted(conn, table, column).await?;
        let wanted = u64::try_from(sequence.next).unwrap_or(1);
        if next < wanted {
            switch::count_from(conn, table, wanted).await?;
        }
    }
    Ok(())
}

/// Brings PostgreSQL's sequences past MySQL's counters, and past every row that is there.
pub(super) async fn raise_postgres(
    client: &Client,
    conn: &mut Conn,
    tables: &[&Arc<Table>],
) -> Result<(), SwitchError> {
    let numbered = numbered(tables);
    for sequence in of(client, &numbered).await? {
        let (table, column) = numbered[sequence.at];
        let (highest, next) = counted(conn, table, column).await?;
        let past = highest.and_then(|highest| i64::try_from(highest).ok()).unwrap_or(0);
        let next = i64::try_from(next).unwrap_or(i64::MAX).max(past.saturating_add(1));
        if sequence.next < next {
            sequences::raise(client, &sequence, next).await?;
        }
    }
    Ok(())
}

async fn counted(
    conn: &mut Conn,
    table: &Table,
    column: &Column,
) -> Result<(Option<i128>, u64), WriteError> {
    Ok(facts::counted(conn, &table.target, &column.name).await?)
}
