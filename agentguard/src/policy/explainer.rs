//! Explanations without parsing and trying all globs for each: what events are explained with.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use agentguard_common::file::Access;
use agentguard_common::net::NetFacts;

use super::explain::{answer, explain_net, of_chain};
use super::glob::{self, Glob};
use super::model::{ChainExplanation, Explanation, Policy};

/// A policy and its parsed globs. They are parsed when first needed: most policies never have to explain anything.
#[derive(Debug)]
pub struct Explainer {
    policy: Arc<Policy>,
    globs: OnceLock<Globs>,
}

/// The globs of all file rules, found by how a path begins: what a storm of denials costs must not grow with the rules.
#[derive(Debug)]
struct Globs {
    /// With the number of its rule, by its literal bytes. One that does not parse, which loading refuses, matches nothing.
    by_prefix: HashMap<Box<[u8]>, Vec<(usize, Glob)>>,
    /// The lengths of those, ascending.
    lengths: Box<[usize]>,
}

impl Globs {
    fn of(policy: &Policy) -> Self {
        let mut by_prefix: HashMap<Box<[u8]>, Vec<(usize, Glob)>> = HashMap::new();
        for (number, rule) in policy.files.iter().enumerate() {
            for glob in glob::parse(&rule.glob).unwrap_or_default() {
                by_prefix.entry(glob.literal_bytes().into()).or_default().push((number, glob));
            }
        }
        let mut lengths: Vec<usize> = by_prefix.keys().map(|prefix| prefix.len()).collect();
        lengths.sort_unstable();
        lengths.dedup();
        Self { by_prefix, lengths: lengths.into() }
    }

    /// The numbers of the rules that match, in order.
    fn matching(&self, path: &[u8]) -> Vec<usize> {
        let prefixes = self.lengths.iter().filter_map(|len| path.get(..*len));
        let near = prefixes.filter_map(|prefix| self.by_prefix.get(prefix)).flatten();
        let mut rules: Vec<_> = near.filter(|(_, glob)| glob.matches(path)).map(|(rule, _)| *rule).collect();
        rules.sort_unstable();
        rules.dedup();
        rules
    }
}

impl Explainer {
    #[must_use]
    pub const fn new(policy: Arc<Policy>) -> Self {
        Self { policy, globs: OnceLock::new() }
    }

    #[must_use]
    pub const fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// As [`super::explain_file`].
    #[must_use]
    pub fn explain_file(&self, path: &[u8], want: Access) -> Explanation<'_> {
        let globs = self.globs.get_or_init(|| Globs::of(&self.policy));
        let matching: Vec<_> =
            globs.matching(path).into_iter().filter_map(|rule| self.policy.files.get(rule)).collect();
        answer(&matching, want)
    }

    /// As [`super::explain_net`].
    #[must_use]
    pub fn explain_net(&self, facts: &NetFacts) -> Explanation<'_> {
        explain_net(&self.policy, facts)
    }
}

/// The policies that an invocation is under, from the top of its delegation to its own.
#[derive(Clone, Debug, Default)]
pub struct Chain(pub Vec<Arc<Explainer>>);

impl Chain {
    /// As [`super::explain_file_chain`].
    #[must_use]
    pub fn explain_file(&self, path: &[u8], want: Access) -> ChainExplanation<'_> {
        of_chain(self.0.iter().map(|policy| policy.explain_file(path, want)))
    }

    /// As [`super::explain_net_chain`].
    #[must_use]
    pub fn explain_net(&self, facts: &NetFacts) -> ChainExplanation<'_> {
        of_chain(self.0.iter().map(|policy| policy.explain_net(facts)))
    }
}
