//! Paths: walking dentries and mounts up to the root of the mount namespace.

use core::ffi::c_void;

use agentguard_common::counter::Counter;
use agentguard_common::event::{HEADER_BYTES, MAX_PATH};
use aya_ebpf::helpers::generated::{bpf_loop, bpf_probe_read_kernel};

use crate::maps::{SCRATCH, SCRATCH_BUFFERS, Scratch, UNKNOWN, count};
use crate::subject::current_task;
use crate::{atomic, kread, offset};

const MAX_COMPONENTS: u32 = 512;
const NAME_MAX: u32 = 255;
const PROC_SUPER_MAGIC: u64 = 0x9fa0;
pub(crate) const MQUEUE_MAGIC: u64 = 0x1980_0202;
/// Longest abstract socket name.
const ABSTRACT_MAX: u32 = 107;
pub(crate) const INDEX_MASK: u32 = MAX_PATH as u32 - 1;
/// Kernel error pointers are the last page of addresses.
const ERROR_POINTERS: usize = usize::MAX - 4095;

/// How a walk ended.
mod outcome {
    pub(super) const RUNNING: u32 = 0;
    pub(super) const RESOLVED: u32 = 1;
    pub(super) const ANONYMOUS: u32 = 2;
    pub(super) const TOO_LONG: u32 = 3;
    pub(super) const DISCONNECTED: u32 = 4;
    pub(super) const UNREADABLE: u32 = 5;
}

/// A claimed scratch buffer.
pub(crate) struct Buffer(*mut Scratch);

impl Buffer {
    /// Claims a buffer of this CPU. Preemption can hold several at once; when all are busy the request is denied.
    #[inline(always)]
    pub(crate) fn claim() -> Option<Self> {
        let mut i = 0;
        while i < SCRATCH_BUFFERS {
            let scratch = SCRATCH.get_ptr_mut(i)?;
            // SAFETY: a live map value, aligned for u64.
            if unsafe { atomic::exchange(&raw mut (*scratch).busy, 1) } == 0 {
                return Some(Self(scratch));
            }
            i += 1;
        }
        count(Counter::ScratchBusy);
        None
    }

    /// The buffer itself, for functions that the verifier checks apart.
    #[inline(always)]
    pub(crate) const fn scratch(&self) -> *mut Scratch {
        self.0
    }

    /// Gives the buffer back. Not `Drop`: every exit path of a hook is explicit.
    #[inline(always)]
    pub(crate) fn release(self) {
        // SAFETY: a live map value, aligned for u64.
        unsafe { atomic::exchange(&raw mut (*self.0).busy, 0) };
    }

    /// First byte of the buffer: the event header of a path at position `p` goes to the word in which `bytes() + p` is.
    #[inline(always)]
    pub(crate) fn bytes(&self) -> *mut u8 {
        bytes(self.0)
    }
}

#[inline(always)]
pub(crate) fn bytes(scratch: *mut Scratch) -> *mut u8 {
    // SAFETY: projection inside a live map value.
    unsafe { (&raw mut (*scratch).bytes).cast() }
}

/// What a path is wanted of: kernel addresses, in memory. Global functions get memory, in which the verifier sees
/// numbers and no pointers, and are checked once for all callers.
#[repr(C)]
pub struct Object {
    pub(crate) dentry: u64,
    pub(crate) mnt: u64,
    /// Of an abstract socket name behind its leading null byte, instead of a file.
    pub(crate) name: u64,
    pub(crate) name_len: u64,
}

impl Object {
    #[inline(always)]
    pub(crate) fn file(dentry: usize, mnt: usize) -> Self {
        // Hidden from the compiler, which would call a function that writes one zero after the other.
        Self { dentry: dentry as u64, mnt: mnt as u64, name: 0, name_len: core::hint::black_box(0) }
    }
}

/// What [`path_of`] answers when there is no position.
const NO_PATH: u32 = u32::MAX;
const NO_NAME: u32 = u32::MAX - 1;

/// A path in a buffer, or why there is none.
#[derive(Clone, Copy)]
pub(crate) enum Resolved {
    /// Position of the first byte; the path ends at `MAX_PATH`.
    At(u32),
    /// The object is on a kernel-internal mount (pipe, memfd, layer of a stacked file system).
    Anonymous,
    Unresolvable,
}

