//! Taking authority away, and what becomes of the processes.

use std::collections::HashSet;
use std::time::Instant;

use agentguard_common::invocation::{Tag, state};
use anyhow::{Context as _, Result, ensure};
use uuid::Uuid;

use super::Daemon;
use super::api::{Revoke, Revoked};
use super::registry::{Invocation, State};
use crate::kernel::{Kernel, Level};

/// What becomes of the processes of a revoked invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// They live on, and every request is refused.
    Refused,
    Killed,
    Frozen,
}

impl Fate {
    fn of(request: &Revoke, level: Level) -> Result<Self> {
        ensure!(
            !(request.kill && request.freeze),
            "processes are killed or frozen, not both; hint: revoke --freeze now, revoke --kill later"
        );
        Ok(match level {
            _ if request.freeze => Self::Frozen,
            _ if request.kill => Self::Killed,
            Level::Compat => Self::Killed, // nothing refuses what Landlock allows
            Level::Lsm => Self::Refused,
        })
    }
}

/// Whether `request`, which names the invocation `id` if it names one, is about `invocation`.
fn selected(request: &Revoke, id: Option<Uuid>, invocation: &Invocation) -> bool {
    let facts = &invocation.facts;
    request.all
        || id == Some(invocation.id)
        || request.agent.as_ref().is_some_and(|a| facts.agent == *a)
        || request.principal.as_ref().is_some_and(|p| facts.principal == *p)
        || request.policy.as_ref().is_some_and(|p| invocation.policy().name == *p)
}

fn tags(invocations: &[Invocation]) -> Vec<Tag> {
    invocations.iter().map(|i| i.tag).collect()
}

fn ids(invocations: &[Invocation]) -> Vec<String> {
    invocations.iter().map(|i| i.id.to_string()).collect()
}

/// What a revoke could not do when the programs that stop packets can't be attached.
const QUEUED: &str = "revoked, but what its sockets have queued is still sent";

/// The stores that revoke. What is to be frozen says so first: at level compat a kill of others may be under way.
fn bar(kernel: &Kernel, chosen: &[Tag], fate: Fate) {
    spare(kernel, chosen, fate);
    for tag in chosen {
        kernel.set_state(tag.slot, state::REVOKED);
    }
}

/// Tells the program that kills barred tasks whether to leave these alone.
fn spare(kernel: &Kernel, tags: &[Tag], fate: Fate) {
    for tag in tags {
        kernel.set_frozen(tag.slot, fate == Fate::Frozen);
    }
}

impl Daemon {
    /// The selected invocations, and all that have their authority from them, that are in one of `states`.
    fn chosen(&self, request: &Revoke, states: &[State]) -> Vec<Tag> {
        let id = request.invocation.as_ref().and_then(|id| id.parse().ok());
        let registry = self.registry();
        let roots: Vec<_> = registry.live().filter(|i| selected(request, id, i)).map(|i| i.id).collect();
        let all = registry.with_descendants(roots);
        let found = all.iter().filter_map(|id| registry.by_id(*id)).filter(|i| states.contains(&i.state));
        found.map(|i| i.tag).collect()
    }

    /// What is known of `tags`, in order of their start.
    fn known(&self, tags: &[Tag]) -> Vec<Invocation> {
        let registry = self.registry();
        let mut known: Vec<Invocation> = tags.iter().filter_map(|tag| registry.get(*tag)).cloned().collect();
        known.sort_unstable_by_key(|i| i.id);
        known
    }

    /// The selected invocations that lost their authority before, and of which processes live still.
    fn leftovers(&self, request: &Revoke) -> Result<Vec<Invocation>> {
        let barred = self.chosen(request, &[State::Revoked, State::Expired]).into_iter().collect();
        let live: HashSet<Tag> = self.live(&barred)?.into_iter().map(|task| task.tag).collect();
        Ok(self.known(&live.into_iter().collect::<Vec<_>>()))
    }

    pub(super) fn revoke(&self, request: &Revoke) -> Result<Revoked> {
        let fate = Fate::of(request, self.level)?;
        let started = Instant::now();
        let mut kernel = self.kernel(); // nothing is issued until all are barred
        let chosen = self.chosen(request, &[State::Active]);
        let armed = if chosen.is_empty() { Ok(()) } else { kernel.arm_packets() };
        let first_store_ns = crate::clock::boot_ns();
        bar(&kernel, &chosen, fate);
        let last_store_ns = crate::clock::boot_ns();
        let store_us = started.elapsed().as_secs_f64() * 1e6;
        let mut chosen = self.known(&chosen);
        let barred = self.bar(&tags(&chosen), State::Revoked, "revoke"); // in order of their start
        drop(kernel); // not before: what is issued next finds its parent barred
        let now: HashSet<Tag> = barred.tags.iter().copied().collect();
        chosen.retain(|i| now.contains(&i.tag)); // the others were over before
        let invocations = ids(&chosen);
        let mut revoked =
            Revoked { invocations, first_store_ns, last_store_ns, store_us, ..Revoked::default() };
        if fate == Fate::Refused {
            self.tell_beside(&barred, || self.interrupt(&tags(&chosen)));
            ensure!(!chosen.is_empty(), "no active invocation matches; hint: agentguard ps");
            return armed.context(QUEUED).map(|()| revoked);
        }
        let fated = self.tell_beside(&barred, || {
            let fated = self.end_processes(request, fate, &chosen);
            fated.map(|fated| (fated, started.elapsed().as_secs_f64() * 1e6))
        });
        let ((leftovers, done), took) = fated?;
        let took = Some(took);
        revoked.leftovers = ids(&leftovers);
        let all = [chosen, leftovers].concat();
        match fate {
            Fate::Frozen => (revoked.frozen, revoked.frozen_us) = (done, took),
            _ => (revoked.killed, revoked.killed_us) = (done, took),
        }
        self.note_fate(&all, fate);
        armed.context(QUEUED).map(|()| revoked)
    }

    /// Kills or freezes what lives of `chosen` and, if the request says what becomes of processes, of those that lost their
    /// authority before. Returns these, and how many processes there were.
    fn end_processes(
        &self,
        request: &Revoke,
        fate: Fate,
        chosen: &[Invocation],
    ) -> Result<(Vec<Invocation>, usize)> {
        // Only if it was said: what was frozen at level compat is not killed by the way.
        let said = request.kill || request.freeze;
        let mut leftovers = if said { self.leftovers(request)? } else { Vec::new() };
        leftovers.retain(|i| chosen.binary_search_by_key(&i.id, |c| c.id).is_err());
        ensure!(
            !chosen.is_empty() || !leftovers.is_empty(),
            "no active invocation matches, nor one of which processes are left; hint: agentguard ps"
        );
        let tags = [tags(chosen), tags(&leftovers)].concat();
        spare(&self.kernel(), &tags, fate);
        let done = match fate {
            Fate::Frozen => self.freeze(&tags)?,
            _ => self.kill(&tags)?,
        };
        Ok((leftovers, done))
    }

    /// Records what became of the processes. Of a kill at level compat the kernel's own events tell.
    fn note_fate(&self, invocations: &[Invocation], fate: Fate) {
        let action = if fate == Fate::Frozen { "freeze" } else { "kill" };
        self.note_all(invocations.iter().map(|i| i.deny_record(State::Revoked)), action);
    }
}
