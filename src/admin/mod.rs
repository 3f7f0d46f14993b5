//! HTTP beside the stream: metrics, health, status, the dashboard, and requests to change things.
//!
//! ```text
//! GET  ──▶ what others publish (Situation, Ledger, Health, the registries) ──▶ JSON or text
//! POST ──token──▶ [`Request`] ──(bounded)──▶ proxy, which answers through the request's reply
//! ```
//!
//! Invariant: nothing in here waits for a database, but for [`fresh`], which does so for a moment when asked
//! to. A GET is answered from what was last published, so that a database that hangs cannot hang its own
//! monitoring.
//!
//! Not here: doing what a POST asks (`proxy`), what the numbers mean (their modules).

mod access;
pub mod client;
mod copied;
mod counted;
mod fresh;
mod health;
mod history;
mod page;
pub mod report;
mod server;
mod sidecars;
mod statements;
mod stuck;
mod switching;
mod token;
mod verified;
mod work;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, Query, Request as HttpRequest, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, Registry, TextEncoder};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};

use crate::catalog::Capture;
use crate::control::repair::{Repaired, Wanted};
use crate::lease::Lease;
use crate::names::TableName;
use crate::phase::{Phase, Situation};
use crate::plan::seen::{Fingerprint, Seen};
use crate::policy::Mode;

pub use counted::{Counted, Counts, Rows};
pub use fresh::{Fresh, Looker};
use health::Readiness;
pub use health::{Health, Side};
use history::History;
pub use report::{
    CopyReport, Lag, Ledger, LedgerLine, Report, Status, TableReport, VerifyReport, VerifySums,
    primary,
};
pub use sidecars::SidecarReport;
pub use statements::{RefusedReport, ShadowReport, StatementReport};
pub use stuck::StuckReport;
pub use switching::Switching;
use token::Denied;
pub use token::Token;
use work::WorkReport;
pub use work::{Job, Teller, Work};

const BODY_BYTES_MAX: usize = 64 << 10;
/// A reload reads files and may wait for a database; nothing else takes long.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// A change of the primary holds clients for as long as its own time says, and goes forward after that.
const CHANGE_TIME_MAX: Duration = Duration::from_secs(1800);
/// POSTs waiting for the proxy; one more is told to come back.
pub const REQUESTS_MAX: usize = 16;

/// The `admin:` section of proxy.yaml.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminConfig {
    pub address: SocketAddr,
    /// Wanted for every POST. Without one, POST is answered on loopback only.
    pub token: Option<Token>,
}

/// What a POST asks of the proxy.
#[derive(Debug)]
pub enum Request {
    /// Read proxy.yaml again.
    Reload { reply: oneshot::Sender<Result<(), String>> },
    /// Try again what is stuck.
    Repair { wanted: Wanted, reply: oneshot::Sender<Result<Repaired, Denial>> },
    /// Copy old rows in this sidecar.
    Backfill { wanted: BackfillWanted, reply: oneshot::Sender<Result<(), String>> },
    /// Compare both sides in this sidecar: these tables, or all that are captured.
    Verify { tables: Vec<TableName>, reply: oneshot::Sender<Result<(), String>> },
    /// Have whoever copies wait, or go on.
    PauseBackfill { paused: bool, reply: oneshot::Sender<Result<(), String>> },
    /// Change the primary, or say what is known about that.
    Switching(Switching),
    /// Take statements off the list that are sent no more; answers with those that were on it.
    Forget {
        fingerprints: Vec<Fingerprint>,
        reply: oneshot::Sender<Result<Vec<Fingerprint>, String>>,
    },
    /// Another mode for one table, until the next reload or restart.
    SetMode { table: TableName, mode: Mode, reply: oneshot::Sender<Result<(), String>> },
}

/// What of the old rows to copy, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackfillWanted {
    /// All that are captured, where none is named.
    pub tables: Vec<TableName>,
    /// Rows a second; `backfill.max_rate` where none is given.
    pub max_rate: Option<u64>,
    /// Tables that were copied before as well.
    pub again: bool,
}

/// Why a repair was not begun, or not finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// There is no such table, or that is no key of it.
    Unknown(String),
    /// Too many at once, or the primary said no.
    Later(String),
}

/// How often [`REQUESTS_MAX`] was met.
#[derive(Clone, Debug)]
pub struct AdminMetrics {
    refused: IntCounter,
}

