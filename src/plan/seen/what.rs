//! What becomes of a statement, and whether the secondary could answer it.
//!
//! Invariant: a closed set of words, but for the construct that is named; no value is in any of them.

use crate::plan::{Plan, Step};

/// What becomes of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Read,
    /// Writes, and is carried over.
    Captured,
    /// Writes, and is not carried over: why.
    Uncaptured(&'static str),
    /// Writes what is not migrated; before `setup` that is everything.
    Unmigrated,
    Ddl,
    Other,
}

impl What {
    /// Of several statements, the one that matters most.
    pub(super) fn of(plan: &Plan) -> Self {
        let steps = plan.statements.iter().map(|planned| Self::of_step(&planned.step));
        steps.min_by_key(|what| what.rank()).unwrap_or(Self::Other)
    }

    fn of_step(step: &Step) -> Self {
        match step {
            Step::Read => Self::Read,
            Step::Capture(_) | Step::Entered(_) | Step::Truncate(_) => Self::Captured,
            Step::Uncaptured { reason, .. } => Self::Uncaptured(reason),
            Step::Unmigrated => Self::Unmigrated,
            Step::Ddl => Self::Ddl,
            Step::Prepare { step, .. } => Self::of_step(step),
            Step::Other
            | Step::Savepoint(_)
            | Step::Release(_)
            | Step::RollbackTo(_)
            | Step::Commit
            | Step::Begin
            | Step::Transaction
            | Step::Execute(_)
            | Step::Deallocate(_)
            | Step::SearchPath(_)
            | Step::Temporary(_) => Self::Other,
        }
    }

    pub(super) fn rank(self) -> u8 {
        match self {
            Self::Uncaptured(_) => 0,
            Self::Captured => 1,
            Self::Unmigrated => 2,
            Self::Ddl => 3,
            Self::Read => 4,
            Self::Other => 5,
        }
    }

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Captured => "captured",
            Self::Uncaptured(_) => "uncaptured",
            Self::Unmigrated => "unmigrated",
            Self::Ddl => "ddl",
            Self::Other => "other",
        }
    }

    /// Why it is not carried over.
    #[must_use]
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Self::Uncaptured(reason) => Some(reason),
            _ => None,
        }
    }
}

/// Whether the secondary could answer a statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Readiness {
    /// Nobody has judged it yet.
    #[default]
    Unknown,
    /// It was prepared, and never run.
    NeverSeen,
    Translated,
    /// Somebody has said that it is sent no more; it counts again once it is.
    Forgotten,
    /// The construct that has no equal; holds no value.
    Refused(String),
}

impl std::fmt::Display for Readiness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown => f.write_str("unknown"),
            Self::NeverSeen => f.write_str("never seen"),
            Self::Translated => f.write_str("translated"),
            Self::Forgotten => f.write_str("forgotten"),
            Self::Refused(construct) => write!(f, "refused: {construct}"),
        }
    }
}

impl Readiness {
    /// As it is printed.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match (text, text.strip_prefix("refused: ")) {
            (_, Some(construct)) => Self::Refused(construct.to_owned()),
            ("translated", _) => Self::Translated,
            ("never seen", _) => Self::NeverSeen,
            ("forgotten", _) => Self::Forgotten,
            _ => Self::Unknown,
        }
    }
}
