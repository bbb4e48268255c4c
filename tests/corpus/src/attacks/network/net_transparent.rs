use crate::sys::net;
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-transparent",
    group: Group::Network,
    tries: "Speak from addresses of others",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["privilege"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    net::set(net::tcp()?, libc::IPPROTO_IP, libc::IP_TRANSPARENT, &1)
}
