//! Who is due an identity while it runs: members of the tree that is adopted, and who is in a selected cgroup. Kernel
//! addresses go to global functions through memory, in which the verifier sees numbers.

use core::ffi::c_void;

use agentguard_common::enrolment::{Enrolment, MAX_ORPHANS, MAX_SELECTORS, Process, mode};
use agentguard_common::invocation::Tag;
use aya_ebpf::bindings::{BPF_F_MMAPABLE, task_struct};
use aya_ebpf::helpers::generated::bpf_loop;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap};

use crate::{atomic, kread, offset};

/// Longest lineage that is followed.
const MAX_ANCESTORS: u32 = 4096;
/// Deepest cgroup.
const MAX_CGROUPS: u32 = 256;
/// Steps along a list of children that others change meanwhile.
const MAX_STEPS: u32 = 1 << 17;

#[map]
pub(super) static ENROLMENT: Array<Enrolment> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// Which invocation the tasks of a cgroup, and of those below it, belong to.
#[map]
static SELECTORS: HashMap<u64, Tag> = HashMap::with_max_entries(MAX_SELECTORS, 0);
/// Processes of the tree that is adopted whose parent ended before they were tagged.
#[map]
static ORPHANS: HashMap<Process, u32> = HashMap::with_max_entries(MAX_ORPHANS, 0);

/// The map's value, if anybody may have to get an identity at all.
#[inline(always)]
pub(super) fn enrolment() -> Option<*mut Enrolment> {
    let enrolment = ENROLMENT.get_ptr_mut(0)?;
    // SAFETY: a live map value; the daemon stores single words.
    let (selectors, mode) = unsafe {
        ((&raw const (*enrolment).selectors).read_volatile(), (&raw const (*enrolment).mode).read_volatile())
    };
    (selectors != 0 || mode == mode::TAG).then_some(enrolment)
}

/// Whether tasks may be tagged while they run, so that their counting needs care.
#[inline(always)]
pub(super) fn is_on() -> bool {
    enrolment().is_some()
}

macro_rules! tally {
    ($enrolment:expr, $count:ident) => {
        // SAFETY: a live map value, aligned for u64.
        unsafe { atomic::fetch_add(&raw mut (*$enrolment).counts.$count, 1) }
    };
}
pub(super) use tally;

/// The process of a thread at a kernel address.
#[inline(always)]
pub(super) fn process_of(task: usize) -> Process {
    let leader = kread::word(task + offset!(task_group_leader));
    Process {
        pid: kread::value::<u32>(leader + offset!(task_tgid)),
        reserved: 0,
        started_ns: kread::value::<u64>(leader + offset!(task_started)),
    }
}

/// What became of a lineage.
pub(super) mod outcome {
    pub(in super::super) const UNKNOWN: u64 = 0;
    pub(in super::super) const MEMBER: u64 = 1;
    pub(in super::super) const OTHER: u64 = 2;
}

#[repr(C)]
struct Ascent {
    task: u64,
    root: Process,
    found: u64,
}

/// One process up.
unsafe extern "C" fn ascend(_index: u32, ascent: *mut Ascent) -> i64 {
    // SAFETY: the context that `lineage_of` passed to bpf_loop.
    let ascent = unsafe { &mut *ascent };
    let task = ascent.task as usize;
    let leader = kread::word(task + offset!(task_group_leader));
    // The parent before the orphans: who is in that table by the time its parent has changed, is seen there.
    let parent = kread::word(leader + offset!(task_real_parent));
    let process = process_of(task);
    let any_start = ascent.root.started_ns == 0;
    let is_root =
        process.pid == ascent.root.pid && (any_start || process.started_ns == ascent.root.started_ns);
    if is_root || ORPHANS.get_ptr(process).is_some() {
        ascent.found = outcome::MEMBER;
        return 1;
    }
    if process.pid <= 1 {
        ascent.found = outcome::OTHER;
        return 1;
    }
    ascent.task = parent as u64;
    0
}

/// Whether the thread at a kernel address belongs to the tree that is adopted.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn lineage(task: *const u64) -> u64 {
    // SAFETY: null or a caller's live number.
    let Some(&task) = (unsafe { task.as_ref() }) else { return outcome::UNKNOWN };
    let Some(enrolment) = ENROLMENT.get_ptr(0) else { return outcome::UNKNOWN };
    // SAFETY: a live map value, which does not change while there is a tree to belong to.
    let mut ascent = Ascent { task, root: unsafe { (*enrolment).root }, found: outcome::UNKNOWN };
    // SAFETY: the callback has the signature that bpf_loop wants, and the context outlives the call.
    unsafe { bpf_loop(MAX_ANCESTORS, ascend as *const () as *mut c_void, (&raw mut ascent).cast(), 0) };
    ascent.found
}

#[inline(always)]
pub(super) fn lineage_of(task: *mut task_struct) -> u64 {
    let address = task as u64; // through memory: there the verifier sees a number
    lineage(&raw const address)
}

#[repr(C)]
struct Climb {
    cgroup: u64,
    tag: Tag,
    found: u64,
}

