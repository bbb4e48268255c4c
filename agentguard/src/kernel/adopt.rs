//! Identities for what no launcher started: the tree below a running process, and whatever lives in a cgroup.
//!
//! # Why nobody escapes an adoption
//!
//! The tree is the root process and every process whose parents lead to it, at the moment *T* at which the hooks are on.
//! A process that has begun to end by then is no parent any more. From *T* on, of every process of the tree:
//!
//! - What forks is tagged as it forks, and so is its child (`fork`; level `lsm`: `task_alloc`). So no untagged member is
//!   ever added.
//! - What executes is tagged as it does (`exec_begins`, `executed`).
//! - What ends, tagged or not, first notes its children in `ORPHANS`: then their parent is another, and their lineage no
//!   longer leads to the root. Who is in that table is a member as the root is, so they are recognised by the same walk,
//!   and by induction over the lineage every member is, at any time, until it is tagged.
//!
//! So the untagged members only become fewer, and an iterator over all threads of the host, read again and again, tags
//! them. It can miss one in a pass: a thread that is not the first of its process and executes takes the number of the
//! first, which the iterator may have passed. That happens to a thread once, and then it is alone in its process: one
//! that two passes in a row missed would have had to be missed with an unchanging number. One that became an orphan after
//! the iterator had followed its lineage is missed until the next pass. So passes go on until two in a row found nobody and
//! noted no orphan.
//!
//! Counting is exact: see `enrol` in the kernel plane. That needs the hooks that were running when they were switched on
//! to be over before the first pass; the kernel is asked to wait for them.

use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use agentguard_common::enrolment::{Counts, Enrolment, MAX_SELECTORS, Process, mode};
use agentguard_common::invocation::Tag;
use anyhow::{Context as _, Result, ensure};
use aya::maps::{HashMap, MapData};
use aya::programs::Iter;

use super::programs::Plan;
use super::{Kernel, census, grace, pidfd_open};

/// Passes after which a tree counts as one that can't be caught up with. Each has fewer untagged tasks than the last.
const MAX_PASSES: u32 = 1000;

/// What an adoption did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adopted {
    /// Threads that were tagged.
    pub tasks: u64,
    /// Readings of the list of all threads that it took.
    pub passes: u32,
}

impl Kernel {
    /// Tags process `pid` and everything below it, all threads, also what is being forked meanwhile. The slot of `tag`
    /// is filled already, with no tasks; the tasks are counted there.
    ///
    /// # Errors
    /// Nothing is tagged where the tree may not be adopted: when it holds tasks of another invocation, the kernel's own,
    /// process 1, this daemon or its ancestors, or when there is no such process. A later error leaves what was tagged
    /// as it is: to be revoked.
    pub fn adopt(&mut self, pid: u32, tag: Tag) -> Result<Adopted> {
        self.adopt_and(pid, tag, || ())
    }

    /// The same, doing something once the hooks are on and before the first task is tagged.
    fn adopt_and(&mut self, pid: u32, tag: Tag, meanwhile: impl FnOnce()) -> Result<Adopted> {
        ensure!(
            census::sees_every_process(),
            "this daemon runs in a PID namespace of its own, where numbers of processes mean others than in the kernel; \
             hint: hostPID: true, or adopt by cgroup"
        );
        ensure!(!is_ancestor(pid)?, "process {pid} is this daemon or one of its ancestors");
        let pidfd = pidfd_open(pid)?;
        let root = self.look(pid, tag).with_context(|| format!("process {pid}"));
        let root = match root {
            Ok(root) => root,
            Err(e) => {
                self.end_adoption()?;
                return Err(e);
            }
        };
        ensure!(lives(&pidfd), "process {pid} has ended"); // or the number may be another's already
        self.prepare(tag, root);
        self.set_mode(mode::TAG);
        let done = grace().and_then(|()| {
            meanwhile();
            self.tag_all()
        });
        let over = self.end_adoption();
        let adopted = done.with_context(|| format!("adopting process {pid}"))?;
        over?;
        Ok(adopted)
    }

    fn prepare(&self, tag: Tag, root: Process) {
        let before = self.enrolment.get(0);
        self.enrolment.set(0, Enrolment { mode: mode::OFF, tag, root, counts: Counts::default(), ..before });
    }

    fn end_adoption(&mut self) -> Result<()> {
        self.set_mode(mode::OFF);
        grace()?; // of the ends that are being noted
        self.forget_orphans()
    }

