//! Ways to open and to move files.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, RenameFlags, open, openat, renameat2};
use nix::sys::stat::Mode;

use crate::{Step as _, Stop, verify};

/// A descriptor that stands for a path, without an open file.
///
/// # Errors
/// When the path does not exist.
pub fn path_descriptor(path: &Path) -> Result<OwnedFd, Stop> {
    open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).step("opening the path")
}

/// The path of a descriptor in `/proc`.
#[must_use]
pub fn proc_path(fd: impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()))
}

/// Reads the file `name` in the directory `dir`.
///
/// # Errors
/// When it can't be read.
pub fn read_at(dir: impl AsFd, name: &str) -> Result<String, Stop> {
    let fd = openat(dir, name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).step("opening")?;
    let mut text = String::new();
    File::from(fd).read_to_string(&mut text).step("reading")?;
    Ok(text)
}

/// Opens `path` for writing only.
///
/// # Errors
/// When the kernel refuses.
pub fn writable(path: impl AsRef<Path>) -> Result<File, Stop> {
    File::options().write(true).open(path).step("opening for writing")
}

/// Renames with `flags`.
///
/// # Errors
/// When the kernel refuses.
pub fn rename(old: &Path, new: &Path, flags: RenameFlags) -> Result<(), Stop> {
    renameat2(AT_FDCWD, old, AT_FDCWD, new, flags).step("renaming")
}

/// Exchanges two names.
///
/// # Errors
/// When the kernel refuses.
pub fn exchange(one: &Path, other: &Path) -> Result<(), Stop> {
    rename(one, other, RenameFlags::RENAME_EXCHANGE)
}

/// Verifies that `path` exists. Asks for nothing that a policy refuses.
///
/// # Errors
/// When it does not.
pub fn exists(path: impl AsRef<Path>) -> Result<(), Stop> {
    verify(path.as_ref().symlink_metadata().is_ok(), "making it")
}

/// Verifies that `path` does not exist.
///
/// # Errors
/// When it does.
pub fn is_gone(path: impl AsRef<Path>) -> Result<(), Stop> {
    verify(path.as_ref().symlink_metadata().is_err(), "removing it")
}

/// Verifies that the file at `path` has `len` bytes.
///
/// # Errors
/// When it has not.
pub fn has_len(path: impl AsRef<Path>, len: usize) -> Result<(), Stop> {
    let metadata = path.as_ref().metadata().step("asking for the length")?;
    verify(metadata.len() == len as u64, "changing the length")
}

/// Makes `attempt` while another thread exchanges `one` and `other` over and over, until it succeeds or was refused often
/// enough for the race to have been won now and then, were there one.
///
/// # Errors
/// The last refusal.
pub fn race(one: &Path, other: &Path, attempt: impl Fn() -> Result<(), Stop>) -> Result<(), Stop> {
    const REFUSALS: u32 = 50;
    const ATTEMPTS: u32 = 100_000;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let _ = exchange(one, other); // nothing to do about it
            }
        });
        let mut last = Err(Stop::absent("a race"));
        let mut refused = 0;
        for _ in 0..ATTEMPTS {
            match attempt() {
                Ok(()) => {
                    last = Ok(());
                    break;
                }
                Err(Stop::Refused { step, errno }) if [libc::EACCES, libc::EPERM].contains(&errno) => {
                    last = Err(Stop::Refused { step, errno });
                    refused += 1;
                }
                Err(_) => {}
            }
            if refused == REFUSALS {
                break;
            }
        }
        over.store(true, Ordering::Relaxed);
        last
    })
}

/// Names an open file, as `open_by_handle_at` wants it.
#[repr(C)]
#[derive(Debug)]
pub struct Handle {
    len: u32,
    kind: i32,
    bytes: [u8; 128],
}

impl Handle {
    /// The handle of `path`.
    ///
    /// # Errors
    /// [`Stop::Absent`] where the file system has no handles.
    pub fn of(path: &Path) -> Result<Self, Stop> {
        let mut handle = Self { len: 128, kind: 0, bytes: [0; 128] };
        let (name, mut mount) = (super::c(path), 0_i32);
        let at = libc::AT_FDCWD as usize;
        let arguments = [at, name.as_ptr().addr(), (&raw mut handle).addr(), (&raw mut mount).addr(), 0, 0];
        // SAFETY: the name, the handle, and the mount's number live across the call.
        let named = unsafe { super::call(libc::SYS_name_to_handle_at, arguments) };
        super::absent_if(named, Errno::EOPNOTSUPP, "handles on this file system").step("naming")?;
        Ok(handle)
    }

    /// Opens it; `mount` is any file on the same file system.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open(&self, mount: impl AsFd, flags: i32) -> Result<File, Stop> {
        let arguments =
            [mount.as_fd().as_raw_fd() as usize, std::ptr::from_ref(self).addr(), flags as usize, 0, 0, 0];
        // SAFETY: the handle lives across the call.
        let fd = unsafe { super::call(libc::SYS_open_by_handle_at, arguments) }.step("opening by handle")?;
        // SAFETY: a fresh fd that nothing else owns.
        Ok(unsafe { File::from_raw_fd(fd as i32) })
    }
}
