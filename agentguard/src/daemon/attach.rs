//! Identities for what no launcher started: a running process tree, or whatever lives in a cgroup.
//!
//! An invocation that has a cgroup does not end with its last task: the next one may begin there at any time, and is its
//! own. It ends once the directory of the cgroup is gone too. Until then whoever comes to a cgroup whose invocation was
//! revoked, or has expired, comes under an identity without any right.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use agentguard_common::invocation::{Tag, flags};
use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use serde_json::json;
use tokio::io::unix::AsyncFd;
use uuid::Uuid;

use super::Daemon;
use super::api::{Adopt, Adopted, Problem, Revoke};
use super::registry::{Cgroup, Invocation, Registry, State};
use super::start::{Caller, problem};
use crate::kernel::{Kernel, Level, adopt, cgroup_directory};

/// What gets a new identity.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// The process that asks.
    Caller,
    /// A running process and everything below it.
    Tree(u32),
    /// Whatever is in a cgroup or comes to it.
    Cgroup(Cgroup),
}

impl Target {
    /// What the record of the start says of it.
    pub(super) fn detail(&self) -> Option<(&'static str, serde_json::Value)> {
        match self {
            Self::Caller => None,
            Self::Tree(pid) => Some(("adopted", json!(pid))),
            Self::Cgroup(cgroup) => Some(("cgroup", json!(cgroup.path))),
        }
    }

    /// The process that the run begins with.
    pub(super) const fn process(&self, caller: &Caller) -> Option<u32> {
        match self {
            Self::Caller => Some(caller.pid),
            Self::Tree(pid) => Some(*pid),
            Self::Cgroup(_) => None,
        }
    }

    pub(super) fn cgroup(&self) -> Option<Cgroup> {
        match self {
            Self::Cgroup(cgroup) => Some(cgroup.clone()),
            _ => None,
        }
    }
}

/// Directories of cgroups whose removal is waited for. The kernel tells it of the directory above.
pub(super) struct Directories {
    inotify: Inotify,
    of: Mutex<HashMap<(WatchDescriptor, OsString), BTreeSet<Uuid>>>,
    /// Moves of tasks after which was looked who came.
    moves: AtomicU64,
}

impl Directories {
    pub(super) fn new() -> Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).context("inotify")?;
        Ok(Self { inotify, of: Mutex::default(), moves: AtomicU64::new(0) })
    }

    fn watch(&self, cgroup: &Cgroup, invocation: Uuid) -> Result<()> {
        let path = Path::new(&cgroup.path);
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
            bail!("{}: no directory of a cgroup", cgroup.path);
        };
        let mut of = super::lock(&self.of); // before its event can come
        let watch = self.inotify.add_watch(above, AddWatchFlags::IN_DELETE);
        let watch = watch.with_context(|| format!("watching {}", above.display()))?;
        of.entry((watch, name.into())).or_default().insert(invocation);
        drop(of);
        ensure!(cgroup.is_there(), "cgroup {} is gone", cgroup.path); // perhaps before it was watched
        Ok(())
    }

    /// Whose directory had the name that an event says to be gone. There may be another of that name by now.
    fn named(&self, event: InotifyEvent) -> Vec<Uuid> {
        let Some(name) = event.name else { return Vec::new() };
        super::lock(&self.of).get(&(event.wd, name)).into_iter().flatten().copied().collect()
    }

    fn forget(&self, invocation: Uuid) {
        let mut of = super::lock(&self.of);
        let watches: BTreeSet<_> = of.keys().map(|(watch, _)| *watch).collect();
        of.retain(|_, of| {
            of.remove(&invocation);
            !of.is_empty()
        });
        for watch in watches {
            if !of.keys().any(|(left, _)| *left == watch) {
                let _ = self.inotify.rm_watch(watch); // it ends with its directory
            }
        }
    }
}

impl Cgroup {
    fn is_there(&self) -> bool {
        adopt::cgroup_id(Path::new(&self.path)).is_ok_and(|id| id == self.id)
    }
}

/// The cgroup that a text names: a directory, or what `/proc/PID/cgroup` and `systemctl show -P ControlGroup` say.
fn cgroup(text: &str) -> Result<Cgroup> {
    let root = cgroup_directory()?;
    let path =
        if Path::new(text).starts_with(root) { text.into() } else { root.join(text.trim_start_matches('/')) };
    let path = path.canonicalize().with_context(|| {
        format!("cgroup {}; hint: systemctl show -P ControlGroup UNIT, or /proc/PID/cgroup", path.display())
    })?;
    ensure!(
        path.starts_with(root) && path != root,
        "cgroup {text:?}: not a directory below {}",
        root.display()
    );
    let id = adopt::cgroup_id(&path)?;
    let path = path.into_os_string().into_string();
    Ok(Cgroup { path: path.map_err(|path| anyhow::anyhow!("{} is not UTF-8", path.display()))?, id })
}

