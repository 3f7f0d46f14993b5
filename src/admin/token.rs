//! Who may change things: the rule for every POST.
//!
//! ```text
//! token set:  Authorization: Bearer <token>, compared in constant time
//! no token:   loopback only, and no page of another site speaks through a browser there
//! ```

use std::fmt;
use std::net::SocketAddr;

use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
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
}

pub(super) fn check(
    token: Option<&Token>,
    peer: SocketAddr,
    headers: &HeaderMap,
) -> Result<(), Denied> {
    if let Some(token) = token {
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.strip_prefix("Bearer "));
        return given.filter(|given| token.is(given)).map(|_| ()).ok_or(Denied::Unauthorized);
    }
    if !peer.ip().to_canonical().is_loopback() {
        return Err(Denied::NotLoopback);
    }
    let host = text(headers, HOST.as_str()).unwrap_or_default();
    match text(headers, ORIGIN.as_str()) {
        Some(origin) if origin.strip_prefix("http://") != Some(host) => Err(Denied::OtherSite),
        // A name that somebody points at 127.0.0.1 makes their page and us the same site.
        _ if !is_local(host) => Err(Denied::OtherSite),
        _ => Ok(()),
    }
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
        assert_eq!(check_post(None, "127.0.0.1:9", &rebound), Some(Denied::OtherSite));
    }
}
