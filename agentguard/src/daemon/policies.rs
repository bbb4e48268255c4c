//! Named policies, by version: push, history, rollback, and the switch of what runs under them.

use std::collections::HashMap;
use std::sync::Arc;

use agentguard_common::invocation::flags;
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;
use uuid::Uuid;

use super::api::{Problem, Pushed, VersionListed};
use super::catalogue::{self, Chain};
use super::news::Untold;
use super::registry::{Invocation, Source, State};
use super::start::problem;
use super::store::{News, Store, Version};
use super::tools::{ToolDraft, policy_of};
use super::{Daemon, lines};
use crate::event::record::{Record, Whose};
use crate::kernel::Level;
use crate::policy::model::Policy;
use crate::policy::{self, Explainer, Variables};

/// Rounds of looking for invocations that started under the old version meanwhile.
const ROUNDS: usize = 16;

/// An invocation before and after a switch.
struct Switch {
    id: Uuid,
    before: Chain,
    after: Chain,
    /// Where the new version of its own policy is from, if it is that which changed.
    source: Option<Arc<Source>>,
    tables: u32,
    /// Tools that it gets with the new version.
    tools: Vec<ToolDraft>,
}

/// The values of variables with which a document is checked before anything runs under it.
fn anybody() -> Variables {
    let home = "/home/anybody".to_owned();
    Variables {
        workspace: format!("{home}/work"),
        home,
        user: "anybody".into(),
        uid: 65_534,
        tmp: "/tmp".into(),
    }
}

impl From<Version> for VersionListed {
    fn from(version: Version) -> Self {
        let Version { name, version, digest, document: _, pushed, pushed_by } = version;
        Self { name, version, digest, pushed, pushed_by }
    }
}

impl Daemon {
    /// Makes `document` the newest version of the policy that it names, for whoever starts and for whoever runs.
    ///
    /// # Errors
    /// When it is no policy, or the tables of something that runs can't be made of it. Nothing has changed then.
    pub(super) fn push(self: &Arc<Self>, file: &str, document: &str, uid: u32) -> Result<Pushed, Problem> {
        let fail = |e: anyhow::Error| problem(format!("{e:#}"), None);
        let _alone = super::lock(&self.pushing);
        let draft =
            Source { name: file.into(), document: document.into(), variables: anybody(), version: None };
        let policy = self.read_policy(&draft)?;
        if let Some(subjects) = &policy.subjects {
            subjects.check(file, &policy::subjects::Host).map_err(|e| problem(e.to_string(), None))?;
        }
        policy::compile::compile(&policy).map_err(|e| problem(format!("{e}"), None))?;
        // What runs is tried before anything is changed.
        let plan = self.plan(&policy.name, document, None).map_err(fail)?;
        plan.iter().for_each(|switch| self.discard(switch));
        if let Some(newest) = self.store.newest(&policy.name).map_err(fail)?
            && newest.document == document
        {
            let (switched, partial) = self.switch_all(&newest).map_err(fail)?;
            return Ok(pushed(newest, switched, partial));
        }
        let new = (policy.name.as_str(), policy.digest.as_str(), document);
        let pushed_now = self.store.push(new, uid, |version| self.news_of(version));
        let (version, news, id) = pushed_now.map_err(fail)?;
        self.told(Untold { lines: news.lines, id: Some(id) });
        self.forget_told(); // perhaps nothing else happens for long
        let (switched, partial) = self.switch_all(&version).map_err(fail)?;
        Ok(pushed(version, switched, partial))
    }

    /// What is recorded of a new version.
    fn news_of(&self, version: &Version) -> News {
        let whose = Whose {
            policy: version.name.clone(),
            policy_digest: version.digest.clone(),
            level: self.level.name().into(),
            ..Whose::default()
        };
        let mut record = Record { whose, ..Record::default() };
        record.what.detail.insert("version", json!(version.version));
        record.what.detail.insert("uid", json!(version.pushed_by));
        self.news(lines([record], "push"))
    }

