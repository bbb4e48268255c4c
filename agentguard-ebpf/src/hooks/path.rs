//! Changes of the name space at level `lsm`: create, delete, link, rename, attributes.

use agentguard_common::event::Action;
use agentguard_common::file::{Access, StateVerdict, widens, widens_below};
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;

use super::file::{check, refuse_widening, rights_at};
use crate::emit::{self, EACCES};
use crate::path::Object;
use crate::subject::current_tag;
use crate::{kread, offset};

/// Decides about the entry `dentry` of the directory `dir` (a `struct path *`).
#[inline(always)]
fn entry(dir: usize, dentry: usize, want: Access) -> i32 {
    if current_tag().is_none() {
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
    ($($hook:literal $name:ident: $want:ident, verdict in $ret:literal;)*) => {$(
        #[lsm(hook = $hook)]
        pub fn $name(ctx: LsmContext) -> i32 {
            let earlier: i32 = ctx.arg($ret);
            if earlier != 0 {
                return earlier;
            }
            object(ctx.arg::<*const u8>(0) as usize, Access::$want)
        }
    )*};
}

object_hooks! {
    "path_truncate" path_truncate: WRITE, verdict in 1;
    "path_chmod" path_chmod: WRITE, verdict in 2;
    "path_chown" path_chown: WRITE, verdict in 3;
    "path_notify" path_notify: READ, verdict in 3;
}

const RENAME_EXCHANGE: u32 = 2;
const TYPE_MASK: u16 = 0o170_000;
const DIRECTORY: u16 = 0o040_000;

/// The state and the verdict at a place.
#[inline(always)]
fn rights(dentry: usize, mnt: usize, below: bool) -> Option<(u32, StateVerdict)> {
    let place = Object::file(dentry, mnt);
    let rights = rights_at(&raw const place, u32::from(below));
    if rights == 0 { None } else { Some(((rights >> 32) as u32, StateVerdict(rights as u32))) }
}

/// Whether the object at `old`, both on the mount `mnt`, could be used at `new` in a way that it can't now.
#[inline(always)]
fn gains(old: usize, new: usize, mnt: usize) -> bool {
    let (Some(here), Some(there)) = (rights(old, mnt, false), rights(new, mnt, false)) else { return true };
    if widens(here.1, there.1) {
        return true;
    }
    let inode = kread::word(old + offset!(dentry_inode));
    if kread::read::<u16>(inode + offset!(inode_mode)).unwrap_or(DIRECTORY) & TYPE_MASK != DIRECTORY {
        return false;
    }
    let (Some(here), Some(there)) = (rights(old, mnt, true), rights(new, mnt, true)) else { return true };
    widens_below(here, there)
}

/// A hard link: the right to link the old name, to create the new one, and no right more under it.
#[lsm(hook = "path_link")]
pub fn path_link(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(3);
    if earlier != 0 {
        return earlier;
    }
    if current_tag().is_none() {
        return 0;
    }
    let mnt = kread::word(ctx.arg::<*const u8>(1) as usize + offset!(path_mnt));
    let (old, new) = (ctx.arg::<*const u8>(0) as usize, ctx.arg::<*const u8>(2) as usize);
    if check(Action::Path, old, mnt, Access::LINK) != 0 || check(Action::Path, new, mnt, Access::CREATE) != 0
    {
        return emit::outcome(true, EACCES);
    }
    if gains(old, new, mnt) { refuse_widening(new, mnt) } else { 0 }
}

/// One direction of a rename: the right to delete the old name and to create the new one, also to delete what is
/// there, and no right more under it. Returns 0, or a negative errno.
#[inline(always)]
fn moves(old: usize, new: usize, mnt: usize, exchange: bool) -> i32 {
    let replaces = !exchange && kread::word(new + offset!(dentry_inode)) != 0;
    let want = if replaces { Access::CREATE.union(Access::DELETE) } else { Access::CREATE };
    if check(Action::Path, old, mnt, Access::DELETE) != 0 || check(Action::Path, new, mnt, want) != 0 {
        return emit::outcome(true, EACCES);
    }
    if gains(old, new, mnt) { refuse_widening(new, mnt) } else { 0 }
}

/// A rename. Both directories are on one mount, or the kernel refuses it before.
#[lsm(hook = "path_rename")]
pub fn path_rename(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(5);
    if earlier != 0 {
        return earlier;
    }
    if current_tag().is_none() {
        return 0;
    }
    let mnt = kread::word(ctx.arg::<*const u8>(0) as usize + offset!(path_mnt));
    let (old, new) = (ctx.arg::<*const u8>(1) as usize, ctx.arg::<*const u8>(3) as usize);
    let flags: u32 = ctx.arg(4);
    let exchange = flags & RENAME_EXCHANGE != 0;
    let there = moves(old, new, mnt, exchange);
    if there != 0 || !exchange {
        return there;
    }
    moves(new, old, mnt, true)
}
