use std::os::fd::AsRawFd as _;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;

use io_uring::{opcode, types};
use nix::errno::Errno;

use crate::sys::net;
use crate::sys::uring::Ring;
use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "uring-given-socket",
    group: Group::IoUring,
    tries: "Receive a connection of another process through io_uring",
    who: Who::Anyone,
    compat: Compat::Open("a connection is decided when it is made, not when it is handed over"),
    recorded: Recorded::As(&["use"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let mut ring = Ring::doing(opcode::RecvMsg::CODE)?;
    let service = UnixStream::connect(&scene.victim.gives_socket).step("connecting to the service")?;
    let (mut byte, mut space) = ([0_u8], [0_u64; 3]); // a header of 16 bytes and a descriptor
    let mut data = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    // SAFETY: integers and pointers; zero is a value of all of them.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    (message.msg_iov, message.msg_iovlen) = (&raw mut data, 1);
    (message.msg_control, message.msg_controllen) = (space.as_mut_ptr().cast(), size_of_val(&space));
    let entry = opcode::RecvMsg::new(types::Fd(service.as_raw_fd()), &raw mut message).build();
    // SAFETY: the message and what it points to live across the call.
    unsafe { ring.perform(&entry) }.step("receiving")?;
    if message.msg_controllen == 0 {
        return Err(Errno::EACCES).step("receiving the descriptor");
    }
    // SAFETY: the kernel put a descriptor behind the header, which nothing else owns.
    let fd = unsafe { OwnedFd::from_raw_fd(space[2] as i32) };
    net::greets(fd)
}
