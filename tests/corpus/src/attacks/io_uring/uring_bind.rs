use std::net::Ipv4Addr;
use std::os::fd::AsRawFd as _;

use io_uring::{opcode, types};

use crate::sys::net::{self, Address};
use crate::sys::uring::Ring;
use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "uring-bind",
    group: Group::IoUring,
    tries: "Offer a service on a port through io_uring",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["bind"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    let mut ring = Ring::doing(opcode::Bind::CODE)?;
    let fd = net::tcp()?;
    let at = Address::inet(Ipv4Addr::LOCALHOST, 0);
    let entry = opcode::Bind::new(types::Fd(fd.as_raw_fd()), at.as_ptr(), at.length()).build();
    // SAFETY: the address lives across the call.
    unsafe { ring.perform(&entry) }.step("binding")?;
    net::listens(fd)
}
