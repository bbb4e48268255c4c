//! The control socket: who may connect and ask, and until when.

mod limits;
mod openapi;
mod peer;
mod request;
mod routes;

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentguard_common::invocation::Tag;
use anyhow::{Context as _, Result};
use axum::extract::{Request, State as Shared};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};

use self::limits::{Client, Connections, Requests};
use self::peer::Peer;
use super::api::Problem;
use super::registry::Invocation;
use super::{Config, Daemon};

use self::openapi::document as openapi_document;

/// Largest request body: a policy document.
const BODY_LIMIT: usize = 4 << 20;
/// Largest head of a request.
const HEAD_LIMIT: usize = 64 << 10;
/// How long a client may take to send the head of a request, the first or the next.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// How long a request may take, with its body.
const REQUEST_TIME: Duration = Duration::from_secs(60);
/// How long a daemon that was started for one run waits for it.
const UNCLAIMED: Duration = Duration::from_secs(30);
/// How long answers under way may take once the daemon is to end.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// What a client gets whose connection is one too many.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: 69\r\n\
connection: close\r\n\r\n{\"error\":\"too many connections\",\"hint\":\"close some, or try again\"}  \n";

type Refusal = (StatusCode, Json<Problem>);

fn refusal(status: StatusCode, error: impl Into<String>, hint: Option<&str>) -> Refusal {
    (status, Json(Problem { error: error.into(), hint: hint.map(str::to_owned), rules: Vec::new() }))
}

/// Serves until interrupted, or until idle when ephemeral.
pub(super) async fn serve(daemon: Arc<Daemon>, config: &Config, ready: impl FnOnce()) -> Result<()> {
    let _ = std::fs::remove_file(&config.socket);
    let listener = UnixListener::bind(&config.socket).with_context(|| config.socket.display().to_string())?;
    std::fs::set_permissions(&config.socket, std::fs::Permissions::from_mode(0o666))?;
    let gate = Gate { daemon: daemon.clone(), requests: Requests::default() };
    let app = routes::router(daemon.clone()).layer(axum::middleware::from_fn_with_state(gate, admit));
    // Before anybody is told that the daemon is there: from then on a signal must end it in order.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let ephemeral = config.ephemeral;
    tokio::spawn(daemon.clone().disarm_when_quiet());
    let watcher = daemon.clone();
    tokio::spawn(async move {
        if let Err(e) = watcher.watch_directories().await {
            tracing::error!("{e:#}");
        }
    });
    ready();
    let graceful = GracefulShutdown::new();
    let connections = Connections::default();
    let idle = daemon.idle();
    tokio::pin!(idle);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = &mut idle, if ephemeral => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(e) => {
                tracing::error!("accepting a connection: {e}");
                tokio::time::sleep(Duration::from_millis(100)).await; // out of descriptors: some come back
                continue;
            }
        };
        let peer = Peer::of(&stream);
        match connections.open(peer.uid().unwrap_or(u32::MAX)) {
            Some(connection) => drop(tokio::spawn(converse(
                stream,
                app.clone().layer(Extension(peer)),
                connection,
                &graceful,
            ))),
            None => drop(tokio::spawn(turn_away(stream))),
        }
    }
    daemon.stopping.send_replace(true);
    drop(listener);
    let _ = tokio::time::timeout(LAST_ANSWERS, graceful.shutdown()).await;
    let _ = std::fs::remove_file(&config.socket);
    Ok(())
}

async fn turn_away(mut stream: UnixStream) {
    let _ = tokio::time::timeout(LAST_ANSWERS, stream.write_all(FULL)).await; // it may not even read
}

/// Answers the requests of one connection.
fn converse(
    stream: UnixStream,
    app: axum::Router,
    connection: limits::Connection,
    graceful: &GracefulShutdown,
) -> impl Future<Output = ()> + use<> {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_LIMIT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    let served = graceful.watch(served);
    async move {
        let _ = served.await; // a client that breaks off
        drop(connection);
    }
}

/// What every request passes.
#[derive(Clone)]
struct Gate {
    daemon: Arc<Daemon>,
    requests: Requests,
}

/// Lets a request through: from a process that is known, not too many of them, in time. An invocation may only ask what
/// concerns itself.
async fn admit(
    Shared(gate): Shared<Gate>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let (Some(tag), Some(uid)) = (peer.tag(&gate.daemon), peer.uid()) else {
        let error = "the caller's process could not be identified";
        return refusal(StatusCode::FORBIDDEN, error, None).into_response();
    };
    if tag.is_some() || !peer.is_operator(&gate.daemon) {
        let client = tag.map_or(Client::User(uid), Client::Invocation);
        if let Err(wait) = gate.requests.take(client, Instant::now()) {
            let seconds = wait.as_secs_f64().ceil().max(1.0);
            let answer = refusal(StatusCode::TOO_MANY_REQUESTS, "too many requests", Some("ask less often"));
            return ([(header::RETRY_AFTER, format!("{seconds}"))], answer).into_response();
        }
    }
    if let Some(tag) = tag
        && !routes::is_for_agents(request.method(), request.uri().path())
    {
        gate.daemon.note_refused_call(tag, &format!("{} {}", request.method(), request.uri().path()));
        let hint = "an agent may ask who it is, and hand its own authority on";
        return refusal(StatusCode::FORBIDDEN, "the caller runs as an invocation", Some(hint))
            .into_response();
    }
    match tokio::time::timeout(REQUEST_TIME, next.run(request)).await {
        Ok(response) => response,
        Err(_) => refusal(StatusCode::REQUEST_TIMEOUT, "the request took too long", None).into_response(),
    }
}

impl Daemon {
    /// Records that an invocation asked for what only operators may.
    fn note_refused_call(&self, tag: Tag, call: &str) {
        let Some(mut record) = self.registry().get(tag).map(Invocation::record) else { return };
        record.what.decision = "deny".into();
        record.what.reason = "agent".into();
        record.what.object = crate::event::record::printable(call.as_bytes());
        self.note(record, "control");
    }

    /// Waits until no invocation is left, or none came.
    async fn idle(&self) {
        loop {
            let _ = tokio::time::timeout(UNCLAIMED, self.ended.notified()).await; // either way, look
            if !self.registry().busy() {
                return;
            }
        }
    }
}
