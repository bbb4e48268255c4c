use std::net::Ipv4Addr;
use std::os::fd::AsRawFd as _;

use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-32-bit",
    group: Group::Network,
    tries: "Connect by the system call of 32-bit programs",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["connect"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let fd = net::tcp()?;
    let to = Address::inet(Ipv4Addr::LOCALHOST, scene.victim.tcp);
    sys::entry32::socketcall(sys::entry32::CONNECT, fd.as_raw_fd(), &to)?;
    net::greets(fd)
}
