use std::net::Ipv6Addr;

use nix::sys::socket::MsgFlags;

use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-fast-open-ipv6",
    group: Group::Network,
    tries: "Connect by sending: TCP Fast Open over IPv6",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["connect"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let fd = net::socket(libc::AF_INET6, libc::SOCK_STREAM, 0)?;
    let to = Address::inet(Ipv6Addr::LOCALHOST, scene.victim.tcp_allowed);
    net::send(&fd, &to, MsgFlags::from_bits_retain(libc::MSG_FASTOPEN))?;
    net::greets(fd)
}