/// One cgroup up.
unsafe extern "C" fn climb(_index: u32, climb: *mut Climb) -> i64 {
    // SAFETY: the context that `selected_by_cgroup` passed to bpf_loop.
    let climb = unsafe { &mut *climb };
    let cgroup = climb.cgroup as usize;
    let id = kread::value::<u64>(kread::word(cgroup + offset!(cgroup_kn)) + offset!(kernfs_id));
    if let Some(tag) = SELECTORS.get_ptr(id) {
        // SAFETY: a live map value.
        climb.tag = unsafe { *tag };
        climb.found = 1;
        return 1;
    }
    let parent = kread::word(cgroup + offset!(cgroup_parent));
    if parent == 0 {
        return 1;
    }
    climb.cgroup = (parent - offset!(cgroup_self)) as u64;
    0
}

/// The tag of the selected cgroup that the thread at a kernel address is in or below. Generation 0 is nobody's.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn selected_by_cgroup(task: *const u64) -> u64 {
    // SAFETY: null or a caller's live number.
    let Some(&task) = (unsafe { task.as_ref() }) else { return 0 };
    let set = kread::word(task as usize + offset!(task_cgroups));
    let cgroup = kread::word(set + offset!(css_set_cgroup)) as u64;
    let mut state = Climb { cgroup, tag: Tag::default(), found: 0 };
    // SAFETY: the callback has the signature that bpf_loop wants, and the context outlives the call.
    unsafe { bpf_loop(MAX_CGROUPS, climb as *const () as *mut c_void, (&raw mut state).cast(), 0) };
    if state.found == 0 { 0 } else { u64::from(state.tag.generation) << 32 | u64::from(state.tag.slot) }
}

/// The tag that selectors give to a task.
#[inline(always)]
pub(super) fn selected(enrolment: *const Enrolment, task: *mut task_struct) -> Option<Tag> {
    // SAFETY: a live map value.
    if unsafe { (&raw const (*enrolment).selectors).read_volatile() } == 0 {
        return None;
    }
    let address = task as u64;
    match selected_by_cgroup(&raw const address) {
        0 => None,
        tag => Some(Tag { slot: tag as u32, generation: (tag >> 32) as u32 }),
    }
}

/// The tag that an untagged task is due.
#[inline(always)]
pub(super) fn due(enrolment: *mut Enrolment, task: *mut task_struct) -> Option<Tag> {
    // SAFETY: a live map value.
    if unsafe { (&raw const (*enrolment).mode).read_volatile() } == mode::TAG {
        match lineage_of(task) {
            // SAFETY: a live map value, which does not change while there is a tree to belong to.
            outcome::MEMBER => return Some(unsafe { (*enrolment).tag }),
            outcome::UNKNOWN => {
                tally!(enrolment, failed);
            }
            _ => {}
        }
    }
    selected(enrolment, task)
}

#[repr(C)]
struct Children {
    head: u64,
    at: u64,
    enrolment: *mut Enrolment,
    done: u64,
}

/// One child.
unsafe extern "C" fn orphan(_index: u32, children: *mut Children) -> i64 {
    // SAFETY: the context that `orphan_children` passed to bpf_loop.
    let children = unsafe { &mut *children };
    if children.at == children.head || children.at == 0 {
        children.done = u64::from(children.at != 0);
        return 1;
    }
    let task = children.at as usize - offset!(task_sibling);
    if ORPHANS.insert(process_of(task), 1u32, 0).is_err() {
        return 1;
    }
    tally!(children.enrolment, orphans);
    let next = kread::word(children.at as usize) as u64;
    // One that is gone points to itself: from the start again. What is in the table stays in it.
    children.at = if next == children.at { kread::word(children.head as usize) as u64 } else { next };
    0
}

/// Notes the children of the current task if it belongs to the tree: their lineage is about to lead elsewhere.
#[inline(always)]
pub(super) fn orphan_children(enrolment: *mut Enrolment, task: *mut task_struct) {
    // SAFETY: a live map value.
    if unsafe { (&raw const (*enrolment).mode).read_volatile() } == mode::TAG {
        let address = task as u64;
        note_children(&raw const address);
    }
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn note_children(task: *const u64) -> u64 {
    // SAFETY: null or a caller's live number.
    let Some(&task) = (unsafe { task.as_ref() }) else { return 0 };
    let head = task as usize + offset!(task_children);
    let first = kread::word(head);
    if first == head || lineage(&raw const task) == outcome::OTHER {
        return 0;
    }
    let Some(enrolment) = ENROLMENT.get_ptr_mut(0) else { return 0 };
    let mut children = Children { head: head as u64, at: first as u64, enrolment, done: 0 };
    // SAFETY: the callback has the signature that bpf_loop wants, and the context outlives the call.
    unsafe { bpf_loop(MAX_STEPS, orphan as *const () as *mut c_void, (&raw mut children).cast(), 0) };
    if children.done == 0 {
        tally!(enrolment, failed);
    }
    1
}
