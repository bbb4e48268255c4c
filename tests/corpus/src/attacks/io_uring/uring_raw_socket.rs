use io_uring::opcode;

use crate::sys::uring::Ring;
use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "uring-raw-socket",
    group: Group::IoUring,
    tries: "Make a raw socket through io_uring",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["socket"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    let mut ring = Ring::doing(opcode::Socket::CODE)?;
    let entry = opcode::Socket::new(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP).build();
    // SAFETY: it points to nothing.
    unsafe { ring.perform(&entry) }.step("socket").map(drop)
}
