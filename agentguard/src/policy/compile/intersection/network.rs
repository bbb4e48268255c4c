//! The intersection of two tables of address ranges, each range with the intersection of its lists of ports.

use agentguard_common::net::{PORT_WORDS, PortVerdict, RANGE4_WORDS, RANGE6_WORDS};
use agentguard_common::policy::PolicyHeader;
use rustc_hash::FxHashMap;

use super::super::net::{Budget, Lists, list_position, push_ranges};
use super::{CompileError, Compiled, MAX_WORDS};

const ALLOW: u32 = PortVerdict::Allow as u32;
const ASK: u32 = PortVerdict::Ask as u32;
const NO_RULE: u32 = PortVerdict::NoRule as u32;

/// What it costs to merge a range, in comparisons of ranges.
const MERGE_WORK: usize = 4;

/// Sorted starts of ranges, the first one 0, each with what the range has.
type Ranges<K> = Vec<(K, u32)>;

/// Every start of either, with what each has from there on.
fn merged<K: Copy + Ord>(above: &[(K, u32)], below: &[(K, u32)]) -> Vec<(K, u32, u32)> {
    let (mut a, mut b) = (0, 0);
    let mut out = Vec::with_capacity(above.len() + below.len());
    while let (Some(&(start_a, has_a)), Some(&(start_b, has_b))) = (above.get(a), below.get(b)) {
        out.push((start_a.max(start_b), has_a, has_b));
        // The one whose next range begins first goes on; both, if they begin together.
        let (next_a, next_b) = (above.get(a + 1).map(|r| r.0), below.get(b + 1).map(|r| r.0));
        let first = [next_a, next_b].into_iter().flatten().min();
        a += usize::from(next_a.is_some() && next_a == first);
        b += usize::from(next_b.is_some() && next_b == first);
        if first.is_none() {
            break;
        }
    }
    out
}

/// The weaker of two verdicts about a port; of two that deny, the upper one, which then is the reason.
const fn weaker(above: u32, below: u32) -> u32 {
    match (above, below) {
        (ALLOW, other) => other,
        (ASK, ALLOW | ASK) => ASK,
        (ASK, other) => other,
        (denied, _) => denied,
    }
}

/// The port list at `position`: none at all says nothing about any port.
fn list(words: &[u32], position: u32) -> Ranges<u32> {
    if position == 0 {
        return vec![(0, NO_RULE)];
    }
    let at = position as usize;
    let ranges = &words[at + 1..][..(words[at] * PORT_WORDS) as usize];
    ranges.chunks_exact(PORT_WORDS as usize).map(|r| (r[0], r[1])).collect()
}

fn ranges4(compiled: &Compiled) -> Ranges<u128> {
    let (start, len) = (compiled.header.net4 as usize, compiled.header.net4_len * RANGE4_WORDS);
    let rows = compiled.words[start..][..len as usize].chunks_exact(RANGE4_WORDS as usize);
    rows.map(|row| (u128::from(row[0]), row[1])).collect()
}

fn ranges6(compiled: &Compiled) -> Ranges<u128> {
    let (start, len) = (compiled.header.net6 as usize, compiled.header.net6_len * RANGE6_WORDS);
    let rows = compiled.words[start..][..len as usize].chunks_exact(RANGE6_WORDS as usize);
    let address = |row: &[u32]| row[..4].iter().fold(0, |bits, word| bits << 32 | u128::from(*word));
    rows.map(|row| (address(row), row[4])).collect()
}

struct Intersection<'a> {
    above: &'a [u32],
    below: &'a [u32],
    words: &'a mut Vec<u32>,
    lists: Lists,
    /// Position of the list for each pair of positions.
    known: FxHashMap<(u32, u32), u32>,
    budget: Budget,
}

impl Intersection<'_> {
    fn position(&mut self, above: u32, below: u32) -> Result<u32, CompileError> {
        if let Some(position) = self.known.get(&(above, below)) {
            return Ok(*position);
        }
        let (a, b) = (list(self.above, above), list(self.below, below));
        self.budget.spend((a.len() + b.len()) * MERGE_WORK)?;
        let mut ports: Ranges<u32> = Vec::new();
        for (key, a, b) in merged(&a, &b) {
            let verdict = weaker(a, b);
            if ports.last().is_none_or(|(_, last)| *last != verdict) {
                ports.push((key, verdict));
            }
        }
        let says_nothing = ports == [(0, NO_RULE)];
        let position = if says_nothing { 0 } else { list_position(ports, self.words, &mut self.lists) };
        if self.words.len() > MAX_WORDS {
            return Err(CompileError::TooLarge(self.words.len()));
        }
        self.known.insert((above, below), position);
        Ok(position)
    }

    fn ranges(&mut self, above: &[(u128, u32)], below: &[(u128, u32)]) -> Result<Ranges<u128>, CompileError> {
        let mut out: Ranges<u128> = Vec::new();
        for (start, a, b) in merged(above, below) {
            let position = self.position(a, b)?;
            if out.last().is_none_or(|(_, last)| *last != position) {
                out.push((start, position));
            }
        }
        Ok(out)
    }
}

/// Appends the network tables.
pub(super) fn append(
    above: &Compiled,
    below: &Compiled,
    header: &mut PolicyHeader,
    words: &mut Vec<u32>,
) -> Result<(), CompileError> {
    let mut both = Intersection {
        above: &above.words,
        below: &below.words,
        words,
        lists: Lists::default(),
        known: FxHashMap::default(),
        budget: Budget::default(),
    };
    let v4 = both.ranges(&ranges4(above), &ranges4(below))?;
    let v6 = both.ranges(&ranges6(above), &ranges6(below))?;
    push_ranges(v4, v6, header, words);
    Ok(())
}
