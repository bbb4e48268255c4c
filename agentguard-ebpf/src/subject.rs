//! Who asks: the tag of a task, its invocation and its policy.

use core::ffi::c_void;
use core::ptr::null_mut;

use agentguard_common::counter::Counter;
use agentguard_common::invocation::{Invocation, Tag};
use agentguard_common::policy::{FileTables, PolicyHeader, flags};
use agentguard_common::verdict::{Decision, Reason, Verdict};
use aya_ebpf::bindings::{BPF_LOCAL_STORAGE_GET_F_CREATE, task_struct};
use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_ktime_get_boot_ns, bpf_task_storage_get};
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;

use crate::emit::{self, EPERM};
use crate::maps::{INVOCATIONS, POLICIES, TASK_TAG, TASK_TOOL, TASK_WORKER, count, storage_type, word_type};
use crate::{kread, member, offset};

/// Set in `task_struct.flags` of a task that ends (`linux/sched.h`).
pub(crate) const PF_EXITING: u32 = 0x4;
/// Set in `task_struct.flags` of io_uring's threads (`linux/sched.h`).
const PF_IO_WORKER: u32 = 0x10;

/// A tagged task's invocation.
#[derive(Clone, Copy)]
pub(crate) struct Subject {
    pub(crate) tag: Tag,
    pub(crate) invocation: *mut Invocation,
    pub(crate) policy: *const PolicyHeader,
    /// Why it may do nothing at all, if so.
    pub(crate) barred: Option<Reason>,
}

/// The current task's kernel object.
#[inline(always)]
pub(crate) fn current_task() -> *mut task_struct {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_get_current_task_btf() }.cast()
}

/// A kernel service acts with other credentials than the task's own: the layers of a stacked file system. Of a worker of
/// io_uring that can't be told: it takes on the credentials of each request.
#[inline(always)]
pub(crate) fn acts_for_kernel() -> bool {
    let task = current_task();
    let (own, real) = (task as usize + offset!(task_cred), task as usize + offset!(task_real_cred));
    kread::word(own) != kread::word(real) && !is_io_worker(task)
}

/// The tag of `task`, if it has one.
#[inline(always)]
pub(crate) fn tag_of(task: *mut task_struct) -> Option<Tag> {
    // SAFETY: `task` is a trusted task pointer (current, or a hook's argument); no flags, so nothing is made.
    let tag = unsafe { bpf_task_storage_get(TASK_TAG.as_ptr(), task.cast(), null_mut(), 0) } as *const Tag;
    // SAFETY: a storage value outlives the program run (RCU); checked for null.
    if tag.is_null() { None } else { Some(unsafe { *tag }) }
}

/// The two words of the current task's tag in one, if it is among the elements that its storage was asked for last, where the
/// kernel looks first too. Here that costs half of what the helper does, which also guards the storage against itself. 0 where
/// it is not, or this kernel's storage is not known: then the helper is to be asked.
#[inline(always)]
fn tag_at_hand(task: *mut task_struct) -> u64 {
    let (word, kind) = (word_type(), storage_type());
    if word == 0 || kind == 0 {
        return 0;
    }
    let map = TASK_TAG.as_ptr().cast_const().cast::<u8>();
    // SAFETY: pointers of the types that the casts name, and as long-lived as the helper's answer. What is not there reads
    // as 0.
    let (owner, value) = unsafe {
        let storage: u64 =
            kread::member(kread::cast(task as u64 + offset!(task_bpf_storage) as u64, word), 0);
        let place = u64::from(member!(map, storage_map_place: u16)) * size_of::<u64>() as u64;
        let element = member!(kread::cast(storage + place, kind), storage_cache: *const u8);
        (member!(element, storage_element_map: *const u8), member!(element, storage_element_value: u64))
    };
    if owner == map { value } else { 0 }
}

/// Never attached. Whether it loads tells whether this kernel's verifier takes reads by types that the programs name
/// themselves: of [`tag_at_hand`], [`stores_only_tag`] and [`kread::value`]. If not, they are loaded without, and ask helpers.
#[lsm(hook = "file_open")]
pub fn tag_trial(_ctx: LsmContext) -> i32 {
    let task = current_task();
    let at = task as usize + offset!(task_flags);
    let numbers =
        u64::from(kread::value::<u8>(at)) + u64::from(kread::value::<u16>(at)) + kread::value::<u64>(at);
    let known = tag_at_hand(task) != 0 || stores_only_tag(task) || kread::value::<u32>(at) != 0;
    emit::outcome(known || numbers != 0, EPERM)
}

/// Whether anybody ever stored anything at `task`, which is known without asking a helper.
#[inline(always)]
fn has_storage(task: *mut task_struct) -> bool {
    // SAFETY: the current task.
    unsafe { member!(task.cast_const().cast(), task_bpf_storage: u64) != 0 }
}

/// The current task's tag.
#[inline(always)]
pub(crate) fn current_tag() -> Option<Tag> {
    current_tagged().map(|(_, tag)| tag)
}

