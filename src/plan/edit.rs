//! Edits to a statement's text, in terms of its tokens, and the way back for error positions.
//!
//! Invariant: the client's own text is never printed anew. What an edit does not replace is copied
//! byte for byte, comments included.

use std::ops::Range;

use crate::sql::lexer::Token;

/// Replaces a range of tokens (an empty range inserts) by pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Edit {
    pub(super) place: Place,
    pub(super) pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Right after the last byte of this token.
    After(usize),
    /// Instead of these tokens and all that stands between them.
    Instead(Range<usize>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    /// The client's own text from the first to the last of these tokens.
    Copy(Range<usize>),
}

/// A rewritten text, and where its parts came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    pub text: String,
    /// Runs of the client's text: start in the rewritten text, start in the client's, length; all in
    /// characters, ascending by the first.
    runs: Vec<(usize, usize, usize)>,
}

impl Applied {
    /// Turns a 1-based character position in the rewritten text into one in the client's.
    #[must_use]
    pub fn client_position(&self, position: usize) -> usize {
        let at = position.saturating_sub(1);
        let run = self.runs.iter().rev().find(|(start, ..)| *start <= at);
        run.map_or(1, |(start, client, length)| client + (at - start).min(*length) + 1)
    }
}

pub(super) fn apply(sql: &str, tokens: &[Token], edits: &[Edit]) -> Applied {
    let mut spans: Vec<(Range<usize>, &Edit)> =
        edits.iter().map(|edit| (bytes(tokens, &edit.place), edit)).collect();
    spans.sort_by_key(|(span, _)| span.start);
    let mut writer = Writer { sql, applied: Applied::default(), characters: 0 };
    let mut done = 0;
    for (span, edit) in spans {
        writer.copy(done..span.start.max(done));
        for piece in &edit.pieces {
            match piece {
                Piece::Text(text) => writer.add(text),
                Piece::Copy(range) if range.is_empty() => {}
                Piece::Copy(range) => {
                    writer.copy(tokens[range.start].start..tokens[range.end - 1].end);
                }
            }
        }
        done = span.end.max(done);
    }
    writer.copy(done..sql.len());
    writer.applied
}

fn bytes(tokens: &[Token], place: &Place) -> Range<usize> {
    match place {
        Place::After(at) => tokens[*at].end..tokens[*at].end,
        Place::Instead(range) => {
            let end = tokens[range.start..range.end].last().map(|token| token.end);
            tokens[range.start].start..end.unwrap_or(tokens[range.start].start)
        }
    }
}

struct Writer<'a> {
    sql: &'a str,
    applied: Applied,
    /// Characters written so far.
    characters: usize,
}

impl Writer<'_> {
    fn add(&mut self, text: &str) {
        self.applied.text.push_str(text);
        self.characters += text.chars().count();
    }

    fn copy(&mut self, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        let text = &self.sql[range.clone()];
        let client = self.sql[..range.start].chars().count();
        self.applied.runs.push((self.characters, client, text.chars().count()));
        self.add(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::lexer::Lexer;

    #[test]
    fn positions_lead_back_to_the_clients_text() {
        let sql = "  é x -- c";
        let tokens: Vec<_> = Lexer::new(sql.as_bytes()).collect();
        let insert = |place, text: &str| Edit { place, pieces: vec![Piece::Text(text.to_owned())] };
        let edits = [insert(Place::Instead(0..0), "<<"), insert(Place::After(1), ">>")];
        let applied = apply(sql, &tokens, &edits);
        assert_eq!(applied.text, "  <<é x>> -- c");
        assert_eq!(applied.client_position(5), 3); // é
        assert_eq!(applied.client_position(7), 5); // x
        assert_eq!(applied.client_position(9), 6); // in what was added: the end of what precedes it
        assert_eq!(applied.client_position(11), 7);
    }

    #[test]
    fn a_piece_copies_the_clients_tokens() {
        let sql = "a b c d";
        let tokens: Vec<_> = Lexer::new(sql.as_bytes()).collect();
        let pieces = vec![Piece::Copy(2..3), Piece::Text("-".to_owned()), Piece::Copy(1..2)];
        let edit = Edit { place: Place::Instead(1..3), pieces };
        assert_eq!(apply(sql, &tokens, &[edit]).text, "a c-b d");
    }
}
