use std::net::Ipv4Addr;

use crate::scene::MULTICAST;
use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-bind-multicast",
    group: Group::Network,
    tries: "Receive what is sent to a group",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["bind"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    let fd = net::udp()?;
    net::bind(&fd, &Address::inet(MULTICAST, 0))?;
    let membership = [MULTICAST.octets(), Ipv4Addr::LOCALHOST.octets()];
    net::set(fd, libc::IPPROTO_IP, libc::IP_ADD_MEMBERSHIP, &membership)
}
