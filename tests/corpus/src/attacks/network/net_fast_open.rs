use std::net::Ipv4Addr;

use nix::sys::socket::MsgFlags;

use crate::sys::net::{self, Address};
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-fast-open",
    group: Group::Network,
    tries: "Connect by sending: TCP Fast Open",
    who: Who::Anyone,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["connect"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let fd = net::tcp()?;
    let to = Address::inet(Ipv4Addr::LOCALHOST, scene.victim.tcp);
    net::send(&fd, &to, MsgFlags::from_bits_retain(libc::MSG_FASTOPEN))?;
    net::greets(fd)
}
