//! Says what one statement is, by its first words and its parts.
//!
//! Invariant: every statement that may write a migrated table ends as captured, entered or
//! uncaptured; what is not recognised at all and might write is uncaptured.

use std::sync::Arc;

use crate::catalog::{Capture as Means, Table};
use crate::names::TableName;
use crate::phase::{Phase, Situation};
use crate::plan::clause::{Dml, Reader, Verb};
use crate::plan::columns;
use crate::plan::edit::{Edit, Piece, Place};
use crate::plan::resolve::{Names, Target};
use crate::plan::{Step, Truncate, moves, rewrite, session_words, with};
use crate::policy::Mode;
use crate::sql::lexer::{Kind, Token};
use crate::sql::parse;

/// One statement and all that its plan depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input<'a> {
    /// The whole query string; tokens are positions in it.
    pub(super) sql: &'a str,
    pub(super) tokens: &'a [Token],
    /// The number of the statement's first token within the string.
    pub(super) first: usize,
    pub(super) names: Names<'a>,
    pub(super) situation: &'a Situation,
}

type Outcome = (Step, Vec<Edit>);

/// The statement's step, and the edits to the query string that go with it.
pub(super) fn step(input: &Input<'_>) -> Outcome {
    let (step, mut edits) = route(input);
    if input.situation.phase == Phase::Setup && matches!(step, Step::Uncaptured { .. }) {
        return plain(Step::Unmigrated);
    }
    for edit in &mut edits {
        edit.shift(input.first);
    }
    (step, edits)
}

fn route(input: &Input<'_>) -> Outcome {
    let reader = input.reader();
    let Some(word) = reader.word(0) else {
        // `(SELECT …)` and the like.
        return plain(if input.mentions_dml() {
            uncaptured(input, "unparsed")
        } else {
            Step::Read
        });
    };
    match word.as_str() {
        "SELECT" | "VALUES" | "TABLE" | "FETCH" | "MOVE" | "DECLARE" => plain(query(input)),
        "WITH" => with_list(input),
        "INSERT" | "UPDATE" | "DELETE" | "MERGE" => main(input, 0, false),
        "TRUNCATE" => plain(truncate(input)),
        "COPY" => plain(copy(input)),
        "EXPLAIN" => plain(explain(input)),
        "DO" => plain(uncaptured(input, "do")),
        "CALL" => plain(everything(input, "call")),
        "BEGIN" | "START" => plain(Step::Begin),
        "ABORT" => plain(Step::Transaction),
        "COMMIT" | "END" if reader.is(1, "PREPARED") => plain(Step::Transaction),
        "COMMIT" | "END" => plain(Step::Commit),
        "ROLLBACK" => plain(rollback(reader)),
        "SAVEPOINT" => plain(named(reader, 1, Step::Savepoint)),
        "RELEASE" => {
            let at = 1 + usize::from(reader.is(1, "SAVEPOINT"));
            plain(named(reader, at, Step::Release))
        }
        "PREPARE" if reader.is(1, "TRANSACTION") => plain(Step::Transaction),
        "PREPARE" => prepare(input),
        "EXECUTE" => plain(named(reader, 1, Step::Execute)),
        "DEALLOCATE" => plain(deallocate(reader)),
        "SET" | "RESET" | "DISCARD" => plain(session_words::set(reader)),
        "CREATE" if input.makes_of_writes() => plain(uncaptured(input, "create_as")),
        "CREATE" => plain(session_words::temporary(reader).map_or(Step::Ddl, Step::Temporary)),
        "ALTER" | "DROP" | "COMMENT" | "GRANT" | "REVOKE" | "IMPORT" | "REASSIGN" | "SECURITY" => {
            plain(Step::Ddl)
        }
        _ => plain(Step::Other),
    }
}

fn plain(step: Step) -> Outcome {
    (step, Vec::new())
}

