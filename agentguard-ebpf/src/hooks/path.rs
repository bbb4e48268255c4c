//! Changes of the name space at level `lsm`: create, delete, link, rename, attributes.

use agentguard_common::event::Action;
use agentguard_common::file::Access;
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;

use super::file::check;
use crate::emit::{self, EACCES};
use crate::subject::{current_task, tag_of};
use crate::{kread, offset};

/// Decides about the entry `dentry` of the directory `dir` (a `struct path *`).
#[inline(always)]
fn entry(dir: usize, dentry: usize, want: Access) -> i32 {
    if tag_of(current_task()).is_none() {
        return 0;
    }
    check(Action::Path, dentry, kread::word(dir + offset!(path_mnt)), want)
}

/// Decides about the object at `path` (a `struct path *`).
#[inline(always)]
fn object(path: usize, want: Access) -> i32 {
    entry(path, kread::word(path + offset!(path_dentry)), want)
}

macro_rules! entry_hooks {
    ($($hook:literal $name:ident: $want:ident, verdict in $ret:literal;)*) => {$(
        #[lsm(hook = $hook)]
        pub fn $name(ctx: LsmContext) -> i32 {
            let earlier: i32 = ctx.arg($ret);
            if earlier != 0 {
                return earlier;
            }
            entry(ctx.arg::<*const u8>(0) as usize, ctx.arg::<*const u8>(1) as usize, Access::$want)
        }
    )*};
}

entry_hooks! {
    "path_mknod" path_mknod: CREATE, verdict in 4;
    "path_mkdir" path_mkdir: CREATE, verdict in 3;
    "path_symlink" path_symlink: CREATE, verdict in 3;
    "path_unlink" path_unlink: DELETE, verdict in 2;
    "path_rmdir" path_rmdir: DELETE, verdict in 2;
}

macro_rules! object_hooks {
    ($($hook:literal $name:ident: verdict in $ret:literal;)*) => {$(
        #[lsm(hook = $hook)]
        pub fn $name(ctx: LsmContext) -> i32 {
            let earlier: i32 = ctx.arg($ret);
            if earlier != 0 {
                return earlier;
            }
            object(ctx.arg::<*const u8>(0) as usize, Access::WRITE)
        }
    )*};
}

object_hooks! {
    "path_truncate" path_truncate: verdict in 1;
    "path_chmod" path_chmod: verdict in 2;
    "path_chown" path_chown: verdict in 3;
}

/// A hard link: the right to link the old name, to create the new one.
#[lsm(hook = "path_link")]
pub fn path_link(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(3);
    if earlier != 0 {
        return earlier;
    }
    let dir = ctx.arg::<*const u8>(1) as usize;
    let old = entry(dir, ctx.arg::<*const u8>(0) as usize, Access::LINK);
    if old != 0 {
        return emit::outcome(true, EACCES);
    }
    entry(dir, ctx.arg::<*const u8>(2) as usize, Access::CREATE)
}

/// A rename: the right to delete the old name, to create the new one.
#[lsm(hook = "path_rename")]
pub fn path_rename(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(5);
    if earlier != 0 {
        return earlier;
    }
    let old = entry(ctx.arg::<*const u8>(0) as usize, ctx.arg::<*const u8>(1) as usize, Access::DELETE);
    if old != 0 {
        return emit::outcome(true, EACCES);
    }
    entry(ctx.arg::<*const u8>(2) as usize, ctx.arg::<*const u8>(3) as usize, Access::CREATE)
}
