//! What the writer asks of a connection: a closed set of steps, each one statement or a few.
//!
//! ```text
//! write, execute ──[`Connection`]──▶ Link: statements on the wire
//!                                └─▶ tables in memory, for a simulation of everything above
//! ```
//!
//! Invariant: what is decided about order, repeats and clashes is decided above this line, so that
//! it runs the same over any connection. Whoever drops one of these futures drops the connection.

use std::future::Future;

use super::cascade::{self, Cause};
use super::connect::Link;
use super::error::WriteError;
use super::execute::Failed;
use super::fence::Fence;
use super::prune::{self, Pruned};
use super::{control, foreign, lock, owners, statements, truncate};
use crate::catalog::{Catalog, ForeignKey, Table};
use crate::change::{Change, Key, KeyHash, RowImage, Version};
use crate::names::TableId;

/// One connection to the secondary. Steps on rows answer with the number of rows they found.
pub trait Connection: Send {
    /// BEGIN; locks and reads the fence of the batch, and checks the epoch.
    fn begin(
        &mut self,
        batch: &[&[Change]],
        epoch: u64,
    ) -> impl Future<Output = Result<Fence, WriteError>> + Send;

    /// Writes the fence entries that moved; COMMIT with the last of them if asked for.
    fn end(
        &mut self,
        fence: &Fence,
        commit: bool,
    ) -> impl Future<Output = Result<(), WriteError>> + Send;

    fn commit(&mut self) -> impl Future<Output = Result<(), WriteError>> + Send;

    fn rollback(&mut self) -> impl Future<Output = Result<(), WriteError>> + Send;

    /// One plain INSERT of all rows, or of none.
    fn insert(
        &mut self,
        table: &Table,
        images: &[&RowImage],
    ) -> impl Future<Output = Result<u64, Failed>> + Send;

    /// The same, but a row whose own key is there already is updated in place.
    fn upsert(
        &mut self,
        table: &Table,
        images: &[&RowImage],
    ) -> impl Future<Output = Result<u64, Failed>> + Send;

    /// UPDATE of one row in place.
    fn update(
        &mut self,
        table: &Table,
        key: &Key,
        image: &RowImage,
    ) -> impl Future<Output = Result<u64, Failed>> + Send;

    /// UPDATE of one row that gives it the image's key.
    fn relocate(
        &mut self,
        table: &Table,
        old: &Key,
        image: &RowImage,
    ) -> impl Future<Output = Result<u64, Failed>> + Send;

    fn delete(
        &mut self,
        table: &Table,
        key: &Key,
    ) -> impl Future<Output = Result<u64, Failed>> + Send;

    /// Whether a row that would change with this one, by a foreign key's action, is newer than
    /// `version`. Never so where no foreign key acts.
    fn has_newer_child(
        &mut self,
        _catalog: &Catalog,
        _row: (&Table, &Key),
        _version: Version,
        _cause: Cause,
    ) -> impl Future<Output = Result<bool, Failed>> + Send {
        std::future::ready(Ok(false))
    }

    /// Switches the session's foreign key checks, and with them all cascades.
    fn check_keys(&mut self, on: bool) -> impl Future<Output = Result<(), Failed>> + Send;

    /// Whether the parent that an image names is there, locked; true where it names none.
    fn has_parent(
        &mut self,
        catalog: &Catalog,
        table: &Table,
        key: &ForeignKey,
        image: &RowImage,
    ) -> impl Future<Output = Result<bool, Failed>> + Send;

    /// TRUNCATE as of a version: raises the table's fence and deletes every row that is not newer.
    fn empty(
        &mut self,
        table: &Table,
        version: Version,
    ) -> impl Future<Output = Result<(), WriteError>> + Send;

    /// Gives a table its entry 0 in the fence, and its floor.
    fn register(&mut self, table: TableId) -> impl Future<Output = Result<(), WriteError>> + Send;

    /// The keys of other rows that hold one of the image's unique values.
    fn owners(
        &mut self,
        table: &Table,
        key: &Key,
        image: &RowImage,
    ) -> impl Future<Output = Result<Vec<Key>, WriteError>> + Send;

    /// The secondary's epoch; `None` where nothing is set up.
    fn epoch(&mut self) -> impl Future<Output = Result<Option<u64>, WriteError>> + Send;

    /// Forgets a batch of fence entries below a bound.
    fn prune(
        &mut self,
        table: TableId,
        bound: Version,
        from: KeyHash,
    ) -> impl Future<Output = Result<Pruned, WriteError>> + Send;

    /// Entries in the fence.
    fn fence_entries(&mut self) -> impl Future<Output = Result<u64, WriteError>> + Send;
}

impl Connection for Link {
    async fn begin(&mut self, batch: &[&[Change]], epoch: u64) -> Result<Fence, WriteError> {
        lock::begin(self, batch, epoch).await
    }

    async fn end(&mut self, fence: &Fence, commit: bool) -> Result<(), WriteError> {
        lock::write(self, fence, commit).await
    }

    async fn commit(&mut self) -> Result<(), WriteError> {
        statements::plain(self, "COMMIT").await
    }

    async fn rollback(&mut self) -> Result<(), WriteError> {
        statements::plain(self, "ROLLBACK").await
    }

    async fn insert(&mut self, table: &Table, images: &[&RowImage]) -> Result<u64, Failed> {
        statements::insert(self, table, images).await
    }

    async fn upsert(&mut self, table: &Table, images: &[&RowImage]) -> Result<u64, Failed> {
        statements::upsert(self, table, images).await
    }

    async fn update(&mut self, table: &Table, key: &Key, image: &RowImage) -> Result<u64, Failed> {
        statements::update(self, table, key, image).await
    }

    async fn relocate(
        &mut self,
        table: &Table,
        old: &Key,
        image: &RowImage,
    ) -> Result<u64, Failed> {
        statements::relocate(self, table, old, image).await
    }

    async fn delete(&mut self, table: &Table, key: &Key) -> Result<u64, Failed> {
        statements::delete(self, table, key).await
    }

    async fn has_newer_child(
        &mut self,
        catalog: &Catalog,
        row: (&Table, &Key),
        version: Version,
        cause: Cause,
    ) -> Result<bool, Failed> {
        cascade::has_newer(self, catalog, row, version, cause).await
    }

    async fn check_keys(&mut self, on: bool) -> Result<(), Failed> {
        let sql = match on {
            true => "SET SESSION foreign_key_checks = 1",
            false => "SET SESSION foreign_key_checks = 0",
        };
        Ok(statements::plain(self, sql).await?)
    }

    async fn has_parent(
        &mut self,
        catalog: &Catalog,
        table: &Table,
        key: &ForeignKey,
        image: &RowImage,
    ) -> Result<bool, Failed> {
        foreign::has_parent(self, catalog, table, key, image).await
    }

    async fn empty(&mut self, table: &Table, version: Version) -> Result<(), WriteError> {
        truncate::empty(self, table, version).await
    }

    async fn register(&mut self, table: TableId) -> Result<(), WriteError> {
        control::register(self.conn(), table).await
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
        control::epoch(self.conn()).await
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
