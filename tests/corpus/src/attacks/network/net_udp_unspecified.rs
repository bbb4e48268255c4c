use std::net::Ipv4Addr;

use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-udp-unspecified",
    group: Group::Network,
    tries: "Send a datagram to an address of no family, which is taken for IPv4",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["connect"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let to = Address::inet(Ipv4Addr::LOCALHOST, scene.victim.udp).said_to_be(libc::AF_UNSPEC);
    net::asks(net::udp()?, &to)
}
