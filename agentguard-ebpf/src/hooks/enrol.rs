//! Both levels: tasks that get their identity while they run. `kernel/adopt.rs` says why nobody escapes.

use core::ffi::c_void;
use core::ptr::null_mut;

use agentguard_common::counter::Counter;
use agentguard_common::enrolment::{Enrolment, counted, mode};
use agentguard_common::event::Action;
use agentguard_common::invocation::Tag;
use aya_ebpf::bindings::{BPF_F_NO_PREALLOC, BPF_LOCAL_STORAGE_GET_F_CREATE, bpf_map_type, task_struct};
use aya_ebpf::helpers::generated::bpf_task_storage_get;
use aya_ebpf::macros::{btf_tracepoint, lsm};
use aya_ebpf::programs::{BtfTracePointContext, LsmContext};

use super::lineage::{
    ENROLMENT, due, enrolment, lineage_of, orphan_children, outcome, process_of, selected, tally,
};
use crate::emit::{self, ENOMEM, FACT, Ring};
use crate::maps::{INVOCATIONS, Storage, count, counts};
use crate::subject::{
    PF_EXITING, Subject, current_tag, current_task, is_io_worker, note_io_worker, stores_only_tag, tag_of,
    tag_task, was_io_worker,
};
use crate::{atomic, kread, offset};

const PF_KTHREAD: u32 = 0x20_0000;
/// State of a task that is being made (`linux/sched.h`).
const TASK_NEW: u32 = 0x800;

/// How a task that is tagged while it runs is counted ([`counted`]).
#[unsafe(link_section = ".maps")]
#[unsafe(export_name = "TASK_ENROLLED")]
static TASK_ENROLLED: Storage<
    { bpf_map_type::BPF_MAP_TYPE_TASK_STORAGE as usize },
    { BPF_F_NO_PREALLOC as usize },
> = Storage::new();

/// The word that says how `task` is counted. With `make`, null only when the kernel has no memory for it.
#[inline(always)]
fn counting(task: *mut task_struct, make: bool) -> *mut u64 {
    let flags = if make { u64::from(BPF_LOCAL_STORAGE_GET_F_CREATE) } else { 0 };
    // SAFETY: a trusted task pointer; new storage is all zero.
    unsafe { bpf_task_storage_get(TASK_ENROLLED.as_ptr(), task.cast(), null_mut(), flags) }.cast()
}

/// Tags `task`, which runs or `begins`, and counts it, unless somebody has or it ends first. True when it is counted
/// by this.
///
/// The end of a task and the one who tags it come at once, so both swap the counting word. The task is counted before,
/// lest the count be 0 between, and that is taken back when somebody else has come first. All sets of programs do so: by
/// the word it is counted once.
#[inline(always)]
pub(super) fn enrol(task: *mut task_struct, tag: Tag, begins: bool) -> bool {
    if is_io_worker(task) {
        if note_io_worker(task, tag) {
            tag_task(task, tag); // counted nowhere
        }
        return false;
    }
    let Some(invocation) = INVOCATIONS.get_ptr_mut(tag.slot) else { return false };
    let word = counting(task, true);
    // SAFETY: live map and storage values, aligned for u64.
    unsafe {
        let tasks = &raw mut (*invocation).tasks;
        if word.is_null() {
            // Who was made with the tag has to be counted all the same: its end finds no word, and takes it off.
            count(Counter::TagTask);
            let made = begins && tag_task(task, tag);
            if made && counts() {
                atomic::fetch_add(tasks, 1);
            }
            return made;
        }
        atomic::fetch_add(tasks, 1);
        let tagged = tag_task(task, tag);
        let first = tagged && atomic::exchange(word, counted::YES) == counted::NOT;
        if !first {
            atomic::fetch_add(tasks, u64::MAX);
        }
        first
    }
}

/// Records that a task got its identity while it ran.
#[inline(always)]
fn record(task: *mut task_struct, tag: Tag) {
    let subject = Subject::of(tag);
    let mut event = emit::header(&subject, Action::Adopt, FACT);
    event.other_pid = kread::value::<u32>(task as usize + offset!(task_tgid));
    event.other_tid = kread::value::<u32>(task as usize + offset!(task_pid));
    emit::plain(&subject, Ring::Events, &mut event);
}

/// Gives the current task the tag that it is due, before it makes another or becomes another program. False when the kernel
/// had no memory for it.
#[inline(always)]
pub(super) fn current() -> bool {
    let Some(enrolment) = enrolment() else { return true };
    let task = current_task();
    if tag_of(task).is_some() {
        return true;
    }
    match due(enrolment, task) {
        Some(tag) => enrol_and_say(enrolment, task, tag),
        None => true,
    }
}

/// Tags a task that runs. False when the kernel had no memory for it, so that it has no identity still.
#[inline(always)]
fn enrol_and_say(enrolment: *mut Enrolment, task: *mut task_struct, tag: Tag) -> bool {
    if enrol(task, tag, false) {
        tally!(enrolment, tagged);
        record(task, tag);
        return true;
    }
    let tagged = tag_of(task).is_some();
    if !tagged {
        tally!(enrolment, failed);
    }
    tagged
}