/// A statement that reads, unless it holds one that writes.
fn query(input: &Input<'_>) -> Step {
    let reader = input.reader();
    if let Some(step) = session_words::set_config(reader) {
        return step;
    }
    let into = reader.find(0..input.tokens.len(), 0, &["INTO"]).is_some();
    if into && reader.is(0, "SELECT") { Step::Ddl } else { Step::Read }
}

/// An INSERT, UPDATE, DELETE or MERGE that begins at token `start`.
fn main(input: &Input<'_>, start: usize, nested: bool) -> Outcome {
    let reader = input.reader();
    let Some(dml) = reader.dml(start..input.tokens.len()) else {
        return plain(uncaptured(input, "unparsed"));
    };
    let table = match input.writable(&dml) {
        Ok(table) => table,
        Err(step) => return plain(*step),
    };
    if table.capture == Means::Trigger {
        // The triggers enter the keys; `strict` wants the images too, before the commit.
        let images = table.policy.mode == Mode::Strict && !nested && dml.verb != Verb::Merge;
        if !images || input.obstacle(&dml, &table).is_some() {
            return plain(Step::Entered(vec![table]));
        }
        let (capture, edits) = rewrite::capture(reader, &dml, &table, input.situation);
        return (Step::Capture(Arc::new(capture)), edits);
    }
    if let Some(reason) = input.obstacle(&dml, &table) {
        return plain(flag(&[table], reason));
    }
    let (capture, edits) = rewrite::capture(reader, &dml, &table, input.situation);
    (Step::Capture(Arc::new(capture)), edits)
}

/// A statement with a WITH list, any part of which may write.
fn with_list(input: &Input<'_>) -> Outcome {
    let reader = input.reader();
    let Some((ctes, start)) = with::list(reader) else {
        let writes = input.mentions_dml();
        return plain(if writes { uncaptured(input, "unparsed") } else { Step::Read });
    };
    let mut entered = Vec::new();
    let mut flagged = Vec::new();
    let mut edits = Vec::new();
    let mut writes = false;
    for (number, cte) in ctes.iter().enumerate() {
        if reader.verb(cte.body.start).is_none() {
            continue;
        }
        let Some(dml) = reader.dml(cte.body.clone()) else {
            return plain(uncaptured(input, "unparsed"));
        };
        let table = match input.writable(&dml) {
            Ok(table) => table,
            Err(step) => match *step {
                Step::Unmigrated => {
                    writes = true;
                    continue;
                }
                Step::Entered(tables) => {
                    entered.extend(tables);
                    continue;
                }
                step => return plain(step),
            },
        };
        entered.push(Arc::clone(&table));
        if table.capture == Means::Trigger {
            continue;
        }
        let moved = rewrite::assigns_key(&dml, &table);
        let rewritten = (!moved && input.obstacle(&dml, &table).is_none())
            .then(|| with::enter(reader, cte, number, &dml, &table, input.situation))
            .filter(|_| !input.mentions_ours());
        match rewritten.flatten() {
            Some(found) => edits.extend(found),
            None => flagged.push(table),
        }
    }
    if !flagged.is_empty() {
        return plain(flag(&entered, "with"));
    }
    let outcome = match reader.verb(start) {
        Some(_) => main(input, start, true),
        None => plain(if writes { Step::Unmigrated } else { Step::Read }),
    };
    combine(entered, edits, outcome)
}

/// Puts what the WITH list does and what the main statement does together.
fn combine(mut entered: Vec<Arc<Table>>, mut edits: Vec<Edit>, main: Outcome) -> Outcome {
    match main {
        outcome if entered.is_empty() => outcome,
        (Step::Capture(capture), more) => {
            edits.extend(more);
            let mut capture = Arc::unwrap_or_clone(capture);
            capture.entered = entered;
            (Step::Capture(Arc::new(capture)), edits)
        }
        (Step::Entered(tables), _) => {
            entered.extend(tables);
            (Step::Entered(entered), edits)
        }
        (Step::Uncaptured { mut tables, reason }, _) => {
            tables.extend(entered.iter().map(|table| table.name.clone()));
            (Step::Uncaptured { tables, reason }, Vec::new())
        }
        _ => (Step::Entered(entered), edits),
    }
}

