//! Tools: programs that run in an identity of their own, which is narrower. The switch is at exec, and one way.
//!
//! Three hooks of one exec: the task begins anew, the script or program that is a tool is noted, and once nothing can fail
//! any more the task is that tool, before the first instruction of the new program and before its parts are mapped.

use core::mem::MaybeUninit;

use agentguard_common::counter::Counter;
use agentguard_common::event::Action;
use agentguard_common::file;
use agentguard_common::invocation::{Tag, ToolKey};
use agentguard_common::policy::flags;
use agentguard_common::verdict::{Reason, Verdict};

use super::file::rights_at;
use super::net::answer;
use crate::emit::{self, EACCES, FACT, Ring};
use crate::maps::{Arena, INVOCATIONS, TOOLS, count, counts};
use crate::path::Object;
use crate::subject::{Subject, choose_tool, chosen_tool, current_task, own_tag};
use crate::{atomic, kread, offset};

/// An exec begins: what an earlier one chose that failed is void.
#[inline(always)]
pub(super) fn reset() {
    if let Some(chosen) = chosen_tool(current_task()) {
        // SAFETY: a live storage value that only this task's hooks use.
        unsafe { *chosen = Tag::default() };
    }
}

/// Notes the tool that a program on the way to being executed is: of a script and its interpreter, the script. Returns what
/// the hook returns.
#[inline(always)]
pub(super) fn choose(tag: Tag, file: usize) -> i32 {
    if Subject::of(tag).policy_flags() & flags::TOOLS == 0 {
        return 0;
    }
    let at = file + offset!(file_path);
    let place = Object::file(kread::word(at + offset!(path_dentry)), kread::word(at + offset!(path_mnt)));
    let refused = answer(choose_at(&raw const place));
    emit::outcome(refused, EACCES)
}

/// 1 when the tool has no identity, which is recorded, else 0.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn choose_at(place: *const Object) -> i32 {
    // SAFETY: null or a caller's live `Object`.
    let Some(place) = (unsafe { place.as_ref() }) else { return 1 };
    let Some(subject) = Subject::current() else { return 0 };
    if subject.barred.is_some() || subject.policy_flags() & flags::TOOLS == 0 {
        return 0;
    }
    let task = current_task();
    // SAFETY: a live storage value that only this task's hooks use.
    if chosen_tool(task).is_some_and(|chosen| unsafe { (*chosen).slot } != 0) {
        return 0;
    }
    let rights = rights_at(place, 0);
    if rights == 0 {
        return 0; // the hook that decides about the execution refuses it
    }
    let Some(arena) = Arena::get() else { return 1 };
    let tool = file::state_tool(&arena, subject.file_tables(), (rights >> 32) as u32 - 1);
    if tool == 0 {
        return 0;
    }
    let key = ToolKey { slot: subject.tag.slot, policy_generation: subject.policy_generation(), tool };
    // SAFETY: the value is copied at once; the daemon replaces whole values.
    let tag = unsafe { TOOLS.get(key) }.copied();
    if tag.is_some_and(|tag| choose_tool(task, tag)) {
        return 0;
    }
    refuse_unknown()
}

/// Records that a tool has no identity. 1, unless there is nobody to refuse. Apart: an event is a third of the stack.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn refuse_unknown() -> i32 {
    let Some(subject) = Subject::current() else { return 0 };
    count(Counter::ToolUnknown);
    let verdict = Verdict::deny(Reason::Internal);
    let mut event = MaybeUninit::uninit();
    let event = emit::fill(&mut event, &subject, Action::Exec, verdict);
    event.errno = EACCES;
    emit::plain(&subject, emit::ring_for(&subject, verdict), event);
    1
}

/// The exec can no longer fail: the task is the tool from now on.
#[inline(always)]
pub(super) fn switch() {
    if chosen_tool(current_task()).is_some() {
        become_tool();
    }
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn become_tool() -> i32 {
    let task = current_task();
    let Some(chosen) = chosen_tool(task) else { return 0 };
    // SAFETY: a live storage value that only this task's hooks use.
    let tool = unsafe { *chosen };
    if tool.slot == 0 {
        return 0;
    }
    let (Some(subject), Some(own)) = (Subject::current(), own_tag(task)) else { return 0 };
    // SAFETY: as above.
    unsafe { *chosen = Tag::default() };
    let mut event = MaybeUninit::uninit();
    let event = emit::fill(&mut event, &subject, Action::Tool, FACT);
    (event.other_pid, event.other_tid) = (tool.slot, tool.generation);
    emit::plain(&subject, Ring::Events, event);
    let word = u64::from(tool.slot) | u64::from(tool.generation) << 32;
    // The tool first, and the caller last: neither is ever without the task that is between them.
    add_task(tool.slot, 1);
    // SAFETY: a live storage value, aligned for u64: a slot and its generation in one store.
    unsafe { own.cast::<u64>().write_volatile(word) };
    add_task(subject.tag.slot, u64::MAX);
    0
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
