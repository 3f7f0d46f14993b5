//! `GET /statements`: which statements were seen by all sidecars, and what becomes of each;
//! `POST /statements/forget`: those that are sent no more.
//!
//! Invariant: texts without literals and comments, as `plan::seen` keeps them.

use std::fmt;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::oneshot;

use super::{Published, Request, refusal};
use crate::plan::seen::{Compared, Fingerprint, Line};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Which {
    /// `open`: those that somebody has to look at.
    only: String,
}

pub(super) async fn list(
    State(published): State<Published>,
    Query(Which { only }): Query<Which>,
) -> impl IntoResponse {
    let mut reports = published.statement_reports();
    reports.retain(|report| only != "open" || report.is_open());
    ([(CACHE_CONTROL, "no-store")], Json(reports))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ForgetBody {
    fingerprints: Vec<String>,
}

/// As `crossfade forget`.
pub(super) async fn forget(State(published): State<Published>, body: Bytes) -> Response {
    let wanted = "wanted: {\"fingerprints\": [\"…\"]}";
    let Ok(ForgetBody { fingerprints }) = serde_json::from_slice(&body) else {
        return refusal(StatusCode::BAD_REQUEST, wanted);
    };
    let parsed =
        fingerprints.iter().map(|text| Fingerprint::parse(text)).collect::<Option<Vec<_>>>();
    let Some(fingerprints) = parsed.filter(|parsed| !parsed.is_empty()) else {
        return refusal(StatusCode::BAD_REQUEST, wanted);
    };
    let (reply, answer) = oneshot::channel();
    if published.requests.try_send(Request::Forget { fingerprints, reply }).is_err() {
        published.metrics.refused.inc();
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "busy with earlier requests");
    }
    match answer.await {
        Ok(Ok(gone)) => {
            let gone: Vec<String> = gone.iter().map(ToString::to_string).collect();
            Json(json!({ "forgotten": gone })).into_response()
        }
        Ok(Err(message)) => refusal(StatusCode::CONFLICT, &message),
        Err(_) => refusal(StatusCode::SERVICE_UNAVAILABLE, "shutting down"),
    }
}

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
    /// How often clients of this sidecar were refused it (0A000) while MySQL answers, since it started;
    /// absent where none was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub refused: Option<RefusedReport>,
    /// What came of running it on both sides; absent until that was done.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub shadow: Option<ShadowReport>,
}

/// What clients got instead of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedReport {
    pub count: u64,
    pub first: String,
    pub last: String,
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
            refused: line.refused.map(|refused| RefusedReport {
                count: refused.count,
                first: time(refused.first),
                last: time(refused.last),
            }),
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
        if let Some(RefusedReport { count, last, .. }) = &self.refused {
            write!(f, "[refused to clients: {count}, last {last}]  ")?;
        }
        if let Some(shadow) = &self.shadow {
            let ShadowReport { matched, mismatch, primary_ms, secondary_ms, .. } = shadow;
            let differ = if 0 < *mismatch { format!(" {mismatch} differ") } else { String::new() };
            write!(f, "[shadow: {matched} equal{differ}, {primary_ms:.1}/{secondary_ms:.1} ms]  ")?;
        }
        f.write_str(text)
    }
}
