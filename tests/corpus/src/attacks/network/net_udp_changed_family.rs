use std::net::Ipv4Addr;

use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-udp-changed-family",
    group: Group::Network,
    tries: "Turn an IPv6 socket into an IPv4 one, and send elsewhere",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["connect"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let fd = net::socket(libc::AF_INET6, libc::SOCK_DGRAM, 0)?;
    let allowed = Address::inet(Ipv4Addr::LOCALHOST.to_ipv6_mapped(), scene.victim.tcp_allowed);
    net::connect(&fd, &allowed)?;
    net::set(&fd, libc::IPPROTO_IPV6, libc::IPV6_ADDRFORM, &libc::AF_INET)?;
    let to = Address::inet(Ipv4Addr::LOCALHOST, scene.victim.udp);
    net::connect(&fd, &to)?;
    net::asks(fd, &to)
}
