use std::os::fd::AsRawFd as _;

use io_uring::{opcode, types};

use crate::sys::net;
use crate::sys::uring::Ring;
use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "uring-listen",
    group: Group::IoUring,
    tries: "Offer a service on a port that the kernel chooses through io_uring",
    who: Who::Anyone,
    compat: Compat::Open("listening without an address is not a bind"),
    recorded: Recorded::As(&["bind"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    let mut ring = Ring::doing(opcode::Listen::CODE)?;
    let fd = net::tcp()?;
    let entry = opcode::Listen::new(types::Fd(fd.as_raw_fd()), 1).build();
    // SAFETY: it points to nothing.
    unsafe { ring.perform(&entry) }.step("listening")?;
    net::listens(fd)
}
