//! The identities of an invocation's tools: issued with it, entered at exec, over with it.

use std::sync::Arc;

use agentguard_common::invocation::{Tag, ToolKey};
use anyhow::{Context as _, Result};

use super::Daemon;
use super::catalogue::{self, Chain};
use super::news::Untold;
use super::registry::{Facts, Invocation, Registry};
use super::start::New;
use crate::kernel::{Kernel, Level};
use crate::policy::Explainer;
use crate::policy::model::Policy;

/// A tool's identity that is about to be issued.
pub(super) struct ToolDraft {
    name: String,
    chain: Chain,
    tables: u32,
}

/// The policy of tool `name` of `policy`; of one that is no longer there, a policy that allows nothing.
pub(super) fn policy_of(policy: &Policy, name: &str) -> Arc<Explainer> {
    let tool = policy.tools.iter().find(|tool| tool.name == name);
    let own =
        tool.map_or_else(|| policy.nothing(&format!("{}/{name}", policy.name)), |tool| tool.policy.clone());
    Arc::new(Explainer::new(Arc::new(own)))
}

impl Daemon {
    /// Tables for the tools of the last policy of `chain`, except for those in `but`. None at level `compat`, which can't
    /// switch and says so when the run starts.
    pub(super) fn draft_tools(&self, chain: &Chain, but: &[String]) -> Result<Vec<ToolDraft>> {
        let Some(own) = chain.0.last().filter(|_| self.level == Level::Lsm) else { return Ok(Vec::new()) };
        let mut drafts = Vec::new();
        for tool in own.policy().tools.iter().filter(|tool| !but.contains(&tool.name)) {
            let chain = catalogue::chain(Some(chain), policy_of(own.policy(), &tool.name));
            match self.tables(&chain) {
                Ok(tables) => drafts.push(ToolDraft { name: tool.name.clone(), chain, tables }),
                Err(e) => {
                    self.discard_tools(&drafts);
                    return Err(e).with_context(|| format!("tool {}", tool.name));
                }
            }
        }
        Ok(drafts)
    }

    /// Gives the tables of drafts back that are not issued.
    pub(super) fn discard_tools(&self, drafts: &[ToolDraft]) {
        drafts.iter().for_each(|draft| self.release_tables(draft.tables));
    }

    /// Issues the identities of tools below `parent`. Their tables are theirs from then on.
    pub(super) fn issue_tools(
        &self,
        kernel: &Kernel,
        registry: &mut Registry,
        parent: &Invocation,
        drafts: &[ToolDraft],
        untold: &mut Vec<Untold>,
    ) -> Result<()> {
        for ToolDraft { name, chain, tables } in drafts {
            let mut delegation = parent.facts.delegation.clone();
            delegation.push(parent.step());
            let facts = Facts {
                agent: name.clone(),
                tool: Some(name.clone()),
                parent: Some(parent.id),
                delegation,
                cgroup: None,
                started_ns: crate::clock::boot_ns(),
                ..parent.facts.clone()
            };
            let (chain, tables, parent) = (chain.clone(), *tables, Some(parent.tag));
            let detail = Some(("tool", true.into()));
            let new = New { facts, chain, tables, parent, tasks: 0, detail };
            self.begin(kernel, registry, new, untold)?;
        }
        Ok(())
    }

    /// Tells the kernel which identities the tools of `invocation` have under the tables at `index`.
    pub(super) fn name_tools(
        kernel: &mut Kernel,
        registry: &Registry,
        invocation: &Invocation,
        (chain, index): (&Chain, u32),
    ) -> Result<()> {
        let Some(own) = chain.0.last() else { return Ok(()) };
        for (number, tool) in (1..).zip(&own.policy().tools) {
            let children = registry.children(invocation.id);
            let identity = children.into_iter().find(|i| i.facts.tool.as_deref() == Some(tool.name.as_str()));
            if let Some(identity) = identity {
                kernel.set_tool(Self::tool_key(kernel, invocation.tag, index, number), identity.tag)?;
            }
        }
        Ok(())
    }

    fn tool_key(kernel: &Kernel, tag: Tag, index: u32, tool: u32) -> ToolKey {
        ToolKey { slot: tag.slot, policy_generation: kernel.generation_of(index).unwrap_or(0), tool }
    }

    /// Makes the kernel forget the tools of `invocation` under the tables that it has now.
    pub(super) fn forget_tools(kernel: &mut Kernel, tag: Tag, (chain, index): (&Chain, u32)) {
        let tools = chain.0.last().map_or(0, |own| own.policy().tools.len() as u32);
        for number in 1..=tools {
            if let Err(e) = kernel.remove_tool(Self::tool_key(kernel, tag, index, number)) {
                tracing::error!("{e:#}");
            }
        }
    }
}
