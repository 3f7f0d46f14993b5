//! The outbox of the side that leads, as `repair` goes about it.
//!
//! ```text
//! PostgreSQL leads:  crossfade.dirty_keys ──one statement──▶ crossfade.outbox ──▶ MySQL
//! MySQL leads:       crossfade.dirty_keys ──read, entered there, forgotten──▶ crossfade_outbox ──▶ PostgreSQL
//! ```
//!
//! Invariant: a dirty key is forgotten only once its entry is committed. Entered twice it is read twice.

use std::sync::Arc;

use bytes::Bytes;
use tokio_postgres::Client;

use super::RepairError;
use crate::backend::mysql::stuck::{self as mysql, Failed};
use crate::backend::mysql::{Link, WriteError};
use crate::catalog::Catalog;
use crate::change::{Key, Operation};
use crate::control::Ends;
use crate::names::TableId;
use crate::outbox::stuck::{self, PAGE, Reached, Stuck};
use crate::phase::{Leads, Situation};

/// Whose outbox it is.
pub(super) enum Entries<'a> {
    OnPostgres(&'a Client),
    OnMySql { client: &'a Client, link: Box<Link>, epoch: u64, catalog: Arc<Catalog> },
}

impl<'a> Entries<'a> {
    /// Of the side that leads in this situation.
    pub(super) async fn open(
        ends: &Ends,
        client: &'a Client,
        situation: &Situation,
    ) -> Result<Self, RepairError> {
        let phase = situation.phase;
        match phase.leads().ok_or(RepairError::Phase(phase.as_str()))? {
            Leads::Postgres => Ok(Self::OnPostgres(client)),
            Leads::MySql => {
                let link = Box::new(Link::connect(&ends.to, &ends.limits).await?);
                let catalog = Arc::clone(&situation.catalog);
                Ok(Self::OnMySql { client, link, epoch: situation.epoch, catalog })
            }
        }
    }

    /// PostgreSQL, which reads and writes keys, and has what `verify` found.
    pub(super) fn client(&self) -> &'a Client {
        match self {
            Self::OnPostgres(client) | Self::OnMySql { client, .. } => client,
        }
    }

    /// The next page of entries that have failed.
    pub(super) async fn list(
        &mut self,
        table: Option<TableId>,
        after: i64,
    ) -> Result<Vec<Stuck>, RepairError> {
        match self {
            Self::OnPostgres(client) => Ok(stuck::list(client, table, after).await?),
            Self::OnMySql { link, catalog, .. } => {
                let page = usize::try_from(PAGE).unwrap_or(usize::MAX);
                let failed = mysql::list(link, table, after, page).await?;
                Ok(failed.into_iter().map(|failed| of_mysql(failed, catalog)).collect())
            }
        }
    }

    pub(super) async fn retry(&mut self, ids: &[i64]) -> Result<(), RepairError> {
        match self {
            Self::OnPostgres(client) => drop(stuck::retry(client, ids).await?),
            Self::OnMySql { link, .. } => mysql::retry(link, ids).await?,
        }
        Ok(())
    }

    /// Has a key read again that has no entry; its entry's number.
    pub(super) async fn enter(&mut self, table: TableId, key: &Key) -> Result<i64, RepairError> {
        match self {
            Self::OnPostgres(client) => Ok(stuck::enter(client, table, &key.raw).await?),
            Self::OnMySql { link, epoch, .. } => {
                let ids = mysql::enter(link, *epoch, &[(table, key)]).await?;
                ids.first().copied().ok_or_else(|| WriteError::NotSetUp.into())
            }
        }
    }

    /// Has a page of the keys read again that `verify` found different.
    pub(super) async fn enter_dirty(
        &mut self,
        table: Option<TableId>,
        reached: &mut Reached,
    ) -> Result<Vec<Stuck>, RepairError> {
        match self {
            Self::OnPostgres(client) => Ok(stuck::enter_dirty(client, table, reached).await?),
            Self::OnMySql { client, link, epoch, catalog } => {
                let page = stuck::list_dirty(client, table, reached).await?;
                let decoded: Vec<(TableId, Key)> =
                    page.iter().filter_map(|(table, raw)| decode(catalog, *table, raw)).collect();
                let keys: Vec<(TableId, &Key)> =
                    decoded.iter().map(|(table, key)| (*table, key)).collect();
                let ids = mysql::enter(link, *epoch, &keys).await?;
                let entered: Vec<(TableId, Bytes)> =
                    decoded.iter().map(|(table, key)| (*table, key.raw.clone())).collect();
                stuck::forget_dirty(client, &entered).await?;
                let entered = ids.into_iter().zip(&decoded);
                Ok(entered.map(|(id, (table, key))| of_key(id, *table, key)).collect())
            }
        }
    }

    /// Attempts and reason of those entries that are still there.
    pub(super) async fn look(
        &mut self,
        ids: &[i64],
    ) -> Result<Vec<(i64, i32, Option<String>)>, RepairError> {
        match self {
            Self::OnPostgres(client) => Ok(stuck::look(client, ids).await?),
            Self::OnMySql { link, .. } => Ok(mysql::look(link, ids).await?),
        }
    }

    pub(super) fn leads(&self) -> Leads {
        match self {
            Self::OnPostgres(_) => Leads::Postgres,
            Self::OnMySql { .. } => Leads::MySql,
        }
    }
}

/// A key of another shape than the table's is of no row that is there.
fn decode(catalog: &Catalog, id: TableId, raw: &Bytes) -> Option<(TableId, Key)> {
    Some((id, Key::decode(raw.clone(), catalog.by_id(id)?).ok()?))
}

fn of_mysql(failed: Failed, catalog: &Catalog) -> Stuck {
    let Failed { id, table: of, operation, key, attempts, reason, seconds, .. } = failed;
    let name = catalog.by_id(of).map(|table| table.name.clone());
    let operation = Operation::from_letter(operation);
    Stuck { id, table: of, name, operation, key, attempts, reason, seconds }
}

fn of_key(id: i64, table: TableId, key: &Key) -> Stuck {
    let (name, operation, reason) = (None, None, None);
    let key = Some(key.raw.clone());
    Stuck { id, table, name, operation, key, attempts: 0, reason, seconds: 0.0 }
}
