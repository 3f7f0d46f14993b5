//! `${NAME}` and `${NAME:-default}` in the values of proxy.yaml.
//!
//! Invariant: what the environment holds is taken as it is. It is put in after the YAML was read,
//! so no character of a password can change the file's structure.

/// Looks a variable up; `None` where it is not set.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A piece of a value: text as it stands, or a variable to look up.
enum Piece<'a> {
    Literal(&'a str),
    Variable { name: &'a str, default: Option<&'a str> },
}

/// Replaces the variables of `text`.
pub(super) fn expand(text: &str, lookup: Lookup<'_>) -> Result<String, String> {
    let mut whole = String::new();
    for piece in pieces(text)? {
        match piece {
            Piece::Literal(text) => whole.push_str(text),
            Piece::Variable { name, default } => whole.push_str(&value(name, default, lookup)?),
        }
    }
    Ok(whole)
}

/// A text whose variables are looked up but not yet put in: each is one character that no text has,
/// so that a URL can be cut into its parts first.
pub(super) struct Masked {
    pub(super) text: String,
    values: Vec<String>,
}

/// The first of the characters that stand for a variable (a private plane of Unicode).
const MASK: u32 = 0xF_0000;

pub(super) fn mask(text: &str, lookup: Lookup<'_>) -> Result<Masked, String> {
    if text.chars().any(|letter| u32::from(letter) >= MASK) {
        return Err("holds a character of a private plane".to_owned());
    }
    let mut masked = Masked { text: String::new(), values: Vec::new() };
    for piece in pieces(text)? {
        match piece {
            Piece::Literal(text) => masked.text.push_str(text),
            Piece::Variable { name, default } => {
                let number = u32::try_from(masked.values.len()).unwrap_or(u32::MAX);
                let letter = char::from_u32(MASK.saturating_add(number));
                masked.text.push(letter.ok_or("holds too many variables")?);
                masked.values.push(value(name, default, lookup)?);
            }
        }
    }
    Ok(masked)
}

impl Masked {
    /// Puts the variables of a part back in, as they are; the rest goes through `literal`.
    pub(super) fn open(
        &self,
        part: &str,
        literal: impl Fn(&str) -> Result<String, String>,
    ) -> Result<String, String> {
        let mut whole = String::new();
        let mut rest = part;
        while let Some((at, letter)) =
            rest.char_indices().find(|(_, letter)| u32::from(*letter) >= MASK)
        {
            whole.push_str(&literal(&rest[..at])?);
            whole.push_str(&self.values[(u32::from(letter) - MASK) as usize]);
            rest = &rest[at + letter.len_utf8()..];
        }
        whole.push_str(&literal(rest)?);
        Ok(whole)
    }
}

/// As in a shell, an empty variable counts as unset where there is a default.
fn value(name: &str, default: Option<&str>, lookup: Lookup<'_>) -> Result<String, String> {
    match (lookup(name), default) {
        (Some(value), _) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (Some(empty), None) => Ok(empty),
        (None, None) => Err(format!("environment variable {name} is not set")),
    }
}

fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            // `$${` is a plain `${`.
            pieces.push(Piece::Literal(&rest[..at - 1]));
            pieces.push(Piece::Literal("${"));
            rest = &rest[at + 2..];
            continue;
        }
        pieces.push(Piece::Literal(&rest[..at]));
        let (inside, after) =
            rest[at + 2..].split_once('}').ok_or("\"${\" has no closing \"}\"")?;
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        if !is_name(name) {
            return Err("\"${…}\" wants a name of letters, digits and underscores".to_owned());
        }
        pieces.push(Piece::Variable { name, default });
        rest = after;
    }
    pieces.push(Piece::Literal(rest));
    Ok(pieces)
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        let lookup = |name: &str| match name {
            "WORD" => Some("p@ss:w/ord".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let got = expand(text, &lookup);
        assert_eq!(got.as_deref().map_err(String::as_str), expected);
    }

    #[test]
    fn variables_are_taken_as_they_are() {
        check("a ${WORD} b", Ok("a p@ss:w/ord b"));
        check("${NONE:-fallback}${EMPTY:-x}${EMPTY}", Ok("fallbackx"));
        check("costs $5, $${WORD}", Ok("costs $5, ${WORD}"));
    }

    #[test]
    fn a_variable_that_is_not_set_is_an_error() {
        check("${NONE}", Err("environment variable NONE is not set"));
        check("${WORD", Err("\"${\" has no closing \"}\""));
        check("${a b}", Err("\"${…}\" wants a name of letters, digits and underscores"));
    }
}
