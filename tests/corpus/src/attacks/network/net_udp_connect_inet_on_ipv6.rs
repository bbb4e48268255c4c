use std::net::Ipv4Addr;

use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-udp-connect-inet-on-ipv6",
    group: Group::Network,
    tries: "Connect an IPv6 datagram socket to an IPv4 address",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["connect"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let fd = net::socket(libc::AF_INET6, libc::SOCK_DGRAM, 0)?;
    net::connect(&fd, &Address::inet(Ipv4Addr::LOCALHOST, scene.victim.udp))?;
    net::asks_peer(fd)
}
