//! How often a client of both databases has met a bound.

use prometheus::{IntCounterVec, Opts, Registry};

/// A bound of [`super`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    /// A transaction cannot move to MySQL any more: too much was said in it before its first table.
    Prelude,
    /// Too many settings in one transaction: the session ends.
    Carried,
    /// A database does not take what the client says as fast as it says it: the client waits.
    Backlog,
    /// The client does not take what it is answered: both databases wait.
    Answers,
    /// A statement is too large: the session ends.
    Statement,
}

impl Bound {
    const ALL: [Self; 5] =
        [Self::Prelude, Self::Carried, Self::Backlog, Self::Answers, Self::Statement];

    fn as_str(self) -> &'static str {
        match self {
            Self::Prelude => "prelude",
            Self::Carried => "carried",
            Self::Backlog => "backlog",
            Self::Answers => "answers",
            Self::Statement => "statement",
        }
    }
}

/// Counts them.
#[derive(Clone, Debug)]
pub struct PartsMetrics(IntCounterVec);

impl PartsMetrics {
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let help =
            "Times that a client of both databases has met a bound, while a group is on MySQL.";
        let counter = IntCounterVec::new(Opts::new("parts_bounds_total", help), &["bound"])?;
        registry.register(Box::new(counter.clone()))?;
        for bound in Bound::ALL {
            counter.with_label_values(&[bound.as_str()]);
        }
        Ok(Self(counter))
    }

    pub(super) fn met(&self, bound: Bound) {
        self.0.with_label_values(&[bound.as_str()]).inc();
    }
}
