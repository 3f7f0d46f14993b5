//! The drain's second half: units that were read go to the secondary, and their entries are settled
//! or failed.
//!
//! ```text
//! units ──batches──▶ written ─▶ settle          too old to judge ─▶ read again
//!            ├─ no parent: with its parents [`parents`]
//!            └─ refused: the culprit alone ─▶ clash? ─▶ once more after the others ─▶ as a set
//!                                          │     └─▶ with the row that holds the value now
//!                                          └─ fail: attempts, reason, a later next_try
//! ```
//!
//! Invariant: every unit's entries end settled, failed, given back, or among those to read again.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::warn;

use super::databases::{Databases, Outbox as _};
use super::drain::{Drain, LATER, Stop, Unit};
use super::gather::{Need, Task};
use super::metrics::Written;
use super::parents::{self, Parents};
use crate::backend::mysql::{Connection as _, Outcome, Reaction, Refused, WriteError};
use crate::change::{Change, Effect, Operation};
use crate::phase::Situation;

/// Most rows that are applied as one set because their unique values clash.
const SET_MAX: usize = 200;

impl<D: Databases> Drain<D> {
    /// Writes units in order and settles their entries; answers with those to be read (again).
    pub(super) async fn write(
        &mut self,
        units: Vec<Unit>,
        situation: &Situation,
        all: &mut bool,
    ) -> Result<Vec<Task>, Stop> {
        let (mut again, mut clashes) = (Vec::new(), Vec::new());
        let mut parts: Vec<Vec<Unit>> = chunks(units, self.shared.limits.batch_rows);
        parts.reverse();
        while let Some(mut part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            let batch: Vec<&[Change]> =
                part.iter().map(|unit| std::slice::from_ref(&unit.change)).collect();
            let mut result = self.attempt(&batch, situation).await;
            if let Err(refused) = &result
                && refused.error.lacks_parent()
            {
                let cut = cut_for_parents(&part);
                if cut < part.len() {
                    let rest = part.split_off(cut);
                    parts.extend([rest, part]);
                    continue;
                }
                result = self.with_parents(&part, refused.clone(), situation).await?;
            }
            match result {
                Ok(outcomes) => self.written(part, &outcomes, situation, &mut again).await?,
                Err(refused) if ends_pass(&refused.error) => {
                    let left = parts.into_iter().chain(clashes.into_iter().map(|(part, _)| part));
                    let left = std::iter::once(part).chain(left).flatten().collect();
                    return Err(self.give_back(left, &refused.error).await?);
                }
                Err(refused) if part.len() > 1 => {
                    let after = part.split_off(refused.at + 1);
                    let alone = part.split_off(refused.at);
                    parts.extend([after, alone, part]);
                }
                Err(refused) if refused.error.reaction() == Reaction::Soon => {
                    clashes.push((part, refused));
                }
                Err(refused) => {
                    *all = false;
                    for unit in part {
                        self.fail(&unit, &refused).await?;
                    }
                }
            }
        }
        self.clashing(clashes, situation, &mut again, all).await?;
        Ok(again)
    }

    /// Rows that lack a parent: with as many as it takes, as one set. Answers for the units alone.
    async fn with_parents(
        &mut self,
        part: &[Unit],
        refused: Refused,
        situation: &Situation,
    ) -> Result<Result<Vec<Outcome>, Refused>, Stop> {
        let children = || part.iter().map(|unit| &unit.change);
        let mut parents = Parents::of(children());
        let mut refused = refused;
        loop {
            let brought = parents.changes().len();
            let table = parents.wanting(&refused, children());
            refused.at = refused.at.saturating_sub(brought);
            let Some(table) = table else { return Ok(Err(refused)) };
            let primary = self.primary()?;
            if !parents.climb(primary, children(), table, situation).await? {
                return Ok(Err(refused));
            }
            let set: Vec<Change> =
                parents.changes().iter().cloned().chain(children().cloned()).collect();
            match self.attempt(&[&set], situation).await {
                Ok(mut outcomes) => {
                    self.shared.metrics.brought(parents.changes());
                    return Ok(Ok(outcomes.split_off(parents.changes().len())));
                }
                Err(next) => refused = next,
            }
        }
    }

    /// Nothing more can be written now: the entries may be claimed again soon.
    async fn give_back(&mut self, units: Vec<Unit>, error: &WriteError) -> Result<Stop, Stop> {
        let ids: Vec<i64> = units.into_iter().flat_map(|unit| unit.ids).collect();
        if error.breaks_connection() {
            self.shared.breaker.failed();
        }
        let (outbox, _) = self.primary()?;
        outbox.release(&ids, LATER).await?;
        Ok(Stop::Secondary)
    }

