//! Runs a plan's steps on the rows, inside the writer's open transaction.
//!
//! ```text
//! steps ──▶ rows in a row: one INSERT for many (of present ones: ON DUPLICATE KEY, their own)
//!              └─ refused ─▶ one by one: UPDATE by key, else INSERT; or the other way round
//!        clash in a transaction of its own ─▶ put aside, tried after the others ─▶ as a set
//! ```
//!
//! Invariant: foreign keys are checked, by the server or (for a set that clashes with itself) by us.

use super::connection::Connection;
use super::error::{Reaction, WriteError};
use super::fence::Step;
use super::foreign;
use super::write::{PLACEHOLDERS_MAX, ROWS_AT_ONCE, Refused, at_once};
use crate::catalog::{Catalog, Table};
use crate::change::{Key, RowImage};

/// Image bytes of one multi-row statement; far below any `max_allowed_packet`.
const BYTES_AT_ONCE: usize = 256 << 10;

/// Runs the steps of a batch inside the open transaction.
pub(super) struct Run<'w, C> {
    link: &'w mut C,
    catalog: &'w Catalog,
    /// One transaction only: then steps that clash may wait for the others, or go as a set.
    alone: bool,
}

/// A row of a set: its change's position, where it is now, and what it becomes.
type Member<'a> = (usize, &'a Table, &'a Key, &'a RowImage);

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

    fn code(&self) -> u16 {
        match self.error {
            WriteError::Server { code, .. } => code,
            _ => 0,
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
            let (aside, first) = self.round(left).await?;
            left = aside;
            let Some(refused) = first else { return Ok(()) };
            if left.len() == before {
                // Nobody moved: what is left stands in its own way.
                return self.as_set(left, refused).await;
            }
        }
    }

    /// Runs each step; those that clash are put aside, with the first one's error.
    async fn round<'s>(
        &mut self,
        steps: Vec<Step<'s>>,
    ) -> Result<(Vec<Step<'s>>, Option<Refused>), Refused> {
        let (mut aside, mut first) = (Vec::new(), None);
        let mut steps = steps.into_iter().peekable();
        while let Some(step) = steps.next() {
            if let Step::Put { .. } = step {
                let mut puts = vec![step];
                while let Some(next) = steps.next_if(|step| matches!(step, Step::Put { .. })) {
                    puts.push(next);
                }
                for run in put_runs(puts) {
                    self.put_run(run, &mut aside, &mut first).await?;
                }
                continue;
            }
            if let Err(failed) = self.step(&step).await {
                self.put_aside(step, failed, &mut aside, &mut first)?;
            }
        }
        Ok((aside, first))
    }

    fn put_aside<'s>(
        &self,
        step: Step<'s>,
        failed: Failed,
        aside: &mut Vec<Step<'s>>,
        first: &mut Option<Refused>,
    ) -> Result<(), Refused> {
        let clash = failed.error.reaction() == Reaction::Soon;
        let refused = failed.at(step.at());
        if !(clash && self.alone) {
            return Err(refused);
        }
        first.get_or_insert(refused);
        aside.push(step);
        Ok(())
    }

    /// Rows of one table: one statement; one by one if it fails.
    async fn put_run<'s>(
        &mut self,
        run: Vec<Step<'s>>,
        aside: &mut Vec<Step<'s>>,
        first: &mut Option<Refused>,
    ) -> Result<(), Refused> {
        if run.len() > 1 && self.put_many(&run).await? {
            return Ok(());
        }
        for step in run {
            if let Err(failed) = self.step(&step).await {
                self.put_aside(step, failed, aside, first)?;
            }
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
            Step::Delete { change, key, .. } => self.delete(&change.table, key).await.map(drop),
            Step::Move { change, old, new, image, leave, .. } => {
                self.relocate(&change.table, old, new, image, *leave).await
            }
            Step::Rotate { moves } => {
                let set: Vec<Member<'_>> = moves
                    .iter()
                    .map(|(at, change, old, _, image)| (*at, &*change.table, *old, *image))
                    .collect();
                self.replace(&set).await.map_err(|(_, failed)| failed)
            }
            Step::Empty { change, .. } => {
                self.link.empty(&change.table, change.version).await.map_err(Failed::from)
            }
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
            Err(failed) if failed.code() == 1062 => {
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
            Err(failed) if failed.code() == 1062 => {
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
        let mut set = Vec::new();
        for step in &steps {
            let at = step.at();
            match step {
                Step::Put { change, key, image, .. } => {
                    set.push((at, &*change.table, *key, *image));
                }
                Step::Move { change, old, image, .. } => {
                    set.push((at, &*change.table, *old, *image));
                }
                Step::Delete { .. } | Step::Rotate { .. } | Step::Empty { .. } => {
                    return Err(refused);
                }
            }
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
        for (at, table, _, image) in set {
            self.require_parents(table, image).await.map_err(|failed| (*at, failed))?;
        }
        Ok(())
    }

    async fn replace_unchecked(&mut self, set: &[Member<'_>]) -> Result<(), (usize, Failed)> {
        for (at, table, key, _) in set {
            self.delete(table, key).await.map_err(|failed| (*at, failed))?;
        }
        for (at, table, _, image) in set {
            self.insert(table, image).await.map_err(|failed| (*at, failed))?;
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
