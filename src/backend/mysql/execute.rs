//! Runs a plan's steps on the rows, inside the writer's open transaction.
//!
//! ```text
//! steps ──▶ rows in a row: one INSERT for many (of present ones: ON DUPLICATE KEY, their own)
//!              └─ refused ─▶ one by one: UPDATE by key, else INSERT; or the other way round
//!        clash in a transaction of its own ─▶ put aside, tried after the others ─▶ as a set
//! ```
//!
//! Steps on one row keep their order, also where the first of them is put aside: done late, it would
//! undo the others.
//!
//! Invariant: foreign keys are checked, by the server or (for a set that clashes with itself) by us.

use std::collections::{HashMap, HashSet};

use super::cascade::Cause;
use super::connection::Connection;
use super::error::{Reaction, WriteError};
use super::fence::Step;
use super::foreign;
use super::write::{PLACEHOLDERS_MAX, ROWS_AT_ONCE, Refused, at_once};
use crate::catalog::{Catalog, Table};
use crate::change::{Change, Key, KeyHash, RowImage};
use crate::names::Oid;

/// Image bytes of one multi-row statement; far below any `max_allowed_packet`.
const BYTES_AT_ONCE: usize = 256 << 10;

/// Runs the steps of a batch inside the open transaction.
pub(super) struct Run<'w, C> {
    link: &'w mut C,
    catalog: &'w Catalog,
    /// One transaction only: then steps that clash may wait for the others, or go as a set.
    alone: bool,
}

/// A row of a set: its change's position, where it is now, and what it becomes; nothing where a later
/// member says that.
type Member<'a> = (usize, &'a Table, &'a Key, Option<&'a RowImage>);

/// Steps that have to wait for the others. A row's changes keep their order: an older image after a
/// newer one would stay, and the fence would not know.
#[derive(Default)]
struct Aside<'s> {
    steps: Vec<Step<'s>>,
    /// Why the first of them is here.
    first: Option<Refused>,
    /// Their rows, and their tables.
    rows: HashSet<(Oid, KeyHash)>,
    tables: HashSet<Oid>,
}

impl<'s> Aside<'s> {
    /// Whether a step on one of the same rows waits here.
    fn is_before(&self, step: &Step<'_>) -> bool {
        let waits = |(table, hash): &(Oid, KeyHash)| {
            let whole = self.rows.contains(&(*table, KeyHash::TABLE));
            let any = *hash == KeyHash::TABLE && self.tables.contains(table);
            whole || any || self.rows.contains(&(*table, *hash))
        };
        !self.steps.is_empty() && rows_of(step).iter().any(waits)
    }

    fn put(&mut self, step: Step<'s>) {
        for (table, hash) in rows_of(&step) {
            self.rows.insert((table, hash));
            self.tables.insert(table);
        }
        self.steps.push(step);
    }
}

/// The rows that a step is about; [`KeyHash::TABLE`] is all of a table's.
fn rows_of(step: &Step<'_>) -> Vec<(Oid, KeyHash)> {
    match step {
        Step::Put { change, key, .. } | Step::Delete { change, key, .. } => {
            vec![(change.table.oid, key.hash)]
        }
        Step::Move { change, old, new, .. } => {
            vec![(change.table.oid, old.hash), (change.table.oid, new.hash)]
        }
        Step::Rotate { moves } => moves
            .iter()
            .flat_map(|(_, change, old, new, _)| [(change, old), (change, new)])
            .map(|(change, key)| (change.table.oid, key.hash))
            .collect(),
        Step::Empty { change, .. } => vec![(change.table.oid, KeyHash::TABLE)],
    }
}

/// A statement on rows failed; the transaction is still open unless the error says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    pub error: WriteError,
    /// The column, where the server named it.
    pub column: Option<String>,
}

impl Failed {
    fn at(self, at: usize) -> Refused {
        Refused { at, column: self.column, error: self.error }
    }

    /// A row is there already that has the key, or another unique value.
    fn is_duplicate(&self) -> bool {
        match &self.error {
            WriteError::Server { code, .. } => *code == 1062,
            WriteError::Postgres { state } => state == "23505",
            _ => false,
        }
    }
}

