//! Opens and executions at level `lsm`, and the one function that decides about a file for all hooks.

use agentguard_common::event::{Action, MAX_PATH};
use agentguard_common::file::Access;
use agentguard_common::invocation::Tag;
use agentguard_common::policy::privilege;
use agentguard_common::verdict::{Decision, Reason, Verdict};
use aya_ebpf::bindings::task_struct;
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use core::mem::MaybeUninit;

use agentguard_common::offsets::ABSENT;

use crate::cache::{self, Moment, Place};
use crate::emit::{self, EACCES, EXDEV};
use crate::maps::{Scratch, UNKNOWN, has_sequences};
use crate::path::{self, Buffer, Object, Resolved};
use crate::scan;
use crate::subject::{Subject, acts_for_kernel, current_tagged, policy_in_force};
use crate::{kread, member, offset};

pub(super) const FMODE_READ: u32 = 1;
pub(super) const FMODE_WRITE: u32 = 2;
const FMODE_CREATED: u32 = 0x10_0000;
/// Set on the lower file of a stacked file system (6.5 and later).
const FMODE_BACKING: u32 = 0x200_0000;
const FMODE_EXEC: u32 = 0x20;
const O_TRUNC: u32 = 0o1000;
const S_IFMT: u16 = 0o170_000;

const _: () =
    assert!(FMODE_READ == Access::READ.0 as u32 && FMODE_WRITE == Access::WRITE.0 as u32, "see `wanted`");