    /// Pushes an earlier version again: the one with this number, or the one before the newest.
    pub(super) fn rollback(
        self: &Arc<Self>,
        name: &str,
        to: Option<i64>,
        uid: u32,
    ) -> Result<Pushed, Problem> {
        let history = self.history(name).map_err(|e| problem(format!("{e:#}"), None))?;
        let newest = &history[0];
        let wanted = match to {
            Some(number) => history.iter().find(|v| v.version == number),
            None => history.iter().find(|v| v.digest != newest.digest),
        };
        let Some(wanted) = wanted else {
            return Err(problem(
                format!("{name} has no {}", to.map_or("earlier version".into(), |n| format!("version {n}"))),
                Some("agentguard policy history"),
            ));
        };
        self.push(&format!("{name} version {}", wanted.version), &wanted.document, uid)
    }

    /// All versions of a policy, newest first.
    pub(super) fn history(&self, name: &str) -> Result<Vec<Version>> {
        let history = self.store.history(name)?;
        ensure!(!history.is_empty(), "no policy {name:?} was pushed; hint: agentguard policy list");
        Ok(history)
    }

    /// Completes pushes that an earlier daemon had stored but not carried out.
    pub(super) fn finish_pushes(self: &Arc<Self>) -> Result<()> {
        let _alone = super::lock(&self.pushing);
        for version in self.store.policies()? {
            self.switch_all(&version)?;
        }
        Ok(())
    }

