//! Who may change things: the rule for every POST.
//!
//! ```text
//! always:     no page of another site speaks through a browser; what is sent is JSON, not a form
//! token set:  Authorization: Bearer <token>, compared in constant time
//! no token:   loopback only, by a name that is loopback's own (a GET of the migration's state as well)
//! ```
//!
//! Invariant: a page of another site changes nothing, whatever it can have a browser send: a form has the
//! wrong type, a script's request is not let through by the browser's own rules, and a name that was turned
//! to 127.0.0.1 is not ours.

use std::fmt;
use std::net::SocketAddr;

use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN};
use sha2::{Digest, Sha256};

/// `admin.token` of proxy.yaml; printed as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// For a client of the admin port.
    #[must_use]
    pub fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// Takes the same time wherever the two differ: digests are compared, all of their bytes.
    fn is(&self, given: &str) -> bool {
        let (ours, theirs) = (Sha256::digest(&self.0), Sha256::digest(given));
        ours.iter().zip(theirs).fold(0, |differ, (our, their)| differ | (our ^ their)) == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Why a POST is not answered.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum Denied {
    #[error("this needs the token of admin.token: Authorization: Bearer …")]
    Unauthorized,
    #[error("admin.token is not set, so changes are taken from loopback only")]
    NotLoopback,
    #[error("changes are not taken from other sites' pages")]
    OtherSite,
    #[error("what is sent has to be JSON: Content-Type: application/json")]
    NotJson,
    #[error(
        "without admin.token, this is answered to localhost and 127.0.0.1 only, by these names"
    )]
    OtherName,
}

pub(super) fn check(
    token: Option<&Token>,
    peer: SocketAddr,
    headers: &HeaderMap,
) -> Result<(), Denied> {
    let host = text(headers, HOST.as_str()).unwrap_or_default();
    let same = match (text(headers, "sec-fetch-site"), text(headers, ORIGIN.as_str())) {
        // The browser's own word, which also holds behind a proxy that changes the host.
        (Some(site), _) => matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => origin.split_once("://").is_some_and(|(_, own)| own == host),
        (None, None) => true,
    };
    if !same {
        return Err(Denied::OtherSite);
    }
    if let Some(token) = token {
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.strip_prefix("Bearer "));
        return given.filter(|given| token.is(given)).map(|_| ()).ok_or(Denied::Unauthorized);
    }
    if !peer.ip().to_canonical().is_loopback() {
        return Err(Denied::NotLoopback);
    }
    // A name that somebody points at 127.0.0.1 makes their page and us the same site.
    if is_local(host) { Ok(()) } else { Err(Denied::OtherName) }
}

/// What a page of another site could send is not JSON. Without a body there need not be a type, but from a
/// browser.
pub(super) fn check_type(headers: &HeaderMap) -> Result<(), Denied> {
    let named = text(headers, CONTENT_TYPE.as_str());
    let essence = named.map(|named| named.split(';').next().unwrap_or_default().trim());
    let from_browser = headers.contains_key(ORIGIN) || headers.contains_key("sec-fetch-site");
    match essence {
        Some(essence) if essence.eq_ignore_ascii_case("application/json") => Ok(()),
        None if !from_browser => Ok(()),
        _ => Err(Denied::NotJson),
    }
}

