//! Events into the rings.

use core::ffi::c_void;
use core::mem::MaybeUninit;

use agentguard_common::counter::Counter;
use agentguard_common::event::{Action, EventHeader, HEADER_BYTES, MAX_PATH};
use agentguard_common::verdict::{Decision, Reason, Verdict};
use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_uid_gid,
    bpf_ringbuf_output,
};

use crate::maps::{DENIALS, EVENTS, count, records};
use crate::path::Buffer;
use crate::subject::{Subject, current_task, now};
use crate::{atomic, kread, offset};

pub(crate) const EPERM: u16 = 1;
pub(crate) const EACCES: u16 = 13;
/// Of a hook that had no memory to do its work.
pub(crate) const ENOMEM: i32 = 12;
/// What a move that would widen rights gets: programs take it for another file system, and copy instead.
pub(crate) const EXDEV: u16 = 18;

/// What an LSM hook returns. The constant goes through memory, because the verifier wants to see that a refusal is a
/// valid errno, and the compiler would otherwise compute it from the condition.
#[inline(always)]
pub(crate) fn outcome(stops: bool, errno: u16) -> i32 {
    let refusal = core::hint::black_box(-i64::from(errno)); // 64 bits, or the verifier loses track of the value
    if stops { refusal as i32 } else { 0 }
}

/// Which ring an event goes to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ring {
    Denials,
    Events,
}

/// A header with everything that is the same for all actions of the current task.
#[inline(always)]
pub(crate) fn header(subject: &Subject, action: Action, verdict: Verdict) -> EventHeader {
    let mut event = MaybeUninit::uninit();
    *fill(&mut event, subject, action, verdict)
}

/// The same in place: a header that is returned is on the stack twice.
#[inline(always)]
pub(crate) fn fill<'a>(
    event: &'a mut MaybeUninit<EventHeader>,
    subject: &Subject,
    action: Action,
    verdict: Verdict,
) -> &'a mut EventHeader {
    let event = blank(event);
    event.action = action as u16;
    event.decision = verdict.decision as u8;
    event.reason = verdict.reason as u8;
    event.slot = subject.tag.slot;
    event.generation = subject.tag.generation;
    event.time_ns = now();
    // SAFETY: helpers without preconditions.
    let (pid_tgid, cgroup) = unsafe { (bpf_get_current_pid_tgid(), bpf_get_current_cgroup_id()) };
    event.pid = (pid_tgid >> 32) as u32;
    event.tid = pid_tgid as u32;
    event.cgroup = cgroup;
    let task = current_task();
    fill_names(event, task as usize);
    let parent = kread::word(task as usize + offset!(task_real_parent));
    event.parent_pid = kread::value(parent + offset!(task_tgid));
    event.policy_generation = subject.policy_generation();
    if !subject.invocation.is_null() {
        // SAFETY: a live map value.
        unsafe {
            event.policy = (*subject.invocation).policy;
            event.flags = (*subject.invocation).flags;
        }
    }
    event
}

/// As whom the current task, at the kernel address `task`, acts, and what it calls itself. Where reads are loads, they cost a
/// fourth of what the helpers do. By address: where the kernel's types say so, the verifier takes a typed `cred` for null.
#[inline(always)]
fn fill_names(event: &mut EventHeader, task: usize) {
    if kread::is_cheap() {
        let cred = kread::word(task + offset!(task_cred));
        event.uid = kread::value(cred + offset!(cred_uid));
        event.gid = kread::value(cred + offset!(cred_gid));
        let at = task + offset!(task_comm);
        let words: [u64; 2] = [kread::value(at), kread::value(at + size_of::<u64>())];
        // SAFETY: as many bytes, of any value.
        event.comm = unsafe { core::mem::transmute::<[u64; 2], [u8; 16]>(words) };
        return;
    }
    // SAFETY: helpers without preconditions; `comm` is 16 bytes as the helper wants.
    unsafe {
        let uid_gid = bpf_get_current_uid_gid();
        event.uid = uid_gid as u32;
        event.gid = (uid_gid >> 32) as u32;
        bpf_get_current_comm((&raw mut event.comm).cast::<c_void>(), 16);
    }
}

/// Zeroes it in stores of words: for a value of zeroes the compiler calls a function that goes byte by byte.
#[inline(always)]
fn blank(event: &mut MaybeUninit<EventHeader>) -> &mut EventHeader {
    let mut i = 0;
    while i < HEADER_BYTES / size_of::<u64>() {
        // SAFETY: inside the header, which is aligned for words. Volatile, or they become one call again.
        unsafe { event.as_mut_ptr().cast::<u64>().add(i).write_volatile(0) };
        i += 1;
    }
    // SAFETY: integers, all written.
    unsafe { event.assume_init_mut() }
}

