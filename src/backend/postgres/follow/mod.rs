//! PostgreSQL as the secondary: what the writer asks of a connection, in PostgreSQL's words.
//!
//! ```text
//! Writer (order, repeats, clashes) ──[`Connection`]──▶ [`Follower`] ─┬─ [`fence`]: locked, read, written
//!                                                                   └─ [`rows`]: by primary key only
//! ```
//!
//! The connection runs with `session_replication_role = replica`, as appliers of replication do: the
//! application's triggers have fired already, on the primary or before it, and their effects arrive as
//! rows of their own. So do those of foreign keys' actions, so no foreign key has to be checked here:
//! rows may arrive in any order. What refuses every other writer while MySQL is the primary are
//! triggers, which pass such a session for the same reason.
//!
//! A failed statement would end PostgreSQL's transaction, where the writer goes on after it: each
//! statement on rows has a savepoint, sent along with it.
//!
//! Invariant: nothing is written unless PostgreSQL is the secondary of the very epoch: every
//! transaction holds the lock that a change of epoch waits for, shared, and has read the epoch after.

mod empty;
mod fence;
mod owners;
mod prune;
mod rows;

use std::collections::HashMap;
use std::time::Duration;

use tokio_postgres::{Client, Statement};

use crate::backend::mysql::prune::Pruned;
use crate::backend::mysql::{Connection, Failed, Fence, WriteError};
use crate::catalog::{Catalog, ForeignKey, Table};
use crate::change::{Change, Key, KeyHash, RowImage, Version};
use crate::names::TableId;

use super::connect::{ConnectError, Connector};

/// Crossfade's own tables on the secondary; running it again changes nothing.
///
/// An entry for each row names the newest version applied, and whether that was a delete; the entry of
/// [`KeyHash::TABLE`] the newest TRUNCATE. The floor is the highest version that was pruned.
pub const DDL: &str = "CREATE TABLE IF NOT EXISTS crossfade.fence ( \
         table_id integer NOT NULL, key_hash bytea NOT NULL, \
         epoch bigint NOT NULL, counter bigint NOT NULL, n bigint NOT NULL, \
         deleted boolean NOT NULL, at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(), \
         PRIMARY KEY (table_id, key_hash)); \
     CREATE TABLE IF NOT EXISTS crossfade.floor ( \
         table_id integer PRIMARY KEY, \
         epoch bigint NOT NULL, counter bigint NOT NULL, n bigint NOT NULL)";

/// Prepared statements kept; a table has a dozen.
const STATEMENTS_MAX: usize = 512;

/// How long such a connection waits for others.
#[derive(Clone, Copy, Debug)]
pub struct FollowLimits {
    /// For a lock; then the transaction is repeated.
    pub lock: Duration,
    /// A transaction of ours that nobody goes on with is ended by the server after this.
    pub idle: Duration,
}

impl Default for FollowLimits {
    fn default() -> Self {
        Self { lock: Duration::from_secs(5), idle: Duration::from_secs(60) }
    }
}

/// One connection to PostgreSQL that follows.
pub struct Follower {
    client: Client,
    statements: HashMap<String, Statement>,
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Follower")
    }
}

impl Follower {
    pub async fn connect(connector: &Connector, limits: FollowLimits) -> Result<Self, WriteError> {
        let client = connector.connect().await?;
        let settings = format!(
            "SET session_replication_role = replica; SET crossfade.follows = on; \
             SET lock_timeout = {}; \
             SET idle_in_transaction_session_timeout = {}",
            limits.lock.as_millis(),
            limits.idle.as_millis()
        );
        client.batch_execute(&settings).await?;
        Ok(Self { client, statements: HashMap::new() })
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The statement of this text, prepared once.
    async fn prepared(&mut self, sql: String) -> Result<Statement, WriteError> {
        if let Some(statement) = self.statements.get(&sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(&sql).await?;
        if STATEMENTS_MAX <= self.statements.len() {
            self.statements.clear();
        }
        self.statements.insert(sql, statement.clone());
        Ok(statement)
    }

    async fn plain(&self, sql: &str) -> Result<(), WriteError> {
        Ok(self.client.batch_execute(sql).await?)
    }
}

impl From<ConnectError> for WriteError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Unreachable { .. } => {
                Self::Unreachable { why: "PostgreSQL does not answer".to_owned() }
            }
            ConnectError::TimedOut { .. } => Self::TimedOut,
            ConnectError::Refused { source, .. } => source.into(),
        }
    }
}

impl From<tokio_postgres::Error> for WriteError {
    /// What the server says of it is dropped, but for its SQLSTATE: it may quote a value.
    fn from(error: tokio_postgres::Error) -> Self {
        match error.code() {
            Some(code) => Self::Postgres { state: code.code().to_owned() },
            None => Self::Disconnected,
        }
    }
}

impl Connection for Follower {
    async fn begin(&mut self, batch: &[&[Change]], epoch: u64) -> Result<Fence, WriteError> {
        fence::begin(self, batch, epoch).await
    }

    async fn end(&mut self, fence: &Fence, commit: bool) -> Result<(), WriteError> {
        fence::write(self, fence, commit).await
    }

    async fn commit(&mut self) -> Result<(), WriteError> {
        self.plain(fence::COMMIT).await
    }

    async fn rollback(&mut self) -> Result<(), WriteError> {
        self.plain("ROLLBACK").await
    }

    async fn insert(&mut self, table: &Table, images: &[&RowImage]) -> Result<u64, Failed> {
        rows::insert(self, table, images).await
    }

    async fn upsert(&mut self, table: &Table, images: &[&RowImage]) -> Result<u64, Failed> {
        rows::upsert(self, table, images).await
    }

    async fn update(&mut self, table: &Table, key: &Key, image: &RowImage) -> Result<u64, Failed> {
        rows::update(self, table, key, image).await
    }

    async fn relocate(
        &mut self,
        table: &Table,
        old: &Key,
        image: &RowImage,
    ) -> Result<u64, Failed> {
        rows::relocate(self, table, old, image).await
    }

    async fn delete(&mut self, table: &Table, key: &Key) -> Result<u64, Failed> {
        rows::delete(self, table, key).await
    }

    /// Foreign keys neither check nor act here.
    async fn check_keys(&mut self, _on: bool) -> Result<(), Failed> {
        std::future::ready(Ok(())).await
    }

    async fn has_parent(
        &mut self,
        _catalog: &Catalog,
        _table: &Table,
        _key: &ForeignKey,
        _image: &RowImage,
    ) -> Result<bool, Failed> {
        std::future::ready(Ok(true)).await
    }

    async fn empty(&mut self, table: &Table, version: Version) -> Result<(), WriteError> {
        empty::empty(self, table, version).await
    }

    async fn register(&mut self, table: TableId) -> Result<(), WriteError> {
        fence::register(self, table).await
    }

    async fn owners(
        &mut self,
        table: &Table,
        key: &Key,
        image: &RowImage,
    ) -> Result<Vec<Key>, WriteError> {
        owners::owners(self, table, key, image).await
    }

    async fn epoch(&mut self) -> Result<Option<u64>, WriteError> {
        fence::epoch(self).await
    }

    async fn prune(
        &mut self,
        table: TableId,
        bound: Version,
        from: KeyHash,
    ) -> Result<Pruned, WriteError> {
        prune::prune(self, table, bound, from).await
    }

    async fn fence_entries(&mut self) -> Result<u64, WriteError> {
        prune::count(self).await
    }
}
