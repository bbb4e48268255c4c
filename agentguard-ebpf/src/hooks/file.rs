//! Opens and executions at level `lsm`.

use agentguard_common::event::{Action, MAX_PATH};
use agentguard_common::file::Access;
use agentguard_common::policy::privilege;
use agentguard_common::verdict::{Decision, Reason, Verdict};
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;

use agentguard_common::offsets::ABSENT;

use crate::emit::{self, EACCES};
use crate::path::{self, Buffer, Resolved};
use crate::subject::{Subject, acts_for_kernel, current_task, tag_of};
use crate::{kread, offset};

const FMODE_READ: u32 = 1;
const FMODE_WRITE: u32 = 2;
const FMODE_CREATED: u32 = 0x10_0000;
/// Set on the lower file of a stacked file system (6.5 and later).
const FMODE_BACKING: u32 = 0x200_0000;
const FMODE_EXEC: u32 = 0x20;
const O_TRUNC: u32 = 0o1000;

/// The modes that an open asks for.
#[inline(always)]
fn wanted(mode: u32, flags: u32) -> Access {
    if flags & FMODE_EXEC != 0 {
        return Access::EXEC;
    }
    let mut want = Access::NONE;
    if mode & FMODE_READ != 0 {
        want = want.union(Access::READ);
    }
    if mode & FMODE_WRITE != 0 || flags & O_TRUNC != 0 {
        want = want.union(Access::WRITE);
    }
    if mode & FMODE_CREATED != 0 {
        want = want.union(Access::CREATE);
    }
    // O_ACCMODE 3 opens for ioctl only: as strong as both.
    if want.is_empty() { Access::READ.union(Access::WRITE) } else { want }
}

/// Decides about an object on a kernel-internal mount. Its owner holds an fd to it already; executing it is the
/// `memfd` road round path rules.
#[inline(always)]
fn anonymous(subject: &Subject, want: Access) -> Verdict {
    let executes = want.contains(Access::EXEC);
    if !executes || acts_for_kernel() || subject.may(privilege::ANONYMOUS_EXEC) {
        return Verdict::new(Decision::Allow, Reason::Rule);
    }
    Verdict::deny(Reason::Privilege)
}

/// A question about a file, in memory: so the verifier sees numbers, not pointers, on the other side of the call.
#[repr(C)]
pub struct Question {
    dentry: u64,
    mnt: u64,
    action: u32,
    want: u32,
}

/// Answers for the current task and records the answer. Returns 0 or a negative errno.
///
/// A global function to the verifier, which checks it once per program, however often the program calls it.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn decide_file(question: *const Question) -> i32 {
    // SAFETY: null or a caller's live `Question`.
    let Some(question) = (unsafe { question.as_ref() }) else { return -i32::from(EACCES) };
    let Some(subject) = Subject::current() else { return 0 };
    let action = if question.action == Action::Exec as u32 {
        Action::Exec
    } else if question.action == Action::Open as u32 {
        Action::Open
    } else {
        Action::Path
    };
    decide(&subject, action, question.dentry as usize, question.mnt as usize, Access(question.want as u16))
}

/// Decides `want` on (dentry, mnt), records it, and says what the hook returns.
#[inline(always)]
pub(super) fn check(action: Action, dentry: usize, mnt: usize, want: Access) -> i32 {
    let question =
        Question { dentry: dentry as u64, mnt: mnt as u64, action: action as u32, want: u32::from(want.0) };
    emit::outcome(decide_file(&raw const question) != 0, EACCES)
}

#[inline(always)]
fn decide(subject: &Subject, action: Action, dentry: usize, mnt: usize, want: Access) -> i32 {
    let Some(buffer) = Buffer::claim() else {
        return refuse(subject, action, want, Verdict::deny(Reason::Internal));
    };
    let resolved = path::resolve(&buffer, dentry, mnt);
    let (position, (verdict, missing)) = match resolved {
        Resolved::At(position) => (position, path::decide(subject, &buffer, position, want)),
        Resolved::Anonymous => {
            let verdict = match subject.barred {
                Some(reason) => Verdict::deny(reason),
                None => anonymous(subject, want),
            };
            (MAX_PATH as u32, (verdict, want))
        }
        Resolved::Unresolvable => (MAX_PATH as u32, (Verdict::deny(Reason::Unresolvable), want)),
    };
    let stops = subject.stops(verdict);
    if let Some(ring) = emit::ring_for(subject, verdict) {
        let mut event = emit::header(subject, action, verdict);
        event.access = want.0;
        event.missing = if verdict.is_allow() { 0 } else { missing.0 };
        event.errno = if stops { EACCES } else { 0 };
        emit::with_path(subject, ring, &mut event, &buffer, position);
    }
    buffer.release();
    emit::outcome(stops, EACCES)
}

/// Records and returns a refusal that has no path.
#[inline(always)]
fn refuse(subject: &Subject, action: Action, want: Access, verdict: Verdict) -> i32 {
    let stops = subject.stops(verdict);
    if let Some(ring) = emit::ring_for(subject, verdict) {
        let mut event = emit::header(subject, action, verdict);
        event.access = want.0;
        event.missing = want.0;
        event.errno = if stops { EACCES } else { 0 };
        emit::plain(subject, ring, &mut event);
    }
    emit::outcome(stops, EACCES)
}

/// Every open of a file by path, also by `execve` and for interpreters.
#[lsm(hook = "file_open")]
pub fn file_open(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(1);
    if earlier != 0 {
        return earlier;
    }
    if tag_of(current_task()).is_none() {
        return 0;
    }
    let file = ctx.arg::<*const u8>(0) as usize;
    let mode = kread::read::<u32>(file + offset!(file_mode));
    let (Some(mode), Some(flags)) = (mode, kread::read::<u32>(file + offset!(file_flags))) else {
        return check(Action::Open, 0, 0, Access::ALL); // no such object: denied as unresolvable
    };
    if mode & FMODE_BACKING != 0 && offset!(backing_file) != ABSENT as usize {
        return 0; // decided when the stacked file itself was opened
    }
    let want = wanted(mode, flags);
    let action = if want.contains(Access::EXEC) { Action::Exec } else { Action::Open };
    let at = file + offset!(file_path);
    check(action, kread::word(at + offset!(path_dentry)), kread::word(at + offset!(path_mnt)), want)
}

/// Every program on the way to being executed: the script, then its interpreter.
#[lsm(hook = "bprm_check_security")]
pub fn bprm_check(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(1);
    if earlier != 0 {
        return earlier;
    }
    if tag_of(current_task()).is_none() {
        return 0;
    }
    let bprm = ctx.arg::<*const u8>(0) as usize;
    let at = kread::word(bprm + offset!(bprm_file)) + offset!(file_path);
    check(
        Action::Exec,
        kread::word(at + offset!(path_dentry)),
        kread::word(at + offset!(path_mnt)),
        Access::EXEC,
    )
}
