//! The client of the control socket.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::daemon::api::Problem;

/// Sends one request; the answer's body is not read yet.
pub(super) async fn send(socket: &Path, path: &str, body: Option<Vec<u8>>) -> Result<Response<Incoming>> {
    let stream = tokio::net::UnixStream::connect(socket)
        .await
        .with_context(|| format!("no daemon listens at {}; hint: agentguard daemon", socket.display()))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::builder()
        .method(if body.is_some() { "POST" } else { "GET" })
        .uri(path)
        .header("host", "agentguard")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.unwrap_or_default())))?;
    Ok(sender.send_request(request).await?)
}

/// A segment of a path, with everything escaped that a path gives a meaning (RFC 3986).
pub(super) fn escaped(segment: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    segment.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// One call: JSON out, JSON back, a refusal as an error with its hint.
pub(super) fn call<T: DeserializeOwned>(
    socket: &Path,
    path: &str,
    body: Option<&impl Serialize>,
) -> Result<T> {
    let body = body.map(serde_json::to_vec).transpose()?;
    super::runtime()?.block_on(async {
        let response = send(socket, path, body).await?;
        let status = response.status();
        let bytes = response.into_body().collect().await?.to_bytes();
        if status.is_success() {
            return serde_json::from_slice(&bytes).context("the daemon's answer");
        }
        match serde_json::from_slice::<Problem>(&bytes) {
            Ok(problem) => bail!("{}", text(&problem)),
            Err(_) => bail!("{status}: {}", String::from_utf8_lossy(&bytes)),
        }
    })
}

fn text(problem: &Problem) -> String {
    let mut out = problem.error.clone();
    for rule in &problem.rules {
        out.push_str("\n  ");
        out.push_str(rule);
    }
    if let Some(hint) = &problem.hint {
        out.push_str("\nhint: ");
        out.push_str(hint);
    }
    out
}

/// Streams an answer's body to `sink`.
pub(super) fn stream(socket: &Path, path: &str, mut sink: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    super::runtime()?.block_on(async {
        let response = send(socket, path, None).await?;
        if !response.status().is_success() {
            let bytes = response.into_body().collect().await?.to_bytes();
            let problem = serde_json::from_slice::<Problem>(&bytes).context("the daemon's answer")?;
            bail!("{}", text(&problem));
        }
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            if let Some(data) = frame?.data_ref() {
                sink(data)?;
            }
        }
        Ok(())
    })
}
