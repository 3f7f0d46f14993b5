//! Decides what happens to a statement: passed on, rewritten to be captured, or flagged.
//!
//! ```text
//! text ──tokens──▶ [`classify`] ──Step──▶ [`rewrite`] ──edits──▶ Plan ──▶ [`cache`] ──▶ session
//! ```
//!
//! Invariant: a plan is a function of the text without its literals, the situation (catalogue,
//! epoch, timeline) and the search path, so it can be kept under exactly these and reused for every
//! text that has them in common. A rewritten statement does what the client's does, and writes its
//! outbox entries in the same statement: row and entry live and die together, whatever savepoint,
//! crash or PREPARE TRANSACTION comes between.
//!
//! Not here: what to do with the rows that come back (`capture`).

pub mod cache;
mod classify;
mod clause;
mod columns;
mod edit;
mod moves;
mod resolve;
mod rewrite;
pub mod seen;
mod session_words;
mod touches;
mod with;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use crate::catalog::{Capture as Means, Catalog, Table};
use crate::change::Operation;
use crate::names::TableName;
use crate::phase::{Phase, Situation};
use crate::sql::lexer::{Lexer, split};

pub use edit::Applied;
use edit::{Edit, Piece, Place};
pub use resolve::SearchPath;
pub use session_words::{OwnSettings, own_settings};
pub use touches::Touches;

/// What is done with one query string, which may hold several statements.
#[derive(Debug, Default)]
pub struct Plan {
    pub statements: Vec<Planned>,
    edits: Vec<Edit>,
    /// Where its executions are counted.
    tally: Option<Arc<seen::Tally>>,
    /// What all its statements name.
    pub touches: Touches,
}

/// One statement of a plan.
#[derive(Debug)]
pub struct Planned {
    pub step: Step,
    tokens: Range<usize>,
}

/// What one statement is, as far as the proxy has to know.
#[derive(Clone, Debug)]
pub enum Step {
    /// Passed on; does not write tables.
    Read,
    /// Passed on; neither read nor write (SET, SHOW, LISTEN, …).
    Other,
    /// Passed on; writes tables that are not migrated.
    Unmigrated,
    /// Rewritten: rows come back with the columns of [`Capture`] at their end.
    Capture(Arc<Capture>),
    /// Its outbox entries are written by the statement itself or by triggers; no images come back.
    Entered(Vec<Arc<Table>>),
    /// TRUNCATE: outbox entries for these tables are written by [`Truncate::entries`] after it.
    Truncate(Arc<Truncate>),
    /// Passed on; writes that are not carried over. The tables are marked dirty first.
    Uncaptured {
        tables: Vec<TableName>,
        reason: &'static str,
    },
    Ddl,
    Savepoint(String),
    Release(String),
    RollbackTo(String),
    /// COMMIT, as the client wrote it.
    Commit,
    Begin,
    /// ROLLBACK and what else ends a transaction; the tag tells how.
    Transaction,
    /// `PREPARE name AS …`, with the plan of its statement.
    Prepare {
        name: String,
        step: Box<Self>,
    },
    Execute(String),
    /// `DEALLOCATE name`, or all.
    Deallocate(Option<String>),
    /// SET search_path and whatever else may change what a name means: by its text.
    SearchPath(PathChange),
    /// CREATE TEMP TABLE name: the name means the temporary table from now on.
    Temporary(String),
}

/// What becomes of the search path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathChange {
    /// For the session, unless the transaction is rolled back. `$user` is still in it.
    Set(SearchPath),
    /// Until the transaction ends.
    Local(SearchPath),
    /// What the session began with.
    Reset,
    /// The statement sets something else; a text that differs in its literals might not.
    Kept,
}

/// How a captured statement's rows are read.
#[derive(Clone, Debug)]
pub struct Capture {
    pub table: Arc<Table>,
    pub operation: Operation,
    /// The client asked for rows of its own.
    pub returning: bool,
    /// INSERT … ON CONFLICT.
    pub upserts: bool,
    /// The columns added, in order.
    pub columns: &'static [Added],
    /// Tables that the statement's WITH list writes: entered, without images.
    pub entered: Vec<Arc<Table>>,
}

