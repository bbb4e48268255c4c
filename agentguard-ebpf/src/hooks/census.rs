//! Both levels: the tagged tasks that live, one record each, for whoever reads the iterator.
//!
//! A task iterator runs in the reader's own system call: it costs nobody else anything, and the kernel never skips it, as
//! it does a tracepoint program that another task on the processor is in.

use core::ffi::c_void;

use agentguard_common::census::{TAGGED_BYTES, Tagged, flags};
use aya_ebpf::bindings::{seq_file, task_struct};
use aya_ebpf::helpers::generated::bpf_seq_write;

use crate::subject::{PF_EXITING, current_task, is_io_worker, tag_of, tag_of_leader, was_io_worker};
use crate::{kread, offset};

/// `__TASK_STOPPED | __TASK_TRACED` (`linux/sched.h`).
const STOPPED_STATES: u32 = 0x4 | 0x8;
/// `struct upid`: a number and the namespace it is of.
const UPID_BYTES: usize = 16;

/// `struct bpf_iter_meta`, as far as it is used.
#[repr(C)]
struct Meta {
    seq: *mut seq_file,
}

/// `struct bpf_iter__task`. aya-ebpf has no iterators.
#[repr(C)]
pub struct Context {
    meta: *const Meta,
    task: *mut task_struct,
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub fn census(context: *const Context) -> i32 {
    // SAFETY: the kernel passes its own context; the verifier checks both loads.
    let (meta, task) = unsafe { ((*context).meta, (*context).task) };
    if task.is_null() {
        return 0; // after the last task
    }
    let at = task as usize;
    if kread::value::<u32>(at + offset!(task_exit_state)) != 0 {
        return 0; // a zombie does nothing any more
    }
    let worker = is_io_worker(task) || was_io_worker(task);
    let tag = match tag_of(task) {
        // Level compat: no fork is traced for a worker, which acts for its process.
        None if worker => tag_of_leader(task),
        tag => tag,
    };
    let Some(tag) = tag else { return 0 };
    let level = level(current_task() as usize);
    let mut record = Tagged { tag, tid: number(at, level), ..Tagged::default() };
    record.tgid = number(kread::word(at + offset!(task_group_leader)), level);
    record.parent_tid = number(kread::word(at + offset!(task_real_parent)), level);
    if kread::value::<u32>(at + offset!(task_state)) & STOPPED_STATES != 0 {
        record.flags |= flags::STOPPED;
    }
    if worker {
        record.flags |= flags::WORKER;
    }
    if kread::word(at + offset!(task_vfork_done)) != 0 {
        record.flags |= flags::VFORKED;
    }
    if kread::value::<u32>(at + offset!(task_flags)) & PF_EXITING != 0 {
        record.flags |= flags::EXITING;
    }
    // SAFETY: `record` lives across the call, which copies it. When the buffer of the file is full the kernel throws the
    // part that fitted away and comes back with this task at the next read.
    unsafe { bpf_seq_write((*meta).seq, (&raw const record).cast::<c_void>(), TAGGED_BYTES as u32) };
    0
}

/// How deep the PID namespace of a task is.
#[inline(always)]
fn level(task: usize) -> u32 {
    let pid = kread::word(task + offset!(task_thread_pid));
    kread::value::<u32>(pid + offset!(pid_level))
}

/// The id of a task in its namespace at `level`, 0 if it has none there.
#[inline(always)]
fn number(task: usize, level: u32) -> u32 {
    let pid = kread::word(task + offset!(task_thread_pid));
    if kread::value::<u32>(pid + offset!(pid_level)) < level {
        return 0;
    }
    let at = pid + offset!(pid_numbers) + level as usize * UPID_BYTES;
    kread::value::<u32>(at + offset!(upid_nr))
}
