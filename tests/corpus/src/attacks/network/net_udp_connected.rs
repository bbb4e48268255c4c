use std::net::Ipv4Addr;

use nix::sys::socket::MsgFlags;

use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-udp-connected",
    group: Group::Network,
    tries: "Send elsewhere from a datagram socket that is connected to an allowed port",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["connect"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let fd = net::udp()?;
    net::connect(&fd, &Address::inet(Ipv4Addr::LOCALHOST, scene.victim.tcp_allowed))?;
    let to = Address::inet(Ipv4Addr::LOCALHOST, scene.victim.udp);
    net::send(&fd, &to, MsgFlags::empty())?;
    net::connect(&fd, &to)?; // the answer is for who is connected to its sender
    net::asks_peer(fd)
}
