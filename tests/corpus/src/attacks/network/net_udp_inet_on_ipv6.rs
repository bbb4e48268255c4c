use std::net::Ipv4Addr;

use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-udp-inet-on-ipv6",
    group: Group::Network,
    tries: "Send a datagram to an IPv4 address from an IPv6 socket",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["connect"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let fd = net::socket(libc::AF_INET6, libc::SOCK_DGRAM, 0)?;
    net::asks(fd, &Address::inet(Ipv4Addr::LOCALHOST, scene.victim.udp))
}
