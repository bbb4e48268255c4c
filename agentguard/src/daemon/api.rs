//! What crosses the control socket: HTTP/1.1 with JSON bodies, NDJSON for streams.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::event::record::Step;
use crate::kernel::Level;
use crate::policy::Variables;
use crate::policy::model::Policy;

/// Makes the calling process an agent run: the first of a chain, or below the one that the caller is already.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// A policy that was pushed or is shipped; with `policy`, a name for messages.
    pub policy_name: String,
    /// A policy document (YAML) to use instead of one that the daemon has.
    pub policy: Option<String>,
    pub variables: Variables,
    pub agent: String,
    /// On whose behalf, such as `user:alice`; the caller itself by default. Only operators may name others.
    pub principal: Option<String>,
    /// What the run is for, by whoever hands out work: a ticket, a job.
    #[serde(default)]
    pub task: String,
    #[serde(default)]
    pub purpose: String,
    /// Seconds to live; the policy's `ttl` is the most.
    pub ttl_s: Option<u64>,
    /// The level the caller insists on.
    pub level: Option<Level>,
    #[serde(default)]
    pub allow_degraded: bool,
}

/// The identity the caller now has.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Started {
    pub invocation: String,
    pub level: Level,
    /// The policy as it was read.
    #[schema(value_type = Object)]
    pub policy: Policy,
    pub degraded: bool,
}

/// Makes what runs already an agent run: exactly one of `pid` and `cgroup`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Adopt {
    /// A process, as the daemon numbers them: it, its threads and everything below it.
    #[serde(default)]
    pub pid: Option<u32>,
    /// A cgroup of version 2, by its directory or as `/proc/PID/cgroup` says it: who is in it, and whoever comes to it.
    #[serde(default)]
    pub cgroup: Option<String>,
    /// The identity.
    pub run: Start,
}

/// The identity that it now has.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Adopted {
    #[serde(flatten)]
    pub started: Started,
    /// Tasks (threads) that were given it.
    pub tasks: u64,
}

/// Why nobody answers for an invocation any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Orphaned {
    /// The principal was a user of this machine, and is not any more.
    PrincipalGone,
    /// The process that started the run has ended.
    LauncherGone,
    /// The leader of the session that the run was started in has ended.
    SessionGone,
    /// The invocation that handed authority on has no process left.
    ParentGone,
    /// The process that the run began with has ended, and others live on.
    RunEnded,
    /// Its time is over, and processes live on.
    Expired,
}

impl Orphaned {
    #[cfg(test)]
    pub(super) const ALL: [Self; 6] = [
        Self::PrincipalGone,
        Self::LauncherGone,
        Self::SessionGone,
        Self::ParentGone,
        Self::RunEnded,
        Self::Expired,
    ];

    /// The name used everywhere.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PrincipalGone => "principal-gone",
            Self::LauncherGone => "launcher-gone",
            Self::SessionGone => "session-gone",
            Self::ParentGone => "parent-gone",
            Self::RunEnded => "run-ended",
            Self::Expired => "expired",
        }
    }
}

/// Which invocations to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Which {
    /// Only those with processes that nobody answers for any more, with the reasons.
    #[serde(default)]
    #[param(required = false)]
    pub orphaned: bool,
}

/// An invocation.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Listed {
    pub invocation: String,
    pub agent: String,
    pub principal: String,
    pub task: String,
    pub purpose: String,
    /// Whether it is the identity of a tool of the last of these.
    pub tool: bool,
    /// Who handed authority on to it, the first one first.
    pub delegation: Vec<Step>,
    pub policy: String,
    pub policy_digest: String,
    /// Version of the policy in the daemon's store, if it is from there.
    pub policy_version: Option<i64>,
    pub level: Level,
    pub degraded: bool,
    /// `active`, `revoked`, `expired` or `ended`.
    pub state: String,
    /// The process that it began with; for a cgroup, the one that asked.
    pub pid: u32,
    pub uid: u32,
    /// The directory of the cgroup whose tasks are its own, if it has one.
    pub cgroup: Option<String>,
    /// Tasks (threads) that live.
    pub tasks: u64,
    pub denied: u64,
    pub events: u64,
    /// Events that found no room.
    pub lost: u64,
    /// Seconds left; absent when it never expires.
    pub expires_in_s: Option<u64>,
    /// Why nobody answers for it any more. Only said where that was asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orphaned: Vec<Orphaned>,
}

