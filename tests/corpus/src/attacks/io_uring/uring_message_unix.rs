use std::os::fd::AsRawFd as _;

use io_uring::{opcode, types};

use crate::sys::net::{self, Address};
use crate::sys::uring::Ring;
use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "uring-message-unix",
    group: Group::IoUring,
    tries: "Send to a Unix socket through io_uring",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict connecting to a Unix socket by its path"),
    recorded: Recorded::As(&["unix"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let mut ring = Ring::doing(opcode::SendMsg::CODE)?;
    let fd = net::unix(scene, libc::SOCK_DGRAM, "me")?;
    let to = Address::path(&scene.victim.datagram)?;
    let mut data = net::no_data();
    let message = net::message(&to, &mut data);
    let entry = opcode::SendMsg::new(types::Fd(fd.as_raw_fd()), &raw const message).build();
    // SAFETY: the message and what it points to live across the call.
    unsafe { ring.perform(&entry) }.step("sending")?;
    net::greets(fd)
}
