//! Maps and links pinned in the BPF file system, so that enforcement outlives the daemon.
//!
//! ```text
//! <pins>/v<layout>-<level>/maps/<NAME>
//! <pins>/v<layout>-<level>/links-<epoch>-<digest of the object>/<program>
//! ```
//!
//! A link holds its program, a program its maps: removing a directory of links detaches them.

use std::fs::{self, File};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use agentguard_common::LAYOUT;
use anyhow::{Context as _, Result, bail, ensure};
use aya::programs::links::{FdLink, PinnedLink};
use aya_obj::generated::bpf_cmd;
use nix::mount::MsFlags;

use super::Level;

/// The default place.
pub const DEFAULT: &str = "/sys/fs/bpf/agentguard";
/// `BPF_FS_MAGIC` of `linux/magic.h`.
const BPF_FS: i64 = 0xcafe_4a11;
const MOUNT_POINT: &str = "/sys/fs/bpf";
/// Maps that programs of every build share.
pub(super) const SHARED: &[&str] = &[
    "TASK_TAG",
    "TASK_WORKER",
    "TASK_TOOL",
    "TOOLS",
    "SOCKET_TAG",
    "INVOCATIONS",
    "POLICIES",
    "ARENA",
    "CONTROL",
    "IPC_OWNER",
    "DENIALS",
    "EVENTS",
    "COUNTERS",
    "ENROLMENT",
    "SELECTORS",
    "ORPHANS",
    "TASK_ENROLLED",
];

/// The pinned objects of one level, and the lock that keeps a second daemon off them.
#[derive(Debug)]
pub(super) struct Pins {
    root: PathBuf,
    links: PathBuf,
    /// Number of this build's set of programs; see `Control`.
    pub(super) epoch: u32,
    /// Maps were there before: their invocations are to be adopted.
    pub(super) adopted: bool,
    _lock: File,
}

/// Makes a directory that only root may enter.
fn private_dir(path: &Path) -> Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("making {}; hint: mount -t bpf bpf /sys/fs/bpf", path.display()))
}

/// Mounts the BPF file system where it belongs, unless it is there, as systemd does at boot.
fn mount() -> Result<()> {
    if is_bpf_fs(&File::open(MOUNT_POINT).context(MOUNT_POINT)?) {
        return Ok(());
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    nix::mount::mount(Some("bpf"), MOUNT_POINT, Some("bpf"), flags, Some("mode=700"))
        .with_context(|| format!("mounting the BPF file system at {MOUNT_POINT}"))
}

fn is_bpf_fs(file: &File) -> bool {
    // SAFETY: `statfs` is plain data that the kernel fills in.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: an open file and a struct that live across the call.
    let known = unsafe { libc::fstatfs(file.as_raw_fd(), &raw mut stat) };
    known == 0 && stat.f_type == BPF_FS
}

/// Locks the directory of all pins.
fn lock(dir: &Path) -> Result<File> {
    if dir.starts_with(MOUNT_POINT) {
        mount()?;
    }
    private_dir(dir)?;
    let file = File::open(dir).with_context(|| dir.display().to_string())?;
    ensure!(
        is_bpf_fs(&file),
        "{} is not on a BPF file system; hint: mount -t bpf bpf /sys/fs/bpf, or --pins",
        dir.display()
    );
    ensure!(fs::metadata(dir)?.uid() == 0, "{} is not root's", dir.display());
    // SAFETY: a system call with an open file.
    if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
        bail!(
            "another daemon holds {}; hint: agentguard doctor, or --pins for one of its own",
            dir.display()
        );
    }
    Ok(file)
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().into_string().ok()).collect()
}

/// Epoch and digest of a directory of links.
fn set(name: &str) -> Option<(u32, &str)> {
    let (epoch, digest) = name.strip_prefix("links-")?.split_once('-')?;
    Some((epoch.parse().ok()?, digest))
}

