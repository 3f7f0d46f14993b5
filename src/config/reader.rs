//! Takes values out of the tree of proxy.yaml and collects every mistake on the way.
//!
//! ```text
//! yaml::Node ──[`Section`]──▶ typed values
//!                 └──▶ mistakes, each with line and key; never the first alone
//! ```
//!
//! Invariant: a key is either taken or reported. [`Section::finish`] names what nobody asked for,
//! so a misspelt key cannot silently leave a default in place.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::Mistake;
use super::expand::{Lookup, expand};
use super::yaml::{Content, Key, Node};

/// What all sections of one file share.
pub(super) struct Reader<'a> {
    lookup: Lookup<'a>,
    /// Relative paths start where proxy.yaml is.
    directory: &'a Path,
    mistakes: RefCell<Vec<Mistake>>,
    /// Every key that was asked for, in full.
    asked: RefCell<Vec<String>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(lookup: Lookup<'a>, directory: &'a Path) -> Self {
        Self { lookup, directory, mistakes: RefCell::default(), asked: RefCell::default() }
    }

    /// Every mistake so far, in the order of the file.
    pub(super) fn into_mistakes(self) -> Vec<Mistake> {
        let mut mistakes = self.mistakes.into_inner();
        mistakes.sort_by_key(|mistake| mistake.line);
        mistakes
    }

    pub(super) fn lookup(&self) -> Lookup<'a> {
        self.lookup
    }

    pub(super) fn mistake(&self, line: usize, key: &str, message: &str) {
        self.mistakes.borrow_mut().push(Mistake::new(line, key, message));
    }

    /// Every key that the file may have, as far as its sections were read.
    #[cfg(test)]
    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.borrow().clone()
    }

    /// A file that must be there and readable now.
    pub(super) fn file(&self, text: &str) -> Result<PathBuf, String> {
        let path = self.path(text);
        match File::open(&path) {
            Ok(_) => Ok(path),
            Err(error) => Err(format!("file \"{}\": {}", path.display(), reason(&error))),
        }
    }

    pub(super) fn path(&self, text: &str) -> PathBuf {
        self.directory.join(text)
    }
}

/// The operating system's reason in words, without its number.
pub(super) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file".to_owned(),
        kind => kind.to_string(),
    }
}

/// One map of the file, its keys not yet taken.
pub(super) struct Section<'r, 'a> {
    reader: &'r Reader<'a>,
    /// `limits`, `tables.users`; empty at the top.
    name: String,
    line: usize,
    entries: Vec<(Key, Node)>,
    taken: Vec<&'static str>,
}

impl<'r, 'a> Section<'r, 'a> {
    /// Reads `node` as a map; what is no map, or a key given twice, is a mistake.
    pub(super) fn new(reader: &'r Reader<'a>, name: &str, node: Node) -> Self {
        let entries = match node.content {
            Content::Map(entries) => entries,
            Content::Absent => Vec::new(),
            Content::Text(_) | Content::List => {
                reader.mistake(node.line, name, "must be a section of its own: key: value lines");
                Vec::new()
            }
        };
        let mut section =
            Self { reader, name: name.to_owned(), line: node.line, entries, taken: Vec::new() };
        section.refuse_twice();
        section
    }

