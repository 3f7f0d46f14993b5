//! `GET /access`: whether whoever asks may change things, before a button is pressed.
//!
//! Invariant: says of a request what [`token::check`] says of a POST with the same headers; a guess at the
//! token costs as much here as there.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::HeaderMap;
use axum::http::header::CACHE_CONTROL;
use axum::response::IntoResponse;
use serde::Serialize;

use super::{Published, token};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Access {
    may_change: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// `admin.token` is set.
    wants_token: bool,
    /// This sidecar, as `/sidecars` lists it.
    sidecar: String,
    version: &'static str,
}

pub(super) async fn access(
    State(published): State<Published>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> impl IntoResponse {
    let wanted = published.token.borrow().clone();
    let checked = token::check(wanted.as_ref(), peer, &headers);
    let access = Access {
        may_change: checked.is_ok(),
        why: checked.err().map(|denied| denied.to_string()),
        wants_token: wanted.is_some(),
        sidecar: published.sidecar.to_string(),
        version: env!("CARGO_PKG_VERSION"),
    };
    ([(CACHE_CONTROL, "no-store")], Json(access))
}
