//! Level `lsm`: memory becomes executable, by mapping or by a change of protection. Without this, `ld.so PROGRAM` and a
//! private copy of a program would run what no rule lists.

use agentguard_common::event::Action;
use agentguard_common::file::Access;
use agentguard_common::policy::privilege;
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;

use super::file::{check_file, check_open};
use super::open::{self, PROT_WRITE};
use super::privilege::demand_as;
use crate::subject::{current_tag, current_tagged};
use crate::{kread, offset};

const PROT_EXEC: u64 = 4;

/// Decides that `file`, null for anonymous memory, becomes executable. Memory that the task can have written itself is
/// no file's any more.
#[inline(always)]
fn executable(file: usize, written: bool) -> i32 {
    // Not a comparison of the pointer: the verifier may take it to be valid.
    if written || kread::word(file + offset!(file_inode)) == 0 {
        return demand_as(Action::MapExec, privilege::EXECUTABLE_MEMORY);
    }
    check_file(Action::MapExec, file, Access::EXEC)
}

#[lsm(hook = "mmap_file")]
pub fn mmap_file(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(4);
    if earlier != 0 {
        return earlier;
    }
    let (file, protection) = (ctx.arg::<*const u8>(0), ctx.arg::<u64>(2));
    // SAFETY: a trusted `struct file *` or null.
    let refused = if protection & PROT_EXEC == 0 { 0 } else { unsafe { map_executable(file, protection) } };
    if refused != 0 { refused } else { open::map(file, protection) }
}

/// Decides that what is mapped from `file`, null for anonymous memory, becomes executable. Returns what the hook returns.
///
/// # Safety
/// The verifier knows `file` as a `struct file *`, trusted or null.
#[inline(always)]
unsafe fn map_executable(file: *const u8, protection: u64) -> i32 {
    let Some(tagged) = current_tagged() else { return 0 };
    if file.is_null() {
        // Newer kernels want this asked before they let a program look; others take it to be valid and drop it.
        return demand_as(Action::MapExec, privilege::EXECUTABLE_MEMORY);
    }
    // By address, not as a member: where the verifier takes the pointer to be valid, the kernel does not survive its
    // being null.
    let inode = kread::word(file as usize + offset!(file_inode));
    if protection & PROT_WRITE != 0 || inode == 0 {
        return demand_as(Action::MapExec, privilege::EXECUTABLE_MEMORY);
    }
    // SAFETY: by contract, and not null.
    unsafe { check_open(tagged, Action::MapExec, file, Access::EXEC) }
}

#[lsm(hook = "file_mprotect")]
pub fn file_mprotect(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(3);
    if earlier != 0 {
        return earlier;
    }
    let protection: u64 = ctx.arg(2);
    if protection & PROT_EXEC == 0 || current_tag().is_none() {
        return 0;
    }
    let area = ctx.arg::<*const u8>(0) as usize;
    let copied = kread::word(area + offset!(vma_anon)) != 0;
    executable(kread::word(area + offset!(vma_file)), copied || protection & PROT_WRITE != 0)
}