/// The tag of a child that is due one though its parent has none: it begins in a selected cgroup.
#[inline(always)]
pub(super) fn child(task: *mut task_struct) -> Option<Tag> {
    selected(enrolment()?, task)
}

/// Whether the current task, which ends, is one of its invocation's counted tasks.
#[inline(always)]
pub(super) fn leaving() -> bool {
    let task = current_task();
    let (on, tag) = (enrolment(), current_tag());
    // Looked for behind the tag: what says that it is a worker, or that it was tagged while it ran, is there before that.
    let tag_alone = tag.is_some() && stores_only_tag(task);
    if !tag_alone && was_io_worker(task) {
        return false; // not counted when it was made
    }
    if !counts() {
        return tag.is_some();
    }
    if on.is_none() && tag.is_none() {
        return false;
    }
    if let Some(enrolment) = on {
        orphan_children(enrolment, task);
    }
    if tag_alone {
        return true; // as most: tagged, and counted, when it was made
    }
    let word = counting(task, tag.is_none());
    if word.is_null() {
        return tag.is_some(); // the same
    }
    // SAFETY: a live storage value, aligned for u64.
    unsafe { atomic::exchange(word, counted::GONE) == counted::YES }
}

/// Level `lsm`: a program is about to be executed, and decided about as its invocation's.
#[lsm(hook = "bprm_creds_for_exec")]
pub fn exec_begins(ctx: LsmContext) -> i32 {
    super::tools::reset();
    let earlier: i32 = ctx.arg(1);
    if earlier != 0 {
        return earlier;
    }
    if current() { 0 } else { -ENOMEM }
}

/// Both levels, attached while a cgroup is selected: a task was moved. Of a process the kernel names the first thread, which
/// may have ended, so the daemon is told that it should look for the others.
#[btf_tracepoint(function = "cgroup_attach_task")]
pub fn moved(ctx: BtfTracePointContext) -> i32 {
    let Some(enrolment) = enrolment() else { return 0 };
    let task: *mut task_struct = ctx.arg(2);
    if !exits(task)
        && tag_of(task).is_none()
        && let Some(tag) = selected(enrolment, task)
    {
        enrol_and_say(enrolment, task, tag);
    }
    // SAFETY: a live map value, aligned for u64.
    unsafe { atomic::fetch_add(&raw mut (*enrolment).moves, 1) };
    0
}

/// Whether a task asks for nothing more. Its end may have been counted.
#[inline(always)]
fn exits(task: *mut task_struct) -> bool {
    kread::read::<u32>(task as usize + offset!(task_flags)).is_none_or(|flags| flags & PF_EXITING != 0)
}

/// `struct bpf_iter__task`. aya-ebpf has no iterators.
#[repr(C)]
pub struct Context {
    meta: *const c_void,
    task: *mut task_struct,
}

/// Looks at each thread of the host, and tags those of the tree that is adopted, or of the selected cgroup.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub fn adopt_tasks(context: *const Context) -> i32 {
    // SAFETY: the kernel passes its own context; the verifier checks the load.
    let task = unsafe { (*context).task };
    let Some(enrolment) = ENROLMENT.get_ptr_mut(0) else { return 0 };
    if task.is_null() {
        return 0; // after the last task
    }
    // SAFETY: a live map value.
    let (mode, tag) = unsafe { ((*enrolment).mode, (*enrolment).tag) };
    if mode == mode::OFF || exits(task) {
        return 0;
    }
    if mode == mode::CGROUP {
        // Of one that is being made the fork decides whose it is.
        let state = kread::read::<u32>(task as usize + offset!(task_state)).unwrap_or(TASK_NEW);
        if state & TASK_NEW == 0
            && tag_of(task).is_none()
            && let Some(tag) = selected(enrolment, task)
        {
            enrol_and_say(enrolment, task, tag);
        }
        return 0;
    }
    match lineage_of(task) {
        outcome::MEMBER => {}
        outcome::OTHER => return 0,
        _ => {
            tally!(enrolment, failed);
            return 0;
        }
    }
    let flags = kread::value::<u32>(task as usize + offset!(task_flags));
    if flags & PF_KTHREAD != 0 {
        tally!(enrolment, kernel);
        return 0;
    }
    match tag_of(task) {
        Some(other) if other != tag => {
            tally!(enrolment, foreign);
        }
        Some(_) => {}
        None if mode == mode::LOOK => note_root(enrolment, task),
        None => {
            enrol_and_say(enrolment, task, tag);
        }
    }
    0
}

/// Notes when the root began.
#[inline(always)]
fn note_root(enrolment: *mut Enrolment, task: *mut task_struct) {
    let process = process_of(task as usize);
    // SAFETY: a live map value.
    unsafe {
        if process.pid == (*enrolment).root.pid {
            (*enrolment).root.started_ns = process.started_ns;
        }
    }
}
