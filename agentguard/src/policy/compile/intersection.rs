//! The intersection of a chain of compiled policies: tables that decide as the strictest of them.
//!
//! Made from tables, not from rules, so a step of a delegation costs one product with what stands above it already.

mod files;
mod network;

use agentguard_common::policy::flags;

use super::{CompileError, Compiled, MAX_WORDS, RESERVED, compile, pack};
use crate::policy::model::Policy;

/// The tables of a chain of policies, from the top (whoever delegates first) to the innermost.
///
/// What one of them denies, by a rule or for want of one, is denied; else what one of them asks about is asked about.
/// A privilege or a socket family is granted if all grant it. Nothing is enforced only if none enforces; allowed
/// operations are recorded if one wants that. Tools are those of the innermost policy.
///
/// # Errors
/// When the tables would be too large or take too long to make, or the chain is empty.
pub fn intersection(chain: &[&Compiled]) -> Result<Compiled, CompileError> {
    let (top, below) = chain.split_first().ok_or(CompileError::EmptyChain)?;
    below.iter().try_fold((*top).clone(), |above, below| pair(&above, below))
}

/// Compiles each policy of a chain and then their [`intersection`].
///
/// # Errors
/// When the tables of one, or of all, would be too large, or the chain is empty.
pub fn compile_chain(chain: &[&Policy]) -> Result<Compiled, CompileError> {
    let (top, below) = chain.split_first().ok_or(CompileError::EmptyChain)?;
    below.iter().try_fold(compile(top)?, |above, below| pair(&above, &compile(below)?))
}

fn pair(above: &Compiled, below: &Compiled) -> Result<Compiled, CompileError> {
    let mut words = vec![0; RESERVED];
    let mut header = pack::pack(&files::product(above, below)?, &mut words)?;
    network::append(above, below, &mut header, &mut words)?;
    let (a, b) = (&above.header, &below.header);
    header.privileges = a.privileges & b.privileges;
    header.families_low = a.families_low & b.families_low;
    header.families_high = a.families_high & b.families_high;
    header.flags = (a.flags & b.flags & flags::AUDIT)
        | ((a.flags | b.flags) & flags::LOG_ALLOWED)
        | (b.flags & flags::TOOLS);
    if words.len() > MAX_WORDS {
        return Err(CompileError::TooLarge(words.len()));
    }
    Ok(Compiled { header, words })
}
