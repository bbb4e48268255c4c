//! Level `lsm`: what a task has open already, once it may do nothing any more. The host's hottest hooks, so these programs
//! are attached only while an invocation lives, and then read one word before anything else.
//!
//! A barred task may still let go: close, unlock, exit. What it has mapped stays in its memory until it is killed.

use core::ffi::c_void;
use core::mem::MaybeUninit;

use agentguard_common::event::Action;
use agentguard_common::file::Access;
use agentguard_common::invocation::Tag;
use agentguard_common::verdict::{Reason, Verdict};
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_sock_from_file};
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;

use super::file::record_open;
use super::net::{AF_INET, AF_INET6, answer};
use crate::emit::{self, EACCES, EPERM};
use crate::maps::{CONTROL, INSISTENCE, Insistence};
use crate::subject::{Subject, current_tag, now};
use crate::{atomic, kread, offset};

const MAY_WRITE: i32 = 2;
const MAY_READ: i32 = 4;
const MAY_APPEND: i32 = 8;
const PROT_READ: u64 = 1;
pub(super) const PROT_WRITE: u64 = 2;
const S_IFSOCK: u16 = 0o140_000;
/// `fcntl` commands that concern the descriptor and not what it leads to.
const F_DUPFD: u32 = 0;
const F_GETFD: u32 = 1;
const F_SETFD: u32 = 2;
const F_GETFL: u32 = 3;
/// Locks, which `file_lock` decides: one may be given back.
const F_SETLK: u32 = 6;
const F_SETLKW: u32 = 7;
const F_OFD_SETLK: u32 = 37;
const F_OFD_SETLKW: u32 = 38;
const F_DUPFD_CLOEXEC: u32 = 1030;
const F_UNLCK: u32 = 2;

/// The current task's tag, if it may do nothing any more.
#[inline(always)]
fn barred() -> Option<Tag> {
    let control = CONTROL.get_ptr(0)?;
    // SAFETY: a live map value.
    let from = unsafe { core::ptr::read_volatile(&raw const (*control).recheck_from_ns) };
    if from == u64::MAX {
        return None;
    }
    let tag = current_tag()?; // before the time: it costs less, and most tasks have none
    (now() >= from && Subject::of(tag).barred.is_some()).then_some(tag)
}

/// Counts a refusal, and says how often the process met it if this one is to be recorded: the first, the second, the
/// fourth, the eighth … So a task that spins fills no ring, and the record says how often it tried.
#[inline(always)]
pub(super) fn noticed(tag: Tag, object: usize, want: Access) -> Option<u32> {
    // SAFETY: the helper has no preconditions.
    let pid = unsafe { bpf_get_current_pid_tgid() } >> 32;
    let key = Insistence { tag, object: object as u64, pid: pid as u32, want: u32::from(want.0) };
    let times = match INSISTENCE.get_ptr_mut(key) {
        // SAFETY: a live map value, aligned for u64.
        Some(count) => unsafe { atomic::fetch_add(count, 1) + 1 },
        None => {
            let _ = INSISTENCE.insert(key, 1u64, u64::from(BPF_NOEXIST)); // uncounted is recorded
            1
        }
    };
    if times & (times - 1) == 0 {
        return Some(times.min(u64::from(u32::MAX)) as u32);
    }
    let _ = emit::ring_for(&Subject::of(tag), Verdict::deny(Reason::Revoked)); // counts it as denied
    None
}

/// Refuses the use of an open file, or of the socket that it is.
#[inline(always)]
fn refuse_file(tag: Tag, file: usize, want: Access) -> i32 {
    if let Some(times) = noticed(tag, file, want) {
        let at = file + offset!(file_path);
        record_open(kread::word(at + offset!(path_dentry)), kread::word(at + offset!(path_mnt)), want, times);
    }
    emit::outcome(true, EACCES)
}

/// A refused socket, in memory for the verifier.
#[repr(C)]
pub struct OpenSocket {
    tag: Tag,
    /// Kernel address of the `struct sock`.
    sk: u64,
    want: u32,
    times: u32,
}

