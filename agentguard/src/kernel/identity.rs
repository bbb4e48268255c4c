//! Tags on tasks: the kernel's task storage, whose key in user space is a pidfd.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use agentguard_common::invocation::Tag;
use anyhow::{Context as _, Result};

use super::{Kernel, map_fd};

impl Kernel {
    fn storage(&self) -> Result<i32> {
        let map = self.ebpf.map("TASK_TAG").context("map TASK_TAG")?;
        Ok(map_fd(map)?.as_raw_fd())
    }

    /// Tags the process behind `pidfd`.
    ///
    /// # Errors
    /// When the process is gone or the kernel refuses.
    pub fn tag(&self, pidfd: BorrowedFd<'_>, tag: Tag) -> Result<()> {
        let mut tag = tag;
        bpf_element(2, self.storage()?, pidfd, &mut tag).context("tagging the process")
    }

    /// Takes the tag off the process behind `pidfd`: only for one that was refused before it did anything.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn untag(&self, pidfd: BorrowedFd<'_>) -> Result<()> {
        bpf_element(3, self.storage()?, pidfd, &mut Tag::default()).context("taking the tag off the process")
    }

    /// The tag of the process behind `pidfd`, if it has one.
    #[must_use]
    pub fn tag_of(&self, pidfd: BorrowedFd<'_>) -> Option<Tag> {
        let mut tag = Tag::default();
        bpf_element(1, self.storage().ok()?, pidfd, &mut tag).ok().map(|()| tag)
    }
}

/// Opens a pidfd.
///
/// # Errors
/// When there is no such process.
pub fn pidfd_open(pid: u32) -> Result<std::os::fd::OwnedFd> {
    use std::os::fd::FromRawFd as _;
    // SAFETY: a system call without memory arguments.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error()).with_context(|| format!("pidfd_open of process {pid}"));
    }
    // SAFETY: a fresh fd that nothing else owns.
    Ok(unsafe { std::os::fd::OwnedFd::from_raw_fd(fd as i32) })
}

/// `BPF_MAP_LOOKUP_ELEM` (1), `BPF_MAP_UPDATE_ELEM` (2) or `BPF_MAP_DELETE_ELEM` (3) of task storage, whose key is a pidfd.
fn bpf_element(command: i32, map: i32, pidfd: BorrowedFd<'_>, tag: &mut Tag) -> std::io::Result<()> {
    #[repr(C)]
    struct Attr {
        map: u32,
        pad: u32,
        key: u64,
        value: u64,
        flags: u64,
    }
    let key = pidfd.as_raw_fd();
    let attr = Attr {
        map: map as u32,
        pad: 0,
        key: (&raw const key) as u64,
        value: if command == 3 { 0 } else { std::ptr::from_mut(tag) as u64 }, // deleting takes none
        flags: 0,
    };
    // SAFETY: the attribute and what it points to live across the call; sizes are the map's key and value.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const attr, size_of::<Attr>()) };
    if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}
