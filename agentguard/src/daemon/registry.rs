//! The invocations the daemon knows.

use std::collections::HashMap;
use std::sync::Arc;

use agentguard_common::invocation::Tag;
use serde::{Deserialize, Serialize};

use crate::event::record::Record;
use crate::kernel::Level;
use crate::policy::model::Policy;

/// One run of an agent.
#[derive(Clone, Debug)]
pub struct Invocation {
    pub id: uuid::Uuid,
    pub tag: Tag,
    pub agent: String,
    pub principal: String,
    pub purpose: String,
    pub policy: Arc<Policy>,
    pub level: Level,
    /// The level cannot enforce the whole policy and the caller accepted that.
    pub degraded: bool,
    /// Boot-clock end of life.
    pub expires_ns: u64,
    pub pid: u32,
    pub uid: u32,
    pub state: State,
    /// Events of the kernel that were recorded.
    pub recorded: u64,
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
}

impl Invocation {
    /// A record with everything that is the same for all of this invocation's events.
    #[must_use]
    pub fn record(&self) -> Record {
        Record {
            invocation: self.id.to_string(),
            agent: self.agent.clone(),
            principal: self.principal.clone(),
            purpose: self.purpose.clone(),
            policy: self.policy.name.clone(),
            policy_digest: self.policy.digest.clone(),
            level: self.level.name().to_owned(),
            degraded: self.degraded,
            ..Record::default()
        }
    }
}

/// Invocations by slot.
#[derive(Default)]
pub struct Registry {
    by_slot: HashMap<u32, Invocation>,
    last_slot: u32,
}

impl Registry {
    /// A slot that no live invocation uses; `None` when all are in use.
    pub fn free_slot(&mut self) -> Option<u32> {
        let max = agentguard_common::invocation::MAX_INVOCATIONS;
        for _ in 1..max {
            self.last_slot = self.last_slot % (max - 1) + 1;
            let taken = self.by_slot.get(&self.last_slot).is_some_and(|i| i.state != State::Ended);
            if !taken {
                return Some(self.last_slot);
            }
        }
        None
    }

    pub fn insert(&mut self, invocation: Invocation) {
        self.by_slot.insert(invocation.tag.slot, invocation);
    }

    /// The invocation of `tag`, if the slot still (or last) belonged to it.
    #[must_use]
    pub fn get(&self, tag: Tag) -> Option<&Invocation> {
        self.by_slot.get(&tag.slot).filter(|i| i.tag == tag)
    }

    pub fn get_mut(&mut self, tag: Tag) -> Option<&mut Invocation> {
        self.by_slot.get_mut(&tag.slot).filter(|i| i.tag == tag)
    }

    pub fn all(&self) -> impl Iterator<Item = &Invocation> {
        self.by_slot.values()
    }

    /// Whether anything is not yet over.
    #[must_use]
    pub fn busy(&self) -> bool {
        self.all().any(|i| i.state != State::Ended)
    }
}
