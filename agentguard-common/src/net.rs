//! Network decisions: canonical addresses, and the search of a policy's address and port ranges.
//!
//! The tables are sorted, disjoint ranges that cover the whole space, so a decision is two binary searches and
//! its cost grows with the logarithm of the number of rules. They sit in the same arena as the file tables, which
//! makes a policy switch one store for files and network together.

use crate::policy::PolicyHeader;
use crate::verdict::{Decision, Reason, Verdict};
use crate::{Words, sign};

/// Words of an IPv4 range: first address (host order), position of its port list.
pub const RANGE4_WORDS: u32 = 2;
/// Words of an IPv6 range: first address (four words, most significant first), position of its port list.
pub const RANGE6_WORDS: u32 = 5;
/// Words of a port range: first key (see [`port_key`]), [`PortVerdict`]. A port list is its length, then its
/// ranges, sorted, the first one with key 0.
pub const PORT_WORDS: u32 = 2;
/// Rounds of a binary search: tables hold at most 2^20 ranges.
pub const SEARCH_ROUNDS: u32 = 20;

/// What a task wants to do with an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum NetOp {
    /// Connect, or send to an explicit destination.
    Connect = 0,
    /// Bind a local address (and so listen on it).
    Bind = 1,
}

impl NetOp {
    /// The name that policies and events use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Bind => "bind",
        }
    }
}

/// What the range says about a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum PortVerdict {
    /// No rule: default deny.
    NoRule = 0,
    Allow = 1,
    Ask = 2,
    /// A rule denies.
    Deny = 3,
}

/// A canonical address: an IPv4 address is never spelt as IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// Host byte order.
    V4(u32),
    /// Four words, most significant first, host byte order each.
    V6([u32; 4]),
}

pub const IPPROTO_TCP: u8 = 6;
pub const IPPROTO_UDP: u8 = 17;
const LOOPBACK4: u32 = 0x7f00_0001;

impl Address {
    /// Canonical form of an IPv4 destination or local address.
    ///
    /// Connecting to 0.0.0.0 reaches this host's loopback (Linux, `ip_route_output_key_hash_rcu`).
    #[inline(always)]
    #[must_use]
    pub const fn v4(addr: u32, op: NetOp) -> Self {
        match op {
            NetOp::Connect if addr == 0 => Self::V4(LOOPBACK4),
            _ => Self::V4(addr),
        }
    }

    /// Canonical form of an IPv6 address: IPv4-mapped becomes IPv4, and connecting to `::` reaches `::1`.
    #[inline(always)]
    #[must_use]
    pub const fn v6(words: [u32; 4], op: NetOp) -> Self {
        let [a, b, c, d] = words;
        if a == 0 && b == 0 {
            if c == 0xffff {
                return Self::v4(d, op);
            }
            if c == 0 && d == 0 && matches!(op, NetOp::Connect) {
                return Self::V6([0, 0, 0, 1]);
            }
        }
        Self::V6(words)
    }
}

/// The facts of a network request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetFacts {
    pub op: NetOp,
    /// IP protocol number. Multipath TCP (262) is TCP.
    pub protocol: u8,
    pub port: u16,
    pub address: Address,
}

/// Orders (operation, protocol, port) into one number.
#[inline(always)]
#[must_use]
pub const fn port_key(op: NetOp, protocol: u8, port: u16) -> u32 {
    ((op as u32) << 24) | ((protocol as u32) << 16) | port as u32
}

/// 1 if `wanted`, in words from the most significant, is below `start`, else 0.
#[inline(always)]
fn is_below<const N: usize>(wanted: [u32; N], start: [u32; N]) -> u32 {
    let mut borrow = 0;
    let mut i = N;
    while i > 0 {
        i -= 1;
        borrow = sign((wanted[i] as u64).wrapping_sub(start[i] as u64).wrapping_sub(borrow as u64));
    }
    borrow
}

