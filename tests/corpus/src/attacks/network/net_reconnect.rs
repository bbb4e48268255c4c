use std::net::Ipv4Addr;

use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-reconnect",
    group: Group::Network,
    tries: "Connect to an allowed port, disconnect, and connect to another",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["connect"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let fd = net::tcp()?;
    let allowed = Address::inet(Ipv4Addr::LOCALHOST, scene.victim.tcp_allowed);
    net::connects(&fd, &allowed)?;
    net::disconnect(&fd)?;
    net::connects(fd, &Address::inet(Ipv4Addr::LOCALHOST, scene.victim.tcp))
}