/// Takes the invocation's next sequence number, so that a loss afterwards is a provable gap.
#[inline(always)]
pub(crate) fn sequence(subject: &Subject) -> u64 {
    if subject.invocation.is_null() {
        return 0;
    }
    // SAFETY: a live map value, aligned for u64.
    unsafe { atomic::fetch_add(&raw mut (*subject.invocation).next_seq, 1) }
}

#[inline(always)]
fn lost(subject: &Subject, counter: Counter) {
    count(counter);
    if !subject.invocation.is_null() {
        // SAFETY: a live map value, aligned for u64.
        unsafe { atomic::fetch_add(&raw mut (*subject.invocation).lost, 1) };
    }
}

#[inline(always)]
fn output(subject: &Subject, ring: Ring, data: *mut c_void, len: u64) {
    let (map, counter) = match ring {
        Ring::Denials => (&raw const DENIALS, Counter::DenialLost),
        Ring::Events => (&raw const EVENTS, Counter::EventLost),
    };
    // SAFETY: `data` holds `len` bytes; the verifier checks it against the map value or stack it comes from.
    if unsafe { bpf_ringbuf_output(map.cast_mut().cast(), data, len, 0) } != 0 {
        lost(subject, counter);
    }
}

/// Emits an event that has no path.
#[inline(always)]
pub(crate) fn plain(subject: &Subject, ring: Ring, event: &mut EventHeader) {
    if !records() {
        return;
    }
    event.seq = sequence(subject);
    numbered(subject, ring, event);
}

/// Emits an event that has its sequence number already, and no path.
#[inline(always)]
pub(crate) fn numbered(subject: &Subject, ring: Ring, event: &mut EventHeader) {
    output(subject, ring, core::ptr::from_mut(event).cast(), HEADER_BYTES as u64);
}

/// Emits an event whose path is in the buffer with these `bytes` at `position`.
#[inline(always)]
pub(crate) fn with_path(
    subject: &Subject,
    ring: Ring,
    event: &mut EventHeader,
    bytes: *mut u8,
    position: u32,
) {
    if position >= MAX_PATH as u32 {
        return plain(subject, ring, event);
    }
    if !records() {
        return;
    }
    let position = core::hint::black_box(position) & (MAX_PATH as u32 - 1); // or the compiler drops the mask
    event.path_len = (MAX_PATH as u32 - position) as u16;
    in_front(subject, ring, event, bytes, position, MAX_PATH as u32);
}

/// Emits an event whose path, or paths, are in the buffer from `position` to `end`. The header goes to the word before them
/// where it is in one piece with them: up to seven bytes of the buffer are between the two, and the path is what ends the
/// entry.
#[inline(always)]
fn in_front(subject: &Subject, ring: Ring, event: &mut EventHeader, bytes: *mut u8, position: u32, end: u32) {
    const WORDS: usize = HEADER_BYTES / size_of::<u64>();
    event.seq = sequence(subject);
    let start = position & !(size_of::<u64>() as u32 - 1);
    // SAFETY: header and path are inside the buffer for every masked position, and the buffer begins at a word.
    unsafe {
        let at = bytes.add(start as usize).cast::<u64>();
        let header = core::ptr::from_ref::<EventHeader>(event).cast::<u64>();
        let mut i = 0;
        while i < WORDS {
            at.add(i).write_volatile(header.add(i).read());
            i += 1;
        }
        output(subject, ring, at.cast(), (HEADER_BYTES as u32 + end - start) as u64);
    }
}

/// Whether a decision is recorded: allowed operations only if the policy asks.
#[inline(always)]
pub(crate) fn is_wanted(subject: &Subject, verdict: Verdict) -> bool {
    !verdict.is_allow() || subject.records_allowed()
}

/// Where the event about a decision goes. Counts denials.
#[inline(always)]
pub(crate) fn ring_for(subject: &Subject, verdict: Verdict) -> Ring {
    if verdict.is_allow() {
        return Ring::Events;
    }
    if !subject.invocation.is_null() && records() {
        // SAFETY: a live map value, aligned for u64.
        unsafe { atomic::fetch_add(&raw mut (*subject.invocation).denied, 1) };
    }
    Ring::Denials
}

/// A lifecycle fact, recorded as allowed.
pub(crate) const FACT: Verdict = Verdict::new(Decision::Allow, Reason::Rule);

/// Emits an event with two paths: the one in `buffer` at `position`, and, behind a null byte, `len` bytes more.
#[inline(always)]
pub(crate) fn with_two_paths(
    subject: &Subject,
    ring: Ring,
    event: &mut EventHeader,
    buffer: &Buffer,
    position: u32,
    len: u32,
) {
    if !records() {
        return;
    }
    let position = core::hint::black_box(position) & (MAX_PATH as u32 - 1); // or the compiler drops the mask
    let end = MAX_PATH as u32 + 1 + (len & (MAX_PATH as u32 - 1));
    event.path_len = (end - position) as u16;
    in_front(subject, ring, event, buffer.bytes(), position, end);
}
