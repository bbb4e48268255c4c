use std::net::Ipv4Addr;
use std::os::fd::AsRawFd as _;

use io_uring::{opcode, types};

use crate::sys::net::{self, Address, HELLO};
use crate::sys::uring::Ring;
use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "uring-send-copyless",
    group: Group::IoUring,
    tries: "Send a datagram through io_uring without copying it",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["connect"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let mut ring = Ring::doing(opcode::SendZc::CODE)?;
    let fd = net::udp()?;
    let to = Address::inet(Ipv4Addr::LOCALHOST, scene.victim.udp);
    let entry = opcode::SendZc::new(types::Fd(fd.as_raw_fd()), HELLO.as_ptr(), HELLO.len() as u32)
        .dest_addr(to.as_ptr())
        .dest_addr_len(to.length())
        .build();
    // SAFETY: the address lives across the call.
    unsafe { ring.perform(&entry) }.step("sending")?;
    net::greets(fd)
}
