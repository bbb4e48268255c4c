//! Starting an invocation: the caller's own process gets its identity.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use agentguard_common::invocation::{self as wire, Tag, flags};
use anyhow::{Context as _, Result, bail, ensure};

use super::api::{Problem, Start, Started};
use super::attach::Target;
use super::catalogue::{self, Chain};
use super::news::Untold;
use super::owner::Owner;
use super::registry::{Facts, Invocation, Registry, Source, State};
use super::store::Kept;
use super::tools::ToolDraft;
use super::{Daemon, lines};
use crate::kernel::{Kernel, Level};
use crate::launch::landlock;
use crate::policy::model::Policy;
use crate::policy::{self, Explainer};

/// Longest chain of delegation, the first invocation included.
const MAX_CHAIN: usize = 16;
/// Attempts to start below a parent whose policy changes meanwhile.
const ATTEMPTS: usize = 8;
/// Longest name of an agent, principal, task or purpose, in bytes.
const MAX_TEXT: usize = 1024;

/// Who is calling, from the socket.
pub(super) struct Caller {
    pub(super) pidfd: OwnedFd,
    pub(super) pid: u32,
    pub(super) uid: u32,
    /// All groups, the primary one too.
    pub(super) groups: Vec<u32>,
    /// May act for anybody.
    pub(super) operator: bool,
}

pub(super) fn problem(error: impl Into<String>, hint: Option<&str>) -> Problem {
    Problem { error: error.into(), hint: hint.map(str::to_owned), rules: Vec::new() }
}

/// What a parent hands on.
struct Parent {
    tag: Tag,
    chain: Chain,
    facts: Facts,
    id: uuid::Uuid,
    step: crate::event::record::Step,
}

/// An invocation about to begin.
struct Draft {
    facts: Facts,
    chain: Chain,
    tables: u32,
    tools: Vec<ToolDraft>,
}

impl Daemon {
    /// Starts an invocation for `caller`.
    ///
    /// # Errors
    /// Says what is wrong with the request; nothing was tagged then.
    pub(super) fn start(self: &Arc<Self>, start: &Start, caller: &Caller) -> Result<Started, Problem> {
        self.start_for(start, caller, &Target::Caller).map(|(started, _)| started)
    }

    /// Starts an invocation for `target`, as `caller` asks. Also returns how many tasks have its identity.
    pub(super) fn start_for(
        self: &Arc<Self>,
        start: &Start,
        caller: &Caller,
        target: &Target,
    ) -> Result<(Started, u64), Problem> {
        let fail = |e: anyhow::Error| problem(format!("{e:#}"), None);
        for (what, text) in [("agent", &start.agent), ("task", &start.task), ("purpose", &start.purpose)] {
            if text.len() > MAX_TEXT || text.chars().any(char::is_control) {
                return Err(problem(
                    format!("{what}: at most {MAX_TEXT} bytes, none of them control characters"),
                    None,
                ));
            }
        }
        if let Some(level) = start.level.filter(|l| *l != self.level) {
            let why = self.why.as_deref().unwrap_or("the daemon was started so");
            return Err(problem(format!("level {} is not in force: {why}", level.name()), None));
        }
        for _ in 0..ATTEMPTS {
            let source = self.source(start).map_err(fail)?;
            let own = self.read_policy(&source)?;
            let degraded = match target {
                Target::Caller => self.degraded(&own, start.allow_degraded)?,
                _ => self.level == Level::Compat, // which was accepted
            };
            if let Some(subjects) = &own.subjects {
                let gids = &caller.groups;
                subjects
                    .may_start(caller.uid, gids, &policy::subjects::Host)
                    .map_err(|e| problem(e.to_string(), None))?;
            }
            let own = Arc::new(Explainer::new(Arc::new(own)));
            let parent = self.parent(caller).map_err(fail)?;
            let principal = principal(start, caller, parent.as_ref()).map_err(fail)?;
            let draft = self
                .draft(start, (caller, target), (&own, &source), parent.as_ref(), principal, degraded)
                .map_err(fail)?;
            let issued = self.issue(&draft, (caller, target), parent.as_ref());
            if !matches!(issued, Ok(Some(_))) {
                self.release_tables(draft.tables);
                self.discard_tools(&draft.tools);
            }
            if let Some((started, tasks)) = issued.map_err(fail)? {
                return Ok((started, tasks.map_err(fail)?));
            } // what it was made from has changed: again
        }
        Err(problem("the policy changes too often", Some("try again")))
    }

