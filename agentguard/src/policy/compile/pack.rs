//! Row displacement: each row is a default target and its exceptions, laid into a shared comb.

use agentguard_common::file::{CLASS_WORDS, COMB_WORDS, STATE_WORDS};
use agentguard_common::policy::PolicyHeader;

use super::dfa::Dfa;
use super::{CompileError, MAX_WORDS};

/// The state of a comb entry that is nobody's.
pub(super) const FREE: u32 = u32::MAX;
/// How far back from the end of the comb a place is looked for.
const LOOK_BACK: usize = 1 << 14;

/// Finds where a row's exceptions fit.
fn fit(comb: &[(u32, u32)], exceptions: &[(u8, u32)], from: usize) -> usize {
    let Some(&(first, _)) = exceptions.first() else { return 0 };
    let free = |at: usize| comb.get(at).is_none_or(|e| e.0 == FREE);
    let mut base = from.saturating_sub(usize::from(first));
    while !exceptions.iter().all(|(class, _)| free(base + usize::from(*class))) {
        base += 1;
    }
    base
}

/// Appends the tables of `dfa` to `words`.
///
/// # Errors
/// When they would be too large.
pub(super) fn pack(dfa: &Dfa, words: &mut Vec<u32>) -> Result<PolicyHeader, CompileError> {
    let mut comb: Vec<(u32, u32)> = Vec::new();
    let mut states = Vec::with_capacity(dfa.rows.len() * STATE_WORDS as usize);
    let mut first_free = 0;
    for (id, row) in dfa.rows.iter().enumerate() {
        first_free = first_free.max(comb.len().saturating_sub(LOOK_BACK));
        while comb.get(first_free).is_some_and(|e| e.0 != FREE) {
            first_free += 1;
        }
        let base = fit(&comb, &row.exceptions, first_free);
        for &(class, next) in &row.exceptions {
            let at = base + usize::from(class);
            if comb.len() <= at {
                comb.resize(at + 1, (FREE, 0));
            }
            comb[at] = (id as u32, next);
        }
        states.extend([base as u32, row.default, row.verdict.0, row.tool]);
        let size = states.len() + comb.len() * COMB_WORDS as usize;
        if size > MAX_WORDS {
            return Err(CompileError::TooLarge(size));
        }
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
    Ok(header)
}
