use std::net::Ipv4Addr;
use std::os::fd::AsRawFd as _;

use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-32-bit-send",
    group: Group::Network,
    tries: "Send a datagram by the system call of 32-bit programs",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["connect"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let fd = net::udp()?;
    let to = Address::inet(Ipv4Addr::LOCALHOST, scene.victim.udp);
    sys::entry32::socketcall(sys::entry32::SENDTO, fd.as_raw_fd(), &to)?;
    net::greets(fd)
}