    /// How often tasks were moved between cgroups while some were selected.
    #[must_use]
    pub fn moves(&self) -> u64 {
        self.enrolment.get(0).moves
    }

    /// The identity that a daemon was giving to a tree when it ended. The hooks have been on since.
    #[must_use]
    pub fn unfinished_adoption(&self) -> Option<Tag> {
        let left = self.enrolment.get(0);
        (left.mode == mode::TAG).then_some(left.tag)
    }

    /// Brings that to its end: goes on with it if the identity is still `wanted`.
    ///
    /// # Errors
    /// When not everybody could be tagged, or the kernel refuses.
    pub fn resume_adoption(&mut self, wanted: bool) -> Result<()> {
        if self.enrolment.get(0).mode == mode::OFF {
            return Ok(());
        }
        let done = if wanted { self.tag_all().map(drop) } else { Ok(()) };
        self.end_adoption()?;
        done
    }

    /// Looks at the tree without touching it. Returns its root.
    fn look(&mut self, pid: u32, tag: Tag) -> Result<Process> {
        let root = Process { pid, ..Process::default() };
        let counts = Counts::default();
        self.enrolment.set(0, Enrolment { mode: mode::LOOK, tag, root, counts, ..self.enrolment.get(0) });
        self.pass()?;
        let found = self.enrolment.get(0);
        ensure!(found.counts.kernel == 0, "the kernel's own threads can't be adopted");
        let foreign = found.counts.foreign;
        ensure!(
            foreign == 0,
            "{foreign} of its tasks belong to another invocation already; hint: agentguard ps"
        );
        ensure!(found.counts.failed == 0, "its lineage is too long to be followed");
        ensure!(found.root.started_ns != 0, "it has ended, or belongs to an invocation already");
        Ok(found.root)
    }

    /// Reads the list of all threads until nobody is found that is due the tag.
    fn tag_all(&mut self) -> Result<Adopted> {
        let (mut passes, mut quiet) = (0, 0);
        let mut before = self.enrolment.get(0).counts;
        while quiet < 2 {
            ensure!(passes < MAX_PASSES, "new tasks were found in each of {passes} passes");
            self.pass()?;
            passes += 1;
            let counts = self.enrolment.get(0).counts;
            ensure!(counts.failed == 0, "{} tasks could not be tagged", counts.failed);
            ensure!(counts.foreign == 0, "{} tasks got another identity meanwhile", counts.foreign);
            let changed = counts.tagged != before.tagged || counts.orphans != before.orphans;
            quiet = if changed { 0 } else { quiet + 1 };
            before = counts;
        }
        Ok(Adopted { tasks: before.tagged, passes })
    }

    /// Lets the iterator see every thread of the host once.
    fn pass(&mut self) -> Result<()> {
        let program: &mut Iter =
            self.ebpf.program_mut("adopt_tasks").context("missing program")?.try_into()?;
        let link = program.attach()?;
        let mut file = program.take_link(link)?.into_file()?;
        let mut nothing = [0; 64];
        while file.read(&mut nothing).context("reading the list of threads")? > 0 {}
        Ok(())
    }

    fn set_mode(&self, mode: u32) {
        // SAFETY: a field of a live mapping.
        unsafe { (&raw mut (*self.enrolment.at(0)).mode).write_volatile(mode) };
    }

    fn map<K: aya::Pod, V: aya::Pod>(&mut self, name: &str) -> Result<HashMap<&mut MapData, K, V>> {
        Ok(HashMap::try_from(self.ebpf.map_mut(name).with_context(|| format!("map {name}"))?)?)
    }

    fn forget_orphans(&mut self) -> Result<()> {
        let mut orphans: HashMap<_, [u8; size_of::<Process>()], u32> = self.map("ORPHANS")?;
        let keys: Vec<_> = orphans.keys().collect::<std::result::Result<_, _>>()?;
        keys.iter().try_for_each(|key| orphans.remove(key)).context("clearing ORPHANS")
    }

