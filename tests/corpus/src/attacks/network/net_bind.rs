use std::net::Ipv4Addr;

use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-bind",
    group: Group::Network,
    tries: "Offer a service on a port",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["bind"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    let fd = net::tcp()?;
    net::bind(&fd, &Address::inet(Ipv4Addr::LOCALHOST, 0))?;
    net::listens(fd)
}
