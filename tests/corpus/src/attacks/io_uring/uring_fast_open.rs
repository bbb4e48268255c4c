use std::net::Ipv4Addr;
use std::os::fd::AsRawFd as _;

use io_uring::{opcode, types};

use crate::sys::net::{self, Address};
use crate::sys::uring::Ring;
use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "uring-fast-open",
    group: Group::IoUring,
    tries: "Connect by sending through io_uring",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["connect"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let mut ring = Ring::doing(opcode::SendMsg::CODE)?;
    let fd = net::tcp()?;
    let (to, mut data) = (Address::inet(Ipv4Addr::LOCALHOST, scene.victim.tcp), net::no_data());
    let message = net::message(&to, &mut data);
    let entry = opcode::SendMsg::new(types::Fd(fd.as_raw_fd()), &raw const message);
    let entry = entry.flags(libc::MSG_FASTOPEN as u32).build();
    // SAFETY: the message and what it points to live across the call.
    match unsafe { ring.perform(&entry) } {
        Err(Stop::Refused { errno: libc::EINPROGRESS, .. }) => {} // it goes on
        other => other.step("sending").map(drop)?,
    }
    net::greets(fd)
}
