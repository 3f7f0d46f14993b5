//! Whether the two databases answer, as the last look found them, and whether we may.

use serde::Serialize;

use crate::phase::Phase;

const NOT_ASKED: &str = "not asked yet";

/// Answer of `GET /health/readiness`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Readiness {
    #[serde(flatten)]
    pub(super) health: Health,
    pub(super) lease: Confirmed,
}

/// Whether phase and epoch were confirmed within the lease.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Confirmed {
    pub(super) held: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) why: Option<String>,
}

/// Both databases, by the roles that they have until a switchover.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Health {
    pub primary: Side,
    pub secondary: Side,
}

/// One database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Side {
    pub product: &'static str,
    pub answers: bool,
    /// Why not, without a secret or a value in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Health {
    /// Before anyone has looked.
    #[must_use]
    pub fn unknown() -> Self {
        let side = |product| Side { product, answers: false, error: Some(NOT_ASKED.into()) };
        Self { primary: side("postgresql"), secondary: side("mysql") }
    }

    /// A line for each database that was asked and does not answer.
    #[must_use]
    pub fn unanswered(&self, phase: Phase) -> Vec<String> {
        // Once it is left for good nobody asks PostgreSQL.
        let postgres = (phase != Phase::Complete).then_some(("PostgreSQL", &self.primary));
        let sides = postgres.into_iter().chain([("MySQL", &self.secondary)]);
        let down = sides.filter_map(|(name, side)| {
            let why = side.error.as_deref().filter(|why| !side.answers && *why != NOT_ASKED)?;
            Some(format!("{name} does not answer: {why}"))
        });
        down.collect()
    }

    /// With their roles changed where MySQL answers.
    #[must_use]
    pub fn in_phase(&self, phase: Phase) -> Self {
        let Self { primary, secondary } = self.clone();
        match phase {
            Phase::Switched | Phase::Complete => Self { primary: secondary, secondary: primary },
            Phase::Setup | Phase::DualWrite => Self { primary, secondary },
        }
    }
}
