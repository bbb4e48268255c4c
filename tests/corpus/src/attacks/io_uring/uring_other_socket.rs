use io_uring::opcode;

use crate::sys::uring::Ring;
use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "uring-other-socket",
    group: Group::IoUring,
    tries: "Make a socket of a family that rules do not know through io_uring",
    who: Who::Anyone,
    compat: Compat::Open("control group hooks see Internet sockets only"),
    recorded: Recorded::As(&["socket"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    let mut ring = Ring::doing(opcode::Socket::CODE)?;
    let entry = opcode::Socket::new(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_GENERIC).build();
    // SAFETY: it points to nothing.
    unsafe { ring.perform(&entry) }.step("socket").map(drop)
}