    /// Switches all that runs under a policy to `version`, each in one store. Returns those switched, and among them those
    /// of which the level can't change everything.
    fn switch_all(self: &Arc<Self>, version: &Version) -> Result<(Vec<Uuid>, Vec<Uuid>)> {
        let (mut switched, mut partial) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let plan = self.plan(&version.name, &version.document, Some(version.version))?;
            if plan.is_empty() {
                switched.sort_unstable();
                switched.dedup();
                return Ok((switched, partial));
            }
            for switch in plan {
                match self.switch(&switch)? {
                    Some(whole) => {
                        switched.push(switch.id);
                        partial.extend((!whole).then_some(switch.id));
                    }
                    None => self.discard(&switch),
                }
            }
        }
        bail!(
            "invocations change too fast for {} to take effect everywhere; hint: push it again",
            version.name
        )
    }

    /// What has to be switched for `document` to be in force under `name`, with tables made: whoever handed on first.
    fn plan(&self, name: &str, document: &str, version: Option<i64>) -> Result<Vec<Switch>> {
        let affected: Vec<Invocation> = {
            let registry = self.registry();
            let own = |i: &&Invocation| i.policy().name == name;
            let mut roots: Vec<Uuid> = registry.live().filter(own).map(|i| i.id).collect();
            roots.sort_unstable();
            let mut all = registry.with_descendants(roots);
            all.sort_unstable(); // in order of time: parents first
            all.iter()
                .filter_map(|id| registry.by_id(*id))
                .filter(|i| i.state == State::Active)
                .cloned()
                .collect()
        };
        let mut changed: HashMap<Uuid, Chain> = HashMap::new();
        let mut read: HashMap<String, Arc<Explainer>> = HashMap::new();
        let mut out = Vec::new();
        for invocation in affected {
            let facts = &invocation.facts;
            let mut source = None;
            let mut own = invocation.chain.0[invocation.chain.0.len() - 1].clone();
            if let Some(tool) = &facts.tool {
                if let Some(parent) = facts.parent.and_then(|parent| changed.get(&parent)) {
                    own = parent.0.last().map_or(own, |parent| policy_of(parent.policy(), tool));
                }
            } else if own.policy().name == name && facts.source.document != document {
                let variables = facts.source.variables.clone();
                let new = Source { name: name.into(), document: document.into(), variables, version };
                let key = serde_json::to_string(&new.variables)?;
                own = match read.get(&key) {
                    Some(own) => own.clone(),
                    None => {
                        let policy = self.read_policy(&new).map_err(|p| anyhow::anyhow!(p.error))?;
                        read.entry(key).or_insert(Arc::new(Explainer::new(Arc::new(policy)))).clone()
                    }
                };
                source = Some(Arc::new(new));
            }
            let above = match facts.parent.and_then(|parent| changed.get(&parent)) {
                Some(chain) => chain.0.clone(),
                None => invocation.chain.0[..invocation.chain.0.len() - 1].to_vec(),
            };
            let after = catalogue::chain(Some(&policy::Chain(above)), own);
            if after.0.iter().zip(&invocation.chain.0).all(|(a, b)| Arc::ptr_eq(a, b)) {
                continue;
            }
            let context = || format!("tables for invocation {}", invocation.id);
            let tables = self.tables(&after).with_context(context)?;
            let known: Vec<_> = self.tools_of(invocation.id);
            let tools = self.draft_tools(&after, &known)?;
            changed.insert(invocation.id, after.clone());
            out.push(Switch {
                id: invocation.id,
                before: invocation.chain.clone(),
                after,
                source,
                tables,
                tools,
            });
        }
        Ok(out)
    }

    /// Gives back what a switch would have used.
    fn discard(&self, switch: &Switch) {
        self.release_tables(switch.tables);
        self.discard_tools(&switch.tools);
    }

    /// The tools that an invocation has identities for.
    fn tools_of(&self, id: Uuid) -> Vec<String> {
        self.registry().children(id).iter().filter_map(|child| child.facts.tool.clone()).collect()
    }

    /// Carries one switch out. `None` when the invocation is no longer what the switch was made from; otherwise whether
    /// everything changed that the policy says.
    fn switch(&self, switch: &Switch) -> Result<Option<bool>> {
        let _alone = super::lock(&self.changing);
        let mut kernel = self.kernel();
        let mut registry = self.registry();
        let tag = registry.by_id(switch.id).filter(|i| Arc::ptr_eq(&i.chain, &switch.before)).map(|i| i.tag);
        let Some(before) =
            tag.and_then(|tag| registry.get(tag)).filter(|i| i.state == State::Active).cloned()
        else {
            return Ok(None);
        };
        let mut untold = Vec::new();
        let issued = self.issue_tools(&kernel, &mut registry, &before, &switch.tools, &mut untold);
        let named = issued
            .and_then(|()| Self::name_tools(&mut kernel, &registry, &before, (&switch.after, switch.tables)));
        if let Err(e) = named {
            drop((registry, kernel));
            untold.into_iter().for_each(|untold| self.told(untold));
            return Err(e);
        }
        let Some(invocation) = registry.get_mut(before.tag) else { return Ok(None) };
        kernel.set_policy(invocation.tag.slot, switch.tables);
        let (old, slot) = (invocation.tables, invocation.tag.slot);
        let whole = self.level == Level::Lsm
            || switch
                .before
                .0
                .iter()
                .zip(&switch.after.0)
                .all(|(a, b)| same_for_landlock(a.policy(), b.policy()));
        (invocation.chain, invocation.tables) = (switch.after.clone(), switch.tables);
        if let Some(source) = switch.source.clone() {
            invocation.facts.source = source;
        }
        if !whole {
            invocation.facts.degraded = true; // Landlock's rules can't be changed
            kernel.add_flags(slot, flags::DEGRADED);
        }
        let facts = serde_json::to_string(&invocation.facts)?;
        let mut record = invocation.record();
        if !whole {
            record.what.detail.insert("not_changed", json!(["files", "exec", "privileges"]));
        }
        drop(registry);
        Self::forget_tools(&mut kernel, before.tag, (&switch.before, old));
        drop(kernel);
        let change = |store: &Store, news: &News| store.change_facts(switch.id, &facts, news);
        let (policy, kept) = self.keep_anyway(lines([record], "policy"), change);
        [policy].into_iter().chain(untold).for_each(|untold| self.told(untold));
        self.release_tables(old);
        kept.map(|()| Some(whole))
    }
}

/// Whether what Landlock and dropped capabilities enforce is the same under both.
fn same_for_landlock(a: &Policy, b: &Policy) -> bool {
    a.files == b.files && a.privileges == b.privileges
}

fn pushed(version: Version, switched: Vec<Uuid>, partial: Vec<Uuid>) -> Pushed {
    let names = |ids: Vec<Uuid>| ids.iter().map(Uuid::to_string).collect();
    Pushed { version: version.into(), switched: names(switched), partial: names(partial) }
}
