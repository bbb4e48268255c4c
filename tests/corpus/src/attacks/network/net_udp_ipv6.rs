use std::net::Ipv6Addr;

use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-udp-ipv6",
    group: Group::Network,
    tries: "Send a datagram over IPv6",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["connect"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let fd = net::socket(libc::AF_INET6, libc::SOCK_DGRAM, 0)?;
    net::asks(fd, &Address::inet(Ipv6Addr::LOCALHOST, scene.victim.udp))
}
