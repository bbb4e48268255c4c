use crate::sys::net;
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-link-layer",
    group: Group::Network,
    tries: "Make a socket of the link layer (LLC)",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["socket"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    net::socket(libc::AF_LLC, libc::SOCK_STREAM, 0).map(drop)
}
