//! Would this be allowed, and by which rule? Read from the rules as written, not from the compiled tables.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use agentguard_common::file::Access;
use agentguard_common::net::{Address, NetFacts};

use super::glob;
use super::model::{Effect, Explanation, FileRule, NetRule, Policy, RuleSource};

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

fn file_text(rule: &FileRule) -> String {
    format!("{} {} \"{}\"", effect_name(rule.effect), modes(rule.access), rule.glob)
}

fn hits(rule: &FileRule, path: &[u8]) -> bool {
    glob::parse(&rule.glob).is_ok_and(|globs| globs.iter().any(|g| g.matches(path)))
}

/// Explains a request for all of `want` on `path`.
#[must_use]
pub fn explain_file<'a>(policy: &'a Policy, path: &[u8], want: Access) -> Explanation<'a> {
    let matching: Vec<_> = policy.files.iter().filter(|r| hits(r, path)).collect();
    let mut weakest: Option<Explanation<'a>> = None;
    for (_, mode) in Access::NAMED.iter().filter(|(_, m)| want.contains(*m)) {
        let deciding = PRECEDENCE
            .iter()
            .find_map(|e| matching.iter().find(|r| r.effect == *e && r.access.contains(*mode)));
        let answer: Explanation<'a> = match deciding {
            Some(r) => Explanation { effect: r.effect, rule: Some(&r.source), text: file_text(r) },
            None => default_deny(),
        };
        let rank = |e: &Explanation<'_>| match e.effect {
            Effect::Deny => 2,
            Effect::Ask => 1,
            Effect::Allow => 0,
        };
        if weakest.as_ref().is_none_or(|w| rank(&answer) > rank(w)) {
            weakest = Some(answer);
        }
    }
    weakest.unwrap_or(Explanation { effect: Effect::Allow, rule: None, text: "nothing was asked for".into() })
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

fn net_text(rule: &NetRule) -> String {
    let ops: Vec<_> = rule.ops.iter().map(|o| o.name()).collect();
    let to: Vec<_> = rule.to.iter().map(ToString::to_string).collect();
    let mut text = format!("{} {} {}", effect_name(rule.effect), ops.join("+"), to.join(" "));
    for (low, high) in &rule.ports {
        text.push_str(&if low == high { format!(" port {low}") } else { format!(" ports {low}-{high}") });
    }
    text
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
