//! Row displacement: each row is a default target and its exceptions, laid into a shared comb.

use agentguard_common::file::{CLASS_WORDS, COMB_WORDS, STATE_WORDS};
use agentguard_common::policy::PolicyHeader;

use super::dfa::{Dfa, Row};

const FREE: u32 = u32::MAX;

/// The most frequent target of a row.
fn default_of(row: &Row) -> u32 {
    let mut sorted = row.next.clone();
    sorted.sort_unstable();
    let best = sorted.chunk_by(|a, b| a == b).max_by_key(|run| run.len());
    best.map_or(0, |run| run[0])
}

/// Finds where a row's exceptions fit.
fn fit(comb: &[(u32, u32)], exceptions: &[(usize, u32)], from: usize) -> usize {
    let Some(&(first, _)) = exceptions.first() else { return 0 };
    let free = |at: usize| comb.get(at).is_none_or(|e| e.0 == FREE);
    let mut base = from.saturating_sub(first);
    while !exceptions.iter().all(|(class, _)| free(base + class)) {
        base += 1;
    }
    base
}

/// Appends the tables of `dfa` to `words`.
pub(super) fn pack(dfa: &Dfa, words: &mut Vec<u32>) -> PolicyHeader {
    let mut comb: Vec<(u32, u32)> = Vec::new();
    let mut states = Vec::with_capacity(dfa.rows.len() * STATE_WORDS as usize);
    let mut first_free = 0;
    for (id, row) in dfa.rows.iter().enumerate() {
        let default = default_of(row);
        let exceptions: Vec<_> =
            row.next.iter().copied().enumerate().filter(|(_, next)| *next != default).collect();
        while comb.get(first_free).is_some_and(|e| e.0 != FREE) {
            first_free += 1;
        }
        let base = fit(&comb, &exceptions, first_free);
        for (class, next) in exceptions {
            if comb.len() <= base + class {
                comb.resize(base + class + 1, (FREE, 0));
            }
            comb[base + class] = (id as u32, next);
        }
        states.extend([base as u32, default, row.verdict.0, 0]);
    }
    comb.resize(comb.len() + dfa.class_count, (FREE, 0)); // every base plus every class is in range
    let mut header = PolicyHeader { start: 0, ..PolicyHeader::default() };
    header.classes = words.len() as u32;
    for chunk in dfa.classes.as_chunks::<4>().0 {
        words.push(u32::from_le_bytes(*chunk));
    }
    debug_assert_eq!(words.len() as u32 - header.classes, CLASS_WORDS);
    header.states = words.len() as u32;
    header.states_len = dfa.rows.len() as u32;
    words.extend(states);
    header.comb = words.len() as u32;
    header.comb_len = comb.len() as u32;
    words.extend(comb.into_iter().flat_map(|(check, next)| [check, next]));
    debug_assert_eq!(words.len() as u32, header.comb + header.comb_len * COMB_WORDS);
    header
}
