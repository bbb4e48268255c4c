//! Level `lsm`: attributes for which the kernel's hooks name a directory entry and no mount: extended attributes, access
//! lists, times. And flags, set by `ioctl`.
//!
//! The same entry can be seen through several mounts of the task's namespace (bind mounts). The change is the same
//! through all of them, so the policy must allow it at every path that the object has.

use core::ffi::c_void;

use agentguard_common::counter::Counter;
use agentguard_common::event::Action;
use agentguard_common::file::Access;
use agentguard_common::offsets::ABSENT;
use aya_ebpf::helpers::generated::bpf_loop;
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;

use super::file::{check, check_file};
use crate::emit::{self, EACCES};
use crate::maps::count;
use crate::path::{Buffer, MQUEUE_MAGIC};
use crate::subject::{acts_for_kernel, current_tag, current_task};
use crate::{kread, offset};

/// Mounts of one file system in a task's namespace that are looked at. With more, the change is denied.
const MOUNTS: usize = 32;
const MAX_MOUNTS_OF_HOST: u32 = 4096;
const MAX_DEPTH: u32 = 512;
/// `super_block.s_flags`: mounted by the kernel for itself (pipes, memfd).
const SB_KERNMOUNT: u64 = 1 << 22;
const FS_IOC_SETFLAGS: [u32; 3] = [0x4008_6602, 0x4004_6602, 0x401c_5820];
const BTRFS_IOCTL: u32 = 0x94;
const FICLONE: u32 = 9;
const FICLONERANGE: u32 = 13;
const FIDEDUPERANGE: u32 = 54;
const ATTR_OWNER_MODE_SIZE: u32 = 0xf;
const ATTR_TIMES: u32 = 1 << 4 | 1 << 5;

/// The search for the mounts that show an entry. In a scratch buffer: it is too large for the stack.
#[repr(C)]
struct Search {
    /// The next link of the list of mounts, and where it ends.
    at: usize,
    end: usize,
    namespace: usize,
    /// The entry, then its parents.
    dentry: usize,
    found: usize,
    mounts: [usize; MOUNTS],
    roots: [usize; MOUNTS],
    /// Which of them show the entry.
    showing: [usize; MOUNTS],
}

/// What the callbacks get: it must be on the stack.
struct Place(*mut Search);

/// Takes up one mount of the file system, if it is in the namespace.
unsafe extern "C" fn collect(_index: u32, place: *mut Place) -> i64 {
    // SAFETY: the context that `everywhere` passed to bpf_loop.
    let search = unsafe { &mut *(*place).0 };
    let at = search.at;
    if at == search.end || at == 0 {
        return 1;
    }
    let listed = offset!(mount_instance) != ABSENT as usize;
    let mount = if listed { at - offset!(mount_instance) } else { at };
    search.at = kread::word(if listed { at } else { mount + offset!(mount_next) });
    if kread::word(mount + offset!(mount_ns)) != search.namespace {
        return 0;
    }
    let vfsmount = mount + offset!(mount_mnt);
    let slot = search.found & (MOUNTS - 1); // with more than there is room for, nothing of this is used
    search.mounts[slot] = vfsmount;
    search.roots[slot] = kread::word(vfsmount + offset!(vfsmount_root));
    search.found += 1;
    0
}

/// Notes which mounts have the entry at hand as their root, and goes to its parent.
unsafe extern "C" fn climb(_index: u32, place: *mut Place) -> i64 {
    // SAFETY: as above.
    let search = unsafe { &mut *(*place).0 };
    let dentry = search.dentry;
    let mut i = 0;
    while i < MOUNTS {
        if search.roots[i] == dentry {
            search.showing[i] = 1;
        }
        i += 1;
    }
    let parent = kread::word(dentry + offset!(dentry_parent));
    if parent == dentry || parent == 0 {
        return 1;
    }
    search.dentry = parent;
    0
}

/// Decides `want` on an entry at every path it has.
#[inline(always)]
fn everywhere(dentry: usize, want: Access) -> i32 {
    if acts_for_kernel() {
        return 0; // the layers of a stacked file system; decided on the stacked one
    }
    let sb = kread::word(dentry + offset!(dentry_sb));
    if kread::value::<u64>(sb + offset!(sb_flags)) & SB_KERNMOUNT != 0 {
        return 0; // nobody but holders of a descriptor can reach it
    }
    let Some(buffer) = Buffer::claim() else { return check(Action::Path, 0, 0, want) };
    let mut place = Place(buffer.bytes().cast());
    let nsproxy = kread::word(current_task() as usize + offset!(task_nsproxy));
    let head = sb + offset!(sb_mounts);
    // SAFETY: the buffer is claimed, larger than a `Search`, and aligned for it.
    let search = unsafe { &mut *place.0 };
    *search = Search {
        at: kread::word(head),
        end: head,
        namespace: kread::word(nsproxy + offset!(nsproxy_mnt_ns)),
        dentry,
        found: 0,
        mounts: [0; MOUNTS],
        roots: [0; MOUNTS],
        showing: [0; MOUNTS],
    };
    // SAFETY: the callbacks have the signature that bpf_loop wants, and the context outlives the calls.
    unsafe {
        let context: *mut c_void = (&raw mut place).cast();
        bpf_loop(MAX_MOUNTS_OF_HOST, collect as *const () as *mut c_void, context, 0);
        bpf_loop(MAX_DEPTH, climb as *const () as *mut c_void, context, 0);
    }
    let mut shown = 0;
    let mut refused = false;
    let mut i = 0;
    while i < MOUNTS {
        if search.showing[i] != 0 {
            shown |= 1;
            refused |= check(Action::Path, dentry, search.mounts[i], want) != 0;
        }
        i += 1;
    }
    let found = search.found;
    buffer.release();
    if found > MOUNTS {
        count(Counter::MountsTooMany);
    }
    if shown == 0 || found > MOUNTS {
        return check(Action::Path, 0, 0, want); // no path, or too many: denied as unresolvable
    }
    emit::outcome(refused, EACCES)
}

