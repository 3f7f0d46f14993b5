//! Regular expressions that PostgreSQL, ICU (MySQL) and PCRE (MariaDB) read alike.
//!
//! Invariant: a pattern is passed on only if all of it is in the common part: letters, classes of plain
//! ranges, groups, repetition, alternation, anchors. `$` becomes `\z`: elsewhere it also stands before a
//! newline at the end.

use crate::dialect::refuse::{Refused, unsupported};

/// The pattern for both products. Where a part of the text is taken out (`extracts`), alternation is
/// refused: PostgreSQL takes the longest alternative, the others the first.
pub(super) fn portable(pattern: &str, extracts: bool) -> Result<String, Refused> {
    let odd = || unsupported("this regular expression");
    if pattern.starts_with("***") || pattern.starts_with("(?") {
        return Err(odd());
    }
    let mut out = String::new();
    let mut letters = pattern.chars().peekable();
    let mut previous = ' ';
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some(letter) if letter.is_ascii_punctuation() => out.extend(['\\', letter]),
                Some('d') => out += "[0-9]",
                _ => return Err(odd()),
            },
            '[' => class(&mut letters, &mut out).ok_or_else(odd)?,
            '(' if letters.peek() == Some(&'?') => return Err(odd()),
            '?' | '+' | '*' if matches!(previous, '?' | '+' | '*' | '}') => return Err(odd()),
            '{' => {
                out.push('{');
                let mut closed = false;
                for letter in letters.by_ref() {
                    out.push(letter);
                    match letter {
                        '}' => {
                            closed = true;
                            break;
                        }
                        '0'..='9' | ',' => {}
                        _ => return Err(odd()),
                    }
                }
                if !closed || !out.ends_with('}') {
                    return Err(odd());
                }
                previous = '}';
                continue;
            }
            '|' if extracts => return Err(unsupported("alternatives in a pattern that extracts")),
            '$' => out += "\\z",
            '#' | ' ' => out.push(letter),
            letter => out.push(letter),
        }
        previous = letter;
    }
    Ok(out)
}

/// `[a-z_]`, `[^@]`: plain letters and ranges only.
fn class(letters: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut String) -> Option<()> {
    out.push('[');
    if letters.next_if_eq(&'^').is_some() {
        out.push('^');
    }
    let mut first = true;
    loop {
        let letter = letters.next()?;
        match letter {
            ']' if !first => {
                out.push(']');
                return Some(());
            }
            '[' | ']' | '&' | '~' => return None,
            '\\' => {
                let escaped = letters.next()?;
                if !escaped.is_ascii_punctuation() {
                    return None;
                }
                out.extend(['\\', escaped]);
            }
            letter => out.push(letter),
        }
        first = false;
    }
}

/// A pattern that matches the whole text, with what is wanted as the second group: the pattern's own
/// first group, or all of it.
pub(super) fn around_group(portable: &str) -> Result<String, Refused> {
    let groups = portable.replace("\\(", "").matches('(').count();
    let (start, end) = (portable.starts_with('^'), portable.ends_with("\\z"));
    let body = portable.trim_start_matches('^');
    let body = body.strip_suffix("\\z").unwrap_or(body);
    let head = if start { "^()" } else { "^(.*?)" };
    let tail = if end { "\\z" } else { ".*\\z" };
    match groups {
        0 => Ok(format!("{head}({body}){tail}")),
        1 => Ok(format!("{head}{body}{tail}")),
        _ => Err(unsupported("several groups in a pattern that extracts")),
    }
}

/// `\1` and `\&` of a replacement, as MySQL or MariaDB writes them; `shift` groups come before.
pub(super) fn replacement(text: &str, mysql: bool, shift: usize) -> Result<String, Refused> {
    let odd = || unsupported("this replacement");
    let mut out = String::new();
    if shift == 1 {
        out += "\\1";
    }
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some(digit @ '1'..='8') => {
                    let number = digit as usize - '0' as usize + shift;
                    out += &if mysql { format!("${number}") } else { format!("\\{number}") };
                }
                _ => return Err(odd()),
            },
            '$' if mysql => out += "\\$",
            letter => out.push(letter),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_all_engines_read_alike_passes() {
        assert_eq!(portable("^(alice|carol)@", false).unwrap(), "^(alice|carol)@");
        assert_eq!(portable("@(.*)$", true).unwrap(), "@(.*)\\z");
        assert_eq!(portable(r"^\d{3}-[a-z_]+\.$", false).unwrap(), r"^[0-9]{3}-[a-z_]+\.\z");
        for odd in [r"\mword", "(?i)a", "a*?", "[[:alpha:]]", r"\w", "***=x", "a{"] {
            assert!(portable(odd, false).is_err(), "{odd}");
        }
        assert!(portable("a|b", true).is_err());
        assert_eq!(around_group("@(.*)\\z").unwrap(), "^(.*?)@(.*)\\z");
        assert_eq!(replacement(r"<\1>", true, 0).unwrap(), "<$1>");
        assert_eq!(replacement(r"<\1>", false, 1).unwrap(), r"\1<\2>");
    }
}
