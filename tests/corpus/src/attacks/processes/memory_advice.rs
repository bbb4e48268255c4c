use std::os::fd::AsRawFd as _;

use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "memory-advice",
    group: Group::Processes,
    tries: "Advise the kernel to throw memory of another process out",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["ptrace", "privilege"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let process = sys::other::pidfd(scene.victim.pid)?;
    let page = scene.victim.memory & !4095;
    let part = libc::iovec { iov_base: page as *mut libc::c_void, iov_len: 4096 };
    let cold = libc::MADV_COLD as usize;
    let arguments = [process.as_raw_fd() as usize, (&raw const part).addr(), 1, cold, 0, 0];
    // SAFETY: the part lives across the call; the memory that it names is not read.
    unsafe { sys::call(libc::SYS_process_madvise, arguments) }.step("process_madvise").map(drop)
}
