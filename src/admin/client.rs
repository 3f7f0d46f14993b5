//! Asks another process's admin port: for `crossfade status`, and for the tests.
//!
//! Invariant: an answer is bounded in time and in size, whoever it is that listens there.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Token;

const ANSWER_BYTES_MAX: usize = 16 << 20;
const TIME_MAX: Duration = Duration::from_secs(35);

/// Status and body of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

/// Asks for `path`.
pub async fn get(address: SocketAddr, path: &str) -> io::Result<Answer> {
    within(ask(address, request(address, Method::GET, path).body(Body::empty()))).await
}

/// Sends `body`, which is JSON, to `path`.
pub async fn post(
    address: SocketAddr,
    path: &str,
    token: Option<&Token>,
    body: String,
) -> io::Result<Answer> {
    let mut request = request(address, Method::POST, path).header(CONTENT_TYPE, "application/json");
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, token.header());
    }
    within(ask(address, request.body(Body::from(body)))).await
}

fn request(address: SocketAddr, method: Method, path: &str) -> hyper::http::request::Builder {
    Request::builder().method(method).uri(path).header(HOST, address.to_string())
}

async fn within(asking: impl Future<Output = io::Result<Answer>>) -> io::Result<Answer> {
    match tokio::time::timeout(TIME_MAX, asking).await {
        Ok(answer) => answer,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

async fn ask(
    address: SocketAddr,
    request: Result<Request<Body>, hyper::http::Error>,
) -> io::Result<Answer> {
    let request = request.map_err(io::Error::other)?;
    let socket = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket))
        .await
        .map_err(io::Error::other)?;
    // Drives the exchange; it ends when `sender` is dropped.
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let status = response.status().as_u16();
    let bytes = to_bytes(Body::new(response.into_body()), ANSWER_BYTES_MAX).await;
    drop(sender);
    driver.abort();
    let body = String::from_utf8(bytes.map_err(io::Error::other)?.into());
    Ok(Answer { status, body: body.map_err(io::Error::other)? })
}
