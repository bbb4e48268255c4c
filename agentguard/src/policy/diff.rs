//! What differs in meaning between two policies: rules by what they decide, whatever their order, layout or grouping.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use agentguard_common::file::Access;
use agentguard_common::net::NetOp;
use agentguard_common::policy::privilege;
use ipnet::IpNet;
use serde::Serialize;

use super::explain::{file_text, net_text, speaks_of};
use super::glob;
use super::model::{Effect, FileRule, Mode, NetRule, Policy, RuleSource};
use super::subjects::Subject;

/// Which of the two policies has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Only the first.
    Removed,
    /// Only the second.
    Added,
}

/// A difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The tool whose rules differ, if it is not the policy itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    #[serde(flatten)]
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum What {
    /// A file rule, or the part of one that the other policy lacks.
    File { side: Side, rule: FileRule },
    /// A network rule, or the part of one that the other policy lacks.
    Network { side: Side, rule: NetRule },
    /// A member of a list.
    Item { side: Side, list: &'static str, name: String },
    /// A field with another value.
    Value { field: String, from: String, to: String },
}

fn place(source: &RuleSource) -> String {
    let reason = source.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    format!("({}:{}{reason})", source.document, source.line)
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = |side: &Side| if *side == Side::Added { '+' } else { '-' };
        let tool = self.tool.as_ref().map_or_else(String::new, |tool| format!("tool {tool}: "));
        match &self.what {
            What::File { side, rule } => {
                write!(f, "{} {tool}{} {}", sign(side), file_text(rule), place(&rule.source))
            }
            What::Network { side, rule } => {
                write!(f, "{} {tool}{} {}", sign(side), net_text(rule), place(&rule.source))
            }
            What::Item { side, list, name } => write!(f, "{} {tool}{list}: {name}", sign(side)),
            What::Value { field, from, to } => write!(f, "~ {tool}{field}: {from} -> {to}"),
        }
    }
}

/// The smallest parts of file rules: an access of an alternative of a glob.
type FileParts = BTreeSet<(u8, String, u16)>;

const fn rank(effect: Effect) -> u8 {
    match effect {
        Effect::Allow => 0,
        Effect::Ask => 1,
        Effect::Deny => 2,
    }
}

/// The alternatives of a rule's glob; the glob itself if it has none (loading refuses what cannot be read).
fn alternatives(rule: &FileRule) -> Vec<String> {
    glob::alternatives(&rule.glob).unwrap_or_else(|_| vec![rule.glob.clone()])
}

fn bits(access: Access) -> impl Iterator<Item = u16> {
    (0..16).map(|bit| 1 << bit).filter(move |bit| access.0 & bit != 0)
}

fn file_parts(rules: &[FileRule]) -> FileParts {
    let of_rule = |rule: &FileRule| {
        let parts =
            alternatives(rule).into_iter().flat_map(|glob| bits(rule.access).map(move |b| (glob.clone(), b)));
        parts.map(|(glob, bit)| (rank(rule.effect), glob, bit)).collect::<Vec<_>>()
    };
    rules.iter().flat_map(of_rule).collect()
}

/// The rules, or parts of rules, of `rules` that `other` does not have; none twice.
fn file_rules(rules: &[FileRule], other: &FileParts, side: Side, out: &mut Vec<What>) {
    let mut said = FileParts::new();
    for rule in rules {
        let globs = alternatives(rule);
        // Accesses that only this side has, by alternative.
        let missing: Vec<_> = globs
            .iter()
            .map(|glob| {
                let part = |bit| (rank(rule.effect), glob.clone(), bit);
                let own =
                    bits(rule.access).filter(|bit| !other.contains(&part(*bit)) && said.insert(part(*bit)));
                Access(own.fold(0, |all, bit| all | bit))
            })
            .collect();
        let mut push = |glob: &String, access: Access| {
            if !access.is_empty() {
                out.push(What::File { side, rule: FileRule { glob: glob.clone(), access, ..rule.clone() } });
            }
        };
        if missing.windows(2).all(|pair| pair[0] == pair[1]) {
            push(&rule.glob, missing.first().copied().unwrap_or_default());
        } else {
            globs.iter().zip(missing).for_each(|(glob, access)| push(glob, access));
        }
    }
}

/// What a network rule says about one operation and network: effect, ports and protocols, in one form.
type NetPart = (u8, u8, IpNet, Vec<(u16, u16)>, Vec<u8>);

fn net_part(rule: &NetRule, op: NetOp, to: IpNet) -> NetPart {
    let mut ports = rule.ports.clone();
    ports.sort_unstable();
    ports.dedup();
    // Ports without a protocol are those of some: the same as if they were written.
    let mut protocols: Vec<u8> = match rule.ports.is_empty() {
        true => rule.protocols.clone(),
        false => (0..=u8::MAX).filter(|protocol| speaks_of(rule, *protocol)).collect(),
    };
    protocols.sort_unstable();
    protocols.dedup();
    (rank(rule.effect), op as u8, to, ports, protocols)
}

fn net_parts(rules: &[NetRule]) -> BTreeSet<NetPart> {
    let of_rule = |rule: &NetRule| {
        let pairs = rule.ops.iter().flat_map(|op| rule.to.iter().map(move |to| (*op, *to)));
        pairs.map(|(op, to)| net_part(rule, op, to)).collect::<Vec<_>>()
    };
    rules.iter().flat_map(of_rule).collect()
}

