//! Identities for what no launcher started: a running process tree, or whatever lives in a cgroup.
//!
//! An invocation that has a cgroup does not end with its last task: the next one may begin there at any time, and is its
//! own. It ends once the directory of the cgroup is gone too. Until then whoever comes to a cgroup whose invocation was
//! revoked, or has expired, comes under an identity without any right.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use agentguard_common::invocation::Tag;
use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use serde_json::json;
use tokio::io::unix::AsyncFd;
use uuid::Uuid;

use super::Daemon;
use super::api::{Adopt, Adopted, Problem, Revoke};
use super::registry::{Cgroup, Invocation, State};
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
    of: Mutex<HashMap<(WatchDescriptor, OsString), Uuid>>,
}

impl Directories {
    pub(super) fn new() -> Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).context("inotify")?;
        Ok(Self { inotify, of: Mutex::default() })
    }

    fn watch(&self, cgroup: &Cgroup, invocation: Uuid) -> Result<()> {
        let path = Path::new(&cgroup.path);
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
            bail!("{}: no directory of a cgroup", cgroup.path);
        };
        let mut of = super::lock(&self.of); // before its event can come
        let watch = self.inotify.add_watch(above, AddWatchFlags::IN_DELETE);
        of.insert((watch.with_context(|| format!("watching {}", above.display()))?, name.into()), invocation);
        drop(of);
        let there = adopt::cgroup_id(path).is_ok_and(|id| id == cgroup.id);
        ensure!(there, "cgroup {} is gone", cgroup.path); // perhaps before it was watched
        Ok(())
    }

    /// Whose directory an event says to be gone.
    fn gone(&self, event: InotifyEvent) -> Option<Uuid> {
        let mut of = super::lock(&self.of);
        let invocation = of.remove(&(event.wd, event.name?))?;
        if !of.keys().any(|(watch, _)| *watch == event.wd) {
            let _ = self.inotify.rm_watch(event.wd); // it ends with its directory
        }
        Some(invocation)
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
            (None, Some(text)) => {
                let cgroup = cgroup(text).map_err(fail)?;
                self.make_way(&cgroup).map_err(fail)?;
                Target::Cgroup(cgroup)
            }
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

    /// Ends the invocation that a cgroup had before, if it has no right and no task left.
    fn make_way(&self, cgroup: &Cgroup) -> Result<()> {
        let registry = self.registry();
        let Some(before) = registry.live().find(|i| i.selects && i.facts.cgroup.as_ref() == Some(cgroup))
        else {
            return Ok(());
        };
        let (id, tag, state) = (before.id, before.tag, before.state);
        drop(registry);
        ensure!(
            state != State::Active,
            "cgroup {} belongs to invocation {id} already; hint: agentguard revoke --kill {id}",
            cgroup.path
        );
        let tasks = self.kernel().invocation(tag.slot).tasks;
        ensure!(
            tasks == 0,
            "{tasks} tasks of invocation {id}, which is {}, live in cgroup {} still; hint: agentguard revoke --kill {id}",
            state.name(),
            cgroup.path
        );
        self.vacated(id);
        Ok(())
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
                Ok(kernel.select_cgroup(cgroup.id, invocation.tag)?.tasks)
            }
        }
    }

    /// Takes back what was begun, after [`Self::give`] failed: whoever has the identity loses all rights.
    pub(super) fn take_back(&self, invocation: &Invocation, e: anyhow::Error) -> anyhow::Error {
        let (id, tag) = (invocation.id, invocation.tag);
        if invocation.selects {
            self.deselect(id);
        }
        let kernel = self.kernel();
        if kernel.invocation(tag.slot).tasks == 0 {
            self.abandon(&kernel, id);
            let mut record = invocation.record();
            record.detail.insert("why".into(), json!(format!("{e:#}")));
            self.note(record, "end");
            return e;
        }
        drop(kernel);
        match self.revoke(&Revoke { invocation: Some(id.to_string()), ..Revoke::default() }) {
            Ok(_) => e.context(format!(
                "some of it was tagged and has lost all rights; hint: agentguard revoke --kill {id}"
            )),
            Err(revoke) => e.context(format!("and what was tagged could not be revoked: {revoke:#}")),
        }
    }

    /// Nobody comes to an invocation by its cgroup any more: the directory is gone.
    fn vacated(&self, id: Uuid) {
        self.deselect(id);
        let tag = self.registry().by_id(id).map(|i| i.tag);
        tag.into_iter().for_each(|tag| self.end_if_over(tag, 0));
    }

    /// Somebody came to the cgroup of an invocation. Of a process that was moved there the kernel tells of the first thread
    /// only.
    pub(super) fn gather(&self, tag: Tag) {
        let mut kernel = self.kernel();
        let selects = self.registry().get(tag).is_some_and(|i| i.selects);
        if selects && let Err(e) = kernel.gather(tag) {
            tracing::error!("threads that came to a cgroup: {e:#}");
        }
    }

    fn deselect(&self, id: Uuid) {
        let mut kernel = self.kernel();
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
                    let gone: Vec<_> =
                        events.into_iter().filter_map(|event| self.directories.gone(event)).collect();
                    let daemon = self.clone();
                    let work = move || gone.into_iter().for_each(|id| daemon.vacated(id));
                    tokio::task::spawn_blocking(work).await?;
                }
                Err(nix::errno::Errno::EAGAIN) => ready.clear_ready(),
                Err(e) => return Err(e).context("waiting for the ends of cgroups"),
            }
        }
    }

    /// After a restart: goes on with what the daemon before had begun, and looks which cgroups are still there.
    pub(super) fn take_over_selectors(&self, adopted: &[Tag]) -> Result<()> {
        let mut kernel = self.kernel();
        if let Some(tag) = kernel.unfinished_adoption() {
            let done = kernel.resume_adoption(adopted.contains(&tag));
            if let Err(e) = done {
                // Whom it did not reach has no identity: better nobody acts by it.
                tracing::error!("an adoption that the daemon before had begun: {e:#}");
                kernel.set_state(tag.slot, agentguard_common::invocation::state::REVOKED);
            }
        }
        let owners: Vec<(Uuid, Tag, Cgroup)> = {
            let registry = self.registry();
            let of = |i: &Invocation| Some((i.id, i.tag, i.facts.cgroup.clone().filter(|_| i.selects)?));
            registry.live().filter_map(of).collect()
        };
        for (id, tag) in kernel.selectors()? {
            if !owners.iter().any(|(_, owner, cgroup)| *owner == tag && cgroup.id == id) {
                kernel.deselect_cgroup(id)?;
            }
        }
        let mut gone = Vec::new();
        for (invocation, tag, cgroup) in owners {
            if self.directories.watch(&cgroup, invocation).is_err() {
                gone.push(invocation);
                continue;
            }
            kernel.select_cgroup(cgroup.id, tag).with_context(|| format!("cgroup {}", cgroup.path))?;
        }
        drop(kernel);
        gone.into_iter().for_each(|id| self.vacated(id));
        Ok(())
    }
}
