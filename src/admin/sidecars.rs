//! `GET /sidecars`: who else serves this pair of databases.

use serde::{Deserialize, Serialize};

/// One sidecar, as `crossfade.sidecars` has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SidecarReport {
    /// Chosen at random at each start.
    pub id: String,
    /// Where clients reach it.
    pub address: String,
    pub version: String,
    pub epoch: u64,
    pub started_at: String,
    /// `limits.lease`.
    pub lease_ms: u64,
    /// When it stops answering unless it is heard of again.
    pub lease_until: String,
    /// It was heard of in time.
    pub current: bool,
}
