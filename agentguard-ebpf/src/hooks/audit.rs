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
use crate::path::{self, Buffer, Object, Resolved};
use crate::subject::{Subject, current_tag, current_task};
use crate::{kread, offset};

/// x86-64 `struct pt_regs`: part of the kernel's user ABI (`PTRACE_GETREGS`).
mod regs {
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

const AT_FDCWD: i32 = -100;
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
    if result != -i64::from(EACCES) || current_tag().is_none() {
        return 0;
    }
    let Some(subject) = Subject::current() else { return 0 };
    let frame = ctx.arg::<*const u8>(0) as usize;
    let arg = |offset: usize| kread::value::<u64>(frame + offset);
    let start = arg(regs::RDI) as i32; // the directory of the *at calls
    let (action, directory, string, want) = match arg(regs::ORIG_RAX) {
        number::OPEN => (Action::Open, AT_FDCWD, arg(regs::RDI), open_access(arg(regs::RSI))),
        number::CREAT => (Action::Open, AT_FDCWD, arg(regs::RDI), Access::WRITE.union(Access::CREATE)),
        number::OPENAT => (Action::Open, start, arg(regs::RSI), open_access(arg(regs::RDX))),
        number::OPENAT2 => (Action::Open, start, arg(regs::RSI), Access::READ),
        number::EXECVE => (Action::Exec, AT_FDCWD, arg(regs::RDI), Access::EXEC),
        number::EXECVEAT => (Action::Exec, start, arg(regs::RSI), Access::EXEC),
        number::MKDIR => (Action::Path, AT_FDCWD, arg(regs::RDI), Access::CREATE),
        number::MKDIRAT => (Action::Path, start, arg(regs::RSI), Access::CREATE),
        number::UNLINK | number::RMDIR => (Action::Path, AT_FDCWD, arg(regs::RDI), Access::DELETE),
        number::UNLINKAT => (Action::Path, start, arg(regs::RSI), Access::DELETE),
        _ => return 0,
    };
    let verdict = Verdict::deny(Reason::Landlock);
    let Some(buffer) = Buffer::claim() else { return 0 };
    let mut event = emit::header(&subject, action, verdict);
    event.access = want.0;
    event.missing = want.0;
    event.errno = EACCES;
    event.detail = arg(regs::ORIG_RAX) as u32;
    let (dentry, mnt) = directory_of(directory);
    let position = match path::resolve(&buffer, &Object::file(dentry, mnt)) {
        Resolved::At(position) => position,
        Resolved::Anonymous | Resolved::Unresolvable => unknown(&buffer),
    };
    let len = asked(&buffer, string);
    let _ = emit::ring_for(&subject, verdict);
    emit::with_two_paths(&subject, Ring::Denials, &mut event, &buffer, position, len);
    buffer.release();
    0
}

/// Dentry and mount of the directory that `fd` stands for, zeros if there is none.
#[inline(always)]
fn directory_of(fd: i32) -> (usize, usize) {
    let task = current_task() as usize;
    let at = if fd == AT_FDCWD {
        kread::word(task + offset!(task_fs)) + offset!(fs_pwd)
    } else {
        let table = kread::word(kread::word(task + offset!(task_files)) + offset!(files_fdt));
        let room = kread::value::<u32>(table + offset!(fdtable_max_fds));
        if fd as u32 >= room {
            return (0, 0);
        }
        let file = kread::word(table + offset!(fdtable_fd)) + fd as usize * size_of::<usize>();
        kread::word(file) + offset!(file_path)
    };
    (kread::word(at + offset!(path_dentry)), kread::word(at + offset!(path_mnt)))
}

/// Writes `?` for a directory without a path.
#[inline(always)]
fn unknown(buffer: &Buffer) -> u32 {
    // SAFETY: a constant position inside the buffer.
    unsafe { *buffer.bytes().add(HEADER_BYTES + MAX_PATH - 1) = b'?' };
    MAX_PATH as u32 - 1
}

/// Reads what the task asked for to behind the resolved path, after a null byte. Returns its length.
#[inline(always)]
fn asked(buffer: &Buffer, string: u64) -> u32 {
    // SAFETY: destination and size are inside the buffer.
    let read = unsafe {
        let end = buffer.bytes().add(HEADER_BYTES + MAX_PATH);
        *end = 0;
        bpf_probe_read_user_str(end.add(1).cast(), MAX_PATH as u32, string as *const core::ffi::c_void)
    };
    if read > 1 { (read as u32 - 1).min(MAX_PATH as u32 - 1) } else { 0 }
}
