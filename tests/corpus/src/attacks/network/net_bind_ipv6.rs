use std::net::Ipv6Addr;

use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-bind-ipv6",
    group: Group::Network,
    tries: "Offer a service on a port of IPv6",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["bind"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    let fd = net::socket(libc::AF_INET6, libc::SOCK_STREAM, 0)?;
    net::bind(&fd, &Address::inet(Ipv6Addr::LOCALHOST, 0))?;
    net::listens(fd)
}
