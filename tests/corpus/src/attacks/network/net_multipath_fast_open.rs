use std::net::Ipv4Addr;

use nix::errno::Errno;
use nix::sys::socket::MsgFlags;

use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-multipath-fast-open",
    group: Group::Network,
    tries: "Connect over Multipath TCP by sending",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["connect"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let fd = net::socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP)?;
    let to = Address::inet(Ipv4Addr::LOCALHOST, scene.victim.tcp);
    let sent = net::send(&fd, &to, MsgFlags::from_bits_retain(libc::MSG_FASTOPEN));
    sys::absent_if(sent, Errno::EOPNOTSUPP, "Fast Open of Multipath TCP")?;
    net::greets(fd)
}
