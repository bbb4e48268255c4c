//! Level `lsm`: operations that reach beyond files and addresses, each of which a policy can grant by name.

use agentguard_common::event::Action;
use agentguard_common::policy::privilege;
use agentguard_common::verdict::{Reason, Verdict};
use aya_ebpf::bindings::task_struct;
use aya_ebpf::helpers::generated::bpf_get_current_pid_tgid;
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use core::mem::MaybeUninit;

use super::attributes::{changes_tree, sets_flags, use_to_write};
use crate::emit::{self, EPERM};
use crate::subject::{Subject, acts_for_kernel, tag_of};
use crate::{kread, offset};

/// Set in `opts` of `capable` when the kernel only asks for advice.
const CAP_OPT_NOAUDIT: u32 = 1 << 1;
/// Set in `mode` of `ptrace_access_check` when the kernel only asks for advice.
const PTRACE_MODE_NOAUDIT: u32 = 4;
const TIOCSTI: u32 = 0x5412;
const TIOCLINUX: u32 = 0x541c;

/// Whom or what a refusal names, and whether it is recorded.
#[derive(Clone, Copy)]
struct Note {
    detail: u32,
    other_pid: u32,
    silent: bool,
}

/// Decides about a privileged operation that any of `privileges` permits. Returns 0 or a negative errno.
#[inline(always)]
fn demand(subject: &Subject, action: Action, privileges: u32, note: Note) -> i32 {
    if subject.may(privileges) {
        return 0;
    }
    let silent = u32::from(note.silent);
    emit::outcome(refuse_privilege(action as u32, note.detail, note.other_pid, silent) != 0, EPERM)
}

/// Refuses what needs a privilege, and records that: one function to the verifier, whatever else the program asks.
/// Returns 0 where a policy in audit mode lets it through.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn refuse_privilege(action: u32, detail: u32, other_pid: u32, silent: u32) -> i32 {
    let Some(subject) = Subject::current() else { return 0 };
    let verdict = Verdict::deny(subject.barred.unwrap_or(Reason::Privilege));
    let stops = subject.stops(verdict);
    if silent == 0 {
        let mut event = MaybeUninit::uninit();
        let event = emit::fill(&mut event, &subject, Action::Privilege, verdict);
        event.action = action as u16;
        event.detail = detail;
        event.other_pid = other_pid;
        event.errno = if stops { EPERM } else { 0 };
        let ring = emit::ring_for(&subject, verdict);
        emit::plain(&subject, ring, event);
    }
    i32::from(stops)
}

/// Demands one privilege of the current task.
#[inline(always)]
fn demand_one(privilege: u32) -> i32 {
    demand_as(Action::Privilege, privilege)
}

/// The same, recorded as `action`.
#[inline(always)]
pub(super) fn demand_as(action: Action, privilege: u32) -> i32 {
    let Some(subject) = Subject::current() else { return 0 };
    demand(&subject, action, privilege, Note { detail: privilege, other_pid: 0, silent: false })
}

macro_rules! privilege_hooks {
    ($($hook:literal $name:ident: $privilege:ident;)*) => {$(
        #[lsm(hook = $hook)]
        pub fn $name(_ctx: LsmContext) -> i32 {
            demand_one(privilege::$privilege)
        }
    )*};
}

// The kernel stops at the first refusal of an LSM, so these need not look at earlier verdicts; where the verdict is
// among the arguments differs between kernels for some.
privilege_hooks! {
    "sb_mount" sb_mount: MOUNT;
    "sb_umount" sb_umount: MOUNT;
    "sb_pivotroot" sb_pivotroot: MOUNT;
    "move_mount" move_mount: MOUNT;
    "path_chroot" path_chroot: CHROOT;
    "userns_create" userns_create: USER_NAMESPACE;
    "bpf" bpf: BPF;
    "perf_event_open" perf_event_open: PERF;
    "syslog" syslog: CAPABILITIES;
}

/// Capabilities that reach beyond the task's own files and limits. The layers of a stacked file system check them on
/// behalf of the kernel, with other credentials than the task's own.
#[lsm(hook = "capable")]
pub fn capable(ctx: LsmContext) -> i32 {
    let Some(subject) = Subject::current() else { return 0 };
    let (capability, options): (i32, u32) = (ctx.arg(2), ctx.arg(3));
    let privileges = privilege::for_capability(capability as u32);
    if privileges == 0 || acts_for_kernel() {
        return 0;
    }
    let note = Note {
        detail: privilege::CAPABILITIES,
        other_pid: capability as u32,
        silent: options & CAP_OPT_NOAUDIT != 0,
    };
    demand(&subject, Action::Privilege, privileges, note)
}

/// Whether `task` belongs to the subject's own invocation.
#[inline(always)]
fn own(subject: &Subject, task: *mut task_struct) -> bool {
    subject.barred.is_none() && tag_of(task).is_some_and(|tag| tag == subject.tag)
}

#[inline(always)]
fn process_of(task: *mut task_struct) -> u32 {
    kread::value::<u32>(task as usize + offset!(task_tgid))
}