impl AdminMetrics {
    pub fn register(
        registry: &Registry,
        ledger: watch::Receiver<Arc<Ledger>>,
    ) -> prometheus::Result<Self> {
        copied::register(registry, ledger.clone())?;
        verified::register(registry, ledger)?;
        let help = "POSTs that found too many others waiting.";
        let refused = IntCounter::new("admin_requests_refused_total", help)?;
        registry.register(Box::new(refused.clone()))?;
        Ok(Self { refused })
    }
}

/// What the routes answer from.
#[derive(Clone, Debug)]
pub struct Published {
    /// What PostgreSQL's end goes by, and what MySQL's does.
    pub situation: watch::Receiver<Arc<Situation>>,
    pub beyond: watch::Receiver<Arc<Situation>>,
    pub ledger: watch::Receiver<Arc<Ledger>>,
    pub counts: watch::Receiver<Arc<Counts>>,
    pub work: watch::Receiver<Arc<Work>>,
    pub health: watch::Receiver<Arc<Health>>,
    pub lease: Lease,
    /// As `crossfade.sidecars` has it.
    pub sidecar: Arc<str>,
    pub statements: Arc<Seen>,
    pub registries: Vec<Registry>,
    /// The `Authorization` that POST wants; a reload may change it.
    pub token: watch::Receiver<Option<Token>>,
    pub requests: mpsc::Sender<Request>,
    pub metrics: AdminMetrics,
    pub fresh: Fresh,
}

/// Answers until `stop` is true.
pub async fn serve(listener: TcpListener, published: Published, stop: watch::Receiver<bool>) {
    let history = History::default();
    let kept = tokio::spawn(history.clone().keep(published.clone()));
    server::serve(listener, router(published, history), stop).await;
    kept.abort();
}

fn router(published: Published, history: History) -> Router {
    let samples = async move |Query(Since { after }): Query<Since>| {
        ([(CACHE_CONTROL, "no-store")], Json(history.columns(after)))
    };
    page::routes()
        .route("/metrics", get(metrics))
        .route("/health/liveness", get(async || "ok\n"))
        .route("/health/readiness", get(readiness))
        .route("/migration-status", get(migration_status))
        .route("/history", get(samples))
        .route("/stuck", get(stuck))
        .route("/work", get(work))
        .route("/access", get(access::access))
        .route("/statements", get(statements::list))
        .route("/statements/forget", post(statements::forget))
        .route("/sidecars", get(sidecars))
        .route("/attempts", get(switching::record))
        .route("/switchover", get(switching::look).post(switching::switchover))
        .route("/rollback", post(switching::rollback))
        .route("/complete", post(switching::complete))
        .route("/reload", post(reload))
        .route("/repair", post(repair))
        .route("/backfill", post(backfill))
        .route("/backfill/pause", post(async |State(all)| pause_backfill(all, true).await))
        .route("/backfill/resume", post(async |State(all)| pause_backfill(all, false).await))
        .route("/verify", post(verify))
        .route("/tables/{table}/mode", post(set_mode))
        .layer(middleware::from_fn_with_state(published.clone(), guard))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(published)
}

/// Holds every request to the time limit, and to the rules of [`token`].
async fn guard(
    State(published): State<Published>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: HttpRequest,
    next: Next,
) -> Response {
    if let Err(denied) = may(&published, peer, &request) {
        let status = match denied {
            Denied::Unauthorized => StatusCode::UNAUTHORIZED,
            Denied::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Denied::NotLoopback | Denied::OtherSite | Denied::OtherName => StatusCode::FORBIDDEN,
        };
        return refusal(status, &denied.to_string());
    }
    let changes = matches!(request.uri().path(), "/switchover" | "/rollback" | "/complete");
    let bound = if changes { CHANGE_TIME_MAX } else { ANSWER_TIME_MAX };
    match tokio::time::timeout(bound, next.run(request)).await {
        Ok(response) => response,
        Err(_) => refusal(StatusCode::GATEWAY_TIMEOUT, "the answer took too long"),
    }
}

/// The first sample that is wanted.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Since {
    after: u64,
}

fn may(published: &Published, peer: SocketAddr, request: &HttpRequest) -> Result<(), Denied> {
    let (token, headers) = (published.token.borrow().clone(), request.headers());
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        token::check(token.as_ref(), peer, headers)?;
        return token::check_type(headers);
    }
    // Whoever scrapes and probes names us as they like; there is little to be read.
    let path = request.uri().path();
    if path == "/metrics" || path.starts_with("/health/") {
        return Ok(());
    }
    token::check_get(token.as_ref(), peer, headers)
}

