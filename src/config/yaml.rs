//! The text of proxy.yaml as a tree in which every key and value knows its line.
//!
//! Invariant: nothing is lost and nothing is resolved: a key given twice is there twice, a scalar is
//! its text. What a value means is [`super::reader`]'s business.

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::Mistake;

/// Deeper nesting is refused before it can use up the stack.
const DEPTH_MAX: usize = 16;

#[derive(Debug)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    /// Nothing at all, `~` or `null`.
    Absent,
    Text(String),
    /// Keys in the order they stand in the file.
    Map(Vec<(Key, Node)>),
    /// No key takes a list; what is in it does not matter.
    List,
}

#[derive(Debug)]
pub(super) struct Key {
    pub(super) line: usize,
    pub(super) name: String,
}

/// Reads the first document of `text`; an empty text is an empty map.
pub(super) fn parse(text: &str) -> Result<Node, Mistake> {
    let mut events = Parser::new_from_str(text);
    while let Some(event) = events.next() {
        match event.map_err(scan)? {
            (Event::StreamStart | Event::DocumentStart(_) | Event::Nothing, _) => {}
            (Event::StreamEnd | Event::DocumentEnd, _) => break,
            (event, span) => return node(&mut events, event, span, 0),
        }
    }
    Ok(Node { line: 1, content: Content::Map(Vec::new()) })
}

type Events<'a> = Parser<'a, saphyr_parser::StrInput<'a>>;

fn node(
    events: &mut Events<'_>,
    event: Event<'_>,
    span: Span,
    depth: usize,
) -> Result<Node, Mistake> {
    let line = span.start.line();
    if depth > DEPTH_MAX {
        return Err(Mistake::new(line, "", "is nested too deeply"));
    }
    let content = match event {
        Event::Scalar(text, style, _, _) => scalar(text.into_owned(), style),
        Event::MappingStart(..) => map(events, depth)?,
        Event::SequenceStart(..) => list(events, depth)?,
        _ => return Err(Mistake::new(line, "", "YAML aliases are not supported")),
    };
    Ok(Node { line, content })
}

fn scalar(text: String, style: ScalarStyle) -> Content {
    let plain = style == ScalarStyle::Plain;
    if plain && matches!(text.as_str(), "" | "~" | "null") {
        return Content::Absent;
    }
    Content::Text(text)
}

fn map(events: &mut Events<'_>, depth: usize) -> Result<Content, Mistake> {
    let mut entries = Vec::new();
    loop {
        let (event, span) = following(events)?;
        let line = span.start.line();
        let name = match event {
            Event::MappingEnd => return Ok(Content::Map(entries)),
            Event::Scalar(text, ..) => text.into_owned(),
            _ => return Err(Mistake::new(line, "", "a key must be a plain word")),
        };
        let (event, span) = following(events)?;
        entries.push((Key { line, name }, node(events, event, span, depth + 1)?));
    }
}

fn list(events: &mut Events<'_>, depth: usize) -> Result<Content, Mistake> {
    loop {
        match following(events)? {
            (Event::SequenceEnd, _) => return Ok(Content::List),
            (event, span) => drop(node(events, event, span, depth + 1)?),
        }
    }
}

fn following<'a>(events: &mut Events<'a>) -> Result<(Event<'a>, Span), Mistake> {
    match events.next() {
        Some(event) => event.map_err(scan),
        None => Err(Mistake::new(1, "", "ends in the middle of a value")),
    }
}

/// The scanner's own words hold positions and token names, never content.
fn scan(error: saphyr_parser::ScanError) -> Mistake {
    Mistake::new(error.marker().line(), "", &format!("is not YAML: {}", error.info()))
}
