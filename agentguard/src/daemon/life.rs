//! How an invocation's authority ends: it expires, somebody takes it away, or its last process is gone.

use std::sync::Arc;
use std::time::Duration;

use agentguard_common::invocation::{self as wire, Tag};
use anyhow::{Result, bail, ensure};
use serde_json::json;
use uuid::Uuid;

use super::api::Extended;
use super::registry::{Facts, Invocation, Registry, State};
use super::{Daemon, lines, lock};
use crate::event::record::Record;
use crate::kernel::{Kernel, Level};

/// Longest sleep before the clock is looked at again: sleeping stops while the machine is suspended, the boot clock
/// does not.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// How long nothing runs before checks that only invocations need are detached.
const QUIET: Duration = Duration::from_secs(10);

/// Whether `child` is a tool that nothing runs in, or comes from, and of which everything is recorded.
fn tool_is_idle(kernel: &Kernel, registry: &Registry, child: &Invocation) -> bool {
    let slot = kernel.invocation(child.tag.slot);
    child.facts.tool.is_some()
        && slot.tasks == 0
        && child.seen.count_below(slot.next_seq) + slot.lost >= slot.next_seq
        && registry.children(child.id).is_empty()
}

/// Adds to the record of an end what the kernel counted.
pub(super) fn add_counts(record: &mut Record<'_>, slot: &wire::Invocation) {
    for (name, value) in [("events", slot.next_seq), ("denied", slot.denied), ("lost", slot.lost)] {
        record.what.detail.insert(name, value.into());
    }
}

/// Invocations whose authority was taken, and the lines that say so.
#[must_use]
pub(super) struct Barred {
    pub(super) tags: Vec<Tag>,
    ids: Vec<Uuid>,
    state: State,
    lines: Vec<u8>,
}

/// What of an invocation, or with it, is over.
enum Over {
    No,
    /// Itself when its owner is.
    With(Tag),
    /// All of these, in this order.
    Now(Vec<Tag>),
}

impl Daemon {
    /// Marks those of `tags` that are active: their authority was taken. To be told soon.
    pub(super) fn bar(&self, tags: &[Tag], state: State, action: &str) -> Barred {
        let (mut barred, mut ids, mut records) = (Vec::new(), Vec::new(), Vec::new());
        let mut registry = self.registry();
        for tag in tags {
            if let Some(invocation) = registry.bar(*tag, state) {
                barred.push(*tag);
                ids.push(invocation.id);
                records.push(invocation.deny_record(state));
            }
        }
        lock(&self.telling.0).extend(&barred); // before anybody can find them over
        drop(registry);
        Barred { tags: barred, ids, state, lines: lines(records, action) }
    }

    /// Records those whose authority was taken. True when there were any.
    pub(super) fn tell_barred(&self, barred: &Barred) -> bool {
        if barred.ids.is_empty() {
            return false;
        }
        let untold = self.keep_states(&barred.ids, barred.state, barred.lines.clone());
        self.told(untold);
        let mut telling = lock(&self.telling.0);
        for tag in &barred.tags {
            telling.remove(tag);
        }
        self.telling.1.notify_all();
        true
    }

    /// Waits until it is told that the authority of `tag` was taken, if it was.
    fn until_told(&self, tag: Tag) {
        let telling = lock(&self.telling.0);
        drop(self.telling.1.wait_while(telling, |telling| telling.contains(&tag)));
    }

    /// Names the state that an invocation past its time is in already. `None` but the first time.
    fn expire(&self, kernel: &Kernel, tag: Tag) -> Option<Barred> {
        if self.registry().get(tag).is_none_or(|i| i.state != State::Active) {
            return None;
        }
        kernel.set_state(tag.slot, wire::state::EXPIRED); // a daemon that is killed here leaves it to the next one
        Some(self.bar(&[tag], State::Expired, "expire"))
    }

    /// Records whose authority was taken, and meanwhile does to their processes what is to be done: a disk that is slow must
    /// not keep them alive.
    pub(super) fn tell_beside<T>(&self, barred: &Barred, act: impl FnOnce() -> T) -> T {
        std::thread::scope(|scope| {
            let telling = std::thread::Builder::new().spawn_scoped(scope, || self.tell_barred(barred));
            let done = act();
            if telling.is_err() {
                self.tell_barred(barred);
            }
            done
        })
    }