#[repr(C)]
struct Walk {
    dentry: usize,
    mnt: usize,
    buffer: *mut u8,
    own_pid: usize,
    mount_ns: usize,
    position: u32,
    outcome: u32,
    /// Whether the path is the same for all tasks of the mount namespace.
    shared: u32,
    padding: u32,
}

/// One step up: a component, or a crossing from a mount to the one below it.
unsafe extern "C" fn walk_step(_index: u32, walk: *mut Walk) -> i64 {
    // SAFETY: the context that `resolve` passed to bpf_loop.
    let walk = unsafe { &mut *walk };
    let parent = kread::word(walk.dentry + offset!(dentry_parent));
    let root = kread::word(walk.mnt + offset!(vfsmount_root));
    if parent == 0 || root == 0 {
        walk.outcome = outcome::UNREADABLE;
        return 1;
    }
    if walk.dentry == root {
        let mount = walk.mnt - offset!(mount_mnt);
        let below = kread::word(mount + offset!(mount_parent));
        if below == mount || below == 0 {
            let ns = kread::word(mount + offset!(mount_ns));
            let kernels_own = ns == 0 || ns >= ERROR_POINTERS;
            if kernels_own {
                walk.shared = 0;
            }
            walk.outcome =
                if (!kernels_own && ns == walk.mount_ns) || (kernels_own && names_message_queues(walk)) {
                    outcome::RESOLVED
                } else if ns >= ERROR_POINTERS {
                    outcome::ANONYMOUS
                } else {
                    outcome::DISCONNECTED
                };
            return 1;
        }
        walk.dentry = kread::word(mount + offset!(mount_mountpoint));
        walk.mnt = below + offset!(mount_mnt);
        return 0;
    }
    if walk.dentry == parent {
        // A root that is not its mount's root: every pidfd and namespace file, on mounts of the kernel's own; on
        // others what a file handle led to.
        let ns = kread::word(walk.mnt - offset!(mount_mnt) + offset!(mount_ns));
        walk.outcome = if ns >= ERROR_POINTERS { outcome::ANONYMOUS } else { outcome::DISCONNECTED };
        return 1;
    }
    let mut len =
        kread::read::<u32>(walk.dentry + offset!(dentry_name) + offset!(qstr_len)).unwrap_or(u32::MAX);
    let mut name = kread::word(walk.dentry + offset!(dentry_name) + offset!(qstr_name));
    let own = *b"self";
    if parent == root && is_on_procfs(walk) {
        walk.shared = 0;
        if is_own_process(walk) {
            len = 4;
            name = 0;
        }
    }
    if len > NAME_MAX || walk.position < len + 1 {
        walk.outcome = if len > NAME_MAX { outcome::UNREADABLE } else { outcome::TOO_LONG };
        return 1;
    }
    let start = walk.position - len;
    // SAFETY: the masked position plus at most 255 bytes is inside the buffer, which has that much slack.
    unsafe {
        let at = walk.buffer.add(HEADER_BYTES + (start & INDEX_MASK) as usize);
        if name == 0 {
            *at.cast::<[u8; 4]>() = own;
        } else if bpf_probe_read_kernel(at.cast(), len & 0xff, name as *const c_void) != 0 {
            walk.outcome = outcome::UNREADABLE;
            return 1;
        }
        *walk.buffer.add(HEADER_BYTES + ((start - 1) & INDEX_MASK) as usize) = b'/';
    }
    walk.position = start - 1;
    walk.dentry = parent;
    0
}

/// POSIX message queues live on a kernel-internal mount but have names. Prepends where they are seen otherwise.
#[inline(always)]
fn names_message_queues(walk: &mut Walk) -> bool {
    let sb = kread::word(walk.mnt + offset!(vfsmount_sb));
    let at = *b"/dev/mqueue";
    if kread::value::<u64>(sb + offset!(sb_magic)) != MQUEUE_MAGIC || walk.position < at.len() as u32 {
        return false;
    }
    walk.position -= at.len() as u32;
    // SAFETY: the masked position plus 11 bytes is inside the buffer, which has that much slack.
    unsafe {
        *walk.buffer.add(HEADER_BYTES + (walk.position & INDEX_MASK) as usize).cast::<[u8; 11]>() = at;
    }
    true
}

