use crate::scene::BROADCAST;
use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-broadcast",
    group: Group::Network,
    tries: "Send a datagram to everybody",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["connect"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let fd = net::udp()?;
    net::set(&fd, libc::SOL_SOCKET, libc::SO_BROADCAST, &1)?;
    net::asks(fd, &Address::inet(BROADCAST, scene.victim.udp))
}
