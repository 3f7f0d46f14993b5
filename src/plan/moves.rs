//! The old key of an UPDATE that assigns key columns.
//!
//! ```text
//! UPDATE t AS a SET id = 2 FROM f WHERE c
//!   ▼
//! UPDATE t AS a SET id = 2 FROM f, (SELECT a.id AS cf_k1, record_send(ROW(a.id)) AS cf_old
//!        FROM t AS a, f WHERE c FOR UPDATE OF a) cf_prev WHERE (c) AND a.id = cf_prev.cf_k1
//! ```
//!
//! Invariant: the join is on the key, never on `ctid`: a row that was updated meanwhile has another
//! `ctid` and the statement would silently pass it over. Each operator is PostgreSQL's own, whatever
//! the client's search path has of that name; both sides are one row's, so for citext, text's will do.

use std::ops::Range;

use crate::catalog::Table;
use crate::names::quote_pg;
use crate::plan::clause::{Dml, Reader};
use crate::plan::columns;
use crate::plan::edit::{Edit, Piece, Place};
use crate::plan::rewrite::text;

pub(super) fn join_old(reader: Reader<'_>, dml: &Dml, table: &Table) -> Vec<Edit> {
    let end = dml.returning.unwrap_or(dml.body.end);
    let previous = previous(dml, table, end);
    // What we end with is a word, and the client's next one may follow without a blank.
    let next = reader.tokens.get(end).filter(|next| next.start == reader.tokens[end - 1].end);
    let join = join(dml, table) + if next.is_some() { " " } else { "" };
    let source_end = dml.where_.unwrap_or(end);
    let lead = if dml.from.is_some() { ", " } else { " FROM " };
    let mut pieces = vec![Piece::Text(lead.to_owned())];
    pieces.extend(previous);
    let mut edits = Vec::new();
    match dml.where_ {
        None => {
            pieces.push(Piece::Text(format!(" WHERE {join}")));
            edits.push(Edit { place: Place::After(end - 1), pieces });
        }
        Some(where_) => {
            edits.push(Edit { place: Place::After(source_end - 1), pieces });
            edits.push(text(Place::After(where_), " (".to_owned()));
            edits.push(text(Place::After(end - 1), format!(") AND {join}")));
        }
    }
    // A star would bring what we have put into FROM.
    let own = |star| Edit {
        place: Place::Instead(star..star + 1),
        pieces: vec![Piece::Text(format!("{}.*", dml.qualifier))],
    };
    edits.extend(stars(reader, dml).map(own));
    edits
}

/// The bare stars of the client's RETURNING list.
pub(super) fn stars(reader: Reader<'_>, dml: &Dml) -> impl Iterator<Item = usize> {
    let list = dml.returning.map_or(0..0, |returning| returning + 1..dml.body.end);
    let depth = reader.tokens[dml.body.start].depth;
    let (first, end) = (list.start, list.end);
    list.filter(move |at| {
        reader.symbol(*at) == Some(b'*')
            && reader.tokens[*at].depth == depth
            && (*at == first || reader.symbol(at - 1) == Some(b','))
            && (at + 1 == end || reader.symbol(at + 1) == Some(b','))
    })
}

/// The subquery that reads and locks the rows as they are, under their old keys.
fn previous(dml: &Dml, table: &Table, end: usize) -> Vec<Piece> {
    let qualifier = &dml.qualifier;
    let keys = table.key_columns().enumerate();
    let list = keys.map(|(n, column)| format!("{qualifier}.{} AS cf_k{n}", quote_pg(&column.name)));
    let list = list.collect::<Vec<_>>().join(", ");
    let old = format!("pg_catalog.record_send({}) AS cf_old", columns::key(table, qualifier));
    let mut pieces = vec![
        Piece::Text(format!("(SELECT {list}, {old} FROM ")),
        Piece::Copy(dml.target_tokens.clone()),
    ];
    let clause = |range: Range<usize>| Piece::Copy(range);
    if let Some(from) = dml.from {
        pieces.push(Piece::Text(", ".to_owned()));
        pieces.push(clause(from + 1..dml.where_.unwrap_or(end)));
    }
    if let Some(where_) = dml.where_ {
        pieces.push(Piece::Text(" ".to_owned()));
        pieces.push(clause(where_..end));
    }
    pieces.push(Piece::Text(format!(" FOR UPDATE OF {qualifier}) cf_prev")));
    pieces
}

fn join(dml: &Dml, table: &Table) -> String {
    let equal = |(n, column): (usize, &crate::catalog::Column)| {
        format!(
            "{}.{} OPERATOR(pg_catalog.=) cf_prev.cf_k{n}",
            dml.qualifier,
            quote_pg(&column.name)
        )
    };
    table.key_columns().enumerate().map(equal).collect::<Vec<_>>().join(" AND ")
}