    /// Marks an invocation whose last task is gone, once all it did is recorded. `at_ns` is the time of its last event.
    /// One that handed authority on lives as long as those who received it, so that it can be taken from all of them.
    pub(super) fn end_if_over(&self, tag: Tag, at_ns: u64) {
        let (expired, over) = self.over(tag, at_ns);
        if let Some(expired) = expired {
            self.tell_barred(&expired);
        }
        match over {
            Over::No => {}
            Over::With(owner) => self.end_if_over(owner, 0),
            Over::Now(all) => {
                for over in all {
                    self.record_gap(over);
                    self.finish(over);
                }
            }
        }
    }

    /// Whether an invocation is over; also whether it is found to have expired, which is to be told.
    fn over(&self, tag: Tag, at_ns: u64) -> (Option<Barred>, Over) {
        let mut kernel = self.kernel();
        let slot = kernel.invocation(tag.slot);
        if slot.generation != tag.generation || slot.tasks != 0 || self.lives_uncounted(&mut kernel, tag) {
            return (None, Over::No);
        }
        // It lived to see it, however late this daemon's own timer is.
        let expired = if at_ns >= slot.expires_ns { self.expire(&kernel, tag) } else { None };
        let slot = kernel.invocation(tag.slot); // again: its counts are final only once no task is left
        let registry = self.registry();
        let Some(invocation) = registry.get(tag).filter(|i| i.state != State::Ended) else {
            return (expired, Over::No);
        };
        // An event of another CPU is on its way, or the next task may come to its cgroup.
        if invocation.seen.count_below(slot.next_seq) + slot.lost < slot.next_seq || invocation.selects {
            return (expired, Over::No);
        }
        if invocation.facts.tool.is_some() {
            // A tool can be entered again as long as who has it lives.
            let owner = invocation.facts.parent.and_then(|parent| registry.by_id(parent));
            if let Some(owner) = owner.filter(|owner| owner.state != State::Ended) {
                return (expired, Over::With(owner.tag));
            }
        }
        let children = registry.children(invocation.id);
        if !children.iter().all(|child| tool_is_idle(&kernel, &registry, child)) {
            return (expired, Over::No);
        }
        let tools = children.iter().map(|tool| tool.tag);
        (expired, Over::Now(tools.chain([tag]).collect()))
    }

    /// Ends an invocation: its record, its slot, its tables.
    fn finish(&self, tag: Tag) {
        let mut kernel = self.kernel();
        let slot = kernel.invocation(tag.slot);
        let mut registry = self.registry();
        let Some(invocation) = registry.get(tag).filter(|i| i.state != State::Ended) else { return };
        if !registry.children(invocation.id).is_empty() {
            drop((registry, kernel));
            return self.end_if_over(tag, 0); // a push has given it a tool meanwhile
        }
        let (id, parent, tables) = (invocation.id, invocation.facts.parent, invocation.tables);
        let chain = invocation.chain.clone();
        let state = invocation.state;
        let mut record = invocation.record();
        if invocation.untraced > 0 {
            record.what.detail.insert("untraced", json!(invocation.untraced));
        }
        lock(&self.closing).insert(id, invocation.seen.clone());
        registry.end(tag);
        let parent = parent.and_then(|parent| registry.by_id(parent)).map(|parent| parent.tag);
        drop(registry);
        add_counts(&mut record, &slot);
        if slot.generation == tag.generation && slot.state == wire::state::ACTIVE {
            kernel.set_state(tag.slot, wire::state::ENDED); // a revoked one stays revoked: its sockets may live on
        }
        Self::forget_tools(&mut kernel, tag, (&chain, tables));
        drop(kernel);
        self.until_told(tag);
        let untold = self.keep_states(&[id], State::Ended, lines([record], "end"));
        self.told(untold);
        self.release_tables(tables);
        self.relax(state != State::Active);
        self.ended.notify_one();
        if let Some(parent) = parent {
            self.end_if_over(parent, 0);
        }
    }

    /// Ends checks that nothing needs any more, after an end: of an invocation that was `barred`, or of the last one. The
    /// slots say who else is barred: the registry is told a little later.
    fn relax(&self, barred: bool) {
        let kernel = self.kernel();
        let registry = self.registry();
        if !registry.busy() {
            self.quiet.notify_one();
        } else if !barred || registry.has_barred() {
            return; // at most an expiry that is over is looked for; everything is, as before, while one barred lives
        }
        let live = registry.live().map(|i| {
            let slot = kernel.invocation(i.tag.slot);
            (slot.expires_ns, slot.state != wire::state::ACTIVE)
        });
        kernel.recompute_recheck(live);
    }

