//! Whether the two databases answer, as the last look found them.

use serde::Serialize;

/// Answer of `GET /health/readiness`.
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
        let side = |product| Side { product, answers: false, error: Some("not asked yet".into()) };
        Self { primary: side("postgresql"), secondary: side("mysql") }
    }
}