impl Daemon {
    /// Gives an identity to what runs already, or comes to a cgroup. Only operators ask for it.
    ///
    /// # Errors
    /// Says what is wrong with the request; nobody was tagged then, or what was has lost all rights, which it says.
    pub(super) fn attach(self: &Arc<Self>, request: &Adopt, caller: &Caller) -> Result<Adopted, Problem> {
        let fail = |e: anyhow::Error| problem(format!("{e:#}"), None);
        let target = match (request.pid, &request.cgroup) {
            (Some(pid), None) => Target::Tree(pid),
            (None, Some(text)) => Target::Cgroup(cgroup(text).map_err(fail)?),
            _ => return Err(problem("exactly one of pid and cgroup says what to adopt", None)),
        };
        if self.level == Level::Compat && !request.run.allow_degraded {
            return Err(problem(
                "level compat cannot enforce rules for files, programs and privileges on what runs already: only a \
                 process itself can take on Landlock's",
                Some(
                    "agentguard run, level lsm, or --allow-degraded: then rules for the network hold, and every event is marked",
                ),
            ));
        }
        let (started, tasks) = self.start_for(&request.run, caller, &target)?;
        Ok(Adopted { started, tasks })
    }

    /// The invocation that the target's cgroup has already: one without right and task, which makes way.
    ///
    /// # Errors
    /// When it has one that does not.
    pub(super) fn predecessor(kernel: &Kernel, registry: &Registry, target: &Target) -> Result<Option<Uuid>> {
        let Target::Cgroup(cgroup) = target else { return Ok(None) };
        let has = |i: &&Invocation| i.selects && i.facts.cgroup.as_ref() == Some(cgroup);
        let Some(before) = registry.live().find(has) else { return Ok(None) };
        let (id, path) = (before.id, &cgroup.path);
        ensure!(
            before.state != State::Active,
            "cgroup {path} belongs to invocation {id} already; hint: agentguard revoke --kill {id}"
        );
        let tasks = kernel.invocation(before.tag.slot).tasks;
        ensure!(
            tasks == 0,
            "{tasks} tasks of invocation {id}, which is {}, live in cgroup {path} still; hint: agentguard revoke --kill {id}",
            before.state.name()
        );
        Ok(Some(id))
    }

    /// Gives the identity of `invocation`, which is in the kernel already, to its target. Returns how many tasks got it.
    pub(super) fn give(&self, kernel: &mut Kernel, invocation: &Invocation, target: &Target) -> Result<u64> {
        match target {
            Target::Caller => bail!("the caller is tagged by itself"),
            Target::Tree(pid) => {
                let tasks = kernel.adopt(*pid, invocation.tag)?.tasks;
                ensure!(tasks > 0, "process {pid} has ended");
                Ok(tasks)
            }
            Target::Cgroup(cgroup) => {
                self.directories.watch(cgroup, invocation.id)?;
                kernel.select_cgroup(cgroup.id, invocation.tag)?;
                Ok(kernel.invocation(invocation.tag.slot).tasks)
            }
        }
    }

    /// Takes back what was begun, after [`Self::give`] failed. False when somebody has the identity: then it is to be
    /// revoked.
    pub(super) fn take_back(
        &self,
        kernel: &mut Kernel,
        invocation: &Invocation,
        why: &anyhow::Error,
    ) -> bool {
        if invocation.selects {
            self.deselect(kernel, invocation.id);
        }
        if kernel.invocation(invocation.tag.slot).tasks != 0 {
            return false;
        }
        self.abandon(kernel, invocation.id, why);
        true
    }

    /// Takes all rights from what got an identity before its adoption failed.
    pub(super) fn bar_half(&self, id: Uuid, e: anyhow::Error) -> anyhow::Error {
        match self.revoke(&Revoke { invocation: Some(id.to_string()), ..Revoke::default() }) {
            Ok(_) => e.context(format!(
                "some of it was tagged and has lost all rights; hint: agentguard revoke --kill {id}"
            )),
            Err(revoke) => e.context(format!("and what was tagged could not be revoked: {revoke:#}")),
        }
    }

    /// Nobody comes to an invocation by its cgroup any more: the directory is gone, or another invocation has it.
    pub(super) fn vacated(&self, id: Uuid) {
        self.deselect(&mut self.kernel(), id);
        let tag = self.registry().by_id(id).map(|i| i.tag);
        tag.into_iter().for_each(|tag| self.end_if_over(tag, 0));
    }

    /// Kills, at level `compat`, what lives of an invocation that is barred: somebody came to its cgroup by a hook of the
    /// kernel, or a daemon that was killed had not come to that.
    pub(super) fn kill_if_barred(self: &Arc<Self>, tag: Tag) {
        let frozen = self.kernel().invocation(tag.slot).flags & flags::FROZEN != 0;
        let barred = |i: &Invocation| matches!(i.state, State::Revoked | State::Expired);
        if self.level == Level::Compat && !frozen && self.registry().get(tag).is_some_and(barred) {
            let daemon = self.clone(); // nothing else refuses it files and programs
            std::thread::spawn(move || {
                if let Err(e) = daemon.kill(&[tag]) {
                    tracing::error!("what lives of a barred invocation: {e:#}");
                }
            });
        }
    }

