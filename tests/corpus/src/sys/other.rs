//! What a process can do to another one. Everything is set to what it is already, so nothing changes.

use std::fs::{self, File};
use std::io::{IoSliceMut, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

use super::{call, result};
use crate::scene::BLOCKED;
use crate::{Scene, Step as _, Stop, verify};

/// Missing in `libc`.
const F_SETSIG: i32 = 10;

/// A descriptor of process `pid`.
///
/// # Errors
/// When the kernel refuses.
pub fn pidfd(pid: i32) -> Result<OwnedFd, Stop> {
    // SAFETY: takes integers.
    let fd = unsafe { call(libc::SYS_pidfd_open, [pid as usize, 0, 0, 0, 0, 0]) }.step("pidfd_open")?;
    // SAFETY: a fresh fd that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Copies the descriptor `fd` of process `pid`.
///
/// # Errors
/// When the kernel refuses.
pub fn descriptor_of(pid: i32, fd: i32) -> Result<File, Stop> {
    let pidfd = pidfd(pid)?;
    let arguments = [pidfd.as_raw_fd() as usize, fd as usize, 0, 0, 0, 0];
    // SAFETY: takes integers.
    let copy = unsafe { call(libc::SYS_pidfd_getfd, arguments) }.step("pidfd_getfd")?;
    // SAFETY: a fresh fd that nothing else owns.
    Ok(unsafe { File::from_raw_fd(copy as i32) })
}

/// Reads memory of process `pid`.
///
/// # Errors
/// When the kernel refuses.
pub fn memory_of(pid: i32, base: usize, len: usize) -> Result<Vec<u8>, Stop> {
    let mut bytes = vec![0; len];
    let remote = [RemoteIoVec { base, len }];
    let read = process_vm_readv(Pid::from_raw(pid), &mut [IoSliceMut::new(&mut bytes)], &remote);
    verify(read.step("process_vm_readv")? == len, "reading all of it")?;
    Ok(bytes)
}

/// Seizes process `pid` as its tracer, from a child, with whom the tracing ends.
///
/// # Errors
/// When the kernel refuses.
pub fn seize(pid: i32) -> Result<(), Stop> {
    super::in_child(|| {
        let options = nix::sys::ptrace::Options::empty();
        nix::sys::ptrace::seize(Pid::from_raw(pid), options).step("PTRACE_SEIZE")
    })
}

/// Sets the limit on open files.
///
/// # Errors
/// When the kernel refuses.
pub fn set_limits(pid: i32) -> Result<(), Stop> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let nofile = libc::RLIMIT_NOFILE;
    // SAFETY: the limit lives across the calls.
    unsafe {
        result(i64::from(libc::prlimit(pid, nofile, std::ptr::null(), &raw mut limit)))
            .step("asking for limits")?;
        let set = libc::prlimit(pid, nofile, &raw const limit, std::ptr::null_mut());
        result(i64::from(set)).step("setting limits").map(drop)
    }
}

/// Sets the scheduler.
///
/// # Errors
/// When the kernel refuses.
pub fn set_scheduler(pid: i32) -> Result<(), Stop> {
    let parameters: libc::sched_param = libc::sched_param { sched_priority: 0 };
    // SAFETY: the parameters live across the calls.
    unsafe {
        let policy = result(i64::from(libc::sched_getscheduler(pid))).step("asking for the scheduler")?;
        let set = libc::sched_setscheduler(pid, policy as i32, &raw const parameters);
        result(i64::from(set)).step("setting the scheduler").map(drop)
    }
}

/// Sets how soon the kernel kills it for memory.
///
/// # Errors
/// When the kernel refuses.
pub fn set_oom_score(pid: i32) -> Result<(), Stop> {
    let path = format!("/proc/{pid}/oom_score_adj");
    let score = fs::read(&path).step("reading")?;
    fs::OpenOptions::new().write(true).open(path).and_then(|mut f| f.write_all(&score)).step("writing")
}

/// Whether a blocked signal waits for process `pid`.
///
/// # Errors
/// When the kernel refuses to say.
pub fn has_pending(pid: i32, signal: Signal) -> Result<bool, Stop> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).step("reading its status")?;
    let pending = status.lines().find_map(|l| l.strip_prefix("ShdPnd:")).unwrap_or_default();
    let pending = u64::from_str_radix(pending.trim(), 16).unwrap_or_default();
    Ok(pending & (1 << (signal as i32 - 1)) != 0)
}

/// Has the kernel signal the victim for a socket that it was made the owner of with `own`.
///
/// # Errors
/// `EPERM` when no signal arrives: the kernel tells the sender nothing.
pub fn signal_by_owner(
    scene: &Scene,
    own: impl FnOnce(&UnixDatagram, i32) -> Result<i64, Stop>,
) -> Result<(), Stop> {
    let victim = scene.victim.pid;
    let (socket, peer) = UnixDatagram::pair().step("socketpair")?;
    own(&socket, victim).step("naming the owner")?;
    // SAFETY: take integers.
    unsafe {
        result(libc::fcntl(socket.as_raw_fd(), F_SETSIG, BLOCKED as i32).into()).step("F_SETSIG")?;
        result(libc::fcntl(socket.as_raw_fd(), libc::F_SETFL, libc::O_ASYNC).into()).step("F_SETFL")?;
    }
    peer.send(b"x").step("sending")?;
    if has_pending(victim, BLOCKED)? { Ok(()) } else { Err(Errno::EPERM).step("delivery") }
}

/// Moves it to the control group that it is in.
///
/// # Errors
/// When the kernel refuses.
pub fn move_to_cgroup(pid: i32) -> Result<(), Stop> {
    let procs = cgroup_of(pid)?.join("cgroup.procs");
    let mut file = fs::OpenOptions::new().write(true).open(procs).step("opening cgroup.procs")?;
    file.write_all(pid.to_string().as_bytes()).step("moving")
}

/// The directory of its control group (version 2).
///
/// # Errors
/// When none is mounted.
pub fn cgroup_of(pid: i32) -> Result<PathBuf, Stop> {
    let mounts = fs::read_to_string("/proc/self/mounts").step("reading mounts")?;
    let mut mounts = mounts.lines().map(|l| l.split(' ').collect::<Vec<_>>());
    let mount = mounts.find(|m| m.get(2) == Some(&"cgroup2")).ok_or_else(|| Stop::absent("cgroup v2"))?;
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).step("reading its cgroup")?;
    let group = groups.lines().find_map(|l| l.strip_prefix("0::/"));
    let group = group.ok_or_else(|| Stop::absent("a cgroup of version 2"))?;
    Ok(PathBuf::from(mount[1]).join(group))
}
