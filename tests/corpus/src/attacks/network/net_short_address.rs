use std::net::Ipv6Addr;

use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-short-address",
    group: Group::Network,
    tries: "Connect over IPv6 with an address of the old, shorter form",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["connect"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    const WITHOUT_SCOPE: u32 = 24;
    let to = Address::inet(Ipv6Addr::LOCALHOST, scene.victim.tcp).cut(WITHOUT_SCOPE);
    net::connects(net::socket(libc::AF_INET6, libc::SOCK_STREAM, 0)?, &to)
}
