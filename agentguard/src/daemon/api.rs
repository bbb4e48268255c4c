//! What crosses the control socket: HTTP/1.1 with JSON bodies, NDJSON for streams.

use serde::{Deserialize, Serialize};

use crate::kernel::Level;
use crate::policy::Variables;
use crate::policy::model::Policy;

/// `POST /v1/invocations`: make the calling process an agent run.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// Name for messages.
    pub policy_name: String,
    /// The policy document (YAML).
    pub policy: String,
    pub variables: Variables,
    pub agent: String,
    pub principal: String,
    pub purpose: String,
    /// Seconds to live; the policy's `ttl` is the most.
    pub ttl_s: Option<u64>,
    /// The level the caller insists on.
    pub level: Option<Level>,
    pub allow_degraded: bool,
}

/// The identity the caller now has.
#[derive(Debug, Serialize, Deserialize)]
pub struct Started {
    pub invocation: String,
    pub level: Level,
    pub policy: Policy,
    pub degraded: bool,
}

/// One line of `ps`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Listed {
    pub invocation: String,
    pub agent: String,
    pub principal: String,
    pub purpose: String,
    pub policy: String,
    pub level: Level,
    pub state: String,
    pub pid: u32,
    pub uid: u32,
    pub tasks: u64,
    pub denied: u64,
    pub events: u64,
    pub lost: u64,
    /// Seconds left; absent when it never expires.
    pub expires_in_s: Option<u64>,
}

/// `POST /v1/revoke`: exactly one selector.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoke {
    pub invocation: Option<String>,
    pub agent: Option<String>,
    pub principal: Option<String>,
    #[serde(default)]
    pub all: bool,
    /// Kill the processes too (always at level `compat`).
    #[serde(default)]
    pub kill: bool,
}

/// What a revoke did.
#[derive(Debug, Serialize, Deserialize)]
pub struct Revoked {
    pub invocations: Vec<String>,
    /// Microseconds from the first store to the last one: from then on every request is refused.
    pub store_us: f64,
    /// Microseconds from the first store until no process was left, when they were killed.
    pub killed_us: Option<f64>,
    pub killed: usize,
}

/// `GET /v1/status`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub level: Level,
    /// Why not a higher level.
    pub why: Option<String>,
    pub counters: std::collections::BTreeMap<String, u64>,
}

/// Body of every refusal.
#[derive(Debug, Serialize, Deserialize)]
pub struct Problem {
    pub error: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Rules that the level cannot enforce, when that is why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
}