    /// Who is in the cgroup with this id (the inode number of its directory) or below it belongs to `tag`'s invocation,
    /// and from now on so does what begins there, is moved there, or executes a program there; it stays so wherever it
    /// goes. What has an identity keeps it. Of a process that is moved, threads other than the first get it when they fork
    /// or execute, or by [`Self::gather`].
    ///
    /// # Errors
    /// When the kernel refuses, too many are selected, or this daemon lives there.
    pub fn select_cgroup(&mut self, id: u64, tag: Tag) -> Result<Adopted> {
        ensure!(!own_cgroups()?.contains(&id), "this daemon lives in that cgroup or below it");
        let known = self.selectors()?.into_iter().filter(|(key, _)| *key != id).count();
        ensure!(
            known < MAX_SELECTORS as usize,
            "{known} cgroups are selected already, the most there can be"
        );
        // First the flag, so that the end of every task that the selector can tag is counted with care.
        self.set_selectors(known as u32 + 1)?;
        grace()?;
        let mut selectors: HashMap<_, u64, [u32; 2]> = self.map("SELECTORS")?;
        selectors.insert(id, [tag.slot, tag.generation], 0).context("adding a selector")?;
        // Then whoever is there: those that the hooks have not met, as they neither fork nor execute.
        grace()?;
        self.gather().context("tagging what is in the cgroup")
    }

    /// Tags who is in a selected cgroup and was not met by a hook, each for the invocation that it is selected for.
    ///
    /// # Errors
    /// When not everybody could be tagged.
    pub fn gather(&mut self) -> Result<Adopted> {
        self.prepare(Tag::default(), Process::default());
        self.set_mode(mode::CGROUP);
        let done = self.tag_all();
        self.set_mode(mode::OFF); // no orphans were noted
        done
    }

    /// The cgroups that are selected, and for whom.
    ///
    /// # Errors
    /// When the kernel does not let them be read.
    pub fn selectors(&mut self) -> Result<Vec<(u64, Tag)>> {
        let selectors: HashMap<_, u64, [u32; 2]> = self.map("SELECTORS")?;
        let all = selectors.iter().map(|entry| {
            let (id, [slot, generation]) = entry?;
            Ok((id, Tag { slot, generation }))
        });
        all.collect::<Result<_, aya::maps::MapError>>().context("reading the selectors")
    }

    /// Ends that. Whoever has the identity keeps it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn deselect_cgroup(&mut self, id: u64) -> Result<()> {
        let mut selectors: HashMap<_, u64, [u32; 2]> = self.map("SELECTORS")?;
        selectors.remove(&id).context("no such selector")?;
        let left = selectors.keys().count();
        grace()?; // those that are tagging somebody, whose end must see that
        self.set_selectors(left as u32)
    }

    /// Says how many there are, and whether the kernel tells of moves.
    fn set_selectors(&mut self, selectors: u32) -> Result<()> {
        if selectors != 0 {
            self.arm_one(Plan::moved(), true)?;
        }
        // SAFETY: a field of a live mapping.
        unsafe { (&raw mut (*self.enrolment.at(0)).selectors).write_volatile(selectors) };
        if selectors == 0 { self.arm_one(Plan::moved(), false) } else { Ok(()) }
    }
}

/// The ids of the cgroups that this process is in: its own and those above it.
fn own_cgroups() -> Result<Vec<u64>> {
    let root = super::programs::cgroup_directory()?;
    let text = std::fs::read_to_string("/proc/self/cgroup")?;
    let own = text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let own = root.join(own);
    own.ancestors().take_while(|path| path.starts_with(root)).map(cgroup_id).collect()
}

/// The id of the cgroup at `path`, a directory of the cgroup v2 hierarchy.
///
/// # Errors
/// When there is none.
pub fn cgroup_id(path: &Path) -> Result<u64> {
    let of = |what: &Path| std::fs::metadata(what).with_context(|| what.display().to_string());
    of(&path.join("cgroup.controllers")).context("not a cgroup of version 2")?;
    Ok(of(path)?.ino())
}

/// Whether the process has not ended.
fn lives(pidfd: &std::os::fd::OwnedFd) -> bool {
    use std::os::fd::AsRawFd as _;
    let mut poll = libc::pollfd { fd: pidfd.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one initialised pollfd that lives across the call.
    unsafe { libc::poll(&raw mut poll, 1, 0) == 0 }
}

/// Whether `pid` is this process, or its parent, or theirs, up to process 1.
fn is_ancestor(pid: u32) -> Result<bool> {
    let mut at = std::process::id();
    while at > 1 && at != pid {
        let stat = std::fs::read_to_string(format!("/proc/{at}/stat"))?;
        let behind_name = stat.rsplit(')').next().unwrap_or_default();
        at = behind_name.split_whitespace().nth(1).and_then(|parent| parent.parse().ok()).unwrap_or(0);
    }
    Ok(at == pid || pid <= 1)
}

#[cfg(test)]
mod tests;