/// The current task and its tag.
#[inline(always)]
pub(crate) fn current_tagged() -> Option<(*mut task_struct, Tag)> {
    let task = current_task();
    if !has_storage(task) {
        return None;
    }
    match tag_at_hand(task) {
        0 => tag_of(task).map(|tag| (task, tag)),
        words => Some((task, tag_from(words))),
    }
}

#[inline(always)]
const fn tag_from(words: u64) -> Tag {
    Tag { slot: words as u32, generation: (words >> 32) as u32 }
}

/// The two words of the current task's tag in one, 0 without one: for programs in which [`current_tagged`] costs the verifier
/// too much.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn current_words() -> u64 {
    match current_tag() {
        None => 0,
        Some(Tag { slot: 0, generation: 0 }) => u64::from(u32::MAX) << 32, // nobody's either, but a tag
        Some(tag) => u64::from(tag.generation) << 32 | u64::from(tag.slot),
    }
}

/// Whether the tag is all that is stored at `task`, as at most: then nothing else needs to be looked for. False where this
/// kernel's storage is not known.
#[inline(always)]
pub(crate) fn stores_only_tag(task: *mut task_struct) -> bool {
    if !kread::is_cheap() {
        return false;
    }
    let storage = kread::word(task as usize + offset!(task_bpf_storage));
    let link = kread::word(storage + offset!(storage_list));
    let element = link.wrapping_sub(offset!(storage_element_link));
    let map = kread::word(element + offset!(storage_element_data) + offset!(storage_element_map));
    map == TASK_TAG.as_ptr() as usize && kread::word(element + offset!(storage_element_next)) == 0
}

/// Puts `tag` on `task` unless it has one. False when the kernel had no memory for it.
#[inline(always)]
pub(crate) fn tag_task(task: *mut task_struct, tag: Tag) -> bool {
    store(TASK_TAG.as_ptr(), task, tag)
}

/// Notes that `task`, which is being made, is to work for io_uring. False when the kernel had no memory for it.
#[inline(always)]
pub(crate) fn note_io_worker(task: *mut task_struct, tag: Tag) -> bool {
    store(TASK_WORKER.as_ptr(), task, tag)
}

#[inline(always)]
fn store(map: *mut c_void, task: *mut task_struct, tag: Tag) -> bool {
    let mut value = tag;
    // SAFETY: `task` is a trusted task pointer and `value` lives across the call, which copies it.
    let stored = unsafe {
        bpf_task_storage_get(
            map.cast(),
            task.cast(),
            (&raw mut value).cast::<c_void>(),
            BPF_LOCAL_STORAGE_GET_F_CREATE as u64,
        )
    };
    if stored.is_null() {
        count(Counter::TagTask);
    }
    !stored.is_null()
}

/// Where the tag of `task` is kept, if it has one.
#[inline(always)]
pub(crate) fn own_tag(task: *mut task_struct) -> Option<*mut Tag> {
    kept(TASK_TAG.as_ptr(), task)
}

/// Where it is noted which tool `task` is about to become, if that ever was.
#[inline(always)]
pub(crate) fn chosen_tool(task: *mut task_struct) -> Option<*mut Tag> {
    if stores_only_tag(task) { None } else { kept(TASK_TOOL.as_ptr(), task) }
}

#[inline(always)]
fn kept(map: *mut c_void, task: *mut task_struct) -> Option<*mut Tag> {
    // SAFETY: `task` is a trusted task pointer; no flags, so nothing is made.
    let tag = unsafe { bpf_task_storage_get(map, task.cast(), null_mut(), 0) } as *mut Tag;
    if tag.is_null() { None } else { Some(tag) }
}

/// Notes which tool `task` is about to become. False when the kernel had no memory for it.
#[inline(always)]
pub(crate) fn choose_tool(task: *mut task_struct, tool: Tag) -> bool {
    if !store(TASK_TOOL.as_ptr(), task, tool) {
        return false;
    }
    if let Some(chosen) = chosen_tool(task) {
        // SAFETY: a live storage value that only this task's hooks use; there before, it kept what it was.
        unsafe { *chosen = tool };
    }
    true
}

/// Whether `task` was made to work for io_uring, also while it ends. Known at level `lsm`.
#[inline(always)]
pub(crate) fn was_io_worker(task: *mut task_struct) -> bool {
    has_storage(task) && !stores_only_tag(task) && kept(TASK_WORKER.as_ptr(), task).is_some()
}

/// Whether the kernel made `task` to work for io_uring. Not while the task ends.
#[inline(always)]
pub(crate) fn is_io_worker(task: *mut task_struct) -> bool {
    // SAFETY: a trusted `struct task_struct *`.
    unsafe { member!(task.cast_const().cast(), task_flags: u32) & PF_IO_WORKER != 0 }
}

/// The tag of a task's process, for a worker that has none of its own.
#[inline(always)]
pub(crate) fn tag_of_leader(task: *mut task_struct) -> Option<Tag> {
    // SAFETY: a trusted `struct task_struct *`.
    let leader = unsafe { member!(task.cast_const().cast(), task_group_leader: *mut u8) };
    if leader.is_null() { None } else { tag_of(leader.cast()) }
}

