//! The control socket.

use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentguard_common::invocation::{Tag, state};
use anyhow::{Context as _, Result};
use axum::body::Body;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State as Shared, connect_info::Connected};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use axum::{Json, Router};
use tokio::net::UnixListener;
use tokio::net::unix::UCred;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::broadcast::error::RecvError;

use super::api::{Listed, Problem, Revoke, Revoked, Start, Status};
use super::registry::{Invocation, State};
use super::start::Caller;
use super::{Config, Daemon};
use crate::kernel::{Level, pidfd_open};

/// Largest request body: a policy document.
const BODY_LIMIT: usize = 4 << 20;
/// How long a daemon that was started for one run waits for it.
const UNCLAIMED: Duration = Duration::from_secs(30);
/// How long answers under way may take once the daemon is to end.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// `SO_PEERPIDFD` (Linux 6.5).
const SO_PEERPIDFD: i32 = 77;

/// The process at the other end of a connection.
#[derive(Clone)]
pub(super) struct Peer {
    credentials: Option<UCred>,
    pidfd: Option<Arc<OwnedFd>>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        let socket = stream.io();
        let credentials = socket.peer_cred().ok();
        Self { credentials, pidfd: peer_pidfd(socket.as_raw_fd(), credentials).map(Arc::new) }
    }
}

/// The peer's pidfd from the socket, or by pid while the connection proves that it lives (before 6.5).
fn peer_pidfd(socket: i32, credentials: Option<UCred>) -> Option<OwnedFd> {
    let mut fd: i32 = -1;
    let mut len = size_of::<i32>() as u32;
    // SAFETY: the kernel writes one i32.
    let result = unsafe {
        libc::getsockopt(socket, libc::SOL_SOCKET, SO_PEERPIDFD, (&raw mut fd).cast(), &raw mut len)
    };
    if result == 0 && fd >= 0 {
        // SAFETY: a fresh fd that nothing else owns.
        return Some(unsafe { OwnedFd::from_raw_fd(fd) });
    }
    pidfd_open(credentials?.pid()?.cast_unsigned()).ok()
}

impl Peer {
    fn is_root(&self) -> bool {
        self.credentials.is_some_and(|c| c.uid() == 0)
    }

    fn caller(&self) -> Option<Caller> {
        let credentials = self.credentials?;
        Some(Caller {
            pidfd: self.pidfd.as_ref()?.try_clone().ok()?,
            pid: credentials.pid()?.cast_unsigned(),
            uid: credentials.uid(),
        })
    }
}

type Answer<T> = std::result::Result<Json<T>, (StatusCode, Json<Problem>)>;

fn refusal(status: StatusCode, error: impl Into<String>) -> (StatusCode, Json<Problem>) {
    (status, Json(Problem { error: error.into(), hint: None, rules: Vec::new() }))
}

/// Serves until interrupted, or until idle when ephemeral.
pub(super) async fn serve(daemon: Arc<Daemon>, config: &Config, ready: impl FnOnce()) -> Result<()> {
    if let Some(dir) = config.socket.parent() {
        std::fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    }
    if std::os::unix::net::UnixStream::connect(&config.socket).is_ok() {
        anyhow::bail!("{}: another daemon listens there", config.socket.display());
    }
    let _ = std::fs::remove_file(&config.socket);
    let listener = UnixListener::bind(&config.socket).with_context(|| config.socket.display().to_string())?;
    std::fs::set_permissions(&config.socket, std::fs::Permissions::from_mode(0o666))?;
    let app = Router::new()
        .route("/v1/status", get(status))
        .route("/v1/invocations", get(list).post(start))
        .route("/v1/revoke", post(revoke))
        .route("/v1/events", get(follow))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::from_fn_with_state(daemon.clone(), no_agents))
        .with_state(daemon.clone());
    let service = app.into_make_service_with_connect_info::<Peer>();
    // Before anybody is told that the daemon is there: from then on a signal must end it in order.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (stopping, ephemeral) = (daemon.clone(), config.ephemeral);
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
            () = stopping.idle(), if ephemeral => (),
        }
        stopping.stopping.send_replace(true);
    };
    ready();
    let served = axum::serve(listener, service).with_graceful_shutdown(stop).into_future();
    let mut stopping = daemon.stopping.subscribe();
    let result = tokio::select! {
        served = served => served.map_err(Into::into),
        () = async {
            let _ = stopping.wait_for(|stop| *stop).await; // the sender is the daemon, which is there
            tokio::time::sleep(LAST_ANSWERS).await;
        } => Ok(()),
    };
    let _ = std::fs::remove_file(&config.socket);
    result
}

/// Agents get no answer: an invocation administers nobody, itself neither.
async fn no_agents(
    Shared(daemon): Shared<Arc<Daemon>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    match peer.pidfd.as_deref() {
        Some(pidfd) if daemon.kernel().tag_of(pidfd.as_fd()).is_none() => next.run(request).await,
        Some(_) => refusal(StatusCode::FORBIDDEN, "the caller runs as an invocation").into_response(),
        None => {
            refusal(StatusCode::FORBIDDEN, "the caller's process could not be identified").into_response()
        }
    }
}

async fn status(Shared(daemon): Shared<Arc<Daemon>>) -> Answer<Status> {
    let counters = daemon.kernel().counters();
    let counters = counters.map_err(|e| refusal(StatusCode::INTERNAL_SERVER_ERROR, format!("{e:#}")))?;
    Ok(Json(Status {
        version: env!("CARGO_PKG_VERSION").into(),
        level: daemon.level,
        why: daemon.why.clone(),
        counters: counters.into_iter().map(|(name, n)| (name.to_owned(), n)).collect(),
    }))
}