impl Capture {
    /// True where the image alone stands for the change: the table has `outbox: false`.
    #[must_use]
    pub fn is_loose(&self) -> bool {
        self.columns.contains(&Added::Guard)
    }
}

/// A column that the rewrite added at the end of each row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// `crossfade.outbox.id`, int8.
    Entry,
    /// The epoch, int8; it only has to be asked for.
    Guard,
    /// The LSN, int8.
    Lsn,
    /// `record_send(ROW(key columns))`.
    Key,
    /// `record_send(ROW(tableoid, ROW(t.*)))`.
    Row,
    /// The entry for the row's old key, int8; NULL where the key stayed.
    OldEntry,
    /// The old key, as [`Added::Key`].
    OldKey,
    /// `I`, `U` or `D` as text: MERGE does all three.
    Operation,
}

#[derive(Debug)]
pub struct Truncate {
    /// Tables of which [`Self::entries`] returns the entries.
    pub listed: Vec<Arc<Table>>,
    /// Tables whose triggers write theirs.
    pub others: Vec<Arc<Table>>,
    /// The statement that writes the entries, and returns each one's table, number and LSN; it has
    /// to follow in the same transaction.
    pub entries: String,
}

impl Plan {
    /// The text to send instead of `sql`, with the map back to the client's positions; `None` where
    /// nothing is to be changed.
    ///
    /// # Panics
    /// Never: `sql` has the tokens that the plan was made from (see [`crate::sql::normal`]).
    #[must_use]
    pub fn apply(&self, sql: &str) -> Option<Applied> {
        if self.edits.is_empty() {
            return None;
        }
        let tokens: Vec<_> = Lexer::new(sql.as_bytes()).collect();
        Some(edit::apply(sql, &tokens, &self.edits))
    }

    /// As [`Self::apply`], for a query string: the entries of a TRUNCATE follow it there.
    #[must_use]
    pub fn apply_all(&self, sql: &str) -> Option<Applied> {
        let truncates = self.statements.iter().filter_map(|planned| match &planned.step {
            Step::Truncate(truncate) => {
                let entries = Piece::Text(format!("; {}", truncate.entries));
                let place = Place::After(planned.tokens.end - 1);
                Some(Edit { place, pieces: vec![entries] })
            }
            _ => None,
        });
        let edits: Vec<_> = self.edits.iter().cloned().chain(truncates).collect();
        let tokens: Vec<_> = Lexer::new(sql.as_bytes()).collect();
        (!edits.is_empty()).then(|| edit::apply(sql, &tokens, &edits))
    }

    /// True where the text may have to be changed.
    #[must_use]
    pub fn is_rewritten(&self) -> bool {
        let truncates = |planned: &Planned| matches!(planned.step, Step::Truncate(_));
        !self.edits.is_empty() || self.statements.iter().any(truncates)
    }

    /// The plan for passing the same text on as it is: what it would have captured is flagged.
    #[must_use]
    pub fn given_up(&self, reason: &'static str) -> Self {
        let statements = self.statements.iter().map(|planned| Planned {
            step: planned.step.given_up(reason),
            tokens: planned.tokens.clone(),
        });
        let (tally, touches) = (self.tally.clone(), self.touches);
        Self { statements: statements.collect(), edits: Vec::new(), tally, touches }
    }

    /// The plan for a text that cannot be read to its end: it may write any table.
    #[must_use]
    pub fn unread(situation: &Situation, reason: &'static str) -> Self {
        let captured = situation.catalog.captured();
        let returning = captured.filter(|table| table.capture == Means::Returning);
        let mut tables: Vec<_> = returning.map(|table| table.name.clone()).collect();
        tables.sort();
        let step = match situation.phase {
            Phase::Setup => Step::Unmigrated,
            _ => Step::Uncaptured { tables, reason },
        };
        Self::of(step)
    }

    /// The plan of a statement of which the step is known already.
    #[must_use]
    pub fn of(step: Step) -> Self {
        let statements = vec![Planned { step, tokens: 0..0 }];
        Self { statements, edits: Vec::new(), tally: None, touches: Touches::default() }
    }

    /// What is known about its text.
    #[must_use]
    pub fn tally(&self) -> Option<&Arc<seen::Tally>> {
        self.tally.as_ref()
    }

