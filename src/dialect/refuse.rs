//! Why a statement is not run: a construct without an exact equal, or an error that PostgreSQL raises too.
//!
//! Invariant: a construct names no value. A message may quote a literal, as PostgreSQL's does: it is for
//! the client, and must not be logged.

use crate::value::input::InputError;

/// What the client gets instead of rows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// SQLSTATE; `0A000` for what has no translation.
    pub code: &'static str,
    pub message: String,
    /// The construct in a few fixed words, to count refusals by; empty for errors of PostgreSQL's own.
    pub construct: String,
}

impl Refused {
    /// An error that PostgreSQL would raise for the statement as well.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), construct: String::new() }
    }

    /// True where the statement may be right and is not translated.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        self.code == "0A000"
    }
}

/// `0A000` for a construct.
pub(super) fn unsupported(construct: &str) -> Refused {
    Refused {
        code: "0A000",
        message: format!("{construct} cannot be translated for MySQL"),
        construct: construct.to_owned(),
    }
}

impl From<InputError> for Refused {
    fn from(error: InputError) -> Self {
        match error.code {
            "0A000" => Self {
                construct: "the spelling of a literal".to_owned(),
                ..Self::error("0A000", error.message)
            },
            code => Self::error(code, error.message),
        }
    }
}
