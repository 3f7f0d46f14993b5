//! Data-modifying statements inside WITH: their entries are written beside them, their rows stay
//! what the client's own query sees.
//!
//! ```text
//! WITH x AS (INSERT INTO t … RETURNING id) SELECT … FROM x
//!   ▼
//! WITH cf_w0 AS (INSERT INTO t … RETURNING id, crossfade.enter(…)), x AS (SELECT id FROM cf_w0)
//!      SELECT … FROM x
//! ```
//!
//! Invariant: the client's query sees columns of the same names, number and order as without us;
//! where that cannot be told from the text, the statement is not rewritten.

use std::ops::Range;
use std::sync::Arc;

use crate::catalog::Table;
use crate::change::Operation;
use crate::names::quote_pg;
use crate::phase::Situation;
use crate::plan::clause::{Dml, Reader, Verb};
use crate::plan::columns;
use crate::plan::edit::{Edit, Piece, Place};
use crate::plan::rewrite::text;
use crate::sql::lexer::Kind;

/// One `name [(columns)] AS (body)` of a WITH list; positions are tokens.
#[derive(Clone, Debug)]
pub(super) struct Cte {
    pub(super) name: usize,
    /// The names in `(columns)`; empty if there are none.
    pub(super) columns: usize,
    pub(super) body: Range<usize>,
}

/// The WITH list that starts at the first token, and where the main statement begins.
pub(super) fn list(reader: Reader<'_>) -> Option<(Vec<Cte>, usize)> {
    let mut at = 1 + usize::from(reader.is(1, "RECURSIVE"));
    let mut found = Vec::new();
    loop {
        let name = at;
        reader.identifier(name)?;
        at += 1;
        let mut columns = 0;
        if reader.symbol(at) == Some(b'(') {
            let close = close(reader, at)?;
            columns = (at + 1..close).filter(|at| reader.identifier(*at).is_some()).count();
            at = close + 1;
        }
        if !reader.is(at, "AS") {
            return None;
        }
        at += 1;
        while reader.is_any(at, &["NOT", "MATERIALIZED"]) {
            at += 1;
        }
        let end = close(reader, at)?;
        found.push(Cte { name, columns, body: at + 1..end });
        at = end + 1;
        let main = ["SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "VALUES", "TABLE"];
        while at < reader.tokens.len()
            && reader.symbol(at) != Some(b',')
            && reader.symbol(at) != Some(b'(')
            && !reader.is_any(at, &main)
        {
            at += 1; // SEARCH and CYCLE clauses
        }
        if reader.symbol(at) != Some(b',') {
            return (at < reader.tokens.len()).then_some((found, at));
        }
        at += 1;
    }
}

/// The bracket that closes the one at `at`.
fn close(reader: Reader<'_>, at: usize) -> Option<usize> {
    (reader.symbol(at) == Some(b'(')).then_some(())?;
    let depth = reader.tokens[at].depth;
    (at + 1..reader.tokens.len()).find(|at| reader.tokens[*at].depth == depth)
}

/// The edits that make the statement in `cte` write its entries; `None` where the client's columns
/// cannot be named.
pub(super) fn enter(
    reader: Reader<'_>,
    cte: &Cte,
    number: usize,
    dml: &Dml,
    table: &Arc<Table>,
    situation: &Situation,
) -> Option<Vec<Edit>> {
    let operation = match dml.verb {
        Verb::Insert => Operation::Insert,
        Verb::Update => Operation::Update,
        Verb::Delete => Operation::Delete,
        Verb::Merge => return None,
    };
    let added = columns::list(table, &dml.qualifier, columns::ENTRY, operation, situation);
    let Some(returning) = dml.returning else {
        if is_asked(reader, cte) {
            return None;
        }
        return Some(vec![text(Place::After(cte.body.end - 1), format!(" RETURNING {added}"))]);
    };
    let names = returned(reader, returning + 1..dml.body.end, dml, table);
    let names = match (names, cte.columns) {
        (Some(names), _) => names,
        (None, 0) => return None,
        (None, columns) => (0..columns).map(|n| format!("cf_c{n}")).collect(),
    };
    let source = format!("cf_w{number}");
    let aliases: Vec<_> = (0..names.len()).map(|n| format!("cf_{n}")).collect();
    let pairs = aliases.iter().zip(&names);
    let select: Vec<_> =
        pairs.map(|(alias, name)| format!("{alias} AS {}", quote_pg(name))).collect();
    let head = format!("{source} ({}, cf_id) AS (", aliases.join(", "));
    let pieces = vec![
        Piece::Text(head),
        Piece::Copy(cte.body.clone()),
        Piece::Text(format!(", {added}), ")),
        Piece::Copy(cte.name..cte.body.start),
        Piece::Text(format!("SELECT {} FROM {source})", select.join(", "))),
    ];
    Some(vec![Edit { place: Place::Instead(cte.name..cte.body.end + 1), pieces }])
}

/// True where the list's name stands anywhere else: it has no columns, and must not seem to get one.
fn is_asked(reader: Reader<'_>, cte: &Cte) -> bool {
    let name = reader.identifier(cte.name);
    (0..reader.tokens.len()).any(|at| at != cte.name && reader.identifier(at) == name)
}

/// The names of the columns in a RETURNING list, where the text alone tells them.
fn returned(
    reader: Reader<'_>,
    range: Range<usize>,
    dml: &Dml,
    table: &Table,
) -> Option<Vec<String>> {
    let depth = reader.tokens[dml.body.start].depth;
    let mut names = Vec::new();
    let mut start = range.start;
    for at in range.start..=range.end {
        let comma = reader.tokens.get(at).is_some_and(|token| token.depth == depth)
            && reader.symbol(at) == Some(b',');
        if at == range.end || comma {
            names.extend(item(reader, start..at, dml, table)?);
            start = at + 1;
        }
    }
    Some(names)
}

fn item(reader: Reader<'_>, range: Range<usize>, dml: &Dml, table: &Table) -> Option<Vec<String>> {
    let last = range.end.checked_sub(1).filter(|last| range.start <= *last)?;
    if reader.symbol(last) == Some(b'*') {
        // Other tables' columns would be part of a bare star.
        let bare = range.len() == 1 && dml.from.is_none();
        let ours = range.len() == 3 && reader.text(range.start) == dml.qualifier;
        return (bare || ours)
            .then(|| table.columns.iter().map(|column| column.name.clone()).collect());
    }
    let name = reader.identifier(last)?;
    let plain = range.len() == 1;
    let dotted = range.len() == 3 && reader.symbol(last - 1) == Some(b'.');
    let labelled = range.len() > 2 && reader.is(last - 1, "AS");
    let word = reader.tokens[last].kind == Kind::Quoted || !is_value_word(&name);
    (labelled || (word && (plain || dotted))).then(|| vec![name])
}

/// Words that are expressions of their own, not columns.
fn is_value_word(name: &str) -> bool {
    name.starts_with("current_")
        || matches!(
            name,
            "null" | "true" | "false" | "user" | "session_user" | "localtime" | "localtimestamp"
        )
}