/// All that PostgreSQL knows after the tables of a TRUNCATE.
const AFTER_TRUNCATE: &[&str] = &["RESTART", "CONTINUE", "IDENTITY", "CASCADE", "RESTRICT"];

fn truncate(input: &Input<'_>) -> Step {
    let reader = input.reader();
    let mut at = 1 + usize::from(reader.is(1, "TABLE"));
    let mut tables: Vec<Arc<Table>> = Vec::new();
    let mut leaf = false;
    loop {
        at += usize::from(reader.is(at, "ONLY"));
        let Some((written, next)) = reader.name(at) else { return uncaptured(input, "unparsed") };
        leaf |= input.names.is_leaf(&written);
        match input.names.resolve(&written) {
            Target::Table(table) => tables.push(table),
            Target::Ambiguous(several) => return flag(&several, "ambiguous_name"),
            Target::View(_) | Target::Nothing => {}
        }
        at = next + usize::from(reader.symbol(next) == Some(b'*'));
        if reader.symbol(at) != Some(b',') {
            break;
        }
        at += 1;
    }
    // What follows our entries must follow a whole statement: an open bracket would take them in.
    if (at..input.tokens.len()).any(|at| !reader.is_any(at, AFTER_TRUNCATE)) {
        return uncaptured(input, "unparsed");
    }
    if reader.find(at..input.tokens.len(), 0, &["CASCADE"]).is_some() {
        add_referencing(input, &mut tables);
    }
    tables.retain(|table| matches!(table.capture, Means::Returning | Means::Trigger));
    if tables.is_empty() {
        return Step::Unmigrated;
    }
    if leaf {
        return flag(&tables, "truncate_partition");
    }
    // Triggers enter it too, but their entries come back to nobody, and `strict` needs them.
    let (listed, others): (Vec<_>, Vec<_>) = tables
        .into_iter()
        .partition(|table| table.capture == Means::Returning || table.policy.mode == Mode::Strict);
    let ids: Vec<_> = listed.iter().filter_map(|table| Some(table.id?.0)).collect();
    if ids.is_empty() {
        return Step::Entered(others);
    }
    let entries = columns::enter_truncate(&ids, input.situation);
    Step::Truncate(Arc::new(Truncate { listed, others, entries }))
}

/// Adds the tables that reference those in `tables`, and so on: what CASCADE truncates too.
fn add_referencing(input: &Input<'_>, tables: &mut Vec<Arc<Table>>) {
    let mut at = 0;
    while let Some(oid) = tables.get(at).map(|table| table.oid) {
        for table in input.situation.catalog.tables.values() {
            let references = table.foreign_keys.iter().any(|key| key.references == oid);
            if references && !tables.iter().any(|known| known.oid == table.oid) {
                tables.push(Arc::clone(table));
            }
        }
        at += 1;
    }
}

/// `COPY t FROM` writes; `COPY (INSERT …) TO` does too.
fn copy(input: &Input<'_>) -> Step {
    let reader = input.reader();
    if reader.symbol(1) == Some(b'(') {
        let writes = reader.verb(2).is_some() || input.mentions_dml();
        return if writes { uncaptured(input, "copy") } else { Step::Read };
    }
    let Some((written, next)) = reader.name(1) else { return uncaptured(input, "copy") };
    if reader.find(next..input.tokens.len(), 0, &["FROM"]).is_none() {
        return Step::Read;
    }
    match input.names.resolve(&written) {
        Target::Table(table) => match table.capture {
            Means::Trigger => Step::Entered(vec![table]),
            Means::Off | Means::Elsewhere => Step::Unmigrated,
            Means::Returning | Means::Impossible(_) => flag(&[table], "copy"),
        },
        Target::Ambiguous(several) => flag(&several, "ambiguous_name"),
        Target::View(below) => view(input, below),
        Target::Nothing => Step::Unmigrated,
    }
}

