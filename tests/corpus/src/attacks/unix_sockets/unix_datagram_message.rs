use std::os::fd::AsRawFd as _;

use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "unix-datagram-message",
    group: Group::UnixSockets,
    tries: "Send to a Unix socket with sendmsg",
    who: Who::Anyone,
    compat: Compat::Open("Landlock does not restrict connecting to a Unix socket by its path"),
    recorded: Recorded::As(&["unix"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let fd = net::unix(scene, libc::SOCK_DGRAM, "me")?;
    let (to, mut data) = (Address::path(&scene.victim.datagram)?, net::no_data());
    let message = net::message(&to, &mut data);
    // SAFETY: the message and what it points to live across the call.
    sys::result(unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const message, 0) } as i64).step("sendmsg")?;
    net::greets(fd)
}
