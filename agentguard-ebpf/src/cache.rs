//! What is known of directories: the state that a policy's DFA is in behind the directory's path and a slash. With it an
//! open costs a walk over the last name only, at any depth.
//!
//! It is kept with the directory's inode, so it ends with it, and it is believed only while everything that it was found
//! under is unchanged: the policy's version, the mount and the mount namespace, the directory's entry and its parent's, and
//! the kernel's own sequence locks of renames and mounts. Those are the ones by which the kernel itself builds paths: every
//! move of an entry and every change of the mount tree makes them odd before it takes place and even again after. They
//! are looked at last, so whatever was read since a note was found, or a walk began, is of one moment; the directory of the
//! entry was read before that, so it is read again. Nothing is noted of a directory
//!
//! - whose path was read while a sequence was odd or changed,
//! - whose path is not the same for all tasks of the namespace (`/proc/self`),
//! - that its file system can move without the kernel's knowledge (network file systems revalidate their entries).
//!
//! The cache only ever answers that something is allowed, by the same [`file::decide`]. Everything else goes the long way,
//! which also records.

use core::ffi::c_void;
use core::ptr::null_mut;

use agentguard_common::file::{self, Access, StateVerdict};
use agentguard_common::offsets::ABSENT;
use agentguard_common::policy::{FileTables, PolicyHeader};
use aya_ebpf::bindings::{BPF_LOCAL_STORAGE_GET_F_CREATE, task_struct};
use aya_ebpf::helpers::generated::{bpf_inode_storage_delete, bpf_inode_storage_get, bpf_jiffies64};
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;

use crate::maps::{Arena, DIRECTORY, sequences};
use crate::subject::current_task;
use crate::{atomic, kread, member, offset};

/// Policies that a directory can be known under at a time; by their generation, so that finding one costs nothing.
const WAYS: usize = 4;
/// Ticks for which a note is believed: the sequences have 32 bits, and must not come round again.
const BELIEVED_TICKS: u64 = 7500;
/// Flags of an entry that its file system asks about before it is used (`linux/dcache.h`).
const DCACHE_OP_REVALIDATE: u32 = 1 << 2;
const DCACHE_OP_WEAK_REVALIDATE: u32 = 1 << 11;
/// Bytes of the shortest room that a kernel has for a short name.
const SHORT_NAME: u32 = 32;

/// A directory's note.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Note {
    /// Odd while it is written.
    version: u32,
    policy: u32,
    state: u32,
    renames: u32,
    mounts: u32,
    padding: u32,
    ticks: u64,
    mnt: u64,
    mount_ns: u64,
    entry: u64,
    parent: u64,
}

/// Value of the inode storage.
#[repr(C)]
pub struct Directory {
    writer: u64,
    notes: [Note; WAYS],
}

/// Both sequences.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    renames: u32,
    mounts: u32,
}

impl Moment {
    /// Now, if nothing moves.
    #[inline(always)]
    pub(crate) fn now() -> Option<Self> {
        let at = sequences();
        if at.renames == 0 || at.mounts == 0 {
            return None;
        }
        let (renames, mounts) = if at.kind == 0 {
            (kread::read::<u32>(at.renames as usize)?, kread::read::<u32>(at.mounts as usize)?)
        } else {
            // SAFETY: the addresses of two of that type, whose first member is the number.
            unsafe {
                (
                    kread::member(kread::cast(at.renames, at.kind), 0),
                    kread::member(kread::cast(at.mounts, at.kind), 0),
                )
            }
        };
        if (renames | mounts) & 1 == 0 { Some(Self { renames, mounts }) } else { None }
    }
}

/// Where an open file is, as typed pointers.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    entry: *const u8,
    directory: *const u8,
    inode: *const u8,
    mnt: *const u8,
    mount_ns: u64,
}

impl Place {
    /// Of a `struct file *`, as `task` sees it, unless it is the root of a file system. The last component of its path is its
    /// entry's name, but for the root of a mount: see [`note`].
    ///
    /// # Safety
    /// The verifier knows `file` as a pointer to an open file, and `task` as the current one.
    #[inline(always)]
    pub(crate) unsafe fn of(file: *const u8, task: *const task_struct) -> Option<Self> {
        // SAFETY: typed pointers all the way.
        unsafe {
            let entry = member!(file, file_dentry: *const u8);
            let mnt = member!(file, file_mnt: *const u8);
            let directory = member!(entry, dentry_parent: *const u8);
            if entry == directory {
                return None;
            }
            let inode = member!(directory, dentry_inode: *const u8);
            let nsproxy = member!(task.cast(), task_nsproxy: *const u8);
            let mount_ns = member!(nsproxy, nsproxy_mnt_ns: u64);
            if inode.is_null() || mount_ns == 0 {
                return None;
            }
            Some(Self { entry, directory, inode, mnt, mount_ns })
        }
    }

