//! Starting an invocation: the caller's own process gets its identity.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use agentguard_common::invocation::{self as wire, Tag, flags};
use anyhow::Result;

use super::Daemon;
use super::api::{Problem, Start, Started};
use super::registry::{Invocation, State};
use crate::kernel::Level;
use crate::launch::landlock;
use crate::policy;

static POLICY_GENERATION: AtomicU32 = AtomicU32::new(1);

/// Who is calling, from the socket.
pub(super) struct Caller {
    pub(super) pidfd: OwnedFd,
    pub(super) pid: u32,
    pub(super) uid: u32,
}

fn problem(error: impl Into<String>, hint: Option<&str>) -> Problem {
    Problem { error: error.into(), hint: hint.map(str::to_owned), rules: Vec::new() }
}

impl Daemon {
    /// Starts an invocation for `caller`.
    ///
    /// # Errors
    /// Says what is wrong with the request; nothing was tagged then.
    pub(super) fn start(self: &Arc<Self>, start: &Start, caller: &Caller) -> Result<Started, Problem> {
        let mut policy = policy::load(&start.policy_name, &start.policy, &start.variables)
            .map_err(|e| problem(format!("{e}"), None))?;
        policy.files.extend(self.guard.iter().cloned());
        if let Some(level) = start.level.filter(|l| *l != self.level) {
            let why = self.why.as_deref().unwrap_or("the daemon was started so");
            return Err(problem(format!("level {} is not in force: {why}", level.name()), None));
        }
        let degraded = self.degraded(&policy, start.allow_degraded)?;
        let id = self.issue(start, policy, degraded, caller).map_err(|e| problem(format!("{e:#}"), None))?;
        let registry = self.registry();
        let invocation = registry.get(id).ok_or_else(|| problem("the invocation ended at once", None))?;
        Ok(Started {
            invocation: invocation.id.to_string(),
            level: invocation.level,
            policy: (*invocation.policy).clone(),
            degraded,
        })
    }

    /// Whether this level can't enforce the whole policy; refused unless the caller accepts that.
    fn degraded(&self, policy: &policy::model::Policy, accepted: bool) -> Result<bool, Problem> {
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

    fn issue(
        self: &Arc<Self>,
        start: &Start,
        policy: policy::model::Policy,
        degraded: bool,
        caller: &Caller,
    ) -> Result<Tag> {
        let compiled = policy::compile::compile(&policy)?;
        let ttl = match (start.ttl_s.map(Duration::from_secs), policy.ttl) {
            (Some(asked), Some(most)) => Some(asked.min(most)),
            (asked, most) => asked.or(most),
        };
        let now = crate::clock::boot_ns();
        let expires_ns = ttl.map_or(u64::MAX, |d| now.saturating_add(d.as_nanos() as u64));
        let mut kernel = self.kernel();
        if kernel.tag_of(caller.pidfd.as_fd()).is_some() {
            anyhow::bail!("the caller already runs as an invocation; narrowing it is not implemented yet");
        }
        let mut registry = self.registry();
        let slot = registry.free_slot().ok_or_else(|| anyhow::anyhow!("all invocation slots are in use"))?;
        let tag = Tag { slot, generation: kernel.invocation(slot).generation + 1 };
        let generation = POLICY_GENERATION.fetch_add(1, Ordering::Relaxed);
        let index = kernel.publish(compiled.words.len(), |base| compiled.place(base), generation)?;
        let compat = if self.level == Level::Compat { flags::COMPAT } else { 0 };
        kernel.start(
            slot,
            wire::Invocation {
                generation: tag.generation,
                state: wire::state::ACTIVE,
                expires_ns,
                policy: index,
                flags: compat | if degraded { flags::DEGRADED } else { 0 },
                tasks: 1,
                ..wire::Invocation::default()
            },
        );
        let invocation = Invocation {
            id: uuid::Uuid::now_v7(),
            tag,
            agent: start.agent.clone(),
            principal: start.principal.clone(),
            purpose: start.purpose.clone(),
            policy: Arc::new(policy),
            level: self.level,
            degraded,
            expires_ns,
            pid: caller.pid,
            uid: caller.uid,
            state: State::Active,
            recorded: 0,
        };
        let record = invocation.record();
        registry.insert(invocation);
        drop(registry);
        if let Err(e) = kernel.tag(caller.pidfd.as_fd(), tag) {
            kernel.set_state(slot, wire::state::ENDED);
            if let Some(i) = self.registry().get_mut(tag) {
                i.state = State::Ended;
            }
            return Err(e);
        }
        drop(kernel);
        self.note(record, "start");
        if expires_ns != u64::MAX {
            self.clone().expire_later(tag, Duration::from_nanos(expires_ns - now));
        }
        Ok(tag)
    }

    /// The kernel refuses everything from the expiry on; this names the state and, at level `compat`, ends the
    /// processes.
    fn expire_later(self: Arc<Self>, tag: Tag, after: Duration) {
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let work = move || {
                let expired = self.expire(&self.kernel(), tag);
                if expired
                    && self.level == Level::Compat
                    && let Err(e) = self.kill(&[tag])
                {
                    tracing::error!("expired invocation: {e:#}");
                }
            };
            let _ = tokio::task::spawn_blocking(work).await;
        });
    }
}
