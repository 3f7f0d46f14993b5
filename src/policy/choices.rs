//! Which MySQL type is taken where more than one is exact: the `types:` section of proxy.yaml.
//!
//! ```text
//! proxy.yaml `types:` ──setup──▶ crossfade.settings ──every sidecar──▶ catalog::map
//! ```
//!
//! Each choice keeps every value or refuses it; they differ in what MySQL can do with the column.
//!
//! Invariant: once `setup` has run, what it recorded holds for all sidecars, whatever their own
//! proxy.yaml says: two that wrote one column by different rules could change values unseen.

use std::fmt;

/// The choices of one migration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TypeChoices {
    pub jsonb: JsonbChoice,
    pub numeric: NumericChoice,
    pub uuid: UuidChoice,
    pub citext: CitextChoice,
    pub text: TextChoice,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JsonbChoice {
    /// MySQL's own type; a number that it would round is refused.
    #[default]
    Json,
    /// PostgreSQL's text, with every number as it is.
    Text,
}

/// For numeric without a scale, and one wider than MySQL's decimal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NumericChoice {
    /// Keeps the scale that each value has.
    #[default]
    Text,
    /// `decimal(65,30)`: a number to MySQL; the value is kept, its scale is not.
    Decimal,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UuidChoice {
    #[default]
    Char,
    Binary,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CitextChoice {
    /// A collation that ignores case; it also takes a few letters for equal that PostgreSQL tells
    /// apart.
    #[default]
    Ci,
    /// Plain text, unique by its lower-case form. In a key it stays `Ci`.
    Text,
}

/// For text and varchar without a length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TextChoice {
    #[default]
    LongText,
    /// Up to so many characters; a longer value is refused.
    VarChar(u32),
}

/// Longest varchar that may be asked for: four to a row, roughly.
pub const VARCHAR_CHARS_MAX: u32 = 4000;

impl TypeChoices {
    /// As [`Self::parse`] reads it; the form in which `setup` records it.
    #[must_use]
    pub fn record(&self) -> String {
        self.words().map(|(name, word)| format!("{name}={word}")).join(" ")
    }

    /// Reads what `setup` recorded; `None` where a word is unknown here, as to an older sidecar.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut choices = Self::default();
        for part in text.split_ascii_whitespace() {
            match part.split_once('=')? {
                ("jsonb", word) => choices.jsonb = find(&JsonbChoice::WORDS, word)?,
                ("numeric", word) => choices.numeric = find(&NumericChoice::WORDS, word)?,
                ("uuid", word) => choices.uuid = find(&UuidChoice::WORDS, word)?,
                ("citext", word) => choices.citext = find(&CitextChoice::WORDS, word)?,
                ("text", word) => choices.text = TextChoice::parse(word)?,
                _ => return None,
            }
        }
        Some(choices)
    }

    /// Names of the choices that cannot become those of `wanted` while tables exist: sidecars of
    /// the old and of the new rule write side by side for a moment, and MySQL would change what one
    /// of them sends (or convert what is there) without a word. All others meet an error or a
    /// warning, which the writer takes for a refusal.
    #[must_use]
    pub fn fixed_against(&self, wanted: &Self) -> Vec<&'static str> {
        let rounds = (self.jsonb, wanted.jsonb) == (JsonbChoice::Text, JsonbChoice::Json);
        let parts = [
            ("jsonb", rounds),
            ("uuid", self.uuid != wanted.uuid),
            ("citext", self.citext != wanted.citext),
        ];
        parts.into_iter().filter_map(|(name, fixed)| fixed.then_some(name)).collect()
    }

    /// The word for one choice, by its name.
    #[must_use]
    pub fn word(&self, name: &str) -> String {
        let found = self.words().into_iter().find(|(known, _)| *known == name);
        found.map(|(_, word)| word).unwrap_or_default()
    }

    fn words(&self) -> [(&'static str, String); 5] {
        [
            ("jsonb", word(&JsonbChoice::WORDS, self.jsonb)),
            ("numeric", word(&NumericChoice::WORDS, self.numeric)),
            ("uuid", word(&UuidChoice::WORDS, self.uuid)),
            ("citext", word(&CitextChoice::WORDS, self.citext)),
            ("text", self.text.to_string()),
        ]
    }
}

impl JsonbChoice {
    pub const WORDS: [(&str, Self); 2] = [("json", Self::Json), ("text", Self::Text)];
}

impl NumericChoice {
    pub const WORDS: [(&str, Self); 2] = [("text", Self::Text), ("decimal", Self::Decimal)];
}

impl UuidChoice {
    pub const WORDS: [(&str, Self); 2] = [("char", Self::Char), ("binary", Self::Binary)];
}

impl CitextChoice {
    pub const WORDS: [(&str, Self); 2] = [("ci", Self::Ci), ("text", Self::Text)];
}

impl TextChoice {
    /// `longtext`, or `varchar(n)`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "longtext" {
            return Some(Self::LongText);
        }
        let length = text.strip_prefix("varchar(")?.strip_suffix(')')?.parse().ok()?;
        (1..=VARCHAR_CHARS_MAX).contains(&length).then_some(Self::VarChar(length))
    }
}

impl fmt::Display for TextChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LongText => f.write_str("longtext"),
            Self::VarChar(length) => write!(f, "varchar({length})"),
        }
    }
}

fn find<T: Copy>(words: &[(&str, T)], text: &str) -> Option<T> {
    words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value)
}

fn word<T: Copy + PartialEq>(words: &[(&str, T)], value: T) -> String {
    let found = words.iter().find(|(_, known)| *known == value);
    found.map_or(String::new(), |(word, _)| (*word).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHER: TypeChoices = TypeChoices {
        jsonb: JsonbChoice::Text,
        numeric: NumericChoice::Decimal,
        uuid: UuidChoice::Binary,
        citext: CitextChoice::Text,
        text: TextChoice::VarChar(191),
    };

    #[test]
    fn what_is_recorded_is_read_again() {
        let text = "jsonb=text numeric=decimal uuid=binary citext=text text=varchar(191)";
        assert_eq!(OTHER.record(), text);
        for choices in [OTHER, TypeChoices::default()] {
            assert_eq!(TypeChoices::parse(&choices.record()), Some(choices));
        }
        assert_eq!(TypeChoices::parse(""), Some(TypeChoices::default()));
        for unknown in ["jsonb=yaml", "ltree=text", "jsonb", "text=varchar(0)"] {
            assert_eq!(TypeChoices::parse(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn a_choice_that_could_change_values_unseen_stays() {
        let default = TypeChoices::default();
        assert_eq!(default.fixed_against(&OTHER), ["uuid", "citext"]);
        assert_eq!(OTHER.fixed_against(&default), ["jsonb", "uuid", "citext"]);
        let text = TypeChoices { jsonb: JsonbChoice::Text, ..default };
        assert!(default.fixed_against(&text).is_empty());
    }
}