    /// The directory's notes, if it has any.
    #[inline(always)]
    fn notes(&self) -> *mut Directory {
        // SAFETY: an inode that the kernel frees only after a grace period; no flags, so nothing is made.
        unsafe { bpf_inode_storage_get(DIRECTORY.as_ptr(), self.inode.cast_mut().cast(), null_mut(), 0) }
            .cast()
    }

    /// Whether the entry is in the directory, as it was when that was looked up. To be asked before the sequences are.
    #[inline(always)]
    fn holds(&self) -> bool {
        // SAFETY: a typed pointer.
        unsafe { member!(self.entry, dentry_parent: *const u8) == self.directory }
    }

    /// Address of the directory's parent entry.
    #[inline(always)]
    fn parent(&self) -> u64 {
        // SAFETY: a typed pointer.
        unsafe { member!(self.directory, dentry_parent: u64) }
    }

    /// The state behind the directory's path and a slash, and the moment in which that was so.
    #[inline(always)]
    fn known(&self, policy: u32) -> Option<(u32, Moment)> {
        let directory = self.notes();
        if directory.is_null() {
            return None;
        }
        // SAFETY: a live map value; each word is read once, since others write.
        unsafe {
            let note = &raw const (*directory).notes[policy as usize % WAYS];
            let read = |word: *const u32| core::ptr::read_volatile(word);
            let wide = |word: *const u64| core::ptr::read_volatile(word);
            let version = read(&raw const (*note).version);
            // One after the other: the verifier knows no arithmetic on pointers but comparisons.
            if version & 1 != 0
                || read(&raw const (*note).policy) != policy
                || wide(&raw const (*note).mnt) != self.mnt as u64
                || wide(&raw const (*note).mount_ns) != self.mount_ns
                || wide(&raw const (*note).entry) != self.directory as u64
                || wide(&raw const (*note).parent) != self.parent()
                || bpf_jiffies64().wrapping_sub(wide(&raw const (*note).ticks)) > BELIEVED_TICKS
            {
                return None;
            }
            let state = read(&raw const (*note).state);
            let moment =
                Moment { renames: read(&raw const (*note).renames), mounts: read(&raw const (*note).mounts) };
            if read(&raw const (*note).version) == version { Some((state, moment)) } else { None }
        }
    }
}

/// The verdict behind the entry's name, begun in `state`; only of a name that the entry itself has room for. Most names are
/// read as far as their first byte that no rule waits for.
#[inline(always)]
fn behind_name(place: &Place, arena: Arena, tables: FileTables, state: u32) -> Option<StateVerdict> {
    let mut state = state;
    let mut verdict = file::state_verdict(&arena, tables, state);
    if verdict.stays_in_name() {
        return Some(verdict); // whatever the name is
    }
    let (old, new) = (offset!(dentry_iname), offset!(dentry_shortname));
    let room = if old == ABSENT as usize { new } else { old };
    if room == ABSENT as usize {
        return None;
    }
    // SAFETY: typed pointers, and the constant offset of a member.
    unsafe {
        let at = member!(place.entry, dentry_name_text: u64);
        let len = member!(place.entry, dentry_name_len: u32);
        if at != place.entry as u64 + room as u64 || len > SHORT_NAME {
            return None;
        }
        let (mut index, mut bytes) = (0, 0);
        while index < SHORT_NAME && index != len && !verdict.stays_in_name() {
            if index % 8 == 0 {
                bytes = kread::member::<u64>(place.entry, room + index as usize);
            }
            state = file::step(&arena, tables, state, bytes as u8);
            verdict = file::state_verdict(&arena, tables, state);
            bytes >>= 8;
            index += 1;
        }
    }
    Some(verdict)
}

