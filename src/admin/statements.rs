//! `GET /statements`: which statements were seen, and what becomes of each.
//!
//! Invariant: texts without literals and comments, as `plan::seen` keeps them.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use crate::plan::seen::{Line, Seen};

/// What the list is made from.
#[derive(Clone, Debug)]
pub struct Statements {
    pub seen: Arc<Seen>,
    /// The time of day that its times are counted from.
    pub started: SystemTime,
}

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatementReport {
    pub fingerprint: String,
    pub text: String,
    /// `read`, `captured`, `uncaptured`, `unmigrated`, `ddl` or `other`.
    pub kind: String,
    /// Why an uncaptured write is not carried over.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// Executions that PostgreSQL completed since this sidecar started.
    pub count: u64,
    pub first_seen: String,
    pub last_seen: String,
    /// Whether MySQL could answer it: `unknown` until it can be translated.
    pub readiness: String,
}

impl Statements {
    pub(super) fn report(&self) -> Vec<StatementReport> {
        self.seen.list().into_iter().map(|line| self.line(line)).collect()
    }

    fn line(&self, line: Line) -> StatementReport {
        StatementReport {
            fingerprint: line.fingerprint.to_string(),
            text: line.text,
            kind: line.what.as_str().to_owned(),
            reason: line.what.reason().map(str::to_owned),
            count: line.count,
            first_seen: self.time(line.first),
            last_seen: self.time(line.last),
            readiness: "unknown".to_owned(),
        }
    }

    fn time(&self, after: Duration) -> String {
        let time = DateTime::<Utc>::from(self.started + after);
        time.to_rfc3339_opts(SecondsFormat::Secs, true)
    }
}

/// A line of `crossfade status --statements`.
impl fmt::Display for StatementReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match &self.reason {
            Some(reason) => format!("{}: {reason}", self.kind),
            None => self.kind.clone(),
        };
        write!(f, "{:>9}  {what:24}  {}  {}", self.count, self.last_seen, self.text)
    }
}
