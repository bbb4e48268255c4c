//! What the fuzz targets share: policies without a document, and the decisions that must agree.

use agentguard::policy::compile::Compiled;
use agentguard::policy::explain_file_chain;
use agentguard::policy::model::{Effect, Environment, FileRule, Mode, Policy, RuleSource};
use agentguard_common::file::{Access, decide, walk};
use agentguard_common::verdict::Decision;

/// Where the tables begin in the arena, as if other policies were before them.
const BASE: u32 = 64;

/// A rule that allows, asks or denies everything that `glob` matches.
#[must_use]
pub fn rule(effect: Effect, glob: &str, access: Access) -> FileRule {
    let source = RuleSource { document: "fuzz".into(), line: 1, reason: None };
    FileRule { effect, glob: glob.to_owned(), access, source }
}

/// A policy of these file rules alone.
#[must_use]
pub fn policy(files: Vec<FileRule>) -> Policy {
    Policy {
        name: "fuzz".into(),
        digest: String::new(),
        mode: Mode::Enforce,
        ttl: None,
        max_ttl: None,
        subjects: None,
        log_allowed: false,
        files,
        network: Vec::new(),
        environment: Environment::default(),
        privileges: 0,
        tools: Vec::new(),
    }
}

/// Panics where the tables decide otherwise than the rules of the policies in the chain read.
pub fn check_decisions<'p>(
    chain: &[&Policy],
    compiled: &Compiled,
    paths: impl IntoIterator<Item = &'p [u8]>,
) {
    let (header, words) = compiled.place(BASE);
    let mut arena = vec![u32::MAX; BASE as usize];
    arena.extend(words);
    for path in paths {
        let verdict = walk(&arena[..], &header, path);
        for want in Access::NAMED.map(|(_, mode)| mode).into_iter().chain([Access::ALL]) {
            let expected = match explain_file_chain(chain, path, want).explanation.effect {
                Effect::Allow => Decision::Allow,
                Effect::Ask => Decision::Ask,
                Effect::Deny => Decision::Deny,
            };
            assert_eq!(decide(verdict, want).decision, expected, "{:?} of {want:?}", path.escape_ascii());
        }
    }
}
