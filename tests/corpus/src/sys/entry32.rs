//! System calls by the entry of 32-bit programs (`int 0x80`), which 64-bit programs can use too.

use std::arch::asm;

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::net::{Address, HELLO};
use crate::{Step as _, Stop};

const GETPID: u32 = 20;
const SOCKETCALL: u32 = 102;

/// The calls that `socketcall` bundles.
pub const CONNECT: u32 = 3;
pub const SENDTO: u32 = 11;

/// # Safety
/// As the call demands.
unsafe fn enter(number: u32, first: u32, second: u32) -> i32 {
    let result: u64;
    // SAFETY: the kernel changes rax, and r8 to r11 in some versions; rbx is put back.
    unsafe {
        asm!(
            "xchg {first}, rbx", "int 0x80", "xchg {first}, rbx",
            first = inout(reg) u64::from(first) => _,
            inlateout("rax") u64::from(number) => result,
            in("rcx") u64::from(second), in("rdx") 0_u64, in("rsi") 0_u64, in("rdi") 0_u64,
            lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _,
        );
    }
    result as i32
}

/// A process that uses the entry where there is none dies.
fn is_there() -> Result<(), Stop> {
    // SAFETY: the attack has one thread, so its child may do anything. It ends without destructors.
    let pid = unsafe {
        let pid = libc::fork();
        if pid == 0 {
            enter(GETPID, 0, 0);
            libc::_exit(0);
        }
        pid
    };
    match waitpid(Pid::from_raw(pid), None).step("waiting")? {
        WaitStatus::Exited(..) => Ok(()),
        _ => Err(Stop::absent("the entry of 32-bit programs")),
    }
}

/// Makes a call of `socketcall` that takes an address: [`CONNECT`], or [`SENDTO`] with [`HELLO`].
///
/// # Errors
/// When the kernel refuses. [`Stop::Absent`] where it has no such entry.
pub fn socketcall(call: u32, socket: i32, to: &Address) -> Result<(), Stop> {
    is_there()?;
    // SAFETY: a fresh page below 4 GiB, which has room for arguments, data and address. It is not unmapped.
    let result = unsafe {
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let page = libc::mmap(std::ptr::null_mut(), 4096, protection, flags | libc::MAP_32BIT, -1, 0);
        super::result(page as i64).step("mapping")?;
        let (data, address) = (page.cast::<u8>().add(64), page.cast::<u8>().add(128));
        data.copy_from(HELLO.as_ptr(), HELLO.len());
        address.copy_from(to.as_ptr().cast(), to.length() as usize);
        let address = address.addr() as u32;
        let arguments = match call {
            CONNECT => [socket as u32, address, to.length(), 0, 0, 0],
            _ => [socket as u32, data.addr() as u32, HELLO.len() as u32, 0, address, to.length()],
        };
        page.cast::<[u32; 6]>().write(arguments);
        enter(SOCKETCALL, call, page.addr() as u32)
    };
    if result < 0 { Err(nix::errno::Errno::from_raw(-result)).step("socketcall") } else { Ok(()) }
}