    /// Looks who came to a cgroup and was not met by a hook: of a process that was moved the kernel names the first thread.
    pub(super) fn gather(&self) {
        let mut kernel = self.kernel();
        self.directories.moves.store(kernel.moves(), Ordering::SeqCst);
        if self.registry().live().any(|i| i.selects)
            && let Err(e) = kernel.gather()
        {
            tracing::error!("who came to the cgroups of invocations: {e:#}");
        }
    }

    /// The same if tasks were moved since the last look.
    pub(super) fn gather_moved(&self) {
        if self.kernel().moves() != self.directories.moves.load(Ordering::SeqCst) {
            self.gather();
        }
    }

    fn deselect(&self, kernel: &mut Kernel, id: Uuid) {
        self.directories.forget(id);
        let mut registry = self.registry();
        let Some(tag) = registry.by_id(id).map(|i| i.tag) else { return };
        let Some(invocation) = registry.get_mut(tag).filter(|i| i.selects) else { return };
        invocation.selects = false;
        let cgroup = invocation.facts.cgroup.clone();
        drop(registry);
        let Some(cgroup) = cgroup else { return };
        let selected = kernel.selectors().is_ok_and(|all| all.contains(&(cgroup.id, tag)));
        if selected && let Err(e) = kernel.deselect_cgroup(cgroup.id) {
            tracing::error!("cgroup {}: {e:#}", cgroup.path);
        }
    }

    /// Waits for the ends of cgroups.
    pub(super) async fn watch_directories(self: Arc<Self>) -> Result<()> {
        let fd = self.directories.inotify.as_fd().try_clone_to_owned()?;
        // SAFETY: the descriptor is the AsyncFd's own, so it stays open as long as it is registered.
        let ready = unsafe { AsyncFd::register(fd) }?;
        loop {
            let mut ready = ready.readable().await?;
            match self.directories.inotify.read_events() {
                Ok(events) => {
                    let named: BTreeSet<Uuid> =
                        events.into_iter().flat_map(|event| self.directories.named(event)).collect();
                    let daemon = self.clone();
                    let work = move || named.into_iter().for_each(|id| daemon.vacated_if_gone(id));
                    tokio::task::spawn_blocking(work).await?;
                }
                Err(nix::errno::Errno::EAGAIN) => ready.clear_ready(),
                Err(e) => return Err(e).context("waiting for the ends of cgroups"),
            }
        }
    }

    fn vacated_if_gone(&self, id: Uuid) {
        let there =
            self.registry().by_id(id).and_then(|i| i.facts.cgroup.clone()).is_some_and(|c| c.is_there());
        if !there {
            self.vacated(id);
        }
    }

    /// After a restart: goes on with what the daemon before had begun, and looks which cgroups are still there.
    pub(super) fn take_over_selectors(&self, adopted: &[Tag]) -> Result<()> {
        let mut kernel = self.kernel();
        let unfinished = kernel.unfinished_adoption().filter(|tag| adopted.contains(tag));
        if let Err(e) = kernel.resume_adoption(unfinished.is_some()) {
            tracing::error!("an adoption that the daemon before had begun: {e:#}");
            if let Some(tag) = unfinished {
                // Whom it did not reach has no identity: better nobody acts by it.
                kernel.bar(&[tag.slot])?;
            }
        }
        let mut owners: Vec<(Uuid, Tag, Cgroup)> = {
            let registry = self.registry();
            let of = |i: &Invocation| Some((i.id, i.tag, i.facts.cgroup.clone().filter(|_| i.selects)?));
            registry.live().filter_map(of).collect()
        };
        owners.sort_unstable_by_key(|(id, ..)| *id);
        for (id, tag) in kernel.selectors()? {
            if !owners.iter().any(|(_, owner, cgroup)| *owner == tag && cgroup.id == id) {
                kernel.deselect_cgroup(id)?;
            }
        }
        // Identities are in order of time: of several that had one cgroup the newest has it.
        let newest: HashMap<u64, Uuid> = owners.iter().map(|(id, _, cgroup)| (cgroup.id, *id)).collect();
        let mut gone = Vec::new();
        for (invocation, tag, cgroup) in owners {
            if newest.get(&cgroup.id) != Some(&invocation)
                || self.directories.watch(&cgroup, invocation).is_err()
            {
                gone.push(invocation);
            } else if let Err(e) = kernel.select_cgroup(cgroup.id, tag) {
                tracing::error!("cgroup {}: {e:#}; it stays as the daemon before left it", cgroup.path);
            }
        }
        drop(kernel);
        gone.into_iter().for_each(|id| self.vacated(id));
        Ok(())
    }
}