    /// Detaches, whenever the last invocation has been over for a while, what is only needed while one lives. Not at once:
    /// attaching takes the next one some milliseconds.
    pub(super) async fn disarm_when_quiet(self: Arc<Self>) {
        loop {
            self.quiet.notified().await;
            tokio::time::sleep(QUIET).await;
            let daemon = self.clone();
            let work = move || {
                let mut kernel = daemon.kernel(); // nothing is issued meanwhile
                if daemon.registry().busy() {
                    return;
                }
                match kernel.disarm() {
                    Ok(0) => {}
                    Ok(tasks) => {
                        tracing::warn!(
                            "tasks of no invocation that lives: {tasks}; the checks stay attached"
                        );
                        daemon.quiet.notify_one();
                    }
                    Err(e) => tracing::error!("{e:#}"),
                }
            };
            let _ = tokio::task::spawn_blocking(work).await;
        }
    }

    /// Takes the tasks of barred invocations out of calls that they wait in.
    pub(super) fn interrupt(&self, tags: &[Tag]) {
        if self.level != Level::Lsm {
            return; // they are killed
        }
        let threads = match self.kernel().threads_of(tags) {
            Ok(threads) => threads,
            Err(e) => {
                return tracing::error!("barred invocations may still be in calls they began before: {e:#}");
            }
        };
        let missed = crate::kernel::blocked::interrupt(threads);
        if missed > 0 {
            tracing::warn!(
                "{missed} threads of barred invocations are still in calls that they began before"
            );
        }
    }

    /// Takes the tasks of an invocation that has expired out of their calls or, at level `compat`, ends its processes.
    fn end_expired(&self, tag: Tag) {
        self.interrupt(&[tag]);
        if self.level == Level::Compat
            && let Err(e) = self.kill(&[tag])
        {
            tracing::error!("expired invocation: {e:#}");
        }
    }

    /// The kernel refuses everything from the expiry on; this names the state and, at level `compat`, ends the
    /// processes. An expiry that was moved meanwhile is waited for again.
    pub(super) fn expire_later(self: &Arc<Self>, tag: Tag) {
        let daemon = self.clone();
        tokio::spawn(async move {
            loop {
                let Some(expires_ns) = daemon
                    .registry()
                    .get(tag)
                    .filter(|i| i.state == State::Active)
                    .map(|i| i.facts.expires_ns)
                else {
                    return;
                };
                let now = crate::clock::boot_ns();
                if expires_ns <= now {
                    break;
                }
                tokio::time::sleep(Duration::from_nanos(expires_ns - now).min(LOOK_AGAIN)).await;
            }
            let work = move || {
                let expired = daemon.expire(&daemon.kernel(), tag);
                if let Some(expired) = expired {
                    daemon.tell_beside(&expired, || daemon.end_expired(tag));
                }
                daemon.end_if_over(tag, 0);
            };
            let _ = tokio::task::spawn_blocking(work).await;
        });
    }

    /// Moves an invocation's end of life to `ttl` from now, as far as its policy and its parent let it.
    pub(super) fn extend(&self, id: Uuid, ttl: Duration) -> Result<Extended> {
        let _alone = lock(&self.changing);
        let mut kernel = self.kernel();
        let mut registry = self.registry();
        let Some(invocation) = registry.by_id(id) else { bail!("no invocation {id}; hint: agentguard ps") };
        let now = crate::clock::boot_ns();
        ensure!(
            invocation.state == State::Active && now < invocation.facts.expires_ns,
            "it is over ({}): what has ended is not revived; hint: start a new run",
            if invocation.state == State::Active { State::Expired.name() } else { invocation.state.name() }
        );
        let parent = invocation.facts.parent.and_then(|parent| registry.by_id(parent));
        let parent_ns = parent.map_or(u64::MAX, |parent| parent.facts.expires_ns);
        let asked = now.saturating_add(u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX));
        let (tag, latest) = (invocation.tag, invocation.facts.latest_ns.min(parent_ns));
        let expires_ns = asked.min(latest).max(invocation.facts.expires_ns);
        if expires_ns != u64::MAX {
            kernel.arm_packets()?;
        }
        let Some(invocation) = registry.get_mut(tag) else { bail!("no invocation {id}") };
        let facts = Facts { expires_ns, ..invocation.facts.clone() };
        let text = serde_json::to_string(&facts)?;
        let mut record = invocation.record();
        let expires_in_s = (expires_ns != u64::MAX).then(|| (expires_ns - now) / 1_000_000_000);
        record.what.detail.insert("expires_in_s", json!(expires_in_s));
        let untold =
            self.keep(lines([record], "extend"), |store, news| store.change_facts(id, &text, news))?;
        invocation.facts = facts;
        drop(registry);
        kernel.set_expiry(tag.slot, expires_ns);
        drop(kernel);
        self.told(untold);
        Ok(Extended { invocation: id.to_string(), expires_in_s, bounded: expires_ns < asked })
    }
}
