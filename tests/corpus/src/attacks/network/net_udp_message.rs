use std::net::Ipv4Addr;
use std::os::fd::AsRawFd as _;

use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Step as _, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-udp-message",
    group: Group::Network,
    tries: "Send a datagram with sendmsg",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["connect"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let fd = net::udp()?;
    let (to, mut data) = (Address::inet(Ipv4Addr::LOCALHOST, scene.victim.udp), net::no_data());
    let message = net::message(&to, &mut data);
    // SAFETY: the message and what it points to live across the call.
    sys::result(unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const message, 0) } as i64).step("sendmsg")?;
    net::greets(fd)
}
