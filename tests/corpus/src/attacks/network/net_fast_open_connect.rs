use std::net::Ipv4Addr;

use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-fast-open-connect",
    group: Group::Network,
    tries: "Connect with the first data that is sent: TCP_FASTOPEN_CONNECT",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["connect"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let fd = net::tcp()?;
    net::set(&fd, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT, &1)?;
    net::connect(&fd, &Address::inet(Ipv4Addr::LOCALHOST, scene.victim.tcp))?;
    net::asks_peer(fd)
}