    /// The only statement's step; `None` for an empty string or several statements.
    #[must_use]
    pub fn single(&self) -> Option<&Step> {
        match &self.statements[..] {
            [planned] => Some(&planned.step),
            _ => None,
        }
    }
}

/// Plans a query string. Pure: the same arguments always give the same plan.
#[must_use]
pub fn plan(sql: &str, situation: &Situation, path: &SearchPath) -> Plan {
    plan_within(sql, situation, path, false)
}

/// What the statements of a query string name; nothing where all tables move together.
#[must_use]
pub fn named(sql: &str, catalog: &Catalog, path: &SearchPath) -> Touches {
    let tokens: Vec<_> = Lexer::new(sql.as_bytes()).collect();
    let names = resolve::Names { catalog, path };
    let all = split(sql.as_bytes(), &tokens).into_iter();
    all.fold(Touches::default(), |touches, range| {
        touches.and(touches::touches(sql, &tokens[range], names))
    })
}

/// As [`plan`]. `moved`: the path was set by the transaction under way, so that its end changes it.
fn plan_within(sql: &str, situation: &Situation, path: &SearchPath, mut moved: bool) -> Plan {
    let tokens: Vec<_> = Lexer::new(sql.as_bytes()).collect();
    let mut plan = Plan::default();
    let mut path = Cow::Borrowed(path);
    for range in split(sql.as_bytes(), &tokens) {
        let statement = classify::Input {
            sql,
            tokens: &tokens[range.clone()],
            first: range.start,
            names: resolve::Names { catalog: &situation.catalog, path: &path },
            situation,
        };
        let (step, edits) = classify::step(&statement);
        let touches = touches::touches(sql, statement.tokens, statement.names);
        plan.touches = plan.touches.and(touches);
        match &step {
            Step::SearchPath(PathChange::Set(to) | PathChange::Local(to)) if !to.names_user() => {
                moved = true;
                path = Cow::Owned(to.clone());
            }
            Step::SearchPath(PathChange::Kept) => {}
            // Where it leads is known to the session alone.
            Step::SearchPath(_) => {
                moved = true;
                path = Cow::Owned(SearchPath::Unknown);
            }
            Step::Transaction | Step::Commit | Step::RollbackTo(_) if moved => {
                path = Cow::Owned(SearchPath::Unknown);
            }
            _ => {}
        }
        plan.edits.extend(edits);
        plan.statements.push(Planned { step, tokens: range });
    }
    plan
}

impl Planned {
    /// Where the statement stands in the text, as token positions.
    #[must_use]
    pub fn tokens(&self) -> Range<usize> {
        self.tokens.clone()
    }
}

/// The reason for giving up a plan in a session whose encoding is not UTF-8.
pub const ENCODING: &str = "encoding";

impl Step {
    fn given_up(&self, reason: &'static str) -> Self {
        let flagged = |tables: &[Arc<Table>]| {
            // Triggers see a write in any form, but write its key in the session's encoding.
            let lost = |table: &&Arc<Table>| table.capture != Means::Trigger || reason == ENCODING;
            let named = tables.iter().filter(lost).map(|table| table.name.clone());
            let named = named.collect::<Vec<_>>();
            if named.is_empty() {
                return Self::Entered(tables.to_vec());
            }
            Self::Uncaptured { tables: named, reason }
        };
        match self {
            Self::Capture(capture) => {
                let main = std::iter::once(&capture.table);
                flagged(&main.chain(&capture.entered).cloned().collect::<Vec<_>>())
            }
            Self::Entered(tables) => flagged(tables),
            Self::Truncate(truncate) => {
                let tables = truncate.listed.iter().chain(&truncate.others);
                flagged(&tables.cloned().collect::<Vec<_>>())
            }
            Self::Prepare { name, step } => {
                Self::Prepare { name: name.clone(), step: Box::new(step.given_up(reason)) }
            }
            other => other.clone(),
        }
    }

    /// True where the literals of the text, which the cache's key does not hold, matter.
    fn depends_on_literals(&self) -> bool {
        match self {
            Self::SearchPath(_) | Self::Uncaptured { .. } => true,
            Self::Prepare { step, .. } => step.depends_on_literals(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;