    /// The policy document of a request: its own, the one that was pushed under its name, or a shipped one.
    fn source(&self, start: &Start) -> Result<Arc<Source>> {
        let (document, version) = if let Some(document) = &start.policy {
            (document.clone(), None)
        } else if let Some(pushed) = self.store.newest(&start.policy_name)? {
            (pushed.document, Some(pushed.version))
        } else if let Some(shipped) = policy::builtin(&start.policy_name) {
            (shipped.to_owned(), None)
        } else {
            let shipped = policy::builtin_names().join(", ");
            bail!(
                "no policy is called {:?}; hint: push one, name a file, or take a shipped one: {shipped}",
                start.policy_name
            )
        };
        let variables = start.variables.clone();
        Ok(Arc::new(Source { name: start.policy_name.clone(), document, variables, version }))
    }

    /// Reads a policy, with the rules that every policy gets.
    pub(super) fn read_policy(&self, source: &Source) -> Result<Policy, Problem> {
        let mut policy = policy::load(&source.name, &source.document, &source.variables)
            .map_err(|e| problem(format!("{e}"), None))?;
        policy.files.extend(self.guard.iter().cloned());
        for tool in &mut policy.tools {
            tool.policy.files.extend(self.guard.iter().cloned());
        }
        Ok(policy)
    }

    /// Whether this level can't enforce the whole policy; refused unless the caller accepts that.
    fn degraded(&self, policy: &Policy, accepted: bool) -> Result<bool, Problem> {
        if self.level == Level::Lsm {
            return Ok(false);
        }
        let plan = landlock::plan(policy);
        if plan.unenforceable.is_empty() || accepted {
            return Ok(!plan.unenforceable.is_empty());
        }
        let rules = plan
            .unenforceable
            .iter()
            .map(|u| format!("{}:{}: {}: {}", u.rule.document, u.rule.line, u.text, u.why))
            .collect();
        Err(Problem {
            error: "level compat cannot enforce this policy in full".into(),
            hint: Some("--allow-degraded runs it all the same and marks every event".into()),
            rules,
        })
    }

    /// The invocation that the caller runs as already, if it does.
    fn parent(&self, caller: &Caller) -> Result<Option<Parent>> {
        let Some(tag) = self.kernel().tag_of(caller.pidfd.as_fd()) else { return Ok(None) };
        let registry = self.registry();
        let parent = registry.get(tag).filter(|i| i.state == State::Active);
        let parent = parent.context("the caller's own invocation is over: it has nothing to hand on")?;
        ensure!(
            parent.chain.0.len() < MAX_CHAIN,
            "authority was handed on {MAX_CHAIN} times already, the most there is"
        );
        Ok(Some(Parent {
            tag,
            chain: parent.chain.clone(),
            facts: parent.facts.clone(),
            id: parent.id,
            step: parent.step(),
        }))
    }