/// The policy of a task with `tag`, if the task may do what that allows: what [`Subject::of`] mostly finds, in fewer
/// steps. Whatever bars a task there must bar it here.
#[inline(always)]
pub(crate) fn policy_in_force(tag: Tag) -> Option<*const PolicyHeader> {
    let invocation = INVOCATIONS.get_ptr(tag.slot)?;
    // SAFETY: a live map value. The daemon writes single words; each is read once.
    let index = unsafe {
        if (*invocation).barred_by(tag, now).is_some() {
            return None;
        }
        (*invocation).policy
    };
    let policy = POLICIES.get_ptr(index)?;
    // SAFETY: a live map value.
    if unsafe { (*policy).generation } == 0 { None } else { Some(policy) }
}

impl Subject {
    /// The current task's subject; `None` for untagged tasks, which AgentGuard never denies anything.
    #[inline(always)]
    pub(crate) fn current() -> Option<Self> {
        match current_words() {
            0 => None,
            words => Some(Self::of(tag_from(words))),
        }
    }

    /// As [`Self::current`], at level `compat`: an io_uring worker, for which no fork is traced, acts for its process.
    #[inline(always)]
    pub(crate) fn current_or_worker() -> Option<Self> {
        let task = current_task();
        if let Some(tag) = tag_of(task) {
            return Some(Self::of(tag));
        }
        if !is_io_worker(task) {
            return None;
        }
        tag_of_leader(task).map(Self::of)
    }

    /// The subject of `tag`. A tag that leads nowhere is barred as stale.
    #[inline(always)]
    pub(crate) fn of(tag: Tag) -> Self {
        let stale =
            Self { tag, invocation: null_mut(), policy: core::ptr::null(), barred: Some(Reason::Stale) };
        let Some(invocation) = INVOCATIONS.get_ptr_mut(tag.slot) else {
            count(Counter::StaleTag);
            return stale;
        };
        // SAFETY: a live map value. The daemon writes single words; each is read once.
        let (barred, index) = unsafe { ((*invocation).barred_by(tag, now), (*invocation).policy) };
        let Some(policy) = POLICIES.get_ptr(index) else {
            count(Counter::StaleTag);
            return stale;
        };
        // SAFETY: a live map value.
        let vacant = unsafe { (*policy).generation } == 0;
        let barred = if barred.is_none() && vacant { Some(Reason::Stale) } else { barred };
        Self { tag, invocation, policy, barred }
    }

    /// Whether packets of its open sockets are stopped.
    #[inline(always)]
    pub(crate) fn is_cut(&self) -> bool {
        // SAFETY: null or a live map value.
        self.invocation.is_null() || unsafe { (*self.invocation).cuts(self.tag, now()) }
    }

    /// Whether its processes are to be stopped rather than killed.
    #[inline(always)]
    pub(crate) fn is_frozen(&self) -> bool {
        // SAFETY: null or a live map value.
        !self.invocation.is_null() && unsafe { (*self.invocation).is_frozen(self.tag) }
    }

    /// Flags of the policy, 0 without one.
    #[inline(always)]
    pub(crate) fn policy_flags(&self) -> u32 {
        // SAFETY: null or a live map value.
        if self.policy.is_null() { 0 } else { unsafe { (*self.policy).flags } }
    }

    /// Generation of the policy, 0 without one.
    #[inline(always)]
    pub(crate) fn policy_generation(&self) -> u32 {
        // SAFETY: null or a live map value.
        if self.policy.is_null() { 0 } else { unsafe { (*self.policy).generation } }
    }

    /// Whether the policy asks to record what is allowed.
    #[inline(always)]
    pub(crate) fn records_allowed(&self) -> bool {
        // SAFETY: null or a live map value.
        !self.policy.is_null() && unsafe { (*self.policy).records_allowed() }
    }

    /// Where the policy's file rules are.
    #[inline(always)]
    pub(crate) fn file_tables(&self) -> FileTables {
        // SAFETY: null or a live map value.
        if self.policy.is_null() { FileTables::default() } else { unsafe { (*self.policy).file_tables() } }
    }

    /// Whether the policy grants a privilege.
    #[inline(always)]
    pub(crate) fn may(&self, privilege: u32) -> bool {
        // SAFETY: null or a live map value.
        self.barred.is_none()
            && !self.policy.is_null()
            && unsafe { (*self.policy).privileges } & privilege != 0
    }

    /// Whether `verdict` stops the task: audit mode stops nothing, except what revocation and expiry end.
    #[inline(always)]
    pub(crate) fn stops(&self, verdict: Verdict) -> bool {
        if matches!(verdict.decision, Decision::Allow) {
            return false;
        }
        let ended = matches!(verdict.reason, Reason::Revoked | Reason::Expired | Reason::Stale);
        ended || self.policy_flags() & flags::AUDIT == 0
    }
}

/// The boot clock, in nanoseconds.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_ktime_get_boot_ns() }
}