    async fn fail(&mut self, unit: &Unit, refused: &Refused) -> Result<(), Stop> {
        self.shared.metrics.refused(&unit.change, &refused.error);
        self.shared.metrics.wrote(&unit.change, Written::Failed);
        let text = reason(refused);
        warn!(table = %unit.change.table.name, reason = text, "change stays in the outbox");
        let (outbox, _) = self.primary()?;
        outbox.fail(&unit.ids, &text).await?;
        Ok(())
    }

    /// Units that clashed: once more now that the others are through; then all as one set.
    async fn clashing(
        &mut self,
        clashes: Vec<(Vec<Unit>, Refused)>,
        situation: &Situation,
        again: &mut Vec<Task>,
        all: &mut bool,
    ) -> Result<(), Stop> {
        let mut left = Vec::new();
        for (part, _) in clashes {
            let batch: Vec<&[Change]> =
                part.iter().map(|unit| std::slice::from_ref(&unit.change)).collect();
            match self.attempt(&batch, situation).await {
                Ok(outcomes) => self.written(part, &outcomes, situation, again).await?,
                Err(refused) => left.push((part, refused)),
            }
        }
        for (part, refused) in self.as_sets(left, situation, again).await? {
            let failed = self.with_owners(part, refused, situation, again, all).await?;
            let Some((part, refused)) = failed else { continue };
            *all = false;
            for unit in part {
                self.fail(&unit, &refused).await?;
            }
        }
        Ok(())
    }

    /// Units that clash with a row that has no entry here: that row is read again as well, and goes
    /// with them, as one set. Answers with what still failed.
    async fn with_owners(
        &mut self,
        part: Vec<Unit>,
        refused: Refused,
        situation: &Situation,
        again: &mut Vec<Task>,
        all: &mut bool,
    ) -> Result<Option<(Vec<Unit>, Refused)>, Stop> {
        let owners = match self.owners(&part).await {
            Ok(owners) if !owners.is_empty() => owners,
            _ => return Ok(Some((part, refused))),
        };
        let mut set = self.units(owners, situation, all).await?;
        if set.is_empty() {
            return Ok(Some((part, refused)));
        }
        let owners = set.len();
        set.extend(part);
        let changes: Vec<Change> = set.iter().map(|unit| same_statement(&unit.change)).collect();
        match self.attempt(&[&changes], situation).await {
            Ok(outcomes) => {
                for (unit, outcome) in set.iter().zip(&outcomes).take(owners) {
                    self.tell_of(&unit.change, *outcome);
                }
                self.written(set, &outcomes, situation, again).await?;
                Ok(None)
            }
            Err(refused) => Ok(Some((set.split_off(owners), refused))),
        }
    }

    /// Of a row that had to go and that the primary does not have: unless its own delete was on its way, somebody
    /// has written to the secondary by hand, and looks for it there.
    fn tell_of(&self, change: &Change, outcome: Outcome) {
        if matches!(change.effect, Effect::Gone { .. }) && outcome == Outcome::Applied {
            self.shared.metrics.removed(change);
            warn!(
                table = %change.table.name,
                "a row that only the secondary had was removed: another row needs its unique value"
            );
        }
    }

    /// What has to be read to know about the rows that stand in the way.
    async fn owners(&mut self, part: &[Unit]) -> Result<Vec<Task>, WriteError> {
        // Taken out: dropped in the middle of an answer, a connection must not be used again.
        let Some((mut writer, used)) = self.writer.take() else { return Ok(Vec::new()) };
        let limit = self.shared.limits.write_timeout;
        let mut tasks = Vec::new();
        for unit in part {
            let Effect::Put { key, image } = &unit.change.effect else { continue };
            let asked = writer.link().owners(&unit.change.table, key, image);
            let found = tokio::time::timeout(limit, asked).await;
            for key in found.unwrap_or(Err(WriteError::TimedOut))? {
                let table = Arc::clone(&unit.change.table);
                let need = Need::Read { key, gone_at: None };
                tasks.push(Task::new(table, Operation::Update, Vec::new(), need));
            }
        }
        self.writer = Some((writer, used));
        Ok(tasks)
    }