fn net_rules(rules: &[NetRule], other: &BTreeSet<NetPart>, side: Side, out: &mut Vec<What>) {
    let mut said = BTreeSet::new();
    for rule in rules {
        // Networks that only this side has, by operation; operations with the same ones together.
        let mut missing: BTreeMap<Vec<IpNet>, Vec<NetOp>> = BTreeMap::new();
        for &op in &rule.ops {
            let own = rule.to.iter().copied().filter(|to| {
                let part = net_part(rule, op, *to);
                !other.contains(&part) && said.insert(part)
            });
            missing.entry(own.collect()).or_default().push(op);
        }
        for (to, ops) in missing.into_iter().filter(|(to, _)| !to.is_empty()) {
            out.push(What::Network { side, rule: NetRule { to, ops, ..rule.clone() } });
        }
    }
}

fn items<'a>(
    list: &'static str,
    a: impl IntoIterator<Item = &'a String>,
    b: impl IntoIterator<Item = &'a String>,
    out: &mut Vec<What>,
) {
    let (a, b): (BTreeSet<_>, BTreeSet<_>) = (a.into_iter().collect(), b.into_iter().collect());
    let mut push = |side, name: &String| out.push(What::Item { side, list, name: name.clone() });
    a.difference(&b).for_each(|name| push(Side::Removed, name));
    b.difference(&a).for_each(|name| push(Side::Added, name));
}

fn value(field: impl Into<String>, from: String, to: String, out: &mut Vec<What>) {
    if from != to {
        out.push(What::Value { field: field.into(), from, to });
    }
}

/// A lifetime as policies write it.
fn duration(duration: Option<Duration>) -> String {
    let Some(seconds) = duration.map(|d| d.as_secs()) else { return "none".into() };
    let units = [(86_400, 'd'), (3600, 'h'), (60, 'm')];
    let unit = units.into_iter().find(|(size, _)| seconds % size == 0).unwrap_or((1, 's'));
    format!("{}{}", seconds / unit.0, unit.1)
}

fn privileges(policy: &Policy) -> Vec<String> {
    let granted = privilege::NAMED.iter().filter(|(_, bit)| policy.privileges & bit != 0);
    granted.map(|(name, _)| (*name).to_owned()).collect()
}

fn subjects(policy: &Policy) -> String {
    let Some(subjects) = &policy.subjects else { return "anybody".into() };
    let list = |kind: &str, some: &[Subject]| {
        let names: BTreeSet<_> = some.iter().map(|s| format!("{kind} {}", s.who)).collect();
        names.into_iter().collect::<Vec<_>>()
    };
    [list("user", &subjects.users), list("group", &subjects.groups)].concat().join(", ")
}

/// What a policy and a tool have in common.
fn rules(a: &Policy, b: &Policy, out: &mut Vec<What>) {
    let mode = |policy: &Policy| if policy.mode == Mode::Audit { "audit" } else { "enforce" };
    value("mode", mode(a).into(), mode(b).into(), out);
    items("privileges", &privileges(a), &privileges(b), out);
    file_rules(&a.files, &file_parts(&b.files), Side::Removed, out);
    file_rules(&b.files, &file_parts(&a.files), Side::Added, out);
    net_rules(&a.network, &net_parts(&b.network), Side::Removed, out);
    net_rules(&b.network, &net_parts(&a.network), Side::Added, out);
}

fn tools(a: &Policy, b: &Policy, out: &mut Vec<Difference>) {
    let names = |policy: &Policy| policy.tools.iter().map(|tool| tool.name.clone()).collect::<Vec<_>>();
    let (in_a, in_b) = (names(a), names(b));
    let mut whole = Vec::new();
    items("tools", &in_a, &in_b, &mut whole);
    let both = |these: &[String], others: &[String]| {
        these.iter().filter(|n| others.contains(n)).cloned().collect::<Vec<_>>().join(", ")
    };
    // The first one that a path matches counts.
    value("order of tools", both(&in_a, &in_b), both(&in_b, &in_a), &mut whole);
    out.extend(whole.into_iter().map(|what| Difference { tool: None, what }));
    for tool in &a.tools {
        let Some(other) = b.tools.iter().find(|other| other.name == tool.name) else { continue };
        let mut differences = Vec::new();
        items("paths", &tool.globs, &other.globs, &mut differences);
        rules(&tool.policy, &other.policy, &mut differences);
        out.extend(differences.into_iter().map(|what| Difference { tool: Some(tool.name.clone()), what }));
    }
}

/// Every difference in meaning between `a` and `b`. Names of policies, reasons and where a rule stands are none.
#[must_use]
pub fn diff(a: &Policy, b: &Policy) -> Vec<Difference> {
    let mut out = Vec::new();
    value("ttl", duration(a.ttl), duration(b.ttl), &mut out);
    value("maxTtl", duration(a.max_ttl), duration(b.max_ttl), &mut out);
    value("subjects", subjects(a), subjects(b), &mut out);
    value("logAllowed", a.log_allowed.to_string(), b.log_allowed.to_string(), &mut out);
    items("environment.pass", &a.environment.pass, &b.environment.pass, &mut out);
    items("environment.deny", &a.environment.deny, &b.environment.deny, &mut out);
    let names: BTreeSet<_> = a.environment.set.keys().chain(b.environment.set.keys()).collect();
    for name in names {
        let of =
            |policy: &Policy| policy.environment.set.get(name).map_or("none".into(), |v| format!("{v:?}"));
        value(format!("environment.set.{name}"), of(a), of(b), &mut out);
    }
    rules(a, b, &mut out);
    let mut out: Vec<_> = out.into_iter().map(|what| Difference { tool: None, what }).collect();
    tools(a, b, &mut out);
    out
}

#[cfg(test)]
mod tests;
