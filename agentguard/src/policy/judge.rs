//! Questions to policies, answered by the tables and the code that the kernel decides with, and the rule named by the
//! rules as written.

use std::net::{IpAddr, SocketAddr};

use agentguard_common::Words;
use agentguard_common::event::MAX_PATH;
use agentguard_common::file::{self, Access, state_behind, state_tool, state_verdict};
use agentguard_common::net::{self, Address, NetFacts, NetOp};
use agentguard_common::policy::PolicyHeader;
use agentguard_common::policy::privilege::RAW_SOCKET;
use agentguard_common::verdict::Decision;
use serde::Serialize;

use super::compile::Compiled;
use super::document::{PROTOCOLS, nearest};
use super::explainer::Chain;
use super::model::{Effect, Explanation, RuleSource};

/// Longest name of a directory entry.
const NAME_MAX: usize = 255;
/// Longest abstract socket name.
const ABSTRACT_MAX: usize = 107;

/// What somebody wants to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// All of these accesses to the object with this resolved path, or abstract name behind an `@`.
    File { path: Vec<u8>, want: Access },
    /// Something with an address.
    Net(NetFacts),
}

/// The part of a question that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The operation with this place in the list.
    Operation(usize),
    Object,
    Protocol,
}

/// A question that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}\nhint: {hint}")]
pub struct Senseless {
    pub part: Part,
    pub message: String,
    pub hint: String,
}

fn senseless(part: Part, message: impl Into<String>, hint: impl Into<String>) -> Senseless {
    Senseless { part, message: message.into(), hint: hint.into() }
}

/// Checks that the kernel could resolve an object to this path.
fn check_path(path: &str, want: Access) -> Result<(), Senseless> {
    let wrong = |message: String, hint: &str| Err(senseless(Part::Object, message, hint));
    if let Some(name) = path.strip_prefix('@') {
        if name.is_empty() || name.len() > ABSTRACT_MAX {
            return wrong(format!("`{path}` is no abstract socket"), "`@` and 1 to 107 bytes");
        }
        if !Access::CREATE.union(Access::CONNECT).contains(want) {
            let hint = "abstract sockets are created (bound) and connected to";
            return wrong(format!("`{path}` is an abstract socket, which has no such access"), hint);
        }
        return Ok(());
    }
    let resolved = "a path as the kernel sees it: absolute, without `.`, `..`, `//` or a `/` at the end";
    let Some(names) = path.strip_prefix('/') else {
        return wrong(format!("`{path}` is no path and no abstract socket"), resolved);
    };
    if path.contains('\0') || (path != "/" && names.split('/').any(|n| matches!(n, "" | "." | ".."))) {
        return wrong(format!("`{path}` is no resolved path"), resolved);
    }
    if path.len() > MAX_PATH || names.split('/').any(|name| name.len() > NAME_MAX) {
        let hint = "paths have at most 4096 bytes and names 255; the kernel plane denies longer ones";
        return wrong("the path is too long".into(), hint);
    }
    Ok(())
}

/// An address with a port, in the form that decisions are made about.
fn address(object: &str, op: NetOp) -> Result<(Address, u16), Senseless> {
    let parsed = object.parse::<SocketAddr>().map(|a| (a.ip(), a.port()));
    let parsed = parsed.or_else(|_| object.parse::<IpAddr>().map(|ip| (ip, 0)));
    let (ip, port) = parsed.map_err(|_| {
        let hint = "such as 10.0.0.1:443, [::1]:53, /run/a.sock or @abstract";
        senseless(Part::Object, format!("`{object}` is no address, path or abstract socket"), hint)
    })?;
    let address = match ip {
        IpAddr::V4(ip) => Address::v4(ip.into(), op),
        IpAddr::V6(ip) => {
            let bits = u128::from(ip);
            Address::v6([96, 64, 32, 0].map(|shift| (bits >> shift) as u32), op)
        }
    };
    Ok((address, port))
}