    fn draft(
        &self,
        start: &Start,
        (caller, target): (&Caller, &Target),
        (own, source): (&Arc<Explainer>, &Arc<Source>),
        parent: Option<&Parent>,
        principal: String,
        degraded: bool,
    ) -> Result<Draft> {
        let chain = catalogue::chain(parent.map(|parent| &*parent.chain), own.clone());
        let (asked, most) = (start.ttl_s.map(Duration::from_secs), own.policy().ttl);
        let ttl = match (asked, most) {
            (Some(asked), Some(most)) => Some(asked.min(most)),
            (asked, most) => asked.or(most),
        };
        let now = crate::clock::boot_ns();
        let after = |ttl: Option<Duration>| {
            let ns = ttl.map(|ttl| u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX));
            ns.map_or(u64::MAX, |ns| now.saturating_add(ns))
                .min(parent.map_or(u64::MAX, |p| p.facts.expires_ns))
        };
        let delegation = parent.map(|parent| {
            let mut steps = parent.facts.delegation.clone();
            steps.push(parent.step.clone());
            steps
        });
        let facts = Facts {
            agent: start.agent.clone(),
            owner: Owner::of(target.process(caller), &principal),
            principal,
            task: if start.task.is_empty() {
                parent.map_or_else(String::new, |p| p.facts.task.clone())
            } else {
                start.task.clone()
            },
            purpose: start.purpose.clone(),
            parent: parent.map(|parent| parent.id),
            tool: None,
            delegation: delegation.unwrap_or_default(),
            level: self.level,
            degraded: degraded || parent.is_some_and(|parent| parent.facts.degraded),
            started_ns: now,
            expires_ns: after(ttl),
            latest_ns: after(own.policy().max_ttl.or(most)),
            pid: target.process(caller).unwrap_or(caller.pid),
            uid: caller.uid,
            cgroup: target.cgroup(),
            source: source.clone(),
        };
        let tools = self.draft_tools(&chain, &[])?;
        match self.tables(&chain) {
            Ok(tables) => Ok(Draft { facts, tables, chain, tools }),
            Err(e) => {
                self.discard_tools(&tools);
                Err(e)
            }
        }
    }

    /// Whether a draft is still made from what is in force.
    fn is_current(&self, registry: &Registry, draft: &Draft, parent: Option<&Parent>) -> Result<bool> {
        if let Some(parent) = parent {
            let now = registry.get(parent.tag).filter(|i| i.state == State::Active);
            let now = now.context("the caller's own invocation is over: it has nothing to hand on")?;
            if !Arc::ptr_eq(&now.chain, &parent.chain) || now.facts.expires_ns < draft.facts.expires_ns {
                return Ok(false);
            }
        }
        let source = &draft.facts.source;
        Ok(source.version.is_none() || self.store.newest(&source.name)?.map(|v| v.version) == source.version)
    }

    /// Issues the identity and gives it to the target. `None` when the parent is no longer what the draft was made from.
    /// With an error in place of the number of tasks, the identity was issued and has lost all rights.
    fn issue(
        self: &Arc<Self>,
        draft: &Draft,
        (caller, target): (&Caller, &Target),
        parent: Option<&Parent>,
    ) -> Result<Option<(Started, Result<u64>)>> {
        let mut kernel = self.kernel();
        ensure!(
            kernel.tag_of(caller.pidfd.as_fd()) == parent.map(|parent| parent.tag),
            "the caller became an invocation meanwhile"
        );
        let mut registry = self.registry();
        if !self.is_current(&registry, draft, parent)? {
            return Ok(None);
        }
        let before = Self::predecessor(&kernel, &registry, target)?;
        let Draft { facts, chain, tables, tools } = draft;
        kernel.arm()?;
        if facts.expires_ns != u64::MAX {
            kernel.arm_packets()?;
        }
        let new = New {
            facts: facts.clone(),
            chain: chain.clone(),
            tables: *tables,
            parent: parent.map(|parent| parent.tag),
            tasks: u64::from(matches!(target, Target::Caller)),
            detail: target.detail(),
        };
        let mut untold = Vec::new();
        let invocation = self.begin(&kernel, &mut registry, new, &mut untold)?;
        let (id, tag) = (invocation.id, invocation.tag);
        let started = Started {
            invocation: id.to_string(),
            level: self.level,
            policy: (**invocation.policy()).clone(),
            degraded: invocation.facts.degraded,
        };
        let tooled =
            self.issue_tools(&kernel, &mut registry, &invocation, tools, &mut untold).and_then(|()| {
                Self::name_tools(&mut kernel, &registry, &invocation, (&invocation.chain, *tables))
            });
        drop(registry);
        let tasks = if !matches!(target, Target::Caller) {
            untold.into_iter().for_each(|untold| self.told(untold)); // before what is recorded of its tasks
            match tooled.and_then(|()| self.give(&mut kernel, &invocation, target)) {
                Ok(tasks) => {
                    drop(kernel);
                    before.into_iter().for_each(|before| self.vacated(before));
                    Ok(tasks)
                }
                Err(e) if self.take_back(&mut kernel, &invocation, &e) => return Err(e),
                Err(e) => {
                    drop(kernel);
                    Err(self.bar_half(id, e))
                }
            }
        } else {
            if let Err(e) = tooled.and_then(|()| tag_caller(&kernel, caller, tag)) {
                // Back to what the caller was; what is left of this identity is barred.
                untold.into_iter().for_each(|untold| self.told(untold));
                self.abandon(&kernel, id, &e);
                let caller = caller.pidfd.as_fd();
                match parent {
                    Some(parent) => kernel.tag(caller, parent.tag)?,
                    None if kernel.tag_of(caller).is_some() => kernel.untag(caller)?,
                    None => {}
                }
                return Err(e);
            }
            if let Some(parent) = parent {
                kernel.correct_tasks(parent.tag, -1);
            }
            drop(kernel);
            untold.into_iter().for_each(|untold| self.told(untold)); // the caller waits for the answer
            Ok(1)
        };
        self.look_after_counts();
        self.expire_later(tag);
        if let Some(parent) = parent {
            self.end_if_over(parent.tag, 0);
        }
        Ok(Some((started, tasks)))
    }
}

