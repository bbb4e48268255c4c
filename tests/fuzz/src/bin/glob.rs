//! Rules and paths, separated by NUL: the tables must decide as the rules read. The first byte of each says what it
//! is: of its lowest bits, 0 to 2 are the effect of a rule and 3 is a path; the rest are the accesses of the rule.

#![no_main]

use agentguard::policy::compile::compile;
use agentguard::policy::model::Effect;
use agentguard_common::file::Access;
use agentguard_fuzz::{check_decisions, policy, rule};
use libfuzzer_sys::{Corpus, fuzz_target};

/// Of the characters that multiply states. What more of them cost is bounded by the compiler, as its own tests check;
/// here they would only make every input slow.
const MAX_WILD: usize = 12;

/// Access modes of a rule by what is left of its first byte, so that most rules are about all of them.
fn access(kind: u8) -> Access {
    match kind >> 2 {
        mode @ 0..7 => Access(1 << mode),
        7 => Access(0x2a),
        _ => Access::ALL,
    }
}

fuzz_target!(|input: &[u8]| -> Corpus {
    if input.iter().filter(|byte| b"*?[{,".contains(byte)).count() > MAX_WILD {
        return Corpus::Reject;
    }
    let (mut rules, mut paths) = (Vec::new(), Vec::new());
    for part in input.split(|byte| *byte == 0) {
        let Some((kind, text)) = part.split_first() else { continue };
        let effect = match kind & 3 {
            0 => Effect::Allow,
            1 => Effect::Ask,
            2 => Effect::Deny,
            _ => {
                paths.push(text);
                continue;
            }
        };
        rules.push(rule(effect, &String::from_utf8_lossy(text), access(*kind)));
    }
    let policy = policy(rules);
    if let Ok(compiled) = compile(&policy) {
        check_decisions(&[&policy], &compiled, paths);
    }
    Corpus::Keep
});
