//! Who answers for an invocation, and which invocations nobody answers for any more.

use std::collections::{HashMap, HashSet};

use agentguard_common::invocation::Tag;
use nix::unistd::User;
use procfs::ProcError;
use serde::{Deserialize, Serialize};

use super::api::Orphaned;
use super::registry::{Invocation, Registry, State};
use crate::kernel::Kernel;

/// A process. Its start tells it from a later one with the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Process {
    pid: i32,
    /// Clock ticks from boot to its start (`starttime` in proc_pid_stat(5)).
    start: u64,
}

fn stat(pid: i32) -> Result<procfs::process::Stat, ProcError> {
    procfs::process::Process::new(pid)?.stat()
}

impl Process {
    fn of(pid: i32) -> Option<Self> {
        stat(pid).ok().map(|stat| Self { pid, start: stat.starttime })
    }

    /// Whether it has ended. What can't be told has not.
    fn has_ended(self) -> bool {
        match stat(self.pid) {
            // The first thread of a process that has others may be over before it.
            Ok(stat) => {
                stat.starttime != self.start || (matches!(stat.state, 'Z' | 'X') && stat.num_threads <= 1)
            }
            Err(e) => matches!(e, ProcError::NotFound(_)),
        }
    }
}

/// Who asked for an invocation, as far as it could be told when it was issued.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The process that the run began with.
    first: Option<Process>,
    /// The process that started that one.
    launcher: Option<Process>,
    /// The leader of its session, unless it leads itself.
    session: Option<Process>,
    /// The user id of a principal that is a user of this machine.
    account: Option<u32>,
}

impl Owner {
    /// Who answers on behalf of `principal` for a run of process `pid`, or of whatever comes to a cgroup.
    pub(super) fn of(pid: Option<u32>, principal: &str) -> Self {
        let account = user(principal).and_then(|name| account(name).ok().flatten());
        let found = pid.map(u32::cast_signed).and_then(|pid| Some((pid, stat(pid).ok()?)));
        let Some((pid, stat)) = found else { return Self { account, ..Self::default() } };
        Self {
            first: Some(Process { pid, start: stat.starttime }),
            launcher: Process::of(stat.ppid),
            session: Process::of(stat.session).filter(|leader| leader.pid != pid),
            account,
        }
    }
}

/// The name in a principal `user:NAME`.
fn user(principal: &str) -> Option<&str> {
    principal.strip_prefix("user:")
}

/// The user id of a name, if the machine knows it.
fn account(name: &str) -> nix::Result<Option<u32>> {
    Ok(User::from_name(name)?.map(|user| user.uid.as_raw()))
}

/// What has to be known of an invocation with processes to say whether anybody answers for it.
pub(super) struct Doubt {
    owner: Owner,
    principal: String,
    expired: bool,
    parent_gone: bool,
}

impl Doubt {
    /// `None` for an invocation that has no process. `live` has those that have one: the kernel's count may say so of one
    /// whose last exit it did not trace.
    pub(super) fn about(
        kernel: &Kernel,
        registry: &Registry,
        live: &HashSet<Tag>,
        invocation: &Invocation,
    ) -> Option<Self> {
        if invocation.state == State::Ended || !live.contains(&invocation.tag) {
            return None;
        }
        let facts = &invocation.facts;
        let parent = facts.parent.filter(|_| facts.tool.is_none()); // who enters a tool leaves what it was
        let parent_gone = parent.is_some_and(|parent| {
            registry.by_id(parent).is_none_or(|parent| {
                let replaced = parent.facts.owner.first == facts.owner.first; // by `exec agentguard run`
                !live.contains(&parent.tag) && !replaced
            })
        });
        Some(Self {
            owner: facts.owner.clone(),
            principal: facts.principal.clone(),
            expired: crate::clock::boot_ns() >= kernel.invocation(invocation.tag.slot).expires_ns,
            parent_gone,
        })
    }

    /// Why nobody answers for it; empty when somebody does.
    fn reasons(&self, account: impl FnOnce(&str) -> nix::Result<Option<u32>>) -> Vec<Orphaned> {
        let Owner { first, launcher, session, account: uid } = &self.owner;
        let ended = |process: &Option<Process>| process.is_some_and(Process::has_ended);
        let renamed =
            || user(&self.principal).and_then(|name| account(name).ok()).is_some_and(|now| now != *uid);
        let all = [
            (Orphaned::PrincipalGone, uid.is_some() && renamed()),
            (Orphaned::LauncherGone, ended(launcher)),
            (Orphaned::SessionGone, ended(session)),
            (Orphaned::ParentGone, self.parent_gone),
            (Orphaned::RunEnded, ended(first)),
            (Orphaned::Expired, self.expired),
        ];
        all.into_iter().filter_map(|(why, holds)| holds.then_some(why)).collect()
    }
}

/// The reasons for each of `doubts`. Asks the machine for each process, and for each principal once, so not under a lock.
pub(super) fn orphaned<T>(doubts: Vec<(T, Option<Doubt>)>) -> Vec<(T, Vec<Orphaned>)> {
    let mut accounts: HashMap<String, nix::Result<Option<u32>>> = HashMap::new();
    let mut known = |name: &str| *accounts.entry(name.to_owned()).or_insert_with(|| account(name));
    let reasons = doubts.into_iter().filter_map(|(of, doubt)| Some((of, doubt?.reasons(&mut known))));
    reasons.filter(|(_, why)| !why.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doubt(owner: Owner) -> Doubt {
        Doubt { owner, principal: "user:alice".into(), expired: false, parent_gone: false }
    }

    #[test]
    fn a_principal_is_gone_with_its_account() {
        let alice = doubt(Owner { account: Some(1000), ..Owner::default() });
        assert_eq!(alice.reasons(|name| Ok((name == "alice").then_some(1000))), []);
        assert_eq!(alice.reasons(|_| Ok(None)), [Orphaned::PrincipalGone]);
        assert_eq!(alice.reasons(|_| Ok(Some(1001))), [Orphaned::PrincipalGone]); // the name is somebody else's
        assert_eq!(alice.reasons(|_| Err(nix::errno::Errno::EIO)), []); // who knows
        assert_eq!(doubt(Owner::default()).reasons(|_| Ok(None)), []); // there never was one
    }

    #[test]
    fn a_process_is_known_by_its_start() {
        let pid = std::process::id().cast_signed();
        let own = Process::of(pid).expect("this process");
        assert!(!own.has_ended());
        assert!(Process { start: own.start - 1, ..own }.has_ended());
        let mut child = std::process::Command::new("/bin/true").spawn().expect("starts");
        let ended = Process::of(child.id().cast_signed()).expect("it is not reaped");
        child.wait().expect("waitpid");
        assert!(ended.has_ended());
        let launched = Owner { launcher: Some(own), session: Some(ended), ..Owner::default() };
        assert_eq!(doubt(launched).reasons(|_| Ok(None)), [Orphaned::SessionGone]);
    }

    #[test]
    fn every_reason_is_named_as_in_the_api() {
        for why in Orphaned::ALL {
            assert_eq!(serde_json::to_value(why).expect("JSON"), why.name());
        }
    }
}
