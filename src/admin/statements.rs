//! `GET /statements`: which statements were seen by all sidecars, and what becomes of each.
//!
//! Invariant: texts without literals and comments, as `plan::seen` keeps them.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use crate::plan::seen::{Compared, Line};

/// One statement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatementReport {
    pub fingerprint: String,
    pub text: String,
    /// `read`, `captured`, `uncaptured`, `unmigrated`, `ddl` or `other`.
    pub kind: String,
    /// Why an uncaptured write is not carried over.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// Executions that PostgreSQL completed since the list was begun: since `setup`, or, without it,
    /// since this sidecar started.
    pub count: u64,
    pub first_seen: String,
    pub last_seen: String,
    /// Whether MySQL could answer it: `translated`, `refused: ` and the construct, `never seen` if it
    /// was prepared and not run, `unknown` until it is judged.
    pub readiness: String,
    /// What came of running it on both sides; absent until that was done.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub shadow: Option<ShadowReport>,
}

/// Reads that ran on both sides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShadowReport {
    #[serde(rename = "match")]
    pub matched: u64,
    pub mismatch: u64,
    /// Different, where the statement leaves open which rows it returns, or where rows kept changing.
    pub undetermined: u64,
    pub error: u64,
    /// Means over all that were compared.
    pub primary_ms: f64,
    pub secondary_ms: f64,
}

impl ShadowReport {
    fn new(compared: &Compared) -> Option<Self> {
        let mean = |micros: u64| micros as f64 / 1000.0 / compared.timed().max(1) as f64;
        let report = Self {
            matched: compared.matched,
            mismatch: compared.mismatched,
            undetermined: compared.undetermined,
            error: compared.failed,
            primary_ms: mean(compared.primary_micros),
            secondary_ms: mean(compared.secondary_micros),
        };
        (*compared != Compared::default()).then_some(report)
    }
}

impl StatementReport {
    /// MySQL could not answer it, a write of it is not carried over, or it read something else there.
    #[must_use]
    pub fn is_open(&self) -> bool {
        let differs = self.shadow.as_ref().is_some_and(|shadow| 0 < shadow.mismatch);
        differs || self.reason.is_some() || self.readiness.starts_with("refused")
    }
}

impl From<Line> for StatementReport {
    fn from(line: Line) -> Self {
        Self {
            fingerprint: line.fingerprint.to_string(),
            text: line.text,
            kind: line.kind,
            reason: line.reason,
            count: line.count,
            first_seen: time(line.first),
            last_seen: time(line.last),
            readiness: line.readiness.to_string(),
            shadow: ShadowReport::new(&line.compared),
        }
    }
}

fn time(micros: i64) -> String {
    let time = DateTime::<Utc>::from_timestamp_micros(micros).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// A line of `crossfade status --statements`.
impl fmt::Display for StatementReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match &self.reason {
            Some(reason) => format!("{}: {reason}", self.kind),
            None => self.kind.clone(),
        };
        let Self { fingerprint, count, last_seen, readiness, text, .. } = self;
        write!(f, "{fingerprint}  {count:>9}  {what:24}  {readiness:16}  {last_seen}  ")?;
        if let Some(shadow) = &self.shadow {
            let ShadowReport { matched, mismatch, primary_ms, secondary_ms, .. } = shadow;
            let differ = if 0 < *mismatch { format!(" {mismatch} differ") } else { String::new() };
            write!(f, "[shadow: {matched} equal{differ}, {primary_ms:.1}/{secondary_ms:.1} ms]  ")?;
        }
        f.write_str(text)
    }
}