/// EXPLAIN runs its statement only with ANALYZE.
fn explain(input: &Input<'_>) -> Step {
    let reader = input.reader();
    let runs = (1..input.tokens.len()).any(|at| reader.is_any(at, &["ANALYZE", "ANALYSE"]));
    if runs && input.mentions_dml() { uncaptured(input, "explain") } else { Step::Read }
}

fn rollback(reader: Reader<'_>) -> Step {
    let at = 1 + usize::from(reader.is_any(1, &["WORK", "TRANSACTION"]));
    if !reader.is(at, "TO") {
        return Step::Transaction;
    }
    let at = at + 1 + usize::from(reader.is(at + 1, "SAVEPOINT"));
    named(reader, at, Step::RollbackTo)
}

fn named(reader: Reader<'_>, at: usize, step: impl FnOnce(String) -> Step) -> Step {
    reader.identifier(at).map_or(Step::Other, step)
}

fn deallocate(reader: Reader<'_>) -> Step {
    let at = 1 + usize::from(reader.is(1, "PREPARE"));
    let all = reader.is(at, "ALL");
    Step::Deallocate(if all { None } else { reader.identifier(at) })
}

/// `PREPARE name [(types)] AS statement`.
fn prepare(input: &Input<'_>) -> Outcome {
    let reader = input.reader();
    let Some(name) = reader.identifier(1) else { return plain(Step::Other) };
    let Some(as_) = reader.find(2..input.tokens.len(), 0, &["AS"]) else {
        return plain(Step::Other);
    };
    let inner = Input { tokens: &input.tokens[as_ + 1..], first: as_ + 1, ..*input };
    let (step, edits) = step(&inner);
    (Step::Prepare { name, step: Box::new(step) }, edits)
}

/// Flags a statement whose tables are known only from the words in it.
fn uncaptured(input: &Input<'_>, reason: &'static str) -> Step {
    let tables: Vec<_> = input
        .situation
        .catalog
        .captured()
        .filter(|table| table.capture == Means::Returning && input.mentions(table))
        .map(|table| table.name.clone())
        .collect();
    Step::Uncaptured { tables, reason }
}

/// A write to a view: what it does to the tables below is not known, but it goes nowhere else.
fn view(input: &Input<'_>, below: Option<Vec<Arc<Table>>>) -> Step {
    let Some(below) = below else { return everything(input, "view") };
    let (entered, others): (Vec<_>, Vec<_>) = below
        .into_iter()
        .filter(|table| !matches!(table.capture, Means::Off | Means::Elsewhere))
        .partition(|table| table.capture == Means::Trigger);
    match (others.is_empty(), entered.is_empty()) {
        (false, _) => flag(&others, "view"),
        (true, false) => Step::Entered(entered),
        (true, true) => Step::Unmigrated,
    }
}

/// Flags a statement that may write any table.
fn everything(input: &Input<'_>, reason: &'static str) -> Step {
    let captured = input.situation.catalog.captured();
    let returning = captured.filter(|table| table.capture == Means::Returning);
    Step::Uncaptured { tables: returning.map(|table| table.name.clone()).collect(), reason }
}

fn flag(tables: &[Arc<Table>], reason: &'static str) -> Step {
    let tables: Vec<TableName> = tables.iter().map(|table| table.name.clone()).collect();
    Step::Uncaptured { tables, reason }
}