/// Refuses the use of an open socket.
#[inline(always)]
pub(super) fn refuse_socket(tag: Tag, sk: usize, want: Access) -> i32 {
    if let Some(times) = noticed(tag, sk, want) {
        let socket = OpenSocket { tag, sk: sk as u64, want: u32::from(want.0), times };
        let _ = answer(record_socket(&raw const socket));
    }
    emit::outcome(true, EPERM)
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn record_socket(socket: *const OpenSocket) -> i32 {
    // SAFETY: null or a caller's live `OpenSocket`.
    let Some(socket) = (unsafe { socket.as_ref() }) else { return 1 };
    let subject = Subject::of(socket.tag);
    let verdict = Verdict::deny(subject.barred.unwrap_or(Reason::Revoked));
    let mut event = MaybeUninit::uninit();
    let event = emit::fill(&mut event, &subject, Action::Use, verdict);
    let sk = socket.sk as usize;
    event.family = kread::value::<u16>(sk + offset!(sk_family));
    event.protocol = kread::value::<u16>(sk + offset!(sk_protocol));
    event.port = u16::from_be(kread::value::<u16>(sk + offset!(sk_peer_port)));
    if event.family == AF_INET {
        event.address[3] = u32::from_be(kread::value::<u32>(sk + offset!(sk_peer4)));
    }
    if event.family == AF_INET6 {
        event.address = kread::value::<[u32; 4]>(sk + offset!(sk_peer6)).map(u32::from_be);
    }
    event.access = socket.want as u16;
    event.missing = socket.want as u16;
    event.detail = socket.times;
    event.socket_type = S_IFSOCK;
    event.errno = EPERM;
    let ring = emit::ring_for(&subject, verdict);
    emit::plain(&subject, ring, event);
    1
}

/// Reads, writes, lists of a directory, allocations and copies of any file, by system call, splice or io_uring.
#[lsm(hook = "file_permission")]
pub fn open_permission(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(2);
    if earlier != 0 {
        return earlier;
    }
    let Some(tag) = barred() else { return 0 };
    let mask: i32 = ctx.arg(1);
    let mut want = Access::NONE;
    if mask & MAY_READ != 0 {
        want = want.union(Access::READ);
    }
    if mask & (MAY_WRITE | MAY_APPEND) != 0 {
        want = want.union(Access::WRITE);
    }
    let file: *mut c_void = ctx.arg(0);
    // SAFETY: a trusted `struct file *`.
    let socket = unsafe { bpf_sock_from_file(file.cast()) }.cast::<u8>();
    if socket.is_null() {
        return refuse_file(tag, file as usize, want);
    }
    refuse_socket(tag, kread::word(socket as usize + offset!(socket_sk)), want)
}

macro_rules! open_file_hooks {
    ($($hook:literal $name:ident: $earlier:literal, |$ctx:ident| $want:expr;)*) => {$(
        #[lsm(hook = $hook)]
        pub fn $name($ctx: LsmContext) -> i32 {
            let earlier: i32 = $ctx.arg($earlier);
            if earlier != 0 {
                return earlier;
            }
            let Some(tag) = barred() else { return 0 };
            match $want {
                Access::NONE => 0,
                want => refuse_file(tag, $ctx.arg::<*const u8>(0) as usize, want),
            }
        }
    )*};
}

open_file_hooks! {
    "file_lock" open_lock: 2, |ctx| if ctx.arg::<u32>(1) == F_UNLCK { Access::NONE } else { Access::WRITE };
    "file_ioctl" open_ioctl: 3, |_ctx| Access::WRITE;
    "file_ioctl_compat" open_ioctl_compat: 3, |_ctx| Access::WRITE;
    "file_fcntl" open_fcntl: 3, |ctx| match ctx.arg::<u32>(1) {
        F_DUPFD | F_GETFD | F_SETFD | F_GETFL | F_DUPFD_CLOEXEC => Access::NONE,
        F_SETLK | F_SETLKW | F_OFD_SETLK | F_OFD_SETLKW => Access::NONE,
        _ => Access::WRITE,
    };
}

/// New maps of open files, for `mmap_file` in hooks/memory: every program of a hook costs as much as this one does. Memory of
/// its own is the task's as long as it lives. Returns what the hook returns.
#[inline(always)]
pub(super) fn map(file: *const u8, protection: u64) -> i32 {
    if file.is_null() {
        return 0;
    }
    let Some(tag) = barred() else { return 0 };
    // Not a comparison of the pointer: see hooks/memory.
    if kread::word(file as usize + offset!(file_inode)) == 0 {
        return 0;
    }
    let mut want = Access::READ;
    if protection & PROT_WRITE != 0 {
        want = if protection & PROT_READ != 0 { want.union(Access::WRITE) } else { Access::WRITE };
    }
    refuse_file(tag, file as usize, want)
}

macro_rules! open_socket_hooks {
    ($($hook:literal $name:ident: $earlier:literal, $want:ident;)*) => {$(
        #[lsm(hook = $hook)]
        pub fn $name(ctx: LsmContext) -> i32 {
            let earlier: i32 = ctx.arg($earlier);
            if earlier != 0 {
                return earlier;
            }
            let Some(tag) = barred() else { return 0 };
            refuse_socket(tag, kread::word(ctx.arg::<*const u8>(0) as usize + offset!(socket_sk)), Access::$want)
        }
    )*};
}

// What was received before the revoke is in the socket: no packet hook keeps it from the task. A zero-copy receive is a
// `getsockopt`. Sends are refused by hooks/socket.
open_socket_hooks! {
    "socket_recvmsg" open_receive: 4, READ;
    "socket_accept" open_accept: 2, READ;
    "socket_getsockopt" open_option: 3, READ;
}

/// Messages to queues. Of receiving from a POSIX queue the kernel asks nobody.
#[lsm(hook = "msg_msg_alloc_security")]
pub fn open_message(_ctx: LsmContext) -> i32 {
    let Some(tag) = barred() else { return 0 };
    if let Some(times) = noticed(tag, 0, Access::WRITE) {
        record_open(0, 0, Access::WRITE, times);
    }
    emit::outcome(true, EACCES)
}
