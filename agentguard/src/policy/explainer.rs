//! Explanations without parsing globs for each: what events are explained with.

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
    /// Of each file rule, in order. A glob that does not parse, which loading refuses, matches nothing.
    globs: OnceLock<Box<[Vec<Glob>]>>,
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
        let parse = |rule: &super::model::FileRule| glob::parse(&rule.glob).unwrap_or_default();
        let globs = self.globs.get_or_init(|| self.policy.files.iter().map(parse).collect());
        let rules = self.policy.files.iter().zip(globs);
        let matching: Vec<_> =
            rules.filter(|(_, globs)| globs.iter().any(|g| g.matches(path))).map(|(rule, _)| rule).collect();
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
