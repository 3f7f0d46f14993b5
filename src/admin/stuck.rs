//! `GET /stuck`: outbox entries that have failed, with their reasons.
//!
//! Invariant: no keys, which are values of the application: whoever wants to see those asks with
//! `POST /repair` and `dryRun`, for which the token is needed.

use serde::Serialize;

/// One entry, as of the last look.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StuckReport {
    /// Its number in the outbox, for `crossfade repair --entry`: each database numbers its own.
    pub entry: i64,
    /// Whose outbox it is in: who leads the table.
    pub primary: &'static str,
    pub table: String,
    pub operation: String,
    pub attempts: i32,
    /// How long it has been waiting.
    pub seconds: f64,
    /// Until it is tried again by itself.
    pub next_seconds: f64,
    /// A code and a column's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
