//! The event as a consumer reads it: one JSON object a line.

use serde::{Deserialize, Serialize};

/// One event. Absent facts are left out.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// UTC, RFC 3339.
    pub time: String,
    /// Nanoseconds of `CLOCK_BOOTTIME`.
    pub boot_ns: u64,
    /// Per-invocation sequence number, taken in the kernel; a gap is a loss. Absent on the daemon's own records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    pub invocation: String,
    pub agent: String,
    pub principal: String,
    /// What the run is for, by whoever hands out work.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub task: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub purpose: String,
    /// Who handed authority on to this invocation, from the first one to its parent; absent for the first one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub delegation: Vec<Step>,
    pub policy: String,
    pub policy_digest: String,
    /// Enforcement level.
    pub level: String,
    /// The level cannot enforce the whole policy.
    pub degraded: bool,
    pub action: String,
    /// Path (bytes that are not printable UTF-8 are escaped as `\xNN`) or address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub object: String,
    /// Access modes wanted, for files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub access: Vec<String>,
    pub decision: String,
    pub reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<Rule>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errno: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// More about the action: the child of a fork, an exit code, counts.
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    pub detail: serde_json::Map<String, serde_json::Value>,
}

/// An invocation that handed authority on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Step {
    pub agent: String,
    pub invocation: String,
}

/// The rule that decided.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Rule {
    /// The rule as written.
    pub text: String,
    /// The policy that decided, where that is one of those that authority was handed on under.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Document and line; absent for default deny.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether the rule allows, so that a refusal is not its doing.
    #[serde(skip)]
    pub(super) allows: bool,
}

/// Who did it. Ids are those of the initial PID namespace.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Process {
    pub pid: u32,
    pub tid: u32,
    pub ppid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    pub comm: String,
    pub uid: u32,
    pub gid: u32,
    pub cgroup: u64,
}

/// Escapes a path for people and logs.
#[must_use]
pub fn printable(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '\\' || c.is_control() {
                out.extend(c.escape_default());
            } else {
                out.push(c);
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn newlines_and_bad_bytes_are_escaped() {
        assert_eq!(printable(b"/a\n\xff/\xc3\xa9"), "/a\\n\\xff/\u{e9}");
    }
}
