//! Birth, exec and death of tagged tasks; the kill of revoked ones at level `compat`.

use core::mem::MaybeUninit;

use agentguard_common::event::{Action, MAX_PATH};
use agentguard_common::verdict::Verdict;
use aya_ebpf::bindings::task_struct;
use aya_ebpf::helpers::generated::bpf_send_signal;
use aya_ebpf::macros::{btf_tracepoint, lsm};
use aya_ebpf::programs::{BtfTracePointContext, LsmContext};

use super::{enrol, lineage};
use crate::emit::{self, ENOMEM, FACT, Ring};
use crate::maps::{counts, records};
use crate::path::{self, Buffer, Object, Resolved};
use crate::subject::{
    Subject, current_tag, current_task, is_io_worker, note_io_worker, tag_task, was_io_worker,
};
use crate::{atomic, kread, member, offset};

const SIGKILL: u32 = 9;

/// Level `lsm`: the child gets its parent's tag, or is not made.
#[lsm(hook = "task_alloc")]
pub fn task_alloc(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(2);
    if earlier != 0 {
        return earlier;
    }
    if !enrol::current() {
        return -ENOMEM;
    }
    let Some(tag) = current_tag() else { return 0 };
    let child: *mut task_struct = ctx.arg(0);
    let noted = !is_io_worker(child) || note_io_worker(child, tag);
    if tag_task(child, tag) && noted { 0 } else { -ENOMEM }
}

/// Both levels: the fork is counted and recorded; at level `compat` this is where the tag is inherited.
#[btf_tracepoint(function = "sched_process_fork")]
pub fn fork(ctx: BtfTracePointContext) -> i32 {
    enrol::current();
    let child: *mut task_struct = ctx.arg(1);
    let Some(tag) = current_tag().or_else(|| enrol::child(child)) else { return 0 };
    let subject = Subject::of(tag);
    if was_io_worker(child) || is_io_worker(child) {
        return 0; // newer kernels trace the making of workers, older ones don't: they are not counted on any
    }
    if lineage::is_on() {
        enrol::enrol(child, tag, true); // it can be seen already, and somebody else may be about it
    } else {
        tag_task(child, tag);
        if !subject.invocation.is_null() && counts() {
            // SAFETY: a live map value, aligned for u64.
            unsafe { atomic::fetch_add(&raw mut (*subject.invocation).tasks, 1) };
        }
    }
    let mut event = MaybeUninit::uninit();
    let event = emit::fill(&mut event, &subject, Action::Fork, FACT);
    // SAFETY: a trusted `struct task_struct *`.
    unsafe {
        event.other_pid = member!(child.cast_const().cast(), task_tgid: u32);
        event.other_tid = member!(child.cast_const().cast(), task_pid: u32);
    }
    emit::plain(&subject, Ring::Events, event);
    0
}

/// Level `compat`: what the task now runs.
#[btf_tracepoint(function = "sched_process_exec")]
pub fn executed(ctx: BtfTracePointContext) -> i32 {
    enrol::current();
    record_execution(ctx.arg::<*const u8>(2) as usize)
}

/// Level `lsm`: the same. Not at the tracepoint, which newer kernels skip when another task on the processor is in it.
#[lsm(hook = "bprm_committed_creds")]
pub fn bprm_committed(ctx: LsmContext) -> i32 {
    super::tools::switch();
    record_execution(ctx.arg::<*const u8>(0) as usize)
}

#[inline(always)]
fn record_execution(bprm: usize) -> i32 {
    let Some(subject) = Subject::current() else { return 0 };
    let file = kread::word(bprm + offset!(bprm_file));
    let at = file + offset!(file_path);
    let mut event = MaybeUninit::uninit();
    let event = emit::fill(&mut event, &subject, Action::Executed, FACT);
    let Some(buffer) = Buffer::claim() else {
        emit::plain(&subject, Ring::Events, event);
        return 0;
    };
    let object = Object::file(kread::word(at + offset!(path_dentry)), kread::word(at + offset!(path_mnt)));
    let position = match path::resolve(&buffer, &object) {
        Resolved::At(position) => position,
        Resolved::Anonymous | Resolved::Unresolvable => MAX_PATH as u32,
    };
    emit::with_path(&subject, Ring::Events, event, buffer.bytes(), position);
    buffer.release();
    0
}

/// Both levels: a task is gone.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn exited(_ctx: BtfTracePointContext) -> i32 {
    if !enrol::leaving() {
        return 0;
    }
    let Some(subject) = Subject::current() else { return 0 };
    let mut event = MaybeUninit::uninit();
    let event = emit::fill(&mut event, &subject, Action::Exit, FACT);
    // SAFETY: the current task.
    event.detail = unsafe { member!(current_task().cast_const().cast(), task_exit_code: u32) };
    // Number, count, event, in this order: once no task is left every number is taken, and the event that the daemon
    // reads last finds no task left.
    let records = records();
    if records {
        event.seq = emit::sequence(&subject);
    }
    if !subject.invocation.is_null() && counts() {
        // SAFETY: a live map value, aligned for u64.
        unsafe { atomic::fetch_add(&raw mut (*subject.invocation).tasks, u64::MAX) };
    }
    if records {
        emit::numbered(&subject, Ring::Events, event);
    }
    0
}

/// Level `compat`, attached only while a revoke or expiry is carried out: it taxes every system call of the host.
#[btf_tracepoint(function = "sys_enter")]
pub fn kill_barred(_ctx: BtfTracePointContext) -> i32 {
    let Some(subject) = Subject::current() else { return 0 };
    let Some(reason) = subject.barred else { return 0 };
    if subject.is_frozen() {
        return 0; // on its way to a stop
    }
    // SAFETY: the helper has no preconditions; it signals the current task.
    if unsafe { bpf_send_signal(SIGKILL) } == 0 {
        let mut event = emit::header(&subject, Action::Kill, Verdict::deny(reason));
        emit::plain(&subject, Ring::Denials, &mut event);
    }
    0
}
