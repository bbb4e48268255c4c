use std::net::Ipv4Addr;

use crate::scene::MULTICAST;
use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-multicast",
    group: Group::Network,
    tries: "Send a datagram to a group",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["connect"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let fd = net::udp()?;
    net::set(&fd, libc::IPPROTO_IP, libc::IP_MULTICAST_IF, &Ipv4Addr::LOCALHOST.octets())?;
    net::asks(fd, &Address::inet(MULTICAST, scene.victim.udp))
}