impl<'w, C: Connection> Run<'w, C> {
    pub(super) fn new(link: &'w mut C, catalog: &'w Catalog, alone: bool) -> Self {
        Self { link, catalog, alone }
    }

    pub(super) async fn all(&mut self, steps: Vec<Step<'_>>) -> Result<(), Refused> {
        let mut left = steps;
        loop {
            let before = left.len();
            let aside = self.round(left).await?;
            left = aside.steps;
            let Some(refused) = aside.first else { return Ok(()) };
            if left.len() == before {
                // Nobody moved: what is left stands in its own way.
                return self.as_set(left, refused).await;
            }
        }
    }

    /// Runs each step; those that clash are put aside, and those behind them on the same row too.
    async fn round<'s>(&mut self, steps: Vec<Step<'s>>) -> Result<Aside<'s>, Refused> {
        let mut aside = Aside::default();
        let mut steps = steps.into_iter().peekable();
        while let Some(step) = steps.next() {
            if let Step::Put { .. } = step {
                let mut puts = vec![step];
                while let Some(next) = steps.next_if(|step| matches!(step, Step::Put { .. })) {
                    puts.push(next);
                }
                for run in put_runs(puts) {
                    self.put_run(run, &mut aside).await?;
                }
                continue;
            }
            self.one(step, &mut aside).await?;
        }
        Ok(aside)
    }

    async fn one<'s>(&mut self, step: Step<'s>, aside: &mut Aside<'s>) -> Result<(), Refused> {
        if aside.is_before(&step) {
            aside.put(step);
            return Ok(());
        }
        let Err(failed) = self.step(&step).await else { return Ok(()) };
        let clash = failed.error.reaction() == Reaction::Soon;
        let refused = failed.at(step.at());
        if !(clash && self.alone) {
            return Err(refused);
        }
        aside.first.get_or_insert(refused);
        aside.put(step);
        Ok(())
    }

    /// Rows of one table: one statement; one by one if it fails.
    async fn put_run<'s>(
        &mut self,
        run: Vec<Step<'s>>,
        aside: &mut Aside<'s>,
    ) -> Result<(), Refused> {
        let free = !run.iter().any(|step| aside.is_before(step));
        if run.len() > 1 && free && self.put_many(&run).await? {
            return Ok(());
        }
        for step in run {
            self.one(step, aside).await?;
        }
        Ok(())
    }

    /// False if the statement failed as a whole and its rows have to go one by one.
    async fn put_many(&mut self, run: &[Step<'_>]) -> Result<bool, Refused> {
        let (mut images, mut table, mut fresh) = (Vec::with_capacity(run.len()), None, true);
        for step in run {
            let Step::Put { change, image, expected, .. } = step else { return Ok(false) };
            fresh &= !expected;
            images.push(*image);
            table = Some(&change.table);
        }
        let Some(table) = table else { return Ok(true) };
        let written = match fresh {
            true => self.link.insert(table, &images).await,
            false => self.link.upsert(table, &images).await,
        };
        match written {
            Ok(_) => Ok(true),
            Err(failed) => match failed.error.reaction() {
                Reaction::Soon | Reaction::Stuck => Ok(false),
                Reaction::Now | Reaction::ReadAgain | Reaction::Down => {
                    Err(failed.at(run.first().map_or(0, Step::at)))
                }
            },
        }
    }

    async fn step(&mut self, step: &Step<'_>) -> Result<(), Failed> {
        match step {
            Step::Put { change, key, image, expected, .. } => {
                self.put(&change.table, key, image, *expected).await
            }
            Step::Delete { change, key, .. } => {
                self.spare_newer(change, key, Cause::Delete).await?;
                self.delete(&change.table, key).await.map(drop)
            }
            Step::Move { change, old, new, image, leave, .. } => {
                self.spare_newer(change, old, Cause::Move).await?;
                self.relocate(&change.table, old, new, image, *leave).await
            }
            Step::Rotate { moves } => {
                let set: Vec<Member<'_>> = moves
                    .iter()
                    .map(|(at, change, old, _, image)| (*at, &*change.table, *old, Some(*image)))
                    .collect();
                self.replace(&set).await.map_err(|(_, failed)| failed)
            }
            Step::Empty { change, .. } => {
                self.link.empty(&change.table, change.version).await.map_err(Failed::from)
            }
        }
    }

    /// Refuses a change whose cascade would reach a row that is newer than it.
    async fn spare_newer(
        &mut self,
        change: &Change,
        key: &Key,
        cause: Cause,
    ) -> Result<(), Failed> {
        let row = (&*change.table, key);
        match self.link.has_newer_child(self.catalog, row, change.version, cause).await? {
            true => Err(WriteError::NewerChild.into()),
            false => Ok(()),
        }
    }

    /// Makes the row be there with this image: update, else insert; or the other way round.
    async fn put(
        &mut self,
        table: &Table,
        key: &Key,
        image: &RowImage,
        expected: bool,
    ) -> Result<(), Failed> {
        if expected && self.update(table, key, image).await? {
            return Ok(());
        }
        match self.insert(table, image).await {
            // Duplicate key: ours, and then the row is there; or another row's value.
            Err(failed) if failed.is_duplicate() => {
                if self.update(table, key, image).await? {
                    Ok(())
                } else {
                    Err(failed)
                }
            }
            other => other,
        }
    }

    /// One UPDATE takes the row to its new key, so that children follow instead of being refused.
    async fn relocate(
        &mut self,
        table: &Table,
        old: &Key,
        new: &Key,
        image: &RowImage,
        leave: bool,
    ) -> Result<(), Failed> {
        match self.link.relocate(table, old, image).await {
            Ok(0) => self.put(table, new, image, false).await,
            Ok(_) => Ok(()),
            // The new key is there already (or another row has one of the values).
            Err(failed) if failed.is_duplicate() => {
                if !self.update(table, new, image).await? {
                    return Err(failed);
                }
                if !leave {
                    self.delete(table, old).await?;
                }
                Ok(())
            }
            Err(failed) => Err(failed),
        }
    }

    /// What still clashes goes out and in again as one set, with the foreign keys looked at
    /// afterwards by us. No cascade can fire meanwhile.
    async fn as_set(&mut self, steps: Vec<Step<'_>>, refused: Refused) -> Result<(), Refused> {
        let mut set: Vec<Member<'_>> = Vec::with_capacity(steps.len());
        // Where each row is once the members so far have had their turn.
        let mut at_key = HashMap::new();
        for step in &steps {
            let (change, old, new, image) = match step {
                Step::Put { change, key, image, .. } => (change, key, key, image),
                Step::Move { change, old, new, image, .. } => (change, old, new, image),
                Step::Delete { .. } | Step::Rotate { .. } | Step::Empty { .. } => {
                    return Err(refused);
                }
            };
            for key in [old, new] {
                if let Some(earlier) = at_key.remove(&(change.table.oid, key.hash)) {
                    let earlier: &mut Member<'_> = &mut set[earlier];
                    earlier.3 = None;
                }
            }
            at_key.insert((change.table.oid, new.hash), set.len());
            set.push((step.at(), &*change.table, *old, Some(*image)));
        }
        self.replace(&set).await.map_err(|(at, failed)| failed.at(at))
    }

    /// Deletes the old keys, inserts the images, and makes sure that every parent is there. An error
    /// names the row that spoils the set.
    async fn replace(&mut self, set: &[Member<'_>]) -> Result<(), (usize, Failed)> {
        let first = set.first().map_or(0, |(at, ..)| *at);
        let named = |failed| (first, failed);
        self.link.check_keys(false).await.map_err(named)?;
        let result = self.replace_unchecked(set).await;
        // Without its checks the connection must not live on.
        if let Err(failed) = self.link.check_keys(true).await {
            return Err((first, Failed { error: WriteError::Disconnected, ..failed }));
        }
        result?;
        for (at, table, image) in becoming(set) {
            self.require_parents(table, image).await.map_err(|failed| (at, failed))?;
        }
        Ok(())
    }

    async fn replace_unchecked(&mut self, set: &[Member<'_>]) -> Result<(), (usize, Failed)> {
        for (at, table, key, _) in set {
            self.delete(table, key).await.map_err(|failed| (*at, failed))?;
        }
        for (at, table, image) in becoming(set) {
            self.insert(table, image).await.map_err(|failed| (at, failed))?;
        }
        Ok(())
    }

    async fn require_parents(&mut self, table: &Table, image: &RowImage) -> Result<(), Failed> {
        for key in &table.foreign_keys {
            if !self.link.has_parent(self.catalog, table, key, image).await? {
                let error = WriteError::Server { code: 1452, state: "23000".to_owned() };
                return Err(Failed { error, column: None });
            }
        }
        Ok(())
    }

    async fn insert(&mut self, table: &Table, image: &RowImage) -> Result<(), Failed> {
        self.link.insert(table, &[image]).await.map(drop)
    }

    async fn update(&mut self, table: &Table, key: &Key, image: &RowImage) -> Result<bool, Failed> {
        Ok(self.link.update(table, key, image).await? > 0)
    }

    async fn delete(&mut self, table: &Table, key: &Key) -> Result<bool, Failed> {
        Ok(self.link.delete(table, key).await? > 0)
    }
}

/// The members that say what a row becomes.
fn becoming<'a>(set: &[Member<'a>]) -> impl Iterator<Item = (usize, &'a Table, &'a RowImage)> {
    set.iter().filter_map(|(at, table, _, image)| Some((*at, *table, (*image)?)))
}