/// Whether this GET may be answered: where there is no token, a name that was turned to 127.0.0.1 could
/// have a page of another site read the migration's state.
pub(super) fn check_get(
    token: Option<&Token>,
    peer: SocketAddr,
    headers: &HeaderMap,
) -> Result<(), Denied> {
    let named = text(headers, HOST.as_str());
    let local = named.is_none_or(is_local) || !peer.ip().to_canonical().is_loopback();
    if token.is_some() || local { Ok(()) } else { Err(Denied::OtherName) }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn is_local(host: &str) -> bool {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().to_canonical().is_loopback();
    }
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    name == "localhost" || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_post(
        token: Option<&str>,
        peer: &str,
        lines: &[(&'static str, &str)],
    ) -> Option<Denied> {
        let token = token.map(|token| Token::new(token.to_owned()));
        let headers =
            lines.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        check(token.as_ref(), peer.parse().unwrap(), &headers.collect()).err()
    }

    #[test]
    fn with_a_token_every_post_needs_it() {
        let right = [("authorization", "Bearer hunter2")];
        let wrong = [("authorization", "Bearer hunter3")];
        assert_eq!(check_post(Some("hunter2"), "10.0.0.1:9", &right), None);
        assert_eq!(check_post(Some("hunter2"), "127.0.0.1:9", &wrong), Some(Denied::Unauthorized));
        assert_eq!(check_post(Some("hunter2"), "127.0.0.1:9", &[]), Some(Denied::Unauthorized));
    }

    #[test]
    fn without_a_token_loopback_alone_may_post() {
        let host = ("host", "127.0.0.1:9100");
        assert_eq!(check_post(None, "127.0.0.1:9", &[host]), None);
        assert_eq!(check_post(None, "[::1]:9", &[("host", "[::1]:9100")]), None);
        assert_eq!(check_post(None, "[::ffff:127.0.0.1]:9", &[("host", "localhost")]), None);
        assert_eq!(check_post(None, "10.0.0.1:9", &[host]), Some(Denied::NotLoopback));
    }

    #[test]
    fn a_page_of_another_site_may_not_post_through_a_browser() {
        let host = ("host", "127.0.0.1:9100");
        let own = [host, ("origin", "http://127.0.0.1:9100")];
        let other = [host, ("origin", "http://evil.example")];
        let rebound = [("host", "evil.example:9100"), ("origin", "http://evil.example:9100")];
        assert_eq!(check_post(None, "127.0.0.1:9", &own), None);
        assert_eq!(check_post(None, "127.0.0.1:9", &other), Some(Denied::OtherSite));
        assert_eq!(check_post(None, "127.0.0.1:9", &rebound), Some(Denied::OtherName));
        let fetched = |site| [host, ("origin", "http://127.0.0.1:9100"), ("sec-fetch-site", site)];
        assert_eq!(check_post(None, "127.0.0.1:9", &fetched("same-origin")), None);
        for site in ["cross-site", "same-site"] {
            assert_eq!(check_post(None, "127.0.0.1:9", &fetched(site)), Some(Denied::OtherSite));
        }
    }

    #[test]
    fn a_page_of_another_site_may_not_post_with_the_token_either() {
        let right = ("authorization", "Bearer hunter2");
        let host = ("host", "ops.example:9100");
        let post =
            |lines: &[(&'static str, &str)]| check_post(Some("hunter2"), "10.0.0.1:9", lines);
        assert_eq!(post(&[right, host, ("origin", "https://ops.example:9100")]), None);
        assert_eq!(post(&[right, host, ("origin", "null")]), Some(Denied::OtherSite));
        assert_eq!(post(&[right, host, ("sec-fetch-site", "cross-site")]), Some(Denied::OtherSite));
        // A proxy that does not pass the host on, and a browser that says it is our own page.
        let behind =
            [right, host, ("origin", "https://a.example"), ("sec-fetch-site", "same-origin")];
        assert_eq!(post(&behind), None);
    }

    #[test]
    fn a_form_is_no_json() {
        let check = |lines: &[(&'static str, &str)]| {
            let lines = lines.iter();
            let lines = lines.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            check_type(&lines.collect())
        };
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&[("content-type", "application/json; charset=utf-8")]), Ok(()));
        for form in ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data"] {
            assert_eq!(check(&[("content-type", form)]), Err(Denied::NotJson));
        }
        assert_eq!(check(&[("sec-fetch-site", "same-origin")]), Err(Denied::NotJson));
    }

    #[test]
    fn a_name_turned_to_loopback_does_not_read_either() {
        let get = |token: Option<&str>, peer: &str, host: &str| {
            let token = token.map(|token| Token::new(token.to_owned()));
            let headers = [(HOST, host.parse().unwrap())].into_iter().collect();
            check_get(token.as_ref(), peer.parse().unwrap(), &headers)
        };
        assert_eq!(get(None, "127.0.0.1:9", "localhost:9100"), Ok(()));
        assert_eq!(get(None, "127.0.0.1:9", "evil.example:9100"), Err(Denied::OtherName));
        assert_eq!(get(None, "10.0.0.1:9", "crossfade.internal:9100"), Ok(()));
        assert_eq!(get(Some("hunter2"), "127.0.0.1:9", "ops.example"), Ok(()));
    }
}
