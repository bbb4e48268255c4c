use std::net::Ipv4Addr;

use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-bind-mapped",
    group: Group::Network,
    tries: "Offer a service on an IPv4 address in the spelling of IPv6",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["bind"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    let fd = net::socket(libc::AF_INET6, libc::SOCK_STREAM, 0)?;
    net::bind(&fd, &Address::inet(Ipv4Addr::LOCALHOST.to_ipv6_mapped(), 0))?;
    net::listens(fd)
}