/// Never attached. Whether it loads tells whether this kernel's verifier takes an inode that was reached from an open file:
/// newer ones take it for untrusted, and then the programs are loaded without the cache.
#[lsm(hook = "file_open")]
pub fn cache_trial(ctx: LsmContext) -> i32 {
    // SAFETY: a trusted `struct file *`.
    let Some(place) = (unsafe { Place::of(ctx.arg(0), current_task()) }) else { return 0 };
    let inode = place.inode.cast_mut().cast::<c_void>();
    // SAFETY: never run.
    unsafe {
        bpf_inode_storage_get(DIRECTORY.as_ptr(), inode, null_mut(), BPF_LOCAL_STORAGE_GET_F_CREATE as u64);
        bpf_inode_storage_delete(DIRECTORY.as_ptr(), inode);
    }
    0
}

/// Whether the cache knows that `want` on the file at `place` is allowed, and nothing is to be recorded of that.
#[inline(always)]
pub(crate) fn allows(policy: *const PolicyHeader, place: &Place, want: Access) -> bool {
    // SAFETY: a live map value; a version is written before it is referred to, and then only made vacant.
    let (recorded, generation, tables) =
        unsafe { ((*policy).records_allowed(), (*policy).generation, (*policy).file_tables()) };
    if recorded {
        return false;
    }
    let Some(arena) = Arena::get() else { return false };
    let Some((state, moment)) = place.known(generation) else { return false };
    let Some(verdict) = behind_name(place, arena, tables, state) else { return false };
    let allowed = file::decide(verdict, want).is_allow();
    allowed && place.holds() && Moment::now() == Some(moment)
}

/// Notes the state that this version of a policy has behind the directory's path, which was read since `then`.
///
/// Nothing of the directory in which a mount's root is on its own file system, which is not the one that it is seen in. So a
/// note of a directory and a mount says that the directory is inside the mount, and who finds one need not ask whether the
/// file is the mount's root: the directory of that is outside.
#[inline(always)]
pub(crate) fn note(policy: u32, place: &Place, state: u32, then: Moment) {
    // SAFETY: typed pointers.
    let (flags, root) = unsafe {
        (member!(place.directory, dentry_flags: u32), member!(place.mnt, vfsmount_root: *const u8))
    };
    // It may have moved between when its directory was looked up and `then`: whose state is this?
    if place.entry == root || !place.holds() {
        return;
    }
    if flags & (DCACHE_OP_REVALIDATE | DCACHE_OP_WEAK_REVALIDATE) != 0 || Moment::now() != Some(then) {
        return;
    }
    if policy == 0 {
        return; // vacated since it answered
    }
    let inode = place.inode.cast_mut().cast::<c_void>();
    // SAFETY: an inode that the kernel frees only after a grace period; whether it is in use is asked below.
    let directory = unsafe {
        bpf_inode_storage_get(DIRECTORY.as_ptr(), inode, null_mut(), BPF_LOCAL_STORAGE_GET_F_CREATE as u64)
    }
    .cast::<Directory>();
    if directory.is_null() {
        return; // no memory: the next open walks again
    }
    // Nothing moved since the path was read, so the entry is still in the directory and keeps its inode in use. If
    // something did, the inode may be on its way out, and its storage was freed before this was made.
    if Moment::now() != Some(then) {
        // SAFETY: as above.
        unsafe { bpf_inode_storage_delete(DIRECTORY.as_ptr(), inode) };
        return;
    }
    // SAFETY: a live map value. One writes at a time; who reads sees by the version that somebody does.
    unsafe {
        if atomic::exchange(&raw mut (*directory).writer, 1) != 0 {
            return;
        }
        let note = &raw mut (*directory).notes[policy as usize % WAYS];
        let version = core::ptr::read_volatile(&raw const (*note).version);
        core::ptr::write_volatile(&raw mut (*note).version, version.wrapping_add(1));
        core::ptr::write_volatile(&raw mut (*note).policy, policy);
        core::ptr::write_volatile(&raw mut (*note).state, state);
        core::ptr::write_volatile(&raw mut (*note).renames, then.renames);
        core::ptr::write_volatile(&raw mut (*note).mounts, then.mounts);
        core::ptr::write_volatile(&raw mut (*note).ticks, bpf_jiffies64());
        core::ptr::write_volatile(&raw mut (*note).mnt, place.mnt as u64);
        core::ptr::write_volatile(&raw mut (*note).mount_ns, place.mount_ns);
        core::ptr::write_volatile(&raw mut (*note).entry, place.directory as u64);
        core::ptr::write_volatile(&raw mut (*note).parent, place.parent());
        core::ptr::write_volatile(&raw mut (*note).version, version.wrapping_add(2));
        atomic::exchange(&raw mut (*directory).writer, 0);
    }
}
