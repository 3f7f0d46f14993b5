//! Runs a plan's steps on the rows, inside the writer's open transaction.
//!
//! ```text
//! steps ──▶ rows in a row: one INSERT for many (of present ones: ON DUPLICATE KEY, their own)
//!              └─ refused ─▶ one by one: UPDATE by key, else INSERT; or the other way round
//!        clash in a transaction of its own ─▶ put aside, tried after the others ─▶ as a set
//! ```
//!
//! Invariant: a statement that the server answered with a warning has failed. Foreign keys are
//! checked, by the server or (for a set that clashes with itself) by us.

use mysql_async::prelude::Queryable as _;
use mysql_async::{Params, Value as Param};

use super::error::{Reaction, WriteError, named_column};
use super::fence::Step;
use super::write::{PLACEHOLDERS_MAX, ROWS_AT_ONCE, Refused, Writer, at_once};
use super::{foreign, rows, truncate};
use crate::catalog::{Catalog, Table};
use crate::change::{Key, RowImage};
use crate::value::Flavor;

/// Image bytes of one multi-row statement; far below any `max_allowed_packet`.
const BYTES_AT_ONCE: usize = 256 << 10;

/// Runs the steps of a batch inside the open transaction.
pub(super) struct Run<'w> {
    writer: &'w mut Writer,
    flavor: Flavor,
    catalog: &'w Catalog,
    /// One transaction only: then steps that clash may wait for the others, or go as a set.
    alone: bool,
}

/// A row of a set: its change's position, where it is now, and what it becomes.
type Member<'a> = (usize, &'a Table, &'a Key, &'a RowImage);

/// A statement on rows failed; the transaction is still open unless the error says otherwise.
struct Failed {
    error: WriteError,
    column: Option<String>,
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

impl<'w> Run<'w> {
    pub(super) fn new(writer: &'w mut Writer, catalog: &'w Catalog, alone: bool) -> Self {
        Self { flavor: writer.link.flavor(), writer, catalog, alone }
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
        let (mut params, mut table, mut fresh) = (Vec::new(), None, true);
        for step in run {
            let Step::Put { change, image, expected, .. } = step else { return Ok(false) };
            fresh &= !expected;
            match rows::insert_params(&change.table, image, self.flavor) {
                Ok(mut row) => params.append(&mut row),
                Err(_) => return Ok(false),
            }
            table = Some(&change.table);
        }
        let Some(table) = table else { return Ok(true) };
        let sql = match fresh {
            true => rows::insert(table, run.len()),
            false => rows::upsert(table, run.len(), self.flavor),
        };
        match self.execute(sql, params, table).await {
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
                truncate::empty(self.writer, &change.table, change.version)
                    .await
                    .map_err(Failed::from)
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
        let params = rows::relocate_params(table, old, image, self.flavor)?;
        match self.execute(rows::relocate(table), params, table).await {
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
        self.plain("SET SESSION foreign_key_checks = 0").await.map_err(named)?;
        let result = self.replace_unchecked(set).await;
        // Without its checks the connection must not live on.
        if let Err(failed) = self.plain("SET SESSION foreign_key_checks = 1").await {
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
            let Some((sql, params)) =
                foreign::parent_query(self.catalog, table, key, image, self.flavor)?
            else {
                continue;
            };
            let conn = self.writer.link.conn();
            let found: Option<u8> = conn.exec_first(sql, Params::Positional(params)).await?;
            if found.is_none() {
                let error = WriteError::Server { code: 1452, state: "23000".to_owned() };
                return Err(Failed { error, column: None });
            }
        }
        Ok(())
    }

    async fn insert(&mut self, table: &Table, image: &RowImage) -> Result<(), Failed> {
        let params = rows::insert_params(table, image, self.flavor)?;
        self.execute(rows::insert(table, 1), params, table).await.map(drop)
    }

    async fn update(&mut self, table: &Table, key: &Key, image: &RowImage) -> Result<bool, Failed> {
        let params = rows::update_params(table, key, image, self.flavor)?;
        Ok(self.execute(rows::update(table), params, table).await? > 0)
    }

    async fn delete(&mut self, table: &Table, key: &Key) -> Result<bool, Failed> {
        let params = rows::key_params(table, key, self.flavor)?;
        Ok(self.execute(rows::delete(table), params, table).await? > 0)
    }

    /// Answers with the rows found. A warning is an error: the server changed something.
    async fn execute(
        &mut self,
        sql: String,
        params: Vec<Param>,
        table: &Table,
    ) -> Result<u64, Failed> {
        let conn = self.writer.link.conn();
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

    async fn plain(&mut self, sql: &str) -> Result<(), Failed> {
        Ok(self.writer.link.conn().query_drop(sql).await?)
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