/// Tracing, and reading the memory, descriptors and environment, of processes outside the invocation.
#[lsm(hook = "ptrace_access_check")]
pub fn ptrace_access_check(ctx: LsmContext) -> i32 {
    let Some(subject) = Subject::current() else { return 0 };
    let other: *mut task_struct = ctx.arg(0);
    if own(&subject, other) {
        return 0;
    }
    let mode: u32 = ctx.arg(1);
    let silent = mode & PTRACE_MODE_NOAUDIT != 0;
    let note = Note { detail: mode, other_pid: process_of(other), silent };
    demand(&subject, Action::Ptrace, privilege::PTRACE_OTHERS, note)
}

/// Signals to processes outside the invocation.
#[lsm(hook = "task_kill")]
pub fn task_kill(ctx: LsmContext) -> i32 {
    let Some(subject) = Subject::current() else { return 0 };
    let other: *mut task_struct = ctx.arg(0);
    if own(&subject, other) {
        return 0;
    }
    let signal: i32 = ctx.arg(2);
    let note = Note { detail: signal as u32, other_pid: process_of(other), silent: false };
    demand(&subject, Action::Signal, privilege::SIGNAL_OTHERS, note)
}

macro_rules! other_task_hooks {
    ($($hook:literal $name:ident;)*) => {$(
        #[lsm(hook = $hook)]
        pub fn $name(ctx: LsmContext) -> i32 {
            let Some(subject) = Subject::current() else { return 0 };
            let other: *mut task_struct = ctx.arg(0);
            if own(&subject, other) {
                return 0;
            }
            let note = Note { detail: 0, other_pid: process_of(other), silent: false };
            demand(&subject, Action::Signal, privilege::SIGNAL_OTHERS, note)
        }
    )*};
}

// Priorities, schedulers and memory nodes of processes outside the invocation.
other_task_hooks! {
    "task_setnice" task_setnice;
    "task_setioprio" task_setioprio;
    "task_setscheduler" task_setscheduler;
    "task_movememory" task_movememory;
}

/// Set in `flags` of `task_prlimit` when limits are changed.
const LSM_PRLIMIT_WRITE: u32 = 2;

/// Limits of another process. The hook does not say which, so own ones are refused too.
#[lsm(hook = "task_prlimit")]
pub fn task_prlimit(ctx: LsmContext) -> i32 {
    let flags: u32 = ctx.arg(2);
    if flags & LSM_PRLIMIT_WRITE == 0 {
        return 0;
    }
    demand_one(privilege::SIGNAL_OTHERS)
}

const F_SETOWN: u32 = 8;
const F_SETLEASE: u32 = 1024;
const F_SETOWN_EX: u32 = 15;
const FIOSETOWN: u32 = 0x8901;
const SIOCSPGRP: u32 = 0x8902;

/// Who gets the signals of a descriptor: the kernel sends them later, and then asks nobody who knows.
#[lsm(hook = "file_fcntl")]
pub fn file_fcntl(ctx: LsmContext) -> i32 {
    let (command, argument): (u32, u64) = (ctx.arg(1), ctx.arg(2));
    if command == F_SETLEASE {
        return use_to_write(ctx.arg::<*const u8>(0) as usize); // it holds up whoever opens the file
    }
    if command != F_SETOWN && command != F_SETOWN_EX {
        return 0;
    }
    // SAFETY: the helper has no preconditions.
    let own_pid = unsafe { bpf_get_current_pid_tgid() } >> 32;
    if command == F_SETOWN && (argument == 0 || argument as u32 == own_pid as u32) {
        return 0;
    }
    demand_one(privilege::SIGNAL_OTHERS)
}

/// Input put into a terminal as if it were typed, receivers of signals, flags of files.
#[inline(always)]
fn controls(file: usize, command: u32) -> i32 {
    if command == TIOCSTI || command == TIOCLINUX {
        return demand_one(privilege::TERMINAL_INJECTION);
    }
    if command == FIOSETOWN || command == SIOCSPGRP {
        return demand_one(privilege::SIGNAL_OTHERS);
    }
    if sets_flags(command) || changes_tree(command) { use_to_write(file) } else { 0 }
}

#[lsm(hook = "file_ioctl")]
pub fn file_ioctl(ctx: LsmContext) -> i32 {
    controls(ctx.arg::<*const u8>(0) as usize, ctx.arg(1))
}

/// 32-bit callers, from 6.8 on.
#[lsm(hook = "file_ioctl_compat")]
pub fn file_ioctl_compat(ctx: LsmContext) -> i32 {
    controls(ctx.arg::<*const u8>(0) as usize, ctx.arg(1))
}

/// Credentials that a process kept for io_uring. Nobody could tell then whose the ones in force are.
#[lsm(hook = "uring_override_creds")]
pub fn uring_override_creds(_ctx: LsmContext) -> i32 {
    demand_one(privilege::CAPABILITIES)
}

/// Keys of the kernel's keyrings, also ones that the session of the invoking user left. The kernel's own use goes on.
#[lsm(hook = "key_permission")]
pub fn key_permission(_ctx: LsmContext) -> i32 {
    if acts_for_kernel() { 0 } else { demand_one(privilege::KEYRING) }
}
