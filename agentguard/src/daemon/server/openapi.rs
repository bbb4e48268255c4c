//! The OpenAPI document: served, and checked in as `docs/openapi.json`.

use utoipa::OpenApi as _;

use super::routes;

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "AgentGuard",
        description = "The control socket of the AgentGuard daemon: HTTP/1.1 over a Unix socket. Callers are known by \
                       the credentials of the socket and by the kernel's tag; there is nothing to log in with."
    ),
    paths(
        routes::status,
        routes::whoami,
        routes::list,
        routes::start,
        routes::show,
        routes::extend,
        routes::adopt,
        routes::revoke,
        routes::explain,
        routes::follow,
        routes::policies,
        routes::push,
        routes::history,
        routes::version,
        routes::rollback
    )
)]
struct Api;

/// The document.
#[must_use]
pub(super) fn document() -> serde_json::Value {
    serde_json::to_value(Api::openapi()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_documented() {
        let document = document();
        let mut documented: Vec<(String, String)> = Vec::new();
        for (path, methods) in document["paths"].as_object().expect("paths") {
            documented
                .extend(methods.as_object().expect("methods").keys().map(|m| (m.clone(), path.clone())));
        }
        documented.push(("get".into(), "/openapi.json".into()));
        let mut routes: Vec<_> =
            routes::ROUTES.iter().map(|(m, p)| ((*m).to_owned(), (*p).to_owned())).collect();
        documented.sort_unstable();
        routes.sort_unstable();
        assert_eq!(documented, routes);
    }

    #[test]
    fn the_document_in_the_repository_is_this_one() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
        let text = serde_json::to_string_pretty(&document()).expect("JSON") + "\n";
        if std::env::var_os("AGENTGUARD_BLESS").is_some() {
            std::fs::write(&path, &text).expect("written");
        }
        let known = std::fs::read_to_string(&path).expect("docs/openapi.json");
        assert!(
            known == text,
            "docs/openapi.json is old; hint: AGENTGUARD_BLESS=1 cargo test -p agentguard openapi"
        );
    }
}
