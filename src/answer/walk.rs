//! Walks a program: its steps on MySQL, in their order, within one transaction.
//!
//! ```text
//! Keep ─▶ Write ─▶ Answer        each text filled from Places, each step's rows kept for the later ones
//! ```
//!
//! Invariant: whoever walks has begun a transaction if [`takes_steps`] says so; nothing here begins or ends
//! one, but with [`Walk::begin`]. Keys that a write touches are known before or right after it, and are noted
//! while PostgreSQL follows ([`captured`](super::captured)).

use mysql_async::Value as Param;

use crate::answer::backend::{Backend, Done};
use crate::answer::captured::{Captured, Notes};
use crate::answer::error::{About, PgError};
use crate::answer::place::{Places, Rows};
use crate::answer::rows::{Sink, Stop};
use crate::catalog::Catalog;
use crate::change::Operation;
use crate::dialect::program::{self, Answer, Keys, Program, Set, Step, Text, Upsert, Write};
use crate::names::TableId;
use crate::phase::Situation;

/// Rows held at once for a step to come.
const ROWS_MAX: usize = 100_000;
/// How often an upsert starts over because another transaction was faster.
const UPSERTS_MAX: usize = 16;

/// Whether a program needs a transaction of its own; with `captures`, every write does.
pub(super) fn takes_steps(program: &Program, captures: bool) -> bool {
    let direct = program.direct.is_some() && !captures;
    !direct && !matches!(program.steps[..], [Step::Answer(_)])
}

/// One run of a program.
pub(super) struct Walk<'a, 'b> {
    pub(super) backend: &'a mut Backend,
    pub(super) catalog: &'a Catalog,
    pub(super) places: Places<'a>,
    pub(super) sink: &'a mut Sink<'b>,
    /// The client's count.
    pub(super) count: u64,
    /// What begins the transaction, where writes are noted and nothing has done so.
    pub(super) begin: Vec<String>,
    /// Where writes are noted, while PostgreSQL follows; of a program that writes.
    pub(super) notes: Option<(&'a mut Captured, &'a Situation)>,
}

impl Walk<'_, '_> {
    /// Runs all of it; the count is then that of CommandComplete, unless rows are counted.
    pub(super) async fn run(&mut self, program: &Program) -> Result<(), Stop> {
        if let Some(direct) = program.direct.as_ref().filter(|_| self.notes.is_none()) {
            let table = program.steps.iter().find_map(written);
            let about = About { catalog: self.catalog, table };
            if let Some((sql, params)) = self.places.fill(direct)? {
                self.count += self.backend.stream(&sql, params, about, self.sink).await?.count;
            }
            return Ok(());
        }
        if let Some((captured, situation)) = self.notes.as_mut() {
            let mut notes = Notes { captured, situation, backend: self.backend };
            let mut tables = Vec::new();
            program.steps.iter().for_each(|step| entries(step, &mut tables));
            notes.stand(std::mem::take(&mut self.begin), &tables).await?;
        }
        self.steps(&program.steps).await
    }

    async fn steps(&mut self, steps: &[Step]) -> Result<(), Stop> {
        for step in steps {
            match step {
                Step::Answer(answer) => self.answer(answer).await?,
                Step::Keep { set, query } => {
                    let mut rows = self.places.take(*set);
                    rows.extend(self.query(query).await?);
                    self.places.keep(*set, rows)?;
                }
                Step::Write(write) => {
                    let done = self.write(write).await?;
                    if write.counts {
                        self.count += done;
                    }
                }
                Step::Upsert(upsert) => self.upsert(upsert).await?,
                Step::Each { set, row, steps } => {
                    for one in self.places.set(*set).clone() {
                        self.places.keep(*row, vec![one])?;
                        Box::pin(self.steps(steps)).await?;
                    }
                }
                Step::FirstOfEach { set, width } => {
                    let rows = first_of_each(self.places.set(*set), *width);
                    self.places.keep(*set, rows)?;
                }
            }
        }
        Ok(())
    }

    async fn query(&mut self, text: &Text) -> Result<Rows, Stop> {
        let Some((sql, params)) = self.places.fill(text)? else { return Ok(Rows::new()) };
        let about = About { catalog: self.catalog, table: None };
        Ok(self.backend.rows(&sql, params, ROWS_MAX, about).await?.0)
    }