/// The modes that an open asks for.
#[inline(always)]
fn wanted(mode: u32, flags: u32) -> Access {
    if flags & FMODE_EXEC != 0 {
        return Access::EXEC;
    }
    let mut want = Access((mode & (FMODE_READ | FMODE_WRITE)) as u16); // the same bits
    if flags & O_TRUNC != 0 {
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

/// A question about a file, in memory.
#[repr(C)]
pub struct Question {
    object: Object,
    /// [`Action`].
    action: u32,
    /// [`Access`].
    want: u32,
    /// Settled already: refused because moving it there would widen rights.
    widens: u32,
    /// How often the process was refused it before, this time included, where that is counted; else 0.
    times: u32,
    /// Answered: which version of the policy answered.
    generation: u32,
    /// Answered: the state of its DFA behind the last slash of the object's path, if that is the same for all tasks of
    /// the mount namespace, or [`UNKNOWN`].
    parent_state: u32,
}

/// Answers for the current task and records the answer. Returns 0 or a negative errno.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn decide_file(question: *mut Question) -> i32 {
    // SAFETY: null or a caller's live `Question`.
    let Some(question) = (unsafe { question.as_mut() }) else { return -i32::from(EACCES) };
    let Some(subject) = Subject::current() else { return 0 };
    let Some(buffer) = Buffer::claim() else {
        let verdict = Verdict::deny(Reason::Internal);
        record(question, core::ptr::null_mut(), MAX_PATH as u32, verdict.packed(), question.want);
        return emit::outcome(subject.stops(verdict), EACCES);
    };
    let stops = decide(&subject, question, &buffer);
    buffer.release();
    emit::outcome(stops, EACCES)
}

/// Decides `want` on (dentry, mnt), records it, and says what the hook returns.
#[inline(always)]
pub(super) fn check(action: Action, dentry: usize, mnt: usize, want: Access) -> i32 {
    emit::outcome(ask(action, Object::file(dentry, mnt), want, false), EACCES)
}

/// The same for the object that an open file is.
#[inline(always)]
pub(super) fn check_file(action: Action, file: usize, want: Access) -> i32 {
    let at = file + offset!(file_path);
    check(action, kread::word(at + offset!(path_dentry)), kread::word(at + offset!(path_mnt)), want)
}

/// The same for an abstract Unix socket name, which rules spell `@name`.
#[inline(always)]
pub(super) fn check_name(action: Action, name: usize, len: u32, want: Access) -> i32 {
    let object = Object { dentry: 0, mnt: 0, name: name as u64, name_len: u64::from(len) };
    emit::outcome(ask(action, object, want, false), EACCES)
}

/// Records that moving or linking something to (dentry, mnt) would widen rights. Returns what the hook returns.
#[inline(always)]
pub(super) fn refuse_widening(dentry: usize, mnt: usize) -> i32 {
    emit::outcome(ask(Action::Path, Object::file(dentry, mnt), Access::CREATE, true), EXDEV)
}

/// True when the task is stopped.
#[inline(always)]
fn ask(action: Action, object: Object, want: Access, widens: bool) -> bool {
    let mut question = Question::new(action, object, want, widens);
    decide_file(&raw mut question) != 0
}

impl Question {
    #[inline(always)]
    const fn new(action: Action, object: Object, want: Access, widens: bool) -> Self {
        let (action, want, widens) = (action as u32, want.0 as u32, widens as u32);
        Self { object, action, want, widens, times: 0, generation: 0, parent_state: UNKNOWN }
    }

    /// Takes over what was learnt on the way to the answer.
    #[inline(always)]
    fn learn(&mut self, subject: &Subject, buffer: &Buffer) {
        self.generation = subject.policy_generation();
        // SAFETY: a live map value, claimed for this decision.
        unsafe {
            if (*buffer.scratch()).shared != 0 {
                self.parent_state = (*buffer.scratch()).parent_state;
            }
        }
    }
}

/// Decides `want` of the current task on an open file: by what is known of its directory, or the long way, after which
/// it is known.
///
/// # Safety
/// The verifier knows `file` as a pointer to an open file, and the task as the current one.
#[inline(always)]
pub(super) unsafe fn check_open(
    (task, tag): (*mut task_struct, Tag),
    action: Action,
    file: *const u8,
    want: Access,
) -> i32 {
    let policy = if has_sequences() { policy_in_force(tag) } else { None };
    // SAFETY: by contract.
    let place = if policy.is_none() || want.contains(Access::EXEC) && unsafe { unlinked(file) } {
        None
    } else {
        // SAFETY: by contract.
        unsafe { Place::of(file, task) }
    };
    if let (Some(policy), Some(place)) = (policy, &place)
        && cache::allows(policy, place, want)
    {
        return 0;
    }
    let then = Moment::now();
    // SAFETY: by contract.
    let object = unsafe {
        Object::file(member!(file, file_dentry: u64) as usize, member!(file, file_mnt: u64) as usize)
    };
    let mut question = Question::new(action, object, want, false);
    let stops = decide_file(&raw mut question) != 0;
    if let (Some(place), Some(then)) = (&place, then)
        && question.parent_state != UNKNOWN
    {
        cache::note(question.generation, place, question.parent_state, then);
    }
    emit::outcome(stops, EACCES)
}

/// Whether nothing names the open file any more: as [`deleted`].
///
/// # Safety
/// The verifier knows `file` as a pointer to an open file.
#[inline(always)]
unsafe fn unlinked(file: *const u8) -> bool {
    // SAFETY: by contract; typed pointers.
    unsafe {
        let inode = member!(file, file_inode: *const u8);
        member!(inode, inode_nlink: u32) == 0
    }
}

/// Records that a barred task was refused, for the `times`th time, an object that it has open.
#[inline(always)]
pub(super) fn record_open(dentry: usize, mnt: usize, want: Access, times: u32) {
    let object = Object::file(dentry, mnt);
    let mut question = Question { times, ..Question::new(Action::Use, object, want, false) };
    decide_file(&raw mut question);
}

/// Whether nothing names the object any more. A program without a name is no listed program.
#[inline(always)]
fn deleted(dentry: usize) -> bool {
    let inode = kread::word(dentry + offset!(dentry_inode));
    kread::value::<u32>(inode + offset!(inode_nlink)) == 0
}

/// Decides and records. True when the task is stopped.
#[inline(always)]
fn decide(subject: &Subject, question: &mut Question, buffer: &Buffer) -> bool {
    let want = Access(question.want as u16);
    let unnamed = |position| match subject.barred {
        Some(reason) => (position, (Verdict::deny(reason), want)),
        None => (position, (anonymous(subject, want), want)),
    };
    let executes = want.contains(Access::EXEC);
    let (position, (verdict, missing)) = match path::resolve(buffer, &question.object) {
        Resolved::At(position) if question.widens != 0 => (position, (Verdict::deny(Reason::Widening), want)),
        Resolved::At(position) if executes && deleted(question.object.dentry as usize) => unnamed(position),
        Resolved::At(position) => {
            let answer = scan::decide(subject, buffer, position, want);
            question.learn(subject, buffer);
            (position, answer)
        }
        Resolved::Anonymous => unnamed(MAX_PATH as u32),
        Resolved::Unresolvable => {
            // Audit mode lets an unresolvable path through, a barred task never.
            let reason = subject.barred.unwrap_or(Reason::Unresolvable);
            (MAX_PATH as u32, (Verdict::deny(reason), want))
        }
    };
    if emit::is_wanted(subject, verdict) {
        record(question, buffer.scratch(), position, verdict.packed(), u32::from(missing.0));
    }
    subject.stops(verdict)
}

/// What kind of object it is (`S_IFMT`): what has no path is known by that.
#[inline(always)]
fn kind_of(dentry: usize) -> u16 {
    let inode = kread::word(dentry + offset!(dentry_inode));
    kread::value::<u16>(inode + offset!(inode_mode)) & S_IFMT
}

/// Records an answer about the path in `scratch`, null if there is none, at `position`.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn record(
    question: *const Question,
    scratch: *mut Scratch,
    position: u32,
    verdict: u32,
    missing: u32,
) -> i32 {
    // SAFETY: null or a caller's live `Question`.
    let Some(question) = (unsafe { question.as_ref() }) else { return 0 };
    let Some(subject) = Subject::current() else { return 0 };
    let verdict = Verdict::unpacked(verdict);
    let stops = subject.stops(verdict);
    let mut event = MaybeUninit::uninit();
    let event = emit::fill(&mut event, &subject, Action::Path, verdict);
    event.action = question.action as u16;
    event.access = question.want as u16;
    event.missing = if verdict.is_allow() { 0 } else { missing as u16 };
    event.detail = question.times;
    if question.times != 0 {
        event.socket_type = kind_of(question.object.dentry as usize);
    }
    let errno = if question.widens == 0 { EACCES } else { EXDEV };
    event.errno = if stops { errno } else { 0 };
    let ring = emit::ring_for(&subject, verdict);
    if scratch.is_null() {
        emit::plain(&subject, ring, event);
    } else {
        emit::with_path(&subject, ring, event, path::bytes(scratch), position);
    }
    0
}