/// Takes authority away: exactly one selector.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Revoke {
    pub invocation: Option<String>,
    pub agent: Option<String>,
    pub principal: Option<String>,
    /// Everything that runs under a policy of this name.
    pub policy: Option<String>,
    #[serde(default)]
    pub all: bool,
    /// Kill the processes too (always at level `compat`).
    #[serde(default)]
    pub kill: bool,
    /// Stop the processes instead. They stay until they are killed, or continued by who may signal them.
    #[serde(default)]
    pub freeze: bool,
}

/// What a revoke did.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Revoked {
    /// Those that were active until now.
    pub invocations: Vec<String>,
    /// Those that lost their authority before, and of which processes lived still.
    #[serde(default)]
    pub leftovers: Vec<String>,
    /// Nanoseconds of the boot clock (`CLOCK_BOOTTIME`) just before the first store.
    #[serde(default)]
    pub first_store_ns: u64,
    /// The same just after the last one: nothing that begins later is let through.
    #[serde(default)]
    pub last_store_ns: u64,
    /// Microseconds from when the daemon took the call up to the last store: from then on every request is refused.
    pub store_us: f64,
    /// Microseconds from when the daemon took the call up until no process was left, when they were killed.
    pub killed_us: Option<f64>,
    pub killed: usize,
    /// Microseconds from when the daemon took the call up until every thread was stopped, when they were frozen.
    #[serde(default)]
    pub frozen_us: Option<f64>,
    #[serde(default)]
    pub frozen: usize,
}

/// Moves the end of an invocation's life.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Extend {
    /// Seconds from now.
    pub ttl_s: u64,
}

/// When it ends now.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Extended {
    pub invocation: String,
    /// Absent when it never expires.
    pub expires_in_s: Option<u64>,
    /// The policy, or the invocation that it comes from, let it have less than was asked for.
    pub bounded: bool,
}

/// A new version of a policy.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Push {
    /// Name of the document for messages.
    pub file: String,
    /// The document (YAML); its `metadata.name` is the policy's name.
    pub document: String,
}

/// Goes back to an earlier version.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// The version; by default the last one that differs from the newest.
    pub version: Option<i64>,
}

/// A version of a policy.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct VersionListed {
    pub name: String,
    /// Counted from 1.
    pub version: i64,
    pub digest: String,
    /// UTC, RFC 3339.
    pub pushed: String,
    /// The UID that pushed it.
    pub pushed_by: u32,
}

/// A version with its text.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct VersionShown {
    #[serde(flatten)]
    pub version: VersionListed,
    pub document: String,
}

/// What a push did.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Pushed {
    pub version: VersionListed,
    /// Running invocations to which it applies from now on.
    pub switched: Vec<String>,
    /// Those of them whose rules for files, exec and privileges stay as they were, because the level can't change them.
    pub partial: Vec<String>,
}

/// Would this be allowed?
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Explain {
    pub invocation: String,
    /// `read`, `write`, `create`, `delete`, `exec`, `link`, `connect` or `bind`; several of a file with commas.
    pub operation: String,
    /// An absolute path, `@name` of an abstract socket, or `ADDRESS:PORT`.
    pub object: String,
    /// For addresses: `tcp` (the default), `udp`, or a number.
    pub protocol: Option<String>,
}

/// The answer, by the code that decides in the kernel.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Explained {
    /// `allow`, `deny` or `ask`.
    pub decision: String,
    /// Why: a rule, no rule, or the invocation's state.
    pub reason: String,
    /// The policy of the chain that decided.
    pub policy: String,
    /// The rule as written.
    pub rule: String,
    pub document: Option<String>,
    pub line: Option<u32>,
    /// Whether the policy only records: the kernel lets everything through that the invocation's state does not bar.
    pub audit: bool,
    /// The tool that executing the object would lead to.
    pub tool: Option<String>,
}

/// How the daemon is.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Status {
    pub version: String,
    pub level: Level,
    /// Why not a higher level.
    pub why: Option<String>,
    pub invocations: usize,
    /// Failures counted in the kernel; each denied its request.
    pub counters: std::collections::BTreeMap<String, u64>,
}

/// Body of every refusal.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    pub error: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Rules that the level cannot enforce, when that is why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
}
