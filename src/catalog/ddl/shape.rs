//! What a server says a table looks like: `SHOW CREATE TABLE`, taken apart.
//!
//! ```text
//! SHOW CREATE TABLE `users`            ──▶ Shape (found)  ┐
//! CREATE TEMPORARY TABLE, as wanted    ──▶ Shape (wanted) ┴─▶ compared part by part, as text
//! ```
//!
//! Servers rewrite expressions, defaults and types in their own words. Asked for both tables, the
//! same server uses the same words for the same thing, so nothing has to be parsed further.
//!
//! Invariant: parts that a shape does not name (engine, counters, foreign keys) never differ.

use std::collections::BTreeMap;

/// The name under which an empty table of the wanted shape is made, for one session alone.
pub const TEMPORARY: &str = "crossfade_shape";

/// A table's parts by name, in the server's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    pub columns: BTreeMap<String, String>,
    pub primary: String,
    pub keys: BTreeMap<String, Key>,
    pub checks: BTreeMap<String, String>,
    /// `COMMENT='…'`, as written.
    pub comment: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub unique: bool,
    /// `(`a`,`b` DESC)`.
    pub parts: String,
    /// It was made by `setup`, and not by somebody who wants it on MySQL alone.
    pub ours: bool,
}

/// The comment of plain indexes that `setup` makes.
pub(super) const MARK: &str = " COMMENT 'crossfade'";

impl Shape {
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut shape = Self::default();
        let lines = text.lines().skip(1);
        let mut item = String::new();
        for line in lines {
            if let Some(tail) = line.strip_prefix(')') {
                shape.add(&item);
                shape.comment =
                    tail.split_once(" COMMENT=").map_or("", |(_, comment)| comment).to_owned();
                break;
            }
            // An item begins with two blanks; a comment may have lines of its own.
            match line.strip_prefix("  ") {
                Some(start) => {
                    shape.add(&item);
                    start.clone_into(&mut item);
                }
                None => item = format!("{item}\n{line}"),
            }
        }
        shape
    }

    fn add(&mut self, item: &str) {
        let item = plain(item.strip_suffix(',').unwrap_or(item));
        if let Some((name, rest)) = quoted(&item) {
            self.columns.insert(name, rest.trim().to_owned());
        } else if item.starts_with("PRIMARY KEY ") {
            self.primary = item;
        } else if let Some(rest) = item.strip_prefix("CONSTRAINT ")
            && let Some((name, rest)) = quoted(rest)
            && rest.starts_with(" CHECK ")
        {
            self.checks.insert(name, rest.trim().to_owned());
        } else if let Some((kind, rest)) = item.split_once("KEY ")
            && matches!(kind, "" | "UNIQUE ")
            && let Some((name, rest)) = quoted(rest)
        {
            let parts = rest.split_once(" COMMENT ").map_or(rest, |(parts, _)| parts);
            let ours = rest.ends_with(MARK);
            let key = Key { unique: !kind.is_empty(), parts: parts.trim().to_owned(), ours };
            self.keys.insert(name, key);
        }
    }
}

impl Key {
    /// True where the index begins with these columns, so that a foreign key on them can use it.
    #[must_use]
    pub fn begins_with(&self, columns: &[String]) -> bool {
        begins_with(&self.parts, columns)
    }
}

/// As [`Key::begins_with`], for the text from its parenthesis on.
pub(super) fn begins_with(parts: &str, columns: &[String]) -> bool {
    let mut rest = parts.trim_start_matches(|letter| letter != '(');
    columns.iter().all(|column| {
        let found = rest.get(1..).and_then(quoted);
        // A prefix of a column (`a`(191)) is no column.
        let Some((name, tail)) = found.filter(|(_, tail)| !tail.starts_with('(')) else {
            return false;
        };
        rest = tail.trim_start_matches(|letter| !matches!(letter, ',' | ')'));
        name == *column
    })
}

/// Literals without the character set that the session happened to have.
fn plain(item: &str) -> String {
    ["_utf8mb4'", "_utf8mb3'", "_latin1'", "_ascii'"]
        .into_iter()
        .fold(item.to_owned(), |text, introducer| text.replace(introducer, "'"))
}

/// A quoted name at the start of a text, and what follows it.
pub(super) fn quoted(text: &str) -> Option<(String, &str)> {
    quoted_by('`', text)
}

/// What stands in quotes at the start of a text, doubled ones undone, and what follows it.
pub(super) fn quoted_by(quote: char, text: &str) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix(quote)?;
    let mut inside = String::new();
    loop {
        let (part, tail) = rest.split_once(quote)?;
        inside += part;
        match tail.strip_prefix(quote) {
            Some(more) => {
                inside.push(quote);
                rest = more;
            }
            None => return Some((inside, tail)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "CREATE TEMPORARY TABLE `crossfade_shape` (
  `id` int NOT NULL AUTO_INCREMENT,
  `odd``name` varchar(20) NOT NULL DEFAULT 'it''s' COMMENT 'two
lines, and `KEY`',
  `cf_x` char(64) GENERATED ALWAYS AS (sha2(lower(`a`),256)) VIRTUAL /*!80023 INVISIBLE */,
  PRIMARY KEY (`id`),
  UNIQUE KEY `k` (`cf_x`),
  KEY `i` (`a`,`id` DESC) COMMENT 'crossfade',
  KEY `mine` (`b`(191)),
  CONSTRAINT `fk` FOREIGN KEY (`id`) REFERENCES `p` (`id`),
  CONSTRAINT `t_chk` CHECK ((`a` in (_utf8mb4'a',_utf8mb3'b')))
) ENGINE=InnoDB AUTO_INCREMENT=7 DEFAULT CHARSET=utf8mb4 COMMENT='x'";

    #[test]
    fn a_table_is_taken_apart() {
        let shape = Shape::parse(TEXT);
        assert_eq!(shape.columns.keys().collect::<Vec<_>>(), ["cf_x", "id", "odd`name"]);
        assert!(shape.columns["odd`name"].ends_with("and `KEY`'"));
        assert_eq!(shape.primary, "PRIMARY KEY (`id`)");
        assert_eq!(shape.checks["t_chk"], "CHECK ((`a` in ('a','b')))");
        let keys: Vec<_> =
            shape.keys.iter().map(|(name, key)| (name.as_str(), key.unique, key.ours)).collect();
        assert_eq!(keys, [("i", false, true), ("k", true, false), ("mine", false, false)]);
        assert_eq!(shape.keys["i"].parts, "(`a`,`id` DESC)");
        assert_eq!(shape.comment, "'x'");
    }

    #[test]
    fn an_index_serves_what_it_begins_with() {
        let shape = Shape::parse(TEXT);
        let serves = |key: &str, columns: &[&str]| {
            let columns: Vec<String> = columns.iter().map(|name| (*name).to_owned()).collect();
            shape.keys[key].begins_with(&columns)
        };
        assert!(serves("i", &["a"]) && serves("i", &["a", "id"]));
        assert!(
            !serves("i", &["id"]) && !serves("i", &["a", "id", "b"]) && !serves("mine", &["b"])
        );
    }
}