    async fn answer(&mut self, answer: &Answer) -> Result<(), Stop> {
        let Some((sql, params)) = self.places.fill(&answer.query)? else { return Ok(()) };
        let about = About { catalog: self.catalog, table: None };
        let Some(order) = answer.order else {
            if answer.hidden == 0 {
                self.backend.stream(&sql, params, about, self.sink).await?;
                return Ok(());
            }
            let (rows, _) = self.backend.rows(&sql, params, ROWS_MAX, about).await?;
            for mut row in rows {
                row.truncate(row.len().saturating_sub(answer.hidden));
                self.sink.row(row).await?;
            }
            return Ok(());
        };
        let (rows, _) = self.backend.rows(&sql, params, ROWS_MAX, about).await?;
        for row in in_order(rows, self.places.set(order), answer.hidden) {
            self.sink.row(row).await?;
        }
        Ok(())
    }

    /// Runs a write and keeps its keys; returns how many rows it wrote.
    async fn write(&mut self, write: &Write) -> Result<u64, PgError> {
        let Some((sql, params)) = self.places.fill(&write.text)? else {
            self.keys(write, Done { count: 0, last_id: None }).await?;
            return Ok(0);
        };
        self.note(write).await?;
        let about = About { catalog: self.catalog, table: Some(&write.table) };
        let (_, done) = self.backend.rows(&sql, params, 0, about).await?;
        self.keys(write, done).await?;
        if let Keys::Given { into, .. }
        | Keys::Copied { into, .. }
        | Keys::Counted { into, .. }
        | Keys::Pinned { into, .. } = &write.keys
            && let Some((captured, situation)) = self.notes.as_mut()
        {
            let mut notes = Notes { captured, situation, backend: self.backend };
            notes.note(&write.table, write.operation, self.places.set(*into)).await?;
        }
        Ok(done.count)
    }

    /// Notes the keys of a write that are known before it, and rows that change along with these.
    async fn note(&mut self, write: &Write) -> Result<(), PgError> {
        let Some((captured, situation)) = self.notes.as_mut() else { return Ok(()) };
        let mut notes = Notes { captured, situation, backend: self.backend };
        let (table, operation) = (&write.table, write.operation);
        notes.admit(write)?;
        if operation == Operation::Truncate {
            return notes.note_truncate(table).await;
        }
        let (Keys::Kept(set) | Keys::Moved { set, .. }) = &write.keys else { return Ok(()) };
        let width = table.key.len();
        let rows = self.places.set(*set);
        let keys: Rows = rows.iter().map(|row| row[..width.min(row.len())].to_vec()).collect();
        let Keys::Moved { to, .. } = &write.keys else {
            return notes.note(table, operation, &keys).await;
        };
        let moved = |row: &Vec<Param>| {
            to.iter().map(|at| row.get(*at).cloned().unwrap_or(Param::NULL)).collect()
        };
        notes.note_move(table, &keys, &rows.iter().map(moved).collect()).await
    }

    /// Keeps the keys of rows that were inserted, or found by the write itself.
    async fn keys(&mut self, write: &Write, done: Done) -> Result<(), PgError> {
        let (keys, into) = match &write.keys {
            Keys::Kept(_) | Keys::Moved { .. } | Keys::None => return Ok(()),
            Keys::Given { rows, into } => {
                let key = |slots: &Vec<program::Slot>| {
                    slots.iter().map(|slot| self.places.param(slot)).collect::<Result<Vec<_>, _>>()
                };
                (rows.iter().map(key).collect::<Result<Rows, _>>()?, *into)
            }
            Keys::Pinned { key, into } => {
                let key = || key.iter().map(|slot| self.places.param(slot)).collect();
                let keys = (0 < done.count).then(key).transpose()?;
                (keys.into_iter().collect(), *into)
            }
            Keys::Copied { from, at, into } => {
                let key = |row: &Vec<Param>| at.iter().map(|at| row[*at].clone()).collect();
                (self.places.set(*from).iter().map(key).collect(), *into)
            }
            Keys::Counted { rows, into } => {
                let count = match rows {
                    program::Rows::Number(count) => *count,
                    program::Rows::Of(set) => self.places.set(*set).len(),
                };
                let increment = self.backend.increment().await?;
                let first = done.last_id.unwrap_or(0);
                let key = |at: usize| vec![Param::UInt(first + at as u64 * increment)];
                let count = if done.count == 0 { 0 } else { count };
                ((0..count).map(key).collect(), *into)
            }
        };
        self.places.keep(into, keys)
    }