macro_rules! attribute_hooks {
    ($($hook:literal $name:ident: entry in $entry:literal;)*) => {$(
        // The kernel stops at the first refusal of an LSM, so earlier verdicts need no look.
        #[lsm(hook = $hook)]
        pub fn $name(ctx: LsmContext) -> i32 {
            if current_tag().is_none() {
                return 0;
            }
            everywhere(ctx.arg::<*const u8>($entry) as usize, Access::WRITE)
        }
    )*};
}

attribute_hooks! {
    "inode_setxattr" inode_setxattr: entry in 1;
    "inode_removexattr" inode_removexattr: entry in 1;
    "inode_set_acl" inode_set_acl: entry in 1;
    "inode_remove_acl" inode_remove_acl: entry in 1;
    "inode_file_setattr" inode_file_setattr: entry in 0;
}

/// What programs keep in attributes for themselves is content. Others say who may do what, and `ls` reads them.
#[lsm(hook = "inode_getxattr")]
pub fn inode_getxattr(ctx: LsmContext) -> i32 {
    if current_tag().is_none() {
        return 0;
    }
    let name = ctx.arg::<*const u8>(1) as usize;
    if kread::value::<[u8; 5]>(name) != *b"user." {
        return 0;
    }
    everywhere(ctx.arg::<*const u8>(0) as usize, Access::READ)
}

/// POSIX message queues are made and removed by system calls of their own, without a path hook.
#[inline(always)]
fn message_queue(dentry: usize, want: Access) -> i32 {
    let sb = kread::word(dentry + offset!(dentry_sb));
    if kread::value::<u64>(sb + offset!(sb_magic)) != MQUEUE_MAGIC || current_tag().is_none() {
        return 0;
    }
    let nsproxy = kread::word(current_task() as usize + offset!(task_nsproxy));
    let ipc_ns = kread::word(nsproxy + offset!(nsproxy_ipc_ns));
    check(Action::Path, dentry, kread::word(ipc_ns + offset!(ipc_ns_mq_mnt)), want)
}

#[lsm(hook = "inode_create")]
pub fn inode_create(ctx: LsmContext) -> i32 {
    message_queue(ctx.arg::<*const u8>(1) as usize, Access::CREATE)
}

#[lsm(hook = "inode_unlink")]
pub fn inode_unlink(ctx: LsmContext) -> i32 {
    message_queue(ctx.arg::<*const u8>(1) as usize, Access::DELETE)
}

/// Times. Owner, mode and size have hooks with a path.
#[lsm(hook = "inode_setattr")]
pub fn inode_setattr(ctx: LsmContext) -> i32 {
    if current_tag().is_none() {
        return 0;
    }
    // 6.9 put the mount's id map first. All are read before one is chosen: the verifier wants constant offsets.
    let arguments = [0, 1, 2].map(|n| core::hint::black_box(ctx.arg::<*const u8>(n) as usize));
    let (dentry, change) = if offset!(setattr_idmap) == ABSENT as usize {
        (arguments[0], arguments[1])
    } else {
        (arguments[1], arguments[2])
    };
    let valid = kread::read::<u32>(change + offset!(iattr_valid)).unwrap_or(ATTR_TIMES);
    if valid & ATTR_TIMES == 0 || valid & ATTR_OWNER_MODE_SIZE != 0 {
        return 0;
    }
    everywhere(dentry, Access::WRITE)
}

/// Whether an `ioctl` sets flags of a file (immutable, append only, ...).
#[inline(always)]
pub(super) fn sets_flags(command: u32) -> bool {
    command == FS_IOC_SETFLAGS[0] || command == FS_IOC_SETFLAGS[1] || command == FS_IOC_SETFLAGS[2]
}

/// Whether an `ioctl` of btrfs makes or removes what no other hook sees (subvolumes, snapshots, ...). Cloning and
/// deduplication are writes through a descriptor.
#[inline(always)]
pub(super) fn changes_tree(command: u32) -> bool {
    command >> 8 & 0xff == BTRFS_IOCTL && !matches!(command & 0xff, FICLONE | FICLONERANGE | FIDEDUPERANGE)
}

/// Decides about a use of `file` that changes it, or what is in it.
#[inline(always)]
pub(super) fn use_to_write(file: usize) -> i32 {
    if current_tag().is_none() {
        return 0;
    }
    check_file(Action::Path, file, Access::WRITE)
}