impl Input<'_> {
    pub(super) fn reader(&self) -> Reader<'_> {
        Reader { sql: self.sql, tokens: self.tokens }
    }

    /// The captured table that `dml` writes, or the step where there is none.
    fn writable(&self, dml: &Dml) -> Result<Arc<Table>, Box<Step>> {
        if self.situation.phase == Phase::Setup {
            return Err(Box::new(Step::Unmigrated));
        }
        let step = match self.names.resolve(&dml.target) {
            Target::Table(table) => match table.capture {
                Means::Returning | Means::Trigger if table.id.is_some() => return Ok(table),
                // That it is refused is seen to elsewhere, for reads as well.
                Means::Off | Means::Elsewhere => Step::Unmigrated,
                Means::Impossible(reason) => flag(&[table], reason),
                Means::Returning | Means::Trigger => flag(&[table], "not_set_up"),
            },
            Target::View(below) => view(self, below),
            Target::Nothing => Step::Unmigrated,
            Target::Ambiguous(several) => flag(&several, "ambiguous_name"),
        };
        Err(Box::new(step))
    }

    /// Why this statement cannot be captured by RETURNING, though its table can.
    fn obstacle(&self, dml: &Dml, table: &Table) -> Option<&'static str> {
        if self.tokens.iter().any(|token| token.is_obscure(self.sql.as_bytes())) {
            return Some("unparsed");
        }
        let key = rewrite::assigns_key(dml, table);
        let cursor = dml.where_.is_some_and(|at| self.reader().is(at + 1, "CURRENT"));
        match dml.verb {
            Verb::Merge if self.situation.server < 17 => return Some("merge"),
            Verb::Merge | Verb::Insert if key => return Some("key_update"),
            Verb::Update if key && (cursor || self.mentions_ours()) => return Some("key_update"),
            // Its star means the columns of FROM too, and the old key has to come from there.
            Verb::Update
                if key
                    && dml.from.is_some()
                    && moves::stars(self.reader(), dml).next().is_some() =>
            {
                return Some("key_update");
            }
            _ => {}
        }
        parse::parse(self.sql, self.tokens).err().map(|unparsed| match unparsed {
            parse::Unparsed::TooLarge => "too_large",
            parse::Unparsed::NotUnderstood => "unparsed",
        })
    }

    /// True where a word of the text, quoted or in a body of code, is the table's name.
    fn mentions(&self, table: &Table) -> bool {
        let name = table.name.name();
        self.tokens.iter().any(|token| match token.kind {
            // A name that cannot be read may be any.
            Kind::Word | Kind::Quoted => {
                token.identifier(self.sql.as_bytes()).is_none_or(|found| found == name)
            }
            Kind::String => self.sql[token.start..token.end].contains(name),
            _ => false,
        })
    }

    /// True for `CREATE TABLE … AS WITH x AS (DELETE …) SELECT …`.
    fn makes_of_writes(&self) -> bool {
        let reader = self.reader();
        let table = (1..5).any(|at| reader.is(at, "TABLE"));
        let query = |as_: usize| reader.is(as_ + 1, "WITH") || reader.symbol(as_ + 1) == Some(b'(');
        let as_ = reader.find(2..self.tokens.len(), 0, &["AS"]);
        table && as_.is_some_and(query) && self.mentions_dml()
    }

    /// True where a name of the text might be one of those that a rewrite adds to its scope.
    fn mentions_ours(&self) -> bool {
        let name = |token: &Token| token.identifier(self.sql.as_bytes());
        self.tokens.iter().filter_map(name).any(|name| name.starts_with("cf_"))
    }

    /// True where a word of the text is the beginning of a statement that writes.
    fn mentions_dml(&self) -> bool {
        let reader = self.reader();
        (0..self.tokens.len()).any(|at| {
            let update = reader.is(at, "UPDATE") && (at == 0 || !reader.is(at - 1, "FOR"));
            update || reader.is_any(at, &["INSERT", "DELETE", "MERGE"])
        })
    }
}

impl Reader<'_> {
    /// The word at `at` in upper case.
    fn word(&self, at: usize) -> Option<String> {
        let token = self.tokens.get(at).filter(|token| token.kind == Kind::Word)?;
        Some(self.sql[token.start..token.end].to_ascii_uppercase())
    }
}

impl Edit {
    /// Moves every position by `by` tokens.
    fn shift(&mut self, by: usize) {
        match &mut self.place {
            Place::After(at) => *at += by,
            Place::Instead(range) => *range = range.start + by..range.end + by,
        }
        for piece in &mut self.pieces {
            if let Piece::Copy(range) = piece {
                *range = range.start + by..range.end + by;
            }
        }
    }
}
