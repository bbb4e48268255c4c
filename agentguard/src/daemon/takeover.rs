//! Taking over what an earlier daemon left: its invocations went on being enforced without it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use agentguard_common::invocation::{self as wire, MAX_INVOCATIONS, Tag};
use anyhow::{Context as _, Result};
use serde_json::json;
use uuid::Uuid;

use super::catalogue;
use super::life::add_counts;
use super::registry::{Facts, Invocation, State};
use super::seen::Seen;
use super::store::{Kept, News, Store};
use super::{Daemon, lines};
use crate::clock;
use crate::event::record::{Record, Whose};
use crate::policy::Explainer;

/// What came of the invocations that the database names.
#[derive(Default)]
struct Found {
    adopted: Vec<Tag>,
    /// Those that are over, with the reason.
    over: Vec<(Kept, &'static str)>,
}

impl Daemon {
    /// Takes over. To be called before anything else is served.
    ///
    /// # Errors
    /// When the state database or the event log can't be read. Nothing is detached then: what was enforced still is.
    pub(super) fn take_over(self: &Arc<Self>, log: &Path) -> Result<()> {
        self.tell_rest(log).context("recording what the daemon before this one had no time for")?;
        let logged = self.logged(log).context("reading the end of the event log")?;
        let kept = self.store.unfinished()?;
        let mut found = Found::default();
        for kept in kept {
            self.adopt_one(kept, &logged, &mut found)?;
        }
        let strangers = self.bar_strangers();
        found.adopted.iter().for_each(|tag| self.bar_as_the_kernel(*tag)); // before anything can be over
        let slots: Vec<u32> = found.adopted.iter().map(|tag| tag.slot).collect();
        self.kernel().adopt_tables(slots.into_iter());
        self.adopt_rules(&found.adopted);
        for (kept, why) in &found.over {
            let facts = serde_json::from_str::<Facts>(&kept.facts).ok();
            let record = facts.map(|facts| self.record_over(kept, &facts, why));
            let ids = [&kept.id];
            let change = |store: &Store, news: &News| store.change_states(&ids, State::Ended.name(), news);
            let untold = self.keep(lines(record, "end"), change)?;
            self.told(untold);
        }
        self.store.prune()?;
        self.take_over_selectors(&found.adopted)?;
        if !self.registry().busy() {
            self.quiet.notify_one();
        }
        if found.adopted.is_empty() && strangers == 0 {
            return Ok(());
        }
        let whose = Whose { level: self.level.name().into(), ..Whose::default() };
        let mut record = Record { whose, ..Record::default() };
        record.what.detail.insert("invocations", json!(found.adopted.len()));
        record.what.detail.insert("unknown", json!(strangers));
        self.note(record, "takeover");
        self.finish_pushes()?;
        self.recount(); // one may have been begun and not been given to anybody
        self.look_after_counts();
        for tag in found.adopted {
            self.look_after(tag);
        }
        Ok(())
    }

    /// Tells that authority was taken of which the store was made, no more.
    fn bar_as_the_kernel(&self, tag: Tag) {
        let (state, action) = match self.kernel().invocation(tag.slot).state {
            wire::state::REVOKED => (State::Revoked, "revoke"),
            wire::state::EXPIRED => (State::Expired, "expire"),
            _ => return,
        };
        self.tell_barred(&self.bar(&[tag], state, action));
    }

    /// Brings the rest of an adopted invocation up to date with the kernel's.
    fn look_after(self: &Arc<Self>, tag: Tag) {
        let slot = self.kernel().invocation(tag.slot);
        if slot.state == wire::state::ACTIVE {
            self.finish_extension(tag, &slot);
        }
        self.kill_if_barred(tag);
        self.expire_later(tag);
        self.end_if_over(tag, 0);
    }