#[inline(always)]
fn is_on_procfs(walk: &Walk) -> bool {
    let sb = kread::word(walk.mnt + offset!(vfsmount_sb));
    kread::value::<u64>(sb + offset!(sb_magic)) == PROC_SUPER_MAGIC
}

/// Whether the walk is at the procfs directory of the current process, which policies call `self`.
#[inline(always)]
fn is_own_process(walk: &Walk) -> bool {
    let inode = kread::word(walk.dentry + offset!(dentry_inode));
    if inode == 0 {
        return false;
    }
    let pid = kread::word(inode - offset!(proc_inode_vfs) + offset!(proc_inode_pid));
    pid != 0 && pid == walk.own_pid
}

/// Writes the path of `object` into `buffer`.
#[inline(always)]
pub(crate) fn resolve(buffer: &Buffer, object: &Object) -> Resolved {
    match path_of(object, buffer.scratch()) {
        NO_PATH => Resolved::Unresolvable,
        NO_NAME => Resolved::Anonymous,
        position => Resolved::At(position),
    }
}

/// The position of the object's path in `scratch`, or why it has none.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn path_of(object: *const Object, scratch: *mut Scratch) -> u32 {
    // SAFETY: null or a caller's live `Object`.
    let Some(object) = (unsafe { object.as_ref() }) else { return NO_PATH };
    if scratch.is_null() {
        return NO_PATH;
    }
    if object.name == 0 {
        walk(scratch, object.dentry as usize, object.mnt as usize)
    } else {
        abstract_name(scratch, object.name as usize, object.name_len as u32)
    }
}

/// Writes the path of (dentry, vfsmount).
#[inline(always)]
fn walk(scratch: *mut Scratch, dentry: usize, mnt: usize) -> u32 {
    let task = current_task() as usize;
    let leader = kread::word(task + offset!(task_group_leader));
    let nsproxy = kread::word(task + offset!(task_nsproxy));
    let mut walk = Walk {
        dentry,
        mnt,
        buffer: bytes(scratch),
        own_pid: kread::word(leader + offset!(task_thread_pid)),
        mount_ns: kread::word(nsproxy + offset!(nsproxy_mnt_ns)),
        position: MAX_PATH as u32,
        outcome: outcome::RUNNING,
        shared: 1,
        padding: 0,
    };
    // SAFETY: the callback has the signature that bpf_loop wants, and the context outlives the call.
    unsafe {
        bpf_loop(MAX_COMPONENTS, walk_step as *const () as *mut c_void, (&raw mut walk).cast(), 0);
    }
    // SAFETY: a live map value, claimed for this decision.
    unsafe {
        (*scratch).shared = walk.shared;
        (*scratch).parent_state = UNKNOWN;
    }
    if walk.outcome == outcome::ANONYMOUS {
        return NO_NAME;
    }
    let mut position = walk.position;
    if walk.outcome != outcome::RESOLVED || position > MAX_PATH as u32 {
        count(match walk.outcome {
            outcome::TOO_LONG => Counter::PathTooLong,
            outcome::DISCONNECTED => Counter::PathDisconnected,
            outcome::RUNNING => Counter::PathTooDeep,
            _ => Counter::KernelRead,
        });
        return NO_PATH;
    }
    if position == MAX_PATH as u32 {
        position -= 1; // the root itself
        // SAFETY: a constant position inside the buffer.
        unsafe { *bytes(scratch).add(HEADER_BYTES + MAX_PATH - 1) = b'/' };
    }
    position
}

/// Writes the abstract socket name of `len` bytes at the kernel address `name` as `@name`.
#[inline(always)]
fn abstract_name(scratch: *mut Scratch, name: usize, len: u32) -> u32 {
    if len > ABSTRACT_MAX {
        return NO_PATH;
    }
    let len = len & 0x7f;
    let start = MAX_PATH as u32 - len;
    // SAFETY: the masked positions are inside the buffer, which has slack behind them for any masked length.
    unsafe {
        let at = bytes(scratch).add(HEADER_BYTES + (start & INDEX_MASK) as usize);
        if len > 0 && bpf_probe_read_kernel(at.cast(), len, name as *const c_void) != 0 {
            return NO_PATH;
        }
        *bytes(scratch).add(HEADER_BYTES + ((start - 1) & INDEX_MASK) as usize) = b'@';
    }
    start - 1
}
