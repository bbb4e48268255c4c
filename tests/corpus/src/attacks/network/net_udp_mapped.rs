use std::net::Ipv4Addr;

use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-udp-mapped",
    group: Group::Network,
    tries: "Send a datagram to an IPv4 address in the spelling of IPv6",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["connect"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let fd = net::socket(libc::AF_INET6, libc::SOCK_DGRAM, 0)?;
    net::asks(fd, &Address::inet(Ipv4Addr::LOCALHOST.to_ipv6_mapped(), scene.victim.udp))
}
