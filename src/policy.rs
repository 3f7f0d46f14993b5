//! What the user asked for: per table the mode, its timeout, how to capture; for all, which types.
//!
//! ```text
//! proxy.yaml `tables:` ──[`Policies`]──▶ Policy of one table ──▶ plan, session, apply
//! ```
//!
//! Invariant: every table has exactly one policy at a time; a reload swaps all of them at once.

mod choices;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::names::TableName;

pub use choices::{
    CitextChoice, JsonbChoice, NumericChoice, TextChoice, TypeChoices, UuidChoice,
    VARCHAR_CHARS_MAX,
};

/// When the client is answered, relative to the secondary. Ordered from lax to strict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Mode {
    /// Not migrated.
    Off,
    /// Once the primary has committed.
    Async,
    /// Once both have it, or the timeout has passed.
    Blocking,
    /// Once both have it; if the secondary cannot, the primary is rolled back.
    Strict,
}

impl Mode {
    pub const ALL: [Self; 4] = [Self::Off, Self::Async, Self::Blocking, Self::Strict];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Async => "async",
            Self::Blocking => "blocking",
            Self::Strict => "strict",
        }
    }
}

/// A table's line in the `tables:` section of proxy.yaml, resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    pub mode: Mode,
    pub timeout: Duration,
    pub capture: CaptureChoice,
    /// `outbox: false`: a crash may lose the last writes of this table. With `async` only.
    pub outbox: bool,
}

/// What proxy.yaml asks for; the catalogue decides what `Auto` means for a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CaptureChoice {
    Auto,
    Returning,
    Trigger,
}

/// The `tables:` section, in order; the first line whose pattern fits a table is its policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policies {
    lines: Vec<Line>,
    /// Where no line fits.
    otherwise: Policy,
    types: TypeChoices,
}

/// One line of the section.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    pattern: Pattern,
    policy: Policy,
    group: Option<String>,
}

impl Policies {
    #[must_use]
    pub fn new(lines: Vec<(Pattern, Policy)>, otherwise: Policy) -> Self {
        let line = |(pattern, policy)| Line { pattern, policy, group: None };
        let lines = lines.into_iter().map(line).collect();
        Self { lines, otherwise, types: TypeChoices::default() }
    }

    /// The same with a group for each line, in their order: tables that can move without the others.
    #[must_use]
    pub fn with_groups(mut self, groups: Vec<Option<String>>) -> Self {
        for (line, group) in self.lines.iter_mut().zip(groups) {
            line.group = group;
        }
        self
    }

    /// The group that a table is of.
    #[must_use]
    pub fn group_of(&self, table: &TableName) -> Option<&str> {
        self.line(table)?.group.as_deref()
    }

    fn line(&self, table: &TableName) -> Option<&Line> {
        self.lines.iter().find(|line| line.pattern.fits(table))
    }

    /// The same with other types.
    #[must_use]
    pub fn with_types(self, types: TypeChoices) -> Self {
        Self { types, ..self }
    }

    /// What proxy.yaml asks for; what holds is what `setup` recorded.
    #[must_use]
    pub fn types(&self) -> TypeChoices {
        self.types
    }

    /// The same with another mode for one table, in front of every line.
    #[must_use]
    pub fn with_mode(&self, table: &TableName, mode: Mode) -> Self {
        // Without its outbox a table can be `async` only.
        let policy = Policy { mode, outbox: true, ..self.of(table) };
        let mut lines = self.lines.clone();
        let group = self.group_of(table).map(str::to_owned);
        lines.retain(|line| !line.pattern.is(table));
        lines.insert(0, Line { pattern: Pattern::exactly(table), policy, group });
        Self { lines, otherwise: self.otherwise, types: self.types }
    }

    #[must_use]
    pub fn of(&self, table: &TableName) -> Policy {
        self.line(table).map_or(self.otherwise, |line| line.policy)
    }
}

/// A table pattern of proxy.yaml: `users`, `auth.users`, `tmp_*`. `*` matches within a schema;
/// `public` if none is named. The pattern `*` alone matches every table of every schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// One table alone, unless its name holds a `*`.
    #[must_use]
    pub fn exactly(table: &TableName) -> Self {
        Self(format!("{}.{}", table.schema(), table.name()))
    }

    fn is(&self, table: &TableName) -> bool {
        *self == Self::exactly(table)
    }

    #[must_use]
    pub fn fits(&self, table: &TableName) -> bool {
        if self.0 == "*" {
            return true;
        }
        let (schema, name) = self.0.split_once('.').unwrap_or(("public", &self.0));
        glob(schema, table.schema()) && glob(name, table.name())
    }
}

/// `*` stands for any run of characters.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == text };
    let Some(rest) = text.strip_prefix(head) else { return false };
    (0..=rest.len()).filter(|at| rest.is_char_boundary(*at)).any(|at| glob(tail, &rest[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_mode_for_one_table_comes_first_and_replaces_the_last_one() {
        let policy = Policy {
            mode: Mode::Async,
            timeout: Duration::from_secs(2),
            capture: CaptureChoice::Auto,
            outbox: false,
        };
        let policies = Policies::new(vec![(Pattern::new("*"), policy)], policy);
        let (users, codes) = (TableName::parse("users"), TableName::parse("codes"));
        let changed = policies.with_mode(&users, Mode::Strict).with_mode(&users, Mode::Blocking);
        assert_eq!(changed.of(&users), Policy { mode: Mode::Blocking, outbox: true, ..policy });
        assert_eq!(changed.of(&codes), policy);
        assert_eq!(changed.lines.len(), 2);
    }

    #[test]
    fn a_star_matches_within_a_schema() {
        let fits =
            |pattern: &str, table: &str| Pattern::new(pattern).fits(&TableName::parse(table));
        assert!(fits("tmp_*", "tmp_1"));
        assert!(!fits("tmp_*", "auth.tmp_1"));
        assert!(fits("auth.*", "auth.users"));
        assert!(fits("*", "auth.users"));
        assert!(fits("a*b*c", "aXbYc"));
        assert!(!fits("a*b", "abc"));
    }
}