/// What the current task's policy says about a place: the number of the DFA's state plus one in the upper half, its
/// verdict in the lower; 0 when there is no saying. With `below`, about what is directly below it.
#[inline(never)]
#[unsafe(no_mangle)]
pub(super) extern "C" fn rights_at(place: *const Object, below: u32) -> u64 {
    // SAFETY: null or a caller's live `Object`.
    let Some(place) = (unsafe { place.as_ref() }) else { return 0 };
    let Some(subject) = Subject::current() else { return 0 };
    let Some(buffer) = Buffer::claim() else { return 0 };
    let rights = match path::resolve(&buffer, place) {
        Resolved::At(position) => {
            let (state, verdict) = scan::state(&subject, &buffer, position, below != 0);
            (u64::from(state) + 1) << 32 | u64::from(verdict.0)
        }
        Resolved::Anonymous | Resolved::Unresolvable => 0,
    };
    buffer.release();
    rights
}

/// Every open of a file by path, also by `execve` and for interpreters.
#[lsm(hook = "file_open")]
pub fn file_open(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(1);
    if earlier != 0 {
        return earlier;
    }
    let Some(tagged) = current_tagged() else { return 0 };
    let file = ctx.arg::<*const u8>(0);
    // SAFETY: a trusted `struct file *`.
    let (mode, flags) = unsafe { (member!(file, file_mode: u32), member!(file, file_flags: u32)) };
    if mode & FMODE_BACKING != 0 && offset!(backing_file) != ABSENT as usize {
        return 0; // decided when the stacked file itself was opened
    }
    let want = wanted(mode, flags);
    let action = if want.contains(Access::EXEC) { Action::Exec } else { Action::Open };
    // SAFETY: a trusted `struct file *`.
    unsafe { check_open(tagged, action, file, want) }
}

/// Every program on the way to being executed: the script, then its interpreter.
#[lsm(hook = "bprm_check_security")]
pub fn bprm_check(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(1);
    if earlier != 0 {
        return earlier;
    }
    let Some(tagged) = current_tagged() else { return 0 };
    // SAFETY: a trusted `struct linux_binprm *`, and the open file in it.
    unsafe {
        let file = member!(ctx.arg(0), bprm_file: *const u8);
        let refused = check_open(tagged, Action::Exec, file, Access::EXEC);
        if refused != 0 { refused } else { super::tools::choose(tagged.1, file as usize) }
    }
}