async fn metrics(State(published): State<Published>) -> Response {
    match TextEncoder::new().encode_to_string(&published.gather()) {
        Ok(text) => ([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => refusal(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

async fn readiness(State(published): State<Published>) -> impl IntoResponse {
    let phase = published.situation.borrow().phase;
    let health = published.health.borrow().in_phase(phase);
    let why = published.lease.why_not();
    // Until the first look at the migration's state, and without the lease, clients would only wait.
    let known = published.situation.borrow().server > 0;
    let status = match health.primary.answers && known && why.is_none() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let readiness = Readiness { health, lease: health::Confirmed { held: why.is_none(), why } };
    (status, [(CACHE_CONTROL, "no-store")], Json(readiness))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct HowFresh {
    /// The databases are asked first.
    fresh: bool,
}

async fn migration_status(
    State(published): State<Published>,
    Query(HowFresh { fresh }): Query<HowFresh>,
) -> impl IntoResponse {
    if fresh {
        let mysql_leads = || published.beyond.borrow().phase == Phase::Switched;
        published.fresh.look(&published.lease, mysql_leads).await;
    }
    ([(CACHE_CONTROL, "no-store")], Json(published.report()))
}

async fn stuck(State(published): State<Published>) -> impl IntoResponse {
    let ledger = Arc::clone(&published.ledger.borrow());
    ([(CACHE_CONTROL, "no-store")], Json(ledger.stuck.clone()))
}

async fn work(State(published): State<Published>) -> impl IntoResponse {
    let (work, paused) = (Arc::clone(&published.work.borrow()), published.ledger.borrow().paused);
    ([(CACHE_CONTROL, "no-store")], Json(WorkReport::new(&work, paused)))
}

async fn sidecars(State(published): State<Published>) -> impl IntoResponse {
    let ledger = Arc::clone(&published.ledger.borrow());
    ([(CACHE_CONTROL, "no-store")], Json(ledger.sidecars.clone()))
}

async fn reload(State(published): State<Published>) -> Response {
    let (reply, answer) = oneshot::channel();
    published.ask(Request::Reload { reply }, answer, json!({ "reloaded": true })).await
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct RepairBody {
    table: Option<String>,
    key: Option<String>,
    entry: Option<i64>,
    dry_run: bool,
}

/// As `crossfade repair`; without a body, all that is stuck.
async fn repair(State(published): State<Published>, body: Bytes) -> Response {
    let body = match body.is_empty() {
        true => Ok(RepairBody::default()),
        false => serde_json::from_slice::<RepairBody>(&body),
    };
    let Ok(RepairBody { table, key, entry, dry_run }) = body else {
        return refusal(
            StatusCode::BAD_REQUEST,
            "wanted: {\"table\", \"key\", \"entry\", \"dryRun\"}",
        );
    };
    let table = table.as_deref().map(TableName::parse);
    let wanted = Wanted { table, key, entry, dry_run };
    let (reply, answer) = oneshot::channel();
    if published.requests.try_send(Request::Repair { wanted, reply }).is_err() {
        published.metrics.refused.inc();
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "busy with earlier requests");
    }
    match answer.await {
        Ok(Ok(repaired)) => Json(repaired).into_response(),
        Ok(Err(Denial::Unknown(message))) => refusal(StatusCode::NOT_FOUND, &message),
        Ok(Err(Denial::Later(message))) => refusal(StatusCode::CONFLICT, &message),
        Err(_) => refusal(StatusCode::SERVICE_UNAVAILABLE, "shutting down"),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct BackfillBody {
    tables: Vec<String>,
    max_rate: Option<u64>,
    again: bool,
}

/// As `crossfade backfill`, in this sidecar; without a body, all that is not copied yet.
async fn backfill(State(published): State<Published>, body: Bytes) -> Response {
    let body = match body.is_empty() {
        true => Ok(BackfillBody::default()),
        false => serde_json::from_slice::<BackfillBody>(&body),
    };
    let Some(BackfillBody { tables, max_rate, again }) =
        body.ok().filter(|b| b.max_rate != Some(0))
    else {
        let wanted = "wanted: {\"tables\": [], \"maxRate\": above 0, \"again\"}";
        return refusal(StatusCode::BAD_REQUEST, wanted);
    };
    let tables: Vec<TableName> = tables.iter().map(|name| TableName::parse(name)).collect();
    if let Some(refusal) = published.refuses(&[Phase::DualWrite], &tables, false) {
        return refusal;
    }
    let (reply, answer) = oneshot::channel();
    let wanted = BackfillWanted { tables, max_rate, again };
    let said = json!({ "started": true });
    published.ask(Request::Backfill { wanted, reply }, answer, said).await
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct VerifyBody {
    tables: Vec<String>,
}

/// As `crossfade verify`, in this sidecar; without a body, every table.
async fn verify(State(published): State<Published>, body: Bytes) -> Response {
    let body = match body.is_empty() {
        true => Ok(VerifyBody::default()),
        false => serde_json::from_slice::<VerifyBody>(&body),
    };
    let Ok(VerifyBody { tables }) = body else {
        return refusal(StatusCode::BAD_REQUEST, "wanted: {\"tables\": []}");
    };
    let tables: Vec<TableName> = tables.iter().map(|name| TableName::parse(name)).collect();
    let phases = [Phase::DualWrite, Phase::Switched];
    if let Some(refusal) = published.refuses(&phases, &tables, true) {
        return refusal;
    }
    let (reply, answer) = oneshot::channel();
    published.ask(Request::Verify { tables, reply }, answer, json!({ "started": true })).await
}

async fn pause_backfill(published: Published, paused: bool) -> Response {
    let (reply, answer) = oneshot::channel();
    let request = Request::PauseBackfill { paused, reply };
    published.ask(request, answer, json!({ "paused": paused })).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModeBody {
    mode: String,
}

async fn set_mode(
    State(published): State<Published>,
    Path(table): Path<String>,
    body: Bytes,
) -> Response {
    let wanted = serde_json::from_slice::<ModeBody>(&body).ok();
    let mode =
        wanted.and_then(|body| Mode::ALL.into_iter().find(|mode| mode.as_str() == body.mode));
    let Some(mode) = mode else {
        return refusal(
            StatusCode::BAD_REQUEST,
            "wanted: {\"mode\": one of off, async, blocking, strict}",
        );
    };
    let table = TableName::parse(&table);
    if published.situation.borrow().catalog.by_name(&table).is_none() {
        return refusal(StatusCode::NOT_FOUND, "there is no such table");
    }
    let said =
        json!({ "table": table.to_string(), "mode": mode.as_str(), "until": "reload or restart" });
    let (reply, answer) = oneshot::channel();
    published.ask(Request::SetMode { table, mode, reply }, answer, said).await
}

impl Published {
    /// Every metric, as of now.
    #[must_use]
    pub fn gather(&self) -> Vec<MetricFamily> {
        self.registries.iter().flat_map(Registry::gather).collect()
    }

    /// What `/statements` says.
    #[must_use]
    pub fn statement_reports(&self) -> Vec<StatementReport> {
        self.statements.list().into_iter().map(StatementReport::from).collect()
    }

    /// Where the phase is none of these, or one of these tables is not migrated, or not led by PostgreSQL.
    fn refuses(&self, phases: &[Phase], tables: &[TableName], moved: bool) -> Option<Response> {
        let situation = Arc::clone(&self.situation.borrow());
        if !phases.contains(&situation.phase) {
            let message = format!("there is nothing to do in phase {}", situation.phase.as_str());
            return Some(refusal(StatusCode::CONFLICT, &message));
        }
        let is_carried = |name: &TableName| {
            let mut carried = situation.catalog.carried();
            carried
                .any(|table| table.name == *name && (moved || table.capture != Capture::Elsewhere))
        };
        let message = "there is no such table that is migrated";
        (!tables.iter().all(is_carried)).then(|| refusal(StatusCode::NOT_FOUND, message))
    }

    /// Hands a request over and waits for what became of it.
    async fn ask(
        &self,
        request: Request,
        answer: oneshot::Receiver<Result<(), String>>,
        said: serde_json::Value,
    ) -> Response {
        if self.requests.try_send(request).is_err() {
            self.metrics.refused.inc();
            return refusal(StatusCode::SERVICE_UNAVAILABLE, "busy with earlier requests");
        }
        match answer.await {
            Ok(Ok(())) => Json(said).into_response(),
            Ok(Err(message)) => refusal(StatusCode::CONFLICT, &message),
            Err(_) => refusal(StatusCode::SERVICE_UNAVAILABLE, "shutting down"),
        }
    }
}

fn refusal(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "error": message }))).into_response()
}
