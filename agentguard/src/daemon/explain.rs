//! Would this be allowed to that invocation? Decided by the tables in force, explained by the rules they were made of.

use anyhow::{Context as _, Result, bail};

use super::Daemon;
use super::api::{Explain, Explained};
use crate::policy::judge::{self, Request};

impl Daemon {
    /// Answers by the tables of the invocation as the kernel has them now.
    pub(super) fn explain(&self, request: &Explain) -> Result<Explained> {
        let Explain { invocation, operation, object, protocol } = request;
        let operations: Vec<_> = operation.split(',').map(str::trim).collect();
        let question = Request::parse(&operations, object, protocol.as_deref())?;
        let kernel = self.kernel();
        let registry = self.registry();
        let found = invocation.parse().ok().and_then(|id| registry.by_id(id));
        let found = found.with_context(|| format!("no invocation {invocation}; hint: agentguard ps"))?;
        let (tag, chain, state) = (found.tag, found.chain.clone(), found.state);
        drop(registry);
        let slot = kernel.invocation(tag.slot);
        let Some(header) = kernel.header(slot.policy) else {
            bail!("the invocation is over ({})", state.name())
        };
        let answer = judge::answer(&chain, &kernel.words(), &header, &question)?;
        let barred = slot.barred(tag, crate::clock::boot_ns());
        Ok(Explained {
            decision: barred.map_or(answer.decision, |_| "deny").into(),
            reason: match (barred, &answer.rule) {
                (Some(reason), _) => reason.name(),
                (None, Some(_)) => "rule",
                (None, None) => "no-rule",
            }
            .into(),
            policy: answer.policy,
            rule: answer.text,
            document: answer.rule.as_ref().map(|rule| rule.document.clone()),
            line: answer.rule.as_ref().map(|rule| rule.line),
            audit: answer.audit,
            tool: answer.tool,
        })
    }
}
