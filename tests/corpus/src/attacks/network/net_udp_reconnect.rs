use std::net::Ipv4Addr;

use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-udp-reconnect",
    group: Group::Network,
    tries: "Connect a datagram socket to an allowed port, disconnect it, and connect it to another",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["connect"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let fd = net::udp()?;
    let allowed = Address::inet(Ipv4Addr::LOCALHOST, scene.victim.tcp_allowed);
    net::connect(&fd, &allowed)?;
    net::disconnect(&fd)?;
    net::connect(&fd, &Address::inet(Ipv4Addr::LOCALHOST, scene.victim.udp))?;
    net::asks_peer(fd)
}
