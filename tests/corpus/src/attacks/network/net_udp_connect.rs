use std::net::Ipv4Addr;

use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-udp-connect",
    group: Group::Network,
    tries: "Connect a datagram socket to a port that no rule allows",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["connect"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let fd = net::udp()?;
    net::connect(&fd, &Address::inet(Ipv4Addr::LOCALHOST, scene.victim.udp))?;
    net::asks_peer(fd)
}
