use std::net::Ipv4Addr;
use std::os::fd::AsRawFd as _;

use io_uring::{opcode, types};

use crate::sys::net::{self, Address};
use crate::sys::uring::Ring;
use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "uring-message-copyless",
    group: Group::IoUring,
    tries: "Send a datagram through io_uring with SENDMSG, without copying it",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["connect"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let mut ring = Ring::doing(opcode::SendMsgZc::CODE)?;
    let fd = net::udp()?;
    let to = Address::inet(Ipv4Addr::LOCALHOST, scene.victim.udp);
    let mut data = net::no_data();
    let message = net::message(&to, &mut data);
    let entry = opcode::SendMsgZc::new(types::Fd(fd.as_raw_fd()), &raw const message).build();
    // SAFETY: the message and what it points to live across the call.
    unsafe { ring.perform(&entry) }.step("sending")?;
    net::greets(fd)
}
