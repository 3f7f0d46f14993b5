//! The dashboard: `GET /` and the files it is made of, out of the binary.
//!
//! ```text
//! index.html ─┬─ style.css
//!             └─ main.js ─▶ state.js (asks every few seconds) ─▶ sections ─▶ dom.js (changes what changed)
//! ```
//!
//! Invariant: nothing is loaded from elsewhere, nothing inline is run, and no text becomes markup; the
//! policy below has the browser hold the page to it.

use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::Published;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'";
const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! files {
    ($($name:literal $kind:ident),* $(,)?) => {
        &[$((concat!("/dashboard/", $name), $kind, include_str!(concat!("dashboard/", $name)))),*]
    };
}

/// Path, kind and content.
const FILES: &[(&str, &str, &str)] = files![
    "style.css" CSS,
    "main.js" SCRIPT,
    "dom.js" SCRIPT,
    "text.js" SCRIPT,
    "state.js" SCRIPT,
    "act.js" SCRIPT,
    "overview.js" SCRIPT,
    "charts.js" SCRIPT,
    "tables.js" SCRIPT,
    "switch.js" SCRIPT,
    "lists.js" SCRIPT,
];

pub(super) fn routes() -> Router<Published> {
    let page = get(async || answer(HTML, include_str!("dashboard/index.html")));
    FILES.iter().fold(Router::new().route("/", page), |router, (path, kind, content)| {
        router.route(path, get(async || answer(kind, content)))
    })
}

fn answer(kind: &'static str, content: &'static str) -> Response {
    let headers = [
        (CONTENT_TYPE, kind),
        // With another version of the binary it is another page.
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    (headers, content).into_response()
}
