//! The operations of the control socket.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, State as Shared};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use tokio::sync::broadcast::error::RecvError;
use uuid::Uuid;

use super::super::Daemon;
use super::super::api::{
    Adopt, Adopted, Explain, Explained, Extend, Extended, Listed, Problem, Push, Pushed, Revoke, Revoked,
    Rollback, Start, Started, Status, VersionListed, VersionShown, Which,
};
use super::super::owner::{self, Doubt};
use super::super::registry::Invocation;
use super::peer::Peer;
use super::request::{Asked, Sent};
use super::{BODY_LIMIT, Refusal, refusal};
use crate::kernel::Kernel;

type Answer<T> = Result<Json<T>, Refusal>;

/// All routes, to be compared with the OpenAPI document.
#[cfg(test)]
pub(super) const ROUTES: &[(&str, &str)] = &[
    ("get", "/v1/status"),
    ("get", "/v1/whoami"),
    ("get", "/v1/invocations"),
    ("post", "/v1/invocations"),
    ("get", "/v1/invocations/{id}"),
    ("post", "/v1/invocations/{id}/extend"),
    ("post", "/v1/adopt"),
    ("post", "/v1/revoke"),
    ("post", "/v1/explain"),
    ("get", "/v1/events"),
    ("get", "/v1/policies"),
    ("post", "/v1/policies"),
    ("get", "/v1/policies/{name}/versions"),
    ("get", "/v1/policies/{name}/versions/{version}"),
    ("post", "/v1/policies/{name}/rollback"),
    ("get", "/openapi.json"),
];

/// What an invocation may ask.
pub(super) fn is_for_agents(method: &Method, path: &str) -> bool {
    matches!((method.as_str(), path), ("GET", "/v1/whoami") | ("POST", "/v1/invocations"))
}

pub(super) fn router(daemon: Arc<Daemon>) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/whoami", get(whoami))
        .route("/v1/invocations", get(list).post(start))
        .route("/v1/invocations/{id}", get(show))
        .route("/v1/invocations/{id}/extend", post(extend))
        .route("/v1/adopt", post(adopt))
        .route("/v1/revoke", post(revoke))
        .route("/v1/explain", post(explain))
        .route("/v1/events", get(follow))
        .route("/v1/policies", get(policies).post(push))
        .route("/v1/policies/{name}/versions", get(history))
        .route("/v1/policies/{name}/versions/{version}", get(version))
        .route("/v1/policies/{name}/rollback", post(rollback))
        .route("/openapi.json", get(|| async { Json(super::openapi_document()) }))
        .fallback(|| async {
            refusal(StatusCode::NOT_FOUND, "there is no such operation", Some("GET /openapi.json"))
        })
        .method_not_allowed_fallback(|| async {
            refusal(
                StatusCode::METHOD_NOT_ALLOWED,
                "this operation has another method",
                Some("GET /openapi.json"),
            )
        })
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(daemon)
}

fn operator(daemon: &Daemon, peer: &Peer, what: &str) -> Result<u32, Refusal> {
    let uid = peer.uid().filter(|_| peer.is_operator(daemon));
    uid.ok_or_else(|| {
        refusal(
            StatusCode::FORBIDDEN,
            format!("only operators may {what}"),
            Some("root, and the group of operators"),
        )
    })
}

fn failed(e: &anyhow::Error) -> Refusal {
    refusal(StatusCode::UNPROCESSABLE_ENTITY, format!("{e:#}"), None)
}

fn internal(e: &anyhow::Error) -> Refusal {
    tracing::error!("{e:#}");
    refusal(StatusCode::INTERNAL_SERVER_ERROR, format!("{e:#}"), None)
}

/// Runs what may wait for the kernel, the disk or a compiler.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| refusal(StatusCode::INTERNAL_SERVER_ERROR, e.to_string(), None))
}

/// An identity from a path.
fn identity(text: &str) -> Result<Uuid, Refusal> {
    text.parse().map_err(|_| {
        refusal(StatusCode::NOT_FOUND, format!("{text:?} is no invocation's identity"), Some("agentguard ps"))
    })
}

#[utoipa::path(get, path = "/v1/status", responses((status = 200, body = Status)))]
pub(super) async fn status(Shared(daemon): Shared<Arc<Daemon>>) -> Answer<Status> {
    let counters = daemon.kernel().failures().map_err(|e| internal(&e))?;
    let invocations = daemon.registry().live().count();
    Ok(Json(Status {
        version: env!("CARGO_PKG_VERSION").into(),
        level: daemon.level,
        why: daemon.why.clone(),
        invocations,
        counters,
    }))
}

