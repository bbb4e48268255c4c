//! Would this be allowed, and by which rule? Read from the rules as written, not from the compiled tables.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use agentguard_common::file::Access;
use agentguard_common::net::{Address, NetFacts};

use super::document::PROTOCOLS;
use super::glob;
use super::model::{ChainExplanation, Effect, Explanation, FileRule, NetRule, Policy, RuleSource, Tool};

fn default_deny<'a>() -> Explanation<'a> {
    Explanation { effect: Effect::Deny, rule: None, text: "default deny: no rule allows it".into() }
}

const PRECEDENCE: [Effect; 3] = [Effect::Deny, Effect::Ask, Effect::Allow];

fn effect_name(effect: Effect) -> &'static str {
    match effect {
        Effect::Allow => "allow",
        Effect::Ask => "ask",
        Effect::Deny => "deny",
    }
}

fn modes(access: Access) -> String {
    if access.contains(Access::ALL) {
        return "all".into();
    }
    let names: Vec<_> = Access::NAMED.iter().filter(|(_, a)| access.contains(*a)).map(|(n, _)| *n).collect();
    names.join("+")
}

/// The rule as people write it.
pub(super) fn file_text(rule: &FileRule) -> String {
    format!("{} {} \"{}\"", effect_name(rule.effect), modes(rule.access), rule.glob)
}

fn hits(rule: &FileRule, path: &[u8]) -> bool {
    glob::parse(&rule.glob).is_ok_and(|globs| globs.iter().any(|g| g.matches(path)))
}

fn rank(effect: Effect) -> u8 {
    match effect {
        Effect::Deny => 2,
        Effect::Ask => 1,
        Effect::Allow => 0,
    }
}

/// The weakest of some answers and its place among them; the first of equals.
fn weakest<'a>(answers: impl Iterator<Item = Explanation<'a>>) -> Option<(usize, Explanation<'a>)> {
    answers.enumerate().reduce(
        |weakest, next| {
            if rank(next.1.effect) > rank(weakest.1.effect) { next } else { weakest }
        },
    )
}

/// The answer of the rules that match a path, in their order, to a request for all of `want`.
pub(super) fn answer<'a>(matching: &[&'a FileRule], want: Access) -> Explanation<'a> {
    let wanted = Access::NAMED.iter().filter(|(_, mode)| want.contains(*mode));
    let answers = wanted.map(|(_, mode)| {
        let deciding = PRECEDENCE
            .iter()
            .find_map(|e| matching.iter().find(|r| r.effect == *e && r.access.contains(*mode)));
        deciding.map_or_else(default_deny, |r| Explanation {
            effect: r.effect,
            rule: Some(&r.source),
            text: file_text(r),
        })
    });
    let nothing = || Explanation { effect: Effect::Allow, rule: None, text: "nothing was asked for".into() };
    weakest(answers).map_or_else(nothing, |(_, answer)| answer)
}

/// Explains a request for all of `want` on `path`. [`super::Explainer`] does the same faster, again and again.
#[must_use]
pub fn explain_file<'a>(policy: &'a Policy, path: &[u8], want: Access) -> Explanation<'a> {
    let matching: Vec<_> = policy.files.iter().filter(|r| hits(r, path)).collect();
    answer(&matching, want)
}

/// The address as the standard library spells it.
pub(super) fn ip(address: Address) -> IpAddr {
    match address {
        Address::V4(a) => IpAddr::V4(Ipv4Addr::from(a)),
        Address::V6([a, b, c, d]) => {
            let bits = u128::from(a) << 96 | u128::from(b) << 64 | u128::from(c) << 32 | u128::from(d);
            IpAddr::V6(Ipv6Addr::from(bits))
        }
    }
}

/// Whether a rule speaks of this protocol: ports without a protocol mean TCP and UDP.
pub(super) fn speaks_of(rule: &NetRule, protocol: u8) -> bool {
    match (rule.protocols.is_empty(), rule.ports.is_empty()) {
        (true, true) => true,
        (true, false) => matches!(protocol, 6 | 17),
        (false, _) => rule.protocols.contains(&protocol),
    }
}

fn net_hits(rule: &NetRule, facts: &NetFacts) -> bool {
    rule.ops.contains(&facts.op)
        && speaks_of(rule, facts.protocol)
        && (rule.ports.is_empty() || rule.ports.iter().any(|(l, h)| (*l..=*h).contains(&facts.port)))
        && rule.to.iter().any(|net| net.contains(&ip(facts.address)))
}

/// The rule as people write it.
pub(super) fn net_text(rule: &NetRule) -> String {
    let ops: Vec<_> = rule.ops.iter().map(|o| o.name()).collect();
    let to: Vec<_> = rule.to.iter().map(ToString::to_string).collect();
    let mut text = format!("{} {} {}", effect_name(rule.effect), ops.join("+"), to.join(" "));
    for (low, high) in &rule.ports {
        text.push_str(&if low == high { format!(" port {low}") } else { format!(" ports {low}-{high}") });
    }
    for protocol in &rule.protocols {
        let known = PROTOCOLS.iter().find(|(_, number)| number == protocol);
        text.push(' ');
        text.push_str(&known.map_or_else(|| protocol.to_string(), |(name, _)| (*name).to_owned()));
    }
    text
}

/// The weakest answer of a chain of policies, from the top; of an empty chain, default deny.
pub(super) fn of_chain<'a>(answers: impl Iterator<Item = Explanation<'a>>) -> ChainExplanation<'a> {
    let (policy, explanation) = weakest(answers).unwrap_or_else(|| (0, default_deny()));
    ChainExplanation { policy, explanation }
}

/// The tool whose program `path` is, with its number as in the compiled tables (counted from 1).
#[must_use]
pub fn tool_of<'a>(policy: &'a Policy, path: &[u8]) -> Option<(u32, &'a Tool)> {
    let is = |glob: &String| glob::parse(glob).is_ok_and(|globs| globs.iter().any(|g| g.matches(path)));
    (1..).zip(&policy.tools).find(|(_, tool)| tool.globs.iter().any(is))
}

/// Explains a request for all of `want` on `path` under a chain of policies, from the top to the innermost.
#[must_use]
pub fn explain_file_chain<'a>(chain: &[&'a Policy], path: &[u8], want: Access) -> ChainExplanation<'a> {
    of_chain(chain.iter().map(|policy| explain_file(policy, path, want)))
}

/// Explains a network request under a chain of policies, from the top to the innermost.
#[must_use]
pub fn explain_net_chain<'a>(chain: &[&'a Policy], facts: &NetFacts) -> ChainExplanation<'a> {
    of_chain(chain.iter().map(|policy| explain_net(policy, facts)))
}

/// Explains a network request.
#[must_use]
pub fn explain_net<'a>(policy: &'a Policy, facts: &NetFacts) -> Explanation<'a> {
    let source = |r: &'a NetRule| -> (Effect, &'a RuleSource, String) { (r.effect, &r.source, net_text(r)) };
    let rules = &policy.network;
    let deciding =
        PRECEDENCE.iter().find_map(|e| rules.iter().find(|r| r.effect == *e && net_hits(r, facts)));
    deciding.map_or_else(default_deny, |r| {
        let (effect, rule, text) = source(r);
        Explanation { effect, rule: Some(rule), text }
    })
}
