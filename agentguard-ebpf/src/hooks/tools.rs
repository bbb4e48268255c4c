//! Tools: programs that run in an identity of their own, which is narrower. The switch is at exec, and one way.
//!
//! Three hooks of one exec: the task begins anew, the script or program that is a tool is noted, and once nothing can fail
//! any more the task is that tool, before the first instruction of the new program and before its parts are mapped.

use agentguard_common::counter::Counter;
use agentguard_common::event::Action;
use agentguard_common::file;
use agentguard_common::invocation::{Tag, ToolKey};
use agentguard_common::policy::flags;
use agentguard_common::verdict::{Reason, Verdict};
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;

use super::file::rights_at;
use crate::emit::{self, EACCES, FACT, Ring};
use crate::maps::{Arena, INVOCATIONS, TOOLS, count, counts};
use crate::path::Object;
use crate::subject::{Subject, choose_tool, chosen_tool, current_task, own_tag};
use crate::{atomic, kread, offset};

/// An exec begins: what an earlier one chose that failed is void.
#[lsm(hook = "bprm_creds_for_exec")]
pub fn tool_reset(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(1);
    if let Some(chosen) = chosen_tool(current_task()) {
        // SAFETY: a live storage value that only this task's hooks use.
        unsafe { *chosen = Tag::default() };
    }
    earlier
}

/// Notes the tool that a program on the way to being executed is: of a script and its interpreter, the script.
#[lsm(hook = "bprm_check_security")]
pub fn tool_chosen(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(1);
    if earlier != 0 {
        return earlier;
    }
    let Some(subject) = Subject::current() else { return 0 };
    if subject.barred.is_some() || subject.policy_flags() & flags::TOOLS == 0 {
        return 0;
    }
    let task = current_task();
    // SAFETY: a live storage value that only this task's hooks use.
    if chosen_tool(task).is_some_and(|chosen| unsafe { (*chosen).slot } != 0) {
        return 0;
    }
    let at = kread::word(ctx.arg::<*const u8>(0) as usize + offset!(bprm_file)) + offset!(file_path);
    let place = Object::file(kread::word(at + offset!(path_dentry)), kread::word(at + offset!(path_mnt)));
    let rights = rights_at(&raw const place, 0);
    if rights == 0 {
        return 0; // the hook that decides about the execution refuses it
    }
    let Some(arena) = Arena::get() else { return emit::outcome(true, EACCES) };
    let tool = file::state_tool(&arena, subject.file_tables(), (rights >> 32) as u32 - 1);
    if tool == 0 {
        return 0;
    }
    let key = ToolKey { slot: subject.tag.slot, policy_generation: subject.policy().generation, tool };
    // SAFETY: the value is copied at once; the daemon replaces whole values.
    let tag = unsafe { TOOLS.get(key) }.copied();
    if tag.is_some_and(|tag| choose_tool(task, tag)) {
        return 0;
    }
    count(Counter::ToolUnknown);
    let verdict = Verdict::deny(Reason::Internal);
    let mut event = emit::header(&subject, Action::Exec, verdict);
    event.errno = EACCES;
    emit::plain(&subject, emit::ring_for(&subject, verdict), &mut event);
    emit::outcome(true, EACCES)
}

/// The exec can no longer fail: the task is the tool from now on.
#[inline(always)]
pub(super) fn switch() {
    let task = current_task();
    let Some(chosen) = chosen_tool(task) else { return };
    // SAFETY: a live storage value that only this task's hooks use.
    let tool = unsafe { *chosen };
    let (Some(subject), Some(own)) = (Subject::current(), own_tag(task)) else { return };
    if tool.slot == 0 {
        return;
    }
    // SAFETY: as above.
    unsafe { *chosen = Tag::default() };
    let mut event = emit::header(&subject, Action::Tool, FACT);
    (event.other_pid, event.other_tid) = (tool.slot, tool.generation);
    emit::plain(&subject, Ring::Events, &mut event);
    let word = u64::from(tool.slot) | u64::from(tool.generation) << 32;
    // The tool first, and the caller last: neither is ever without the task that is between them.
    add_task(tool.slot, 1);
    // SAFETY: a live storage value, aligned for u64: a slot and its generation in one store.
    unsafe { own.cast::<u64>().write_volatile(word) };
    add_task(subject.tag.slot, u64::MAX);
}

#[inline(always)]
fn add_task(slot: u32, n: u64) {
    if !counts() {
        return;
    }
    if let Some(invocation) = INVOCATIONS.get_ptr_mut(slot) {
        // SAFETY: a live map value, aligned for u64.
        unsafe { atomic::fetch_add(&raw mut (*invocation).tasks, n) };
    }
}