    /// Gives an invocation the time that a daemon that was killed had recorded, and not given it. None if it is over.
    fn finish_extension(&self, tag: Tag, slot: &wire::Invocation) {
        let mut registry = self.registry();
        let Some(invocation) = registry.get_mut(tag) else { return };
        let recorded = &mut invocation.facts.expires_ns;
        if slot.expires_ns >= *recorded || slot.expires_ns <= clock::boot_ns() {
            *recorded = slot.expires_ns;
            return;
        }
        let expires_ns = *recorded;
        drop(registry);
        self.kernel().set_expiry(tag.slot, expires_ns);
    }

    fn adopt_one(&self, kept: Kept, logged: &HashMap<Uuid, Seen>, found: &mut Found) -> Result<()> {
        let kernel = self.kernel();
        let tag = Tag { slot: kept.slot, generation: kept.generation };
        let slot = kernel.invocation(kept.slot.min(MAX_INVOCATIONS - 1));
        let why = if kept.boot != self.boot {
            Some("the machine was restarted")
        } else if !kernel.adopted() {
            Some("nothing of it was left in the kernel")
        } else if slot.generation != kept.generation {
            Some("it was never started")
        } else if slot.state == wire::state::ENDED {
            Some("its last process was gone")
        } else {
            None
        };
        drop(kernel);
        if let Some(why) = why {
            found.over.push((kept, why));
            return Ok(());
        }
        let context = || format!("invocation {} in the state database", kept.id);
        let id: Uuid = kept.id.parse().with_context(context)?;
        let facts: Facts = serde_json::from_str(&kept.facts).with_context(context)?;
        let mut kernel = self.kernel();
        let mut registry = self.registry();
        // Identities are in order of time, so that a parent comes before what it handed on.
        let parent = facts.parent.and_then(|parent| registry.by_id(parent));
        if facts.parent.is_some() && parent.is_none() {
            // Without it nobody knows what bounds this one.
            kernel.bar(&[kept.slot])?;
        }
        let own = match (&facts.tool, parent) {
            (Some(tool), Some(parent)) => super::tools::policy_of(parent.policy(), tool),
            _ => {
                let read = self.read_policy(&facts.source).map_err(|p| anyhow::anyhow!(p.error));
                Arc::new(Explainer::new(Arc::new(read.with_context(context)?)))
            }
        };
        let chain = catalogue::chain(parent.map(|parent| &*parent.chain), own);
        let state = State::named(&kept.state).unwrap_or(State::Active);
        let seen = logged.get(&id).cloned().unwrap_or_default();
        let new = Invocation::new(id, tag, facts, chain, slot.policy);
        registry.insert(Invocation { state, seen, ..new });
        found.adopted.push(tag);
        Ok(())
    }

    /// Takes all authority from identities in the kernel that the database does not know. Returns how many there were.
    fn bar_strangers(&self) -> usize {
        let mut kernel = self.kernel();
        if !kernel.adopted() {
            return 0;
        }
        let registry = self.registry();
        let unknown = |number: &u32| {
            let slot = kernel.invocation(*number);
            let tag = Tag { slot: *number, generation: slot.generation };
            slot.state == wire::state::ACTIVE && registry.get(tag).is_none()
        };
        let strangers: Vec<u32> = (1..MAX_INVOCATIONS).filter(unknown).collect();
        if let Err(e) = kernel.bar(&strangers) {
            tracing::error!("unknown identities: {e:#}");
        }
        strangers.len()
    }

    fn adopt_rules(&self, adopted: &[Tag]) {
        let kernel = self.kernel();
        let registry = self.registry();
        let mut catalogue = super::lock(&self.catalogue);
        for invocation in adopted.iter().filter_map(|tag| registry.get(*tag)) {
            if let Some(generation) = kernel.generation_of(invocation.tables) {
                catalogue.adopt(generation, invocation.chain.clone());
            }
        }
    }

    fn record_over(&self, kept: &Kept, facts: &Facts, why: &str) -> Record<'static> {
        let mut record = Record { whose: facts.whose(kept.id.clone()), ..Record::default() };
        let slot = self.kernel().invocation(kept.slot.min(MAX_INVOCATIONS - 1));
        if kept.boot == self.boot && slot.generation == kept.generation {
            add_counts(&mut record, &slot);
        }
        record.what.detail.insert("why", json!(why));
        record
    }
}
