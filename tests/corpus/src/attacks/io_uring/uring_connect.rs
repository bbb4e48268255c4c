use std::net::Ipv4Addr;
use std::os::fd::AsRawFd as _;

use io_uring::{opcode, types};

use crate::sys::net::{self, Address};
use crate::sys::uring::Ring;
use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "uring-connect",
    group: Group::IoUring,
    tries: "Connect through io_uring",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["connect"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let mut ring = Ring::doing(opcode::Connect::CODE)?;
    let fd = net::tcp()?;
    let to = Address::inet(Ipv4Addr::LOCALHOST, scene.victim.tcp);
    let entry = opcode::Connect::new(types::Fd(fd.as_raw_fd()), to.as_ptr(), to.length()).build();
    // SAFETY: the address lives across the call.
    unsafe { ring.perform(&entry) }.step("connecting")?;
    net::greets(fd)
}