async fn start(
    Shared(daemon): Shared<Arc<Daemon>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Json(request): Json<Start>,
) -> Response {
    let Some(caller) = peer.caller() else {
        return refusal(StatusCode::FORBIDDEN, "the caller's process could not be identified")
            .into_response();
    };
    // A large policy takes seconds to compile, and a revocation must not wait for it.
    match tokio::task::block_in_place(|| daemon.start(&request, &caller)) {
        Ok(started) => Json(started).into_response(),
        Err(problem) => {
            daemon.ended.notify_one(); // what a daemon was started for is over before it began
            (StatusCode::UNPROCESSABLE_ENTITY, Json(problem)).into_response()
        }
    }
}

async fn list(Shared(daemon): Shared<Arc<Daemon>>) -> Json<Vec<Listed>> {
    let kernel = daemon.kernel();
    let registry = daemon.registry();
    let now = crate::clock::boot_ns();
    let mut all: Vec<_> = registry
        .all()
        .map(|i| {
            let slot = kernel.invocation(i.tag.slot);
            Listed {
                invocation: i.id.to_string(),
                agent: i.agent.clone(),
                principal: i.principal.clone(),
                purpose: i.purpose.clone(),
                policy: i.policy.name.clone(),
                level: i.level,
                state: i.state.name().into(),
                pid: i.pid,
                uid: i.uid,
                tasks: slot.tasks,
                denied: slot.denied,
                events: slot.next_seq,
                lost: slot.lost,
                expires_in_s: (i.expires_ns != u64::MAX)
                    .then(|| i.expires_ns.saturating_sub(now) / 1_000_000_000),
            }
        })
        .collect();
    all.sort_by(|a, b| a.invocation.cmp(&b.invocation));
    Json(all)
}

fn selected(request: &Revoke, invocation: &Invocation) -> bool {
    request.all
        || request.invocation.as_ref().is_some_and(|id| invocation.id.to_string() == *id)
        || request.agent.as_ref().is_some_and(|a| invocation.agent == *a)
        || request.principal.as_ref().is_some_and(|p| invocation.principal == *p)
}

async fn revoke(
    Shared(daemon): Shared<Arc<Daemon>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Json(request): Json<Revoke>,
) -> Answer<Revoked> {
    if !peer.is_root() {
        return Err(refusal(StatusCode::FORBIDDEN, "only root may revoke"));
    }
    let work = tokio::task::spawn_blocking(move || daemon.revoke(&request)).await;
    match work {
        Ok(Ok(revoked)) => Ok(Json(revoked)),
        Ok(Err(e)) => Err(refusal(StatusCode::UNPROCESSABLE_ENTITY, format!("{e:#}"))),
        Err(e) => Err(refusal(StatusCode::INTERNAL_SERVER_ERROR, e.to_string())),
    }
}

impl Daemon {
    /// Waits until no invocation is left, or none came.
    async fn idle(&self) {
        loop {
            let _ = tokio::time::timeout(UNCLAIMED, self.ended.notified()).await; // either way, look
            if !self.registry().busy() {
                return;
            }
        }
    }

    fn revoke(&self, request: &Revoke) -> Result<Revoked> {
        let mut chosen: Vec<Invocation> = {
            let registry = self.registry();
            registry.all().filter(|i| i.state == State::Active && selected(request, i)).cloned().collect()
        };
        chosen.sort_unstable_by_key(|i| i.id);
        anyhow::ensure!(!chosen.is_empty(), "no active invocation matches; hint: agentguard ps");
        let started = Instant::now();
        let tags: Vec<Tag> = chosen.iter().map(|i| i.tag).collect();
        {
            let kernel = self.kernel();
            for tag in &tags {
                kernel.set_state(tag.slot, state::REVOKED);
            }
        }
        let store_us = started.elapsed().as_secs_f64() * 1e6;
        for invocation in &chosen {
            self.barred(invocation.tag, State::Revoked, "revoke");
        }
        let mut killed = 0;
        let mut killed_us = None;
        if request.kill || self.level == Level::Compat {
            killed = self.kill(&tags)?;
            killed_us = Some(started.elapsed().as_secs_f64() * 1e6);
        }
        Ok(Revoked {
            invocations: chosen.iter().map(|i| i.id.to_string()).collect(),
            store_us,
            killed_us,
            killed,
        })
    }
}

async fn follow(Shared(daemon): Shared<Arc<Daemon>>, ConnectInfo(peer): ConnectInfo<Peer>) -> Response {
    if !peer.is_root() {
        return refusal(StatusCode::FORBIDDEN, "only root may read events").into_response();
    }
    let source = (daemon.follow(), daemon.stopping.subscribe());
    let lines = futures_util::stream::unfold(source, |(mut records, mut stopping)| async move {
        let line = tokio::select! {
            biased; // what is recorded goes out before the end
            line = records.recv() => line,
            _ = stopping.wait_for(|stop| *stop) => return None,
        };
        let line = match line {
            Ok(line) => line.to_string(),
            Err(RecvError::Lagged(n)) => format!("{{\"action\":\"gap\",\"detail\":{{\"missed\":{n}}}}}\n"),
            Err(RecvError::Closed) => return None,
        };
        Some((Ok::<_, std::convert::Infallible>(line), (records, stopping)))
    });
    ([("content-type", "application/x-ndjson")], Body::from_stream(lines)).into_response()
}
