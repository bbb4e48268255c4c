use std::net::Ipv4Addr;

use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-udp-messages",
    group: Group::Network,
    tries: "Send several datagrams at once, the first of them to an allowed port",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["connect"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let fd = net::udp()?;
    let ports = [scene.victim.tcp_allowed, scene.victim.udp];
    let to = ports.map(|port| Address::inet(Ipv4Addr::LOCALHOST, port));
    net::send_many(&fd, &to)?;
    net::greets(fd)
}