    /// Rows of one table that stand in each other's way go together; whoever spoils the set is left
    /// out of it, and returned.
    async fn as_sets(
        &mut self,
        mut left: Vec<(Vec<Unit>, Refused)>,
        situation: &Situation,
        again: &mut Vec<Task>,
    ) -> Result<Vec<(Vec<Unit>, Refused)>, Stop> {
        let oid = |(part, _): &(Vec<Unit>, Refused)| part.first().map(|unit| unit.change.table.oid);
        left.sort_by_key(oid);
        let mut failed = Vec::new();
        while !left.is_empty() {
            let table = left.first().map(oid);
            let end = left.iter().position(|one| Some(oid(one)) != table).unwrap_or(left.len());
            let mut set: Vec<_> = left.drain(..end.min(SET_MAX)).collect();
            while set.len() > 1 {
                let parts = set.iter().flat_map(|(part, _)| part);
                let changes: Vec<Change> = parts.map(|unit| same_statement(&unit.change)).collect();
                match self.attempt(&[&changes], situation).await {
                    Ok(outcomes) => {
                        let units = set.drain(..).flat_map(|(part, _)| part).collect();
                        self.written(units, &outcomes, situation, again).await?;
                    }
                    Err(refused) if ends_pass(&refused.error) => break,
                    Err(refused) => failed.push(set.remove(refused.at.min(set.len() - 1))),
                }
            }
            failed.append(&mut set);
        }
        Ok(failed)
    }

    async fn attempt(
        &mut self,
        batch: &[&[Change]],
        situation: &Situation,
    ) -> Result<Vec<Outcome>, Refused> {
        let none = |error| Refused { at: 0, column: None, error };
        let limit = self.shared.limits.write_timeout;
        let idle_max = self.shared.limits.link.idle / 2;
        let open = self.writer.take().filter(|(_, used)| used.elapsed() < idle_max);
        let writer = match open {
            Some((writer, _)) => writer,
            None => self.shared.connect().await.map_err(none)?,
        };
        let (writer, _) = self.writer.insert((writer, Instant::now()));
        let write = writer.write(batch, situation.epoch, &situation.catalog);
        let result = tokio::time::timeout(limit, write).await;
        let result = result.unwrap_or_else(|_| Err(none(WriteError::TimedOut)));
        match &result {
            Ok(_) => self.shared.breaker.succeeded(),
            Err(refused) if refused.error.breaks_connection() => self.writer = None,
            Err(_) => {}
        }
        result
    }

    async fn written(
        &mut self,
        part: Vec<Unit>,
        outcomes: &[Outcome],
        situation: &Situation,
        again: &mut Vec<Task>,
    ) -> Result<(), Stop> {
        let mut ids = Vec::with_capacity(part.len());
        for (unit, outcome) in part.into_iter().zip(outcomes) {
            self.shared.metrics.wrote(&unit.change, (*outcome).into());
            match outcome {
                Outcome::Applied | Outcome::Superseded => ids.extend(unit.ids),
                Outcome::ReadAgain => again.extend(unit.read_again()),
            }
        }
        let (outbox, _) = self.primary()?;
        outbox.settle(&ids, situation.epoch).await?;
        Ok(())
    }
}

/// Only rows go with their parents: a TRUNCATE in one set with them would come after them. And no more
/// than leave room for their parents.
fn cut_for_parents(part: &[Unit]) -> usize {
    let is_row = |unit: &Unit| matches!(unit.change.effect, Effect::Put { .. });
    match part.iter().position(is_row) {
        Some(0) | None => parents::CHILDREN_MAX,
        Some(first) => first,
    }
}

/// The secondary is away, or at another epoch: nothing else of this pass can be written.
fn ends_pass(error: &WriteError) -> bool {
    matches!(error.reaction(), Reaction::Down | Reaction::ReadAgain)
        || *error == WriteError::NotSetUp
}

/// In one statement the order of keys does not count, so that a set may be taken apart.
fn same_statement(change: &Change) -> Change {
    let mut change = change.clone();
    change.version.n = 0;
    change
}

/// A code and a column's name, never a value.
fn reason(refused: &Refused) -> String {
    let code = refused.error.code();
    match (&refused.error, &refused.column) {
        (WriteError::Unrepresentable { column, cause, .. }, _) => {
            format!("{code} column \"{column}\": {}", cause.reason)
        }
        (_, Some(column)) => format!("{code} column \"{column}\""),
        (_, None) => code,
    }
}

fn chunks(units: Vec<Unit>, size: usize) -> Vec<Vec<Unit>> {
    let mut parts = Vec::new();
    let mut units = units.into_iter().peekable();
    while units.peek().is_some() {
        parts.push(units.by_ref().take(size.max(1)).collect());
    }
    parts
}
