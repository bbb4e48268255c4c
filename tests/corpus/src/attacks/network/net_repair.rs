use crate::sys::net;
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-repair",
    group: Group::Network,
    tries: "Make a connection out of nothing: TCP_REPAIR",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["privilege"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    net::set(net::tcp()?, libc::IPPROTO_TCP, libc::TCP_REPAIR, &1)
}
