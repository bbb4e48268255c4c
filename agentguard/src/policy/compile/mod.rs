//! From rules to the words that the kernel reads.

mod dfa;
mod intersection;
mod net;
mod pack;

use agentguard_common::net::{RANGE4_WORDS, RANGE6_WORDS};
use agentguard_common::policy::{ARENA_WORDS, PolicyHeader, flags};

use super::model::{Mode, Policy};

pub use intersection::{compile_chain, intersection};

/// Words left unused at the front, so that no table is at position 0, which means "none".
pub(crate) const RESERVED: usize = 16;
/// Largest compiled policy, in words: a quarter of the arena, which holds all policies.
const MAX_WORDS: usize = ARENA_WORDS as usize / 4;

/// Why a policy has no tables.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error("{document}:{line}: {message}")]
    Glob { document: String, line: u32, message: String },
    #[error(
        "the globs of the file rules have more than {0} bytes, with all alternatives; hint: split the policy"
    )]
    LongGlobs(usize),
    #[error(
        "the file rules need more than {0} states, too many for the kernel's tables; hint: fewer or shorter globs, \
         above all fewer that begin with `**/` or have several `*` or `?` in a component"
    )]
    TooManyStates(usize),
    #[error(
        "the file rules of the chain of policies together need more than {0} states, too many for the kernel's tables; \
         hint: a policy that repeats fewer globs of those above it, or fewer that begin with `**/`"
    )]
    TooManyPairs(usize),
    #[error("a chain without a policy")]
    EmptyChain,
    #[error("the network rules overlap too much; hint: fewer ports, or fewer rules for the same addresses")]
    Overlaps,
    #[error("the tables need {0} words or more, the limit is {MAX_WORDS}; hint: split the policy")]
    TooLarge(usize),
}

/// Tables of one policy, at base 0.
#[derive(Clone, Debug)]
pub struct Compiled {
    pub header: PolicyHeader,
    pub words: Vec<u32>,
}

impl Compiled {
    /// The header and words as they are when the tables begin at `base` of the arena.
    #[must_use]
    pub fn place(&self, base: u32) -> (PolicyHeader, Vec<u32>) {
        let mut header = PolicyHeader { words: self.words.len() as u32, ..self.header };
        for position in
            [&mut header.classes, &mut header.states, &mut header.comb, &mut header.net4, &mut header.net6]
        {
            *position += base;
        }
        let mut words = self.words.clone();
        let mut shift = |start: u32, len: u32, stride: u32| {
            for i in 0..len {
                let list = &mut words[(start + i * stride + stride - 1) as usize];
                if *list != 0 {
                    *list += base;
                }
            }
        };
        shift(self.header.net4, self.header.net4_len, RANGE4_WORDS);
        shift(self.header.net6, self.header.net6_len, RANGE6_WORDS);
        (header, words)
    }
}

/// Compiles a policy.
///
/// # Errors
/// When its tables would be too large.
pub fn compile(policy: &Policy) -> Result<Compiled, CompileError> {
    let mut words = vec![0; RESERVED];
    let dfa = dfa::build(&policy.files, &policy.tools)?;
    let mut header = pack::pack(&dfa, &mut words)?;
    net::append(&policy.network, &mut header, &mut words)?;
    header.privileges = policy.privileges;
    header.flags = if policy.mode == Mode::Audit { flags::AUDIT } else { 0 }
        | if policy.log_allowed { flags::LOG_ALLOWED } else { 0 }
        | if policy.tools.is_empty() { 0 } else { flags::TOOLS };
    if words.len() > MAX_WORDS {
        return Err(CompileError::TooLarge(words.len()));
    }
    Ok(Compiled { header, words })
}

#[cfg(test)]
mod tests;
