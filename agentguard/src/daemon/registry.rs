//! The invocations the daemon knows.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use agentguard_common::invocation::{MAX_INVOCATIONS, Tag};
use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::owner::Owner;
use super::seen::Seen;
use crate::event::record::{Record, Step, What, Whose};
use crate::kernel::Level;
use crate::policy::model::Policy;
use crate::policy::{Chain, Variables};

/// Ended invocations that are still listed.
const REMEMBERED: usize = 1000;

/// Where an invocation's policy came from, for when it has to be read again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Source {
    /// Name for messages.
    pub name: String,
    pub document: String,
    pub variables: Variables,
    /// Version in the daemon's store, if it is from there.
    pub version: Option<i64>,
}

/// A cgroup of version 2: whoever is in it, or comes to it, is its invocation's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup {
    /// Its directory.
    pub path: String,
    /// Inode number of the directory, by which the kernel knows it.
    pub id: u64,
}

/// What is known of an invocation when it starts, and kept in the database.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Facts {
    pub agent: String,
    pub principal: String,
    /// What the run is for, by whoever hands out work: a ticket, a job.
    pub task: String,
    pub purpose: String,
    pub parent: Option<Uuid>,
    /// The tool of the parent's policy that it is the identity of, if it is one.
    #[serde(default)]
    pub tool: Option<String>,
    /// Who handed authority on: from the first invocation of the chain to the parent.
    pub delegation: Vec<Step>,
    pub level: Level,
    /// The level cannot enforce the whole policy and the caller accepted that.
    pub degraded: bool,
    /// Times of the boot clock; `u64::MAX` never comes.
    pub started_ns: u64,
    pub expires_ns: u64,
    /// Until when `extend` may go.
    pub latest_ns: u64,
    /// The process that it began with; for a cgroup, the one that asked.
    pub pid: u32,
    pub uid: u32,
    #[serde(default)]
    pub cgroup: Option<Cgroup>,
    #[serde(default)]
    pub owner: Owner,
    pub source: Arc<Source>,
}

impl Facts {
    /// What these facts say in a record, which is all but the policy.
    #[must_use]
    pub fn whose(&self, invocation: String) -> Whose {
        Whose {
            invocation,
            agent: self.agent.clone(),
            principal: self.principal.clone(),
            task: self.task.clone(),
            purpose: self.purpose.clone(),
            delegation: self.delegation.clone(),
            level: self.level.name().to_owned(),
            degraded: self.degraded,
            ..Whose::default()
        }
    }
}

/// One run of an agent.
#[derive(Clone, Debug)]
pub struct Invocation {
    pub id: Uuid,
    pub tag: Tag,
    pub facts: Facts,
    /// Its own policy and, before it, those of the invocations that it comes from. It may do what all of them allow.
    pub chain: Arc<Chain>,
    /// Index of the tables in the kernel.
    pub tables: u32,
    pub state: State,
    /// Events of the kernel that are in the log.
    pub seen: Seen,
    /// Sequence numbers that a gap record has named already.
    pub gaps: Seen,
    /// Forks and exits of its tasks that the kernel did not trace, by which the count of its tasks was corrected.
    pub untraced: u64,
    /// Whether tasks can come to it by its cgroup.
    pub selects: bool,
}

/// Where an invocation is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Active,
    Revoked,
    Expired,
    Ended,
}

impl State {
    const ALL: [Self; 4] = [Self::Active, Self::Revoked, Self::Expired, Self::Ended];

    /// The name used in events and the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Ended => "ended",
        }
    }

    /// The state with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

impl Invocation {
    /// An active one, of which nothing is recorded yet.
    #[must_use]
    pub fn new(id: Uuid, tag: Tag, facts: Facts, chain: Arc<Chain>, tables: u32) -> Self {
        let selects = facts.cgroup.is_some();
        let (state, seen, gaps) = (State::Active, Seen::default(), Seen::default());
        Self { id, tag, facts, chain, tables, state, seen, gaps, untraced: 0, selects }
    }

    /// Its own policy.
    ///
    /// # Panics
    /// Never: a chain has at least one.
    #[must_use]
    pub fn policy(&self) -> &Arc<Policy> {
        self.chain.0[self.chain.0.len() - 1].policy()
    }

    /// What is the same in all records of this invocation.
    #[must_use]
    pub fn whose(&self) -> Whose {
        let policy = self.policy();
        Whose {
            policy: policy.name.clone(),
            policy_digest: policy.digest.clone(),
            ..self.facts.whose(self.id.to_string())
        }
    }

    /// A record of which that is known.
    #[must_use]
    pub fn record(&self) -> Record<'static> {
        Record { whose: self.whose(), ..Record::default() }
    }

    /// The same for a record of its authority being taken.
    #[must_use]
    pub fn deny_record(&self, state: State) -> Record<'static> {
        let what = What { decision: "deny".into(), reason: state.name().into(), ..What::default() };
        Record { what, ..self.record() }
    }

    /// This invocation as a step of its children's delegation.
    #[must_use]
    pub fn step(&self) -> Step {
        Step { agent: self.facts.agent.clone(), invocation: self.id.to_string() }
    }
}