/// Who the caller is: the invocation that it runs as.
#[utoipa::path(get, path = "/v1/whoami", responses(
    (status = 200, body = Listed), (status = 404, body = Problem, description = "the caller is no agent")))]
pub(super) async fn whoami(
    Shared(daemon): Shared<Arc<Daemon>>,
    Extension(peer): Extension<Peer>,
) -> Answer<Listed> {
    let tag = peer.tag(&daemon).flatten();
    let kernel = daemon.kernel();
    let registry = daemon.registry();
    let invocation = tag.and_then(|tag| registry.get(tag));
    let invocation =
        invocation.ok_or_else(|| refusal(StatusCode::NOT_FOUND, "the caller runs as no invocation", None))?;
    Ok(Json(listed(&kernel, invocation)))
}

/// Makes the calling process an agent run.
#[utoipa::path(post, path = "/v1/invocations", request_body = Start, responses(
    (status = 200, body = Started), (status = 422, body = Problem)))]
pub(super) async fn start(
    Shared(daemon): Shared<Arc<Daemon>>,
    Extension(peer): Extension<Peer>,
    Sent(request): Sent<Start>,
) -> Answer<Started> {
    let caller = peer.caller(&daemon).ok_or_else(unknown_caller)?;
    let work = daemon.clone();
    match blocking(move || work.start(&request, &caller)).await? {
        Ok(started) => Ok(Json(started)),
        Err(problem) => {
            daemon.ended.notify_one(); // what a daemon was started for is over before it began
            Err((StatusCode::UNPROCESSABLE_ENTITY, Json(problem)))
        }
    }
}

/// Makes what runs already, or comes to a cgroup, an agent run.
#[utoipa::path(post, path = "/v1/adopt", request_body = Adopt, responses(
    (status = 200, body = Adopted), (status = 403, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn adopt(
    Shared(daemon): Shared<Arc<Daemon>>,
    Extension(peer): Extension<Peer>,
    Sent(request): Sent<Adopt>,
) -> Answer<Adopted> {
    operator(&daemon, &peer, "adopt")?;
    let caller = peer.caller(&daemon).ok_or_else(unknown_caller)?;
    let work = daemon.clone();
    let adopted = blocking(move || work.attach(&request, &caller)).await?;
    adopted.map(Json).map_err(|problem| {
        daemon.ended.notify_one(); // as of a run that was refused
        (StatusCode::UNPROCESSABLE_ENTITY, Json(problem))
    })
}

fn unknown_caller() -> Refusal {
    refusal(StatusCode::FORBIDDEN, "the caller's process could not be identified", None)
}

fn listed(kernel: &Kernel, i: &Invocation) -> Listed {
    let slot = kernel.invocation(i.tag.slot);
    let now = crate::clock::boot_ns();
    let facts = &i.facts;
    Listed {
        invocation: i.id.to_string(),
        agent: facts.agent.clone(),
        principal: facts.principal.clone(),
        task: facts.task.clone(),
        purpose: facts.purpose.clone(),
        tool: facts.tool.is_some(),
        delegation: facts.delegation.clone(),
        policy: i.policy().name.clone(),
        policy_digest: i.policy().digest.clone(),
        policy_version: facts.source.version,
        level: facts.level,
        degraded: facts.degraded,
        state: i.state.name().into(),
        pid: facts.pid,
        uid: facts.uid,
        cgroup: facts.cgroup.as_ref().map(|cgroup| cgroup.path.clone()),
        tasks: slot.tasks,
        denied: slot.denied,
        events: slot.next_seq,
        lost: slot.lost,
        expires_in_s: (facts.expires_ns != u64::MAX)
            .then(|| facts.expires_ns.saturating_sub(now) / 1_000_000_000),
        orphaned: Vec::new(),
    }
}

/// What runs, and what ended lately. Others than operators see what they started themselves.
#[utoipa::path(get, path = "/v1/invocations", params(Which), responses(
    (status = 200, body = Vec<Listed>), (status = 400, body = Problem)))]