impl From<WriteError> for Failed {
    fn from(error: WriteError) -> Self {
        Self { error, column: None }
    }
}

impl From<mysql_async::Error> for Failed {
    fn from(error: mysql_async::Error) -> Self {
        WriteError::from(error).into()
    }
}

/// Splits rows into statements of one table each: parents first, in their own order within a table.
/// Only rows that stay or come are here, so nothing else can be overtaken; where a foreign key might
/// carry a change from one of the tables to another, or they reference each other in a circle, the
/// order stays as it came.
fn put_runs(puts: Vec<Step<'_>>) -> Vec<Vec<Step<'_>>> {
    let mut steps = puts;
    let table = |step: &Step<'_>| match step {
        Step::Put { change, .. } => change.table.oid,
        _ => 0,
    };
    let tables = steps.iter().filter_map(|step| match step {
        Step::Put { change, .. } => Some(&*change.table),
        _ => None,
    });
    let fresh = steps.iter().all(|step| matches!(step, Step::Put { expected: false, .. }));
    let ranks = foreign::order(tables.clone()).filter(|_| fresh || !foreign::cascades(tables));
    if let Some(ranks) = ranks {
        steps.sort_by_key(|step| (ranks.get(&table(step)).copied(), table(step)));
    }
    let mut runs: Vec<Vec<Step<'_>>> = Vec::new();
    let (mut open, mut bytes, mut width) = (None, 0, 1);
    for step in steps {
        let Step::Put { change, image, .. } = &step else { continue };
        let size = image.size();
        let same = open == Some(change.table.oid);
        let columns = change.table.columns.len().max(1);
        let room = runs.last().is_some_and(|run| {
            run.len() < ROWS_AT_ONCE[0]
                && bytes + size <= BYTES_AT_ONCE
                && (width + 1) * columns <= PLACEHOLDERS_MAX
        });
        if same && room {
            bytes += size;
            width += 1;
            if let Some(run) = runs.last_mut() {
                run.push(step);
            }
        } else {
            (open, bytes, width) = (Some(change.table.oid), size, 1);
            runs.push(vec![step]);
        }
    }
    runs.into_iter().flat_map(even_sizes).collect()
}

/// Cuts a run into sizes of [`ROWS_AT_ONCE`].
fn even_sizes(mut run: Vec<Step<'_>>) -> Vec<Vec<Step<'_>>> {
    let mut parts = Vec::new();
    while !run.is_empty() {
        let tail = run.split_off(at_once(run.len()));
        parts.push(std::mem::replace(&mut run, tail));
    }
    parts
}