/// The last of `len` ranges that does not begin behind what is wanted; the first one never does. `begins_behind` says 1 of
/// those that do, 0 of the others.
#[inline(always)]
fn search(len: u32, begins_behind: impl Fn(u32) -> u32) -> u32 {
    let mut low = 0;
    let mut left = len;
    let mut round = 0;
    while round < SEARCH_ROUNDS && left > 1 {
        let half = left >> 1;
        low += half & begins_behind(low + half).wrapping_sub(1);
        left -= half;
        round += 1;
    }
    low
}

/// The position of the port list for `address`, 0 if the policy has no table for its family.
#[inline(always)]
fn port_list<W: Words + ?Sized>(words: &W, policy: &PolicyHeader, address: Address) -> u32 {
    match address {
        Address::V4(addr) => {
            if policy.net4_len == 0 {
                return 0;
            }
            let at = |i: u32| policy.net4 + i * RANGE4_WORDS;
            let i = search(policy.net4_len, |i| is_below([addr], [words.word(at(i))]));
            words.word(at(i) + 1)
        }
        Address::V6([a, b, c, d]) => {
            if policy.net6_len == 0 {
                return 0;
            }
            let at = |i: u32| policy.net6 + i * RANGE6_WORDS;
            let start = |row: u32| [0, 1, 2, 3].map(|word| words.word(row + word));
            let i = search(policy.net6_len, |i| is_below([a, b, c, d], start(at(i))));
            words.word(at(i) + 4)
        }
    }
}

/// Decides a network request.
#[inline(always)]
pub fn decide<W: Words + ?Sized>(words: &W, policy: &PolicyHeader, facts: &NetFacts) -> Verdict {
    decide_key(words, policy, facts.address, port_key(facts.op, facts.protocol, facts.port))
}

/// Decides a network request of which all but the address is in a [`port_key`].
#[inline(always)]
pub fn decide_key<W: Words + ?Sized>(
    words: &W,
    policy: &PolicyHeader,
    address: Address,
    key: u32,
) -> Verdict {
    let list = port_list(words, policy, address);
    if list == 0 {
        return Verdict::deny(Reason::NoRule);
    }
    let len = words.word(list);
    if len == 0 {
        return Verdict::deny(Reason::NoRule);
    }
    let i = search(len, |i| is_below([key], [words.word(list + 1 + i * PORT_WORDS)]));
    match words.word(list + 2 + i * PORT_WORDS) {
        v if v == PortVerdict::Allow as u32 => Verdict::new(Decision::Allow, Reason::Rule),
        v if v == PortVerdict::Ask as u32 => Verdict::new(Decision::Ask, Reason::Rule),
        v if v == PortVerdict::Deny as u32 => Verdict::deny(Reason::Rule),
        _ => Verdict::deny(Reason::NoRule),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_ipv6_is_ipv4() {
        assert_eq!(Address::v6([0, 0, 0xffff, 0x0a00_0001], NetOp::Connect), Address::V4(0x0a00_0001));
        assert_eq!(Address::v6([0, 0, 0xffff, 0], NetOp::Connect), Address::V4(LOOPBACK4));
        assert_eq!(Address::v6([0, 0, 0, 1], NetOp::Connect), Address::V6([0, 0, 0, 1]));
    }

    #[test]
    fn connecting_to_the_unspecified_address_is_loopback() {
        assert_eq!(Address::v4(0, NetOp::Connect), Address::V4(LOOPBACK4));
        assert_eq!(Address::v4(0, NetOp::Bind), Address::V4(0));
        assert_eq!(Address::v6([0; 4], NetOp::Connect), Address::V6([0, 0, 0, 1]));
        assert_eq!(Address::v6([0; 4], NetOp::Bind), Address::V6([0; 4]));
    }

    #[test]
    fn the_empty_policy_denies() {
        let facts =
            NetFacts { op: NetOp::Connect, protocol: 6, port: 80, address: Address::v4(1, NetOp::Connect) };
        let verdict = decide(&[0u32; 4][..], &PolicyHeader::default(), &facts);
        assert_eq!(verdict, Verdict::deny(Reason::NoRule));
    }
}