pub(super) async fn list(
    Shared(daemon): Shared<Arc<Daemon>>,
    Extension(peer): Extension<Peer>,
    Asked(which): Asked<Which>,
) -> Answer<Vec<Listed>> {
    let work = move || {
        let everything = peer.is_operator(&daemon);
        let visible = |i: &&Invocation| everything || Some(i.facts.uid) == peer.uid();
        let mut kernel = daemon.kernel();
        let registry = daemon.registry();
        let seen = registry.all().filter(visible);
        let mut all: Vec<_> = if which.orphaned {
            let live = kernel.census()?.iter().map(|task| task.tag).collect();
            let doubts: Vec<_> =
                seen.map(|i| (listed(&kernel, i), Doubt::about(&kernel, &registry, &live, i))).collect();
            drop((registry, kernel));
            let orphans = owner::orphaned(doubts).into_iter();
            orphans.map(|(listed, orphaned)| Listed { orphaned, ..listed }).collect()
        } else {
            seen.map(|i| listed(&kernel, i)).collect()
        };
        all.sort_by(|a, b| a.invocation.cmp(&b.invocation));
        Ok(all)
    };
    blocking(work).await?.map(Json).map_err(|e| internal(&e))
}

#[utoipa::path(get, path = "/v1/invocations/{id}", params(("id" = String, Path)), responses(
    (status = 200, body = Listed), (status = 404, body = Problem)))]
pub(super) async fn show(
    Shared(daemon): Shared<Arc<Daemon>>,
    Extension(peer): Extension<Peer>,
    Path(id): Path<String>,
) -> Answer<Listed> {
    let id = identity(&id)?;
    let everything = peer.is_operator(&daemon);
    let kernel = daemon.kernel();
    let registry = daemon.registry();
    let found = registry.by_id(id).filter(|i| everything || Some(i.facts.uid) == peer.uid());
    match found {
        Some(invocation) => Ok(Json(listed(&kernel, invocation))),
        None => Err(refusal(StatusCode::NOT_FOUND, format!("no invocation {id}"), Some("agentguard ps"))),
    }
}