impl Request {
    /// Reads a question. `connect` is about an address, or about a Unix socket if the object begins with `/` or `@`.
    ///
    /// # Errors
    /// Which part makes no sense.
    pub fn parse(operations: &[&str], object: &str, protocol: Option<&str>) -> Result<Self, Senseless> {
        let of_file = object.starts_with(['/', '@']);
        let mut want = Access::NONE;
        for (place, name) in operations.iter().enumerate() {
            let part = Part::Operation(place);
            let net = match *name {
                "connect" if !of_file => NetOp::Connect,
                "bind" if !of_file => NetOp::Bind,
                "bind" => {
                    return Err(senseless(part, "`bind` of a path", "making a Unix socket is `create`"));
                }
                _ => {
                    let known = Access::NAMED.iter().find(|(n, _)| n == name);
                    let (_, mode) = known.ok_or_else(|| {
                        let names: Vec<_> = Access::NAMED.iter().map(|(n, _)| *n).chain(["bind"]).collect();
                        senseless(part, format!("unknown operation `{name}`"), nearest(name, &names))
                    })?;
                    want = want.union(*mode);
                    continue;
                }
            };
            if operations.len() > 1 {
                return Err(senseless(part, format!("`{name}` beside others"), "ask about an address alone"));
            }
            return Self::net(net, object, protocol);
        }
        if want.is_empty() {
            return Err(senseless(Part::Operation(0), "no operation", "name at least one"));
        }
        if protocol.is_some() {
            let hint = "only `connect` and `bind` of an address have one";
            return Err(senseless(Part::Protocol, "a protocol of a file", hint));
        }
        check_path(object, want)?;
        Ok(Self::File { path: object.into(), want })
    }

    fn net(op: NetOp, object: &str, protocol: Option<&str>) -> Result<Self, Senseless> {
        let (address, port) = address(object, op)?;
        let name = protocol.unwrap_or("tcp");
        let known = PROTOCOLS.iter().find(|(n, _)| *n == name);
        let (_, protocol) = known.ok_or_else(|| {
            let names = PROTOCOLS.map(|(n, _)| n);
            senseless(Part::Protocol, format!("unknown protocol `{name}`"), nearest(name, &names))
        })?;
        Ok(Self::Net(NetFacts { op, protocol: *protocol, port, address }))
    }
}

/// The answer to a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// `allow`, `deny` or `ask`.
    pub decision: &'static str,
    /// The policy that decided.
    pub policy: String,
    /// The rule that did; none if there was none.
    pub rule: Option<RuleSource>,
    /// The rule as written, or why there is none.
    pub text: String,
    /// Whether the policy only records: the kernel lets everything through.
    pub audit: bool,
    /// The tool that executing the object would lead to.
    pub tool: Option<String>,
}

/// Tables and rules say different things: one of them is wrong, and neither can be trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the tables say {tables} and the rules {rules}; hint: this is a mistake in AgentGuard, please report it"
)]
pub struct Disagreement {
    pub tables: &'static str,
    pub rules: &'static str,
}

/// A chain of policies with its tables.
#[derive(Debug)]
pub struct Judge {
    chain: Chain,
    compiled: Compiled,
}

const fn decision(effect: Effect) -> Decision {
    match effect {
        Effect::Allow => Decision::Allow,
        Effect::Ask => Decision::Ask,
        Effect::Deny => Decision::Deny,
    }
}

impl Judge {
    /// `compiled` is the intersection of `chain`.
    #[must_use]
    pub const fn new(chain: Chain, compiled: Compiled) -> Self {
        Self { chain, compiled }
    }

    /// Decides.
    ///
    /// # Errors
    /// When the tables decide otherwise than the rules read.
    pub fn answer(&self, request: &Request) -> Result<Answer, Disagreement> {
        answer(&self.chain, &self.compiled.words[..], &self.compiled.header, request)
    }
}