/// Invocations by slot.
#[derive(Default)]
pub struct Registry {
    by_slot: HashMap<u32, Invocation>,
    by_id: HashMap<Uuid, Tag>,
    children: HashMap<Uuid, BTreeSet<Uuid>>,
    ended: VecDeque<Tag>,
    live: usize,
    /// Those of the live ones that lost their authority.
    barred: usize,
    last_slot: u32,
}

impl Registry {
    /// A slot that no live invocation uses.
    ///
    /// # Errors
    /// When all are in use: the slot of a live invocation is nobody else's, so nothing more can start.
    pub fn free_slot(&mut self) -> Result<u32> {
        let last = MAX_INVOCATIONS - 1;
        for _ in 0..last {
            self.last_slot = self.last_slot % last + 1;
            let taken = self.by_slot.get(&self.last_slot).is_some_and(|i| i.state != State::Ended);
            if !taken {
                return Ok(self.last_slot);
            }
        }
        bail!("all {last} slots for invocations are in use; hint: agentguard ps, agentguard revoke --kill")
    }

    /// Adds an invocation that is not over. What used its slot before is forgotten.
    pub fn insert(&mut self, invocation: Invocation) {
        self.live += 1;
        self.barred += usize::from(invocation.state != State::Active);
        if let Some(parent) = invocation.facts.parent {
            self.children.entry(parent).or_default().insert(invocation.id);
        }
        self.last_slot = self.last_slot.max(invocation.tag.slot);
        self.by_id.insert(invocation.id, invocation.tag);
        if let Some(before) = self.by_slot.insert(invocation.tag.slot, invocation) {
            self.by_id.remove(&before.id);
        }
    }

    /// Marks an active invocation as barred. `None` when it is not active.
    pub fn bar(&mut self, tag: Tag, state: State) -> Option<&Invocation> {
        let invocation =
            self.by_slot.get_mut(&tag.slot).filter(|i| i.tag == tag && i.state == State::Active)?;
        invocation.state = state;
        self.barred += 1;
        Some(invocation)
    }

    /// Marks an invocation as over. False when it was.
    pub fn end(&mut self, tag: Tag) -> bool {
        let Some(invocation) = self.get_mut(tag).filter(|i| i.state != State::Ended) else { return false };
        let before = std::mem::replace(&mut invocation.state, State::Ended);
        self.barred -= usize::from(before != State::Active);
        let Some(invocation) = self.get(tag) else { return false };
        let (id, parent) = (invocation.id, invocation.facts.parent);
        self.live -= 1;
        self.children.remove(&id);
        if let Some(parent) = parent
            && let Some(siblings) = self.children.get_mut(&parent)
        {
            siblings.remove(&id);
        }
        self.ended.push_back(tag);
        if self.ended.len() > REMEMBERED
            && let Some(oldest) = self.ended.pop_front()
            && self.get(oldest).is_some()
            && let Some(gone) = self.by_slot.remove(&oldest.slot)
        {
            self.by_id.remove(&gone.id);
        }
        true
    }

    /// The invocation of `tag`, if the slot still (or last) belonged to it.
    #[must_use]
    pub fn get(&self, tag: Tag) -> Option<&Invocation> {
        self.by_slot.get(&tag.slot).filter(|i| i.tag == tag)
    }

    pub fn get_mut(&mut self, tag: Tag) -> Option<&mut Invocation> {
        self.by_slot.get_mut(&tag.slot).filter(|i| i.tag == tag)
    }

    /// The invocation with this identity.
    #[must_use]
    pub fn by_id(&self, id: Uuid) -> Option<&Invocation> {
        self.by_id.get(&id).and_then(|tag| self.get(*tag))
    }

    pub fn all(&self) -> impl Iterator<Item = &Invocation> {
        self.by_slot.values()
    }

    /// All that are not over.
    pub fn live(&self) -> impl Iterator<Item = &Invocation> {
        self.all().filter(|i| i.state != State::Ended)
    }

    /// What comes directly from `id` and is not over.
    #[must_use]
    pub fn children(&self, id: Uuid) -> Vec<&Invocation> {
        let children = self.children.get(&id).into_iter().flatten();
        children.filter_map(|child| self.by_id(*child)).collect()
    }

    /// The invocations in `roots` and all that come from them and are not over: whoever handed on before who received.
    #[must_use]
    pub fn with_descendants(&self, roots: impl IntoIterator<Item = Uuid>) -> Vec<Uuid> {
        let mut out: Vec<Uuid> = Vec::new();
        let mut known = HashSet::new();
        for root in roots {
            if known.insert(root) {
                out.push(root);
            }
        }
        let mut at = 0;
        while let Some(id) = out.get(at).copied() {
            for child in self.children.get(&id).into_iter().flatten() {
                if known.insert(*child) {
                    out.push(*child);
                }
            }
            at += 1;
        }
        out
    }

    /// Whether anything that is not yet over lost its authority.
    #[must_use]
    pub const fn has_barred(&self) -> bool {
        self.barred > 0
    }

    /// Whether anything is not yet over.
    #[must_use]
    pub const fn busy(&self) -> bool {
        self.live > 0
    }
}

#[cfg(test)]
mod tests;
