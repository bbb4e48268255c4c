use std::net::Ipv6Addr;

use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-ipv6",
    group: Group::Network,
    tries: "Connect to an allowed port, over IPv6",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["connect"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let to = Address::inet(Ipv6Addr::LOCALHOST, scene.victim.tcp_allowed);
    net::connects(net::socket(libc::AF_INET6, libc::SOCK_STREAM, 0)?, &to)
}