    async fn upsert(&mut self, upsert: &Upsert) -> Result<(), Stop> {
        for _ in 0..UPSERTS_MAX {
            let found = match &upsert.find {
                Some(find) => self.query(find).await?,
                None => Rows::new(),
            };
            let is_found = !found.is_empty();
            self.places.keep(upsert.found, found)?;
            self.places.set_replaced(upsert.found, is_found);
            if is_found {
                let count = self.update(upsert).await?;
                self.count += count;
                return Ok(());
            }
            match self.write(&upsert.insert).await {
                Ok(count) => {
                    let into = match &upsert.insert.keys {
                        Keys::Given { into, .. }
                        | Keys::Copied { into, .. }
                        | Keys::Counted { into, .. }
                        | Keys::Pinned { into, .. } => Some(*into),
                        Keys::Kept(set) | Keys::Moved { set, .. } => Some(*set),
                        Keys::None => None,
                    };
                    let keys = into.map(|into| self.places.set(into).clone());
                    self.places.keep(upsert.written, keys.unwrap_or_default())?;
                    if upsert.insert.counts {
                        self.count += count;
                    }
                    return Ok(());
                }
                Err(error) if error.code == "23505" && upsert.find.is_none() => {
                    self.places.keep(upsert.written, Rows::new())?;
                    return Ok(());
                }
                Err(error) if error.key().is_some_and(|key| upsert.arbiters.contains(key)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let text = "could not serialize access due to concurrent update";
        Err(PgError::new("40001", text).into())
    }

    /// DO UPDATE of the row that was found, or DO NOTHING.
    async fn update(&mut self, upsert: &Upsert) -> Result<u64, Stop> {
        let mut written = Rows::new();
        let mut count = 0;
        if let Some(update) = &upsert.update {
            let holds = match &update.condition {
                None => true,
                Some(condition) => {
                    let answer = self.query(condition).await?;
                    answer.first().and_then(|row| row.first()).is_some_and(is_true)
                }
            };
            if holds {
                let done = self.write(&update.write).await?;
                count = if update.write.counts { done } else { 0 };
                written = self.places.set(self.written_keys(upsert, &update.write)).clone();
            }
        }
        self.places.keep(upsert.written, written)?;
        Ok(count)
    }

    fn written_keys(&self, upsert: &Upsert, write: &Write) -> Set {
        match &write.keys {
            Keys::Kept(set) | Keys::Moved { set, .. } => *set,
            Keys::Given { into, .. }
            | Keys::Copied { into, .. }
            | Keys::Counted { into, .. }
            | Keys::Pinned { into, .. } => *into,
            Keys::None => upsert.found,
        }
    }
}

fn is_true(value: &Param) -> bool {
    match value {
        Param::Int(value) => *value != 0,
        Param::UInt(value) => *value != 0,
        Param::Bytes(bytes) => bytes != b"0",
        _ => false,
    }
}

/// The table of the first write.
fn written(step: &Step) -> Option<&crate::catalog::Table> {
    match step {
        Step::Write(write) => Some(&write.table),
        Step::Upsert(upsert) => Some(&upsert.insert.table),
        Step::Each { steps, .. } => steps.iter().find_map(written),
        Step::Answer(_) | Step::Keep { .. } | Step::FirstOfEach { .. } => None,
    }
}

/// Tables whose rows a step writes; a TRUNCATE takes the table's entry for itself.
fn entries(step: &Step, tables: &mut Vec<TableId>) {
    match step {
        Step::Write(write) if write.operation == Operation::Truncate => {}
        Step::Write(write) => tables.extend(write.table.id),
        Step::Upsert(upsert) => tables.extend(upsert.insert.table.id),
        Step::Each { steps, .. } => steps.iter().for_each(|step| entries(step, tables)),
        Step::Answer(_) | Step::Keep { .. } | Step::FirstOfEach { .. } => {}
    }
}

/// Rows in the order of a set, whose first columns are their last ones; those are cut off.
fn in_order(rows: Rows, set: &Rows, width: usize) -> Rows {
    let mut waiting: Vec<Option<Vec<Param>>> = rows.into_iter().map(Some).collect();
    let own = |row: &Vec<Param>| row.len().saturating_sub(width);
    let mut ordered = Rows::with_capacity(waiting.len());
    for key in set {
        for slot in &mut waiting {
            let fits = |row: &Vec<Param>| row[own(row)..].iter().zip(key).all(|(a, b)| same(a, b));
            if let Some(mut row) = slot.take_if(|row| fits(row)) {
                row.truncate(own(&row));
                ordered.push(row);
            }
        }
    }
    ordered
}

/// The first of the rows that have the same first columns.
fn first_of_each(rows: &Rows, width: usize) -> Rows {
    let mut first = Rows::new();
    for row in rows {
        let known = first.iter().any(|other: &Vec<Param>| other[..width] == row[..width]);
        if !known {
            first.push(row.clone());
        }
    }
    first
}

/// Numbers may come signed or not, and as text.
fn same(a: &Param, b: &Param) -> bool {
    let number = |value: &Param| match value {
        Param::Int(value) => Some(i128::from(*value)),
        Param::UInt(value) => Some(i128::from(*value)),
        Param::Bytes(bytes) => str::from_utf8(bytes).ok()?.parse().ok(),
        _ => None,
    };
    a == b || matches!((number(a), number(b)), (Some(a), Some(b)) if a == b)
}
