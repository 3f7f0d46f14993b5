//! Arrays: `{1,NULL,"a b"}`, nested, and with bounds in front.

use super::{InputError, blank};
use crate::value::style::Style;
use crate::value::{Array, PgType, Value};

const DIMENSIONS_MAX: usize = 6;

/// `element_name` is what PostgreSQL calls the elements' type where it is an enum.
pub(super) fn read(
    text: &str,
    element: &PgType,
    element_name: &str,
    style: &Style,
) -> Result<Value, InputError> {
    let malformed = || InputError::new("22P02", format!("malformed array literal: \"{text}\""));
    let bare = text.trim_matches(blank);
    let (lowers, body) = match bare.strip_prefix('[') {
        Some(_) => bounds(bare).ok_or_else(malformed)?,
        None => (None, bare),
    };
    let mut reader = Reader { rest: body, lengths: Vec::new(), items: Vec::new() };
    reader.level(0).ok_or_else(malformed)?;
    if !reader.rest.trim_matches(blank).is_empty() {
        return Err(malformed());
    }
    let read = |item: Option<String>| match item {
        None => Ok(Value::Null),
        Some(item) => element.read(&item, element_name, style),
    };
    let elements: Vec<Value> = reader.items.into_iter().map(read).collect::<Result<_, _>>()?;
    if elements.is_empty() {
        return Ok(Value::Array(Array { dimensions: Vec::new(), elements }));
    }
    let lengths = reader.lengths.iter().map(|length| i32::try_from(*length).unwrap_or(i32::MAX));
    let dimensions: Vec<(i32, i32)> = match lowers {
        None => lengths.map(|length| (length, 1)).collect(),
        Some(given) => {
            if !given.iter().map(|(length, _)| *length).eq(lengths) {
                return Err(malformed());
            }
            given
        }
    };
    Ok(Value::Array(Array { dimensions, elements }))
}

/// `[1:2][0:1]=` and what follows: lengths and lower bounds.
#[expect(clippy::type_complexity, reason = "two results, used once")]
fn bounds(text: &str) -> Option<(Option<Vec<(i32, i32)>>, &str)> {
    let (head, body) = text.split_once('=')?;
    let mut dimensions = Vec::new();
    for part in head.trim_end_matches(blank).strip_prefix('[')?.strip_suffix(']')?.split("][") {
        let (lower, upper) = part.split_once(':').unwrap_or(("1", part));
        let (lower, upper): (i32, i32) = (lower.trim().parse().ok()?, upper.trim().parse().ok()?);
        dimensions.push((upper.checked_sub(lower)?.checked_add(1).filter(|n| *n > 0)?, lower));
    }
    Some((Some(dimensions), body.trim_start_matches(blank)))
}

struct Reader<'a> {
    rest: &'a str,
    /// Of each level, as its first list had it.
    lengths: Vec<usize>,
    items: Vec<Option<String>>,
}

impl Reader<'_> {
    fn skip(&mut self) {
        self.rest = self.rest.trim_start_matches(blank);
    }

    fn take(&mut self, letter: char) -> bool {
        self.skip();
        let taken = self.rest.strip_prefix(letter);
        self.rest = taken.unwrap_or(self.rest);
        taken.is_some()
    }

    /// One list; all lists of a level have as many members, and all members are lists or none is.
    fn level(&mut self, depth: usize) -> Option<()> {
        if DIMENSIONS_MAX <= depth || !self.take('{') {
            return None;
        }
        if self.lengths.len() == depth {
            self.lengths.push(usize::MAX);
        }
        let mut count = 0;
        if !self.take('}') {
            loop {
                self.skip();
                if self.rest.starts_with('{') {
                    if self.lengths.len() == depth + 1 && !self.items.is_empty() {
                        return None;
                    }
                    self.level(depth + 1)?;
                } else {
                    if self.lengths.len() != depth + 1 {
                        return None;
                    }
                    let item = self.item()?;
                    self.items.push(item);
                }
                count += 1;
                if self.take('}') {
                    break;
                }
                if !self.take(',') {
                    return None;
                }
            }
        } else if depth > 0 {
            // An empty list within a list; PostgreSQL takes only `{}` alone.
            return None;
        }
        match self.lengths[depth] {
            usize::MAX => self.lengths[depth] = count,
            known if known == count => {}
            _ => return None,
        }
        Some(())
    }

    /// A member, quoted or not; `None` within is NULL.
    fn item(&mut self) -> Option<Option<String>> {
        if self.take('"') {
            let mut text = String::new();
            let mut letters = self.rest.char_indices();
            loop {
                match letters.next()? {
                    (at, '"') => {
                        self.rest = &self.rest[at + 1..];
                        return Some(Some(text));
                    }
                    (_, '\\') => text.push(letters.next()?.1),
                    (_, letter) => text.push(letter),
                }
            }
        }
        let mut text = String::new();
        let (mut kept, mut escaped) = (0, false);
        let mut letters = self.rest.char_indices();
        let end = loop {
            match letters.next()? {
                (at, ',' | '}') => break at,
                (_, '"' | '{') => return None,
                (_, '\\') => {
                    text.push(letters.next()?.1);
                    kept = text.len();
                    escaped = true;
                }
                (_, letter) => {
                    text.push(letter);
                    if !blank(letter) {
                        kept = text.len();
                    }
                }
            }
        };
        self.rest = &self.rest[end..];
        text.truncate(kept);
        match text.as_str() {
            "" => None,
            null if !escaped && null.eq_ignore_ascii_case("null") => Some(None),
            _ => Some(Some(text)),
        }
    }
}
