//! `GET /switchover`, `POST /switchover`, `/rollback`, `/complete`, `GET /attempts`: the coordinator over HTTP.
//!
//! Invariant: an attempt that was begun goes on when whoever asked for it has gone.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{Published, Request, refusal};
use crate::backend::postgres::attempts::Attempt;
use crate::control::switchover::{self, Completion, Direction, Looked, Options, Outcome, TIMEOUT};

/// What of it the proxy is asked for.
#[derive(Debug)]
pub enum Switching {
    /// Which change could come next, and what is against it; of a switchover of this group alone.
    Look {
        group: Option<String>,
        reply: Reply<Looked>,
    },
    Change {
        options: Options,
        reply: Reply<Outcome>,
    },
    Record {
        reply: Reply<Vec<Attempt>>,
    },
    Complete {
        wanted: Completion,
        reply: Reply<Outcome>,
    },
}

/// What came of it, or why it could not be done now.
pub(super) type Reply<T> = oneshot::Sender<Result<T, String>>;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Body {
    dry_run: bool,
    timeout: Option<String>,
    accept: Vec<String>,
    terminate: bool,
    /// Of a switchover.
    group: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct About {
    group: Option<String>,
}

pub(super) async fn look(
    State(published): State<Published>,
    Query(About { group }): Query<About>,
) -> Response {
    let (reply, answer) = oneshot::channel();
    published.have(Switching::Look { group, reply }, answer).await
}

pub(super) async fn record(State(published): State<Published>) -> Response {
    let (reply, answer) = oneshot::channel();
    published.have(Switching::Record { reply }, answer).await
}

/// As `crossfade switchover`; the answer comes at its end.
pub(super) async fn switchover(State(published): State<Published>, body: Bytes) -> Response {
    change(published, Direction::Switchover, &body).await
}

/// As `crossfade rollback`.
pub(super) async fn rollback(State(published): State<Published>, body: Bytes) -> Response {
    change(published, Direction::Rollback, &body).await
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CompleteBody {
    /// There is no way back, so it has to be said.
    yes: bool,
    dry_run: bool,
    force: bool,
    timeout: Option<String>,
}

/// As `crossfade complete --yes`.
pub(super) async fn complete(State(published): State<Published>, body: Bytes) -> Response {
    let body = match body.is_empty() {
        true => Ok(CompleteBody::default()),
        false => serde_json::from_slice::<CompleteBody>(&body),
    };
    let Ok(CompleteBody { yes, dry_run, force, timeout }) = body else {
        let wanted = "wanted: {\"yes\": true, \"dry_run\", \"force\", \"timeout\": \"30s\"}";
        return refusal(StatusCode::BAD_REQUEST, wanted);
    };
    if !yes && !dry_run {
        let wanted = "there is no way back from it: {\"yes\": true} is wanted";
        return refusal(StatusCode::BAD_REQUEST, wanted);
    }
    let timeout = match time(timeout) {
        Ok(timeout) => timeout,
        Err(message) => return refusal(StatusCode::BAD_REQUEST, &message),
    };
    let wanted = Completion { dry_run, force, timeout };
    let (reply, answer) = oneshot::channel();
    published.have(Switching::Complete { wanted, reply }, answer).await
}

/// The time that was given, or the usual one; what to say where it is none.
fn time(text: Option<String>) -> Result<Duration, String> {
    text.map_or(Ok(TIMEOUT), |text| switchover::timeout(&text))
        .map_err(|message| format!("timeout: {message}"))
}

async fn change(published: Published, direction: Direction, body: &[u8]) -> Response {
    let read = match body.is_empty() {
        true => Ok(Body::default()),
        false => serde_json::from_slice::<Body>(body),
    };
    let Ok(Body { dry_run, timeout, accept, terminate, group }) = read else {
        let wanted =
            "wanted: {\"dry_run\", \"timeout\": \"30s\", \"accept\": [], \"terminate\", \"group\"}";
        return refusal(StatusCode::BAD_REQUEST, wanted);
    };
    if direction == Direction::Rollback && group.is_some() {
        return refusal(
            StatusCode::BAD_REQUEST,
            "a rollback takes all tables back that have moved",
        );
    }
    let timeout = match time(timeout) {
        Ok(timeout) => timeout,
        Err(message) => return refusal(StatusCode::BAD_REQUEST, &message),
    };
    let options = Options { direction, group, dry_run, timeout, accept, terminate };
    let (reply, answer) = oneshot::channel();
    published.have(Switching::Change { options, reply }, answer).await
}

impl Published {
    async fn have<T: Serialize>(
        &self,
        wanted: Switching,
        answer: oneshot::Receiver<Result<T, String>>,
    ) -> Response {
        if self.requests.try_send(Request::Switching(wanted)).is_err() {
            self.metrics.refused.inc();
            return refusal(StatusCode::SERVICE_UNAVAILABLE, "busy with earlier requests");
        }
        match answer.await {
            Ok(Ok(found)) => ([(CACHE_CONTROL, "no-store")], Json(found)).into_response(),
            Ok(Err(message)) => refusal(StatusCode::CONFLICT, &message),
            Err(_) => refusal(StatusCode::SERVICE_UNAVAILABLE, "shutting down"),
        }
    }
}
