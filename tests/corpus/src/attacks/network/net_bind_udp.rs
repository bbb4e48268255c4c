use std::net::Ipv4Addr;

use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-bind-udp",
    group: Group::Network,
    tries: "Receive datagrams on a port",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["bind"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    let fd = net::udp()?;
    net::bind(&fd, &Address::inet(Ipv4Addr::LOCALHOST, 0))
}
