//! Level `compat`: opens and executions that Landlock refused, seen at the end of the system call.
//!
//! The path is the string the task passed, so it is evidence of what was asked, never the base of a decision.

use agentguard_common::event::{Action, HEADER_BYTES, MAX_PATH};
use agentguard_common::file::Access;
use agentguard_common::verdict::{Reason, Verdict};
use aya_ebpf::helpers::generated::bpf_probe_read_user_str;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;

use crate::emit::{self, EACCES, Ring};
use crate::kread;
use crate::path::Buffer;
use crate::subject::{Subject, current_task, tag_of};

/// x86-64 `struct pt_regs`: part of the kernel's user ABI (`PTRACE_GETREGS`).
mod regs {
    pub(super) const R10: usize = 56;
    pub(super) const RDX: usize = 96;
    pub(super) const RSI: usize = 104;
    pub(super) const RDI: usize = 112;
    pub(super) const ORIG_RAX: usize = 120;
}

/// x86-64 system call numbers (`asm/unistd_64.h`).
mod number {
    pub(super) const OPEN: u64 = 2;
    pub(super) const EXECVE: u64 = 59;
    pub(super) const CREAT: u64 = 85;
    pub(super) const OPENAT: u64 = 257;
    pub(super) const EXECVEAT: u64 = 322;
    pub(super) const OPENAT2: u64 = 437;
    pub(super) const MKDIR: u64 = 83;
    pub(super) const MKDIRAT: u64 = 258;
    pub(super) const UNLINK: u64 = 87;
    pub(super) const RMDIR: u64 = 84;
    pub(super) const UNLINKAT: u64 = 263;
}

const O_ACCMODE: u64 = 3;
const O_CREAT: u64 = 0o100;
const O_TRUNC: u64 = 0o1000;

#[inline(always)]
fn open_access(flags: u64) -> Access {
    let mut want = match flags & O_ACCMODE {
        0 => Access::READ,
        1 => Access::WRITE,
        _ => Access::READ.union(Access::WRITE),
    };
    if flags & O_TRUNC != 0 {
        want = want.union(Access::WRITE);
    }
    if flags & O_CREAT != 0 {
        want = want.union(Access::CREATE);
    }
    want
}

#[btf_tracepoint(function = "sys_exit")]
pub fn refused_call(ctx: BtfTracePointContext) -> i32 {
    let result: i64 = ctx.arg(1);
    if result != -i64::from(EACCES) || tag_of(current_task()).is_none() {
        return 0;
    }
    let Some(subject) = Subject::current() else { return 0 };
    let frame = ctx.arg::<*const u8>(0) as usize;
    let arg = |offset: usize| kread::read::<u64>(frame + offset).unwrap_or(0);
    let (action, string, want) = match arg(regs::ORIG_RAX) {
        number::OPEN => (Action::Open, arg(regs::RDI), open_access(arg(regs::RSI))),
        number::CREAT => (Action::Open, arg(regs::RDI), Access::WRITE.union(Access::CREATE)),
        number::OPENAT => (Action::Open, arg(regs::RSI), open_access(arg(regs::RDX))),
        number::OPENAT2 => (Action::Open, arg(regs::RSI), Access::READ),
        number::EXECVE => (Action::Exec, arg(regs::RDI), Access::EXEC),
        number::EXECVEAT => (Action::Exec, arg(regs::RSI), Access::EXEC),
        number::MKDIR => (Action::Path, arg(regs::RDI), Access::CREATE),
        number::MKDIRAT => (Action::Path, arg(regs::RSI), Access::CREATE),
        number::UNLINK | number::RMDIR => (Action::Path, arg(regs::RDI), Access::DELETE),
        number::UNLINKAT => (Action::Path, arg(regs::RSI), Access::DELETE),
        _ => return 0,
    };
    let _ = regs::R10;
    let verdict = Verdict::deny(Reason::Landlock);
    let Some(buffer) = Buffer::claim() else { return 0 };
    let mut event = emit::header(&subject, action, verdict);
    event.access = want.0;
    event.missing = want.0;
    event.errno = EACCES;
    event.detail = arg(regs::ORIG_RAX) as u32;
    event.other_pid = arg(regs::RDI) as u32; // the directory fd of the *at calls
    // SAFETY: destination and size are inside the buffer.
    let read = unsafe {
        bpf_probe_read_user_str(
            buffer.bytes().add(HEADER_BYTES).cast(),
            MAX_PATH as u32,
            string as *const core::ffi::c_void,
        )
    };
    let len = if read > 1 { (read as u32 - 1).min(MAX_PATH as u32 - 1) } else { 0 };
    let _ = emit::ring_for(&subject, verdict);
    emit::front_path(&subject, Ring::Denials, &mut event, &buffer, len);
    buffer.release();
    0
}
