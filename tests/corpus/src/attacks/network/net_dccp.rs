use crate::sys::net;
use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who};

pub(crate) const ATTACK: Attack = Attack {
    name: "net-dccp",
    group: Group::Network,
    tries: "Make a DCCP socket",
    who: Who::Anyone,
    compat: Compat::Open("control group hooks refuse raw sockets only"),
    recorded: Recorded::As(&["socket"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    const IPPROTO_DCCP: i32 = 33;
    net::socket(libc::AF_INET, libc::SOCK_DCCP, IPPROTO_DCCP).map(drop)
}
