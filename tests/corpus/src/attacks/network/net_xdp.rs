use crate::sys::net;
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-xdp",
    group: Group::Network,
    tries: "Make a socket that takes packets from a network card",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["socket"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    net::socket(libc::AF_XDP, libc::SOCK_RAW, 0).map(drop)
}