/// Decides by tables wherever they are: `header` and `words` are the intersection of `chain`.
///
/// # Errors
/// When the tables decide otherwise than the rules read.
pub fn answer<W: Words + ?Sized>(
    chain: &Chain,
    words: &W,
    header: &PolicyHeader,
    request: &Request,
) -> Result<Answer, Disagreement> {
    let (decided, explained, tool) = match request {
        Request::File { path, want } => {
            let (state, tables) = (state_behind(words, header, path), header.file_tables());
            let verdict = file::decide(state_verdict(words, tables, state), *want);
            let tool = Some(state_tool(words, tables, state)).filter(|_| want.contains(Access::EXEC));
            (verdict.decision, chain.explain_file(path, *want), tool)
        }
        Request::Net(facts) => {
            let verdict = net::decide(words, header, facts);
            (verdict.decision, chain.explain_net(facts), None)
        }
    };
    let policy = chain.0.get(explained.policy).map(|p| p.policy().name.clone());
    let Explanation { effect, rule, text } = explained.explanation;
    if decided != decision(effect) {
        return Err(Disagreement { tables: decided.name(), rules: decision(effect).name() });
    }
    let tools = chain.0.last().map(|p| p.policy().tools.as_slice()).unwrap_or_default();
    let tool = tool.and_then(|number| tools.get((number as usize).checked_sub(1)?));
    let mut answer = Answer {
        decision: decided.name(),
        policy: policy.unwrap_or_default(),
        rule: rule.cloned(),
        text,
        audit: header.flags & agentguard_common::policy::flags::AUDIT != 0,
        tool: tool.map(|tool| tool.name.clone()),
    };
    if let Request::Net(facts) = request
        && !matches!(facts.protocol, net::IPPROTO_TCP | net::IPPROTO_UDP)
        && header.privileges & RAW_SOCKET == 0
    {
        // Refused before there is an address: see `expressible` in the kernel plane.
        answer.decision = Decision::Deny.name();
        answer.rule = None;
        answer.text = "no such socket without the privilege raw-socket".into();
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(operations: &[&str], object: &str, protocol: Option<&str>) -> String {
        let error = Request::parse(operations, object, protocol).expect_err(object);
        format!("{:?}: {}", error.part, error.message)
    }

    #[test]
    fn questions_are_about_files_sockets_or_addresses() {
        let file = |path: &str, want| Ok(Request::File { path: path.into(), want });
        let net = |op, protocol, address, port| Ok(Request::Net(NetFacts { op, protocol, port, address }));
        let parse = Request::parse;
        assert_eq!(parse(&["read", "write"], "/a/b", None), file("/a/b", Access(3)));
        assert_eq!(parse(&["connect"], "/run/a", None), file("/run/a", Access::CONNECT));
        assert_eq!(parse(&["create"], "@a/b", None), file("@a/b", Access::CREATE));
        let loopback = Address::V4(0x7f00_0001);
        assert_eq!(parse(&["connect"], "0.0.0.0:80", None), net(NetOp::Connect, 6, loopback, 80));
        assert_eq!(
            parse(&["connect"], "[::ffff:127.0.0.1]:80", Some("udp")),
            net(NetOp::Connect, 17, loopback, 80)
        );
        assert_eq!(parse(&["bind"], "[::1]:0", None), net(NetOp::Bind, 6, Address::V6([0, 0, 0, 1]), 0));
        assert_eq!(
            parse(&["connect"], "::1", Some("icmpv6")),
            net(NetOp::Connect, 58, Address::V6([0, 0, 0, 1]), 0)
        );
    }

    #[test]
    fn what_makes_no_sense_is_pointed_at() {
        let long = format!("/{}", "a".repeat(256));
        for (operations, object, protocol, message) in [
            (&["reed"][..], "/a", None, "Operation(0): unknown operation `reed`"),
            (&["read", "bind"], "/a", None, "Operation(1): `bind` of a path"),
            (&["read", "connect"], "10.0.0.1:1", None, "Operation(1): `connect` beside others"),
            (&[], "/a", None, "Operation(0): no operation"),
            (&["read"], "a", None, "Object: `a` is no path and no abstract socket"),
            (&["read"], "/a/../b", None, "Object: `/a/../b` is no resolved path"),
            (&["read"], "/a/", None, "Object: `/a/` is no resolved path"),
            (&["read"], &long, None, "Object: the path is too long"),
            (&["read"], "@a", None, "Object: `@a` is an abstract socket, which has no such access"),
            (&["connect"], "@", None, "Object: `@` is no abstract socket"),
            (
                &["connect"],
                "example.org:80",
                None,
                "Object: `example.org:80` is no address, path or abstract socket",
            ),
            (&["connect"], "10.0.0.1:1", Some("tpc"), "Protocol: unknown protocol `tpc`"),
            (&["read"], "/a", Some("tcp"), "Protocol: a protocol of a file"),
        ] {
            assert_eq!(wrong(operations, object, protocol), message);
        }
    }
}
