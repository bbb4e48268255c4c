//! Network rules into sorted, disjoint ranges of addresses, each with its list of port ranges.

use agentguard_common::net::{PortVerdict, port_key};
use agentguard_common::policy::PolicyHeader;
use ipnet::IpNet;
use rustc_hash::FxHashMap;

use super::{CompileError, MAX_WORDS};
use crate::policy::model::{Effect, NetRule};

/// Comparisons of ranges that a policy may cost: about a second.
const MAX_WORK: usize = 1_000_000_000;

pub(super) type Lists = FxHashMap<Vec<(u32, u32)>, u32>;

fn bounds(net: &IpNet) -> (u128, u128) {
    match net {
        IpNet::V4(n) => (u32::from(n.network()).into(), u32::from(n.broadcast()).into()),
        IpNet::V6(n) => (n.network().into(), n.broadcast().into()),
    }
}

const fn verdict(effect: Effect) -> PortVerdict {
    match effect {
        Effect::Allow => PortVerdict::Allow,
        Effect::Ask => PortVerdict::Ask,
        Effect::Deny => PortVerdict::Deny,
    }
}

/// What is left of [`MAX_WORK`].
pub(super) struct Budget(usize);

impl Default for Budget {
    fn default() -> Self {
        Self(MAX_WORK)
    }
}

impl Budget {
    pub(super) fn spend(&mut self, work: usize) -> Result<(), CompileError> {
        self.0 = self.0.checked_sub(work).ok_or(CompileError::Overlaps)?;
        Ok(())
    }
}

/// At least as many as [`key_ranges`] returns.
fn key_range_count(rule: &NetRule) -> usize {
    let ports = rule.ports.len().max(1);
    rule.ops.len().saturating_mul(ports).saturating_mul(rule.protocols.len().max(2))
}

/// Inclusive key ranges that a rule covers.
fn key_ranges(rule: &NetRule) -> Vec<(u32, u32)> {
    let all = [(0, u16::MAX)];
    let ports: &[(u16, u16)] = if rule.ports.is_empty() { &all } else { &rule.ports };
    let mut out = Vec::new();
    for &op in &rule.ops {
        let protocols: &[u8] = match (rule.protocols.as_slice(), rule.ports.is_empty()) {
            ([], true) => {
                out.push((port_key(op, 0, 0), port_key(op, u8::MAX, u16::MAX)));
                continue;
            }
            ([], false) => &[6, 17],
            (some, _) => some,
        };
        for &protocol in protocols {
            out.extend(ports.iter().map(|&(l, h)| (port_key(op, protocol, l), port_key(op, protocol, h))));
        }
    }
    out
}

/// The port list of the rules that cover one address range.
fn port_list(rules: &[&NetRule], budget: &mut Budget) -> Result<Vec<(u32, u32)>, CompileError> {
    // Each range is compared with the two ends of each.
    let count = rules.iter().fold(0, |sum: usize, rule| sum.saturating_add(key_range_count(rule)));
    budget.spend(count.saturating_mul(count).saturating_mul(2))?;
    let ranges: Vec<_> =
        rules.iter().flat_map(|r| key_ranges(r).into_iter().map(|k| (k, verdict(r.effect)))).collect();
    let mut starts: Vec<u32> = vec![0];
    starts.extend(ranges.iter().flat_map(|((l, h), _)| [*l, h + 1]));
    starts.sort_unstable();
    starts.dedup();
    let mut list: Vec<(u32, u32)> = Vec::new();
    for start in starts {
        let best = ranges.iter().filter(|((l, h), _)| (*l..=*h).contains(&start)).map(|(_, v)| *v as u32);
        let best = best.max().unwrap_or(PortVerdict::NoRule as u32); // ordered by precedence
        if list.last().is_none_or(|(_, v)| *v != best) {
            list.push((start, best));
        }
    }
    Ok(list)
}

/// (first address, port list) of one family, sorted, from address 0 on.
fn ranges(
    rules: &[NetRule],
    v4: bool,
    words: &mut Vec<u32>,
    lists: &mut Lists,
    budget: &mut Budget,
) -> Result<Vec<(u128, u32)>, CompileError> {
    let of_family: Vec<(&NetRule, (u128, u128))> = rules
        .iter()
        .flat_map(|r| r.to.iter().map(move |n| (r, n)))
        .filter(|(_, n)| matches!(n, IpNet::V4(_)) == v4)
        .map(|(r, n)| (r, bounds(n)))
        .collect();
    let last = if v4 { u128::from(u32::MAX) } else { u128::MAX };
    let mut starts: Vec<u128> = vec![0];
    for (_, (low, high)) in &of_family {
        starts.push(*low);
        if *high < last {
            starts.push(high + 1);
        }
    }
    starts.sort_unstable();
    starts.dedup();
    let mut out: Vec<(u128, u32)> = Vec::new();
    budget.spend(starts.len().saturating_mul(of_family.len()))?;
    for start in starts {
        let covering: Vec<&NetRule> =
            of_family.iter().filter(|(_, (l, h))| (*l..=*h).contains(&start)).map(|(r, _)| *r).collect();
        let position =
            if covering.is_empty() { 0 } else { list_position(port_list(&covering, budget)?, words, lists) };
        if words.len() > MAX_WORDS {
            return Err(CompileError::TooLarge(words.len()));
        }
        if out.last().is_none_or(|(_, p)| *p != position) {
            out.push((start, position));
        }
    }
    Ok(out)
}

/// Where the list is in `words`; appended, unless it is there already.
pub(super) fn list_position(list: Vec<(u32, u32)>, words: &mut Vec<u32>, lists: &mut Lists) -> u32 {
    *lists.entry(list).or_insert_with_key(|list| {
        let position = words.len() as u32;
        words.push(list.len() as u32);
        words.extend(list.iter().flat_map(|(key, verdict)| [*key, *verdict]));
        position
    })
}

/// Appends the network tables.
///
/// # Errors
/// When they would be too large, or take too long.
pub(super) fn append(
    rules: &[NetRule],
    header: &mut PolicyHeader,
    words: &mut Vec<u32>,
) -> Result<(), CompileError> {
    let (mut lists, mut budget) = (Lists::default(), Budget::default());
    let v4 = ranges(rules, true, words, &mut lists, &mut budget)?;
    let v6 = ranges(rules, false, words, &mut lists, &mut budget)?;
    push_ranges(v4, v6, header, words);
    Ok(())
}

/// Appends (first address, port list) of both families.
pub(super) fn push_ranges(
    v4: Vec<(u128, u32)>,
    v6: Vec<(u128, u32)>,
    header: &mut PolicyHeader,
    words: &mut Vec<u32>,
) {
    header.net4 = words.len() as u32;
    header.net4_len = v4.len() as u32;
    words.extend(v4.into_iter().flat_map(|(start, list)| [start as u32, list]));
    header.net6 = words.len() as u32;
    header.net6_len = v6.len() as u32;
    for (start, list) in v6 {
        words.extend([96, 64, 32, 0].map(|shift| (start >> shift) as u32));
        words.push(list);
    }
}
