//! Level `lsm`: operations that reach beyond files and addresses, each of which a policy can grant by name.

use agentguard_common::event::Action;
use agentguard_common::policy::privilege;
use agentguard_common::verdict::{Reason, Verdict};
use aya_ebpf::bindings::task_struct;
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;

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
    let verdict = Verdict::deny(subject.barred.unwrap_or(Reason::Privilege));
    let stops = subject.stops(verdict);
    if !note.silent
        && let Some(ring) = emit::ring_for(subject, verdict)
    {
        let mut event = emit::header(subject, action, verdict);
        event.detail = note.detail;
        event.other_pid = note.other_pid;
        event.errno = if stops { EPERM } else { 0 };
        emit::plain(subject, ring, &mut event);
    }
    emit::outcome(stops, EPERM)
}

/// Demands one privilege of the current task.
#[inline(always)]
fn demand_one(privilege: u32) -> i32 {
    let Some(subject) = Subject::current() else { return 0 };
    demand(&subject, Action::Privilege, privilege, Note { detail: privilege, other_pid: 0, silent: false })
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
    kread::read::<u32>(task as usize + offset!(task_tgid)).unwrap_or(0)
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

/// Input put into a terminal as if it were typed.
#[inline(always)]
fn injects(command: u32) -> i32 {
    if command != TIOCSTI && command != TIOCLINUX {
        return 0;
    }
    demand_one(privilege::TERMINAL_INJECTION)
}

#[lsm(hook = "file_ioctl")]
pub fn file_ioctl(ctx: LsmContext) -> i32 {
    injects(ctx.arg(1))
}

/// 32-bit callers, from 6.8 on.
#[lsm(hook = "file_ioctl_compat")]
pub fn file_ioctl_compat(ctx: LsmContext) -> i32 {
    injects(ctx.arg(1))
}
