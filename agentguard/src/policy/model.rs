//! A policy after parsing, includes and variables: plain rules, ready to compile, explain or turn into Landlock.

use std::time::Duration;

use agentguard_common::file::Access;
use agentguard_common::net::NetOp;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::subjects::Subjects;

/// What a rule does. Precedence: `Deny` > `Ask` > `Allow` > default deny.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    Allow,
    Ask,
    Deny,
}

/// Whether the policy denies or only records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    #[default]
    Enforce,
    Audit,
}

/// Where a rule was written, for events and messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleSource {
    /// Name of the document that holds the rule: the policy or an included preset.
    pub document: String,
    /// Line, counted from 1.
    pub line: u32,
    /// `reason:` of the rule, if it has one.
    pub reason: Option<String>,
}

/// One glob of a file rule. A rule with three paths becomes three of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRule {
    pub effect: Effect,
    /// Absolute glob, variables expanded. See `policy::glob` for the language.
    pub glob: String,
    #[serde(with = "access_names")]
    pub access: Access,
    pub source: RuleSource,
}

/// One network rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetRule {
    pub effect: Effect,
    /// Operations the rule covers.
    #[serde(with = "op_names")]
    pub ops: Vec<NetOp>,
    /// Destinations (or local addresses, for bind). Never empty; "any" is both `0.0.0.0/0` and `::/0`.
    pub to: Vec<IpNet>,
    /// Inclusive port ranges. Empty: any port.
    pub ports: Vec<(u16, u16)>,
    /// IP protocol numbers. Empty: any protocol.
    pub protocols: Vec<u8>,
    pub source: RuleSource,
}

/// Which environment variables reach the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Name globs (`*`) that pass.
    pub pass: Vec<String>,
    /// Name globs that never pass, also when `pass` names them.
    pub deny: Vec<String>,
    /// Variables set to a fixed value.
    pub set: std::collections::BTreeMap<String, String>,
}

/// A policy, ready to use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    pub name: String,
    /// `sha256:` and 64 hex digits: digest of the canonical form of the document with its includes, before variables.
    pub digest: String,
    pub mode: Mode,
    /// Longest life that an invocation may start with.
    #[serde(with = "seconds")]
    pub ttl: Option<Duration>,
    /// How far, from its start, the life of an invocation may ever be extended. Never shorter than `ttl`, and `None` if
    /// that is.
    #[serde(with = "seconds")]
    pub max_ttl: Option<Duration>,
    /// Who may start an invocation; `None`: anybody.
    pub subjects: Option<Subjects>,
    /// Record allowed operations too.
    pub log_allowed: bool,
    pub files: Vec<FileRule>,
    pub network: Vec<NetRule>,
    pub environment: Environment,
    /// Bits of [`agentguard_common::policy::privilege`].
    pub privileges: u32,
    /// Programs that run under a policy of their own; of several that a path matches, the first.
    pub tools: Vec<Tool>,
}

/// A program that, from its execution on, runs in an identity of its own.
///
/// It may do what its own policy, which has no tools, and those of the invocation and of all above it grant: compile it
/// as one more policy at the end of their chain. There is no way back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    pub name: String,
    /// Absolute globs of its programs, variables expanded.
    pub globs: Vec<String>,
    pub source: RuleSource,
    /// Called `<policy>/<tool>`; its digest is made of the policy's and the tool's name. No lifetime, environment or
    /// subjects: those are the invocation's.
    pub policy: Policy,
}

impl Policy {
    /// A policy called `name` that allows nothing, with the digest of this one, which it stands for.
    #[must_use]
    pub fn nothing(&self, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            digest: self.digest.clone(),
            mode: Mode::Enforce,
            ttl: None,
            max_ttl: None,
            subjects: None,
            log_allowed: false,
            files: Vec::new(),
            network: Vec::new(),
            environment: Environment::default(),
            privileges: 0,
            tools: Vec::new(),
        }
    }
}

/// The answer to "would this be allowed, and by which rule?".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation<'a> {
    pub effect: Effect,
    /// The deciding rule; `None` is default deny.
    pub rule: Option<&'a RuleSource>,
    /// The rule as written, for people: `deny read "**/.env"`.
    pub text: String,
}

/// The answer under a chain of policies: that of the policy that grants least.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainExplanation<'a> {
    /// Which policy decided: its place in the chain, 0 at the top. Of several that say the same, the uppermost.
    pub policy: usize,
    pub explanation: Explanation<'a>,
}

mod access_names {
    use agentguard_common::file::Access;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(access: &Access, s: S) -> Result<S::Ok, S::Error> {
        let names: Vec<_> =
            Access::NAMED.iter().filter(|(_, a)| access.contains(*a)).map(|(n, _)| *n).collect();
        names.serialize(s)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Access, D::Error> {
        let mut access = Access::NONE;
        for name in Vec::<String>::deserialize(d)? {
            let found = Access::NAMED.iter().find(|(n, _)| *n == name);
            let (_, mode) = found.ok_or_else(|| D::Error::custom(format!("unknown access mode {name:?}")))?;
            access = access.union(*mode);
        }
        Ok(access)
    }
}

mod op_names {
    use agentguard_common::net::NetOp;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(ops: &[NetOp], s: S) -> Result<S::Ok, S::Error> {
        ops.iter().map(|o| o.name()).collect::<Vec<_>>().serialize(s)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<NetOp>, D::Error> {
        let op = |name: String| match name.as_str() {
            "connect" => Ok(NetOp::Connect),
            "bind" => Ok(NetOp::Bind),
            _ => Err(D::Error::custom(format!("unknown network operation {name:?}"))),
        };
        Vec::<String>::deserialize(d)?.into_iter().map(op).collect()
    }
}

mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(d: &Option<Duration>, s: S) -> Result<S::Ok, S::Error> {
        d.map(|d| d.as_secs()).serialize(s)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(d)?.map(Duration::from_secs))
    }
}