#[utoipa::path(post, path = "/v1/invocations/{id}/extend", params(("id" = String, Path)), request_body = Extend,
    responses((status = 200, body = Extended), (status = 403, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn extend(
    Shared(daemon): Shared<Arc<Daemon>>,
    Extension(peer): Extension<Peer>,
    Path(id): Path<String>,
    Sent(request): Sent<Extend>,
) -> Answer<Extended> {
    operator(&daemon, &peer, "extend")?;
    let id = identity(&id)?;
    let work = move || daemon.extend(id, Duration::from_secs(request.ttl_s));
    blocking(work).await?.map(Json).map_err(|e| failed(&e))
}

/// Takes authority away, at once.
#[utoipa::path(post, path = "/v1/revoke", request_body = Revoke, responses(
    (status = 200, body = Revoked), (status = 403, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn revoke(
    Shared(daemon): Shared<Arc<Daemon>>,
    Extension(peer): Extension<Peer>,
    Sent(request): Sent<Revoke>,
) -> Answer<Revoked> {
    operator(&daemon, &peer, "revoke")?;
    let Revoke { invocation, agent, principal, policy, all, .. } = &request;
    let named = [invocation, agent, principal, policy].into_iter().filter(|name| name.is_some()).count();
    if named + usize::from(*all) != 1 {
        let error = "exactly one of invocation, agent, principal, policy and all says what to revoke";
        return Err(refusal(StatusCode::UNPROCESSABLE_ENTITY, error, None));
    }
    blocking(move || daemon.revoke(&request)).await?.map(Json).map_err(|e| failed(&e))
}

/// Would this be allowed to that invocation, and by which rule?
#[utoipa::path(post, path = "/v1/explain", request_body = Explain, responses(
    (status = 200, body = Explained), (status = 403, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn explain(
    Shared(daemon): Shared<Arc<Daemon>>,
    Extension(peer): Extension<Peer>,
    Sent(request): Sent<Explain>,
) -> Answer<Explained> {
    operator(&daemon, &peer, "ask what others may")?;
    blocking(move || daemon.explain(&request)).await?.map(Json).map_err(|e| failed(&e))
}

/// The newest version of every policy that was pushed.
#[utoipa::path(get, path = "/v1/policies", responses((status = 200, body = Vec<VersionListed>)))]
pub(super) async fn policies(Shared(daemon): Shared<Arc<Daemon>>) -> Answer<Vec<VersionListed>> {
    let versions = blocking(move || daemon.store.policies()).await?.map_err(|e| internal(&e))?;
    Ok(Json(versions.into_iter().map(Into::into).collect()))
}

/// Makes a document the newest version of the policy that it names, also for what runs.
#[utoipa::path(post, path = "/v1/policies", request_body = Push, responses(
    (status = 200, body = Pushed), (status = 403, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn push(
    Shared(daemon): Shared<Arc<Daemon>>,
    Extension(peer): Extension<Peer>,
    Sent(request): Sent<Push>,
) -> Answer<Pushed> {
    let uid = operator(&daemon, &peer, "push policies")?;
    let work = move || daemon.push(&request.file, &request.document, uid);
    blocking(work).await?.map(Json).map_err(|problem| (StatusCode::UNPROCESSABLE_ENTITY, Json(problem)))
}

#[utoipa::path(get, path = "/v1/policies/{name}/versions", params(("name" = String, Path)), responses(
    (status = 200, body = Vec<VersionListed>), (status = 404, body = Problem)))]
pub(super) async fn history(
    Shared(daemon): Shared<Arc<Daemon>>,
    Path(name): Path<String>,
) -> Answer<Vec<VersionListed>> {
    let history = blocking(move || daemon.history(&name)).await?;
    let history = history.map_err(|e| refusal(StatusCode::NOT_FOUND, format!("{e:#}"), None))?;
    Ok(Json(history.into_iter().map(Into::into).collect()))
}

#[utoipa::path(get, path = "/v1/policies/{name}/versions/{version}",
    params(("name" = String, Path), ("version" = String, Path)), responses(
    (status = 200, body = VersionShown), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn version(
    Shared(daemon): Shared<Arc<Daemon>>,
    Extension(peer): Extension<Peer>,
    Path((name, number)): Path<(String, String)>,
) -> Answer<VersionShown> {
    operator(&daemon, &peer, "read policies")?;
    let history = blocking(move || daemon.history(&name)).await?;
    let history = history.map_err(|e| refusal(StatusCode::NOT_FOUND, format!("{e:#}"), None))?;
    let found = history.into_iter().find(|v| v.version.to_string() == number);
    let found = found.ok_or_else(|| refusal(StatusCode::NOT_FOUND, format!("no version {number}"), None))?;
    let document = found.document.clone();
    Ok(Json(VersionShown { version: found.into(), document }))
}

#[utoipa::path(post, path = "/v1/policies/{name}/rollback", params(("name" = String, Path)), request_body = Rollback,
    responses((status = 200, body = Pushed), (status = 403, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn rollback(
    Shared(daemon): Shared<Arc<Daemon>>,
    Extension(peer): Extension<Peer>,
    Path(name): Path<String>,
    Sent(request): Sent<Rollback>,
) -> Answer<Pushed> {
    let uid = operator(&daemon, &peer, "roll policies back")?;
    let work = move || daemon.rollback(&name, request.version, uid);
    blocking(work).await?.map(Json).map_err(|problem| (StatusCode::UNPROCESSABLE_ENTITY, Json(problem)))
}

/// The records from now on, one JSON object a line. A reader that is too slow is told how many it missed.
#[utoipa::path(get, path = "/v1/events", responses(
    (status = 200, content_type = "application/x-ndjson", body = String), (status = 403, body = Problem)))]
pub(super) async fn follow(
    Shared(daemon): Shared<Arc<Daemon>>,
    Extension(peer): Extension<Peer>,
) -> Response {
    if let Err(refusal) = operator(&daemon, &peer, "read events") {
        return refusal.into_response();
    }
    let source = (daemon.follow(), daemon.stopping.subscribe());
    let lines = futures_util::stream::unfold(source, |(mut records, mut stopping)| async move {
        let line = tokio::select! {
            biased; // what is recorded goes out before the end
            line = records.recv() => line,
            _ = stopping.wait_for(|stop| *stop) => return None,
        };
        let line = match line {
            Ok(line) => line,
            Err(RecvError::Lagged(n)) => {
                format!("{{\"action\":\"gap\",\"detail\":{{\"missed\":{n}}}}}\n").into()
            }
            Err(RecvError::Closed) => return None,
        };
        Some((Ok::<_, std::convert::Infallible>(line), (records, stopping)))
    });
    ([("content-type", "application/x-ndjson")], Body::from_stream(lines)).into_response()
}