impl Pins {
    /// The pins of `level` below `dir`, for the programs of the object with this `digest`.
    ///
    /// # Errors
    /// When another daemon holds them, or pins of a build with another layout are there.
    pub(super) fn open(dir: &Path, level: Level, digest: &str) -> Result<Self> {
        let lock = lock(dir)?;
        let name = format!("v{LAYOUT}-{}", level.name());
        let ours = format!("v{LAYOUT}-");
        let others = names(dir);
        if let Some(other) = others.iter().find(|n| n.starts_with('v') && !n.starts_with(&ours)) {
            bail!(
                "{}/{other} is of a build with another layout, and goes on enforcing; hint: wait until its \
                 invocations have ended or revoke them with that build, then `agentguard uninstall`",
                dir.display()
            );
        }
        let root = dir.join(name);
        let sets = names(&root);
        let sets = || sets.iter().filter_map(|name| set(name));
        let ours = sets().find(|(_, d)| *d == digest).map(|(epoch, _)| epoch);
        let last = sets().map(|(epoch, _)| epoch).max().unwrap_or(0);
        let epoch = ours.filter(|epoch| *epoch == last).unwrap_or(last + 1);
        let links = root.join(format!("links-{epoch}-{digest}"));
        let adopted = root.join("maps/CONTROL").exists();
        private_dir(&root.join("maps"))?;
        private_dir(&links)?;
        Ok(Self { root, links, epoch, adopted, _lock: lock })
    }

    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.root.join("maps").join(name)
    }

    /// Whether a program is attached already.
    pub(super) fn has(&self, program: &str) -> bool {
        self.links.join(program).exists()
    }

    /// The program behind a pinned link.
    pub(super) fn program(&self, name: &str) -> Result<OwnedFd> {
        let link: FdLink = PinnedLink::from_pin(self.links.join(name))?.into();
        let id = link.info()?.program_id();
        /// `struct { __u32 prog_id; __u32 next_id; __u32 open_flags; }` of `union bpf_attr`.
        type ById = [u32; 3];
        let attributes: ById = [id, 0, 0];
        let command = bpf_cmd::BPF_PROG_GET_FD_BY_ID as u32;
        // SAFETY: the kernel reads the attributes, which live across the call.
        let fd = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const attributes, size_of::<ById>()) };
        ensure!(fd >= 0, "program {id}: {}", std::io::Error::last_os_error());
        // SAFETY: a fresh fd that nothing else owns.
        Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
    }

    /// Pins a link: from here on only [`Self::drop_link`] or its removal detaches it.
    pub(super) fn keep(&self, program: &str, link: FdLink) -> Result<()> {
        let path = self.links.join(program);
        link.pin(&path).with_context(|| format!("pinning {}", path.display()))?;
        Ok(())
    }

    /// Detaches a program.
    pub(super) fn drop_link(&self, program: &str) -> Result<()> {
        let path = self.links.join(program);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(e).with_context(|| format!("detaching {}", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// Whether links of other builds are there.
    pub(super) fn others(&self) -> Vec<PathBuf> {
        let dirs = names(&self.root).into_iter().filter(|name| set(name).is_some());
        dirs.map(|name| self.root.join(name)).filter(|dir| *dir != self.links).collect()
    }

    /// Detaches the programs of other builds.
    pub(super) fn retire_others(&self) -> Result<()> {
        self.others().iter().try_for_each(|dir| remove(dir))
    }

    /// What removes everything of this level, also when the rest of this is gone.
    pub(super) fn remover(&self) -> Remover {
        Remover(self.root.clone())
    }
}

/// Removes the pins of a level.
pub(super) struct Remover(PathBuf);

impl Remover {
    /// Detaches everything and removes the maps.
    pub(super) fn remove(&self) -> Result<()> {
        remove(&self.0)?;
        if let Some(dir) = self.0.parent() {
            let _ = fs::remove_dir(dir); // pins of the other level may be there
        }
        Ok(())
    }
}

/// The level that is pinned below `dir`, if one is.
pub(super) fn level(dir: &Path) -> Option<Level> {
    let control = |level: Level| dir.join(format!("v{LAYOUT}-{}", level.name())).join("maps/CONTROL");
    [Level::Lsm, Level::Compat].into_iter().find(|level| control(*level).exists())
}

/// Removes a directory of pins. Links side by side: to detach one takes the kernel up to 50 ms of waiting.
fn remove(dir: &Path) -> Result<()> {
    let (mut links, mut dirs) = (Vec::new(), vec![dir.to_owned()]);
    let mut at = 0;
    while let Some(dir) = dirs.get(at).cloned() {
        for name in names(&dir) {
            let path = dir.join(name);
            if path.is_dir() { dirs.push(path) } else { links.push(path) }
        }
        at += 1;
    }
    let share = links.len().div_ceil(16).max(1);
    let gone = |path: &PathBuf| fs::remove_file(path).with_context(|| format!("removing {}", path.display()));
    std::thread::scope(|scope| {
        let parts: Vec<_> =
            links.chunks(share).map(|part| scope.spawn(move || part.iter().try_for_each(gone))).collect();
        parts.into_iter().try_for_each(|part| part.join().unwrap_or_else(|_| bail!("a thread panicked")))
    })?;
    dirs.iter().rev().try_for_each(|dir| match fs::remove_dir(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("removing {}", dir.display()))
        }
        _ => Ok(()),
    })
}

/// Detaches and removes everything below `dir`, of every build and level. Returns what was there.
///
/// # Errors
/// When a daemon runs on it and that is not to be overridden, or something can't be removed.
pub fn uninstall(dir: &Path, force: bool) -> Result<Vec<String>> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let _lock = match lock(dir) {
        Err(_) if force => None,
        other => Some(other?),
    };
    let found = names(dir);
    remove(dir)?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::set;

    #[test]
    fn directories_of_links_say_their_epoch_and_object() {
        assert_eq!(set("links-3-abc"), Some((3, "abc")));
        assert_eq!(set("links-abc"), None);
        assert_eq!(set("maps"), None);
    }
}