/// An identity that is about to be issued.
pub(super) struct New {
    pub(super) facts: Facts,
    pub(super) chain: Chain,
    pub(super) tables: u32,
    pub(super) parent: Option<Tag>,
    /// Tasks that get it at once.
    pub(super) tasks: u64,
    /// What the record of its start says besides.
    pub(super) detail: Option<(&'static str, serde_json::Value)>,
}

impl Daemon {
    /// Notes a new identity in the database, fills its slot and lists it. Nobody has it yet. Its start is to be told before
    /// anything is that it does.
    ///
    /// # Errors
    /// When all slots are in use or the database can't be written; nothing was begun then.
    pub(super) fn begin(
        &self,
        kernel: &Kernel,
        registry: &mut Registry,
        new: New,
        untold: &mut Vec<Untold>,
    ) -> Result<Invocation> {
        let New { facts, chain, tables, parent, tasks, detail } = new;
        let slot = registry.free_slot()?;
        let generation = kernel.invocation(slot).generation.wrapping_add(1).max(1);
        let (id, tag) = (uuid::Uuid::now_v7(), Tag { slot, generation });
        let kept = Kept {
            id: id.to_string(),
            boot: self.boot.clone(),
            slot,
            generation,
            state: State::Active.name().into(),
            facts: serde_json::to_string(&facts)?,
        };
        let (expires_ns, degraded) = (facts.expires_ns, facts.degraded);
        let invocation = Invocation::new(id, tag, facts, chain, tables);
        let mut record = invocation.record();
        if let Some((name, what)) = detail {
            record.what.detail.insert(name, what);
        }
        untold.push(self.keep(lines([record], "start"), |store, news| store.begin(&kept, news))?);
        let compat = if self.level == Level::Compat { flags::COMPAT } else { 0 };
        let of_slot = wire::Invocation {
            generation,
            state: wire::state::ACTIVE,
            expires_ns,
            policy: tables,
            flags: compat | if degraded { flags::DEGRADED } else { 0 },
            parent_slot: parent.map_or(0, |parent| parent.slot),
            parent_generation: parent.map_or(0, |parent| parent.generation),
            tasks,
            ..wire::Invocation::default()
        };
        kernel.start(slot, of_slot);
        registry.insert(invocation.clone());
        Ok(invocation)
    }

    /// Takes an identity back that nobody has used, with those of its tools.
    pub(super) fn abandon(&self, kernel: &Kernel, id: uuid::Uuid, why: &anyhow::Error) {
        let mut registry = self.registry();
        for id in registry.with_descendants([id]).into_iter().rev() {
            let Some(invocation) = registry.by_id(id) else { continue };
            let (tag, mut record) = (invocation.tag, invocation.record());
            kernel.set_state(tag.slot, wire::state::ENDED);
            record.what.detail.insert("why", format!("{why:#}").into());
            let untold = self.keep_states(&[id], State::Ended, lines([record], "end"));
            self.told(untold);
            registry.end(tag);
        }
    }
}

/// On whose behalf. Ordinary users act for themselves, an agent for the principal that it acts for already.
fn principal(start: &Start, caller: &Caller, parent: Option<&Parent>) -> Result<String> {
    if let Some(parent) = parent {
        let own = &parent.facts.principal;
        ensure!(
            start.principal.as_ref().is_none_or(|asked| asked == own),
            "an invocation acts for {own}, and so does what it hands authority on to"
        );
        return Ok(own.clone());
    }
    let user = nix::unistd::User::from_uid(caller.uid.into())?;
    let own = user.map_or_else(|| format!("uid:{}", caller.uid), |user| format!("user:{}", user.name));
    let Some(asked) = &start.principal else { return Ok(own) };
    ensure!(
        asked.len() <= MAX_TEXT && !asked.is_empty() && !asked.chars().any(char::is_control),
        "principal: 1 to {MAX_TEXT} bytes, none of them control characters"
    );
    ensure!(
        caller.operator || *asked == own,
        "only operators may act for others: {asked:?} is not {own}; hint: leave --principal out"
    );
    Ok(asked.clone())
}

fn tag_caller(kernel: &Kernel, caller: &Caller, tag: Tag) -> Result<()> {
    kernel.tag(caller.pidfd.as_fd(), tag)?;
    alone(caller.pid)
}

/// That a process whose first thread was just tagged has no other: what that one starts from now on has the tag.
fn alone(pid: u32) -> Result<()> {
    let path = format!("/proc/{pid}/task");
    let threads = std::fs::read_dir(&path).with_context(|| path.clone())?.count();
    ensure!(
        threads == 1,
        "the caller has {threads} threads, and only one can be tagged; hint: call from a process of its own"
    );
    Ok(())
}
