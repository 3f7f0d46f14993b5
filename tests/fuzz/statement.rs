//! What planning and rewriting do to any text: nothing of the client's is lost or broken open.

use std::collections::HashMap;
use std::sync::Arc;

use crossfade::catalog::{Capture, Catalog};
use crossfade::phase::{Phase, Situation};
use crossfade::plan::{Plan, SearchPath, Step, plan};
use crossfade::sql::lexer::{Kind, Lexer, Token, split};
use crossfade::sql::normal;

use super::harness::{self, Verdict};
use super::statements::{TABLES, statement};

/// Literals in what the rewriting adds.
const OURS: &[&str] = &["'I'", "'U'", "'D'", "'0/0'", "'00000001'"];

#[test]
fn fuzz_statement() {
    let situation = situation();
    let make = |random: &mut _| statement(random).into_bytes();
    harness::fuzz("statement", 6_000, make, |input| check(input, &situation));
}

fn situation() -> Situation {
    let mut catalog = Catalog::for_test(TABLES);
    for table in catalog.tables.values_mut().filter(|table| table.name.name() == "codes") {
        Arc::make_mut(table).capture = Capture::Trigger;
    }
    let (timeline, catalog) = ("00000001".to_owned(), Arc::new(catalog));
    Situation { phase: Phase::DualWrite, epoch: 1, timeline, catalog, server: 18 }
}

fn path() -> SearchPath {
    SearchPath::Known(vec!["public".to_owned()])
}

fn check(input: &[u8], situation: &Situation) -> Verdict {
    tokens(input)?;
    let Ok(sql) = std::str::from_utf8(input) else { return Ok(()) };
    let plan = plan(sql, situation, &path());
    if ends_open(sql) {
        return Ok(());
    }
    like_another(sql, &plan, situation)?;
    let truncates =
        plan.statements.iter().filter(|planned| matches!(planned.step, Step::Truncate(_))).count();
    if let Some(applied) = plan.apply_all(sql) {
        added_statements(sql, &applied.text, truncates)?;
        let characters = sql.chars().count();
        for position in [1, applied.text.chars().count() / 2, usize::MAX / 2] {
            let back = applied.client_position(position);
            (1..=characters + 1)
                .contains(&back)
                .then_some(())
                .ok_or(format!("{position} → {back}"))?;
        }
    }
    let Some(applied) = plan.apply(sql) else { return Ok(()) };
    added_statements(sql, &applied.text, 0)?;
    intact(sql, &applied.text)?;
    same_kinds(sql, &applied.text)
}

/// Tokens are in order, within the text, and the same from any of them on.
fn tokens(input: &[u8]) -> Verdict {
    let tokens: Vec<Token> = Lexer::new(input).collect();
    let mut last = 0;
    for token in &tokens {
        if !(last <= token.start && token.start < token.end && token.end <= input.len()) {
            return Err(format!("{token:?} after {last}"));
        }
        last = token.end;
    }
    let Some(middle) = tokens.get(tokens.len() / 2) else { return Ok(()) };
    let rest =
        Lexer::new(&input[middle.start..]).map(|token| (token.kind, token.start + middle.start));
    let same = rest.eq(tokens[tokens.len() / 2..].iter().map(|token| (token.kind, token.start)));
    same.then_some(()).ok_or(format!("read anew from {}, the tokens are others", middle.start))
}

/// Whether the last literal or name is not closed. PostgreSQL refuses such a text whole, whatever is added
/// to it, and a plan is kept for its form as if it were.
fn ends_open(sql: &str) -> bool {
    let Some(last) = Lexer::new(sql.as_bytes()).last() else { return false };
    let longer = format!("{} ", &sql[last.start..]);
    let again = Lexer::new(longer.as_bytes()).next();
    last.end == sql.len() && again.is_none_or(|token| token.end == longer.len())
}

/// A plan is kept for all texts that differ in nothing but their literals.
fn like_another(sql: &str, plan: &Plan, situation: &Situation) -> Verdict {
    let mut other = String::new();
    let mut last = 0;
    for token in Lexer::new(sql.as_bytes()) {
        other += &sql[last..token.start];
        other += match token.kind {
            Kind::String
                if sql.as_bytes()[token.end - 1] == b'\''
                    || sql[token.start..].starts_with('$') =>
            {
                "'\\ '"
            }
            Kind::Number => "77",
            _ => &sql[token.start..token.end],
        };
        last = token.end;
    }
    other += &sql[last..];
    let form = |sql: &str| {
        let mut form = Vec::new();
        normal::append(sql.as_bytes(), &mut form);
        form
    };
    if form(sql) != form(&other) {
        return Ok(()); // An unterminated literal, say.
    }
    let literal = |planned: &crossfade::plan::Planned| {
        matches!(planned.step, Step::SearchPath(_) | Step::Uncaptured { .. } | Step::Prepare { .. })
    };
    if plan.statements.iter().any(literal) {
        return Ok(()); // Not kept.
    }
    let fresh = super::statement::plan(&other, situation, &path());
    let text = |plan: &Plan| plan.apply_all(&other).map(|applied| applied.text);
    let (kept, fresh) = (text(plan), text(&fresh));
    (kept == fresh)
        .then_some(())
        .ok_or(format!("kept plan: {kept:?}, its own: {fresh:?} for {other:?}"))
}

fn statements(sql: &str) -> (Vec<Token>, Vec<std::ops::Range<usize>>) {
    let tokens: Vec<_> = Lexer::new(sql.as_bytes()).collect();
    let ranges = split(sql.as_bytes(), &tokens);
    (tokens, ranges)
}

fn added_statements(sql: &str, rewritten: &str, expected: usize) -> Verdict {
    let (before, after) = (statements(sql).1.len(), statements(rewritten).1.len());
    (before + expected == after)
        .then_some(())
        .ok_or(format!("{before} statements become {after}: {rewritten}"))
}

/// Every token of the client's is still there, and no literal is there that was not, but ours.
fn intact(sql: &str, rewritten: &str) -> Verdict {
    let count = |sql: &str| {
        let mut found: HashMap<(bool, String), i32> = HashMap::new();
        for token in Lexer::new(sql.as_bytes()) {
            let text = sql[token.start..token.end].to_owned();
            *found.entry((token.kind == Kind::String, text)).or_default() += 1;
        }
        found
    };
    let (before, after) = (count(sql), count(rewritten));
    for (token, number) in &before {
        if after.get(token).is_none_or(|found| found < number) {
            return Err(format!("{token:?} is gone: {rewritten}"));
        }
    }
    for (token, _) in after.iter().filter(|((string, _), _)| *string) {
        if !before.contains_key(token) && !OURS.contains(&&*token.1) {
            return Err(format!("{token:?} is new: {rewritten}"));
        }
    }
    Ok(())
}

/// Each statement begins with the word it began with. Whether PostgreSQL takes it is for `real` to see.
fn same_kinds(sql: &str, rewritten: &str) -> Verdict {
    let ((before, mine), (after, ours)) = (statements(sql), statements(rewritten));
    for (mine, ours) in mine.into_iter().zip(ours) {
        let (old, new) =
            (before[mine.start].text(sql.as_bytes()), after[ours.start].text(rewritten.as_bytes()));
        if old != new {
            return Err(format!("begins with {}: {rewritten}", new.escape_ascii()));
        }
    }
    Ok(())
}