    /// The value of `key`, or `default` where the file does not name it or has it wrong.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        self.optional(key, parse).unwrap_or(default)
    }

    /// The value of `key`; leaving it out is a mistake.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        if !self.has(key) {
            let full = self.full(key);
            self.reader.mistake(self.line, &full, "is missing");
        }
        self.optional(key, parse)
    }

    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let reader = self.reader;
        self.raw(key, |text| parse(&expand(text, reader.lookup)?))
    }

    /// As [`Self::optional`], with the variables of the text still in it.
    pub(super) fn raw<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let (key, node) = self.take(key)?;
        let full = self.full(&key.name);
        let parsed = match node.content {
            Content::Absent => return None,
            Content::Text(text) => parse(&text),
            Content::Map(_) | Content::List => Err("must be a single value".to_owned()),
        };
        parsed.map_err(|message| self.reader.mistake(node.line, &full, &message)).ok()
    }

    /// The section below `key`; an empty one where the file does not name it.
    pub(super) fn section(&mut self, key: &'static str) -> Self {
        let full = self.full(key);
        let line = self.line;
        let node = self.take(key).map_or(Node { line, content: Content::Absent }, |(_, node)| node);
        Self::new(self.reader, &full, node)
    }

    /// The section below `key`; none where the file does not name it.
    pub(super) fn optional_section(&mut self, key: &'static str) -> Option<Self> {
        let given = self.has(key);
        let section = self.section(key);
        given.then_some(section)
    }

    /// True where the file names `key` and gives it a value.
    pub(super) fn has(&self, key: &str) -> bool {
        let given = |node: &Node| !matches!(node.content, Content::Absent);
        self.entries.iter().any(|(named, node)| named.name == key && given(node))
    }

    /// What is left, for a section whose keys are the user's own words: each as a section.
    pub(super) fn into_sections(mut self) -> Vec<(String, Self)> {
        let entries = std::mem::take(&mut self.entries);
        let named = entries.into_iter().map(|(key, node)| {
            let full = self.full(&key.name);
            (key.name, Self::new(self.reader, &full, node))
        });
        named.collect()
    }

    /// What is left, for a section whose keys are the user's own words: each as a text.
    pub(super) fn into_texts(mut self) -> Vec<(String, String)> {
        let mut texts = Vec::new();
        for (key, node) in std::mem::take(&mut self.entries) {
            let text = match node.content {
                Content::Text(text) => expand(&text, self.reader.lookup),
                _ => Err("must be a single value".to_owned()),
            };
            match text {
                Ok(text) => texts.push((key.name, text)),
                Err(message) => self.reader.mistake(node.line, &self.full(&key.name), &message),
            }
        }
        texts
    }

    /// Reports the keys that were not taken.
    pub(super) fn finish(self) {
        for (key, _) in &self.entries {
            let message = match nearest(&key.name, &self.taken) {
                Some(near) => format!("unknown key; did you mean \"{near}\"?"),
                None => format!("unknown key; known here: {}", self.taken.join(", ")),
            };
            self.reader.mistake(key.line, &self.full(&key.name), &message);
        }
    }

    /// Adds a mistake that concerns the section as a whole, or one of its keys.
    pub(super) fn mistake(&self, key: &str, message: &str) {
        self.reader.mistake(self.line, &self.full(key), message);
    }

    fn take(&mut self, key: &'static str) -> Option<(Key, Node)> {
        self.taken.push(key);
        self.reader.asked.borrow_mut().push(self.full(key));
        let at = self.entries.iter().position(|(named, _)| named.name == key)?;
        Some(self.entries.remove(at))
    }

    fn full(&self, key: &str) -> String {
        match (self.name.as_str(), key) {
            ("", key) => key.to_owned(),
            (name, "") => name.to_owned(),
            (name, key) => format!("{name}.{key}"),
        }
    }

    /// The first of two equal keys stays; the other is reported.
    fn refuse_twice(&mut self) {
        let mut seen: Vec<(String, usize)> = Vec::new();
        let mut kept = Vec::new();
        for (key, node) in std::mem::take(&mut self.entries) {
            if let Some((_, first)) = seen.iter().find(|(name, _)| *name == key.name) {
                let message = format!("is given twice, first on line {first}");
                self.reader.mistake(key.line, &self.full(&key.name), &message);
            } else {
                seen.push((key.name.clone(), key.line));
                kept.push((key, node));
            }
        }
        self.entries = kept;
    }
}

/// The known key that a misspelt one most likely stands for.
fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let near = known.iter().map(|key| (distance(word, key), *key)).min()?;
    (near.0 <= 2 && near.0 < near.1.len()).then_some(near.1)
}

/// How many letters differ (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(l != *r);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[right.len()]
}
